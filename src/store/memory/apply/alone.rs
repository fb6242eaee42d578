//! The short way for a plan on one account that does one plain thing: its meters are read and written where they lie.

use smallvec::SmallVec;

use crate::account::{MeterId, Part};
use crate::amount::Amount;
use crate::plan::{Alone, Grant, Held, Place, Plan, settle_alone};
use crate::store::memory::accounts::News;
use crate::store::memory::holds::Linked;
use crate::store::memory::sync::MutexGuard;
use crate::store::memory::{MemoryStore, Ops, Shard};
use crate::store::table::Slot;
use crate::time::Timestamp;

impl MemoryStore {
    /// Carries out a plan if it is as plain as that, and all that it names is known. Otherwise nothing is done.
    #[inline]
    pub(in crate::store::memory) fn carry_out_alone(&self, plan: &Plan, now: Timestamp, grant: &mut Grant) -> bool {
        let Some(alone) = plan.alone(now) else { return false };
        match alone {
            Alone::Take => self.take_alone(plan, now, grant).is_some(),
            Alone::Settle(actual) => self.settle_alone(plan, actual, now, grant).is_some(),
        }
    }

    /// The account that a plan names, if it has one, with its shard locked.
    #[inline]
    fn find_alone(&self, place: &Place) -> Option<(u16, Slot, MutexGuard<'_, Shard>)> {
        let name = place.subject.as_bytes();
        if let Some(super::Spot { shard: number, slot: Some(slot) }) = self.hinted(place.hint) {
            let shard = self.shards.get(usize::from(number))?.it.lock();
            return shard.accounts.is(slot, name).then_some((number, slot, shard));
        }
        let hash = self.hash_of(&place.subject);
        let number = self.shard_of(hash);
        let shard = self.shards.get(usize::from(number))?.it.lock();
        let slot = shard.accounts.find(hash, name)?;
        Some((number, slot, shard))
    }

    #[inline]
    fn ops_of(&self, tag: u64) -> Option<MutexGuard<'_, Ops>> {
        Some(self.ops.get(usize::from(self.shard_of(tag)))?.it.lock())
    }

    #[inline]
    fn take_alone(&self, plan: &Plan, now: Timestamp, grant: &mut Grant) -> Option<()> {
        let (number, slot, mut guard) = self.find_alone(plan.accounts.first()?)?;
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
        let (mut held, mut news) = (Held::new(), News::new());
        let mut look = accounts.look(slot, &mut news)?;
        if look.open.earliest <= now {
            return None;
        }
        let mut open = std::mem::take(&mut look.open);
        plan.take_alone(now, &mut open, &mut look, grant, &mut held)?;
        look.open = open;
        if let (Some((hold, tag, mut ops)), Some(expires)) = (ops, grant.expires) {
            let part = holds.open(hold, slot, (now, expires), &held, plan.context.clone(), &mut look.root);
            ops.add(tag, number, part);
        }
        look.put();
        self.tell_due(number, &guard);
        Some(())
    }

    /// Ends the only part of an operation, whose end nobody has to remember.
    #[inline]
    fn settle_alone(
        &self,
        plan: &Plan,
        actual: &SmallVec<[(MeterId, Amount); 4]>,
        now: Timestamp,
        grant: &mut Grant,
    ) -> Option<()> {
        let hold = plan.hold.as_ref().filter(|hold| hold.library().is_some())?;
        let place = plan.accounts.first()?;
        let (number, slot, mut guard) = self.find_alone(place)?;
        let tag = self.tag(hold);
        let mut ops = self.ops_of(tag)?;
        let mut places = ops.places(tag);
        let (Some((shard_of_it, part)), None) = (places.next(), places.next()) else { return None };
        drop(places);
        if shard_of_it != number || ops.kept(hold).is_some() {
            return None;
        }
        let Shard { accounts, holds } = &mut *guard;
        let mut held = Held::new();
        let sequence = holds.opened(part, hold, slot, now, &mut held)?;
        let same = |known: &Part| known.sequence == sequence && known.op == *hold && known.account == place.subject;
        if !plan.known.iter().all(same) {
            return None;
        }
        let mut news = News::new();
        let mut look = accounts.look(slot, &mut news)?;
        if look.open.earliest <= now {
            return None;
        }
        let mut open = std::mem::take(&mut look.open);
        settle_alone(&held, actual, now, &mut open, &mut look, grant)?;
        look.open = open;
        holds.remove(part, &mut look.root, Linked::Yes);
        look.put();
        ops.remove(tag, number, part);
        self.tell_due(number, &guard);
        Some(())
    }
}
