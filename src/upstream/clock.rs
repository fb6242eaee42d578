//! Times of day, dates and waits in the words of a message.

use super::decimal::{self, Sum, decimal, digits};
use super::times::{MONTHS, day_number, number, one_of, rfc3339, unix};
use super::words::start;
use crate::time::{Length, Timestamp};
use crate::usage::Hint;
use crate::window::{Calendar, TimeOfDay, Unit, Zone};

/// What comes before a time at which to come back: a text that says so speaks of a rate.
const COME_BACK: [&str; 4] = ["try again", "retry after", "retry in", "retry at"];
/// What comes before other times of a reset.
const RESET: [&str; 4] = ["resets", "reset", "regain access", "limit reached|"];
/// What may stand between the two.
const BETWEEN: [&str; 4] = ["at", "on", "in", "after"];
/// How far in the past a time of day may be and still mean today: a clock is never quite right.
const SKEW: Option<Length> = Length::from_secs(120);
/// From one 29 February to the next, over a century that has none.
const YEARS: i32 = 8;
const UNITS: [(&[&str], u64); 7] = [
    (&["ms", "millisecond", "milliseconds"], decimal::MILLI),
    (&["s", "sec", "secs", "second", "seconds"], decimal::SECOND),
    (&["m", "min", "mins", "minute", "minutes"], decimal::MINUTE),
    (&["h", "hr", "hrs", "hour", "hours"], decimal::HOUR),
    (&["d", "day", "days"], decimal::DAY),
    (&["w", "week", "weeks"], decimal::WEEK),
    (&["us", "µs", "μs"], decimal::MICRO),
];

/// When a message says that a key can be used again: a wait (`try again in 20s`), a time of day (`resets 3pm (UTC)`), a
/// date (`resets May 28, 5pm (UTC)`), or an instant. The first 4 KiB are read.
///
/// A time without a zone is in UTC; one in a zone that cannot be read is no time (names such as `Europe/Berlin` need the
/// feature `tz`). A time of day, or a date without a year, is the next one, unless it was up to two minutes ago.
///
/// ```
/// use keyward::upstream::text_reset;
///
/// let now = "2026-05-14T15:00:05Z".parse()?;
/// let read = |text| text_reset(text, now).map(|at| at.to_string());
/// assert_eq!(read("resets 3pm (UTC)").as_deref(), Some("2026-05-14T15:00:00Z"));
/// assert_eq!(read("Please try again in 1m0.5s").as_deref(), Some("2026-05-14T15:01:05.500Z"));
/// assert_eq!(read("resets May 28, 5pm (UTC)").as_deref(), Some("2026-05-28T17:00:00Z"));
/// assert_eq!(read("try again at 13:99 PM"), None);
/// # Ok::<(), keyward::Error>(())
/// ```
#[must_use]
pub fn text_reset(text: &str, now: Timestamp) -> Option<Timestamp> {
    after(start(text), &COME_BACK, now).or_else(|| after(start(text), &RESET, now))
}

/// Whether a text asks to come back at a time, or after one.
pub(super) fn asks_to_come_back(text: &str) -> bool {
    after(text, &COME_BACK, Timestamp::EPOCH).is_some()
}

/// The first time that follows one of these phrases.
fn after(text: &str, phrases: &[&str], now: Timestamp) -> Option<Timestamp> {
    let mut inside = false;
    text.char_indices().find_map(|(at, c)| {
        let begins = c.is_ascii_alphabetic() && !inside;
        inside = c.is_alphanumeric();
        let here = text.get(at..).filter(|_| begins)?;
        phrases.iter().find_map(|phrase| {
            let mut tail = strip(here, phrase)?;
            while let Some(rest) = BETWEEN.iter().find_map(|word| strip_word(blanks(tail), word)) {
                tail = rest;
            }
            let tail = blanks(tail);
            wait(tail).map(|wait| Hint::after(wait.duration(), now).instant(now)).or_else(|| moment(tail, now))
        })
    })
}

