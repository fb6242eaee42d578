//! Prices by provider, model and class of service, each from an instant on.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::cost::Terms;
use super::{Bound, Cost, Draft, Fallbacks, OnUnpriced, Price};
use crate::error::Error;
use crate::time::Timestamp;
use crate::usage::Usage;

/// One line of a book: a price, whom it is for, and since when.
///
/// The model is a name, or a pattern in which `*` stands for any text and `?` for any one character.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Entry {
    /// The provider that charges it; any, if none is named.
    #[cfg_attr(feature = "serde", serde(default))]
    pub provider: Option<Arc<str>>,
    /// The model's name, or a pattern.
    pub model: Arc<str>,
    /// The class of service, such as `batch`; the usual one, if none is named.
    #[cfg_attr(feature = "serde", serde(default))]
    pub class: Option<Arc<str>>,
    /// The first instant at which it is charged.
    pub from: Timestamp,
    /// What is charged.
    pub price: Price,
}

impl Entry {
    /// A price of this model, at any provider, in its usual class, since ever.
    #[must_use]
    pub fn new(model: &str, price: Price) -> Self {
        Self { provider: None, model: model.into(), class: None, from: Timestamp::MIN, price }
    }

    /// The same at this provider only.
    #[must_use]
    pub fn provider(mut self, name: &str) -> Self {
        self.provider = Some(name.into());
        self
    }

    /// The same for this class of service.
    #[must_use]
    pub fn class(mut self, name: &str) -> Self {
        self.class = Some(name.into());
        self
    }

    /// The same from this instant on.
    #[must_use]
    pub fn from(mut self, at: Timestamp) -> Self {
        self.from = at;
        self
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        name("entry.model", &self.model)?;
        self.provider.iter().try_for_each(|provider| name("entry.provider", provider))?;
        self.class.iter().try_for_each(|class| name("entry.class", class))?;
        self.price.check().map_err(|error| error.within("entry"))
    }
}

/// Which model a call goes to, of whom, in which class of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Model<'a> {
    name: &'a str,
    provider: Option<&'a str>,
    class: Option<&'a str>,
}

impl<'a> Model<'a> {
    /// The model of this name, at no provider in particular, in its usual class.
    #[must_use]
    pub const fn named(name: &'a str) -> Self {
        Self { name, provider: None, class: None }
    }

    /// The same of this provider.
    #[must_use]
    pub const fn of(mut self, provider: &'a str) -> Self {
        self.provider = Some(provider);
        self
    }

    /// The same in this class of service, such as `batch`.
    #[must_use]
    pub const fn class(mut self, name: &'a str) -> Self {
        self.class = Some(name);
        self
    }
}

/// Prices of many models. Entries are only ever added: what a call cost a month ago is still found.
///
/// Which entry holds for a call is decided in this order, among those that are effective at its instant:
/// 1. the model's own name before any pattern; then the pattern with more characters that are no wildcard; then with
///    fewer `*`; then with fewer `?`; then the one that comes first in the alphabet;
/// 2. an entry of the call's provider before one that names none (one of another provider never holds);
/// 3. the latest to become effective; of several at one instant, the last that was added.
///
/// The class has to be the same: a `batch` call is not charged the usual price, nor the reverse. A model's own name is
/// looked up in a tree; patterns are tried one after the other.
///
/// ```
/// use keyward::price::{Book, Entry, Model, Price};
/// use keyward::{Timestamp, Usage, Usd};
///
/// let new_year: Timestamp = "2026-01-01T00:00:00Z".parse()?;
/// let price = |usd: &str| Ok::<_, keyward::Error>(Price::new().output(usd.parse()?));
/// let mut book = Book::new();
/// book.push(Entry::new("gpt-x", price("10")?))?;
/// book.push(Entry::new("gpt-x", price("8")?).from(new_year))?;
/// book.push(Entry::new("gpt-*", price("99")?))?;
///
/// let cost = |name, at| book.cost(Model::named(name), at, &Usage::new().output(1_000_000)).map(|cost| cost.usd());
/// assert_eq!(cost("gpt-x", "2025-12-31T23:59:59.999999Z".parse()?)?, Some(Usd::dollars(10)));
/// assert_eq!(cost("gpt-x", new_year)?, Some(Usd::dollars(8)));
/// assert_eq!(cost("gpt-y", new_year)?, Some(Usd::dollars(99)));
/// assert_eq!(cost("claude-x", new_year)?, None, "unpriced, and refused unless the book says otherwise");
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// As they were added.
    entries: Vec<Entry>,
    names: BTreeMap<Arc<str>, Vec<Series>>,
    /// The best first.
    patterns: Vec<(Pattern, Vec<Series>)>,
    fallbacks: Fallbacks,
    on_unpriced: OnUnpriced,
}

/// The entries of one provider and class for one model or pattern: their instants, in order, and their places.
#[derive(Clone, Debug)]
struct Series {
    provider: Option<Arc<str>>,
    class: Option<Arc<str>>,
    places: Vec<(Timestamp, usize)>,
}

impl Book {
    /// A book without prices, in which every missing rate is unpriced and refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands in for rates that a price does not have.
    #[must_use]
    pub fn fallbacks(mut self, fallbacks: Fallbacks) -> Self {
        self.fallbacks = fallbacks;
        self
    }

