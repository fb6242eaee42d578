//! The one place where a decision is made.

use std::sync::Arc;

use smallvec::SmallVec;

use super::plain::{carried_out, refused};
use super::report::Lookup;
use super::{Act, Blocked, Denial, Due, Effect, Firm, Grant, Loaded, Pick, Plan, Ready, Report, State, Take, Verdict};
use crate::account::{Audit, Context, Counter, Entry, How, Kind, MeterId, MeterRow, OnExpiry, Part, RowEntry};
use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::id::OpId;
use crate::time::{Timestamp, When};

/// Decides a plan on what was loaded for it, and carries it out there if it passes.
///
/// Everything that the plan reports is booked first, whatever becomes of the rest. A hold that has expired by `now` ends
/// before anything is asked of its account, as far as it was loaded. See [`State`] for what a store saves then.
pub fn decide(plan: &Plan, state: &mut State, now: Timestamp) -> Verdict {
    let context = plan.context.clone();
    let mut desk = Desk { plan, state, now, context, changed: false, told: false };
    desk.run().unwrap_or_else(|stop| match stop {
        Stop::Verdict(verdict) => *verdict,
        Stop::Error(error) => error.into(),
    })
}

/// Why a plan is not carried out to its end.
pub(super) enum Stop {
    Verdict(Box<Verdict>),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Verdict> for Stop {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(Box::new(verdict))
    }
}

/// What lies on the table while a plan is decided.
pub(super) struct Desk<'a> {
    pub(super) plan: &'a Plan,
    pub(super) state: &'a mut State,
    pub(super) now: Timestamp,
    /// What the ledger is told of the call: the plan's, with the key that was picked.
    pub(super) context: Option<Arc<Context>>,
    /// Whether anything was carried out that an answer must be remembered for.
    pub(super) changed: bool,
    /// Whether the ledger was told what the plan says was used.
    pub(super) told: bool,
}

