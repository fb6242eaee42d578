//! What a provider says of its own limits, in the headers of any answer and in events of its own.

use super::decimal::only;
use super::json::{Scalar, unescape, walk};
use super::times::{reset, unix};
use super::{Profile, Reply};
use crate::time::Timestamp;
use crate::usage::{Class, Hint, Outcome, ProviderWindow};

/// How many units a limit has that is stated only as a share.
const SHARES: u64 = 1_000_000;
/// How much of an event is read, and of a name in it.
const READ: usize = 64 * 1_024;
const NAME: usize = 128;
const ANTHROPIC: [&str; 4] = ["requests", "tokens", "input-tokens", "output-tokens"];
const OPENAI: [&str; 2] = ["requests", "tokens"];
const UNIFIED: [&str; 5] = ["5h", "7d", "7d_opus", "7d_sonnet", "overage"];

/// The windows that the headers of an answer speak of.
pub(super) fn windows(reply: &Reply<'_>, profile: Profile) -> Vec<ProviderWindow> {
    match profile {
        Profile::OpenAi | Profile::Azure | Profile::Groq => {
            OPENAI.iter().filter_map(|name| by_name(reply, name, |part| format!("x-ratelimit-{part}-{name}"))).collect()
        }
        Profile::Anthropic => {
            let own = ANTHROPIC
                .iter()
                .filter_map(|name| by_name(reply, name, |part| format!("anthropic-ratelimit-{name}-{part}")));
            own.chain(UNIFIED.iter().filter_map(|name| unified(reply, name))).collect()
        }
        Profile::Gemini | Profile::Bedrock => Vec::new(),
    }
}

/// When all windows that are used up have begun anew.
pub(super) fn exhausted_until(windows: &[ProviderWindow]) -> Option<Timestamp> {
    windows.iter().filter(|window| window.remaining == Some(0)).filter_map(|window| window.resets).max()
}

fn by_name(reply: &Reply<'_>, name: &str, header: impl Fn(&str) -> String) -> Option<ProviderWindow> {
    let [limit, remaining, resets] = ["limit", "remaining", "reset"].map(|part| reply.header(&header(part)));
    // Azure says -1 for what it does not know, and a reset of 0 along with it.
    let is_unknown = |count: Option<&str>| count.is_some_and(|count| count.trim().starts_with('-'));
    let resets = resets.and_then(|text| reset(text, reply.now));
    let resets = resets.filter(|_| !is_unknown(limit) && !is_unknown(remaining));
    let window = ProviderWindow {
        name: name.to_owned(),
        limit: limit.and_then(count),
        remaining: remaining.and_then(count),
        resets,
    };
    (window.limit.is_some() || window.remaining.is_some() || window.resets.is_some()).then_some(window)
}

/// A count; a part of one is not left.
fn count(text: &str) -> Option<u64> {
    only(text).map(|number| u64::try_from(number.whole).unwrap_or(u64::MAX))
}

/// A window of Anthropic's subscriptions, which states a share used and a status.
fn unified(reply: &Reply<'_>, name: &str) -> Option<ProviderWindow> {
    let header = |part: &str| reply.header(&format!("anthropic-ratelimit-unified-{name}-{part}"));
    let status = header("status").map(Status::of);
    let used = header("utilization").and_then(share);
    window(format!("unified-{name}"), status, used, header("reset").and_then(unix))
}

fn window(
    name: String,
    status: Option<Status>,
    used: Option<u64>,
    resets: Option<Timestamp>,
) -> Option<ProviderWindow> {
    let used = if status == Some(Status::Rejected) { Some(SHARES) } else { used };
    let limit = used.map(|_| SHARES);
    let remaining = used.map(|used| SHARES.saturating_sub(used));
    (used.is_some() || resets.is_some()).then_some(ProviderWindow { name, limit, remaining, resets })
}

/// A share of one, in millionths and rounded up.
fn share(text: &str) -> Option<u64> {
    only(text).map(|share| share.of(SHARES))
}

/// Whether a provider still serves a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Status {
    /// It does.
    Allowed,
    /// It does, and warns that the limit is near.
    Warning,
    /// It does not.
    Rejected,
    /// It says something else.
    Unknown,
}

impl Status {
    pub(super) fn of(text: &str) -> Self {
        match text.trim() {
            "allowed" => Self::Allowed,
            "allowed_warning" => Self::Warning,
            "rejected" => Self::Rejected,
            _ => Self::Unknown,
        }
    }
}

/// A provider's own report of where a key stands in one of its windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RateLimitEvent {
    /// Whether the provider still serves the key.
    pub status: Status,
    /// The window; if only the share that is used was stated, its limit is a million.
    pub window: ProviderWindow,
}

impl RateLimitEvent {
    /// Reads a `rate_limit_event` as Anthropic's agents send it: `status`, `rateLimitType`, `utilization` (a share of one)
    /// and `resetsAt`, alone or inside `rate_limit_info`.
    ///
    /// ```
    /// use keyward::upstream::{RateLimitEvent, Status};
    ///
    /// let json = br#"{"type": "rate_limit_event", "rate_limit_info": {"status": "allowed_warning",
    ///     "rateLimitType": "five_hour", "utilization": 0.83, "resetsAt": 1779987600}}"#;
    /// let event = RateLimitEvent::of(json).ok_or("no event")?;
    /// assert_eq!((event.status, event.window.name.as_str()), (Status::Warning, "five_hour"));
    /// assert_eq!((event.window.limit, event.window.remaining), (Some(1_000_000), Some(170_000)));
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn of(json: &[u8]) -> Option<Self> {
        let (mut status, mut name, mut used, mut resets) = (None, None, None, None);
        walk(json.get(..READ).unwrap_or(json), &mut |keys, scalar| {
            let ([b"rate_limit_info", key] | [key]) = keys else { return };
            let (Scalar::Text(raw) | Scalar::Bare(raw)) = scalar;
            let text = unescape(raw, NAME);
            match *key {
                b"status" => status = Some(Status::of(&text)),
                b"rateLimitType" => name = Some(text),
                b"utilization" => used = share(&text),
                b"resetsAt" => resets = unix(&text),
                _ => {}
            }
        });
        let window = window(name?, status, used, resets)?;
        Some(Self { status: status.unwrap_or(Status::Unknown), window })
    }

    /// What the event means for the key: a rejection until the window begins anew, or no verdict.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match (self.status, self.window.resets) {
            (Status::Rejected, Some(at)) => Outcome::new(Class::RateLimited).with_hint(Hint::Stated(at)),
            (Status::Rejected, None) => Outcome::new(Class::RateLimited),
            _ => Outcome::new(Class::NoVerdict),
        }
    }
}
