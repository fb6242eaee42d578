//! A store that is down: what is refused, what is decided without it, and how it is left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use keyward::account::{Account, Audit, Part, Row};
use keyward::keeper::{Permit, StoreState};
use keyward::keys::Pool;
use keyward::limit::WhenDown;
use keyward::picture::View;
use keyward::plan::{LimitRecord, Plan, Verdict};
use keyward::quota::Table;
use keyward::store::{Filter, PartKey, PartsOf, Total, verify};
use keyward::{
    Amount, Call, Clock, Decision, Denial, Keeper, Length, Limit, ManualClock, MemoryStore, OpId, Store, StoreError,
    Subject, Timestamp, Usage, Usd, When,
};

/// A store that is down when it is told so.
#[derive(Clone, Default)]
struct Shaky {
    store: Arc<MemoryStore>,
    down: Arc<AtomicBool>,
    /// Whether it does what it is asked, and its answers are lost.
    mute: Arc<AtomicBool>,
    /// How often it was asked while it was down.
    asked: Arc<AtomicUsize>,
}

impl Shaky {
    fn goes(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::SeqCst)
    }

    fn up(&self) -> Result<&MemoryStore, StoreError> {
        if self.down.load(Ordering::SeqCst) {
            self.asked.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::unavailable("unplugged"));
        }
        Ok(&self.store)
    }
}

impl Store for Shaky {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        let verdict = self.up()?.apply(plan, now)?;
        if self.mute.load(Ordering::SeqCst) {
            return Err(StoreError::unknown("the line is dead"));
        }
        Ok(verdict)
    }
    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        self.up()?.sweep(now, most)
    }
    fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        self.up()?.account(of)
    }
    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        self.up()?.accounts(after, most)
    }
    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        self.up()?.parts(of, after, most)
    }
    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        self.up()?.rows(filter, after, most)
    }
    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.up()?.totals()
    }
    fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.up()?.compact(before)
    }
    fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        self.up()?.limits()
    }
}

fn start() -> Timestamp {
    "2026-03-08T09:30:00Z".parse().unwrap()
}

fn later(millis: i64) -> Timestamp {
    start().saturating_add(Length::from_micros(millis * 1_000).unwrap())
}

fn alice() -> Call {
    Call::new().with("key", "alice").with("team", "red")
}

fn built(limits: impl IntoIterator<Item = Limit>) -> (Keeper<Shaky>, Shaky, ManualClock) {
    let (store, clock) = (Shaky::default(), ManualClock::at(start()));
    let pool = Pool::builder("openai").text("sk-one-11111").build().unwrap();
    let keeper = Keeper::builder().limits(limits).pool(pool).clock(clock.clone()).store(store.clone()).build().unwrap();
    (keeper, store, clock)
}

fn granted(decision: Decision<Permit<Shaky>>) -> Permit<Shaky> {
    decision.granted().expect("a permit")
}

fn denied(decision: Decision<Permit<Shaky>>) -> Denial {
    decision.denied().expect("a denial")
}

fn local(percent: u8) -> WhenDown {
    WhenDown::InProcess { percent }
}

#[test]
fn money_is_refused_while_the_store_is_down_and_says_when_to_come_back() {
    let rate = Limit::requests(10).per_minute().by("key").when_down(local(100));
    let (keeper, store, clock) = built([rate, Limit::usd(Usd::dollars(5)).per_day().by("team")]);
    store.goes(true);
    let denial = denied(keeper.acquire(&alice().usd(Usd::cents(1))).unwrap());
    assert!(denial.store_down && !denial.is_local);
    assert_eq!(denial.when, When::At(later(100)));
    assert_eq!(keeper.store_state(), StoreState::Down { until: later(100) });
    let reply = denial.reply(&Table::default(), start());
    assert_eq!((reply.status, reply.code.as_ref()), (503, "store_unavailable"));
    assert!(denial.to_string().ends_with("come back at 2026-03-08T09:30:00.100Z"), "{denial}");
    let denial = keeper.peek(&alice().usd(Usd::cents(1))).unwrap().unwrap();
    assert!(denial.store_down);
    assert!(keeper.charge(&alice(), &Usage::new().usd(Usd::cents(1))).unwrap_err().is_store());

    store.goes(false);
    clock.set(later(100));
    granted(keeper.acquire(&alice().usd(Usd::cents(1))).unwrap()).settle(&Usage::new()).unwrap();
    assert_eq!(keeper.store_state(), StoreState::Up);
}

