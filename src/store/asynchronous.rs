//! The same contract for stores that wait without blocking a thread.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use super::{Filter, PartKey, PartsOf, Store, Total};
use crate::account::{Account, Part, Row};
use crate::error::StoreError;
use crate::id::Subject;
use crate::plan::{LimitRecord, Plan, Verdict};
use crate::time::Timestamp;

type Answer<T> = Result<T, StoreError>;

/// [`Store`], with futures. What is promised there is promised here; a future that is dropped before it is done leaves
/// nothing, or all of it, changed.
pub trait AsyncStore: Send + Sync {
    /// [`Store::apply`].
    fn apply(&self, plan: &Plan, now: Timestamp) -> impl Future<Output = Answer<Verdict>> + Send;
    /// [`Store::sweep`].
    fn sweep(&self, now: Timestamp, most: usize) -> impl Future<Output = Answer<usize>> + Send;
    /// [`Store::account`].
    fn account(&self, of: &Subject) -> impl Future<Output = Answer<Option<Account>>> + Send;
    /// [`Store::accounts`].
    fn accounts(
        &self,
        after: Option<&Subject>,
        most: usize,
    ) -> impl Future<Output = Answer<Vec<(Subject, Account)>>> + Send;
    /// [`Store::parts`].
    fn parts(
        &self,
        of: &PartsOf,
        after: Option<&PartKey>,
        most: usize,
    ) -> impl Future<Output = Answer<Vec<Part>>> + Send;
    /// [`Store::rows`].
    fn rows(&self, filter: &Filter, after: u64, most: usize) -> impl Future<Output = Answer<Vec<(u64, Row)>>> + Send;
    /// [`Store::totals`].
    fn totals(&self) -> impl Future<Output = Answer<Vec<Total>>> + Send;
    /// [`Store::compact`].
    fn compact(&self, before: Timestamp) -> impl Future<Output = Answer<usize>> + Send;
    /// [`Store::limits`].
    fn limits(&self) -> impl Future<Output = Answer<Vec<LimitRecord>>> + Send;
}

/// A future that was boxed.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = Answer<T>> + Send + 'a>>;

/// [`AsyncStore`] as a trait that can be a `dyn`. Every `AsyncStore` is one.
pub trait DynAsyncStore: Send + Sync {
    /// [`Store::apply`].
    fn apply<'a>(&'a self, plan: &'a Plan, now: Timestamp) -> Boxed<'a, Verdict>;
    /// [`Store::sweep`].
    fn sweep(&self, now: Timestamp, most: usize) -> Boxed<'_, usize>;
    /// [`Store::account`].
    fn account<'a>(&'a self, of: &'a Subject) -> Boxed<'a, Option<Account>>;
    /// [`Store::accounts`].
    fn accounts<'a>(&'a self, after: Option<&'a Subject>, most: usize) -> Boxed<'a, Vec<(Subject, Account)>>;
    /// [`Store::parts`].
    fn parts<'a>(&'a self, of: &'a PartsOf, after: Option<&'a PartKey>, most: usize) -> Boxed<'a, Vec<Part>>;
    /// [`Store::rows`].
    fn rows<'a>(&'a self, filter: &'a Filter, after: u64, most: usize) -> Boxed<'a, Vec<(u64, Row)>>;
    /// [`Store::totals`].
    fn totals(&self) -> Boxed<'_, Vec<Total>>;
    /// [`Store::compact`].
    fn compact(&self, before: Timestamp) -> Boxed<'_, usize>;
    /// [`Store::limits`].
    fn limits(&self) -> Boxed<'_, Vec<LimitRecord>>;
}

impl<S: AsyncStore> DynAsyncStore for S {
    fn apply<'a>(&'a self, plan: &'a Plan, now: Timestamp) -> Boxed<'a, Verdict> {
        Box::pin(AsyncStore::apply(self, plan, now))
    }

