//! A decision over HTTP: the table, the fields, the bodies, and what a caller is never told.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "http/fields.rs"]
mod fields;
#[path = "http/numbers.rs"]
mod numbers;
#[path = "http/properties.rs"]
mod properties;
#[cfg(feature = "http")]
#[path = "http/types.rs"]
mod types;

use fields::{Bare, list};
use keyward::account::Short;
use keyward::budgets::{Blocker, ask, ask_plan, no_own};
use keyward::http::{Body, Family, Left, Options, Response, left};
use keyward::limit::{Compiled, Own};
use keyward::plan::{Adopt, Verdict};
use keyward::quota::{Answer, Cause, Every, Refill, RefillPolicy, Refusal, Retry, Table};
use keyward::terms::Terms;
use keyward::upstream::{Profile, Reader, Reply, go_duration, reset};
use keyward::{
    Amount, Cap, Class, Hint, Length, Limit, LimitId, MemoryStore, Store, Subject, Timestamp, Usage, Usd, When,
};
use serde_json::Value;

const ALL: [Family; 4] = [Family::RetryAfter, Family::RateLimit, Family::XRateLimit, Family::OpenAi];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-03-08T12:00:00Z")
}

fn after(micros: i64) -> Timestamp {
    Timestamp::from_micros(now().as_micros() + micros)
}

fn seconds(n: i64) -> When {
    When::At(after(n * 1_000_000))
}

fn n(units: i64) -> Amount {
    Amount::from_i64(units).unwrap()
}

/// A limit that has this much left, and refused more.
fn blocked(limit: &Compiled, left: i64, when: When) -> Blocker {
    let cap = limit.cap();
    let most = if let Cap::At(most) = cap { most } else { Amount::MAX };
    Blocker {
        limit: limit.id().clone(),
        subject: Subject::of([("key", "canary-subject")]).unwrap(),
        measure: limit.measure().clone(),
        refusal: Refusal::new(limit.cause()).by(limit.id().clone()).until(when),
        short: Short {
            need: n(left.saturating_add(1)),
            have: most.above(n(left)),
            held: Amount::ZERO,
            cap,
            window_end: when.instant(),
            when,
            refill: None,
        },
        words: limit.to_string(),
        shape: *limit.shape(),
        allows: cap,
        is_upstream: false,
    }
}

fn calls(name: &str) -> Compiled {
    Limit::requests(60).per_minute().named(name).compile().unwrap()
}

/// What a store says to a call of alice's on these limits.
fn asked(limits: impl IntoIterator<Item = Limit>, estimate: &Usage) -> Vec<Blocker> {
    let store = MemoryStore::new();
    let terms = Terms::adopt(&store, limits, Adopt::Start, now()).unwrap();
    let dimension = |name: &str| match name {
        "key" => Some("canary-alice"),
        "upstream" => Some("canary-upstream"),
        _ => None,
    };
    ask(&store, &terms, dimension, estimate, no_own, now()).unwrap().blockers
}

fn json(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap()
}

fn integer(n: i64) -> Bare {
    Bare::Integer(n)
}

#[test]
fn every_cause_is_answered_as_the_table_says() {
    let table = [
        (Cause::Unknown, 401, "invalid_api_key", None),
        (Cause::Disabled, 401, "api_key_disabled", None),
        (Cause::NotYetValid, 403, "api_key_not_yet_valid", None),
        (Cause::Expired, 403, "api_key_expired", None),
        (Cause::Address, 403, "access_denied", None),
        (Cause::ClientType, 403, "client_not_allowed", None),
        (Cause::Model, 403, "model_not_allowed", None),
        (Cause::Quota, 429, "insufficient_quota", None),
        (Cause::Budget, 402, "budget_exceeded", None),
        (Cause::Rate, 429, "rate_limit_exceeded", Some("30")),
        (Cause::Slots, 429, "too_many_concurrent_requests", Some("1")),
        (Cause::PoolLimited, 429, "upstream_rate_limited", Some("30")),
        (Cause::PoolDown, 503, "upstream_unavailable", Some("30")),
        (Cause::Store, 503, "store_unavailable", None),
        (Cause::Clock, 503, "clock_jumped", None),
    ];
    assert_eq!(table.map(|(cause, ..)| cause), Cause::ALL);
    for (cause, status, code, retry_after) in table {
        let refusals = [Refusal::new(cause).until(seconds(30))];
        let problem = Options::default().denied(&refusals, &[], now());
        assert_eq!((problem.status, problem.header("retry-after")), (status, retry_after), "{cause:?}");
        assert_eq!(problem.header("www-authenticate").is_some(), status == 401, "{cause:?}");
        let body = json(&problem);
        assert_eq!((&body["status"], &body["code"]), (&status.into(), &code.into()));
        assert_eq!(body["detail"], cause.to_string());
        assert!(body["type"].is_string() && body["title"].is_string() && body.get("limits").is_none());

        let openai = Options::default().body(Body::OpenAi).denied(&refusals, &[], now());
        assert_eq!(openai.header("content-type"), Some("application/json"));
        let error = &json(&openai)["error"];
        assert_eq!((&error["message"], &error["code"]), (&cause.to_string().into(), &code.into()));
        assert!(error["type"].is_string() && error.get("param").is_some());
        assert_eq!(error.as_object().unwrap().len(), 4);
    }
}

