//! The lease on the file: who keeps changes in memory for a while, and has nobody else write meanwhile.
//!
//! It is a row that every transaction reads first. Its owner renews it with a beat, and gives it up when another wants the
//! file. An owner that stops is waited for until its lease is over: by the clock that all processes of a machine share,
//! or, since that clock may be set, once it has not been renewed for as long. Whoever takes it over says so in the row, so
//! that an owner that was only asleep writes nothing of what it still has.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, params};

use super::seal::Seal;
use super::tables::Tables;
use crate::error::StoreError;

/// How long a lease lasts that is not renewed.
pub(super) const LEASE: Duration = Duration::from_secs(2);
/// How long nobody takes one after it was given up because another wanted the file.
const REST: Duration = Duration::from_secs(1);
/// The owner of a lease that nobody has.
const NOBODY: i64 = 0;

/// The row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) owner: i64,
    pub(super) beat: i64,
    pub(super) until: i64,
    pub(super) wanted: bool,
}

/// Since when the lease of another was seen as it is.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    owner: i64,
    beat: i64,
    since: Instant,
}

impl Lease {
    pub(super) const fn is_free(&self) -> bool {
        self.owner == NOBODY
    }

    /// Whether somebody may take what nobody has.
    pub(super) fn has_rested(&self) -> bool {
        let left = self.until.saturating_sub(wall());
        left <= 0 || left > micros(REST)
    }

    pub(super) fn taken_by(self, owner: i64) -> Self {
        Self { owner, beat: self.beat.saturating_add(1), until: wall().saturating_add(micros(LEASE)), wanted: false }
    }

    /// The next beat.
    pub(super) fn renewed(self) -> Self {
        Self { wanted: self.wanted, ..self.taken_by(self.owner) }
    }

    pub(super) fn given_up(self) -> Self {
        let rest = if self.wanted { micros(REST) } else { 0 };
        Self { owner: NOBODY, beat: self.beat.saturating_add(1), until: wall().saturating_add(rest), wanted: false }
    }

    /// Whether its owner has let it lapse, as far as can be told from what was seen of it.
    pub(super) fn is_over(&self, seen: &mut Option<Seen>) -> bool {
        let Self { owner, beat, until, .. } = *self;
        let known = seen.filter(|seen| (seen.owner, seen.beat) == (owner, beat));
        let since = known.map_or_else(Instant::now, |seen| seen.since);
        *seen = Some(Seen { owner, beat, since });
        until <= wall() || since.elapsed() > LEASE
    }

    fn seal(&self) -> Seal {
        let Self { owner, beat, until, wanted } = *self;
        Seal::new().number(owner).number(beat).number(until).number(wanted.into())
    }
}

impl Tables<'_> {
    pub(super) fn lease(&self) -> Result<Lease, StoreError> {
        let mut statement = self.statement(&self.sql.lease)?;
        let read = |row: &rusqlite::Row<'_>| {
            let lease = Lease { owner: row.get(0)?, beat: row.get(1)?, until: row.get(2)?, wanted: row.get(3)? };
            Ok((lease, row.get(4)?))
        };
        let found = statement.query_row([], read).optional().map_err(|error| self.failed(error))?;
        let Some((lease, seal)) = found else { return Ok(Lease::default()) };
        lease.seal().check(seal)?;
        Ok(lease)
    }

    pub(super) fn put_lease(&self, lease: Lease) -> Result<(), StoreError> {
        let Lease { owner, beat, until, wanted } = lease;
        self.run(&self.sql.put_lease, params![owner, beat, until, wanted, lease.seal().value()])
    }
}

/// Microseconds since 1970, by the clock that all processes share.
fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_over_when_its_time_is_or_when_it_stands_still() {
        let lease = Lease::default().taken_by(7);
        let mut seen = None;
        assert!(!lease.is_over(&mut seen) && !lease.is_over(&mut seen));
        assert!(Lease { until: wall() - 1, ..lease }.is_over(&mut None));
        // The clock was set back by an hour since.
        let ahead = Lease { until: wall() + 3_600_000_000, ..lease };
        let before = Instant::now().checked_sub(LEASE * 2).unwrap();
        let mut seen = Some(Seen { owner: 7, beat: lease.beat, since: before });
        assert!(!ahead.renewed().is_over(&mut seen.clone()), "it beats");
        assert!(ahead.is_over(&mut seen));
    }

    #[test]
    fn a_lease_that_was_wanted_rests_and_no_longer_than_that() {
        let lease = Lease { wanted: true, ..Lease::default().taken_by(7) };
        assert!(lease.renewed().wanted && lease.renewed().beat == lease.beat + 1);
        let free = lease.given_up();
        assert!(free.is_free() && !free.has_rested());
        assert!(Lease { wanted: false, ..lease }.given_up().has_rested());
        assert!(Lease { until: wall() + 3_600_000_000, ..free }.has_rested(), "the clock was set back");
    }
}
