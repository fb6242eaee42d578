//! What prices promise: every case of the vectors, each defect that was seen elsewhere with its story, one cost for a
//! request however it was answered, and no cost of nothing for what has no price.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "prices/file.rs"]
mod file;
#[path = "prices/properties.rs"]
mod properties;
#[path = "prices/usages.rs"]
mod usages;

use keyward::price::{
    AUDIO_INPUT, AUDIO_OUTPUT, Book, Cost, Draft, Entry, Fallback, Fallbacks, Imported, Model, Names, OnUnpriced, Part,
    Price, Prompt, Rate, Reason, Shape, Tally, WEB_SEARCHES, Why, import,
};
use keyward::{Timestamp, Usage, Usd};
use serde_json::Value;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOW: Timestamp = Timestamp::from_micros(1_772_000_000_000_000);

/// The numbers of a vector, as the text that they are.
fn fields(case: &Value) -> impl Iterator<Item = (&str, String)> {
    case.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.to_string()))
}

fn price(case: &Value) -> Price {
    fields(case).fold(Price::new(), |price, (name, number)| match name {
        "input" => price.input(rate(&number)),
        "output" => price.output(rate(&number)),
        "cache_read" => price.cache_read(rate(&number)),
        "cache_write_5m" => price.cache_write_5m(rate(&number)),
        "cache_write_1h" => price.cache_write_1h(rate(&number)),
        other => panic!("the vectors have a rate that is not read: {other}"),
    })
}

fn usage(case: &Value) -> Usage {
    fields(case).fold(Usage::new(), |usage, (name, number)| {
        let count = number.parse().unwrap();
        match name {
            "input" => usage.input(count),
            "output" => usage.output(count),
            "reasoning" => usage.reasoning(count),
            "cache_read" => usage.cache_read(count),
            "cache_write_5m" => usage.cache_write_5m(count),
            "cache_write_1h" => usage.cache_write_1h(count),
            other => panic!("the vectors have a part that is not read: {other}"),
        }
    })
}

/// Dollars in text, as ten-thousandths of a nano-dollar rounded up to nano-dollars.
fn rounded_up(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let exact: i64 = format!("{whole}{fraction:0<13}").parse().unwrap();
    exact / 10_000 + i64::from(exact % 10_000 > 0)
}

#[test]
fn every_cost_in_the_vectors_is_that_cost() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/prices.json")).unwrap();
    let mut cases = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let nanos = case["nano_usd"].as_i64().unwrap();
        assert_eq!(rounded_up(case["usd"].as_str().unwrap()), nanos, "{case}");
        let cost = price(&case["usd_per_million"]).cost(&usage(&case["usage"])).unwrap();
        assert_eq!(cost, Cost::Priced(Usd::from_nanos(nanos).unwrap()), "{case}");
        cases += 1;
    }
    let sums = &vectors["sums"];
    let times = sums["times"].as_u64().unwrap();
    let dime = Price::new().request(Rate::each(usd(sums["add"].as_str().unwrap())).unwrap());
    let total = usd(sums["equals"].as_str().unwrap());
    assert_eq!(dime.cost(&Usage::new().requests(times)).unwrap(), Cost::Priced(total));
    let one = dime.cost(&Usage::new()).unwrap().usd().unwrap();
    assert_eq!((0..times).try_fold(Usd::ZERO, |sum, _| sum.checked_add(one)), Some(total));
    assert_eq!((cases, times), (10, 100));
}

/// A price of less than nothing, from a form or a file, paid users for calling.
#[test]
fn a_negative_price_is_refused_wherever_it_comes_from() {
    for text in ["-1", "-0.000001", "$-3", "-0"] {
        assert_eq!(text.parse::<Rate>().unwrap_err().field(), Some("rate"), "{text}");
    }
    assert_eq!(Rate::from_nanos(-1), None);
    let file = r#"{"m": {"input_cost_per_token": -1e-06, "output_cost_per_token": 1e-06}}"#;
    let imported = import(file, NOW, Names::AsWritten).unwrap();
    assert_eq!(imported.entries[0].price, Price::new().output(rate("1")));
    assert_eq!(imported.left_out[0].reason, Reason::Negative);
}

