//! The keeper over a store that is waited for: the same stories, and what becomes of whoever stops waiting.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "keeper_async/slow.rs"]
mod slow;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keyward::clients::{self, MemoryClients};
use keyward::keeper::{AsyncKeeper, AsyncPermit, Builder, Moved};
use keyward::keys::Pool;
use keyward::picture::View;
use keyward::quota::KeyPatch;
use keyward::store::{Filter, PartsOf, Ready, block_on, verify};
use keyward::{
    Call, Class, Clock, Decision, Denial, Keeper, Length, Limit, ManualClock, MemoryStore, OpId, Outcome, Store,
    Timestamp, Usage, Usd,
};
use slow::{Slow, nap};

fn start() -> Timestamp {
    "2026-03-08T09:30:00Z".parse().unwrap()
}

fn secs(seconds: i64) -> Length {
    Length::from_secs(seconds).unwrap()
}

type Slept = Decision<AsyncPermit<Slow>>;

fn granted(decision: Slept) -> AsyncPermit<Slow> {
    decision.granted().expect("a permit")
}

fn denied(decision: Slept) -> Denial {
    decision.denied().expect("a denial")
}

fn alice() -> Call {
    Call::new().with("key", "alice").with("team", "red")
}

/// The same, under an id of the host's.
fn known() -> Call {
    alice().under(OpId::host("req-7").unwrap())
}

fn dollars(dollars: u32) -> Usage {
    Usage::new().usd(Usd::dollars(dollars))
}

fn built(builder: Builder, clock: &ManualClock) -> AsyncKeeper<Slow> {
    block_on(builder.clock(clock.clone()).store(Slow::default()).build_async()).unwrap()
}

fn budget(clock: &ManualClock) -> AsyncKeeper<Slow> {
    built(
        Keeper::builder()
            .limit(Limit::usd(Usd::dollars(9)).per_day().by("team"))
            .limit(Limit::slots(1).by("key"))
            .pool(
                Pool::builder("openai")
                    .text("sk-one-11111,sk-two-22222")
                    .each_limited([Limit::slots(1)])
                    .build()
                    .unwrap(),
            ),
        clock,
    )
}

/// What is spent and held of a limit, over all subjects.
fn count(keeper: &AsyncKeeper<Slow>, limit: &str) -> (i64, i64) {
    let picture = block_on(keeper.status(&View::new().most(1_000)));
    let found = picture
        .budgets
        .iter()
        .map(|budget| &budget.standing)
        .filter(|standing| standing.limit.to_string().contains(limit));
    found.fold((0, 0), |sum, one| (sum.0 + one.status.spent.get(), sum.1 + one.status.held.get()))
}

