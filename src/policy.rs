//! Policy as data: limits, pools of keys and prices, in whatever format serde reads.
//!
//! A [`Policy`] is read without being understood, so that a value that is wrong hides no other: [`Policy::check`] finds
//! everything that is wrong, [`Policy::build`] makes [`Limit`]s, [`Pool`]s and a [`Book`] of it, and [`Policy::diff`] says
//! what would change if another took its place. Which format a policy is written in is the host's choice; a field that
//! is not known, or a value of the wrong kind, is refused by the format's own reader with its line and column.
//!
//! ```
//! use keyward::policy::Policy;
//! use keyward::Secret;
//!
//! let policy: Policy = toml::from_str(r#"
//!     limits = [
//!         "60 requests / 1m by key",
//!         "10 USD / day @ +01:00 by team",
//!         { limit = "1_000_000 tokens / 30d by team", alert_at_percent = [80, 100], note = "as agreed" },
//!     ]
//!
//!     [[pools]]
//!     name = "openai"
//!     keys = ["env:OPENAI_KEYS", { secret = "file:/run/secrets/spare", id = "spare", priority = 1 }]
//!     limits = ["500 requests / 1m"]
//!
//!     [[prices]]
//!     model = "gpt-x-*"
//!     input = "2.50"
//!     output = "10"
//! "#)?;
//! assert!(policy.check()?.is_empty(), "no warnings");
//!
//! // `Reference::read` instead of the closure reads the environment and files.
//! let built = policy.build(|reference| Ok(Secret::new(format!("sk-{reference}-12345"))))?;
//! assert_eq!(built.limits[1].to_string(), "$10.00 per day at 00:00 +01:00 by team");
//! assert_eq!(built.pools[0].len(), 2);
//!
//! let broken: Policy = toml::from_str(r#"limits = ["60 requests / 1.5h", "-1 tokens / 1m"]"#)?;
//! let problems = broken.check().unwrap_err();
//! assert_eq!(problems.len(), 2);
//! assert_eq!(problems.iter().next().and_then(|problem| problem.field()), Some("limits[0].window"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What can be written
//!
//! | field | what it is |
//! |---|---|
//! | `limits` | each a text, see [`Limit::from_str`](std::str::FromStr::from_str), or a table of fields |
//! | `measures` | the measures that are counted beside the built-in ones; others are refused |
//! | `dimensions` | the only dimensions that limits may go by, if it is there: a guard against misspelling |
//! | `pools` | `name`, `keys`, `provider`, `strategy`, `cooling`, `limits` of each key, `fallback`, `on_exhausted`, `look_every`, `twice` |
//! | `prices` | `model`, `provider`, `class`, `from`, and the rates for a million tokens: `input`, `cache_read`, `cache_write_5m`, `cache_write_1h`, `output`, `extras`; `each_request` for a call; `free`, `longest_prompt` |
//! | `price_fallbacks`, `unpriced` | `none` or `plain` or one word for each rate; `refuse`, `flag`, or the rates that stand in for those that are missing |
//!
//! The fields of a limit are `limit` (a text that the others add to), `measure`, `amount`, `window`, `zone`, `by`, `when`,
//! `if_present`, `assume`, `soft`, `alert_at_percent`, `on_expiry`, `audit`, `weights`, `relaxed` (`true`, or `"money"`),
//! `when_down` (`"refuse"`, or a share such as `"25%"`), `note` and `name`. A `shape` of `sliding`, `fixed`, `anchored`, `rolling`, `gcra`, `first_use` or `credits` is followed, where it
//! has any, by its settings: `anchor`, `buckets`, `burst`, `until` and `in_steps`, `refill`; a calendar's are `week_start`, `day`
//! and `at`. Without a shape a length slides below 24 hours and is anchored from there on. The old names `daily`, `weekly` and
//! `monthly` are read as lengths, with a [`Warning`].
//!
//! The fields of a key are `secret` (a [`Reference`]), `id`, `name`, `provider`, `kind`, `scope`, `scope_id`, `weight`, `priority`, `disabled` and
//! `limits`. A `strategy` is a word, or a table of `by` and its settings. Amounts of money are texts: a number with a point has
//! been rounded before anybody could look at it.

mod changes;
mod compare;
mod forms;
mod limits;
mod pools;
mod prices;
mod problems;
mod raw;
mod reference;
mod settings;
mod shapes;
mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use changes::{Change, Changes, Effect, Kind, Of};
use forms::{FallbacksForm, LimitForm, PoolForm, PriceForm, RatesForm};
use problems::Findings;
pub use problems::{Problems, Warning};
use raw::{Entry, Raw};
pub use reference::Reference;

use crate::error::Error;
use crate::id::{Secret, word};
use crate::keys::Pool;
use crate::limit::{Compiled, Limit};
use crate::price::Book;

/// Limits, pools and prices as they were written. See the [module](self).
///
/// It is written out as it was read, but for what stands where a reference belongs and is none: that is masked.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    measures: Vec<Raw>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dimensions: Vec<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price_fallbacks: Option<Entry<FallbacksForm>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unpriced: Option<Entry<RatesForm>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<Entry<LimitForm>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pools: Vec<PoolForm>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prices: Vec<PriceForm>,
}

