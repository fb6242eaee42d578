//! The health of an upstream key: whether it can be used now, and what each report about it changes.
//!
//! A [`Health`] is a small state machine. Every report says when its attempt began, so that late, repeated and
//! overlapping reports do no harm: a burst of failures is one step, said twice it is still one, an old success clears no
//! newer failure, and what a provider stated is never cut short. When a cooldown ends the key is half open: one caller tries it, and the others
//! wait for what that call shows.
//!
//! ```
//! use keyward::pool::{Cause, Health, Ladder, Report, Until};
//! use keyward::{Length, OpId, Timestamp, When};
//!
//! let at = |seconds| Timestamp::from_secs(seconds).expect("a small number");
//! let mut key = Health::default();
//! let limited = Report::Failed { began: at(0), cause: Cause::RateLimited, until: Until::Climb(Ladder::default()) };
//! key.report(limited, at(0));
//! key.report(limited, at(0));                               // the same burst: still one step
//! assert_eq!(key.ready(at(0)), Err(When::At(at(1))));
//! assert!(key.ready(at(1)).is_ok());
//! # Ok::<(), keyward::Error>(())
//! ```

use super::report::{Cause, Report, Source, Until};
use crate::id::OpId;
use crate::time::{Length, Timestamp, When};

pub use crate::usage::ProviderWindow;

/// What is written down about a key, for people and for choosing among keys. It decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Notes {
    /// What people call the key.
    pub name: Option<String>,
    /// The last error, without anything secret.
    pub error: Option<String>,
    /// What its provider last said, one for each of the provider's limits.
    pub windows: Vec<ProviderWindow>,
}

/// A change of the [`Notes`] in which what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Note {
    /// `Some(None)` takes the name away.
    pub name: Option<Option<String>>,
    /// `Some(None)` clears the error.
    pub error: Option<Option<String>>,
    /// Each replaces what was known of the same limit.
    pub windows: Vec<ProviderWindow>,
}

/// What keeps a key from being used, apart from a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Block {
    /// Why.
    pub cause: Cause,
    /// Until when; the end of time means until it is rotated or cleared.
    pub until: Timestamp,
    /// How certain that is.
    pub source: Source,
}

/// A call that tries a key whose cooldown has ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Probe {
    /// The call.
    pub op: OpId,
    /// When the key was given to it.
    pub began: Timestamp,
    /// When another may try, if this one is not heard of again.
    pub until: Timestamp,
}

/// All that is known about the health of a key. The default is a key never seen, which is available.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Health {
    /// Whether a person took it out.
    pub disabled: Option<Timestamp>,
    /// What keeps it from being used.
    pub block: Option<Block>,
    /// Who is trying it after its cooldown.
    pub probe: Option<Probe>,
    /// Failures in a row, each burst counted once.
    pub failures: u32,
    /// When the last failure was recorded.
    pub failed: Option<Timestamp>,
    /// When the secret was last changed, or everything was cleared.
    pub renewed: Option<Timestamp>,
    /// How often it was given out.
    pub uses: u64,
    /// How often it was rate limited.
    pub limited: u64,
    /// When it was last given out.
    pub last_used: Option<Timestamp>,
    /// When it was last rate limited.
    pub last_limited: Option<Timestamp>,
    /// What is written down about it.
    pub notes: Notes,
}

/// What a key is, for a status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Standing {
    /// It can be used.
    Available,
    /// It is left alone until its block ends.
    Cooling(Block),
    /// Its block has ended, and one call may try it.
    HalfOpen,
    /// One call is trying it.
    Probing,
    /// Its credential was refused.
    Refused,
    /// A person took it out.
    Disabled,
}

impl Health {
    /// Whether the key can be given out now; if not, when.
    ///
    /// # Errors
    /// When it can be, which is a refusal and not a fault: at an instant, once a probe is over, or never by itself.
    pub fn ready(&self, now: Timestamp) -> Result<(), When> {
        match (self.standing(now), &self.probe) {
            (Standing::Available | Standing::HalfOpen, _) => Ok(()),
            (Standing::Cooling(block), _) => Err(When::At(block.until)),
            (Standing::Probing, Some(probe)) => Err(When::WhenFreed { latest: probe.until }),
            (Standing::Probing | Standing::Refused | Standing::Disabled, _) => Err(When::Never),
        }
    }

