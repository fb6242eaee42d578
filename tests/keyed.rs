//! `Keyed`: exact under threads, forgets only what no longer counts, and gives memory back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyward::limiter::{Limiter, State};
use keyward::{Amount, Cap, Clock, Keyed, Length, ManualClock, Timestamp, When};
use proptest::prelude::*;

/// Counts the bytes of this thread that are in use.
struct Counting;

thread_local! {
    static IN_USE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = IN_USE.try_with(|bytes| bytes.set(bytes.get().wrapping_add(layout.size())));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = IN_USE.try_with(|bytes| bytes.set(bytes.get().wrapping_sub(layout.size())));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn in_use() -> usize {
    IN_USE.with(std::cell::Cell::get)
}

const NOON: Timestamp = Timestamp::from_micros(1_772_971_200_000_000);

fn noon() -> ManualClock {
    ManualClock::at(NOON)
}

fn seconds(n: i64) -> Length {
    Length::from_secs(n).unwrap()
}

/// A limiter of this field lets a key through more than its limit when threads create the key, or open its window, at
/// once: it looks first and counts later. Here looking, counting and creating are one step.
#[test]
fn eight_threads_share_exactly_the_limit_three_hundred_times() {
    const THREADS: usize = 8;
    let clock = noon();
    let kinds = [
        Keyed::new(Limiter::fixed(Amount::new(100), Length::MINUTE)).clock(clock.clone()),
        Keyed::new(Limiter::sliding(Amount::new(100), Length::MINUTE)).clock(clock.clone()),
        Keyed::new(Limiter::gcra(Amount::new(100), Length::MINUTE, Amount::new(100)).unwrap()).clock(clock.clone()),
    ];
    for keyed in &kinds {
        let barrier = Barrier::new(THREADS);
        let passed: Vec<AtomicUsize> = (0..300).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (barrier, passed) = (&barrier, &passed);
                scope.spawn(move || {
                    for (round, passed) in passed.iter().enumerate() {
                        let key = format!("round {round}");
                        let handle = keyed.handle(&key);
                        barrier.wait();
                        for _ in 0..25 {
                            let answer = if thread % 2 == 0 { keyed.check(&key) } else { handle.check() };
                            passed.fetch_add(usize::from(answer.has_passed()), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        for (round, passed) in passed.iter().enumerate() {
            assert_eq!(passed.load(Ordering::Relaxed), 100, "{} in round {round}", keyed.limiter());
        }
    }
}

#[test]
fn a_million_keys_seen_once_leave_no_memory_behind() {
    let clock = noon();
    let keyed = Keyed::per_minute(60).clock(clock.clone());
    let empty = in_use();
    for n in 0..1_000_000 {
        assert!(keyed.check(format!("{n:020}")).has_passed());
    }
    assert_eq!(keyed.len(), 1_000_000);
    let full = in_use().wrapping_sub(empty);
    assert!(full <= 71 * 1_000_000, "{full} bytes for a million keys");
    assert_eq!(keyed.reclaim(), 0, "all of them count");
    clock.advance(seconds(180));
    assert_eq!(keyed.reclaim(), 1_000_000);
    assert!(keyed.is_empty());
    let left = in_use().wrapping_sub(empty);
    assert!(left < 64_000, "{left} bytes are still there");
}

#[test]
fn new_keys_reclaim_old_ones_without_being_told() {
    let clock = noon();
    let keyed = Keyed::per_second(5).clock(clock.clone());
    let mut most = 0;
    for second in 0..100 {
        for n in 0..1_000 {
            assert!(keyed.check(format!("{second}/{n}")).has_passed());
        }
        most = most.max(keyed.len());
        clock.advance(Length::SECOND);
    }
    // What counts are the last three seconds: two of the limit and one for a clock that steps back.
    assert!((3_000..6_000).contains(&most), "{most}");
}

#[test]
fn nothing_that_counts_is_reclaimed_even_if_the_clock_steps_back() {
    let clock = noon();
    let keyed = Keyed::new(Limiter::fixed(Amount::new(3), Length::MINUTE)).clock(clock.clone());
    assert!(keyed.check_n("alice", 3).has_passed());
    clock.advance(seconds(60));
    assert_eq!(keyed.remaining("alice"), Some(Amount::new(3)));
    assert_eq!(keyed.reclaim(), 0);
    clock.step_back(seconds(30));
    assert!(!keyed.check("alice").has_passed(), "its window is not over");
    clock.advance(seconds(90));
    assert_eq!(keyed.reclaim(), 1);
}

#[test]
fn a_clock_that_steps_back_gives_nobody_a_new_window() {
    let clock = noon();
    let keyed = Keyed::per_minute(10).clock(clock.clone());
    let handle = keyed.handle("alice");
    assert!(handle.check_n(10).has_passed());
    for step in [1, 60, 3_600, 86_400 * 365] {
        clock.set(NOON);
        clock.step_back(seconds(step));
        assert!(!handle.check().has_passed(), "{step} s back");
        assert!(!keyed.check("alice").has_passed(), "{step} s back");
    }
}

#[test]
fn a_handle_survives_that_its_key_is_reclaimed_and_its_slot_used_by_another() {
    let clock = noon();
    let keyed = Keyed::per_minute(2).clock(clock.clone());
    let handles: Vec<_> = (0..500).map(|n| keyed.handle(format!("{n}"))).collect();
    assert!(keyed.is_empty(), "a handle takes no room");
    for handle in &handles {
        assert!(handle.check().has_passed());
    }
    clock.advance(seconds(600));
    assert_eq!(keyed.reclaim(), 500);
    // Others, on the same slots.
    for n in 0..500 {
        assert!(keyed.check_n(format!("other {n}"), 2).has_passed());
    }
    for (n, handle) in handles.iter().enumerate() {
        assert_eq!(handle.key(), format!("{n}").as_bytes());
        assert!(handle.check().has_passed());
        assert!(keyed.check(format!("{n}")).has_passed());
        assert!(!handle.check().has_passed(), "both count in one place");
    }
    assert!(keyed.forget("7"));
    assert!(handles[7].check_n(2).has_passed());
    assert!(!keyed.check("7").has_passed());
    assert_eq!(keyed.len(), 1_000);
}

#[test]
fn one_key_has_its_own_amount_and_keeps_its_count() {
    let clock = noon();
    let keyed = Keyed::new(Limiter::fixed(Amount::new(10), Length::MINUTE)).clock(clock.clone());
    let handle = keyed.handle("vip");
    assert!(handle.check_n(10).has_passed());
    assert!(keyed.check_n("other", 10).has_passed());
    keyed.set("vip", Amount::new(12)).unwrap();
    assert_eq!((keyed.own("vip"), keyed.own("other")), (Some(Cap::At(Amount::new(12))), None));
    assert!(handle.check().has_passed());
    assert!(keyed.check("vip").has_passed());
    assert!(!handle.check().has_passed() && !keyed.check("vip").has_passed());
    assert!(!keyed.check("other").has_passed());
    keyed.set("vip", Amount::ZERO).unwrap();
    assert_eq!(keyed.check("vip").retry(), Some(When::Never));
    clock.advance(seconds(86_400));
    assert_eq!(keyed.reclaim(), 1, "only the one without an amount of its own");
    assert_eq!(keyed.check_n("vip", 1).retry(), Some(When::Never));
    keyed.clear("vip");
    assert_eq!(keyed.remaining("vip"), Some(Amount::new(10)));
    clock.advance(seconds(120));
    assert_eq!(keyed.reclaim(), 1);
    assert_eq!(keyed.own("vip"), None);
}

#[test]
fn an_own_amount_lets_through_where_the_limit_refuses_everything() {
    let keyed = Keyed::per_minute(0).clock(noon());
    assert!(!keyed.check("bob").has_passed());
    keyed.set("alice", Amount::ONE).unwrap();
    assert!(keyed.check("alice").has_passed());
    assert!(!keyed.check("alice").has_passed());
    assert_eq!(keyed.len(), 1, "a key that can never pass takes no room");
}

#[test]
fn at_the_key_cap_new_keys_wait_and_known_ones_go_on() {
    let clock = noon();
    let keyed = Keyed::per_minute(2).max_keys(50).clock(clock.clone());
    for n in 0..50 {
        assert!(keyed.check(format!("{n}")).has_passed());
    }
    let refused = keyed.check("one more").refused().unwrap();
    let When::WhenFreed { latest } = refused.retry else { panic!("{refused}") };
    assert!(refused.to_string().contains("come back when some is given back, at the latest at"), "{refused}");
    assert!(!keyed.handle("another").check().has_passed());
    assert!(keyed.peek("one more", 1).has_passed(), "by the limit it could pass");
    assert!(keyed.check("7").has_passed());
    assert!(!keyed.check("7").has_passed());
    let error = keyed.set("one more", Amount::ONE).unwrap_err();
    assert!(error.store().is_some_and(keyward::StoreError::is_full), "{error}");
    assert_eq!(keyed.len(), 50);
    clock.set(latest);
    assert!(keyed.check("one more").has_passed(), "as it was told");
    assert!(keyed.len() <= 50);
}

#[test]
fn the_key_cap_holds_under_threads() {
    let keyed = Keyed::per_minute(1).max_keys(1_000).clock(noon());
    let passed: usize = std::thread::scope(|scope| {
        let check = |thread: usize| {
            let keyed = &keyed;
            move || (0..1_000).filter(|n| keyed.check(format!("{thread}/{n}")).has_passed()).count()
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(check(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((passed, keyed.len()), (1_000, 1_000));
}

#[test]
fn reading_and_refusing_take_no_room() {
    let keyed = Keyed::per_minute(5).clock(noon());
    assert_eq!(keyed.remaining("a"), Some(Amount::new(5)));
    assert_eq!(keyed.used("a"), Amount::ZERO);
    assert!(keyed.check_n("a", 0).has_passed());
    assert!(!keyed.check_n("a", 6).has_passed());
    assert!(keyed.peek("a", 5).has_passed());
    keyed.give_back("a", &keyed.check_n("a", 0).mark().unwrap(), 3);
    keyed.clear("a");
    assert!(!keyed.forget("a"));
    assert!(keyed.is_empty());
}

#[test]
fn keys_of_any_bytes_and_any_length_are_told_apart() {
    let keyed = Keyed::per_minute(1).clock(noon());
    let keys: Vec<Vec<u8>> = (0..300).flat_map(|len| [vec![0; len], vec![0xff; len + 1]]).collect();
    for key in &keys {
        assert!(keyed.check(key).has_passed(), "{key:?}");
        assert!(!keyed.check(key).has_passed(), "{key:?}");
    }
    assert_eq!(keyed.len(), keys.len());
}

#[test]
fn the_systems_clock_is_what_it_goes_by_unless_told() {
    let keyed = Keyed::per_minute(1);
    let before = keyward::SystemClock::new().now();
    assert!(keyed.check("alice").has_passed());
    let Some(When::At(at)) = keyed.check("alice").retry() else { panic!("{keyed:?}") };
    assert!(at > before && at <= before.saturating_add(seconds(180)), "{at}");
}

#[test]
fn it_goes_to_other_threads() {
    fn goes<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn goes_by_reference<T: Send + Sync + 'static>(_: &T) {}
    let keyed = Keyed::per_minute(1);
    goes(&keyed);
    goes_by_reference(&keyed.handle("alice"));
}

#[derive(Clone, Debug)]
enum Step {
    Check(u8, u32),
    Handle(u8, u32),
    GiveBack(u8, u32),
    Set(u8, u32),
    Clear(u8),
    Forget(u8),
    Reclaim,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0_u8..6;
    prop_oneof![
        8 => (key.clone(), 0_u32..5).prop_map(|(key, n)| Step::Check(key, n)),
        8 => (key.clone(), 0_u32..5).prop_map(|(key, n)| Step::Handle(key, n)),
        2 => (key.clone(), 0_u32..5).prop_map(|(key, n)| Step::GiveBack(key, n)),
        1 => (key.clone(), 0_u32..9).prop_map(|(key, n)| Step::Set(key, n)),
        1 => key.clone().prop_map(Step::Clear),
        1 => key.prop_map(Step::Forget),
        2 => Just(Step::Reclaim),
        // Never back by more than what reclaiming allows for in all.
        6 => prop_oneof![-2..40_i64, 40..200_i64].prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A map of states that reclaims nothing answers the same.
    #[test]
    fn reclaiming_is_never_seen(steps in prop::collection::vec(step(), 0..200), kind in 0..3) {
        let cap = Amount::new(4);
        let limiter = match kind {
            0 => Limiter::fixed(cap, Length::MINUTE),
            1 => Limiter::sliding(cap, Length::MINUTE),
            _ => Limiter::gcra(cap, Length::MINUTE, Amount::new(6)).unwrap(),
        };
        let clock = noon();
        let keyed = Keyed::new(limiter).clock(clock.clone());
        let handles: Vec<_> = (0..6_u8).map(|key| keyed.handle([key])).collect();
        let mut map: HashMap<u8, (State, Option<Cap>)> = HashMap::new();
        let mut marks = HashMap::new();
        let own = |(state, own): &(State, Option<Cap>)| (own.map_or(limiter, |cap| limiter.with_cap(cap)), *state);
        // What has leaked by now has leaked at the old rate.
        let forward = |entry: &mut (State, Option<Cap>), now| {
            let limiter = own(entry).0;
            let mark = limiter.charge(&mut entry.0, Amount::ONE, now).unwrap();
            limiter.give_back(&mut entry.0, &mark, Amount::ONE, now);
        };
        let mut latest = NOON;
        for step in steps {
            let now = clock.now();
            match step {
                Step::Check(key, n) | Step::Handle(key, n) => {
                    let entry = map.entry(key).or_default();
                    let wanted = own(entry).0.check(&mut entry.0, Amount::new(n), now);
                    let answer = match step {
                        Step::Check(..) => keyed.check_n([key], n),
                        _ => handles[usize::from(key)].check_n(n),
                    };
                    prop_assert_eq!(answer, wanted);
                    if let Some(mark) = answer.mark().filter(|_| n > 0) {
                        marks.insert(key, mark);
                    }
                }
                Step::GiveBack(key, n) => if let Some(mark) = marks.remove(&key) {
                    let entry = map.entry(key).or_default();
                    own(entry).0.give_back(&mut entry.0, &mark, Amount::new(n), now);
                    keyed.give_back([key], &mark, n);
                },
                Step::Set(key, n) => {
                    forward(map.entry(key).or_default(), now);
                    map.entry(key).or_default().1 = Some(Cap::At(Amount::new(n)));
                    keyed.set([key], Amount::new(n)).unwrap();
                }
                Step::Clear(key) => {
                    if let Some(entry) = map.get_mut(&key).filter(|(_, own)| own.is_some()) {
                        forward(entry, now);
                        entry.1 = None;
                    }
                    keyed.clear([key]);
                }
                Step::Forget(key) => {
                    map.remove(&key);
                    marks.remove(&key);
                    keyed.forget([key]);
                }
                Step::Reclaim => { keyed.reclaim(); }
                Step::Wait(n) => {
                    let to = now.saturating_add(seconds(200)).saturating_sub(seconds(200 - n));
                    latest = latest.max(to);
                    clock.set(to.max(latest.saturating_sub(seconds(60))));
                }
            }
            let now = clock.now();
            for key in 0..6 {
                let entry = map.get(&key).copied().unwrap_or_default();
                let (limiter, state) = own(&entry);
                prop_assert_eq!(keyed.used([key]), limiter.used(&state, now));
                prop_assert_eq!(keyed.remaining([key]), limiter.remaining(&state, now));
            }
        }
    }
}
