//! A plan on one account that does one plain thing, decided meter by meter: the rules of [`decide`](super::decide) for
//! each use and each entry, without all that such a plan has no need of.
//!
//! A store that can read and write single meters may ask here first. Whatever is not as plain as it looked, such as a meter
//! not met before or a row to write, is left to [`decide`](super::decide), with nothing saved.

use smallvec::SmallVec;

use super::report::Lookup;
use super::{Act, Blocked, Denial, Effect, Firm, Grant, Kernel, Plan, Report, Rule, Take, Taken};
use crate::account::{Account, Audit, Entry, Landed, Meter, MeterId, Moved, Rate};
use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::time::{Timestamp, When};

/// A plain thing.
pub(crate) enum Alone<'a> {
    /// Every use of the plan, of which nothing is known yet of the operation that it holds for.
    Take,
    /// The end of what an operation holds, all of it in this account.
    Settle(&'a SmallVec<[(MeterId, Amount); 4]>),
}

/// The meters of one account.
pub(crate) trait Meters {
    /// The same as [`Meters::with`], for a meter that counts at a rate and is kept as one; `None` for any other.
    fn rate<R>(&mut self, id: MeterId, change: impl FnOnce(&mut Rate) -> Option<R>) -> Option<R>;

    /// Changes the meter of this number, which can be done once. What is changed is saved when all of the plan has passed.
    /// `None` if the change says so, or if it is more than can be saved.
    fn with<R>(&mut self, id: MeterId, change: impl FnOnce(&mut Meter) -> Option<R>) -> Option<R>;
}

/// What is held in one account, in order.
pub(crate) type Held = SmallVec<[Entry; 8]>;

impl Plan {
    /// The plain thing that this plan does at this instant, if that is all it does.
    #[inline]
    pub(crate) fn alone(&self, now: Timestamp) -> Option<Alone<'_>> {
        let stale = now < self.from || (now >= self.until && self.until < Timestamp::MAX);
        if stale || self.op.is_some() || self.used.is_some() || !self.picks.is_empty() || self.accounts.len() != 1 {
            return None;
        }
        match (self.reports.as_slice(), self.takes.as_slice()) {
            ([], [_, ..]) => Some(Alone::Take),
            ([Report::Settle { account: None | Some(0), actual }], []) => Some(Alone::Settle(actual)),
            _ => None,
        }
    }

    /// Carries out every use, or says what stands in the way, in an account with nothing due and for an operation that nothing is known of. `open` is the
    /// account without its meters.
    #[inline]
    pub(crate) fn take_alone(
        &self,
        now: Timestamp,
        open: &mut Account,
        meters: &mut impl Meters,
        grant: &mut Grant,
        held: &mut Held,
    ) -> Option<Result<(), Box<Denial>>> {
        let expiries = open.expiries();
        let mut blocked = Vec::new();
        for take in &self.takes {
            counts(&take.rule).ok()?;
            if take.account != 0 || (take.act == Act::Hold && self.hold.is_none()) {
                return None;
            }
            // Of what is changed once no other use is, so that each may be carried out as soon as it is found to pass.
            let done = match meters.rate(take.rule.meter, |rate| at_rate(rate, take, now)) {
                Some(done) => Ok(done),
                None => meters.with(take.rule.meter, |meter| {
                    if meter.advance(&take.rule, now) != Moved::Nothing {
                        return None;
                    }
                    match refused(meter, take, now, expiries) {
                        Some(blocked) => Some(Err(blocked)),
                        None => carried_out(meter, take, now).ok().map(Ok),
                    }
                })?,
            };
            let (taken, entry) = match done {
                Ok(done) => done,
                Err(refused) => {
                    blocked.push(refused);
                    continue;
                }
            };
            grant.taken.push(taken);
            match take.act {
                Act::Hold => held.push(entry),
                Act::Charge if entry.audit == Audit::Rows => return None,
                Act::Charge => {}
            }
        }
        if !held.is_empty() {
            let expires = now.saturating_add(self.life);
            grant.expires = Some(expires);
            open.opened(expires);
        }
        Some(denial(blocked))
    }
}

/// Where something was refused, all of it is, and nothing that was changed is saved.
#[inline]
fn denial(blocked: Vec<Blocked>) -> Result<(), Box<Denial>> {
    let Some(when) = blocked.iter().map(|blocked| blocked.short.when).reduce(When::and) else { return Ok(()) };
    Err(Box::new(Denial { blocked, picks: Vec::new(), when, effects: SmallVec::new() }))
}

/// Ends the only part that an operation has, which is open, in an account with nothing due. `open` is the account
/// without its meters.
#[inline]
pub(crate) fn settle_alone(
    part: &[Entry],
    actual: &SmallVec<[(MeterId, Amount); 4]>,
    now: Timestamp,
    open: &mut Account,
    meters: &mut impl Meters,
    grant: &mut Grant,
) -> Option<()> {
    for entry in part {
        let used = actual.of(entry.meter).unwrap_or(entry.amount);
        if entry.audit == Audit::Rows && !used.is_zero() {
            return None;
        }
        // A part with two entries of one meter shares what was used among them, and is not settled here.
        let effect = match meters.rate(entry.meter, |rate| settled(rate, entry, used, now)) {
            Some(effect) => effect,
            None => meters.with(entry.meter, |meter| {
                let landed = meter.settle(entry, used, now).ok()?;
                Some(booked(meter.id, entry.amount, used, landed, meter.cap))
            })?,
        };
        grant.effects.push(effect);
    }
    open.closed();
    Some(())
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
