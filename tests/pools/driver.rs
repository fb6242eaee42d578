//! Pools over a store: what one process does, what another one sees, and what each policy answers.

use keyward::keys::{
    Acquired, Answer, Builder, Chosen, Command, Exhausted, Facts, Learned, OnExhausted, Pool, Way, Which,
};
use keyward::plan::{Act, Ask, Firm, Kernel, Plan, Rule, Take};
use keyward::pool::{Cause, Cooling, Key, ProviderWindow, Session, Standing, Strategy, Why};
use keyward::upstream::{Next, Retries};
use keyward::window::Window;
use keyward::*;

use super::{at, id, secs};

const ANY: Facts<'_> = Facts { model: None, session: None, estimate: None, dimensions: &[], except: &[] };

/// A key under the id `name`.
fn key(name: &str) -> Key {
    Key::new(Secret::new(format!("sk-{name}-canary"))).identified(id(name))
}

fn builder(keys: usize) -> Builder {
    Pool::builder("main").keys((0..keys).map(|n| key(&format!("k{n}"))))
}

fn pool(keys: usize) -> Pool {
    builder(keys).build().unwrap()
}

fn op(n: i64, now: i64) -> OpId {
    OpId::at(at(now), n as u128)
}

fn ask(pool: &Pool, store: &impl Store, facts: &Facts<'_>, now: i64) -> Acquired {
    static COUNT: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);
    let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    pool.acquire(store, facts, &op(n, now), at(now)).unwrap()
}

