//! Whatever the limits, their names and the instant.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn when() -> impl Strategy<Value = When> {
    let instant = prop_oneof![
        (-10_i64..100_000_000_000).prop_map(after),
        (now().as_micros()..=i64::MAX).prop_map(Timestamp::from_micros),
        any::<i64>().prop_map(Timestamp::from_micros),
    ];
    prop_oneof![
        1 => Just(When::Never),
        4 => instant.clone().prop_map(When::At),
        2 => instant.prop_map(|latest| When::WhenFreed { latest }),
    ]
}

fn limit() -> impl Strategy<Value = Compiled> {
    let base = prop_oneof![
        any::<u32>().prop_map(|n| Limit::requests(n.into()).per_minute()),
        any::<u32>().prop_map(|n| Limit::tokens(n.into()).per_month()),
        (0..=i64::MAX).prop_map(|n| Limit::usd(Usd::from_nanos(n).unwrap()).per_day()),
        (any::<u32>(), 1_u64..u64::from(u32::MAX)).prop_map(|(n, b)| Limit::requests(n.into()).per_hour().gcra(b)),
        any::<u32>().prop_map(|n| Limit::slots(n.into())),
        any::<u32>().prop_map(|n| Limit::credits(n.into())),
        any::<u32>().prop_map(|n| Limit::tokens(n.into()).lifetime()),
        Just(Limit::requests(1).per_minute().unlimited()),
    ];
    (base, "[\\PC]{1,40}").prop_map(|(limit, name)| limit.named(&name).compile().unwrap())
}

fn blockers() -> impl Strategy<Value = Vec<Blocker>> {
    let one = (limit(), 0..=i64::MAX, when(), "\\PC{0,30}")
        .prop_map(|(limit, left, when, words)| Blocker { words, ..blocked(&limit, left, when) });
    proptest::collection::vec(one, 0..5)
}

