//! The policy in force, and the plans that it makes of calls. Nothing here waits for a store.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::call::Call;
use crate::account::{Act, Firm, Kernel, MeterId, Rule};
use crate::amount::{Amount, Measure, Usd};
use crate::error::Error;
use crate::id::{OpId, Subject};
use crate::keys::{Pool, UPSTREAM};
use crate::limit::Shape;
use crate::plan::{Plan, Take};
use crate::price::{Book, Entry, Model};
use crate::quota::{ClientKey, Own};
use crate::terms::{Term, Terms};
use crate::time::Timestamp;
use crate::usage::Usage;
use crate::window::{Calendar, Unit};

/// What a call's route adds to its dimensions.
const ROUTE: [&str; 2] = [UPSTREAM, "provider"];

/// Limits, pools and prices, as they are in force until others are applied.
#[derive(Debug, Default)]
pub(super) struct Force {
    terms: Terms,
    ways: Vec<Way>,
    pub(super) pools: Vec<Pool>,
    pub(super) prices: Option<Book>,
}

/// How one limit is planned.
#[derive(Debug)]
struct Way {
    /// Whether it goes by what only a route says.
    routed: bool,
    /// The first limit that finds the same account for every call, or none for the same calls.
    like: usize,
    /// The rule of whoever has nothing of its own, and until when it stands. A rule that does not depend on the instant
    /// stands for ever.
    rule: Mutex<(Timestamp, Timestamp, Rule)>,
}

/// Everything that a plan is made of, apart from the instant.
pub(super) struct Asked<'a> {
    pub(super) call: &'a Call,
    pub(super) client: Option<&'a ClientKey>,
    /// The pool that it goes out with.
    pub(super) pool: Option<&'a str>,
    pub(super) op: &'a OpId,
    pub(super) act: Act,
    /// What the caller says that it will use, or has used.
    pub(super) said: &'a Usage,
    /// The same, priced if it can be.
    pub(super) estimate: &'a Usage,
}

/// The value of a dimension of a call: its own, but the client key that it is made with is `key`, whatever else is said.
pub(super) fn dimension<'a>(call: &'a Call, client: Option<&'a ClientKey>, name: &str) -> Option<&'a str> {
    match client {
        Some(client) if name == "key" => Some(client.id.as_str()),
        _ => call.dimension(name),
    }
}

impl Asked<'_> {
    fn dimension(&self, name: &str) -> Option<&str> {
        dimension(self.call, self.client, name)
    }

    pub(super) fn own(&self, term: &Term) -> Own {
        let id = term.limit().id();
        let (of_call, of_client) = (self.call.own_of(id), self.client.map(|client| client.own(id)).unwrap_or_default());
        Own {
            cap: of_call.cap.or(of_client.cap),
            anchor: of_call.anchor.or(of_client.anchor),
            until: of_call.until.or(of_client.until),
        }
    }
}

impl Force {
    pub(super) fn new(terms: Terms, pools: Vec<Pool>, prices: Option<Book>, now: Timestamp) -> Self {
        let ways = terms.iter().enumerate().map(|(place, term)| {
            let limit = term.limit();
            let like = terms.iter().position(|other| other.limit().goes_like(limit)).unwrap_or(place);
            let routed =
                limit.by().iter().map(String::as_str).chain(limit.conditions().iter().map(|(name, _)| name.as_str()));
            let (from, until, rule) = rule_of(term, &Own::default(), now);
            let routed = routed.into_iter().any(|name| ROUTE.contains(&name));
            Way { routed, like, rule: Mutex::new((from, until, rule)) }
        });
        let ways = ways.collect();
        Self { terms, ways, pools, prices }
    }

    pub(super) const fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(super) fn pool(&self, name: &str) -> Result<&Pool, Error> {
        self.pools.iter().find(|pool| pool.name() == name).ok_or_else(|| {
            let known: Vec<&str> = self.pools.iter().map(Pool::name).collect();
            Error::invalid("call.pool", name, format!("one of the keeper's pools: {}", known.join(", ")))
        })
    }

