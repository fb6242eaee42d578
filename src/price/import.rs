//! The widely used JSON of model prices: an object of models, each with its cost per token in dollars.
//!
//! Numbers are read by their digits, never as floats. Whatever looks like a price and cannot be held exactly is listed
//! with the model and the field, so that a host can decide what to do about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::json::Json;
use super::rate::{Unread, scaled};
use super::{AUDIO_CACHE_READ, AUDIO_INPUT, AUDIO_OUTPUT, Entry, IMAGE_OUTPUT, Price, Rate, WEB_SEARCHES};
use crate::error::Error;
use crate::time::Timestamp;

/// From dollars for one unit to nano-dollars for a million.
const SHIFT: i64 = 9 + 6;
/// The longest part of a value that the report repeats.
const SHOWN: usize = 80;
/// The entry that explains the format.
const SAMPLE: &str = "sample_spec";
const REASONING: &str = "output_cost_per_reasoning_token";
/// The endings of fields that hold for another class of service.
const CLASSES: [(&str, &str); 3] = [("_batches", "batch"), ("_flex", "flex"), ("_priority", "priority")];

/// Under which names the models of a file are entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Names {
    /// By provider, and without the provider in front of the model: `azure/gpt-x` is `gpt-x` of `azure`.
    ByProvider,
    /// As they stand in the file, for any provider.
    AsWritten,
}

/// What a file of prices holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Imported {
    /// The prices that could be read, in the order of the file.
    pub entries: Vec<Entry>,
    /// Everything that looks like a price and is in no entry.
    pub left_out: Vec<LeftOut>,
}

/// A part of a file of prices that is in no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// The model, as the file names it.
    pub model: String,
    /// The field; empty if all of the model was left out.
    pub field: String,
    /// The value, cut to a length that fits a message.
    pub value: String,
    /// Why.
    pub reason: Reason,
}

/// Why a price was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It depends on the size of the prompt or the context. The model's entry holds for prompts below the smallest such
    /// size that the file states for it.
    Tiered,
    /// It is for seconds, minutes, hours or days.
    PerTime,
    /// It is for characters.
    PerCharacter,
    /// It is for pictures or pixels.
    PerImage,
    /// It is for reasoning alone, and differs from that for output.
    Reasoning,
    /// It is for something else that a usage does not count.
    OtherUnit,
    /// It is less than nothing.
    Negative,
    /// It is finer than a nano-dollar for a million units.
    TooFine,
    /// It is more than there is.
    TooLarge,
    /// It is no number, or the model is no object.
    NotANumber,
    /// The file has another price for it, which was taken.
    Contradicted,
    /// The name is no name of a model.
    BadName,
    /// The model has no price that could be read.
    NoPrice,
    /// It explains the format, and is no model.
    Sample,
}

/// Reads the prices of a file in the widely used form, from its text; they are in force from this instant on.
///
/// Prices for the classes `batch`, `flex` and `priority` become entries of their own. A price of 0 is free. Fields that
/// are no prices (context sizes, abilities) are passed over.
///
/// ```
/// use keyward::price::{Book, Names, Reason, import};
/// use keyward::Timestamp;
///
/// let text = r#"{"azure/gpt-x": {"litellm_provider": "azure", "max_tokens": 8192, "input_cost_per_token": 2.5e-06,
///     "output_cost_per_token": 1e-05, "input_cost_per_token_above_200k_tokens": 5e-06}}"#;
/// let imported = import(text, "2026-03-01T00:00:00Z".parse()?, Names::ByProvider)?;
/// let price = &imported.entries[0].price;
/// assert_eq!((price.input, price.output), (Some("2.5".parse()?), Some("10".parse()?)));
/// assert_eq!(price.longest_prompt, Some(200_000));
/// assert_eq!(imported.left_out[0].reason, Reason::Tiered);
///
/// let mut book = Book::new();
/// imported.entries.into_iter().try_for_each(|entry| book.push(entry))?;
/// # Ok::<(), keyward::Error>(())
/// ```
///
/// # Errors
/// A text that is not JSON, or no object.
pub fn import(text: impl AsRef<[u8]>, from: Timestamp, names: Names) -> Result<Imported, Error> {
    let json = Json::read("prices", text.as_ref())?;
    let Json::Object(models) = &json else {
        return Err(Error::invalid("prices", json.show(), "an object of models"));
    };
    let mut import = Import { from, names, done: Imported::default(), seen: BTreeMap::new() };
    for (name, model) in models {
        import.model(name, model);
    }
    Ok(import.done)
}

