//! What prices promise: every case of the vectors, each defect that was seen elsewhere with its story, one cost for a
//! request however it was answered, and no cost of nothing for what has no price.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use keyward::price::{
    AUDIO_INPUT, AUDIO_OUTPUT, Book, Cost, Draft, Entry, Fallback, Fallbacks, Imported, Model, Names, OnUnpriced, Part,
    Price, Prompt, Rate, Reason, Shape, Tally, WEB_SEARCHES, Why, import,
};
use keyward::{Timestamp, Usage, Usd};
use proptest::prelude::*;
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

/// A gateway charged reasoning twice, once as output and once by itself; it was mended for plain answers, and shipped
/// again for streams. Here no rate for reasoning exists, and each shape says where its reasoning is counted.
#[test]
fn reasoning_is_charged_once_in_every_shape_streamed_or_not() {
    let price = Price::new()
        .input(rate("2"))
        .output(rate("10"))
        .cache_read(rate("0.2"))
        .cache_write_5m(rate("2.5"))
        .cache_write_1h(rate("4"))
        .extra(WEB_SEARCHES, Rate::each(Usd::cents(1)).unwrap());
    let plain = Usage::new().input(600).cache_read(400).output(900);
    let thought = plain.clone().reasoning(640);
    let cached = plain.cache_write_5m(20).cache_write_1h(30).extra(WEB_SEARCHES, 2);
    for (shape, body, stream, usage, cost) in [
        (
            Shape::OpenAiChat,
            include_str!("samples/openai_chat.json"),
            include_str!("samples/openai_chat.sse"),
            &thought,
            "0.01028",
        ),
        (
            Shape::OpenAiResponses,
            include_str!("samples/openai_responses.json"),
            include_str!("samples/openai_responses.sse"),
            &thought,
            "0.01028",
        ),
        (Shape::Gemini, include_str!("samples/gemini.json"), include_str!("samples/gemini.sse"), &thought, "0.01028"),
        (
            Shape::Anthropic,
            include_str!("samples/anthropic.json"),
            include_str!("samples/anthropic.sse"),
            &cached,
            "0.03045",
        ),
    ] {
        assert_eq!(shape.read(body.as_bytes()).unwrap().as_ref(), Some(usage), "{shape:?}");
        assert_eq!(shape.read(stream.as_bytes()).unwrap().as_ref(), Some(usage), "{shape:?}, streamed");
        assert_eq!(shape.read(stream.replace('\n', "\r\n").as_bytes()).unwrap().as_ref(), Some(usage), "{shape:?}");
        let events: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let list =
            format!("[{}]", events.iter().filter(|data| **data != "[DONE]").copied().collect::<Vec<_>>().join(","));
        assert_eq!(shape.read(list.as_bytes()).unwrap().as_ref(), Some(usage), "{shape:?}, as a list");
        assert_eq!(price.cost(usage).unwrap(), Cost::Priced(usd(cost)), "{shape:?}");
    }
}

