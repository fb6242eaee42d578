//! Accounts: everything that is kept about one subject, and nothing that could be worked out instead.
//!
//! An [`Account`] has one [`Meter`] for each limit that the subject has met, side by side, so that all of them are loaded
//! and saved at once. What is held for calls under way lies beside the account in hold [`Part`]s, and what happened in
//! ledger [`Row`]s. This module knows what a meter does with a rule of a plan; whether a plan passes is decided in
//! [`crate::plan`].
//!
//! ```
//! use keyward::store::Store;
//! use keyward::{Call, Keeper, Limit, Subject, Timestamp, Usage};
//!
//! let keeper = Keeper::builder().limit(Limit::tokens(1_000).lifetime().by("key")).build()?;
//! let call = Call::new().with("key", "alice").tokens(300);
//! keeper.acquire(&call)?.granted().expect("it fits").settle(&Usage::new().tokens(200))?;
//! let open = keeper.acquire(&call)?.granted().expect("it fits");
//!
//! let account = keeper.store().account(&Subject::of([("key", "alice")])?)?.expect("alice has called");
//! let meter = account.meter(keeper.terms().iter().next().expect("one limit").meter()).expect("which counts");
//! assert_eq!((account.open, meter.held().get()), (1, 300));
//! assert_eq!(meter.remaining(Timestamp::MAX).map(|left| left.get()), Some(500));
//! # open.release()?;
//! # Ok::<(), keyward::Error>(())
//! ```

pub(crate) mod codec;
mod hold;
mod ledger;
mod meter;
mod rate;
mod room;
mod rule;

pub use hold::{Audit, Context, Entry, How, OnExpiry, Part};
pub use ledger::{Kind, MeterRow, Row, RowEntry, UsageRow};
pub use meter::{Counter, Meter};
pub(crate) use meter::{Landed, Moved};
pub(crate) use rate::Rate;
pub use rule::{Act, Ask, Firm, Kernel, Rule, Short};

use crate::time::Timestamp;

/// The number that a store gave to a limit; the same for every subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct MeterId(pub u32);

impl MeterId {
    /// The meter that is the health of a key.
    pub const HEALTH: Self = Self(0);
}

/// Everything that is kept about one subject. The default is a subject never seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Account {
    /// One for each limit that the subject has met, in no particular order.
    pub meters: Vec<Meter>,
    /// How many of its parts are open.
    pub open: u32,
    /// No open part expires before this.
    pub earliest: Timestamp,
    /// No open part expires after this.
    pub latest: Timestamp,
}

impl Default for Account {
    fn default() -> Self {
        Self { meters: Vec::new(), open: 0, earliest: Timestamp::MAX, latest: Timestamp::MIN }
    }
}

impl Account {
    /// The meter of this number.
    #[must_use]
    pub fn meter(&self, id: MeterId) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.id == id)
    }

    /// The meter of this number, to be changed.
    pub fn meter_mut(&mut self, id: MeterId) -> Option<&mut Meter> {
        self.meters.iter_mut().find(|meter| meter.id == id)
    }

    /// The bounds of its open parts' expiries: none is before the first, none after the second.
    #[must_use]
    pub const fn expiries(&self) -> (Timestamp, Timestamp) {
        (self.earliest, self.latest)
    }

    /// Counts one more open part.
    pub fn opened(&mut self, expires: Timestamp) {
        self.open = self.open.saturating_add(1);
        self.earliest = self.earliest.min(expires);
        self.latest = self.latest.max(expires);
    }

    /// Counts one open part less. With the last one its expiries are forgotten.
    pub fn closed(&mut self) {
        self.open = self.open.saturating_sub(1);
        if self.open == 0 {
            self.earliest = Timestamp::MAX;
            self.latest = Timestamp::MIN;
        }
    }

    /// Whether it says no more than an account never seen would: nothing open, nothing in any meter that still counts or
    /// that somebody set, and nothing that a late settle could still move, or would not find again. Such an account may be
    /// dropped: one with slots as soon as none is taken, one with a lifetime's budget while nothing of it is spent.
    ///
    /// `epoch` is that in which new meters begin, [`Counters::epoch`](crate::plan::Counters::epoch).
    #[must_use]
    pub fn is_idle(&self, now: Timestamp, epoch: u32) -> bool {
        self.open == 0 && self.meters.iter().all(|meter| meter.is_idle(now, epoch))
    }
}
