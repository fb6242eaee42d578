//! Accounts as small as they can be kept.
//!
//! Nearly all accounts of a store have the same limits: what is the same for all of them, its layout, is kept once and
//! has a number. An account then is that number and three words for each meter. While anything is held, what is held
//! lies beside it. An account with a meter that does not fit into three words is kept as it is.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::account::{Audit, Counter, Meter, MeterId, Rate};
use crate::amount::{Amount, Cap};
use crate::budget::Tally;
use crate::limiter::State;
use crate::time::{Length, Timestamp};

pub(super) type Words = [i64; 3];

/// What is the same for many meters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fixed {
    id: MeterId,
    generation: u32,
    epoch: u32,
    claimed: u16,
    audit: Audit,
    cap: Cap,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Tally,
    Sliding(Length),
    Leak(Length, Amount),
}

impl Fixed {
    /// Of a meter of which the rest is three words and what is held.
    #[inline]
    pub(super) fn of(meter: &Meter) -> Option<Self> {
        let Meter { id, generation, epoch, claimed, cap, audit, counter } = meter;
        let kind = match counter {
            Counter::Tally { .. } => Kind::Tally,
            Counter::Sliding { length, .. } => Kind::Sliding(*length),
            Counter::Leak { length, burst, .. } => Kind::Leak(*length, *burst),
            Counter::Rolling { .. } | Counter::Balance(_) | Counter::Health(_) => return None,
        };
        let (id, generation, epoch, claimed, cap, audit) = (*id, *generation, *epoch, *claimed, *cap, *audit);
        Some(Self { id, generation, epoch, claimed, audit, cap, kind })
    }

    #[inline]
    pub(super) fn is(&self, id: MeterId) -> bool {
        self.id == id
    }

    /// Whether it is the same for this meter.
    #[inline]
    pub(super) fn is_of(&self, meter: &Meter) -> bool {
        let Meter { id, generation, epoch, claimed, cap, audit, counter } = meter;
        let kind = match (counter, self.kind) {
            (Counter::Tally { .. }, Kind::Tally) => true,
            (Counter::Sliding { length, .. }, Kind::Sliding(known)) => *length == known,
            (Counter::Leak { length, burst, .. }, Kind::Leak(known, most)) => (*length, *burst) == (known, most),
            _ => false,
        };
        kind && (self.id, self.generation, self.epoch) == (*id, *generation, *epoch)
            && (self.claimed, self.audit, self.cap) == (*claimed, *audit, *cap)
    }

    /// The meter, if it counts at a rate.
    #[inline]
    pub(super) fn rate(&self, words: Words, held: Amount) -> Option<Rate> {
        let Self { id, generation, epoch, claimed: _, audit, cap, kind } = *self;
        let (length, burst) = match kind {
            Kind::Tally => return None,
            Kind::Sliding(length) => (length, None),
            Kind::Leak(length, burst) => (length, Some(burst)),
        };
        let state = State::from_parts(words).ok()?;
        Some(Rate { id, generation, epoch, audit, cap, length, burst, state, held })
    }

    #[inline]
    pub(super) fn meter(&self, words: Words, held: Amount) -> Meter {
        let Self { id, generation, epoch, claimed, audit, cap, kind } = *self;
        let [a, b, _] = words;
        let state = || State::from_parts(words).unwrap_or_default();
        let counter = match kind {
            Kind::Tally => {
                let [_, _, spent] = words;
                let (start, spent) = (Timestamp::from_micros(a), Amount::from_i64(spent).unwrap_or_default());
                Counter::Tally { tally: Tally { start, spent, held }, ends: Timestamp::from_micros(b) }
            }
            Kind::Sliding(length) => Counter::Sliding { length, state: state(), held },
            Kind::Leak(length, burst) => Counter::Leak { length, burst, state: state(), held },
        };
        Meter { id, generation, epoch, claimed, cap, audit, counter }
    }
}

#[inline]
pub(super) fn words(counter: &Counter) -> Words {
    match counter {
        Counter::Tally { tally, ends } => [tally.start.as_micros(), ends.as_micros(), tally.spent.get()],
        Counter::Sliding { state, .. } | Counter::Leak { state, .. } => state.parts(),
        Counter::Rolling { .. } | Counter::Balance(_) | Counter::Health(_) => [0; 3],
    }
}

/// The meters of an account, apart from what they count, unless one of them has to be kept as it is.
#[inline]
pub(super) fn layout(meters: &[Meter]) -> Option<SmallVec<[Fixed; 8]>> {
    let mut layout = SmallVec::new();
    for meter in meters {
        layout.push(Fixed::of(meter)?);
    }
    Some(layout)
}

/// Every layout that some account has, by number.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    all: Vec<Option<(Box<[Fixed]>, u32)>>,
    free: Vec<u32>,
    numbers: HashMap<Box<[Fixed]>, u32>,
}

