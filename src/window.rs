//! Windows: from when to when a limit counts. Everything here is arithmetic on instants; nothing is counted or decided.
//!
//! A window is half-open: its first instant belongs to it, its end is the first instant of the next. The kinds whose
//! window depends on the instant alone are [`Grid`], [`Anchored`], [`Calendar`] and the whole of time; a [`Schedule`] is
//! any one of them, and a [`Memo`] remembers its last answer. [`FirstUse`] depends on when it was used as well.
//!
//! A clock that steps back computes an older window than the one that is kept. [`Window::current`] is the rule for
//! that, everywhere: the later of the two counts, so an older window is never opened again.
//!
//! ```
//! use keyward::window::{Calendar, Grid, Unit};
//! use keyward::{Length, Timestamp};
//!
//! let now: Timestamp = "2026-02-14T15:09:26Z".parse()?;
//! let five_hours = Grid { length: "5h".parse()? }.window(now);
//! assert_eq!(five_hours.to_string(), "2026-02-14T13:00:00Z to 2026-02-14T18:00:00Z");
//!
//! let paid_on_the_last = Calendar::builder(Unit::Month).day(31).at("09:00".parse()?).build()?;
//! assert_eq!(paid_on_the_last.window(now).to_string(), "2026-01-31T09:00:00Z to 2026-02-28T09:00:00Z");
//! # Ok::<(), keyward::Error>(())
//! ```

mod calendar;
mod civil;
mod first_use;
mod iana;
mod period;
mod schedule;
mod zone;

pub use calendar::{Calendar, CalendarBuilder, TimeOfDay, Unit, Weekday};
pub use first_use::{FirstUse, FirstUseState, Follow};
pub use period::{OldName, Period};
pub use schedule::{Memo, Schedule};
pub use zone::{Civil, Zone};

use std::fmt;
use std::time::Duration;

use crate::amount::{Amount, Cap};
use crate::time::{Length, Timestamp, When};

mod buckets;

pub use buckets::{Buckets, Ring, Slices};

/// A stretch of time: its start belongs to it, its end does not.
///
/// A window that ends at [`Timestamp::MAX`] never ends: nothing follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "read::Bounds"))]
pub struct Window {
    /// The first instant in the window.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

impl Window {
    /// All of time: the window of a limit that never resets.
    pub const ALWAYS: Self = Self { start: Timestamp::MIN, end: Timestamp::MAX };

    /// Whether the instant lies in the window.
    #[inline]
    #[must_use]
    pub const fn contains(self, at: Timestamp) -> bool {
        self.start.as_micros() <= at.as_micros() && at.as_micros() < self.end.as_micros()
    }

    /// Whether the window has ended, so that what was counted in it counts no more.
    ///
    /// This is not the opposite of [`Window::contains`]: one that has yet to begin is not over.
    #[must_use]
    pub const fn is_over(self, now: Timestamp) -> bool {
        self.end.as_micros() <= now.as_micros() && self.end.as_micros() < i64::MAX
    }

    /// When the next window begins; `None` if this one never ends.
    #[must_use]
    pub const fn resets_at(self) -> Option<Timestamp> {
        if self.end.as_micros() < i64::MAX { Some(self.end) } else { None }
    }

    /// How long until the window ends; nothing if it has.
    #[must_use]
    pub const fn reset_in(self, now: Timestamp) -> Duration {
        self.end.since(now)
    }

    /// The window that counts: the one that is kept, or the one that was computed for now if that is no earlier.
    ///
    /// ```
    /// use keyward::window::{Grid, Window};
    /// use keyward::{Length, Timestamp};
    ///
    /// let minutes = Grid { length: Length::MINUTE };
    /// let kept = minutes.window(Timestamp::from_micros(60_000_000));
    /// let stepped_back = minutes.window(Timestamp::from_micros(59_000_000));
    /// assert_eq!(Window::current(kept, stepped_back), kept);
    /// ```
    #[must_use]
    pub const fn current(kept: Self, computed: Self) -> Self {
        if computed.start.as_micros() >= kept.start.as_micros() { computed } else { kept }
    }

    /// The earliest instant, from `now` on, at which a cost passes if nothing else happens: `used` is what was counted
    /// in this window, and the next one begins at its end with nothing counted.
    ///
    /// A cost of 0 passes whatever is used. A cap of 0 lets nothing pass, not even that.
    ///
    /// ```
    /// use keyward::window::Grid;
    /// use keyward::{Amount, Cap, Length, Timestamp, When};
    ///
    /// let now = Timestamp::from_micros(61_000_000);
    /// let window = Grid { length: Length::MINUTE }.window(now);
    /// let (used, cap) = (Amount::new(8), Cap::At(Amount::new(10)));
    /// assert_eq!(window.earliest(used, cap, Amount::new(2), now), When::At(now));
    /// assert_eq!(window.earliest(used, cap, Amount::new(3), now), When::At(window.end));
    /// assert_eq!(window.earliest(used, cap, Amount::new(11), now), When::Never);
    /// ```
    #[must_use]
    pub fn earliest(self, used: Amount, cap: Cap, cost: Amount, now: Timestamp) -> When {
        if !fits(Amount::ZERO, cap, cost) {
            When::Never
        } else if self.is_over(now) || fits(used, cap, cost) {
            When::At(now)
        } else {
            self.resets_at().map_or(When::Never, When::At)
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.start, self.end)
    }
}

/// Windows of one length on the grid that begins in 1970: 24 hours begin at midnight UTC, seven days on a Thursday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Grid {
    /// How long each window is.
    pub length: Length,
}