#[test]
fn a_host_may_answer_otherwise_but_only_with_a_status_that_there_is() {
    let answer = |status| Answer { status, code: "come \"back\"\r\n".into(), retry: Retry::After(Length::MINUTE) };
    let options = |status| Options::default().table(Table::default().cause(Cause::Budget, answer(status)));
    let refusals = [Refusal::new(Cause::Budget)];
    let response = options(429).denied(&refusals, &[], now());
    assert_eq!((response.status, response.header("retry-after")), (429, Some("60")));
    assert_eq!(json(&response)["code"], "come \"back\"\r\n");
    for (said, sent) in [(0, 402), (99, 402), (100, 100), (418, 418), (999, 999), (1_000, 402), (u16::MAX, 402)] {
        assert_eq!(options(said).denied(&refusals, &[], now()).status, sent);
    }
}

#[test]
fn the_limits_decide_where_nothing_else_is_said_and_nothing_at_all_cannot_be_checked() {
    let blockers = [blocked(&calls("calls"), 0, seconds(7))];
    let response = Options::default().denied(&[], &blockers, now());
    assert_eq!((response.status, response.header("retry-after")), (429, Some("7")));
    let response = Options::default().denied(&[], &[], now());
    assert_eq!((response.status, json(&response)["code"].as_str()), (503, Some("store_unavailable")));
}

#[test]
fn several_limits_are_told_in_order_never_then_quota_and_budget_then_rates() {
    let compiled = |limit: Limit| limit.compile().unwrap();
    let rate = compiled(Limit::tokens(100).per_minute().named("rate"));
    let too_much = compiled(Limit::tokens(10).per_hour().named("too much"));
    let budget = compiled(Limit::usd(Usd::dollars(5)).per_day().named("budget"));
    let credits = compiled(Limit::credits(3).named("credits"));
    let all = [
        blocked(&rate, 1, seconds(5)),
        blocked(&budget, 250_000_000, seconds(3_600)),
        blocked(&too_much, 1, When::Never),
        blocked(&credits, 0, seconds(9)),
    ];
    let response = Options::default().families(ALL).denied(&[], &all, now());
    let names = |key: &str| -> Vec<String> {
        json(&response)[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|limit| limit.get("name").unwrap_or(limit).as_str().unwrap().into())
            .collect()
    };
    let order = ["too much", "budget", "credits", "rate"];
    assert_eq!(
        (names("limits"), names("violated-policies")),
        (order.map(String::from).into(), order.map(String::from).into())
    );
    let read = list(response.header("ratelimit").unwrap()).unwrap();
    assert_eq!(read.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), order);
    // The first is named: one that time never lifts, so nobody is told to come back.
    assert_eq!((response.status, response.header("retry-after")), (429, None));
    let without = [all[0].clone(), all[1].clone()];
    let response = Options::default().denied(&[], &without, now());
    assert_eq!((response.status, response.header("retry-after")), (402, None));
    let detail = json(&response)["detail"].as_str().unwrap().to_owned();
    assert_eq!(
        detail,
        "the budget is used up: $5.00 per day at 00:00 UTC: $0.250000001 asked for, $0.25 left, passes at 2026-03-08T13:00:00Z; \
         100 tokens per 1m: 2 tokens asked for, 1 tokens left, passes at 2026-03-08T12:00:05Z"
    );
    let limits = json(&response)["limits"].clone();
    assert_eq!(
        limits[0],
        serde_json::json!({"name": "budget", "rule": "$5.00 per day at 00:00 UTC", "measure": "usd", "need": "0.250000001",
            "limit": "5.00", "remaining": "0.25", "window_end": "2026-03-08T13:00:00Z", "retry_at": "2026-03-08T13:00:00Z"})
    );
    assert_eq!((&limits[1]["need"], &limits[1]["limit"], &limits[1]["remaining"]), (&2.into(), &100.into(), &1.into()));
}

#[test]
fn a_refused_key_is_told_so_and_no_more() {
    let blockers = [blocked(&calls("canary-name"), 0, seconds(5))];
    for cause in [Cause::Unknown, Cause::Disabled, Cause::Expired, Cause::Address, Cause::Model, Cause::Store] {
        for body in [Body::Problem, Body::OpenAi] {
            let refusals = [blockers[0].refusal.clone(), Refusal::new(cause)];
            let response = Options::default().families(ALL).body(body).denied(&refusals, &blockers, now());
            let said = format!("{response:?}");
            assert!(said.contains(&cause.to_string()) && !said.contains("canary"), "{said}");
            assert!(!said.contains("ratelimit") && !said.contains("60 requests"), "{said}");
        }
    }
}

