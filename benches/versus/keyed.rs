//! One check of one key: `Keyed` beside governor's keyed store.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::black_box;
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use keyward::keyed::Handle;
use keyward::limiter::{Limiter, State};
use keyward::{Amount, Clock, Keyed, SystemClock};

use crate::harness::{Bench, Row, Work};
use crate::heap;

pub const GOVERNOR: &str = "governor 0.10, DashMap, String keys";

/// More than is asked for in any run.
pub const PLENTY: u32 = 1_000_000_000;

/// Names of twenty bytes.
pub fn names(n: usize) -> Vec<String> {
    let name = |n| {
        // Allocated once and in order: where names lie is no part of the work.
        let mut name = String::with_capacity(20);
        write!(name, "subject-{n:012}").unwrap();
        name
    };
    (0..n).map(name).collect()
}

/// The order in which names are visited: each in its place in memory as in a request that has just come in, not where it
/// happened to be when the tables were filled.
pub fn visits(names: &[String]) -> Vec<String> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Long enough that no predictor of branches knows it by heart.
    let mut order: Vec<usize> = (0..names.len()).cycle().take(names.len().max(4_096)).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random.next() % (at + 1));
    }
    order.into_iter().map(|at| names[at].clone()).collect()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize
    }
}

/// Each of the visits in turn, and how many passed.
pub fn walk<'a, T>(visits: &'a [T], passes: impl Fn(&T) -> bool + Sync + 'a) -> Work<'a>
where
    T: Sync,
{
    Box::new(move |from, count| {
        let from = from % visits.len();
        let order = visits[from..].iter().chain(visits.iter().cycle());
        order.take(count).filter(|visit| black_box(passes(visit))).count()
    })
}

pub fn governor(names: &[String]) -> DefaultKeyedRateLimiter<String> {
    let limiter = RateLimiter::keyed(Quota::per_second(NonZeroU32::new(PLENTY).unwrap()));
    assert!(names.iter().all(|name| limiter.check_key(name).is_ok()));
    limiter
}

fn ours(names: &[String]) -> Keyed {
    let keyed = Keyed::per_minute(PLENTY);
    assert!(names.iter().all(|name| keyed.check(name).has_passed()));
    keyed
}

pub fn rows(bench: &Bench, rows: &mut Vec<Row>) {
    for (size, n, goal) in [("1 k", 1_000, 0.7), ("1 M", 1_000_000, 0.5)] {
        let by_name = |threads| format!("one keyed check by name, {size} keys, {threads}");
        let one = by_name("1 thread");
        let two = by_name("2 threads");
        let handle = format!("one check through a handle, {size} keys");
        let heap = format!("live heap per subject at {size}, one limit (bytes)");
        let floor = format!("one keyed check by name, {size} keys, beside a floor");
        let only = if n == 1_000 { &handle } else { &heap };
        if ![&one, &two, only, &floor].into_iter().any(|work| bench.wants(work)) {
            continue;
        }
        let names = names(n);
        let visits = visits(&names);
        let (ours, our_heap) = heap::in_use(|| ours(&names));
        let (governor, governors_heap) = heap::in_use(|| governor(&names));
        let by_ours = walk(&visits, |name: &String| ours.check(name).has_passed());
        let by_governor = walk(&visits, |name: &String| governor.check_key(name).is_ok());

        let row = |work: &str, peer, goal, (ours, peers)| Row { work: work.to_owned(), peer, ours, peers, goal };
        for (work, threads) in [(&one, 1), (&two, 2)] {
            if bench.wants(work) {
                rows.push(row(work, GOVERNOR, Some(goal), bench.both(&by_ours, &by_governor, threads)));
            }
        }
        if bench.wants(&handle) && n == 1_000 {
            let handles: HashMap<&String, Handle> = names.iter().map(|name| (name, ours.handle(name))).collect();
            let handles: Vec<&Handle> = visits.iter().map(|name| &handles[name]).collect();
            let by_handle = walk(&handles, |handle: &&Handle| handle.check().has_passed());
            rows.push(row(&handle, GOVERNOR, Some(0.35), bench.both(&by_handle, &by_governor, 1)));
            let floor = "floor: the clock, one lock, one limiter step";
            rows.push(row(
                &format!("{handle}, beside a floor"),
                floor,
                None,
                bench.both(&by_handle, &clock_lock_and_step(&visits), 1),
            ));
        }
        if bench.wants(&heap) && n == 1_000_000 {
            let each = n as f64;
            rows.push(row(&heap, GOVERNOR, Some(0.8), (our_heap / each, governors_heap / each)));
        }
        if bench.wants(&floor) {
            rows.push(row(
                &floor,
                "floor: one lock and one hash",
                None,
                bench.both(&by_ours, &lock_and_hash(&visits), 1),
            ));
        }
    }
}

/// All of a check but finding the key.
fn clock_lock_and_step(visits: &[String]) -> Work<'_> {
    let (clock, limiter) = (SystemClock::new(), Limiter::per_minute(PLENTY));
    let state = parking_lot::Mutex::new(State::default());
    walk(visits, move |_: &String| {
        let now = clock.now();
        limiter.check(&mut state.lock(), Amount::ONE, now).has_passed()
    })
}

/// The least that a keyed limiter with a lock can do.
fn lock_and_hash(visits: &[String]) -> Work<'_> {
    let random = RandomState::new();
    let [a, b, c, d] = [0, 1, 2, 3].map(|n: u64| random.hash_one(n));
    let hash = ahash::RandomState::with_seeds(a, b, c, d);
    let count = parking_lot::Mutex::new(0_u64);
    walk(visits, move |name: &String| {
        let mut hasher = hash.build_hasher();
        hasher.write(name.as_bytes());
        *count.lock() ^= hasher.finish();
        true
    })
}
