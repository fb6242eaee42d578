//! What a store costs: acquire and settle over one and three limits, by one thread and by 64, beside what the disk and
//! SQLite themselves cost in the same run.
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

    use keyward::plan::Plan;
    use keyward::store::{SqliteOptions, SqliteStore, Synchronous};
    use keyward::{Store, Timestamp};
    use rusqlite::Connection;

    use super::help::*;

    const MANY: u64 = 64;

    struct Row {
        name: &'static str,
        store: Box<dyn Fn(&Scratch) -> SqliteStore>,
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

        let file =
            |when| move |scratch: &Scratch| SqliteOptions::new().synchronous(when).open(scratch.path("a.db")).unwrap();
        let rows = [
            Row { name: "SQLite in memory", store: Box::new(|_| SqliteStore::in_memory().unwrap()) },
            Row { name: "SQLite, FULL", store: Box::new(file(Synchronous::Full)) },
            Row { name: "SQLite, NORMAL", store: Box::new(file(Synchronous::Normal)) },
        ];
        println!("{:<18} {:>6} {:>8} {:>12} {:>12}", "operations/s", "limits", "threads", "acquire", "settle");
        for limits in [1, 3] {
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
            let goal = if limits == 1 { 20 } else { 15 };
            println!(
                "{limits} limit(s), FULL: {MANY} threads are {:.1} times one transaction per fsync (goal: {goal})",
                full[1] / full[0]
            );
        }
    }

    /// Acquires for a while, then settles what was acquired.
    fn measure(row: &Row, limits: u32, threads: u64, span: Duration) -> (f64, f64) {
        let scratch = Scratch::new();
        let store = (row.store)(&scratch);
        let next: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
        let id = |thread: u64, n: u64| thread << 32 | n;
        let acquired = drive(threads, span, |thread| {
            let n = next[thread as usize].fetch_add(1, Ordering::Relaxed);
            assert!(granted(&store.apply(&ask(id(thread, n), limits, NOW), NOW).unwrap()));
            true
        });
        let done: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
        let settled = drive(threads, span, |thread| {
            let n = done[thread as usize].fetch_add(1, Ordering::Relaxed);
            if n >= next[thread as usize].load(Ordering::Relaxed) {
                return false;
            }
            assert!(granted(&store.apply(&settle(id(thread, n), 1, NOW), NOW).unwrap()));
            true
        });
        (acquired, settled)
    }

    fn ask(n: u64, limits: u32, now: Timestamp) -> Plan {
        let plan = acquire(n, ["alice", "bob", "carol", "dave"][(n >> 32) as usize % 4], 1, u32::MAX, now);
        match limits {
            1 => plan,
            _ => plan.take(hold(0, requests(2, u32::MAX), 1)).take(hold(0, requests(3, u32::MAX), 9)),
        }
    }

    /// How many calls a second that many threads make.
    fn drive(threads: u64, span: Duration, call: impl Fn(u64) -> bool + Sync) -> f64 {
        let count = AtomicU64::new(0);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (call, count) = (&call, &count);
                scope.spawn(move || {
                    let mut mine = 0;
                    while began.elapsed() < span && call(thread) {
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
                db.prepare_cached(put).unwrap().execute((key, [7_u8; 60])).unwrap();
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
