//! The store in memory: exact, bounded, and gone with the process.
//!
//! A [`MemoryStore`] is split into shards, each behind a lock of its own. A plan locks the shards of its accounts, each
//! once and all in one order, so that plans on different accounts do not wait for one another, and a plan on several is
//! still one step. Where a plan is decided is [`decide`](crate::plan::decide), here as everywhere.
//!
//! What it keeps is bounded. There are only so many accounts: each one that is added has a few others looked at, and
//! those that [say nothing](crate::account::Account::is_idle) are dropped; where none is idle, a plan that needs one more
//! fails with [`StoreError::is_full`]. The ledger is a ring; a row that leaves it is added to the [`Total`]s that prove
//! its account. Answers and ended parts are kept for operation ids of a host's own, for the horizon of their plan and as
//! long as there are not too many; an id of the library's is not answered twice, and its parts are dropped as they end,
//! because whoever holds the permit has them.
//!
//! ```
//! use keyward::plan::{Plan, Verdict};
//! use keyward::{MemoryStore, Store, Subject, Timestamp};
//!
//! let store = MemoryStore::builder().accounts(100_000).rows(10_000).build()?;
//! let now = Timestamp::EPOCH;
//! let plan = Plan::new(now).named(Subject::of([("key", "alice")])?);
//! assert!(matches!(store.apply(&plan, now)?, Verdict::Granted(_)));
//!
//! let error = MemoryStore::builder().shards(12).build().unwrap_err();
//! assert_eq!(error.field(), Some("shards"));
//! # Ok::<(), keyward::Error>(())
//! ```

mod accounts;
mod apply;
mod heap;
mod holds;
mod ledger;
mod ops;
mod pack;
mod read;
mod snapshot;
mod sync;

use std::collections::BTreeMap;

use accounts::Accounts;
use holds::Holds;
use ledger::Ledger;
use ops::Ops;
pub use snapshot::Snapshot;
use sync::{AtomicI64, AtomicU32, AtomicUsize, Mutex, Ordering};

use super::table::{Hash64, Slot};
use super::{Filter, PartKey, PartsOf, Store, Total};
use crate::account::{Account, Part, Row};
use crate::error::{Error, StoreError};
use crate::id::{LimitId, Subject};
use crate::plan::{Counters, Due, Grant, LimitRecord, Plan, Report, State, Verdict};
use crate::time::Timestamp;

/// A store in memory. See the [module](self).
pub struct MemoryStore {
    hash: Hash64,
    shards: Box<[Lane<Shard>]>,
    ops: Box<[Lane<Ops>]>,
    books: Mutex<Books>,
    ledger: Mutex<Ledger>,
    /// The epoch of the books, for those who need no more of them.
    epoch: AtomicU32,
    /// Nothing expires before this.
    due: AtomicI64,
    /// How many accounts there are, those to come included.
    count: AtomicUsize,
    most: usize,
}

/// Something behind a lock, on cache lines of its own.
///
/// Locks are taken in one order: accounts by their shards' numbers, operations by theirs, the books, the ledger. Who
/// holds none of operations or later may take those of operations one by one.
#[repr(align(128))]
struct Lane<T> {
    it: Mutex<T>,
    /// For accounts: nothing here expires before this.
    due: AtomicI64,
}

impl<T> Lane<T> {
    fn new(it: T) -> Self {
        Self { it: Mutex::new(it), due: AtomicI64::new(i64::MAX) }
    }
}

#[derive(Debug, Default)]
struct Shard {
    accounts: Accounts,
    holds: Holds,
}

impl Shard {
    /// Whose account lies in this slot.
    fn subject(&self, slot: Slot) -> Option<Subject> {
        std::str::from_utf8(self.accounts.name(slot)?).ok()?.parse().ok()
    }

    fn account(&self, slot: Slot) -> Account {
        let mut account = Account::default();
        self.accounts.load(slot, &mut account);
        account
    }
}

/// What is known of limits, and the store's own counters.
#[derive(Debug, Default)]
struct Books {
    counters: Counters,
    limits: BTreeMap<LimitId, LimitRecord>,
}

impl Books {
    fn load(&self, plan: &Plan, state: &mut State) {
        state.counters = self.counters;
        for report in &plan.reports {
            if let Report::Adopt { limit, .. } = report {
                state.limits.extend(self.limits.get(limit).cloned());
            }
        }
    }

    fn save(&mut self, state: &State) {
        self.counters = state.counters;
        self.limits.extend(state.changes.limits.iter().map(|it| (it.limit.clone(), it.clone())));
    }
}

/// How a [`MemoryStore`] is to be.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    shards: usize,
    accounts: usize,
    rows: usize,
    answers: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self { shards: 64, accounts: 10_000_000, rows: 100_000, answers: 100_000 }
    }
}