#[test]
fn subjects_and_upstream_keys_are_never_told() {
    let limits = || {
        [
            Limit::requests(0).per_minute().by("key"),
            Limit::requests(0).per_hour().by("upstream"),
            Limit::requests(0).per_day().when("upstream", "canary-upstream"),
            Limit::usd(Usd::ZERO).per_day().by("key").by("upstream").named("canary-name"),
        ]
    };
    let blockers = asked(limits(), &Usage::new().usd(Usd::cents(1)));
    assert_eq!(blockers.len(), 4);
    for body in [Body::Problem, Body::OpenAi] {
        let response = Options::default().families(ALL).body(body).denied(&[], &blockers, now());
        let said = format!("{response:?}");
        assert!(!said.contains("canary") && !said.contains("upstream"), "{said}");
        assert!(said.contains("0 requests per 1m by key"), "{said}");
    }
    let compiled = limits().map(|limit| limit.compile().unwrap());
    let left = compiled.iter().map(|limit| Left { limit, cap: limit.cap(), remaining: Some(n(1)), window_end: None });
    let headers = Options::default().families(ALL).granted(left, now());
    assert_eq!(headers[0], ("ratelimit", r#""requests per 1m by key";r=1"#.to_owned()));
    assert!(!format!("{headers:?}").contains("upstream"));
}

#[test]
fn strange_names_are_escaped_and_stay_apart() {
    for (name, said) in [
        ("a \"quoted\" name", r#""a \"quoted\" name""#),
        (r"back\slash", r#""back\\slash""#),
        ("café 日", r#""caf%C3%A9 %E6%97%A5""#),
        ("80%", r#""80%25""#),
        ("a;r=9, \"b", r#""a;r=9, \"b""#),
    ] {
        let response = Options::default().denied(&[], &[blocked(&calls(name), 0, seconds(1))], now());
        assert_eq!(response.header("ratelimit").unwrap(), format!("{said};r=0;t=1"));
        assert_eq!(response.header("ratelimit-policy").unwrap(), format!("{said};q=60;w=60"));
        let body = json(&response);
        assert_eq!(body["limits"][0]["name"], name);
        assert_eq!(body["violated-policies"][0], list(response.header("ratelimit").unwrap()).unwrap()[0].0);
    }
    for name in ["a\r\nset-cookie: x", "a\nb", "a\0", "a\u{7f}", "a\u{85}"] {
        assert!(name.parse::<LimitId>().is_err(), "no limit can be called {name:?}");
    }
}

/// A family of one limit for several upstream keys or teams is refused more than once in one denial.
#[test]
fn a_limit_that_refused_twice_is_told_once() {
    let twice = [blocked(&calls("calls"), 0, seconds(5)), blocked(&calls("calls"), 2, seconds(3))];
    let response = Options::default().denied(&[], &twice, now());
    assert_eq!(response.header("ratelimit"), Some("\"calls\";r=0;t=5"));
    assert_eq!(json(&response)["limits"].as_array().unwrap().len(), 1);
}

/// A gateway behind a gateway reads what the other one wrote.
#[test]
fn our_own_reader_understands_our_denials() {
    let table = [
        (Cause::Unknown, Class::CredentialRefused),
        (Cause::Disabled, Class::CredentialRefused),
        (Cause::Expired, Class::NoVerdict),
        (Cause::Model, Class::NoVerdict),
        (Cause::Quota, Class::QuotaExhausted),
        (Cause::Budget, Class::QuotaExhausted),
        (Cause::Rate, Class::RateLimited),
        (Cause::Slots, Class::RateLimited),
        (Cause::PoolLimited, Class::RateLimited),
        (Cause::PoolDown, Class::Transient),
        (Cause::Store, Class::Transient),
    ];
    for (cause, class) in table {
        for body in [Body::Problem, Body::OpenAi] {
            let refusals = [Refusal::new(cause).until(seconds(30))];
            let Response { status, headers, body, .. } = Options::default().body(body).denied(&refusals, &[], now());
            let reply = Reply::new(status, now()).headers(&headers).body(&body);
            let outcome = Reader::new(Profile::OpenAi).read(&reply).outcome;
            assert_eq!(outcome.class, class, "{cause:?}");
            let wait = if cause == Cause::Slots { 1 } else { 30 };
            let stated = headers.iter().any(|(name, _)| *name == "retry-after");
            assert_eq!(outcome.hint, stated.then(|| Hint::Wait(Length::from_secs(wait).unwrap())), "{cause:?}");
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn options_are_data() {
    let text = r#"{"body": "openai", "headers": ["retry_after", "x_ratelimit"], "table": {"causes": {"budget":
        {"status": 429, "code": "poor", "retry": "stated"}}}}"#;
    let read: Options = serde_json::from_str(text).unwrap();
    let answer = Answer { status: 429, code: "poor".into(), retry: Retry::Stated };
    let built = Options::default()
        .body(Body::OpenAi)
        .families([Family::XRateLimit, Family::RetryAfter])
        .table(Table::default().cause(Cause::Budget, answer));
    assert_eq!(read, built);
    assert_eq!(serde_json::from_str::<Options>("{}").unwrap(), Options::default());
    let back: Options = serde_json::from_str(&serde_json::to_string(&built).unwrap()).unwrap();
    assert_eq!(back, built);
    assert!(serde_json::from_str::<Options>(r#"{"bodies": "openai"}"#).unwrap_err().to_string().contains("bodies"));
}
