//! The keeper: what a host does with it, from the first call to the last.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyward::budgets::Alert;
use keyward::clients::{self, MemoryClients};
use keyward::keeper::{Moved, Permit};
use keyward::keys::Pool;
use keyward::picture::View;
use keyward::price::{Book, Entry, Price};
use keyward::quota::{Cause, KeyPatch, Table};
use keyward::store::{Filter, PartsOf, verify};
use keyward::{
    Amount, Call, Cap, Class, Decision, Denial, Keeper, Length, Limit, ManualClock, MemoryStore, OpId, Outcome, Secret,
    Store, Subject, Timestamp, Usage, Usd, When,
};

const START: &str = "2026-03-08T09:30:00Z";

fn start() -> Timestamp {
    START.parse().unwrap()
}

fn secs(seconds: i64) -> Length {
    Length::from_secs(seconds).unwrap()
}

fn granted<S: Store>(decision: Decision<Permit<S>>) -> Permit<S> {
    match decision {
        Decision::Granted(permit) => permit,
        Decision::Denied(denial) => panic!("{denial}"),
    }
}

fn denied<S: Store>(decision: Decision<Permit<S>>) -> Denial {
    match decision {
        Decision::Granted(permit) => panic!("{permit:?}"),
        Decision::Denied(denial) => *denial,
    }
}

/// What a subject has spent and holds of the only limit that it has met.
fn count<S: Store>(keeper: &Keeper<S>, of: &str, limit: &str) -> (i64, i64) {
    let picture = keeper.status(&View::new().most(1_000));
    let mut standings = picture.budgets.iter().map(|budget| &budget.standing);
    let found =
        standings.find(|standing| standing.subject.to_string() == of && standing.limit.to_string().contains(limit));
    found.map_or((0, 0), |found| (found.status.spent.get(), found.status.held.get()))
}

fn proved<S: Store>(keeper: &Keeper<S>, clock: &ManualClock) {
    use keyward::Clock;
    keeper.sweep().unwrap();
    assert_eq!(verify(keeper.store(), clock.now()).unwrap(), []);
}

fn alice() -> Call {
    Call::new().with("key", "alice").with("team", "red")
}

#[test]
fn a_call_is_held_settled_and_counted_once() {
    let clock = ManualClock::at(start());
    let keeper = Keeper::builder()
        .limit(Limit::requests(60).per_minute().by("key"))
        .limit(Limit::tokens(200_000).per_minute().by("key"))
        .limit(Limit::usd(Usd::cents(5)).per_days(30).by("team"))
        .clock(clock.clone())
        .build()
        .unwrap();
    let call = alice().tokens(1_200).usd(Usd::cents(2));
    let permit = granted(keeper.acquire(&call).unwrap());
    let remaining: Vec<_> = permit.remaining().iter().map(|left| left.remaining).collect();
    assert_eq!(remaining, [59, 198_800, 30_000_000].map(Amount::from_i64));
    assert_eq!(count(&keeper, "team=red", "usd"), (0, 20_000_000));

    let usage = Usage::new().tokens(900).usd(Usd::cents(1));
    let settled = permit.settle(&usage).unwrap();
    assert_eq!((settled.cost, settled.booked.len(), settled.already), (Some(Usd::cents(1)), 3, false));
    assert!(permit.settle(&usage).unwrap().already);
    let error = permit.settle(&Usage::new().tokens(901)).unwrap_err();
    assert!(error.is_conflict() && error.field() == Some("usage"), "{error}");
    assert!(permit.release().unwrap_err().is_conflict());
    drop(permit);
    assert_eq!(count(&keeper, "team=red", "usd"), (10_000_000, 0));
    assert_eq!(count(&keeper, "key=alice", "tokens"), (900, 0));
    let rows = keeper.store().rows(&Filter::default(), 0, 10).unwrap();
    assert_eq!(rows.len(), 2, "one of usage, one of the budget: {rows:?}");
    proved(&keeper, &clock);
}

#[test]
fn a_denial_tells_a_person_what_to_do() {
    let keeper = Keeper::builder()
        .limit(Limit::requests(1).per_minute().by("key"))
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team"))
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    granted(keeper.acquire(&alice().usd(Usd::dollars(4))).unwrap()).settle(&Usage::new()).unwrap();
    let denial = denied(keeper.acquire(&alice().usd(Usd::dollars(2))).unwrap());
    assert_eq!(
        denial.to_string(),
        "refused: 1 requests per 1m by key, key=alice: 1 requests do not fit into 0 requests; 1 requests spent; passes at \
         2026-03-08T09:31:00.000001Z; $5.00 per day at 00:00 UTC by team, team=red: $2.00 do not fit into $1.00; $4.00 spent; passes at \
         2026-03-09T00:00:00Z; come back at 2026-03-09T00:00:00Z"
    );
    assert_eq!(denial.retry_at(), Some("2026-03-09T00:00:00Z".parse().unwrap()));
    let reply = denial.reply(&Table::default(), start());
    assert_eq!((reply.status, reply.cause), (402, Cause::Budget));
    assert_eq!(keeper.peek(&alice().usd(Usd::dollars(2))).unwrap(), Some(denial));
    let other = Call::new().with("key", "bob").with("team", "red").usd(Usd::dollars(1));
    assert_eq!(keeper.peek(&other).unwrap(), None);
    assert_eq!(count(&keeper, "key=bob", "requests"), (0, 0));
}

