//! The same for a plan on one account, as most are: with less to keep apart.

use super::Went;
use crate::account::{Audit, Part};
use crate::plan::{Done, Grant, Place, Plan, Said, end_plainly};
use crate::store::memory::accounts::Marks;
use crate::store::memory::holds::Linked;
use crate::store::memory::sync::MutexGuard;
use crate::store::memory::{MemoryStore, Shard};
use crate::store::table::Slot;
use crate::time::Timestamp;

impl MemoryStore {
    /// The account of this place, if it has one, with its shard locked.
    #[inline]
    fn find_one(&self, place: &Place) -> Option<(u16, Slot, MutexGuard<'_, Shard>)> {
        let (hash, spot) = self.spot_of(place);
        let shard = self.shards.get(usize::from(spot.shard))?.it.lock();
        let slot = Self::slot_of(&shard, place, hash, spot.slot)?;
        Some((spot.shard, slot, shard))
    }

    #[inline]
    pub(super) fn take_in_one(&self, plan: &Plan, place: &Place, now: Timestamp, grant: &mut Grant) -> Went {
        let (number, slot, mut guard) = self.find_one(place)?;
        let mut ops = None;
        if let Some(hold) = &plan.hold {
            let tag = self.tag(hold);
            let known = self.ops_of(tag)?;
            if known.places(tag).next().is_some() || known.kept(hold).is_some() {
                return None;
            }
            ops = Some((hold, tag, known));
        }
        let Shard { accounts, holds } = &mut *guard;
        let (mut done, mut news) = (Done::default(), Marks::new());
        let Some(mut look) = accounts.look(slot, &mut news) else {
            drop((ops, guard));
            return self.take_plainly(plan, now, grant);
        };
        if look.open.earliest <= now {
            return None;
        }
        if let Err(denial) = plan.take_plainly(now, &mut look, grant, &mut done)? {
            return Some(Err(denial));
        }
        if let (Some((hold, tag, mut ops)), Some(expires)) = (ops, grant.expires) {
            let held = done.held.iter().map(|(_, entry)| *entry);
            let part = holds.open(hold, slot, (now, expires), held, plan.context.clone(), &mut look.root);
            ops.add(tag, number, part);
            look.open.opened(expires);
        }
        look.put();
        if plan.has_rows(&done) {
            let mut ledger = self.ledger.lock();
            plan.rows_of_take(now, &grant.picked, &done, |row| ledger.append(row));
        }
        if grant.expires.is_some() {
            self.tell_due(number, &guard);
        }
        Some(Ok(()))
    }

    /// Ends the only part of an operation, whose end nobody has to remember.
    #[inline]
    pub(super) fn end_in_one(
        &self,
        plan: &Plan,
        place: &Place,
        said: Said<'_>,
        now: Timestamp,
        grant: &mut Grant,
    ) -> Option<()> {
        let hold = plan.hold.as_ref().filter(|hold| hold.library().is_some())?;
        let (number, slot, mut guard) = self.find_one(place)?;
        let tag = self.tag(hold);
        let mut ops = self.ops_of(tag)?;
        let mut places = ops.places(tag);
        let (Some((shard_of_it, number_of_it)), None) = (places.next(), places.next()) else { return None };
        drop(places);
        if shard_of_it != number || ops.kept(hold).is_some() {
            return None;
        }
        let Shard { accounts, holds } = &mut *guard;
        let part = holds.opened(number_of_it, hold, slot, now)?;
        let sequence = part.sequence();
        let same = |known: &Part| known.sequence == sequence && known.op == *hold && known.account == place.subject;
        if !plan.known.iter().all(same) {
            return None;
        }
        let mut news = Marks::new();
        let Some(mut look) = accounts.look(slot, &mut news) else {
            drop((ops, guard));
            return self.report_plainly(plan, (None, said), now, grant);
        };
        if look.open.earliest <= now {
            return None;
        }
        let mut audited = false;
        for entry in part.entries() {
            audited |= entry.audit == Audit::Rows;
            grant.effects.push(end_plainly(0, &entry, said, now, &mut look)?);
        }
        if audited || plan.used.is_some() {
            let (mut ledger, entries) = (self.ledger.lock(), part.entries().map(|entry| (0, sequence, entry)));
            plan.rows_of_end(now, entries, &grant.effects, said, part.context(), |row| ledger.append(row));
        }
        look.open.closed();
        holds.remove(number_of_it, &mut look.root, Linked::Yes);
        look.put();
        ops.remove(tag, number, number_of_it);
        Some(())
    }
}