    /// What is done with what has no price.
    #[must_use]
    pub fn on_unpriced(mut self, policy: OnUnpriced) -> Self {
        self.on_unpriced = policy;
        self
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// A name that is empty, longer than 256 bytes or has control characters; an extra that no usage can name.
    pub fn push(&mut self, entry: Entry) -> Result<(), Error> {
        entry.check()?;
        let place = (entry.from, self.entries.len());
        let series = if Pattern::is_one(&entry.model) {
            let pattern = Pattern::new(entry.model.clone());
            let at = match self.patterns.binary_search_by(|(other, _)| other.cmp(&pattern)) {
                Ok(at) => at,
                Err(at) => {
                    self.patterns.insert(at, (pattern, Vec::new()));
                    at
                }
            };
            self.patterns.get_mut(at).map(|(_, series)| series)
        } else {
            Some(self.names.entry(entry.model.clone()).or_default())
        };
        if let Some(series) = series {
            add(series, &entry, place);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// All entries, as they were added.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry that holds for this model at this instant.
    #[must_use]
    pub fn find(&self, model: Model<'_>, at: Timestamp) -> Option<&Entry> {
        let named = self.names.get(model.name).and_then(|series| active(series, model, at));
        let place = named.or_else(|| {
            let patterns = self.patterns.iter().filter(|(pattern, _)| pattern.matches(model.name));
            patterns.into_iter().find_map(|(_, series)| active(series, model, at))
        });
        place.and_then(|place| self.entries.get(place))
    }

    /// What this usage of a model costs, by the price that held when the request was made.
    ///
    /// # Errors
    /// A cost beyond the most money there is, or more tokens than can be counted.
    pub fn cost(&self, model: Model<'_>, requested: Timestamp, usage: &Usage) -> Result<Cost, Error> {
        self.terms(model, requested).cost(usage)
    }

    /// The most that a call can use and cost, before it is made.
    ///
    /// # Errors
    /// More tokens than can be counted, or a cost beyond the most money there is.
    pub fn bound(&self, model: Model<'_>, at: Timestamp, draft: &Draft) -> Result<Bound, Error> {
        draft.bound(&self.terms(model, at))
    }

    fn terms(&self, model: Model<'_>, at: Timestamp) -> Terms<'_> {
        let price = self.find(model, at).map(|entry| &entry.price);
        Terms { price, fallbacks: self.fallbacks, on_unpriced: &self.on_unpriced }
    }
}

fn add(all: &mut Vec<Series>, entry: &Entry, place: (Timestamp, usize)) {
    let own = |series: &&mut Series| series.provider == entry.provider && series.class == entry.class;
    match all.iter_mut().find(own) {
        Some(series) => {
            let at = series.places.partition_point(|(from, _)| *from <= place.0);
            series.places.insert(at, place);
        }
        None => all.push(Series { provider: entry.provider.clone(), class: entry.class.clone(), places: vec![place] }),
    }
}

/// The place of the entry that is in force: the provider's own, or else one that names none.
fn active(all: &[Series], model: Model<'_>, at: Timestamp) -> Option<usize> {
    let of = |provider: Option<&str>| {
        let series = all
            .iter()
            .find(|series| series.provider.as_deref() == provider && series.class.as_deref() == model.class)?;
        let after = series.places.partition_point(|(from, _)| *from <= at);
        series.places.get(after.checked_sub(1)?).map(|(_, place)| *place)
    };
    of(model.provider).or_else(|| of(None))
}

/// A pattern for names; the smaller is the more specific.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    plain: Reverse<usize>,
    stars: usize,
    any_one: usize,
    text: Arc<str>,
}

impl Pattern {
    fn is_one(text: &str) -> bool {
        text.contains(['*', '?'])
    }

    fn new(text: Arc<str>) -> Self {
        let plain = text.chars().filter(|char| !matches!(char, '*' | '?')).count();
        Self { plain: Reverse(plain), stars: text.matches('*').count(), any_one: text.matches('?').count(), text }
    }

    /// Takes at most as many steps as both texts are long, multiplied.
    fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut name) = (self.text.chars(), name.chars());
        // What to go on with behind the last star, if it stands for one character more.
        let mut again = None;
        loop {
            let (before, mut wanted) = (name.clone(), pattern.clone());
            match (wanted.next(), name.next()) {
                (Some('*'), _) => {
                    pattern = wanted;
                    again = Some((pattern.clone(), before.clone()));
                    name = before;
                }
                (Some(want), Some(char)) if want == '?' || want == char => pattern = wanted,
                (None, None) => return true,
                _ => {
                    let Some((behind, from)) = &mut again else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (pattern, name) = (behind.clone(), from.clone());
                }
            }
        }
    }
}

/// Checks a name: 1 to 256 bytes, no control characters.
fn name(field: &'static str, text: &str) -> Result<(), Error> {
    if (1..=256).contains(&text.len()) && !text.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(Error::invalid(field, text, "a name of 1 to 256 bytes without control characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: a star is any number of characters, tried one by one.
    fn oracle(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=name.len()).any(|skip| oracle(rest, &name[skip..])),
            (['?', rest @ ..], [_, name @ ..]) => oracle(rest, name),
            ([want, rest @ ..], [char, name @ ..]) => want == char && oracle(rest, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_what_their_definition_says(pattern in "[ab*?]{0,8}", name in "[abé]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = oracle(&chars(&pattern), &chars(&name));
            prop_assert_eq!(Pattern::new(pattern.as_str().into()).matches(&name), expected, "{} {}", pattern, name);
        }
    }

    #[test]
    fn a_pattern_of_stars_ends_soon() {
        let pattern = Pattern::new(format!("{}b", "a*".repeat(120)).into());
        assert!(!pattern.matches(&"a".repeat(10_000)));
    }
}
