//! What a call used, in one normal form, and what its upstream said.
//!
//! Providers report usage in different shapes; the normal form has one: input without caches, cache reads, cache writes
//! by their lifetime, and output, of which reasoning is a part. A stream and a plain answer to the same call have the
//! same usage. What was not reported is not there, which is different from zero: a measure that usage does not state
//! settles at what was held.
//!
//! ```
//! use keyward::{Measure, Usage, Usd};
//!
//! let usage = Usage::new().input(600).cache_read(400).output(100).reasoning(40).usd(Usd::micros(2_280));
//! assert_eq!(usage.amount(&Measure::Tokens).map(|tokens| tokens.get()), Some(1_100));
//! assert_eq!(usage.amount(&Measure::custom("pages")?), None);
//! # Ok::<(), keyward::Error>(())
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::amount::{Amount, Measure, Usd};
use crate::error::Error;
use crate::time::{Length, Timestamp};

/// What one call used. Every part is absent until it is stated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Usage {
    /// Calls made upstream; 1 unless stated.
    pub requests: Option<u64>,
    /// Tokens of every kind, for a host that knows no more than the total.
    pub tokens: Option<u64>,
    /// Input tokens that no cache supplied.
    pub input: Option<u64>,
    /// Input tokens read from a cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to a cache that lives five minutes.
    pub cache_write_5m: Option<u64>,
    /// Input tokens written to a cache that lives an hour.
    pub cache_write_1h: Option<u64>,
    /// Output tokens, reasoning included.
    pub output: Option<u64>,
    /// Reasoning tokens: a part of the output, never added to it.
    pub reasoning: Option<u64>,
    /// What it cost, where the host knows better than a price book.
    pub usd: Option<Usd>,
    /// Measures of the host's own, by name: searches, hours, pages.
    pub extras: BTreeMap<Arc<str>, u64>,
}

/// A setter for each part that is a plain count.
macro_rules! state {
    ($($part:ident: $text:literal,)*) => {
        $(
            #[doc = $text]
            #[must_use]
            pub fn $part(mut self, count: u64) -> Self {
                self.$part = Some(count);
                self
            }
        )*
    };
}

impl Usage {
    /// Usage that states nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    state! {
        requests: "States how many calls were made.",
        tokens: "States the total of tokens, for a host that knows no more.",
        input: "States the input tokens that no cache supplied.",
        cache_read: "States the tokens read from a cache.",
        cache_write_5m: "States the tokens written to a five-minute cache.",
        cache_write_1h: "States the tokens written to a one-hour cache.",
        output: "States the output tokens, reasoning included.",
        reasoning: "States how many of the output tokens were reasoning.",
    }

    /// States what it cost.
    #[must_use]
    pub fn usd(mut self, cost: Usd) -> Self {
        self.usd = Some(cost);
        self
    }

    /// States how much of a measure of the host's own was used; said twice, the later holds.
    #[must_use]
    pub fn extra(mut self, name: &str, count: u64) -> Self {
        self.extras.insert(name.into(), count);
        self
    }

    /// How much of a measure was used, if this usage says so. Slots are never used up; a sum that does not fit is not
    /// stated either, and [`Usage::check`] says which part is too large.
    #[must_use]
    pub fn amount(&self, measure: &Measure) -> Option<Amount> {
        let count = match measure {
            Measure::Requests => Some(self.requests.unwrap_or(1)),
            Measure::Tokens => self.tokens.or_else(|| {
                let parts = [self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.output];
                sum(parts)
            }),
            Measure::InputTokens => sum([self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h]),
            Measure::OutputTokens => self.output,
            Measure::Usd => return self.usd.map(Amount::from),
            Measure::Slots => None,
            Measure::Custom(name) => self.extras.get(name).copied(),
        };
        count.and_then(|count| Amount::try_from(count).ok())
    }

    /// Refuses what no provider can have meant, by field: reasoning beyond the output, a total below its parts, a number
    /// that no amount can hold, an extra with an unusable name.
    ///
    /// # Errors
    /// The first field that is wrong, with its value.
    pub fn check(&self) -> Result<(), Error> {
        let counts = [
            ("usage.requests", self.requests),
            ("usage.tokens", self.tokens),
            ("usage.input", self.input),
            ("usage.cache_read", self.cache_read),
            ("usage.cache_write_5m", self.cache_write_5m),
            ("usage.cache_write_1h", self.cache_write_1h),
            ("usage.output", self.output),
            ("usage.reasoning", self.reasoning),
        ];
        for (field, count) in counts {
            if let Some(count) = count {
                Amount::try_from(count).map_err(|_| Error::invalid(field, count, "at most 2^63 - 1"))?;
            }
        }
        for (name, count) in &self.extras {
            Measure::custom(name).map_err(|error| error.within("usage.extras"))?;
            Amount::try_from(*count)
                .map_err(|_| Error::invalid(format!("usage.extras.{name}"), count, "at most 2^63 - 1"))?;
        }
        if let (Some(reasoning), Some(output)) = (self.reasoning, self.output) {
            if reasoning > output {
                return Err(Error::invalid(
                    "usage.reasoning",
                    reasoning,
                    "a part of the output tokens, so no more than them",
                ));
            }
        }
        let parts = [self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.output];
        let total = sum(parts);
        if parts.iter().any(Option::is_some) && total.and_then(|total| Amount::try_from(total).ok()).is_none() {
            return Err(Error::invalid("usage.tokens", "the sum of its parts", "at most 2^63 - 1"));
        }
        if let (Some(stated), Some(total)) = (self.tokens, total) {
            if stated < total {
                return Err(Error::invalid("usage.tokens", stated, "no less than the sum of its parts"));
            }
        }
        Ok(())
    }
}

