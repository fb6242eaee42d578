//! The short way for a plan on one account that does one plain thing: its meters are read and written where they lie.

use smallvec::SmallVec;

use crate::account::{MeterId, Part};
use crate::amount::Amount;
use crate::plan::{Alone, Denial, Grant, Held, Place, Plan, settle_alone};
use crate::store::memory::accounts::News;
use crate::store::memory::holds::Linked;
use crate::store::memory::sync::MutexGuard;
use crate::store::memory::{MemoryStore, Ops, Shard};
use crate::store::table::Slot;
use crate::time::Timestamp;

/// Whether all of a plan passed; `None` if it has to go the long way.
type Went = Option<Result<(), Box<Denial>>>;

impl MemoryStore {
    /// Carries out a plan if it is as plain as that, and all that it names is known. Otherwise nothing is done.
    #[inline]
    pub(in crate::store::memory) fn carry_out_alone(&self, plan: &Plan, now: Timestamp, grant: &mut Grant) -> Went {
        match plan.alone(now)? {
            Alone::Take => self.take_alone(plan, now, grant),
            Alone::Settle(actual) => self.settle_alone(plan, actual, now, grant).map(Ok),
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
    fn take_alone(&self, plan: &Plan, now: Timestamp, grant: &mut Grant) -> Went {
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
        if let Err(denial) = plan.take_alone(now, &mut open, &mut look, grant, &mut held)? {
            return Some(Err(denial));
        }
        look.open = open;
        if let (Some((hold, tag, mut ops)), Some(expires)) = (ops, grant.expires) {
            let part = holds.open(hold, slot, (now, expires), &held, plan.context.clone(), &mut look.root);
            ops.add(tag, number, part);
        }
        look.put();
        self.tell_due(number, &guard);
        Some(Ok(()))
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

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::account::{Act, Ask, Audit, Firm, Kernel, OnExpiry, Rule};
    use crate::amount::Cap;
    use crate::id::{OpId, Subject};
    use crate::plan::{Due, Report, Take};
    use crate::store::{PartsOf, Store};
    use crate::time::Length;
    use crate::window::{Grid, Slices};
    use proptest::prelude::*;

    fn kernel(shape: u32, now: Timestamp) -> Kernel {
        let length = Length::MINUTE;
        match shape {
            0 => Kernel::Tumble { window: Grid { length }.window(now) },
            1 => Kernel::Leak { length, burst: Amount::new(6) },
            2 => Kernel::Sliding { length },
            _ => Kernel::Rolling(Slices::new(length, 6).unwrap()),
        }
    }

    #[test]
    fn a_plain_hold_and_its_settle_go_the_short_way() {
        let (store, now) = (MemoryStore::new(), Timestamp::EPOCH);
        let rule = Rule {
            meter: MeterId(1),
            generation: 0,
            cap: Cap::At(Amount::new(9)),
            kernel: kernel(2, now),
            firm: Firm::Hard,
            on_expiry: OnExpiry::Release,
            audit: Audit::None,
        };
        let take = Take { account: 0, rule, ask: Ask::Exact(Amount::ONE), act: Act::Hold };
        let plan = |n| Plan::new(now).named(Subject::everyone()).of(OpId::at(now, n));
        let settle = Report::Settle { account: None, actual: SmallVec::new() };
        let goes = |plan: &Plan| store.carry_out_alone(plan, now, &mut Grant::default()).is_some();
        assert!(!goes(&plan(0).take(take)), "nobody knows the account");
        assert!(store.apply(&plan(0).take(take), now).unwrap().is_saved());
        assert!(goes(&plan(1).take(take)));
        assert!(!goes(&plan(1).take(take)), "the operation holds something already");
        assert!(goes(&plan(2).take(Take { ask: Ask::Exact(Amount::new(9)), ..take })), "a refusal is as plain");
        assert!(goes(&plan(1).report(settle.clone())));
        assert!(!goes(&plan(1).report(settle)), "nothing is held any more");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 400 }, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_short_way_leads_to_where_the_long_one_does(
            steps in prop::collection::vec((0..3_u32, 0..6_u32, any::<[u8; 4]>(), 0_i64..40), 1..60),
            host: bool,
        ) {
            let new = || MemoryStore::builder().shards(1).build().unwrap();
            let (short, long) = (new(), new());
            let mut now = Timestamp::from_secs(1_800_000_000).unwrap();
            for (who, call, [a, b, c, d], seconds) in steps {
                now = now.saturating_add(Length::from_secs(seconds.max(1)).unwrap());
                let op = if host { OpId::host(&format!("call-{call}")).unwrap() } else { OpId::at(Timestamp::MAX, call.into()) };
                let subject = Subject::of([("key", ["a", "b", "c"][usize::try_from(who).unwrap()])]).unwrap();
                let mut plan = Plan::new(Timestamp::MIN).named(subject.clone()).of(op.clone());
                plan.life = Length::from_secs(20 + i64::from(d % 8) * 20).unwrap();
                if a % 2 == 0 {
                    for (place, bits) in [b, c, b ^ c].into_iter().enumerate().take(1 + usize::from(a) % 3) {
                        let place = u32::try_from(place).unwrap();
                        let rule = Rule {
                            meter: MeterId(1 + place),
                            generation: u32::from(d == 0),
                            cap: [Cap::Unlimited, Cap::At(Amount::new(12)), Cap::At(Amount::new(9))][usize::from(bits % 16).min(2)],
                            kernel: kernel(if d > 252 { 3 } else { (place + who) % 3 }, now),
                            firm: if bits % 5 == 0 { Firm::Soft } else { Firm::Hard },
                            on_expiry: if bits % 3 == 0 { OnExpiry::Charge } else { OnExpiry::Release },
                            audit: if bits % 32 == 1 { Audit::Rows } else { Audit::None },
                        };
                        let amount = Amount::new(u32::from(bits) % 5);
                        let ask = if bits % 7 == 0 { Ask::Assumed(amount) } else { Ask::Exact(amount) };
                        let act = if bits % 11 == 0 { Act::Charge } else { Act::Hold };
                        plan = plan.take(Take { account: 0, rule, ask, act });
                    }
                } else {
                    let used = |meter, bits: u8| (MeterId(meter), Amount::new(u32::from(bits) % 7));
                    let actual = [used(1, b), used(2, c), used(3, d)].into_iter().take(usize::from(a) % 4).collect();
                    plan = plan.report(Report::Settle { account: if a % 3 == 0 { Some(0) } else { None }, actual });
                }
                let is = short.apply(&plan, now).unwrap();
                let should = long.carry_out(&plan, now, Due::MOST, &mut 0).unwrap();
                prop_assert_eq!(is, should, "{:?}", plan);
                prop_assert_eq!(short.account(&subject).unwrap(), long.account(&subject).unwrap());
                let parts = |store: &MemoryStore, of| store.parts(&of, None, 100).unwrap();
                prop_assert_eq!(parts(&short, PartsOf::Op(op.clone())), parts(&long, PartsOf::Op(op)));
                prop_assert_eq!(parts(&short, PartsOf::Open), parts(&long, PartsOf::Open));
                prop_assert_eq!(short.rows(&crate::store::Filter::default(), 0, 1_000).unwrap(), long.rows(&crate::store::Filter::default(), 0, 1_000).unwrap());
            }
        }
    }
}
