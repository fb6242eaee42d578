//! The most that a call can cost, from what is known before it is made.

use super::cost::{Part, Terms};
use super::{Cost, Price};
use crate::amount::Amount;
use crate::error::Error;
use crate::usage::Usage;

/// How long a prompt is, in the unit that the host has at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Prompt {
    /// As a tokenizer counted it.
    Tokens(u64),
    /// In bytes of UTF-8: each token of a text stands for at least one.
    Bytes(u64),
    /// In characters, of which each has at most four bytes.
    Chars(u64),
}

/// A call before it is made: its prompt, and the most that may come out.
///
/// The bound is one of text: what a provider adds to a prompt, such as the tokens around each message, belongs in
/// [`Draft::overhead`]; pictures, sound and searches are in no bound.
///
/// ```
/// use keyward::price::{Draft, Price, Prompt};
/// use keyward::{Amount, Usd};
///
/// let price = Price::new().input("3".parse()?).output("15".parse()?).cache_write_5m("3.75".parse()?);
/// let draft = Draft::new(Prompt::Tokens(2_000), 1_000);
/// let bound = draft.at(&price)?;
/// assert_eq!(bound.tokens, Amount::new(3_000));
/// assert_eq!(bound.cost.usd(), Some(Usd::micros(7_500 + 15_000)), "all of the prompt may be written to the cache");
/// assert_eq!(draft.no_cache_writes().at(&price)?.cost.usd(), Some(Usd::micros(6_000 + 15_000)));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Draft {
    prompt: Prompt,
    max_output: u64,
    overhead: u64,
    choices: u64,
    writes: bool,
}

/// The most that a call can use and cost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bound {
    /// Tokens of every kind.
    pub tokens: Amount,
    /// Tokens that go in.
    pub input: Amount,
    /// Tokens that come out.
    pub output: Amount,
    /// What they cost: each token of the prompt at its dearest, as input, from a cache or into one.
    pub cost: Cost,
}

impl Draft {
    /// A call with this prompt, to which at most so many tokens are answered, reasoning included.
    pub const fn new(prompt: Prompt, max_output: u64) -> Self {
        Self { prompt, max_output, overhead: 0, choices: 1, writes: true }
    }

    /// So many tokens more go in than the prompt has.
    pub const fn overhead(mut self, tokens: u64) -> Self {
        self.overhead = tokens;
        self
    }

    /// So many answers are asked for, each of up to the most output.
    pub const fn choices(mut self, count: u64) -> Self {
        self.choices = count;
        self
    }

    /// Nothing is written to a cache, so that the rates for that need not be held.
    pub const fn no_cache_writes(mut self) -> Self {
        self.writes = false;
        self
    }

    /// The bound by the rates of this price alone.
    ///
    /// # Errors
    /// More tokens than can be counted, or a cost beyond the most money there is.
    pub fn at(&self, price: &Price) -> Result<Bound, Error> {
        self.bound(&Terms::of(Some(price)))
    }

    pub(super) fn bound(&self, terms: &Terms<'_>) -> Result<Bound, Error> {
        let tokens = match self.prompt {
            Prompt::Tokens(count) | Prompt::Bytes(count) => Some(count),
            Prompt::Chars(count) => count.checked_mul(4),
        };
        let input = tokens.and_then(|tokens| tokens.checked_add(self.overhead));
        let input = count("draft.prompt", input)?;
        let output = count("draft.max_output", self.max_output.checked_mul(self.choices))?;
        let tokens = count("draft.tokens", u64::from(input).checked_add(output.into()))?;
        let usage = Usage::new().output(output.into());
        let usage = match terms.dearest_prompt(input.into(), self.writes) {
            Part::CacheRead => usage.cache_read(input.into()),
            Part::CacheWrite5m => usage.cache_write_5m(input.into()),
            Part::CacheWrite1h => usage.cache_write_1h(input.into()),
            _ => usage.input(input.into()),
        };
        Ok(Bound { tokens, input, output, cost: terms.cost(&usage)? })
    }
}

fn count(field: &'static str, tokens: Option<u64>) -> Result<Amount, Error> {
    tokens
        .and_then(|tokens| Amount::try_from(tokens).ok())
        .ok_or_else(|| Error::invalid(field, "more tokens than can be counted", "at most 2^63 - 1"))
}
