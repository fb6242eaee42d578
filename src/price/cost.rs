//! The sum: each part of a usage by its rate, exactly, and rounded up once.

use std::fmt;
use std::sync::Arc;

use super::{Fallback, Fallbacks, Price, Rate};
use crate::amount::Usd;
use crate::error::Error;
use crate::usage::Usage;

const MILLION: i128 = 1_000_000;

/// What a usage costs, or why nobody can say.
///
/// Only a sum that is known, or that the policy says to take, has a [`Cost::usd`]. Where it is `None`, leave the money
/// unstated when settling: it then settles at what was held, and never at nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum Cost {
    /// By the rates of the price, rounded up to a nano-dollar.
    Priced(Usd),
    /// As the usage itself states it.
    Stated(Usd),
    /// With the policy's stand-in where the price has no rate.
    Estimated {
        /// What to book.
        usd: Usd,
        /// What was not priced.
        unpriced: Unpriced,
    },
    /// Unpriced; the policy lets the call pass, and a person should add the price.
    Flagged(Unpriced),
    /// Unpriced; the policy refuses the call.
    Refused(Unpriced),
    /// The price is known and charges for tokens, and the usage does not say how many there were.
    Unstated,
}

impl Cost {
    /// What to hold or to book; `None` where it is not known.
    #[must_use]
    pub const fn usd(&self) -> Option<Usd> {
        match self {
            Self::Priced(usd) | Self::Stated(usd) | Self::Estimated { usd, .. } => Some(*usd),
            Self::Flagged(_) | Self::Refused(_) | Self::Unstated => None,
        }
    }

    /// What has no price, if anything.
    #[must_use]
    pub const fn unpriced(&self) -> Option<&Unpriced> {
        match self {
            Self::Estimated { unpriced, .. } | Self::Flagged(unpriced) | Self::Refused(unpriced) => Some(unpriced),
            Self::Priced(_) | Self::Stated(_) | Self::Unstated => None,
        }
    }

    /// Whether a call with this cost is refused for the lack of a price. What was already spent cannot be refused.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// What is done with what has no price. Nothing ever makes it free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OnUnpriced {
    /// The call is refused.
    #[default]
    Refuse,
    /// Missing rates are those of this price; what it lacks too is refused.
    Estimate(Price),
    /// The call passes, with a flag.
    Flag,
}

/// What has no price, and what the rest costs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpriced {
    /// Why not.
    pub why: Why,
    /// The parts without a rate, with their counts; none is empty.
    pub missing: Vec<(Part, u64)>,
    /// What the other parts cost: never less than that was spent.
    pub known: Usd,
}

/// Why something has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The book has no price for this model, or one without a single rate.
    NoPrice,
    /// The price has no rate for the missing parts.
    NoRate,
    /// The rates hold for prompts of up to so many tokens, and this one is longer.
    LongPrompt {
        /// The largest prompt that they hold for.
        most: u64,
    },
}

/// Says what to add: `no rate for 7 cache_read`.
impl fmt::Display for Unpriced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::NoPrice => f.write_str("no price for the model")?,
            Why::NoRate => f.write_str("no rate")?,
            Why::LongPrompt { most } => write!(f, "no rate for prompts of more than {most} tokens")?,
        }
        for (at, (part, count)) in self.missing.iter().enumerate() {
            write!(
                f,
                "{} {count} {part}",
                if at > 0 {
                    ","
                } else if self.why == Why::NoRate {
                    " for"
                } else {
                    ":"
                }
            )?;
        }
        Ok(())
    }
}

/// One part of a usage that can have a rate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Part {
    /// Input tokens that no cache supplied.
    Input,
    /// Tokens read from a cache.
    CacheRead,
    /// Tokens written to a five-minute cache.
    CacheWrite5m,
    /// Tokens written to a one-hour cache.
    CacheWrite1h,
    /// Output tokens, reasoning included.
    Output,
    /// Tokens that only the total counts: nobody said of which kind they were.
    Tokens,
    /// A measure of the host's own.
    Extra(Arc<str>),
}

impl Part {
    /// Its name, as [`Usage`] has it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::Output => "output",
            Self::Tokens => "tokens",
            Self::Extra(name) => name,
        }
    }

    fn is_tokens(&self) -> bool {
        !matches!(self, Self::Extra(name) if !name.ends_with("_tokens"))
    }

    fn came_out(&self) -> bool {
        match self {
            Self::Extra(name) => media(name) == Some(Self::Output),
            other => *other == Self::Output,
        }
    }
}

