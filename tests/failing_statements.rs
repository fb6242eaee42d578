//! Statements that fail in the middle: at whichever instruction SQLite is told to stop, what was answered is so, and what
//! failed has left nothing.
//!
//! `KEYWARD_SOAK=1` stops at every instruction instead of every eleventh.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]
#![allow(unsafe_code, reason = "SQLite calls back")]

#[path = "sqlite/mod.rs"]
mod help;

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use help::*;
use keyward::account::MeterId;
use keyward::plan::{Plan, Verdict};
use keyward::store::{Filter, PartsOf, SqliteOptions, SqliteStore, Synchronous};
use keyward::{OpId, Store, StoreError, Timestamp};
use rusqlite::{Connection, ffi};

/// How many instructions there were, which of them is stopped, and up to which.
#[derive(Default)]
struct Stops {
    count: AtomicU64,
    from: AtomicU64,
    until: AtomicU64,
}

unsafe extern "C" fn instruction(stops: *mut c_void) -> c_int {
    // It lives as long as the connection does.
    let stops = unsafe { &*stops.cast::<Stops>() };
    let n = stops.count.fetch_add(1, Ordering::Relaxed) + 1;
    c_int::from((stops.from.load(Ordering::Relaxed)..stops.until.load(Ordering::Relaxed)).contains(&n))
}

fn id(n: u64) -> OpId {
    OpId::host(&format!("call-{n}")).unwrap()
}

type Said = Result<Verdict, StoreError>;

/// Acquires and settles, and reads and sweeps between; what was said to each plan, and what was read in between.
fn work(store: &SqliteStore, relaxed: bool) -> Vec<Said> {
    let mut said = Vec::new();
    for n in 0..6 {
        for plan in plans(n) {
            said.push(store.apply(&Plan { relaxed: relaxed && n % 2 == 0, ..plan }, NOW));
        }
        // Whatever these say must not be a panic, and must be right if it is said.
        if let Ok(Some(account)) = store.account(&subject("alice")) {
            assert!(account.meter(MeterId(1)).is_some());
        }
        let _ = store.rows(&Filter::default(), 0, 5);
        let _ = store.sweep(NOW, 4);
    }
    said
}

fn plans(n: u64) -> [Plan; 2] {
    let acquire = acquire(n, "alice", 2, 1_000, NOW).take(hold(0, requests(2, 1_000), 1));
    let acquire = Plan { op: Some(id(n)), hold: Some(id(n)), ..acquire };
    [acquire, Plan { hold: Some(id(n)), ..settle(n, 1, NOW) }]
}

/// One case; how many instructions there were, how many errors, and how many unknown answers.
fn case(from: u64, until: u64, relaxed: bool) -> (u64, u64, u64) {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let stops = Box::new(Stops::default());
    let db = Connection::open(&path).unwrap();
    let _: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
    let raw = unsafe { db.handle() };
    let store = SqliteOptions::new().synchronous(Synchronous::Off).on(db).unwrap();
    let told: *const Stops = &*stops;
    unsafe { ffi::sqlite3_progress_handler(raw, 1, Some(instruction), told.cast_mut().cast()) };
    stops.from.store(from, Ordering::Relaxed);
    stops.until.store(until, Ordering::Relaxed);
    let said = work(&store, relaxed);
    let count = stops.count.load(Ordering::Relaxed);
    drop(store);
    drop(stops);

    Connection::open(&path).unwrap().execute_batch("DELETE FROM keyward_lease").unwrap();
    let store = SqliteOptions::new().table_prefix("keyward_").synchronous(Synchronous::Off).open(&path).unwrap();
    sound(&store, NOW);
    let (mut errors, mut unknown) = (0, 0);
    for (n, said) in (0..).zip(&said) {
        let parts = store.parts(&PartsOf::Op(id(n / 2)), None, 10).unwrap();
        let there = parts.iter().any(|part| n % 2 == 0 || !part.is_open());
        let early = relaxed && (n / 2) % 2 == 0;
        match said {
            Ok(_) if n % 2 == 1 && parts.is_empty() => {}
            // A disk that never recovers takes what was answered early.
            Ok(_) if early && until == u64::MAX => {}
            Ok(verdict) => assert_eq!(granted(verdict), there, "stopped from {from} on: {n} was answered"),
            Err(error) if error.is_unknown() => unknown += 1,
            Err(error) => {
                errors += 1;
                assert!(!there, "stopped from {from} on: {n} was said to have changed nothing: {error}");
            }
        }
    }
    for plan in (0..6).flat_map(plans) {
        assert!(granted(&store.apply(&plan, NOW).unwrap()));
    }
    assert_eq!(spent(&store, "alice"), (6, 0), "stopped from {from} on");
    let wrong = keyward::store::verify(&store, Timestamp::MAX).unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    (count, errors, unknown)
}

fn every_instruction(relaxed: bool) {
    let stride = if std::env::var_os("KEYWARD_SOAK").is_some() { 1 } else { 11 };
    let (mut cases, mut errors, mut unknown) = (0, 0, 0);
    for forever in [false, true] {
        let mut from = 1;
        loop {
            let (count, failed, unsure) = case(from, if forever { u64::MAX } else { from + 1 }, relaxed);
            (cases, errors, unknown) = (cases + 1, errors + failed, unknown + unsure);
            if count < from {
                break;
            }
            // Where all is stopped from somewhere on, there is less to be seen.
            from += if forever { 10 * stride } else { stride };
        }
    }
    println!(
        "{cases} places at which a statement was stopped; {errors} errors, {unknown} answers unknown; all resolved"
    );
    assert!(cases > 100 && errors > 100, "{cases} {errors}");
}

#[test]
fn wherever_a_statement_is_stopped_what_was_answered_is_so() {
    every_instruction(false);
}

#[test]
fn wherever_a_statement_is_stopped_what_was_answered_early_is_written_later() {
    every_instruction(true);
}
