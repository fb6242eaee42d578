//! The gates of a client's key: one path, one order, and what each refusal is called.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use keyward::quota::{Answer, Caller, Cause, ClientKey, Gate, KeyPatch, Own, Refusal, Retry, Table};
use keyward::{Amount, Cap, Length, Limit, Secret, Timestamp, Usd, When};
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds).unwrap()
}

fn key() -> ClientKey {
    ClientKey::of("alice".parse().unwrap(), &Secret::new("kw_0123456789abcdefghijklmnopqrst"))
}

fn patch(json: &str) -> KeyPatch {
    serde_json::from_str(json).unwrap()
}

fn patched(json: &str) -> ClientKey {
    let mut key = key();
    patch(json).apply(&mut key).unwrap();
    key
}

/// A key with every rule there is.
fn strict() -> ClientKey {
    patched(
        r#"{"not_before": "1970-01-01T00:00:10Z", "expires": "1970-01-01T00:00:20Z", "models": ["small"],
            "client_types": ["cli"], "deny": ["10.0.0.13"], "allow": ["10.0.0.0/8"]}"#,
    )
}

fn caller() -> Caller<'static> {
    Caller::new().address("10.0.0.1".parse().unwrap()).client_type("cli").model("small")
}

#[test]
fn the_first_gate_that_is_shut_is_the_one_that_is_named() {
    let (mut key, mut call) = (strict(), Caller::new());
    key.enabled = false;
    assert_eq!(key.check(&call, at(5)), Gate::Shut(Cause::Disabled));
    key.enabled = true;
    assert_eq!(key.check(&call, at(5)), Gate::Shut(Cause::NotYetValid));
    assert_eq!(key.check(&call, at(21)), Gate::Shut(Cause::Expired));
    assert_eq!(key.check(&call, at(15)), Gate::Shut(Cause::Address));
    call = call.address("10.0.0.13".parse().unwrap());
    assert_eq!(key.check(&call, at(15)), Gate::Shut(Cause::Address));
    call = call.address("::ffff:10.0.0.12".parse().unwrap());
    assert_eq!(key.check(&call, at(15)), Gate::Shut(Cause::ClientType));
    call = call.client_type("cli");
    assert_eq!(key.check(&call, at(15)), Gate::Shut(Cause::Model));
    assert_eq!(key.check(&call.model("large"), at(15)), Gate::Shut(Cause::Model));
    assert_eq!(key.check(&call.model(" small "), at(15)), Gate::Open);
}

#[test]
fn the_instant_of_expiry_itself_is_valid() {
    let key = strict();
    let last = Timestamp::from_micros(20_000_000);
    assert_eq!(key.check(&caller(), at(10)), Gate::Open);
    assert_eq!(key.check(&caller(), last), Gate::Open);
    assert_eq!(key.check(&caller(), Timestamp::from_micros(20_000_001)), Gate::Shut(Cause::Expired));
}