/// A field that was left out dodged a budget, and an estimate that was left out was taken for nothing.
#[test]
fn what_a_call_lacks_is_named() {
    let keeper = Keeper::builder().limit(Limit::usd(Usd::dollars(5)).per_day().by("team")).build().unwrap();
    let error = keeper.acquire(&Call::new().usd(Usd::cents(1))).unwrap_err();
    assert_eq!(error.field(), Some("call.team"));
    let error = keeper.acquire(&alice()).unwrap_err();
    assert_eq!(error.field(), Some("call.usd"));
    let error = keeper.acquire(&alice().with("team", "blue").usd(Usd::cents(1))).unwrap_err();
    assert_eq!(error.field(), Some("call.dimension"));
    let error = keeper.acquire(&alice().usd(Usd::cents(1)).pool("openai")).unwrap_err();
    assert_eq!(error.field(), Some("call.pool"));
    let error = keeper.acquire(&alice().usd(Usd::cents(1)).secret(Secret::new("kw_1234567890"))).unwrap_err();
    assert_eq!(error.field(), Some("call.secret"));
    assert!(!error.to_string().contains("1234567890"));
    assert!(keeper.store().is_empty());
    let error = Keeper::builder().limit(Limit::requests(1)).build().unwrap_err();
    assert_eq!(error.field(), Some("limits[0].window"));
}

/// A request was sent twice because its answer was lost, and was charged twice.
#[test]
fn an_operation_of_the_hosts_own_is_admitted_once() {
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team"))
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    let call = alice().usd(Usd::dollars(3)).under(OpId::host("req-7").unwrap());
    let first = granted(keeper.acquire(&call).unwrap());
    let second = granted(keeper.acquire(&call).unwrap());
    assert_eq!((first.op(), first.remaining()), (second.op(), second.remaining()));
    assert_eq!(count(&keeper, "team=red", "usd"), (0, 3_000_000_000));
    let error = keeper.acquire(&call.clone().usd(Usd::dollars(2))).unwrap_err();
    assert!(error.is_conflict() && error.field() == Some("call.usd"), "{error}");
    second.settle(&Usage::new().usd(Usd::dollars(1))).unwrap();
    assert!(first.settle(&Usage::new().usd(Usd::dollars(1))).unwrap().already);
    assert_eq!(count(&keeper, "team=red", "usd"), (1_000_000_000, 0));
}

/// A caller hung up. Its slot stayed taken until the hold's time was over, and its money came back although the provider
/// had done the work.
#[test]
fn a_permit_that_is_dropped_frees_its_slot_and_charges_its_money() {
    let clock = ManualClock::at(start());
    let keeper = Keeper::builder()
        .limit(Limit::slots(1).by("key"))
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team"))
        .clock(clock.clone())
        .build()
        .unwrap();
    let call = alice().usd(Usd::dollars(1));
    let permit = granted(keeper.acquire(&call).unwrap());
    let denial = denied(keeper.acquire(&call).unwrap());
    assert!(matches!(denial.when, When::WhenFreed { .. }), "{denial}");
    drop(permit);
    let next = granted(keeper.acquire(&call).unwrap());
    assert_eq!(count(&keeper, "team=red", "usd"), (1_000_000_000, 1_000_000_000));
    next.release().unwrap();
    next.release().unwrap();
    assert_eq!(count(&keeper, "team=red", "usd"), (1_000_000_000, 0));
    assert_eq!(keeper.store().parts(&PartsOf::Open, None, 10).unwrap().len(), 0);
    proved(&keeper, &clock);
}

/// A stream outlived its hold. What it really cost was booked nowhere, because the store had forgotten the call.
#[test]
fn a_settle_after_the_hold_has_expired_books_what_it_cost() {
    let clock = ManualClock::at(start());
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team"))
        .limit(Limit::tokens(1_000).lifetime().by("key"))
        .clock(clock.clone())
        .build()
        .unwrap();
    let permit = granted(keeper.acquire(&alice().usd(Usd::dollars(1)).tokens(10).life(secs(60))).unwrap());
    clock.advance(secs(61));
    keeper.sweep().unwrap();
    assert_eq!(count(&keeper, "team=red", "usd"), (1_000_000_000, 0), "the estimate");
    assert_eq!(count(&keeper, "key=alice", "tokens"), (0, 0), "given back");
    permit.settle(&Usage::new().usd(Usd::dollars(3)).tokens(25)).unwrap();
    assert_eq!(count(&keeper, "team=red", "usd"), (3_000_000_000, 0));
    assert_eq!(count(&keeper, "key=alice", "tokens"), (25, 0));
    proved(&keeper, &clock);
}

