//! The limits that keys have of their own: one identity for each kind, and an amount for each key.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Entry, Facts, Inner, Pool, UPSTREAM};
use crate::account::{Account, MeterId};
use crate::amount::{Amount, Cap, Measure};
use crate::error::Error;
use crate::id::Subject;
use crate::limit::{Compiled, Limit, Own, Shape};
use crate::plan::{Act, Ask, Plan, Rule, Take};
use crate::pool::Key;
use crate::terms::Terms;
use crate::time::{Timestamp, When};
use crate::usage::Usage;
use crate::window::{Calendar, Unit};

/// What one of a key's own limits asks of a call.
struct Demand {
    subject: Subject,
    rule: Rule,
    ask: Ask,
}

impl Pool {
    /// Every kind of limit that its keys have and that no store is known to have adopted. A driver adopts them with its own,
    /// by [`Terms::plan`], and hands over what came of it to [`Pool::adopted`].
    #[must_use]
    pub fn unadopted(&self) -> Vec<Compiled> {
        let inner = self.0.inner.lock();
        inner.limits.iter().filter(|limit| inner.term(limit.id()).is_none()).cloned().collect()
    }

    /// Takes over the limits as a store has adopted them; those of other drivers may be among them.
    pub fn adopted(&self, terms: &Terms) {
        let mut inner = self.0.inner.lock();
        let known = inner.limits.iter().filter_map(|limit| terms.get(limit.id()).or_else(|| inner.term(limit.id())));
        inner.terms = known.cloned().collect();
    }

    /// How much of its keys' own limits a usage is, for the plan that settles it: each limit by its number.
    ///
    /// # Errors
    /// Tokens whose weighted sum no amount can hold.
    pub fn actual(&self, usage: &Usage) -> Result<SmallVec<[(MeterId, Amount); 4]>, Error> {
        let inner = self.0.inner.lock();
        let mut actual = SmallVec::new();
        for term in &inner.terms {
            actual.extend(term.limit().used(usage)?.map(|used| (term.meter(), used)));
        }
        Ok(actual)
    }
}

impl Inner {
    /// Adds a key with its limits.
    pub(super) fn insert(&mut self, key: Key, limits: Vec<Limit>) -> Result<(), Error> {
        let named = |error: Error| error.renamed("limit", &format!("keys.{}.limit", key.id()));
        let (mut own, mut kinds) = (Vec::new(), Vec::new());
        for limit in limits {
            let limit = limit.by(UPSTREAM);
            let (with_amount, kind) =
                (limit.clone().compile().map_err(named)?, limit.unlimited().compile().map_err(named)?);
            let known = self.limits.iter().chain(&kinds).find(|other| other.id() == kind.id());
            let twice = own.iter().any(|(id, _)| id == kind.id());
            if twice || known.is_some_and(|other| *other != kind) {
                let expected = "each kind of limit once for a key, and the same but for its amount for all of them";
                return Err(Error::invalid(format!("keys.{}.limit", key.id()), kind.id(), expected));
            }
            own.push((kind.id().clone(), with_amount.cap()));
            if known.is_none() {
                kinds.push(kind);
            }
        }
        let subject = Subject::of([(UPSTREAM, key.id().as_str())])?;
        self.roster.insert(key.member())?;
        if !key.is_enabled() {
            self.roster.enable(key.id(), false, self.now);
        }
        self.limits.extend(kinds);
        self.keys.insert(key.id().clone(), Entry { key: Arc::new(key), subject, limits: own });
        Ok(())
    }

    /// What a call asks of a key's own limits.
    fn demands(&self, entry: &Entry, facts: &Facts<'_>, now: Timestamp) -> Result<SmallVec<[Demand; 4]>, Error> {
        let nothing = Usage::new();
        let estimate = facts.estimate.unwrap_or(&nothing);
        let mut demands = SmallVec::new();
        for (id, cap) in &entry.limits {
            let Some(term) = self.term(id) else {
                return Err(Error::invalid("pool.limits", id, "a limit that the store has adopted: see Pool::adopt"));
            };
            let limit = term.limit();
            let dimension = |name: &str| match name {
                UPSTREAM => Some(entry.key.id().as_str()),
                _ => facts.dimension(name),
            };
            let Some(subject) = limit.subject(dimension)? else { continue };
            let stated = if *limit.measure() == Measure::Slots { None } else { limit.used(estimate)? };
            let own = Own { cap: Some(*cap), ..Own::default() };
            demands.push(Demand { subject, rule: term.rule(&own, now), ask: limit.ask(stated)? });
        }
        Ok(demands)
    }

    /// Adds what a call asks of a key's own limits to an alternative of a plan.
    pub(super) fn takes(
        &self,
        entry: &Entry,
        facts: &Facts<'_>,
        plan: &mut Plan,
        now: Timestamp,
    ) -> Result<SmallVec<[Take; 4]>, Error> {
        let mut takes = SmallVec::new();
        for Demand { subject, rule, ask } in self.demands(entry, facts, now)? {
            plan.until = plan.until.min(rule.kernel.holds_until());
            takes.push(Take { account: plan.place(subject)?, rule, ask, act: Act::Hold });
        }
        for (id, _) in &entry.limits {
            // A plan is answered early only if every limit in it may be.
            plan.relaxed &= self.term(id).is_some_and(|term| term.limit().is_relaxed());
            let days = self.term(id).and_then(|term| match term.limit().shape() {
                Shape::Credits(_, zone) => Some(Calendar::of(Unit::Day).in_zone(*zone).window(now).end),
                _ => None,
            });
            plan.until = plan.until.min(days.unwrap_or(Timestamp::MAX));
        }
        Ok(takes)
    }

    /// When a key's own limits have room for a call, if they have none now, by the key's account as a store has it.
    pub(super) fn room(
        &self,
        entry: &Entry,
        account: &Account,
        facts: &Facts<'_>,
        now: Timestamp,
    ) -> Result<Option<When>, Error> {
        let mut when: Option<When> = None;
        for Demand { subject, rule, ask } in self.demands(entry, facts, now)? {
            // What it has together with other dimensions lies elsewhere, and is found out by the plan.
            let Some(meter) = account.meter(rule.meter).filter(|_| subject == entry.subject) else { continue };
            let mut meter = meter.clone();
            let _ = meter.advance(&rule, now);
            if let Some(short) = meter.short(&rule, ask, now, account.expiries()) {
                when = Some(when.map_or(short.when, |when| when.and(short.when)));
            }
        }
        Ok(when)
    }
}

impl<'a> Facts<'a> {
    fn dimension(&self, name: &str) -> Option<&'a str> {
        let stated = self.dimensions.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        stated.or_else(|| self.model.filter(|_| name == "model"))
    }
}

/// The share of a limit that is used, in millionths, where there is an end to it.
pub(super) fn share(remaining: Option<Amount>, cap: Cap) -> Option<u64> {
    let (Some(left), Cap::At(most)) = (remaining, cap) else { return None };
    let (left, most) = (u128::from(left.get().unsigned_abs()), u128::from(most.get().unsigned_abs()));
    let used = most.saturating_sub(left).saturating_mul(1_000_000).checked_div(most).unwrap_or(1_000_000);
    u64::try_from(used).ok()
}
