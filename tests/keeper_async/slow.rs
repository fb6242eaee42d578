//! A store that is really waited for, and a way to sleep.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use keyward::account::{Account, Part, Row};
use keyward::plan::{LimitRecord, Plan, Verdict};
use keyward::store::{AsyncStore, Filter, PartKey, PartsOf, Total};
use keyward::{MemoryStore, Store, StoreError, Subject, Timestamp};

/// Waits once before it does anything, and once before it says so. As its answers can be lost, operations that are settled
/// again go by ids of the host's: of others a store in memory keeps no end, because it answers at once.
#[derive(Default)]
pub(crate) struct Slow(pub(crate) MemoryStore);

/// Waits for no reason.
async fn once() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Slow {
    async fn slowly<T>(&self, ask: impl FnOnce(&MemoryStore) -> T + Send) -> T
    where
        T: Send,
    {
        once().await;
        let answer = ask(&self.0);
        once().await;
        answer
    }
}

impl AsyncStore for Slow {
    async fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        self.slowly(|store| store.apply(plan, now)).await
    }

    async fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        self.slowly(|store| store.sweep(now, most)).await
    }

    async fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        self.slowly(|store| store.account(of)).await
    }

    async fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        self.slowly(|store| store.accounts(after, most)).await
    }

    async fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        self.slowly(|store| store.parts(of, after, most)).await
    }

    async fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        self.slowly(|store| store.rows(filter, after, most)).await
    }

    async fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.slowly(|store| store.totals()).await
    }

    async fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.slowly(|store| store.compact(before)).await
    }

    async fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        self.slowly(|store| store.limits()).await
    }
}

/// Sleeps, and keeps the thread busy meanwhile.
pub(crate) async fn nap(length: Duration) {
    let end = Instant::now() + length;
    poll_fn(|context| {
        if Instant::now() >= end {
            return Poll::Ready(());
        }
        std::thread::yield_now();
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
