//! What the words of a message say, for answers that say nothing else. Reading them is asked for, never done unasked.

use super::clock;
use super::fields::MESSAGE;
use crate::time::Timestamp;
use crate::usage::Class;

/// What speaks of credits that are gone.
const QUOTA: [&[&str]; 9] = [
    &["out", "of", "credits"],
    &["insufficient_quota"],
    &["insufficient", "quota"],
    &["insufficient", "credits"],
    &["insufficient", "balance"],
    &["credit", "balance", "is", "too", "low"],
    &["exceeded", "your", "current", "quota"],
    &["reached", "your", "specified", "api", "usage", "limits"],
    &["billing_hard_limit_reached"],
];
const OVERLOADED: [&[&str]; 5] = [
    &["overloaded_error"],
    &["engine_overloaded"],
    &["529", "overloaded"],
    &["currently", "overloaded"],
    &["model", "is", "overloaded"],
];
/// What speaks of a rate in words of its own; limits by their kinds are looked for beside it.
const RATE: [&[&str]; 9] = [
    &["too", "many", "requests"],
    &["rate", "limited"],
    &["rate_limited"],
    &["rate_limit_exceeded"],
    &["rate_limit_error"],
    &["resource_exhausted"],
    &["usage_limit_reached"],
    &["throttlingexception"],
    &["toomanyrequestsexception"],
];
/// What a limit is called by, so that a head that is hit on one is none.
const KINDS: [&str; 21] = [
    "rate", "usage", "session", "weekly", "daily", "hourly", "monthly", "minute", "hour", "day", "week", "month",
    "token", "tokens", "request", "requests", "api", "plan", "opus", "sonnet", "five",
];
/// Whose limit it is.
const OWNERS: [&str; 4] = ["org's", "organization's", "workspace's", "team's"];
/// What comes before the number of a status, so that a line of a file is none.
const BEFORE_STATUS: [&str; 4] = ["status", "code", "http", "error"];

/// What a text says about the key, word for word: [`Class::RateLimited`], [`Class::QuotaExhausted`],
/// [`Class::Overloaded`], or else [`Class::NoVerdict`]. The first 4 KiB are read.
///
/// ```
/// use keyward::Class;
/// use keyward::upstream::text_class;
///
/// assert_eq!(text_class("You've hit your weekly limit"), Class::RateLimited);
/// assert_eq!(text_class("insufficient_quota"), Class::QuotaExhausted);
/// assert_eq!(text_class("API Error: 529"), Class::Overloaded);
/// assert_eq!(text_class("line 429 of file.ts"), Class::NoVerdict);
/// ```
#[must_use]
pub fn text_class(text: &str) -> Class {
    let text = start(text);
    let lower = text.to_ascii_lowercase().replace('’', "'");
    let words: Vec<&str> = lower.split(|c: char| !is_of_a_word(c)).filter(|word| !word.is_empty()).collect();
    let says =
        |phrases: &[&[&str]]| phrases.iter().any(|phrase| words.windows(phrase.len()).any(|window| window == *phrase));
    if says(&QUOTA) {
        Class::QuotaExhausted
    } else if says(&OVERLOADED) || is_status(&words, "529") {
        Class::Overloaded
    } else if says(&RATE) || is_status(&words, "429") || is_limit(&words) || clock::asks_to_come_back(text) {
        Class::RateLimited
    } else {
        Class::NoVerdict
    }
}

/// Whether a text says these words: in any case, and not as a part of longer ones.
pub(super) fn says(text: &[u8], words: &str) -> bool {
    let words = words.as_bytes();
    let is_inner = |edge: Option<&u8>, beside: Option<&u8>| {
        let of_a_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        of_a_word(edge) && of_a_word(beside)
    };
    !words.is_empty()
        && text.windows(words.len()).enumerate().any(|(at, window)| {
            let before = at.checked_sub(1).and_then(|before| text.get(before));
            window.eq_ignore_ascii_case(words)
                && !is_inner(words.first(), before)
                && !is_inner(words.last(), text.get(at + words.len()))
        })
}

/// As much of a text as is read.
pub(super) fn start(text: &str) -> &str {
    let end = (0..=MESSAGE.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// `status 429`, `HTTP/1.1 429`, `error code: 429`, or the number alone.
fn is_status(words: &[&str], number: &str) -> bool {
    words == [number]
        || words
            .windows(2)
            .any(|window| matches!(window, [before, status] if *status == number && BEFORE_STATUS.contains(before)))
        || words.windows(4).any(|window| matches!(window, ["http", "1", "0" | "1", status] if *status == number))
        || words.windows(3).any(|window| matches!(window, ["http", "2" | "3", status] if *status == number))
}

/// `weekly limit reached`, or `hit your 5-hour limit`.
fn is_limit(words: &[&str]) -> bool {
    let reached = |word: &&str| ["reached", "exceeded", "hit"].contains(word);
    let of_limits =
        |word: &&str| KINDS.contains(word) || OWNERS.contains(word) || word.bytes().all(|byte| byte.is_ascii_digit());
    words.iter().enumerate().filter(|(_, word)| **word == "limit").any(|(at, _)| {
        let (before, after) = (words.get(..at).unwrap_or_default(), words.get(at + 1));
        let kinds = before.iter().rev().take_while(|word| of_limits(word)).count();
        let mut rest = before.iter().rev().skip(kinds);
        let is_yours = rest.next() == Some(&"your") && rest.next().is_some_and(reached);
        is_yours || (kinds > 0 && after.is_some_and(reached))
    })
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '\''
}

/// What a message says of the time at which a key can be used again, as [`text_reset`](super::text_reset) reads it.
pub(super) fn reset(text: &str, now: Timestamp) -> Option<Timestamp> {
    clock::text_reset(start(text), now)
}
