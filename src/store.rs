//! The contract of a store: one atomic verb, and reading.
//!
//! A store keeps what plans are decided on: accounts, hold parts, answers, records of limits, and the ledger. It decides
//! nothing. Its one verb, [`Store::apply`], loads what a plan names, calls [`decide`], saves what that changed, and
//! does the three as one step that no other plan comes between. A host that has a database with transactions writes the
//! few methods of [`Transaction`], and leaves the order of things to [`transact`]; one whose database keeps bytes under keys in
//! their order writes [`Database`], which is less, and has [`Ordered`].
//!
//! # What a store promises
//!
//! - **Atomic.** Between loading and saving nothing else touches what was loaded. When `apply` returns a verdict, all of
//!   its changes are there, or none: accounts, parts, rows and the answer together. Separate loading and saving, without
//!   one transaction around both, loses updates.
//! - **Durable** as far as it says of itself, before `apply` returns.
//! - **Complete.** What was saved is found again by whatever the reading methods ask for. What has ended may be removed
//!   once it is older than the horizon of the plans that come in (a day, unless a host has set another): ended parts,
//!   answers. Accounts may be dropped when [`Account::is_idle`] says, of the epoch in [`Counters`], that they equal one
//!   never seen: a meter that was reset has left that epoch, and a successor would go back to it. Open parts, ledger
//!   rows and records of limits are never dropped; old rows may be compacted into [`Total`]s.
//! - **Errors** say what is known. Anything but [`StoreError::is_unknown`] means that nothing was changed. Once a commit
//!   has been sent and not been answered, the error is `unknown`, and the same plan, under the same operation id, resolves
//!   it.
//! - **Time.** A store without a clock of its own decides at the `now` that it is given. One with a clock, shared between
//!   hosts, decides at its own instant; where the plan does not hold then, the verdict is [`Verdict::Stale`] with that
//!   instant, and the caller plans again.
//! - **Reading** may be as old as the last `apply` that had returned when the reading began, and no older for the same
//!   caller. A page is consistent in itself; the next one may see later changes.
//!
//! # A whole store
//!
//! ```
//! use std::collections::{BTreeMap, HashMap};
//! use std::sync::{Mutex, PoisonError};
//!
//! use keyward::account::{Account, Part};
//! use keyward::plan::{Answer, Due, LimitRecord, Plan, State, Verdict};
//! use keyward::store::{transact, Counters, Transaction};
//! use keyward::{LimitId, OpId, StoreError, Subject, Timestamp};
//!
//! #[derive(Clone, Default)]
//! struct Tables {
//!     accounts: HashMap<Subject, Account>,
//!     parts: BTreeMap<(OpId, Subject, u16), Part>,
//!     answers: HashMap<OpId, Answer>,
//!     limits: HashMap<LimitId, LimitRecord>,
//!     rows: Vec<keyward::account::Row>,
//!     counters: Counters,
//! }
//!
//! impl Transaction for Tables {
//!     fn account(&mut self, of: &Subject) -> Result<Account, StoreError> {
//!         Ok(self.accounts.get(of).cloned().unwrap_or_default())
//!     }
//!     fn due(&mut self, of: &Subject, now: Timestamp) -> Result<Due, StoreError> {
//!         Ok(Due::first(self.parts.values().filter(|part| part.account == *of), now))
//!     }
//!     fn parts(&mut self, of: &OpId) -> Result<Vec<Part>, StoreError> {
//!         Ok(self.parts.values().filter(|part| part.op == *of).cloned().collect())
//!     }
//!     fn answer(&mut self, to: &OpId) -> Result<Option<Answer>, StoreError> {
//!         Ok(self.answers.get(to).cloned())
//!     }
//!     fn limit(&mut self, of: &LimitId) -> Result<Option<LimitRecord>, StoreError> {
//!         Ok(self.limits.get(of).cloned())
//!     }
//!     fn counters(&mut self) -> Result<Counters, StoreError> {
//!         Ok(self.counters)
//!     }
//!     fn save(&mut self, state: &State) -> Result<(), StoreError> {
//!         let changes = &state.changes;
//!         for gone in &changes.forgotten {
//!             self.accounts.remove(gone);
//!             self.parts.values_mut().filter(|part| part.account == *gone).for_each(|part| part.forget(changes.at));
//!         }
//!         self.accounts.extend(state.changed().map(|it| (it.subject.clone(), it.account.clone())));
//!         self.parts.extend(changes.parts.iter().map(|it| ((it.op.clone(), it.account.clone(), it.sequence), it.clone())));
//!         self.answers.extend(changes.answer.iter().map(|it| (it.op.clone(), it.clone())));
//!         self.limits.extend(changes.limits.iter().map(|it| (it.limit.clone(), it.clone())));
//!         self.rows.extend(changes.rows.iter().cloned());
//!         self.counters = state.counters;
//!         Ok(())
//!     }
//! }
//!
//! /// The transaction: a copy that replaces the tables if the plan was carried out.
//! fn apply(tables: &Mutex<Tables>, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
//!     let mut tables = tables.lock().unwrap_or_else(PoisonError::into_inner);
//!     let mut copy = tables.clone();
//!     let verdict = transact(&mut copy, plan, now)?;
//!     if verdict.is_saved() {
//!         *tables = copy;
//!     }
//!     Ok(verdict)
//! }
//!
//! let (tables, now) = (Mutex::new(Tables::default()), Timestamp::EPOCH);
//! let plan = Plan::new(now).named(Subject::of([("key", "alice")])?);
//! assert!(matches!(apply(&tables, &plan, now)?, Verdict::Granted(_)));
//! # Ok::<(), keyward::Error>(())
//! ```