/// The provider, model and class of an entry.
type Whose = (Option<Arc<str>>, Arc<str>, Option<Arc<str>>);

struct Import {
    from: Timestamp,
    names: Names,
    done: Imported,
    /// Where each entry is.
    seen: BTreeMap<Whose, usize>,
}

/// One model of the file while it is read: a price for each class that it has.
struct Reading<'a> {
    model: &'a str,
    prices: BTreeMap<Option<&'static str>, Price>,
    left_out: Vec<LeftOut>,
}

impl Import {
    fn model(&mut self, model: &str, json: &Json<'_>) {
        let mut reading = Reading { model, prices: BTreeMap::new(), left_out: Vec::new() };
        if model == SAMPLE {
            reading.leave("", json, Reason::Sample);
        } else if !matches!(json, Json::Object(_)) {
            reading.leave("", json, Reason::NotANumber);
        } else {
            for (field, value) in json.fields().iter().filter(|(_, value)| *value != Json::Null) {
                reading.field(field, value);
            }
            reading.reasoning(json);
            reading.prices.retain(|_, price| !price.is_empty());
            if reading.prices.is_empty() {
                reading.leave("", json, Reason::NoPrice);
            }
        }
        let Reading { prices, left_out, .. } = reading;
        self.done.left_out.extend(left_out);
        for (class, price) in prices {
            self.enter(model, json, class, price);
        }
    }

    fn enter(&mut self, model: &str, json: &Json<'_>, class: Option<&str>, price: Price) {
        let (name, provider) = match (self.names, json.get("litellm_provider").and_then(Json::text)) {
            (Names::ByProvider, Some(provider)) => {
                let rest = model.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/'));
                (rest.unwrap_or(model), Some(provider))
            }
            (Names::ByProvider, None) | (Names::AsWritten, _) => (model, None),
        };
        let mut entry = Entry::new(name, price).from(self.from);
        entry.provider = provider.map(Arc::from);
        entry.class = class.map(Arc::from);
        let mut leave = |field: &str, reason| self.done.left_out.push(left_out(model, field, json, reason));
        if name.contains(['*', '?']) || entry.check().is_err() {
            return leave("", Reason::BadName);
        }
        let key = (entry.provider.clone(), entry.model.clone(), entry.class.clone());
        match self.seen.get(&key).and_then(|at| self.done.entries.get(*at)) {
            Some(other) if other.price == entry.price => {}
            Some(_) => leave(class.unwrap_or_default(), Reason::Contradicted),
            None => {
                self.seen.insert(key, self.done.entries.len());
                self.done.entries.push(entry);
            }
        }
    }
}

impl Reading<'_> {
    fn field(&mut self, field: &str, value: &Json<'_>) {
        let (plain, class) = classed(field);
        if let Some(most) = tier(plain) {
            let price = self.prices.entry(class).or_default();
            price.longest_prompt = Some(price.longest_prompt.map_or(most, |other| other.min(most)));
        }
        let (target, value) = match (target(plain), same_for_all(value)) {
            (Some(target), _) => (target, value),
            (None, Some(same)) if plain == "search_context_cost_per_query" => (Target::Extra(WEB_SEARCHES), same),
            _ if is_price(plain) && plain != REASONING => return self.leave(field, value, unit(plain)),
            _ => return,
        };
        let put = rate(value).and_then(|rate| target.put(self.prices.entry(class).or_default(), rate));
        if let Err(reason) = put {
            self.leave(field, value, reason);
        }
    }

    /// Reasoning is a part of the output, so that a rate of its own can only be held where it is the same.
    fn reasoning(&mut self, model: &Json<'_>) {
        for (field, value) in model.fields().iter().filter(|(_, value)| *value != Json::Null) {
            let (plain, class) = classed(field);
            let output = self.prices.get(&class).and_then(|price| price.output);
            match rate(value) {
                _ if plain != REASONING => {}
                Ok(rate) if Some(rate) == output => {}
                Ok(_) => self.leave(field, value, Reason::Reasoning),
                Err(reason) => self.leave(field, value, reason),
            }
        }
    }

    fn leave(&mut self, field: &str, value: &Json<'_>, reason: Reason) {
        self.left_out.push(left_out(self.model, field, value, reason));
    }
}