proptest! {
    #[test]
    fn every_denial_is_valid_http_and_valid_json(
        blockers in blockers(),
        causes in proptest::collection::vec((proptest::sample::select(&Cause::ALL[..]), when()), 0..3),
        code in any::<String>(),
        body in proptest::sample::select(vec![Body::Problem, Body::OpenAi]),
        now in prop_oneof![Just(now()), any::<i64>().prop_map(Timestamp::from_micros)],
    ) {
        let answer = Answer { status: 429, code: code.clone().into(), retry: Retry::Stated };
        let table = Cause::ALL.iter().fold(Table::default(), |table, cause| table.cause(*cause, answer.clone()));
        let refusals: Vec<Refusal> = causes.iter().map(|(cause, when)| Refusal::new(*cause).until(*when)).collect();
        let response = Options::default().table(table).body(body).families(ALL).denied(&refusals, &blockers, now);
        let json = json(&response);
        let said = if body == Body::Problem { &json["code"] } else { &json["error"]["code"] };
        prop_assert_eq!(said, &code);
        let retry_after: Option<i64> = response.header("retry-after").map(|text| text.parse().unwrap());
        prop_assert!(retry_after.is_none_or(|seconds| seconds >= 1));
        for (name, value) in &response.headers {
            prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{} {}", name, value);
        }
        let mut named = BTreeSet::new();
        if let Some(limits) = response.header("ratelimit") {
            for (name, parameters) in list(limits).unwrap() {
                prop_assert!(named.insert(name), "each limit once");
                let Bare::Integer(_) = parameters["r"] else { panic!("{limits}") };
                // The draft: Retry-After is no earlier than the end of the effective window.
                if let (Some(Bare::Integer(t)), Some(retry)) = (parameters.get("t"), retry_after) {
                    prop_assert!(*t <= retry, "{} {}", t, retry);
                }
            }
        }
        for (_, parameters) in response.header("ratelimit-policy").and_then(list).unwrap_or_default() {
            prop_assert!(matches!(parameters["q"], Bare::Integer(_)));
            prop_assert!(parameters.get("w").is_none_or(|w| *w >= integer(1)));
        }
    }

    #[test]
    fn the_text_of_limits_comes_back_from_the_body_as_it_was(name in "\\PC{1,60}", words in any::<String>()) {
        let blocker = Blocker { words: words.clone(), ..blocked(&calls(&name), 0, seconds(1)) };
        let body = json(&Options::default().denied(&[], &[blocker], now()));
        prop_assert_eq!(&body["limits"][0]["name"], &name);
        prop_assert_eq!(&body["limits"][0]["rule"], &words);
    }

    #[test]
    fn two_names_are_never_written_alike(a in "[a%2A\"\\\\é]{1,4}", b in "[a%2A\"\\\\é]{1,4}") {
        let said = |name: &str| {
            let response = Options::default().denied(&[], &[blocked(&calls(name), 0, seconds(1))], now());
            response.header("ratelimit").unwrap().to_owned()
        };
        prop_assert_eq!(a == b, said(&a) == said(&b));
    }

    #[test]
    fn our_own_reader_reads_back_what_is_written_as_openai_writes_it(
        requests in any::<u32>(),
        tokens in any::<u32>(),
        left_of_each in (0..=i64::MAX, 0..=i64::MAX),
        ends in (now().as_micros()..=i64::MAX, 0..10_000_000_000_i64),
    ) {
        let of_requests = Limit::requests(requests.into()).per_minute().compile().unwrap();
        let of_tokens = Limit::tokens(tokens.into()).per_minute().compile().unwrap();
        let ends = [Timestamp::from_micros(ends.0), after(ends.1)];
        let left = [(&of_requests, left_of_each.0, ends[0]), (&of_tokens, left_of_each.1, ends[1])];
        let left = left.map(|(limit, remaining, end)| {
            Left { limit, cap: limit.cap(), remaining: Some(n(remaining)), window_end: Some(end) }
        });
        let headers = Options::default().families([Family::OpenAi, Family::XRateLimit]).granted(left, now());
        let read = Reader::new(Profile::OpenAi).read(&Reply::new(200, now()).headers(&headers)).windows;
        prop_assert_eq!(read.len(), 2);
        for ((window, left), name) in read.iter().zip(left).zip(["requests", "tokens"]) {
            prop_assert_eq!(&window.name, name);
            let Cap::At(most) = left.cap else { panic!("no end") };
            prop_assert_eq!(window.limit, Some(u64::from(most)));
            prop_assert_eq!(window.remaining, left.remaining.map(u64::from));
            // Whole milliseconds, rounded up.
            let end = left.window_end.filter(|end| *end < Timestamp::MAX);
            let expected = end.map(|end| {
                let millis = end.since(now()).as_micros().div_ceil(1_000);
                let micros = i64::try_from(millis * 1_000).unwrap_or(i64::MAX);
                Timestamp::from_micros(now().as_micros().saturating_add(micros))
            });
            prop_assert_eq!(window.resets, expected);
        }
        let x = headers.iter().find(|(name, _)| *name == "x-ratelimit-reset").map(|(_, value)| value.clone());
        if let (Some(x), true) = (x, ends[0].as_secs() < 99_999_999_999) {
            let at = reset(&x, now()).unwrap();
            prop_assert!(at >= ends[0] && at.since(ends[0]) < std::time::Duration::from_secs(1));
        }
    }

    #[test]
    fn waits_are_written_as_go_would(micros in 0..400_000_000_000_i64) {
        let limit = calls("calls");
        let left = Left { limit: &limit, cap: limit.cap(), remaining: Some(n(1)), window_end: Some(after(micros)) };
        let headers = Options::default().families([Family::OpenAi]).granted([left], now());
        let said = &headers[2].1;
        let millis = u64::try_from(micros).unwrap().div_ceil(1_000);
        prop_assert_eq!(go_duration(said), Some(std::time::Duration::from_millis(millis)));
        prop_assert!(said.ends_with('s') && !said.starts_with("0m") && (said == "0s" || !said.starts_with("0")), "{}", said);
        prop_assert_eq!(said.contains('h'), millis >= 3_600_000);
        prop_assert_eq!(said.contains("ms"), (1..1_000).contains(&millis));
    }
}
