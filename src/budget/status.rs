//! Where a budget stands, for people.

use std::time::Duration;

use super::{Tally, reached};
use crate::amount::{Amount, Cap, Usd};
use crate::time::Timestamp;
use crate::window::Window;

/// The share at which a budget draws attention that names no threshold of its own, in percent.
pub const ALERT_AT: u16 = 80;

/// Parts of a whole: a million of them are all of it.
const WHOLE: u32 = 1_000_000;

/// Where a budget stands: the numbers of a status page, worked out from what is kept.
///
/// ```
/// use keyward::budget::{ALERT_AT, Status, Tally};
/// use keyward::window::Window;
/// use keyward::{Amount, Cap, Timestamp};
///
/// let tally = Tally { start: Timestamp::EPOCH, spent: Amount::new(85), held: Amount::new(10) };
/// let status = Status::of(&tally, Cap::At(Amount::new(100)), ALERT_AT, Window::ALWAYS);
/// assert_eq!((status.remaining, status.used_ppm), (Some(Amount::new(5)), 850_000));
/// assert!(status.alert && !status.exhausted);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// What is booked. Nothing for a balance, which has units instead.
    pub spent: Amount,
    /// What is held for calls under way.
    pub held: Amount,
    /// What is allowed; for a balance what is there, holds included.
    pub cap: Cap,
    /// What could still be asked for, holds left aside; `None` where there is no end to it.
    pub remaining: Option<Amount>,
    /// How far a balance is below zero.
    pub owed: Amount,
    /// The share of the limit that is spent, in millionths, rounded down; all of it where more is spent, or where nothing
    /// is allowed, and nothing where there is no limit.
    pub used_ppm: u32,
    /// Whether its lowest threshold is reached.
    pub alert: bool,
    /// Whether nothing passes any more until it resets, is raised, or is credited, whatever becomes of the holds.
    pub exhausted: bool,
    /// When its window began, if it has one that did.
    pub began: Option<Timestamp>,
    /// When its window ends, if it does.
    pub resets: Option<Timestamp>,
}

impl Status {
    /// Where a count stands in its window. `alert_at` is its lowest threshold, in percent.
    #[must_use]
    pub fn of(tally: &Tally, cap: Cap, alert_at: u16, window: Window) -> Self {
        Self {
            spent: tally.spent,
            held: tally.held,
            cap,
            remaining: tally.remaining(cap),
            owed: Amount::ZERO,
            used_ppm: share(cap, tally.spent),
            alert: reached(cap, tally.spent, alert_at.into()),
            exhausted: reached(cap, tally.spent, 100),
            began: Some(window.start).filter(|start| *start > Timestamp::MIN),
            resets: window.resets_at(),
        }
    }

    /// Where a balance stands; `None` is without end.
    #[must_use]
    pub fn balance(units: Option<i64>, held: Amount) -> Self {
        let size = |units: i64| Amount::from_i64(units.max(0)).unwrap_or_default();
        Self {
            spent: Amount::ZERO,
            held,
            cap: units.map_or(Cap::Unlimited, |units| Cap::At(size(units))),
            remaining: units.map(|units| size(units).above(held)),
            owed: units.map_or(Amount::ZERO, |units| size(units.saturating_neg())),
            used_ppm: 0,
            alert: false,
            exhausted: units.is_some_and(|units| units <= 0),
            began: None,
            resets: None,
        }
    }

    /// How long it is until it resets; `None` if it never does.
    #[must_use]
    pub fn reset_in(&self, now: Timestamp) -> Option<Duration> {
        self.resets.map(|resets| resets.since(now))
    }
}

/// The share of a limit that is spent, in millionths.
fn share(cap: Cap, spent: Amount) -> u32 {
    match cap {
        Cap::Unlimited => 0,
        Cap::At(Amount::ZERO) => WHOLE,
        Cap::At(most) => {
            let parts = i128::from(spent.get()) * i128::from(WHOLE) / i128::from(most.get());
            u32::try_from(parts).map_or(WHOLE, |parts| parts.min(WHOLE))
        }
    }
}

