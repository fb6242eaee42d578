//! What a store costs: acquire and settle over one and three limits, by one thread and by 64, beside what the disk and
//! SQLite themselves cost in the same run. First limits that are audited, with a context and rows; then rates, which may be
//! relaxed, beside the store in memory. Each goal stands beside its ratio.
//!
//! `cargo bench --bench stores` prints a table; `-- --quick` ends sooner.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_arithmetic
)]

#[cfg(feature = "sqlite")]
#[path = "../tests/sqlite/mod.rs"]
mod help;

#[cfg(not(feature = "sqlite"))]
fn main() {}

#[cfg(feature = "sqlite")]
fn main() {
    run::all();
}

#[cfg(feature = "sqlite")]
mod run {
    use std::io::{Seek, Write};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use keyward::plan::{Plan, Report};
    use keyward::store::{SqliteOptions, SqliteStore, Synchronous};
    use keyward::{MemoryStore, Store, Timestamp};
    use rusqlite::Connection;

    use super::help::*;

    const MANY: u64 = 64;

    type Make = Box<dyn Fn(&Scratch) -> Box<dyn Store>>;

    struct Row {
        name: &'static str,
        store: Make,
        relaxed: bool,
    }

    fn file(when: Synchronous) -> Make {
        Box::new(move |scratch| Box::new(SqliteOptions::new().synchronous(when).open(scratch.path("a.db")).unwrap()))
    }

    pub(super) fn all() {
        let quick = std::env::args().any(|argument| argument == "--quick");
        let span = Duration::from_millis(if quick { 300 } else { 1_500 });
        let rounds = if quick { 1 } else { 3 };

        println!("floors, as operations per second");
        let sync = median(rounds, || fdatasync(span));
        let bare = median(rounds, || upserts(span, 1));
        let hundred = median(rounds, || upserts(span, 100));
        println!("  one fdatasync of a page          {sync:>10.0}");
        println!("  one upsert, one transaction      {bare:>10.0}");
        println!("  100 upserts, one transaction     {hundred:>10.0} upserts");

        let row = |name, store, relaxed| Row { name, store, relaxed };
        let memory = || row("memory", Box::new(|_: &Scratch| Box::new(MemoryStore::new()) as Box<dyn Store>), false);
        let rows = [
            memory(),
            row("SQLite in memory", Box::new(|_| Box::new(SqliteStore::in_memory().unwrap())), false),
            row("SQLite, FULL", file(Synchronous::Full), false),
            row("SQLite, NORMAL", file(Synchronous::Normal), false),
        ];
        println!("\naudited limits, operations per second");
        println!("{:<18} {:>6} {:>8} {:>12} {:>12}", "store", "limits", "threads", "acquire", "settle");
        for (limits, goal) in [(1, 20.0), (3, 15.0)] {
            let mut full = [0.0; 2];
            for row in &rows {
                for (place, threads) in [1, MANY].into_iter().enumerate() {
                    let mut settles = Vec::new();
                    let acquires = median(rounds, || {
                        let (acquire, settle) = measure(row, limits, threads, span);
                        settles.push(settle);
                        acquire
                    });
                    let settles = middle(settles);
                    println!("{:<18} {limits:>6} {threads:>8} {acquires:>12.0} {settles:>12.0}", row.name);
                    if row.name == "SQLite, FULL" {
                        full[place] = acquires;
                    }
                }
            }
            verdict(
                &format!("{limits} limit(s), FULL, {MANY} threads / one transaction per fsync"),
                full[1] / full[0],
                goal,
                true,
            );
        }

        let rows = [
            memory(),
            row("SQLite, relaxed", file(Synchronous::Full), true),
            row("SQLite, NORMAL", file(Synchronous::Normal), false),
            row("SQLite, FULL", file(Synchronous::Full), false),
        ];
        println!("\nrates, nanoseconds for an acquire and its settle");
        println!("{:<18} {:>6} {:>8} {:>12}", "store", "limits", "threads", "ns");
        for limits in [1, 3] {
            for threads in [1, MANY] {
                let mut cost = Vec::new();
                // In turns, so that whatever else the machine does meets all of them.
                let mut all: Vec<Vec<f64>> = rows.iter().map(|_| Vec::new()).collect();
                for _ in 0..rounds {
                    for (row, costs) in rows.iter().zip(&mut all) {
                        costs.push(1e9 / pairs(row, limits, threads, span));
                    }
                }
                for (row, costs) in rows.iter().zip(all) {
                    let ns = middle(costs);
                    println!("{:<18} {limits:>6} {threads:>8} {ns:>12.0}", row.name);
                    cost.push(ns);
                }
                verdict(
                    &format!("{limits} limit(s), {threads} thread(s), relaxed / memory"),
                    cost[1] / cost[0],
                    3.0,
                    false,
                );
            }
        }
    }

    fn verdict(what: &str, ratio: f64, goal: f64, at_least: bool) {
        let (sign, met) = if at_least { (">=", ratio >= goal) } else { ("<=", ratio <= goal) };
        println!("  {what}: {ratio:.2} (goal: {sign} {goal}){}", if met { "" } else { ", missed" });
    }