/// `2 days 13 hours`, `1m30s`, `60 seconds`, as far as it goes; a unit is needed.
fn wait(text: &str) -> Option<Sum> {
    let (mut sum, mut rest) = (None, text);
    while let Some((number, tail)) = decimal(rest) {
        let tail = tail.strip_prefix([' ', '-']).unwrap_or(tail);
        let (unit, next) = letters(tail);
        let Some((_, nanos)) = UNITS.iter().find(|(names, _)| names.iter().any(|name| name.eq_ignore_ascii_case(unit)))
        else {
            break;
        };
        sum = Some(number.times(*nanos).and(sum.unwrap_or_default()));
        rest = blanks(next);
        rest = strip_word(rest, "and").map_or(rest, blanks);
    }
    // What goes on in the digits of another script was not read to its end.
    sum.filter(|_| !rest.starts_with(char::is_numeric) || rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// An instant, or a date and a time of day, or one of them.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let end = text.find(|c: char| c.is_whitespace() || "()".contains(c)).unwrap_or(text.len());
    let word = text.get(..end)?.trim_end_matches(['.', ',', ';']);
    if word.len() >= 10 && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return unix(word);
    }
    if let Some(at) = rfc3339(word) {
        return Some(at);
    }
    let (date, rest) = date(text)?;
    let rest = blanks(rest);
    let rest = strip_word(rest, "at").map_or(rest, blanks);
    let (time, rest) = match (time(rest), &date) {
        (Some(found), _) => found,
        (None, Date::Next) => return None,
        // A date alone is its midnight; what looks like a time and is none makes all of it unreadable.
        (None, _) if rest.starts_with(char::is_numeric) => return None,
        (None, _) => (Time::default(), rest),
    };
    let (zone, rest) = zone(rest)?;
    if is_dated(rest) {
        return None;
    }
    let calendar = Calendar::builder(Unit::Day).at(time.minute).zone(zone).build().ok()?;
    let second = Length::from_secs(i64::from(time.second));
    let second = |at: Timestamp| second.map_or(at, |second| at.saturating_add(second));
    let skewed = now.saturating_sub(SKEW?);
    match date {
        Date::Next => {
            let window = calendar.window(skewed);
            [window.start, window.end].map(second).into_iter().find(|at| *at >= skewed && window.end < Timestamp::MAX)
        }
        Date::Full { year, month, day } => on(calendar, day_number(year, month, day)?).map(second),
        Date::NoYear { month, day } => {
            let this = i32::try_from(1970 + calendar.zone().date(skewed).month.div_euclid(12)).ok()?;
            (this..=this + YEARS)
                .filter_map(|year| on(calendar, day_number(year, month, day)?).map(second))
                .find(|at| *at >= skewed)
        }
    }
}

/// When the calendar's day begins on this date, in days since 1970.
fn on(calendar: Calendar, date: i64) -> Option<Timestamp> {
    // No zone is a day away from UTC, so the fourth beginning is past the date.
    let mut at = Timestamp::from_secs((date - 2) * 86_400)?;
    for _ in 0..5 {
        at = calendar.window(at).resets_at()?;
        if calendar.zone().date(at).day == date {
            return Some(at);
        }
    }
    None
}

enum Date {
    /// None was stated.
    Next,
    NoYear {
        month: u32,
        day: u32,
    },
    Full {
        year: i32,
        month: u32,
        day: u32,
    },
}

