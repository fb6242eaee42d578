//! The accounts of one shard.

use smallvec::SmallVec;

use super::holds::Holds;
use super::pack::{self, Fixed, Layouts, Runs, Shelf, Words};
use crate::account::{Account, Counter, Meter, MeterId, Rate};
use crate::amount::Amount;
use crate::plan::Meters;
use crate::pool::Health;
use crate::store::table::{Slot, Table};
use crate::time::{Timestamp, When};

/// Accounts by name. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Accounts {
    table: Table<Record>,
    layouts: Layouts,
    /// Words of accounts with several meters, by how many.
    runs: Vec<Runs>,
    besides: Shelf<Beside>,
    wholes: Shelf<Account>,
    /// Where the search for idle accounts goes on.
    walk: Slot,
    /// For the same search.
    seen: Account,
}

/// One account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    /// Its layout, if it has one.
    layout: u32,
    /// What lies beside it, if anything does.
    beside: u32,
    /// Of the only meter; else the number of its run, or that of the account that is kept as it is.
    words: Words,
}

/// No layout: kept as it is. Nothing beside it.
const NONE: u32 = u32::MAX;

/// What is there while something is open.
#[derive(Debug)]
struct Beside {
    held: SmallVec<[Amount; 4]>,
    earliest: Timestamp,
    latest: Timestamp,
    open: u32,
    root: u32,
}

impl Default for Beside {
    fn default() -> Self {
        let held = SmallVec::new();
        Self { held, earliest: Timestamp::MAX, latest: Timestamp::MIN, open: 0, root: Holds::NONE }
    }
}

impl Beside {
    fn says_nothing(&self) -> bool {
        let Self { held, earliest, latest, open, root } = self;
        (*open, *root, *earliest, *latest) == (0, Holds::NONE, Timestamp::MAX, Timestamp::MIN)
            && held.iter().all(|held| held.is_zero())
    }
}

/// Accounts where they lie, of which single meters are looked at. Nothing is changed before [`Accounts::put`].
pub(super) struct Looks<'a> {
    looks: SmallVec<[Look<'a>; 8]>,
    news: &'a mut News,
}

struct Look<'a> {
    kept: Kept<'a>,
    held: &'a [Amount],
    expiries: (Timestamp, Timestamp),
    /// Which meters are in `news`, a bit for each place.
    seen: u64,
}

enum Kept<'a> {
    Packed(&'a [Fixed], &'a [Words]),
    Whole(&'a [Meter]),
}

/// What single meters have counted now.
#[derive(Default)]
pub(super) struct News {
    all: SmallVec<[New; 8]>,
    wholes: SmallVec<[Meter; 1]>,
}

struct New {
    account: u16,
    place: u16,
    what: What,
    held: Amount,
}

enum What {
    Words(Words),
    /// Which of the whole meters.
    Whole(usize),
}

impl Meters for Looks<'_> {
    #[inline]
    fn rate<R>(&mut self, account: u16, id: MeterId, change: impl FnOnce(&mut Rate) -> Option<R>) -> Option<R> {
        let look = self.looks.get(usize::from(account))?;
        let Kept::Packed(fixed, words) = look.kept else { return None };
        let (place, held) = look.find(fixed.iter().position(|fixed| fixed.is(id))?)?;
        let mut rate = fixed.get(place)?.rate(*words.get(place)?, held)?;
        let done = change(&mut rate)?;
        self.keep(account, place, What::Words(rate.state.parts()), rate.held)?;
        Some(done)
    }

    #[inline]
    fn with<R>(&mut self, account: u16, id: MeterId, change: impl FnOnce(&mut Meter) -> Option<R>) -> Option<R> {
        let look = self.looks.get(usize::from(account))?;
        match look.kept {
            Kept::Packed(fixed, words) => {
                let (place, held) = look.find(fixed.iter().position(|fixed| fixed.is(id))?)?;
                let fixed = fixed.get(place)?;
                let mut meter = fixed.meter(*words.get(place)?, held);
                let done = change(&mut meter)?;
                if !fixed.is_of(&meter) {
                    return None;
                }
                self.keep(account, place, What::Words(pack::words(&meter.counter)), meter.held())?;
                Some(done)
            }
            Kept::Whole(meters) => {
                let (place, _) = look.find(meters.iter().position(|meter| meter.id == id)?)?;
                let mut meter = meters.get(place)?.clone();
                let done = change(&mut meter)?;
                let (held, whole) = (meter.held(), self.news.wholes.len());
                self.news.wholes.push(meter);
                self.keep(account, place, What::Whole(whole), held)?;
                Some(done)
            }
        }
    }

    #[inline]
    fn expiries(&self, account: u16) -> Option<(Timestamp, Timestamp)> {
        self.looks.get(usize::from(account)).map(|look| look.expiries)
    }

    fn ready(&self, account: u16, now: Timestamp) -> Option<Result<(), When>> {
        let Kept::Whole(meters) = self.looks.get(usize::from(account))?.kept else { return None };
        let health = meters.iter().find(|meter| meter.id == MeterId::HEALTH)?;
        let Counter::Health(health) = &health.counter else { return None };
        Some(health.ready(now))
    }

    fn mark(&self) -> usize {
        self.news.all.len()
    }

    fn back_to(&mut self, mark: usize) {
        let News { all, wholes } = &mut *self.news;
        for New { account, place, what, held: _ } in all.drain(mark..) {
            if let What::Whole(whole) = what {
                wholes.truncate(whole.min(wholes.len()));
            }
            if let Some(look) = self.looks.get_mut(usize::from(account)) {
                look.seen &= !Look::bit(place).unwrap_or_default();
            }
        }
    }
}