/// The sum of what is stated; `None` if nothing is, or if the sum does not fit.
fn sum<const N: usize>(parts: [Option<u64>; N]) -> Option<u64> {
    let mut stated = parts.into_iter().flatten();
    let first = stated.next()?;
    stated.try_fold(first, u64::checked_add)
}

/// What an upstream's answer means for the key that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Class {
    /// The call was served.
    Success,
    /// The key has used up a rate, and will be served again.
    RateLimited,
    /// The provider has too much to do, whoever asks.
    Overloaded,
    /// The key's credits or quota are used up.
    QuotaExhausted,
    /// The provider does not know the key, or no longer.
    CredentialRefused,
    /// This key may not use this model.
    ModelRefused,
    /// Something broke that may work the next time, also with the same key.
    Transient,
    /// The request itself was at fault, or its caller went away. Never held against a key.
    CallersFault,
    /// Nothing that says anything about the key.
    NoVerdict,
}

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Concerns {
    /// The key, whatever it is used for.
    Key,
    /// The key with the model that was asked for.
    KeyAndModel,
}

/// When a key can be used again, and how that is known. What a provider stated counts more than what was read or guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Hint {
    /// Stated as an instant, in a typed field or header.
    Stated(Timestamp),
    /// Stated as a wait from the moment of the answer.
    Wait(Length),
    /// Read from the words of a message.
    Read(Timestamp),
}

impl Hint {
    /// The hint of a wait that begins now. One of no length is an instant: this one.
    #[must_use]
    pub fn after(wait: Duration, now: Timestamp) -> Self {
        if wait.is_zero() { Self::Stated(now) } else { Self::Wait(Length::try_from(wait).unwrap_or(Length::MAX)) }
    }

