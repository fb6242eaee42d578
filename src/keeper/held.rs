//! What a permit is made of: the hold, the key that the call goes out with, and the verbs that end it.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::call::Call;
use super::denial::Denial;
use super::force::Asked;
use super::hold::{Hold, Remaining, Settled, effects};
use super::local::Local;
use super::permit::{Moved, SoFar};
use super::shared::{GivenUp, Shared};
use super::tell::Tried;
use super::verbs::facts;
use crate::account::Act;
use crate::amount::{Cap, Usd};
use crate::error::Error;
use crate::http::{Header, Options};
use crate::id::{KeyId, OpId, Secret};
use crate::keys::{Answer, Chosen, Found, Pool};
use crate::plan::{Effect, Plan};
use crate::quota::ClientKey;
use crate::store::{AsyncStore, Question};
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Outcome, Usage};

pub(super) struct Held<T: AsyncStore> {
    shared: Arc<Shared<T>>,
    model: Option<Box<str>>,
    /// Where it is held, if that is not in the store.
    local: Option<Arc<Local>>,
    turn: Turn,
    inner: Mutex<Inner>,
}

struct Inner {
    hold: Hold,
    chosen: Option<Chosen>,
    from: Option<Box<From>>,
    /// When the attempt with the key that is chosen began.
    attempt: Timestamp,
    tried: Vec<KeyId>,
    end: Option<End>,
}

/// What is asked again when another key is looked for.
#[derive(Clone)]
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

/// One verb at a time: what a second one says depends on what the first has done.
#[derive(Default)]
struct Turn {
    is_taken: AtomicBool,
    next: Mutex<Vec<Waker>>,
}

struct Taken<'a>(&'a Turn);

impl Turn {
    fn is_free(&self) -> bool {
        self.is_taken.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    async fn take(&self) -> Taken<'_> {
        if !self.is_free() {
            poll_fn(|context| {
                let mut next = self.next.lock();
                // Whoever gives it back looks here afterwards.
                if self.is_free() {
                    return Poll::Ready(());
                }
                next.push(context.waker().clone());
                Poll::Pending
            })
            .await;
        }
        Taken(self)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::SeqCst);
        let next = std::mem::take(&mut *self.0.next.lock());
        next.into_iter().for_each(Waker::wake);
    }
}

impl<T: AsyncStore> Held<T> {
    pub(super) fn new(
        shared: &Arc<Shared<T>>,
        hold: Hold,
        from: Option<(Chosen, Box<From>)>,
        model: Option<&str>,
    ) -> Self {
        let attempt = hold.began;
        let (chosen, from) = from.unzip();
        let inner = Mutex::new(Inner { hold, chosen, from, attempt, tried: Vec::new(), end: None });
        Self { shared: Arc::clone(shared), model: model.map(Into::into), local: None, turn: Turn::default(), inner }
    }

    /// Held in this process alone.
    pub(super) fn here(mut self, local: Arc<Local>) -> Self {
        self.local = Some(local);
        self
    }

    pub(super) const fn is_local(&self) -> bool {
        self.local.is_some()
    }

    pub(super) fn op(&self) -> OpId {
        self.inner.lock().hold.op.clone()
    }

    pub(super) fn key(&self) -> Option<KeyId> {
        self.inner.lock().chosen.as_ref().map(|chosen| chosen.key().clone())
    }

    /// The pool and the key that it was drawn from.
    pub(super) fn drawn(&self) -> Option<Tried> {
        self.inner.lock().chosen.as_ref().map(Tried::of)
    }

    pub(super) fn secret(&self) -> Option<Secret> {
        self.inner.lock().chosen.as_ref().map(|chosen| chosen.secret().clone())
    }

    pub(super) fn provider(&self) -> Option<String> {
        self.inner.lock().chosen.as_ref().and_then(|chosen| chosen.provider().map(str::to_owned))
    }

    pub(super) fn remaining(&self) -> Vec<Remaining> {
        self.inner.lock().hold.remaining().collect()
    }

    pub(super) fn headers(&self, options: &Options) -> Vec<Header> {
        options.granted(self.inner.lock().hold.left(), self.shared.now())
    }

