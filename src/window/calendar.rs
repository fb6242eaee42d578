//! Calendar windows: hours, days, weeks and months as a clock on some wall shows them.
//!
//! A day, week or month begins when the zone's clock first shows its time of day. Where a change of the clock skips that
//! time, it begins at the first instant after the gap; where the time repeats, at the earlier. Hours are real hours:
//! each instant at which the clock shows a full hour begins one, so an hour that is shown twice is two windows.

use std::fmt;
use std::str::FromStr;

use super::Window;
use super::civil;
use super::zone::Zone;
use crate::error::Error;
use crate::time::Timestamp;

const DAY: i64 = 86_400;
/// 1969-01-01 and 10001-01-01: a year more on either side than is promised, so that every zone's years are whole.
const FIRST: i64 = civil::days(1_969, 1, 1) * DAY;
const LAST: i64 = civil::days(10_001, 1, 1) * DAY - 1;

/// What a calendar counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Unit {
    /// Full hours.
    Hour,
    /// Days.
    Day,
    /// Weeks, from Monday unless the calendar says so.
    Week,
    /// Months, from the first unless the calendar says so.
    Month,
}

impl Unit {
    /// The word for it: `hour`, `day`, `week` or `month`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[allow(missing_docs, reason = "seven names that everybody knows")]
pub enum Weekday {
    #[default]
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Monday, "monday"),
        (Self::Tuesday, "tuesday"),
        (Self::Wednesday, "wednesday"),
        (Self::Thursday, "thursday"),
        (Self::Friday, "friday"),
        (Self::Saturday, "saturday"),
        (Self::Sunday, "sunday"),
    ];

    /// The first such day in 1970, in days since its first, which was a Thursday.
    const fn first_of_1970(self) -> i64 {
        match self {
            Self::Thursday => 0,
            Self::Friday => 1,
            Self::Saturday => 2,
            Self::Sunday => 3,
            Self::Monday => 4,
            Self::Tuesday => 5,
            Self::Wednesday => 6,
        }
    }
}

/// The name in lower case: `monday`.
impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL.iter().find(|(day, _)| day == self).map_or("", |(_, name)| name))
    }
}

/// Reads `monday` to `sunday`.
impl FromStr for Weekday {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(day, _)| *day).ok_or_else(|| Error::invalid("window.week_start", text, "one of monday to sunday"))
    }
}

/// A time of day to the minute, as a clock shows it.
///
/// ```
/// use keyward::window::TimeOfDay;
///
/// let at: TimeOfDay = "09:30".parse()?;
/// assert_eq!(at.to_string(), "09:30");
/// assert_eq!("24:00".parse::<TimeOfDay>().unwrap_err().field(), Some("window.at"));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// 00:00.
    pub const MIDNIGHT: Self = Self(0);

    fn seconds(self) -> i64 {
        i64::from(self.0) * 60
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

impl fmt::Debug for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads `HH:MM`, from `00:00` to `23:59`.
impl FromStr for TimeOfDay {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        hours_and_minutes(text)
            .map(Self)
            .ok_or_else(|| Error::invalid("window.at", text, "a time of day is written as HH:MM, 00:00 to 23:59"))
    }
}

