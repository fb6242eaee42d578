//! What a choice among keys costs, and a report about one: for each strategy, by how many keys there are, and with one
//! and two threads on one pool. Beside the nanoseconds stand the ratios that matter: to an uncontended lock, and to the
//! same work with eight keys.
//!
//! `cargo bench --bench pool`; shorter with `-- --quick`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::print_stdout, clippy::cast_precision_loss, clippy::float_arithmetic, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use keyward::keys::{Acquired, Answer, Facts, Pool};
use keyward::pool::{Cause, Ladder, Member, Report, Roster, Session, Strategy, Until, Wanted};
use keyward::{Class, KeyId, Length, MemoryStore, OpId, Outcome, Secret, Timestamp};
use parking_lot::Mutex;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const SIZES: [usize; 4] = [1, 8, 100, 10_000];

fn strategies() -> [(&'static str, Strategy); 8] {
    [
        ("round robin", Strategy::default()),
        ("random", Strategy::Random { seed: 7 }),
        ("weighted", Strategy::Weighted),
        ("least used", Strategy::LeastUsed),
        ("least in flight", Strategy::LeastInFlight),
        ("most headroom", Strategy::MostHeadroom),
        ("soonest reset", Strategy::SoonestReset),
        ("sticky", Strategy::STICKY),
    ]
}

fn roster(strategy: Strategy, keys: usize) -> Roster {
    let mut roster = Roster::new(strategy);
    for n in 0..keys {
        let weight = 1 + u32::try_from(n % 7).unwrap();
        roster.insert(Member { id: id(n), weight, priority: 0 }).unwrap();
    }
    roster
}

fn id(n: usize) -> KeyId {
    format!("key-{n:06}").parse().unwrap()
}

/// The median of several rounds, in nanoseconds for one go.
fn median(rounds: usize, length: Duration, threads: usize, go: &(impl Fn(usize, usize) + Sync)) -> f64 {
    let mut results: Vec<f64> = (0..rounds)
        .map(|_| {
            let spent: Vec<(usize, Duration)> = std::thread::scope(|scope| {
                let each: Vec<_> = (0..threads).map(|thread| scope.spawn(move || timed(length, thread, go))).collect();
                each.into_iter().map(|each| each.join().unwrap()).collect()
            });
            let goes: usize = spent.iter().map(|(goes, _)| goes).sum();
            let wall = spent.iter().map(|(_, spent)| *spent).max().unwrap();
            wall.as_nanos() as f64 / goes as f64
        })
        .collect();
    results.sort_by(f64::total_cmp);
    results[results.len() / 2]
}

fn timed(length: Duration, thread: usize, go: &impl Fn(usize, usize)) -> (usize, Duration) {
    let (start, mut goes) = (Instant::now(), 0);
    while start.elapsed() < length {
        for _ in 0..64 {
            go(thread, goes);
            goes += 1;
        }
    }
    (goes, start.elapsed())
}

fn choose(strategy: Strategy, keys: usize) -> impl Fn(usize, usize) + Sync {
    let roster = Mutex::new(roster(strategy, keys));
    let names: Vec<String> = (0..512).map(|n| format!("session {n}")).collect();
    move |thread, n| {
        let session = Some(Session { client: "alice", name: &names[(n * 7 + thread) % 512] });
        let wanted = Wanted { session, ..Wanted::default() };
        let op = OpId::at(NOW, n as u128);
        let mut roster = roster.lock();
        let choice = roster.choose(black_box(&wanted), NOW);
        let key = roster.took(choice, 0, &op, NOW).unwrap();
        roster.ended(black_box(&key), NOW);
    }
}

/// A key fails, and later it is served: both ways through the indexes.
fn report(strategy: Strategy, keys: usize) -> impl Fn(usize, usize) + Sync {
    let (roster, ids) = (Mutex::new(roster(strategy, keys)), (0..keys).map(id).collect::<Vec<_>>());
    move |thread, n| {
        let key = &ids[(n / 2 * 31 + thread) % ids.len()];
        let began = Timestamp::from_micros(NOW.as_micros() + i64::try_from(n).unwrap() * 10);
        let now = began.saturating_add(Length::MIN);
        let said = match n % 2 {
            0 => Report::Failed { began, cause: Cause::RateLimited, until: Until::Climb(Ladder::default()) },
            _ => Report::Succeeded { began },
        };
        roster.lock().report(black_box(key), said, now);
    }
}

/// A whole call: a key is acquired from the store, and the answer is observed there.
fn call(strategy: Strategy, keys: usize) -> impl Fn(usize, usize) + Sync {
    let keys = (0..keys).map(|n| keyward::pool::Key::new(Secret::new(format!("sk-{n:08}"))).identified(id(n)));
    let (store, pool) = (MemoryStore::new(), Pool::builder("bench").keys(keys).strategy(strategy).build().unwrap());
    move |thread, n| {
        let op = OpId::at(NOW, (n * 2 + thread) as u128);
        let acquired = pool.acquire(&store, &Facts::default(), &op, NOW).unwrap();
        let Acquired::Granted(chosen) = acquired else { panic!("{acquired:?}") };
        let answer = Answer::new(chosen.key(), Outcome::new(Class::Success), NOW);
        black_box(pool.observe(&store, &answer, NOW).unwrap());
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, length) = if quick { (3, Duration::from_millis(5)) } else { (9, Duration::from_millis(25)) };
    let lock = Mutex::new(0_u64);
    let hash = ahash::RandomState::new();
    let floor = median(rounds, length, 1, &|_, n| *lock.lock() += black_box(n as u64));
    let hashed = median(rounds, length, 1, &|_, n| {
        black_box(hash.hash_one(black_box(("key-000001-of-many", n))));
    });
    println!("floors: an uncontended lock {floor:.1} ns, a hash {hashed:.1} ns\n");
    for threads in [1, 2] {
        println!(
            "{threads} thread{}, ns each (times a lock; times the same with 8 keys)",
            if threads == 1 { "" } else { "s" }
        );
        println!("{:<8} {:<16} {:>24} {:>24} {:>24} {:>24}", "", "", SIZES[0], SIZES[1], SIZES[2], SIZES[3]);
        for (name, strategy) in strategies() {
            line("choose", name, floor, |keys| median(rounds, length, threads, &choose(strategy, keys)));
        }
        for (name, strategy) in strategies() {
            line("report", name, floor, |keys| median(rounds, length, threads, &report(strategy, keys)));
        }
        line("call", "round robin", floor, |keys| median(rounds, length, threads, &call(Strategy::default(), keys)));
        println!();
    }
}

fn line(work: &str, name: &str, floor: f64, of: impl Fn(usize) -> f64) {
    let each = SIZES.map(of);
    print!("{work:<8} {name:<16}");
    for nanos in each {
        print!(" {:>24}", format!("{nanos:.0} ({:.0}x; {:.2}x)", nanos / floor, nanos / each[1]));
    }
    println!();
}
