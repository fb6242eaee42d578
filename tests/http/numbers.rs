//! How much, and when: what each kind of limit says in numbers.

use super::*;

#[test]
fn waits_are_whole_seconds_rounded_up_and_at_least_one() {
    for (micros, said) in
        [(-5_000_000, "1"), (0, "1"), (1, "1"), (1_000_000, "1"), (1_000_001, "2"), (59_999_999, "60")]
    {
        let when = When::At(after(micros));
        let response = Options::default().denied(&[], &[blocked(&calls("calls"), 3, when)], now());
        assert_eq!(response.header("retry-after"), Some(said), "{micros}");
        let t = said.parse::<i64>().unwrap() - i64::from(micros <= 0);
        let read = list(response.header("ratelimit").unwrap()).unwrap();
        assert_eq!(read, [("calls".to_owned(), [("r".to_owned(), integer(3)), ("t".to_owned(), integer(t))].into())]);
    }
}

/// A limit, in how many seconds its window ends, and what is said of it in the two fields.
type Said = (Limit, Option<i64>, Option<&'static str>, Option<&'static str>);

#[test]
fn each_shape_says_what_can_be_said_of_it() {
    let daily = Refill { amount: Amount::new(10), every: Every::Day, policy: RefillPolicy::Set };
    let own = |limit: Limit| limit.named("x");
    let table: [Said; 15] = [
        (Limit::requests(9).per_minute(), Some(60), Some("r=4;t=60"), Some("q=9;w=60")),
        (Limit::requests(9).per("500ms"), None, Some("r=4"), Some("q=9;w=1")),
        (Limit::requests(9).per("90001ms"), None, Some("r=4"), Some("q=9;w=91")),
        (Limit::tokens(9).per_hour().rolling(6), None, Some("r=4"), Some("q=9;qu=\"tokens\";w=3600")),
        (Limit::input_tokens(9).per_hour(), None, Some("r=4"), Some("q=9;qu=\"input_tokens\";w=3600")),
        (Limit::custom("pages", 9).per_hour(), None, Some("r=4"), Some("q=9;qu=\"pages\";w=3600")),
        (Limit::requests(9).per_minute().gcra(3), None, Some("r=4"), Some("q=3;w=20")),
        (Limit::requests(9).per_day(), Some(43_200), Some("r=4;t=43200"), Some("q=9;w=86400")),
        // March has 31 days; without an end nobody knows which month it is.
        (Limit::requests(9).per_month(), Some(2_030_400), Some("r=4;t=2030400"), Some("q=9;w=2678400")),
        (Limit::requests(9).per_month(), None, Some("r=4"), Some("q=9")),
        (Limit::requests(9).lifetime(), None, Some("r=4"), Some("q=9")),
        (Limit::slots(9), Some(900), Some("r=4"), Some("q=9;qu=\"concurrent-requests\"")),
        (Limit::credits(9).refill(daily), None, Some("r=4"), None),
        (Limit::requests(0).per_minute().gcra(3), None, Some("r=4"), Some("q=0;w=60")),
        (Limit::requests(9).per_minute().unlimited(), Some(60), None, None),
    ];
    for (limit, end, limits, policies) in table {
        let limit = own(limit).compile().unwrap();
        let remaining = if limit.cap() == Cap::Unlimited { None } else { Some(n(4)) };
        let window_end = end.map(|end| after(end * 1_000_000));
        let left = Left { limit: &limit, cap: limit.cap(), remaining, window_end };
        let headers = Options::default().granted([left], now());
        let value = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        assert_eq!(value("ratelimit"), limits.map(|said| format!("\"x\";{said}")), "{limit}");
        assert_eq!(value("ratelimit-policy"), policies.map(|said| format!("\"x\";{said}")), "{limit}");
        for value in headers.iter().map(|(_, value)| value) {
            assert!(list(value).is_some(), "{value}");
        }
    }
}

#[test]
fn money_is_told_in_millionths_rounded_down_and_numbers_end_at_15_digits() {
    let money = Limit::usd("$25.0000019".parse().unwrap()).per_days(30).named("spend").compile().unwrap();
    let left =
        |limit, remaining| Left { limit, cap: Cap::At(n(remaining)), remaining: Some(n(remaining)), window_end: None };
    let headers = Options::default().granted([left(&money, 1_999)], now());
    assert_eq!(headers[0].1, "\"spend\";r=1");
    assert_eq!(headers[1].1, "\"spend\";q=1;qu=\"micro-usd\";w=2592000");
    let many = Limit::tokens(1).lifetime().named("many").compile().unwrap();
    let headers = Options::default().families(ALL).granted([left(&many, i64::MAX)], now());
    assert_eq!(headers[0].1, "\"many\";r=999999999999999");
    assert_eq!(headers[2], ("x-ratelimit-limit-tokens", i64::MAX.to_string()));
}

