//! A price book from its entries.

use super::compare;
use super::forms::{FallbacksForm, PriceForm, RatesForm};
use super::problems::Findings;
use super::raw::{Entry, Raw};
use super::shapes::instant;
use crate::amount::{Measure, Usd};
use crate::price::{Book, Entry as Line, Fallback, Fallbacks, OnUnpriced, Price, Rate};
use crate::time::Timestamp;

const WORDS: [(&str, Fallback); 3] =
    [("unpriced", Fallback::Unpriced), ("plain", Fallback::Plain), ("twice_plain", Fallback::TwicePlain)];

/// What holds for all prices, in words.
pub(super) struct Pricing {
    pub(super) fallbacks: String,
    pub(super) unpriced: String,
}

/// The book of a policy, unless it has no prices; everything that is wrong with them is found.
pub(super) fn book(
    forms: &[PriceForm],
    fallbacks: Option<&Entry<FallbacksForm>>,
    unpriced: Option<&Entry<RatesForm>>,
    findings: &mut Findings,
) -> (Option<Book>, Pricing) {
    let fallbacks = self::fallbacks(fallbacks, findings);
    let on_unpriced = self::unpriced(unpriced, findings);
    let mut book = Book::new().fallbacks(fallbacks).on_unpriced(on_unpriced.clone());
    for (place, form) in forms.iter().enumerate() {
        let path = format!("prices[{place}]");
        let Some(line) = line(form, &path, findings) else { continue };
        let same = |other: &&Line| {
            other.model == line.model
                && other.provider == line.provider
                && other.class == line.class
                && other.from == line.from
        };
        if book.entries().iter().any(|other| same(&other)) {
            findings.refuse(&path, &line.model, "each model once for a provider, a class and an instant");
            continue;
        }
        findings.keep(book.push(line), "entry", &path);
    }
    let words = |fallback| WORDS.iter().find(|(_, value)| *value == fallback).map_or("", |(word, _)| word);
    let Fallbacks { cache_read, cache_write_5m, cache_write_1h, media } = fallbacks;
    let pricing = Pricing {
        fallbacks: [cache_read, cache_write_5m, cache_write_1h, media].map(words).join(", "),
        unpriced: match &on_unpriced {
            OnUnpriced::Refuse => "refuse".to_owned(),
            OnUnpriced::Flag => "flag".to_owned(),
            OnUnpriced::Estimate(price) => compare::rates(price),
        },
    };
    let is_there = !forms.is_empty() || matches!(on_unpriced, OnUnpriced::Estimate(_));
    (is_there.then_some(book), pricing)
}

fn line(form: &PriceForm, path: &str, findings: &mut Findings) -> Option<Line> {
    let before = findings.count();
    let at = |field: &str| format!("{path}.{field}");
    let model = findings.text(&at("model"), form.model.as_ref());
    if form.model.is_none() {
        findings.refuse(&at("model"), "nothing", "the name of a model, or a pattern");
    }
    let provider = findings.text(&at("provider"), form.provider.as_ref());
    let class = findings.text(&at("class"), form.class.as_ref());
    for (name, line) in [
        ("model", model.as_deref().map(|model| Line::new(model, Price::new()))),
        ("provider", provider.as_deref().map(|provider| Line::new("m", Price::new()).provider(provider))),
        ("class", class.as_deref().map(|class| Line::new("m", Price::new()).class(class))),
    ] {
        if let Some(Err(error)) = line.map(|line| Book::new().push(line)) {
            findings.refuse(&at(name), error.value().unwrap_or_default(), error.expected().unwrap_or_default());
        }
    }
    let from = instant(&at("from"), form.from.as_ref(), findings).unwrap_or(Timestamp::MIN);
    let (mut price, stated) = rates(form, path, findings);
    price.longest_prompt =
        findings.whole(&at("longest_prompt"), form.longest_prompt.as_ref(), "a whole number of tokens");
    if !stated {
        findings.refuse(path, "no rate", "a rate, such as input = \"2.50\" for a million tokens, or free = true");
    }
    if findings.count() > before {
        return None;
    }
    let mut line = Line::new(&model?, price).from(from);
    line.provider = provider.map(Into::into);
    line.class = class.map(Into::into);
    Some(line)
}