#[test]
fn a_stream_is_kept_alive_and_charged_for_what_it_has_used() {
    let clock = ManualClock::at(start());
    let keeper =
        Keeper::builder().limit(Limit::usd(Usd::dollars(5)).per_day().by("team")).clock(clock.clone()).build().unwrap();
    let permit = granted(keeper.acquire(&alice().usd(Usd::dollars(1)).life(secs(60))).unwrap());
    clock.advance(secs(50));
    assert_eq!(permit.extend(secs(60)).unwrap(), Some(start().saturating_add(secs(110))));
    assert!(!permit.so_far(&Usage::new().usd(Usd::dollars(4))).unwrap().is_over);
    assert!(permit.so_far(&Usage::new().usd(Usd::dollars(6))).unwrap().is_over);
    assert_eq!(count(&keeper, "team=red", "usd"), (0, 6_000_000_000));
    drop(permit);
    keeper.sweep().unwrap();
    assert_eq!(count(&keeper, "team=red", "usd"), (6_000_000_000, 0));
    let denial = denied(keeper.acquire(&alice().usd(Usd::cents(1))).unwrap());
    assert_eq!(denial.reply(&Table::default(), start()).status, 402);
    proved(&keeper, &clock);
}

#[test]
fn what_no_usage_states_is_priced_or_settles_as_it_was_held() {
    let mut book = Book::new();
    let price = Price::new().input("2".parse().unwrap()).output("10".parse().unwrap());
    book.push(Entry::new("gpt-x", price)).unwrap();
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team"))
        .prices(book)
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    let call = alice().with("model", "gpt-x").estimate(Usage::new().input(1_000_000).output(100_000));
    let permit = granted(keeper.acquire(&call).unwrap());
    assert_eq!(count(&keeper, "team=red", "usd"), (0, 3_000_000_000));
    let settled = permit.settle(&Usage::new().input(500_000).output(10_000)).unwrap();
    assert_eq!(settled.cost, Some(Usd::cents(110)));
    let unknown = alice().with("model", "nobody-knows").usd(Usd::dollars(1));
    let settled = granted(keeper.acquire(&unknown).unwrap()).settle(&Usage::new().input(5)).unwrap();
    assert_eq!(settled.cost, None);
    assert_eq!(count(&keeper, "team=red", "usd"), (2_100_000_000, 0));
}

#[test]
fn each_alert_is_sent_once() {
    let heard: Arc<Mutex<Vec<u16>>> = Arc::default();
    let sink = heard.clone();
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(10)).per_day().by("team").alert_at_percent([80, 100]))
        .alerts(move |alert: &Alert| sink.lock().unwrap().push(alert.percent))
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    for _ in 0..10 {
        let permit = granted(keeper.acquire(&alice().usd(Usd::dollars(1))).unwrap());
        permit.settle(&Usage::new().usd(Usd::dollars(1))).unwrap();
    }
    assert_eq!(*heard.lock().unwrap(), [80, 100]);
    denied(keeper.acquire(&alice().usd(Usd::dollars(1))).unwrap());
    assert_eq!(heard.lock().unwrap().len(), 2);
}

#[test]
fn a_client_key_opens_its_gates_or_is_told_no_more_than_it_may_know() {
    let records = Arc::new(MemoryClients::new());
    let limits = [Limit::requests(5).per_day().by("key").named("calls")];
    let keeper =
        Keeper::builder().limits(limits).clients(records.clone()).clock(ManualClock::at(start())).build().unwrap();
    let (record, secret) = clients::create(&*records, None, "kw", &KeyPatch::default()).unwrap();
    let call = Call::new().secret(secret).with("model", "small");
    granted(keeper.acquire(&call).unwrap()).settle(&Usage::new()).unwrap();
    assert_eq!(count(&keeper, &format!("key={}", record.id), "calls"), (1, 0));
    let rows = keeper.store().rows(&Filter::default(), 0, 10).unwrap();
    assert_eq!(rows.len(), 1);

    let denial = denied(keeper.acquire(&Call::new().secret(Secret::new("kw_nobody-has-this-one"))).unwrap());
    assert_eq!((denial.gate, denial.to_string().as_str()), (Some(Cause::Unknown), "refused: the API key is not valid"));
    assert_eq!(denial.reply(&Table::default(), start()).status, 401);
    let patch = KeyPatch { models: Some(vec!["large".to_owned()]), ..KeyPatch::default() };
    clients::change(&*records, &record.id, &patch).unwrap();
    assert_eq!(denied(keeper.acquire(&call).unwrap()).gate, Some(Cause::Model));
    assert_eq!(count(&keeper, &format!("key={}", record.id), "calls"), (1, 0), "a shut gate consumes nothing");
}

