//! What a permit holds, and the plans that end it. Nothing here waits for a store.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::force::{Force, Priced};
use crate::account::{Context, Entry, How, MeterId, Part};
use crate::amount::{Amount, Cap, Usd};
use crate::error::Error;
use crate::http::Left;
use crate::id::{KeyId, LimitId, OpId};
use crate::plan::{Effect, Grant, Place, Plan, Report, Take, Used, Verdict};
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Usage};

/// One use as it was held.
#[derive(Clone, Copy, Debug)]
struct Taken {
    account: u16,
    entry: Entry,
    cap: Cap,
    remaining: Option<Amount>,
    window_end: Option<Timestamp>,
}

/// What one operation holds.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) op: OpId,
    pub(super) force: Arc<Force>,
    places: SmallVec<[Place; 4]>,
    /// What the call holds itself.
    ours: SmallVec<[Taken; 4]>,
    /// What its upstream key holds, and limits that go by the route.
    routes: Vec<Taken>,
    context: Option<Arc<Context>>,
    pub(super) began: Timestamp,
    expires: Option<Timestamp>,
    horizon: Length,
    relaxed: bool,
    /// Whether it has moved to another key, so that its parts cannot be named from here.
    moved: bool,
}

/// What is left of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The limit; `None` for one of an upstream key's own.
    pub limit: Option<LimitId>,
    /// How much this call holds of it.
    pub held: Amount,
    /// How much could still be asked for; `None` where there is no end to it.
    pub remaining: Option<Amount>,
    /// When its window ends, where there is such a thing.
    pub window_end: Option<Timestamp>,
}

/// What a settle booked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// What the call cost, as far as that is known.
    pub cost: Option<Usd>,
    /// How it went with each limit.
    pub booked: SmallVec<[Booked; 4]>,
    /// Whether it had been settled before, so that nothing was done.
    pub already: bool,
}

/// What was booked in one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    /// The limit; `None` for one of an upstream key's own.
    pub limit: Option<LimitId>,
    /// What had been held.
    pub held: Amount,
    /// What was booked.
    pub booked: Amount,
    /// What is spent there now, if it still counts in the same window.
    pub spent: Option<Amount>,
    /// What the limit allows.
    pub cap: Cap,
}

impl Booked {
    /// How far it went above what was held.
    #[must_use]
    pub const fn overage(&self) -> Amount {
        self.booked.above(self.held)
    }

    /// Whether more is spent there than the limit allows.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match (self.spent, self.cap) {
            (Some(spent), Cap::At(most)) => spent > most,
            _ => false,
        }
    }
}

impl Hold {
    /// What a plan that was granted holds.
    pub(super) fn new(force: Arc<Force>, op: OpId, plan: &mut Plan, grant: &Grant, now: Timestamp) -> Self {
        let mut hold = Self {
            op,
            force,
            places: SmallVec::new(),
            ours: SmallVec::new(),
            routes: Vec::new(),
            context: None,
            began: now,
            expires: grant.expires,
            horizon: plan.horizon,
            relaxed: plan.relaxed,
            moved: false,
        };
        hold.take(plan, grant);
        hold
    }

    /// What a store knows of an operation, by its parts.
    pub(super) fn found(force: Arc<Force>, parts: &[Part]) -> Option<Self> {
        let first = parts.first()?;
        let mut hold = Self {
            op: first.op.clone(),
            force,
            places: SmallVec::new(),
            ours: SmallVec::new(),
            routes: Vec::new(),
            context: parts.iter().find_map(|part| part.context.clone()),
            began: parts.iter().map(|part| part.taken).min()?,
            expires: parts.iter().map(|part| part.expires).max(),
            horizon: Length::DAY,
            relaxed: false,
            // The store has its parts, and is told of none.
            moved: true,
        };
        for part in parts {
            let known = hold.places.iter().position(|place| place.subject == part.account);
            let place = known.unwrap_or(hold.places.len());
            if known.is_none() {
                hold.places.push(Place { subject: part.account.clone(), hint: 0 });
            }
            let account = u16::try_from(place).ok()?;
            let taken = |entry: &Entry| Taken {
                account,
                entry: *entry,
                cap: Cap::Unlimited,
                remaining: None,
                window_end: None,
            };
            hold.ours.extend(part.entries.iter().map(taken));
        }
        Some(hold)
    }

