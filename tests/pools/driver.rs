//! Pools over a store: what one process does, what another one sees, and what each policy answers.

use keyward::keys::{Acquired, Answer, Chosen, Command, Facts, Learned, OnExhausted, Pool, Way, Which};
use keyward::plan::{Act, Ask, Firm, Kernel, Plan, Rule, Take};
use keyward::pool::{Cooling, Standing, Strategy};
use keyward::upstream::{Next, Retries};
use keyward::window::Window;
use keyward::*;

use super::kit::*;
use super::{at, id, secs};

#[test]
fn keys_come_one_after_the_other() {
    let (store, pool) = (MemoryStore::new(), pool(3));
    let order: Vec<KeyId> = (0..4).map(|n| take(&pool, &store, n).key().clone()).collect();
    assert_eq!(order, ["k0", "k1", "k2", "k0"].map(id));
    let uses: Vec<u64> = pool.list(&store, &Which::default(), at(9)).unwrap().iter().map(|key| key.uses).collect();
    assert_eq!(uses, [2, 1, 1]);
}

#[test]
fn an_exhausted_pool_says_which_key_can_be_used_first_and_when() {
    let (store, pool) = (MemoryStore::new(), pool(3));
    for (key, seconds) in [("k0", 30), ("k1", 10), ("k2", 20)] {
        assert!(matches!(observe(&pool, &store, key, limited_for(seconds), 0), Standing::Cooling(_)));
    }
    let refused = exhausted(ask(&pool, &store, &ANY, 1));
    assert_eq!((refused.when, refused.key.clone()), (When::At(at(10)), Some(id("k1"))));
    assert!(refused.rate_limited && refused.wait.is_none());
    assert_eq!(refused.to_string(), "no key of pool main can be used now; k1 can at 1970-01-01T00:00:10Z");
    assert_eq!(take(&pool, &store, 10).key(), &id("k1"));
}

#[test]
fn one_key_that_is_refused_is_not_a_rate() {
    let (store, pool) = (MemoryStore::new(), pool(2));
    observe(&pool, &store, "k0", limited_for(30), 0);
    observe(&pool, &store, "k1", Outcome::new(Class::CredentialRefused), 0);
    let refused = exhausted(ask(&pool, &store, &ANY, 1));
    assert_eq!((refused.when, refused.rate_limited), (When::At(at(30)), false));
}

#[test]
fn a_pool_without_keys_never_has_one() {
    let (store, pool) = (MemoryStore::new(), Pool::builder("empty").text(" , ").build().unwrap());
    let refused = exhausted(ask(&pool, &store, &ANY, 1));
    assert_eq!((refused.when, refused.key, refused.rate_limited), (When::Never, None, false));
}

/// All keys were limited, and calls failed although the best of them would have been served.
#[test]
fn best_effort_gives_out_the_key_that_is_ready_first_and_says_so_but_no_refused_one() {
    let store = MemoryStore::new();
    let pool = builder(3).when_exhausted(OnExhausted::BestEffort).build().unwrap();
    observe(&pool, &store, "k0", Outcome::new(Class::CredentialRefused), 0);
    observe(&pool, &store, "k1", limited_for(60), 0);
    observe(&pool, &store, "k2", limited_for(30), 0);
    let best = take(&pool, &store, 1);
    assert_eq!((best.key(), best.is_best_effort()), (&id("k2"), true));
    pool.tell(&store, &id("k2"), &Command::Disable, at(1)).unwrap();
    assert_eq!(take(&pool, &store, 1).key(), &id("k1"));
    pool.tell(&store, &id("k1"), &Command::Disable, at(1)).unwrap();
    assert_eq!(exhausted(ask(&pool, &store, &ANY, 1)).when, When::Never);
    pool.tell(&store, &id("k2"), &Command::Clear, at(2)).unwrap();
    pool.tell(&store, &id("k2"), &Command::Enable, at(2)).unwrap();
    assert!(!take(&pool, &store, 2).is_best_effort());
}

#[test]
fn who_waits_is_told_until_when_unless_that_is_too_long() {
    let store = MemoryStore::new();
    let pool = builder(1).when_exhausted(OnExhausted::Wait(secs(20))).build().unwrap();
    observe(&pool, &store, "k0", limited_for(60), 0);
    assert_eq!(exhausted(ask(&pool, &store, &ANY, 1)).wait, None);
    assert_eq!(exhausted(ask(&pool, &store, &ANY, 40)).wait, Some(at(60)));
    assert_eq!(take(&pool, &store, 60).key(), &id("k0"));
}

