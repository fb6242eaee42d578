//! The headers that tell of limits.

use std::collections::BTreeSet;
use std::time::Duration;

use super::left::{Quota, Told};
use super::{Family, Header};
use crate::amount::{Amount, Measure};
use crate::time::Timestamp;

/// The largest number of a structured field.
const MOST: i64 = 999_999_999_999_999;
const NANOS_PER_MICRO: i64 = 1_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Writes what these families say of the limits. A caller who is told when to come back is not told to wait any longer.
pub(super) fn write(
    headers: &mut Vec<Header>,
    families: &BTreeSet<Family>,
    told: &[Told<'_>],
    retry_after: Option<u64>,
    now: Timestamp,
) {
    for family in families {
        match family {
            Family::RetryAfter => {}
            Family::RateLimit => {
                list(headers, "ratelimit", told.iter().filter_map(|told| service_limit(told, retry_after, now)));
                list(headers, "ratelimit-policy", told.iter().filter_map(policy));
            }
            Family::XRateLimit => {
                let names = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
                let reset = |at: Timestamp| at.as_micros().saturating_add(MICROS_PER_SECOND - 1);
                let reset = |at| reset(at).div_euclid(MICROS_PER_SECOND).to_string();
                three(headers, names, tightest(told, &Measure::Requests), reset);
            }
            Family::OpenAi => {
                let requests =
                    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
                let tokens = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
                let reset = |at: Timestamp| go(at.since(now));
                three(headers, requests, tightest(told, &Measure::Requests), reset);
                three(headers, tokens, tightest(told, &Measure::Tokens), reset);
            }
        }
    }
}

/// A field that is a list, if there is anything in it.
fn list(headers: &mut Vec<Header>, name: &'static str, items: impl Iterator<Item = String>) {
    let items: Vec<String> = items.collect();
    if !items.is_empty() {
        headers.push((name, items.join(", ")));
    }
}

/// `"calls";r=0;t=30`.
fn service_limit(told: &Told<'_>, retry_after: Option<u64>, now: Timestamp) -> Option<String> {
    let mut item = format!("{};r={}", string(told.limit.as_str()), integer(told.measure, told.remaining?));
    if let Some(at) = told.until() {
        let seconds = seconds(at.since(now));
        item.push_str(&format!(";t={}", retry_after.map_or(seconds, |most| seconds.min(most))));
    }
    Some(item)
}

/// `"calls";q=60;w=60`, `"spend";q=25000000;qu="micro-usd";w=2592000`.
fn policy(told: &Told<'_>) -> Option<String> {
    let Quota { amount, window } = told.quota()?;
    let mut item = format!("{};q={}", string(told.limit.as_str()), integer(told.measure, amount));
    let unit = match told.measure {
        Measure::Requests => None,
        Measure::Slots => Some("concurrent-requests"),
        Measure::Usd => Some("micro-usd"),
        other => Some(other.name()),
    };
    if let Some(unit) = unit {
        item.push_str(&format!(";qu={}", string(unit)));
    }
    if let Some(window) = window.filter(|_| *told.measure != Measure::Slots) {
        item.push_str(&format!(";w={}", seconds(Duration::from(window))));
    }
    Some(item)
}

/// A string of a structured field that stands for a name: of two names that differ, the strings do.
fn string(name: &str) -> String {
    format!("\"{}\"", identifier(name).replace('\\', "\\\\").replace('"', "\\\""))
}

/// A name in visible ASCII and blanks; everything else is percent-encoded, and so is `%`.
pub(super) fn identifier(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'%' | ..=0x1f | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            plain => text.push(char::from(plain)),
        }
    }
    text
}

/// An amount as a number of a structured field: money in millionths of a dollar, rounded down.
fn integer(measure: &Measure, amount: Amount) -> i64 {
    let units = if *measure == Measure::Usd { amount.get() / NANOS_PER_MICRO } else { amount.get() };
    units.min(MOST)
}

/// Whole seconds, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

/// Of the limits of a measure the one with the least left, and of several the one that has it the longest.
fn tightest<'t, 'a>(told: &'t [Told<'a>], measure: &Measure) -> Option<&'t Told<'a>> {
    let of_it = told.iter().filter(|told| told.measure == measure && told.remaining.is_some());
    of_it.min_by_key(|told| (told.remaining, std::cmp::Reverse(told.until().unwrap_or(Timestamp::MAX))))
}

/// How much there is, how much is left, and when there is more.
fn three(
    headers: &mut Vec<Header>,
    names: [&'static str; 3],
    told: Option<&Told<'_>>,
    reset: impl Fn(Timestamp) -> String,
) {
    let Some(told) = told else { return };
    let values = [
        told.quota().map(|quota| quota.amount.to_string()),
        told.remaining.map(|amount| amount.to_string()),
        told.until().map(reset),
    ];
    headers.extend(names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))));
}

/// A wait as Go prints it, in whole milliseconds and rounded up: `1h0m2.5s`, `6m0s`, `120ms`, `0s`.
fn go(wait: Duration) -> String {
    let millis = wait.as_nanos().div_ceil(1_000_000);
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let mut text = match (hours, minutes) {
        (0, 0) if millis == 0 => return "0s".to_owned(),
        (0, 0) if millis < 1_000 => return format!("{millis}ms"),
        (0, 0) => String::new(),
        (0, minutes) => format!("{minutes}m"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    };
    text.push_str(&(rest / 1_000).to_string());
    if rest % 1_000 > 0 {
        text.push_str(format!(".{:03}", rest % 1_000).trim_end_matches('0'));
    }
    text.push('s');
    text
}
