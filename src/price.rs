//! What calls cost: rates for a million units, a book of them, and what providers say was used.
//!
//! A [`Price`] is the rates of one model, a [`Book`] the prices of many, each from an instant on. The cost of a usage is
//! summed exactly and rounded up once, to a whole nano-dollar. What has no rate is never free: a rate of 0 is free, and
//! a rate that is not there makes the usage [`Unpriced`], which the book's policy then refuses, estimates or flags.
//!
//! [`import()`] reads the widely used JSON of model prices, from a text that the host supplies, and lists what it had
//! to leave out. [`Shape`] reads what OpenAI, Anthropic and Gemini report, streamed or not, into one [`Usage`].
//! [`Draft`] bounds a call from above before it is made. This module keeps nothing and knows no account.
//!
//! ```
//! use keyward::price::{Book, Entry, Model, Price, Shape};
//! use keyward::{Timestamp, Usd};
//!
//! let mut book = Book::new();
//! let price = Price::new().input("2".parse()?).output("10".parse()?).cache_read("0.2".parse()?);
//! book.push(Entry::new("gpt-x-*", price).provider("openai"))?;
//!
//! let answer = br#"{"usage": {"prompt_tokens": 1000, "completion_tokens": 100,
//!     "prompt_tokens_details": {"cached_tokens": 400}, "completion_tokens_details": {"reasoning_tokens": 60}}}"#;
//! let usage = Shape::OpenAiChat.read(answer)?.expect("the answer has a usage");
//! let now: Timestamp = "2026-03-01T00:00:00Z".parse()?;
//! let cost = book.cost(Model::named("gpt-x-mini").of("openai"), now, &usage)?;
//! assert_eq!(cost.usd(), Some(Usd::micros(2_280)));
//! # Ok::<(), keyward::Error>(())
//! ```

mod book;
mod cost;
mod draft;
mod import;
pub(crate) mod json;
mod rate;
mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::amount::Measure;
use crate::error::Error;
use crate::usage::Usage;

pub use book::{Book, Entry, Model};
pub use cost::{Cost, OnUnpriced, Part, Unpriced, Why};
pub use draft::{Bound, Draft, Prompt};
pub use import::{Imported, LeftOut, Names, Reason, import};
pub use rate::Rate;
pub use shape::{Shape, Tally};

/// The extra of audio tokens that went in, which the plain input does not count.
pub const AUDIO_INPUT: &str = "audio_input_tokens";
/// The extra of audio tokens read from a cache.
pub const AUDIO_CACHE_READ: &str = "audio_cache_read_tokens";
/// The extra of audio tokens that came out, which the plain output does not count.
pub const AUDIO_OUTPUT: &str = "audio_output_tokens";
/// The extra of image tokens that came out, which the plain output does not count.
pub const IMAGE_OUTPUT: &str = "image_output_tokens";
/// The extra of searches that a provider made for a call.
pub const WEB_SEARCHES: &str = "web_searches";

/// The rates of one model. What has no rate here is not free but unpriced, except that a call costs nothing in itself
/// unless [`Price::request`] says so.
///
/// Extras are a host's own measures (searches, pages) and tokens that are dearer than text; those are named
/// `..._tokens`.
///
/// ```
/// use keyward::price::{Cost, Price, Why};
/// use keyward::{Usage, Usd};
///
/// let price = Price::new().input("3".parse()?).output("15".parse()?);
/// assert_eq!(price.cost(&Usage::new().input(1_000_000).output(1))?, Cost::Priced("3.000015".parse()?));
/// match price.cost(&Usage::new().input(1_000_000).cache_read(7).output(1))? {
///     Cost::Refused(unpriced) => assert_eq!(unpriced.to_string(), "no rate for 7 cache_read"),
///     other => panic!("a cache read without a rate is not free: {other:?}"),
/// }
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Price {
    /// Input tokens that no cache supplied.
    pub input: Option<Rate>,
    /// Input tokens read from a cache.
    pub cache_read: Option<Rate>,
    /// Input tokens written to a cache that lives five minutes.
    pub cache_write_5m: Option<Rate>,
    /// Input tokens written to a cache that lives an hour.
    pub cache_write_1h: Option<Rate>,
    /// Output tokens, reasoning included.
    pub output: Option<Rate>,
    /// Calls, each by itself: [`Rate::each`].
    pub request: Option<Rate>,
    /// Measures of the host's own, by name.
    pub extras: BTreeMap<Arc<str>, Rate>,
    /// The largest prompt, caches included, that these rates hold for. A larger one is unpriced.
    pub longest_prompt: Option<u64>,
}

/// A setter for each rate.
macro_rules! rates {
    ($($part:ident: $text:literal,)*) => {
        $(
            #[doc = $text]
            #[must_use]
            pub fn $part(mut self, rate: Rate) -> Self {
                self.$part = Some(rate);
                self
            }
        )*
    };
}