    /// The rule of a limit at this instant, and until when it stands.
    fn rule(&self, place: usize, term: &Term, own: &Own, now: Timestamp) -> (Rule, Timestamp) {
        let Some(way) = self.ways.get(place).filter(|_| own.anchor.is_none() && own.until.is_none()) else {
            let (_, until, rule) = rule_of(term, own, now);
            return (rule, until);
        };
        let mut known = way.rule.lock();
        if now < known.0 || now >= known.1 {
            *known = rule_of(term, &Own::default(), now);
        }
        let (_, until, rule) = *known;
        (Rule { cap: own.cap.unwrap_or(rule.cap), ..rule }, until)
    }

    /// Puts into an empty plan what a call asks of the limits that do not go by its route.
    pub(super) fn plan(&self, asked: &Asked<'_>, plan: &mut Plan, now: Timestamp) -> Result<(), Error> {
        let call = asked.call;
        plan.hold = Some(asked.op.clone());
        if call.op().is_some() {
            plan.op = Some(asked.op.clone());
            plan.args = call.args(asked.client.map(|client| &client.id), asked.said);
        }
        plan.life = call.given_life().unwrap_or(plan.life);
        let mut context = call.context()?;
        if let Some(client) = asked.client {
            let others = call.pairs().filter(|(name, _)| *name != "key");
            let context = Arc::make_mut(&mut context);
            context.client = Some(client.id.clone());
            context.subject = Subject::of(others.chain([("key", client.id.as_str())]))?;
        }
        // What is booked if nothing more is heard of the call, its price included.
        if context.estimate != *asked.estimate {
            Arc::make_mut(&mut context).estimate = asked.estimate.clone();
        }
        plan.context = Some(context);
        plan.relaxed = true;
        let routed = asked.pool.is_some();
        // The account of each limit, so that limits of one subject do not each write its name.
        let mut accounts: SmallVec<[Option<u16>; 8]> = SmallVec::new();
        for (place, (term, way)) in self.terms.iter().zip(&self.ways).enumerate() {
            // What is over takes no slot.
            let is_over = asked.act == Act::Charge && *term.limit().measure() == Measure::Slots;
            let skip = is_over || (routed && way.routed);
            let account = match accounts.get(way.like).copied().flatten() {
                Some(account) => Some(account),
                None if skip => None,
                None => account(term, |name| asked.dimension(name), plan)?,
            };
            accounts.push(account);
            if let Some(account) = account.filter(|_| !skip) {
                let take = self.take(place, term, asked, account, plan, now)?;
                plan.takes.push(take);
            }
        }
        // Where nothing is counted, the row of what was used is all there is.
        plan.relaxed &= !plan.takes.is_empty();
        Ok(())
    }

    /// Adds to each alternative of the plan's last pick what the limits ask that go by its route.
    pub(super) fn route(&self, asked: &Asked<'_>, plan: &mut Plan, now: Timestamp) -> Result<(), Error> {
        if !self.ways.iter().any(|way| way.routed) {
            return Ok(());
        }
        let Some(mut pick) = plan.picks.pop() else { return Ok(()) };
        for alternative in &mut pick.alternatives {
            let Some(key) = alternative.key.clone() else { continue };
            let provider =
                self.pools.iter().find_map(|pool| pool.key(&key)).and_then(|key| Some(key.of_provider()?.to_owned()));
            let dimension = |name: &str| match name {
                UPSTREAM => Some(key.as_str()),
                "provider" => provider.as_deref().or_else(|| asked.dimension(name)),
                _ => asked.dimension(name),
            };
            for (place, term) in self.terms.iter().enumerate() {
                if self.ways.get(place).is_some_and(|way| way.routed) {
                    if let Some(account) = account(term, dimension, plan)? {
                        alternative.takes.push(self.take(place, term, asked, account, plan, now)?);
                    }
                }
            }
        }
        plan.picks.push(pick);
        Ok(())
    }

    fn take(
        &self,
        place: usize,
        term: &Term,
        asked: &Asked<'_>,
        account: u16,
        plan: &mut Plan,
        now: Timestamp,
    ) -> Result<Take, Error> {
        let limit = term.limit();
        let stated = if *limit.measure() == Measure::Slots { None } else { limit.used(asked.estimate)? };
        let ask = limit.ask(stated)?;
        let (rule, until) = self.rule(place, term, &asked.own(term), now);
        plan.until = plan.until.min(until);
        plan.relaxed &= limit.is_relaxed();
        Ok(Take { account, rule, ask, act: asked.act })
    }