/// A model that was missing from the price list cost $0.00, and a budget of ten dollars paid for all of it.
#[test]
fn what_has_no_price_is_never_free() {
    let usage = Usage::new().input(1_000_000).output(1_000_000);
    let mut book = Book::new();
    let no_price = book.cost(Model::named("new"), NOW, &usage).unwrap();
    let Cost::Refused(unpriced) = &no_price else { panic!("{no_price:?}") };
    assert_eq!(unpriced.why, Why::NoPrice);
    assert_eq!(unpriced.missing, [(Part::Input, 1_000_000), (Part::Output, 1_000_000)]);
    assert_eq!(unpriced.to_string(), "no price for the model: 1000000 input, 1000000 output");
    assert_eq!((no_price.usd(), no_price.is_refused()), (None, true));
    assert!(book.cost(Model::named("new"), NOW, &Usage::new()).unwrap().is_refused(), "nor if nothing was used");

    book.push(Entry::new("empty", Price::new())).unwrap();
    assert_eq!(book.cost(Model::named("empty"), NOW, &usage).unwrap(), no_price, "a price without rates is none");

    book.push(Entry::new("half", Price::new().input(rate("3")))).unwrap();
    let half = book.cost(Model::named("half"), NOW, &usage).unwrap();
    let unpriced = half.unpriced().unwrap();
    assert_eq!((unpriced.why, unpriced.known, half.usd()), (Why::NoRate, Usd::dollars(3), None));
    assert_eq!(unpriced.missing, [(Part::Output, 1_000_000)]);

    let flag = book.clone().on_unpriced(OnUnpriced::Flag);
    let cost = flag.cost(Model::named("half"), NOW, &usage).unwrap();
    assert!(matches!(&cost, Cost::Flagged(flagged) if flagged == unpriced));
    assert_eq!((cost.usd(), cost.is_refused()), (None, false), "it passes, and settles at what was held");

    let estimate = book.on_unpriced(OnUnpriced::Estimate(Price::new().input(rate("30")).output(rate("60"))));
    let cost = |model, usage: &Usage| estimate.cost(Model::named(model), NOW, usage).unwrap();
    assert_eq!(cost("new", &usage).usd(), Some(Usd::dollars(90)));
    assert_eq!(cost("half", &usage).usd(), Some(Usd::dollars(63)), "its own rate where it has one");
    assert_eq!(cost("half", &usage).unpriced(), Some(unpriced));
    assert!(cost("half", &usage.clone().cache_read(1)).is_refused(), "what the stand-in lacks too");
    assert_eq!(cost("new", &Usage::new().tokens(1_000_000)).usd(), Some(Usd::dollars(60)), "of any kind: the dearest");
}

#[test]
fn a_rate_of_nothing_is_free_and_not_unpriced() {
    let free = Price::new().input(rate("0")).output(Rate::FREE);
    assert_eq!(free.cost(&Usage::new().input(5).output(5)).unwrap(), Cost::Priced(Usd::ZERO));
    assert_eq!(free.cost(&Usage::new()).unwrap(), Cost::Priced(Usd::ZERO), "whatever was used");
    assert!(free.cost(&Usage::new().cache_read(5)).unwrap().is_refused());
    assert_eq!(Price::free().cost(&Usage::new().cache_read(5).tokens(50)).unwrap(), Cost::Priced(Usd::ZERO));
}

#[test]
fn a_usage_that_says_nothing_is_not_a_usage_of_nothing() {
    let price = Price::new().input(rate("3")).output(rate("15"));
    assert_eq!(price.cost(&Usage::new()).unwrap(), Cost::Unstated);
    assert_eq!(price.cost(&Usage::new().input(0).output(0)).unwrap(), Cost::Priced(Usd::ZERO));
    assert_eq!(
        Book::new().cost(Model::named("any"), NOW, &Usage::new().usd(usd("1"))).unwrap(),
        Cost::Stated(usd("1"))
    );
    let total_only = price.cost(&Usage::new().tokens(7)).unwrap();
    assert_eq!(total_only.unpriced().unwrap().missing, [(Part::Tokens, 7)]);
    let rest = price.cost(&Usage::new().input(2).output(3).tokens(7)).unwrap();
    assert_eq!(rest.unpriced().unwrap().missing, [(Part::Tokens, 2)]);
    let flat = Price::free().input(rate("3")).output(rate("3"));
    let flat = flat.cache_read(rate("3")).cache_write_5m(rate("3")).cache_write_1h(rate("3"));
    assert_eq!(flat.cost(&Usage::new().tokens(7)).unwrap().usd(), Some(Usd::from_nanos(21_000).unwrap()));
    let searches = price.clone().cost(&Usage::new().input(1).extra("searches", 2)).unwrap();
    assert_eq!(searches.unpriced().unwrap().to_string(), "no rate for 2 searches");
}