#[track_caller]
fn chosen(acquired: Acquired) -> Chosen {
    match acquired {
        Acquired::Granted(chosen) => chosen,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn take(pool: &Pool, store: &impl Store, now: i64) -> Chosen {
    chosen(ask(pool, store, &ANY, now))
}

#[track_caller]
fn exhausted(acquired: Acquired) -> Exhausted {
    match acquired {
        Acquired::Exhausted(exhausted) => exhausted,
        other => panic!("{other:?}"),
    }
}

fn limited_for(seconds: i64) -> Outcome {
    Outcome::new(Class::RateLimited).with_hint(Hint::Wait(secs(seconds)))
}

fn observe(pool: &Pool, store: &impl Store, key: &str, outcome: Outcome, now: i64) -> Standing {
    pool.observe(store, &Answer::new(&id(key), outcome, at(now)), at(now)).unwrap()
}

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

/// Removing a key handed out one that was limited, and replacing one blocked the healthy newcomer: state went by position.
#[test]
fn state_stays_with_its_key_whatever_becomes_of_the_list() {
    let (store, pool) = (MemoryStore::new(), pool(3));
    observe(&pool, &store, "k1", limited_for(600), 0);
    pool.remove(&id("k0")).unwrap();
    for now in 1..5 {
        assert_eq!(take(&pool, &store, now).key(), &id("k2"));
    }
    pool.add(key("new"), []).unwrap();
    pool.reorder(&[id("new"), id("k1")]).unwrap();
    let order: Vec<String> = pool.keys().iter().map(|key| key.id().to_string()).collect();
    assert_eq!(order, ["new", "k1", "k2"]);
    let keys: Vec<KeyId> = (5..9).map(|now| take(&pool, &store, now).key().clone()).collect();
    assert!(keys.contains(&id("new")) && keys.contains(&id("k2")) && !keys.contains(&id("k1")), "{keys:?}");
    assert_eq!(pool.add(key("new"), []).unwrap_err().field(), Some("key.secret"));
    assert_eq!(pool.remove(&id("k0")).unwrap_err().value(), Some("k0"));
}

/// Any edit of the configuration wiped all cooldowns.
#[test]
fn an_edit_keeps_every_cooldown_and_so_does_a_restart() {
    let (store, pool) = (MemoryStore::new(), pool(2));
    observe(&pool, &store, "k0", limited_for(600), 0);
    pool.change(key("k0").name("renamed").weight(9)).unwrap();
    pool.change(key("k1").priority(3)).unwrap();
    let why: Vec<Why> = pool.explain(&ANY, at(1)).into_iter().map(|key| key.why).collect();
    assert!(matches!(why[0], Why::Standing(Standing::Cooling(_))), "{why:?}");
    assert_eq!(take(&pool, &store, 1).key(), &id("k1"));
    let again = builder(2).strategy(Strategy::LeastUsed).build().unwrap();
    assert_eq!(take(&again, &store, 1).key(), &id("k1"));
}

/// Two keys with the same last characters shared one row, and were limited together.
#[test]
fn keys_with_one_suffix_are_told_apart_and_all_found_by_it() {
    let store = MemoryStore::new();
    let pool = Pool::builder("main").text("sk-aaaa-99999,sk-bbbb-99999").build().unwrap();
    let both = pool.ending_with("99999");
    assert_eq!(both.len(), 2);
    pool.tell(&store, both[0].id(), &Command::LimitedUntil(at(600)), at(0)).unwrap();
    for now in 1..4 {
        assert_eq!(take(&pool, &store, now).key(), both[1].id());
    }
    assert!(pool.ending_with("9999-").is_empty());
}

#[test]
fn a_rotated_secret_keeps_id_and_history_and_starts_with_a_clean_slate() {
    let (store, pool) = (MemoryStore::new(), pool(2));
    drop(take(&pool, &store, 0));
    observe(&pool, &store, "k0", Outcome::new(Class::CredentialRefused), 1);
    let first = id("k0");
    let old = Answer::new(&first, Outcome::new(Class::CredentialRefused), at(1)).model("opus").of_the_model();
    pool.observe(&store, &old, at(1)).unwrap();
    pool.rotate(&store, &id("k0"), Secret::new("sk-fresh-1"), at(10)).unwrap();
    observe(&pool, &store, "k0", Outcome::new(Class::Success), 11);
    // A late answer to the old secret is no news of the new one.
    let late = Answer::new(&first, Outcome::new(Class::CredentialRefused), at(5));
    assert_eq!(pool.observe(&store, &late, at(12)).unwrap(), Standing::Available);
    let listed = &pool.list(&store, &Which::default(), at(12)).unwrap()[0];
    assert_eq!((listed.uses, listed.standing, listed.suffix.as_str()), (1, Standing::Available, "esh-1"));
    assert_eq!(
        pool.rotate(&store, &id("k0"), key("k1").secret().clone(), at(13)).unwrap_err().field(),
        Some("key.secret")
    );
    let (one, two) = (take(&pool, &store, 13), take(&pool, &store, 13));
    assert!([&one, &two].iter().any(|chosen| chosen.secret().expose() == "sk-fresh-1"));
}

#[test]
fn disabling_is_seen_by_every_process_and_switching_off_by_this_one() {
    let store = MemoryStore::new();
    let (here, there) = (pool(2), pool(2));
    drop((take(&here, &store, 0), take(&there, &store, 0)));
    here.tell(&store, &id("k0"), &Command::Disable, at(1)).unwrap();
    for now in 2..5 {
        assert_eq!(take(&there, &store, now).key(), &id("k1"));
    }
    there.change(key("k1").disabled()).unwrap();
    assert_eq!(exhausted(ask(&there, &store, &ANY, 6)).when, When::Never);
    assert_eq!(take(&here, &store, 6).key(), &id("k1"));
}

#[test]
fn records_have_what_people_ask_for() {
    let store = MemoryStore::new();
    let keys = [
        key("a").kind("api").scope("global", None).provider("anthropic").name("first"),
        key("b").kind("oauth").scope("agent", Some("a-7")),
        key("c").kind("api").scope("agent", Some("a-8")),
    ];
    let pool = Pool::builder("main").keys(keys).build().unwrap();
    let used = Command::Used(OpId::host("call-1").unwrap());
    pool.tell(&store, &id("a"), &used, at(3)).unwrap();
    pool.tell(&store, &id("a"), &used, at(3)).unwrap();
    let window =
        ProviderWindow { name: "five_hour".into(), limit: Some(100), remaining: Some(17), resets: Some(at(99)) };
    let reading = {
        let mut reading = upstream::Reader::default().read(&upstream::Reply::new(429, at(4)));
        reading.windows.push(window.clone());
        reading
    };
    let first = id("a");
    let answer = Answer::read(&first, &reading, at(3)).error("bad sk-a-canary\nretry");
    pool.observe(&store, &answer, at(4)).unwrap();
    let first = pool.list(&store, &Which { provider: Some("anthropic"), ..Which::default() }, at(4)).unwrap().remove(0);
    assert_eq!((first.position, first.uses, first.limited), (0, 1, 1), "one operation is one use");
    assert_eq!((first.last_used, first.last_limited), (Some(at(3)), Some(at(4))));
    assert_eq!(first.last_error.as_deref(), Some("bad … retry"));
    assert_eq!((first.windows, first.name.as_deref()), (vec![window], Some("first")));
    let agents = pool.list(&store, &Which { scope: Some("agent"), ..Which::default() }, at(4)).unwrap();
    assert_eq!(agents.iter().map(|key| key.position).collect::<Vec<_>>(), [1, 2]);
    let one = Which { scope: Some("agent"), scope_id: Some("a-8"), kind: Some("api"), ..Which::default() };
    assert_eq!(pool.list(&store, &one, at(4)).unwrap()[0].id, id("c"));
    assert_eq!(pool.available(&store, at(4)).unwrap(), [(1, id("b")), (2, id("c"))]);

    pool.tell(&store, &id("b"), &Command::Name(Some("spare".into())), at(5)).unwrap();
    assert_eq!(pool.list(&store, &Which::default(), at(5)).unwrap()[1].name.as_deref(), Some("spare"));
    pool.tell(&store, &id("b"), &Command::Name(None), at(5)).unwrap();
    assert_eq!(pool.list(&store, &Which::default(), at(5)).unwrap()[1].name, None);
    let error = pool.tell(&store, &id("b"), &Command::Name(Some(String::new())), at(5)).unwrap_err();
    assert_eq!(error.field(), Some("key.name"));
    pool.tell(&store, &id("c"), &Command::LeaveUntil(at(50)), at(5)).unwrap();
    let left = pool.list(&store, &Which::default(), at(6)).unwrap().remove(2);
    assert!(matches!(left.standing, Standing::Cooling(block) if block.cause == Cause::ByHand && block.until == at(50)));
    assert_eq!(left.limited, 0);
}

#[test]
fn the_ledger_says_what_each_key_was_used_for() {
    let (store, pool) = (MemoryStore::new(), pool(2));
    for (n, (task, tokens)) in [("t1", 10), ("t1", 20), ("t2", 30), ("t3", 40)].into_iter().enumerate() {
        let now = n as i64;
        let context = account::Context {
            subject: Subject::everyone(),
            tags: vec![("task".to_owned(), task.to_owned())],
            client: None,
            key: None,
            estimate: Usage::new(),
        };
        let usage = Usage::new().tokens(tokens).usd(Usd::cents(tokens as u32));
        let (acquired, _) = pool
            .acquire_with(&store, &ANY, at(now), |at| {
                let mut plan = Plan::new(at).under(op(100 + now, now));
                plan.context = Some(context.clone().into());
                plan.used = Some(plan::Used { usage: usage.clone(), outcome: Some(Class::Success) });
                Ok(plan)
            })
            .unwrap();
        drop(chosen(acquired));
    }
    let of = |name: &str, span| pool.spend(&store, &id(name), "task", span).unwrap();
    let (first, second) = (of("k0", (None, None)), of("k1", (None, None)));
    assert_eq!((first.sum.requests, first.sum.tokens, first.tasks), (2, 40, 2));
    assert_eq!((second.sum.tokens, second.sum.usd, second.tasks), (60, 600_000_000, 2));
    assert_eq!(of("k1", (Some(at(2)), None)).sum.tokens, 40);
}

#[test]
fn sessions_stay_with_their_key_through_the_store_as_well() {
    let store = MemoryStore::new();
    let pool = builder(6).strategy(Strategy::STICKY).build().unwrap();
    let facts = Facts { session: Some(Session { client: "alice", name: "main" }), ..ANY };
    let home = chosen(ask(&pool, &store, &facts, 0)).key().clone();
    for now in 1..20 {
        assert_eq!(chosen(ask(&pool, &store, &facts, now)).key(), &home);
    }
    observe(&pool, &store, home.as_str(), limited_for(100), 20);
    assert_ne!(chosen(ask(&pool, &store, &facts, 21)).key(), &home);
    let except = [home.clone()];
    let other = Facts { except: &except, ..facts };
    assert_ne!(chosen(ask(&pool, &store, &other, 200)).key(), &home);
}

#[test]
fn most_headroom_goes_by_what_keys_own_limits_have_left() {
    let store = MemoryStore::new();
    let pool = Pool::builder("main")
        .strategy(Strategy::MostHeadroom)
        .key_with(key("small"), [Limit::requests(2).per_hour().fixed()])
        .key_with(key("large"), [Limit::requests(8).per_hour().fixed()])
        .build()
        .unwrap();
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for now in 0..5 {
        *counts.entry(take(&pool, &store, now).key().to_string()).or_default() += 1;
    }
    assert_eq!((counts["small"], counts["large"]), (1, 4), "each by its share");
}

#[test]
fn what_is_wrong_is_named_and_builds_no_pool() {
    let day = Limit::requests(5).per_day();
    for (builder, field) in [
        (Pool::builder(""), "pool.name"),
        (builder(1).strategy(Strategy::RoundRobin { in_a_row: 0 }), "strategy.in_a_row"),
        (builder(1).cooling(Cooling { exhausted: secs(1), ..Cooling::default() }), "cooling.exhausted"),
        (builder(1).key(key("k0")), "keys"),
        (builder(1).key(key("w").weight(0)), "keys.2.weight"),
        (builder(0).key_with(key("k0"), [Limit::requests(5)]), "keys.k0.limit.window"),
        (builder(0).key_with(key("k0"), [day.clone(), day.clone()]), "keys.k0.limit"),
        (builder(0).key_with(key("a"), [day.clone()]).key_with(key("b"), [day.clone().soft()]), "keys.b.limit"),
        (builder(1).env("KEYWARD_NO_SUCH_VARIABLE"), "keys"),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), Some(field));
    }
    let twice = builder(2).key(key("k0")).twice(pool::parse::Twice::Merged).build().unwrap();
    assert_eq!(twice.len(), 2);
}

