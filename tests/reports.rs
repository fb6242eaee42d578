//! Reports: what was used, by key, dimension, tag and time, in one pass over the ledger.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

mod host;

use std::collections::BTreeMap;
use std::sync::Arc;

use host::*;
use keyward::account::Context;
use keyward::clients::{self, MemoryClients};
use keyward::limit::Own;
use keyward::plan::{Ask, Plan, Ready, Report, Take, Used};
use keyward::pool;
use keyward::quota::KeyPatch;
use keyward::reports::{Activity, Group, Groups, Line, PerMinute, activity, client_rows, group, upstreams};
use keyward::store::{Filter, Store, Sum, sums};
use keyward::window::{Calendar, Unit, Zone};
use keyward::{Cap, Class, KeyId, Length, Limit, MemoryStore, OpId, Subject, Timestamp, Usage, Usd};
use proptest::prelude::*;

const DAY: i64 = 86_400;

/// One call as the ledger knows it.
#[derive(Clone, Debug)]
struct Call {
    second: i64,
    client: Option<String>,
    key: Option<String>,
    model: String,
    task: Option<String>,
    usage: Usage,
    outcome: Class,
}

impl Call {
    fn new(second: i64, client: &str, usage: Usage) -> Self {
        let (client, key) = (Some(client.to_owned()), Some("up1".to_owned()));
        Self { second, client, key, model: "small".to_owned(), task: None, usage, outcome: Class::Success }
    }

    fn write(&self, store: &impl Store) {
        let id = |name: &Option<String>| name.as_ref().map(|name| name.parse::<KeyId>().unwrap());
        let client = self.client.as_deref().map(|client| ("key", client));
        let mut plan = Plan::new(at(self.second));
        plan.used = Some(Used { usage: self.usage.clone(), outcome: Some(self.outcome) });
        plan.context = Some(Arc::new(Context {
            subject: Subject::of(client.into_iter().chain([("model", self.model.as_str())])).unwrap(),
            tags: self.task.iter().map(|task| ("task".to_owned(), task.clone())).collect(),
            client: id(&self.client),
            key: id(&self.key),
            estimate: Usage::new(),
        }));
        let _ = store.apply(&plan, at(self.second)).unwrap();
    }
}

fn write(calls: &[Call]) -> MemoryStore {
    let store = MemoryStore::new();
    calls.iter().for_each(|call| call.write(&store));
    store
}

fn key(name: &str) -> Option<KeyId> {
    Some(name.parse().unwrap())
}

fn all() -> Filter {
    Filter::default()
}

#[test]
fn a_client_key_has_today_all_time_and_the_last_five_minutes() {
    let now = 10 * DAY + 3_600;
    let tokens = |n: u64| Usage::new().input(n).cache_read(2 * n).cache_write_5m(n).output(n).usd(Usd::cents(1));
    let store = write(&[
        Call::new(DAY, "alice", tokens(100)),
        Call::new(10 * DAY - 1, "alice", tokens(10)),
        Call::new(10 * DAY, "alice", tokens(10)),
        Call::new(now - 300, "alice", tokens(10)),
        Call::new(now - 299, "alice", tokens(10)),
        Call::new(now, "alice", tokens(10)),
        Call::new(now, "bob", tokens(1)),
        Call { client: None, ..Call::new(now, "", tokens(1)) },
    ]);
    let found = activity(&store, &all(), Zone::UTC, at(now)).unwrap();
    let Activity { today, total, recent, .. } = found[&key("alice")];
    let numbers = |sum: Sum| (sum.requests, sum.tokens, sum.usd);
    let cents = |n: u32| i128::from(Usd::cents(n).as_nanos());
    assert_eq!(numbers(total), (6, 750, cents(6)));
    assert_eq!(numbers(today), (4, 200, cents(4)));
    assert_eq!(numbers(recent), (2, 100, cents(2)));
    assert_eq!(found[&key("alice")].requests_per_minute().to_string(), "0.4");
    assert_eq!(found[&key("alice")].tokens_per_minute(), PerMinute(200), "caches included");
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), [None, key("alice"), key("bob")]);
    let east = activity(&store, &all(), "+14:00".parse().unwrap(), at(now)).unwrap();
    assert_eq!(east[&key("alice")].today.requests, 5, "a day begins where the zone says");
}

