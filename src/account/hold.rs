//! Hold parts: what one operation holds in one account, and what became of it.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::account::MeterId;
use crate::amount::Amount;
use crate::id::{KeyId, OpId, Subject};
use crate::time::Timestamp;
use crate::usage::Usage;

/// What a hold does when it ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum OnExpiry {
    /// What was held counts as used: a call that is not heard of again has usually cost something.
    Charge,
    /// What was held is given back.
    Release,
}

/// Whether each change of a meter is written to the ledger, from which it can be proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Audit {
    /// A row for each change.
    Rows,
    /// No rows.
    None,
}

/// What a part holds in one meter, or booked there in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Entry {
    /// The meter.
    pub meter: MeterId,
    /// The meter's epoch when it was taken; in a later one, ending it moves nothing there.
    pub epoch: u32,
    /// Where in the meter it counts: the window it was taken in, or the instant.
    pub mark: Timestamp,
    /// How much is held; once the part has ended, how much was booked.
    pub amount: Amount,
    /// What becomes of it by itself.
    pub on_expiry: OnExpiry,
    /// Whether its changes are written to the ledger.
    pub audit: Audit,
}

/// How a part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum How {
    /// What the call used was booked.
    Settled,
    /// It was given back.
    Released,
    /// Its time was over.
    Expired,
}

/// What the ledger says of a call, whoever writes the row in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Context {
    /// Every dimension of the call.
    pub subject: Subject,
    /// What else the host wants to find it by, such as a task.
    pub tags: Vec<(String, String)>,
    /// The client's key, by its id.
    pub client: Option<KeyId>,
    /// The upstream key, by its id.
    pub key: Option<KeyId>,
    /// The estimate, which is what an expiry books.
    pub estimate: Usage,
}

/// What one operation holds in one account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Part {
    /// The operation.
    pub op: OpId,
    /// The account.
    pub account: Subject,
    /// Told apart from earlier parts of the same operation in the same account.
    pub sequence: u16,
    /// When it was taken.
    pub taken: Timestamp,
    /// When it ends by itself: at this instant it has.
    pub expires: Timestamp,
    /// How it ended, and when; `None` while it is open.
    pub end: Option<(How, Timestamp)>,
    /// What it holds, meter by meter.
    pub entries: SmallVec<[Entry; 4]>,
    /// What the ledger says of the call; on one part of each operation.
    pub context: Option<Arc<Context>>,
}

impl Part {
    /// Whether nothing has ended it yet.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// Ends it, if it is open, because its account is forgotten: nothing is booked.
    pub fn forget(&mut self, at: Timestamp) {
        if self.is_open() {
            self.entries.iter_mut().for_each(|entry| entry.amount = Amount::ZERO);
            self.end = Some((How::Released, at));
        }
    }

    /// Whether it is the part that this one names.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.sequence == other.sequence && self.op == other.op && self.account == other.account
    }
}