/// Nothing is held any more, and counters are what the ledger says.
fn proved(keeper: &AsyncKeeper<Slow>, clock: &ManualClock) {
    block_on(keeper.sweep()).unwrap();
    let store = &keeper.store().0;
    assert_eq!(store.parts(&PartsOf::Open, None, 10).unwrap(), []);
    assert_eq!(verify(store, clock.now()).unwrap(), []);
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Asks a future so often, and then no more. Its output, if that was enough.
fn cut<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    (0..polls).find_map(|_| match poll(future.as_mut()) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// Cuts one verb short after each of its steps in turn, until it is done before. Returns after how many it was.
fn at_every_step(mut story: impl FnMut(usize) -> bool) {
    let last = (0..1_000).find(|steps| story(*steps)).expect("it ends");
    assert!(last >= 2, "it was cut short before and after the store had done it");
}

#[test]
fn a_call_is_held_settled_and_counted_once() {
    let clock = ManualClock::at(start());
    let keeper = built(
        Keeper::builder()
            .limit(Limit::requests(60).per_minute().by("key"))
            .limit(Limit::usd(Usd::cents(5)).per_days(30).by("team")),
        &clock,
    );
    block_on(async {
        let call = alice().usd(Usd::cents(2));
        let permit = granted(keeper.acquire(&call).await.unwrap());
        assert_eq!(permit.remaining().len(), 2);
        let usage = Usage::new().usd(Usd::cents(1));
        assert_eq!(permit.settle(&usage).await.unwrap().cost, Some(Usd::cents(1)));
        assert!(permit.settle(&usage).await.unwrap().already);
        assert!(permit.settle(&dollars(1)).await.unwrap_err().is_conflict());
        assert!(permit.release().await.unwrap_err().is_conflict());
        let denial = denied(keeper.acquire(&call.usd(Usd::cents(5))).await.unwrap());
        assert!(denial.to_string().contains("$0.05 do not fit into $0.04"), "{denial}");
    });
    assert_eq!(count(&keeper, "usd"), (10_000_000, 0));
    assert_eq!(keeper.store().0.rows(&Filter::default(), 0, 10).unwrap().len(), 2);
    proved(&keeper, &clock);
}

#[test]
fn a_permit_that_is_dropped_frees_its_slot_and_charges_its_money() {
    let clock = ManualClock::at(start());
    let keeper = budget(&clock);
    let call = alice().usd(Usd::dollars(1));
    block_on(async {
        let permit = granted(keeper.acquire(&call).await.unwrap());
        denied(keeper.acquire(&call).await.unwrap());
        drop(permit);
        granted(keeper.acquire(&call).await.unwrap()).release().await.unwrap();
    });
    assert_eq!(count(&keeper, "usd"), (1_000_000_000, 0));
    proved(&keeper, &clock);
}

#[test]
fn a_stream_is_kept_alive_and_charged_for_what_it_has_used() {
    let clock = ManualClock::at(start());
    let keeper = budget(&clock);
    block_on(async {
        let permit = granted(keeper.acquire(&alice().usd(Usd::dollars(1)).life(secs(60))).await.unwrap());
        clock.advance(secs(50));
        assert_eq!(permit.extend(secs(60)).await.unwrap(), Some(start().saturating_add(secs(110))));
        assert!(!permit.so_far(&dollars(8)).await.unwrap().is_over);
        assert!(permit.so_far(&dollars(10)).await.unwrap().is_over);
    });
    proved(&keeper, &clock);
    assert_eq!(count(&keeper, "usd"), (10_000_000_000, 0));
}

#[test]
fn a_call_moves_on_when_its_key_fails() {
    let clock = ManualClock::at(start());
    let keeper = budget(&clock);
    block_on(async {
        let call = alice().usd(Usd::dollars(1)).pool("openai");
        let permit = granted(keeper.acquire(&call).await.unwrap());
        assert_eq!(permit.secret().unwrap().expose(), "sk-one-11111");
        clock.advance(secs(1));
        assert!(matches!(permit.failover(&Outcome::new(Class::RateLimited)).await.unwrap(), Moved::On));
        assert_eq!(permit.secret().unwrap().expose(), "sk-two-22222");
        permit.settle(&dollars(2)).await.unwrap();
        assert_eq!(keeper.pool("openai").unwrap().len(), 2);
        let bob = call.clone().with("user", "bob");
        assert_eq!(granted(keeper.acquire(&bob).await.unwrap()).secret().unwrap().expose(), "sk-two-22222");
    });
    proved(&keeper, &clock);
    assert_eq!(count(&keeper, "usd"), (3_000_000_000, 0));
}

#[test]
fn limits_are_peeked_at_charged_reset_and_replaced() {
    let clock = ManualClock::at(start());
    let keeper = budget(&clock);
    block_on(async {
        assert_eq!(keeper.peek(&alice().usd(Usd::dollars(9))).await.unwrap(), None);
        assert_eq!(keeper.charge(&alice(), &dollars(8)).await.unwrap(), None);
        let denial = keeper.charge(&alice(), &dollars(2)).await.unwrap().unwrap();
        assert_eq!(keeper.peek(&alice().usd(Usd::dollars(2))).await.unwrap(), Some(*denial.clone()));
        keeper.reset(&denial.blockers[0].limit, &denial.blockers[0].subject).await.unwrap();
        assert_eq!(keeper.charge(&alice(), &dollars(2)).await.unwrap(), None);
        keeper.apply([Limit::usd(Usd::dollars(3)).per_day().by("team")], [], None).await.unwrap();
        assert!(keeper.charge(&alice(), &dollars(2)).await.unwrap().is_some());
        let wrong = [Limit::requests(1)];
        assert_eq!(keeper.apply(wrong, [], None).await.unwrap_err().field(), Some("limits[0].window"));
    });
    assert_eq!(count(&keeper, "usd"), (2_000_000_000, 0));
    assert_eq!(keeper.terms().len(), 1);
}

#[cfg(feature = "serde")]
#[test]
fn a_policy_is_put_in_force_as_data() {
    use keyward::policy::{Policy, Reference};
    let clock = ManualClock::at(start());
    let keeper = budget(&clock);
    let policy: Policy = serde_json::from_str(r#"{"limits": ["1 USD / day by team"]}"#).unwrap();
    block_on(keeper.apply_policy(policy.build(Reference::read).unwrap())).unwrap();
    let denial = denied(block_on(keeper.acquire(&alice().usd(Usd::dollars(2)))).unwrap());
    assert_eq!(denial.blockers.len(), 1);
}

/// A request was cancelled while the store was admitting it. Its slot was taken until the hold's time was over.
#[test]
fn a_call_that_nobody_waits_for_any_more_is_given_up() {
    for pool in [false, true] {
        at_every_step(|steps| {
            let clock = ManualClock::at(start());
            let keeper = budget(&clock);
            let call = alice().usd(Usd::dollars(1));
            let call = if pool { call.pool("openai") } else { call };
            let done = cut(keeper.acquire(&call), steps).is_some();
            // The next verb finds the slot free, whatever had become of the first.
            let next = granted(block_on(keeper.acquire(&call)).unwrap());
            block_on(next.settle(&dollars(1))).unwrap();
            proved(&keeper, &clock);
            let (spent, held) = count(&keeper, "usd");
            assert!(spent == 1_000_000_000 || spent == 2_000_000_000, "once each at most: {spent} after {steps}");
            assert_eq!((held, count(&keeper, "slots").1), (0, 0));
            done
        });
    }
}

/// A handler was dropped while it settled; its call was booked twice when it was settled again, or never.
#[test]
fn what_is_settled_or_released_again_is_booked_once() {
    at_every_step(|steps| {
        let clock = ManualClock::at(start());
        let keeper = budget(&clock);
        let permit = granted(block_on(keeper.acquire(&known().usd(Usd::dollars(1)).pool("openai"))).unwrap());
        let done = cut(permit.settle(&dollars(3)), steps).is_some();
        block_on(permit.settle(&dollars(3))).unwrap();
        drop(permit);
        proved(&keeper, &clock);
        assert_eq!(count(&keeper, "usd"), (3_000_000_000, 0), "after {steps}");
        assert_eq!(keeper.store().0.rows(&Filter::default(), 0, 10).unwrap().len(), 2);
        done
    });
    at_every_step(|steps| {
        let clock = ManualClock::at(start());
        let keeper = budget(&clock);
        let permit = granted(block_on(keeper.acquire(&known().usd(Usd::dollars(1)))).unwrap());
        let done = cut(permit.release(), steps).is_some();
        block_on(permit.release()).unwrap();
        drop(permit);
        proved(&keeper, &clock);
        assert_eq!(count(&keeper, "usd"), (0, 0), "after {steps}");
        done
    });
    at_every_step(|steps| {
        let clock = ManualClock::at(start());
        let keeper = budget(&clock);
        let call = alice().under(OpId::host("c-1").unwrap());
        let done = cut(keeper.charge(&call, &dollars(2)), steps).is_some();
        assert_eq!(block_on(keeper.charge(&call, &dollars(2))).unwrap(), None);
        proved(&keeper, &clock);
        assert_eq!(count(&keeper, "usd"), (2_000_000_000, 0), "after {steps}");
        done
    });
}

/// A settle that was cut short and never said again left the call to its end: charged at what it was worth, once.
#[test]
fn what_is_not_said_again_ends_by_itself() {
    at_every_step(|steps| {
        let clock = ManualClock::at(start());
        let keeper = budget(&clock);
        let permit = granted(block_on(keeper.acquire(&known().usd(Usd::dollars(1)))).unwrap());
        let done = cut(permit.settle(&dollars(3)), steps).is_some();
        drop(permit);
        proved(&keeper, &clock);
        let (spent, _) = count(&keeper, "usd");
        assert!(spent == 1_000_000_000 || spent == 3_000_000_000, "{spent} after {steps}");
        done
    });
}

/// A call moved to another key while its caller hung up: both keys stayed busy.
#[test]
fn a_failover_that_is_cut_short_leaves_no_key_busy() {
    at_every_step(|steps| {
        let clock = ManualClock::at(start());
        let keeper = budget(&clock);
        let permit = granted(block_on(keeper.acquire(&known().usd(Usd::dollars(1)).pool("openai"))).unwrap());
        clock.advance(secs(1));
        let done = cut(permit.failover(&Outcome::new(Class::Transient)), steps).is_some();
        block_on(permit.settle(&dollars(2))).unwrap();
        drop(permit);
        proved(&keeper, &clock);
        assert_eq!(count(&keeper, "usd"), (2_000_000_000, 0), "after {steps}");
        assert_eq!(count(&keeper, "slots").1, 0, "after {steps}");
        done
    });
}

/// A verb took a call that had been given up off the list, was cut short, and nobody ended it any more.
#[test]
fn a_call_that_was_given_up_is_not_forgotten_by_a_verb_that_is_cut_short() {
    at_every_step(|steps| {
        let clock = ManualClock::at(start());
        let keeper = budget(&clock);
        drop(granted(block_on(keeper.acquire(&alice().usd(Usd::dollars(1)))).unwrap()));
        let done = cut(keeper.sweep(), steps).is_some();
        assert_eq!(granted(block_on(keeper.acquire(&alice().usd(Usd::dollars(2)))).unwrap()).remaining().len(), 2);
        proved(&keeper, &clock);
        assert_eq!(count(&keeper, "usd"), (3_000_000_000, 0), "after {steps}");
        done
    });
}

/// Two verbs of one permit ran at the same time, and the second took hold of a key for a call that was over.
#[test]
fn verbs_of_one_permit_take_turns() {
    let clock = ManualClock::at(start());
    let keeper = budget(&clock);
    let permit = granted(block_on(keeper.acquire(&alice().usd(Usd::dollars(1)).pool("openai"))).unwrap());
    let (usage, outcome) = (dollars(2), Outcome::new(Class::RateLimited));
    let mut settle = pin!(permit.settle(&usage));
    assert!(poll(settle.as_mut()).is_pending());
    let mut failover = pin!(permit.failover(&outcome));
    assert!((0..10).all(|_| poll(failover.as_mut()).is_pending()), "it waits for the other to end");
    block_on(settle).unwrap();
    assert_eq!(block_on(failover).unwrap_err().field(), Some("permit"));
    proved(&keeper, &clock);
    assert_eq!(count(&keeper, "usd"), (2_000_000_000, 0));
}

#[test]
fn who_waits_is_served_in_the_order_of_coming() {
    let clock = ManualClock::at(start());
    let keeper = budget(&clock);
    let call = alice().usd(Usd::dollars(1));
    let wait = || keeper.acquire_within(&call, Duration::from_secs(600), nap);
    let busy = granted(block_on(keeper.acquire(&call)).unwrap());
    let (mut first, mut second) = (Box::pin(wait()), Box::pin(wait()));
    while keeper.in_line() < 1 {
        assert!(poll(first.as_mut()).is_pending());
    }
    while keeper.in_line() < 2 {
        assert!(poll(second.as_mut()).is_pending());
    }
    block_on(busy.release()).unwrap();
    assert!((0..50).all(|_| poll(second.as_mut()).is_pending()), "it is not its turn");
    let permit = granted(block_on(first.as_mut()).unwrap());
    assert_eq!(keeper.in_line(), 1);
    block_on(permit.release()).unwrap();
    let permit = granted(block_on(second.as_mut()).unwrap());

    // Who gives up leaves the line to the next.
    let (mut third, mut fourth) = (Box::pin(wait()), Box::pin(wait()));
    while keeper.in_line() < 1 {
        assert!(poll(third.as_mut()).is_pending());
    }
    while keeper.in_line() < 2 {
        assert!(poll(fourth.as_mut()).is_pending());
    }
    drop(third);
    assert_eq!(keeper.in_line(), 1);
    drop(permit);
    block_on(granted(block_on(fourth.as_mut()).unwrap()).release()).unwrap();
    assert_eq!(keeper.in_line(), 0);
    proved(&keeper, &clock);
}

/// Whoever's time was over took, with its last try, the room that the first in line had been woken for.
#[test]
fn nobody_passes_those_who_wait_before_it_with_its_last_try() {
    let clock = ManualClock::at(start());
    let records = Arc::new(MemoryClients::new());
    let (_, secret) = clients::create(&*records, None, "kw", &KeyPatch::default()).unwrap();
    let keeper = built(Keeper::builder().limit(Limit::slots(1).by("key")).clients(records), &clock);
    // The line is found by whose key it is, which the call does not say itself.
    for call in [alice(), Call::new().secret(secret)] {
        let busy = granted(block_on(keeper.acquire(&call)).unwrap());
        let mut first = Box::pin(keeper.acquire_within(&call, Duration::from_secs(600), nap));
        while keeper.in_line() < 1 {
            assert!(poll(first.as_mut()).is_pending());
        }
        let denial = denied(block_on(keeper.acquire_within(&call, Duration::ZERO, nap)).unwrap());
        assert_eq!((denial.behind, denial.blockers.len()), (0, 1), "there is no room: {denial}");
        block_on(busy.release()).unwrap();
        let denial = denied(block_on(keeper.acquire_within(&call, Duration::ZERO, nap)).unwrap());
        assert_eq!((denial.behind, denial.retry_at()), (1, Some(start())));
        assert!(denial.to_string().starts_with("refused: 1 calls wait before it"), "{denial}");
        assert_eq!(denial.reply(&keyward::quota::Table::default(), start()).status, 429);
        block_on(granted(block_on(first.as_mut()).unwrap()).release()).unwrap();
    }
}

/// The futures go to any thread, over any store.
#[test]
fn every_future_can_be_sent() {
    fn sent<T: Send>(_: T) {}
    let keeper = block_on(Keeper::builder().store(Ready(MemoryStore::new())).build_async()).unwrap();
    let (call, usage, outcome) = (Call::new(), Usage::new(), Outcome::new(Class::Success));
    sent(Keeper::builder().store(Slow::default()).build_async());
    sent(keeper.acquire(&call));
    sent(keeper.acquire_within(&call, Duration::ZERO, nap));
    sent(keeper.peek(&call));
    sent(keeper.charge(&call, &usage));
    sent(keeper.explain(&call));
    sent(keeper.status(&View::new()));
    sent(keeper.apply([], [], None));
    sent(keeper.sweep());
    let permit = block_on(keeper.acquire(&call)).unwrap().granted().unwrap();
    sent(permit.settle_as(&usage, &outcome));
    sent(permit.release_as(&outcome));
    sent(permit.extend(Length::SECOND));
    sent(permit.so_far(&usage));
    sent(permit.failover(&outcome));
    sent(permit);
    sent(keeper);
}
