//! Time zones: how a calendar's local times become instants.

use std::fmt;
use std::str::FromStr;

use super::civil;
use super::iana::Iana;
use crate::error::Error;
use crate::time::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// The last second of 9999.
const LAST: i64 = 253_402_300_799;

/// Where a calendar's clock hangs: UTC, a fixed offset, or, with the feature `tz`, a zone of IANA's database.
///
/// After 2099, the last year whose changes are listed one by one, a zone goes on as in the listed year with the same
/// calendar.
///
/// ```
/// use keyward::window::Zone;
///
/// let zone: Zone = "+05:30".parse()?;
/// assert_eq!(zone.to_string(), "+05:30");
/// assert_eq!("Z".parse(), Ok(Zone::UTC));
///
/// let error = "Mars/Olympus".parse::<Zone>().unwrap_err();
/// assert_eq!(error.field(), Some("window.zone"));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Kind);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Minutes east of UTC.
    Fixed(i16),
    Iana(Iana),
}

/// A date on the wall of some zone, as plain numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Civil {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Months since January 1970.
    pub month: i64,
    /// The day of the month, from 1.
    pub day_of_month: u8,
    /// How many days this month has.
    pub month_length: u8,
}

impl Civil {
    /// The date so many days after 1970-01-01.
    fn on(day: i64) -> Self {
        let (year, month, of_month) = civil::date(day);
        let small = |days| u8::try_from(days).unwrap_or(u8::MAX);
        let month_length = small(civil::days_in_month(year, month));
        Self { day, month: (year - 1970) * 12 + month - 1, day_of_month: small(of_month), month_length }
    }

    /// The same, if it is from 1970 to 9999.
    pub(crate) fn of_day(day: i64) -> Option<Self> {
        (0..=LAST / DAY).contains(&day).then(|| Self::on(day))
    }

    /// This day, or the last if it has fewer, of the month so many months after January 1970, if it is from then to 9999.
    pub(crate) fn of_month(month: i64, day: u8) -> Option<Self> {
        let (year, month) = (1970_i64.saturating_add(month.div_euclid(12)), month.rem_euclid(12) + 1);
        if !(1970..=9999).contains(&year) {
            return None;
        }
        let day = i64::from(day).clamp(1, civil::days_in_month(year, month));
        Self::of_day(civil::days(year, month, day))
    }
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Kind::Fixed(0));

    /// The zone that is always so many minutes ahead of UTC, or behind it if they are negative.
    ///
    /// # Errors
    ///
    /// Refuses an offset of a day or more, naming `window.zone`.
    pub fn fixed(minutes: i16) -> Result<Self, Error> {
        if minutes.unsigned_abs() < 24 * 60 {
            Ok(Self(Kind::Fixed(minutes)))
        } else {
            Err(Error::invalid("window.zone", minutes, "an offset is less than 24 hours"))
        }
    }

    /// The date that the zone's calendar shows, from 1970 to 9999; outside of these years their first or last.
    ///
    /// ```
    /// use keyward::window::Zone;
    ///
    /// let civil = "+05:30".parse::<Zone>()?.date("2024-02-28T20:00:00Z".parse()?);
    /// assert_eq!((civil.day_of_month, civil.month_length, civil.month), (29, 29, 54 * 12 + 1));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub fn date(self, now: Timestamp) -> Civil {
        let at = now.as_secs().clamp(0, LAST);
        Civil::on((at + self.offset(at)).div_euclid(DAY))
    }

    /// The first instant at which the zone's calendar shows this date, or a later one where it skips it.
    ///
    /// ```
    /// use keyward::window::Zone;
    ///
    /// let (zone, now) = ("+05:30".parse::<Zone>()?, "2024-02-28T20:00:00Z".parse()?);
    /// assert_eq!(zone.midnight(zone.date(now)), "2024-02-28T18:30:00Z".parse()?);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub fn midnight(self, date: Civil) -> Timestamp {
        let local = date.day.clamp(0, LAST / DAY).saturating_mul(DAY);
        Timestamp::from_secs(self.first(local)).unwrap_or(Timestamp::MAX)
    }

    /// How many seconds the zone's clock is ahead of UTC at an instant; all in seconds since 1970.
    pub(super) fn offset(self, at: i64) -> i64 {
        match self.0 {
            Kind::Fixed(minutes) => i64::from(minutes) * MINUTE,
            Kind::Iana(zone) => zone.offset(at),
        }
    }

    /// The first instant at which the zone's clock shows `local`, or has passed it where a change skips it.
    pub(super) fn first(self, local: i64) -> i64 {
        match self.0 {
            Kind::Fixed(_) => local - self.offset(local),
            Kind::Iana(zone) => zone.shows(local).unwrap_or_else(|| by_offsets(zone, local)),
        }
    }

    /// The last instant up to `at`, and the first after it, at which the zone's clock shows a full hour.
    pub(super) fn hour(self, at: i64) -> (i64, i64) {
        let offset = self.offset(at);
        let start = full_hour(at, offset);
        let end = start + HOUR;
        let Kind::Iana(zone) = self.0 else { return (start, end) };
        let (before, after) = (zone.offset(start), zone.offset(end));
        let start = if before == offset { start } else { full_hour(change(zone, start, at) - 1, before) };
        let end = if after == offset { end } else { full_hour(change(zone, at, end) + HOUR - 1, after) };
        (start, end)
    }
}