    fn sweep(&self, now: Timestamp, most: usize) -> Boxed<'_, usize> {
        Box::pin(AsyncStore::sweep(self, now, most))
    }

    fn account<'a>(&'a self, of: &'a Subject) -> Boxed<'a, Option<Account>> {
        Box::pin(AsyncStore::account(self, of))
    }

    fn accounts<'a>(&'a self, after: Option<&'a Subject>, most: usize) -> Boxed<'a, Vec<(Subject, Account)>> {
        Box::pin(AsyncStore::accounts(self, after, most))
    }

    fn parts<'a>(&'a self, of: &'a PartsOf, after: Option<&'a PartKey>, most: usize) -> Boxed<'a, Vec<Part>> {
        Box::pin(AsyncStore::parts(self, of, after, most))
    }

    fn rows<'a>(&'a self, filter: &'a Filter, after: u64, most: usize) -> Boxed<'a, Vec<(u64, Row)>> {
        Box::pin(AsyncStore::rows(self, filter, after, most))
    }

    fn totals(&self) -> Boxed<'_, Vec<Total>> {
        Box::pin(AsyncStore::totals(self))
    }

    fn compact(&self, before: Timestamp) -> Boxed<'_, usize> {
        Box::pin(AsyncStore::compact(self, before))
    }

    fn limits(&self) -> Boxed<'_, Vec<LimitRecord>> {
        Box::pin(AsyncStore::limits(self))
    }
}

/// A [`Store`] that never waits long, such as one in memory, as an [`AsyncStore`]: each future is done when it is first
/// asked.
#[derive(Clone, Debug, Default)]
pub struct Ready<S>(pub S);

impl<S: Store> AsyncStore for Ready<S> {
    #[inline]
    async fn apply(&self, plan: &Plan, now: Timestamp) -> Answer<Verdict> {
        self.0.apply(plan, now)
    }

    #[inline]
    async fn sweep(&self, now: Timestamp, most: usize) -> Answer<usize> {
        self.0.sweep(now, most)
    }

    async fn account(&self, of: &Subject) -> Answer<Option<Account>> {
        self.0.account(of)
    }

    async fn accounts(&self, after: Option<&Subject>, most: usize) -> Answer<Vec<(Subject, Account)>> {
        self.0.accounts(after, most)
    }

    async fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Answer<Vec<Part>> {
        self.0.parts(of, after, most)
    }

    async fn rows(&self, filter: &Filter, after: u64, most: usize) -> Answer<Vec<(u64, Row)>> {
        self.0.rows(filter, after, most)
    }

    async fn totals(&self) -> Answer<Vec<Total>> {
        self.0.totals()
    }

    async fn compact(&self, before: Timestamp) -> Answer<usize> {
        self.0.compact(before)
    }

    async fn limits(&self) -> Answer<Vec<LimitRecord>> {
        self.0.limits()
    }
}

/// An [`AsyncStore`] as a [`Store`] that blocks its thread; for tests and tools. It runs no reactor: a store whose
/// futures need one must be driven from outside of it.
#[derive(Clone, Debug, Default)]
pub struct Blocking<S>(pub S);

impl<S: AsyncStore> Store for Blocking<S> {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Answer<Verdict> {
        block_on(self.0.apply(plan, now))
    }

    fn sweep(&self, now: Timestamp, most: usize) -> Answer<usize> {
        block_on(self.0.sweep(now, most))
    }

    fn account(&self, of: &Subject) -> Answer<Option<Account>> {
        block_on(self.0.account(of))
    }

    fn accounts(&self, after: Option<&Subject>, most: usize) -> Answer<Vec<(Subject, Account)>> {
        block_on(self.0.accounts(after, most))
    }

    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Answer<Vec<Part>> {
        block_on(self.0.parts(of, after, most))
    }

    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Answer<Vec<(u64, Row)>> {
        block_on(self.0.rows(filter, after, most))
    }

    fn totals(&self) -> Answer<Vec<Total>> {
        block_on(self.0.totals())
    }

    fn compact(&self, before: Timestamp) -> Answer<usize> {
        block_on(self.0.compact(before))
    }

    fn limits(&self) -> Answer<Vec<LimitRecord>> {
        block_on(self.0.limits())
    }
}

/// Wakes a thread that is parked.
pub(crate) struct Unpark(pub(crate) Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs one future to its end on this thread, which sleeps while the future waits.
///
/// ```
/// assert_eq!(keyward::store::block_on(async { 1 + 1 }), 2);
/// ```
#[inline]
pub fn block_on<F: Future>(future: F) -> F::Output {
    run(pin!(future))
}

/// The same of a future that stays where it was made: a large one is not moved.
#[inline]
pub(crate) fn run<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    // Most are done at once, and need nobody to wake them.
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => parked(future),
    }
}

#[cold]
fn parked<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
