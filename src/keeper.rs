//! The keeper: one question before each call, and one word after it.
//!
//! A [`Keeper`] has limits, and whatever else there is: pools of upstream keys, client keys, prices, a store. Before a
//! call goes out, [`Keeper::acquire`] asks all of that in one atomic step, and holds what the call may use at most. The
//! [`Permit`] says which key it goes out with; [`Permit::settle`] says what it really used.
//!
//! ```
//! use keyward::{Call, Decision, Keeper, Limit, Usage, Usd};
//!
//! let keeper = Keeper::builder()
//!     .limit(Limit::requests(60).per_minute().by("key"))
//!     .limit(Limit::usd(Usd::dollars(25)).per_days(30).by("team").alert_at_percent([80]))
//!     .build()?;
//!
//! let call = Call::new().with("key", "alice").with("team", "red").usd(Usd::cents(2));
//! match keeper.acquire(&call)? {
//!     Decision::Granted(permit) => {
//!         let settled = permit.settle(&Usage::new().usd(Usd::cents(1)))?;
//!         assert_eq!(settled.cost, Some(Usd::cents(1)));
//!     }
//!     Decision::Denied(denial) => println!("{denial}"),
//! }
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! An [`AsyncKeeper`] is the same over an [`AsyncStore`](crate::AsyncStore), which is waited for.
//!
//! A keeper is shared: a clone is the same keeper. What it is told, it writes to its store before it answers; what it keeps
//! beside that is only what makes it fast.

mod aio;
mod builder;
mod call;
mod clock;
mod denial;
mod door;
mod force;
mod held;
mod hold;
mod local;
mod permit;
mod see;
mod shared;
mod tell;
mod verbs;
mod wait;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

pub use crate::picture::StoreState;
pub use aio::{AsyncKeeper, AsyncPermit};
pub use builder::Builder;
pub use call::Call;
pub use denial::Denial;
pub use hold::{Booked, Remaining, Settled};
pub use permit::{Moved, Permit, SoFar};
pub use see::{Explanation, GateCheck, KeyCheck, LimitCheck, PriceUsed};

use crate::error::Error;
use crate::id::{LimitId, OpId, Subject};
use crate::keys::{Answer, Pool};
use crate::limit::Limit;
use crate::pool::Standing;
use crate::price::Book;
use crate::store::{MemoryStore, Ready, Store, run};
use crate::terms::Terms;
use crate::time::{Length, Timestamp};
use crate::usage::Usage;
use shared::Shared;

/// Guards calls. See the [module](self); a clone is the same keeper.
pub struct Keeper<S: Store = MemoryStore>(Arc<Shared<Ready<S>>>);

/// Whether a call may go out.
#[derive(Debug)]
#[must_use]
pub enum Decision<P = Permit> {
    /// It may.
    Granted(P),
    /// It may not. Nothing was held or spent.
    Denied(Box<Denial>),
}

impl<P> Decision<P> {
    /// The permit, if there is one.
    #[must_use]
    pub fn granted(self) -> Option<P> {
        match self {
            Self::Granted(permit) => Some(permit),
            Self::Denied(_) => None,
        }
    }

    /// The denial, if it is one.
    #[must_use]
    pub fn denied(self) -> Option<Denial> {
        match self {
            Self::Granted(_) => None,
            Self::Denied(denial) => Some(*denial),
        }
    }
}

impl Keeper {
    /// A keeper without any limit yet, over a store in memory.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<S: Store> Keeper<S> {
    fn of(shared: Shared<Ready<S>>) -> Self {
        Self(Arc::new(shared))
    }

    /// May this call go out, and with which upstream key? Everything that it may use is held until it is settled.
    ///
    /// # Errors
    /// A call that lacks what a limit goes by, or that names no pool of the keeper's; an operation id that comes back with
    /// another call; what the store says. One that is unavailable is a denial, or is done without:
    /// [`Limit::when_down`].
    pub fn acquire(&self, call: &Call) -> Result<Decision<Permit<S>>, Error> {
        run(pin!(self.0.acquire(call)))
    }

