//! Ledger rows: what happened, one row for each thing that did, never changed afterwards.

use std::sync::Arc;

use crate::account::{Context, MeterId};
use crate::amount::{Amount, Cap};
use crate::id::{OpId, Subject};
use crate::time::Timestamp;
use crate::usage::{Class, Usage};

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Kind {
    /// A hold was settled.
    Settle,
    /// Something was charged without a hold.
    Charge,
    /// A hold ended by itself.
    Expire,
    /// A settle came after the hold had ended.
    Adjust,
    /// More was used than had been settled.
    Record,
    /// A balance was set.
    Set,
    /// A balance was credited.
    Credit,
    /// A balance was debited.
    Debit,
    /// A refill raised a balance.
    Refill,
    /// A meter was reset.
    Reset,
}

/// One row: when, by which operation, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Row {
    /// When it happened: for an expiry when the hold ended, whenever that was noticed.
    pub at: Timestamp,
    /// The operation, where there was one.
    pub op: Option<OpId>,
    /// What happened.
    pub entry: RowEntry,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "most rows are the large one")]
pub enum RowEntry {
    /// What a call used, whatever limits there are.
    Usage(UsageRow),
    /// By how much an audited meter moved.
    Meter(MeterRow),
    /// A threshold of a meter was crossed, for the first time in its window.
    Alert {
        /// The account.
        account: Subject,
        /// The meter.
        meter: MeterId,
        /// The window.
        window: Timestamp,
        /// The threshold, in percent.
        percent: u16,
        /// What was spent when it was claimed.
        spent: Amount,
        /// The limit in force.
        cap: Cap,
    },
    /// An account was forgotten; its earlier rows prove nothing any more.
    Forgotten {
        /// The account.
        account: Subject,
    },
}

/// What a call used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct UsageRow {
    /// Why it is booked.
    pub kind: Kind,
    /// Who called, with what; `None` where a settle knew no more than the operation's id and no hold knew either.
    pub context: Option<Arc<Context>>,
    /// What was used.
    pub usage: Usage,
    /// What an earlier row of the same operation had booked, which this one replaces.
    pub instead_of: Option<Usage>,
    /// How the upstream answered.
    pub outcome: Option<Class>,
}

/// By how much an audited meter moved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MeterRow {
    /// Why.
    pub kind: Kind,
    /// The account.
    pub account: Subject,
    /// The meter.
    pub meter: MeterId,
    /// The window it was booked in.
    pub window: Timestamp,
    /// The epoch it was booked in.
    pub epoch: u32,
    /// Told apart from other rows of the same operation, kind, account and meter. Its lower half is the sequence of the part.
    pub sequence: u32,
    /// What was spent: up for spend, down for a correction. For a balance, what left it; down for what came.
    pub spent: i64,
}

impl MeterRow {
    /// Whether a row of the same operation may not be beside this one: each has a key of its own.
    #[must_use]
    pub fn has_key_of(&self, other: &Self) -> bool {
        let key = |row: &Self| (row.kind, row.meter, row.sequence);
        key(self) == key(other) && self.account == other.account
    }
}
