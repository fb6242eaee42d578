//! Everything in a store, as it was at one instant: to be written out, and read back after a restart.

use super::sync::Ordering;
use super::{Builder, MemoryStore};
use crate::account::{Account, Part, Row};
use crate::error::{Error, StoreError};
use crate::id::{OpId, Subject};
use crate::plan::{Answer, Counters, LimitRecord};
use crate::store::Total;
use crate::store::memory::ledger::Ledger;
use crate::time::Timestamp;

/// Everything in a [`MemoryStore`], as it was at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The accounts.
    pub accounts: Vec<(Subject, Account)>,
    /// The open hold parts.
    pub parts: Vec<Part>,
    /// What is remembered of operations: until when, the answer, and the parts that have ended.
    pub kept: Vec<(OpId, Timestamp, Option<Answer>, Vec<Part>)>,
    /// The records of limits.
    pub limits: Vec<LimitRecord>,
    /// The store's own counters.
    pub counters: Counters,
    /// The ledger's rows, with their numbers.
    pub rows: Vec<(u64, Row)>,
    /// The number of the last row that was ever written.
    pub last_row: u64,
    /// The totals of rows that have left the ledger.
    pub totals: Vec<Total>,
}

impl MemoryStore {
    /// Everything that is in it, at one instant: other threads wait meanwhile.
    ///
    /// ```
    /// use keyward::plan::Plan;
    /// use keyward::{MemoryStore, Store, Subject, Timestamp};
    ///
    /// let store = MemoryStore::new();
    /// let snapshot = store.snapshot();
    /// let again = MemoryStore::builder().restore(snapshot.clone())?;
    /// assert_eq!(again.snapshot(), snapshot);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let shards = self.lock_all();
        let ops: Vec<_> = self.ops.iter().map(|lane| lane.it.lock()).collect();
        let (books, ledger) = (self.books.lock(), self.ledger.lock());
        let mut snapshot = Snapshot {
            counters: books.counters,
            limits: books.limits.values().cloned().collect(),
            rows: ledger.rows(&super::Filter::default(), 0, usize::MAX),
            last_row: ledger.last(),
            totals: ledger.totals(),
            ..Snapshot::default()
        };
        for shard in &shards {
            let subject = |slot| shard.subject(slot);
            snapshot
                .accounts
                .extend(shard.accounts.all().filter_map(|(slot, _)| Some((subject(slot)?, shard.account(slot)))));
            snapshot
                .parts
                .extend(shard.holds.all().filter_map(|(part, _, slot)| shard.holds.part(part, &subject(slot)?)));
        }
        for (op, kept) in ops.iter().flat_map(|ops| ops.all_kept()) {
            let answer = kept.answer.as_deref().cloned();
            snapshot.kept.push((op.clone(), kept.until, answer, kept.ended.clone()));
        }
        snapshot.accounts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        snapshot.parts.sort_unstable_by(|a, b| (&a.op, &a.account, a.sequence).cmp(&(&b.op, &b.account, b.sequence)));
        snapshot.kept.sort_unstable_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        snapshot
    }

    /// A store of the usual size with this in it.
    ///
    /// # Errors
    /// As of [`Builder::restore`].
    pub fn restore(snapshot: Snapshot) -> Result<Self, Error> {
        Self::builder().restore(snapshot)
    }
}

impl Builder {
    /// A store with everything that was in another. Hints of the other one are of no use to it.
    ///
    /// # Errors
    /// A value of the builder's that makes no sense; more accounts than it may have; a part whose account is missing.
    pub fn restore(self, snapshot: Snapshot) -> Result<MemoryStore, Error> {
        let rows_most = self.rows;
        let store = self.build()?;
        let Snapshot { accounts, parts, kept, limits, counters, rows, last_row, totals } = snapshot;
        for (subject, account) in accounts {
            if store.count.fetch_add(1, Ordering::Relaxed) >= store.most {
                return Err(StoreError::full(format_args!("{} accounts", store.most)).into());
            }
            let hash = store.hash.of(subject.as_bytes());
            let Some(lane) = store.shards.get(usize::from(store.shard_of(hash))) else { continue };
            let mut shard = lane.it.lock();
            if shard.accounts.find(hash, subject.as_bytes()).is_some() {
                return Err(StoreError::corrupt(format_args!("account {subject:?} is there twice")).into());
            }
            if let Some(slot) = shard.accounts.insert(hash, subject.as_bytes()) {
                shard.accounts.save(slot, &account);
            }
        }
        for part in parts {
            store.restore_part(&part)?;
        }
        for (op, until, answer, ended) in kept {
            let Some(lane) = store.ops.get(usize::from(store.shard_of(store.tag(&op)))) else { continue };
            let mut ops = lane.it.lock();
            if let Some(answer) = answer {
                ops.keep_answer(answer, until);
            }
            ended.iter().for_each(|part| ops.keep_part(part, until));
        }
        {
            let mut books = store.books.lock();
            books.counters = counters;
            books.limits = limits.into_iter().map(|it| (it.limit.clone(), it)).collect();
            *store.ledger.lock() = Ledger::restore(rows_most, last_row, rows, totals);
        }
        store.epoch.store(counters.epoch, Ordering::Relaxed);
        Ok(store)
    }
}

impl MemoryStore {
    fn restore_part(&self, part: &Part) -> Result<(), Error> {
        let missing = || StoreError::corrupt(format_args!("part {:?} has no account", part.op));
        let hash = self.hash.of(part.account.as_bytes());
        let number = self.shard_of(hash);
        let lane = self.shards.get(usize::from(number)).ok_or_else(missing)?;
        let mut shard = lane.it.lock();
        let slot = shard.accounts.find(hash, part.account.as_bytes()).ok_or_else(missing)?;
        let mut root = shard.accounts.root(slot);
        let place = shard.holds.insert(part, slot, &mut root);
        shard.accounts.set_root(slot, root);
        self.tell_due(number, &shard);
        drop(shard);
        let tag = self.tag(&part.op);
        if let Some(ops) = self.ops.get(usize::from(self.shard_of(tag))) {
            ops.it.lock().add(tag, number, place);
        }
        Ok(())
    }
}
