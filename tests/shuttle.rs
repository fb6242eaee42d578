//! Thousands of orders in which threads may meet in the memory store: none of them stops, and every sum is exact.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --test shuttle`
#![cfg(shuttle)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "memory_store/plain.rs"]
#[allow(dead_code)]
mod plain;

use std::sync::Arc;

use keyward::account::{Kind, Row, RowEntry};
use keyward::plan::{Plan, Report, Verdict};
use keyward::store::{Filter, verify};
use keyward::{Length, MemoryStore, OpId, Store, Timestamp};
use shuttle::thread;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn schedules(test: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(test, 3_000);
}

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::builder().shards(4).build().unwrap())
}

fn op(n: u128) -> OpId {
    OpId::at(NOW, n)
}

fn both(first: &str, second: &str, n: u128) -> Plan {
    let mut plan = Plan::new(NOW).named(plain::subject(first)).named(plain::subject(second)).of(op(n));
    plan.life = Length::SECOND;
    plan.take(plain::hold(0, plain::budget(1, 3), 1)).take(plain::hold(1, plain::budget(1, 3), 1))
}

fn total(store: &MemoryStore, name: &str) -> i64 {
    let account = store.account(&plain::subject(name)).unwrap();
    account.map_or(0, |account| account.meters.iter().map(|it| it.held().get() + it.spent(NOW).get()).sum())
}

#[test]
fn two_accounts_in_opposite_order_lock_nobody_out_and_admit_exactly() {
    schedules(|| {
        let store = store();
        let admit = |store: Arc<MemoryStore>, (first, second): (&'static str, &'static str), from| {
            thread::spawn(move || {
                let granted = |n| matches!(store.apply(&both(first, second, n), NOW).unwrap(), Verdict::Granted(_));
                (from..from + 2).filter(|n| granted(*n)).count()
            })
        };
        let a = admit(Arc::clone(&store), ("a", "b"), 0);
        let b = admit(Arc::clone(&store), ("b", "a"), 10);
        assert_eq!(a.join().unwrap() + b.join().unwrap(), 3);
        assert_eq!((total(&store, "a"), total(&store, "b")), (3, 3));
        assert_eq!(verify(&*store, NOW).unwrap(), vec![]);
    });
}

#[test]
fn a_hold_that_two_settle_is_booked_once() {
    schedules(|| {
        let store = store();
        assert!(matches!(store.apply(&both("a", "b", 1), NOW).unwrap(), Verdict::Granted(_)));
        let settle = |store: Arc<MemoryStore>, of: &'static str| {
            thread::spawn(move || {
                // Neither names the other's account: both find it by the operation.
                let settle = plain::settle(&plain::subject(of), op(1), NOW);
                assert!(matches!(store.apply(&settle, NOW).unwrap(), Verdict::Granted(_)));
            })
        };
        let (one, other) = (settle(Arc::clone(&store), "a"), settle(Arc::clone(&store), "b"));
        one.join().unwrap();
        other.join().unwrap();
        assert_eq!((total(&store, "a"), total(&store, "b")), (1, 1));
        assert_eq!(verify(&*store, NOW).unwrap(), vec![]);
    });
}

#[test]
fn acquiring_expiring_and_forgetting_at_once_leave_nothing_open() {
    schedules(|| {
        let store = store();
        let host = OpId::host("request-1").unwrap();
        let mut first = both("a", "b", 1);
        first.hold = Some(host);
        assert!(matches!(store.apply(&first, NOW).unwrap(), Verdict::Granted(_)));
        let later = NOW.saturating_add(Length::SECOND);
        let on = |run: fn(&MemoryStore, Timestamp)| {
            let store = Arc::clone(&store);
            thread::spawn(move || run(&store, later))
        };
        let sweeping = {
            let store = Arc::clone(&store);
            thread::spawn(move || store.sweep(later, 10).unwrap())
        };
        let threads = [
            on(|store, _| drop(store.apply(&both("b", "c", 2), NOW).unwrap())),
            on(|store, later| {
                let forget = Plan::new(later).named(plain::subject("a")).report(Report::Forget { account: 0 });
                drop(store.apply(&forget, later).unwrap());
            }),
        ];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Two parts of each operation are due, and each is ended once: by a sweep, or, in the account that is forgotten, by
        // the plan that forgets it, whichever comes first.
        let swept = sweeping.join().unwrap() + store.sweep(later, 10).unwrap();
        assert!((3..=4).contains(&swept), "{swept}");
        let rows = store.rows(&Filter::default(), 0, 100).unwrap();
        let ended = |row: &Row| matches!(&row.entry, RowEntry::Meter(row) if row.kind == Kind::Expire);
        assert_eq!(rows.iter().filter(|(_, row)| ended(row)).count(), 4, "{rows:?}");
        assert_eq!(verify(&*store, later).unwrap(), vec![]);
        assert_eq!((total(&store, "a"), total(&store, "b"), total(&store, "c")), (0, 2, 1));
    });
}