#[test]
fn the_row_of_a_key_says_who_it_is_what_it_spent_and_where_its_budget_stands() {
    let (kept, store) = (MemoryClients::new(), MemoryStore::new());
    let limits = [Limit::usd(Usd::dollars(10)).per_month().by("key"), Limit::requests(60).per_minute().by("key")];
    let host = Host::new(store, limits, 0);
    let own = Own { cap: Some(Cap::At(Usd::dollars(1).into())), ..Own::default() };
    let limits = BTreeMap::from([(host.term(0).limit().id().clone(), Some(own))]);
    let patch = KeyPatch {
        name: Some("Alice".into()),
        expires: Some(Some(at(99))),
        limits: Some(limits),
        ..KeyPatch::default()
    };
    let (made, _) = clients::create(&kept, key("alice"), "kw", &patch).unwrap();
    clients::create(&kept, key("bob"), "kw", &KeyPatch::default()).unwrap();
    host.call("a", &[("key", "alice")], &Usage::new().tokens(70).usd(Usd::cents(25)), 1);

    let found = activity(&host.store, &all(), Zone::UTC, at(2)).unwrap();
    let rows = client_rows(&kept, &host.store, &found, ("key", Some(host.term(0))), (None, 10), at(2)).unwrap();
    let [alice, bob] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((alice.id.as_str(), alice.name.as_str(), alice.expires), ("alice", "Alice", Some(at(99))));
    assert_eq!((&alice.masked, alice.activity.total.tokens), (&made.masked, 70));
    assert_eq!(alice.activity.total.usd, i128::from(Usd::cents(25).as_nanos()));
    assert_eq!(alice.budget.as_ref().unwrap().status.used_ppm, 250_000, "by its own amount");
    assert_eq!((bob.activity, bob.budget.as_ref().unwrap().status.used_ppm), (Activity::default(), 0));
    let rows = client_rows(&kept, &host.store, &found, ("key", None), (key("alice").as_ref(), 10), at(2)).unwrap();
    assert_eq!((rows.len(), rows[0].id.as_str(), &rows[0].budget), (1, "bob", &None));
    let error = client_rows(&kept, &host.store, &found, ("Key", Some(host.term(0))), (None, 10), at(2)).unwrap_err();
    assert_eq!(error.field(), Some("dimension"));
}

#[test]
fn an_upstream_key_has_uses_limits_cost_tokens_and_tasks() {
    let call = |key: &str, task: Option<&str>, outcome| Call {
        key: Some(key.to_owned()),
        task: task.map(str::to_owned),
        outcome,
        ..Call::new(1, "alice", Usage::new().tokens(10).usd(Usd::cents(1)))
    };
    let store = write(&[
        call("up1", Some("t1"), Class::Success),
        call("up1", Some("t1"), Class::RateLimited),
        call("up1", Some("t2"), Class::Success),
        call("up1", None, Class::Success),
        call("up2", Some("t1"), Class::Transient),
        Call { key: None, ..call("", Some("t9"), Class::Success) },
    ]);
    let account = |key: &KeyId| Some(subject("upstream", key.as_str()));
    let found = upstreams(&store, &all(), "task", account).unwrap();
    let one = &found[&key("up1")];
    assert_eq!((one.uses, one.limited, one.tasks, one.sum.tokens), (4, 1, 2, 40));
    assert_eq!(one.sum.usd, i128::from(Usd::cents(4).as_nanos()));
    assert_eq!((found[&key("up2")].uses, found[&key("up2")].limited, found[&key("up2")].tasks), (1, 0, 1));
    assert_eq!((found[&None].uses, found[&None].tasks), (1, 1));

    // Where the key's health is kept, that has counted what the ledger does not know: calls that used nothing.
    let mut plan = Plan::new(at(2)).named(subject("upstream", "up1")).of(OpId::at(at(2), 1));
    plan.picks.push(keyward::plan::Pick {
        alternatives: vec![keyward::plan::Alternative {
            ready: [Ready { account: 0, probe: Length::MINUTE, firm: keyward::plan::Firm::Hard }].into_iter().collect(),
            ..Default::default()
        }],
    });
    let _ = store.apply(&plan, at(2)).unwrap();
    let found = upstreams(&store, &all(), "task", account).unwrap();
    assert_eq!((found[&key("up1")].uses, found[&key("up1")].limited), (1, 0));
    assert!(matches!(store.account(&subject("upstream", "up1")).unwrap().unwrap().meters[0].counter,
        keyward::account::Counter::Health(ref health) if **health != pool::Health::default()));
}

