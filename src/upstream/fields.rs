//! What an error says in fields of its own.

use std::fmt;
use std::time::Duration;

use super::json::{Scalar, unescape, walk};
use super::times::{go_duration, unix};
use crate::time::Timestamp;

/// How much of a body is read.
pub(super) const READ: usize = 64 * 1_024;
/// How much of a name is kept.
const NAME: usize = 128;
/// How much of a message is kept.
pub(super) const MESSAGE: usize = 4_096;
/// How many ids of quotas are kept.
const IDS: usize = 8;

/// The typed fields of an error's body, in whichever of the usual shapes it has.
///
/// A provider's message may repeat what it was sent, so `Debug` does not show it.
///
/// ```
/// use keyward::upstream::Fields;
///
/// let fields = Fields::of(br#"{"error": {"type": "insufficient_quota", "message": "You have \"nothing\" left"}}"#);
/// assert_eq!(fields.kind.as_deref(), Some("insufficient_quota"));
/// assert_eq!(fields.message.as_deref(), Some("You have \"nothing\" left"));
/// assert_eq!(Fields::of(b"<html>"), Fields::default());
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fields {
    /// `error.code`, a number or a name.
    pub code: Option<String>,
    /// `error.type`, or the name of an exception.
    pub kind: Option<String>,
    /// `error.status`, Google's name for the code.
    pub status: Option<String>,
    /// `error.details[].reason`, Google's name for the cause.
    pub reason: Option<String>,
    /// `error.message`, for people.
    pub message: Option<String>,
    /// `error.details[].retryDelay`.
    pub retry_delay: Option<Duration>,
    /// `error.details[].violations[].quotaId`, the first few.
    pub quota_ids: Vec<String>,
    /// `error.resets_at`.
    pub resets_at: Option<Timestamp>,
    /// `error.resets_in_seconds`.
    pub resets_in: Option<Duration>,
    /// Whether there is an `error` of its own, so that the body is one whatever the status says.
    pub(super) is_error: bool,
}

impl Fields {
    /// Finds the fields in a body, of which the first 64 KiB are read: JSON, also when it is cut short, or an event of
    /// a stream. Whatever else it is, no field is found.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let (mut inner, mut outer) = (Self::default(), Self::default());
        walk(event(body.get(..READ).unwrap_or(body)), &mut |keys, scalar| match keys {
            [b"error"] | [b"response", b"error"] => inner.set(b"message", scalar),
            [b"error", keys @ ..] | [b"response", b"error", keys @ ..] => inner.see(keys, scalar),
            // The envelope of an error is no kind of it.
            [b"type"] if matches!(scalar, Scalar::Text(b"error")) => {}
            keys => outer.see(keys, scalar),
        });
        inner.is_error = inner != Self::default();
        if inner.is_error { inner } else { outer }
    }

    /// The number of an HTTP status that the body states itself.
    pub(super) fn number(&self) -> Option<u16> {
        self.code.as_ref().and_then(|code| code.parse().ok()).filter(|code| (400..600).contains(code))
    }

    fn see(&mut self, keys: &[&[u8]], scalar: Scalar<'_>) {
        match (keys, scalar) {
            ([b"details", b"retryDelay"], Scalar::Text(text)) => {
                self.retry_delay = self.retry_delay.max(go_duration(&unescape(text, NAME)));
            }
            ([b"details", b"violations", b"quotaId"], Scalar::Text(text)) if self.quota_ids.len() < IDS => {
                self.quota_ids.push(unescape(text, NAME));
            }
            ([b"details", b"reason"], scalar) => self.set(b"reason", scalar),
            ([key], scalar) => self.set(key, scalar),
            _ => {}
        }
    }

    /// Sets a field that was not set before.
    fn set(&mut self, key: &[u8], scalar: Scalar<'_>) {
        let (Scalar::Text(raw) | Scalar::Bare(raw)) = scalar;
        if raw.is_empty() || matches!(scalar, Scalar::Bare(b"null" | b"true" | b"false")) {
            return;
        }
        let (field, most) = match key {
            b"code" => (&mut self.code, NAME),
            b"type" | b"__type" => (&mut self.kind, NAME),
            b"status" => (&mut self.status, NAME),
            b"reason" => (&mut self.reason, NAME),
            b"message" | b"Message" | b"detail" => (&mut self.message, MESSAGE),
            b"resets_at" => return self.resets_at = self.resets_at.or_else(|| unix(&unescape(raw, NAME))),
            b"resets_in_seconds" => {
                return self.resets_in = self.resets_in.or_else(|| go_duration(&unescape(raw, NAME)));
            }
            _ => return,
        };
        field.get_or_insert_with(|| unescape(raw, most));
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, kind, status, reason, message, retry_delay, quota_ids, resets_at, resets_in, is_error: _ } =
            self;
        f.debug_struct("Fields")
            .field("code", code)
            .field("kind", kind)
            .field("status", status)
            .field("reason", reason)
            .field("message", &message.as_ref().map(|message| format_args!("{} bytes", message.len()).to_string()))
            .field("retry_delay", retry_delay)
            .field("quota_ids", quota_ids)
            .field("resets_at", resets_at)
            .field("resets_in", resets_in)
            .finish()
    }
}

/// What stands in the first line of data, if a body is an event of a stream; else the body.
fn event(body: &[u8]) -> &[u8] {
    let body = body.trim_ascii_start();
    if !body.starts_with(b"data:") && !body.starts_with(b"event:") {
        return body;
    }
    body.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:")).unwrap_or_default()
}