    /// How much of each limit that is held a usage is, by the limit's number.
    pub(super) fn actual(
        &self,
        usage: &Usage,
        is_held: impl Fn(MeterId) -> bool,
    ) -> Result<SmallVec<[(MeterId, Amount); 4]>, Error> {
        let mut actual = SmallVec::new();
        for term in self.terms.iter().filter(|term| is_held(term.meter())) {
            actual.extend(term.limit().used(usage)?.map(|used| (term.meter(), used)));
        }
        for pool in &self.pools {
            actual.extend(pool.actual(usage)?);
        }
        Ok(actual)
    }

    /// The price by which a call's estimate is priced that does not say so itself.
    pub(super) fn priced_by(&self, call: &Call, at: Timestamp) -> Option<Entry> {
        let (Some(book), Some(model), None) = (&self.prices, call.dimension("model"), call.estimated().usd) else {
            return None;
        };
        let model = Model::named(model);
        let model = call.dimension("provider").map_or(model, |provider| model.of(provider));
        book.find(model, at).cloned()
    }

    /// Whether a hard limit of money concerns a call; one that goes by the route may.
    pub(super) fn counts_hard_money(&self, asked: &Asked<'_>) -> Result<bool, Error> {
        for (term, way) in self.terms.iter().zip(&self.ways) {
            let limit = term.limit();
            if *limit.measure() != Measure::Usd || limit.firm() != Firm::Hard {
                continue;
            }
            if way.routed || limit.subject(|name| asked.dimension(name))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a usage costs that does not say so itself, of a call that says which model it is for.
    pub(super) fn cost(&self, call: &Priced<'_>, usage: &Usage, at: Timestamp) -> Result<Option<Usd>, Error> {
        let (Some(book), Some(model), None) = (&self.prices, call.model, usage.usd) else { return Ok(usage.usd) };
        let model = Model::named(model);
        let model = call.provider.map_or(model, |provider| model.of(provider));
        Ok(book.cost(model, at, usage)?.usd())
    }
}

/// What a price is looked up by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Priced<'a> {
    pub(super) model: Option<&'a str>,
    pub(super) provider: Option<&'a str>,
}

/// The account that a call falls under by a limit, if that concerns it.
fn account<'a>(
    term: &Term,
    dimension: impl Fn(&str) -> Option<&'a str>,
    plan: &mut Plan,
) -> Result<Option<u16>, Error> {
    term.limit().subject(dimension)?.map(|subject| plan.place(subject)).transpose()
}

/// A rule, and the instants between which it stands.
fn rule_of(term: &Term, own: &Own, now: Timestamp) -> (Timestamp, Timestamp, Rule) {
    let rule = term.rule(own, now);
    match (rule.kernel, term.limit().shape()) {
        (Kernel::Tumble { window }, _) => (window.start, window.end, rule),
        (Kernel::Balance { .. }, Shape::Credits(_, zone)) => {
            let day = Calendar::of(Unit::Day).in_zone(*zone);
            let window = crate::window::Schedule::from(day).window(now);
            (window.start, window.end, rule)
        }
        _ => (Timestamp::MIN, Timestamp::MAX, rule),
    }
}

/// What a call will use at most, priced if it does not say what it will cost.
pub(super) fn estimate<'a>(force: &Force, call: &'a Call, now: Timestamp) -> Result<Cow<'a, Usage>, Error> {
    priced(force, call, call.estimated(), now)
}

/// A usage of a call, priced if it does not say what it cost.
pub(super) fn priced<'a>(
    force: &Force,
    call: &Call,
    usage: &'a Usage,
    now: Timestamp,
) -> Result<Cow<'a, Usage>, Error> {
    if usage.usd.is_some() || force.prices.is_none() {
        return Ok(Cow::Borrowed(usage));
    }
    let of = Priced { model: call.dimension("model"), provider: call.dimension("provider") };
    Ok(match force.cost(&of, usage, now)? {
        None => Cow::Borrowed(usage),
        usd => Cow::Owned(Usage { usd, ..usage.clone() }),
    })
}
