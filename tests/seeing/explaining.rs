//! What would become of a call, and why: the same that becomes of it.

use keyward::clients::{self, MemoryClients};
use keyward::keeper::GateCheck;
use keyward::keys::{Answer, Pool};
use keyward::picture::View;
use keyward::pool::{Key, Strategy, Why};
use keyward::price::{Book, Entry, Price};
use keyward::quota::{Cause, KeyPatch};
use keyward::store::{Filter, PartsOf};
use keyward::{
    Amount, Call, Cap, Class, Decision, Keeper, Limit, ManualClock, Outcome, Secret, Store, Usage, Usd, When,
};

use super::pictures::same;
use super::{alice, denied, granted, secs, start};

fn key(secret: &str, name: &str) -> Key {
    Key::new(Secret::new(secret)).name(name).provider("openai")
}

fn keeper(clock: &ManualClock, pool: Pool) -> Keeper {
    Keeper::builder()
        .limit(Limit::requests(3).per_minute().by("key"))
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team").named("daily"))
        .limit(Limit::requests(30).per_day().by("upstream").named("each key").if_present())
        .pool(pool)
        .clock(clock.clone())
        .build()
        .unwrap()
}

#[test]
fn an_explanation_names_every_limit_and_every_key_in_their_order() {
    let clock = ManualClock::at(start());
    let pool = Pool::builder("main")
        .key(key("sk-canary-one-11111", "first"))
        .key_with(key("sk-canary-two-22222", "second"), [Limit::requests(1).per_minute()])
        .key(key("sk-canary-six-33333", "third"))
        .strategy(Strategy::LeastUsed)
        .fallback(Pool::builder("spare").key(key("sk-canary-ten-44444", "last")).build().unwrap())
        .build()
        .unwrap();
    let keeper = keeper(&clock, pool.clone());
    let limited = Outcome::new(Class::RateLimited);
    pool.observe(keeper.store(), &Answer::new(pool.keys()[0].id(), limited, start()), start()).unwrap();
    let call = alice().usd(Usd::dollars(2)).pool("main");
    let before = keeper.explain(&call).unwrap();
    assert!(before.passes());
    assert_eq!(before.key(), Some(pool.keys()[1].id()));
    let places: Vec<Option<usize>> = before.keys.iter().map(|key| key.place).collect();
    assert_eq!(places, [Some(1), None, None, None], "{before}");
    same("tests/seeing/passes.txt", &before.to_string());

    let held = granted(keeper.acquire(&call).unwrap());
    assert_eq!(held.key().as_ref(), before.key(), "what was explained is what happens");
    let spent = granted(keeper.acquire(&call).unwrap());
    assert_eq!(spent.key().as_ref(), Some(pool.keys()[2].id()));
    spent.settle(&Usage::new().usd(Usd::dollars(2))).unwrap();
    let after = keeper.explain(&call).unwrap();
    let daily = after.limits.iter().find(|limit| limit.limit.as_str() == "daily").unwrap();
    assert_eq!(
        (daily.need, daily.have, daily.held),
        (Usd::dollars(2).into(), Usd::dollars(2).into(), Usd::dollars(2).into())
    );
    assert_eq!((daily.cap, daily.passes), (Cap::At(Usd::dollars(5).into()), false));
    assert_eq!(after.denial, Some(denied(keeper.acquire(&call).unwrap())));
    same("tests/seeing/refuses.txt", &after.to_string());
    assert!(!format!("{after:?}{after}").contains("canary"));
    #[cfg(feature = "serde")]
    assert!(!serde_json::to_string(&after).unwrap().contains("canary"));
}

/// Whatever is explained, the store and the pool are as they were: the calls after it go the way they would have gone.
#[test]
fn explaining_changes_nothing() {
    for strategy in [Strategy::RoundRobin { in_a_row: 1 }, Strategy::LeastUsed, Strategy::Random { seed: 7 }] {
        let run = |explains: bool| {
            let clock = ManualClock::at(start());
            let keys = ["sk-one-11111", "sk-two-22222", "sk-six-33333"].map(|secret| key(secret, secret));
            let pool = Pool::builder("main").keys(keys).strategy(strategy).build().unwrap();
            let keeper = keeper(&clock, pool);
            let call = alice().usd(Usd::dollars(1)).pool("main");
            let mut went = Vec::new();
            for round in 0..6 {
                if explains {
                    let everything = |keeper: &Keeper| {
                        let store = keeper.store();
                        (
                            store.accounts(None, 100).unwrap(),
                            store.parts(&PartsOf::Open, None, 100).unwrap(),
                            store.rows(&Filter::default(), 0, 100).unwrap(),
                            store.limits().unwrap(),
                        )
                    };
                    let before = everything(&keeper);
                    let told = keeper.explain(&call).unwrap();
                    assert_eq!(keeper.explain(&call).unwrap(), told, "and says the same again");
                    assert_eq!(keeper.peek(&call).unwrap(), told.denial);
                    assert_eq!(everything(&keeper), before);
                }
                match keeper.acquire(&call).unwrap() {
                    Decision::Granted(permit) if round % 2 == 0 => {
                        went.push(permit.key());
                        permit.settle_as(&Usage::new().usd(Usd::cents(1)), &Outcome::new(Class::Success)).unwrap();
                    }
                    Decision::Granted(permit) => {
                        went.push(permit.key());
                        permit.release_as(&Outcome::new(Class::RateLimited)).unwrap();
                    }
                    Decision::Denied(denial) => {
                        went.push(None);
                        assert!(denial.when != When::Never);
                    }
                }
                clock.advance(secs(25));
            }
            went
        };
        assert_eq!(run(true), run(false), "{strategy:?}");
    }
}

