//! The bodies of denials: JSON, written by hand, so that no feature is needed.

use std::fmt::Display;

use super::Body;
use super::headers::identifier;
use super::left::{Refused, Told};
use crate::amount::{Amount, Measure};
use crate::quota::{Cause, Reply};
use crate::time::{Timestamp, When};

/// The type of a problem by limits, as the draft of `RateLimit` registers it.
const EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
/// The type of a problem by what lies behind the service.
const REDUCED: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

impl Body {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Problem => "application/problem+json",
            Self::OpenAi => "application/json",
        }
    }

    /// The body of a denial; the measure is that of the limit that is named, if it was one.
    pub(super) fn write(self, reply: &Reply, measure: Option<&Measure>, told: &[Told<'_>]) -> String {
        match self {
            Self::Problem => problem(reply, told),
            Self::OpenAi => openai(reply, measure, told),
        }
    }

    /// The body of an answer that no limit has to do with.
    pub(super) fn error(self, status: u16, code: &str, message: &str) -> String {
        let mut json = Object::new();
        match self {
            Self::Problem => {
                json.text("type", "about:blank");
                json.text_if("title", phrase(status));
                json.plain("status", status);
                json.text("detail", message);
                json.text("code", code);
                json.done()
            }
            Self::OpenAi => {
                json.text("message", message);
                json.text("type", if status < 500 { "invalid_request_error" } else { "server_error" });
                json.plain("param", "null");
                json.text("code", code);
                let mut outer = Object::new();
                outer.plain("error", json.done());
                outer.done()
            }
        }
    }
}

fn problem(reply: &Reply, told: &[Told<'_>]) -> String {
    let mut json = Object::new();
    let (kind, title) = match reply.cause {
        Cause::Quota | Cause::Budget | Cause::Rate | Cause::Slots => (EXCEEDED, Some("Quota Exceeded")),
        Cause::PoolLimited | Cause::PoolDown | Cause::Store | Cause::Clock => {
            (REDUCED, Some("Temporary Reduced Capacity"))
        }
        _ => ("about:blank", phrase(reply.status)),
    };
    json.text("type", kind);
    json.text_if("title", title);
    json.plain("status", reply.status);
    json.text("detail", &message(reply.cause, told));
    json.text("code", &reply.code);
    if !told.is_empty() {
        let names = told.iter().map(|told| quoted(&identifier(told.limit.as_str())));
        json.plain("violated-policies", array(names));
        json.plain("limits", array(told.iter().map(limit)));
    }
    json.done()
}

/// One limit in the way.
fn limit(told: &Told<'_>) -> String {
    let Told { limit, measure, remaining, window_end, refused, .. } = told;
    let mut json = Object::new();
    json.text("name", limit.as_str());
    json.text_if("rule", refused.map(|refused| refused.words));
    json.text("measure", measure.name());
    let amounts = [
        ("need", refused.map(|refused| refused.need)),
        ("limit", told.quota().map(|quota| quota.amount)),
        ("remaining", *remaining),
    ];
    for (name, amount) in amounts {
        match (amount, measure) {
            (None, _) => {}
            (Some(amount), Measure::Usd) => json.text(name, measure.show(amount).trim_start_matches('$')),
            (Some(amount), _) => json.plain(name, amount),
        }
    }
    json.text_if("window_end", window_end.and_then(readable).as_deref());
    let passes = refused.and(told.until()).filter(|_| refused.is_some_and(|refused| refused.when != When::Never));
    json.text_if("retry_at", passes.and_then(readable).as_deref());
    json.done()
}

fn openai(reply: &Reply, measure: Option<&Measure>, told: &[Told<'_>]) -> String {
    let kind = match (reply.cause, measure) {
        (Cause::Quota | Cause::Budget, _) => "insufficient_quota",
        (Cause::Rate, Some(Measure::Tokens | Measure::InputTokens | Measure::OutputTokens)) => "tokens",
        (Cause::Rate | Cause::Slots | Cause::PoolLimited, _) => "requests",
        (Cause::PoolDown | Cause::Store | Cause::Clock, _) => "server_error",
        _ => "invalid_request_error",
    };
    let mut error = Object::new();
    error.text("message", &message(reply.cause, told));
    error.text("type", kind);
    match reply.cause {
        Cause::Model => error.text("param", "model"),
        _ => error.plain("param", "null"),
    }
    error.text("code", &reply.code);
    let mut json = Object::new();
    json.plain("error", error.done());
    json.done()
}

/// The cause, and what the limits in the way say of themselves.
fn message(cause: Cause, told: &[Told<'_>]) -> String {
    let words = told.iter().filter_map(|told| Some(in_words(told, told.refused?)));
    let words = words.collect::<Vec<_>>().join("; ");
    if words.is_empty() { cause.to_string() } else { format!("{cause}: {words}") }
}

/// `$5.00 per day by team: $1.00 asked for, $0.25 left, passes at 2026-03-09T00:00:00Z`.
fn in_words(told: &Told<'_>, refused: Refused<'_>) -> String {
    let show = |amount: Amount| told.measure.show(amount);
    let mut text = format!("{}: {} asked for", refused.words, show(refused.need));
    if let Some(left) = told.remaining {
        text.push_str(&format!(", {} left", show(left)));
    }
    match (refused.when, told.until().and_then(readable)) {
        (When::Never, _) => {}
        (When::At(_), Some(at)) => text.push_str(&format!(", passes at {at}")),
        (When::WhenFreed { .. }, Some(at)) => text.push_str(&format!(", passes when calls under way end, or at {at}")),
        (When::WhenFreed { .. }, None) => text.push_str(", passes when calls under way end"),
        (When::At(_), None) => {}
    }
    text
}

/// An instant that RFC 3339 can say.
fn readable(at: Timestamp) -> Option<String> {
    Some(at.to_string()).filter(|text| text.ends_with('Z'))
}

/// What a status is called.
const fn phrase(status: u16) -> Option<&'static str> {
    Some(match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => return None,
    })
}

/// A JSON object as it is written.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn text(&mut self, name: &str, text: &str) {
        self.plain(name, quoted(text));
    }

    fn text_if(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// What is JSON as it stands.
    fn plain(&mut self, name: &str, json: impl Display) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&format!("{}:{json}", quoted(name)));
    }

    fn done(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            '\n' => json.push_str("\\n"),
            c if c.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}
