//! Stores behind pointers, so that one store can have several owners, or be chosen while a program runs.

use std::future::Future;
use std::sync::Arc;

use super::{AsyncStore, Filter, PartKey, PartsOf, Store, Total};
use crate::account::{Account, Part, Row};
use crate::error::StoreError;
use crate::id::Subject;
use crate::plan::{LimitRecord, Plan, Verdict};
use crate::time::Timestamp;

macro_rules! pointer {
    ($pointer:ty) => {
        impl<S: Store + ?Sized> Store for $pointer {
            #[inline]
            fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
                (**self).apply(plan, now)
            }

            #[inline]
            fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
                (**self).sweep(now, most)
            }

            fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
                (**self).account(of)
            }

            fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
                (**self).accounts(after, most)
            }

            fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
                (**self).parts(of, after, most)
            }

            fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
                (**self).rows(filter, after, most)
            }

            fn totals(&self) -> Result<Vec<Total>, StoreError> {
                (**self).totals()
            }

            fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
                (**self).compact(before)
            }

            fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
                (**self).limits()
            }
        }
    };
}

pointer!(Arc<S>);
pointer!(Box<S>);
pointer!(&S);

type Answer<T> = Result<T, StoreError>;

impl<S: AsyncStore> AsyncStore for Arc<S> {
    fn apply(&self, plan: &Plan, now: Timestamp) -> impl Future<Output = Answer<Verdict>> + Send {
        S::apply(self, plan, now)
    }

    fn sweep(&self, now: Timestamp, most: usize) -> impl Future<Output = Answer<usize>> + Send {
        S::sweep(self, now, most)
    }

    fn account(&self, of: &Subject) -> impl Future<Output = Answer<Option<Account>>> + Send {
        S::account(self, of)
    }

    fn accounts(
        &self,
        after: Option<&Subject>,
        most: usize,
    ) -> impl Future<Output = Answer<Vec<(Subject, Account)>>> + Send {
        S::accounts(self, after, most)
    }

    fn parts(
        &self,
        of: &PartsOf,
        after: Option<&PartKey>,
        most: usize,
    ) -> impl Future<Output = Answer<Vec<Part>>> + Send {
        S::parts(self, of, after, most)
    }

    fn rows(&self, filter: &Filter, after: u64, most: usize) -> impl Future<Output = Answer<Vec<(u64, Row)>>> + Send {
        S::rows(self, filter, after, most)
    }

    fn totals(&self) -> impl Future<Output = Answer<Vec<Total>>> + Send {
        S::totals(self)
    }

    fn compact(&self, before: Timestamp) -> impl Future<Output = Answer<usize>> + Send {
        S::compact(self, before)
    }

    fn limits(&self) -> impl Future<Output = Answer<Vec<LimitRecord>>> + Send {
        S::limits(self)
    }
}
