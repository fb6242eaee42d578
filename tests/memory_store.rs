//! What the memory store promises: that it decides as any other store does, exactly, under threads, within its bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[path = "memory_store/plans.rs"]
mod plans;
#[path = "memory_store/tables.rs"]
mod tables;

use keyward::account::Account;
use keyward::store::{Filter, PartsOf, verify};
use keyward::{MemoryStore, Store, Timestamp};
use proptest::prelude::*;
use tables::Tables;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// What both say of everything they keep.
fn compare(store: &MemoryStore, tables: &Tables, now: Timestamp) {
    let accounts = store.accounts(None, 1_000).unwrap();
    for (subject, account) in &accounts {
        assert_eq!(Some(account), tables.accounts.get(subject), "{subject}");
    }
    for (subject, account) in &tables.accounts {
        let dropped = !accounts.iter().any(|(known, _)| known == subject);
        assert!(!dropped || account.is_idle(now) || *account == Account::default(), "{subject} was dropped: {account:?}");
    }
    let rows: Vec<_> = store.rows(&Filter::default(), 0, 10_000).unwrap().into_iter().map(|(_, row)| row).collect();
    assert_eq!(rows, tables.rows);
    let open: Vec<_> = tables.parts.values().filter(|part| part.is_open()).cloned().collect();
    assert_eq!(store.parts(&PartsOf::Open, None, 1_000).unwrap(), open);
    for n in 0..12 {
        let op = plans::op(n);
        let known: Vec<_> = tables.parts.values().filter(|part| part.op == op).cloned().collect();
        assert_eq!(store.parts(&PartsOf::Op(op), None, 1_000).unwrap(), known);
    }
    for n in 0..6 {
        let subject = plans::subject(n);
        let known: Vec<_> = tables.parts.values().filter(|part| part.account == subject).cloned().collect();
        assert_eq!(store.parts(&PartsOf::Account(subject), None, 1_000).unwrap(), known);
    }
    assert_eq!(store.limits().unwrap(), tables.limits.values().cloned().collect::<Vec<_>>());
}

const BEGAN: i64 = (1 << 50) / 1_000_000;

fn steps() -> impl Strategy<Value = Vec<(i64, keyward::plan::Plan)>> {
    // Instants first, so that each plan has the windows of its own.
    prop::collection::vec(prop_oneof![6 => 0_i64..4, 2 => 5_i64..50, 1 => 60_i64..200], 1..40).prop_flat_map(|gaps| {
        let mut now = BEGAN;
        let each: Vec<_> = gaps
            .into_iter()
            .map(|gap| {
                now += gap;
                (Just(now), plans::plan(now * 1_000_000))
            })
            .collect();
        each
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_decides_as_a_store_with_plain_tables_does(steps in steps(), shards in 0_u32..4) {
        let store = MemoryStore::builder().shards(1 << shards).build().unwrap();
        let mut tables = Tables::default();
        for (now, mut plan) in steps {
            let now = at(now);
            if shards % 2 == 0 {
                for place in &mut plan.accounts {
                    place.hint = if now.as_secs() % 3 == 0 { store.resolve(&place.subject) } else { 1 << 32 | 1 };
                }
            }
            let verdict = store.apply(&plan, now).unwrap();
            prop_assert_eq!(&verdict, &tables.apply(&plan, now), "{:?}", plan);
            compare_unless_resolved(&store, &tables, now);
        }
        let end = at(BEGAN + 100_000);
        prop_assert_eq!(verify(&store, end).unwrap(), vec![]);
        prop_assert_eq!(store.parts(&PartsOf::Open, None, 10).unwrap(), vec![]);
    }
}

/// An account that was only resolved is there, with nothing in it.
fn compare_unless_resolved(store: &MemoryStore, tables: &Tables, now: Timestamp) {
    let mut tables = tables.clone();
    for (subject, account) in store.accounts(None, 1_000).unwrap() {
        if account == Account::default() {
            tables.accounts.entry(subject).or_default();
        }
    }
    compare(store, &tables, now);
}