#[test]
fn a_fallback_is_asked_when_the_pool_is_exhausted_and_the_earliest_instant_is_over_both() {
    let store = MemoryStore::new();
    let spare = Pool::builder("spare").key(key("spare")).build().unwrap();
    let pool = builder(1).fallback(spare.clone()).build().unwrap();
    observe(&pool, &store, "k0", limited_for(60), 0);
    let from = take(&pool, &store, 1);
    assert_eq!((from.key(), from.pool().name()), (&id("spare"), "spare"));
    observe(&spare, &store, "spare", limited_for(30), 1);
    let refused = exhausted(ask(&pool, &store, &ANY, 2));
    assert_eq!((refused.pool.as_str(), refused.key, refused.when), ("main", Some(id("spare")), When::At(at(31))));
}

#[test]
fn what_another_process_cooled_is_skipped_and_what_it_cleared_is_found() {
    let store = MemoryStore::new();
    let (here, there) = (pool(2), pool(2));
    drop((take(&here, &store, 0), take(&there, &store, 0)));
    observe(&there, &store, "k0", limited_for(600), 0);
    observe(&there, &store, "k1", limited_for(600), 0);
    assert_eq!(exhausted(ask(&here, &store, &ANY, 1)).when, When::At(at(600)), "nobody told it");
    there.tell(&store, &id("k1"), &Command::Clear, at(2)).unwrap();
    assert_eq!(take(&here, &store, 2).key(), &id("k1"), "before a refusal it looks");
}

#[test]
fn a_process_that_starts_knows_what_is_stored() {
    let store = MemoryStore::new();
    let before = pool(3);
    observe(&before, &store, "k0", limited_for(600), 0);
    let second = id("k1");
    let answer = Answer::new(&second, limited_for(600), at(0)).model("opus").of_the_model();
    before.observe(&store, &answer, at(0)).unwrap();
    let after = pool(3);
    let opus = Facts { model: Some("opus"), ..ANY };
    assert_eq!(chosen(ask(&after, &store, &opus, 1)).key(), &id("k2"));
    assert_eq!(chosen(ask(&after, &store, &opus, 1)).key(), &id("k2"));
    let haiku = Facts { model: Some("haiku"), ..ANY };
    assert_eq!(chosen(ask(&after, &store, &haiku, 1)).key(), &id("k1"));
    after.tell(&store, &id("k1"), &Command::Clear, at(2)).unwrap();
    let found: Vec<KeyId> = (0..2).map(|_| chosen(ask(&after, &store, &opus, 2)).key().clone()).collect();
    assert!(found.contains(&id("k1")), "{found:?}");
}

#[test]
fn one_call_probes_for_all_processes_and_another_may_if_it_is_not_heard_of() {
    let store = MemoryStore::new();
    let (here, there) = (pool(1), pool(1));
    observe(&here, &store, "k0", limited_for(10), 0);
    let probe = take(&here, &store, 10);
    for other in [&here, &there] {
        let refused = exhausted(ask(other, &store, &ANY, 11));
        assert_eq!(refused.when, When::WhenFreed { latest: at(70) });
    }
    drop(probe);
    assert_eq!(take(&there, &store, 70).key(), &id("k0"), "it was not heard of again");
    observe(&there, &store, "k0", Outcome::new(Class::Success), 70);
    drop((take(&here, &store, 71), take(&here, &store, 71)));
}

/// A pool of one key took it out for a minute after one 503, and had none.
#[test]
fn a_pool_of_one_key_is_not_blocked_by_what_broke() {
    let store = MemoryStore::new();
    let broken = Outcome::new(Class::Transient);
    let one = pool(1);
    assert_eq!(one.next(&Retries::default(), &id("k0"), &broken, 2, at(0)), Next::GiveUp);
    assert_eq!(observe(&one, &store, "k0", broken, 0), Standing::Available);
    let two = pool(2);
    assert_eq!(two.next(&Retries::default(), &id("k0"), &broken, 2, at(0)), Next::Switch);
    assert!(matches!(observe(&two, &store, "k0", broken, 0), Standing::Cooling(block) if block.until == at(60)));
    assert_eq!(observe(&two, &store, "k1", Outcome::new(Class::CredentialRefused), 0), Standing::Refused);
    assert_eq!(two.next(&Retries::default(), &id("k0"), &broken, 2, at(0)), Next::GiveUp, "the other never serves");
}