/// `HH:MM` in minutes, if it is less than a day.
pub(super) fn hours_and_minutes(text: &str) -> Option<u16> {
    let [a, b, b':', c, d] = text.as_bytes() else { return None };
    let two = |tens: &u8, ones: &u8| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        digits.then(|| u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
    };
    let (hours, minutes) = (two(a, b)?, two(c, d)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// Windows by a calendar and a clock on some wall, rather than by length.
///
/// Windows are exact for the years 1970 to 9999, and touch without gap or overlap. All time before the year 1969 is one
/// window, and so is all time after the year 10000.
///
/// ```
/// use keyward::window::{Calendar, Unit, Weekday};
///
/// let weeks = Calendar::builder(Unit::Week).week_start(Weekday::Sunday).zone("+05:30".parse()?).build()?;
/// let window = weeks.window("2026-05-16T20:00:00Z".parse()?);
/// assert_eq!(window.to_string(), "2026-05-16T18:30:00Z to 2026-05-23T18:30:00Z");
///
/// let error = Calendar::builder(Unit::Month).day(32).build().unwrap_err();
/// assert_eq!(error.field(), Some("window.day"));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "CalendarBuilder", into = "CalendarBuilder"))]
pub struct Calendar {
    rule: Rule,
    at: TimeOfDay,
    zone: Zone,
}

/// The unit with its own setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rule {
    Hour,
    Day,
    Week(Weekday),
    /// The day from 1 to 31.
    Month(u8),
}

impl Calendar {
    /// Full hours, days from midnight, weeks from Monday or months from the first, all in UTC.
    #[must_use]
    pub const fn of(unit: Unit) -> Self {
        let rule = match unit {
            Unit::Hour => Rule::Hour,
            Unit::Day => Rule::Day,
            Unit::Week => Rule::Week(Weekday::Monday),
            Unit::Month => Rule::Month(1),
        };
        Self { rule, at: TimeOfDay::MIDNIGHT, zone: Zone::UTC }
    }

    /// A calendar with settings of its own.
    pub const fn builder(unit: Unit) -> CalendarBuilder {
        CalendarBuilder { unit, week_start: None, day: None, at: None, zone: Zone::UTC }
    }

    /// What it counts by.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self.rule {
            Rule::Hour => Unit::Hour,
            Rule::Day => Unit::Day,
            Rule::Week(_) => Unit::Week,
            Rule::Month(_) => Unit::Month,
        }
    }

    /// The zone whose clock it goes by.
    #[must_use]
    pub const fn zone(self) -> Zone {
        self.zone
    }

    /// The same windows by the clock of another zone.
    #[must_use]
    pub const fn in_zone(mut self, zone: Zone) -> Self {
        self.zone = zone;
        self
    }

    /// The window that this instant lies in.
    #[must_use]
    pub fn window(self, now: Timestamp) -> Window {
        let at = now.as_secs().clamp(FIRST, LAST);
        let (start, end) = match self.rule {
            Rule::Hour => self.zone.hour(at),
            rule => self.turns(rule, at),
        };
        let (start, end) = (instant(start), instant(end));
        if now < start {
            Window { start: Timestamp::MIN, end: start }
        } else if now < end {
            Window { start, end }
        } else {
            Window { start: end, end: Timestamp::MAX }
        }
    }

    /// The last boundary up to `at` and the first after it, in seconds.
    fn turns(self, rule: Rule, at: i64) -> (i64, i64) {
        let begins = |index| self.zone.first(rule.date(index) * DAY + self.at.seconds());
        let mut index = rule.index((at + self.zone.offset(at) - self.at.seconds()).div_euclid(DAY));
        let mut end = begins(index + 1);
        // A clock that was set back may already have shown the next boundary.
        while end <= at {
            index += 1;
            end = begins(index + 1);
        }
        (begins(index), end)
    }
}

impl Rule {
    /// The number of the last window whose date is not after this one, both in days since 1970.
    fn index(self, date: i64) -> i64 {
        match self {
            Self::Hour | Self::Day => date,
            Self::Week(start) => (date - start.first_of_1970()).div_euclid(7),
            Self::Month(day) => {
                let (year, month, today) = civil::date(date);
                let begun = i64::from(day).min(civil::days_in_month(year, month)) <= today;
                year * 12 + month - if begun { 1 } else { 2 }
            }
        }
    }

    /// The date on which a window begins, in days since 1970.
    fn date(self, index: i64) -> i64 {
        match self {
            Self::Hour | Self::Day => index,
            Self::Week(start) => index * 7 + start.first_of_1970(),
            Self::Month(day) => {
                let (year, month) = (index.div_euclid(12), index.rem_euclid(12) + 1);
                civil::days(year, month, i64::from(day).min(civil::days_in_month(year, month)))
            }
        }
    }
}

fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

