//! What a keeper is asked, once for stores that answer at once and for those that are waited for.

use std::sync::Arc;

use super::Decision;
use super::call::Call;
use super::denial::Denial;
use super::force::{self, Asked, Force};
use super::held::{From, Held};
use super::hold::{Hold, Settled, effects};
use super::shared::{Shared, force_of};
use crate::account::{Account, Act, How};
use crate::budgets;
use crate::clients;
use crate::error::{Error, StoreError};
use crate::id::{KeyId, LimitId, OpId, Subject};
use crate::keys::{Answer, Facts, Found, Pool};
use crate::limit::Compiled;
use crate::observe::Event;
use crate::plan::{Adopt, Effect, Plan, Used, Verdict};
use crate::pool::{Key, Session, Standing};
use crate::price::Book;
use crate::quota::{Cause, ClientKey, Gate};
use crate::store::{AsyncStore, PartsOf, Question, ask_of};
use crate::system::OpIds;
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Outcome, Usage};

/// How many parts of one operation are looked at: one for each account that its limits count in.
const PARTS: usize = 1_000;

/// Who makes a call that was let in.
#[derive(Default)]
pub(super) struct Caller {
    pub(super) client: Option<Arc<ClientKey>>,
    /// The pool to which its key sends it, whichever it asks for.
    elsewhere: Option<String>,
}

impl Caller {
    /// The pool to which its key sends it, if it does.
    pub(super) fn elsewhere(&self) -> Option<&str> {
        self.elsewhere.as_deref()
    }

    /// What a call of this caller's asks: what it says that it uses, and the same, priced.
    pub(super) fn asks<'a>(&'a self, call: &'a Call, op: &'a OpId, act: Act, used: [&'a Usage; 2]) -> Asked<'a> {
        let [said, estimate] = used;
        Asked { call, client: self.client.as_deref(), pool: self.pool(call), op, act, said, estimate }
    }

    /// The pool that the call is to go out with.
    pub(super) fn pool<'a>(&'a self, call: &'a Call) -> Option<&'a str> {
        self.elsewhere.as_deref().or_else(|| call.asked_pool())
    }
}

/// What a pool is told of a call.
pub(super) fn facts<'a>(asked: &Asked<'a>, dimensions: &'a [(&'a str, &'a str)], except: &'a [KeyId]) -> Facts<'a> {
    let client = asked.client.map(|client| client.id.as_str()).or_else(|| asked.call.dimension("key"));
    Facts {
        model: asked.call.dimension("model"),
        session: asked.call.asked_session().map(|name| Session { client: client.unwrap_or_default(), name }),
        estimate: Some(asked.estimate),
        dimensions,
        except,
    }
}

impl<T: AsyncStore> Shared<T> {
    pub(super) async fn acquire<P: std::convert::From<Held<T>>>(
        self: &Arc<Self>,
        call: &Call,
    ) -> Result<Decision<P>, Error> {
        self.decide(call, Self::tell_denied).await
    }

    /// The same, where somebody else is told of a denial.
    pub(super) async fn decide<P: std::convert::From<Held<T>>>(
        self: &Arc<Self>,
        call: &Call,
        tell: impl Fn(&Self, &Denial),
    ) -> Result<Decision<P>, Error> {
        let now = self.tidy().await;
        let caller = match self.gate(call, now)? {
            Ok(caller) => caller,
            Err(cause) => {
                let denial = Denial::gate(cause);
                tell(self, &denial);
                return Ok(Decision::Denied(Box::new(denial)));
            }
        };
        let decided = match self.admit(call, &caller, now).await {
            Err(error) if error.store().is_some_and(StoreError::is_unavailable) => self.admit_here(call, &caller, now),
            decided => decided,
        };
        if let Ok(Decision::Denied(denial)) = &decided {
            tell(self, denial);
        }
        decided
    }