/// Four processes shared a limit; when their store was down, each admitted all of it.
#[test]
fn a_limit_that_says_so_is_decided_here_on_its_share() {
    let rate = Limit::requests(10).per_day().by("key").when_down(local(25));
    let (keeper, store, clock) = built([rate]);
    for _ in 0..9 {
        granted(keeper.acquire(&alice()).unwrap()).settle(&Usage::new()).unwrap();
    }
    store.goes(true);
    let first = granted(keeper.acquire(&alice()).unwrap());
    assert!(first.is_local());
    assert_eq!(first.remaining()[0].remaining, Some(Amount::new(1)));
    assert_eq!(keeper.peek(&alice()).unwrap(), None);
    assert_eq!(first.settle(&Usage::new()).unwrap().booked.len(), 1);
    assert!(first.settle(&Usage::new()).unwrap().already);
    granted(keeper.acquire(&alice()).unwrap()).release().unwrap();
    granted(keeper.acquire(&alice()).unwrap()).settle(&Usage::new()).unwrap();
    let denial = denied(keeper.acquire(&alice()).unwrap());
    assert!(denial.is_local && !denial.store_down, "{denial}");
    assert_eq!((denial.blockers.len(), denial.retry_at()), (1, Some("2026-03-09T00:00:00Z".parse().unwrap())));
    assert_eq!(keeper.peek(&alice()).unwrap(), Some(denial));

    // The store has heard of none of it, and what it knew is still true.
    store.goes(false);
    clock.set(later(20_000));
    let last = granted(keeper.acquire(&alice()).unwrap());
    assert!(!last.is_local());
    assert_eq!(last.remaining()[0].remaining, Some(Amount::ZERO));
    drop(last);
    assert_eq!(store.store.rows(&Filter::default(), 0, 100).unwrap().len(), 9);
}

/// A permit was given out without the store and settled when the store was back, which had never heard of it.
#[test]
fn what_is_held_here_ends_here() {
    let slots = Limit::slots(4).by("key").when_down(local(25));
    let (keeper, store, clock) = built([slots]);
    store.goes(true);
    let permit = granted(keeper.acquire(&alice()).unwrap());
    assert!(matches!(denied(keeper.acquire(&alice()).unwrap()).when, When::WhenFreed { .. }));
    drop(permit);
    let permit = granted(keeper.acquire(&alice()).unwrap());
    assert!(permit.extend(Length::HOUR).unwrap() > permit.expires().map(|_| start()));
    store.goes(false);
    clock.set(later(1_000));
    granted(keeper.acquire(&alice()).unwrap()).settle(&Usage::new()).unwrap();
    permit.settle(&Usage::new()).unwrap();
    assert_eq!(store.store.rows(&Filter::default(), 0, 10).unwrap().len(), 1, "that of the call that it admitted");
    store.goes(true);
    granted(keeper.acquire(&alice()).unwrap()).release().unwrap();
}

#[test]
fn a_leaking_limit_has_a_share_of_its_burst_too() {
    let (keeper, store, _) = built([Limit::requests(60).per_minute().gcra(10).when_down(local(50))]);
    store.goes(true);
    let passed = (0..20).filter(|_| {
        keeper.acquire(&Call::new()).unwrap().granted().is_some_and(|permit| permit.settle(&Usage::new()).is_ok())
    });
    assert_eq!(passed.count(), 5);
}

#[test]
fn every_limit_that_concerns_a_call_has_a_say_and_keys_need_the_store() {
    let rate = Limit::requests(10).per_minute().by("key").when_down(local(100));
    let hard = Limit::tokens(10).per_minute().by("team").if_present().assume(1);
    let (keeper, store, _) = built([rate, hard]);
    store.goes(true);
    assert!(denied(keeper.acquire(&alice()).unwrap()).store_down);
    let teamless = Call::new().with("key", "alice");
    assert!(granted(keeper.acquire(&teamless).unwrap()).is_local(), "the hard limit does not concern it");
    assert!(denied(keeper.acquire(&teamless.pool("openai")).unwrap()).store_down);
    let (keeper, store, _) = built([]);
    store.goes(true);
    assert!(denied(keeper.acquire(&alice()).unwrap()).store_down, "nobody has said otherwise");
}

#[test]
fn an_edited_policy_keeps_what_was_used_here() {
    let rate = |amount| Limit::requests(amount).per_day().by("key").when_down(local(50));
    let (keeper, store, clock) = built([rate(4)]);
    store.goes(true);
    granted(keeper.acquire(&alice()).unwrap()).settle(&Usage::new()).unwrap();
    store.goes(false);
    clock.set(later(200));
    keeper.apply([rate(6)], [], None).unwrap();
    store.goes(true);
    let permit = granted(keeper.acquire(&alice()).unwrap());
    assert_eq!(permit.remaining()[0].remaining, Some(Amount::new(1)));
}

