//! The bookkeeping of a decision: which meter is meant, what an entry does to it, and the rows and parts that say so.

use std::sync::Arc;

use super::decide::{Desk, Stop, no_account};
use super::plain::{booked, counts};
use super::{Effect, Loaded};
use crate::account::{
    Account, Audit, Context, Counter, Entry, Kind, Landed, Meter, MeterId, MeterRow, Moved, Part, Row, RowEntry, Rule,
    UsageRow,
};
use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::id::{OpId, Subject};
use crate::time::Timestamp;
use crate::usage::Usage;

impl Desk<'_> {
    /// The meter of a rule, brought to where it stands now; a fresh one if the account has none.
    pub(super) fn meter(&mut self, account: u16, rule: &Rule) -> Result<&mut Meter, Stop> {
        counts(rule)?;
        let (epoch, now) = (self.state.counters.epoch, self.now);
        let Some(loaded) = self.state.accounts.get_mut(usize::from(account)) else { return Err(no_account(account)) };
        let meters = &mut loaded.account.meters;
        let place = meters.iter().position(|meter| meter.id == rule.meter);
        let (place, moved) = match place {
            Some(place) => (place, meters.get_mut(place).map_or(Moved::Nothing, |meter| meter.advance(rule, now))),
            None => {
                meters.push(Meter::fresh(rule, epoch));
                (meters.len() - 1, Moved::Afresh)
            }
        };
        if moved != Moved::Nothing {
            self.balance_moved(account, place, moved);
        }
        let found = self.state.accounts.get_mut(usize::from(account)).and_then(|l| l.account.meters.get_mut(place));
        found.ok_or_else(|| no_account(account))
    }

    /// A balance that is new, or was refilled, is saved whatever becomes of the plan: time alone did it.
    fn balance_moved(&mut self, account: u16, place: usize, moved: Moved) {
        let Some(loaded) = self.state.accounts.get_mut(usize::from(account)) else { return };
        let Some(meter) = loaded.account.meters.get(place) else { return };
        let Counter::Balance(balance) = &meter.counter else { return };
        loaded.changed = true;
        // The first row of an epoch says what it began with, so that its rows add up to what is there.
        let whole = balance.units.unwrap_or(0);
        let (kind, came) = match moved {
            Moved::Refilled { epoch, .. } if epoch != balance.epoch => (Kind::Refill, whole),
            Moved::Refilled { by, .. } => (Kind::Refill, by),
            Moved::Afresh | Moved::Nothing => (Kind::Set, whole),
        };
        if meter.audit == Audit::Rows {
            let row = MeterRow {
                kind,
                account: loaded.subject.clone(),
                meter: meter.id,
                window: Timestamp::EPOCH,
                epoch: balance.epoch,
                sequence: 0,
                spent: came.saturating_neg(),
            };
            self.row(self.now, None, RowEntry::Meter(row));
        }
    }

    /// Writes a row. Of two that one plan writes of the same operation, kind, account and meter, each has its own sequence.
    pub(super) fn row(&mut self, at: Timestamp, op: Option<OpId>, mut entry: RowEntry) {
        let rows = &mut self.state.changes.rows;
        if let (Some(_), RowEntry::Meter(new)) = (&op, &mut entry) {
            let is_it = |row: &Row, new: &MeterRow| match &row.entry {
                RowEntry::Meter(row) => row.has_key_of(new),
                _ => false,
            };
            while rows.iter().rev().take_while(|row| row.op == op).any(|row| is_it(row, new)) {
                new.sequence = new.sequence.saturating_add(1 << 16);
            }
        }
        rows.push(Row { at, op, entry });
    }

    /// Ends what an entry holds, and writes the row of it.
    pub(super) fn end_entry(
        &mut self,
        op: &OpId,
        account: &Subject,
        sequence: u16,
        entry: &mut Entry,
        actual: Amount,
        (kind, at): (Kind, Timestamp),
    ) -> Result<Landed, Stop> {
        let landed = self.in_meter(account, entry, |meter| meter.settle(entry, actual, at))?;
        entry.amount = actual;
        self.entry_row(op, account, sequence.into(), entry, actual.get(), (kind, at));
        Ok(landed)
    }

    /// Moves what an entry of a part has booked to another amount, and writes the row of it.
    pub(super) fn amend_entry(
        &mut self,
        part: &mut Part,
        entry: &mut Entry,
        to: Amount,
        kind: Kind,
    ) -> Result<Landed, Stop> {
        let (now, by) = (self.now, to.get().saturating_sub(entry.amount.get()));
        let landed = self.in_meter(&part.account, entry, |meter| meter.amend(entry, by, now))?;
        entry.amount = to;
        if entry.audit == Audit::Rows && by != 0 {
            let sequence = part.next_amendment();
            self.entry_row(&part.op, &part.account, sequence, entry, by, (kind, now));
        }
        Ok(landed)
    }

    pub(super) fn raise_entry(&mut self, account: &Subject, entry: &mut Entry, by: Amount) -> Result<Landed, Stop> {
        let now = self.now;
        let landed = self.in_meter(account, entry, |meter| meter.raise(entry, by, now))?;
        entry.amount = entry.amount.checked_add(by).unwrap_or(Amount::MAX);
        Ok(landed)
    }

    /// Does this to the meter of an entry, if there still is one, or was one that could be dropped.
    fn in_meter(
        &mut self,
        account: &Subject,
        entry: &Entry,
        change: impl FnOnce(&mut Meter) -> Result<Landed, Error>,
    ) -> Result<Landed, Stop> {
        let epoch = self.state.counters.epoch;
        let loaded = self.account_of(account)?;
        if loaded.account.meter(entry.meter).is_none() {
            let Some(again) = Meter::of_all_time(entry, epoch) else { return Ok(Landed::Elsewhere) };
            loaded.account.meters.push(again);
        }
        let Some(meter) = loaded.account.meter_mut(entry.meter) else { return Ok(Landed::Elsewhere) };
        let landed = change(meter)?;
        loaded.changed |= landed != Landed::Elsewhere;
        Ok(landed)
    }

    fn entry_row(
        &mut self,
        op: &OpId,
        account: &Subject,
        sequence: u32,
        entry: &Entry,
        spent: i64,
        (kind, at): (Kind, Timestamp),
    ) {
        if entry.audit == Audit::Rows && spent != 0 {
            let row = MeterRow {
                kind,
                account: account.clone(),
                meter: entry.meter,
                window: entry.mark,
                epoch: entry.epoch,
                sequence,
                spent,
            };
            self.row(at, Some(op.clone()), RowEntry::Meter(row));
        }
    }

    pub(super) fn booked(
        &self,
        account: &Subject,
        meter: MeterId,
        held: Amount,
        amount: Amount,
        landed: Landed,
    ) -> Effect {
        let loaded = self.state.accounts.iter().find(|loaded| loaded.subject == *account);
        let cap = loaded.and_then(|loaded| loaded.account.meter(meter)).map_or(Cap::Unlimited, |meter| meter.cap);
        booked(meter, held, amount, landed, cap)
    }

    /// The row of what the plan says was used, which is written once, however many of its reports say so.
    pub(super) fn used_row(&mut self, kind: Kind, instead_of: Option<Usage>) {
        let Some(used) = self.plan.used.as_ref().filter(|_| !self.told) else { return };
        (self.told, self.changed) = (true, true);
        let known = self.state.parts.iter().find_map(|part| part.context.clone());
        let context = self.plan.context.clone().or(known);
        let op = self.plan.hold.clone();
        let row = UsageRow { kind, context, usage: used.usage.clone(), instead_of, outcome: used.outcome };
        self.row(self.now, op, RowEntry::Usage(row));
    }

    pub(super) fn usage_row(
        &mut self,
        kind: Kind,
        at: Timestamp,
        op: Option<OpId>,
        context: Option<Arc<Context>>,
        usage: Usage,
        instead_of: Option<Usage>,
    ) {
        let outcome = self.plan.used.as_ref().filter(|_| kind != Kind::Expire).and_then(|used| used.outcome);
        self.row(at, op, RowEntry::Usage(UsageRow { kind, context, usage, instead_of, outcome }));
    }

    /// Writes a part over what is known of it.
    pub(super) fn save_part(&mut self, part: Part) {
        self.changed = true;
        if let Some(known) = self.state.parts.iter_mut().find(|known| known.is(&part)) {
            known.clone_from(&part);
        }
        let changes = &mut self.state.changes.parts;
        match changes.iter_mut().find(|known| known.is(&part)) {
            Some(known) => *known = part,
            None => changes.push(part),
        }
    }

    pub(super) fn closed(&mut self, account: &Subject) {
        if let Some(loaded) = self.state.accounts.iter_mut().find(|loaded| loaded.subject == *account) {
            loaded.account.closed();
            loaded.changed = true;
        }
    }

    pub(super) fn account_of(&mut self, subject: &Subject) -> Result<&mut Loaded, Stop> {
        let found = self.state.accounts.iter_mut().find(|loaded| loaded.subject == *subject);
        found.ok_or_else(|| Error::invalid("state.accounts", subject, "loaded with the part that is in it").into())
    }

    pub(super) fn loaded(&mut self, account: u16) -> Result<&mut Loaded, Stop> {
        let named = usize::from(account) < self.plan.accounts.len();
        self.state.accounts.get_mut(usize::from(account)).filter(|_| named).ok_or_else(|| no_account(account))
    }

    pub(super) fn account(&mut self, account: u16) -> Result<&Account, Stop> {
        Ok(&self.loaded(account)?.account)
    }

    pub(super) fn account_subject(&self, account: u16) -> Result<Subject, Stop> {
        let place = self.plan.accounts.get(usize::from(account));
        Ok(place.ok_or_else(|| no_account(account))?.subject.clone())
    }

    /// The meter that is a key's health, a fresh one if the account has none.
    pub(super) fn health(&mut self, account: u16) -> Result<&mut Meter, Stop> {
        let meters = &mut self.loaded(account)?.account.meters;
        let place = match meters.iter().position(|meter| meter.id == MeterId::HEALTH) {
            Some(place) => place,
            None => {
                meters.push(Meter::health());
                meters.len() - 1
            }
        };
        meters.get_mut(place).ok_or_else(|| no_account(account))
    }

    pub(super) fn touched(&mut self, account: u16) {
        self.changed = true;
        if let Some(loaded) = self.state.accounts.get_mut(usize::from(account)) {
            loaded.changed = true;
        }
    }
}