#[test]
fn groups_are_told_apart_by_any_dimension_tag_key_and_time() {
    let call = |second, client: &str, model: &str, n| Call {
        model: model.to_owned(),
        task: (n % 2 == 0).then(|| "even".to_owned()),
        ..Call::new(second, client, Usage::new().tokens(n))
    };
    let store = write(&[
        call(1, "a", "x", 1),
        call(2, "a", "y", 2),
        call(DAY, "a", "x", 4),
        call(DAY, "b", "x", 8),
        Call { client: None, ..call(DAY, "", "x", 16) },
    ]);
    let lines = |by: &[Group]| -> Vec<(String, i128)> {
        let words = |line: &Line| line.by.iter().map(|value| value.clone().unwrap_or("-".into())).collect::<Vec<_>>();
        group(&store, &all(), by).unwrap().iter().map(|line| (words(line).join(" "), line.sum.tokens)).collect()
    };
    let pairs = |of: &[(&str, i128)]| of.iter().map(|(by, n)| ((*by).to_owned(), *n)).collect::<Vec<_>>();
    let day = || Group::Time(Calendar::of(Unit::Day).into());
    assert_eq!(lines(&[]), pairs(&[("", 31)]));
    assert_eq!(lines(&[Group::Client]), pairs(&[("-", 16), ("a", 7), ("b", 8)]));
    assert_eq!(lines(&[Group::Dimension("model".into())]), pairs(&[("x", 29), ("y", 2)]));
    assert_eq!(lines(&[Group::Tag("task".into())]), pairs(&[("-", 1), ("even", 30)]));
    assert_eq!(lines(&[Group::Key, Group::Dimension("nobody".into())]), pairs(&[("up1 -", 31)]));
    let days = [("1970-01-01T00:00:00Z a", 3), ("1970-01-02T00:00:00Z -", 16)];
    assert_eq!(lines(&[day(), Group::Client])[..2], pairs(&days));
}

#[test]
fn filters_go_by_any_dimension_and_by_time() {
    let store = write(&[
        Call::new(1, "a", Usage::new().tokens(1)),
        Call { model: "large".into(), ..Call::new(2, "a", Usage::new().tokens(2)) },
        Call { task: Some("t".into()), ..Call::new(3, "b", Usage::new().tokens(4)) },
    ]);
    let tokens = |edit: &dyn Fn(&mut Filter)| {
        let mut filter = all();
        edit(&mut filter);
        group(&store, &filter, &[]).unwrap().iter().map(|line| line.sum.tokens).sum::<i128>()
    };
    assert_eq!(tokens(&|filter| filter.dimension = Some(("model".into(), "large".into()))), 2);
    assert_eq!(tokens(&|filter| filter.dimension = Some(("key".into(), "a".into()))), 3);
    assert_eq!(tokens(&|filter| filter.tag = Some(("task".into(), "t".into()))), 4);
    assert_eq!(tokens(&|filter| (filter.from, filter.until) = (Some(at(2)), Some(at(3)))), 2);
    assert_eq!(tokens(&|filter| filter.client = key("b")), 4);
    assert_eq!(tokens(&|filter| filter.key = key("up2")), 0);
}

/// A call that turned out dearer than it had settled was counted as two calls.
#[test]
fn more_of_one_call_is_no_other_call() {
    let host = Host::new(MemoryStore::new(), [Limit::tokens(100).per_day().by("key")], 0);
    host.call("a", &[("key", "alice")], &Usage::new().tokens(10), 1);
    let more = [(host.term(0).meter(), units(5))].into_iter().collect();
    let mut plan = Plan::new(at(2)).of(host::host("a")).report(Report::Record { more });
    plan.used = Some(Used { usage: Usage::new().tokens(5), outcome: None });
    let _ = host.store.apply(&plan, at(2)).unwrap();
    let sum = group(&host.store, &all(), &[]).unwrap()[0].sum;
    assert_eq!((sum.rows, sum.requests, sum.tokens), (2, 1, 15));
}

/// A hold expired and was charged at its estimate; when the call was settled after all, its cost was in the report twice.
#[test]
fn a_late_settle_takes_the_place_of_the_estimate() {
    let host = Host::new(MemoryStore::new(), [Limit::usd(Usd::dollars(9)).per_day().by("key")], 0);
    host.hold("a", &[("key", "alice")], &Usage::new().tokens(100).usd(Usd::cents(50)), 1);
    while host.store.sweep(at(1_000), 10).unwrap() >= 10 {}
    let found = |second| activity(&host.store, &all(), Zone::UTC, at(second)).unwrap()[&key("alice")].total;
    let sum = found(1_000);
    assert_eq!((sum.requests, sum.tokens, sum.usd), (1, 100, i128::from(Usd::cents(50).as_nanos())));
    host.settle("a", &Usage::new().tokens(30).usd(Usd::cents(20)), 1_001);
    let sum = found(1_001);
    assert_eq!((sum.requests, sum.tokens, sum.usd), (1, 30, i128::from(Usd::cents(20).as_nanos())));
    host.is_proved(1_002);
}

