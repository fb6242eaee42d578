//! What a provider's answer means for the key that was used: status, headers and body in, an [`Outcome`] out.
//!
//! Status and typed fields decide first, then headers say until when; the words of a message come last, and only where
//! a host asks for it. Nothing here touches the network: whatever HTTP library a host has, it hands over a status, a way
//! to look up a header, and bytes. Every parser takes any text; what it cannot read it does not guess.
//!
//! ```
//! use keyward::upstream::{Profile, Reader, Reply};
//! use keyward::{Class, Hint, Length, Timestamp};
//!
//! let headers = [("Retry-After", "60"), ("x-ratelimit-remaining-requests", "0")];
//! let body = r#"{"error": {"code": "rate_limit_exceeded", "message": "Slow down."}}"#;
//! let reply = Reply::new(429, Timestamp::EPOCH).headers(&headers).body(body);
//!
//! let reading = Reader::new(Profile::OpenAi).read(&reply);
//! assert_eq!(reading.outcome.class, Class::RateLimited);
//! assert_eq!(reading.outcome.hint, Some(Hint::Wait(Length::MINUTE)));
//! assert_eq!(reading.windows[0].remaining, Some(0));
//! ```

use std::fmt;
use std::marker::PhantomData;

use crate::error::Error;
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Hint, Outcome, ProviderWindow};
use crate::window::{Calendar, Unit, Zone};

mod class;
mod clock;
mod decimal;
mod fields;
#[cfg(feature = "http")]
mod header_map;
mod import;
mod json;
mod report;
mod retry;
mod rule;
mod times;
mod words;

pub use clock::text_reset;
pub use fields::Fields;
pub use import::credits_exhausted;
pub use report::{RateLimitEvent, Status};
pub use retry::{Next, Retries};
pub use rule::AnswerRule;
pub use times::{go_duration, http_date, reset, retry_after, retry_after_ms, rfc3339, unix};
pub use words::text_class;

pub use crate::usage::Concerns;

/// Headers, of whatever library. Names are asked for in lower case, and are found in any.
///
/// Lists of pairs are headers, and, with the feature `http`, so is `http::HeaderMap`. For anything else there is
/// [`headers_by`].
///
/// ```
/// use keyward::upstream::Headers;
///
/// let listed = [("Retry-After", "2")];
/// assert_eq!(listed.header("retry-after"), Some("2"));
/// ```
pub trait Headers {
    /// The first value of a header, if it is there and is text.
    fn header(&self, name: &str) -> Option<&str>;
}

/// Headers by a function that looks one up: it is asked in lower case, and finds any.
///
/// ```
/// use keyward::upstream::{Reader, Reply, headers_by};
/// use keyward::{Hint, Length, Timestamp};
///
/// let map = std::collections::BTreeMap::from([("retry-after", "1")]);
/// let headers = headers_by(|name| map.get(name).copied());
/// let reading = Reader::default().read(&Reply::new(429, Timestamp::EPOCH).headers(&headers));
/// assert_eq!(reading.outcome.hint, Some(Hint::Wait(Length::SECOND)));
/// ```
pub const fn headers_by<'h, F: Fn(&str) -> Option<&'h str>>(look_up: F) -> HeadersBy<'h, F> {
    HeadersBy { look_up, values: PhantomData }
}

/// What [`headers_by`] makes of a function.
#[derive(Clone, Copy)]
#[must_use]
pub struct HeadersBy<'h, F> {
    look_up: F,
    values: PhantomData<&'h str>,
}

impl<'h, F: Fn(&str) -> Option<&'h str>> Headers for HeadersBy<'h, F> {
    fn header(&self, name: &str) -> Option<&str> {
        (self.look_up)(name)
    }
}

impl<F> fmt::Debug for HeadersBy<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeadersBy")
    }
}

impl<K: AsRef<str>, V: AsRef<str>, const N: usize> Headers for [(K, V); N] {
    fn header(&self, name: &str) -> Option<&str> {
        listed(self, name)
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Headers for Vec<(K, V)> {
    fn header(&self, name: &str) -> Option<&str> {
        listed(self, name)
    }
}

fn listed<'a, K: AsRef<str>, V: AsRef<str>>(headers: &'a [(K, V)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.as_ref().eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
}

/// What came back from an upstream, or that nothing did.
#[derive(Clone, Copy)]
#[must_use]
pub struct Reply<'a> {
    end: End,
    headers: Option<&'a dyn Headers>,
    body: &'a [u8],
    now: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answered(u16),
    Empty(u16),
    Broken,
    CallerGone,
}

impl<'a> Reply<'a> {
    /// An answer with this status, which came in now.
    pub const fn new(status: u16, now: Timestamp) -> Self {
        Self { end: End::Answered(status), headers: None, body: &[], now }
    }

