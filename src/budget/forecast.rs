//! When a budget will be spent, if things go on as they did.

use super::Status;
use crate::amount::{Amount, Cap};
use crate::time::{Length, Timestamp};

/// How fast something is spent: so much in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pace {
    /// So much was spent.
    pub spent: Amount,
    /// In so long.
    pub over: Length,
}

impl Pace {
    /// The first instant at which this much more is spent; `None` if at this pace it never is, before time ends.
    ///
    /// ```
    /// use keyward::budget::Pace;
    /// use keyward::{Amount, Length, Timestamp};
    /// let pace = Pace { spent: Amount::new(3), over: Length::SECOND };
    /// assert_eq!(pace.spends(Amount::new(1), Timestamp::EPOCH), Some(Timestamp::from_micros(333_334)));
    /// ```
    #[must_use]
    pub fn spends(self, left: Amount, now: Timestamp) -> Option<Timestamp> {
        if self.spent.is_zero() {
            return None;
        }
        let (spent, left) = (i128::from(self.spent.get()), i128::from(left.get()));
        let micros = (left * i128::from(self.over.as_micros()) + spent - 1) / spent;
        let at = i64::try_from(i128::from(now.as_micros()) + micros).ok().map(Timestamp::from_micros);
        at.filter(|at| *at < Timestamp::MAX)
    }
}

/// When a budget is spent at some pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Outlook {
    /// It is.
    Spent,
    /// At this instant, before it resets.
    Runs(Timestamp),
    /// Not before it resets: it would be at this instant, or never.
    Lasts(Option<Timestamp>),
}

/// When a budget is spent at the pace of its window, and at that of the last hour.
///
/// ```
/// use keyward::budget::{ALERT_AT, Forecast, Outlook, Status, Tally};
/// use keyward::window::Window;
/// use keyward::{Amount, Cap, Timestamp};
///
/// let day = |n: i64| Timestamp::from_micros(n * 86_400_000_000);
/// let tally = Tally { start: day(0), spent: Amount::new(50), held: Amount::ZERO };
/// let status = Status::of(&tally, Cap::At(Amount::new(100)), ALERT_AT, Window { start: day(0), end: day(30) });
///
/// let forecast = Forecast::of(&status, day(0), Amount::ZERO, day(10));
/// assert_eq!(forecast.window, Outlook::Runs(day(20)));
/// assert_eq!(forecast.hour, Outlook::Lasts(None), "nobody called in the last hour");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Forecast {
    /// At the pace of this window so far.
    pub window: Outlook,
    /// At the pace of the last hour.
    pub hour: Outlook,
}

impl Forecast {
    /// What becomes of a budget that has been counted since `since`, of which so much was spent in the hour before now.
    #[must_use]
    pub fn of(status: &Status, since: Timestamp, last_hour: Amount, now: Timestamp) -> Self {
        let so_far = Length::try_from(now.since(since)).unwrap_or(Length::MIN);
        let outlook = |spent: Amount, over: Length| {
            let Cap::At(most) = status.cap else { return Outlook::Lasts(None) };
            let left = most.above(status.spent);
            if left.is_zero() {
                return Outlook::Spent;
            }
            match (Pace { spent, over }).spends(left, now) {
                Some(at) if status.resets.is_none_or(|resets| at < resets) => Outlook::Runs(at),
                other => Outlook::Lasts(other),
            }
        };
        Self { window: outlook(status.spent, so_far), hour: outlook(last_hour, Length::HOUR) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ALERT_AT, Tally};
    use super::*;
    use crate::window::Window;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds).unwrap()
    }

    fn status(spent: u32, cap: Cap, end: i64) -> Status {
        let tally = Tally { start: at(0), spent: Amount::new(spent), held: Amount::ZERO };
        Status::of(&tally, cap, ALERT_AT, Window { start: at(0), end: at(end) })
    }

    #[test]
    fn it_lasts_if_it_would_be_spent_at_the_very_instant_of_the_reset() {
        let status = status(50, Cap::At(Amount::new(100)), 20);
        assert_eq!(Forecast::of(&status, at(0), Amount::ZERO, at(10)).window, Outlook::Lasts(Some(at(20))));
        assert_eq!(Forecast::of(&status, at(1), Amount::ZERO, at(10)).window, Outlook::Runs(at(19)));
    }

    #[test]
    fn what_is_spent_is_spent_and_what_has_no_end_lasts() {
        let gone = Forecast::of(&status(120, Cap::At(Amount::new(100)), 20), at(0), Amount::ZERO, at(10));
        assert_eq!((gone.window, gone.hour), (Outlook::Spent, Outlook::Spent));
        let endless = Forecast::of(&status(120, Cap::Unlimited, 20), at(0), Amount::new(9), at(10));
        assert_eq!((endless.window, endless.hour), (Outlook::Lasts(None), Outlook::Lasts(None)));
    }

    #[test]
    fn the_last_hour_says_something_else_than_the_window() {
        let status = status(10, Cap::At(Amount::new(100)), 30 * 86_400);
        let forecast = Forecast::of(&status, at(0), Amount::new(9), at(86_400));
        assert_eq!(forecast.hour, Outlook::Runs(at(86_400 + 36_000)));
        assert_eq!(forecast.window, Outlook::Runs(at(10 * 86_400)));
    }

    #[test]
    fn the_ends_of_time_and_of_amounts_overflow_nowhere() {
        let all = Pace { spent: Amount::ONE, over: Length::MAX };
        assert_eq!(all.spends(Amount::MAX, Timestamp::MAX), None);
        assert_eq!(
            Pace { spent: Amount::MAX, ..all }.spends(Amount::MAX, Timestamp::MIN),
            Some(Timestamp::from_micros(-1))
        );
        let tally = Tally { start: Timestamp::MIN, spent: Amount::MAX, held: Amount::MAX };
        let status = Status::of(&tally, Cap::At(Amount::MAX), 1_000, Window::ALWAYS);
        assert_eq!(Forecast::of(&status, Timestamp::MIN, Amount::MAX, Timestamp::MAX).window, Outlook::Spent);
    }
}
