//! The same keeper over a store that is waited for.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::held::Held;
use super::hold::{Remaining, Settled};
use super::permit::{Moved, SoFar};
use super::shared::Shared;
use super::{Call, Decision, Denial, StoreState};
use crate::amount::Usd;
use crate::error::Error;
use crate::http::{Header, Options};
use crate::id::{KeyId, LimitId, OpId, Secret, Subject};
use crate::keys::{Answer, Pool};
use crate::limit::Limit;
use crate::pool::Standing;
use crate::price::Book;
use crate::store::AsyncStore;
use crate::terms::Terms;
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Outcome, Usage};

/// A [`Keeper`](super::Keeper) over an [`AsyncStore`]: the same verbs, of which each is a future. A clone is the same keeper.
///
/// It needs no runtime of its own, and its futures can be sent to any thread. Each does the whole of its work or may be
/// dropped before: a call that nobody waits for any more, and that the store may have admitted, counts as given up, and is
/// ended by the next verb, as one whose permit was dropped. Any other verb can be said again.
/// Where a store carries out later still what nobody waits for, that ends when the hold's time is over.
///
/// ```
/// use keyward::store::{block_on, Ready};
/// use keyward::{Call, Decision, Keeper, Limit, MemoryStore, Usage, Usd};
///
/// # block_on(async {
/// let keeper = Keeper::builder()
///     .limit(Limit::usd(Usd::dollars(5)).per_day().by("team"))
///     .store(Ready(MemoryStore::new()))           // or a store that waits
///     .build_async()
///     .await?;
/// match keeper.acquire(&Call::new().with("team", "red").usd(Usd::cents(2))).await? {
///     Decision::Granted(permit) => {
///         permit.settle(&Usage::new().usd(Usd::cents(1))).await?;
///     }
///     Decision::Denied(denial) => println!("{denial}"),
/// }
/// # Ok::<(), keyward::Error>(())
/// # })?;
/// # Ok::<(), keyward::Error>(())
/// ```
pub struct AsyncKeeper<S: AsyncStore>(pub(super) Arc<Shared<S>>);

impl<S: AsyncStore> AsyncKeeper<S> {
    pub(super) fn of(shared: Shared<S>) -> Self {
        Self(Arc::new(shared))
    }

    /// As [`Keeper::acquire`](super::Keeper::acquire). If the future is dropped after the store was asked, what it was
    /// granted counts as given up.
    ///
    /// # Errors
    /// As there.
    pub async fn acquire(&self, call: &Call) -> Result<Decision<AsyncPermit<S>>, Error> {
        self.0.acquire(call).await
    }

    /// As [`Keeper::acquire_within`](super::Keeper::acquire_within). `sleep` is how the host sleeps, such as
    /// `tokio::time::sleep`; it alone says when the time is over. A future that is dropped leaves its line.
    ///
    /// # Errors
    /// As there.
    pub async fn acquire_within<F: Future<Output = ()> + Send>(
        &self,
        call: &Call,
        most: Duration,
        sleep: impl Fn(Duration) -> F + Send + Sync,
    ) -> Result<Decision<AsyncPermit<S>>, Error> {
        self.0.acquire_within(call, most, sleep).await
    }

    /// As [`Keeper::charge`](super::Keeper::charge). Where the future may be dropped, let the call have an operation id: by
    /// it the same charge can be said again, and is booked once.
    ///
    /// # Errors
    /// As there.
    pub async fn charge(&self, call: &Call, usage: &Usage) -> Result<Option<Box<Denial>>, Error> {
        self.0.charge(call, usage).await
    }

    /// As [`Keeper::observe`](super::Keeper::observe).
    ///
    /// # Errors
    /// As there.
    pub async fn observe(&self, pool: &str, answer: &Answer<'_>) -> Result<Standing, Error> {
        self.0.observe(pool, answer).await
    }

    /// As [`Keeper::settle`](super::Keeper::settle).
    ///
    /// # Errors
    /// As there.
    pub async fn settle(&self, op: &OpId, usage: &Usage) -> Result<Settled, Error> {
        self.0.settle(op, usage).await
    }

    /// As [`Keeper::release`](super::Keeper::release).
    ///
    /// # Errors
    /// As there.
    pub async fn release(&self, op: &OpId) -> Result<(), Error> {
        self.0.release(op).await
    }

    /// As [`Keeper::extend`](super::Keeper::extend).
    ///
    /// # Errors
    /// As there.
    pub async fn extend(&self, op: &OpId, life: Length) -> Result<Option<Timestamp>, Error> {
        self.0.extend(op, life).await
    }

    /// As [`Keeper::reset`](super::Keeper::reset).
    ///
    /// # Errors
    /// As there.
    pub async fn reset(&self, limit: &LimitId, of: &Subject) -> Result<(), Error> {
        self.0.reset(limit, of).await
    }

    /// As [`Keeper::apply`](super::Keeper::apply). Until the future is done the old limits are in force.
    ///
    /// # Errors
    /// As there.
    pub async fn apply(
        &self,
        limits: impl IntoIterator<Item = Limit>,
        pools: impl IntoIterator<Item = Pool>,
        prices: Option<Book>,
    ) -> Result<(), Error> {
        let (limits, pools) = (Terms::compile(limits)?, pools.into_iter().collect());
        self.0.apply(limits, pools, prices).await
    }

