//! A plan that does one plain thing, decided meter by meter: the rules of [`decide`](super::decide) for each use and each
//! entry, without all that such a plan has no need of.
//!
//! A store that can read and write single meters may ask here first. Whatever is not as plain as it looked, such as a meter
//! not met before, is left to [`decide`](super::decide), with nothing saved.

use std::sync::Arc;

use smallvec::SmallVec;

use super::report::Lookup;
use super::{
    Act, Alternative, Blocked, Denial, Effect, Firm, Grant, Kernel, Pick, Plan, Ready, Report, Rule, Take, Taken,
};
use crate::account::{
    Audit, Context, Entry, Kind, Landed, Meter, MeterId, MeterRow, Moved, OnExpiry, Rate, Row, RowEntry, UsageRow,
};
use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::id::{OpId, Subject};
use crate::time::{Length, Timestamp, When};

/// A plain thing.
pub(crate) enum Plain<'a> {
    /// Every use of the plan, and one alternative of each pick; of the operation that it holds for nothing is known yet.
    Take,
    /// The end of what an operation holds, or its continuation: in this one of the plan's accounts, or in all.
    Report(Option<u16>, Said<'a>),
}

/// What is said of an operation that is still under way.
#[derive(Clone, Copy)]
pub(crate) enum Said<'a> {
    Settled(&'a SmallVec<[(MeterId, Amount); 4]>),
    Released,
    Alive(Length),
}

/// The meters of the plan's accounts, in which nothing is due.
pub(crate) trait Meters {
    /// The same as [`Meters::with`], for a meter that counts at a rate and is kept as one; `None` for any other.
    fn rate<R>(&mut self, account: u16, id: MeterId, change: impl FnOnce(&mut Rate) -> Option<R>) -> Option<R>;

    /// Changes the meter of this number, which can be done once. What is changed is saved when all of the plan has passed.
    /// `None` if the change says so, or if it is more than can be saved.
    fn with<R>(&mut self, account: u16, id: MeterId, change: impl FnOnce(&mut Meter) -> Option<R>) -> Option<R>;

    /// The bounds of the expiries in an account.
    fn expiries(&self, account: u16) -> Option<(Timestamp, Timestamp)>;

    /// Whether the key of an account that has a health is ready.
    fn ready(&self, account: u16, now: Timestamp) -> Option<Result<(), When>>;

    /// How far it has come, and back to there: what was changed since is as it was.
    fn mark(&self) -> usize;
    fn back_to(&mut self, mark: usize);
}

/// Entries, each with the place of its account.
pub(crate) type Entries = SmallVec<[(u16, Entry); 8]>;

/// What a plan took, apart from what its meters say.
#[derive(Default)]
pub(crate) struct Done {
    /// What is held.
    pub(crate) held: Entries,
    /// What was spent, where rows prove it.
    charged: Entries,
    /// The keys that were given out.
    pub(crate) given: SmallVec<[Ready; 2]>,
    /// Whether anything was spent.
    spent: bool,
    /// Whether time alone has moved a meter on, where an alternative may be given up again.
    moved: bool,
}

impl Done {
    #[inline]
    fn keep(&mut self, take: &Take, entry: Entry) {
        match take.act {
            Act::Hold => self.held.push((take.account, entry)),
            Act::Charge => {
                self.spent = true;
                if entry.audit == Audit::Rows && !entry.amount.is_zero() {
                    self.charged.push((take.account, entry));
                }
            }
        }
    }
}