    /// No answer: the connection could not be made, broke, or took too long.
    pub const fn broken(now: Timestamp) -> Self {
        Self { end: End::Broken, headers: None, body: &[], now }
    }

    /// Whatever else there was, the caller did not wait for it. That is never held against a key.
    pub const fn client_gone(mut self) -> Self {
        self.end = End::CallerGone;
        self
    }

    /// The stream ended before anything came. Of an answer that is no success, its status still counts.
    pub const fn empty_stream(mut self) -> Self {
        if let End::Answered(status) = self.end {
            self.end = End::Empty(status);
        }
        self
    }

    /// The headers of the answer.
    pub fn headers(mut self, headers: &'a dyn Headers) -> Self {
        self.headers = Some(headers);
        self
    }

    /// The body, or its beginning, or one event of a stream.
    pub fn body(mut self, body: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.body = body.as_ref();
        self
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.and_then(|headers| headers.header(name))
    }
}

/// Without headers and body, which may hold anything.
impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { end, headers: _, body, now } = self;
        f.debug_struct("Reply").field("end", end).field("body", &body.len()).field("now", now).finish_non_exhaustive()
    }
}

/// How a provider talks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Profile {
    /// Like OpenAI, as most do.
    #[default]
    #[cfg_attr(feature = "serde", serde(rename = "openai"))]
    OpenAi,
    /// Like OpenAI on Azure: limits of -1 are unknown, and not used up.
    Azure,
    /// Like Groq, whose 498 is an overload.
    Groq,
    /// Like Anthropic, with its subscriptions.
    Anthropic,
    /// Like Gemini, which says everything in the body.
    Gemini,
    /// Like Bedrock, whose errors are exceptions.
    Bedrock,
}

/// Everything that an answer says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Reading {
    /// What it means, with the time as it was stated; [`Hint::until`] bounds it.
    pub outcome: Outcome,
    /// What the outcome is about.
    pub concerns: Concerns,
    /// What the provider says of its own limits. Their names do not say how long their windows are.
    pub windows: Vec<ProviderWindow>,
}

/// Reads answers: a profile, and what a host adds to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Reader {
    profile: Profile,
    rules: Vec<AnswerRule>,
    text: Option<Length>,
}

/// For how long a key is left alone of which only words say that its rate is used up, and no time.
const WORDS_ALONE: Option<Length> = Length::from_secs(300);

impl Reader {
    /// Reads as this provider talks.
    pub const fn new(profile: Profile) -> Self {
        Self { profile, rules: Vec::new(), text: None }
    }

    /// Adds a rule; of several that apply the first counts.
    ///
    /// # Errors
    /// A rule that would apply to everything or to nothing, by field.
    pub fn rule(mut self, rule: AnswerRule) -> Result<Self, Error> {
        rule.check()?;
        self.rules.push(rule);
        Ok(self)
    }

    /// Lets words speak where nothing else does. A rate limit that only words tell of, without a time, is five minutes.
    pub fn with_text(self) -> Self {
        self.with_text_for(WORDS_ALONE.unwrap_or(Length::MINUTE))
    }

    /// [`Reader::with_text`], with another length for a rate limit without a time.
    pub const fn with_text_for(mut self, cooldown: Length) -> Self {
        self.text = Some(cooldown);
        self
    }

    /// What an answer says.
    #[must_use]
    pub fn read(&self, reply: &Reply<'_>) -> Reading {
        let windows = report::windows(reply, self.profile);
        let plain = |class| (Outcome::new(class), Concerns::Key);
        let (outcome, concerns) = match reply.end {
            End::CallerGone => plain(Class::CallersFault),
            End::Broken => plain(Class::Transient),
            End::Empty(200..300) => plain(Class::Transient),
            End::Answered(status) | End::Empty(status) => self.answered(status, reply, &windows),
        };
        Reading { outcome, concerns, windows }
    }