/// The kind that a token of no text is of, by its extra's name.
fn media(name: &str) -> Option<Part> {
    match name {
        _ if name.ends_with("_cache_read_tokens") => Some(Part::CacheRead),
        _ if name.ends_with("_input_tokens") => Some(Part::Input),
        _ if name.ends_with("_output_tokens") => Some(Part::Output),
        _ => None,
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// All that a cost depends on beside the usage.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) price: Option<&'a Price>,
    pub(super) fallbacks: Fallbacks,
    pub(super) on_unpriced: &'a OnUnpriced,
}

impl<'a> Terms<'a> {
    pub(super) const fn of(price: Option<&'a Price>) -> Self {
        Self { price, fallbacks: Fallbacks::none(), on_unpriced: &OnUnpriced::Refuse }
    }

    pub(super) fn cost(&self, usage: &Usage) -> Result<Cost, Error> {
        if let Some(usd) = usage.usd {
            return Ok(Cost::Stated(usd));
        }
        let split = Split::of(usage)?;
        let (price, why) = self.valid_price(split.prompt);
        let strict = self.sum(&split, price, None)?;
        if price.is_some() && strict.missing.is_empty() {
            return Ok(if split.says_tokens || !strict.charges_tokens {
                Cost::Priced(strict.usd)
            } else {
                Cost::Unstated
            });
        }
        let unpriced = Unpriced { why, missing: strict.missing, known: strict.usd };
        let OnUnpriced::Estimate(stand_in) = self.on_unpriced else {
            let flagged = matches!(self.on_unpriced, OnUnpriced::Flag);
            return Ok(if flagged { Cost::Flagged(unpriced) } else { Cost::Refused(unpriced) });
        };
        let estimate = self.sum(&split, price, Some(stand_in))?;
        Ok(if !estimate.missing.is_empty() || stand_in.is_empty() {
            Cost::Refused(Unpriced { missing: estimate.missing, known: estimate.usd, ..unpriced })
        } else if split.says_tokens || !estimate.charges_tokens {
            Cost::Estimated { usd: estimate.usd, unpriced }
        } else {
            Cost::Unstated
        })
    }

    /// The price, if it has rates and they hold for this prompt; else why not.
    fn valid_price(&self, prompt: u64) -> (Option<&'a Price>, Why) {
        let Some(price) = self.price.filter(|price| !price.is_empty()) else {
            return (None, Why::NoPrice);
        };
        match price.longest_prompt {
            Some(most) if prompt > most => (None, Why::LongPrompt { most }),
            _ => (Some(price), Why::NoRate),
        }
    }

    fn sum(&self, split: &Split, price: Option<&Price>, stand_in: Option<&Price>) -> Result<Sum, Error> {
        let rates = Rates { fallbacks: self.fallbacks, price, stand_in };
        let (mut total, mut missing) = (0_i128, Vec::new());
        for (part, count) in split.parts.iter().filter(|(_, count)| *count > 0) {
            match rates.of(part) {
                Some(rate) => total = add(total, *count, rate)?,
                None => missing.push((part.clone(), *count)),
            }
        }
        // A price that names no rate for calls says that they cost nothing in themselves.
        if let Some(rate) = price.or(stand_in).and_then(|price| price.request) {
            total = add(total, split.requests, i128::from(rate.as_nanos()))?;
        }
        let nanos = total.checked_add(MILLION - 1).and_then(|total| i64::try_from(total / MILLION).ok());
        let usd = nanos.and_then(Usd::from_nanos).ok_or_else(too_much)?;
        Ok(Sum { usd, missing, charges_tokens: KINDS.iter().any(|kind| rates.of(kind).is_some_and(|rate| rate > 0)) })
    }

    /// What a token of the prompt is at its dearest, with writing to a cache or without.
    pub(super) fn dearest_prompt(&self, prompt: u64, writes: bool) -> Part {
        let stand_in = match self.on_unpriced {
            OnUnpriced::Estimate(price) => Some(price),
            OnUnpriced::Refuse | OnUnpriced::Flag => None,
        };
        let rates = Rates { fallbacks: self.fallbacks, price: self.valid_price(prompt).0, stand_in };
        // Without a rate for plain input there is no bound, and the cost should say so.
        if rates.of(&Part::Input).is_none() {
            return Part::Input;
        }
        let kinds = KINDS.into_iter().take(if writes { 4 } else { 2 });
        kinds.max_by_key(|kind| rates.of(kind)).unwrap_or(Part::Input)
    }
}

/// Every kind of token that a price has a rate for, what goes in first, what is written to caches last of that.
const KINDS: [Part; 5] = [Part::Input, Part::CacheRead, Part::CacheWrite5m, Part::CacheWrite1h, Part::Output];

/// Where the rate of a part comes from: the price, then the stand-in.
struct Rates<'a> {
    fallbacks: Fallbacks,
    price: Option<&'a Price>,
    stand_in: Option<&'a Price>,
}