    pub(super) fn is_over(&self) -> bool {
        self.inner.lock().end.is_some()
    }

    pub(super) fn expires(&self) -> Option<Timestamp> {
        self.inner.lock().hold.expires()
    }

    pub(super) fn estimate(&self) -> Option<Usd> {
        self.inner.lock().hold.estimate()
    }

    pub(super) fn show(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct(name)
            .field("op", &inner.hold.op)
            .field("key", &inner.chosen.as_ref().map(Chosen::key))
            .field("end", &inner.end)
            .finish_non_exhaustive()
    }

    pub(super) async fn settle(&self, usage: &Usage, outcome: &Outcome) -> Result<Settled, Error> {
        usage.check()?;
        let turn = self.turn.take().await;
        let cost = {
            let inner = self.inner.lock();
            match &inner.end {
                Some(End::Settled(before)) if before == usage => {
                    return Ok(Settled { already: true, ..Settled::default() });
                }
                Some(End::Settled(before)) => {
                    return Err(Error::conflict("usage", &inner.hold.op, format!("{before:?}"), format!("{usage:?}")));
                }
                _ => inner.cost(usage)?,
            }
        };
        let priced = Usage { usd: cost, ..usage.clone() };
        let mut question = self.question();
        let settle = |plan: &mut Plan, now| {
            let inner = self.inner.lock();
            inner.hold.settle(plan, &priced, Some(outcome.class), now)?;
            self.report(&inner, plan, *outcome, now)
        };
        self.ask(&mut question, settle).await?;
        let (settled, force, tried) = {
            let mut inner = self.inner.lock();
            inner.end = Some(End::Settled(usage.clone()));
            let tried = self.shared.tried(inner.chosen.take().as_ref());
            (inner.hold.settled(&question.verdict, cost), Arc::clone(&inner.hold.force), tried)
        };
        self.shared.lines.freed();
        drop(turn);
        self.shared.tell_settled(question.plan.hold.as_ref(), outcome.class, &settled, &force);
        self.shared.tell_key(tried.as_ref(), self.model.as_deref(), outcome.class, question.moment.at());
        if !self.is_local() {
            self.shared.alert(&force, &question.verdict, &question.plan.accounts).await;
        }
        Ok(settled)
    }

    pub(super) async fn release(&self, outcome: &Outcome) -> Result<(), Error> {
        let turn = self.turn.take().await;
        {
            let inner = self.inner.lock();
            match &inner.end {
                Some(End::Released) => return Ok(()),
                Some(End::Settled(_)) => {
                    return Err(Error::conflict("permit", &inner.hold.op, "settled", "release"));
                }
                None => {}
            }
        }
        let mut question = self.question();
        let release = |plan: &mut Plan, now| {
            let inner = self.inner.lock();
            inner.hold.release(plan, now);
            self.report(&inner, plan, *outcome, now)
        };
        self.ask(&mut question, release).await?;
        let tried = {
            let mut inner = self.inner.lock();
            inner.end = Some(End::Released);
            self.shared.tried(inner.chosen.take().as_ref())
        };
        self.shared.lines.freed();
        drop(turn);
        self.shared.tell_released(question.plan.hold.as_ref(), outcome.class);
        self.shared.tell_key(tried.as_ref(), self.model.as_deref(), outcome.class, question.moment.at());
        Ok(())
    }

    pub(super) async fn extend(&self, life: Length) -> Result<Option<Timestamp>, Error> {
        let _turn = self.turn.take().await;
        let mut question = self.question();
        let extend = |plan: &mut Plan, now| {
            self.inner.lock().hold.extend(plan, life, now);
            Ok(())
        };
        self.ask(&mut question, extend).await?;
        Ok(self.inner.lock().hold.extended(&question.verdict))
    }

