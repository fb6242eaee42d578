//! What all clones of a keeper share, and what each verb does besides its own work: it ends what has ended by itself, and
//! sends alerts. Here, as in all that a verb does, the store may have to be waited for; a store that answers at once is never
//! waited for, which is how one code serves both.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use super::builder::Builder;
use super::clock::Watch;
use super::door::Door;
use super::force::Force;
use super::hold::Hold;
use super::local::Local;
use super::wait::Lines;
use crate::budgets::{self, Sink};
use crate::clients::Clients;
use crate::error::{Error, StoreError};
use crate::id::{OpId, Subject};
use crate::limit::Compiled;
use crate::observe::{Event, Told};
use crate::plan::{Adopt, Place, Plan, Report, Verdict};
use crate::store::{AsyncStore, Question};
use crate::terms::Terms;
use crate::time::{Clock, Length, Timestamp};
use crate::{keys::Pool, price::Book};

/// How many holds that have ended by themselves a verb ends in the store.
const FEW: usize = 8;
/// How many it ends at a time where all are wanted.
const MANY: usize = 1_000;
/// How many calls that were given up are kept, to be ended.
const MOST: usize = 10_000;
/// How long the store is not asked for such holds after none was due.
const PAUSE: Length = Length::SECOND;

pub(super) struct Shared<T> {
    pub(super) store: Door<T>,
    /// What is decided here while the store is down.
    pub(super) local: Mutex<Option<Arc<Local>>>,
    pub(super) clock: Arc<dyn Clock>,
    force: RwLock<Arc<Force>>,
    pub(super) clients: Option<Arc<dyn Clients>>,
    sink: Option<Arc<dyn Sink>>,
    pub(super) told: Told,
    pub(super) watch: Watch,
    /// Calls that were given up, to be ended by the next verb.
    given_up: Mutex<Vec<GivenUp>>,
    waiting: AtomicUsize,
    /// Calls that wait.
    pub(super) lines: Lines,
    /// When the store is asked next for holds that have ended by themselves.
    sweep: AtomicI64,
}

/// A call that will not be heard of again.
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub(super) enum GivenUp {
    /// Its permit was dropped.
    Hold(Hold),
    /// Nobody waited for the answer, or it was lost: it may hold something, or not.
    Asked(OpId),
}

/// Puts a call that was given up back where the next verb finds it, unless it was ended.
struct Ending<'a, T> {
    of: &'a Shared<T>,
    call: Option<GivenUp>,
}

impl<T> Drop for Ending<'_, T> {
    fn drop(&mut self) {
        self.of.given_up.lock().extend(self.call.take());
    }
}

/// An operation that a plan may have been carried out for, as long as nobody has been told.
pub(super) struct Doubt<'a, T> {
    of: &'a Shared<T>,
    op: &'a OpId,
    is_open: bool,
}

impl<T> Doubt<'_, T> {
    /// The store has answered. Whoever gave the operation its id can ask again.
    pub(super) fn answered<V>(&mut self, answer: &Result<V, Error>, is_the_hosts: bool) {
        let is_lost = answer.as_ref().is_err_and(|error| error.store().is_some_and(StoreError::is_unknown));
        self.is_open = is_lost && !is_the_hosts;
    }
}

impl<T> Drop for Doubt<'_, T> {
    fn drop(&mut self) {
        if self.is_open {
            self.of.give_up(GivenUp::Asked(self.op.clone()));
        }
    }
}

impl<T> Shared<T> {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn force(&self) -> Arc<Force> {
        Arc::clone(&self.force.read())
    }

    pub(super) fn put_in_force(&self, force: Force) {
        *self.force.write() = Arc::new(force);
    }

    pub(super) fn show(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let force = self.force();
        let limits: Vec<_> = force.terms().iter().map(|term| term.limit().to_string()).collect();
        f.debug_struct(name).field("limits", &limits).finish_non_exhaustive()
    }

    /// A call has ended without a word. Its end is carried out by the next verb, and who waits for it may look.
    pub(super) fn give_up(&self, call: GivenUp) {
        let mut given_up = self.given_up.lock();
        // Where a store is down for long, the rest ends when its time is over.
        if given_up.len() < MOST {
            given_up.push(call);
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        drop(given_up);
        self.lines.freed();
    }

    /// Until the store has answered, the operation may hold something.
    pub(super) const fn doubt<'a>(&'a self, op: &'a OpId) -> Doubt<'a, T> {
        Doubt { of: self, op, is_open: true }
    }
}

impl<T: AsyncStore> Shared<T> {
    pub(super) async fn new(builder: Builder<T>) -> Result<Self, Error> {
        let Builder { store, limits, compiled, pools, prices, clock, clients, sink, how, told, refuse } = builder;
        let now = clock.now();
        let store = Door::new(store, Arc::clone(&clock), told.clone());
        let force = force_of(&store, (Terms::compile(limits)?, compiled), (pools, prices), how, now).await?;
        Ok(Self {
            store,
            local: Mutex::new(None),
            watch: Watch::new(&*clock, refuse),
            told,
            clock,
            force: RwLock::new(Arc::new(force)),
            clients,
            sink,
            given_up: Mutex::new(Vec::new()),
            waiting: AtomicUsize::new(0),
            lines: Lines::default(),
            sweep: AtomicI64::new(i64::MIN),
        })
    }