#[test]
fn another_kind_of_client_may_go_to_a_pool_of_its_own_but_not_to_another_model() {
    let key = patched(r#"{"client_types": ["cli"], "fallback_pool": " shared ", "models": ["small"]}"#);
    assert_eq!(key.check(&caller().client_type("web"), at(0)), Gate::Elsewhere("shared".to_owned()));
    assert_eq!(key.check(&Caller::new().model("small"), at(0)), Gate::Elsewhere("shared".to_owned()));
    assert_eq!(key.check(&caller(), at(0)), Gate::Open);
    assert_eq!(key.check(&caller().client_type("web").model("large"), at(0)), Gate::Shut(Cause::Model));
}

#[test]
fn a_caller_is_told_no_more_than_it_may_know() {
    let reply = Table::default().reply(&[Refusal::new(Cause::Address)], at(0)).unwrap();
    assert_eq!(
        (reply.status, &*reply.code, Cause::Address.to_string().as_str()),
        (403, "access_denied", "access denied")
    );
}

/// sub2api: a key that a person had disabled was enabled again by the reset of its quota, or by a later expiry.
#[test]
fn what_is_extended_or_raised_reactivates_nothing_else() {
    let mut key = strict();
    key.enabled = false;
    for json in
        [r#"{"expires": null}"#, r#"{"expires": 0}"#, r#"{"expires": "2030-01-01T00:00:00Z"}"#, r#"{"limits": {}}"#]
    {
        patch(json).apply(&mut key).unwrap();
        assert_eq!(key.check(&caller(), at(30)), Gate::Shut(Cause::Disabled), "{json}");
    }
    patch(r#"{"enabled": true}"#).apply(&mut key).unwrap();
    assert_eq!(key.check(&caller(), at(30)), Gate::Open);
    let mut expired = strict();
    patch(r#"{"enabled": true}"#).apply(&mut expired).unwrap();
    assert_eq!(expired.check(&caller(), at(30)), Gate::Shut(Cause::Expired), "enabling extends nothing");
}

#[test]
fn a_patch_keeps_what_is_absent_and_clears_what_is_null_empty_or_zero() {
    let full = patched(
        r#"{"name": " Alice ", "not_before": "1970-01-01T00:00:10Z", "expires": "1970-01-01T00:00:20Z",
            "models": [" small ", "", "small"], "client_types": ["cli"], "fallback_pool": "p", "deny": ["10.0.0.13"],
            "allow": ["10.0.0.0/8", " "], "limits": {"calls": {"cap": {"at": 5}}}, "tags": {"plan": "free"}}"#,
    );
    assert_eq!((full.name.as_str(), full.models.as_slice()), ("Alice", &["small".to_owned()][..]));
    assert_eq!(full.limits[&"calls".parse().unwrap()].cap, Some(Cap::At(Amount::new(5))));
    let mut same = full.clone();
    patch("{}").apply(&mut same).unwrap();
    assert_eq!(same, full);
    for value in ["null", "[]", "0", "\"\"", "{}"] {
        for (field, kinds) in [
            ("name", "null \"\""),
            ("not_before", "null 0"),
            ("expires", "null 0"),
            ("models", "null []"),
            ("client_types", "null []"),
            ("fallback_pool", "null \"\""),
            ("deny", "null []"),
            ("allow", "null []"),
            ("limits", "null {}"),
            ("tags", "null {}"),
        ] {
            if !kinds.split(' ').any(|kind| kind == value) {
                continue;
            }
            let mut cleared = full.clone();
            patch(&format!("{{\"{field}\": {value}}}")).apply(&mut cleared).unwrap();
            let json = |key: &ClientKey| serde_json::to_value(key).unwrap();
            let (cleared, fresh, full) = (json(&cleared), json(&key()), json(&full));
            for (name, kept) in full.as_object().unwrap() {
                match name.as_str() {
                    "addresses" if field == "deny" || field == "allow" => {
                        assert_eq!(cleared[name][field], fresh[name][field], "{field}: {value}");
                    }
                    name if name == field => assert_eq!(cleared[name], fresh[name], "{field}: {value}"),
                    name => assert_eq!(&cleared[name], kept, "{field}: {value}"),
                }
            }
        }
    }
}

#[test]
fn single_entries_of_a_map_are_changed_alone() {
    let mut key =
        patched(r#"{"tags": {"plan": "free", "team": "red"}, "limits": {"a": {}, "b": {"cap": "unlimited"}}}"#);
    patch(r#"{"tags": {"plan": null, "seat": "7"}, "limits": {"a": null}}"#).apply(&mut key).unwrap();
    let tags: Vec<_> = key.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(tags, [("seat", "7"), ("team", "red")]);
    let own = Own { cap: Some(Cap::Unlimited), ..Own::default() };
    assert_eq!(key.limits.into_iter().collect::<Vec<_>>(), [("b".parse().unwrap(), own)]);
}

#[test]
fn a_wrong_entry_is_refused_by_its_place_when_it_is_saved() {
    for (json, field) in [
        (r#"{"deny": ["10.0.0.0/8", "10.0.0.256"]}"#, "key.deny[1]"),
        (r#"{"allow": ["", "example.com"]}"#, "key.allow[1]"),
        (r#"{"models": ["a", "b\u0007"]}"#, "key.models[1]"),
        (r#"{"name": "a\nb"}"#, "key.name"),
        (r#"{"tags": {"a": "b\n\u0000c"}}"#, "key.tags.a"),
        (r#"{"tags": {" ": "b"}}"#, "key.tags"),
        (r#"{"not_before": 20, "expires": 10}"#, "key.expires"),
    ] {
        let mut key = strict();
        assert_eq!(patch(json).apply(&mut key).unwrap_err().field(), Some(field), "{json}");
        assert_eq!(key, strict(), "nothing is changed");
    }
    let long = KeyPatch { name: Some("x".repeat(201)), ..KeyPatch::default() };
    assert_eq!(long.apply(&mut key()).unwrap_err().field(), Some("key.name"));
}

#[test]
fn a_record_is_read_as_it_was_written_and_never_says_the_secret() {
    let key = strict();
    let text = serde_json::to_string(&key).unwrap();
    assert_eq!(serde_json::from_str::<ClientKey>(&text).unwrap(), key);
    for shown in [text, format!("{key:?}")] {
        assert!(!shown.contains("0123456789") && shown.contains("kw_0…qrst"), "{shown}");
    }
}

#[test]
fn the_table_is_that_of_the_semantics() {
    let limits = [
        (Limit::usd(Usd::dollars(1)).per_day(), 402, "budget_exceeded"),
        (Limit::usd(Usd::dollars(1)).per_minute(), 402, "budget_exceeded"),
        (Limit::usd(Usd::dollars(1)).lifetime(), 429, "insufficient_quota"),
        (Limit::tokens(1).lifetime(), 429, "insufficient_quota"),
        (Limit::credits(1), 429, "insufficient_quota"),
        (Limit::requests(1).per_day(), 429, "rate_limit_exceeded"),
        (Limit::tokens(1).per_minute(), 429, "rate_limit_exceeded"),
        (Limit::custom("pages", 1).per_minute(), 429, "rate_limit_exceeded"),
        (Limit::slots(1), 429, "too_many_concurrent_requests"),
    ];
    for (limit, status, code) in limits {
        let limit = limit.compile().unwrap();
        let reply = Table::default().reply(&[Refusal::new(limit.cause()).by(limit.id().clone())], at(0)).unwrap();
        assert_eq!((reply.status, &*reply.code), (status, code), "{limit}");
    }
    let statuses: Vec<u16> = Cause::ALL.iter().map(|cause| cause.answer().status).collect();
    assert_eq!(statuses, [401, 401, 403, 403, 403, 403, 403, 429, 402, 429, 429, 429, 503, 503, 503]);
}

#[test]
fn a_limit_may_be_answered_in_its_own_way() {
    let teapot = Answer { status: 418, code: "short_and_stout".into(), retry: Retry::After(Length::MINUTE) };
    let table = Table::default().limit("tea".parse().unwrap(), teapot.clone()).cause(Cause::Budget, teapot.clone());
    let tea = Refusal::new(Cause::Rate).by("tea".parse().unwrap());
    assert_eq!(table.reply(&[tea], at(0)).unwrap().retry_after, Some(60));
    assert_eq!(table.answer(&Refusal::new(Cause::Budget)), teapot);
    assert_eq!(table.answer(&Refusal::new(Cause::Rate)).status, 429);
    let text = serde_json::to_string(&table).unwrap();
    assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), table);
}

/// unkey: Retry-After was wrong in both directions; aigetwey: it was 60 seconds, whatever stood in the way.
#[test]
fn a_caller_is_told_to_come_back_when_all_of_it_passes() {
    let (table, rate) = (Table::default(), |seconds| Refusal::new(Cause::Rate).until(When::At(at(seconds))));
    let slots = Refusal::new(Cause::Slots).until(When::WhenFreed { latest: at(900) });
    let wait = |refusals: &[Refusal]| table.reply(refusals, at(10)).unwrap().retry_after;
    assert_eq!(wait(&[rate(15), rate(42)]), Some(32));
    assert_eq!(wait(std::slice::from_ref(&slots)), Some(1), "a short hint, not the end of the hold");
    assert_eq!(wait(&[slots.clone(), rate(15)]), Some(5));
    assert_eq!(wait(&[rate(10)]), Some(1));
    assert_eq!(wait(&[Refusal::new(Cause::Rate)]), None, "time alone does not lift it");
    assert_eq!(wait(&[Refusal::new(Cause::PoolLimited).until(When::At(at(20))), rate(15)]), Some(10));
}

#[test]
fn of_several_the_one_is_named_that_no_wait_lifts_then_quota_and_budget_then_rates() {
    let refusal = |cause, when| Refusal::new(cause).until(when);
    let (soon, never) = (When::At(at(1)), When::Never);
    let name = |refusals: &[Refusal]| Table::default().reply(refusals, at(0)).unwrap().cause;
    assert_eq!(name(&[refusal(Cause::Rate, soon), refusal(Cause::Budget, soon)]), Cause::Budget);
    assert_eq!(name(&[refusal(Cause::Budget, soon), refusal(Cause::Rate, never)]), Cause::Rate);
    assert_eq!(name(&[refusal(Cause::Rate, never), refusal(Cause::Quota, never)]), Cause::Quota);
    assert_eq!(name(&[refusal(Cause::PoolLimited, soon), refusal(Cause::Slots, soon)]), Cause::Slots);
    assert_eq!(name(&[refusal(Cause::Budget, never), refusal(Cause::Store, never)]), Cause::Store);
    assert_eq!(Table::default().reply(&[], at(0)), None);
}

proptest! {
    /// Where a network lets an address in is the same whichever way either is written.
    #[test]
    fn networks_are_compared_by_their_bits(network: u32, bits in 0_u8..=32, address: u32) {
        let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
        let (v4, in_v4) = (std::net::Ipv4Addr::from(network), std::net::Ipv4Addr::from(address));
        for text in [format!("{v4}/{bits}"), format!("::ffff:{v4}/{}", bits + 96)] {
            let network: keyward::quota::Network = text.parse().unwrap();
            for address in [std::net::IpAddr::from(in_v4), in_v4.to_ipv6_mapped().into()] {
                prop_assert_eq!(network.has(address), u32::from(v4) & mask == u32::from(in_v4) & mask);
            }
            prop_assert!(network.has(v4.into()));
        }
    }

    #[test]
    fn no_text_panics_and_what_is_read_is_printed_as_it_is(text in any::<String>(), dotted in "[0-9a-f.:/]{0,24}") {
        for text in [text, dotted] {
            if let Ok(network) = text.parse::<keyward::quota::Network>() {
                prop_assert_eq!(network.to_string().parse::<keyward::quota::Network>().unwrap(), network);
            }
            let lists = || Some(vec![text.clone(), text.clone()]);
            let (name, pool) = (Some(text.clone()), Some(text.clone()));
            let patch = KeyPatch { name, models: lists(), deny: lists(), fallback_pool: pool, ..KeyPatch::default() };
            let mut key = key();
            match patch.apply(&mut key) {
                Ok(()) => prop_assert!(key.models.len() <= 1 && key.addresses.deny.len() <= 2),
                Err(error) => prop_assert!(error.field().unwrap().starts_with("key."), "{}", error),
            }
            if let Ok(secret) = keyward::quota::secret_in("key", &text) {
                prop_assert_eq!(secret.expose(), text.trim());
            }
        }
    }
}
