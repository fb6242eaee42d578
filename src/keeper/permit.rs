//! A call that may go out.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Keeper;
use super::call::Call;
use super::denial::Denial;
use super::hold::{Hold, Remaining, Settled, effects};
use crate::amount::{Cap, Usd};
use crate::error::Error;
use crate::http::{Header, Options};
use crate::id::{KeyId, OpId, Secret};
use crate::keys::{Answer, Chosen, Pool};
use crate::plan::{Effect, Plan, Verdict};
use crate::quota::ClientKey;
use crate::store::{MemoryStore, Store, apply_at};
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Outcome, Usage};

/// A call that may go out, and what is held for it.
///
/// It ends with [`Permit::settle`] or [`Permit::release`]. One that is dropped without either has been given up: its slots
/// are free and its money is charged at the estimate, which the keeper's next verb carries out, because a call that was
/// cancelled has usually cost something. Where nothing was sent, say `release`.
#[must_use]
pub struct Permit<S: Store = MemoryStore> {
    keeper: Keeper<S>,
    model: Option<Box<str>>,
    inner: Mutex<Inner>,
}

struct Inner {
    hold: Hold,
    chosen: Option<Chosen>,
    from: Option<From>,
    /// When the attempt with the key that is chosen began.
    attempt: Timestamp,
    tried: Vec<KeyId>,
    end: Option<End>,
}

/// What is asked again when another key is looked for.
pub(super) struct From {
    /// The pool that was asked first.
    pub(super) pool: Pool,
    pub(super) call: Call,
    pub(super) client: Option<Arc<ClientKey>>,
    pub(super) estimate: Usage,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Settled(Usage),
    Released,
}

/// What became of a call whose key failed.
#[derive(Debug)]
#[must_use]
pub enum Moved {
    /// It goes out with another key: [`Permit::key`].
    On,
    /// No other key can take it; what the client holds is held still.
    Denied(Box<Denial>),
}

/// What a call has used so far, beside its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoFar {
    /// Whether more is held or spent somewhere than a limit allows: a host may stop the stream.
    pub is_over: bool,
}

impl<S: Store> Permit<S> {
    pub(super) fn new(keeper: Keeper<S>, hold: Hold, from: Option<(Chosen, From)>, model: Option<&str>) -> Self {
        let attempt = hold.began;
        let (chosen, from) = from.unzip();
        let inner = Inner { hold, chosen, from, attempt, tried: Vec::new(), end: None };
        Self { keeper, model: model.map(Into::into), inner: Mutex::new(inner) }
    }

    /// The operation: by it another process can settle what is held here.
    #[must_use]
    pub fn op(&self) -> OpId {
        self.inner.lock().hold.op.clone()
    }