/// `May 28`, `May 28th, 2026`, `2026-05-28`, or no date, and what follows it.
fn date(text: &str) -> Option<(Date, &str)> {
    if let [year, month, day] = text.get(..10).unwrap_or_default().split('-').collect::<Vec<_>>()[..] {
        let year = i32::try_from(number(year)?).ok()?;
        return Some((Date::Full { year, month: number(month)?, day: number(day)? }, text.get(10..)?));
    }
    let (name, rest) = letters(text);
    if name.is_empty() {
        return Some((Date::Next, text));
    }
    let month = one_of(name, &MONTHS)?;
    let (day, rest) = digits(blanks(rest.strip_prefix('.').unwrap_or(rest)))?;
    let day = number(day)?;
    let (suffix, tail) = letters(rest);
    let rest = if ["st", "nd", "rd", "th"].contains(&suffix) { tail } else { rest };
    match digits(blanks(rest)) {
        Some((year, rest)) if year.len() == 4 && !rest.starts_with(':') => {
            Some((Date::Full { year: i32::try_from(number(year)?).ok()?, month, day }, rest))
        }
        _ => Some((Date::NoYear { month, day }, rest)),
    }
}

#[derive(Default)]
struct Time {
    minute: TimeOfDay,
    second: u32,
}

/// `3pm`, `8:35 PM`, `15:00`, `15:00:30`, and what follows it.
fn time(text: &str) -> Option<(Time, &str)> {
    let (hour, mut rest) = digits(text).filter(|(hour, _)| hour.len() <= 2)?;
    let mut parts = [None; 2];
    for part in &mut parts {
        let Some(tail) = rest.strip_prefix(':') else { break };
        let (found, tail) = digits(tail).filter(|(found, _)| found.len() == 2)?;
        *part = Some(number(found).filter(|found| *found < 60)?);
        rest = tail;
    }
    let [minute, second] = parts;
    let hour = number(hour)?;
    let (hour, rest) = match half(rest) {
        Some((half, tail)) if (1..=12).contains(&hour) => (hour % 12 + half, tail),
        None if minute.is_some() && hour < 24 => (hour, rest),
        _ => return None,
    };
    // Digits of another script, or letters at once, would be a part of it that was not read.
    if rest.starts_with(|c: char| c.is_alphanumeric() && c != 'Z') {
        return None;
    }
    let minute = format!("{hour:02}:{:02}", minute.unwrap_or(0)).parse().ok()?;
    Some((Time { minute, second: second.unwrap_or(0) }, rest))
}

/// The hour that `am`, `pm`, `a.m.` or `p.m.` begins to count from, and what follows.
fn half(text: &str) -> Option<(u32, &str)> {
    let text = blanks(text);
    let halves = [("a.m.", 0), ("p.m.", 12), ("am", 0), ("pm", 12)];
    halves.into_iter().find_map(|(name, from)| strip(text, name).map(|rest| (from, rest)))
}

/// The zone that follows a time, in brackets or in capitals, and what follows it. UTC if there is none, and nothing if it
/// cannot be read.
fn zone(text: &str) -> Option<(Zone, &str)> {
    let text = blanks(text);
    let (name, rest) = match text.strip_prefix('(') {
        Some(inside) => inside.split_once(')').map(|(name, rest)| (name.trim(), rest))?,
        None => {
            let (word, rest) = letters(text);
            let is_zone = word == "Z" || (word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase()));
            if !is_zone {
                return Some((Zone::UTC, text));
            }
            (word, rest)
        }
    };
    let is_utc = ["UTC", "GMT", "Z"].iter().any(|utc| name.eq_ignore_ascii_case(utc));
    let zone = if is_utc { Some(Zone::UTC) } else { name.parse().ok() };
    zone.map(|zone| (zone, rest))
}

/// Whether a text goes on with a date, which the time before it belongs to.
fn is_dated(text: &str) -> bool {
    let text = blanks(text);
    strip_word(text, "on").is_some() || one_of(letters(text).0, &MONTHS).is_some()
}

/// The letters that a text begins with, and what follows them.
fn letters(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or_default()
}

fn blanks(text: &str) -> &str {
    text.trim_start_matches([' ', ',', ':', '\t', '\u{a0}', '\u{202f}'])
}

fn strip<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.get(..start.len()).filter(|found| found.eq_ignore_ascii_case(start)).and_then(|_| text.get(start.len()..))
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    strip(text, word).filter(|rest| !rest.starts_with(char::is_alphanumeric))
}
