//! Pools that are changed while they are used, what is recorded of their keys, and what must not be.

use keyward::keys::{Answer, Command, Facts, Pool, Which};
use keyward::plan::Plan;
use keyward::pool::{Cause, Cooling, Key, ProviderWindow, Session, Standing, Strategy, Why};
use keyward::*;

use super::kit::*;
use super::{at, id, secs};

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
    assert_eq!(first.updated, Some(at(4)));
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
fn pools_and_what_comes_of_them_go_from_thread_to_thread() {
    fn goes<T: Send + Sync + 'static>() {}
    goes::<Pool>();
    goes::<keys::Chosen>();
    goes::<keys::Search<'static>>();
    goes::<keys::Proposal>();
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

#[cfg(feature = "serde")]
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[cfg(not(feature = "serde"))]
fn json<T>(_: &T) -> String {
    String::new()
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
    let json = json(&(&records, &accounts, &rows));
    let printed = format!(
        "{pool:?} {chosen:?} {duplicate} {duplicate:?} {blank} {twice} {records:?} {accounts:?} {rows:?} {parts:?} {json} {panic} {:?} {:?}",
        pool.keys(),
        Pool::builder("y").key(Key::new(Secret::new(secret))),
    );
    assert!(!printed.contains("canary"), "{printed}");
    assert!(records[0].last_error.is_some() && printed.contains("bcdef"), "its suffix is for people");
}

/// A restart forgot that a key was limited for days, and it failed at once.
#[cfg(feature = "sqlite")]
#[test]
fn what_a_file_keeps_outlives_the_process() {
    let folder = std::env::temp_dir().join(format!("keyward-pools-{}", OpIds::new().next(SystemClock::new().now())));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys.db");
    {
        let (store, pool) = (SqliteStore::open(&file).unwrap(), pool(2));
        drop(take(&pool, &store, 0));
        observe(&pool, &store, "k0", limited_for(172_800), 1);
        observe(&pool, &store, "k1", Outcome::new(Class::CredentialRefused), 1);
        pool.tell(&store, &id("k1"), &Command::Name(Some("spare".into())), at(2)).unwrap();
    }
    let (store, pool) = (SqliteStore::open(&file).unwrap(), pool(2));
    let refused = exhausted(ask(&pool, &store, &ANY, 3));
    assert_eq!((refused.key, refused.when), (Some(id("k0")), When::At(at(172_801))));
    let listed = pool.list(&store, &Which::default(), at(3)).unwrap();
    assert_eq!((listed[0].uses, listed[1].name.as_deref(), listed[1].standing), (1, Some("spare"), Standing::Refused));
    let bytes: Vec<u8> =
        std::fs::read_dir(&folder).unwrap().flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!bytes.windows(6).any(|window| window == b"canary"), "no secret is in the file");
    drop(store);
    std::fs::remove_dir_all(&folder).unwrap();
}
