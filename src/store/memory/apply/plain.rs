//! The short way for a plan that does one plain thing: its meters are read and written where they lie.

use smallvec::SmallVec;

use super::{Locked, Spot};
use crate::account::{Audit, Part};
use crate::plan::{Denial, Done, Effect, Grant, Place, Plain, Plan, Said, end_plainly};
use crate::store::memory::accounts::{Looks, News};
use crate::store::memory::holds::Linked;
use crate::store::memory::sync::MutexGuard;
use crate::store::memory::{MemoryStore, Ops, Shard};
use crate::store::table::Slot;
use crate::time::Timestamp;

mod one;

/// Whether all of a plan passed; `None` if it has to go the long way.
type Went = Option<Result<(), Box<Denial>>>;

/// The most accounts of a plan that goes this way.
const MOST: usize = 24;

/// Where one of the plan's accounts lies.
#[derive(Clone, Copy)]
struct At {
    number: u16,
    /// Which of the locked shards that is.
    guard: usize,
    slot: Slot,
}

type Ats = SmallVec<[At; 8]>;

/// The open parts of an operation, in the order of their accounts: which of the plan's accounts, and which part.
type Parts = SmallVec<[(u16, u32); 8]>;

impl MemoryStore {
    /// Carries out a plan if it is as plain as that, and all that it names is known. Otherwise nothing is done.
    #[inline]
    pub(in crate::store::memory) fn carry_out_plainly(&self, plan: &Plan, now: Timestamp, grant: &mut Grant) -> Went {
        if plan.accounts.len() > MOST {
            return None;
        }
        match (plan.plain(now)?, plan.accounts.as_slice()) {
            (Plain::Take, [place]) if plan.picks.is_empty() => self.take_in_one(plan, place, now, grant),
            (Plain::Take, _) => self.take_plainly(plan, now, grant),
            (Plain::Report(None | Some(0), said @ (Said::Settled(_) | Said::Released)), [place]) => {
                self.end_in_one(plan, place, said, now, grant).map(Ok)
            }
            (Plain::Report(account, said), _) => self.report_plainly(plan, (account, said), now, grant).map(Ok),
        }
    }

    /// The accounts that a plan names, if there are all of them, with their shards locked.
    #[inline]
    fn find_plainly(&self, plan: &Plan) -> Option<(Locked<'_>, Ats)> {
        let mut spots: SmallVec<[(u64, Spot); 8]> = SmallVec::new();
        let mut numbers: SmallVec<[u16; 8]> = SmallVec::new();
        for place in &plan.accounts {
            let (hash, spot) = self.spot_of(place);
            numbers.push(spot.shard);
            spots.push((hash, spot));
        }
        let (locked, mut ats) = (self.lock_these(numbers), Ats::new());
        for (place, (hash, Spot { shard: number, slot })) in plan.accounts.iter().zip(&spots) {
            let guard = locked.place(*number)?;
            let slot = Self::slot_of(locked.guards.get(guard)?, place, *hash, *slot)?;
            if ats.iter().any(|other: &At| (other.guard, other.slot) == (guard, slot)) {
                return None;
            }
            ats.push(At { number: *number, guard, slot });
        }
        Some((locked, ats))
    }

    /// Where an account is to be looked for, with its hash if it has to be.
    #[inline]
    fn spot_of(&self, place: &Place) -> (u64, Spot) {
        if let Some(spot) = self.hinted(place.hint) {
            return (0, spot);
        }
        let hash = self.hash_of(&place.subject);
        (hash, Spot { shard: self.shard_of(hash), slot: None })
    }

    #[inline]
    fn slot_of(shard: &Shard, place: &Place, hash: u64, hinted: Option<Slot>) -> Option<Slot> {
        let (accounts, name) = (&shard.accounts, place.subject.as_bytes());
        match hinted {
            Some(slot) => accounts.is(slot, name).then_some(slot),
            None => accounts.find(hash, name),
        }
    }

