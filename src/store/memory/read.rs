//! Reading: pages in order, over all shards at one instant. Not the hot path.

use std::collections::BinaryHeap;

use super::sync::MutexGuard;
use super::{MemoryStore, Shard};
use crate::account::{Account, Part};
use crate::error::StoreError;
use crate::id::{OpId, Subject};
use crate::plan::{Due, Plan};
use crate::store::table::Slot;
use crate::store::{PartKey, PartsOf};
use crate::time::Timestamp;

impl MemoryStore {
    pub(super) fn read_account(&self, of: &Subject) -> Option<Account> {
        let hash = self.hash.of(of.as_bytes());
        let shard = self.shards.get(usize::from(self.shard_of(hash)))?.it.lock();
        let slot = shard.accounts.find(hash, of.as_bytes())?;
        Some(shard.account(slot))
    }

    pub(super) fn read_accounts(&self, after: Option<&Subject>, most: usize) -> Vec<(Subject, Account)> {
        let shards = self.lock_all();
        // The least names, the largest of them on top.
        let mut least: BinaryHeap<(&[u8], usize, Slot)> = BinaryHeap::new();
        for (number, shard) in shards.iter().enumerate() {
            for (slot, name) in shard.accounts.all() {
                if after.is_some_and(|after| name <= after.as_bytes()) {
                    continue;
                }
                if least.len() < most {
                    least.push((name, number, slot));
                } else if least.peek().is_some_and(|(largest, ..)| name < &**largest) {
                    least.pop();
                    least.push((name, number, slot));
                }
            }
        }
        let one = |(_, number, slot): (&[u8], usize, Slot)| {
            let shard = shards.get(number)?;
            Some((shard.subject(slot)?, shard.account(slot)))
        };
        least.into_sorted_vec().into_iter().filter_map(one).collect()
    }

    pub(super) fn read_parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Vec<Part> {
        let shards = self.lock_all();
        let mut found: Vec<(OpId, Found)> = Vec::new();
        let fits =
            |op: &OpId| after.is_none_or(|after| *op >= after.0) && !matches!(of, PartsOf::Op(wanted) if wanted != op);
        for (number, shard) in shards.iter().enumerate() {
            let open = shard.holds.all().filter(|(_, op, _)| fits(op));
            found.extend(open.map(|(part, op, slot)| (op, Found::Open(number, part, slot))));
        }
        if *of != PartsOf::Open {
            for lane in &self.ops {
                let ops = lane.it.lock();
                for (op, kept) in ops.all_kept().filter(|(op, _)| fits(op)) {
                    found.extend(kept.ended.iter().map(|part| (op.clone(), Found::Ended(Box::new(part.clone())))));
                }
            }
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut page: Vec<Part> = Vec::new();
        for parts in found.chunk_by(|a, b| a.0 == b.0) {
            if page.len() >= most {
                break;
            }
            let mut parts: Vec<Part> = parts.iter().filter_map(|(_, found)| found.read(&shards)).collect();
            parts.retain(|part| of.has(part) && after.is_none_or(|after| is_after(part, after)));
            parts.sort_unstable_by(|a, b| (&a.account, a.sequence).cmp(&(&b.account, b.sequence)));
            page.append(&mut parts);
        }
        page.truncate(most);
        page
    }

    pub(super) fn lock_all(&self) -> Vec<MutexGuard<'_, Shard>> {
        self.shards.iter().map(|lane| lane.it.lock()).collect()
    }

    /// Ends what is due in the account of this shard that was noted first; `None` if nothing is due.
    pub(super) fn sweep_one(&self, number: u16, now: Timestamp, most: usize) -> Result<Option<usize>, StoreError> {
        let Some(lane) = self.shards.get(usize::from(number)) else { return Ok(None) };
        let subject = {
            let mut guard = lane.it.lock();
            let Shard { accounts, holds } = &mut *guard;
            let due = holds.first_due(now, |slot| accounts.root(slot));
            self.tell_due(number, &guard);
            due.and_then(|slot| guard.subject(slot))
        };
        let Some(subject) = subject else { return Ok(None) };
        let mut ended = 0;
        let _nothing_asked = self.carry_out(&Plan::new(now).named(subject), now, most.min(Due::MOST), &mut ended)?;
        Ok(Some(ended))
    }
}

/// Where a part is to be read.
enum Found {
    Open(usize, u32, Slot),
    Ended(Box<Part>),
}

impl Found {
    fn read(&self, shards: &[MutexGuard<'_, Shard>]) -> Option<Part> {
        match self {
            Self::Open(number, part, slot) => {
                let shard = shards.get(*number)?;
                shard.holds.part(*part, &shard.subject(*slot)?)
            }
            Self::Ended(part) => Some((**part).clone()),
        }
    }
}

fn is_after(part: &Part, (op, account, sequence): &PartKey) -> bool {
    (&part.op, &part.account, part.sequence) > (op, account, *sequence)
}
