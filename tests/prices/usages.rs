//! What providers report is one usage, however they answered.

use super::*;

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
            include_str!("../samples/openai_chat.json"),
            include_str!("../samples/openai_chat.sse"),
            &thought,
            "0.01028",
        ),
        (
            Shape::OpenAiResponses,
            include_str!("../samples/openai_responses.json"),
            include_str!("../samples/openai_responses.sse"),
            &thought,
            "0.01028",
        ),
        (
            Shape::Gemini,
            include_str!("../samples/gemini.json"),
            include_str!("../samples/gemini.sse"),
            &thought,
            "0.01028",
        ),
        (
            Shape::Anthropic,
            include_str!("../samples/anthropic.json"),
            include_str!("../samples/anthropic.sse"),
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
