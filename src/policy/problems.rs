//! Everything that is wrong with a policy, and what should be said of it although it is right.

use std::fmt;
use std::str::FromStr;

use super::raw::Raw;
use crate::error::Error;

/// Everything that is wrong with a policy, in its order; never empty.
///
/// It displays as one line for each problem, with the field, the value, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Error>);

impl Problems {
    /// The problems, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Error;
    type IntoIter = std::slice::Iter<'a, Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Problems {
    type Item = Error;
    type IntoIter = std::vec::IntoIter<Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The only problem as it is; of several, one error that lists them all.
impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        match problems.0.as_slice() {
            [only] => only.clone(),
            several => {
                let listed: Vec<String> = several.iter().map(Self::to_string).collect();
                Self::invalid("policy", format!("{} problems", several.len()), listed.join("; "))
            }
        }
    }
}

/// Something in a policy that holds, though perhaps not as it was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Where it stands: `limits[2].window`.
    pub field: String,
    /// What should be known about it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

/// What is found while a policy is read.
#[derive(Default)]
pub(super) struct Findings {
    problems: Vec<Error>,
    warnings: Vec<Warning>,
}

impl Findings {
    /// The result, unless something was wrong.
    pub(super) fn end<T>(self, result: T) -> Result<(T, Vec<Warning>), Problems> {
        if self.problems.is_empty() { Ok((result, self.warnings)) } else { Err(Problems(self.problems)) }
    }

    /// How many problems were found.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    pub(super) fn push(&mut self, problem: Error) {
        self.problems.push(problem);
    }

    pub(super) fn refuse(&mut self, field: &str, value: impl fmt::Display, expected: impl Into<String>) {
        self.push(Error::invalid(field.to_owned(), value, expected.into()));
    }

    /// Refuses fields that there are not; what they have is not repeated.
    pub(super) fn unknown(&mut self, path: &str, names: &[String], known: &[&str]) {
        for name in names {
            let shown: String = name.chars().take(64).collect();
            self.refuse(&format!("{path}.{shown}"), "an unknown field", format!("one of {}", known.join(", ")));
        }
    }

    /// Refuses fields that come twice; what they have is not repeated.
    pub(super) fn again(&mut self, path: &str, names: &[String]) {
        for name in names {
            self.refuse(&format!("{path}.{name}"), "a field again", "each field once");
        }
    }

    pub(super) fn warn(&mut self, field: &str, text: impl fmt::Display) {
        self.warnings.push(Warning { field: field.to_owned(), text: text.to_string() });
    }

    /// What was made, or nothing and a problem, with its field inside `to` instead of `from`.
    pub(super) fn keep<T>(&mut self, made: Result<T, Error>, from: &str, to: &str) -> Option<T> {
        made.map_err(|error| self.push(error.renamed(from, to))).ok()
    }

    /// What a value says as text; a number that stands there is taken as its text.
    pub(super) fn text(&mut self, field: &str, raw: Option<&Raw>) -> Option<String> {
        match raw? {
            Raw::Text(text) => Some(text.clone()),
            Raw::Integer(number) => Some(number.to_string()),
            other => {
                self.refuse(field, other, "a text");
                None
            }
        }
    }

    /// What a text says, by the rules of its type.
    pub(super) fn parse<T: FromStr<Err = Error>>(&mut self, field: &str, raw: Option<&Raw>) -> Option<T> {
        let text = self.text(field, raw)?;
        let parsed = text.parse();
        parsed.map_err(|error: Error| self.refuse(field, &text, error.expected().unwrap_or_default())).ok()
    }

    /// A whole number, which may be written with `_` between its digits.
    pub(super) fn whole<T: TryFrom<u64>>(&mut self, field: &str, raw: Option<&Raw>, expected: &str) -> Option<T> {
        let raw = raw?;
        let number = match raw {
            Raw::Integer(number) => u64::try_from(*number).ok(),
            Raw::Text(text) => digits(text).and_then(|digits| digits.parse().ok()),
            Raw::Float(_) | Raw::Switch(_) | Raw::Odd(_) => None,
        };
        let number = number.and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            self.refuse(field, raw, expected);
        }
        number
    }

    /// Whether something is switched on; it is not unless that is written.
    pub(super) fn switch(&mut self, field: &str, raw: Option<&Raw>) -> bool {
        match raw {
            None => false,
            Some(Raw::Switch(on)) => *on,
            Some(other) => {
                self.refuse(field, other, "true or false");
                false
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, field: &str, raw: Option<&Raw>, words: &[(&str, T)]) -> Option<T> {
        let raw = raw?;
        let found = words.iter().find(|(word, _)| matches!(raw, Raw::Text(text) if text == word));
        if found.is_none() {
            let listed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.refuse(field, raw, format!("one of {}", listed.join(", ")));
        }
        found.map(|(_, value)| *value)
    }
}

/// The digits of a number without the `_` between them.
pub(super) fn digits(text: &str) -> Option<String> {
    let between = text.split('_').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    between.then(|| text.replace('_', ""))
}
