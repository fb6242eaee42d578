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
    /// Larger than that of each part of the operation that had ended when it was taken.
    pub sequence: u16,
    /// When it was taken.
    pub taken: Timestamp,
    /// When it ends by itself: at this instant it has.
    pub expires: Timestamp,
    /// How it ended, and when; `None` while it is open.
    pub end: Option<(How, Timestamp)>,
    /// What it holds, meter by meter.
    pub entries: SmallVec<[Entry; 8]>,
    /// What the ledger says of the call; on one part of each operation.
    pub context: Option<Arc<Context>>,
    /// How many rows have corrected what it booked, each of which has a sequence of its own.
    #[cfg_attr(feature = "serde", serde(default))]
    pub amended: u16,
}

impl Part {
    /// Whether nothing has ended it yet.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// Whether some of it counts as used if it ends by itself.
    #[must_use]
    pub fn charges(&self) -> bool {
        self.entries.iter().any(|entry| entry.on_expiry == OnExpiry::Charge)
    }

    /// Holds more, and lives at least until then.
    pub(crate) fn join(&mut self, entry: Entry, expires: Timestamp) {
        self.expires = self.expires.max(expires);
        let same = |held: &&mut Entry| Entry { amount: entry.amount, ..**held } == entry;
        if let Some(held) = self.entries.iter_mut().find(same) {
            // What a meter holds in all fits into an amount, and this is no more.
            held.amount = held.amount.checked_add(entry.amount).unwrap_or(Amount::MAX);
        } else {
            self.entries.push(entry);
        }
    }

    /// What of so much that was used of a meter falls to the entry at this place: what it held, and to the last that the
    /// part has of the meter all the rest. A part that held twice, in two windows, has two.
    pub(crate) fn share(&self, place: usize, used: Amount) -> Amount {
        let Some(entry) = self.entries.get(place) else { return Amount::ZERO };
        let of_it = |other: &&Entry| other.meter == entry.meter;
        let before = self.entries.iter().take(place).filter(of_it);
        let rest = before.fold(used, |rest, other| rest.above(other.amount));
        if self.is_last(place) { rest } else { rest.min(entry.amount) }
    }

    /// The sequence of the next row that corrects what it booked.
    pub(crate) fn next_amendment(&mut self) -> u32 {
        let row = u32::from(self.sequence) | u32::from(self.amended) << 16;
        self.amended = self.amended.saturating_add(1);
        row
    }

    /// Puts an entry back into its place.
    pub(crate) fn put(&mut self, place: usize, entry: Entry) {
        if let Some(held) = self.entries.get_mut(place) {
            *held = entry;
        }
    }

    /// Whether no later entry is of the same meter.
    pub(crate) fn is_last(&self, place: usize) -> bool {
        let meter = self.entries.get(place).map(|entry| entry.meter);
        !self.entries.iter().skip(place.saturating_add(1)).any(|later| Some(later.meter) == meter)
    }

    /// What it holds of a meter, or has booked there, in all its entries.
    pub(crate) fn all_of(&self, meter: MeterId) -> Amount {
        let of_it = self.entries.iter().filter(|entry| entry.meter == meter);
        of_it.fold(Amount::ZERO, |sum, entry| sum.checked_add(entry.amount).unwrap_or(Amount::MAX))
    }

    /// Whether the operation went on in that other part once this one had ended, so that what it used since is not this
    /// one's. What a part in another account was charged when it expired stands for the whole operation.
    pub(crate) fn was_followed_by(&self, other: &Self) -> bool {
        let Some((how, ended)) = self.end else { return false };
        let elsewhere = how != How::Expired && other.taken >= ended;
        self.op == other.op && self.sequence < other.sequence && (self.account == other.account || elsewhere)
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