mod asynchronous;
mod codec;
mod ledger;
pub mod memory;
mod ordered;
mod replan;
mod shared;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub(crate) mod table;

pub use asynchronous::{AsyncStore, Blocking, Boxed, DynAsyncStore, Ready, block_on};
pub(crate) use asynchronous::{Unpark, run};
pub use ledger::{Filter, Mismatch, Sum, Total, sums, verify};
pub use memory::MemoryStore;
pub use ordered::{Bytes, Database, Ending, Ordered, Pair};
pub use replan::apply_at;
pub(crate) use replan::{Question, ask_of};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore, Synchronous};

use crate::account::{Account, Part, Row};
use crate::error::StoreError;
use crate::id::{LimitId, OpId, Subject};
pub use crate::plan::Counters;
use crate::plan::{Answer, Due, LimitRecord, Loaded, Plan, Report, State, Verdict, decide};
use crate::time::Timestamp;

/// Keeps accounts, and decides plans on them atomically. See the [module](self) for what an implementation promises.
pub trait Store: Send + Sync {
    /// Loads what the plan names, decides, and saves what changed: one atomic step.
    ///
    /// # Errors
    /// The store could not do it. Unless [`StoreError::is_unknown`] says otherwise, nothing was changed.
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError>;

    /// Ends up to `most` hold parts that have expired by `now`, and says how many; fewer than `most` means that no more
    /// are due. Admission needs no sweep; the ledger does.
    ///
    /// # Errors
    /// The store could not do it; what was ended before stays ended.
    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError>;

    /// The account of a subject, if the store has one.
    ///
    /// # Errors
    /// The store could not be read.
    fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError>;

    /// Up to `most` accounts, in the order of their subjects, from the first after `after` on.
    ///
    /// # Errors
    /// The store could not be read.
    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError>;

    /// Up to `most` hold parts, open and ended as far as they are kept, from the first after `after` on, in the order of
    /// their keys.
    ///
    /// # Errors
    /// The store could not be read.
    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError>;

    /// Up to `most` ledger rows that the filter lets through, with their numbers, oldest first, from the first with a
    /// larger number than `after` on. Numbers rise in the order in which rows were written.
    ///
    /// # Errors
    /// The store could not be read.
    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError>;

    /// What the rows that were compacted add up to, by account, meter, epoch and window.
    ///
    /// # Errors
    /// The store could not be read.
    fn totals(&self) -> Result<Vec<Total>, StoreError>;

    /// Replaces rows older than `before` by their totals, and says how many.
    ///
    /// # Errors
    /// The store could not do it; nothing was changed, unless the error is unknown.
    fn compact(&self, before: Timestamp) -> Result<usize, StoreError>;

