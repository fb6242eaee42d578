//! What can go wrong, in one opaque type that answers questions.
//!
//! A refusal is not an error: it is a value that a check returns. An [`Error`] says that the question itself could not
//! be understood ([`Error::is_invalid`]), or that it contradicts what was said before ([`Error::is_conflict`]), or that
//! a store could not answer it ([`Error::is_store`]). Whatever it says, nothing was changed, except where
//! [`StoreError::is_unknown`] says that nobody can tell.
//!
//! ```
//! let error = "1.5h".parse::<keyward::Length>().unwrap_err();
//! assert!(error.is_invalid());
//! assert_eq!(error.field(), Some("length"));
//! assert_eq!(error.value(), Some("1.5h"));
//! ```

use std::borrow::Cow;
use std::fmt;

/// The longest part of a refused value that a message repeats.
const QUOTED: usize = 80;

/// Why a question could not be answered. A denial is never one of these.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Kind>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Kind {
    #[error("{field}: {value:?} is refused: {expected}")]
    Invalid { field: Cow<'static, str>, value: String, expected: Cow<'static, str> },
    #[error("{field}: operation {operation:?} was carried out with {before:?}, and is now asked for with {now:?}")]
    Conflict { field: Cow<'static, str>, operation: String, before: String, now: String },
    #[error(transparent)]
    Store(StoreError),
}

impl Error {
    /// A value that is refused: which field it stood in, what it was, and what was expected of it.
    ///
    /// Long values are cut, and what a terminal would act on is escaped when the message is printed. A secret never
    /// belongs here.
    ///
    /// ```
    /// let error = keyward::Error::invalid("limit.amount", "-3", "an amount is never negative");
    /// assert_eq!(error.to_string(), r#"limit.amount: "-3" is refused: an amount is never negative"#);
    /// ```
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Kind::Invalid { field: field.into(), value: cut(&value.to_string()), expected: expected.into() }))
    }

    /// An operation id that comes back with other arguments: the first field that differs, and both of its values.
    pub fn conflict(
        field: impl Into<Cow<'static, str>>,
        operation: impl fmt::Display,
        before: impl fmt::Display,
        now: impl fmt::Display,
    ) -> Self {
        Self(Box::new(Kind::Conflict {
            field: field.into(),
            operation: cut(&operation.to_string()),
            before: cut(&before.to_string()),
            now: cut(&now.to_string()),
        }))
    }

    /// Whether a value was refused. Nothing was changed; the same call fails again.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(*self.0, Kind::Invalid { .. })
    }

    /// Whether an operation id was used before with other arguments. Nothing was changed.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(*self.0, Kind::Conflict { .. })
    }

    /// Whether a store could not answer; [`Error::store`] says more.
    #[must_use]
    pub fn is_store(&self) -> bool {
        matches!(*self.0, Kind::Store(_))
    }

    /// The field that was refused or that differs, by its name.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match &*self.0 {
            Kind::Invalid { field, .. } | Kind::Conflict { field, .. } => Some(field),
            Kind::Store(_) => None,
        }
    }

    /// The value that was refused, cut to a length that fits a message.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match &*self.0 {
            Kind::Invalid { value, .. } => Some(value),
            Kind::Conflict { now, .. } => Some(now),
            Kind::Store(_) => None,
        }
    }

    /// What was expected instead.
    #[must_use]
    pub fn expected(&self) -> Option<&str> {
        match &*self.0 {
            Kind::Invalid { expected, .. } => Some(expected),
            Kind::Conflict { before, .. } => Some(before),
            Kind::Store(_) => None,
        }
    }

    /// The store's own error, when it was the store.
    #[must_use]
    pub fn store(&self) -> Option<&StoreError> {
        match &*self.0 {
            Kind::Store(error) => Some(error),
            Kind::Invalid { .. } | Kind::Conflict { .. } => None,
        }
    }

    /// The same error under another field name: `limit.amount` with `limit` renamed to `limits[2]` is `limits[2].amount`.
    /// A field that does not begin with `from` is put inside `to`.
    #[must_use]
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        match &mut *self.0 {
            Kind::Invalid { field, .. } | Kind::Conflict { field, .. } => {
                *field = Cow::Owned(match field.strip_prefix(from) {
                    Some(rest) if rest.is_empty() || rest.starts_with(['.', '[']) => format!("{to}{rest}"),
                    _ => format!("{to}.{field}"),
                });
            }
            Kind::Store(_) => {}
        }
        self
    }

    /// The same error under a longer field name: `amount` inside `limits[2]` is `limits[2].amount`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        match &mut *self.0 {
            Kind::Invalid { field, .. } | Kind::Conflict { field, .. } => {
                *field = Cow::Owned(format!("{outer}.{field}"));
            }
            Kind::Store(_) => {}
        }
        self
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A store's error is what this one says already, so it is no source of it; [`Error::store`] gives it back.
impl std::error::Error for Error {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self(Box::new(Kind::Store(error)))
    }
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(QUOTED) {
        None => value.to_owned(),
        Some((at, _)) => format!("{}…", value.get(..at).unwrap_or_default()),
    }
}