#[test]
fn limits_of_one_kind_are_one_limit_and_each_key_has_its_own_amount() {
    let store = MemoryStore::new();
    let pool = Pool::builder("main")
        .key_with(key("small"), [Limit::requests(1).per_hour().fixed()])
        .key_with(key("large"), [Limit::requests(3).per_hour().fixed(), Limit::slots(2)])
        .build()
        .unwrap();
    let taken: Vec<Chosen> = (0..3).map(|n| take(&pool, &store, n)).collect();
    let keys: Vec<&str> = taken.iter().map(|chosen| chosen.key().as_str()).collect();
    assert_eq!(keys, ["small", "large", "large"]);
    assert_eq!(store.limits().unwrap().len(), 2);
    let refused = exhausted(ask(&pool, &store, &ANY, 4));
    assert!(refused.rate_limited, "{refused:?}");
    assert!(
        matches!(refused.when, When::WhenFreed { .. }),
        "a slot of the large one, before the hour is over: {refused:?}"
    );
    pool.observe(&store, &Answer::new(&id("large"), Outcome::new(Class::Success), at(0)).ends(taken[1].op()), at(5))
        .unwrap();
    assert_eq!(take(&pool, &store, 5).key(), &id("large"));
    let refused = exhausted(ask(&pool, &store, &ANY, 6));
    assert_eq!((refused.when, refused.key), (When::WhenFreed { latest: at(900) }, Some(id("small"))));
}

#[test]
fn a_failed_call_gives_back_what_it_held_and_a_served_one_settles_what_it_used() {
    let store = MemoryStore::new();
    let limit = || Limit::tokens(100).per_day().assume(60);
    let pool = Pool::builder("main").key_with(key("only"), [limit()]).build().unwrap();
    let first = take(&pool, &store, 0);
    assert!(matches!(ask(&pool, &store, &ANY, 0), Acquired::Exhausted(_)), "60 + 60 > 100");
    let overloaded = Outcome::new(Class::NoVerdict);
    pool.observe(&store, &Answer::new(first.key(), overloaded, at(0)).ends(first.op()), at(1)).unwrap();
    let second = take(&pool, &store, 2);
    let usage = Usage::new().tokens(40);
    let served = Answer::new(second.key(), Outcome::new(Class::Success), at(2)).ends(second.op()).used(&usage);
    pool.observe(&store, &served, at(3)).unwrap();
    let third = chosen(ask(&pool, &store, &ANY, 4));
    assert!(exhausted(ask(&pool, &store, &ANY, 4)).rate_limited, "40 + 60 = 100");
    drop(third);
}

#[test]
fn the_next_eight_are_planned_when_eight_fail() {
    let store = MemoryStore::new();
    let build = || builder(20).each_limited([Limit::requests(1).per_hour().fixed()]).build().unwrap();
    let (here, there) = (build(), build());
    drop((take(&here, &store, 0), take(&there, &store, 0)));
    // The other process uses up all but one, in the order in which this one will ask.
    let used: Vec<KeyId> = (0..17).map(|_| take(&there, &store, 1).key().clone()).collect();
    assert_eq!(used.len(), 17);
    assert_eq!(take(&here, &store, 2).key(), &id("k19"));
    let refused = exhausted(ask(&here, &store, &ANY, 3));
    assert_eq!(refused.when, When::WhenFreed { latest: at(900) }, "all of it is held");
}

#[test]
fn a_key_may_have_a_limit_for_each_model() {
    let store = MemoryStore::new();
    let limit = Limit::requests(1).per_hour().by("model");
    let pool = Pool::builder("main").key_with(key("only"), [limit]).build().unwrap();
    let with = |model| Facts { model: Some(model), ..ANY };
    drop(chosen(ask(&pool, &store, &with("opus"), 0)));
    assert!(exhausted(ask(&pool, &store, &with("opus"), 1)).rate_limited);
    drop(chosen(ask(&pool, &store, &with("haiku"), 1)));
    let missing = pool.acquire(&store, &ANY, &op(1, 0), at(1)).unwrap_err();
    assert_eq!(missing.field(), Some("call.model"));
}

#[test]
fn a_pool_that_is_told_to_looks_no_more_often_than_that() {
    let store = MemoryStore::new();
    let (here, there) = (builder(1).look_every(secs(10)).build().unwrap(), pool(1));
    drop(take(&here, &store, 0));
    observe(&here, &store, "k0", limited_for(600), 0);
    there.tell(&store, &id("k0"), &Command::Clear, at(1)).unwrap();
    let _ = exhausted(ask(&here, &store, &ANY, 9));
    assert_eq!(take(&here, &store, 10).key(), &id("k0"));
}

#[test]
fn jitter_makes_what_is_guessed_longer_and_nothing_else() {
    let store = MemoryStore::new();
    let pool = builder(3).cooling(Cooling { jitter: 500, ..Cooling::default() }).build().unwrap();
    let until = |key, outcome| match observe(&pool, &store, key, outcome, 0) {
        Standing::Cooling(block) => block.until,
        other => panic!("{other:?}"),
    };
    assert!((at(60)..=at(90)).contains(&until("k0", Outcome::new(Class::Transient))));
    assert!((at(1)..=at(1).saturating_add(secs(1))).contains(&until("k1", Outcome::new(Class::Overloaded))));
    assert_eq!(until("k2", limited_for(60)), at(60));
}