impl<'a> Looks<'a> {
    #[inline]
    pub(super) fn new(news: &'a mut News) -> Self {
        Self { looks: SmallVec::new(), news }
    }

    /// Looks at one more account, unless something in it is due.
    #[inline]
    pub(super) fn add(&mut self, accounts: &'a Accounts, slot: Slot, now: Timestamp) -> Option<()> {
        let Record { layout, beside, words } = accounts.table.get(slot)?;
        let kept = if *layout == NONE {
            Kept::Whole(&accounts.wholes.get(number(*words))?.meters)
        } else {
            let fixed = accounts.layouts.get(*layout);
            Kept::Packed(fixed, accounts.words(fixed.len(), words))
        };
        let (mut held, mut expiries) = (&[][..], (Timestamp::MAX, Timestamp::MIN));
        if *beside != NONE {
            let beside = accounts.besides.get(*beside)?;
            (held, expiries) = (&beside.held, (beside.earliest, beside.latest));
        }
        self.looks.push(Look { kept, held, expiries, seen: 0 });
        (expiries.0 > now).then_some(())
    }

    #[inline]
    fn keep(&mut self, account: u16, place: usize, what: What, held: Amount) -> Option<()> {
        let place = u16::try_from(place).ok()?;
        self.looks.get_mut(usize::from(account))?.seen |= Look::bit(place)?;
        self.news.all.push(New { account, place, what, held });
        Some(())
    }
}

impl Look<'_> {
    /// A meter that has not been changed yet: its place, and what it holds.
    #[inline]
    fn find(&self, place: usize) -> Option<(usize, Amount)> {
        if self.seen & Self::bit(u16::try_from(place).ok()?)? != 0 {
            return None;
        }
        Some((place, self.held.get(place).copied().unwrap_or_default()))
    }

    #[inline]
    fn bit(place: u16) -> Option<u64> {
        1_u64.checked_shl(place.into())
    }
}

/// What of an account is not in its meters.
pub(super) struct Open {
    /// Its open parts, and the bounds of their expiries.
    pub(super) it: Account,
    /// The first of them.
    pub(super) root: u32,
}

impl Accounts {
    /// The words of a record with so many meters.
    #[inline]
    fn words<'a>(&'a self, meters: usize, words: &'a Words) -> &'a [Words] {
        match self.runs.get(meters).filter(|_| meters > 1) {
            Some(runs) => runs.get(number(*words)),
            None => std::slice::from_ref(words),
        }
    }

    /// What is open in an account.
    #[inline]
    pub(super) fn open(&self, slot: Slot) -> Open {
        let (mut it, mut root) = (Account::default(), Holds::NONE);
        let beside = self.table.get(slot).filter(|record| record.beside != NONE);
        if let Some(beside) = beside.and_then(|record| self.besides.get(record.beside)) {
            (it.open, it.earliest, it.latest, root) = (beside.open, beside.earliest, beside.latest, beside.root);
        }
        Open { it, root }
    }

