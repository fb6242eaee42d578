//! The accounts of one shard.

use crate::account::Account;
use crate::store::table::{Slot, Table};
use crate::time::Timestamp;

use super::holds::Holds;

/// Accounts by name. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Accounts {
    table: Table<Record>,
    /// Where the search for idle accounts goes on.
    walk: Slot,
}

#[derive(Debug)]
struct Record {
    account: Account,
    root: u32,
}

impl Accounts {
    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Option<Slot> {
        self.table.find(hash, name)
    }

    /// Whether the account of this name lies in this slot.
    pub(super) fn is(&self, slot: Slot, name: &[u8]) -> bool {
        self.table.name(slot) == Some(name)
    }

    pub(super) fn name(&self, slot: Slot) -> Option<&[u8]> {
        self.table.name(slot)
    }

    /// Adds an account that is not there yet, with nothing in it.
    pub(super) fn insert(&mut self, hash: u64, name: &[u8]) -> Option<Slot> {
        self.table.insert(hash, name, Record { account: Account::default(), root: Holds::NONE }).ok()
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.table.remove(slot);
    }

    /// Writes what is in an account over another one, whose memory is used again.
    pub(super) fn load(&self, slot: Slot, into: &mut Account) {
        let Some(record) = self.table.get(slot) else { return };
        let Account { meters, open, earliest, latest } = &record.account;
        into.meters.clone_from(meters);
        (into.open, into.earliest, into.latest) = (*open, *earliest, *latest);
    }

    pub(super) fn save(&mut self, slot: Slot, from: &Account) {
        let Some(record) = self.table.get_mut(slot) else { return };
        let Account { meters, open, earliest, latest } = from;
        record.account.meters.clone_from(meters);
        (record.account.open, record.account.earliest, record.account.latest) = (*open, *earliest, *latest);
    }

    /// The first of the account's open parts.
    pub(super) fn root(&self, slot: Slot) -> u32 {
        self.table.get(slot).map_or(Holds::NONE, |record| record.root)
    }

    pub(super) fn set_root(&mut self, slot: Slot, root: u32) {
        if let Some(record) = self.table.get_mut(slot) {
            record.root = root;
        }
    }

    /// Every account's slot and name.
    pub(super) fn all(&self) -> impl Iterator<Item = (Slot, &[u8])> {
        let mut at = Slot::FIRST;
        std::iter::from_fn(move || {
            let slot = self.table.next_from(at)?;
            at = slot.next();
            Some((slot, self.table.name(slot)?))
        })
    }

    /// Looks at a few accounts, from where it left off, and drops those that are idle and not in use. Says how many.
    pub(super) fn reclaim(&mut self, few: usize, now: Timestamp, in_use: impl Fn(Slot) -> bool) -> usize {
        let mut dropped = 0;
        for _ in 0..few {
            let Some(slot) = self.table.next_from(self.walk) else {
                self.walk = Slot::FIRST;
                continue;
            };
            self.walk = slot.next();
            if self.table.get(slot).is_some_and(|record| record.account.is_idle(now)) && !in_use(slot) {
                self.table.remove(slot);
                dropped += 1;
            }
        }
        dropped
    }
}