    /// What the key is now.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.disabled.is_some() {
            return Standing::Disabled;
        }
        match (self.block, &self.probe) {
            (None, _) => Standing::Available,
            (Some(Block { until: Timestamp::MAX, .. }), _) => Standing::Refused,
            (Some(block), _) if now < block.until => Standing::Cooling(block),
            (Some(_), Some(probe)) if now < probe.until => Standing::Probing,
            (Some(_), _) => Standing::HalfOpen,
        }
    }

    /// Gives the key out to a call. A key that is half open is probed by it, for at most `probe` until another may.
    pub fn take(&mut self, op: &OpId, now: Timestamp, probe: Length) {
        if self.standing(now) == Standing::HalfOpen {
            self.probe = Some(Probe { op: op.clone(), began: now, until: now.saturating_add(probe) });
        }
        self.uses = self.uses.saturating_add(1);
        self.last_used = self.last_used.max(Some(now));
    }

    /// Records what is said about the key.
    pub fn report(&mut self, report: Report, now: Timestamp) {
        match report {
            Report::Failed { began, cause, until } => self.fail(began, cause, until, now),
            Report::Succeeded { began } => self.succeed(began, now),
            Report::Undecided { began } => self.end_probe(began),
            Report::Clear => self.renew(now),
            Report::Disable => self.disabled = self.disabled.or(Some(now)),
            Report::Enable => self.disabled = None,
            Report::Rotate => self.renew(now),
        }
    }

    /// Writes down what the note says, and keeps the rest.
    ///
    /// ```
    /// use keyward::pool::{Health, Note};
    /// let mut key = Health::default();
    /// key.note(&Note { name: Some(Some("backup".to_owned())), ..Note::default() });
    /// key.note(&Note { error: Some(Some("overloaded".to_owned())), ..Note::default() });
    /// assert_eq!(key.notes.name.as_deref(), Some("backup"));
    /// ```
    pub fn note(&mut self, note: &Note) {
        let Note { name, error, windows } = note;
        if let Some(name) = name {
            self.notes.name.clone_from(name);
        }
        if let Some(error) = error {
            self.notes.error.clone_from(error);
        }
        for window in windows {
            match self.notes.windows.iter_mut().find(|known| known.name == window.name) {
                Some(known) => known.clone_from(window),
                None => self.notes.windows.push(window.clone()),
            }
        }
    }

    fn fail(&mut self, began: Timestamp, cause: Cause, until: Until, now: Timestamp) {
        if cause == Cause::RateLimited {
            self.limited = self.limited.saturating_add(1);
            self.last_limited = self.last_limited.max(Some(now));
        }
        if self.renewed.is_some_and(|renewed| began < renewed) {
            return;
        }
        self.end_probe(began);
        // The burst that this attempt belongs to, if it is recorded already; what is guessed of it counts from there.
        let burst = self.failed.filter(|failed| began <= *failed);
        if burst.is_none() {
            self.failures = self.failures.saturating_add(1);
            self.failed = self.failed.max(Some(now));
        }
        let since = burst.unwrap_or(now);
        let (until, source) = match until {
            Until::At(at, source) => (at, source),
            Until::For(length) => (since.saturating_add(length), Source::Guessed),
            Until::Climb(ladder) => (since.saturating_add(ladder.step(self.failures)), Source::Guessed),
            Until::Changed => (Timestamp::MAX, Source::Stated),
        };
        let has_recovered = self.failures == 0 && source == Source::Guessed;
        if burst.is_some() && (until <= now || has_recovered) {
            return;
        }
        let new = Block { cause, until, source };
        self.block = Some(match self.block {
            Some(old) if old.until > now && old.source > new.source => old,
            Some(old) if old.until > now && old.source == new.source && old.until > new.until => old,
            _ => new,
        });
    }

    fn succeed(&mut self, began: Timestamp, now: Timestamp) {
        self.end_probe(began);
        if self.failed.is_some_and(|failed| began <= failed) {
            return;
        }
        self.failures = 0;
        // What a provider stated holds until it is over, even if one call came through.
        if self.block.is_some_and(|block| block.until <= now || block.source == Source::Guessed) {
            self.block = None;
        }
    }

    fn renew(&mut self, now: Timestamp) {
        self.block = None;
        self.probe = None;
        self.failures = 0;
        self.failed = None;
        self.renewed = self.renewed.max(Some(now));
    }

    /// The probe is over when something is heard of an attempt that is no older.
    fn end_probe(&mut self, began: Timestamp) {
        if self.probe.as_ref().is_some_and(|probe| began >= probe.began) {
            self.probe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ladder;
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds).unwrap()
    }

    fn op(n: u128) -> OpId {
        OpId::at(Timestamp::EPOCH, n)
    }

    fn limited(began: i64, until: Until) -> Report {
        Report::Failed { began: at(began), cause: Cause::RateLimited, until }
    }

    const CLIMB: Until = Until::Climb(Ladder { first: Length::SECOND, longest: Length::MINUTE });

    /// Ten concurrent 429s climbed ten rungs, and cooled a key for minutes that was limited for a second.
    #[test]
    fn a_burst_of_failures_is_one_step() {
        let mut key = Health::default();
        for _ in 0..10 {
            key.report(limited(0, CLIMB), at(1));
        }
        assert_eq!((key.failures, key.limited), (1, 10));
        key.report(limited(2, CLIMB), at(3));
        assert_eq!(key.failures, 2);
    }

    /// A shorter deadline overwrote a longer one, and two days became five minutes.
    #[test]
    fn what_was_stated_is_replaced_by_nothing_less_certain_and_nothing_sooner() {
        let mut key = Health::default();
        key.report(limited(0, Until::At(at(172_800), Source::Stated)), at(0));
        key.report(limited(1, CLIMB), at(1));
        key.report(limited(2, Until::At(at(300), Source::Stated)), at(2));
        key.report(limited(2, Until::At(at(999_999), Source::Read)), at(2));
        key.report(Report::Succeeded { began: at(10) }, at(11));
        assert_eq!(key.ready(at(172_799)), Err(When::At(at(172_800))));
        assert_eq!(key.ready(at(172_800)), Ok(()));
        key.report(Report::Clear, at(20));
        assert_eq!(key.ready(at(20)), Ok(()));
    }

    /// A report that was delivered twice blocked a key anew that had been served in between.
    #[test]
    fn a_failure_that_is_reported_again_changes_nothing() {
        let mut key = Health::default();
        let broken =
            |began| Report::Failed { began: at(began), cause: Cause::Transient, until: Until::For(Length::HOUR) };
        key.report(broken(0), at(1));
        let once = key.clone();
        key.report(broken(0), at(100));
        assert_eq!(key, once);
        key.report(Report::Succeeded { began: at(2) }, at(101));
        let served = key.clone();
        key.report(broken(0), at(102));
        assert_eq!(key, served);
        key.report(broken(0), at(9_999));
        assert_eq!(key.standing(at(9_999)), Standing::Available);
    }

    #[test]
    fn a_stated_deadline_replaces_a_guessed_one_even_if_it_is_sooner() {
        let mut key = Health::default();
        key.report(limited(0, Until::For(Length::HOUR)), at(0));
        key.report(limited(0, Until::At(at(60), Source::Stated)), at(0));
        assert_eq!(key.ready(at(0)), Err(When::At(at(60))));
    }

    /// A success that began before the limit was hit cleared it, and the key was hit again at once.
    #[test]
    fn an_old_success_clears_no_newer_failure() {
        let mut key = Health::default();
        key.report(limited(5, CLIMB), at(6));
        key.report(Report::Succeeded { began: at(4) }, at(6));
        assert_eq!(key.failures, 1);
        assert!(key.ready(at(6)).is_err());
        key.report(Report::Succeeded { began: at(7) }, at(8));
        assert_eq!((key.failures, key.block), (0, None));
    }

    #[test]
    fn one_caller_probes_and_another_may_if_the_first_vanishes() {
        let mut key = Health::default();
        key.report(limited(0, CLIMB), at(0));
        key.take(&op(1), at(1), Length::MINUTE);
        assert_eq!(key.ready(at(2)), Err(When::WhenFreed { latest: at(61) }));
        assert_eq!(key.standing(at(2)), Standing::Probing);
        assert_eq!(key.ready(at(61)), Ok(()));
        key.take(&op(2), at(61), Length::MINUTE);
        key.report(Report::Succeeded { began: at(61) }, at(62));
        assert_eq!(key.standing(at(62)), Standing::Available);
    }

    #[test]
    fn a_refused_credential_stays_out_until_it_is_rotated_and_late_news_of_the_old_one_is_not_news() {
        let mut key = Health::default();
        let refused =
            |began| Report::Failed { began: at(began), cause: Cause::CredentialRefused, until: Until::Changed };
        key.report(refused(0), at(1));
        assert_eq!(key.ready(at(1_000_000_000)), Err(When::Never));
        key.report(Report::Rotate, at(10));
        key.report(refused(9), at(11));
        assert_eq!(key.ready(at(11)), Ok(()));
    }

    #[test]
    fn a_disabled_key_stays_disabled_whatever_is_cleared() {
        let mut key = Health::default();
        key.report(Report::Disable, at(0));
        key.report(Report::Clear, at(1));
        key.report(Report::Succeeded { began: at(1) }, at(2));
        assert_eq!(key.standing(at(2)), Standing::Disabled);
        key.report(Report::Enable, at(3));
        assert_eq!(key.ready(at(3)), Ok(()));
    }
}