impl Grid {
    /// The window that this instant lies in; at either end of time it is cut short.
    #[inline]
    #[must_use]
    pub const fn window(self, now: Timestamp) -> Window {
        let length = self.length.as_micros();
        let into = now.as_micros().rem_euclid(length);
        Window {
            start: Timestamp::from_micros(now.as_micros().saturating_sub(into)),
            end: Timestamp::from_micros(now.as_micros().saturating_add(length - into)),
        }
    }
}

/// Windows of one length, counted from an anchor.
///
/// Up to the anchor the window is the one that begins there: what is spent before it is charged to it.
///
/// ```
/// use keyward::window::Anchored;
/// use keyward::Length;
///
/// let days = Anchored { length: Length::DAY, anchor: "2026-05-01T10:30:00Z".parse()? };
/// let third = days.window("2026-05-04T10:29:59Z".parse()?);
/// assert_eq!(third.to_string(), "2026-05-03T10:30:00Z to 2026-05-04T10:30:00Z");
/// assert_eq!(days.window("2026-04-01T00:00:00Z".parse()?).start, days.anchor);
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Anchored {
    /// How long each window is.
    pub length: Length,
    /// Where the first window begins.
    pub anchor: Timestamp,
}

impl Anchored {
    /// The window of this instant; before the anchor, the window that will begin there. At the end of time it is cut.
    #[inline]
    #[must_use]
    pub const fn window(self, now: Timestamp) -> Window {
        let start = step(self.anchor, now, self.length);
        Window { start, end: start.saturating_add(self.length) }
    }
}

/// The last of the steps `from`, `from + length`, … that is not after `at`; `from` itself if they all are.
const fn step(from: Timestamp, at: Timestamp, length: Length) -> Timestamp {
    let (from, at) = (from.as_micros(), at.as_micros());
    if at <= from {
        return Timestamp::from_micros(from);
    }
    // Two instants can lie further apart than an i64 reaches, never further than a u64.
    let into = at.abs_diff(from) % length.as_micros().unsigned_abs();
    Timestamp::from_micros(at.saturating_sub_unsigned(into))
}

/// Whether a cost passes where so much is used.
fn fits(used: Amount, cap: Cap, cost: Amount) -> bool {
    match cap {
        Cap::Unlimited => true,
        Cap::At(Amount::ZERO) => false,
        Cap::At(_) => cost.is_zero() || used.checked_add(cost).is_some_and(|total| cap.allows(total)),
    }
}

#[cfg(feature = "serde")]
mod read {
    use super::Window;
    use crate::error::Error;
    use crate::time::Timestamp;

    /// A window as it is read, before its bounds are compared.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Bounds {
        start: Timestamp,
        end: Timestamp,
    }

    impl TryFrom<Bounds> for Window {
        type Error = Error;

        fn try_from(Bounds { start, end }: Bounds) -> Result<Self, Error> {
            if start <= end {
                Ok(Self { start, end })
            } else {
                Err(Error::invalid("window.end", end, "a window does not end before it starts"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few enough for an interpreter; the properties in `tests/` run more.
    const CASES: u32 = if cfg!(miri) { 20 } else { 1_000 };

    proptest! {
        #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_instant_panics(micros: i64, anchor: i64, length in 1..=i64::MAX, minutes in -1_439..1_440_i16) {
            let (now, anchor) = (Timestamp::from_micros(micros), Timestamp::from_micros(anchor));
            let length = Length::from_micros(length).unwrap();
            let mut windows = vec![Grid { length }.window(now), Anchored { length, anchor }.window(now), Window::ALWAYS];
            for unit in [Unit::Hour, Unit::Day, Unit::Week, Unit::Month] {
                let zone = Zone::fixed(minutes).unwrap();
                windows.push(Calendar::builder(unit).zone(zone).build().unwrap().window(now));
            }
            for window in windows {
                prop_assert!(window.start <= window.end);
                let _ = (window.to_string(), window.reset_in(now), window.is_over(now), Window::current(window, window));
                let said = window.earliest(Amount::MAX, Cap::At(Amount::MAX), Amount::ONE, now);
                prop_assert!(matches!(said, When::At(_)) || window.resets_at().is_none());
            }
        }

        #[test]
        fn a_step_is_what_one_division_in_wider_numbers_says(from: i64, at: i64, length in 1..=i64::MAX) {
            let wide = i128::from(from) + (i128::from(at) - i128::from(from)).max(0) / i128::from(length) * i128::from(length);
            let said = step(Timestamp::from_micros(from), Timestamp::from_micros(at), Length::from_micros(length).unwrap());
            prop_assert_eq!(i128::from(said.as_micros()), wide);
        }
    }

    #[test]
    fn a_cap_of_zero_lets_nothing_pass_and_a_cost_of_zero_always_passes_another() {
        let (now, window) = (Timestamp::EPOCH, Grid { length: Length::DAY }.window(Timestamp::EPOCH));
        let said = |used, cap, cost| window.earliest(Amount::new(used), cap, Amount::new(cost), now);
        assert_eq!(said(0, Cap::At(Amount::ZERO), 0), When::Never);
        assert_eq!(said(9, Cap::At(Amount::ONE), 0), When::At(now));
        assert_eq!(said(9, Cap::Unlimited, u32::MAX), When::At(now));
        assert_eq!(Window::ALWAYS.earliest(Amount::ONE, Cap::At(Amount::ONE), Amount::ONE, now), When::Never);
    }

    /// A clock that stepped back reset a peer's bucket, and a limited key was served again.
    #[test]
    fn a_clock_that_steps_back_waits_for_the_end_of_the_window_that_is_kept() {
        let kept = Window { start: Timestamp::from_micros(60), end: Timestamp::from_micros(120) };
        let before = Timestamp::from_micros(10);
        assert_eq!(kept.earliest(Amount::ONE, Cap::At(Amount::ONE), Amount::ONE, before), When::At(kept.end));
    }
}