    /// The upstream key that it goes out with.
    pub(super) fn key(&self) -> Option<&KeyId> {
        self.context.as_ref()?.key.as_ref()
    }

    /// What the call says of itself.
    pub(super) fn dimension(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut dimensions = self.context.as_ref()?.subject.dimensions();
        dimensions.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Adds what a plan was granted.
    fn take(&mut self, plan: &mut Plan, grant: &Grant) {
        let ways = plan.picks.iter().zip(&grant.picked);
        let picked = ways.filter_map(|(pick, at)| pick.alternatives.get(usize::from(*at)));
        let takes = plan.takes.iter().chain(picked.flat_map(|way| &way.takes));
        for (place, (take, taken)) in takes.zip(&grant.taken).enumerate() {
            let Take { account, rule, .. } = take;
            let entry = Entry {
                meter: taken.meter,
                epoch: taken.epoch,
                mark: taken.mark,
                amount: taken.amount,
                on_expiry: rule.on_expiry,
                audit: rule.audit,
            };
            let (remaining, window_end) = (taken.remaining, taken.window_end);
            let taken = Taken { account: *account, entry, cap: rule.cap, remaining, window_end };
            if place < plan.takes.len() { self.ours.push(taken) } else { self.routes.push(taken) }
        }
        self.context = plan.context_with(&grant.picked);
        self.places = std::mem::take(&mut plan.accounts);
    }

    fn taken(&self) -> impl Iterator<Item = &Taken> {
        self.ours.iter().chain(&self.routes)
    }

    /// Whether the call itself holds something in this account.
    fn is_ours(&self, account: u16) -> bool {
        self.ours.iter().any(|taken| taken.account == account)
    }

    /// What was left of each of the keeper's limits, as a caller is told.
    pub(super) fn left(&self) -> impl Iterator<Item = Left<'_>> {
        self.taken().filter_map(|taken| {
            let limit = self.force.terms().of(taken.entry.meter)?.limit();
            Some(Left { limit, cap: taken.cap, remaining: taken.remaining, window_end: taken.window_end })
        })
    }

