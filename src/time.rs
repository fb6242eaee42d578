//! Instants and lengths in whole microseconds, and the one trait through which time comes in.
//!
//! No rule of this crate reads a clock: each takes `now` as an argument, and whoever drives the rules reads a [`Clock`].
//! An instant is an `i64` of microseconds since 1970, which SQLite, PostgreSQL, JSON and Lua all hold exactly.
//!
//! ```
//! use keyward::{Length, Timestamp};
//!
//! let now: Timestamp = "2026-03-08T05:30:00Z".parse()?;
//! let later = now.saturating_add("1h30m".parse::<Length>()?);
//! assert_eq!(later.to_string(), "2026-03-08T07:00:00Z");
//! # Ok::<(), keyward::Error>(())
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::error::Error;

const MICROS_PER_MILLI: i64 = 1_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// An instant: signed microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// The earliest instant there is; a window that never began starts here.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant there is; a window that never ends ends here.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant so many microseconds after 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The instant so many milliseconds after 1970, if microseconds can say it.
    ///
    /// ```
    /// use keyward::Timestamp;
    /// assert_eq!(Timestamp::from_millis(1_500), Some(Timestamp::from_micros(1_500_000)));
    /// assert_eq!(Timestamp::from_millis(i64::MAX), None);
    /// ```
    #[must_use]
    pub const fn from_millis(millis: i64) -> Option<Self> {
        match millis.checked_mul(MICROS_PER_MILLI) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// The instant so many seconds after 1970, if microseconds can say it.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Option<Self> {
        match seconds.checked_mul(MICROS_PER_SECOND) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since 1970, rounded towards the past.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(MICROS_PER_MILLI)
    }

    /// Whole seconds since 1970, rounded towards the past.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// This much later, unless that is past the end of time.
    #[must_use]
    pub const fn checked_add(self, length: Length) -> Option<Self> {
        match self.0.checked_add(length.0) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// This much later, or the end of time.
    #[must_use]
    pub const fn saturating_add(self, length: Length) -> Self {
        Self(self.0.saturating_add(length.0))
    }

    /// This much earlier, or the beginning of time.
    #[must_use]
    pub const fn saturating_sub(self, length: Length) -> Self {
        Self(self.0.saturating_sub(length.0))
    }

    /// How long from `earlier` to here; nothing if `earlier` is later.
    ///
    /// ```
    /// use keyward::Timestamp;
    /// use std::time::Duration;
    /// let (a, b) = (Timestamp::from_micros(5), Timestamp::from_micros(12));
    /// assert_eq!(b.since(a), Duration::from_micros(7));
    /// assert_eq!(a.since(b), Duration::ZERO);
    /// ```
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        if self.0 <= earlier.0 { Duration::ZERO } else { Duration::from_micros(self.0.abs_diff(earlier.0)) }
    }

    fn to_chrono(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }
}

/// RFC 3339 in UTC, without trailing zeros; instants that have no such text print their microseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use chrono::Datelike;
        match self.to_chrono() {
            Some(utc) if (0..=9999).contains(&utc.year()) => {
                let format = if self.0 % MICROS_PER_SECOND == 0 {
                    SecondsFormat::Secs
                } else if self.0 % MICROS_PER_MILLI == 0 {
                    SecondsFormat::Millis
                } else {
                    SecondsFormat::Micros
                };
                f.pad(&utc.to_rfc3339_opts(format, true))
            }
            _ => f.pad(&format!("{}us", self.0)),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads RFC 3339 text with any offset, and the microseconds that an instant without such text prints. Digits beyond
/// the microsecond are refused unless they are zero.
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let expected = "an instant is written as in RFC 3339, for example 2026-03-08T05:30:00Z";
        if let Some(micros) = text.strip_suffix("us").and_then(|micros| micros.parse().ok()) {
            return Ok(Self(micros));
        }
        let parsed = DateTime::parse_from_rfc3339(text).map_err(|_| Error::invalid("timestamp", text, expected))?;
        Self::try_from(parsed.to_utc()).map_err(|_| Error::invalid("timestamp", text, expected))
    }
}