#[test]
fn instants_that_never_come_or_come_too_late_to_be_written_are_left_out() {
    let limit = calls("calls");
    let never = [When::Never, When::At(Timestamp::MAX), When::WhenFreed { latest: Timestamp::MAX }];
    for when in never {
        let response = Options::default().families(ALL).denied(&[], &[blocked(&limit, 0, when)], now());
        assert_eq!(response.header("retry-after"), None, "{when:?}");
        assert_eq!(response.header("ratelimit"), Some("\"calls\";r=0"));
        assert_eq!(response.header("x-ratelimit-reset"), None);
        let body = json(&response);
        assert_eq!((body["limits"][0].get("retry_at"), body["limits"][0].get("window_end")), (None, None));
    }
    let late = When::At(Timestamp::from_micros(i64::MAX - 1));
    let response = Options::default().families(ALL).denied(&[], &[blocked(&limit, 0, late)], now());
    let wait = (i64::MAX - 1 - now().as_micros()) / 1_000_000 + 1;
    assert_eq!(response.header("retry-after"), Some(wait.to_string().as_str()));
    assert_eq!(list(response.header("ratelimit").unwrap()).unwrap()[0].1["t"], integer(wait));
    assert_eq!(json(&response)["limits"][0].get("retry_at"), None, "RFC 3339 ends with the year 9999");
    // Time does not lift it, but the window ends all the same.
    let mut too_much = blocked(&limit, 5, When::Never);
    too_much.short.window_end = Some(after(20_000_000));
    let response = Options::default().denied(&[], &[too_much], now());
    assert_eq!((response.header("retry-after"), response.header("ratelimit")), (None, Some("\"calls\";r=5;t=20")));
    assert_eq!(json(&response)["limits"][0].get("retry_at"), None);
}

#[test]
fn a_full_house_gets_a_short_hint_and_not_the_end_of_a_hold() {
    let slots = Limit::slots(2).named("slots").compile().unwrap();
    let when = When::WhenFreed { latest: after(900_000_000) };
    let response = Options::default().denied(&[], &[blocked(&slots, 0, when)], now());
    assert_eq!((response.status, response.header("retry-after")), (429, Some("1")));
    assert_eq!(response.header("ratelimit"), Some("\"slots\";r=0"));
    let body = json(&response);
    assert_eq!(body["limits"][0].get("retry_at"), None);
    assert!(body["detail"].as_str().unwrap().ends_with("0 slots left, passes when calls under way end"), "{body}");
}

/// A denial by credits that are refilled at midnight said that time would never help: the store knows of no zone, and its
/// answer was handed on as it was.
#[test]
fn a_balance_that_is_refilled_says_when() {
    let daily = Refill { amount: Amount::new(10), every: Every::Day, policy: RefillPolicy::Set };
    let blockers = asked([Limit::credits(0).refill(daily).named("credits")], &Usage::new());
    assert_eq!(blockers[0].refusal.when, When::At(at("2026-03-09T00:00:00Z")));
    let response = Options::default().denied(&[], &blockers, now());
    assert_eq!((response.status, response.header("retry-after")), (429, None));
    assert_eq!(response.header("ratelimit"), Some("\"credits\";r=0;t=43200"));
    assert_eq!(json(&response)["limits"][0]["retry_at"], "2026-03-09T00:00:00Z");
}