/// 625 tokens at $0.125 a million cost $0.000078125. Two columns kept it, one as a float and one rounded to eight
/// decimals: a balance and a quota drifted apart by 1e-8 with each request.
#[test]
fn a_cost_below_a_hundred_millionth_does_not_drift() {
    let cost = Price::new().input(rate("0.125")).output(rate("1")).cost(&Usage::new().input(625)).unwrap();
    assert_eq!(cost, Cost::Priced(usd("0.000078125")));
    let sum = (0..1_000_000).try_fold(Usd::ZERO, |sum, _| sum.checked_add(cost.usd().unwrap()));
    assert_eq!(sum, Some(usd("78.125")));
}

#[test]
fn missing_cache_rates_fall_back_as_the_book_says() {
    let usage = Usage::new().cache_read(1_000_000).cache_write_5m(1_000_000).cache_write_1h(1_000_000);
    let price = Price::new().input(rate("3")).output(rate("15"));
    let cost = |price: &Price, fallbacks| {
        let mut book = Book::new().fallbacks(fallbacks);
        book.push(Entry::new("m", price.clone())).unwrap();
        book.cost(Model::named("m"), NOW, &usage).unwrap().usd()
    };
    assert_eq!(cost(&price, Fallbacks::none()), None);
    assert_eq!(cost(&price, Fallbacks::plain()), Some(Usd::dollars(9)));
    let twice = Fallbacks::plain().cache_write_1h(Fallback::TwicePlain);
    assert_eq!(cost(&price, twice), Some(Usd::dollars(12)));
    assert_eq!(cost(&price.clone().cache_write_1h(rate("1")), twice), Some(Usd::dollars(7)), "only if it is missing");
    assert_eq!(cost(&price.cache_write_1h(Rate::FREE), twice), Some(Usd::dollars(6)), "0 is not missing");
}

#[test]
fn the_entry_that_holds_is_decided_as_documented() {
    let price = |n: u32| Price::new().request(Rate::each(Usd::dollars(n)).unwrap());
    let mut book = Book::new();
    for entry in [
        Entry::new("*", price(1)),
        Entry::new("gpt-*", price(2)),
        Entry::new("gpt-?", price(3)),
        Entry::new("gpt-*-mini", price(4)),
        Entry::new("gpt-*-mini", price(5)).provider("openai"),
        Entry::new("gpt-5", price(6)).from(at("2026-01-01T00:00:00Z")),
        Entry::new("gpt-5", price(7)).from(at("2025-01-01T00:00:00Z")),
        Entry::new("gpt-5", price(8)).provider("azure"),
        Entry::new("gpt-5", price(9)).class("batch"),
        Entry::new("gpt-5", price(10)).from(at("2026-06-01T00:00:00Z")),
        Entry::new("gpt-5", price(11)).from(at("2026-06-01T00:00:00Z")),
    ] {
        book.push(entry).unwrap();
    }
    assert_eq!(book.entries().len(), 11);
    let cost = |model, when: &str| {
        let cost = book.cost(model, at(when), &Usage::new()).unwrap().usd();
        cost.map(|usd| usd.as_nanos() / 1_000_000_000)
    };
    let (early, spring, late) = ("2025-12-31T23:59:59Z", "2026-03-01T00:00:00Z", "2026-06-01T00:00:00Z");
    for (model, when, expected) in [
        (Model::named("other"), spring, Some(1)),
        (Model::named("gpt-4-nano"), spring, Some(2)),
        (Model::named("gpt-4"), spring, Some(3)),
        (Model::named("gpt-4-mini"), spring, Some(4)),
        (Model::named("gpt-4-mini").of("openai"), spring, Some(5)),
        (Model::named("gpt-4-mini").of("azure"), spring, Some(4)),
        (Model::named("gpt-5"), "2024-12-31T23:59:59Z", Some(3)),
        (Model::named("gpt-5"), early, Some(7)),
        (Model::named("gpt-5"), spring, Some(6)),
        (Model::named("gpt-5"), late, Some(11)),
        (Model::named("gpt-5").of("azure"), spring, Some(8)),
        (Model::named("gpt-5").of("openai"), spring, Some(6)),
        (Model::named("gpt-5").class("batch"), spring, Some(9)),
        (Model::named("gpt-5").class("flex"), spring, None),
        (Model::named("gpt-4").class("batch"), spring, None),
    ] {
        assert_eq!(cost(model, when), expected, "{model:?} at {when}");
    }
}

#[test]
fn an_entry_without_a_usable_name_is_refused_by_its_field() {
    let mut book = Book::new();
    for (entry, field) in [
        (Entry::new("", Price::free()), "entry.model"),
        (Entry::new("a\n", Price::free()), "entry.model"),
        (Entry::new(&"m".repeat(257), Price::free()), "entry.model"),
        (Entry::new("m", Price::free()).provider(""), "entry.provider"),
        (Entry::new("m", Price::free()).class("\u{7f}"), "entry.class"),
        (Entry::new("m", Price::free().extra("Web searches", Rate::FREE)), "entry.price.extras.measure"),
    ] {
        assert_eq!(book.push(entry).unwrap_err().field(), Some(field));
    }
    assert!(book.entries().is_empty());
}