/// Microseconds, or, where people write, their text as well.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl serde::de::Visitor<'_> for Either {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("microseconds since 1970, or an instant as in RFC 3339")
            }

            fn visit_i64<E: serde::de::Error>(self, micros: i64) -> Result<Timestamp, E> {
                Ok(Timestamp(micros))
            }

            fn visit_u64<E: serde::de::Error>(self, micros: u64) -> Result<Timestamp, E> {
                i64::try_from(micros).map(Timestamp).map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Either)
        } else {
            deserializer.deserialize_i64(Either)
        }
    }
}

impl TryFrom<DateTime<Utc>> for Timestamp {
    type Error = Error;

    /// Refuses what is finer than a microsecond, leap seconds included, rather than moving it.
    fn try_from(utc: DateTime<Utc>) -> Result<Self, Error> {
        let nanos = utc.timestamp_subsec_nanos();
        if nanos % 1_000 != 0 || nanos >= 1_000_000_000 {
            return Err(Error::invalid("timestamp", utc, "an instant is a whole number of microseconds"));
        }
        Ok(Self(utc.timestamp_micros()))
    }
}

impl TryFrom<Timestamp> for DateTime<Utc> {
    type Error = Error;

    fn try_from(at: Timestamp) -> Result<Self, Error> {
        at.to_chrono().ok_or_else(|| Error::invalid("timestamp", at, "an instant that chrono can hold"))
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = Error;

    /// Rounds towards the past, to whole microseconds.
    fn try_from(time: SystemTime) -> Result<Self, Error> {
        let micros = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs())
                .ok()
                .and_then(|seconds| seconds.checked_mul(MICROS_PER_SECOND))
                .and_then(|micros| micros.checked_add(i64::from(after.subsec_micros()))),
            Err(before) => i128::try_from(before.duration().as_nanos().div_ceil(1_000))
                .ok()
                .and_then(|micros| i64::try_from(-micros).ok()),
        };
        micros
            .map(Self)
            .ok_or_else(|| Error::invalid("timestamp", format!("{time:?}"), "an instant within 292,000 years of 1970"))
    }
}

impl TryFrom<Timestamp> for SystemTime {
    type Error = Error;

    fn try_from(at: Timestamp) -> Result<Self, Error> {
        let distance = Duration::from_micros(at.0.unsigned_abs());
        let time =
            if at.0 < 0 { Self::UNIX_EPOCH.checked_sub(distance) } else { Self::UNIX_EPOCH.checked_add(distance) };
        time.ok_or_else(|| Error::invalid("timestamp", at, "an instant that the system can hold"))
    }
}

/// A length of time: whole microseconds, and at least one.
///
/// A length is not a calendar word: `24h` is 86,400 seconds wherever it is read, while a `day` may have 23 hours.
///
/// ```
/// use keyward::Length;
///
/// let length: Length = "1h30m".parse()?;
/// assert_eq!(length.as_micros(), 90 * Length::MINUTE.as_micros());
/// assert_eq!(length, "90m".parse()?);
/// assert_eq!(length.to_string(), "1h30m");
/// assert!("0h".parse::<Length>().is_err());
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Length(i64);

/// Units by the names that a text may use, longest first; the first name of each is how it prints.
const UNITS: [(&[&str], i64); 7] = [
    (&["w", "week", "weeks"], 7 * 86_400 * MICROS_PER_SECOND),
    (&["d", "day", "days"], 86_400 * MICROS_PER_SECOND),
    (&["h", "hour", "hours"], 3_600 * MICROS_PER_SECOND),
    (&["m", "min", "minute", "minutes"], 60 * MICROS_PER_SECOND),
    (&["s", "sec", "second", "seconds"], MICROS_PER_SECOND),
    (&["ms"], MICROS_PER_MILLI),
    (&["us", "µs", "μs"], 1),
];

