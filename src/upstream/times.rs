//! Times as providers write them in headers and typed fields. Each parser takes any text, and rounds up, never down.

use std::time::Duration;

use chrono::{DateTime, NaiveDate};

use super::decimal::{self, Sum, decimal, digits, only};
use crate::time::{Length, Timestamp};
use crate::usage::Hint;

/// Numbers above it count milliseconds since 1970, others seconds.
const MOST_SECONDS: u128 = 100_000_000_000;
/// Bare numbers from here on (September 2001) are instants, and no waits of thirty years.
const LEAST_UNIX: u128 = 1_000_000_000;
/// Units as Go writes them, in nanoseconds; both letters that look like a mu.
const GO_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", decimal::MICRO),
    ("µs", decimal::MICRO),
    ("μs", decimal::MICRO),
    ("ms", decimal::MILLI),
    ("s", decimal::SECOND),
    ("m", decimal::MINUTE),
    ("h", decimal::HOUR),
];
pub(super) const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A wait as Go prints it, or in bare seconds, rounded up to whole microseconds. What is longer than 292,000 years is
/// that long.
///
/// ```
/// use keyward::upstream::go_duration;
/// use std::time::Duration;
///
/// assert_eq!(go_duration("2m59.56s"), Some(Duration::from_millis(179_560)));
/// assert_eq!(go_duration("37"), Some(Duration::from_secs(37)));
/// assert_eq!(go_duration("45.837906927s"), Some(Duration::from_micros(45_837_907)));
/// assert_eq!(go_duration("6m 0s"), None);
/// ```
#[must_use]
pub fn go_duration(text: &str) -> Option<Duration> {
    if let Some(seconds) = only(text) {
        return Some(seconds.times(decimal::SECOND).duration());
    }
    let mut rest = text.trim();
    let mut sum = Sum::default();
    while !rest.is_empty() {
        let (number, tail) = decimal(rest)?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(end)?;
        let (_, nanos) = GO_UNITS.iter().find(|(name, _)| *name == unit)?;
        sum = sum.and(number.times(*nanos));
        rest = next;
    }
    (!text.trim().is_empty()).then(|| sum.duration())
}

/// `Retry-After`: seconds, decimals kept, or an HTTP date.
///
/// A date is what the provider's clock will show, so it is taken relative to the `date` of the same answer, if there is
/// a readable one.
///
/// ```
/// use keyward::upstream::retry_after;
/// use keyward::{Hint, Length, Timestamp};
///
/// let now = Timestamp::EPOCH;
/// assert_eq!(retry_after("0.5", None, now), Some(Hint::Wait("500ms".parse()?)));
/// let (date, retry) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:37 GMT");
/// assert_eq!(retry_after(retry, Some(date), now), Some(Hint::Wait(Length::MINUTE)));
/// assert_eq!(retry_after("-1", None, now), None);
/// # Ok::<(), keyward::Error>(())
/// ```
#[must_use]
pub fn retry_after(value: &str, date: Option<&str>, now: Timestamp) -> Option<Hint> {
    if let Some(seconds) = only(value) {
        return Some(Hint::after(seconds.times(decimal::SECOND).duration(), now));
    }
    let at = http_date(value, now)?;
    let Some(date) = date.and_then(|date| http_date(date, now)) else { return Some(Hint::Stated(at)) };
    Some(match Length::from_micros(at.as_micros().saturating_sub(date.as_micros())) {
        Some(wait) => Hint::Wait(wait),
        None => Hint::Stated(now),
    })
}

/// `retry-after-ms`: milliseconds, decimals kept.
///
/// ```
/// use keyward::upstream::retry_after_ms;
/// use std::time::Duration;
///
/// assert_eq!(retry_after_ms("1500"), Some(Duration::from_millis(1_500)));
/// assert_eq!(retry_after_ms("x"), None);
/// ```
#[must_use]
pub fn retry_after_ms(value: &str) -> Option<Duration> {
    only(value).map(|millis| millis.times(decimal::MILLI).duration())
}

/// An instant as in RFC 3339, with any offset; what is finer than a microsecond is rounded up.
///
/// ```
/// use keyward::upstream::rfc3339;
///
/// assert_eq!(rfc3339("2026-05-28T17:00:00.0000001+02:00"), Some("2026-05-28T15:00:00.000001Z".parse()?));
/// assert_eq!(rfc3339("tomorrow"), None);
/// # Ok::<(), keyward::Error>(())
/// ```
#[must_use]
pub fn rfc3339(text: &str) -> Option<Timestamp> {
    let at = DateTime::parse_from_rfc3339(text.trim()).ok()?;
    // A leap second has more than 10^9 of them, which leads into the next second.
    let nanos = i64::from(at.timestamp_subsec_nanos());
    let micros = at.timestamp().checked_mul(1_000_000)?.checked_add(nanos / 1_000 + i64::from(nanos % 1_000 > 0))?;
    Some(Timestamp::from_micros(micros))
}

