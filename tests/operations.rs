//! What is said of calls without their permits: by their operations, and of keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use keyward::clients::{self, MemoryClients};
use keyward::keeper::{AsyncKeeper, Permit};
use keyward::keys::{Answer, Pool};
use keyward::picture::View;
use keyward::pool::{Key, Standing};
use keyward::price::{Book, Entry, Price};
use keyward::quota::KeyPatch;
use keyward::store::{Filter, PartsOf, Ready, block_on, verify};
use keyward::{
    Call, Class, Decision, Keeper, Length, Limit, ManualClock, MemoryStore, OpId, Outcome, Secret, Store, Timestamp,
    Usage, Usd,
};

type Shared = Arc<MemoryStore>;

fn start() -> Timestamp {
    "2026-03-08T09:30:00Z".parse().unwrap()
}

fn secs(seconds: i64) -> Length {
    Length::from_secs(seconds).unwrap()
}

/// One process of several over one store.
fn process(store: &Shared, clock: &ManualClock) -> Keeper<Shared> {
    let mut book = Book::new();
    let price = |dollars: &str| Price::new().input(dollars.parse().unwrap());
    book.push(Entry::new("gpt-x", price("2"))).unwrap();
    book.push(Entry::new("gpt-x", price("3")).provider("azure")).unwrap();
    let key = Pool::builder("azure")
        .key(Key::new(Secret::new("sk-one-11111")).provider("azure"))
        .each_limited([Limit::slots(1)]);
    Keeper::builder()
        .limit(Limit::usd(Usd::dollars(50)).per_day().by("team"))
        .limit(Limit::tokens(9_000_000).per_minute().by("key").assume(5))
        .pool(key.build().unwrap())
        .prices(book)
        .clock(clock.clone())
        .store(store.clone())
        .build()
        .unwrap()
}

fn call() -> Call {
    Call::new().with("key", "alice").with("team", "red").with("model", "gpt-x").usd(Usd::dollars(9))
}

fn granted(decision: Decision<Permit<Shared>>) -> Permit<Shared> {
    decision.granted().expect("a permit")
}

fn count(keeper: &Keeper<Shared>, of: &str, limit: &str) -> (i64, i64) {
    let picture = keeper.status(&View::new().most(1_000));
    let is_it =
        |one: &&keyward::budgets::Standing| one.subject.to_string() == of && one.limit.to_string().contains(limit);
    let mut standings = picture.budgets.iter().map(|budget| &budget.standing);
    standings.find(is_it).map_or((0, 0), |one| (one.status.spent.get(), one.status.held.get()))
}

/// The process that had sent the request was gone when its answer came to another.
#[test]
fn another_process_settles_what_is_held_and_prices_it_as_it_was_called() {
    let (store, clock) = (Shared::default(), ManualClock::at(start()));
    let (one, two) = (process(&store, &clock), process(&store, &clock));
    let permit = granted(one.acquire(&call().pool("azure")).unwrap());
    let usage = Usage::new().input(1_000_000);
    let settled = two.settle(&permit.op(), &usage).unwrap();
    assert_eq!(settled.cost, Some(Usd::dollars(3)), "by its model and whose key it went out with");
    assert_eq!(settled.booked.len(), 3);
    assert_eq!(count(&two, "team=red", "usd"), (3_000_000_000, 0));
    assert_eq!(count(&two, "key=alice", "tokens"), (1_000_000, 0));
    assert_eq!(store.parts(&PartsOf::Open, None, 10).unwrap(), [], "its key is free again");
    // The first permit has nothing to end any more.
    drop(permit);
    one.sweep().unwrap();
    assert_eq!(count(&two, "team=red", "usd"), (3_000_000_000, 0));
    let rows = store.rows(&Filter::default(), 0, 10).unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(verify(&*store, start()).unwrap(), []);
}

#[test]
fn an_operation_is_settled_once_whoever_says_so() {
    let (store, clock) = (Shared::default(), ManualClock::at(start()));
    let (one, two) = (process(&store, &clock), process(&store, &clock));
    let op = OpId::host("req-7").unwrap();
    let permit = granted(one.acquire(&call().under(op.clone())).unwrap());
    let usage = Usage::new().usd(Usd::dollars(4));
    assert!(!two.settle(&op, &usage).unwrap().already);
    assert!(two.settle(&op, &usage).unwrap().already);
    assert!(permit.settle(&usage).unwrap().already);
    assert!(two.settle(&op, &Usage::new().usd(Usd::dollars(5))).unwrap_err().is_conflict());
    assert!(two.release(&op).unwrap_err().is_conflict());
    assert_eq!(count(&two, "team=red", "usd"), (4_000_000_000, 0));
    for error in [
        two.settle(&OpId::host("nobody").unwrap(), &usage).unwrap_err(),
        two.release(&OpId::host("nobody").unwrap()).unwrap_err(),
        two.extend(&OpId::host("nobody").unwrap(), secs(9)).unwrap_err(),
    ] {
        assert_eq!((error.field(), error.value()), (Some("operation"), Some("nobody")));
    }
}

