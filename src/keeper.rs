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
//! A keeper is shared: a clone is the same keeper. What it is told, it writes to its store before it answers; what it keeps
//! beside that is only what makes it fast.

mod builder;
mod call;
mod clock;
mod denial;
mod force;
mod hold;
mod permit;
mod pick;
mod see;
mod wait;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

pub use builder::Builder;
pub use call::Call;
pub use denial::Denial;
pub use hold::{Booked, Remaining, Settled};
pub use permit::{Moved, Permit, SoFar};
pub use see::{Explanation, GateCheck, KeyCheck, LimitCheck, PriceUsed};

use crate::account::Act;
use crate::budgets::{self, Sink};
use crate::clients::{self, Clients};
use crate::error::{Error, StoreError};
use crate::id::{LimitId, Subject};
use crate::keys::Pool;
use crate::limit::{Compiled, Limit};
use crate::observe::Told;
use crate::plan::{Adopt, Place, Plan, Used, Verdict};
use crate::price::Book;
use crate::quota::{Cause, ClientKey, Gate};
use crate::store::{MemoryStore, Store, apply_at};
use crate::system::OpIds;
use crate::terms::Terms;
use crate::time::{Clock, Length, Timestamp, When};
use crate::usage::Usage;
use force::{Asked, Force, Priced};
use hold::Hold;

/// How many holds that have ended by themselves a verb ends in the store.
const FEW: usize = 8;
/// How often a store may say that its clock is elsewhere.
const TRIES: usize = 4;
/// How long the store is not asked for such holds after none was due.
const PAUSE: Length = Length::SECOND;

/// Guards calls. See the [module](self); a clone is the same keeper.
pub struct Keeper<S: Store = MemoryStore>(Arc<Shared<S>>);

struct Shared<S> {
    store: S,
    clock: Arc<dyn Clock>,
    force: RwLock<Arc<Force>>,
    clients: Option<Arc<dyn Clients>>,
    sink: Option<Arc<dyn Sink>>,
    told: Told,
    watch: clock::Watch,
    /// Calls that were given up, to be ended by the next verb.
    dropped: Mutex<Vec<Hold>>,
    waiting: AtomicUsize,
    /// Calls that wait.
    lines: wait::Lines,
    /// When the store is asked next for holds that have ended by themselves.
    sweep: AtomicI64,
}

/// Whether a call may go out.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most decisions are the large one, and it is taken apart where it is made"
)]
#[must_use]
pub enum Decision<S: Store = MemoryStore> {
    /// It may.
    Granted(Permit<S>),
    /// It may not. Nothing was held or spent.
    Denied(Box<Denial>),
}

