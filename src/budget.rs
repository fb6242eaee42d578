//! Budgets: what a window has spent, what is held for calls under way, and what happens when a call turns out dearer.
//!
//! A [`Tally`] is the whole state of one budget in one window. A call is held for at its estimate before it goes out, and
//! settled at what it cost afterwards; the sum of both never passes the limit by admission. Spend that has happened is
//! booked whole, however far it lies above the limit, and nothing passes again until there is room.
//!
//! [`Status`] is what a person wants to know of it, [`Forecast`] when it will be spent, and [`due`] which of its alerts are
//! to be sent. This module does not know when a window begins ([`crate::window`] does) nor who holds what ([`crate::plan`] does).
//!
//! ```
//! use keyward::budget::Tally;
//! use keyward::{Amount, Cap, Timestamp};
//!
//! let cap = Cap::At(Amount::new(100));
//! let mut tally = Tally::since(Timestamp::EPOCH);
//! assert!(tally.has_room(cap, Amount::new(60)));
//! tally.hold(Amount::new(60))?;
//! assert!(!tally.has_room(cap, Amount::new(41)));
//!
//! tally.settle(Amount::new(60), Amount::new(75))?;
//! assert_eq!(tally.spent, Amount::new(75));
//! assert_eq!(tally.held, Amount::ZERO);
//! # Ok::<(), keyward::Error>(())
//! ```

mod alert;
mod forecast;
mod status;

pub use alert::{Thresholds, crossed, due, thresholds};
pub use forecast::{Forecast, Outlook, Pace};
pub use status::{ALERT_AT, Average, Status};

use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::time::Timestamp;
use crate::window::Window;

/// What one window of one budget has spent and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tally {
    /// When the window began.
    pub start: Timestamp,
    /// What has been booked in the window.
    pub spent: Amount,
    /// What is held for calls under way that began in the window.
    pub held: Amount,
}

impl Tally {
    /// An empty window that begins at this instant.
    #[must_use]
    pub const fn since(start: Timestamp) -> Self {
        Self { start, spent: Amount::ZERO, held: Amount::ZERO }
    }

    /// Begins this window if it is later than the one that is counted. A clock that stepped back changes nothing.
    pub fn roll(&mut self, window: Window) {
        if window.start > self.start {
            *self = Self::since(window.start);
        }
    }

    /// Whether so much more stays within the limit. More than any amount can say has no room, limit or not.
    #[must_use]
    pub fn has_room(&self, cap: Cap, cost: Amount) -> bool {
        match self.used().and_then(|used| used.checked_add(cost)) {
            Some(total) => cap.allows(total),
            None => false,
        }
    }

    /// What is spent and held together, if an amount can say it.
    #[must_use]
    pub const fn used(&self) -> Option<Amount> {
        self.spent.checked_add(self.held)
    }

    /// What could still be asked for.
    #[must_use]
    pub fn remaining(&self, cap: Cap) -> Option<Amount> {
        cap.left(self.used().unwrap_or(Amount::MAX))
    }

    /// Sets so much aside for a call under way. Whether there is room is asked before, by [`Tally::has_room`].
    ///
    /// # Errors
    /// A sum that no amount can say. Nothing is changed then.
    pub fn hold(&mut self, cost: Amount) -> Result<(), Error> {
        self.held = self.held.checked_add(cost).ok_or_else(|| too_much("held", cost))?;
        Ok(())
    }

    /// Gives back what was held, and books what was used: all of it, also above the hold and above the limit.
    ///
    /// # Errors
    /// A sum that no amount can say, or a hold larger than what is held. Nothing is changed then.
    pub fn settle(&mut self, held: Amount, actual: Amount) -> Result<(), Error> {
        let rest =
            self.held.checked_sub(held).ok_or_else(|| Error::invalid("held", held, "no more than what is held"))?;
        self.spent = self.spent.checked_add(actual).ok_or_else(|| too_much("spent", actual))?;
        self.held = rest;
        Ok(())
    }

    /// Books what was used without a hold, or moves what was booked before by a correction.
    ///
    /// # Errors
    /// A sum that no amount can say, or a correction below what is spent. Nothing is changed then.
    pub fn correct(&mut self, by: i64) -> Result<(), Error> {
        let spent = self.spent.get().checked_add(by).and_then(Amount::from_i64);
        self.spent = spent.ok_or_else(|| Error::invalid("spent", by, "a correction that leaves an amount"))?;
        Ok(())
    }
}

fn too_much(field: &'static str, value: Amount) -> Error {
    Error::invalid(field, value, "a sum of at most 9,223,372,036,854,775,807")
}

/// How far a share of the limit has been reached: whether `spent` is at or above `percent` of it.
///
/// ```
/// use keyward::budget::reached;
/// use keyward::{Amount, Cap};
/// assert!(reached(Cap::At(Amount::new(10)), Amount::new(8), 80));
/// assert!(!reached(Cap::At(Amount::new(10)), Amount::new(7), 80));
/// assert!(!reached(Cap::Unlimited, Amount::MAX, 1));
/// ```
#[must_use]
pub fn reached(cap: Cap, spent: Amount, percent: u32) -> bool {
    match cap {
        Cap::Unlimited => false,
        Cap::At(most) => i128::from(spent.get()) * 100 >= i128::from(most.get()) * i128::from(percent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn tally(spent: u32, held: u32) -> Tally {
        Tally { start: Timestamp::EPOCH, spent: Amount::new(spent), held: Amount::new(held) }
    }

    #[test]
    fn overage_is_booked_whole_and_closes_admission() {
        let cap = Cap::At(Amount::new(100));
        let mut both = tally(0, 100);
        both.settle(Amount::new(50), Amount::new(120)).unwrap();
        both.settle(Amount::new(50), Amount::new(50)).unwrap();
        assert_eq!(both, tally(170, 0));
        assert!(!both.has_room(cap, Amount::ONE));
        assert_eq!(both.remaining(cap), Some(Amount::ZERO));
    }

    #[test]
    fn a_limit_lowered_below_the_spend_leaves_nothing_and_underflows_nowhere() {
        let spent = tally(80, 5);
        assert_eq!(spent.remaining(Cap::At(Amount::new(50))), Some(Amount::ZERO));
        assert!(!spent.has_room(Cap::At(Amount::new(50)), Amount::ZERO));
    }

    #[test]
    fn a_window_never_moves_back() {
        let mut now = Tally { start: Timestamp::from_micros(10), ..tally(5, 5) };
        now.roll(Window { start: Timestamp::from_micros(9), end: Timestamp::from_micros(11) });
        assert_eq!(now.spent, Amount::new(5));
        now.roll(Window { start: Timestamp::from_micros(11), end: Timestamp::from_micros(12) });
        assert_eq!(now, Tally::since(Timestamp::from_micros(11)));
    }

    #[test]
    fn what_no_amount_can_say_is_an_error_that_changes_nothing() {
        let mut full = Tally { spent: Amount::MAX, ..tally(0, 7) };
        let before = full;
        assert!(!full.has_room(Cap::Unlimited, Amount::ONE));
        assert_eq!(full.settle(Amount::new(7), Amount::ONE).unwrap_err().field(), Some("spent"));
        assert_eq!(full.settle(Amount::new(8), Amount::ZERO).unwrap_err().field(), Some("held"));
        assert_eq!(full.hold(Amount::MAX).unwrap_err().field(), Some("held"));
        assert_eq!(full.correct(1).unwrap_err().field(), Some("spent"));
        assert_eq!(full, before);
    }
}