/// The rates of an entry, and whether there is any.
fn rates(form: &PriceForm, path: &str, findings: &mut Findings) -> (Price, bool) {
    let at = |field: &str| format!("{path}.{field}");
    let free = findings.switch(&at("free"), form.free.as_ref());
    let mut price = if free { Price::free() } else { Price::new() };
    let mut stated = free;
    for (name, raw, slot) in [
        ("input", &form.input, &mut price.input),
        ("cache_read", &form.cache_read, &mut price.cache_read),
        ("cache_write_5m", &form.cache_write_5m, &mut price.cache_write_5m),
        ("cache_write_1h", &form.cache_write_1h, &mut price.cache_write_1h),
        ("output", &form.output, &mut price.output),
    ] {
        let Some(raw) = raw else { continue };
        stated = true;
        if free {
            findings.refuse(&at(name), raw, "nothing here, since the model is free");
        }
        *slot = exact(&at(name), raw, findings).or(*slot);
    }
    if let Some(raw) = &form.each_request {
        stated = true;
        let each = exact(&at("each_request"), raw, findings).and_then(|usd: Usd| {
            let rate = Rate::each(usd);
            if rate.is_none() {
                findings.refuse(&at("each_request"), raw, "at most 9223.372036854 dollars for a call");
            }
            rate
        });
        price.request = each;
    }
    for (name, raw) in &form.extras.0 {
        stated = true;
        let field = at(&format!("extras.{name}"));
        if let Err(error) = Measure::custom(name) {
            findings.refuse(&field, name, error.expected().unwrap_or_default());
        }
        if let Some(rate) = exact(&field, raw, findings) {
            price = price.extra(name, rate);
        }
    }
    (price, stated)
}

/// What is done with what has no price: a word, or the rates that stand in.
fn unpriced(entry: Option<&Entry<RatesForm>>, findings: &mut Findings) -> OnUnpriced {
    match entry {
        None => OnUnpriced::Refuse,
        Some(Entry::Plain(raw)) => match findings.word("unpriced", Some(raw), &[("refuse", false), ("flag", true)]) {
            Some(true) => OnUnpriced::Flag,
            _ => OnUnpriced::Refuse,
        },
        Some(Entry::Form(form)) => {
            let RatesForm { input, cache_read, cache_write_5m, cache_write_1h, output, each_request, extras } =
                (**form).clone();
            let form = PriceForm {
                input,
                cache_read,
                cache_write_5m,
                cache_write_1h,
                output,
                each_request,
                extras,
                ..PriceForm::default()
            };
            let (price, stated) = rates(&form, "unpriced", findings);
            if !stated {
                findings.refuse("unpriced", "no rate", "refuse, flag, or rates such as input = \"2.50\"");
            }
            OnUnpriced::Estimate(price)
        }
    }
}

/// What a decimal text says; a number that may have been rounded is refused.
fn exact<T: std::str::FromStr<Err = crate::error::Error>>(
    field: &str,
    raw: &Raw,
    findings: &mut Findings,
) -> Option<T> {
    if let Raw::Float(_) = raw {
        findings.refuse(field, raw, "money is exact: write it in quotes, as in \"2.50\"");
        return None;
    }
    findings.parse(field, Some(raw))
}

fn fallbacks(entry: Option<&Entry<FallbacksForm>>, findings: &mut Findings) -> Fallbacks {
    let mut fallbacks = Fallbacks::none();
    match entry {
        None => {}
        Some(Entry::Plain(raw)) => {
            let all = [("none", Fallbacks::none()), ("plain", Fallbacks::plain())];
            fallbacks = findings.word("price_fallbacks", Some(raw), &all).unwrap_or(fallbacks);
        }
        Some(Entry::Form(form)) => {
            for (name, raw, slot) in [
                ("cache_read", &form.cache_read, &mut fallbacks.cache_read),
                ("cache_write_5m", &form.cache_write_5m, &mut fallbacks.cache_write_5m),
                ("cache_write_1h", &form.cache_write_1h, &mut fallbacks.cache_write_1h),
                ("media", &form.media, &mut fallbacks.media),
            ] {
                let word = findings.word(&format!("price_fallbacks.{name}"), raw.as_ref(), &WORDS);
                *slot = word.unwrap_or(*slot);
            }
        }
    }
    fallbacks
}