    /// How many pairs of an acquire and its settle a second, over sliding limits of one key for each thread.
    fn pairs(row: &Row, limits: u32, threads: u64, span: Duration) -> f64 {
        let scratch = Scratch::new();
        let (store, relaxed) = ((row.store)(&scratch), row.relaxed);
        let next = AtomicU64::new(1);
        drive(threads, span, |thread| {
            let key = subject(&format!("key-{thread}"));
            let mut acquire = Plan { relaxed, ..Plan::new(NOW).named(key.clone()) };
            for meter in 1..=limits {
                acquire = acquire.take(hold(0, requests(meter, u32::MAX), 1));
            }
            let mut settle =
                Plan::new(NOW).named(key).report(Report::Settle { account: None, actual: Default::default() });
            let (store, next) = (&store, &next);
            move || {
                let id = op(next.fetch_add(1, Ordering::Relaxed));
                acquire.hold = Some(id.clone());
                settle.hold = Some(id);
                assert!(granted(&store.apply(&acquire, NOW).unwrap()));
                assert!(granted(&store.apply(&settle, NOW).unwrap()));
                true
            }
        })
    }

    /// Acquires for a while, then settles what was acquired. Ids rise, as those of the library do.
    fn measure(row: &Row, limits: u32, threads: u64, span: Duration) -> (f64, f64) {
        let scratch = Scratch::new();
        let (store, next, done) = ((row.store)(&scratch), AtomicU64::new(0), AtomicU64::new(0));
        let (store, next, done) = (&store, &next, &done);
        let acquired = drive(threads, span, |thread| {
            move || {
                let n = next.fetch_add(1, Ordering::Relaxed);
                assert!(granted(&store.apply(&ask(n, thread, limits, NOW), NOW).unwrap()));
                true
            }
        });
        let settled = drive(threads, span, |_| {
            move || {
                let n = done.fetch_add(1, Ordering::Relaxed);
                if n >= next.load(Ordering::Relaxed) {
                    return false;
                }
                assert!(granted(&store.apply(&settle(n, 1, NOW), NOW).unwrap()));
                true
            }
        });
        (acquired, settled)
    }

    fn ask(n: u64, thread: u64, limits: u32, now: Timestamp) -> Plan {
        let plan = acquire(n, ["alice", "bob", "carol", "dave"][thread as usize % 4], 1, u32::MAX, now);
        match limits {
            1 => plan,
            _ => plan.take(hold(0, requests(2, u32::MAX), 1)).take(hold(0, requests(3, u32::MAX), 9)),
        }
    }

    /// How many calls a second that many threads make, each with a caller of its own.
    fn drive<C: FnMut() -> bool>(threads: u64, span: Duration, caller: impl Fn(u64) -> C + Sync) -> f64 {
        let count = AtomicU64::new(0);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (caller, count) = (&caller, &count);
                scope.spawn(move || {
                    let (mut call, mut mine) = (caller(thread), 0);
                    while (mine % 16 > 0 || began.elapsed() < span) && call() {
                        mine += 1;
                    }
                    count.fetch_add(mine, Ordering::Relaxed);
                });
            }
        });
        count.into_inner() as f64 / began.elapsed().as_secs_f64()
    }

    fn fdatasync(span: Duration) -> f64 {
        let scratch = Scratch::new();
        let mut file = std::fs::File::create(scratch.path("floor")).unwrap();
        file.write_all(&vec![1; 4 << 20]).unwrap();
        file.sync_all().unwrap();
        let mut n = 0;
        let began = Instant::now();
        while began.elapsed() < span {
            file.seek(std::io::SeekFrom::Start((n % 1_000) * 4_096)).unwrap();
            file.write_all(&[7; 4_096]).unwrap();
            file.sync_data().unwrap();
            n += 1;
        }
        n as f64 / began.elapsed().as_secs_f64()
    }

    /// Upserts of one small row by key, so many to a transaction.
    fn upserts(span: Duration, each: u64) -> f64 {
        let scratch = Scratch::new();
        let db = Connection::open(scratch.path("floor.db")).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, v BLOB NOT NULL) STRICT, WITHOUT ROWID",
        )
        .unwrap();
        let (mut n, began) = (0_u64, Instant::now());
        let put = "INSERT INTO t VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
        while began.elapsed() < span {
            db.prepare_cached("BEGIN IMMEDIATE").unwrap().execute([]).unwrap();
            for _ in 0..each {
                n += 1;
                let key = format!("key={}", n % 1_000);
                db.prepare_cached(put).unwrap().execute((key, [n.to_le_bytes(); 8].as_flattened())).unwrap();
            }
            db.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
        }
        n as f64 / began.elapsed().as_secs_f64()
    }

    fn median(rounds: usize, mut measure: impl FnMut() -> f64) -> f64 {
        middle((0..rounds).map(|_| measure()).collect())
    }

    fn middle(mut all: Vec<f64>) -> f64 {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }
}