    /// Writes what was kept of single meters of the account in this slot, the plan's `account`, and what is open in it.
    #[inline]
    pub(super) fn put(&mut self, slot: Slot, account: u16, news: &mut News, open: &Open) {
        let Self { table, layouts, runs, besides, wholes, .. } = self;
        let Some(Record { layout, beside: into, words }) = table.get_mut(slot) else { return };
        let (mut meters, mut packed, mut whole) = (0, &mut [][..], &mut [][..]);
        if *layout == NONE {
            whole = wholes.get_mut(number(*words)).map_or(&mut [][..], |whole| &mut whole.meters);
            meters = whole.len();
        } else {
            meters += layouts.get(*layout).len();
            packed = match runs.get_mut(meters).filter(|_| meters > 1) {
                Some(runs) => runs.get_mut(number(*words)),
                None => std::slice::from_mut(words),
            };
        }
        let mut holds = false;
        let News { all, wholes: news_of_wholes } = news;
        for New { account: _, place, what, held } in all.iter().filter(|new| new.account == account) {
            holds |= !held.is_zero();
            match what {
                What::Words(new) => {
                    if let Some(words) = packed.get_mut(usize::from(*place)) {
                        *words = *new;
                    }
                }
                What::Whole(new) => {
                    if let (Some(meter), Some(new)) = (whole.get_mut(usize::from(*place)), news_of_wholes.get_mut(*new))
                    {
                        std::mem::swap(meter, new);
                    }
                }
            }
        }
        let Open { it: Account { meters: _, open, earliest, latest }, root } = open;
        if *into == NONE {
            let closed = (*open, *root, *earliest, *latest) == (0, Holds::NONE, Timestamp::MAX, Timestamp::MIN);
            if closed && !holds {
                return;
            }
            *into = besides.take();
        }
        let Some(beside) = besides.get_mut(*into) else { return };
        (beside.open, beside.earliest, beside.latest, beside.root) = (*open, *earliest, *latest, *root);
        while beside.held.len() < meters {
            beside.held.push(Amount::ZERO);
        }
        let held = beside.held.as_mut_slice();
        for New { place, held: new, .. } in all.iter().filter(|new| new.account == account) {
            if let Some(held) = held.get_mut(usize::from(*place)) {
                *held = *new;
            }
        }
        if *open == 0 && beside.says_nothing() {
            besides.clear(*into);
            *into = NONE;
        }
    }

    /// Gives a key out, whose account has a health.
    pub(super) fn give_out(&mut self, slot: Slot, give: impl FnOnce(&mut Health)) {
        let Some(record) = self.table.get(slot).filter(|record| record.layout == NONE) else { return };
        let Some(whole) = self.wholes.get_mut(number(record.words)) else { return };
        if let Some(Counter::Health(health)) = whole.meter_mut(MeterId::HEALTH).map(|meter| &mut meter.counter) {
            give(health);
        }
    }
}

impl Shelf<Beside> {
    fn clear(&mut self, number: u32) {
        if let Some(Beside { held, earliest, latest, open, root }) = self.get_mut(number) {
            held.clear();
            (*earliest, *latest, *open, *root) = (Timestamp::MAX, Timestamp::MIN, 0, Holds::NONE);
        }
        self.give_back(number);
    }
}

fn number(words: Words) -> u32 {
    let [number, _, _] = words;
    u32::try_from(number).unwrap_or(NONE)
}

impl Accounts {
    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Option<Slot> {
        self.table.find(hash, name)
    }

    /// Whether the account of this name lies in this slot.
    pub(super) fn is(&self, slot: Slot, name: &[u8]) -> bool {
        self.table.name(slot) == Some(name)
    }

    pub(super) fn name(&self, slot: Slot) -> Option<&[u8]> {
        self.table.name(slot)
    }

    /// Adds an account that is not there yet, with nothing in it.
    pub(super) fn insert(&mut self, hash: u64, name: &[u8]) -> Option<Slot> {
        let record = Record { layout: self.layouts.take(&[]), beside: NONE, words: [0; 3] };
        self.table.insert(hash, name, record).ok()
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(record) = self.table.remove(slot) {
            self.empty(record);
            if record.beside != NONE {
                self.clear_beside(record.beside);
            }
        }
    }

    /// Gives back what an account's meters are kept in.
    fn empty(&mut self, record: Record) {
        if record.layout == NONE {
            if let Some(whole) = self.wholes.get_mut(number(record.words)) {
                *whole = Account::default();
            }
            self.wholes.give_back(number(record.words));
            return;
        }
        let meters = self.layouts.get(record.layout).len();
        if let Some(runs) = self.runs.get_mut(meters).filter(|_| meters > 1) {
            runs.give_back(number(record.words));
        }
        self.layouts.give_back(record.layout);
    }

    fn clear_beside(&mut self, beside: u32) {
        self.besides.clear(beside);
    }