#[test]
fn what_stands_in_the_way_besides_the_keys_is_said_and_costs_no_turn() {
    let (store, pool) = (MemoryStore::new(), pool(2));
    let alice = Subject::of([("key", "alice")]).unwrap();
    let plan = |cap: i64| {
        let alice = alice.clone();
        move |now: Timestamp| {
            let rule = Rule {
                meter: account::MeterId(77),
                generation: 0,
                cap: Amount::from_i64(cap).unwrap().into(),
                kernel: Kernel::Tumble { window: Window::ALWAYS },
                firm: Firm::Hard,
                on_expiry: account::OnExpiry::Release,
                audit: account::Audit::None,
            };
            let take = Take { account: 0, rule, ask: Ask::Exact(Amount::ONE), act: Act::Hold };
            Ok(Plan::new(now).named(alice.clone()).of(op(1, 0)).take(take))
        }
    };
    for _ in 0..3 {
        let (acquired, _) = pool.acquire_with(&store, &ANY, at(0), plan(0)).unwrap();
        let Acquired::Denied(denial) = acquired else { panic!("{acquired:?}") };
        assert_eq!((denial.blocked.len(), denial.picks.len()), (1, 0));
    }
    let (acquired, grant) = pool.acquire_with(&store, &ANY, at(0), plan(1)).unwrap();
    assert_eq!(chosen(acquired).key(), &id("k0"));
    assert_eq!(grant.unwrap().picked[0], 0);
}

#[test]
fn a_failover_reports_and_picks_in_one_plan() {
    let (store, pool) = (MemoryStore::new(), pool(3));
    let first = take(&pool, &store, 0);
    let mut plan = Plan::new(at(1)).of(first.op().clone());
    pool.report(&mut plan, &Answer::new(first.key(), limited_for(60), at(0)), at(1)).unwrap();
    let mut search = pool.search(ANY);
    let Way::Proposed(proposal) = search.pick(&mut plan, at(1)).unwrap() else { panic!("two are left") };
    let verdict = store.apply(&plan, at(1)).unwrap();
    let Learned::Chosen(next) = search.learn(proposal, &plan, &verdict, at(1)) else { panic!("{verdict:?}") };
    assert_eq!((first.key(), next.key()), (&id("k0"), &id("k1")));
    let listed = pool.list(&store, &Which::default(), at(1)).unwrap();
    assert!(matches!(listed[0].standing, Standing::Cooling(block) if block.until == at(61)));
    assert_eq!((listed[0].limited, listed[1].uses), (1, 1));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(150))]

    /// Two processes, each with what it remembers, and a store that knows: no call is refused while the store would serve it.
    #[test]
    fn no_call_is_refused_while_any_key_could_serve_it(
        steps in proptest::collection::vec((0_usize..8, 0_usize..5, 1_i64..40, proptest::bool::ANY), 1..60),
        strategy in 0_usize..4,
    ) {
        let strategy = [Strategy::default(), Strategy::Random { seed: 5 }, Strategy::LeastInFlight, Strategy::STICKY][strategy];
        let store = MemoryStore::new();
        let build = || builder(5).strategy(strategy).each_limited([Limit::slots(2)]).build().unwrap();
        let pools = [build(), build()];
        let (mut now, mut open): (i64, Vec<Chosen>) = (0, Vec::new());
        for (step, n, seconds, other) in steps {
            let pool = &pools[usize::from(other)];
            let key = id(&format!("k{n}"));
            match step {
                0 => now += seconds,
                1 => drop(observe(pool, &store, key.as_str(), limited_for(seconds), now)),
                2 => drop(observe(pool, &store, key.as_str(), Outcome::new(Class::Transient), now)),
                3 => pool.tell(&store, &key, &Command::Clear, at(now)).unwrap(),
                4 if !open.is_empty() => {
                    let chosen = open.remove(n % open.len());
                    let served = Answer::new(chosen.key(), Outcome::new(Class::Success), at(now)).ends(chosen.op());
                    chosen.pool().observe(&store, &served, at(now)).unwrap();
                }
                _ => {
                    let served = pools[0].list(&store, &Which::default(), at(now)).unwrap();
                    let held = |key: &KeyId| open.iter().filter(|chosen| chosen.key() == key).count();
                    let could = served.iter().any(|key| key.is_available() && held(&key.id) < 2);
                    match ask(pool, &store, &ANY, now) {
                        Acquired::Granted(chosen) => { assert!(could); open.push(chosen); }
                        Acquired::Exhausted(refused) => {
                            assert!(!could, "{refused}: {served:?}");
                            assert!(refused.when.instant().is_none_or(|when| when > at(now)));
                        }
                        Acquired::Denied(denial) => panic!("{denial:?}"),
                    }
                }
            }
        }
    }
}
