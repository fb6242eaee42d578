//! What is built of a policy, and where its secrets come from.

use keyward::keys::{Acquired, Facts};
use keyward::plan::Adopt;
use keyward::policy::{Policy, Reference};
use keyward::price::{Model, Why};
use keyward::terms::Terms;
use keyward::{Error, MemoryStore, OpId, Secret, Timestamp, Usage, Usd};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{pairs, policy};

fn secrets(reference: &Reference) -> Result<Secret, Error> {
    match reference.to_string().as_str() {
        "env:OPENAI" => Ok(Secret::new("sk-canary-one-11111, sk-canary-two-22222,\nsk-canary-three-3333\n")),
        "file:/run/spare" => Ok(Secret::new("sk-canary-spare-44444\n")),
        "name:empty" => Ok(Secret::new(" , ,\n")),
        "name:spaced" => Ok(Secret::new("sk-canary spaced")),
        "name:masked" => Ok(Secret::new("sk-canary…3333")),
        _ => Err(Error::invalid("reference", reference, "something that the vault has")),
    }
}

#[test]
fn pools_are_built_with_everything_that_is_written() {
    let built = policy(
        r#"
        [[pools]]
        name = "openai"
        provider = "openai"
        keys = ["env:OPENAI", { secret = "file:/run/spare", id = "spare", name = "Spare", provider = "azure", kind = "token",
                                weight = 3, priority = 1, disabled = true, limits = ["5 requests / 1m"] }]
        strategy = { by = "sticky", lifetime = "30m", busy = 4 }
        cooling = { transient = "5s", ladder = { first = "2s" }, patience = { most = "1d" }, jitter = 100, block_the_only_key = true }
        limits = ["500 requests / 1m"]
        on_exhausted = "wait 30s"
        fallback = "other"
        look_every = "5s"

        [[pools]]
        name = "other"
        keys = { secret = "file:/run/spare" }
        strategy = "random"
        on_exhausted = "best_effort"
        "#,
    )
    .build(secrets)
    .unwrap();
    let pool = &built.pools[0];
    assert_eq!((pool.name(), pool.len()), ("openai", 4));
    assert_eq!(pool.fallback().map(|pool| pool.name()), Some("other"));
    assert_eq!(
        (pool.cooling().transient.to_string(), pool.cooling().ladder.first.to_string()),
        ("5s".into(), "2s".into())
    );
    assert!(pool.cooling().block_the_only_key && pool.cooling().jitter == 100);
    let keys = pool.keys();
    assert_eq!(keys[2].secret().expose(), "sk-canary-three-3333");
    assert_eq!((keys[0].of_provider(), keys[0].member().weight), (Some("openai"), 1));
    let spare = &keys[3];
    assert_eq!((spare.id().as_str(), spare.called(), spare.of_provider()), ("spare", Some("Spare"), Some("azure")));
    assert_eq!((spare.of_kind(), spare.member().weight, spare.member().priority), (Some("token"), 3, 1));
    assert!(!spare.is_enabled());
    let limits: Vec<String> = pool.unadopted().iter().map(ToString::to_string).collect();
    assert_eq!(limits, ["unlimited requests per 1m by upstream"]);
    assert!(!format!("{built:?}").contains("canary"), "{built:?}");
}