/// What tokens have cost so far, by which money is converted into tokens and back. An estimate, and rounded down.
///
/// ```
/// use keyward::budget::Average;
/// use keyward::{Amount, Usd};
///
/// let so_far = Average { usd: Usd::dollars(3), tokens: Amount::new(1_000_000) };
/// assert_eq!(so_far.tokens_for(Usd::cents(30)), Some(Amount::new(100_000)));
/// assert_eq!(so_far.usd_for(Amount::new(500_000)), Some(Usd::cents(150)));
/// assert_eq!(Average::default().tokens_for(Usd::dollars(1)), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Average {
    /// What was paid.
    pub usd: Usd,
    /// For how many tokens.
    pub tokens: Amount,
}

impl Average {
    /// How many tokens this money buys; `None` where nothing was paid, or for nothing, and nobody can tell.
    #[must_use]
    pub fn tokens_for(self, usd: Usd) -> Option<Amount> {
        in_proportion(usd.into(), self.tokens, self.usd.into())
    }

    /// What these tokens cost; `None` where there were none so far.
    #[must_use]
    pub fn usd_for(self, tokens: Amount) -> Option<Usd> {
        if tokens.is_zero() && !self.tokens.is_zero() {
            return Some(Usd::ZERO);
        }
        in_proportion(tokens, self.usd.into(), self.tokens).map(Usd::from)
    }
}

/// `of * to / from`; `None` where one of the last two is nothing, or the result is no amount.
fn in_proportion(of: Amount, to: Amount, from: Amount) -> Option<Amount> {
    if from.is_zero() || to.is_zero() {
        return None;
    }
    let parts = i128::from(of.get()) * i128::from(to.get()) / i128::from(from.get());
    i64::try_from(parts).ok().and_then(Amount::from_i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(spent: u32, held: u32, cap: Cap) -> Status {
        let tally = Tally { start: Timestamp::EPOCH, spent: Amount::new(spent), held: Amount::new(held) };
        Status::of(&tally, cap, ALERT_AT, Window::ALWAYS)
    }

    #[test]
    fn a_share_is_exact_and_never_more_than_the_whole() {
        assert_eq!(status(1, 0, Cap::At(Amount::new(3))).used_ppm, 333_333);
        assert_eq!(status(170, 0, Cap::At(Amount::new(100))).used_ppm, WHOLE);
        assert_eq!(status(170, 0, Cap::Unlimited).used_ppm, 0);
        assert_eq!(share(Cap::At(Amount::MAX), Amount::MAX), WHOLE);
        let nothing = status(0, 0, Cap::At(Amount::ZERO));
        assert!(nothing.used_ppm == WHOLE && nothing.exhausted, "At(0) is used up");
    }

    /// LiteLLM: a budget was "full" at $0 spent, because holds had leaked and nobody could tell them from spend.
    #[test]
    fn what_is_held_leaves_no_room_and_is_not_spent() {
        let full = status(0, 100, Cap::At(Amount::new(100)));
        assert_eq!((full.remaining, full.used_ppm), (Some(Amount::ZERO), 0));
        assert!(!full.alert && !full.exhausted);
    }

    #[test]
    fn a_debt_is_owed_and_leaves_nothing() {
        let debt = Status::balance(Some(-5), Amount::new(2));
        assert_eq!((debt.remaining, debt.owed, debt.exhausted), (Some(Amount::ZERO), Amount::new(5), true));
        let held = Status::balance(Some(5), Amount::new(2));
        assert_eq!((held.remaining, held.owed, held.exhausted), (Some(Amount::new(3)), Amount::ZERO, false));
        assert_eq!(Status::balance(None, Amount::new(2)).remaining, None);
        assert!(Status::balance(Some(i64::MIN), Amount::ZERO).owed > Amount::ZERO);
    }

    #[test]
    fn nothing_is_estimated_from_nothing() {
        let free = Average { usd: Usd::ZERO, tokens: Amount::new(10) };
        assert_eq!((free.tokens_for(Usd::dollars(1)), free.usd_for(Amount::new(5))), (None, None));
        assert_eq!(free.usd_for(Amount::ZERO), Some(Usd::ZERO));
        let huge = Average { usd: Usd::micros(1), tokens: Amount::MAX };
        assert_eq!(huge.tokens_for(Usd::dollars(1)), None);
    }
}
