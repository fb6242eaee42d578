//! The accounts of one shard.

use smallvec::SmallVec;

use super::holds::Holds;
use super::pack::{self, Fixed, Layouts, Runs, Shelf, Words};
use crate::account::{Account, Meter};
use crate::amount::Amount;
use crate::store::table::{Slot, Table};
use crate::time::Timestamp;

mod one;
mod several;

pub(super) use one::Marks;
pub(super) use several::{Looks, News};

/// Accounts by name. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Accounts {
    table: Table<Record, (), 26>,
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
mod tests;