fn openai() -> Pool {
    Pool::builder("openai").text("sk-one-11111,sk-two-22222").each_limited([Limit::slots(1)]).build().unwrap()
}

#[test]
fn a_call_goes_out_with_a_key_that_has_room_and_moves_on_when_it_fails() {
    let clock = ManualClock::at(start());
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team"))
        .limit(Limit::requests(100).per_minute().by("upstream"))
        .pool(openai())
        .clock(clock.clone())
        .build()
        .unwrap();
    let call = alice().usd(Usd::dollars(1)).pool("openai");
    let first = granted(keeper.acquire(&call).unwrap());
    assert_eq!(first.secret().unwrap().expose(), "sk-one-11111");
    let (one, two) = (first.key().unwrap(), keeper.pool("openai").unwrap().keys()[1].id().clone());
    clock.advance(secs(1));
    assert!(matches!(first.failover(&Outcome::new(Class::RateLimited)).unwrap(), Moved::On));
    assert_eq!(first.key(), Some(two.clone()));
    assert_eq!(count(&keeper, "team=red", "usd"), (0, 1_000_000_000), "held once");
    assert_eq!(count(&keeper, &format!("upstream={one}"), "slots"), (0, 0));
    assert_eq!(count(&keeper, &format!("upstream={two}"), "requests"), (0, 1));

    // One key cools, the other is busy: nothing is left, and the client's limits have consumed nothing.
    let denial = denied(keeper.acquire(&call).unwrap());
    let pool = denial.exhausted.as_ref().unwrap();
    assert_eq!((pool.pool.as_str(), pool.key.as_ref()), ("openai", Some(&one)));
    assert_eq!(count(&keeper, "team=red", "usd"), (0, 1_000_000_000));
    let Moved::Denied(stuck) = first.failover(&Outcome::new(Class::Transient)).unwrap() else {
        panic!("no key is left")
    };
    assert!(stuck.exhausted.is_some());
    first.settle(&Usage::new().usd(Usd::dollars(2))).unwrap();
    assert_eq!(count(&keeper, "team=red", "usd"), (2_000_000_000, 0));
    assert_eq!(keeper.store().parts(&PartsOf::Open, None, 10).unwrap().len(), 0);
    let rows = keeper.store().rows(&Filter::default(), 0, 10).unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    proved(&keeper, &clock);
}

/// The same request came again while its first answer was on its way, and went out a second time with another key.
#[test]
fn an_operation_that_comes_back_keeps_its_key() {
    let pool = Pool::builder("openai").text("sk-one-11111,sk-two-22222,sk-three-33333").build().unwrap();
    let keeper = Keeper::builder()
        .limit(Limit::requests(9).per_day().by("key"))
        .pool(pool)
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    let call = alice().pool("openai").under(OpId::host("req-7").unwrap());
    let first = granted(keeper.acquire(&call).unwrap());
    let other = granted(keeper.acquire(&alice().pool("openai")).unwrap());
    let again = granted(keeper.acquire(&call).unwrap());
    assert_eq!((first.key(), first.remaining()), (again.key(), again.remaining()));
    assert_ne!(first.key(), other.key());
    assert_eq!(count(&keeper, "key=alice", "requests"), (0, 2));
}

#[test]
fn another_policy_takes_over_without_losing_a_count() {
    let clock = ManualClock::at(start());
    let budget = |dollars| Limit::usd(Usd::dollars(dollars)).per_day().by("team");
    let keeper = Keeper::builder().limit(budget(1)).clock(clock.clone()).build().unwrap();
    let permit = granted(keeper.acquire(&alice().usd(Usd::dollars(1))).unwrap());
    denied(keeper.acquire(&alice().usd(Usd::dollars(1))).unwrap());
    let error = keeper.apply([budget(9), budget(8)], [], None).unwrap_err();
    assert_eq!(error.field(), Some("limits[1]"));
    denied(keeper.acquire(&alice().usd(Usd::dollars(1))).unwrap());
    keeper.apply([budget(3)], [], None).unwrap();
    permit.settle(&Usage::new().usd(Usd::dollars(1))).unwrap();
    let second = granted(keeper.acquire(&alice().usd(Usd::dollars(2))).unwrap());
    assert_eq!(second.remaining()[0].remaining, Some(Amount::ZERO));
    second.release().unwrap();
    proved(&keeper, &clock);
}

