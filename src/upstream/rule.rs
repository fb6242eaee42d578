//! What a host knows of an upstream that nobody else does.

use super::words::says;
use crate::error::Error;
use crate::time::Length;
use crate::usage::Class;

/// A host's own reading of some answers, which goes before every other.
///
/// It applies if the status is the stated one and the body says one of the words, where they are stated. A rule without
/// a status leaves answers of 200 to 299 alone, whatever their words.
///
/// ```
/// use keyward::upstream::{AnswerRule, Reader, Reply};
/// use keyward::{Class, Hint, Length, Timestamp};
///
/// let rule = AnswerRule::new(Class::Overloaded).status(400).words(["gpu pool is full"]).cooldown(Length::MINUTE);
/// let reply = Reply::new(400, Timestamp::EPOCH).body("Sorry: GPU pool is full.");
/// let outcome = Reader::default().rule(rule)?.read(&reply).outcome;
/// assert_eq!((outcome.class, outcome.hint), (Class::Overloaded, Some(Hint::Wait(Length::MINUTE))));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[must_use]
pub struct AnswerRule {
    #[cfg_attr(feature = "serde", serde(default))]
    status: Option<u16>,
    #[cfg_attr(feature = "serde", serde(default))]
    words: Vec<String>,
    class: Class,
    #[cfg_attr(feature = "serde", serde(default))]
    cooldown: Option<Length>,
}

impl AnswerRule {
    /// A rule by which answers are of this class. It needs a status or words.
    pub const fn new(class: Class) -> Self {
        Self { status: None, words: Vec::new(), class, cooldown: None }
    }

    /// Only answers of this status.
    pub const fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Only answers that say one of these: in any case, and not as a part of longer words.
    pub fn words<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words = words.into_iter().map(Into::into).collect();
        self
    }

    /// For how long the key is then left alone, whatever the answer says.
    pub const fn cooldown(mut self, cooldown: Length) -> Self {
        self.cooldown = Some(cooldown);
        self
    }

    /// Refuses a rule that would apply to everything or to nothing, by field.
    ///
    /// # Errors
    /// The field that is wrong, with its value.
    pub fn check(&self) -> Result<(), Error> {
        let Self { status, words, class: _, cooldown: _ } = self;
        if let Some(status) = status.filter(|status| !(100..600).contains(status)) {
            return Err(Error::invalid("rule.status", status, "a status of HTTP, 100 to 599"));
        }
        if words.iter().any(|word| word.trim().is_empty()) {
            return Err(Error::invalid("rule.words", "", "words are not empty: every answer says nothing"));
        }
        if status.is_none() && words.is_empty() {
            return Err(Error::invalid("rule", "", "a rule needs a status, words or both"));
        }
        Ok(())
    }

    pub(super) fn applies(&self, status: u16, body: &[u8], message: &str) -> bool {
        let of_status = self.status.map_or(!(200..300).contains(&status), |stated| stated == status);
        let said = |word: &String| says(body, word) || says(message.as_bytes(), word);
        of_status && (self.words.is_empty() || self.words.iter().any(said))
    }

    pub(super) const fn verdict(&self) -> (Class, Option<Length>) {
        (self.class, self.cooldown)
    }
}