impl Price {
    /// A price without a rate for anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tokens of every kind cost nothing, and are known to.
    #[must_use]
    pub fn free() -> Self {
        Self {
            input: Some(Rate::FREE),
            cache_read: Some(Rate::FREE),
            cache_write_5m: Some(Rate::FREE),
            cache_write_1h: Some(Rate::FREE),
            output: Some(Rate::FREE),
            ..Self::default()
        }
    }

    rates! {
        input: "The rate of input tokens that no cache supplied.",
        cache_read: "The rate of tokens read from a cache.",
        cache_write_5m: "The rate of tokens written to a five-minute cache.",
        cache_write_1h: "The rate of tokens written to a one-hour cache.",
        output: "The rate of output tokens, reasoning included.",
        request: "The rate of calls.",
    }

    /// The rate of a measure of the host's own; said twice, the later holds.
    #[must_use]
    pub fn extra(mut self, name: &str, rate: Rate) -> Self {
        self.extras.insert(name.into(), rate);
        self
    }

    /// The rates hold for prompts of up to so many tokens, caches included.
    #[must_use]
    pub fn longest_prompt(mut self, tokens: u64) -> Self {
        self.longest_prompt = Some(tokens);
        self
    }

    /// What this usage costs by these rates alone: no fallbacks, and what is unpriced is refused.
    ///
    /// # Errors
    /// A cost beyond the most money there is, or more tokens than can be counted.
    pub fn cost(&self, usage: &Usage) -> Result<Cost, Error> {
        cost::Terms::of(Some(self)).cost(usage)
    }

    /// Refuses extras that no usage can name.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.extras
            .keys()
            .try_for_each(|name| Measure::custom(name).map(drop).map_err(|error| error.within("price.extras")))
    }

    /// Whether nothing at all has a rate.
    fn is_empty(&self) -> bool {
        let Self { input, cache_read, cache_write_5m, cache_write_1h, output, request, extras, longest_prompt: _ } =
            self;
        let rates = [input, cache_read, cache_write_5m, cache_write_1h, output, request];
        rates.into_iter().all(Option::is_none) && extras.is_empty()
    }
}

/// What a kind of token costs where a price has no rate of its own for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Fallback {
    /// It stays unpriced.
    #[default]
    Unpriced,
    /// The plain rate: that of the input for what goes in, that of the output for what comes out.
    Plain,
    /// Twice the plain rate.
    TwicePlain,
}

/// What stands in for rates that a price does not have. Without any, every missing rate is unpriced.
///
/// ```
/// use keyward::price::{Book, Entry, Fallback, Fallbacks, Model, Price};
/// use keyward::{Timestamp, Usage, Usd};
///
/// let fallbacks = Fallbacks::plain().cache_write_1h(Fallback::TwicePlain);
/// let mut book = Book::new().fallbacks(fallbacks);
/// book.push(Entry::new("m", Price::new().input("2".parse()?).output("10".parse()?)))?;
/// let usage = Usage::new().cache_read(1_000_000).cache_write_1h(1_000_000);
/// assert_eq!(book.cost(Model::named("m"), Timestamp::MIN, &usage)?.usd(), Some(Usd::dollars(2 + 4)));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Fallbacks {
    /// For tokens read from a cache.
    pub cache_read: Fallback,
    /// For tokens written to a five-minute cache.
    pub cache_write_5m: Fallback,
    /// For tokens written to a one-hour cache.
    pub cache_write_1h: Fallback,
    /// For tokens that are not text: extras named `..._input_tokens`, `..._cache_read_tokens`, `..._output_tokens`.
    pub media: Fallback,
}

/// A setter for each fallback.
macro_rules! fallbacks {
    ($($part:ident: $text:literal,)*) => {
        $(
            #[doc = $text]
            #[must_use]
            pub const fn $part(mut self, fallback: Fallback) -> Self {
                self.$part = fallback;
                self
            }
        )*
    };
}

impl Fallbacks {
    /// Every missing rate is unpriced.
    #[must_use]
    pub const fn none() -> Self {
        let none = Fallback::Unpriced;
        Self { cache_read: none, cache_write_5m: none, cache_write_1h: none, media: none }
    }

    /// Caches cost what input costs, and every token what a token of text costs.
    #[must_use]
    pub const fn plain() -> Self {
        let plain = Fallback::Plain;
        Self { cache_read: plain, cache_write_5m: plain, cache_write_1h: plain, media: plain }
    }

    fallbacks! {
        cache_read: "What tokens read from a cache cost.",
        cache_write_5m: "What tokens written to a five-minute cache cost.",
        cache_write_1h: "What tokens written to a one-hour cache cost.",
        media: "What tokens cost that are not text.",
    }
}