#[test]
fn one_limit_stands_for_all_where_there_is_room_for_one() {
    let (minute, day) = (calls("minute"), Limit::requests(900).per_day().named("day").compile().unwrap());
    let tokens = Limit::tokens(5_000).per_minute().named("tokens").compile().unwrap();
    let left = |limit, remaining, end: i64| {
        let window_end = Some(after(end * 1_000_000 - 500_000));
        Left { limit, cap: Compiled::cap(limit), remaining: Some(n(remaining)), window_end }
    };
    let options = Options::default().families([Family::XRateLimit, Family::OpenAi]);
    let headers = options.granted([left(&minute, 7, 60), left(&day, 5, 3_600), left(&tokens, 4_999, 6)], now());
    let reset = after(3_600_000_000).as_secs().to_string();
    let expected = [
        ("x-ratelimit-limit", "900"),
        ("x-ratelimit-remaining", "5"),
        ("x-ratelimit-reset", &reset),
        ("x-ratelimit-limit-requests", "900"),
        ("x-ratelimit-remaining-requests", "5"),
        ("x-ratelimit-reset-requests", "59m59.5s"),
        ("x-ratelimit-limit-tokens", "5000"),
        ("x-ratelimit-remaining-tokens", "4999"),
        ("x-ratelimit-reset-tokens", "5.5s"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    // Where two have as little left, the one that has it for longer.
    let headers = options.granted([left(&minute, 0, 60), left(&day, 0, 3_600)], now());
    assert_eq!(headers[2], ("x-ratelimit-reset", reset));
    assert_eq!(options.granted([left(&tokens, 1, 6)], now()).len(), 3, "tokens are no requests");
}

#[test]
fn what_is_left_is_told_with_the_amount_that_a_subject_has_of_its_own() {
    let store = MemoryStore::new();
    let limits = [Limit::requests(60).per_minute().named("calls").by("key"), Limit::slots(5).named("slots")];
    let terms = Terms::adopt(&store, limits, Adopt::Start, now()).unwrap();
    let own = |limit: &LimitId, _: &Subject| match limit.as_str() {
        "calls" => Own { cap: Some(Cap::At(n(10))), ..Own::default() },
        _ => Own::default(),
    };
    let dimension = |name: &str| (name == "key").then_some("canary");
    let plan = ask_plan(&terms, dimension, &Usage::new(), own, now()).unwrap();
    let Verdict::Granted(grant) = store.apply(&plan, now()).unwrap() else { panic!("there is room") };
    let headers = Options::default().granted(left(&terms, &plan, &grant), now());
    assert_eq!(headers[0].1, "\"calls\";r=9;t=60, \"slots\";r=4");
    assert_eq!(headers[1].1, "\"calls\";q=10;w=60, \"slots\";q=5;qu=\"concurrent-requests\"");
    let asked = ask(&store, &terms, dimension, &Usage::new().requests(10), own, now()).unwrap().blockers;
    let calls: Vec<_> =
        asked.iter().map(|blocker| (blocker.limit.as_str(), blocker.allows, blocker.short.need)).collect();
    assert_eq!(calls, [("calls", Cap::At(n(10)), n(10))]);
}

/// A sliding limit has room long before, or long after, its open bucket ends.
#[test]
fn a_refused_caller_is_told_when_it_can_pass_and_not_when_the_bucket_ends() {
    for (passes, end) in [(5, 60), (60, 5)] {
        let mut blocker = blocked(&calls("calls"), 0, seconds(passes));
        blocker.short.window_end = seconds(end).instant();
        let response = Options::default().families(ALL).denied(&[], &[blocker], now());
        assert_eq!(response.header("retry-after"), Some(passes.to_string().as_str()));
        assert_eq!(response.header("ratelimit"), Some(format!("\"calls\";r=0;t={passes}").as_str()));
        assert_eq!(response.header("x-ratelimit-reset"), Some((now().as_secs() + passes).to_string().as_str()));
        let limit = &json(&response)["limits"][0];
        assert_eq!(limit["retry_at"], seconds(passes).instant().unwrap().to_string());
        assert_eq!(limit["window_end"], seconds(end).instant().unwrap().to_string());
    }
}

#[test]
fn waits_are_written_as_openai_writes_them() {
    let limit = calls("calls");
    for (micros, said) in [
        (0, "0s"),
        (1, "1ms"),
        (12_000, "12ms"),
        (999_001, "1s"),
        (1_500_000, "1.5s"),
        (179_560_000, "2m59.56s"),
        (360_000_000, "6m0s"),
        (3_900_050_000, "1h5m0.05s"),
        (360_000_000_000, "100h0m0s"),
    ] {
        let left = Left { limit: &limit, cap: limit.cap(), remaining: Some(n(1)), window_end: Some(after(micros)) };
        let headers = Options::default().families([Family::OpenAi]).granted([left], now());
        assert_eq!(headers[2], ("x-ratelimit-reset-requests", said.to_owned()));
    }
}
