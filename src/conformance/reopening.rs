//! A store that is closed and opened again, over and over.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::account::{Account, Part, Row};
use crate::error::StoreError;
use crate::id::Subject;
use crate::plan::{LimitRecord, Plan, Verdict};
use crate::store::{Filter, PartKey, PartsOf, Store, Total};
use crate::time::Timestamp;

/// A [`Store`] that is another one, which is closed and opened again every few changes: what it kept only in memory is
/// lost.
///
/// ```no_run
/// # fn new_path() -> String { String::new() }
/// # fn open(path: &str) -> Result<Box<dyn keyward::Store>, keyward::StoreError> { unimplemented!() }
/// use keyward::conformance::{self, Reopening};
///
/// let make = || -> Box<dyn keyward::Store> {
///     let path = new_path();
///     Box::new(Reopening::every(5, move || open(&path)))
/// };
/// conformance::run(&make).assert_passes();
/// ```
pub struct Reopening<F> {
    open: F,
    every: u32,
    changes: AtomicU32,
    store: RwLock<Option<Box<dyn Store>>>,
}

impl<F: Fn() -> Result<Box<dyn Store>, StoreError>> Reopening<F> {
    /// Opens the store with `open`, and again after every so many changes.
    pub const fn every(changes: u32, open: F) -> Self {
        Self { open, every: changes, changes: AtomicU32::new(0), store: RwLock::new(None) }
    }

    fn with<T>(&self, call: impl FnOnce(&dyn Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*store {
            return call(&**store);
        }
        drop(store);
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let store = match &mut *store {
            Some(store) => store,
            closed => closed.insert((self.open)()?),
        };
        call(&**store)
    }

    fn change<T>(&self, call: impl FnOnce(&dyn Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.changes.fetch_add(1, Ordering::Relaxed) % self.every.max(1) == 0 {
            *self.store.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.with(call)
    }
}

impl<F> std::fmt::Debug for Reopening<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reopening").field("every", &self.every).finish_non_exhaustive()
    }
}

impl<F: Fn() -> Result<Box<dyn Store>, StoreError> + Send + Sync> Store for Reopening<F> {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        self.change(|store| store.apply(plan, now))
    }

    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        self.change(|store| store.sweep(now, most))
    }

    fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        self.with(|store| store.account(of))
    }

    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        self.with(|store| store.accounts(after, most))
    }

    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        self.with(|store| store.parts(of, after, most))
    }

    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        self.with(|store| store.rows(filter, after, most))
    }

    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.with(|store| store.totals())
    }

    fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.change(|store| store.compact(before))
    }

    fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        self.with(|store| store.limits())
    }
}