#[test]
fn an_explanation_says_what_acquire_says_through_a_day_of_calls() {
    let clock = ManualClock::at(start());
    let pool = Pool::builder("main")
        .key_with(key("sk-one-11111", "first"), [Limit::requests(2).per_minute()])
        .key(key("sk-two-22222", "second"))
        .build()
        .unwrap();
    let keeper = keeper(&clock, pool);
    let (mut granted, mut refused, mut held) = (0, 0, Vec::new());
    for round in 0..200_i64 {
        let name = ["alice", "bob", "carol"][usize::try_from(round % 3).unwrap()];
        let call = Call::new().with("key", name).with("team", "red").usd(Usd::cents(20)).pool("main");
        let told = keeper.explain(&call).unwrap();
        match keeper.acquire(&call).unwrap() {
            Decision::Granted(permit) => {
                assert_eq!((told.passes(), told.key()), (true, permit.key().as_ref()), "round {round}: {told}");
                assert!(told.limits.iter().all(|limit| limit.passes), "{told}");
                granted += 1;
                let outcome = if round % 5 == 0 { Class::RateLimited } else { Class::Success };
                if round % 7 == 0 {
                    held.push(permit);
                } else {
                    permit.settle_as(&Usage::new().usd(Usd::cents(10)), &Outcome::new(outcome)).unwrap();
                }
            }
            Decision::Denied(denial) => {
                assert_eq!(told.denial, Some(*denial), "round {round}: {told}");
                refused += 1;
            }
        }
        clock.advance(secs(1 + round * 37 % 600));
    }
    assert!(granted > 10 && refused > 10, "{granted} granted, {refused} refused");
}

#[test]
fn a_gate_that_is_shut_is_all_that_is_explained() {
    let (clients, clock) = (MemoryClients::new(), ManualClock::at(start()));
    let (record, secret) = clients::create(&clients, None, "kw", &KeyPatch::default()).unwrap();
    let keeper = Keeper::builder()
        .limit(Limit::requests(3).per_minute().by("key"))
        .clients(clients)
        .clock(clock)
        .build()
        .unwrap();
    let told = keeper.explain(&Call::new().secret(Secret::new("kw_nobody-has-this-one"))).unwrap();
    assert_eq!(told.gate, GateCheck::Shut(Cause::Unknown));
    assert!(told.limits.is_empty() && !told.passes());
    let told = keeper.explain(&Call::new().secret(secret.clone())).unwrap();
    assert_eq!(told.gate, GateCheck::Open { client: record.id.clone() });
    assert_eq!(told.limits[0].subject.to_string(), format!("key={}", record.id));
    assert!(!format!("{told:?}{told}").contains(secret.expose()));
}

#[test]
fn the_price_that_was_used_is_named() {
    let price = Price::new().input("2.50".parse().unwrap()).output("10".parse().unwrap());
    let mut book = Book::new();
    book.push(Entry::new("gpt-4o", price)).unwrap();
    let keeper = Keeper::builder().limit(Limit::usd(Usd::dollars(1)).per_day()).prices(book).build().unwrap();
    let call = Call::new().with("model", "gpt-4o").estimate(Usage::new().input(1_000).output(100));
    let told = keeper.explain(&call).unwrap();
    assert_eq!(told.price.usd, Some(Usd::micros(3_500)));
    assert_eq!(told.price.entry.as_ref().map(|entry| &*entry.model), Some("gpt-4o"));
    assert_eq!(told.limits[0].need, Amount::from(Usd::micros(3_500)));
    let stated = keeper.explain(&call.clone().usd(Usd::cents(1))).unwrap();
    assert_eq!((stated.price.usd, stated.price.entry), (Some(Usd::cents(1)), None));
}

#[test]
fn when_every_key_cools_the_explanation_says_which_and_until_when() {
    let clock = ManualClock::at(start());
    let pool =
        Pool::builder("main").key(key("sk-one-11111", "first")).key(key("sk-two-22222", "second")).build().unwrap();
    let keeper = keeper(&clock, pool.clone());
    for key in pool.keys() {
        pool.observe(keeper.store(), &Answer::new(key.id(), Outcome::new(Class::RateLimited), start()), start())
            .unwrap();
    }
    let call = alice().usd(Usd::cents(1)).pool("main");
    let told = keeper.explain(&call).unwrap();
    assert_eq!(told.denial, Some(denied(keeper.acquire(&call).unwrap())));
    assert_eq!(told.denial.as_ref().map(|denial| denial.when), Some(When::At(start().saturating_add(secs(1)))));
    assert!(told.limits.iter().all(|limit| limit.passes));
    assert!(told.keys.iter().all(|key| matches!(key.why, Some(Why::Standing(_))) && !key.taken), "{told}");
    assert_eq!(keeper.status(&View::new()).pools[0].keys.len(), 2);
}