impl Desk<'_> {
    fn run(&mut self) -> Result<Verdict, Stop> {
        let (plan, now) = (self.plan, self.now);
        if now < plan.from || (now >= plan.until && plan.until < Timestamp::MAX) {
            return Ok(Verdict::Stale { now });
        }
        for (place, named) in plan.accounts.iter().enumerate() {
            if plan.accounts.iter().skip(place + 1).any(|other| other.subject == named.subject) {
                return Err(invalid("accounts", &named.subject, "each account once").into());
            }
        }
        self.state.changes.at = now;
        if let Some(op) = &plan.op {
            if let Some(verdict) = self.answered_before(op) {
                return Ok(verdict);
            }
        }
        self.expire_due()?;
        // What time alone did leaves no answer behind.
        self.changed = false;
        if self.more_is_due() && plan.reports.iter().any(|report| matches!(report, Report::Forget { .. })) {
            return Ok(Verdict::More);
        }
        let effects = match self.state.reported.take() {
            Some(effects) => effects,
            None => self.report()?,
        };
        let picked = match self.admit()? {
            Ok(picked) => picked,
            Err(denial) if self.more_is_due() => {
                let _ = denial;
                self.state.reported = Some(effects);
                return Ok(Verdict::More);
            }
            Err(denial) => return Ok(Verdict::Denied(Denial { effects, ..denial })),
        };
        let mut grant = Grant { picked, effects, ..Grant::default() };
        self.carry_out(&mut grant)?;
        let verdict = Verdict::Granted(grant);
        if let Some(op) = plan.op.as_ref().filter(|_| self.changed) {
            let (op, args, verdict) = (op.clone(), plan.args.clone(), verdict.clone());
            self.state.changes.answer = Some(super::Answer { op, at: now, args, verdict });
        }
        Ok(verdict)
    }

    fn answered_before(&self, op: &OpId) -> Option<Verdict> {
        if let Some(answer) = &self.state.answer {
            return Some(match differing(&answer.args, &self.plan.args) {
                Some((field, before, now)) => Verdict::Conflict { field, before, now },
                None => answer.verdict.clone(),
            });
        }
        let oldest = self.now.saturating_sub(self.plan.horizon);
        op.began().filter(|began| *began < oldest).map(|began| Verdict::TooOld { began, oldest })
    }

    fn more_is_due(&self) -> bool {
        self.state.accounts.iter().any(|loaded| loaded.due.next.is_some_and(|next| next <= self.now))
    }

    /// Ends what has expired: what is due in the plan's accounts, and of the plan's own operation.
    fn expire_due(&mut self) -> Result<(), Stop> {
        for at in 0..self.state.accounts.len() {
            let Some(loaded) = self.state.accounts.get_mut(at) else { break };
            for part in std::mem::take(&mut loaded.due.parts) {
                self.expire(part, None)?;
            }
            if let Some(Loaded { account, due: Due { next: Some(next), .. }, .. }) = self.state.accounts.get_mut(at) {
                if account.open > 0 {
                    account.earliest = account.earliest.max(*next);
                }
            }
        }
        for at in 0..self.state.parts.len() {
            let expired = |part: &&Part| part.is_open() && part.expires <= self.now;
            if let Some(part) = self.state.parts.get(at).filter(expired) {
                self.expire(part.clone(), None)?;
            }
        }
        Ok(())
    }

    /// Ends a part that has expired, as of the instant at which it did.
    pub(super) fn expire(&mut self, mut part: Part, mut effects: Option<&mut Effects>) -> Result<(), Stop> {
        let at = part.expires;
        let mut charged = false;
        for entry in &mut part.entries {
            let (held, is_charged) = (entry.amount, entry.on_expiry == OnExpiry::Charge);
            let actual = if is_charged { held } else { Amount::ZERO };
            charged |= is_charged;
            let landed = self.end_entry(&part.op, &part.account, part.sequence, entry, actual, (Kind::Expire, at))?;
            if let Some(effects) = &mut effects {
                effects.push(self.booked(&part.account, entry.meter, held, actual, landed));
            }
        }
        part.end = Some((How::Expired, at));
        if charged {
            let context = part.context.clone();
            let estimate = context.as_ref().map(|context| context.estimate.clone());
            if let Some(usage) = estimate {
                self.usage_row(Kind::Expire, at, Some(part.op.clone()), context, usage, None);
            }
        }
        self.closed(&part.account);
        self.save_part(part);
        Ok(())
    }

    /// Checks everything that must pass; says which alternatives were picked, or what stood in the way.
    fn admit(&mut self) -> Result<Result<SmallVec<[u8; 2]>, Denial>, Stop> {
        let plan = self.plan;
        let mut blocked: SmallVec<[Blocked; 4]> = SmallVec::new();
        let mut chosen: SmallVec<[(u16, MeterId); 16]> = SmallVec::new();
        self.check(&plan.takes, &mut chosen, &mut blocked)?;
        let mut when: Option<When> = blocked.iter().map(|blocked| blocked.short.when).reduce(When::and);

        let (mut picked, mut failed) = (SmallVec::new(), Vec::new());
        for pick in &plan.picks {
            if pick.alternatives.len() > Pick::MOST {
                return Err(invalid("pick.alternatives", pick.alternatives.len(), "at most 8").into());
            }
            let mut ways: Vec<Vec<Blocked>> = Vec::new();
            let mut open = None;
            for (place, alternative) in (0_u8..).zip(&pick.alternatives) {
                let (mut in_the_way, before) = (SmallVec::new(), chosen.len());
                for ready in &alternative.ready {
                    self.check_ready(ready, &mut in_the_way)?;
                }
                self.check(&alternative.takes, &mut chosen, &mut in_the_way)?;
                if in_the_way.is_empty() {
                    open = Some(place);
                    break;
                }
                chosen.truncate(before);
                ways.push(in_the_way.into_vec());
            }
            match open {
                Some(place) => picked.push(place),
                None => {
                    let way = |way: &Vec<Blocked>| way.iter().map(|blocked| blocked.short.when).reduce(When::and);
                    let soonest = ways.iter().filter_map(way).reduce(When::or).unwrap_or(When::Never);
                    when = Some(when.map_or(soonest, |when| when.and(soonest)));
                    failed.push(ways);
                }
            }
        }
        Ok(match when {
            None => Ok(picked),
            Some(when) => Err(Denial { blocked: blocked.into_vec(), picks: failed, when, effects: SmallVec::new() }),
        })
    }

    fn check(
        &mut self,
        takes: &[Take],
        chosen: &mut SmallVec<[(u16, MeterId); 16]>,
        blocked: &mut SmallVec<[Blocked; 4]>,
    ) -> Result<(), Stop> {
        for take in takes {
            let meter = take.rule.meter;
            if chosen.contains(&(take.account, meter)) {
                return Err(invalid("takes.meter", meter.0, "each meter once").into());
            }
            chosen.push((take.account, meter));
            if take.act == Act::Hold && self.plan.hold.is_none() {
                return Err(invalid("hold", "none", "the operation under which it is held").into());
            }
            let (now, expiries) = (self.now, self.account(take.account)?.expiries());
            blocked.extend(refused(self.meter(take.account, &take.rule)?, take, now, expiries));
        }
        Ok(())
    }

    fn check_ready(&mut self, ready: &Ready, blocked: &mut SmallVec<[Blocked; 4]>) -> Result<(), Stop> {
        let now = self.now;
        let Some(Counter::Health(health)) = self.account(ready.account)?.meter(MeterId::HEALTH).map(|m| &m.counter)
        else {
            return Ok(());
        };
        let Err(when) = health.ready(now) else { return Ok(()) };
        if ready.firm == Firm::Hard || when == When::Never {
            let short = super::Short {
                need: Amount::ONE,
                have: Amount::ZERO,
                held: Amount::ZERO,
                cap: Cap::At(Amount::ZERO),
                window_end: None,
                when,
                refill: None,
            };
            blocked.push(Blocked { account: ready.account, meter: MeterId::HEALTH, short });
        }
        Ok(())
    }

    /// Does what was found to pass.
    fn carry_out(&mut self, grant: &mut Grant) -> Result<(), Stop> {
        let plan = self.plan;
        let expires = self.now.saturating_add(plan.life);
        self.context = plan.context_with(&grant.picked);
        grant.key = plan.key_of(&grant.picked).cloned();
        for take in &plan.takes {
            self.take(take, expires, grant)?;
        }
        for (pick, place) in plan.picks.iter().zip(grant.picked.clone()) {
            let Some(alternative) = pick.alternatives.get(usize::from(place)) else { continue };
            for ready in &alternative.ready {
                self.give_out(ready)?;
            }
            for take in &alternative.takes {
                self.take(take, expires, grant)?;
            }
        }
        if grant.expires.is_some() {
            self.tell_the_context();
        }
        self.tell_the_charge(grant);
        Ok(())
    }

    /// A charge is told to the ledger whatever limits there are, unless a report has told of it.
    fn tell_the_charge(&mut self, grant: &Grant) {
        let plan = self.plan;
        let Some(used) = &plan.used else { return };
        let told = |report: &Report| matches!(report, Report::Settle { .. } | Report::Record { .. });
        let of_a_hold = |report: &Report| {
            matches!(report, Report::Release { .. } | Report::Extend { .. } | Report::Raise { .. } | Report::Expire)
        };
        let picked =
            plan.picks.iter().zip(&grant.picked).filter_map(|(pick, at)| pick.alternatives.get(usize::from(*at)));
        let mut takes = plan.takes.iter().chain(picked.flat_map(|alternative| &alternative.takes));
        let charged = takes.any(|take| take.act == Act::Charge);
        let counted_by_none = grant.expires.is_none() && !plan.reports.iter().any(of_a_hold);
        if (charged || counted_by_none) && !plan.reports.iter().any(told) {
            let (op, context) = (plan.op.clone(), self.context.clone());
            self.usage_row(Kind::Charge, self.now, op, context, used.usage.clone(), None);
            self.changed = true;
        }
    }

    fn take(&mut self, take: &Take, expires: Timestamp, grant: &mut Grant) -> Result<(), Stop> {
        let now = self.now;
        let (taken, entry) = carried_out(self.meter(take.account, &take.rule)?, take, now)?;
        self.touched(take.account);
        grant.taken.push(taken);
        match take.act {
            Act::Hold => {
                grant.expires = Some(expires);
                self.hold(take.account, entry, expires)
            }
            Act::Charge => {
                let subject = self.account_subject(take.account)?;
                let Entry { meter, epoch, mark, amount, audit, .. } = entry;
                if audit == Audit::Rows && !amount.is_zero() {
                    let row = MeterRow {
                        kind: Kind::Charge,
                        account: subject,
                        meter,
                        window: mark,
                        epoch,
                        sequence: 0,
                        spent: amount.get(),
                    };
                    self.row(now, self.plan.op.clone(), RowEntry::Meter(row));
                }
                Ok(())
            }
        }
    }

    /// Adds an entry to the operation's open part in the account, which then lives as long as this hold, or to a new one.
    fn hold(&mut self, account: u16, entry: Entry, expires: Timestamp) -> Result<(), Stop> {
        let Some(op) = &self.plan.hold else { return Ok(()) };
        let subject = self.account_subject(account)?;
        let Some(loaded) = self.state.accounts.get_mut(usize::from(account)) else { return Err(no_account(account)) };
        let open = |part: &&mut Part| part.account == subject && part.op == *op && part.is_open();
        if let Some(part) = self.state.changes.parts.iter_mut().rev().find(open) {
            part.join(entry, expires);
            loaded.account.latest = loaded.account.latest.max(part.expires);
            return Ok(());
        }
        if let Some(part) = self.state.parts.iter_mut().find(open) {
            part.join(entry, expires);
            loaded.account.latest = loaded.account.latest.max(part.expires);
            self.state.changes.parts.push(part.clone());
            return Ok(());
        }
        loaded.account.opened(expires);
        let ended = self.state.parts.iter().filter(|part| !part.is_open());
        let sequence = ended.map(|part| part.sequence.saturating_add(1)).max().unwrap_or(0);
        self.state.changes.parts.push(Part {
            op: op.clone(),
            account: subject,
            sequence,
            taken: self.now,
            expires,
            end: None,
            entries: SmallVec::from_slice(&[entry]),
            context: None,
            amended: 0,
        });
        Ok(())
    }

    /// One of the operation's open parts tells the ledger what the call is now: one that will be charged, if there is one.
    fn tell_the_context(&mut self) {
        let Some(context) = self.context.clone() else { return };
        let parts = &self.state.parts;
        let told = |part: &Part| part.context.is_some() && part.charges();
        if parts.iter().any(|part| told(part) && matches!(part.end, Some((How::Expired, _)))) {
            return;
        }
        let teller = parts.iter().find(|part| part.context.is_some() && part.is_open()).cloned();
        let changes = &mut self.state.changes.parts;
        if let Some(mut part) = teller {
            if let Some(changed) = changes.iter().find(|changed| changed.is(&part)) {
                part.clone_from(changed);
            }
            let other = !part.charges() && changes.iter().any(|other| other.is_open() && other.charges());
            part.context = Some(Arc::clone(&context)).filter(|_| !other);
            self.save_part(part);
            if !other {
                return;
            }
        }
        let parts = &mut self.state.changes.parts;
        let place = parts.iter().position(|part| part.is_open() && part.charges());
        let place = place.or_else(|| parts.iter().position(Part::is_open));
        if let Some(part) = place.and_then(|place| parts.get_mut(place)) {
            part.context = Some(context);
        }
    }

    fn give_out(&mut self, ready: &Ready) -> Result<(), Stop> {
        let (now, probe) = (self.now, ready.probe);
        let op = self.plan.hold.as_ref().or(self.plan.op.as_ref());
        let Some(op) = op else {
            return Err(invalid("hold", "none", "the operation that a key is given out to").into());
        };
        if let Counter::Health(health) = &mut self.health(ready.account)?.counter {
            health.take(op, now, probe);
        }
        self.touched(ready.account);
        Ok(())
    }
}

/// The first field in which two sets of arguments differ.
fn differing(before: &super::Args, now: &super::Args) -> Option<(String, String, String)> {
    let nothing = || "nothing".to_owned();
    for (field, value) in before {
        match now.iter().find(|(name, _)| name == field) {
            Some((_, new)) if new == value => {}
            other => {
                return Some((field.to_string(), value.clone(), other.map_or_else(nothing, |(_, new)| new.clone())));
            }
        }
    }
    let new = now.iter().find(|(field, _)| !before.iter().any(|(name, _)| name == field));
    new.map(|(field, value)| (field.to_string(), nothing(), value.clone()))
}

pub(super) fn invalid(field: &'static str, value: impl std::fmt::Display, expected: &'static str) -> Error {
    Error::invalid(field, value, expected)
}

pub(super) fn no_account(account: u16) -> Stop {
    invalid("account", account, "one of the accounts that the plan names").into()
}

/// What a report did in one account, for the verdict.
pub(super) type Effects = SmallVec<[Effect; 8]>;

impl Lookup for SmallVec<[(MeterId, Amount); 4]> {
    fn of(&self, meter: MeterId) -> Option<Amount> {
        self.iter().find(|(id, _)| *id == meter).map(|(_, amount)| *amount)
    }
}