/// A pool that falls back to one that is listed later was built without it.
#[test]
fn pools_may_fall_back_to_pools_that_are_listed_later() {
    let mut text = String::new();
    for (name, fallback) in [("a", "fallback = \"b\""), ("b", "fallback = \"c\""), ("c", "")] {
        text.push_str(&format!("[[pools]]\nname = \"{name}\"\nkeys = \"env:OPENAI\"\n{fallback}\n"));
    }
    let built = policy(&text).build(secrets).unwrap();
    let names: Vec<&str> = built.pools.iter().map(|pool| pool.name()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let last = built.pools[0].fallback().and_then(|pool| pool.fallback());
    assert_eq!(last.map(|pool| pool.name()), Some("c"));
}

#[test]
fn every_secret_that_cannot_be_had_is_named_by_its_reference() {
    let problems = policy(
        r#"
        [[pools]]
        name = "a"
        keys = ["name:nowhere", "name:empty", { secret = "env:OPENAI", id = "one" }, "name:spaced", "name:masked"]
        [[pools]]
        name = "b"
        keys = "name:elsewhere"
        "#,
    )
    .build(secrets)
    .unwrap_err();
    let found = pairs(&problems);
    let found: Vec<(&str, &str)> = found.iter().map(|(field, value)| (field.as_str(), value.as_str())).collect();
    assert_eq!(
        found,
        [
            ("pools[0].keys[0]", "name:nowhere"),
            ("pools[0].keys[1]", "name:empty"),
            ("pools[0].keys[2]", "env:OPENAI"),
            ("pools[0].keys[3]", "name:spaced"),
            ("pools[0].keys[4]", "name:masked"),
            ("pools[1].keys[0]", "name:elsewhere"),
        ]
    );
    assert!(!format!("{problems} {problems:?}").contains("canary"), "{problems}");
}

#[test]
fn one_key_behind_two_references_is_refused_unless_they_are_merged() {
    let twice = r#"
        [[pools]]
        name = "a"
        keys = ["name:one", "name:same"]
    "#;
    let same = |_: &Reference| Ok(Secret::new("sk-canary-55555"));
    let problems = policy(twice).build(same).unwrap_err();
    assert_eq!(pairs(&problems)[0].0, "pools[0].keys");
    assert!(!problems.to_string().contains("canary"), "{problems}");
    assert_eq!(policy(&format!("{twice}\ntwice = \"merged\"")).build(same).unwrap().pools[0].len(), 1);
}

#[test]
fn references_read_the_environment_and_files() {
    let folder = std::env::temp_dir().join(format!("keyward-policy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("keys");
    std::fs::write(&path, "sk-canary-1, sk-canary-2\n").unwrap();
    let read = |text: String| text.parse::<Reference>().unwrap().read();
    assert_eq!(read(format!("file:{}", path.display())).unwrap().expose(), "sk-canary-1, sk-canary-2\n");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    for text in
        [format!("file:{}", path.display()), "file:/no/such/file".into(), "env:KEYWARD_NO_SUCH".into(), "name:x".into()]
    {
        let error = read(text.clone()).unwrap_err();
        assert_eq!(
            (error.field(), error.value().map(|value| text.starts_with(value.trim_end_matches('…')))),
            (Some("reference"), Some(true))
        );
    }
    // Cargo sets it for every test.
    assert_eq!(read("env:CARGO_PKG_NAME".into()).unwrap().expose(), "keyward");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn prices_make_a_book() {
    let built = policy(
        r#"
        price_fallbacks = { cache_read = "plain", cache_write_1h = "twice_plain" }
        [[prices]]
        model = "gpt-x-*"
        provider = "openai"
        input = "$2.50"
        output = 10
        each_request = "0.01"
        extras = { web_searches = "10000" }
        longest_prompt = 200_000
        [[prices]]
        model = "gpt-x-1"
        class = "batch"
        from = 2026-01-01
        input = "1.25 per million"
        [[prices]]
        model = "local"
        free = true
        "#,
    )
    .build(secrets)
    .unwrap();
    let book = built.prices.unwrap();
    let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    let cost = |model: Model<'_>, usage: &Usage| book.cost(model, now, usage).unwrap();
    let usage = Usage::new().requests(1).input(1_000_000 / 10).cache_read(100_000).output(0).extra("web_searches", 2);
    let expected = Usd::cents(25 + 25 + 1 + 2);
    assert_eq!(cost(Model::named("gpt-x-9").of("openai"), &usage).usd(), Some(expected));
    let batch = Model::named("gpt-x-1").class("batch");
    assert_eq!(cost(batch, &Usage::new().input(1_000_000)).usd(), Some(Usd::cents(125)));
    assert_eq!(book.cost(batch, Timestamp::EPOCH, &Usage::new().input(1)).unwrap().usd(), None);
    assert_eq!(cost(Model::named("local"), &Usage::new().input(9)).usd(), Some(Usd::ZERO));
    let unknown = cost(Model::named("unknown"), &Usage::new().input(9));
    assert_eq!(unknown.unpriced().map(|unpriced| unpriced.why), Some(Why::NoPrice));
    assert!(policy("").build(secrets).unwrap().prices.is_none());
}

/// The builder could say what stands in for a missing price, and a policy could not.
#[test]
fn rates_can_stand_in_for_prices_that_are_missing() {
    let text = r#"
        unpriced = { input = "3", output = "15", each_request = "0.01" }
        [[prices]]
        model = "half"
        input = "1"
        "#;
    let book = policy(text).build(secrets).unwrap().prices.unwrap();
    let cost = |model, usage: Usage| book.cost(Model::named(model), Timestamp::EPOCH, &usage).unwrap().usd();
    assert_eq!(cost("unknown", Usage::new().input(1_000_000).output(1_000_000)), Some(Usd::micros(18_010_000)));
    assert_eq!(cost("half", Usage::new().input(1_000_000).output(1_000_000)), Some(Usd::dollars(16)));
    // Without a single price, all goes by what stands in.
    let only = policy("unpriced = { input = \"3\" }").build(secrets).unwrap().prices.unwrap();
    assert_eq!(
        only.cost(Model::named("any"), Timestamp::EPOCH, &Usage::new().input(1)).unwrap().usd(),
        Some(Usd::micros(3))
    );
    let changes = policy(text).diff(&policy("unpriced = \"flag\"")).unwrap().to_string();
    assert!(changes.contains("prices: unpriced input "), "{changes}");
}

#[test]
fn a_key_can_be_for_someone() {
    let text = |scope: &str| format!("[[pools]]\nname = \"a\"\nkeys = {{ secret = \"file:/run/spare\", {scope} }}");
    let built = policy(&text("scope = \"repo\", scope_id = \"r-1\"")).build(secrets).unwrap();
    let scope = built.pools[0].keys()[0].of_scope().cloned().unwrap();
    assert_eq!((scope.name.as_str(), scope.id.as_deref()), ("repo", Some("r-1")));
    let changes =
        policy(&text("scope = \"repo\"")).diff(&policy(&text("scope = \"repo\", scope_id = \"r-1\""))).unwrap();
    assert_eq!(changes.to_string(), "key file:/run/spare of a: scope repo becomes repo r-1; what is known of it stays");
}

#[test]
fn a_policy_goes_through_json_and_back_unchanged() {
    let written = policy(
        r#"
        measures = ["pages"]
        dimensions = ["key", "team"]
        unpriced = "flag"
        price_fallbacks = "plain"
        limits = ["60 requests / 1m by key", { limit = "5 pages / 30d", anchor = 2026-01-15, when = { team = "red" },
                   alert_at_percent = 80, weights = { output = 1000 }, soft = false }]
        [[pools]]
        name = "a"
        keys = ["env:OPENAI", { secret = "file:/run/spare", id = "spare", weight = 3 }]
        strategy = { by = "round_robin", in_a_row = 2 }
        cooling = { transient = "5s" }
        [[prices]]
        model = "m"
        input = "1"
        "#,
    );
    let json = serde_json::to_string(&written).unwrap();
    let again: Policy = serde_json::from_str(&json).unwrap();
    assert!(again == written, "{json}");
    assert!(!json.contains("null"), "{json}");
    assert!(written.diff(&again).unwrap().is_empty());
    assert_eq!(again.check().unwrap_or_else(|problems| panic!("{problems}")), []);
}

#[test]
fn what_is_built_counts_and_chooses() {
    let built = policy(
        r#"
        limits = ["2 requests / day by key", "10 USD / 30d by team"]
        [[pools]]
        name = "a"
        keys = "env:OPENAI"
        limits = ["1 requests / day"]
        "#,
    )
    .build(secrets)
    .unwrap();
    let (store, now) = (MemoryStore::new(), Timestamp::EPOCH);
    let terms = Terms::adopt_compiled(&store, built.limits, Adopt::Start, now).unwrap();
    let names: Vec<&str> = terms.iter().map(|term| term.limit().id().as_str()).collect();
    assert_eq!(names, ["requests per day at 00:00 UTC by key", "usd per 30d by team"]);
    let mut chosen = Vec::new();
    for call in 0..4 {
        match built.pools[0].acquire(&store, &Facts::default(), &OpId::at(now, call), now).unwrap() {
            Acquired::Granted(key) => chosen.push(key.secret().expose().to_owned()),
            other => assert!(call == 3, "each of three keys may be used once a day: {other:?}"),
        }
    }
    assert_eq!(chosen, ["sk-canary-one-11111", "sk-canary-two-22222", "sk-canary-three-3333"]);
}

/// Any JSON where a policy's parts belong.
fn anything() -> impl Strategy<Value = Value> {
    const WORDS: [&str; 16] = [
        "a",
        "env:OPENAI",
        "name:spaced",
        "file:/run/spare",
        "name:masked",
        "env:A",
        "random",
        "sticky",
        "weighted",
        "best_effort",
        "wait 5s",
        "5s",
        "2.50",
        "2026-01-01",
        "5 requests / 1m",
        "plain",
    ];
    let leaf = prop_oneof![
        6 => (0..WORDS.len()).prop_map(|at| Value::from(WORDS[at])),
        1 => (-2..5_i64).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    const FIELDS: [&str; 24] = [
        "name",
        "keys",
        "secret",
        "id",
        "weight",
        "strategy",
        "by",
        "in_a_row",
        "lifetime",
        "cooling",
        "ladder",
        "first",
        "limits",
        "fallback",
        "on_exhausted",
        "twice",
        "model",
        "input",
        "from",
        "extras",
        "pools",
        "prices",
        "price_fallbacks",
        "unpriced",
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map((0..FIELDS.len()).prop_map(|at| FIELDS[at].to_owned()), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_pools_and_no_prices_panic_or_tell_a_secret(pools in anything(), prices in anything(), more in anything()) {
        for written in [json!({"pools": [pools]}), json!({"prices": [prices]}), json!({"price_fallbacks": more}), more.clone()] {
            let Ok(policy) = serde_json::from_value::<Policy>(written) else { continue };
            match policy.build(secrets) {
                Ok(built) => {
                    let shown = format!("{built:?}");
                    prop_assert!(policy.check().is_ok() && !shown.contains("canary"), "{}", shown);
                }
                Err(problems) => {
                    let shown = format!("{problems} {problems:?}");
                    prop_assert!(!shown.contains("canary"), "{}", shown);
                }
            }
        }
    }
}