/// What a policy says, ready for use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Built {
    /// Its limits, in their order, no two of one identity.
    pub limits: Vec<Compiled>,
    /// Its pools, in their order, each with its fallback.
    pub pools: Vec<Pool>,
    /// Its prices, if it has any.
    pub prices: Option<Book>,
    /// What holds, though perhaps not as it was meant; the host should print it.
    pub warnings: Vec<Warning>,
}

/// What was understood of a policy, without its secrets.
struct Checked {
    limits: Vec<Limit>,
    compiled: Vec<Compiled>,
    pools: Vec<pools::Plan>,
    prices: Option<Book>,
    pricing: prices::Pricing,
}

impl Policy {
    /// Everything that is wrong with it as far as that can be known without its secrets, or else what should be known of it.
    ///
    /// # Errors
    /// All problems, each with its field (`limits[2].window`), the value, and what was expected.
    pub fn check(&self) -> Result<Vec<Warning>, Problems> {
        self.checked().map(|(_, warnings)| warnings)
    }

    /// Its limits, for a host that adds to them.
    ///
    /// # Errors
    /// Those of [`Policy::check`].
    pub fn limits(&self) -> Result<Vec<Limit>, Problems> {
        self.checked().map(|(checked, _)| checked.limits)
    }

    /// All that it says, with its secrets as `resolve` finds them; [`Reference::read`] does so in the environment and in files.
    ///
    /// # Errors
    /// All problems: those of [`Policy::check`], or else every reference that cannot be resolved and every key that none can
    /// be, by its reference and never by its secret.
    pub fn build(&self, mut resolve: impl FnMut(&Reference) -> Result<Secret, Error>) -> Result<Built, Problems> {
        let (Checked { compiled, pools, prices, .. }, warnings) = self.checked()?;
        let mut findings = Findings::default();
        let pools = pools::build(&pools, &mut resolve, &mut findings);
        let (pools, _) = findings.end(pools)?;
        Ok(Built { limits: compiled, pools, prices, warnings })
    }

    /// What would change if `new` took its place, in words and as data.
    ///
    /// Keys are told apart by their ids, or else by their references: what has changed behind a reference is not seen.
    ///
    /// ```
    /// use keyward::policy::Policy;
    /// let old: Policy = toml::from_str(r#"limits = ["60 requests / 1m by key", "10 USD / 30d by team named team budget"]"#)?;
    /// let new: Policy = toml::from_str(r#"limits = ["90 requests / 1m by key", "10 USD / 7d by team named team budget"]"#)?;
    /// let changes = old.diff(&new)?;
    /// assert_eq!(changes.to_string(), "\
    /// limit requests per 1m by key: amount 60 requests becomes 90 requests; what was counted stays
    /// limit team budget: window anchored 30d becomes anchored 1w; counting starts anew");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with either of them, the new one first.
    pub fn diff(&self, new: &Self) -> Result<Changes, Problems> {
        let (new, _) = new.checked()?;
        let (old, _) = self.checked()?;
        Ok(compare::between(&old, &new))
    }

    fn checked(&self) -> Result<(Checked, Vec<Warning>), Problems> {
        let Self { measures, dimensions, price_fallbacks, unpriced, limits, pools, prices } = self;
        let mut findings = Findings::default();
        let words = limits::Words {
            measures: own_words("measures", measures, &mut findings),
            dimensions: own_words("dimensions", dimensions, &mut findings),
        };
        let (mut read, mut compiled): (Vec<Limit>, Vec<(usize, Compiled)>) = (Vec::new(), Vec::new());
        for (place, entry) in limits.iter().enumerate() {
            let path = format!("limits[{place}]");
            let Some(limit) = limits::limit(entry, &path, &words, &mut findings) else { continue };
            let Some(checked) = findings.keep(limit.clone().compile(), "limit", &path) else { continue };
            if let Some((first, _)) = compiled.iter().find(|(_, other)| other.id() == checked.id()) {
                let expected = format!("no limit like limits[{first}]; name them, or change what they count");
                findings.refuse(&path, checked.id(), expected);
            }
            compiled.push((place, checked));
            read.push(limit);
        }
        let pools = pools::plans(pools, &words, &mut findings);
        let (prices, pricing) = prices::book(prices, price_fallbacks.as_ref(), unpriced.as_ref(), &mut findings);
        let compiled = compiled.into_iter().map(|(_, limit)| limit).collect();
        findings.end(Checked { limits: read, compiled, pools, prices, pricing })
    }
}

/// The words of a list, each checked and once.
fn own_words(name: &'static str, list: &[Raw], findings: &mut Findings) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (place, raw) in list.iter().enumerate() {
        let field = format!("{name}[{place}]");
        let Some(text) = findings.text(&field, Some(raw)) else { continue };
        let checked = match name {
            "measures" => crate::amount::Measure::custom(&text).map(drop),
            _ => word(name, &text).map(drop),
        };
        if let Err(error) = checked {
            findings.refuse(&field, &text, error.expected().unwrap_or_default());
        } else if words.contains(&text) {
            findings.refuse(&field, &text, "each of them once");
        } else {
            words.push(text);
        }
    }
    words
}

/// How much it has of what; a policy may have been written with a secret in it.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("limits", &self.limits.len())
            .field("pools", &self.pools.len())
            .field("prices", &self.prices.len())
            .finish_non_exhaustive()
    }
}