    /// The same as [`Keeper::acquire`], of a call that would rather wait than be refused, for so long at most. Calls that
    /// wait for the same limit are served in the order in which they came; whoever does not wait is not held up by them.
    ///
    /// It sleeps until the instant at which the call can pass, or until another call ends. What time will never let pass is
    /// refused at once, and so is a call that finds more than a thousand others in line.
    /// Whose time is over before its turn has come takes no room from those before it: [`Denial::behind`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use keyward::{Call, Keeper, Limit, Usage};
    ///
    /// let keeper = Keeper::builder().limit(Limit::slots(1).by("key")).build()?;
    /// let call = Call::new().with("key", "alice");
    /// let first = keeper.acquire(&call)?.granted().expect("a slot is free");
    /// let second = std::thread::scope(|scope| {
    ///     let waiting = scope.spawn(|| keeper.acquire_within(&call, Duration::from_secs(60)));
    ///     first.settle(&Usage::new())?;
    ///     waiting.join().expect("no panic")
    /// })?;
    /// assert!(second.granted().is_some());
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Keeper::acquire`].
    pub fn acquire_within(&self, call: &Call, most: Duration) -> Result<Decision<Permit<S>>, Error> {
        let sleeper = wait::Sleeper::default();
        sleeper.run(self.0.acquire_within(call, most, |length| sleeper.nap(length)))
    }

    /// Books what a call used that asked nobody before: refused only if a hard limit has no room for it, and then nothing
    /// is booked.
    ///
    /// # Errors
    /// As [`Keeper::acquire`]; usage that no call can have had.
    pub fn charge(&self, call: &Call, usage: &Usage) -> Result<Option<Box<Denial>>, Error> {
        run(pin!(self.0.charge(call, usage)))
    }

    /// Notes what an upstream answered to a call that had no permit: the key cools, or is known to be well. Says what the key is
    /// now. An answer that [ends](Answer::ends) an operation ends what it holds.
    ///
    /// ```
    /// use keyward::keys::{Answer, Pool};
    /// use keyward::{Call, Class, Clock, Keeper, Outcome, SystemClock};
    ///
    /// let keeper = Keeper::builder().pool(Pool::builder("openai").text("sk-one-11111").build()?).build()?;
    /// let key = keeper.pool("openai").expect("it is there").keys()[0].id().clone();
    /// let limited = Answer::new(&key, Outcome::new(Class::RateLimited), SystemClock::new().now());
    /// keeper.observe("openai", &limited)?;
    /// assert!(keeper.acquire(&Call::new().pool("openai"))?.denied().is_some());
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// A pool that the keeper does not have; what the store says.
    pub fn observe(&self, pool: &str, answer: &Answer<'_>) -> Result<Standing, Error> {
        run(pin!(self.0.observe(pool, answer)))
    }

    /// Settles what was acquired under this operation, here or in another process: [`Permit::settle`]. It is priced by what
    /// the call said of itself when it was admitted.
    ///
    /// ```
    /// use keyward::{Call, Keeper, Limit, Usage, Usd};
    /// let keeper = Keeper::builder().limit(Limit::usd(Usd::dollars(5)).per_day().by("team")).build()?;
    /// let permit = keeper.acquire(&Call::new().with("team", "red").usd(Usd::dollars(1)))?.granted().expect("it fits");
    /// // Its id goes to whoever reads the stream.
    /// let settled = keeper.settle(&permit.op(), &Usage::new().usd(Usd::cents(3)))?;
    /// assert_eq!(settled.cost, Some(Usd::cents(3)));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// An operation of which the store knows nothing that it holds or has held; usage that no call can have had, or another
    /// than was settled before; what the store says.
    pub fn settle(&self, op: &OpId, usage: &Usage) -> Result<Settled, Error> {
        run(pin!(self.0.settle(op, usage)))
    }

    /// Gives back what was acquired under this operation: [`Permit::release`].
    ///
    /// # Errors
    /// An operation that was settled, or of which the store knows nothing; what the store says.
    pub fn release(&self, op: &OpId) -> Result<(), Error> {
        run(pin!(self.0.release(op)))
    }

    /// What was acquired under this operation lives this long from now: [`Permit::extend`].
    ///
    /// # Errors
    /// An operation of which the store knows nothing; what the store says.
    pub fn extend(&self, op: &OpId, life: Length) -> Result<Option<Timestamp>, Error> {
        run(pin!(self.0.extend(op, life)))
    }

    /// Begins the count of one limit anew, for one subject.
    ///
    /// # Errors
    /// A limit that the keeper does not have, or that is a balance; what the store says.
    pub fn reset(&self, limit: &LimitId, of: &Subject) -> Result<(), Error> {
        run(pin!(self.0.reset(limit, of)))
    }

    /// Puts other limits, pools and prices in the place of those in force, all at once; calls under way end by those that
    /// they began with. Counts, holds and cooldowns stay: an edited amount keeps what is spent, a window of another length
    /// begins a fresh cycle. If anything is wrong, nothing is changed.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn apply(
        &self,
        limits: impl IntoIterator<Item = Limit>,
        pools: impl IntoIterator<Item = Pool>,
        prices: Option<Book>,
    ) -> Result<(), Error> {
        run(pin!(self.0.apply(Terms::compile(limits)?, pools.into_iter().collect(), prices)))
    }

    /// The same with all that a policy has.
    ///
    /// # Errors
    /// As [`Builder::build`].
    #[cfg(feature = "serde")]
    #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
    pub fn apply_policy(&self, built: crate::policy::Built) -> Result<(), Error> {
        let crate::policy::Built { limits, pools, prices, .. } = built;
        run(pin!(self.0.apply(limits, pools, prices)))
    }

    /// Ends in the store what has ended by itself: calls that were given up, and holds whose time is over. Every verb does a
    /// few; reports want all.
    ///
    /// # Errors
    /// What the store says; what is not ended is ended later.
    pub fn sweep(&self) -> Result<(), Error> {
        run(pin!(self.0.sweep())).map(drop)
    }

    /// How many calls wait now.
    #[must_use]
    pub fn in_line(&self) -> usize {
        self.0.lines.count()
    }

    /// The store, for reports, `verify()` and whatever else reads it.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.0.store.store.0
    }

    /// Whether the store can be asked. One that did not answer is left alone for a while, a tenth of a second at first and ten
    /// seconds at most, and then asked by one verb whether it is back.
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

    /// What its clock shows: the instant by which it answers, and by which what it answers is written out.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl<S: Store> Clone for Keeper<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> fmt::Debug for Keeper<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show("Keeper", f)
    }
}