/// Some compatible providers count reasoning beside the output, and some versions of Gemini within it. The total that
/// they state decides, so that it is neither charged twice nor given away.
#[test]
fn a_stated_total_says_where_reasoning_is_counted() {
    let chat = |total: &str| {
        let body = format!(
            r#"{{"usage": {{"prompt_tokens": 10, "completion_tokens": 5, {total}
                "completion_tokens_details": {{"reasoning_tokens": 3}}}}}}"#
        );
        Shape::OpenAiChat.read(body.as_bytes()).unwrap().unwrap().output
    };
    assert_eq!([chat(""), chat(r#""total_tokens": 15,"#), chat(r#""total_tokens": 18,"#)], [Some(5), Some(5), Some(8)]);
    let gemini = |total: &str| {
        let body = format!(
            r#"{{"usageMetadata": {{"promptTokenCount": 10, "candidatesTokenCount": 5, {total} "thoughtsTokenCount": 3}}}}"#
        );
        Shape::Gemini.read(body.as_bytes()).unwrap().unwrap().output
    };
    let totals = [gemini(""), gemini(r#""totalTokenCount": 18,"#), gemini(r#""totalTokenCount": 15,"#)];
    assert_eq!(totals, [Some(8), Some(8), Some(5)]);
    let all_thought = br#"{"usageMetadata": {"promptTokenCount": 7, "thoughtsTokenCount": 9, "totalTokenCount": 16}}"#;
    assert_eq!(Shape::Gemini.read(all_thought).unwrap(), Some(Usage::new().input(7).output(9).reasoning(9)));
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

fn imported(names: Names) -> Imported {
    import(include_str!("samples/model_prices.json"), NOW, names).unwrap()
}

#[test]
fn a_file_of_prices_is_read_to_the_last_decimal() {
    let entries = imported(Names::ByProvider).entries;
    let mut book = Book::new();
    entries.iter().cloned().try_for_each(|entry| book.push(entry)).unwrap();
    let found = |model| book.find(model, NOW).map(|entry| entry.price.clone()).unwrap();
    let gpt = Price::new().input(rate("2")).output(rate("8")).cache_read(rate("0.5"));
    assert_eq!(found(Model::named("gpt-x").of("openai")), gpt);
    assert_eq!(
        found(Model::named("gpt-x").of("openai").class("batch")),
        Price::new().input(rate("1")).output(rate("4"))
    );
    assert_eq!(found(Model::named("gpt-x").of("openai").class("priority")), Price::new().input(rate("3.5")));
    assert_eq!(found(Model::named("gpt-x").of("azure")), Price::new().input(rate("2.5")).output(rate("10")));
    let claude = Price::new().input(rate("3")).output(rate("15")).cache_read(rate("0.3")).cache_write_5m(rate("3.75"));
    let claude = claude.cache_write_1h(rate("6")).longest_prompt(200_000).extra(WEB_SEARCHES, rate("10000"));
    assert_eq!(found(Model::named("claude-x").of("anthropic")), claude);
    let gemini = Price::new().input(rate("0.075")).output(rate("0.3")).cache_read(rate("0.0075"));
    assert_eq!(found(Model::named("gemini-x-flash").of("gemini")), gemini.extra(AUDIO_INPUT, rate("0.7")));
    let sonar = Price::new().input(rate("2")).output(rate("8")).request(Rate::each(usd("0.005")).unwrap());
    assert_eq!(found(Model::named("sonar-x").of("perplexity")), sonar);
    assert_eq!(found(Model::named("llama-x").of("databricks")), Price::new().input(rate("5.00003")));
    assert_eq!(found(Model::named("llama-x").of("ollama")), Price::new().input(Rate::FREE).output(Rate::FREE));
    assert_eq!(found(Model::named("huge").of("strange")), Price::new().output(rate("1")));
    assert_eq!(entries.len(), 10);
    assert_eq!(book.find(Model::named("gpt-x").of("openai"), NOW.saturating_sub(keyward::Length::MIN)), None);
    assert_eq!(book.find(Model::named("gpt-x"), NOW), None, "no provider in particular");
    let written = imported(Names::AsWritten).entries;
    assert!(written.iter().any(|entry| &*entry.model == "azure/gpt-x" && entry.provider.is_none()));
}

#[test]
fn what_a_file_of_prices_says_beyond_is_listed_and_not_dropped() {
    let listed = imported(Names::ByProvider).left_out;
    let listed: Vec<_> = listed.iter().map(|out| (out.model.as_str(), out.field.as_str(), out.reason)).collect();
    assert_eq!(
        listed,
        [
            ("sample_spec", "", Reason::Sample),
            ("gpt-x", "search_context_cost_per_query", Reason::Tiered),
            ("claude-x", "cache_creation_input_token_cost_above_1hr_above_200k_tokens", Reason::Tiered),
            ("claude-x", "input_cost_per_token_above_200k_tokens", Reason::Tiered),
            ("claude-x", "output_cost_per_token_above_200k_tokens", Reason::Tiered),
            ("gemini/gemini-x-flash", "input_cost_per_audio_per_second", Reason::PerTime),
            ("gemini/gemini-x-flash", "input_cost_per_character", Reason::PerCharacter),
            ("gemini/gemini-x-flash", "input_cost_per_image", Reason::PerImage),
            ("sonar-x", "citation_cost_per_token", Reason::OtherUnit),
            ("sonar-x", "output_cost_per_reasoning_token", Reason::Reasoning),
            ("databricks/llama-x", "output_cost_per_token", Reason::TooFine),
            ("strange", "input_cost_per_token", Reason::Negative),
            ("strange", "output_cost_per_token", Reason::NotANumber),
            ("strange", "", Reason::NoPrice),
            ("huge", "input_cost_per_token", Reason::TooLarge),
            ("whisper-x", "output_cost_per_second", Reason::PerTime),
            ("whisper-x", "", Reason::NoPrice),
            ("gemini-x-flash", "", Reason::Contradicted),
            ("a*", "", Reason::BadName),
            ("no object", "", Reason::NotANumber),
            ("qwen-x", "tiered_pricing", Reason::Tiered),
            ("qwen-x", "", Reason::NoPrice),
        ]
    );
    for bad in ["", "[]", "5", "{", "{\"a\":}", "\u{0}"] {
        assert_eq!(import(bad, NOW, Names::ByProvider).unwrap_err().field(), Some("prices"), "{bad:?}");
    }
}

/// Sound is dearer than text by a factor of ten, and was charged as text.
#[test]
fn sound_is_counted_apart_from_text() {
    let body = br#"{"usage": {"prompt_tokens": 100, "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 60}, "completion_tokens_details": {"audio_tokens": 40}}}"#;
    let usage = Shape::OpenAiChat.read(body).unwrap().unwrap();
    let expected = Usage::new().input(10).cache_read(30).output(10).extra(AUDIO_INPUT, 60).extra(AUDIO_OUTPUT, 40);
    assert_eq!(usage, expected);
    let price = Price::new().input(rate("1")).output(rate("2")).cache_read(rate("1"));
    assert_eq!(price.cost(&usage).unwrap().unpriced().unwrap().missing.len(), 2);
    let sound = price.clone().extra(AUDIO_INPUT, rate("10")).extra(AUDIO_OUTPUT, rate("20"));
    assert_eq!(sound.cost(&usage).unwrap().usd(), Some(Usd::from_nanos(40_000 + 20_000 + 600_000 + 800_000).unwrap()));
    let mut book = Book::new().fallbacks(Fallbacks::none().media(Fallback::Plain));
    book.push(Entry::new("m", price)).unwrap();
    let cost = book.cost(Model::named("m"), NOW, &usage).unwrap();
    assert_eq!(cost.usd(), Some(Usd::from_nanos(40_000 + 20_000 + 60_000 + 80_000).unwrap()));

    let body =
        br#"{"usageMetadata": {"promptTokenCount": 100, "cachedContentTokenCount": 30, "candidatesTokenCount": 5,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 20}, {"modality": "AUDIO", "tokenCount": 80}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}]}}"#;
    let usage = Shape::Gemini.read(body).unwrap().unwrap();
    let expected = Usage::new().input(20).cache_read(0).output(5).extra(AUDIO_INPUT, 50);
    assert_eq!(usage, expected.extra("audio_cache_read_tokens", 30));
}

#[test]
fn counts_that_cannot_be_are_refused_by_the_providers_field() {
    for (shape, usage, field) in [
        (Shape::OpenAiChat, r#"{"prompt_tokens": -1}"#, "usage.prompt_tokens"),
        (Shape::OpenAiChat, r#"{"prompt_tokens": 1.5}"#, "usage.prompt_tokens"),
        (Shape::OpenAiChat, r#"{"prompt_tokens": "5"}"#, "usage.prompt_tokens"),
        (Shape::OpenAiChat, r#"{"completion_tokens": 9223372036854775808}"#, "usage.completion_tokens"),
        (Shape::OpenAiChat, r#"{"prompt_tokens": 1, "prompt_cache_hit_tokens": 2}"#, "usage.cached_tokens"),
        (
            Shape::OpenAiResponses,
            r#"{"output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 2}}"#,
            "usage.reasoning",
        ),
        (Shape::Anthropic, r#"{"input_tokens": {}}"#, "usage.input_tokens"),
    ] {
        let body = format!(r#"{{"usage": {usage}}}"#);
        assert_eq!(shape.read(body.as_bytes()).unwrap_err().field(), Some(field), "{usage}");
    }
    for none in ["{}", r#"{"usage": null}"#, r#"{"usage": {}}"#, r#"{"error": {"message": "no"}}"#, "", "<html>", "[]"]
    {
        assert_eq!(Shape::OpenAiChat.read(none.as_bytes()).unwrap(), None, "{none}");
    }
    let embedding = br#"{"usage": {"prompt_tokens": 8, "total_tokens": 8}}"#;
    assert_eq!(Shape::OpenAiChat.read(embedding).unwrap(), Some(Usage::new().input(8)));
}

#[test]
fn an_event_at_fault_takes_nothing_back() {
    let mut tally = Tally::new(Shape::Anthropic);
    tally.event(br#"{"message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}"#).unwrap();
    for bad in [&b"{"[..], br#"{"usage": {"input_tokens": 99, "output_tokens": -1}}"#] {
        assert!(tally.event(bad).is_err());
    }
    tally.event(br#"{"usage": {"output_tokens": 7, "input_tokens": 0}}"#).unwrap();
    assert_eq!(tally.usage().unwrap(), Some(Usage::new().input(10).output(7)));
}

#[test]
fn writes_to_a_cache_have_the_life_that_was_stated() {
    for (stated, usage) in [
        (r#""cache_creation_input_tokens": 9"#, Usage::new().cache_write_5m(9)),
        (
            r#""cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 9}"#,
            Usage::new().cache_write_5m(0).cache_write_1h(9),
        ),
        (
            r#""cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3}"#,
            Usage::new().cache_write_5m(6).cache_write_1h(3),
        ),
        (
            r#""cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3}"#,
            Usage::new().cache_write_5m(2).cache_write_1h(3),
        ),
    ] {
        let read = Shape::Anthropic.read(format!(r#"{{"usage": {{{stated}}}}}"#).as_bytes()).unwrap().unwrap();
        assert_eq!(read.cache_write_1h, usage.cache_write_1h, "{stated}");
        assert_eq!(read.cache_write_5m.unwrap_or(0), usage.cache_write_5m.unwrap_or(0), "{stated}");
    }
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

fn any_rate() -> impl Strategy<Value = Rate> {
    prop_oneof![Just(0), 0..1_000_000_i64, 0..100_000_000_000_i64].prop_map(|nanos| Rate::from_nanos(nanos).unwrap())
}

fn any_price() -> impl Strategy<Value = Price> {
    proptest::collection::vec(any_rate(), 7).prop_map(|rates| {
        let price = Price::new().input(rates[0]).output(rates[1]).cache_read(rates[2]).cache_write_5m(rates[3]);
        price.cache_write_1h(rates[4]).request(rates[5]).extra("pages", rates[6])
    })
}

/// Five kinds of tokens, requests and pages.
fn any_counts() -> impl Strategy<Value = [u64; 7]> {
    proptest::array::uniform7(prop_oneof![Just(0), 0..1_000_u64, 0..1_000_000_000_u64])
}

fn usage_of(counts: [u64; 7]) -> Usage {
    let [input, output, read, write_5m, write_1h, requests, pages] = counts;
    let usage = Usage::new().input(input).output(output).cache_read(read).cache_write_5m(write_5m);
    usage.cache_write_1h(write_1h).requests(requests).extra("pages", pages)
}

fn nanos(price: &Price, counts: [u64; 7]) -> i64 {
    match price.cost(&usage_of(counts)).unwrap() {
        Cost::Priced(usd) => usd.as_nanos(),
        other => panic!("every part has a rate: {other:?}"),
    }
}

proptest! {
    #[test]
    fn a_cost_is_the_exact_sum_rounded_up(price in any_price(), counts in any_counts()) {
        let rates = [price.input, price.output, price.cache_read, price.cache_write_5m, price.cache_write_1h, price.request,
            price.extras.get("pages").copied()];
        let exact: i128 = counts.iter().zip(rates).map(|(n, rate)| i128::from(*n) * i128::from(rate.unwrap().as_nanos())).sum();
        let cost = i128::from(nanos(&price, counts)) * 1_000_000;
        prop_assert!(cost >= exact && cost - exact < 1_000_000, "{} {}", cost, exact);
    }

    #[test]
    fn costs_add_up_to_one_rounding_for_each_request(price in any_price(), a in any_counts(), b in any_counts()) {
        let both = nanos(&price, std::array::from_fn(|n| a[n] + b[n]));
        let apart = nanos(&price, a) + nanos(&price, b);
        prop_assert!(both <= apart && apart <= both + 1, "{} {}", both, apart);
    }

    #[test]
    fn more_usage_never_costs_less(price in any_price(), counts in any_counts(), more in any_counts()) {
        prop_assert!(nanos(&price, counts) <= nanos(&price, std::array::from_fn(|n| counts[n] + more[n])));
    }

    #[test]
    fn no_call_within_its_draft_costs_more_than_the_bound(
        price in any_price(), cuts in proptest::array::uniform4(0..=1_000_u64), prompt in 0..1_000_000_u64, most in 0..10_000_u64,
    ) {
        // What is left of the prompt is shared out, kind by kind.
        let mut left = prompt;
        let [input, read, write_5m, write_1h] = cuts.map(|cut| {
            let part = left * cut / 1_000;
            left -= part;
            part
        });
        let bound = Draft::new(Prompt::Tokens(prompt), most).at(&price).unwrap().cost.usd().unwrap();
        prop_assert!(nanos(&price, [input, most, read, write_5m, write_1h, 1, 0]) <= bound.as_nanos());
        let plain = Draft::new(Prompt::Tokens(prompt), most).no_cache_writes().at(&price).unwrap().cost.usd().unwrap();
        prop_assert!(nanos(&price, [input, most, read, 0, 0, 1, 0]) <= plain.as_nanos() && plain <= bound);
    }

    /// The last event of a stream states all of the usage, and the ones before it less, in any order.
    #[test]
    fn a_stream_and_a_plain_answer_have_the_same_usage(
        prompt in 0..1_000_000_u64, cached in 0..=100_u64, output in 0..1_000_000_u64, reasoning in 0..=100_u64, steps in 1..5_u64,
    ) {
        let part = |whole: u64, percent: u64| whole * percent / 100;
        let (cached, reasoning) = (part(prompt, cached), part(output, reasoning));
        for shape in [Shape::OpenAiChat, Shape::OpenAiResponses, Shape::Anthropic, Shape::Gemini] {
            let body = |output: u64, reasoning: u64| match shape {
                Shape::OpenAiChat => format!(r#"{{"usage": {{"prompt_tokens": {prompt}, "completion_tokens": {output},
                    "prompt_tokens_details": {{"cached_tokens": {cached}}}, "completion_tokens_details": {{"reasoning_tokens": {reasoning}}}}}}}"#),
                Shape::OpenAiResponses => format!(r#"{{"response": {{"usage": {{"input_tokens": {prompt}, "output_tokens": {output},
                    "input_tokens_details": {{"cached_tokens": {cached}}}, "output_tokens_details": {{"reasoning_tokens": {reasoning}}}}}}}}}"#),
                Shape::Anthropic => format!(r#"{{"usage": {{"input_tokens": {}, "cache_read_input_tokens": {cached}, "output_tokens": {output}}}}}"#,
                    prompt - cached),
                _ => format!(r#"{{"usageMetadata": {{"promptTokenCount": {prompt}, "cachedContentTokenCount": {cached},
                    "candidatesTokenCount": {}, "thoughtsTokenCount": {reasoning}, "totalTokenCount": {}}}}}"#, output - reasoning, prompt + output),
            };
            let plain = shape.read(body(output, reasoning).as_bytes()).unwrap().unwrap();
            prop_assert_eq!((plain.input, plain.cache_read, plain.output), (Some(prompt - cached), Some(cached), Some(output)));
            let mut tally = Tally::new(shape);
            let mut stream = String::new();
            for step in 1..=steps {
                let part = |whole: u64| whole * step / steps;
                let data = body(part(output), part(output).min(part(reasoning))).replace('\n', " ");
                tally.event(data.as_bytes()).unwrap();
                stream.push_str(&format!("data: {data}\n\n"));
            }
            prop_assert_eq!(tally.usage().unwrap(), Some(plain.clone()));
            prop_assert_eq!(shape.read(stream.as_bytes()).unwrap(), Some(plain));
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes: Vec<u8>, cut in 0..700_usize, at in 0..700_usize, byte: u8, number in "-?[0-9]{0,25}(\\.[0-9]{0,25})?([eE]-?[0-9]{0,25})?",
    ) {
        let shapes = [
            (Shape::OpenAiChat, include_str!("samples/openai_chat.json")),
            (Shape::OpenAiResponses, include_str!("samples/openai_responses.sse")),
            (Shape::Anthropic, include_str!("samples/anthropic.json")),
            (Shape::Gemini, include_str!("samples/gemini.sse")),
        ];
        let _ = import(&bytes, NOW, Names::ByProvider);
        let _ = import(format!(r#"{{"m": {{"input_cost_per_token": {number}, "output_cost_per_token": "{number}"}}}}"#), NOW, Names::AsWritten);
        for (shape, sample) in shapes {
            let _ = shape.read(&bytes);
            let _ = shape.read(sample.get(..cut).unwrap_or(sample).as_bytes());
            let _ = shape.read(sample.replace("00", &number).as_bytes());
            let mut bent = sample.as_bytes().to_vec();
            if let Some(slot) = bent.get_mut(at) {
                *slot = byte;
            }
            let _ = shape.read(&bent);
        }
        let mut bent = include_bytes!("samples/model_prices.json").to_vec();
        for at in [at, at * 2, at * 4] {
            if let Some(slot) = bent.get_mut(at) {
                *slot = byte;
            }
        }
        let _ = import(&bent, NOW, Names::ByProvider);
    }

    #[test]
    fn the_exact_name_is_found_among_thousands(wanted in 0..5_000_u32) {
        thread_local! {
            static BOOK: Book = {
                let mut book = Book::new();
                for n in 0..5_000_u32 {
                    let price = Price::new().request(Rate::each(Usd::micros(n)).unwrap());
                    book.push(Entry::new(&format!("model-{n}"), price)).unwrap();
                }
                book.push(Entry::new("model-*", Price::free())).unwrap();
                book
            };
        }
        let cost = BOOK.with(|book| book.cost(Model::named(&format!("model-{wanted}")), NOW, &Usage::new()).unwrap());
        prop_assert_eq!(cost, Cost::Priced(Usd::micros(wanted)));
    }
}
