//! Which thresholds a budget has reached, and the bit by which each is claimed once.

use smallvec::SmallVec;

use super::reached;
use crate::amount::{Amount, Cap};

/// How many thresholds a meter can keep apart.
const BITS: u8 = 16;
/// From here to 100 percent each fifth has a bit of its own.
const FIRST: u16 = 25;

/// Thresholds, each in percent with the bit of a meter that stands for it.
pub type Thresholds = SmallVec<[(u16, u8); 4]>;

/// Gives each threshold the bit by which it is claimed, so that what was claimed stays claimed when others are added or
/// taken away.
///
/// From 25 to 100 percent, each multiple of five has a bit that is always its own. Any other takes the first that is free
/// from its remainder by 16 on; where an edit replaces one of those by another that comes to the same bit, a claim of the
/// first counts for the second until the window is over. What lies beyond the sixteenth threshold has none.
///
/// ```
/// use keyward::budget::thresholds;
/// assert_eq!(thresholds(&[80, 100]).as_slice(), [(80, 11), (100, 15)]);
/// assert_eq!(thresholds(&[50, 80, 110])[1], (80, 11));
/// ```
#[must_use]
pub fn thresholds(percents: &[u16]) -> Thresholds {
    let own = |percent: u16| {
        let place = percent.checked_sub(FIRST).filter(|_| percent <= 100 && percent % 5 == 0)? / 5;
        u8::try_from(place).ok()
    };
    let mut taken: u16 = percents.iter().filter_map(|percent| own(*percent)).fold(0, |taken, bit| taken | mask(bit));
    let mut given = Thresholds::new();
    for percent in percents {
        let bit = own(*percent).or_else(|| {
            let home = u8::try_from(*percent % u16::from(BITS)).unwrap_or(0);
            (0..BITS).map(|step| (home + step) % BITS).find(|bit| taken & mask(*bit) == 0)
        });
        if let Some(bit) = bit {
            taken |= mask(bit);
            given.push((*percent, bit));
        }
    }
    given
}

/// The thresholds that are reached by what is spent and not claimed yet. All of them, lowest first: none hides another.
///
/// ```
/// use keyward::budget::due;
/// use keyward::{Amount, Cap};
///
/// let (cap, percents) = (Cap::At(Amount::new(100)), [50, 80, 100]);
/// let due_at = |spent: u32, claimed| due(&percents, claimed, cap, Amount::new(spent)).iter().map(|it| it.0).collect();
/// let (first, second): (Vec<u16>, Vec<u16>) = (due_at(85, 0), due_at(100, 1 << 5 | 1 << 11));
/// assert_eq!((first, second), (vec![50, 80], vec![100]));
/// ```
#[must_use]
pub fn due(percents: &[u16], claimed: u16, cap: Cap, spent: Amount) -> Thresholds {
    // Where nothing is spent nothing was reached, also of a limit of nothing.
    let is_due = |threshold: &(u16, u8)| claimed & mask(threshold.1) == 0 && reached(cap, spent, threshold.0.into());
    if spent.is_zero() { Thresholds::new() } else { thresholds(percents).into_iter().filter(is_due).collect() }
}

/// The thresholds, in percent, that lie between what was spent before and what is spent now.
///
/// ```
/// use keyward::budget::crossed;
/// use keyward::{Amount, Cap};
/// let crossed: Vec<u16> = crossed(Cap::At(Amount::new(10)), &[50, 80, 100], Amount::new(5), Amount::new(10)).collect();
/// assert_eq!(crossed, [80, 100]);
/// ```
pub fn crossed(cap: Cap, percents: &[u16], before: Amount, now: Amount) -> impl Iterator<Item = u16> + '_ {
    let is_crossed = move |percent: &u16| {
        let share = u32::from(*percent);
        let was = !before.is_zero() && reached(cap, before, share);
        !was && !now.is_zero() && reached(cap, now, share)
    };
    percents.iter().copied().filter(is_crossed)
}

fn mask(bit: u8) -> u16 {
    1_u16.checked_shl(bit.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn sixteen_thresholds_have_sixteen_bits() {
        let sets: [Vec<u16>; 4] = [
            (1..=16).collect(),
            (985..=1_000).collect(),
            (0..16).map(|n| 25 + 5 * n).collect(),
            vec![10, 20, 25, 26, 41, 50, 75, 80, 90, 95, 99, 100, 110, 120, 150, 200],
        ];
        for set in sets {
            let given = thresholds(&set);
            assert_eq!(given.iter().map(|(_, bit)| *bit).collect::<BTreeSet<_>>().len(), 16, "{set:?}");
            assert!(given.iter().all(|(_, bit)| *bit < BITS));
        }
    }

    /// Thresholds were numbered by their place in the list: when 50 was added before 80, what had been claimed for 80 hid
    /// the alert of 50, and that of 80 was sent again.
    #[test]
    fn an_edit_of_the_list_keeps_what_was_claimed() {
        let cap = Cap::At(Amount::new(100));
        let claimed = thresholds(&[80]).iter().fold(0, |bits, (_, bit)| bits | mask(*bit));
        let due: Vec<u16> = due(&[50, 80, 99], claimed, cap, Amount::new(85)).iter().map(|it| it.0).collect();
        assert_eq!(due, [50]);
    }

    #[test]
    fn where_nothing_is_spent_nothing_is_due() {
        assert!(due(&[80, 100], 0, Cap::At(Amount::ZERO), Amount::ZERO).is_empty());
        assert_eq!(due(&[80, 100], 0, Cap::At(Amount::ZERO), Amount::ONE).len(), 2);
        assert!(due(&[80, 100], 0, Cap::Unlimited, Amount::MAX).is_empty());
        assert_eq!(crossed(Cap::At(Amount::ZERO), &[80], Amount::ZERO, Amount::ONE).count(), 1);
    }
}