    /// The upstream key that it goes out with, if it was drawn from a pool.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        self.inner.lock().chosen.as_ref().map(|chosen| chosen.key().clone())
    }

    /// That key's secret, for the one place that sends it.
    #[must_use]
    pub fn secret(&self) -> Option<Secret> {
        self.inner.lock().chosen.as_ref().map(|chosen| chosen.secret().clone())
    }

    /// Whose key it is.
    #[must_use]
    pub fn provider(&self) -> Option<String> {
        self.inner.lock().chosen.as_ref().and_then(|chosen| chosen.provider().map(str::to_owned))
    }

    /// What was left of each limit when the call was admitted.
    #[must_use]
    pub fn remaining(&self) -> Vec<Remaining> {
        self.inner.lock().hold.remaining().collect()
    }

    /// The headers that tell a caller what was left, for the answer that goes back.
    ///
    /// ```
    /// use keyward::http::Options;
    /// use keyward::{Call, Keeper, Limit};
    /// let keeper = Keeper::builder().limit(Limit::requests(60).per_day().named("calls")).build()?;
    /// let permit = keeper.acquire(&Call::new())?.granted().expect("60 pass");
    /// let headers = permit.headers(&Options::default());
    /// assert!(headers[0].1.starts_with("\"calls\";r=59;t="), "{headers:?}");
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub fn headers(&self, options: &Options) -> Vec<Header> {
        options.granted(self.inner.lock().hold.left(), self.keeper.now())
    }

    /// When what it holds ends by itself, if it holds anything.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.inner.lock().hold.expires()
    }

    /// The call is over, and has used this. What a usage does not state is settled as it was held, a request as one. Said
    /// again with the same usage, nothing more is done.
    ///
    /// # Errors
    /// Usage that no call can have had; another usage than was settled before; what the store says. After a store's
    /// error the permit is still there, and the same call settles it.
    pub fn settle(&self, usage: &Usage) -> Result<Settled, Error> {
        self.settle_as(usage, &Outcome::new(Class::Success))
    }

    /// The same, of an answer that was read. A key whose answer was no success is reported as what it was.
    ///
    /// # Errors
    /// As [`Permit::settle`].
    pub fn settle_as(&self, usage: &Usage, outcome: &Outcome) -> Result<Settled, Error> {
        usage.check()?;
        let mut inner = self.inner.lock();
        match &inner.end {
            Some(End::Settled(before)) if before == usage => {
                return Ok(Settled { already: true, ..Settled::default() });
            }
            Some(End::Settled(before)) => {
                return Err(Error::conflict("usage", &inner.hold.op, format!("{before:?}"), format!("{usage:?}")));
            }
            _ => {}
        }
        let provider = inner.chosen.as_ref().and_then(Chosen::provider);
        let cost = inner.hold.cost(usage, provider)?;
        let priced = Usage { usd: cost, ..usage.clone() };
        let verdict = self.apply(|now| {
            let mut plan = inner.hold.settle(&priced, Some(outcome.class), now)?;
            self.report(&inner, &mut plan, *outcome, now)?;
            Ok(plan)
        })?;
        inner.end = Some(End::Settled(usage.clone()));
        inner.chosen = None;
        let settled = inner.hold.settled(&verdict, cost);
        let Inner { hold, .. } = &*inner;
        self.keeper.alert(&hold.force, &verdict, hold.places());
        self.keeper.freed();
        Ok(settled)
    }

    /// Nothing was sent, or nothing is to be paid: all of it is given back.
    ///
    /// # Errors
    /// A permit that was settled; what the store says.
    pub fn release(&self) -> Result<(), Error> {
        self.release_as(&Outcome::new(Class::NoVerdict))
    }

    /// The same, of an attempt that failed like this.
    ///
    /// # Errors
    /// As [`Permit::release`].
    pub fn release_as(&self, outcome: &Outcome) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        match &inner.end {
            Some(End::Released) => return Ok(()),
            Some(End::Settled(_)) => {
                return Err(Error::conflict("permit", &inner.hold.op, "settled", "release"));
            }
            None => {}
        }
        let _ = self.apply(|now| {
            let mut plan = inner.hold.release(now);
            self.report(&inner, &mut plan, *outcome, now)?;
            Ok(plan)
        })?;
        inner.end = Some(End::Released);
        inner.chosen = None;
        self.keeper.freed();
        Ok(())
    }

    /// The call is still under way: what it holds lives this long from now. Says until when.
    ///
    /// # Errors
    /// What the store says.
    pub fn extend(&self, life: Length) -> Result<Option<Timestamp>, Error> {
        let mut inner = self.inner.lock();
        let verdict = self.apply(|now| Ok(inner.hold.extend(life, now)))?;
        Ok(inner.hold.extended(&verdict))
    }

    /// The call has used this much so far, which is held at the least, and charged if nothing more is heard of it. Never
    /// refused; says whether a limit is crossed, so that a host can stop the stream.
    ///
    /// # Errors
    /// What the store says.
    pub fn so_far(&self, usage: &Usage) -> Result<SoFar, Error> {
        usage.check()?;
        let mut inner = self.inner.lock();
        let provider = inner.chosen.as_ref().and_then(Chosen::provider);
        let priced = Usage { usd: inner.hold.cost(usage, provider)?, ..usage.clone() };
        let verdict = self.apply(|now| inner.hold.raise(&priced, now))?;
        inner.hold.raised(&priced, &verdict);
        let is_over = effects(&verdict).iter().any(|effect| match effect {
            Effect::Booked { spent: Some(spent), booked, cap: Cap::At(most), .. } => {
                spent.checked_add(*booked).is_none_or(|sum| sum > *most)
            }
            _ => false,
        });
        Ok(SoFar { is_over })
    }

    /// The key has failed like this: that is reported whatever happens, and the call goes out with another key of its pool
    /// if there is one. What the client holds stays as it is.
    ///
    /// # Errors
    /// A call without a pool, or one that is over; what the store says.
    pub fn failover(&self, outcome: &Outcome) -> Result<Moved, Error> {
        let mut inner = self.inner.lock();
        let failed = inner.chosen.as_ref().filter(|_| inner.end.is_none()).map(|chosen| chosen.key().clone());
        if let Some(failed) = failed.as_ref().filter(|failed| !inner.tried.contains(failed)) {
            inner.tried.push(failed.clone());
        }
        let now = self.keeper.now();
        let reports = |plan: &mut Plan, at: Timestamp| self.report(&inner, plan, *outcome, at);
        let (Some(from), Some(_)) = (&inner.from, failed) else {
            return Err(Error::invalid("permit", &inner.hold.op, "a call under way, with a key of a pool"));
        };
        match self.keeper.pick_again(from, &inner.hold, &inner.tried, &reports, now)? {
            Ok((plan, grant, chosen)) => {
                inner.hold.go_on(plan, &grant);
                inner.chosen = Some(chosen);
                inner.attempt = now;
                Ok(Moved::On)
            }
            Err(denial) => Ok(Moved::Denied(denial)),
        }
    }

    fn report(&self, inner: &Inner, plan: &mut Plan, outcome: Outcome, now: Timestamp) -> Result<(), Error> {
        let Some(chosen) = &inner.chosen else { return Ok(()) };
        let mut answer = Answer::new(chosen.key(), outcome, inner.attempt);
        if let Some(model) = &self.model {
            answer = answer.model(model);
            if outcome.class == Class::ModelRefused {
                answer = answer.of_the_model();
            }
        }
        chosen.pool().report(plan, &answer, now)
    }

    fn apply(&self, plan: impl FnMut(Timestamp) -> Result<Plan, Error>) -> Result<Verdict, Error> {
        apply_at(self.keeper.store(), self.keeper.now(), plan).map(|(verdict, _)| verdict)
    }

    /// Whether it was settled or released.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.inner.lock().end.is_some()
    }

    /// What the estimate, or an expiry, would cost.
    #[must_use]
    pub fn estimate(&self) -> Option<Usd> {
        self.inner.lock().hold.estimate()
    }
}

impl<S: Store> Drop for Permit<S> {
    /// Blocks nobody, and asks no store.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if inner.end.is_none() {
            let chosen = inner.chosen.as_ref();
            inner.hold.left = chosen.map(|it| (it.pool().clone(), it.key().clone(), inner.attempt));
            self.keeper.dropped(inner.hold.clone());
        }
    }
}

impl<S: Store> fmt::Debug for Permit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("Permit")
            .field("op", &inner.hold.op)
            .field("key", &inner.chosen.as_ref().map(Chosen::key))
            .field("end", &inner.end)
            .finish_non_exhaustive()
    }
}
