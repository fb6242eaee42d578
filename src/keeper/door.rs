//! The way to the store. A store that is down is left alone for a while, and asked by one verb at a time whether it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use crate::account::{Account, Part, Row};
use crate::error::StoreError;
use crate::id::Subject;
use crate::plan::{LimitRecord, Plan, Verdict};
use crate::store::{AsyncStore, Filter, PartKey, PartsOf, Total};
use crate::time::{Clock, Length, Timestamp};

/// How long a store is left alone after it was first down; after each time that it still was, twice as long.
const FIRST: i64 = 100_000;
/// And how long at most.
const MOST: i64 = 10_000_000;

/// Whether a keeper's store can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum StoreState {
    /// It answers.
    Up,
    /// It did not, and is not asked before this instant.
    Down {
        /// When one verb asks it again.
        until: Timestamp,
    },
}

pub(super) struct Door<T> {
    pub(super) store: T,
    clock: Arc<dyn Clock>,
    /// Until when the store is left alone, in microseconds; `i64::MIN` while it answers.
    until: AtomicI64,
    /// How often in a row it was down.
    failures: AtomicU32,
}

impl<T> Door<T> {
    pub(super) fn new(store: T, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, until: AtomicI64::new(i64::MIN), failures: AtomicU32::new(0) }
    }

    pub(super) fn state(&self) -> StoreState {
        match self.until.load(Ordering::Acquire) {
            i64::MIN => StoreState::Up,
            until => StoreState::Down { until: Timestamp::from_micros(until) },
        }
    }

    /// Whether it is of no use to ask now.
    pub(super) fn is_shut(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until != i64::MIN && !self.is_due(until)
    }

    /// Whether the time for which it was to be left alone is over. A clock that stepped back does not make that longer.
    fn is_due(&self, until: i64) -> bool {
        let left = until.saturating_sub(self.clock.now().as_micros());
        !(1..=MOST).contains(&left)
    }

    /// Lets one through while the store may be down, and everyone while it is not.
    fn enter(&self) -> Result<(), StoreError> {
        let until = self.until.load(Ordering::Acquire);
        if until == i64::MIN {
            return Ok(());
        }
        let next = self.clock.now().as_micros().saturating_add(self.pause());
        if self.is_due(until) && self.until.compare_exchange(until, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return Ok(());
        }
        Err(StoreError::unavailable(format!("it is not asked before {}", Timestamp::from_micros(until))))
    }

    fn pause(&self) -> i64 {
        let doublings = self.failures.load(Ordering::Relaxed).min(16).saturating_sub(1);
        FIRST.saturating_mul(1 << doublings).min(MOST)
    }

    /// Notes whether it has answered.
    fn note<R>(&self, answer: Result<R, StoreError>) -> Result<R, StoreError> {
        match &answer {
            Err(error) if error.is_unavailable() => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let until = self.clock.now().as_micros().saturating_add(self.pause());
                self.until.store(until, Ordering::Release);
            }
            _ => self.opens(),
        }
        answer
    }

    #[inline]
    fn opens(&self) {
        if self.until.load(Ordering::Relaxed) != i64::MIN {
            self.failures.store(0, Ordering::Relaxed);
            self.until.store(i64::MIN, Ordering::Release);
        }
    }
}

impl<T: AsyncStore> AsyncStore for Door<T> {
    #[inline]
    async fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        self.enter()?;
        self.note(self.store.apply(plan, now).await)
    }

    async fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        self.enter()?;
        self.note(self.store.sweep(now, most).await)
    }

    async fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        self.enter()?;
        self.note(self.store.account(of).await)
    }

    async fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        self.enter()?;
        self.note(self.store.accounts(after, most).await)
    }

    async fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        self.enter()?;
        self.note(self.store.parts(of, after, most).await)
    }

    async fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        self.enter()?;
        self.note(self.store.rows(filter, after, most).await)
    }

    async fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.enter()?;
        self.note(self.store.totals().await)
    }

    async fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.enter()?;
        self.note(self.store.compact(before).await)
    }

    async fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        self.enter()?;
        self.note(self.store.limits().await)
    }
}