impl Rates<'_> {
    fn of(&self, part: &Part) -> Option<i128> {
        if *part == Part::Tokens {
            return self.of_any_kind();
        }
        let of = |price: Option<&Price>| price.and_then(|price| rate(price, self.fallbacks, part));
        of(self.price).or_else(|| of(self.stand_in))
    }

    /// Tokens of no known kind: exactly known if every kind costs the same, and estimated at the dearest.
    fn of_any_kind(&self) -> Option<i128> {
        let rates = KINDS.map(|kind| self.of(&kind));
        if self.stand_in.is_some() {
            return rates.into_iter().flatten().max();
        }
        let [first, ..] = rates;
        first.filter(|_| rates.iter().all(|rate| *rate == first))
    }
}

/// What this price asks for a million of a part, with its fallbacks.
fn rate(price: &Price, fallbacks: Fallbacks, part: &Part) -> Option<i128> {
    let (own, fallback, plain) = match part {
        Part::Input => (price.input, Fallback::Unpriced, price.input),
        Part::CacheRead => (price.cache_read, fallbacks.cache_read, price.input),
        Part::CacheWrite5m => (price.cache_write_5m, fallbacks.cache_write_5m, price.input),
        Part::CacheWrite1h => (price.cache_write_1h, fallbacks.cache_write_1h, price.input),
        Part::Output => (price.output, Fallback::Unpriced, price.output),
        Part::Tokens => (None, Fallback::Unpriced, None),
        Part::Extra(name) => {
            let plain = match media(name) {
                Some(Part::CacheRead) => price.cache_read.or(price.input),
                Some(Part::Output) => price.output,
                Some(_) => price.input,
                None => None,
            };
            (price.extras.get(name).copied(), fallbacks.media, plain)
        }
    };
    let nanos = |rate: Rate| i128::from(rate.as_nanos());
    own.map(nanos).or_else(|| match fallback {
        Fallback::Unpriced => None,
        Fallback::Plain => plain.map(nanos),
        Fallback::TwicePlain => plain.map(|rate| nanos(rate) * 2),
    })
}

/// A usage as the parts that rates are for.
struct Split {
    parts: Vec<(Part, u64)>,
    requests: u64,
    /// Every token that may have been a part of the prompt.
    prompt: u64,
    /// Whether it says anything of tokens.
    says_tokens: bool,
}

impl Split {
    fn of(usage: &Usage) -> Result<Self, Error> {
        let Usage { input, cache_read, cache_write_5m, cache_write_1h, output, .. } = usage;
        let counts = [input, cache_read, cache_write_5m, cache_write_1h, output];
        let mut parts: Vec<(Part, u64)> =
            KINDS.into_iter().zip(counts).filter_map(|(kind, count)| Some((kind, (*count)?))).collect();
        parts.extend(usage.extras.iter().map(|(name, count)| (Part::Extra(name.clone()), *count)));
        let sum = |wanted: &dyn Fn(&Part) -> bool| {
            let wanted = parts.iter().filter(|(part, _)| wanted(part)).map(|(_, count)| *count);
            wanted
                .into_iter()
                .try_fold(0_u64, u64::checked_add)
                .ok_or_else(|| Error::invalid("usage.tokens", "the sum of its parts", "at most 2^63 - 1"))
        };
        let said = sum(&|part| part.is_tokens())?;
        let rest = usage.tokens.map_or(0, |total| total.saturating_sub(said));
        let prompt = sum(&|part| part.is_tokens() && !part.came_out())?.saturating_add(rest);
        let says_tokens = usage.tokens.is_some() || parts.iter().any(|(part, _)| part.is_tokens());
        parts.push((Part::Tokens, rest));
        Ok(Self { parts, requests: usage.requests.unwrap_or(1), prompt, says_tokens })
    }
}

struct Sum {
    usd: Usd,
    missing: Vec<(Part, u64)>,
    charges_tokens: bool,
}

fn add(total: i128, count: u64, rate: i128) -> Result<i128, Error> {
    i128::from(count).checked_mul(rate).and_then(|cost| total.checked_add(cost)).ok_or_else(too_much)
}

fn too_much() -> Error {
    Error::invalid("usage.usd", "the sum of its parts", "at most $9223372036.854775807")
}