impl Plan {
    /// The plain thing that this plan does at this instant, if that is all it does.
    #[inline]
    pub(crate) fn plain(&self, now: Timestamp) -> Option<Plain<'_>> {
        let stale = now < self.from || (now >= self.until && self.until < Timestamp::MAX);
        if stale || self.accounts.is_empty() {
            return None;
        }
        if let Some(op) = &self.op {
            // An answer is remembered for ids of a host's own.
            op.library()?;
            op.began().filter(|began| *began >= now.saturating_sub(self.horizon))?;
        }
        match self.reports.as_slice() {
            [] if !self.takes.is_empty() || !self.picks.is_empty() => Some(Plain::Take),
            [one] if self.takes.is_empty() && self.picks.is_empty() => match one {
                Report::Settle { account, actual } => Some(Plain::Report(*account, Said::Settled(actual))),
                Report::Release { account } => Some(Plain::Report(*account, Said::Released)),
                Report::Extend { life } => Some(Plain::Report(None, Said::Alive(*life))),
                _ => None,
            },
            _ => None,
        }
    }

    /// Carries out every use, or says what stands in the way, in accounts with nothing due and for an operation that
    /// nothing is known of.
    #[inline]
    pub(crate) fn take_plainly(
        &self,
        now: Timestamp,
        meters: &mut impl Meters,
        grant: &mut Grant,
        done: &mut Done,
    ) -> Option<Result<(), Box<Denial>>> {
        let mut blocked = Vec::new();
        for take in &self.takes {
            // Of what is changed once no other use is, so that each may be carried out as soon as it is found to pass.
            self.took(take, now, meters, (grant, done), &mut blocked)?;
        }
        if !self.picks.is_empty() {
            if !blocked.is_empty() {
                return None;
            }
            self.pick_plainly(now, meters, grant, done)?;
        }
        if !done.held.is_empty() {
            grant.expires = Some(now.saturating_add(self.life));
        }
        Some(denial(blocked))
    }

    /// One use: carried out, or blocked.
    #[inline]
    fn took(
        &self,
        take: &Take,
        now: Timestamp,
        meters: &mut impl Meters,
        (grant, done): (&mut Grant, &mut Done),
        blocked: &mut Vec<Blocked>,
    ) -> Option<()> {
        counts(&take.rule).ok()?;
        if take.act == Act::Hold && self.hold.is_none() {
            return None;
        }
        let (account, meter) = (take.account, take.rule.meter);
        let at_once = meters.rate(account, meter, |rate| {
            let (taken, entry) = at_rate(rate, take, now)?;
            grant.taken.push(taken);
            done.keep(take, entry);
            Some(())
        });
        if at_once.is_some() {
            return Some(());
        }
        let expiries = meters.expiries(account)?;
        meters.with(account, meter, |meter| {
            let before = if self.picks.is_empty() { None } else { Some(meter.clone()) };
            if meter.advance(&take.rule, now) != Moved::Nothing {
                return None;
            }
            done.moved |= before.is_some_and(|before| before != *meter);
            match refused(meter, take, now, expiries) {
                Some(short) => blocked.push(short),
                None => {
                    let (taken, entry) = carried_out(meter, take, now).ok()?;
                    grant.taken.push(taken);
                    done.keep(take, entry);
                }
            }
            Some(())
        })
    }

    /// The first alternative of each pick that passes; `None` if none does.
    fn pick_plainly(&self, now: Timestamp, meters: &mut impl Meters, grant: &mut Grant, done: &mut Done) -> Option<()> {
        self.hold.as_ref().or(self.op.as_ref())?;
        for pick in self.picks.iter() {
            if pick.alternatives.len() > Pick::MOST {
                return None;
            }
            let mut ways = (0_u8..).zip(&pick.alternatives);
            let picked = loop {
                let (place, way) = ways.next()?;
                let before = (meters.mark(), grant.taken.len(), done.held.len(), done.charged.len(), done.spent);
                if self.passes(way, now, meters, grant, done)? {
                    break place;
                }
                meters.back_to(before.0);
                grant.taken.truncate(before.1);
                done.held.truncate(before.2);
                done.charged.truncate(before.3);
                done.spent = before.4;
            };
            grant.picked.push(picked);
            let way = pick.alternatives.get(usize::from(picked))?;
            done.given.extend(way.ready.iter().copied());
        }
        grant.key = self.key_of(&grant.picked).cloned();
        Some(())
    }

    /// Whether an alternative passes, which is carried out on the way. `None` also if that would have moved a meter on by
    /// time alone, which is saved with the others of its account even if another alternative is taken.
    fn passes(
        &self,
        way: &Alternative,
        now: Timestamp,
        meters: &mut impl Meters,
        grant: &mut Grant,
        done: &mut Done,
    ) -> Option<bool> {
        let (mut passes, mut blocked) = (true, Vec::new());
        for ready in &way.ready {
            if let Err(when) = meters.ready(ready.account, now)? {
                passes &= ready.firm == Firm::Soft && when != When::Never;
            }
        }
        for take in &way.takes {
            self.took(take, now, meters, (grant, done), &mut blocked)?;
        }
        passes &= blocked.is_empty();
        (passes || !done.moved).then_some(passes)
    }

    /// The account whose part tells the ledger what the call is, if one does: that of the first that will be charged.
    #[inline]
    pub(crate) fn teller(&self, held: &Entries) -> Option<u16> {
        self.context.as_ref()?;
        let charges = |of: u16| held.iter().any(|(other, entry)| *other == of && entry.on_expiry == OnExpiry::Charge);
        let first = held.iter().find(|(account, _)| charges(*account)).or(held.first());
        first.map(|(account, _)| *account)
    }

    /// The rows of what was taken, in their order.
    #[inline]
    pub(crate) fn rows_of_take(&self, now: Timestamp, picked: &[u8], done: &Done, mut append: impl FnMut(Row)) {
        for (account, entry) in &done.charged {
            let Some(place) = self.accounts.get(usize::from(*account)) else { continue };
            append(meter_row(now, self.op.as_ref(), &place.subject, entry, entry.amount, (Kind::Charge, 0)));
        }
        if done.spent || done.held.is_empty() {
            let row = |context| self.usage_row(now, self.op.as_ref(), Kind::Charge, context, append);
            if self.picks.is_empty() { row(self.context.as_ref()) } else { row(self.context_with(picked).as_ref()) }
        }
    }

    /// Whether [`Plan::rows_of_take`] has any.
    #[inline]
    pub(crate) fn has_rows(&self, done: &Done) -> bool {
        !done.charged.is_empty() || (self.used.is_some() && (done.spent || done.held.is_empty()))
    }

    /// The rows of what was settled, or given back: `parts` are what was held, each with the sequence of its part, of
    /// which `effects` say what was booked.
    #[inline]
    pub(crate) fn rows_of_end(
        &self,
        now: Timestamp,
        parts: impl Iterator<Item = (u16, u16, Entry)>,
        effects: &[Effect],
        said: Said<'_>,
        known: Option<&Arc<Context>>,
        mut append: impl FnMut(Row),
    ) {
        for ((account, sequence, entry), effect) in parts.zip(effects) {
            let (Some(place), Effect::Booked { booked, .. }) = (self.accounts.get(usize::from(account)), effect) else {
                continue;
            };
            if entry.audit == Audit::Rows && !booked.is_zero() {
                append(meter_row(now, self.hold.as_ref(), &place.subject, &entry, *booked, (Kind::Settle, sequence)));
            }
        }
        if matches!(said, Said::Settled(_)) {
            self.usage_row(now, self.hold.as_ref(), Kind::Settle, self.context.as_ref().or(known), append);
        }
    }

    #[inline]
    fn usage_row(
        &self,
        now: Timestamp,
        op: Option<&OpId>,
        kind: Kind,
        context: Option<&Arc<Context>>,
        mut append: impl FnMut(Row),
    ) {
        let Some(used) = &self.used else { return };
        let (context, usage) = (context.cloned(), used.usage.clone());
        let row = UsageRow { kind, context, usage, instead_of: None, outcome: used.outcome };
        append(Row { at: now, op: op.cloned(), entry: RowEntry::Usage(row) });
    }
}

