//! One account where it lies, of which single meters are looked at and then written.

use smallvec::SmallVec;

use super::{Accounts, Beside, NONE, Record, number};
use crate::account::{Account, Meter, MeterId, Rate};
use crate::amount::Amount;
use crate::plan::Meters;
use crate::store::memory::holds::Holds;
use crate::store::memory::pack::{self, Fixed, Shelf, Words};
use crate::store::table::Slot;
use crate::time::{Timestamp, When};

/// An account where it lies, of which single meters are looked at.
pub(in crate::store::memory) struct Look<'a> {
    fixed: &'a [Fixed],
    words: &'a mut [Words],
    beside: &'a mut u32,
    besides: &'a mut Shelf<Beside>,
    /// Everything but its meters.
    pub(in crate::store::memory) open: Account,
    /// The first of its open parts.
    pub(in crate::store::memory) root: u32,
    /// Which meters are in `news`, a bit for each place.
    seen: u64,
    news: &'a mut Marks,
}

/// What single meters have counted now.
pub(in crate::store::memory) type Marks = SmallVec<[New; 8]>;

pub(in crate::store::memory) struct New {
    place: usize,
    words: Words,
    held: Amount,
}

impl Meters for Look<'_> {
    #[inline]
    fn rate<R>(&mut self, account: u16, id: MeterId, change: impl FnOnce(&mut Rate) -> Option<R>) -> Option<R> {
        if account != 0 {
            return None;
        }
        let (place, fixed, held) = self.find(id)?;
        let mut rate = fixed.rate(*self.words.get(place)?, held)?;
        let done = change(&mut rate)?;
        self.keep(place, rate.state.parts(), rate.held);
        Some(done)
    }

    fn with<R>(&mut self, account: u16, id: MeterId, change: impl FnOnce(&mut Meter) -> Option<R>) -> Option<R> {
        if account != 0 {
            return None;
        }
        let (place, fixed, held) = self.find(id)?;
        let mut meter = fixed.meter(*self.words.get(place)?, held);
        let done = change(&mut meter)?;
        if !fixed.is_of(&meter) {
            return None;
        }
        self.keep(place, pack::words(&meter.counter), meter.held());
        Some(done)
    }

    #[inline]
    fn expiries(&self, account: u16) -> Option<(Timestamp, Timestamp)> {
        (account == 0).then(|| self.open.expiries())
    }

    /// No key of an account that is kept like this has a health.
    fn ready(&self, _account: u16, _now: Timestamp) -> Option<Result<(), When>> {
        None
    }

    fn mark(&self) -> usize {
        self.news.len()
    }

    fn back_to(&mut self, mark: usize) {
        for New { place, .. } in self.news.drain(mark..) {
            self.seen &= !Self::bit(place).unwrap_or_default();
        }
    }
}

impl<'a> Look<'a> {
    /// A meter that has not been changed yet: its place, and what it holds.
    #[inline]
    fn find(&self, id: MeterId) -> Option<(usize, &'a Fixed, Amount)> {
        let place = self.fixed.iter().position(|fixed| fixed.is(id))?;
        if self.seen & Self::bit(place)? != 0 {
            return None;
        }
        let beside = if *self.beside == NONE { None } else { self.besides.get(*self.beside) };
        let held = beside.and_then(|beside| beside.held.get(place)).copied().unwrap_or_default();
        Some((place, self.fixed.get(place)?, held))
    }

    #[inline]
    fn keep(&mut self, place: usize, words: Words, held: Amount) {
        self.seen |= Self::bit(place).unwrap_or_default();
        self.news.push(New { place, words, held });
    }

    #[inline]
    fn bit(place: usize) -> Option<u64> {
        1_u64.checked_shl(u32::try_from(place).ok()?)
    }
}

impl Look<'_> {
    /// Writes what was kept of single meters, and everything else.
    #[inline]
    pub(in crate::store::memory) fn put(&mut self) {
        let Self { fixed, words, beside: number, besides, open, root, news, seen: _ } = self;
        for New { place, words: new, held: _ } in news.iter() {
            if let Some(words) = words.get_mut(*place) {
                *words = *new;
            }
        }
        let Account { meters: _, open, earliest, latest } = open;
        if **number == NONE {
            let closed = (*open, *root, *earliest, *latest) == (0, Holds::NONE, Timestamp::MAX, Timestamp::MIN);
            if closed && news.iter().all(|new| new.held.is_zero()) {
                return;
            }
            **number = besides.take();
        }
        let Some(beside) = besides.get_mut(**number) else { return };
        (beside.open, beside.earliest, beside.latest, beside.root) = (*open, *earliest, *latest, *root);
        let held = &mut beside.held;
        while held.len() < fixed.len() {
            held.push(Amount::ZERO);
        }
        let held = held.as_mut_slice();
        for New { place, words: _, held: new } in news.iter() {
            if let Some(held) = held.get_mut(*place) {
                *held = *new;
            }
        }
        if *open == 0 && beside.says_nothing() {
            besides.clear(**number);
            **number = NONE;
        }
    }
}

impl Accounts {
    /// An account where it lies, unless it is kept as it is. Nothing is changed before [`Look::put`].
    #[inline]
    pub(in crate::store::memory) fn look<'a>(&'a mut self, slot: Slot, news: &'a mut Marks) -> Option<Look<'a>> {
        let Self { table, layouts, runs, besides, .. } = self;
        let Record { layout, beside, words } = table.get_mut(slot).filter(|record| record.layout != NONE)?;
        let fixed = layouts.get(*layout);
        let words = match runs.get_mut(fixed.len()).filter(|_| fixed.len() > 1) {
            Some(runs) => runs.get_mut(number(*words)),
            None => std::slice::from_mut(words),
        };
        let (mut open, mut root) = (Account::default(), Holds::NONE);
        if *beside != NONE {
            let it = besides.get(*beside)?;
            (open.open, open.earliest, open.latest, root) = (it.open, it.earliest, it.latest, it.root);
        }
        Some(Look { fixed, words, beside, besides, open, root, seen: 0, news })
    }
}