    /// Writes what is in an account over another one, whose memory is used again.
    pub(super) fn load(&self, slot: Slot, into: &mut Account) {
        let Some(record) = self.table.get(slot) else { return };
        let beside = self.besides.get(record.beside).filter(|_| record.beside != NONE);
        let nothing = (0, Timestamp::MAX, Timestamp::MIN);
        (into.open, into.earliest, into.latest) = beside.map_or(nothing, |it| (it.open, it.earliest, it.latest));
        if record.layout == NONE {
            match self.wholes.get(number(record.words)) {
                Some(whole) => into.meters.clone_from(&whole.meters),
                None => into.meters.clear(),
            }
            return;
        }
        let layout = self.layouts.get(record.layout);
        let words = match self.runs.get(layout.len()).filter(|_| layout.len() > 1) {
            Some(runs) => runs.get(number(record.words)),
            None => std::slice::from_ref(&record.words),
        };
        let held = beside.map_or(&[][..], |it| &it.held);
        let held = held.iter().copied().chain(std::iter::repeat(Amount::ZERO));
        into.meters.clear();
        for ((fixed, words), held) in layout.iter().zip(words).zip(held) {
            into.meters.push(fixed.meter(*words, held));
        }
    }

    pub(super) fn save(&mut self, slot: Slot, from: &Account) {
        let Some(mut record) = self.table.get(slot).copied() else { return };
        let before = record;
        let Account { meters, open, earliest, latest } = from;
        self.lay_out(&mut record, meters);
        match self.layouts.get(record.layout).len() {
            _ if record.layout == NONE => {
                if let Some(whole) = self.wholes.get_mut(number(record.words)) {
                    whole.meters.clone_from(meters);
                }
            }
            0 => {}
            1 => record.words = meters.first().map_or([0; 3], |meter| pack::words(&meter.counter)),
            several => {
                let run = self.runs.get_mut(several).map(|runs| runs.get_mut(number(record.words)));
                for (words, meter) in run.unwrap_or_default().iter_mut().zip(meters) {
                    *words = pack::words(&meter.counter);
                }
            }
        }
        let closed = *open == 0 && *earliest == Timestamp::MAX && *latest == Timestamp::MIN;
        if record.beside != NONE || !closed || meters.iter().any(|meter| !meter.held().is_zero()) {
            if record.beside == NONE {
                record.beside = self.besides.take();
            }
            if let Some(beside) = self.besides.get_mut(record.beside) {
                (beside.open, beside.earliest, beside.latest) = (*open, *earliest, *latest);
                beside.held.clear();
                for meter in meters {
                    beside.held.push(meter.held());
                }
                if beside.says_nothing() {
                    self.clear_beside(record.beside);
                    record.beside = NONE;
                }
            }
        }
        if let Some(place) = self.table.get_mut(slot).filter(|_| record != before) {
            *place = record;
        }
    }

    /// Finds room for these meters, if it is not the room that they have.
    #[inline]
    fn lay_out(&mut self, record: &mut Record, meters: &[Meter]) {
        if record.layout != NONE {
            let known = self.layouts.get(record.layout);
            let same = known.len() == meters.len()
                && known.iter().zip(meters).all(|(fixed, meter)| Fixed::of(meter).as_ref() == Some(fixed));
            if same {
                return;
            }
        }
        let layout = pack::layout(meters);
        if layout.is_none() && record.layout == NONE {
            return;
        }
        self.empty(*record);
        match layout {
            None => (record.layout, record.words) = (NONE, [self.wholes.take().into(), 0, 0]),
            Some(layout) => {
                record.layout = self.layouts.take(&layout);
                if layout.len() > 1 {
                    for length in self.runs.len()..=layout.len() {
                        self.runs.push(Runs::new(length));
                    }
                    let run = self.runs.get_mut(layout.len()).map_or(NONE, Runs::take);
                    record.words = [run.into(), 0, 0];
                }
            }
        }
    }

    /// The first of the account's open parts.
    pub(super) fn root(&self, slot: Slot) -> u32 {
        let beside = self.table.get(slot).filter(|record| record.beside != NONE);
        beside.and_then(|record| self.besides.get(record.beside)).map_or(Holds::NONE, |beside| beside.root)
    }

    pub(super) fn set_root(&mut self, slot: Slot, root: u32) {
        let Some(record) = self.table.get_mut(slot) else { return };
        if record.beside == NONE {
            if root == Holds::NONE {
                return;
            }
            record.beside = self.besides.take();
        }
        let number = record.beside;
        let Some(beside) = self.besides.get_mut(number) else { return };
        beside.root = root;
        if beside.says_nothing() {
            record.beside = NONE;
            self.clear_beside(number);
        }
    }

    /// Every account's slot and name.
    pub(super) fn all(&self) -> impl Iterator<Item = (Slot, &[u8])> {
        let mut at = Slot::FIRST;
        std::iter::from_fn(move || {
            let slot = self.table.next_from(at)?;
            at = slot.next();
            Some((slot, self.table.name(slot)?))
        })
    }

