//! Several accounts where they lie, of which single meters are looked at and then written.

use smallvec::SmallVec;

use super::{Accounts, NONE, Record, number};
use crate::account::{Account, Counter, Meter, MeterId, Rate};
use crate::amount::Amount;
use crate::plan::Meters;
use crate::pool::Health;
use crate::store::memory::holds::Holds;
use crate::store::memory::pack::{self, Fixed, Words};
use crate::store::table::Slot;
use crate::time::{Timestamp, When};

/// Accounts where they lie, of which single meters are looked at. Nothing is changed before [`Accounts::put`].
pub(in crate::store::memory) struct Looks<'a> {
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
pub(in crate::store::memory) struct News {
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
    pub(in crate::store::memory) fn new(news: &'a mut News) -> Self {
        Self { looks: SmallVec::new(), news }
    }

    /// Looks at one more account, unless something in it is due.
    #[inline]
    pub(in crate::store::memory) fn add(&mut self, accounts: &'a Accounts, slot: Slot, now: Timestamp) -> Option<()> {
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
pub(in crate::store::memory) struct Open {
    /// Its open parts, and the bounds of their expiries.
    pub(in crate::store::memory) it: Account,
    /// The first of them.
    pub(in crate::store::memory) root: u32,
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
    pub(in crate::store::memory) fn open(&self, slot: Slot) -> Open {
        let (mut it, mut root) = (Account::default(), Holds::NONE);
        let beside = self.table.get(slot).filter(|record| record.beside != NONE);
        if let Some(beside) = beside.and_then(|record| self.besides.get(record.beside)) {
            (it.open, it.earliest, it.latest, root) = (beside.open, beside.earliest, beside.latest, beside.root);
        }
        Open { it, root }
    }

    /// Writes what was kept of single meters of the account in this slot, the plan's `account`, and what is open in it.
    #[inline]
    pub(in crate::store::memory) fn put(&mut self, slot: Slot, account: u16, news: &mut News, open: &Open) {
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
    pub(in crate::store::memory) fn give_out(&mut self, slot: Slot, give: impl FnOnce(&mut Health)) {
        let Some(record) = self.table.get(slot).filter(|record| record.layout == NONE) else { return };
        let Some(whole) = self.wholes.get_mut(number(record.words)) else { return };
        if let Some(Counter::Health(health)) = whole.meter_mut(MeterId::HEALTH).map(|meter| &mut meter.counter) {
            give(health);
        }
    }
}
