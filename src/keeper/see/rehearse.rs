//! A store on which verbs are rehearsed: it decides as the store under it would, saves nothing, and remembers what was asked.

use parking_lot::Mutex;

use crate::account::{Account, Part, Row};
use crate::budgets::decide_on;
use crate::error::StoreError;
use crate::id::Subject;
use crate::plan::{LimitRecord, Plan, Verdict};
use crate::store::{AsyncStore, Filter, PartKey, PartsOf, Total};
use crate::time::Timestamp;

/// See the [module](self). What is over in the store under it was ended before.
pub(super) struct Rehearsed<'a, T> {
    store: &'a T,
    asked: Mutex<Vec<(Plan, Verdict)>>,
}

impl<'a, T> Rehearsed<'a, T> {
    pub(super) const fn on(store: &'a T) -> Self {
        Self { store, asked: Mutex::new(Vec::new()) }
    }

    /// Every plan that was asked, and what was decided.
    pub(super) fn asked(self) -> Vec<(Plan, Verdict)> {
        self.asked.into_inner()
    }
}

impl<T: AsyncStore> AsyncStore for Rehearsed<'_, T> {
    async fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        let mut accounts = Vec::with_capacity(plan.accounts.len());
        for place in &plan.accounts {
            accounts.push(self.store.account(&place.subject).await?);
        }
        let verdict = decide_on(plan, accounts, now);
        self.asked.lock().push((plan.clone(), verdict.clone()));
        Ok(verdict)
    }

    async fn sweep(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        self.store.account(of).await
    }

    async fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        self.store.accounts(after, most).await
    }

    async fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        self.store.parts(of, after, most).await
    }

    async fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        self.store.rows(filter, after, most).await
    }

    async fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.store.totals().await
    }

    async fn compact(&self, _: Timestamp) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        self.store.limits().await
    }
}
