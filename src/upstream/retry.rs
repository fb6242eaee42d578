//! Whether the same key is tried again.

use crate::time::{Length, Timestamp};
use crate::usage::{Class, Outcome};

/// How often, and after how long, a call is tried again with the key that has just failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Retries {
    /// How often.
    pub most: u32,
    /// After how long the first time; doubled with each further one.
    pub first: Length,
    /// The longest wait; where a provider asks for a longer one, the key is not waited for.
    pub longest: Length,
}

impl Default for Retries {
    /// Twice: after half a second, and after one. No wait is longer than eight seconds.
    fn default() -> Self {
        let millis = |n: i64| Length::from_micros(n * 1_000).unwrap_or(Length::SECOND);
        Self { most: 2, first: millis(500), longest: millis(8_000) }
    }
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[must_use]
pub enum Next {
    /// Wait, and try the same key again. Nothing is held against it so far.
    RetryHere {
        /// For how long.
        after: Length,
    },
    /// Let the key cool as the answer says, and ask for another.
    Switch,
    /// Hand the answer on, and hold nothing against the key.
    GiveUp,
}

impl Retries {
    /// What to do after an answer to a call that was already tried again `tries` times with this key, where `others` more
    /// keys could serve it.
    ///
    /// What is transient is tried again here first, and only then held against the key; a key without others is never
    /// blocked for it. A key without others is also waited for when its rate is used up or its provider is overloaded,
    /// if that does not take long. A wait is never shorter than the answer asks for.
    ///
    /// ```
    /// use keyward::upstream::{Next, Retries};
    /// use keyward::{Class, Outcome, Timestamp};
    ///
    /// let (retries, broken) = (Retries::default(), Outcome::new(Class::Transient));
    /// let next = |tries, others| retries.next(&broken, tries, others, Timestamp::EPOCH);
    /// assert_eq!(next(1, 3), Next::RetryHere { after: "1s".parse()? });
    /// assert_eq!(next(2, 3), Next::Switch);
    /// assert_eq!(next(2, 0), Next::GiveUp);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn next(&self, outcome: &Outcome, tries: u32, others: usize, now: Timestamp) -> Next {
        let at_the_end = match outcome.class {
            Class::Transient if others == 0 => Next::GiveUp,
            Class::Transient => Next::Switch,
            Class::RateLimited | Class::Overloaded if others == 0 => Next::Switch,
            Class::RateLimited
            | Class::Overloaded
            | Class::QuotaExhausted
            | Class::CredentialRefused
            | Class::ModelRefused => return Next::Switch,
            Class::Success | Class::CallersFault | Class::NoVerdict => return Next::GiveUp,
        };
        let asked = outcome.hint.and_then(|hint| Length::try_from(hint.instant(now).since(now)).ok());
        let wait = self.wait(tries).max(asked.unwrap_or(Length::MIN));
        if tries < self.most && wait <= self.longest { Next::RetryHere { after: wait } } else { at_the_end }
    }

    fn wait(&self, tries: u32) -> Length {
        let factor = 1_i64.checked_shl(tries).filter(|factor| *factor > 0);
        factor
            .and_then(|factor| self.first.as_micros().checked_mul(factor))
            .and_then(Length::from_micros)
            .map_or(self.longest, |wait| wait.min(self.longest))
    }
}