    async fn admit<P: std::convert::From<Held<T>>>(
        self: &Arc<Self>,
        call: &Call,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Decision<P>, Error> {
        let force = self.force();
        let op = call.op().cloned().unwrap_or_else(|| OpIds::new().next(now));
        let estimate = force::estimate(&force, call, now)?;
        let asked = caller.asks(call, &op, Act::Hold, [call.estimated(), &estimate]);
        if self.is_refused_by_clock(&force, &asked)? {
            return Ok(Decision::Denied(Box::new(Denial::clock())));
        }
        let mut question = Question::new(now);
        let mut doubt = self.doubt(&op);
        if let Some(name) = caller.pool(call) {
            let pool = force.pool(name)?;
            let pairs: Vec<(&str, &str)> = call.pairs().collect();
            let found = pool.seek(
                &self.store,
                facts(&asked, &pairs, &[]),
                &mut question,
                |plan, now| force.plan(&asked, plan, now),
                |plan, now| force.route(&asked, plan, now),
            );
            let found = found.await;
            doubt.answered(&found, call.op().is_some());
            drop(doubt);
            let (chosen, grant) = match found? {
                Found::Chosen(chosen, grant) => (chosen, grant),
                Found::Missed(missed) => {
                    return Ok(Decision::Denied(Box::new(Denial::missed(force.terms(), &question.plan, missed))));
                }
            };
            let from = Box::new(From {
                pool: pool.clone(),
                call: call.clone(),
                client: caller.client.clone(),
                estimate: estimate.into_owned(),
            });
            let hold = Hold::new(force, op, &mut question.plan, &grant, question.moment.at());
            let held = Held::new(self, hold, Some((chosen, from)), call.dimension("model"));
            self.tell_granted(&held);
            return Ok(Decision::Granted(held.into()));
        }
        let answer = self.store.ask(&mut question, |plan, now| force.plan(&asked, plan, now)).await;
        doubt.answered(&answer, call.op().is_some());
        drop(doubt);
        answer?;
        let Question { plan, verdict, moment } = &mut question;
        Ok(match verdict {
            Verdict::Denied(denial) => Decision::Denied(Box::new(Denial::limits(force.terms(), plan, denial))),
            Verdict::Granted(grant) => {
                let hold = Hold::new(force, op, plan, grant, moment.at());
                let held = Held::new(self, hold, None, call.dimension("model"));
                self.tell_granted(&held);
                Decision::Granted(held.into())
            }
            other => return Err(Error::invalid("verdict", format!("{other:?}"), "one that is granted or denied")),
        })
    }

    /// Whether the call is let in, and by whose key.
    pub(super) fn gate(&self, call: &Call, now: Timestamp) -> Result<Result<Caller, Cause>, Error> {
        let Some(secret) = call.shown_secret() else { return Ok(Ok(Caller::default())) };
        let Some(clients) = &self.clients else {
            return Err(Error::invalid("call.secret", "one", "none, since the keeper has no client keys"));
        };
        let met = clients::verify(&**clients, secret, &call.caller(), now)?;
        Ok(match met.gate {
            Gate::Open => Ok(Caller { client: met.key, elsewhere: None }),
            Gate::Elsewhere(pool) => Ok(Caller { client: met.key, elsewhere: Some(pool) }),
            Gate::Shut(cause) => Err(cause),
        })
    }

    pub(super) async fn charge(&self, call: &Call, usage: &Usage) -> Result<Option<Box<Denial>>, Error> {
        let charged = self.book(call, usage).await;
        if let Ok(Some(denial)) = &charged {
            self.tell_denied(denial);
        }
        charged
    }

    async fn book(&self, call: &Call, usage: &Usage) -> Result<Option<Box<Denial>>, Error> {
        usage.check()?;
        let (now, force) = (self.tidy().await, self.force());
        let caller = match self.gate(call, now)? {
            Ok(caller) => caller,
            Err(cause) => return Ok(Some(Box::new(Denial::gate(cause)))),
        };
        let op = call.op().cloned().unwrap_or_else(|| OpIds::new().next(now));
        let priced = force::priced(&force, call, usage, now)?;
        let asked = caller.asks(call, &op, Act::Charge, [usage, &priced]);
        if self.is_refused_by_clock(&force, &asked)? {
            return Ok(Some(Box::new(Denial::clock())));
        }
        let mut question = Question::new(now);
        let make = |plan: &mut Plan, now| {
            force.plan(&asked, plan, now)?;
            plan.op = Some(op.clone());
            plan.hold = None;
            plan.used = Some(Used { usage: priced.clone().into_owned(), outcome: None });
            Ok(())
        };
        self.store.ask(&mut question, make).await?;
        if let Verdict::Denied(denial) = &question.verdict {
            return Ok(Some(Box::new(Denial::limits(force.terms(), &question.plan, denial))));
        }
        self.told.tell(|| Event::Settled { op: &op, class: Class::NoVerdict, cost: priced.usd, over: &[] });
        self.alert_all(&force, &question.plan.accounts).await;
        Ok(None)
    }

    /// Notes what an upstream answered to a call that had no permit.
    pub(super) async fn observe(&self, pool: &str, answer: &Answer<'_>) -> Result<Standing, Error> {
        let (now, force) = (self.tidy().await, self.force());
        let pool = force.pool(pool)?;
        let (verdict, _) = ask_of(&self.store, now, |now| pool.observe_plan(answer, now)).await?;
        self.lines.freed();
        let standing = Pool::observed(&verdict);
        let (key, class) = answer.of();
        self.tell_out(pool, key, class, Some(standing));
        Ok(standing)
    }

    /// What an operation holds, whoever has its permit.
    async fn found(&self, op: &OpId) -> Result<Hold, Error> {
        let parts = self.store.parts(&PartsOf::Op(op.clone()), None, PARTS).await?;
        let expected = || "an operation that holds something, or did not long ago";
        Hold::found(self.force(), &parts).ok_or_else(|| Error::invalid("operation", op, expected()))
    }

    /// Says of the key that an operation went out with how its attempt has ended.
    fn report(&self, hold: &Hold, plan: &mut Plan, class: Class, now: Timestamp) -> Result<(), Error> {
        let Some(key) = hold.key() else { return Ok(()) };
        let Some(pool) = hold.force.pools.iter().find(|pool| pool.key(key).is_some()) else { return Ok(()) };
        let model = hold.dimension("model");
        let mut answer = Answer::new(key, Outcome::new(class), hold.began);
        if let Some(model) = &model {
            answer = answer.model(model);
        }
        pool.report(plan, &answer, now)
    }

    pub(super) async fn settle(&self, op: &OpId, usage: &Usage) -> Result<Settled, Error> {
        usage.check()?;
        let now = self.tidy().await;
        let hold = self.found(op).await?;
        let key = hold.key().and_then(|key| hold.force.pools.iter().find_map(|pool| pool.key(key)));
        let cost = hold.cost(usage, key.as_ref().and_then(Key::of_provider))?;
        let (priced, mut question) = (Usage { usd: cost, ..usage.clone() }, Question::new(now));
        let settle = |plan: &mut Plan, now| {
            hold.settle(plan, &priced, Some(Class::Success), now)?;
            self.report(&hold, plan, Class::Success, now)
        };
        self.store.ask(&mut question, settle).await?;
        self.lines.freed();
        let settled = hold.settled(&question.verdict, cost);
        self.tell_settled(Some(op), Class::Success, &settled, &hold.force);
        self.alert(&hold.force, &question.verdict, &question.plan.accounts).await;
        Ok(settled)
    }

    pub(super) async fn release(&self, op: &OpId) -> Result<(), Error> {
        let now = self.tidy().await;
        let (hold, mut question) = (self.found(op).await?, Question::new(now));
        let release = |plan: &mut Plan, now| {
            hold.release(plan, now);
            self.report(&hold, plan, Class::NoVerdict, now)
        };
        self.store.ask(&mut question, release).await?;
        self.lines.freed();
        match effects(&question.verdict).iter().any(|effect| matches!(effect, Effect::Already(How::Settled))) {
            true => Err(Error::conflict("operation", op, "settled", "release")),
            false => {
                self.tell_released(Some(op), Class::NoVerdict);
                Ok(())
            }
        }
    }

    pub(super) async fn extend(&self, op: &OpId, life: Length) -> Result<Option<Timestamp>, Error> {
        let now = self.tidy().await;
        let (mut hold, mut question) = (self.found(op).await?, Question::new(now));
        let extend = |plan: &mut Plan, now| {
            hold.extend(plan, life, now);
            Ok(())
        };
        self.store.ask(&mut question, extend).await?;
        Ok(hold.extended(&question.verdict))
    }

    pub(super) async fn reset(&self, limit: &LimitId, of: &Subject) -> Result<(), Error> {
        let (now, force) = (self.tidy().await, self.force());
        let Some(term) = force.terms().get(limit) else {
            return Err(Error::invalid("limit", limit, "one of the keeper's limits"));
        };
        let op: OpId = OpIds::new().next(now);
        ask_of(&self.store, now, |now| budgets::reset_plan(&op, term, of, now)).await.map(drop)
    }

    /// Puts others in the place of what is in force.
    pub(super) async fn apply(
        &self,
        limits: Vec<Compiled>,
        pools: Vec<Pool>,
        prices: Option<Book>,
    ) -> Result<(), Error> {
        let now = self.now();
        let force: Force = force_of(&self.store, (limits, Vec::new()), (pools, prices), Adopt::Change, now).await?;
        self.put_in_force(force);
        Ok(())
    }
}

/// What would become of a plan.
pub(super) fn seen(
    force: &Force,
    plan: Plan,
    accounts: Vec<Option<Account>>,
    now: Timestamp,
) -> Result<Option<Denial>, Error> {
    let plan = Plan { op: None, ..plan };
    match budgets::decide_on(&plan, accounts, now) {
        Verdict::Denied(denial) => Ok(Some(Denial::limits(force.terms(), &plan, &denial))),
        verdict => verdict.error(None).map_or(Ok(None), Err),
    }
}
