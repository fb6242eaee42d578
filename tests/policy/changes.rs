//! What would change if one policy took the place of another.

use keyward::account::{Act, Ask};
use keyward::limit::Own;
use keyward::plan::{Adopt, Plan, Take, Verdict};
use keyward::policy::{Changes, Effect, Kind, Of, Policy, Reference};
use keyward::terms::Terms;
use keyward::{Amount, MemoryStore, Store, Subject, Timestamp};

use super::policy;

fn changes(old: &str, new: &str) -> Changes {
    policy(old).diff(&policy(new)).unwrap_or_else(|problems| panic!("{problems}"))
}

fn lines(old: &str, new: &str) -> Vec<String> {
    changes(old, new).iter().map(ToString::to_string).collect()
}

#[test]
fn an_amount_keeps_the_count_and_a_length_starts_anew() {
    let found = changes(
        r#"limits = ["60 requests / 1m by key", "10 USD / 30d named team", "5 tokens / 1h"]"#,
        r#"limits = ["unlimited requests / 1m by key", "10 USD / 7d named team", "5 tokens / 2h"]"#,
    );
    let found: Vec<_> = found.iter().map(|change| (change.of, change.kind, change.field, change.effect)).collect();
    assert_eq!(
        found,
        [
            (Of::Limit, Kind::Edited, Some("amount"), Effect::Kept),
            (Of::Limit, Kind::Edited, Some("window"), Effect::Fresh),
            (Of::Limit, Kind::Edited, Some("window"), Effect::Fresh),
        ]
    );
}

/// aigetwey compared texts: `24h` -> `1day` reset the spend of a budget whose length had not changed.
#[test]
fn one_length_spelt_otherwise_is_no_change() {
    let old = r#"limits = ["10 USD / 24h by key", "60 requests / 60s", "7 tokens / weekly"]"#;
    let new = r#"limits = ["7 tokens / 7d", "60 requests / 1m", { measure = "usd", amount = "10.00", window = "1day", by = ["key"] }]"#;
    assert_eq!(lines(old, new), Vec::<String>::new());
    assert_eq!(changes(old, new).to_string(), "");
}

#[test]
fn limits_come_and_go() {
    assert_eq!(
        lines(
            r#"limits = ["60 requests / 1m by key", "5 tokens / 1h", "6 tokens / 1d"]"#,
            r#"limits = ["60 requests / 1m by team", "5 tokens / 2h", "6 tokens / 2d"]"#
        ),
        [
            "limit requests per 1m by team: added, 60 requests per 1m by team",
            "limit tokens per 2h: added, 5 tokens per 2h",
            "limit tokens per 2d: added, 6 tokens per 2d",
            "limit requests per 1m by key: removed, 60 requests per 1m by key",
            "limit tokens per 1h: removed, 5 tokens per 1h",
            "limit tokens per 1d: removed, 6 tokens per 1d",
        ],
        "which of two became which of two nobody can tell"
    );
}

#[test]
fn every_setting_of_a_limit_is_seen() {
    let with = |more: &str| format!("limits = [{{ limit = \"5 tokens / month named n\"{more} }}]");
    for (more, field) in [
        (", by = \"key\"", "by"),
        (", when = { a = \"b\" }", "when"),
        (", soft = true", "soft"),
        (", assume = 3", "assume"),
        (", on_expiry = \"charge\"", "on_expiry"),
        (", audit = \"rows\"", "audit"),
        (", weights = { output = 2000 }", "weights"),
        (", alert_at_percent = 80", "alert_at_percent"),
        (", relaxed = true", "relaxed"),
        (", when_down = \"50%\"", "when_down"),
        (", note = \"x\"", "note"),
        (", zone = \"+01:00\"", "window"),
        (", day = 3", "window"),
    ] {
        let found = changes(&with(""), &with(more));
        assert_eq!(found.iter().filter_map(|change| change.field).collect::<Vec<_>>(), [field], "{found}");
        assert_eq!(changes(&with(more), &with("")).len(), 1, "{more} and back");
    }
    let present = |more: &str| with(&format!(", by = \"key\"{more}"));
    assert_eq!(changes(&present(""), &present(", if_present = true")).iter().next().unwrap().field, Some("if_present"));
    for (old, new, field) in [
        ("5 requests / 1m burst 3", "5 requests / 1m burst 4", "burst"),
        ("5 requests / 30d named n", "5 tokens / 30d named n", "measure"),
    ] {
        let found = changes(&format!("limits = [\"{old}\"]"), &format!("limits = [\"{new}\"]"));
        assert!(found.iter().any(|change| change.field == Some(field)), "{found}");
    }
    let anchored = |more: &str| format!("limits = [{{ limit = \"5 tokens / 30d\"{more} }}]");
    assert_eq!(
        lines(&anchored(""), &anchored(", anchor = 2026-01-01")),
        ["limit tokens per 30d: anchor nothing becomes 2026-01-01T00:00:00Z"]
    );
    let credits = |more: &str| format!("limits = [{{ shape = \"credits\", amount = 5{more} }}]");
    let refill = ", refill = { amount = 1, every = \"day\", policy = \"set\" }";
    let found = changes(&credits(""), &credits(refill));
    assert_eq!(
        found.iter().map(|change| (change.field, change.effect)).collect::<Vec<_>>(),
        [(Some("refill"), Effect::NewBalances)]
    );
}