#[test]
fn a_charge_asks_nobody_before_and_is_booked_or_refused() {
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(1)).per_day().by("team"))
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    let call = alice().under(OpId::host("c-1").unwrap());
    assert_eq!(keeper.charge(&call, &Usage::new().usd(Usd::cents(60))).unwrap(), None);
    assert_eq!(keeper.charge(&call, &Usage::new().usd(Usd::cents(60))).unwrap(), None, "once");
    assert_eq!(count(&keeper, "team=red", "usd"), (600_000_000, 0));
    let denial = keeper.charge(&alice(), &Usage::new().usd(Usd::cents(60))).unwrap().unwrap();
    assert_eq!(denial.blockers[0].short.cap, Cap::At(Usd::dollars(1).into()));
    let red: Subject = "team=red".parse().unwrap();
    keeper.reset(&denial.blockers[0].limit, &red).unwrap();
    assert_eq!(count(&keeper, "team=red", "usd"), (0, 0));
}

/// Eight threads and one budget: exactly as many calls pass as fit, and every nano-dollar is booked once.
#[test]
fn threads_share_a_budget_to_the_nano_dollar() {
    for store in [MemoryStore::new(), MemoryStore::builder().shards(1).build().unwrap()] {
        let clock = ManualClock::at(start());
        let keeper = Keeper::builder()
            .limit(Limit::usd(Usd::cents(100)).per_day().by("team"))
            .limit(Limit::slots(50).by("key"))
            .store(store)
            .clock(clock.clone())
            .build()
            .unwrap();
        let passed: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let keeper = keeper.clone();
                    scope.spawn(move || {
                        let call = alice().usd(Usd::cents(1));
                        let mut passed = 0;
                        for round in 0..40 {
                            let Some(permit) = keeper.acquire(&call).unwrap().granted() else { continue };
                            match (round + thread) % 3 {
                                0 => permit.release().unwrap(),
                                1 => drop(permit),
                                _ => drop(permit.settle(&Usage::new().usd(Usd::cents(1))).unwrap()),
                            }
                            passed += u64::from((round + thread) % 3 != 0);
                        }
                        passed
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        keeper.sweep().unwrap();
        let cents = i64::try_from(passed).unwrap();
        assert_eq!(count(&keeper, "team=red", "usd"), (cents * 10_000_000, 0));
        assert_eq!(cents, 100, "all of it, and no more");
        assert_eq!(keeper.store().parts(&PartsOf::Open, None, 10).unwrap().len(), 0);
        proved(&keeper, &clock);
    }
}

/// Whoever asked last in a crowd was served first, and some never were.
#[test]
fn who_waits_is_served_in_the_order_of_coming() {
    let keeper = Keeper::builder().limit(Limit::slots(1).by("key")).build().unwrap();
    let busy = granted(keeper.acquire(&alice()).unwrap());
    let order: Mutex<Vec<usize>> = Mutex::default();
    std::thread::scope(|scope| {
        for place in 0..5 {
            let (keeper, order) = (&keeper, &order);
            let entered = scope.spawn(move || {
                let permit = granted(keeper.acquire_within(&alice(), Duration::from_secs(600)).unwrap());
                order.lock().unwrap().push(place);
                permit.settle(&Usage::new()).unwrap();
            });
            // Each is in line before the next one comes.
            while keeper.in_line() <= place && !entered.is_finished() {
                std::thread::yield_now();
            }
        }
        assert!(order.lock().unwrap().is_empty());
        busy.settle(&Usage::new()).unwrap();
    });
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(keeper.in_line(), 0);
    granted(keeper.acquire(&alice()).unwrap()).release().unwrap();
}

#[test]
fn who_waits_for_an_instant_is_served_then_and_no_longer_than_it_would() {
    let clock = ManualClock::at(start());
    let keeper = Keeper::builder()
        .limit(Limit::requests(1).per_minute().fixed().by("key"))
        .limit(Limit::requests(2).lifetime().by("team"))
        .clock(clock.clone())
        .build()
        .unwrap();
    granted(keeper.acquire(&alice()).unwrap()).settle(&Usage::new()).unwrap();
    let denial = denied(keeper.acquire_within(&alice(), Duration::from_millis(5)).unwrap());
    assert_eq!(denial.retry_at(), Some(start().saturating_add(secs(60))));
    assert_eq!(keeper.in_line(), 0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| keeper.acquire_within(&alice(), Duration::from_secs(600)).unwrap());
        while keeper.in_line() == 0 {
            std::thread::yield_now();
        }
        clock.advance(secs(60));
        granted(waiting.join().unwrap()).settle(&Usage::new()).unwrap();
    });
    let never = denied(keeper.acquire_within(&alice(), Duration::from_secs(600)).unwrap());
    assert_eq!(never.when, When::Never, "it is not waited for");
}