impl Layouts {
    #[inline]
    pub(super) fn get(&self, number: u32) -> &[Fixed] {
        let place = usize::try_from(number).ok().and_then(|number| self.all.get(number));
        place.and_then(Option::as_ref).map_or(&[], |(layout, _)| layout)
    }

    /// The number of a layout, for one more account.
    pub(super) fn take(&mut self, layout: &[Fixed]) -> u32 {
        if let Some(number) = self.numbers.get(layout).copied() {
            if let Some((_, users)) = self.place(number) {
                *users += 1;
            }
            return number;
        }
        let new = Some((Box::from(layout), 1));
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.all.push(None);
                u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = usize::try_from(number).ok().and_then(|number| self.all.get_mut(number)) {
            *place = new;
        }
        self.numbers.insert(Box::from(layout), number);
        number
    }

    /// One account less has this layout.
    pub(super) fn give_back(&mut self, number: u32) {
        let Some((_, users)) = self.place(number) else { return };
        *users -= 1;
        if *users > 0 {
            return;
        }
        let place = usize::try_from(number).ok().and_then(|number| self.all.get_mut(number));
        if let Some((layout, _)) = place.and_then(Option::take) {
            self.numbers.remove(&layout);
            self.free.push(number);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.free.len() == self.all.len()
    }

    fn place(&mut self, number: u32) -> Option<&mut (Box<[Fixed]>, u32)> {
        usize::try_from(number).ok().and_then(|number| self.all.get_mut(number)).and_then(Option::as_mut)
    }
}

/// Words of accounts with several meters, in runs of one length.
#[derive(Debug)]
pub(super) struct Runs {
    length: usize,
    /// Which runs of each page are used, and the words.
    pages: Vec<(u64, Vec<Words>)>,
    /// No page before this one has a free run.
    open: usize,
}

/// How many runs lie in one piece of memory: one for each bit that says which are used.
const PAGE: u32 = u64::BITS;

impl Runs {
    pub(super) const fn new(length: usize) -> Self {
        Self { length, pages: Vec::new(), open: 0 }
    }

    pub(super) fn take(&mut self) -> u32 {
        let found = self.pages.iter().skip(self.open).position(|(used, _)| *used != u64::MAX);
        self.open = found.map_or(self.pages.len(), |skipped| self.open + skipped);
        if self.open == self.pages.len() {
            self.pages.push((0, Vec::new()));
        }
        let words = self.length.saturating_mul(usize::try_from(PAGE).unwrap_or_default());
        let Some((used, page)) = self.pages.get_mut(self.open) else { return u32::MAX };
        if page.is_empty() {
            *page = vec![[0; 3]; words];
        }
        let free = used.trailing_ones();
        *used |= 1 << free;
        u32::try_from(self.open).ok().and_then(|page| page.checked_mul(PAGE)?.checked_add(free)).unwrap_or(u32::MAX)
    }

    pub(super) fn give_back(&mut self, run: u32) {
        let Ok(place) = usize::try_from(run / PAGE) else { return };
        let Some((used, page)) = self.pages.get_mut(place) else { return };
        *used &= !(1 << (run % PAGE));
        self.open = self.open.min(place);
        if *used == 0 && place > 0 {
            *page = Vec::new();
            let kept = self.pages.iter().rposition(|(used, _)| *used != 0).map_or(1, |last| last + 1);
            self.pages.truncate(kept);
        }
    }

    #[inline]
    pub(super) fn get(&self, run: u32) -> &[Words] {
        let from = self.length.saturating_mul(usize::try_from(run % PAGE).unwrap_or_default());
        let page = usize::try_from(run / PAGE).ok().and_then(|page| self.pages.get(page));
        page.and_then(|(_, words)| words.get(from..from + self.length)).unwrap_or_default()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, run: u32) -> &mut [Words] {
        let from = self.length.saturating_mul(usize::try_from(run % PAGE).unwrap_or_default());
        let page = usize::try_from(run / PAGE).ok().and_then(|page| self.pages.get_mut(page));
        page.and_then(|(_, words)| words.get_mut(from..from + self.length)).unwrap_or_default()
    }
}

/// Values by number. One that is taken out stays, so that the next one may use its memory.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    all: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { all: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Shelf<T> {
    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub(super) fn take(&mut self) -> u32 {
        if let Some(number) = self.free.pop() {
            return number;
        }
        self.all.push(T::default());
        u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn give_back(&mut self, number: u32) {
        self.free.push(number);
        if self.free.len() == self.all.len() && self.all.len() > 64 {
            *self = Self::default();
        }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.all.get(usize::try_from(number).ok()?)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.all.get_mut(usize::try_from(number).ok()?)
    }
}
