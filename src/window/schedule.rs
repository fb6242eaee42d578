//! Any schedule whose window depends on the instant alone, and a memo of its last answer.

use super::{Anchored, Calendar, Grid, Window};
use crate::time::Timestamp;

/// When the windows of a limit begin and end, where that depends on nothing but time.
///
/// ```
/// use keyward::window::{Grid, Memo, Schedule};
/// use keyward::{Length, Timestamp};
///
/// let schedule = Schedule::from(Grid { length: Length::MINUTE });
/// let mut memo = Memo::new();
/// let now = Timestamp::from_micros(61_000_000);
/// assert_eq!(memo.window(now, &schedule), schedule.window(now));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Schedule {
    /// One length, on the grid from 1970.
    Grid(Grid),
    /// One length, from an anchor.
    Anchored(Anchored),
    /// Hours, days, weeks or months of a calendar.
    Calendar(Calendar),
    /// One window that never resets.
    Lifetime,
}

impl Schedule {
    /// The window of this instant. It contains it, unless an anchor lies ahead or the instant is the last there is.
    #[must_use]
    pub fn window(&self, now: Timestamp) -> Window {
        match self {
            Self::Grid(grid) => grid.window(now),
            Self::Anchored(anchored) => anchored.window(now),
            Self::Calendar(calendar) => calendar.window(now),
            Self::Lifetime => Window::ALWAYS,
        }
    }
}

impl From<Grid> for Schedule {
    fn from(grid: Grid) -> Self {
        Self::Grid(grid)
    }
}

impl From<Anchored> for Schedule {
    fn from(anchored: Anchored) -> Self {
        Self::Anchored(anchored)
    }
}

impl From<Calendar> for Schedule {
    fn from(calendar: Calendar) -> Self {
        Self::Calendar(calendar)
    }
}

/// The last window of one schedule, remembered: while it lasts, asking again takes two comparisons.
///
/// A memo belongs to one schedule. It answers as the schedule does, also when the clock steps back: what counts then is
/// for [`Window::current`] to say.
#[derive(Clone, Copy, Debug)]
pub struct Memo(Window);

impl Memo {
    /// A memo that remembers nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Window { start: Timestamp::MAX, end: Timestamp::MIN })
    }

    /// The window of this instant by the schedule that this memo belongs to.
    #[inline]
    pub fn window(&mut self, now: Timestamp, schedule: &Schedule) -> Window {
        if !self.0.contains(now) {
            self.learn(now, schedule);
        }
        self.0
    }

    #[cold]
    fn learn(&mut self, now: Timestamp, schedule: &Schedule) {
        self.0 = schedule.window(now);
    }
}

impl Default for Memo {
    fn default() -> Self {
        Self::new()
    }
}