/// A waiter slept through the end of a call whose permit was only dropped.
#[test]
fn a_dropped_permit_wakes_who_waits() {
    let keeper = Keeper::builder().limit(Limit::slots(1).by("key")).build().unwrap();
    let busy = granted(keeper.acquire(&alice()).unwrap());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| keeper.acquire_within(&alice(), Duration::from_secs(600)).unwrap());
        while keeper.in_line() == 0 {
            std::thread::yield_now();
        }
        drop(busy);
        granted(waiting.join().unwrap()).release().unwrap();
    });
}

/// A balance that was used up said that waiting would not help, on the day before its refill.
#[test]
fn a_balance_that_is_refilled_says_when() {
    use keyward::quota::{Every, Refill, RefillPolicy};
    let refill = Refill { policy: RefillPolicy::Set, amount: Amount::new(3), every: Every::Day };
    let keeper = Keeper::builder()
        .limit(Limit::credits(3).refill(refill).by("key"))
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    for _ in 0..3 {
        granted(keeper.acquire(&alice()).unwrap()).settle(&Usage::new()).unwrap();
    }
    let denial = denied(keeper.acquire(&alice()).unwrap());
    assert_eq!(denial.when, When::At("2026-03-09T00:00:00Z".parse().unwrap()), "{denial}");
}

