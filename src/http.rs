//! A decision over HTTP: the status, headers and body of a denial, and the headers that a grant adds to an answer.
//!
//! Nothing here needs an HTTP library. Headers are pairs of a name and a value, a body is text; with the feature `http`,
//! both turn into the types of the `http` crate. Which status a cause has is the [`Table`]'s to say, which headers are
//! sent and what the body looks like is said by [`Options`].
//!
//! A caller is told which limits are in its way, in their own words and with their numbers, and never whose account it is,
//! nor anything of upstream keys. Where the key itself is refused, it is told that and no more.
//!
//! ```
//! use keyward::budgets::{ask, no_own};
//! use keyward::http::Options;
//! use keyward::plan::Adopt;
//! use keyward::terms::Terms;
//! use keyward::{Limit, MemoryStore, Timestamp, Usage};
//!
//! let (store, now) = (MemoryStore::new(), Timestamp::EPOCH);
//! let terms = Terms::adopt(&store, [Limit::requests(0).per_minute().named("calls").by("key")], Adopt::Start, now)?;
//! let asked = ask(&store, &terms, |name| (name == "key").then_some("alice"), &Usage::new(), no_own, now)?;
//!
//! let response = Options::default().denied(&[], &asked.blockers, now);
//! assert_eq!(response.status, 429);
//! assert_eq!(response.header("ratelimit"), Some("\"calls\";r=0;t=60"));
//! assert_eq!(response.header("ratelimit-policy"), Some("\"calls\";q=0;w=60"));
//! assert_eq!(response.header("content-type"), Some("application/problem+json"));
//! assert!(response.body.contains("0 requests per 1m by key"));
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! # What the fields say
//!
//! | field | says |
//! |---|---|
//! | `Retry-After` | whole seconds, rounded up, at least 1, until all that refuses lets the call pass; or what the [`Table`] says |
//! | `RateLimit` | for each limit `r`, how much is left, and `t`, in how many seconds there may be more |
//! | `RateLimit-Policy` | for each limit `q`, how much there is, `w`, in how many seconds, and `qu`, of what |
//! | `X-RateLimit-Limit`, `-Remaining`, `-Reset` | of the limit of requests with the least left; the reset in seconds since 1970 |
//! | `x-ratelimit-limit-requests` and the like | the same, of requests and of tokens, as OpenAI writes them; the reset is a wait such as `1m0s` |
//!
//! `RateLimit` and `RateLimit-Policy` are those of the IETF's draft 11. A limit without windows, and slots, have neither `w`
//! nor `t`; a balance has no `q`, and so is not in `RateLimit-Policy`; a limit without end is in neither. The window of a
//! calendar is as long as the one that is open. A leaking meter is its burst, in the time in which that leaks. Money is
//! in millionths of a dollar (`qu="micro-usd"`), rounded down. Of a name, whatever is no visible ASCII is percent-encoded,
//! and so is `%`. Numbers stop at 15 digits, as those of structured fields do.
//!
//! # What the bodies say
//!
//! A problem has `type`, `title`, `status`, `detail` and `code`. Where limits are in the way it has `violated-policies`, their
//! names as in `RateLimit-Policy`, and `limits`: of each its `name`, its `rule` in words, its `measure`, and, as far as there
//! is such a thing, `need`, `limit`, `remaining`, `window_end` and `retry_at`. Amounts are numbers, but for money, which is
//! dollars in text, to the last digit: `"0.25"`. Instants are as in RFC 3339. A body like OpenAI's says the same in one
//! `message`.

use std::collections::BTreeSet;

use crate::budgets::Blocker;
use crate::quota::{Cause, Refusal, Reply, Table};
use crate::time::Timestamp;

mod body;
mod headers;
mod left;
#[cfg(feature = "http")]
mod types;

pub use left::{Left, left};
#[cfg(feature = "http")]
pub use types::header_map;

use left::Told;

/// A header as it is sent: a name in lower case, and a value in visible ASCII.
pub type Header = (&'static str, String);

/// How decisions go out: the headers, the body, and the status of each cause.
///
/// ```
/// use keyward::http::{Body, Family, Options};
/// use keyward::quota::{Cause, Refusal};
/// use keyward::Timestamp;
///
/// let options = Options::default().families([Family::OpenAi]).body(Body::OpenAi);
/// let response = options.denied(&[Refusal::new(Cause::Model)], &[], Timestamp::EPOCH);
/// assert_eq!(response.status, 403);
/// assert_eq!(
///     response.body,
///     r#"{"error":{"message":"the API key may not use this model","type":"invalid_request_error","param":"model","code":"model_not_allowed"}}"#,
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[must_use]
pub struct Options {
    body: Body,
    #[cfg_attr(feature = "serde", serde(rename = "headers"))]
    families: BTreeSet<Family>,
    table: Table,
}

impl Default for Options {
    /// `Retry-After`, `RateLimit` and `RateLimit-Policy`, and a problem as the body.
    fn default() -> Self {
        let families = BTreeSet::from([Family::RetryAfter, Family::RateLimit]);
        Self { body: Body::default(), families, table: Table::default() }
    }
}

/// What the body of a denial looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Body {
    /// `application/problem+json`, as in RFC 9457, with the limits in the way.
    #[default]
    Problem,
    /// `{"error": {"message", "type", "param", "code"}}`, as OpenAI writes it.
    #[cfg_attr(feature = "serde", serde(rename = "openai"))]
    OpenAi,
}