impl Builder {
    /// In how many parts it is split, a power of two up to 1,024; 64 unless set. More of them let more threads work
    /// side by side.
    pub const fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// The most accounts that it keeps; ten million unless set.
    pub const fn accounts(mut self, most: usize) -> Self {
        self.accounts = most;
        self
    }

    /// The most ledger rows that it keeps; a hundred thousand unless set.
    pub const fn rows(mut self, most: usize) -> Self {
        self.rows = most;
        self
    }

    /// The most operations of a host's own ids of which it keeps answers and ended parts, rounded up to a multiple of
    /// the shards; a hundred thousand unless set.
    pub const fn answers(mut self, most: usize) -> Self {
        self.answers = most;
        self
    }

    /// The store.
    ///
    /// # Errors
    /// The first value that makes no sense, by the name of its field.
    pub fn build(self) -> Result<MemoryStore, Error> {
        let Self { shards, accounts, rows, answers } = self;
        if !shards.is_power_of_two() || shards > 1_024 {
            return Err(Error::invalid("shards", shards, "a power of two, up to 1,024"));
        }
        let most = usize::try_from(u32::MAX / 2).unwrap_or(usize::MAX);
        for (field, value) in [("accounts", accounts), ("rows", rows), ("answers", answers)] {
            if value == 0 || value > most {
                return Err(Error::invalid(field, value, "at least 1, and at most 2,147,483,647"));
            }
        }
        let each = answers.div_ceil(shards);
        Ok(MemoryStore {
            hash: Hash64::new(),
            shards: (0..shards).map(|_| Lane::new(Shard::default())).collect(),
            ops: (0..shards).map(|_| Lane::new(Ops::new(each))).collect(),
            books: Mutex::new(Books::default()),
            ledger: Mutex::new(Ledger::new(rows)),
            epoch: AtomicU32::new(0),
            due: AtomicI64::new(i64::MAX),
            count: AtomicUsize::new(0),
            most: accounts,
        })
    }
}

impl MemoryStore {
    /// An empty store, as [`Builder`] has it unless told otherwise.
    #[must_use]
    pub fn new() -> Self {
        // The builder's own values make sense.
        Builder::default().build().unwrap_or_else(|_| unreachable!())
    }

    /// A store of another size.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How many accounts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are no accounts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the account of this subject lies, for the [`hint`](crate::plan::Place::hint) of plans that name it often:
    /// it need not be looked for then. Whoever is not known yet is added, if there is room.
    ///
    /// A hint is good for any plan that names this subject, whatever has become of the account: it is compared with what
    /// lies there, and where it is wrong the account is looked for.
    #[must_use]
    pub fn resolve(&self, subject: &Subject) -> u64 {
        let hash = self.hash.of(subject.as_bytes());
        let number = self.shard_of(hash);
        let Some(lane) = self.shards.get(usize::from(number)) else { return 0 };
        let mut shard = lane.it.lock();
        let name = subject.as_bytes();
        if let Some(slot) = shard.accounts.find(hash, name) {
            return Self::hint(number, slot);
        }
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return 0;
        }
        shard.accounts.insert(hash, name).map_or(0, |slot| Self::hint(number, slot))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("accounts", &self.len()).field("most", &self.most).finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        // A verdict is large: it is made where it is returned.
        let mut verdict = Ok(Verdict::Granted(Grant::default()));
        if let Ok(Verdict::Granted(grant)) = &mut verdict {
            match self.carry_out_plainly(plan, now, grant) {
                Some(Ok(())) => return verdict,
                Some(Err(denial)) => return Ok(Verdict::Denied(*denial)),
                None => {}
            }
        }
        self.carry_out(plan, now, Due::MOST, &mut 0)
    }

    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        if now.as_micros() < self.due.load(Ordering::Relaxed) {
            return Ok(0);
        }
        // Whoever adds a part from here on says so after this, and those that are there are read below.
        self.due.store(i64::MAX, Ordering::SeqCst);
        let mut ended = 0;
        for (number, lane) in (0_u16..).zip(&self.shards) {
            while ended < most && lane.due.load(Ordering::Relaxed) <= now.as_micros() {
                match self.sweep_one(number, now, most - ended)? {
                    Some(some) => ended += some,
                    None => break,
                }
            }
            self.due.fetch_min(lane.due.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        Ok(ended)
    }

    fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        Ok(self.read_account(of))
    }

    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        Ok(self.read_accounts(after, most))
    }

    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        Ok(self.read_parts(of, after, most))
    }

    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        Ok(self.ledger.lock().rows(filter, after, most))
    }

    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        Ok(self.ledger.lock().totals())
    }

    fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        Ok(self.ledger.lock().compact(before))
    }

    fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        Ok(self.books.lock().limits.values().cloned().collect())
    }
}