#[inline]
fn meter_row(
    at: Timestamp,
    op: Option<&OpId>,
    account: &Subject,
    entry: &Entry,
    booked: Amount,
    (kind, sequence): (Kind, u16),
) -> Row {
    let Entry { meter, epoch, mark: window, .. } = *entry;
    let sequence = sequence.into();
    let row = MeterRow { kind, account: account.clone(), meter, window, epoch, sequence, spent: booked.get() };
    Row { at, op: op.cloned(), entry: RowEntry::Meter(row) }
}

/// Where something was refused, all of it is, and nothing that was changed is saved.
#[inline]
fn denial(blocked: Vec<Blocked>) -> Result<(), Box<Denial>> {
    let Some(when) = blocked.iter().map(|blocked| blocked.short.when).reduce(When::and) else { return Ok(()) };
    Err(Box::new(Denial { blocked, picks: Vec::new(), when, effects: SmallVec::new() }))
}

/// Ends one entry of a part that is open, in an account with nothing due.
#[inline]
pub(crate) fn end_plainly(
    account: u16,
    entry: &Entry,
    said: Said<'_>,
    now: Timestamp,
    meters: &mut impl Meters,
) -> Option<Effect> {
    let used = match said {
        Said::Settled(actual) => actual.of(entry.meter).unwrap_or(entry.amount),
        Said::Released => Amount::ZERO,
        Said::Alive(_) => return None,
    };
    // A part with two entries of one meter shares what was used among them, and is not settled here.
    match meters.rate(account, entry.meter, |rate| settled(rate, entry, used, now)) {
        Some(effect) => Some(effect),
        None => meters.with(account, entry.meter, |meter| {
            let landed = meter.settle(entry, used, now).ok()?;
            Some(booked(meter.id, entry.amount, used, landed, meter.cap))
        }),
    }
}