/// Why a store could not answer.
///
/// The one distinction that a caller must act on is [`StoreError::is_unknown`]: the change may or may not have been
/// made, and the same call with the same operation id resolves it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum StoreErrorKind {
    #[error("the store is unavailable")]
    Unavailable,
    #[error("the store did not say whether the change was made")]
    Unknown,
    #[error("the store is full")]
    Full,
    #[error("the store's data cannot be read")]
    Corrupt,
    #[error("the store refuses the request")]
    Refused,
}

impl StoreError {
    /// The store could not be reached, or failed before anything was changed. The same call may pass later.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(StoreErrorKind::Unavailable, message)
    }

    /// The change was sent, and no answer came: it may have been made. The same operation id resolves it.
    pub fn unknown(message: impl fmt::Display) -> Self {
        Self::new(StoreErrorKind::Unknown, message)
    }

    /// There is no room for what the change would add. Nothing was changed.
    pub fn full(message: impl fmt::Display) -> Self {
        Self::new(StoreErrorKind::Full, message)
    }

    /// What was stored cannot be read: damaged, or written by a newer version. Nothing was changed.
    pub fn corrupt(message: impl fmt::Display) -> Self {
        Self::new(StoreErrorKind::Corrupt, message)
    }

    /// The request makes no sense to the store. Nothing was changed, and the same call fails again.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self::new(StoreErrorKind::Refused, message)
    }

    fn new(kind: StoreErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// Whether the store could not be reached, with nothing changed.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.kind == StoreErrorKind::Unavailable
    }

    /// Whether the change may or may not have been made. Repeat the call with the same operation id.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.kind == StoreErrorKind::Unknown
    }

    /// Whether the store has no room for more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.kind == StoreErrorKind::Full
    }

    /// Whether stored data could not be read.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.kind == StoreErrorKind::Corrupt
    }

    /// Whether the store refused the request as such.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.kind == StoreErrorKind::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_value_is_cut_and_a_control_character_is_escaped() {
        let error = Error::invalid("name", "\u{1b}[31m".repeat(1_000), "a short name");
        assert!(error.to_string().chars().count() < 600, "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }

    /// Hosts that print an error with its causes saw every store error twice.
    #[test]
    fn a_chain_of_causes_says_nothing_twice() {
        let error = Error::from(StoreError::full("10 accounts"));
        assert_eq!(error.to_string(), "the store is full: 10 accounts");
        assert!(std::error::Error::source(&error).is_none());
        assert!(error.store().is_some_and(StoreError::is_full));
    }

    #[test]
    fn a_conflict_names_both_values_and_escapes_them() {
        let error = Error::conflict("tokens", "request-7", "5\u{1b}", 6);
        assert_eq!(
            error.to_string(),
            r#"tokens: operation "request-7" was carried out with "5\u{1b}", and is now asked for with "6""#
        );
    }

    #[test]
    fn a_field_can_be_nested() {
        let error = Error::invalid("amount", 0, "more than nothing").within("limits[2]");
        assert_eq!(error.field(), Some("limits[2].amount"));
    }
}
