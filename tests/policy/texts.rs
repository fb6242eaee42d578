//! Limits in text and in fields: what is read, and that no text makes it panic.

use keyward::limit::Shape;
use keyward::policy::Policy;
use keyward::window::{Calendar, Period};
use keyward::{Cap, Length, Limit, Measure};
use proptest::prelude::*;
use serde_json::Value;

use super::policy;

fn words(text: &str) -> String {
    text.parse::<Limit>().and_then(Limit::compile).map_or_else(|error| error.to_string(), |limit| limit.to_string())
}

#[test]
fn texts_say_what_builders_say() {
    for (text, limit) in [
        ("60 requests / 1m", Limit::requests(60).per_minute()),
        ("60 requests per 1m", Limit::requests(60).per_minute()),
        ("60 requests/1m by key", Limit::requests(60).per_minute().by("key")),
        ("1 request / 1s", Limit::requests(1).per_second()),
        ("10 USD / day", Limit::usd(keyward::Usd::dollars(10)).per_day()),
        ("$2.50 / day", Limit::usd(keyward::Usd::cents(250)).per_day()),
        ("2.5 usd / month @ +01:00", Limit::usd(keyward::Usd::cents(250)).per_month().zone("+01:00".parse().unwrap())),
        ("1_000_000 tokens / month", Limit::tokens(1_000_000).per_month()),
        ("25 USD / 30d by team", Limit::usd(keyward::Usd::dollars(25)).per_days(30).by("team")),
        ("5 slots by key", Limit::slots(5).by("key")),
        ("0 requests / lifetime", Limit::requests(0).lifetime()),
        ("unlimited input_tokens / day", Limit::input_tokens(0).unlimited().per_day()),
        ("60 requests / 1m fixed", Limit::requests(60).per_minute().fixed()),
        ("60 requests / 1m burst 10", Limit::requests(60).per_minute().gcra(10)),
        ("60 requests / 1m rolling 6", Limit::requests(60).per_minute().rolling(6)),
        (
            "60 requests / 5h from first use",
            Limit::requests(60).per_first_use(keyward::window::FirstUse::new("5h".parse().unwrap())),
        ),
        (
            "9 output_tokens / 1h by key and model when provider=openai and tier=a/b if present assume 7 soft named free tier",
            Limit::output_tokens(9)
                .per("1h")
                .by("key")
                .by("model")
                .when("provider", "openai")
                .when("tier", "a/b")
                .if_present()
                .assume(7)
                .soft()
                .named("free tier"),
        ),
    ] {
        let said = text.parse::<Limit>().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(said.compile().unwrap(), limit.compile().unwrap(), "{text}");
    }
}

#[test]
fn what_a_limit_is_called_reads_back_where_it_has_words_of_its_own() {
    for text in ["60 requests per 1m by key", "$25.00 per 30d by team", "5 tokens per 1h by key when team=red"] {
        assert_eq!(words(text), text);
    }
}