/// Whether the rule is one that a meter can count by.
#[inline]
pub(super) fn counts(rule: &Rule) -> Result<(), Error> {
    if matches!(rule.kernel, Kernel::Leak { burst: Amount::ZERO, .. }) || rule.meter == MeterId::HEALTH {
        return Err(no_meter(rule));
    }
    Ok(())
}

#[cold]
fn no_meter(rule: &Rule) -> Error {
    Error::invalid("rule", format!("{rule:?}"), "a burst of at least 1, and a meter that counts")
}

/// What stands in the way of a use, on a meter that was brought to where it stands.
#[inline]
pub(super) fn refused(meter: &Meter, take: &Take, now: Timestamp, expiries: (Timestamp, Timestamp)) -> Option<Blocked> {
    let short = meter.short(&take.rule, take.ask, now, expiries).filter(|_| take.rule.firm == Firm::Hard)?;
    Some(Blocked { account: take.account, meter: take.rule.meter, short })
}

/// Carries out a use that was found to pass. Says what it leaves, and what a hold is remembered by.
#[inline]
pub(super) fn carried_out(meter: &mut Meter, take: &Take, now: Timestamp) -> Result<(Taken, Entry), Error> {
    let (account, rule, amount) = (take.account, &take.rule, take.ask.amount());
    let mark = meter.take(rule, amount, take.act, now)?;
    let (epoch, audit) = (meter.epoch(), meter.audit);
    let (remaining, window_end) = meter.left(rule, now);
    let over = if remaining == Some(Amount::ZERO) { meter.over(now) } else { Amount::ZERO };
    let taken = Taken { account, meter: rule.meter, amount, remaining, window_end, over, epoch, mark };
    Ok((taken, Entry { meter: rule.meter, epoch, mark, amount, on_expiry: rule.on_expiry, audit }))
}

/// Both, of a meter that stands where it should and has room.
#[inline]
fn at_rate(rate: &mut Rate, take: &Take, now: Timestamp) -> Option<(Taken, Entry)> {
    if !rate.stands(&take.rule) {
        return None;
    }
    let (account, meter, amount) = (take.account, take.rule.meter, take.ask.amount());
    let passed = rate.take(amount, take.act, now)?;
    let mark = passed.mark.at;
    // Where it is counted in a bucket, that is the open one now; and what has passed is not over.
    let window_end = if rate.burst.is_none() { Some(mark) } else { None };
    let (epoch, on_expiry, audit) = (rate.epoch, take.rule.on_expiry, rate.audit);
    let (remaining, over) = (passed.remaining, Amount::ZERO);
    let taken = Taken { account, meter, amount, remaining, window_end, over, epoch, mark };
    Some((taken, Entry { meter, epoch, mark, amount, on_expiry, audit }))
}

#[inline]
fn settled(rate: &mut Rate, entry: &Entry, used: Amount, now: Timestamp) -> Option<Effect> {
    let landed = rate.settle(entry, used, now).ok()?.map_or(Landed::Elsewhere, Landed::Here);
    Some(booked(rate.id, entry.amount, used, landed, rate.cap))
}

/// What the end, or a correction, of an entry did.
#[inline]
pub(super) fn booked(meter: MeterId, held: Amount, booked: Amount, landed: Landed, cap: Cap) -> Effect {
    let spent = match landed {
        Landed::Here(spent) => Some(spent),
        Landed::Elsewhere => None,
    };
    Effect::Booked { meter, held, booked, spent, cap }
}