/// A store that was overloaded got every request twice, and then all of them once more.
#[test]
fn a_store_that_is_down_is_left_alone_longer_each_time() {
    let (keeper, store, clock) = built([Limit::requests(10).per_minute().by("key")]);
    store.goes(true);
    let ask = || denied(keeper.acquire(&alice()).unwrap());
    // While it is left alone, nobody asks it; then one verb does, once.
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let until = ask().retry_at().unwrap();
        assert_eq!(store.asked(), 1);
        ask();
        clock.set(until.saturating_sub(Length::from_micros(1).unwrap()));
        ask();
        let _ = keeper.peek(&alice());
        assert_eq!(store.asked(), 0);
        pauses.push(until.since(start()).as_millis());
        clock.set(until);
    }
    let each: Vec<u128> = std::iter::once(pauses[0]).chain(pauses.windows(2).map(|two| two[1] - two[0])).collect();
    assert_eq!(each, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    store.goes(false);
    granted(keeper.acquire(&alice()).unwrap()).release().unwrap();
    store.goes(true);
    let until = ask().retry_at().unwrap();
    assert_eq!(until.since(clock.now()).as_millis(), 100, "from the beginning");
    // A clock that was set back does not make it longer.
    clock.set(start());
    ask();
    assert_eq!(store.asked(), 2, "once before, once now");
}

/// Each verb tried to end a thousand calls that had been given up, with a store that did not answer.
#[test]
fn calls_that_were_given_up_wait_until_the_store_is_back() {
    let (keeper, store, clock) = built([Limit::usd(Usd::dollars(50)).per_day().by("team")]);
    let permits: Vec<_> = (0..30).map(|_| granted(keeper.acquire(&alice().usd(Usd::dollars(1))).unwrap())).collect();
    store.goes(true);
    drop(permits);
    for _ in 0..5 {
        denied(keeper.acquire(&alice().usd(Usd::dollars(1))).unwrap());
    }
    assert_eq!(store.asked(), 1);
    store.goes(false);
    clock.set(later(20_000));
    keeper.sweep().unwrap();
    let picture = keeper.status(&View::new());
    let status = &picture.budgets[0].standing.status;
    assert_eq!((status.spent, status.held), (Usd::dollars(30).into(), Amount::ZERO));
    assert_eq!(verify(&*store.store, clock.now()).unwrap(), []);
}

/// The answer to a call was lost. Its slot was taken for a quarter of an hour, and nobody had an id to give it back by.
#[test]
fn a_call_whose_answer_was_lost_is_given_up_unless_the_host_can_ask_again() {
    let (keeper, store, clock) = built([Limit::slots(1).by("key"), Limit::usd(Usd::dollars(9)).per_day().by("team")]);
    let call = alice().usd(Usd::dollars(1));
    for (call, passes) in [(call.clone(), true), (call.clone().under(OpId::host("req-7").unwrap()), false)] {
        store.mute.store(true, Ordering::SeqCst);
        assert!(keeper.acquire(&call).unwrap_err().store().is_some_and(StoreError::is_unknown));
        store.mute.store(false, Ordering::SeqCst);
        let other = keeper.acquire(&alice().usd(Usd::dollars(2))).unwrap().granted();
        assert_eq!(other.is_some(), passes, "the first is given up, the second is still the host's");
        other.iter().for_each(|permit| permit.release().unwrap());
    }
    let again = granted(keeper.acquire(&call.under(OpId::host("req-7").unwrap())).unwrap());
    again.settle(&Usage::new().usd(Usd::dollars(3))).unwrap();
    let picture = keeper.status(&View::new());
    let spent: Vec<_> = picture.budgets.iter().map(|budget| budget.standing.status.spent).collect();
    assert!(spent.contains(&Usd::dollars(4).into()), "one at its estimate, one at what it cost: {spent:?}");
    assert_eq!(verify(&*store.store, clock.now()).unwrap(), []);
}

#[test]
fn what_needs_the_store_may_not_be_decided_without_it() {
    let refused = |limit: Limit| limit.when_down(local(50)).compile().unwrap_err().to_string();
    for limit in [
        Limit::usd(Usd::dollars(1)).per_day(),
        Limit::credits(5),
        Limit::tokens(5).lifetime(),
        Limit::tokens(5).per_day().audit(Audit::Rows),
    ] {
        let said = refused(limit);
        assert!(said.starts_with("limit.when_down: \"50%\" is refused: refuse: money"), "{said}");
    }
    for percent in [0, 101] {
        let error = Limit::requests(1).per_day().when_down(local(percent)).compile().unwrap_err();
        assert_eq!((error.field(), error.expected()), (Some("limit.when_down"), Some("a share from 1% to 100%")));
    }
}