    /// The instant as it was said, believable or not.
    #[must_use]
    pub const fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Stated(at) | Self::Read(at) => at,
            Self::Wait(length) => now.saturating_add(length),
        }
    }

    /// The instant until which a key is left alone: what was said, within the bounds of `patience`.
    ///
    /// ```
    /// use keyward::usage::Patience;
    /// use keyward::{Hint, Length, Timestamp};
    ///
    /// let (now, patience) = (Timestamp::EPOCH, Patience::default());
    /// assert_eq!(Hint::Stated(now).until(now, patience).to_string(), "1970-01-01T00:00:01Z");
    /// assert_eq!(Hint::Read(now).until(now, patience).to_string(), "1970-01-01T00:01:00Z");
    /// assert_eq!(Hint::Wait(Length::MAX).until(now, patience).to_string(), "1970-01-08T00:00:00Z");
    /// ```
    #[must_use]
    pub fn until(self, now: Timestamp, patience: Patience) -> Timestamp {
        let Patience { stated, read, most } = patience;
        let least = if matches!(self, Self::Read(_)) { read } else { stated };
        self.instant(now).min(now.saturating_add(most)).max(now.saturating_add(least))
    }
}

/// How long a key is left alone at least and at most, whatever an answer says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Patience {
    /// The least after what was stated in a header or a typed field; it wins over [`Patience::most`].
    pub stated: Length,
    /// The least after what was read from the words of a message; it wins over [`Patience::most`].
    pub read: Length,
    /// The most after either.
    pub most: Length,
}

impl Default for Patience {
    /// From a second, or a minute for what was read, to seven days.
    fn default() -> Self {
        Self { stated: Length::SECOND, read: Length::MINUTE, most: Length::WEEK }
    }
}

/// What a provider last said about one of its own limits on a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProviderWindow {
    /// The provider's name for it: `requests`, `input-tokens`, `five_hour`.
    pub name: String,
    /// How much it allows, if that was said.
    pub limit: Option<u64>,
    /// How much is left, if that was said.
    pub remaining: Option<u64>,
    /// When it begins anew, if that was said.
    pub resets: Option<Timestamp>,
}

/// What an upstream's answer means, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Outcome {
    /// What it means.
    pub class: Class,
    /// When the key can be used again, if the answer says so.
    pub hint: Option<Hint>,
}

impl Outcome {
    /// An answer of this class that says no time.
    #[must_use]
    pub const fn new(class: Class) -> Self {
        Self { class, hint: None }
    }

    /// The same, with what it says about time.
    #[must_use]
    pub const fn with_hint(mut self, hint: Hint) -> Self {
        self.hint = Some(hint);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_a_part_of_the_output_and_never_added() {
        let usage = Usage::new().input(10).output(100).reasoning(90);
        assert_eq!(usage.amount(&Measure::Tokens), Some(Amount::new(110)));
        assert_eq!(usage.amount(&Measure::OutputTokens), Some(Amount::new(100)));
    }

    #[test]
    fn what_is_not_stated_is_not_zero() {
        let usage = Usage::new();
        assert_eq!(usage.amount(&Measure::Tokens), None);
        assert_eq!(usage.amount(&Measure::Usd), None);
        assert_eq!(usage.amount(&Measure::Requests), Some(Amount::ONE));
        assert_eq!(Usage::new().output(0).amount(&Measure::Tokens), Some(Amount::ZERO));
    }

    /// The same usage, said in another order, was refused as a conflict when a settle was repeated.
    #[test]
    fn extras_have_one_normal_form_whatever_their_order() {
        let usage = Usage::new().extra("pages", 2).extra("searches", 1);
        assert_eq!(usage, Usage::new().extra("searches", 1).extra("pages", 5).extra("pages", 2));
        assert_eq!(usage.amount(&Measure::custom("pages").unwrap()), Some(Amount::new(2)));
    }

    #[test]
    fn impossible_usage_is_refused_by_field() {
        for (usage, field) in [
            (Usage::new().input(u64::MAX), "usage.input"),
            (Usage::new().output(5).reasoning(6), "usage.reasoning"),
            (Usage::new().input(5).output(5).tokens(9), "usage.tokens"),
            (Usage::new().input(1 << 62).output(1 << 62), "usage.tokens"),
            (Usage::new().extra("Bad name", 1), "usage.extras.measure"),
        ] {
            assert_eq!(usage.check().unwrap_err().field(), Some(field), "{usage:?}");
        }
        Usage::new().input(5).output(5).tokens(11).extra("pages", 2).extra("pages", 3).check().unwrap();
    }
}