    #[inline]
    fn ops_of(&self, tag: u64) -> Option<MutexGuard<'_, Ops>> {
        Some(self.ops.get(usize::from(self.shard_of(tag)))?.it.lock())
    }

    #[inline]
    fn take_plainly(&self, plan: &Plan, now: Timestamp, grant: &mut Grant) -> Went {
        let (mut locked, ats) = self.find_plainly(plan)?;
        let mut ops = None;
        if let Some(hold) = &plan.hold {
            let tag = self.tag(hold);
            let known = self.ops_of(tag)?;
            if known.places(tag).next().is_some() || known.kept(hold).is_some() {
                return None;
            }
            ops = Some((hold, tag, known));
        }
        let (mut news, mut done) = (News::default(), Done::default());
        let mut looks = Looks::new(&mut news);
        for at in &ats {
            looks.add(&locked.guards.get(at.guard)?.accounts, at.slot, now)?;
        }
        if let Err(denial) = plan.take_plainly(now, &mut looks, grant, &mut done)? {
            return Some(Err(denial));
        }
        drop(looks);
        let teller = plan.teller(&done.held);
        for (account, at) in (0_u16..).zip(&ats) {
            let Some(Shard { accounts, holds }) = locked.guards.get_mut(at.guard).map(|guard| &mut **guard) else {
                continue;
            };
            let mut open = accounts.open(at.slot);
            let held = done.held.iter().filter(|(of, _)| *of == account).map(|(_, entry)| *entry);
            if let (Some(expires), Some((hold, tag, ops)), Some(_)) = (grant.expires, &mut ops, held.clone().next()) {
                open.it.opened(expires);
                let is_told = teller == Some(account);
                let context = if is_told { plan.context_with(&grant.picked) } else { None };
                let part = holds.open(hold, at.slot, (now, expires), held, context, &mut open.root);
                ops.add(*tag, at.number, part);
            }
            accounts.put(at.slot, account, &mut news, &open);
        }
        for ready in &done.given {
            let Some(at) = ats.get(usize::from(ready.account)) else { continue };
            let (Some(shard), Some(op)) = (locked.guards.get_mut(at.guard), plan.hold.as_ref().or(plan.op.as_ref()))
            else {
                continue;
            };
            shard.accounts.give_out(at.slot, |health| health.take(op, now, ready.probe));
        }
        drop(ops);
        if plan.has_rows(&done) {
            let mut ledger = self.ledger.lock();
            plan.rows_of_take(now, &grant.picked, &done, |row| ledger.append(row));
        }
        if grant.expires.is_some() {
            for (number, shard) in locked.numbers.iter().zip(&locked.guards) {
                self.tell_due(*number, shard);
            }
        }
        Some(Ok(()))
    }

    /// The open parts of the plan's operation, if all of them are in accounts that the plan names.
    #[inline]
    fn parts_plainly(plan: &Plan, tag: u64, ops: &Ops, locked: &Locked<'_>, ats: &Ats) -> Option<Parts> {
        let hold = plan.hold.as_ref()?;
        let mut parts = Parts::new();
        for (number, part) in ops.places(tag) {
            let guard = locked.place(number)?;
            let slot = locked.guards.get(guard)?.holds.account_if(part, hold)?;
            let account = ats.iter().position(|at| (at.guard, at.slot) == (guard, slot))?;
            parts.push((u16::try_from(account).ok()?, part));
        }
        if parts.len() > 1 {
            let subject = |account: u16| plan.accounts.get(usize::from(account)).map(|place| &place.subject);
            parts.sort_unstable_by(|a, b| subject(a.0).cmp(&subject(b.0)));
        }
        Some(parts)
    }

    /// Ends, or extends, what an operation holds, whose end nobody has to remember.
    #[inline]
    fn report_plainly(
        &self,
        plan: &Plan,
        (only, said): (Option<u16>, Said<'_>),
        now: Timestamp,
        grant: &mut Grant,
    ) -> Option<()> {
        let hold = plan.hold.as_ref().filter(|hold| hold.library().is_some())?;
        let (mut locked, ats) = self.find_plainly(plan)?;
        let tag = self.tag(hold);
        let mut ops = self.ops_of(tag)?;
        if ops.kept(hold).is_some() {
            return None;
        }
        let mut parts = Self::parts_plainly(plan, tag, &ops, &locked, &ats)?;
        let mut news = News::default();
        let mut looks = Looks::new(&mut news);
        for at in &ats {
            looks.add(&locked.guards.get(at.guard)?.accounts, at.slot, now)?;
        }
        let (mut context, mut known, mut audited) = (None, 0, false);
        for (account, part) in &parts {
            let at = ats.get(usize::from(*account))?;
            let part = locked.guards.get(at.guard)?.holds.opened(*part, hold, at.slot, now)?;
            let subject = &plan.accounts.get(usize::from(*account))?.subject;
            let is_it = |it: &&Part| it.sequence == part.sequence() && it.account == *subject;
            known += plan.known.iter().filter(|known| known.op == *hold).filter(is_it).count();
            context = context.or(part.context());
            if only.is_some_and(|only| only != *account) {
                continue;
            }
            if let Said::Alive(life) = said {
                grant.effects.push(Effect::Extended(part.expires().max(now.saturating_add(life))));
                continue;
            }
            for entry in part.entries() {
                grant.effects.push(end_plainly(*account, &entry, said, now, &mut looks)?);
                audited |= entry.audit == Audit::Rows;
            }
        }
        if known != plan.known.len() {
            return None;
        }
        parts.retain(|(account, _)| only.is_none_or(|only| only == *account));
        if parts.is_empty() {
            return None;
        }
        drop(looks);
        if audited || plan.used.is_some() {
            let entries = parts.iter().filter_map(|(account, part)| {
                let at = ats.get(usize::from(*account))?;
                let part = locked.guards.get(at.guard)?.holds.opened(*part, hold, at.slot, now)?;
                Some(part.entries().map(move |entry| (*account, part.sequence(), entry)))
            });
            let mut ledger = self.ledger.lock();
            plan.rows_of_end(now, entries.flatten(), &grant.effects, said, context, |row| ledger.append(row));
        }
        for (account, part) in &parts {
            let Some(at) = ats.get(usize::from(*account)) else { continue };
            let Some(Shard { accounts, holds }) = locked.guards.get_mut(at.guard).map(|guard| &mut **guard) else {
                continue;
            };
            let mut open = accounts.open(at.slot);
            if let Said::Alive(life) = said {
                let before = holds.expires(*part).unwrap_or(now);
                let expires = before.max(now.saturating_add(life));
                holds.expire_at(*part, expires, &mut open.root);
                open.it.latest = open.it.latest.max(expires);
            } else {
                holds.remove(*part, &mut open.root, Linked::Yes);
                open.it.closed();
                ops.remove(tag, at.number, *part);
            }
            accounts.put(at.slot, *account, &mut news, &open);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