impl Length {
    /// The shortest length: one microsecond.
    pub const MIN: Self = Self(1);
    /// The longest length, some 292,000 years.
    pub const MAX: Self = Self(i64::MAX);
    /// One second.
    pub const SECOND: Self = Self(MICROS_PER_SECOND);
    /// Sixty seconds.
    pub const MINUTE: Self = Self(60 * MICROS_PER_SECOND);
    /// Sixty minutes.
    pub const HOUR: Self = Self(3_600 * MICROS_PER_SECOND);
    /// Twenty-four hours, whatever a calendar says.
    pub const DAY: Self = Self(86_400 * MICROS_PER_SECOND);
    /// Seven times 24 hours.
    pub const WEEK: Self = Self(7 * 86_400 * MICROS_PER_SECOND);

    /// So many microseconds, unless that is none or fewer.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if micros > 0 { Some(Self(micros)) } else { None }
    }

    /// So many seconds, unless that is none, fewer, or more than microseconds can say.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Option<Self> {
        match seconds.checked_mul(MICROS_PER_SECOND) {
            Some(micros) => Self::from_micros(micros),
            None => None,
        }
    }

    /// Microseconds; always more than 0.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

impl TryFrom<Duration> for Length {
    type Error = Error;

    /// Rounds up to whole microseconds, so that a wait is never cut short. Refuses zero.
    fn try_from(duration: Duration) -> Result<Self, Error> {
        i64::try_from(duration.as_nanos().div_ceil(1_000))
            .ok()
            .and_then(Self::from_micros)
            .ok_or_else(|| Error::invalid("length", format!("{duration:?}"), "longer than zero, at most 292,000 years"))
    }
}

impl From<Length> for Duration {
    fn from(length: Length) -> Self {
        Self::from_micros(length.0.unsigned_abs())
    }
}

/// The text that reads back as the same length, in the largest units that fit: `1h30m`, `30d`.
impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut rest = self.0;
        let weeks = rest % UNITS[0].1 == 0;
        for (names, unit) in UNITS.iter().skip(usize::from(!weeks)) {
            let count = rest / unit;
            rest %= unit;
            if count > 0 {
                text.push_str(&count.to_string());
                text.push_str(names.first().copied().unwrap_or_default());
            }
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads `90s`, `1h30m`, `7d`, `7day`, `05h`: whole numbers with their units, larger units first, no blanks.
impl FromStr for Length {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse_length(text).map_err(|reason| Error::invalid("length", text, reason))
    }
}

/// Reads a length, or says why it is none.
pub(crate) fn parse_length(text: &str) -> Result<Length, String> {
    const EXAMPLE: &str = "write a length as 90s, 5m, 1h30m, 24h, 7d or 2w";
    let mut rest = text;
    let mut total: i64 = 0;
    let mut last_unit = i64::MAX;
    if text.is_empty() {
        return Err(format!("it is empty; {EXAMPLE}"));
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (name, next) = tail.split_at(letters);
        if number.is_empty() {
            return Err(format!("a whole number of ASCII digits is expected before {name:?}; {EXAMPLE}"));
        }
        if name.is_empty() {
            return Err(format!("{number} has no unit; {EXAMPLE}"));
        }
        let Some((_, unit)) = UNITS.iter().find(|(names, _)| names.contains(&name)) else {
            return Err(match name {
                "M" | "mo" | "month" | "months" | "y" | "Y" | "year" | "years" => {
                    format!("{name:?} has no fixed length; write a number of days, or the calendar word month")
                }
                _ => format!("{name:?} is no unit of w, d, h, m, s, ms, us; {EXAMPLE}"),
            });
        };
        if *unit >= last_unit {
            return Err(format!("units go from larger to smaller, each once; {EXAMPLE}"));
        }
        last_unit = *unit;
        total = number
            .parse::<i64>()
            .ok()
            .and_then(|count| count.checked_mul(*unit))
            .and_then(|micros| total.checked_add(micros))
            .ok_or_else(|| "it is longer than 292,000 years".to_owned())?;
        rest = next;
    }
    Length::from_micros(total).ok_or_else(|| "a length must be longer than zero".to_owned())
}

#[cfg(feature = "serde")]
impl serde::Serialize for Length {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Length {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            let micros = i64::deserialize(deserializer)?;
            Self::from_micros(micros).ok_or_else(|| D::Error::custom("a length must be longer than zero"))
        }
    }
}