    /// The records of all limits that were ever adopted.
    ///
    /// # Errors
    /// The store could not be read.
    fn limits(&self) -> Result<Vec<LimitRecord>, StoreError>;
}

/// Which hold parts to read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartsOf {
    /// All that are open.
    Open,
    /// All of one operation, open or ended.
    Op(OpId),
    /// All of one account, open or ended.
    Account(Subject),
}

impl PartsOf {
    /// Whether a part is among them.
    #[must_use]
    pub fn has(&self, part: &Part) -> bool {
        match self {
            Self::Open => part.is_open(),
            Self::Op(op) => part.op == *op,
            Self::Account(subject) => part.account == *subject,
        }
    }
}

/// What tells one hold part from all others, in the order in which they are read.
pub type PartKey = (OpId, Subject, u16);

/// What a store offers inside one of its transactions, so that [`transact`] can do the rest.
pub trait Transaction {
    /// The account of a subject; an empty one if there is none.
    ///
    /// # Errors
    /// The store could not be read.
    fn account(&mut self, of: &Subject) -> Result<Account, StoreError>;

    /// The open parts of an account that have expired by `now`: [`Due::first`] of them.
    ///
    /// # Errors
    /// The store could not be read.
    fn due(&mut self, of: &Subject, now: Timestamp) -> Result<Due, StoreError>;

    /// All parts of an operation that are still known.
    ///
    /// # Errors
    /// The store could not be read.
    fn parts(&mut self, of: &OpId) -> Result<Vec<Part>, StoreError>;

    /// What was answered under an operation id, if that is still known.
    ///
    /// # Errors
    /// The store could not be read.
    fn answer(&mut self, to: &OpId) -> Result<Option<Answer>, StoreError>;

    /// The record of a limit, if there is one.
    ///
    /// # Errors
    /// The store could not be read.
    fn limit(&mut self, of: &LimitId) -> Result<Option<LimitRecord>, StoreError>;

    /// The store's own counters; the default in a new store.
    ///
    /// # Errors
    /// The store could not be read.
    fn counters(&mut self) -> Result<Counters, StoreError>;

    /// Saves every account that [`State::changed`] lists, everything in `state.changes`, and `state.counters`.
    ///
    /// # Errors
    /// The store could not be written.
    fn save(&mut self, state: &State) -> Result<(), StoreError>;
}

/// Loads, decides and saves inside a transaction that the caller has begun. The caller commits if
/// [`Verdict::is_saved`], and rolls back otherwise, also after an error.
///
/// # Errors
/// What the transaction's methods return.
pub fn transact(tables: &mut impl Transaction, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
    let mut state = load(tables, plan, now)?;
    loop {
        let verdict = decide(plan, &mut state, now);
        if verdict.is_saved() || verdict == Verdict::More {
            tables.save(&state)?;
        }
        if verdict != Verdict::More {
            return Ok(verdict);
        }
        state.saved();
        for loaded in state.accounts.iter_mut().filter(|loaded| loaded.due.next.is_some_and(|next| next <= now)) {
            loaded.due = tables.due(&loaded.subject, now)?;
        }
    }
}

/// Everything that a plan is decided on.
fn load(tables: &mut impl Transaction, plan: &Plan, now: Timestamp) -> Result<State, StoreError> {
    let mut state = State::default();
    state.counters = tables.counters()?;
    if let Some(op) = &plan.op {
        state.answer = tables.answer(op)?;
    }
    if let Some(hold) = &plan.hold {
        state.parts = tables.parts(hold)?;
    }
    let mut subjects: Vec<Subject> = plan.accounts.iter().map(|place| place.subject.clone()).collect();
    for part in &state.parts {
        if !subjects.contains(&part.account) {
            subjects.push(part.account.clone());
        }
    }
    for subject in subjects {
        let account = tables.account(&subject)?;
        let mut loaded = Loaded::new(subject, account);
        if loaded.account.earliest <= now {
            loaded.due = tables.due(&loaded.subject, now)?;
        }
        state.accounts.push(loaded);
    }
    for report in &plan.reports {
        if let Report::Adopt { limit, .. } = report {
            state.limits.extend(tables.limit(limit)?);
        }
    }
    Ok(state)
}
