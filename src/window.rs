//! Windows: from when to when a limit counts. Everything here is arithmetic on instants; nothing is counted or decided.

use std::time::Duration;

use crate::time::{Length, Timestamp};

mod buckets;

pub use buckets::{Buckets, Ring, Slices};

/// A stretch of time: its start belongs to it, its end does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
    #[must_use]
    pub const fn contains(self, at: Timestamp) -> bool {
        self.start.as_micros() <= at.as_micros() && at.as_micros() < self.end.as_micros()
    }

    /// How long until the window ends; nothing if it has.
    #[must_use]
    pub const fn reset_in(self, now: Timestamp) -> Duration {
        self.end.since(now)
    }
}

/// Windows of one length on the grid that begins in 1970: 24 hours begin at midnight UTC, seven days on a Thursday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Grid {
    /// How long each window is.
    pub length: Length,
}

impl Grid {
    /// The window that this instant lies in; at either end of time it is cut short.
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
