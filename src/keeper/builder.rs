//! A keeper as it is put together.

use std::sync::Arc;

use super::shared::Shared;
use super::{AsyncKeeper, Keeper};
use crate::budgets::Sink;
use crate::clients::Clients;
use crate::error::Error;
use crate::keys::Pool;
use crate::limit::{Compiled, Limit};
use crate::observe::{Observer, Told};
use crate::plan::Adopt;
use crate::price::Book;
use crate::store::{AsyncStore, MemoryStore, Ready, Store, block_on};
use crate::system::SystemClock;
use crate::time::{Clock, Length};

/// A keeper as it is put together: limits, and whatever else there is. Made by [`Keeper::builder`](super::Keeper::builder).
#[must_use]
pub struct Builder<S = MemoryStore> {
    pub(super) store: S,
    pub(super) limits: Vec<Limit>,
    pub(super) compiled: Vec<Compiled>,
    pub(super) pools: Vec<Pool>,
    pub(super) prices: Option<Book>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) clients: Option<Arc<dyn Clients>>,
    pub(super) sink: Option<Arc<dyn Sink>>,
    pub(super) how: Adopt,
    pub(super) told: Told,
    pub(super) refuse: Option<Length>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            limits: Vec::new(),
            compiled: Vec::new(),
            pools: Vec::new(),
            prices: None,
            clock: Arc::new(SystemClock::new()),
            clients: None,
            sink: None,
            how: Adopt::Start,
            told: Told::default(),
            refuse: None,
        }
    }
}

impl<S> Builder<S> {
    /// With one more limit.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// With more limits.
    pub fn limits(mut self, limits: impl IntoIterator<Item = Limit>) -> Self {
        self.limits.extend(limits);
        self
    }

    /// With one more pool of upstream keys, and those that it falls back to.
    pub fn pool(mut self, pool: Pool) -> Self {
        self.pools.push(pool);
        self
    }

    /// With prices, for calls that say which `model` they are for.
    pub fn prices(mut self, prices: Book) -> Self {
        self.prices = Some(prices);
        self
    }

    /// With all that a policy has: limits, pools and prices.
    ///
    /// ```
    /// use keyward::policy::{Policy, Reference};
    /// use keyward::{Call, Keeper};
    ///
    /// let policy: Policy = serde_json::from_str(r#"{"limits": ["60 requests / 1m by key", "10 USD / day by team"]}"#)?;
    /// let keeper = Keeper::builder().policy(policy.build(Reference::read)?).build()?;
    /// assert_eq!(keeper.terms().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "serde")]
    #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
    pub fn policy(mut self, built: crate::policy::Built) -> Self {
        let crate::policy::Built { limits, pools, prices, .. } = built;
        self.compiled.extend(limits);
        self.pools.extend(pools);
        self.prices = prices.or(self.prices);
        self
    }

    /// With limits that were compiled before.
    pub(crate) fn compiled(mut self, limits: impl IntoIterator<Item = Compiled>) -> Self {
        self.compiled.extend(limits);
        self
    }

    /// Over this store, instead of one in memory: a [`Store`], or an [`AsyncStore`] for [`Builder::build_async`].
    pub fn store<T>(self, store: T) -> Builder<T> {
        self.over(|_| store)
    }

    /// By this clock, instead of the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// With client keys, whose gates a call passes that shows a secret.
    pub fn clients(mut self, clients: impl Clients + 'static) -> Self {
        self.clients = Some(Arc::new(clients));
        self
    }

    /// With someone who hears of alerts, once of each.
    pub fn alerts(mut self, sink: impl Sink + 'static) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// With someone who is told all that happens: see [`observe`](crate::observe).
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.told = Told::to(observer);
        self
    }

    /// Refuses what a hard limit of money concerns once the clock has jumped ahead by more than this in all, until
    /// [`Keeper::accept_clock`] says that it is right. Without it a jump is only told: a budget whose window is over by
    /// the clock begins anew, and a laptop that slept does not lock its owner out.
    ///
    /// A jump is what the clock shows beyond the time that passed by [`Clock::passed`], by more than a second. Steps back
    /// give nothing back, and are no jumps.
    pub const fn refuse_after_jump(mut self, most: Length) -> Self {
        self.refuse = Some(most);
        self
    }

    /// Checks all of it, and tells the store of the limits.
    ///
    /// # Errors
    /// The first limit that is wrong, as `limits[2].window`; two pools of one name; what the store says.
    pub fn build(self) -> Result<Keeper<S>, Error>
    where
        S: Store,
    {
        block_on(Shared::new(self.over(Ready))).map(Keeper::of)
    }

    /// The same over a store that is waited for. A store that answers at once serves here as [`Ready`].
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub async fn build_async(self) -> Result<AsyncKeeper<S>, Error>
    where
        S: AsyncStore,
    {
        Shared::new(self).await.map(AsyncKeeper::of)
    }

    fn over<T>(self, store: impl FnOnce(S) -> T) -> Builder<T> {
        let Self { store: before, limits, compiled, pools, prices, clock, clients, sink, how, told, refuse } = self;
        Builder { store: store(before), limits, compiled, pools, prices, clock, clients, sink, how, told, refuse }
    }
}

impl<S> std::fmt::Debug for Builder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("limits", &self.limits).finish_non_exhaustive()
    }
}