/// A policy was edited while calls were under way; their holds were lost, and the day began anew.
#[cfg(feature = "serde")]
#[test]
fn a_policy_is_put_in_force_as_data() {
    use keyward::policy::{Policy, Reference};
    let read = |text: &str| serde_json::from_str::<Policy>(text).unwrap().build(Reference::read).unwrap();
    let keeper = Keeper::builder()
        .policy(read(r#"{"limits": ["5 USD / day by team", "2 requests / 1m by key"]}"#))
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    let permit = granted(keeper.acquire(&alice().usd(Usd::dollars(4))).unwrap());
    keeper.apply_policy(read(r#"{"limits": ["9 USD / day by team"]}"#)).unwrap();
    assert_eq!(count(&keeper, "team=red", "usd"), (0, 4_000_000_000));
    permit.settle(&Usage::new().usd(Usd::dollars(3))).unwrap();
    assert_eq!(granted(keeper.acquire(&alice().usd(Usd::dollars(6))).unwrap()).remaining().len(), 1);
    let twice = Keeper::builder().limit(Limit::usd(Usd::dollars(1)).per_day().by("team"));
    let error = twice.policy(read(r#"{"limits": ["9 USD / day by team"]}"#)).build().unwrap_err();
    assert_eq!(error.field(), Some("policy.limits"));
}

/// A caller named somebody else in a field of the call, and spent that one's budget with a key of its own.
#[test]
fn a_client_key_decides_whose_call_it_is() {
    let records = Arc::new(MemoryClients::new());
    let keeper = Keeper::builder()
        .limit(Limit::requests(5).per_day().by("key"))
        .clients(records.clone())
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    let (record, secret) = clients::create(&*records, None, "kw", &KeyPatch::default()).unwrap();
    let call = Call::new().with("key", "bob").with("team", "red").secret(secret);
    granted(keeper.acquire(&call).unwrap()).settle(&Usage::new()).unwrap();
    assert_eq!(count(&keeper, "key=bob", "requests"), (0, 0));
    assert_eq!(count(&keeper, &format!("key={}", record.id), "requests"), (1, 0));
    let mut filter = Filter::default();
    filter.dimension = Some(("key".to_owned(), record.id.to_string()));
    assert_eq!(keeper.store().rows(&filter, 0, 10).unwrap().len(), 1, "the ledger says the same");
}

/// The same request came back with another amount, and was taken for the one that had been booked.
#[test]
fn an_operation_that_comes_back_with_another_amount_is_a_conflict() {
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(9)).per_day().by("team"))
        .clock(ManualClock::at(start()))
        .build()
        .unwrap();
    let call = alice().under(OpId::host("c-1").unwrap());
    assert_eq!(keeper.charge(&call, &Usage::new().usd(Usd::cents(60))).unwrap(), None);
    let error = keeper.charge(&call, &Usage::new().usd(Usd::cents(61))).unwrap_err();
    assert!(error.is_conflict() && error.field() == Some("call.usd"), "{error}");
    assert_eq!(count(&keeper, "team=red", "usd"), (600_000_000, 0));
    let held = alice().usd(Usd::cents(1)).under(OpId::host("c-2").unwrap());
    granted(keeper.acquire(&held).unwrap()).release().unwrap();
    let error = keeper.acquire(&held.life(secs(5))).unwrap_err();
    assert_eq!(error.field(), Some("call.life"));
}

/// A call that was priced by its model was given up. Its budget was charged, and reports found a call that had cost nothing.
#[test]
fn an_expiry_reports_what_it_charged() {
    let clock = ManualClock::at(start());
    let mut book = Book::new();
    book.push(Entry::new("gpt-x", Price::new().input("2".parse().unwrap()))).unwrap();
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team"))
        .prices(book)
        .clock(clock.clone())
        .build()
        .unwrap();
    let call = alice().with("model", "gpt-x").estimate(Usage::new().input(1_000_000));
    drop(granted(keeper.acquire(&call).unwrap()));
    proved(&keeper, &clock);
    assert_eq!(count(&keeper, "team=red", "usd"), (2_000_000_000, 0));
    let sum = keyward::store::sums(keeper.store(), &Filter::default()).unwrap();
    assert_eq!((sum.rows, sum.usd), (1, 2_000_000_000));
}

/// Every limit of the keeper's was relaxed, the key's own budget was not, and a crash forgot what it had spent.
#[test]
fn a_keys_own_budget_is_not_relaxed_with_the_call() {
    use keyward::keys::{Facts, Way};
    use keyward::plan::Plan;
    let asks = |limit: Limit| {
        let pool = Pool::builder("openai").text("sk-one-11111").each_limited([limit]).build().unwrap();
        pool.adopt(&MemoryStore::new(), start()).unwrap();
        let mut plan = Plan { relaxed: true, ..Plan::new(start()).of(OpId::at(start(), 1)) };
        let estimate = Usage::new().usd(Usd::cents(1));
        let facts = Facts { estimate: Some(&estimate), ..Facts::default() };
        let mut search = pool.search(facts);
        loop {
            match search.pick(&mut plan, start()).unwrap() {
                Way::Proposed(_) => return plan.relaxed,
                Way::Look(look) => {
                    let nothing = vec![None; look.subjects().len()];
                    search.know(look, nothing, start()).unwrap();
                }
                Way::Exhausted(exhausted) => panic!("{exhausted}"),
            }
        }
    };
    assert!(!asks(Limit::usd(Usd::dollars(1)).per_day()));
    assert!(asks(Limit::requests(1).per_day().relaxed()));
}

/// A keeper with a price, a monthly budget and two upstream keys; what a call that says a million tokens holds is $2.
fn priced(clock: &ManualClock) -> (Keeper, Call) {
    let mut book = Book::new();
    book.push(Entry::new("gpt-x", Price::new().input("2".parse().unwrap()))).unwrap();
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(50)).per_month().by("team"))
        .prices(book)
        .pool(Pool::builder("openai").text("sk-one-11111,sk-two-22222").build().unwrap())
        .clock(clock.clone())
        .build()
        .unwrap();
    (keeper, alice().with("model", "gpt-x").pool("openai").estimate(Usage::new().input(1_000_000)))
}

/// What the rows of usage say that everything has cost, and what the budget was charged.
fn told<S: Store>(keeper: &Keeper<S>, clock: &ManualClock) -> (i128, i64) {
    proved(keeper, clock);
    let sum = keyward::store::sums(keeper.store(), &Filter::default()).unwrap();
    (sum.usd, count(keeper, "team=red", "usd").0)
}

/// A stream broke off, nobody knew what it had cost, and its budget was charged what was held. Reports found a call that had
/// cost nothing.
#[test]
fn what_no_usage_states_is_reported_as_it_was_charged() {
    let clock = ManualClock::at(start());
    let (keeper, call) = priced(&clock);
    granted(keeper.acquire(&call).unwrap()).settle(&Usage::new()).unwrap();
    assert_eq!(told(&keeper, &clock), (2_000_000_000, 2_000_000_000));
    let sum = keyward::store::sums(keeper.store(), &Filter::default()).unwrap();
    assert_eq!((sum.requests, sum.tokens), (1, 1_000_000));

    // Of a stream that was known to be further than it was to go, that is what was held.
    let permit = granted(keeper.acquire(&call).unwrap());
    let _ = permit.so_far(&Usage::new().input(3_000_000)).unwrap();
    permit.settle(&Usage::new()).unwrap();
    assert_eq!(told(&keeper, &clock), (8_000_000_000, 8_000_000_000));
}

/// A stream had used more than was held for it, its hold ended before it did, and reports found what it was to use at first.
/// When it was settled at last it stayed charged for what it had never used.
#[test]
fn a_call_that_went_further_than_it_was_to_go_is_charged_and_settled_late_all_the_same() {
    fn check<S: Store>(store: S) {
        let clock = ManualClock::at(start());
        let (_, call) = priced(&clock);
        let mut book = Book::new();
        book.push(Entry::new("gpt-x", Price::new().input("2".parse().unwrap()))).unwrap();
        let limit = Limit::usd(Usd::dollars(50)).per_month().by("team");
        let pool = Pool::builder("openai").text("sk-one-11111,sk-two-22222").build().unwrap();
        let keeper = Keeper::builder().limit(limit).prices(book).pool(pool).store(store).clock(clock.clone());
        let keeper = keeper.build().unwrap();

        let permit = granted(keeper.acquire(&call).unwrap());
        let _ = permit.so_far(&Usage::new().input(2_000_000)).unwrap();
        clock.advance(Length::HOUR);
        assert_eq!(told(&keeper, &clock), (4_000_000_000, 4_000_000_000));
        permit.settle(&Usage::new().input(2_500_000)).unwrap();
        assert_eq!(told(&keeper, &clock), (5_000_000_000, 5_000_000_000));

        let permit = granted(keeper.acquire(&call).unwrap());
        let _ = permit.so_far(&Usage::new().input(1_500_000)).unwrap();
        drop(permit);
        assert_eq!(told(&keeper, &clock), (8_000_000_000, 8_000_000_000));
        let sum = keyward::store::sums(keeper.store(), &Filter::default()).unwrap();
        assert_eq!(sum.tokens, 4_000_000);
    }
    check(MemoryStore::new());
    #[cfg(feature = "sqlite")]
    check(keyward::SqliteStore::in_memory().unwrap());
}

/// A call went on with another key, its hold ended before it did, and its settle was lost: its estimate stayed charged, while
/// reports found what it had cost beside that.
#[test]
fn a_call_that_moved_to_another_key_is_settled_late_too() {
    let clock = ManualClock::at(start());
    let (keeper, call) = priced(&clock);
    let permit = granted(keeper.acquire(&call).unwrap());
    assert!(matches!(permit.failover(&Outcome::new(Class::RateLimited)).unwrap(), Moved::On));
    clock.advance(Length::HOUR);
    proved(&keeper, &clock);
    assert_eq!(count(&keeper, "team=red", "usd").0, 2_000_000_000);
    permit.settle(&Usage::new().input(500_000)).unwrap();
    assert_eq!(told(&keeper, &clock), (1_000_000_000, 1_000_000_000));
}

/// One model that a key may not use took the key from all others for an hour.
#[test]
fn a_model_that_is_refused_takes_the_key_from_no_other_model() {
    let clock = ManualClock::at(start());
    let (keeper, call) = priced(&clock);
    let permit = granted(keeper.acquire(&call).unwrap());
    let first = permit.key().unwrap();
    assert!(matches!(permit.failover(&Outcome::new(Class::ModelRefused)).unwrap(), Moved::On));
    assert_ne!(permit.key().unwrap(), first);
    permit.settle(&Usage::new().input(1)).unwrap();
    let keys = |model: &str| -> Vec<_> {
        let call = alice().with("model", model).usd(Usd::cents(1)).pool("openai");
        (0..2).map(|_| granted(keeper.acquire(&call).unwrap()).key().unwrap()).collect()
    };
    assert!(keys("gpt-y").contains(&first));
    assert!(!keys("gpt-x").contains(&first));
}

/// A client went away while its call tried a key whose cooldown was over, and nobody could use the key for a minute.
#[test]
fn a_call_that_is_given_up_tries_its_key_no_more() {
    let clock = ManualClock::at(start());
    let pool = Pool::builder("openai").text("sk-one-11111").build().unwrap();
    let keeper = Keeper::builder().limit(Limit::slots(9)).pool(pool).clock(clock.clone()).build().unwrap();
    let call = Call::new().pool("openai");
    let permit = granted(keeper.acquire(&call).unwrap());
    permit.release_as(&Outcome::new(Class::RateLimited)).unwrap();
    clock.advance(secs(2));
    let probe = granted(keeper.acquire(&call).unwrap());
    assert!(denied(keeper.acquire(&call).unwrap()).exhausted.is_some(), "one call at a time tries it");
    drop(probe);
    assert!(keeper.acquire(&call).unwrap().granted().is_some());
}

/// A call had tried every key, and its client was told that waiting would not help, or to wait for the key that it had not.
#[test]
fn a_call_that_has_tried_every_key_is_told_when_one_can_be_used_again() {
    let clock = ManualClock::at(start());
    let (keeper, call) = priced(&clock);
    let permit = granted(keeper.acquire(&call).unwrap());
    let wait = |seconds| Outcome::new(Class::RateLimited).with_hint(keyward::Hint::Wait(secs(seconds)));
    assert!(matches!(permit.failover(&wait(20)).unwrap(), Moved::On));
    let Moved::Denied(denial) = permit.failover(&wait(60)).unwrap() else { panic!("both keys cool") };
    assert_eq!(denial.when, When::At(start().saturating_add(secs(20))));
    assert_eq!(denial.response(&keyward::http::Options::default(), keeper.now()).status, 429);
    permit.release().unwrap();
    assert_eq!(denied(keeper.acquire(&call).unwrap()).when, denial.when);
}