/// The rate of a price that a field states.
enum Target {
    Input,
    CacheRead,
    CacheWrite5m,
    CacheWrite1h,
    Output,
    Request,
    Extra(&'static str),
}

impl Target {
    fn put(self, price: &mut Price, rate: Rate) -> Result<(), Reason> {
        let slot = match self {
            Self::Input => &mut price.input,
            Self::CacheRead => &mut price.cache_read,
            Self::CacheWrite5m => &mut price.cache_write_5m,
            Self::CacheWrite1h => &mut price.cache_write_1h,
            Self::Output => &mut price.output,
            Self::Request => &mut price.request,
            Self::Extra(name) => {
                let held = *price.extras.entry(name.into()).or_insert(rate);
                return if held == rate { Ok(()) } else { Err(Reason::Contradicted) };
            }
        };
        if *slot.get_or_insert(rate) == rate { Ok(()) } else { Err(Reason::Contradicted) }
    }
}

fn target(field: &str) -> Option<Target> {
    Some(match field {
        "input_cost_per_token" => Target::Input,
        "cache_read_input_token_cost" | "input_cost_per_token_cache_hit" => Target::CacheRead,
        "cache_creation_input_token_cost" => Target::CacheWrite5m,
        "cache_creation_input_token_cost_above_1hr" => Target::CacheWrite1h,
        "output_cost_per_token" => Target::Output,
        "input_cost_per_request" => Target::Request,
        "input_cost_per_audio_token" => Target::Extra(AUDIO_INPUT),
        "cache_read_input_audio_token_cost" => Target::Extra(AUDIO_CACHE_READ),
        "output_cost_per_audio_token" => Target::Extra(AUDIO_OUTPUT),
        "output_cost_per_image_token" => Target::Extra(IMAGE_OUTPUT),
        _ => return None,
    })
}

/// A field without the ending that names a class of service, and the class.
fn classed(field: &str) -> (&str, Option<&'static str>) {
    let ending = |(ending, class)| field.strip_suffix(ending).map(|plain| (plain, Some(class)));
    CLASSES.into_iter().find_map(ending).unwrap_or((field, None))
}

/// The prompt above which a rate for tokens is another: `..._above_200k_tokens`.
fn tier(field: &str) -> Option<u64> {
    let (rate, above) = field.rsplit_once("_above_")?;
    let thousands: u64 = above.strip_suffix("k_tokens")?.parse().ok()?;
    let of_tokens = rate.contains("_per_token") || rate.contains("_token_cost");
    if of_tokens { thousands.checked_mul(1_000) } else { None }
}

fn is_price(field: &str) -> bool {
    field == "provider_specific_entry" || ["cost", "pric", "multiplier"].iter().any(|word| field.contains(word))
}

/// What an unknown price is for, as far as its name says.
fn unit(field: &str) -> Reason {
    let says = |words: &[&str]| words.iter().any(|word| field.contains(word));
    match field {
        _ if says(&["_above_", "tier", "search_context"]) => Reason::Tiered,
        _ if says(&["second", "minute", "hour", "day"]) => Reason::PerTime,
        _ if says(&["character"]) => Reason::PerCharacter,
        _ if says(&["image", "pixel"]) => Reason::PerImage,
        _ => Reason::OtherUnit,
    }
}

/// The one price that an object states for all its cases.
fn same_for_all<'a, 'b>(value: &'a Json<'b>) -> Option<&'a Json<'b>> {
    let ((_, first), others) = value.fields().split_first()?;
    others.iter().all(|(_, other)| other == first).then_some(first)
}

fn rate(value: &Json<'_>) -> Result<Rate, Reason> {
    let nanos = value.number().map_or(Err(Unread::NotANumber), |text| scaled(text, SHIFT));
    nanos.map_err(Reason::from).and_then(|nanos| Rate::from_nanos(nanos).ok_or(Reason::Negative))
}

impl From<Unread> for Reason {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::NotANumber => Self::NotANumber,
            Unread::Negative => Self::Negative,
            Unread::TooFine => Self::TooFine,
            Unread::TooLarge => Self::TooLarge,
        }
    }
}

fn left_out(model: &str, field: &str, value: &Json<'_>, reason: Reason) -> LeftOut {
    let value = value.show().chars().take(SHOWN).collect();
    LeftOut { model: model.to_owned(), field: field.to_owned(), value, reason }
}
