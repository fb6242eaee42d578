//! The text of a window: a length, a word of the calendar, or one of three old names.

use std::fmt;
use std::str::FromStr;

use super::Unit;
use crate::error::Error;
use crate::time::{self, Length};

/// What the text of a window says, and which kind of text it was.
///
/// ```
/// use keyward::window::{Period, Unit};
/// use keyward::Length;
///
/// assert_eq!("24h".parse(), Ok(Period::Length(Length::DAY)));
/// assert_eq!("day".parse(), Ok(Period::Calendar(Unit::Day)));
///
/// let old: Period = "daily".parse()?;
/// assert_eq!(old.length(), Some(Length::DAY));
/// if let Period::Old(name) = old {
///     assert_eq!(
///         name.to_string(),
///         "daily is read as 24h, a length; write 24h, or day for a calendar day",
///     );
/// }
///
/// let error = "1.5h".parse::<Period>().unwrap_err();
/// assert_eq!((error.field(), error.value()), (Some("window"), Some("1.5h")));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Period {
    /// A length, such as `90s` or `7d`: the same everywhere.
    Length(Length),
    /// A word of the calendar, such as `day`: as long as a clock on some wall makes it.
    Calendar(Unit),
    /// An old name. It is read as a length, and the host should print the warning that it displays as.
    Old(OldName),
}

impl Period {
    /// The length, unless it is the calendar that says how long.
    #[must_use]
    pub fn length(self) -> Option<Length> {
        match self {
            Self::Length(length) => Some(length),
            Self::Old(name) => Some(name.length()),
            Self::Calendar(_) => None,
        }
    }
}

/// A name for a length that looks like a calendar's. It displays as a warning that says how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OldName {
    /// `daily`: 24 hours.
    Daily,
    /// `weekly`: 7 days.
    Weekly,
    /// `monthly`: 30 days.
    Monthly,
}

impl OldName {
    const ALL: [Self; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    /// The name itself.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.words().0
    }

    /// The length that it is read as.
    #[must_use]
    pub const fn length(self) -> Length {
        match self {
            Self::Daily => Length::DAY,
            Self::Weekly => Length::WEEK,
            Self::Monthly => THIRTY_DAYS,
        }
    }

    /// The name, how its length is better written, and the word of the calendar.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Daily => ("daily", "24h", "day"),
            Self::Weekly => ("weekly", "7d", "week"),
            Self::Monthly => ("monthly", "30d", "month"),
        }
    }
}

const THIRTY_DAYS: Length = match Length::from_secs(30 * 86_400) {
    Some(length) => length,
    None => Length::DAY,
};

impl fmt::Display for OldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, length, word) = self.words();
        write!(f, "{name} is read as {length}, a length; write {length}, or {word} for a calendar {word}")
    }
}

/// The text that reads back as the same period.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => fmt::Display::fmt(length, f),
            Self::Calendar(unit) => fmt::Display::fmt(unit, f),
            Self::Old(name) => f.pad(name.as_str()),
        }
    }
}

/// Reads a length, one of the words `hour`, `day`, `week` and `month`, or an old name.
impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(unit) =
            [Unit::Hour, Unit::Day, Unit::Week, Unit::Month].into_iter().find(|unit| unit.word() == text)
        {
            return Ok(Self::Calendar(unit));
        }
        if let Some(name) = OldName::ALL.into_iter().find(|name| name.as_str() == text) {
            return Ok(Self::Old(name));
        }
        time::parse_length(text).map(Self::Length).map_err(|reason| {
            Error::invalid("window", text, format!("{reason}; a calendar's windows are hour, day, week and month"))
        })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Period {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Period {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::calendar::read_text(deserializer)
    }
}
