//! What was decided: values that can be printed, stored and sent, down to the last number.

use smallvec::SmallVec;

use crate::account::{How, MeterId, Short};
use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::id::{KeyId, OpId};
use crate::pool::Standing;
use crate::time::{Timestamp, When};

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[expect(clippy::large_enum_variant, reason = "most verdicts are the large one, and none may cost an allocation")]
#[must_use]
pub enum Verdict {
    /// All of it passed, and was carried out.
    Granted(Grant),
    /// Something found no room. Nothing was held or spent; what the plan reported was booked.
    Denied(Denial),
    /// The plan does not hold at the instant of the store's clock. Nothing was done; plan again for that instant.
    Stale {
        /// What the store's clock says.
        now: Timestamp,
    },
    /// The operation was carried out before, with other arguments. Nothing was done.
    Conflict {
        /// The first field that differs.
        field: String,
        /// What it was.
        before: String,
        /// What it is now.
        now: String,
    },
    /// The operation's id is older than what is remembered, so that nobody can tell whether it was carried out.
    TooOld {
        /// When the operation began.
        began: Timestamp,
        /// The oldest that would have been accepted.
        oldest: Timestamp,
    },
    /// The plan makes no sense: the field, its value, and what was expected. Nothing was done, and what was loaded for
    /// it is to be thrown away.
    Invalid {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// Holds that are due stand in the way, more than were loaded. Only a store sees this: it loads the next, and decides
    /// again on the same state.
    More,
}

impl Verdict {
    /// Whether a store saves what was changed on the way to it.
    #[must_use]
    pub const fn is_saved(&self) -> bool {
        matches!(self, Self::Granted(_) | Self::Denied(_))
    }

    /// The error that this is, if it is one: a conflict, an id that is too old, or a plan that makes no sense.
    #[must_use]
    pub fn error(&self, op: Option<&OpId>) -> Option<Error> {
        let operation = op.map(OpId::to_string).unwrap_or_default();
        match self {
            Self::Conflict { field, before, now } => Some(Error::conflict(field.clone(), operation, before, now)),
            Self::TooOld { began, oldest } => Some(Error::invalid(
                "operation",
                operation,
                format!("an operation that began at {oldest} or later; this one began at {began}"),
            )),
            Self::Invalid { field, value, expected } => Some(Error::invalid(field.clone(), value, expected.clone())),
            Self::Granted(_) | Self::Denied(_) | Self::Stale { .. } | Self::More => None,
        }
    }
}

impl From<Error> for Verdict {
    fn from(error: Error) -> Self {
        Self::Invalid {
            field: error.field().unwrap_or_default().to_owned(),
            value: error.value().unwrap_or_default().to_owned(),
            expected: error.expected().unwrap_or_default().to_owned(),
        }
    }
}

/// What was granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Grant {
    /// For each pick, which of its alternatives was taken.
    pub picked: SmallVec<[u8; 2]>,
    /// For each use in order, those of the picked alternatives last: what it leaves.
    pub taken: SmallVec<[Taken; 8]>,
    /// For each report in order, and for each meter that it moved.
    pub effects: SmallVec<[Effect; 8]>,
    /// When what is held ends by itself, if anything is.
    pub expires: Option<Timestamp>,
    /// The key of the alternative that was picked. Where an answer is given again, the alternatives of the plan may be others
    /// than those that the places in `picked` were of.
    pub key: Option<KeyId>,
}

/// What one use leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Taken {
    /// Which of the plan's accounts.
    pub account: u16,
    /// The meter.
    pub meter: MeterId,
    /// How much was taken.
    pub amount: Amount,
    /// How much could still be asked for; `None` where there is no end to it.
    pub remaining: Option<Amount>,
    /// When its window ends, or its open bucket; `None` where there is no such thing.
    pub window_end: Option<Timestamp>,
    /// How far it lies above the limit, where a soft one let it pass.
    pub over: Amount,
    /// The meter's epoch: with the mark, what an [`Entry`](crate::account::Entry) of the hold is made of, for a caller who
    /// settles when a store has forgotten it.
    pub epoch: u32,
    /// Where in the meter it counts: the window it was taken in, or the instant.
    pub mark: Timestamp,
}

/// What was refused, by what, and when it can pass.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Denial {
    /// Every limit of the plan's own that found no room.
    pub blocked: Vec<Blocked>,
    /// For each pick that found no way, and each of its alternatives: what stood in its way.
    pub picks: Vec<Vec<Vec<Blocked>>>,
    /// The earliest instant at which all of it can pass.
    pub when: When,
    /// What the reports did, which were booked all the same.
    pub effects: SmallVec<[Effect; 8]>,
}

/// A limit, or a key, that stood in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Blocked {
    /// Which of the plan's accounts.
    pub account: u16,
    /// The meter; that of a key's health is [`MeterId::HEALTH`].
    pub meter: MeterId,
    /// The numbers.
    pub short: Short,
}

/// What a report did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Effect {
    /// Something was booked in a meter, or given back.
    Booked {
        /// The meter.
        meter: MeterId,
        /// What had been held for it, or booked before.
        held: Amount,
        /// What is booked for it now.
        booked: Amount,
        /// What the meter has spent now, where it still counts this.
        spent: Option<Amount>,
        /// The limit in force there. Without end where the meter had been forgotten, because nothing was left in it, and
        /// this began it again: its limit comes back with the next rule.
        cap: Cap,
    },
    /// The operation's parts had been ended this way before, with the same result; nothing was done.
    Already(How),
    /// No part of the operation is known: it held nothing, or has been forgotten.
    Unknown,
    /// Open parts now live until this instant.
    Extended(Timestamp),
    /// A balance.
    Balance {
        /// What is there now; `None` is without end.
        units: Option<i64>,
        /// By how much it moved.
        moved: i64,
    },
    /// A meter counts from nothing.
    Reset,
    /// Whether the alert was claimed by this plan, and is to be sent.
    Claimed(Claim),
    /// What the key is now.
    Health(Standing),
    /// The number and the generation of a limit, and when it was first seen.
    Adopted {
        /// The number.
        meter: MeterId,
        /// The generation of its schedule.
        generation: u32,
        /// When the store first saw the limit.
        anchor: Timestamp,
    },
    /// The account is gone.
    Forgotten,
}

/// Whether an alert is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Claim {
    /// Yes, by whoever reads this.
    First,
    /// No: someone has it, or the window is over.
    Late,
}
