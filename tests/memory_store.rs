//! What the memory store promises: that it decides as any other store does, exactly, under threads, within its bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[path = "memory_store/counting.rs"]
mod counting;
#[path = "memory_store/plain.rs"]
mod plain;
#[path = "memory_store/plans.rs"]
mod plans;
#[path = "common/tables.rs"]
mod tables;

use keyward::account::MeterId;
use keyward::plan::{Plan, Report, Verdict};
use keyward::store::{Filter, PartsOf, verify};
use keyward::{Amount, MemoryStore, OpId, Store, Subject, Timestamp};
use proptest::prelude::*;
use tables::{TableStore, Tables};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// What both say of everything they keep. What the store has dropped, the tables drop too.
fn compare(store: &MemoryStore, tables: &mut Tables, now: Timestamp) {
    let accounts = store.accounts(None, 1_000).unwrap();
    let epoch = tables.counters.epoch;
    tables.accounts.retain(|subject, account| {
        let kept = accounts.iter().any(|(known, _)| known == subject);
        assert!(kept || account.is_idle(now, epoch), "{subject} was dropped: {account:?}");
        kept
    });
    for (subject, account) in &accounts {
        let expected = tables.accounts.get(subject).cloned().unwrap_or_default();
        assert_eq!(*account, expected, "{subject}");
    }
    let rows: Vec<_> = store.rows(&Filter::default(), 0, 10_000).unwrap().into_iter().map(|(_, row)| row).collect();
    assert_eq!(rows, tables.rows.values().cloned().collect::<Vec<_>>());
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
        let tables = TableStore::default();
        for (now, mut plan) in steps {
            let now = at(now);
            if shards % 2 == 0 {
                for place in &mut plan.accounts {
                    place.hint = if now.as_secs() % 3 == 0 { store.resolve(&place.subject) } else { 1 << 32 | 1 };
                }
            }
            let verdict = store.apply(&plan, now).unwrap();
            prop_assert_eq!(&verdict, &tables.apply(&plan, now).unwrap(), "{:?}", plan);
            tables.lock().forget_what_permits_know();
            compare(&store, &mut tables.lock(), now);
        }
        let end = at(BEGAN + 100_000);
        while store.sweep(end, 7).unwrap() == 7 {}
        prop_assert_eq!(store.parts(&PartsOf::Open, None, 10).unwrap(), vec![]);
        prop_assert_eq!(verify(&store, end).unwrap(), vec![]);
    }
}

fn op(n: u128) -> OpId {
    OpId::at(at(BEGAN), n)
}

fn granted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Granted(_))
}

