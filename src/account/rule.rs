//! What a limit is while a plan holds: numbers, to which every shape of limit is compiled.

use crate::account::{Audit, MeterId, OnExpiry};
use crate::amount::{Amount, Cap};
use crate::quota::{Civil, Refill};
use crate::time::{Length, Timestamp, When};
use crate::window::{FirstUse, Slices, Window};

/// How the count of a limit moves with time: what every shape of limit is compiled to.
///
/// A kernel is plain numbers. Zones, calendars and strategies stay on the host's side of a store, where the plan is
/// made; they come across as the window, or the date, that holds while the plan does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Kernel {
    /// Counts from nothing in each window: a grid, an anchor, a calendar, or all of time.
    Tumble {
        /// The window that `now` lies in.
        window: Window,
    },
    /// Counts from nothing in a window that the first grant opens.
    FirstUse(FirstUse),
    /// Counts in two buckets of which the older fades.
    Sliding {
        /// How long each bucket is.
        length: Length,
    },
    /// Counts what is younger than a length, bucket by bucket.
    Rolling(Slices),
    /// A level that leaks the limit's amount in each length.
    Leak {
        /// In which the amount leaks.
        length: Length,
        /// What the level never rises above.
        burst: Amount,
    },
    /// A balance, which begins with the limit's amount.
    Balance {
        /// The date where its refill counts days.
        today: Civil,
        /// The refill that it begins with.
        refill: Option<Refill>,
    },
}

/// What becomes of a use that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Firm {
    /// It is refused.
    Hard,
    /// It is counted all the same, and the verdict says so.
    Soft,
}

/// A limit as it stands while a plan holds: numbers, where the policy has names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Rule {
    /// The number that the store gave to the limit.
    pub meter: MeterId,
    /// The generation of its schedule. A meter of an older one starts afresh; one of a newer one is charged as it stands.
    pub generation: u32,
    /// What it allows.
    pub cap: Cap,
    /// How it counts.
    pub kernel: Kernel,
    /// What becomes of a use that finds no room.
    pub firm: Firm,
    /// What becomes of a hold that is not heard of again.
    pub on_expiry: OnExpiry,
    /// Whether the ledger proves it.
    pub audit: Audit,
}

/// How much is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Ask {
    /// The caller said so. Nothing passes, except where nothing at all is allowed.
    Exact(Amount),
    /// The limit assumes it of a caller who does not know. Refused as soon as the limit is reached, even if it is nothing.
    Assumed(Amount),
}

impl Ask {
    /// The amount.
    #[must_use]
    pub const fn amount(self) -> Amount {
        match self {
            Self::Exact(amount) | Self::Assumed(amount) => amount,
        }
    }
}

/// What a use does with what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Act {
    /// Holds it until the operation is settled.
    Hold,
    /// Spends it at once.
    Charge,
}

impl Kernel {
    /// When a plan with this kernel must be made again. A balance's date is bounded by whoever knows the zone.
    #[must_use]
    pub const fn holds_until(&self) -> Timestamp {
        match self {
            Self::Tumble { window } => window.end,
            _ => Timestamp::MAX,
        }
    }
}

/// Why there was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Short {
    /// How much was asked for.
    pub need: Amount,
    /// How much is used, holds left aside where they are counted apart. A balance has used nothing.
    pub have: Amount,
    /// How much is held.
    pub held: Amount,
    /// The limit; for a balance what is there, holds included.
    pub cap: Cap,
    /// When the window ends, if it does.
    pub window_end: Option<Timestamp>,
    /// When it can pass, for someone who knows no zone: as if a balance were never refilled.
    pub when: When,
    /// The first date, where the refill counts days, on which the refills of a balance will have made room, if they do.
    /// [`Compiled::when`](crate::limit::Compiled::when) turns it into an instant.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub refill: Option<Civil>,
}