impl<S: Store> Decision<S> {
    /// The permit, if there is one.
    #[must_use]
    pub fn granted(self) -> Option<Permit<S>> {
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
    fn new(builder: Builder<S>) -> Result<Self, Error> {
        let Builder { store, limits, compiled, pools, prices, clock, clients, sink, how, told, refuse } = builder;
        let now = clock.now();
        let force = force_of(&store, Terms::compile(limits)?, compiled, (pools, prices), how, now)?;
        Ok(Self(Arc::new(Shared {
            store,
            watch: clock::Watch::new(&*clock, refuse),
            told,
            clock,
            force: RwLock::new(Arc::new(force)),
            clients,
            sink,
            dropped: Mutex::new(Vec::new()),
            waiting: AtomicUsize::new(0),
            lines: wait::Lines::default(),
            sweep: AtomicI64::new(i64::MIN),
        })))
    }

    /// May this call go out, and with which upstream key? Everything that it may use is held until it is settled.
    ///
    /// # Errors
    /// A call that lacks what a limit goes by, or that names no pool of the keeper's; an operation id that comes back with
    /// another call; what the store says, unless it is unavailable: that is a denial.
    pub fn acquire(&self, call: &Call) -> Result<Decision<S>, Error> {
        let now = self.tidy();
        match self.admit(call, now) {
            Err(error) if error.store().is_some_and(StoreError::is_unavailable) => {
                Ok(Decision::Denied(Box::new(Denial::down())))
            }
            decision => decision,
        }
    }

    fn admit(&self, call: &Call, now: Timestamp) -> Result<Decision<S>, Error> {
        let force = self.force();
        let (client, elsewhere) = match self.gate(call, now)? {
            Ok(met) => met,
            Err(cause) => return Ok(Decision::Denied(Box::new(Denial::gate(cause)))),
        };
        let op = call.op().cloned().unwrap_or_else(|| OpIds::new().next(now));
        let estimate = estimate(&force, call, now)?;
        let asked = Asked {
            call,
            client: client.as_deref(),
            op: &op,
            act: Act::Hold,
            said: call.estimated(),
            estimate: &estimate,
        };
        let model = call.dimension("model");
        if let Some(name) = elsewhere.as_deref().or_else(|| call.asked_pool()) {
            let pool = force.pool(name)?.clone();
            return Ok(match self.pick(&pool, &force, &asked, now)? {
                Ok((plan, grant, chosen, at)) => {
                    let hold = Hold::new(force, op, plan, &grant, at);
                    let (call, estimate) = (call.clone(), estimate.into_owned());
                    let from = permit::From { pool, call, client, estimate };
                    Decision::Granted(Permit::new(self.clone(), hold, Some((chosen, from)), model))
                }
                Err(denial) => Decision::Denied(denial),
            });
        }
        let (plan, verdict, at) = self.ask(now, |now| force.plan(&asked, now))?;
        Ok(match verdict {
            Verdict::Granted(grant) => {
                let hold = Hold::new(force, op, plan, &grant, at);
                Decision::Granted(Permit::new(self.clone(), hold, None, model))
            }
            Verdict::Denied(denial) => Decision::Denied(Box::new(Denial::limits(force.terms(), &plan, &denial))),
            other => return Err(other.error(Some(&op)).unwrap_or_else(|| lost(at))),
        })
    }

    /// Applies a plan, which is made again for the store's own instant where that is another; says which one it was.
    fn ask(
        &self,
        now: Timestamp,
        mut plan: impl FnMut(Timestamp) -> Result<Plan, Error>,
    ) -> Result<(Plan, Verdict, Timestamp), Error> {
        let mut at = now;
        for _ in 0..TRIES {
            let plan = plan(at)?;
            match self.store().apply(&plan, at)? {
                Verdict::Stale { now } => at = now,
                verdict => return Ok((plan, verdict, at)),
            }
        }
        Err(lost(at))
    }

    /// Whether the call is let in, by whose key, and to which pool it is sent instead of its own.
    #[expect(clippy::type_complexity, reason = "it is taken apart in one place")]
    fn gate(
        &self,
        call: &Call,
        now: Timestamp,
    ) -> Result<Result<(Option<Arc<ClientKey>>, Option<String>), Cause>, Error> {
        let Some(secret) = call.shown_secret() else { return Ok(Ok((None, None))) };
        let Some(clients) = &self.0.clients else {
            return Err(Error::invalid("call.secret", "one", "none, since the keeper has no client keys"));
        };
        let met = clients::verify(&**clients, secret, &call.caller(), now)?;
        Ok(match met.gate {
            Gate::Open => Ok((met.key, None)),
            Gate::Elsewhere(pool) => Ok((met.key, Some(pool))),
            Gate::Shut(cause) => Err(cause),
        })
    }

    /// Books what a call used that asked nobody before: refused only if a hard limit has no room for it, and then nothing
    /// is booked.
    ///
    /// # Errors
    /// As [`Keeper::acquire`]; usage that no call can have had.
    pub fn charge(&self, call: &Call, usage: &Usage) -> Result<Option<Box<Denial>>, Error> {
        usage.check()?;
        let (now, force) = (self.tidy(), self.force());
        let (client, _) = match self.gate(call, now)? {
            Ok(met) => met,
            Err(cause) => return Ok(Some(Box::new(Denial::gate(cause)))),
        };
        let op = call.op().cloned().unwrap_or_else(|| OpIds::new().next(now));
        let priced = priced(&force, call, usage, now)?;
        let asked =
            Asked { call, client: client.as_deref(), op: &op, act: Act::Charge, said: usage, estimate: &priced };
        let (plan, verdict, at) = self.ask(now, |now| {
            let mut plan = force.plan(&asked, now)?;
            plan.op = Some(op.clone());
            plan.hold = None;
            plan.used = Some(Used { usage: priced.clone().into_owned(), outcome: None });
            Ok(plan)
        })?;
        match &verdict {
            Verdict::Granted(_) => {
                self.alert_all(&force, &plan.accounts);
                Ok(None)
            }
            Verdict::Denied(denial) => Ok(Some(Box::new(Denial::limits(force.terms(), &plan, denial)))),
            other => Err(other.error(Some(&op)).unwrap_or_else(|| lost(at))),
        }
    }

    /// Begins the count of one limit anew, for one subject.
    ///
    /// # Errors
    /// A limit that the keeper does not have, or that is a balance; what the store says.
    pub fn reset(&self, limit: &LimitId, of: &Subject) -> Result<(), Error> {
        let (now, force) = (self.tidy(), self.force());
        let Some(term) = force.terms().get(limit) else {
            return Err(Error::invalid("limit", limit, "one of the keeper's limits"));
        };
        budgets::reset(self.store(), &OpIds::new().next(now), term, of, now)
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
        let (limits, pools) = (Terms::compile(limits)?, pools.into_iter().collect());
        let force = force_of(self.store(), limits, Vec::new(), (pools, prices), Adopt::Change, self.now())?;
        *self.0.force.write() = Arc::new(force);
        Ok(())
    }

    /// The same with all that a policy has.
    ///
    /// # Errors
    /// As [`Builder::build`].
    #[cfg(feature = "serde")]
    #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
    pub fn apply_policy(&self, built: crate::policy::Built) -> Result<(), Error> {
        let crate::policy::Built { limits, pools, prices, .. } = built;
        let force = force_of(self.store(), limits, Vec::new(), (pools, prices), Adopt::Change, self.now())?;
        *self.0.force.write() = Arc::new(force);
        Ok(())
    }

    /// Ends in the store what has ended by itself: calls that were given up, and holds whose time is over. Every verb does a
    /// few; reports want all.
    ///
    /// # Errors
    /// What the store says; what is not ended is ended later.
    pub fn sweep(&self) -> Result<(), Error> {
        let now = self.now();
        while self.end_dropped(now)? {}
        while self.store().sweep(now, 1_000)? >= 1_000 {}
        Ok(())
    }

    /// The store, for reports, `verify()` and whatever else reads it.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.0.store
    }