/// [`Zone::first`] from nothing but offsets, for labels that are skipped or not listed.
fn by_offsets(zone: Iana, local: i64) -> i64 {
    let (before, after) = (zone.offset(local - DAY), zone.offset(local + DAY));
    let plain = local - before;
    if before == after {
        return plain;
    }
    let change = change(zone, local - DAY, local + DAY);
    if plain < change { plain } else { change.max(local - after) }
}

/// The last instant up to `at` that a clock so far ahead of UTC shows as a full hour.
fn full_hour(at: i64, offset: i64) -> i64 {
    at - (at + offset).rem_euclid(HOUR)
}

/// The first instant of the offset in force at `to`, where another one is in force at `from`.
fn change(zone: Iana, from: i64, to: i64) -> i64 {
    let (mut from, mut to) = (from, to);
    let offset = zone.offset(from);
    while to - from > 1 {
        let middle = from + (to - from) / 2;
        if zone.offset(middle) == offset {
            from = middle;
        } else {
            to = middle;
        }
    }
    to
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

/// The text that reads back as the same zone.
impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Fixed(0) => f.pad("UTC"),
            Kind::Fixed(minutes) => {
                let (sign, size) = (if minutes < 0 { '-' } else { '+' }, minutes.unsigned_abs());
                f.pad(&format!("{sign}{:02}:{:02}", size / 60, size % 60))
            }
            Kind::Iana(zone) => f.pad(zone.name()),
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads `UTC`, `Z`, an offset such as `+05:30`, or, with the feature `tz`, a name of IANA's such as `Europe/Berlin`.
impl FromStr for Zone {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.as_bytes() {
            b"UTC" | b"Z" => Ok(Self::UTC),
            [sign @ (b'+' | b'-'), ..] => {
                let sign = if *sign == b'-' { -1 } else { 1 };
                let size = super::calendar::hours_and_minutes(text.get(1..).unwrap_or_default());
                size.and_then(|minutes| i16::try_from(minutes).ok())
                    .map(|minutes| Self(Kind::Fixed(sign * minutes)))
                    .ok_or_else(|| Error::invalid("window.zone", text, "an offset is written as +05:30 or -03:00"))
            }
            _ => Iana::named(text).map(|zone| Self(Kind::Iana(zone))),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Zone {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::calendar::read_text(deserializer)
    }
}

#[cfg(all(test, feature = "tz"))]
mod tests {
    use super::*;
    use crate::window::civil;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 20 } else { 10_000 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn what_offsets_alone_say_is_what_the_list_of_changes_says(
            zone in proptest::sample::select(&chrono_tz::TZ_VARIANTS[..]),
            local in civil::days(1_970, 1, 1) * DAY..civil::days(2_037, 1, 1) * DAY,
        ) {
            let zone = Iana::named(zone.name()).unwrap();
            // A change of the same day makes labels that repeat or are skipped, so look near one if there is one.
            let (from, to) = (local, local + 150 * DAY);
            let near = if zone.offset(from) == zone.offset(to) { local } else { change(zone, from, to) };
            for local in [local, near + zone.offset(near), near + zone.offset(near - 1), near + zone.offset(near) + local % HOUR] {
                if let Some(shown) = zone.shows(local) {
                    prop_assert_eq!(by_offsets(zone, local), shown, "{} {}", zone.name(), local);
                } else {
                    let first = by_offsets(zone, local);
                    prop_assert!(first + zone.offset(first) > local && first - 1 + zone.offset(first - 1) < local);
                }
            }
        }
    }
}

#[cfg(all(test, not(feature = "tz")))]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_feature_it_needs() {
        let error = "Europe/Berlin".parse::<Zone>().unwrap_err();
        assert_eq!((error.field(), error.value()), (Some("window.zone"), Some("Europe/Berlin")));
        assert!(error.to_string().contains("enable `tz`"), "{error}");
    }
}