#[test]
fn keys_come_from_the_environment() {
    // Cargo sets this for every test.
    let path = std::env::var("CARGO_PKG_NAME").unwrap();
    let pool = Pool::builder("env").env("CARGO_PKG_NAME").build().unwrap();
    assert_eq!(pool.keys()[0].secret().expose(), path);
}

#[test]
fn many_threads_never_hold_more_than_a_keys_slots_and_lose_no_call() {
    let store = MemoryStore::new();
    let pool = builder(4).each_limited([Limit::slots(2)]).strategy(Strategy::LeastInFlight).build().unwrap();
    let under_way: Vec<std::sync::atomic::AtomicI64> = (0..4).map(|_| 0.into()).collect();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, pool, under_way) = (&store, &pool, &under_way);
            scope.spawn(move || {
                for call in 0..200 {
                    // Eight threads, and room for eight.
                    let acquired = pool.acquire(store, &ANY, &op(thread * 1_000 + call, 0), at(0)).unwrap();
                    let chosen = chosen(acquired);
                    let n: usize = chosen.key().as_str()[1..].parse().unwrap();
                    let count = under_way[n].fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                    assert!(count <= 2, "{count} of 2 slots");
                    under_way[n].fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    let served = Answer::new(chosen.key(), Outcome::new(Class::Success), at(0)).ends(chosen.op());
                    pool.observe(store, &served, at(0)).unwrap();
                }
            });
        }
    });
    let used: u64 = pool.list(&store, &Which::default(), at(0)).unwrap().iter().map(|key| key.uses).sum();
    assert_eq!(used, 1_600);
}