    /// The limits in force, as the store knows them.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.force().terms().clone()
    }

    /// The pool of this name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<Pool> {
        self.force().pool(name).ok().cloned()
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn force(&self) -> Arc<Force> {
        Arc::clone(&self.0.force.read())
    }

    /// What every verb does first: it ends a few of what has ended by itself.
    fn tidy(&self) -> Timestamp {
        let now = self.now();
        if self.0.waiting.load(Ordering::Relaxed) > 0 {
            // Whatever stands in the way of this is in the way of the verb too, which says so.
            let _ = self.end_dropped(now);
        }
        let next = Timestamp::from_micros(self.0.sweep.load(Ordering::Relaxed));
        // A clock that stepped back does not put it off.
        if now >= next || next > now.saturating_add(PAUSE) {
            self.look_at_clock(now);
            let swept = self.store().sweep(now, FEW);
            let next = if swept.is_ok_and(|swept| swept >= FEW) { now } else { now.saturating_add(PAUSE) };
            self.0.sweep.store(next.as_micros(), Ordering::Relaxed);
        }
        now
    }

    fn dropped(&self, hold: Hold) {
        self.0.dropped.lock().push(hold);
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        self.freed();
    }

    /// Something was given back, or will be by the next verb: who waits for it may look.
    fn freed(&self) {
        self.0.lines.freed();
    }

    /// Ends a few calls that were given up; says whether there are more.
    fn end_dropped(&self, now: Timestamp) -> Result<bool, Error> {
        for _ in 0..FEW {
            let Some(hold) = self.0.dropped.lock().pop() else { return Ok(false) };
            let done = apply_at(self.store(), now, |now| Ok(hold.expire(now)));
            if let Err(error) = done {
                self.0.dropped.lock().push(hold);
                return Err(error);
            }
            self.0.waiting.fetch_sub(1, Ordering::Relaxed);
            self.alert_all(&hold.force, hold.places());
        }
        Ok(self.0.waiting.load(Ordering::Relaxed) > 0)
    }

    /// Sends what is due after a verdict. An alert that cannot be claimed now is claimed by the next verb that books there.
    fn alert(&self, force: &Force, verdict: &Verdict, places: &[Place]) {
        if budgets::suspects(force.terms(), verdict).next().is_some() {
            self.alert_all(force, places);
        }
    }

    fn alert_all(&self, force: &Force, places: &[Place]) {
        let Some(sink) = &self.0.sink else { return };
        let subjects = places.iter().map(|place| &place.subject);
        let _ = budgets::alert(self.store(), force.terms(), subjects, self.now(), &**sink);
    }
}

