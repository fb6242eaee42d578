//! What a plan reports: booked whatever becomes of the rest of it.

use smallvec::SmallVec;

use super::decide::{Desk, Effects, Stop, invalid};
use super::{Adopt, BalanceChange, Claim, Effect, LimitRecord, Report, Verdict};
use crate::account::{
    Account, Audit, Counter, Entry, How, Kernel, Kind, Meter, MeterId, MeterRow, OnExpiry, Part, RowEntry, Rule,
};
use crate::amount::Amount;
use crate::id::LimitId;
use crate::quota::Balance;
use crate::time::{Length, Timestamp};

/// Amounts by meter.
pub(super) trait Lookup {
    fn of(&self, meter: MeterId) -> Option<Amount>;
}

impl Desk<'_> {
    pub(super) fn report(&mut self) -> Result<Effects, Stop> {
        let plan = self.plan;
        let mut effects = Effects::new();
        for report in &plan.reports {
            match report {
                Report::Settle { account, actual } => self.settle(*account, actual, &mut effects)?,
                Report::Release { account } => self.release(*account, &mut effects)?,
                Report::Extend { life } => self.extend(*life, &mut effects)?,
                Report::Expire => self.expire_early(&mut effects)?,
                Report::Raise { to } => self.raise(to, &mut effects)?,
                Report::Record { more } => self.record(more, &mut effects)?,
                Report::Balance { account, rule, change } => effects.push(self.balance(*account, rule, *change)?),
                Report::Reset { account, meter } => effects.push(self.reset(*account, *meter)?),
                Report::Claim { account, meter, window, bit, percent } => {
                    effects.push(self.claim(*account, *meter, *window, *bit, *percent)?);
                }
                Report::Health { account, report } => {
                    let now = self.now;
                    let Counter::Health(health) = &mut self.health(*account)?.counter else { continue };
                    health.report(*report, now);
                    effects.push(Effect::Health(health.standing(now)));
                    self.touched(*account);
                }
                Report::Note { account, note } => {
                    let now = self.now;
                    let Counter::Health(health) = &mut self.health(*account)?.counter else { continue };
                    health.note(note);
                    effects.push(Effect::Health(health.standing(now)));
                    self.touched(*account);
                }
                Report::Adopt { limit, schedule, how } => effects.push(self.adopt(limit, schedule, *how)),
                Report::Forget { account } => effects.push(self.forget(*account)?),
            }
        }
        Ok(effects)
    }

    /// The places in `state.parts` of the operation's parts, in one account or in all; those that only the caller knows
    /// are taken to have expired.
    fn parts_of(&mut self, account: Option<u16>) -> Result<SmallVec<[usize; 8]>, Stop> {
        if self.plan.hold.is_none() {
            return Err(invalid("hold", "none", "the operation that is reported on").into());
        }
        for known in &self.plan.known {
            if !self.state.parts.iter().any(|part| part.is(known)) {
                let mut part = known.clone();
                let end = part.expires.min(self.now);
                for entry in part.entries.iter_mut().filter(|entry| entry.on_expiry == OnExpiry::Release) {
                    entry.amount = Amount::ZERO;
                }
                part.end = part.end.or(Some((How::Expired, end)));
                self.state.parts.push(part);
            }
        }
        let only = account.map(|account| self.account_subject(account)).transpose()?;
        let named = |part: &Part| only.as_ref().is_none_or(|only| *only == part.account);
        Ok((0_usize..).zip(&self.state.parts).filter(|(_, part)| named(part)).map(|(place, _)| place).collect())
    }

    fn settle(&mut self, account: Option<u16>, actual: &impl Lookup, effects: &mut Effects) -> Result<(), Stop> {
        let (mut booked, mut before) = (None, None);
        let places = self.parts_of(account)?;
        if places.is_empty() {
            effects.push(Effect::Unknown);
            self.used_row(Kind::Settle, None);
        }
        for place in places {
            let Some(mut part) = self.state.parts.get(place).cloned() else { continue };
            let kind = match part.end {
                None => Kind::Settle,
                Some((how, _)) if self.was_followed(&part, account) => {
                    effects.push(Effect::Already(how));
                    continue;
                }
                Some((How::Settled, _)) => {
                    same_again(&part, actual)?;
                    effects.push(Effect::Already(How::Settled));
                    continue;
                }
                Some((how, _)) => {
                    if how == How::Expired && part.charges() && part.context.is_some() {
                        before = part.context.as_ref().map(|context| context.estimate.clone());
                    }
                    Kind::Adjust
                }
            };
            for place in 0..part.entries.len() {
                let Some(mut entry) = part.entries.get(place).copied() else { continue };
                let held = entry.amount;
                let used = actual.of(entry.meter).map_or(held, |used| part.share(place, used));
                let landed = match kind {
                    Kind::Settle => {
                        self.end_entry(&part.op, &part.account, part.sequence, &mut entry, used, (kind, self.now))?
                    }
                    _ => self.amend_entry(&mut part, &mut entry, used, kind)?,
                };
                effects.push(self.booked(&part.account, entry.meter, held, used, landed));
                part.put(place, entry);
            }
            if part.is_open() {
                self.closed(&part.account);
            }
            part.end = Some((How::Settled, self.now));
            booked = booked.filter(|known| *known == Kind::Settle).or(Some(kind));
            self.save_part(part);
        }
        if let Some(kind) = booked {
            self.used_row(if before.is_some() { Kind::Adjust } else { kind }, before);
        }
        Ok(())
    }

    /// Whether the operation went on elsewhere after this part had ended, where `account` is all that is looked at.
    fn was_followed(&self, part: &Part, account: Option<u16>) -> bool {
        let seen = |other: &&Part| account.is_none() || other.account == part.account;
        self.state.parts.iter().filter(seen).any(|other| part.was_followed_by(other))
    }

    fn release(&mut self, account: Option<u16>, effects: &mut Effects) -> Result<(), Stop> {
        let places = self.parts_of(account)?;
        if places.is_empty() {
            effects.push(Effect::Unknown);
        }
        for place in places {
            let Some(mut part) = self.state.parts.get(place).cloned() else { continue };
            if let Some((how, _)) = part.end {
                effects.push(Effect::Already(how));
                continue;
            }
            for entry in &mut part.entries {
                let held = entry.amount;
                let at = (Kind::Settle, self.now);
                let landed = self.end_entry(&part.op, &part.account, part.sequence, entry, Amount::ZERO, at)?;
                effects.push(self.booked(&part.account, entry.meter, held, Amount::ZERO, landed));
            }
            part.end = Some((How::Released, self.now));
            self.closed(&part.account);
            self.save_part(part);
        }
        Ok(())
    }

    fn extend(&mut self, life: Length, effects: &mut Effects) -> Result<(), Stop> {
        let until = self.now.saturating_add(life);
        let places = self.parts_of(None)?;
        if places.is_empty() {
            effects.push(Effect::Unknown);
        }
        for place in places {
            let Some(mut part) = self.state.parts.get(place).cloned() else { continue };
            if let Some((how, _)) = part.end {
                effects.push(Effect::Already(how));
                continue;
            }
            part.expires = part.expires.max(until);
            effects.push(Effect::Extended(part.expires));
            let account = self.account_of(&part.account)?;
            account.account.latest = account.account.latest.max(part.expires);
            account.changed = true;
            self.save_part(part);
        }
        Ok(())
    }

    fn expire_early(&mut self, effects: &mut Effects) -> Result<(), Stop> {
        let places = self.parts_of(None)?;
        if places.is_empty() {
            effects.push(Effect::Unknown);
        }
        for place in places {
            let Some(mut part) = self.state.parts.get(place).cloned() else { continue };
            match part.end {
                Some((how, _)) => effects.push(Effect::Already(how)),
                None => {
                    part.expires = part.expires.min(self.now);
                    self.expire(part, Some(effects))?;
                }
            }
        }
        Ok(())
    }

    fn raise(&mut self, to: &impl Lookup, effects: &mut Effects) -> Result<(), Stop> {
        let places = self.parts_of(None)?;
        if places.is_empty() {
            effects.push(Effect::Unknown);
        }
        for place in places {
            let Some(mut part) = self.state.parts.get(place).cloned() else { continue };
            if let Some((how, _)) = part.end.filter(|(how, _)| *how == How::Settled || self.was_followed(&part, None)) {
                effects.push(Effect::Already(how));
                continue;
            }
            for place in 0..part.entries.len() {
                let Some(mut entry) = part.entries.get(place).copied().filter(|_| part.is_last(place)) else {
                    continue;
                };
                let held = entry.amount;
                let by = to.of(entry.meter).map_or(Amount::ZERO, |to| to.above(part.all_of(entry.meter)));
                let to = held.checked_add(by).ok_or_else(|| invalid("raise", by, "a sum of at most 2^63 - 1"))?;
                let landed = if part.is_open() {
                    self.raise_entry(&part.account, &mut entry, by)?
                } else {
                    self.amend_entry(&mut part, &mut entry, to, Kind::Adjust)?
                };
                effects.push(self.booked(&part.account, entry.meter, held, to, landed));
                part.put(place, entry);
            }
            // What is charged if nothing more is heard of it is what its row says then.
            if let (Some(before), Some(context)) = (&mut part.context, &self.plan.context) {
                before.clone_from(context);
            }
            self.save_part(part);
        }
        Ok(())
    }

    fn record(&mut self, more: &impl Lookup, effects: &mut Effects) -> Result<(), Stop> {
        let places = self.parts_of(None)?;
        if places.is_empty() {
            effects.push(Effect::Unknown);
        }
        for place in places {
            let Some(mut part) = self.state.parts.get(place).cloned() else { continue };
            if let Some((how, _)) = part.end.filter(|_| self.was_followed(&part, None)) {
                effects.push(Effect::Already(how));
                continue;
            }
            for place in 0..part.entries.len() {
                let Some(entry) = part.entries.get(place).copied().filter(|_| part.is_last(place)) else { continue };
                let Some(more) = more.of(entry.meter).filter(|more| !more.is_zero()) else { continue };
                // Of a part that is open nothing is booked yet, and its hold stays as it is.
                let base = if part.is_open() { Amount::ZERO } else { entry.amount };
                let sum = base.checked_add(more).ok_or_else(|| invalid("record", more, "a sum of at most 2^63 - 1"))?;
                let mut booked = Entry { amount: base, ..entry };
                let landed = self.amend_entry(&mut part, &mut booked, sum, Kind::Record)?;
                effects.push(self.booked(&part.account, entry.meter, base, sum, landed));
                if !part.is_open() {
                    part.put(place, booked);
                }
            }
            self.save_part(part);
        }
        self.used_row(Kind::Record, None);
        Ok(())
    }

    fn balance(&mut self, account: u16, rule: &Rule, change: BalanceChange) -> Result<Effect, Stop> {
        let Kernel::Balance { today, .. } = rule.kernel else {
            return Err(invalid("rule.kernel", format!("{:?}", rule.kernel), "a balance").into());
        };
        let (op, at, subject) = (self.plan.op.clone(), self.now, self.account_subject(account)?);
        let meter = self.meter(account, rule)?;
        let audit = meter.audit;
        let Counter::Balance(balance) = &mut meter.counter else {
            return Err(invalid("rule.meter", rule.meter.0, "a meter that is a balance").into());
        };
        let before = *balance;
        let kind = match change {
            BalanceChange::Set(units) => {
                balance.set(units);
                Kind::Set
            }
            BalanceChange::Credit(by) => {
                balance.credit(by)?;
                Kind::Credit
            }
            BalanceChange::Debit(by) => {
                balance.debit(by)?;
                Kind::Debit
            }
            BalanceChange::Patch(patch) => {
                balance.patch(patch, today)?;
                Kind::Set
            }
        };
        let Balance { units, epoch, .. } = *balance;
        let moved = units.unwrap_or(0).saturating_sub(before.units.unwrap_or(0));
        // The first row of an epoch says what it began with, so that its rows add up to what is there.
        let stated = if epoch == before.epoch { moved } else { units.unwrap_or(0) };
        self.touched(account);
        if audit == Audit::Rows && (stated != 0 || epoch != before.epoch) {
            let row = MeterRow {
                kind,
                account: subject,
                meter: rule.meter,
                window: Timestamp::EPOCH,
                epoch,
                sequence: 0,
                spent: stated.saturating_neg(),
            };
            self.row(at, op, RowEntry::Meter(row));
        }
        Ok(Effect::Balance { units, moved })
    }

    fn reset(&mut self, account: u16, meter: MeterId) -> Result<Effect, Stop> {
        let (op, at, subject) = (self.plan.op.clone(), self.now, self.account_subject(account)?);
        let Some(found) = self.loaded(account)?.account.meter_mut(meter) else { return Ok(Effect::Reset) };
        found.reset();
        let (epoch, window) = (found.epoch(), found.window_start());
        self.touched(account);
        let row = MeterRow { kind: Kind::Reset, account: subject, meter, window, epoch, sequence: 0, spent: 0 };
        self.row(at, op, RowEntry::Meter(row));
        Ok(Effect::Reset)
    }

    fn claim(
        &mut self,
        account: u16,
        meter: MeterId,
        window: Timestamp,
        bit: u8,
        percent: u16,
    ) -> Result<Effect, Stop> {
        let mask = 1_u16.checked_shl(bit.into()).ok_or_else(|| invalid("claim.bit", bit, "from 0 to 15"))?;
        let (op, at, subject) = (self.plan.op.clone(), self.now, self.account_subject(account)?);
        let late = Ok(Effect::Claimed(Claim::Late));
        let Some(found) = self.loaded(account)?.account.meter_mut(meter) else { return late };
        let Counter::Tally { tally, .. } = &found.counter else { return late };
        if tally.start != window || found.claimed & mask != 0 {
            return late;
        }
        let (spent, cap) = (tally.spent, found.cap);
        found.claimed |= mask;
        self.touched(account);
        self.row(at, op, RowEntry::Alert { account: subject, meter, window, percent, spent, cap });
        Ok(Effect::Claimed(Claim::First))
    }

    fn adopt(&mut self, limit: &LimitId, schedule: &str, how: Adopt) -> Effect {
        let state = &mut *self.state;
        let known = state.limits.iter().position(|record| record.limit == *limit);
        let place = known.unwrap_or_else(|| {
            state.counters.limits = state.counters.limits.saturating_add(1);
            let meter = MeterId(state.counters.limits);
            state.limits.push(LimitRecord { limit: limit.clone(), meter, anchor: self.now, schedules: Vec::new() });
            state.limits.len() - 1
        });
        let Some(record) = state.limits.get_mut(place) else { return Effect::Unknown };
        let last = record.schedules.last().map(|(generation, _)| *generation);
        let seen = match how {
            Adopt::Start => record.schedules.iter().rev().find(|(_, text)| text == schedule),
            Adopt::Change => record.schedules.last().filter(|(_, text)| text == schedule),
        };
        let generation = match seen {
            Some((generation, _)) => *generation,
            None => {
                let generation = last.map_or(0, |last| last.saturating_add(1));
                record.schedules.push((generation, schedule.to_owned()));
                self.changed = true;
                state.changes.limits.push(record.clone());
                generation
            }
        };
        Effect::Adopted { meter: record.meter, generation, anchor: record.anchor }
    }

    fn forget(&mut self, account: u16) -> Result<Effect, Stop> {
        let (op, at) = (self.plan.op.clone(), self.now);
        let loaded = self.loaded(account)?;
        // Later than any epoch that the account has seen, so that nothing of it can be taken for its successor's.
        let last = loaded.account.meters.iter().map(Meter::epoch).max().unwrap_or(0);
        loaded.account = Account::default();
        loaded.changed = false;
        let subject = loaded.subject.clone();
        for part in self.state.parts.iter_mut().filter(|part| part.account == subject) {
            part.forget(at);
        }
        self.state.counters.epoch = self.state.counters.epoch.max(last).wrapping_add(1);
        self.state.changes.parts.retain(|part| part.account != subject || !part.is_open());
        self.state.changes.forgotten.push(subject.clone());
        self.changed = true;
        self.row(at, op, RowEntry::Forgotten { account: subject });
        Ok(Effect::Forgotten)
    }
}

/// A part that was settled before may be settled again, as long as nothing else is said of it.
fn same_again(part: &Part, actual: &impl Lookup) -> Result<(), Stop> {
    for entry in &part.entries {
        let before = part.all_of(entry.meter);
        if let Some(now) = actual.of(entry.meter).filter(|now| *now != before) {
            return Err(Verdict::Conflict {
                field: format!("settle.meter {} of {:?}", entry.meter.0, part.account),
                before: before.to_string(),
                now: now.to_string(),
            }
            .into());
        }
    }
    Ok(())
}