    pub(super) async fn so_far(&self, usage: &Usage) -> Result<SoFar, Error> {
        usage.check()?;
        let _turn = self.turn.take().await;
        let priced = Usage { usd: self.inner.lock().cost(usage)?, ..usage.clone() };
        let mut question = self.question();
        let raise = |plan: &mut Plan, now| self.inner.lock().hold.raise(plan, &priced, now);
        self.ask(&mut question, raise).await?;
        self.inner.lock().hold.raised(&priced, &question.verdict);
        let is_over = effects(&question.verdict).iter().any(|effect| match effect {
            Effect::Booked { spent: Some(spent), booked, cap: Cap::At(most), .. } => {
                spent.checked_add(*booked).is_none_or(|sum| sum > *most)
            }
            _ => false,
        });
        Ok(SoFar { is_over })
    }

    pub(super) async fn failover(&self, outcome: &Outcome) -> Result<Moved, Error> {
        let turn = self.turn.take().await;
        let (from, tried, op, force, failed) = {
            let mut inner = self.inner.lock();
            let failed = inner.chosen.as_ref().filter(|_| inner.end.is_none()).map(|chosen| chosen.key().clone());
            let (Some(from), Some(failed)) = (inner.from.clone(), failed) else {
                return Err(Error::invalid("permit", &inner.hold.op, "a call under way, with a key of a pool"));
            };
            if !inner.tried.contains(&failed) {
                inner.tried.push(failed);
            }
            // Whatever becomes of the wait for it, another key may hold something from now on.
            inner.hold.moves();
            let failed = self.shared.tried(inner.chosen.as_ref());
            (from, inner.tried.clone(), inner.hold.op.clone(), Arc::clone(&inner.hold.force), failed)
        };
        let From { pool, call, client, estimate } = &*from;
        let asked = Asked {
            call,
            client: client.as_deref(),
            pool: Some(pool.name()),
            op: &op,
            act: Act::Hold,
            said: call.estimated(),
            estimate,
        };
        let pairs: Vec<(&str, &str)> = call.pairs().collect();
        let mut question = self.question();
        let began = question.moment.at();
        let found = pool.seek(
            &self.shared.store,
            facts(&asked, &pairs, &tried),
            &mut question,
            |plan, now| {
                let inner = self.inner.lock();
                inner.hold.leave(plan, now);
                self.report(&inner, plan, *outcome, now)
            },
            |plan, now| force.route(&asked, plan, now),
        );
        let (moved, to) = match found.await? {
            Found::Chosen(chosen, grant) => {
                let mut inner = self.inner.lock();
                inner.hold.go_on(&mut question.plan, &grant);
                let to = chosen.key().clone();
                inner.chosen = Some(chosen);
                inner.attempt = began;
                (Moved::On, Some(to))
            }
            Found::Missed(missed) => {
                (Moved::Denied(Box::new(Denial::missed(force.terms(), &question.plan, missed))), None)
            }
        };
        drop(turn);
        self.shared.tell_key(failed.as_ref(), self.model.as_deref(), outcome.class, question.moment.at());
        self.shared.tell_failover(&op, failed.as_ref(), to.as_ref(), outcome.class);
        Ok(moved)
    }

    /// Asks whoever keeps what is held.
    async fn ask(
        &self,
        question: &mut Question,
        fill: impl FnMut(&mut Plan, Timestamp) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match &self.local {
            None => self.shared.store.ask(question, fill).await,
            Some(local) => question.ask(&*local.store, fill).await,
        }
    }

    fn question(&self) -> Question {
        Question::new(self.shared.now())
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
}

impl Inner {
    fn cost(&self, usage: &Usage) -> Result<Option<Usd>, Error> {
        self.hold.cost(usage, self.chosen.as_ref().and_then(Chosen::provider))
    }
}

impl<T: AsyncStore> Drop for Held<T> {
    /// Blocks nobody, and asks no store.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        let chosen = inner.chosen.as_ref();
        inner.hold.left = chosen.map(|it| (it.pool().clone(), it.key().clone(), inner.attempt));
        match &self.local {
            _ if inner.end.is_some() => {}
            None => self.shared.give_up(GivenUp::Hold(inner.hold.clone())),
            Some(local) => {
                local.give_up(&inner.hold, self.shared.now());
                self.shared.lines.freed();
            }
        }
    }
}