    /// As [`Keeper::apply_policy`](super::Keeper::apply_policy).
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "serde")]
    #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
    pub async fn apply_policy(&self, built: crate::policy::Built) -> Result<(), Error> {
        let crate::policy::Built { limits, pools, prices, .. } = built;
        self.0.apply(limits, pools, prices).await
    }

    /// As [`Keeper::sweep`](super::Keeper::sweep).
    ///
    /// # Errors
    /// As there.
    pub async fn sweep(&self) -> Result<(), Error> {
        self.0.sweep().await.map(drop)
    }

    /// How many calls wait now.
    #[must_use]
    pub fn in_line(&self) -> usize {
        self.0.lines.count()
    }

    /// What its clock shows: the instant by which it answers, and by which what it answers is written out.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// The store, for reports and whatever else reads it.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.0.store.store
    }

    /// Whether the store can be asked.
    #[must_use]
    pub fn store_state(&self) -> StoreState {
        self.0.store.state()
    }

    /// The limits in force, as the store knows them.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.0.force().terms().clone()
    }

    /// The pool of this name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<Pool> {
        self.0.force().pool(name).ok().cloned()
    }
}

impl<S: AsyncStore> Clone for AsyncKeeper<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncStore> fmt::Debug for AsyncKeeper<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show("AsyncKeeper", f)
    }
}

/// A [`Permit`](super::Permit) whose verbs are futures. Its verbs are carried out one after the other. A future that is
/// dropped leaves the permit as it was: the same verb can be said again, and nothing is booked twice.
#[must_use]
pub struct AsyncPermit<S: AsyncStore>(Held<S>);

impl<S: AsyncStore> AsyncPermit<S> {
    /// The operation: by it another process can settle what is held here.
    #[must_use]
    pub fn op(&self) -> OpId {
        self.0.op()
    }

    /// The upstream key that it goes out with, if it was drawn from a pool.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        self.0.key()
    }

    /// That key's secret, for the one place that sends it.
    #[must_use]
    pub fn secret(&self) -> Option<Secret> {
        self.0.secret()
    }

    /// Whose key it is.
    #[must_use]
    pub fn provider(&self) -> Option<String> {
        self.0.provider()
    }

    /// What was left of each limit when the call was admitted.
    #[must_use]
    pub fn remaining(&self) -> Vec<Remaining> {
        self.0.remaining()
    }

    /// The headers that tell a caller what was left: [`Permit::headers`](super::Permit::headers).
    #[must_use]
    pub fn headers(&self, options: &Options) -> Vec<Header> {
        self.0.headers(options)
    }

    /// Whether it is held in this process alone: [`Permit::is_local`](super::Permit::is_local).
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.0.is_local()
    }

    /// When what it holds ends by itself, if it holds anything.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.expires()
    }

    /// Whether it was settled or released.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// What the estimate, or an expiry, would cost.
    #[must_use]
    pub fn estimate(&self) -> Option<Usd> {
        self.0.estimate()
    }

    /// As [`Permit::settle`](super::Permit::settle).
    ///
    /// # Errors
    /// As there.
    pub async fn settle(&self, usage: &Usage) -> Result<Settled, Error> {
        self.0.settle(usage, &Outcome::new(Class::Success)).await
    }

    /// As [`Permit::settle_as`](super::Permit::settle_as).
    ///
    /// # Errors
    /// As there.
    pub async fn settle_as(&self, usage: &Usage, outcome: &Outcome) -> Result<Settled, Error> {
        self.0.settle(usage, outcome).await
    }

    /// As [`Permit::release`](super::Permit::release).
    ///
    /// # Errors
    /// As there.
    pub async fn release(&self) -> Result<(), Error> {
        self.0.release(&Outcome::new(Class::NoVerdict)).await
    }

    /// As [`Permit::release_as`](super::Permit::release_as).
    ///
    /// # Errors
    /// As there.
    pub async fn release_as(&self, outcome: &Outcome) -> Result<(), Error> {
        self.0.release(outcome).await
    }

    /// As [`Permit::extend`](super::Permit::extend).
    ///
    /// # Errors
    /// As there.
    pub async fn extend(&self, life: Length) -> Result<Option<Timestamp>, Error> {
        self.0.extend(life).await
    }

    /// As [`Permit::so_far`](super::Permit::so_far).
    ///
    /// # Errors
    /// As there.
    pub async fn so_far(&self, usage: &Usage) -> Result<SoFar, Error> {
        self.0.so_far(usage).await
    }

    /// As [`Permit::failover`](super::Permit::failover).
    ///
    /// # Errors
    /// As there.
    pub async fn failover(&self, outcome: &Outcome) -> Result<Moved, Error> {
        self.0.failover(outcome).await
    }
}

impl<S: AsyncStore> From<Held<S>> for AsyncPermit<S> {
    fn from(held: Held<S>) -> Self {
        Self(held)
    }
}

impl<S: AsyncStore> fmt::Debug for AsyncPermit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show("AsyncPermit", f)
    }
}
