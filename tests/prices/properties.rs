//! What holds for any price, usage and input.

use super::*;
use proptest::prelude::*;

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
            (Shape::OpenAiChat, include_str!("../samples/openai_chat.json")),
            (Shape::OpenAiResponses, include_str!("../samples/openai_responses.sse")),
            (Shape::Anthropic, include_str!("../samples/anthropic.json")),
            (Shape::Gemini, include_str!("../samples/gemini.sse")),
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
        let mut bent = include_bytes!("../samples/model_prices.json").to_vec();
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