    pub(super) fn remaining(&self) -> impl Iterator<Item = Remaining> + '_ {
        self.taken().map(|taken| Remaining {
            limit: self.force.terms().of(taken.entry.meter).map(|term| term.limit().id().clone()),
            held: taken.entry.amount,
            remaining: taken.remaining,
            window_end: taken.window_end,
        })
    }

    /// The subjects in which something is held.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// What it will cost at most, as far as that is known.
    pub(super) fn estimate(&self) -> Option<Usd> {
        self.context.as_ref().and_then(|context| context.estimate.usd)
    }

    pub(super) const fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// What a price is looked up by: the model that was asked for, and whose key it went out with.
    pub(super) fn cost(&self, usage: &Usage, provider: Option<&str>) -> Result<Option<Usd>, Error> {
        if self.force.prices.is_none() || usage.usd.is_some() {
            return Ok(usage.usd);
        }
        let (model, own) = (self.dimension("model"), self.dimension("provider"));
        let priced = Priced { model: model.as_deref(), provider: provider.or(own.as_deref()) };
        self.force.cost(&priced, usage, self.began)
    }

    /// Puts into an empty plan what is to be done with this hold.
    fn plan(&self, plan: &mut Plan, report: Report, now: Timestamp) {
        self.about(plan, now);
        plan.reports.push(report);
    }

    fn about(&self, plan: &mut Plan, now: Timestamp) {
        plan.hold = Some(self.op.clone());
        plan.accounts.extend(self.places.iter().cloned());
        plan.relaxed = self.relaxed;
        plan.horizon = self.horizon;
        // A store may have forgotten what has expired; who holds the permit has not.
        if !self.moved && self.expires.is_some_and(|expires| expires <= now) {
            plan.known = self.parts();
        }
    }

    fn parts(&self) -> Vec<Part> {
        let Some(expires) = self.expires else { return Vec::new() };
        let mut parts: Vec<Part> = Vec::new();
        for (account, place) in (0_u16..).zip(&self.places) {
            let entries: SmallVec<[Entry; 8]> =
                self.taken().filter(|taken| taken.account == account).map(|taken| taken.entry).collect();
            if entries.is_empty() {
                continue;
            }
            parts.push(Part {
                op: self.op.clone(),
                account: place.subject.clone(),
                sequence: 0,
                taken: self.began,
                expires,
                end: None,
                entries,
                context: None,
                amended: 0,
            });
        }
        let charged = parts.iter().position(Part::charges).unwrap_or(0);
        if let Some(teller) = parts.get_mut(charged) {
            teller.context.clone_from(&self.context);
        }
        parts
    }

    fn actual(&self, usage: &Usage) -> Result<SmallVec<[(MeterId, Amount); 4]>, Error> {
        self.force.actual(usage, |meter| self.taken().any(|taken| taken.entry.meter == meter))
    }

    /// Settles it.
    pub(super) fn settle(
        &self,
        plan: &mut Plan,
        usage: &Usage,
        outcome: Option<Class>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.plan(plan, Report::Settle { account: None, actual: self.actual(usage)? }, now);
        plan.used = Some(Used { usage: usage.clone(), outcome });
        plan.context.clone_from(&self.context);
        Ok(())
    }

    /// Gives it back.
    pub(super) fn release(&self, plan: &mut Plan, now: Timestamp) {
        self.plan(plan, Report::Release { account: None }, now);
    }

    /// Keeps it alive.
    pub(super) fn extend(&self, plan: &mut Plan, life: Length, now: Timestamp) {
        self.plan(plan, Report::Extend { life }, now);
    }

    pub(super) fn extended(&mut self, verdict: &Verdict) -> Option<Timestamp> {
        let until = effects(verdict).iter().filter_map(|effect| match effect {
            Effect::Extended(until) => Some(*until),
            _ => None,
        });
        let until = until.max();
        self.expires = until.or(self.expires);
        until
    }

    /// Holds at least what was used so far.
    pub(super) fn raise(&self, plan: &mut Plan, usage: &Usage, now: Timestamp) -> Result<(), Error> {
        self.plan(plan, Report::Raise { to: self.actual(usage)? }, now);
        Ok(())
    }

    /// Gives it up.
    pub(super) fn expire(&self, plan: &mut Plan, now: Timestamp) {
        self.plan(plan, Report::Expire, now);
    }

    /// Ends what is held of the key that failed, before another is picked.
    pub(super) fn leave(&self, plan: &mut Plan, now: Timestamp) {
        self.about(plan, now);
        plan.context = self.context.as_ref().map(|context| Arc::new(Context { key: None, ..Context::clone(context) }));
        let mut left: SmallVec<[u16; 4]> = SmallVec::new();
        for Taken { account, .. } in &self.routes {
            // What lies in one account ends together: there the failed key's part stays until the call ends.
            if !self.is_ours(*account) && !left.contains(account) {
                left.push(*account);
                plan.reports.push(Report::Release { account: Some(*account) });
            }
        }
    }

    /// It has moved to another key.
    pub(super) fn go_on(&mut self, plan: &mut Plan, grant: &Grant) {
        let routes = std::mem::take(&mut self.routes);
        self.relaxed &= plan.relaxed;
        self.take(plan, grant);
        let stayed = routes.into_iter().filter(|taken| self.is_ours(taken.account));
        let stayed: Vec<Taken> = stayed.collect();
        self.routes.extend(stayed);
        self.expires = self.expires.max(grant.expires);
    }

    /// It may be about to move to another key.
    pub(super) const fn moves(&mut self) {
        self.moved = true;
    }

    /// What a settle did.
    pub(super) fn settled(&self, verdict: &Verdict, cost: Option<Usd>) -> Settled {
        let mut settled = Settled { cost, ..Settled::default() };
        for effect in effects(verdict) {
            match *effect {
                Effect::Booked { meter, held, booked, spent, cap } => {
                    let limit = self.force.terms().of(meter).map(|term| term.limit().id().clone());
                    settled.booked.push(Booked { limit, held, booked, spent, cap });
                }
                Effect::Already(How::Settled) => settled.already = true,
                _ => {}
            }
        }
        settled
    }
}

/// What a verdict says that its reports did.
pub(super) fn effects(verdict: &Verdict) -> &[Effect] {
    match verdict {
        Verdict::Granted(grant) => &grant.effects,
        Verdict::Denied(denial) => &denial.effects,
        _ => &[],
    }
}