    /// What every verb does first: it ends a few of what has ended by itself.
    #[inline]
    pub(super) async fn tidy(&self) -> Timestamp {
        let now = self.now();
        if self.waiting.load(Ordering::Relaxed) > 0 && !self.store.is_shut() {
            // Whatever stands in the way of this is in the way of the verb too, which says so.
            let _ = self.end_given_up(now).await;
        }
        let next = Timestamp::from_micros(self.sweep.load(Ordering::Relaxed));
        // A clock that stepped back does not put it off.
        if now < next && next <= now.saturating_add(PAUSE) {
            return now;
        }
        self.look_at_clock(now);
        if !self.store.is_shut() {
            let swept = self.store.sweep(now, FEW).await;
            self.tell_swept(*swept.as_ref().unwrap_or(&0));
            let next = if swept.is_ok_and(|swept| swept >= FEW) { now } else { now.saturating_add(PAUSE) };
            self.sweep.store(next.as_micros(), Ordering::Relaxed);
        }
        now
    }

    /// Ends all that has ended by itself.
    pub(super) async fn sweep(&self) -> Result<Timestamp, Error> {
        let now = self.now();
        while self.end_given_up(now).await? {}
        self.expire(now).await?;
        Ok(now)
    }

    /// Ends every hold whose time is over.
    pub(super) async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let holds = self.store.sweep(now, MANY).await?;
            self.tell_swept(holds);
            if holds < MANY {
                return Ok(());
            }
        }
    }

    /// Ends a few calls that were given up; says whether there are more.
    async fn end_given_up(&self, now: Timestamp) -> Result<bool, Error> {
        for _ in 0..FEW {
            let Some(call) = self.given_up.lock().pop() else { return Ok(false) };
            let mut ending = Ending { of: self, call: Some(call) };
            let mut question = Question::new(now);
            let expire = |plan: &mut Plan, at| {
                match &ending.call {
                    Some(GivenUp::Hold(hold)) => hold.expire(plan, at),
                    Some(GivenUp::Asked(op)) => {
                        plan.hold = Some(op.clone());
                        plan.reports.push(Report::Expire);
                    }
                    None => {}
                }
                Ok(())
            };
            self.store.ask(&mut question, expire).await?;
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let call = ending.call.take();
            if let Some(GivenUp::Hold(Hold { op, .. }) | GivenUp::Asked(op)) = &call {
                self.told.tell(|| Event::Expired { op });
            }
            if let Some(GivenUp::Hold(hold)) = call {
                self.alert_all(&hold.force, hold.places()).await;
            }
        }
        Ok(self.waiting.load(Ordering::Relaxed) > 0)
    }

    /// Sends what is due after a verdict. An alert that cannot be claimed now is claimed by the next verb that books there.
    pub(super) async fn alert(&self, force: &Force, verdict: &Verdict, places: &[Place]) {
        if budgets::suspects(force.terms(), verdict).next().is_some() {
            self.alert_all(force, places).await;
        }
    }

    pub(super) async fn alert_all(&self, force: &Force, places: &[Place]) {
        let Some(sink) = &self.sink else { return };
        let mut found: Vec<(&Subject, _)> = Vec::new();
        for Place { subject, .. } in places {
            if found.iter().all(|(known, _)| *known != subject) {
                let Ok(account) = self.store.account(subject).await else { return };
                found.extend(account.map(|account| (subject, account)));
            }
        }
        let accounts = found.iter().map(|(subject, account)| (*subject, account));
        let Some(claims) = budgets::claims(force.terms(), accounts, self.now()) else { return };
        let Ok(verdict) = self.store.apply(claims.plan(), self.now()).await else { return };
        for alert in claims.won(&verdict) {
            sink.alert(&alert);
            self.told.tell(|| Event::Alert(&alert));
        }
    }
}

/// What is in force from now on, once the store has been told of it.
pub(super) async fn force_of<T: AsyncStore>(
    store: &T,
    (mut limits, more): (Vec<Compiled>, Vec<Compiled>),
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
    let mut all: Vec<Pool> = Vec::new();
    for pool in pools {
        let mut next = Some(pool);
        while let Some(pool) = next {
            next = pool.fallback().cloned();
            if all.iter().all(|known| known.name() != pool.name()) {
                pool.adopt_in(store, now).await?;
                all.push(pool);
            }
        }
    }
    let terms = Terms::adopt_in(store, limits, how, now).await?;
    Ok(Force::new(terms, all, prices, now))
}