/// Seconds since 1970, or milliseconds if the number is above 10^11; decimals are kept, and rounded up.
///
/// ```
/// use keyward::upstream::unix;
/// use keyward::Timestamp;
///
/// assert_eq!(unix("1779987600"), Timestamp::from_secs(1_779_987_600));
/// assert_eq!(unix("1779987600000"), Timestamp::from_secs(1_779_987_600));
/// assert_eq!(unix("soon"), None);
/// ```
#[must_use]
pub fn unix(text: &str) -> Option<Timestamp> {
    let number = only(text)?;
    let unit = if number.whole > MOST_SECONDS { decimal::MILLI } else { decimal::SECOND };
    Some(Timestamp::from_micros(number.times(unit).micros()))
}

/// A reset in any of the forms that headers have: RFC 3339, seconds or milliseconds since 1970, a Go duration, or bare
/// seconds from now.
///
/// ```
/// use keyward::upstream::reset;
/// use keyward::Timestamp;
///
/// let now: Timestamp = "2026-05-28T16:59:00Z".parse()?;
/// for text in ["1m0s", "60", "1779987600", "2026-05-28T17:00:00Z"] {
///     assert_eq!(reset(text, now).map(|at| at.to_string()).as_deref(), Some("2026-05-28T17:00:00Z"));
/// }
/// # Ok::<(), keyward::Error>(())
/// ```
#[must_use]
pub fn reset(text: &str, now: Timestamp) -> Option<Timestamp> {
    match only(text) {
        Some(number) if number.whole >= LEAST_UNIX => unix(text),
        _ => go_duration(text).map(|wait| Hint::after(wait, now).instant(now)).or_else(|| rfc3339(text)),
    }
}

/// An HTTP date in any of its three forms. A year of two digits is the one that is at most fifty years ahead of `now`.
///
/// ```
/// use keyward::upstream::http_date;
/// use keyward::Timestamp;
///
/// let now: Timestamp = "2026-01-01T00:00:00Z".parse()?;
/// let at = Some("1994-11-06T08:49:37Z".parse()?);
/// assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT", now), at);
/// assert_eq!(http_date("Sunday, 06-Nov-94 08:49:37 GMT", now), at);
/// assert_eq!(http_date("Sun Nov  6 08:49:37 1994", now), at);
/// # Ok::<(), keyward::Error>(())
/// ```
#[must_use]
pub fn http_date(text: &str, now: Timestamp) -> Option<Timestamp> {
    let mut words = text.split([' ', ',', '-']).filter(|word| !word.is_empty());
    one_of(words.next()?, &DAYS)?;
    let (second, third) = (words.next()?, words.next()?);
    let (day, month, year, time) = match one_of(second, &MONTHS) {
        Some(month) => {
            let (time, year) = (words.next()?, words.next()?);
            (third, month, year, time)
        }
        None => {
            let (year, time) = (words.next()?, words.next()?);
            words.next().filter(|zone| ["GMT", "UTC"].contains(zone))?;
            (second, one_of(third, &MONTHS)?, year, time)
        }
    };
    if words.next().is_some() {
        return None;
    }
    let mut parts = time.split(':').map(|part| number(part).filter(|_| part.len() == 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    // A leap second leads into the next one.
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = i64::from(hour * 3_600 + minute * 60 + second);
    let at = |year: u32| {
        let day = day_number(i32::try_from(year).ok()?, month, number(day)?)?;
        Timestamp::from_secs(day * 86_400 + seconds)
    };
    match (year.len(), number(year)?) {
        (4, year) => at(year),
        (2, year) => {
            let latest = now.saturating_add(Length::from_secs(50 * 31_556_952)?);
            (0..100).rev().filter_map(|century| at(century * 100 + year)).find(|at| *at <= latest)
        }
        _ => None,
    }
}

/// Days from 1970 to a date that exists.
pub(super) fn day_number(year: i32, month: u32, day: u32) -> Option<i64> {
    let date = NaiveDate::from_ymd_opt(year, month, day)?;
    Some(date.signed_duration_since(NaiveDate::default()).num_days())
}

/// A number of at most four ASCII digits.
pub(super) fn number(text: &str) -> Option<u32> {
    digits(text).filter(|(digits, rest)| rest.is_empty() && digits.len() <= 4).and_then(|_| text.parse().ok())
}

/// The place, from 1, of the name that a text is, or abbreviates with three letters or more.
pub(super) fn one_of(text: &str, names: &[&str]) -> Option<u32> {
    let is = |name: &&str| name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    let at = names.iter().position(is).filter(|_| text.len() >= 3)?;
    u32::try_from(at + 1).ok()
}