/// When a refused cost can pass, if nothing else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum When {
    /// At this instant, and not one microsecond earlier.
    At(Timestamp),
    /// As soon as something that is held is given back, at the latest when the last hold ends by itself.
    WhenFreed {
        /// When the last of the holds in the way ends by itself.
        latest: Timestamp,
    },
    /// Time alone will never let it pass.
    Never,
}

impl When {
    /// When both can pass: never if one never does, else the later.
    ///
    /// ```
    /// use keyward::{Timestamp, When};
    /// let (soon, late) = (When::At(Timestamp::from_micros(1)), When::At(Timestamp::from_micros(2)));
    /// assert_eq!(soon.and(late), late);
    /// assert_eq!(soon.or(late), soon);
    /// assert_eq!(soon.and(When::Never), When::Never);
    /// assert_eq!(soon.or(When::Never), soon);
    /// ```
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.rank() >= other.rank() { self } else { other }
    }

    /// When one of them can pass: the earlier.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.rank() <= other.rank() { self } else { other }
    }

    /// The instant to come back at, if there is one.
    #[must_use]
    pub const fn instant(self) -> Option<Timestamp> {
        match self {
            Self::At(at) | Self::WhenFreed { latest: at } => Some(at),
            Self::Never => None,
        }
    }

    /// Never is last; of two equal instants, the one that may come sooner is first.
    const fn rank(self) -> (bool, i64, bool) {
        match self {
            Self::WhenFreed { latest } => (false, latest.0, false),
            Self::At(at) => (false, at.0, true),
            Self::Never => (true, 0, false),
        }
    }
}

/// Where time comes in. One method; read once per question, at the edge.
///
/// An implementation may step back or jump: every rule charges the current window then, and gives nothing back. It
/// should be cheap, since it is read before each check.
pub trait Clock: Send + Sync {
    /// The instant that it is now.
    fn now(&self) -> Timestamp;

    /// How much time has passed since some instant of the past, by a clock that nobody can set: what tells a jump of the
    /// other from time that passed. `None` if there is no such clock, and then no jump is noticed. Read once a second.
    fn passed(&self) -> Option<Duration> {
        None
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn passed(&self) -> Option<Duration> {
        (**self).passed()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn passed(&self) -> Option<Duration> {
        (**self).passed()
    }
}

/// A clock that stands still until it is told otherwise; clones show the same time.
///
/// ```
/// use keyward::{Clock, Length, ManualClock, Timestamp};
///
/// let clock = ManualClock::at(Timestamp::EPOCH);
/// let seen_elsewhere = clock.clone();
/// clock.advance(Length::MINUTE);
/// clock.step_back(Length::SECOND);
/// assert_eq!(seen_elsewhere.now(), Timestamp::from_micros(59_000_000));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug, Default)]
struct Hands {
    shown: AtomicI64,
    /// The time that has passed, whatever is shown.
    passed: AtomicI64,
}

impl ManualClock {
    /// A clock that shows this instant.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Hands { shown: AtomicI64::new(now.0), passed: AtomicI64::new(0) }))
    }

    /// Shows this instant from now on, although no time has passed.
    pub fn set(&self, now: Timestamp) {
        self.0.shown.store(now.0, Ordering::SeqCst);
    }

    /// So much time passes, at most to the end of time.
    pub fn advance(&self, length: Length) {
        step(&self.0.passed, |passed| passed.saturating_add(length.0));
        step(&self.0.shown, |shown| shown.saturating_add(length.0));
    }

    /// Moves back, at most to the beginning of time.
    pub fn step_back(&self, length: Length) {
        step(&self.0.shown, |shown| shown.saturating_sub(length.0));
    }
}

fn step(hand: &AtomicI64, change: impl Fn(i64) -> i64) {
    let mut now = hand.load(Ordering::SeqCst);
    while let Err(other) = hand.compare_exchange_weak(now, change(now), Ordering::SeqCst, Ordering::SeqCst) {
        now = other;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.shown.load(Ordering::SeqCst))
    }

    fn passed(&self) -> Option<Duration> {
        Some(Duration::from_micros(self.0.passed.load(Ordering::SeqCst).unsigned_abs()))
    }
}

#[cfg(test)]
mod tests;
