//! The file of model prices: what is read from it, and what is listed instead.

use super::*;

fn imported(names: Names) -> Imported {
    import(include_str!("../samples/model_prices.json"), NOW, names).unwrap()
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