#[test]
fn threads_that_meet_on_one_budget_admit_exactly_its_amount() {
    let (store, now) = (MemoryStore::new(), at(BEGAN));
    let (alice, everyone) = (plain::subject("alice"), Subject::everyone());
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u128)
            .map(|thread| {
                let (store, alice, everyone) = (&store, &alice, &everyone);
                scope.spawn(move || {
                    let mut admitted = 0;
                    for n in 0..500 {
                        let id = op(thread * 1_000 + n);
                        // Every other thread names its accounts the other way round.
                        let (first, second) = if thread % 2 == 0 { (alice, everyone) } else { (everyone, alice) };
                        let plan = Plan::new(now).named(first.clone()).named(second.clone()).of(id.clone());
                        let plan = plan.take(plain::hold(0, plain::budget(1, 900), 1));
                        let plan = plan.take(plain::hold(1, plain::budget(1, 900), 1));
                        if granted(&store.apply(&plan, now).unwrap()) {
                            admitted += 1;
                            if n % 3 == 0 {
                                let settled = store.apply(&plain::settle(alice, id, now), now).unwrap();
                                assert!(granted(&settled));
                            }
                        }
                    }
                    admitted
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 900);
    for subject in [&alice, &everyone] {
        let account = store.account(subject).unwrap().unwrap();
        assert_eq!(account.meters[0].total(), 900);
    }
    assert_eq!(verify(&store, now).unwrap(), vec![]);
    assert_eq!(verify(&store, at(BEGAN + 10_000)).unwrap(), vec![]);
    assert_eq!(store.account(&alice).unwrap().unwrap().meters[0].spent(now).get(), 900);
}

trait Total {
    fn total(&self) -> i64;
}

impl Total for keyward::account::Meter {
    fn total(&self) -> i64 {
        self.spent(at(BEGAN)).get() + self.held().get()
    }
}

#[test]
fn a_store_that_is_full_says_so_and_has_changed_nothing() {
    let store = MemoryStore::builder().shards(2).accounts(3).build().unwrap();
    let now = at(BEGAN);
    let charge = |name: &str| {
        let plan = Plan::new(now).named(plain::subject(name)).named(plain::subject("a"));
        plan.take(plain::charge(0, plain::budget(1, 10), 1)).take(plain::charge(1, plain::budget(1, 10), 1))
    };
    for name in ["b", "c"] {
        assert!(granted(&store.apply(&charge(name), now).unwrap()));
    }
    let before = store.snapshot();
    let error = store.apply(&charge("d"), now).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert_eq!(error.to_string(), "the store is full: 3 accounts, none of them idle");
    assert_eq!(store.resolve(&plain::subject("d")), 0);
    assert_eq!(store.snapshot(), before);
    assert!(granted(&store.apply(&charge("c"), now).unwrap()), "who is known is served");
    assert_eq!(store.len(), 3);
}

#[test]
fn idle_accounts_make_room_for_new_ones_and_live_ones_do_not() {
    let store = MemoryStore::builder().shards(4).accounts(100).build().unwrap();
    let charge = |name: &str, rule, now| Plan::new(now).named(plain::subject(name)).take(plain::charge(0, rule, 1));
    let live = charge("live", plain::budget(1, 10), at(BEGAN));
    assert!(granted(&store.apply(&live, at(BEGAN)).unwrap()));
    for n in 0..2_000 {
        // Each subject counts for two minutes at the most, in which sixty others come.
        let now = at(BEGAN + n * 2);
        assert!(granted(&store.apply(&charge(&format!("k{n}"), plain::sliding(2, 5), now), now).unwrap()), "{n}");
        assert!(store.len() <= 100);
    }
    let live = store.account(&plain::subject("live")).unwrap().unwrap();
    assert_eq!(live.meters[0].spent(at(BEGAN)).get(), 1);
}

/// A store with a cap on accounts, and slots for each subject, was full for good once so many subjects had come: what never
/// ends was never idle, although all slots were free again.
#[test]
fn slots_that_are_free_again_and_budgets_that_nobody_used_make_room_too() {
    let store = MemoryStore::builder().shards(4).accounts(100).build().unwrap();
    let slots = keyward::account::Rule { audit: keyward::account::Audit::None, ..plain::budget(1, 3) };
    let of = |n: u128, now| Plan::new(now).named(plain::subject(&format!("k{n}"))).of(op(n));
    for n in 0..2_000_u128 {
        let now = at(BEGAN);
        let acquire = of(n, now).take(plain::hold(0, slots, 1)).take(plain::hold(0, plain::budget(2, 9), 4));
        assert!(granted(&store.apply(&acquire, now).unwrap()), "{n}");
        let free = Report::Settle {
            account: None,
            actual: [1, 2].map(|meter| (MeterId(meter), Amount::ZERO)).into_iter().collect(),
        };
        let report = if n % 2 == 0 { free } else { Report::Release { account: None } };
        assert!(granted(&store.apply(&of(n, now).report(report), now).unwrap()), "{n}");
        assert!(store.len() <= 100);
    }
    assert_eq!(verify(&store, at(BEGAN)).unwrap(), vec![]);
    // What is spent is kept, and so is a later generation: an older process would begin the first one again.
    for (name, rule) in [("spent", plain::budget(2, 9)), ("newer", keyward::account::Rule { generation: 1, ..slots })] {
        let taken = Plan::new(at(BEGAN)).named(plain::subject(name)).of(OpId::host(name).unwrap());
        assert!(granted(&store.apply(&taken.clone().take(plain::hold(0, rule, 1)), at(BEGAN)).unwrap()));
        let end = if name == "spent" {
            Report::Settle { account: None, actual: Default::default() }
        } else {
            Report::Release { account: None }
        };
        assert!(granted(&store.apply(&taken.report(end), at(BEGAN)).unwrap()));
        let account = store.account(&plain::subject(name)).unwrap().unwrap();
        assert!(!account.is_idle(at(BEGAN + 1_000_000_000), 0), "{account:?}");
    }
}

/// What a lifetime's budget held was given back, its account dropped, and what was used told only then.
#[test]
fn a_lifetime_that_was_dropped_counts_what_is_settled_late() {
    let (store, now) = (MemoryStore::builder().shards(1).build().unwrap(), at(BEGAN));
    let of = |name: &str| Plan::new(now).named(plain::subject(name)).of(OpId::host(name).unwrap());
    let acquire = |name: &str| of(name).take(plain::hold(0, plain::budget(2, 9), 4));
    assert!(granted(&store.apply(&acquire("late"), now).unwrap()));
    assert!(granted(&store.apply(&of("late").report(Report::Release { account: None }), now).unwrap()));
    for n in 0..20 {
        assert!(granted(&store.apply(&acquire(&format!("k{n}")), now).unwrap()));
    }
    assert_eq!(store.account(&plain::subject("late")).unwrap(), None);
    let settle = Report::Settle { account: None, actual: [(MeterId(2), Amount::new(7))].into_iter().collect() };
    assert!(granted(&store.apply(&of("late").report(settle), now).unwrap()));
    let more = Plan::new(now).named(plain::subject("late")).take(plain::charge(0, plain::budget(2, 9), 3));
    assert!(matches!(store.apply(&more, now).unwrap(), Verdict::Denied(_)), "7 + 3 > 9");
    assert_eq!(verify(&store, now).unwrap(), vec![]);
}

#[test]
fn a_hint_is_good_whatever_became_of_the_account() {
    let store = MemoryStore::builder().shards(1).accounts(3).build().unwrap();
    let (alice, now) = (plain::subject("alice"), at(BEGAN));
    let hint = store.resolve(&alice);
    assert_ne!(hint, 0);
    assert_eq!(store.resolve(&alice), hint);
    let charge = |subject: &Subject, hint, now| {
        let mut plan = Plan::new(now).named(subject.clone()).take(plain::charge(0, plain::sliding(1, 100), 1));
        plan.accounts[0].hint = hint;
        assert!(granted(&store.apply(&plan, now).unwrap()));
    };
    charge(&alice, hint, now);
    // Alice goes, and others take her place.
    let forget = Plan::new(now).named(alice.clone()).report(Report::Forget { account: 0 });
    assert!(granted(&store.apply(&forget, now).unwrap()));
    let bob = plain::subject("bob");
    charge(&bob, hint, now);
    charge(&alice, hint, now);
    for wrong in [hint + 1, hint << 1, u64::MAX, 1, 1 << 32 | u64::from(u32::MAX)] {
        charge(&alice, wrong, now);
    }
    let spent = |of: &Subject| store.account(of).unwrap().unwrap().meters[0].spent(now).get();
    assert_eq!((spent(&alice), spent(&bob)), (6, 1));
}

#[test]
fn twenty_thousand_open_holds_end_in_any_order() {
    let (store, now) = (MemoryStore::new(), at(BEGAN));
    let alice = plain::subject("alice");
    let lives = [900, 60, 3_600];
    for n in 0..20_000_u32 {
        let mut plan = plain::three(&alice, op(n.into()), now);
        plan.life = plans::seconds(lives[n as usize % 3]);
        assert!(granted(&store.apply(&plan, now).unwrap()));
    }
    assert_eq!(store.account(&alice).unwrap().unwrap().open, 20_000);
    // Every fourth is settled, in another order than they came.
    for n in (0..5_000_u128).map(|n| n * 7 % 5_000 * 4) {
        assert!(granted(&store.apply(&plain::settle(&alice, op(n), now), now).unwrap()));
    }
    assert_eq!(store.account(&alice).unwrap().unwrap().open, 15_000);
    assert_eq!(store.sweep(at(BEGAN + 59), 100_000).unwrap(), 0);
    assert_eq!(store.sweep(at(BEGAN + 60), 100).unwrap(), 100);
    assert_eq!(store.sweep(at(BEGAN + 60), 100_000).unwrap(), 4_900);
    assert_eq!(verify(&store, at(BEGAN + 900)).unwrap(), vec![]);
    assert_eq!(store.account(&alice).unwrap().unwrap().open, 5_000);
    assert_eq!(verify(&store, at(BEGAN + 3_600)).unwrap(), vec![]);
    assert_eq!(store.account(&alice).unwrap().unwrap().open, 0);
    assert_eq!(store.parts(&PartsOf::Open, None, 10).unwrap(), vec![]);
}

#[test]
fn rows_that_leave_the_ring_are_proved_by_their_totals() {
    let store = MemoryStore::builder().rows(10).build().unwrap();
    let (alice, now) = (plain::subject("alice"), at(BEGAN));
    for n in 0..50_u32 {
        let plan = Plan::new(now).named(alice.clone()).take(plain::charge(0, plain::budget(1, 2_000), n));
        assert!(granted(&store.apply(&plan, now).unwrap()));
    }
    let rows = store.rows(&Filter::default(), 0, 100).unwrap();
    assert_eq!((rows.len(), rows[0].0, rows[9].0), (10, 40, 49), "the first charge was of nothing");
    assert_eq!(store.rows(&Filter::default(), 45, 2).unwrap(), rows[6..8]);
    let sum: u32 = (0..40).sum();
    assert_eq!(store.totals().unwrap().iter().map(|total| total.spent).collect::<Vec<_>>(), [i64::from(sum)]);
    assert_eq!(verify(&store, now).unwrap(), vec![]);
    assert_eq!(store.compact(now).unwrap(), 0);
    assert_eq!(store.compact(at(BEGAN + 1)).unwrap(), 10);
    assert_eq!(store.rows(&Filter::default(), 0, 100).unwrap(), vec![]);
    assert_eq!(verify(&store, now).unwrap(), vec![]);
}

#[test]
fn an_answer_is_given_again_until_its_horizon_or_until_there_are_too_many() {
    let store = MemoryStore::builder().shards(1).answers(4).build().unwrap();
    let (alice, now) = (plain::subject("alice"), at(BEGAN));
    let host = |n: u32| OpId::host(&format!("host-{n}")).unwrap();
    let charge = |n: u32, now| {
        let plan = Plan::new(now).named(alice.clone()).under(host(n));
        store.apply(&plan.take(plain::charge(0, plain::budget(1, 1_000), 1)), now).unwrap()
    };
    let spent = || store.account(&alice).unwrap().unwrap().meters[0].spent(now).get();
    let first = charge(0, now);
    assert_eq!(charge(0, now), first);
    assert_eq!(spent(), 1);
    for n in 1..5 {
        assert!(granted(&charge(n, now)));
    }
    assert_eq!(charge(4, now), charge(4, now));
    assert_eq!(spent(), 5);
    assert_ne!(charge(0, now), first, "four came since");
    assert_eq!(spent(), 6);
    let next_day = at(BEGAN + 86_400);
    for n in 10..14 {
        assert!(granted(&charge(n, next_day)));
    }
    assert!(granted(&charge(4, next_day)));
    assert_eq!(spent(), 11);
    assert_eq!(store.snapshot().kept.len(), 4);
}

#[cfg(feature = "serde")]
#[test]
fn a_snapshot_goes_on_where_the_store_was() {
    let (store, now) = (MemoryStore::builder().rows(5).build().unwrap(), at(BEGAN));
    let adopt =
        Report::Adopt { limit: "usd".parse().unwrap(), schedule: "30d".into(), how: keyward::plan::Adopt::Start };
    assert!(granted(&store.apply(&Plan::new(now).report(adopt), now).unwrap()));
    for n in 0..40_u32 {
        let id = if n % 2 == 0 { op(n.into()) } else { OpId::host(&format!("host-{n}")).unwrap() };
        let subject = plain::subject(&format!("k{}", n % 7));
        let plan = Plan::new(now).named(subject.clone()).under(id.clone());
        let plan =
            plan.take(plain::hold(0, plain::budget(1, 1_000), n)).take(plain::hold(0, plain::sliding(2, 1_000), 1));
        assert!(granted(&store.apply(&plan, now).unwrap()));
        if n % 4 < 2 {
            assert!(granted(&store.apply(&plain::settle(&subject, id, now), now).unwrap()));
        }
    }
    let text = serde_json::to_string(&store.snapshot()).unwrap();
    let again = MemoryStore::builder().shards(4).rows(5).restore(serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(again.snapshot(), store.snapshot());
    for store in [&store, &again] {
        let settled = plain::settle(&plain::subject("k3"), OpId::host("host-3").unwrap(), now);
        assert!(granted(&store.apply(&settled, now).unwrap()));
        assert!(granted(&store.apply(&settled, now).unwrap()), "the same again is no conflict");
        assert_eq!(verify(store, at(BEGAN + 10_000)).unwrap(), vec![]);
    }
    // The sweeps went through the shards in another order, so that rows are in another.
    let (a, b) = (again.snapshot(), store.snapshot());
    assert_eq!((a.accounts, a.parts, a.kept, a.last_row), (b.accounts, b.parts, b.kept, b.last_row));
    assert!(MemoryStore::builder().accounts(3).restore(store.snapshot()).unwrap_err().is_store());
}

#[test]
fn a_builder_names_the_field_that_is_wrong() {
    let field = |builder: keyward::store::memory::Builder| builder.build().unwrap_err().field().map(str::to_owned);
    assert_eq!(field(MemoryStore::builder().shards(0)).as_deref(), Some("shards"));
    assert_eq!(field(MemoryStore::builder().shards(2_048)).as_deref(), Some("shards"));
    assert_eq!(field(MemoryStore::builder().accounts(0)).as_deref(), Some("accounts"));
    assert_eq!(field(MemoryStore::builder().rows(0)).as_deref(), Some("rows"));
    assert_eq!(field(MemoryStore::builder().answers(usize::MAX)).as_deref(), Some("answers"));
}

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// A rival needed 251 allocations for the same.
#[test]
fn a_known_subject_is_served_without_an_allocation() {
    let shapes: [(&str, u16, u32); 5] = [
        ("three limits of one subject", 1, 3),
        ("eight limits of one subject", 1, 8),
        ("eight limits of three subjects", 3, 8),
        ("eight limits of eight subjects", 8, 8),
        ("one limit of one subject", 1, 1),
    ];
    for (shape, of_each, limits) in shapes {
        let (store, now) = (MemoryStore::new(), at(BEGAN));
        let subjects: Vec<Subject> = (0..100).map(|n| plain::subject(&format!("k{n}"))).collect();
        let plans: Vec<(Plan, Plan)> = (0..2_000)
            .map(|n: usize| {
                let id = op(n as u128);
                let named = |plan: Plan| {
                    (0..of_each).fold(plan, |plan, m| plan.named(subjects[(n + 7 * m as usize) % 100].clone()))
                };
                let plan = (0..limits).fold(named(Plan::new(now).of(id.clone())), |plan, meter| {
                    let account = u16::try_from(meter).unwrap() % of_each;
                    plan.take(plain::hold(account, plain::sliding(meter + 1, 1_000_000), 1))
                });
                let settle = Report::Settle { account: None, actual: Default::default() };
                (plan, named(Plan::new(now).of(id)).report(settle))
            })
            .collect();
        let serve = |plans: &[(Plan, Plan)]| {
            for (acquire, settle) in plans {
                assert!(granted(&store.apply(acquire, now).unwrap()));
                assert!(granted(&store.apply(settle, now).unwrap()));
            }
        };
        serve(&plans[..1_000]);
        let before = counting::calls();
        serve(&plans[1_000..]);
        assert_eq!(counting::calls() - before, 0, "{shape}");
    }
}

#[test]
fn a_million_subjects_seen_once_give_their_memory_back() {
    let store = MemoryStore::new();
    let empty = counting::live();
    let many = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let charge = |name: String, now| {
        let plan = Plan::new(now).named(plain::subject(&name)).take(plain::charge(0, plain::sliding(1, 5), 1));
        assert!(granted(&store.apply(&plan, now).unwrap()));
    };
    for n in 0..many {
        charge(format!("seen-once-{n}"), at(BEGAN));
    }
    let full = counting::live() - empty;
    for n in 0..many {
        charge(format!("seen-later-{}", n % 1_000), at(BEGAN + 1_000 + n));
    }
    // Those who come later are known after the first round, and only one who is new looks for idle ones.
    for n in 0..many / 2 + 10_000 {
        charge(format!("new-{n}"), at(BEGAN + 2_000_000 + n * 100));
    }
    let left = counting::live() - empty;
    println!("{} subjects: {} bytes each; {} left, {left} bytes in all", many, full / many, store.len());
    assert!(store.len() < 1_000, "{}", store.len());
    assert!(left < full / 10, "{left} of {full}");
}