/// What is in force from now on.
fn force_of<S: Store>(
    store: &S,
    mut limits: Vec<Compiled>,
    more: Vec<Compiled>,
    (pools, prices): (Vec<Pool>, Option<Book>),
    how: Adopt,
    now: Timestamp,
) -> Result<Force, Error> {
    for limit in more {
        if limits.iter().any(|other| other.id() == limit.id()) {
            return Err(Error::invalid("policy.limits", limit.id(), "no limit that the keeper has already"));
        }
        limits.push(limit);
    }
    for (place, pool) in pools.iter().enumerate() {
        if pools.iter().take(place).any(|other| other.name() == pool.name()) {
            return Err(Error::invalid(format!("pools[{place}].name"), pool.name(), "a name that no other pool has"));
        }
    }
    let mut all = Vec::new();
    for pool in pools {
        let mut next = Some(pool);
        while let Some(pool) = next {
            next = pool.fallback().cloned();
            if !all.iter().any(|known: &Pool| known.name() == pool.name()) {
                pool.adopt(store, now)?;
                all.push(pool);
            }
        }
    }
    let terms = Terms::adopt_compiled(store, limits, how, now)?;
    Ok(Force::new(terms, all, prices, now))
}

/// What a call will use at most, priced if it does not say what it will cost.
fn estimate<'a>(force: &Force, call: &'a Call, now: Timestamp) -> Result<Cow<'a, Usage>, Error> {
    priced(force, call, call.estimated(), now)
}

fn priced<'a>(force: &Force, call: &Call, usage: &'a Usage, now: Timestamp) -> Result<Cow<'a, Usage>, Error> {
    if usage.usd.is_some() || force.prices.is_none() {
        return Ok(Cow::Borrowed(usage));
    }
    let of = Priced { model: call.dimension("model"), provider: call.dimension("provider") };
    Ok(match force.cost(&of, usage, now)? {
        None => Cow::Borrowed(usage),
        usd => Cow::Owned(Usage { usd, ..usage.clone() }),
    })
}

fn lost(at: Timestamp) -> Error {
    Error::invalid("clock", at, "one that agrees with the store's")
}

impl<S: Store> Clone for Keeper<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> fmt::Debug for Keeper<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let force = self.force();
        let limits: Vec<_> = force.terms().iter().map(|term| term.limit().to_string()).collect();
        f.debug_struct("Keeper").field("limits", &limits).finish_non_exhaustive()
    }
}

/// When a call can be asked for again that was denied.
impl Denial {
    /// The instant to come back at, if there is one.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Timestamp> {
        match self.when {
            When::At(at) | When::WhenFreed { latest: at } => Some(at),
            When::Never => None,
        }
    }
}