#[test]
fn keys_come_go_move_and_are_edited() {
    let old = r#"
        [[pools]]
        name = "openai"
        keys = ["env:A", "env:B", { secret = "env:C", id = "c" }]
        [[pools]]
        name = "gone"
        keys = "env:A"
    "#;
    let new = r#"
        [[pools]]
        name = "openai"
        keys = ["env:B", "env:A", { secret = "file:/run/c", id = "c", weight = 2, limits = ["5 requests / 1m"] }, "env:D"]
        strategy = "weighted"
        cooling = { transient = "5s" }
        on_exhausted = "best_effort"
        [[pools]]
        name = "fresh"
        keys = "env:A"
    "#;
    assert_eq!(
        lines(old, new),
        [
            "pool openai: strategy round_robin becomes weighted",
            "pool openai: cooling ladder 1s to 5m, transient 1m, exhausted 2h, model 1h, patience 1s 1m 1w, jitter 0, probe 1m, \
             block_the_only_key false becomes ladder 1s to 5m, transient 5s, exhausted 2h, model 1h, patience 1s 1m 1w, jitter 0, \
             probe 1m, block_the_only_key false",
            "pool openai: on_exhausted refuse becomes best_effort",
            "key c of openai: secret env:C becomes file:/run/c; what is known of it stays",
            "key c of openai: weight 1 becomes 2; what is known of it stays",
            "key c of openai: limits nothing becomes 5 requests per 1m; what is known of it stays",
            "key env:D of openai: added, env:D",
            "pool openai: order env:A, env:B, c becomes env:B, env:A, c; what is known of its keys stays",
            "pool fresh: added, env:A",
            "pool gone: removed, env:A",
        ]
    );
    assert_eq!(changes(new, old).len(), 10, "and back");
}

#[test]
fn prices_come_go_and_are_edited() {
    let old = "[[prices]]\nmodel = \"a\"\ninput = \"1\"\n[[prices]]\nmodel = \"b\"\nfree = true";
    let new = "unpriced = \"flag\"\n[[prices]]\nmodel = \"a\"\ninput = \"1.5\"\n[[prices]]\nmodel = \"a\"\nprovider = \"p\"\nfrom = 2026-01-01\ninput = \"1\"";
    let free = "input $0.00 per million, cache_read $0.00 per million, cache_write_5m $0.00 per million, \
                cache_write_1h $0.00 per million, output $0.00 per million";
    assert_eq!(
        lines(old, new),
        [
            "price a: rates input $1.00 per million becomes input $1.50 per million".to_owned(),
            "price a of p, from 2026-01-01T00:00:00Z: added, input $1.00 per million".to_owned(),
            format!("price b: removed, {free}"),
            "prices: unpriced refuse becomes flag".to_owned(),
        ]
    );
}

#[test]
fn changes_are_data_too() {
    let found = changes(r#"limits = ["60 requests / 1m"]"#, r#"limits = ["90 requests / 1m"]"#);
    assert_eq!(
        serde_json::to_value(&found).unwrap(),
        serde_json::json!([{
            "of": "limit", "name": "requests per 1m", "kind": "edited", "field": "amount",
            "before": "60 requests", "after": "90 requests", "effect": "kept"
        }])
    );
}

#[test]
fn a_policy_that_is_wrong_has_no_changes_but_problems() {
    let (good, bad) = (policy(r#"limits = ["60 requests / 1m"]"#), policy(r#"limits = ["60 requests / 0m"]"#));
    assert!(good.diff(&bad).is_err() && bad.diff(&good).is_err() && good.diff(&good).unwrap().is_empty());
}

/// What is said beforehand is what a store does when the change comes: three of five are used, and three more are asked for.
#[test]
fn a_store_does_what_was_said_beforehand() {
    let start = "5 requests / 30d named n";
    for (old, new) in [
        (start, "4 requests / 30d named n"),
        (start, "5 tokens / 30d named n"),
        (start, "5 requests / 30d when team=red named n"),
        (start, "5 requests / 7d named n"),
        (start, "5 requests / month named n"),
        (start, "5 requests / 1h named n"),
        ("5 requests / month named n", "5 requests / month @ +01:00 named n"),
        ("5 requests / 1h burst 5 named n", "5 requests / 1h burst 4 named n"),
        ("5 requests / 1h named n", "5 requests / 1h rolling 6 named n"),
    ] {
        let [old, new] = [old, new].map(|text| policy(&format!("limits = [\"{text}\"]")));
        let said = old.diff(&new).unwrap();
        let fresh = said.iter().any(|change| change.effect == Effect::Fresh);
        let (store, now): (_, Timestamp) = (MemoryStore::new(), "2026-03-15T12:00:00Z".parse().unwrap());
        let charge = |policy: &Policy, how: Adopt| {
            let limits = policy.build(Reference::read).unwrap().limits;
            let terms = Terms::adopt_compiled(&store, limits, how, now).unwrap();
            let rule = terms.iter().next().unwrap().rule(&Own::default(), now);
            let take = Take { account: 0, rule, ask: Ask::Exact(Amount::new(3)), act: Act::Charge };
            store.apply(&Plan::new(now).named(Subject::everyone()).take(take), now).unwrap()
        };
        assert!(matches!(charge(&old, Adopt::Start), Verdict::Granted(_)));
        assert_eq!(matches!(charge(&new, Adopt::Change), Verdict::Granted(_)), fresh, "{said}");
    }
}