#[test]
fn another_process_keeps_a_call_alive_or_gives_it_back() {
    let (store, clock) = (Shared::default(), ManualClock::at(start()));
    let (one, two) = (process(&store, &clock), process(&store, &clock));
    let permit = granted(one.acquire(&call().life(secs(60))).unwrap());
    clock.advance(secs(50));
    assert_eq!(two.extend(&permit.op(), secs(60)).unwrap(), Some(start().saturating_add(secs(110))));
    clock.advance(secs(50));
    two.sweep().unwrap();
    assert_eq!(count(&two, "team=red", "usd"), (0, 9_000_000_000), "it is alive still");
    two.release(&permit.op()).unwrap();
    assert_eq!(count(&two, "team=red", "usd"), (0, 0));
    permit.release().unwrap();
    assert_eq!(count(&two, "team=red", "usd"), (0, 0));
}

#[test]
fn what_an_upstream_answered_without_a_permit_counts_for_its_key() {
    let (store, clock) = (Shared::default(), ManualClock::at(start()));
    let keeper = process(&store, &clock);
    let key = keeper.pool("azure").unwrap().keys()[0].id().clone();
    let answer = Answer::new(&key, Outcome::new(Class::RateLimited), start());
    assert!(matches!(keeper.observe("azure", &answer).unwrap(), Standing::Cooling { .. }));
    let denial = keeper.acquire(&call().pool("azure")).unwrap().denied().unwrap();
    assert_eq!(denial.exhausted.unwrap().key, Some(key.clone()));
    clock.advance(secs(2));
    let answer = Answer::new(&key, Outcome::new(Class::Success), start().saturating_add(secs(2)));
    assert_eq!(keeper.observe("azure", &answer).unwrap(), Standing::Available);
    granted(keeper.acquire(&call().pool("azure")).unwrap()).release().unwrap();
    let error = keeper.observe("openai", &answer).unwrap_err();
    assert_eq!((error.field(), error.value()), (Some("call.pool"), Some("openai")));
}

#[test]
fn the_same_goes_for_a_store_that_is_waited_for() {
    let clock = ManualClock::at(start());
    let builder = Keeper::builder().limit(Limit::usd(Usd::dollars(50)).per_day().by("team")).clock(clock.clone());
    let keeper: AsyncKeeper<Ready<Shared>> = block_on(
        builder
            .pool(Pool::builder("azure").text("sk-one-11111").build().unwrap())
            .store(Ready(Shared::default()))
            .build_async(),
    )
    .unwrap();
    block_on(async {
        let permit = keeper.acquire(&call()).await.unwrap().granted().unwrap();
        assert!(keeper.extend(&permit.op(), secs(9_000)).await.unwrap().is_some());
        assert_eq!(keeper.settle(&permit.op(), &Usage::new().usd(Usd::cents(1))).await.unwrap().booked.len(), 1);
        let permit = keeper.acquire(&call()).await.unwrap().granted().unwrap();
        keeper.release(&permit.op()).await.unwrap();
        let key = keeper.pool("azure").unwrap().keys()[0].id().clone();
        let answer = Answer::new(&key, Outcome::new(Class::RateLimited), start());
        keeper.observe("azure", &answer).await.unwrap();
        assert!(keeper.acquire(&call().pool("azure")).await.unwrap().denied().unwrap().exhausted.is_some());
    });
    assert_eq!(verify(&*keeper.store().0, start()).unwrap(), []);
}

/// A call whose key sends it to a pool failed for want of an upstream key, before it was given one.
#[test]
fn a_call_that_its_key_sends_to_a_pool_is_counted_by_the_key_it_goes_out_with() {
    let records = Arc::new(MemoryClients::new());
    let patch = KeyPatch {
        client_types: Some(vec!["cli".to_owned()]),
        fallback_pool: Some("shared".to_owned()),
        ..KeyPatch::default()
    };
    let (_, secret): (_, Secret) = clients::create(&*records, None, "kw", &patch).unwrap();
    let keeper = Keeper::builder()
        .limit(Limit::requests(1).per_day().by("upstream"))
        .pool(Pool::builder("shared").text("sk-one-11111").build().unwrap())
        .clients(records)
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    let call = Call::new().secret(secret).client_type("web");
    assert_eq!(keeper.peek(&call).unwrap(), None);
    let permit = keeper.acquire(&call).unwrap().granted().unwrap();
    assert_eq!(permit.secret().unwrap().expose(), "sk-one-11111");
    permit.settle(&Usage::new()).unwrap();
    assert!(keeper.acquire(&call).unwrap().denied().is_some());
}