/// Headers that are sent together, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Family {
    /// `Retry-After`, on a denial.
    RetryAfter,
    /// `RateLimit` and `RateLimit-Policy`.
    #[cfg_attr(feature = "serde", serde(rename = "ratelimit"))]
    RateLimit,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
    #[cfg_attr(feature = "serde", serde(rename = "x_ratelimit"))]
    XRateLimit,
    /// `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`.
    #[cfg_attr(feature = "serde", serde(rename = "openai"))]
    OpenAi,
}

impl Options {
    /// With bodies of this kind.
    pub const fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// With these headers, and no others.
    pub fn families(mut self, families: impl IntoIterator<Item = Family>) -> Self {
        self.families = families.into_iter().collect();
        self
    }

    /// With the status, the code and the wait of each cause as this table has them.
    pub fn table(mut self, table: Table) -> Self {
        self.table = table;
        self
    }

    /// The answer to a call that all of these refuse.
    ///
    /// The refusals decide the status and when to come back; the first of them is named: the key itself, then what time
    /// alone never lifts, then quota and budget, then rates. The blockers are the limits whose numbers are told, in the
    /// same order; where there are no refusals, theirs are taken. A call that nothing refuses is answered as if nothing
    /// could be checked.
    pub fn denied(&self, refusals: &[Refusal], blockers: &[Blocker], now: Timestamp) -> Response {
        let (reply, first) = self.reply(refusals, blockers, now);
        let retry_after = reply.retry_after;
        let may_know = reply.cause.order() > 0;
        let mut shown: Vec<&Blocker> = blockers.iter().filter(|blocker| may_know && !blocker.is_upstream).collect();
        shown.sort_by_key(|blocker| blocker.refusal.order());
        let told = left::once(shown.into_iter().map(Told::from));

        let mut headers = vec![("content-type", self.body.content_type().to_owned())];
        if reply.status == 401 {
            // Which a 401 must have.
            headers.push(("www-authenticate", "Bearer".to_owned()));
        }
        if let Some(seconds) = retry_after.filter(|_| self.families.contains(&Family::RetryAfter)) {
            headers.push(("retry-after", seconds.to_string()));
        }
        headers::write(&mut headers, &self.families, &told, retry_after, now);
        let measure = blockers.iter().find(|blocker| blocker.refusal == first).map(|blocker| &blocker.measure);
        Response { status: reply.status, headers, body: self.body.write(&reply, measure, &told) }
    }

    /// What a grant adds to the headers of its answer, by what it leaves of each limit.
    #[must_use]
    pub fn granted<'a>(&self, left: impl IntoIterator<Item = Left<'a>>, now: Timestamp) -> Vec<Header> {
        let mut headers = Vec::new();
        let told = left::once(left.into_iter().filter(|left| !left.is_upstream()).map(Told::from));
        headers::write(&mut headers, &self.families, &told, None, now);
        headers
    }

    /// An answer of the host's own, in the same shape as a denial's: for what has nothing to do with keys or limits.
    ///
    /// ```
    /// use keyward::http::{Body, Options};
    ///
    /// let answer = Options::default().body(Body::OpenAi).error(400, "no_model", "the request names no model");
    /// assert_eq!(
    ///     answer.body,
    ///     r#"{"error":{"message":"the request names no model","type":"invalid_request_error","param":null,"code":"no_model"}}"#,
    /// );
    /// ```
    pub fn error(&self, status: u16, code: &str, message: &str) -> Response {
        let headers = vec![("content-type", self.body.content_type().to_owned())];
        Response { status, headers, body: self.body.error(status, code, message) }
    }

    /// What is answered, and the refusal that is named.
    fn reply(&self, refusals: &[Refusal], blockers: &[Blocker], now: Timestamp) -> (Reply, Refusal) {
        let mut all = refusals.to_vec();
        if all.is_empty() {
            all.extend(blockers.iter().map(|blocker| blocker.refusal.clone()));
        }
        let first = all.iter().min_by_key(|refusal| refusal.order()).cloned();
        let first = first.unwrap_or(Refusal::new(Cause::Store));
        let reply = self.table.reply(&all, now).unwrap_or_else(|| {
            let answer = self.table.answer(&first);
            Reply { cause: first.cause, status: answer.status, code: answer.code, retry_after: None }
        });
        // A number that is no status of HTTP cannot be sent.
        let status = if (100..=999).contains(&reply.status) { reply.status } else { first.cause.answer().status };
        (Reply { status, ..reply }, first)
    }
}

/// What a denial is over HTTP, or another answer in its shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[must_use]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers, that of the body's type among them.
    pub headers: Vec<Header>,
    /// The body: JSON.
    pub body: String,
}

impl Response {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}