/// Prices above 200,000 tokens are twice those below. A list that could not say so charged all prompts the lower one.
#[test]
fn a_prompt_beyond_the_price_is_unpriced() {
    let price = Price::free().input(rate("3")).output(rate("15")).longest_prompt(200_000);
    assert!(price.cost(&Usage::new().input(100_000).cache_read(100_000).output(9)).unwrap().usd().is_some());
    let long = price.cost(&Usage::new().input(100_001).cache_read(100_000).output(9)).unwrap();
    assert_eq!(long.unpriced().unwrap().why, Why::LongPrompt { most: 200_000 });
    assert_eq!(
        long.unpriced().unwrap().to_string(),
        "no rate for prompts of more than 200000 tokens: 100001 input, 100000 cache_read, 9 output"
    );
    assert_eq!((long.usd(), long.unpriced().unwrap().known), (None, Usd::ZERO));
}

#[test]
fn a_bound_counts_a_prompt_in_any_unit() {
    let price = Price::new().input(rate("1")).output(rate("10")).request(Rate::each(Usd::cents(1)).unwrap());
    let tokens = |prompt| Draft::new(prompt, 50).at(&price).unwrap().tokens.get();
    assert_eq!([Prompt::Tokens(10), Prompt::Bytes(10), Prompt::Chars(10)].map(tokens), [60, 60, 90]);
    let bound = Draft::new(Prompt::Tokens(10), 50).overhead(5).choices(2).at(&price).unwrap();
    assert_eq!((bound.input.get(), bound.output.get()), (15, 100));
    assert_eq!(bound.cost, Cost::Priced(Usd::from_nanos(15_000 + 1_000_000 + 10_000_000).unwrap()));
    let unpriced = Book::new().bound(Model::named("m"), NOW, &Draft::new(Prompt::Tokens(10), 50)).unwrap();
    assert!(unpriced.cost.is_refused() && unpriced.tokens.get() == 60);
    for (draft, field) in [
        (Draft::new(Prompt::Chars(u64::MAX), 0), "draft.prompt"),
        (Draft::new(Prompt::Tokens(1), u64::MAX), "draft.max_output"),
        (Draft::new(Prompt::Tokens(1 << 62), 1 << 62), "draft.tokens"),
        (Draft::new(Prompt::Tokens(1), 1 << 62), "usage.usd"),
    ] {
        assert_eq!(draft.at(&price.clone().output(rate("9000000000"))).unwrap_err().field(), Some(field));
    }
}

#[test]
fn a_cost_beyond_all_money_is_an_error_and_not_a_smaller_cost() {
    let dear = Price::free().input(Rate::from_nanos(i64::MAX).unwrap()).output(Rate::from_nanos(i64::MAX).unwrap());
    let most = dear.cost(&Usage::new().input(1_000_000)).unwrap();
    assert_eq!(most, Cost::Priced(Usd::MAX));
    for usage in [
        Usage::new().input(1_000_001),
        Usage::new().input(u64::MAX),
        Usage::new().input(1 << 63).output(1 << 62),
        Usage::new().input(u64::MAX).output(u64::MAX),
    ] {
        assert!(dear.cost(&usage).unwrap_err().is_invalid(), "{usage:?}");
    }
}

#[cfg(feature = "serde")]
#[test]
fn prices_and_entries_are_kept_as_text_and_read_back() {
    let price = Price::new().input(rate("0.075")).output(rate("0.3")).extra("searches", rate("10000"));
    let entry = Entry::new("gpt-*", price).provider("openai").class("batch").from(NOW);
    let json = serde_json::to_value(&entry).unwrap();
    assert_eq!(json["price"]["input"], "$0.075 per million");
    assert_eq!(serde_json::from_value::<Entry>(json).unwrap(), entry);
    let by_hand =
        r#"{"model": "m", "from": "2026-01-01T00:00:00Z", "price": {"input": "3", "extras": {"pages": "$1"}}}"#;
    let entry: Entry = serde_json::from_str(by_hand).unwrap();
    assert_eq!(entry.price, Price::new().input(rate("3")).extra("pages", rate("1")));
    for bad in [r#"{"input": -1}"#, r#"{"input": "-1"}"#, r#"{"input": 0.1}"#, r#"{"inputs": "1"}"#] {
        assert!(serde_json::from_str::<Price>(bad).is_err(), "{bad}");
    }
}