#[test]
fn a_charge_without_a_hold_is_reported_too() {
    let host = Host::new(MemoryStore::new(), [Limit::tokens(100).per_day()], 0);
    let rule = host.term(0).rule(&Own::default(), at(1));
    let take = Take { account: 0, rule, ask: Ask::Exact(units(7)), act: keyward::plan::Act::Charge };
    let mut plan = Plan::new(at(1)).named(Subject::everyone()).under(host::host("a")).take(take);
    plan.used = Some(Used { usage: Usage::new().tokens(7), outcome: None });
    for _ in 0..3 {
        let _ = host.store.apply(&plan, at(1)).unwrap();
    }
    assert_eq!(group(&host.store, &all(), &[]).unwrap()[0].sum.tokens, 7, "once for its operation");
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = (0..3 * DAY, 0..3_u8, 0..3_u8, 0..2_u8, 0..1_000_u64, 0..100_u32);
    let call = call.prop_map(|(second, client, key, model, tokens, cents)| Call {
        second,
        client: (client > 0).then(|| format!("c{client}")),
        key: (key > 0).then(|| format!("u{key}")),
        model: format!("m{model}"),
        task: (tokens % 3 > 0).then(|| format!("t{}", tokens % 7)),
        usage: Usage::new().tokens(tokens).usd(Usd::cents(cents)),
        outcome: Class::Success,
    });
    proptest::collection::vec(call, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// However rows are told apart, they add up to the same; and each group is what a filter for it finds.
    #[test]
    fn groups_partition_the_ledger(calls in calls()) {
        let store = write(&calls);
        let whole = sums(&store, &all()).unwrap();
        for by in [
            vec![Group::Client],
            vec![Group::Key, Group::Client],
            vec![Group::Dimension("model".into()), Group::Tag("task".into())],
            vec![Group::Time(Calendar::of(Unit::Day).into())],
        ] {
            let lines = group(&store, &all(), &by).unwrap();
            prop_assert_eq!(lines.iter().map(|line| line.sum.tokens).sum::<i128>(), whole.tokens);
            prop_assert_eq!(lines.iter().map(|line| line.sum.usd).sum::<i128>(), whole.usd);
            prop_assert_eq!(lines.iter().map(|line| line.sum.rows).sum::<u64>(), whole.rows);
            prop_assert!(lines.windows(2).all(|pair| pair[0].by < pair[1].by));
        }
        let by_client = activity(&store, &all(), Zone::UTC, at(3 * DAY)).unwrap();
        for (client, activity) in by_client.iter().filter_map(|(key, activity)| Some((key.clone()?, activity))) {
            let mut filter = all();
            filter.client = Some(client);
            prop_assert_eq!(sums(&store, &filter).unwrap(), activity.total);
        }
        let by_key = upstreams(&store, &all(), "task", |_| None).unwrap();
        prop_assert_eq!(by_key.values().map(|upstream| upstream.uses).sum::<u64>(), calls.len() as u64);
    }

    /// Rows that are fed by hand, in any number of pages, come to the same.
    #[test]
    fn a_driver_may_feed_rows_by_hand(calls in calls(), most in 1_usize..20) {
        let store = write(&calls);
        let by = [Group::Client, Group::Dimension("model".into())];
        let (mut groups, mut after) = (Groups::new(&by), 0);
        loop {
            let page = store.rows(&all(), after, most).unwrap();
            page.iter().for_each(|(_, row)| groups.add(row));
            let Some((last, _)) = page.last() else { break };
            after = *last;
        }
        prop_assert_eq!(groups.lines(), group(&store, &all(), &by).unwrap());
    }
}

#[test]
fn an_empty_ledger_has_nothing_to_say() {
    let store = MemoryStore::new();
    assert_eq!(group(&store, &all(), &[Group::Client]).unwrap(), []);
    assert!(activity(&store, &all(), Zone::UTC, Timestamp::MIN).unwrap().is_empty());
    assert!(upstreams(&store, &all(), "task", |_| None).unwrap().is_empty());
}