#[test]
fn fields_say_what_texts_say() {
    for (fields, text) in [
        (r#"{ measure = "requests", amount = 60, window = "1m", by = "key" }"#, "60 requests / 1m by key"),
        (r#"{ measure = "requests", amount = "6_0", window = "1m", by = ["key"] }"#, "60 requests / 1m by key"),
        (
            r#"{ measure = "usd", amount = "1_000.50 USD", window = "day", zone = "+01:00" }"#,
            "1000.5 USD / day @ +01:00",
        ),
        (r#"{ measure = "usd", amount = 10, window = "day" }"#, "10 USD / day"),
        (r#"{ measure = "slots", amount = 5, when = { team = "red" } }"#, "5 slots when team=red"),
        (
            r#"{ limit = "9 tokens / 1m", shape = "fixed", assume = 7, if_present = true, soft = true, name = "n" }"#,
            "9 tokens / 1m fixed assume 7 if present soft named n",
        ),
        (r#"{ measure = "requests", amount = "unlimited", window = "lifetime" }"#, "unlimited requests / lifetime"),
        (
            r#"{ measure = "requests", amount = 3, window = "5h", shape = "first_use" }"#,
            "3 requests / 5h from first use",
        ),
        (r#"{ measure = "requests", amount = 3, window = "5h", burst = 2 }"#, "3 requests / 5h burst 2"),
    ] {
        let long = policy(&format!("limits = [{fields}]")).limits().unwrap();
        let short: Limit = text.parse().unwrap();
        assert_eq!(long[0].clone().compile().unwrap(), short.compile().unwrap(), "{fields}");
    }
}

#[test]
fn every_setting_of_the_fields_arrives() {
    let limits = policy(
        r#"
        measures = ["pages"]
        limits = [
            { measure = "tokens", amount = 5, window = "30d", anchor = 2026-01-15T10:30:00Z, note = "n", weights = { output = 3000 } },
            { measure = "pages", amount = 5, window = "month", day = 31, at = "09:00", zone = "+05:30" },
            { measure = "tokens", amount = 5, window = "week", week_start = "sunday", alert_at_percent = [100, 80],
              when_down = "25%" },
            { measure = "tokens", amount = 5, window = "7d", shape = "first_use", until = 2027-01-01, in_steps = true },
            { measure = "requests", amount = 5, shape = "credits", zone = "+01:00", on_expiry = "release", audit = "none",
              refill = { amount = 9, every = "month", day = 15, policy = "add_capped", most = 50 }, relaxed = "money" },
        ]
        "#,
    )
    .limits()
    .unwrap();
    let limits: Vec<_> = limits.into_iter().map(|limit| limit.compile().unwrap()).collect();
    let text = |place: usize| format!("{:?}", limits[place].shape());
    assert_eq!(text(0), "Anchored(30d, Some(2026-01-15T10:30:00Z))");
    assert_eq!(limits[0].note(), "n");
    assert_eq!(limits[0].used(&keyward::Usage::new().output(1_000)).unwrap(), Some(keyward::Amount::new(3_000)));
    assert_eq!(limits[1].to_string(), "5 pages per month, day 31 at 09:00 +05:30");
    assert_eq!(limits[2].to_string(), "5 tokens per week, sunday at 00:00 UTC");
    assert_eq!(limits[2].alerts(), [80, 100]);
    assert_eq!(limits[2].when_down(), keyward::limit::WhenDown::InProcess { percent: 25 });
    assert!(text(3).contains("2027-01-01T00:00:00Z") && text(3).contains("InSteps"), "{}", text(3));
    assert!(text(4).contains("AddCapped { most: 50 }") && text(4).contains("Month { day: 15 }"), "{}", text(4));
    assert!(limits[4].is_relaxed());
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/durations.json")).unwrap()
}

#[test]
fn every_length_and_word_of_the_vectors_is_the_window_of_a_limit() {
    let vectors = vectors();
    for (text, millis) in vectors["lengths_ms"].as_object().unwrap() {
        let length = Length::from_micros(millis.as_i64().unwrap() * 1_000).unwrap();
        let limit = format!("5 requests / {text}").parse::<Limit>().unwrap().compile().unwrap();
        let expected = if length < Length::DAY { Shape::Sliding(length) } else { Shape::Anchored(length, None) };
        assert_eq!(*limit.shape(), expected, "{text}");
        let fields = policy(&format!(r#"limits = [{{ measure = "requests", amount = 5, window = "{text}" }}]"#));
        assert_eq!(fields.limits().unwrap()[0].clone().compile().unwrap(), limit);
    }
    for word in vectors["calendar_words"].as_array().unwrap() {
        let limit = format!("5 requests / {}", word.as_str().unwrap()).parse::<Limit>().unwrap().compile().unwrap();
        let Period::Calendar(unit) = word.as_str().unwrap().parse().unwrap() else { panic!("{word}") };
        assert_eq!(*limit.shape(), Shape::Calendar(Calendar::of(unit)));
    }
}

#[test]
fn everything_that_the_vectors_refuse_is_refused_as_a_window_by_its_field() {
    for text in vectors()["refused"].as_array().unwrap() {
        let fields = serde_json::json!({"limits": [{"measure": "requests", "amount": 5, "window": text}]});
        let problems = serde_json::from_value::<Policy>(fields).unwrap().check().unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        let problem = problems.iter().next().unwrap();
        assert_eq!((problem.field(), problem.value()), (Some("limits[0].window"), text.as_str()));
        assert!(format!("5 requests / {}", text.as_str().unwrap()).parse::<Limit>().is_err(), "{text}");
    }
}

/// aigetwey's old names were lengths, whatever they look like.
#[test]
fn old_names_load_as_lengths_with_a_warning() {
    let old = policy(r#"limits = ["5 USD / daily", "6 USD / weekly", { limit = "7 USD / monthly", by = "key" }]"#);
    let warnings: Vec<String> = old.check().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "limits[0].window: daily is read as 24h, a length; write 24h, or day for a calendar day",
            "limits[1].window: weekly is read as 7d, a length; write 7d, or week for a calendar week",
            "limits[2].window: monthly is read as 30d, a length; write 30d, or month for a calendar month",
        ]
    );
    let built = old.build(keyward::policy::Reference::read).unwrap();
    let lengths: Vec<String> = built.limits.iter().map(|limit| limit.schedule()).collect();
    assert_eq!(lengths, ["anchored 1d", "anchored 1w", "anchored 30d"]);
    assert_eq!(built.warnings.len(), 3);
}

/// A misspelt measure would be one that no call states, and so refuse every call.
#[test]
fn measures_of_ones_own_are_listed() {
    assert!("5 pages / 1m".parse::<Limit>().unwrap_err().to_string().starts_with("limit.measure: \"pages\""));
    let listed = policy("measures = [\"pages\"]\nlimits = [\"5 pages / 1m\"]").limits().unwrap();
    assert_eq!(*listed[0].clone().compile().unwrap().measure(), Measure::custom("pages").unwrap());
}

#[test]
fn unlimited_and_zero_are_opposites() {
    let cap = |text: &str| text.parse::<Limit>().unwrap().compile().unwrap().cap();
    assert_eq!(cap("unlimited requests / 1m"), Cap::Unlimited);
    assert_eq!(cap("0 requests / 1m"), Cap::At(keyward::Amount::ZERO));
}

#[cfg(feature = "tz")]
#[test]
fn a_zone_of_the_database_is_read_from_text() {
    assert_eq!(words("10 USD / day @ Europe/Berlin"), "$10.00 per day at 00:00 Europe/Berlin");
    assert_eq!(words("10 USD/day @Europe/Berlin by team"), "$10.00 per day at 00:00 Europe/Berlin by team");
}

/// Words that texts are made of, and some that they are not.
const SCRAPS: [&str; 34] = [
    "60",
    "1_000",
    "-1",
    "1.5",
    "$2.50",
    "unlimited",
    "requests",
    "tokens",
    "usd",
    "USD",
    "slots",
    "pages",
    "/",
    "per",
    "1m",
    "30d",
    "day",
    "month",
    "daily",
    "lifetime",
    "@",
    "@UTC",
    "+01:00",
    "by",
    "key",
    "and",
    "when",
    "a=b",
    "burst",
    "from",
    "first",
    "use",
    "named",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = text.parse::<Limit>();
        let _ = text.parse::<keyward::policy::Reference>();
        let _ = toml::from_str::<Policy>(&text).map(|policy| policy.check());
        let _ = serde_json::from_str::<Policy>(&text).map(|policy| policy.check());
        let read: Policy = serde_json::from_value(serde_json::json!({"limits": [text, {"limit": text, "window": text}]})).unwrap();
        let _ = read.check();
    }

    #[test]
    fn no_row_of_words_panics_and_what_is_read_compiles(scraps in proptest::collection::vec(0..SCRAPS.len(), 0..12)) {
        let words: Vec<&str> = scraps.into_iter().map(|at| SCRAPS[at]).collect();
        match words.join(" ").parse::<Limit>() {
            Ok(limit) => prop_assert!(limit.compile().is_ok()),
            Err(error) => prop_assert!(error.field().is_some_and(|field| field.starts_with("limit")), "{}", error),
        }
    }

    #[test]
    fn no_value_of_any_field_panics(field in 0..22_usize, value in values(), text in 0..SCRAPS.len()) {
        let fields = ["limit", "name", "note", "measure", "amount", "window", "shape", "zone", "buckets", "burst", "anchor",
            "until", "in_steps", "week_start", "day", "at", "if_present", "assume", "soft", "on_expiry", "relaxed",
            "when_down"];
        let mut limit = serde_json::json!({"measure": "requests", "amount": 5, "window": SCRAPS[text]});
        limit[fields[field]] = value;
        let written = serde_json::json!({"limits": [limit]});
        if let Ok(policy) = serde_json::from_value::<Policy>(written) {
            let again: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
            prop_assert!(again == policy);
            prop_assert_eq!(again.check(), policy.check());
        }
    }

    #[test]
    fn a_limit_that_is_shown_reads_back(amount in 0..=i64::MAX, seconds in 1..86_400_i64, key: bool, team: bool) {
        let length = Length::from_secs(seconds).unwrap();
        let mut limit = Limit::tokens(amount.unsigned_abs()).per(&length.to_string());
        if key { limit = limit.by("key"); }
        if team { limit = limit.when("team", "red"); }
        let shown = limit.clone().compile().unwrap();
        prop_assert_eq!(shown.to_string().parse::<Limit>().unwrap().compile().unwrap(), shown);
    }
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        Just(Value::from(2.5)),
        Just(Value::from(1e300)),
        Just(Value::from(-0.125)),
        any::<bool>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        (0..SCRAPS.len()).prop_map(|at| Value::from(SCRAPS[at])),
        Just(Value::Null),
        Just(serde_json::json!([1, "a"])),
        Just(serde_json::json!({"a": 1})),
    ]
}