/// A key was found in a log, in the panic of a thread that had it in its hands.
#[test]
fn a_secret_is_in_nothing_that_is_printed_or_stored() {
    let store = MemoryStore::new();
    let secret = "sk-live-canary-0123456789abcdef";
    let pool = Pool::builder("main")
        .key_with(Key::new(Secret::new(secret)).name("n"), [Limit::requests(5).per_day()])
        .build()
        .unwrap();
    let chosen = take(&pool, &store, 0);
    let answer = Answer::new(chosen.key(), Outcome::new(Class::CredentialRefused), at(0)).ends(chosen.op());
    let text = format!("no such key: {secret}");
    pool.observe(&store, &answer.error(&text), at(1)).unwrap();
    let duplicate = pool.add(Key::new(Secret::new(secret)).identified(id("other")), []).unwrap_err();
    let blank = pool.rotate(&store, chosen.key(), Secret::new(format!("{secret} x")), at(2)).unwrap_err();
    let twice = Pool::builder("x").text(&format!("{secret},{secret}")).build().unwrap_err();
    let records = pool.list(&store, &Which::default(), at(3)).unwrap();
    let accounts = store.accounts(None, 100).unwrap();
    let rows = store.rows(&store::Filter::default(), 0, 100).unwrap();
    let parts = store.parts(&store::PartsOf::Open, None, 100).unwrap();
    let panic = std::thread::spawn({
        let (pool, key) = (pool.clone(), pool.keys().remove(0));
        move || panic!("{pool:?} {key:?} {:?}", key.suffix(99))
    });
    let panic = *panic.join().unwrap_err().downcast::<String>().unwrap();
    let json = serde_json::to_string(&(&records, &accounts, &rows)).unwrap();
    let printed = format!(
        "{pool:?} {chosen:?} {duplicate} {duplicate:?} {blank} {twice} {records:?} {accounts:?} {rows:?} {parts:?} {json} {panic} {:?} {:?}",
        pool.keys(),
        Pool::builder("y").key(Key::new(Secret::new(secret))),
    );
    assert!(!printed.contains("canary"), "{printed}");
    assert!(records[0].last_error.is_some() && printed.contains("bcdef"), "its suffix is for people");
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
