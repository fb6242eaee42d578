//! The keys of one tier that can be used, in the order in which they are proposed.

use std::collections::BTreeSet;

use super::ring::{Ring, mix};

/// By what keys are ordered: their score, when they were chosen last, their position in the list, and where they lie.
pub(super) type Rank = (u128, u64, u32, u32);

/// The keys of one tier that can be used. A strategy keeps no more of them than it needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Tier {
    /// In order, for strategies that have one.
    pub(super) ordered: BTreeSet<Rank>,
    /// In no order, to draw from.
    pub(super) listed: Vec<u32>,
    /// By session.
    pub(super) ring: Ring,
    /// How many there are.
    pub(super) count: usize,
    /// The score of whoever was chosen last, where scores are turns: who comes late does not catch up on the past.
    pub(super) reached: u128,
}

impl Tier {
    /// The turn that it is.
    pub(super) fn turn(&self) -> u128 {
        self.ordered.first().map_or(self.reached, |(score, ..)| *score)
    }
}

/// Random numbers that the same seed makes again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        let number = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        number
    }

    /// One of the numbers below this; 0 if there is none.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.next()) * u128::try_from(end).unwrap_or(0);
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// All of them, the first few in a random order. Later ones may come up twice.
    pub(super) fn shuffled<'a>(&'a mut self, all: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        let rest = self.below(all.len());
        // A shuffle from the front, of which only the places that were swapped are written down.
        let mut moved: smallvec::SmallVec<[(usize, u32); SHUFFLED]> = smallvec::SmallVec::new();
        let first = (0..all.len().min(SHUFFLED)).filter_map(move |at| {
            let with = at + self.below(all.len() - at);
            let look = |moved: &[(usize, u32)], place: usize| {
                let swapped = moved.iter().rev().find(|(known, _)| *known == place).map(|(_, slot)| *slot);
                swapped.or_else(|| all.get(place).copied())
            };
            let (here, there) = (look(&moved, at)?, look(&moved, with)?);
            moved.push((with, here));
            Some(there)
        });
        let (before, after) = all.split_at(rest);
        let more = if all.len() > SHUFFLED { after.iter().chain(before) } else { [].iter().chain(&[]) };
        first.chain(more.copied())
    }
}

/// How many are drawn one by one.
const SHUFFLED: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_has_everyone_once_and_each_order_as_often_as_any_other() {
        let mut draw = Draw::new(7);
        let mut counts = std::collections::BTreeMap::<Vec<u32>, u32>::new();
        for _ in 0..24_000 {
            *counts.entry(draw.shuffled(&[0, 1, 2, 3]).collect()).or_default() += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|count| (850..1_150).contains(count)), "{counts:?}");
        assert_eq!(Draw::new(7).next(), Draw::new(7).next());
        assert_eq!(draw.shuffled(&[]).count(), 0);
    }
}