    /// Looks at a few accounts, from where it left off, and drops those that are idle and not in use. Says how many.
    /// New meters begin in this epoch, or in a later one.
    pub(super) fn reclaim(
        &mut self,
        few: usize,
        (now, epoch): (Timestamp, u32),
        in_use: impl Fn(Slot) -> bool,
    ) -> usize {
        let mut dropped = 0;
        for _ in 0..few {
            let Some(slot) = self.table.next_from(self.walk) else {
                self.walk = Slot::FIRST;
                continue;
            };
            self.walk = slot.next();
            if in_use(slot) {
                continue;
            }
            let mut seen = std::mem::take(&mut self.seen);
            self.load(slot, &mut seen);
            if seen.is_idle(now, epoch) {
                self.remove(slot);
                dropped += 1;
            }
            self.seen = seen;
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Audit, Counter, MeterId};
    use crate::amount::Cap;
    use crate::budget::Tally;
    use crate::limiter::State;
    use crate::quota::Balance;
    use crate::time::Length;
    use proptest::prelude::*;

    fn counter() -> impl Strategy<Value = Counter> {
        let amount = || prop_oneof![Just(0), any::<i64>().prop_map(|n| n & i64::MAX)];
        (0..5, any::<[i64; 3]>(), amount(), 1_i64..9).prop_map(|(kind, [a, b, c], held, length)| {
            let held = Amount::from_i64(held).unwrap();
            let (length, count) = (Length::from_secs(length).unwrap(), b & i64::MAX);
            let state = State::from_parts([a, count, c]).unwrap();
            match kind {
                0 => {
                    let spent = Amount::from_i64(c & i64::MAX).unwrap();
                    let tally = Tally { start: Timestamp::from_micros(a), spent, held };
                    Counter::Tally { tally, ends: Timestamp::from_micros(b) }
                }
                1 | 2 => Counter::Sliding { length, state, held },
                3 => Counter::Leak { length, burst: Amount::ONE, state, held },
                _ => Counter::Balance(Balance { held, ..Balance::of(a) }),
            }
        })
    }

    fn account() -> impl Strategy<Value = Account> {
        let meter = (0_u32..4, counter(), 0_u16..2).prop_map(|(id, counter, claimed)| {
            let (cap, audit) = (Cap::At(Amount::new(5)), Audit::None);
            Meter { id: MeterId(id), generation: 0, epoch: 0, claimed, cap, audit, counter }
        });
        let open = prop_oneof![Just((0, i64::MAX, i64::MIN)), any::<(u32, i64, i64)>()];
        (prop::collection::vec(meter, 0..5), open).prop_map(|(meters, (open, earliest, latest))| {
            let (earliest, latest) = (Timestamp::from_micros(earliest), Timestamp::from_micros(latest));
            Account { meters, open, earliest, latest }
        })
    }

    #[test]
    fn a_record_is_four_words_long() {
        assert_eq!(size_of::<Record>(), 32);
    }

    proptest! {
        #[test]
        fn what_is_saved_is_what_is_loaded(steps in prop::collection::vec((0_u8..6, account(), any::<Option<u32>>()), 0..60)) {
            let mut accounts = Accounts::default();
            let mut known = std::collections::HashMap::<u8, (Account, u32)>::new();
            for (name, account, root) in steps {
                let (hash, name_of) = (u64::from(name), [name]);
                match accounts.find(hash, &name_of) {
                    Some(slot) if root == Some(7) || account.open % 5 == 4 => {
                        accounts.remove(slot);
                        known.remove(&name);
                    }
                    slot => {
                        let slot = slot.or_else(|| accounts.insert(hash, &name_of)).unwrap();
                        accounts.save(slot, &account);
                        let root = root.unwrap_or(Holds::NONE);
                        accounts.set_root(slot, root);
                        known.insert(name, (account, root));
                    }
                }
                for (name, (account, root)) in &known {
                    let slot = accounts.find(u64::from(*name), &[*name]).unwrap();
                    let mut loaded = Account::default();
                    accounts.load(slot, &mut loaded);
                    prop_assert_eq!(&loaded, account);
                    prop_assert_eq!(accounts.root(slot), *root);
                }
            }
            let slots: Vec<Slot> = accounts.all().map(|(slot, _)| slot).collect();
            slots.into_iter().for_each(|slot| accounts.remove(slot));
            prop_assert_eq!(accounts.besides.in_use(), 0);
            prop_assert_eq!(accounts.wholes.in_use(), 0);
            prop_assert!(accounts.layouts.is_empty());
        }
    }
}