    /// What a text says that came with no status: the output of a program, the message of another library.
    ///
    /// ```
    /// use keyward::upstream::Reader;
    /// use keyward::{Class, Hint};
    ///
    /// let now = "2026-05-14T14:00:00Z".parse()?;
    /// let outcome = Reader::default().read_text("You've hit your weekly limit · resets May 28, 5pm (UTC)", now);
    /// assert_eq!((outcome.class, outcome.hint), (Class::RateLimited, Some(Hint::Read("2026-05-28T17:00:00Z".parse()?))));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub fn read_text(&self, text: &str, now: Timestamp) -> Outcome {
        let class = text_class(text);
        let unstated = || self.text.or(WORDS_ALONE).filter(|_| class == Class::RateLimited);
        let hint = Some(class)
            .filter(|class| is_over_in_time(*class))
            .and_then(|_| words::reset(text, now).or_else(|| unstated().map(|length| now.saturating_add(length))));
        Outcome { class, hint: hint.map(Hint::Read) }
    }

    fn answered(&self, status: u16, reply: &Reply<'_>, windows: &[ProviderWindow]) -> (Outcome, Concerns) {
        let fields = Fields::of(reply.body);
        let message = fields.message.as_deref().unwrap_or_default();
        let body = reply.body.get(..fields::READ).unwrap_or(reply.body);
        let rule = self.rules.iter().find(|rule| rule.applies(status, body, message)).map(AnswerRule::verdict);
        let (class, cooldown) = rule.unwrap_or_else(|| (class::of(status, reply, &fields, self.profile), None));
        let text = self.text.and_then(|_| text_of(reply.body, &fields));
        if class == Class::NoVerdict && rule.is_none() {
            let outcome = text.map(|text| self.read_text(&text, reply.now));
            return (outcome.unwrap_or(Outcome::new(class)), Concerns::Key);
        }
        let hint = cooldown.map(Hint::Wait).or_else(|| {
            let stated = || typed(&fields, reply.now).or_else(|| self.in_headers(class, reply, windows));
            let read = || text.and_then(|text| words::reset(&text, reply.now)).map(Hint::Read);
            if is_over_in_time(class) { stated().or_else(read) } else { None }
        });
        let of_model = class == Class::ModelRefused
            || (class == Class::RateLimited && fields.quota_ids.iter().any(|id| id.contains("PerModel")));
        (Outcome { class, hint }, if of_model { Concerns::KeyAndModel } else { Concerns::Key })
    }

    /// What the headers say of the time: the provider's wait, or else when its windows begin anew.
    fn in_headers(&self, class: Class, reply: &Reply<'_>, windows: &[ProviderWindow]) -> Option<Hint> {
        let now = reply.now;
        let millis = ["retry-after-ms", "x-ms-retry-after-ms"].iter().find_map(|name| reply.header(name));
        let wait = millis
            .and_then(retry_after_ms)
            .map(|wait| Hint::after(wait, now))
            .or_else(|| reply.header("retry-after").and_then(|value| retry_after(value, reply.header("date"), now)));
        if class != Class::RateLimited {
            return wait;
        }
        let header = |name: &str| reply.header(name).filter(|_| self.profile == Profile::Anthropic);
        let unified = header("anthropic-ratelimit-unified-reset").and_then(unix);
        let rejected = header("anthropic-ratelimit-unified-status").map(Status::of) == Some(Status::Rejected);
        match (wait, unified) {
            // The subscription is used up, which a short wait for some other limit does not change.
            (Some(wait), Some(at)) if rejected && at > wait.instant(now) => Some(Hint::Stated(at)),
            (Some(wait), _) => Some(wait),
            (None, unified) => unified.or_else(|| report::exhausted_until(windows)).map(Hint::Stated),
        }
    }
}

/// Whether a key that was refused in this way is served again in time.
fn is_over_in_time(class: Class) -> bool {
    matches!(class, Class::RateLimited | Class::Overloaded | Class::QuotaExhausted | Class::Transient)
}

/// What the fields of the body say of the time.
fn typed(fields: &Fields, now: Timestamp) -> Option<Hint> {
    let Fields { retry_delay, quota_ids, resets_at, resets_in, .. } = fields;
    if quota_ids.iter().any(|id| id.contains("PerDay")) {
        return Some(Hint::Stated(next_day_of_google(now)));
    }
    retry_delay.or(*resets_in).map(|wait| Hint::after(wait, now)).or(resets_at.map(Hint::Stated))
}

/// When Google's quotas of a day begin anew: at midnight in California. Without the feature `tz` that is by the winter's
/// clock, which in summer is an hour late and never early.
fn next_day_of_google(now: Timestamp) -> Timestamp {
    let zone = "America/Los_Angeles".parse().or_else(|_| Zone::fixed(-8 * 60)).unwrap_or_default();
    Calendar::of(Unit::Day).in_zone(zone).window(now).end
}

/// The text of a body that words may be read from: its message, or all of it where it is neither JSON nor a page.
fn text_of(body: &[u8], fields: &Fields) -> Option<String> {
    if let Some(message) = &fields.message {
        return Some(message.clone());
    }
    let body = body.trim_ascii_start();
    let is_text = !matches!(body.first(), None | Some(b'<' | b'{' | b'['));
    is_text.then(|| String::from_utf8_lossy(body.get(..fields::MESSAGE).unwrap_or(body)).into_owned())
}
