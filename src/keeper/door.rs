//! The way to the store. A store that is down is left alone for a while, and asked by one verb at a time whether it is back.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use crate::account::{Account, Part, Row};
use crate::error::{Error, StoreError};
use crate::id::Subject;
use crate::observe::{Event, Told};
use crate::picture::StoreState;
use crate::plan::{LimitRecord, Plan, Verdict};
use crate::store::{AsyncStore, Filter, PartKey, PartsOf, Question, Total};
use crate::time::{Clock, Timestamp};

/// How long a store is left alone after it was first down; after each time that it still was, twice as long.
const FIRST: i64 = 100_000;
/// And how long at most.
const MOST: i64 = 10_000_000;

pub(super) struct Door<T> {
    pub(super) store: T,
    clock: Arc<dyn Clock>,
    /// Until when the store is left alone, in microseconds; `i64::MIN` while it answers.
    until: AtomicI64,
    /// How often in a row it was down.
    failures: AtomicU32,
    told: Told,
}

impl<T> Door<T> {
    pub(super) fn new(store: T, clock: Arc<dyn Clock>, told: Told) -> Self {
        Self { store, clock, until: AtomicI64::new(i64::MIN), failures: AtomicU32::new(0), told }
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
    #[inline]
    fn enter(&self) -> Result<Entered, StoreError> {
        match self.until.load(Ordering::Acquire) {
            i64::MIN => Ok(Entered::Freely),
            until => self.probe(until),
        }
    }

    #[cold]
    fn probe(&self, until: i64) -> Result<Entered, StoreError> {
        let next = self.clock.now().as_micros().saturating_add(self.pause());
        // Whoever comes meanwhile is not let through; if nothing is heard of this one, another is.
        if self.is_due(until) && self.until.compare_exchange(until, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return Ok(Entered::Alone);
        }
        Err(StoreError::unavailable(format!("it is not asked before {}", Timestamp::from_micros(until))))
    }

    fn pause(&self) -> i64 {
        let doublings = self.failures.load(Ordering::Relaxed).min(16).saturating_sub(1);
        FIRST.saturating_mul(1 << doublings).min(MOST)
    }

    /// Notes whether it has answered.
    #[inline]
    fn note<R>(&self, entered: Entered, answer: &Result<R, impl Borrow<StoreError>>) {
        match answer {
            Err(error) if error.borrow().is_unavailable() => self.shuts(entered, error.borrow()),
            _ if self.until.load(Ordering::Relaxed) != i64::MIN => {
                self.failures.store(0, Ordering::Relaxed);
                if self.until.swap(i64::MIN, Ordering::AcqRel) != i64::MIN {
                    self.told.tell(|| Event::StoreBack);
                }
            }
            _ => {}
        }
    }

    #[cold]
    fn shuts(&self, entered: Entered, error: &StoreError) {
        let now = self.clock.now().as_micros();
        match entered {
            Entered::Alone => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.until.store(now.saturating_add(self.pause()), Ordering::Release);
            }
            // Of those who were under way together the first is enough.
            Entered::Freely => {
                let until = now.saturating_add(FIRST);
                if self.until.compare_exchange(i64::MIN, until, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    self.failures.store(1, Ordering::Relaxed);
                    self.told.tell(|| Event::StoreDown { error });
                }
            }
        }
    }
}

/// How a verb came to the store.
#[derive(Clone, Copy)]
enum Entered {
    Freely,
    /// To see whether it is back.
    Alone,
}

impl<T: AsyncStore> Door<T> {
    /// Asks a question: what [`AsyncStore::apply`] does, with the verdict where it belongs.
    #[inline]
    pub(super) async fn ask(
        &self,
        question: &mut Question,
        fill: impl FnMut(&mut Plan, Timestamp) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let entered = self.enter()?;
        let answer = question.ask(&self.store, fill).await;
        match answer.as_ref().map_err(Error::store) {
            Ok(()) => self.note(entered, &Ok::<_, StoreError>(())),
            Err(Some(error)) => self.note(entered, &Err::<(), _>(error)),
            // Nobody may have been asked.
            Err(None) => {}
        }
        answer
    }
}

impl<T: AsyncStore> AsyncStore for Door<T> {
    #[inline]
    async fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        let entered = self.enter()?;
        let answer = self.store.apply(plan, now).await;
        self.note(entered, &answer);
        answer
    }

    async fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        let entered = self.enter()?;
        let answer = self.store.sweep(now, most).await;
        self.note(entered, &answer);
        answer
    }

    async fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        let entered = self.enter()?;
        let answer = self.store.account(of).await;
        self.note(entered, &answer);
        answer
    }

    async fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        let entered = self.enter()?;
        let answer = self.store.accounts(after, most).await;
        self.note(entered, &answer);
        answer
    }

    async fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        let entered = self.enter()?;
        let answer = self.store.parts(of, after, most).await;
        self.note(entered, &answer);
        answer
    }

    async fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        let entered = self.enter()?;
        let answer = self.store.rows(filter, after, most).await;
        self.note(entered, &answer);
        answer
    }

    async fn totals(&self) -> Result<Vec<Total>, StoreError> {
        let entered = self.enter()?;
        let answer = self.store.totals().await;
        self.note(entered, &answer);
        answer
    }

    async fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        let entered = self.enter()?;
        let answer = self.store.compact(before).await;
        self.note(entered, &answer);
        answer
    }

    async fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        let entered = self.enter()?;
        let answer = self.store.limits().await;
        self.note(entered, &answer);
        answer
    }
}