/// The text of its settings: `month, day 31 at 09:00 UTC`.
impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, at, zone } = self;
        match rule {
            Rule::Hour => write!(f, "hour {zone}"),
            Rule::Day => write!(f, "day at {at} {zone}"),
            Rule::Week(start) => write!(f, "week, {start} at {at} {zone}"),
            Rule::Month(day) => write!(f, "month, day {day} at {at} {zone}"),
        }
    }
}

/// The settings of a [`Calendar`], checked by [`CalendarBuilder::build`].
///
/// This is also the form in which a calendar is written as data: `{"unit": "month", "day": 31, "at": "09:00", "zone":
/// "UTC"}`, where everything but the unit may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[must_use]
pub struct CalendarBuilder {
    unit: Unit,
    #[cfg_attr(feature = "serde", serde(default))]
    week_start: Option<Weekday>,
    #[cfg_attr(feature = "serde", serde(default))]
    day: Option<u8>,
    #[cfg_attr(feature = "serde", serde(default))]
    at: Option<TimeOfDay>,
    #[cfg_attr(feature = "serde", serde(default))]
    zone: Zone,
}

impl CalendarBuilder {
    /// The day that begins a week; Monday unless stated.
    pub const fn week_start(mut self, day: Weekday) -> Self {
        self.week_start = Some(day);
        self
    }

    /// The day that begins a month, 1 to 31; the first unless stated. In a shorter month it is the last day.
    pub const fn day(mut self, day: u8) -> Self {
        self.day = Some(day);
        self
    }

    /// The time of day at which a day, week or month begins; midnight unless stated.
    pub const fn at(mut self, at: TimeOfDay) -> Self {
        self.at = Some(at);
        self
    }

    /// The zone whose clock decides; UTC unless stated.
    pub const fn zone(mut self, zone: Zone) -> Self {
        self.zone = zone;
        self
    }

    /// The calendar, if its settings make sense together.
    ///
    /// # Errors
    ///
    /// Names the setting that does not belong to the unit (`window.week_start`, `window.day`, `window.at`), or a day
    /// that is not 1 to 31.
    pub fn build(self) -> Result<Calendar, Error> {
        let Self { unit, week_start, day, at, zone } = self;
        if let (Some(start), true) = (week_start, unit != Unit::Week) {
            return Err(Error::invalid("window.week_start", start, "only a week has a first day"));
        }
        if let (Some(day), true) = (day, unit != Unit::Month) {
            return Err(Error::invalid("window.day", day, "only a month begins on a numbered day"));
        }
        if let (Some(at), Unit::Hour) = (at, unit) {
            return Err(Error::invalid("window.at", at, "an hour begins when the clock shows it"));
        }
        let rule = match unit {
            Unit::Hour => Rule::Hour,
            Unit::Day => Rule::Day,
            Unit::Week => Rule::Week(week_start.unwrap_or_default()),
            Unit::Month => Rule::Month(month_day(day.unwrap_or(1))?),
        };
        Ok(Calendar { rule, at: at.unwrap_or_default(), zone })
    }
}

fn month_day(day: u8) -> Result<u8, Error> {
    if (1..=31).contains(&day) {
        Ok(day)
    } else {
        Err(Error::invalid("window.day", day, "a day of the month is 1 to 31; in a shorter month it is the last"))
    }
}

impl TryFrom<CalendarBuilder> for Calendar {
    type Error = Error;

    fn try_from(settings: CalendarBuilder) -> Result<Self, Error> {
        settings.build()
    }
}

impl From<Calendar> for CalendarBuilder {
    fn from(calendar: Calendar) -> Self {
        let Calendar { rule, at, zone } = calendar;
        let mut settings = Calendar::builder(calendar.unit()).zone(zone);
        match rule {
            Rule::Hour => return settings,
            Rule::Day => {}
            Rule::Week(start) => settings.week_start = Some(start),
            Rule::Month(day) => settings.day = Some(day),
        }
        settings.at(at)
    }
}

#[cfg(feature = "serde")]
pub(super) fn read_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = Error>,
    D: serde::Deserializer<'de>,
{
    use serde::Deserialize as _;
    use serde::de::Error as _;
    let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

#[cfg(feature = "serde")]
impl serde::Serialize for TimeOfDay {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for TimeOfDay {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer)
    }
}
