//! Disks that fail and power that is lost: what was acknowledged is there, and what is there proves itself.
#![cfg(all(feature = "sqlite", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "sqlite/mod.rs"]
mod help;
#[path = "sqlite/shim.rs"]
mod shim;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use help::*;
use keyward::plan::Plan;
use keyward::store::{PartsOf, SqliteOptions, SqliteStore, Synchronous};
use keyward::{OpId, Store};
use rusqlite::{Connection, ffi};

/// The file system is one for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// An operation for each number: acquire, settle, acquire, settle...
fn step(n: u64) -> Plan {
    let id = n / 2;
    if n % 2 == 0 { acquire(id, "alice", 2, 1_000_000, NOW) } else { settle(id, 1, NOW) }
}

/// The same under ids of a host's, of which everything stays known.
fn hosts_step(n: u64) -> Plan {
    let (plan, id) = (step(n), OpId::host(&format!("call-{}", n / 2)).unwrap());
    Plan { op: plan.op.map(|_| id.clone()), hold: Some(id), ..plan }
}

/// How many of the operations are there; that they are the first ones, each of them whole.
fn progress(store: &SqliteStore) -> u64 {
    sound(store, NOW);
    let parts = store.parts(&PartsOf::Account(subject("alice")), None, 100_000).unwrap();
    let ended = parts.iter().filter(|part| !part.is_open()).count();
    u64::try_from(parts.len() + ended).unwrap()
}

fn open_with_a_short_log(path: &Path, when: Synchronous) -> SqliteStore {
    let db = Connection::open(path).unwrap();
    let _: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
    let _: i64 = db.query_row("PRAGMA wal_autocheckpoint = 60", [], |row| row.get(0)).unwrap();
    SqliteOptions::new().synchronous(when).on(db).unwrap()
}

/// Loses power many times while a store is at work; says how often, and how often something acknowledged was gone.
fn lose_power(when: Synchronous, dice: u64) -> (usize, usize) {
    let scratch = Scratch::new();
    shim::begin(dice);
    let store = open_with_a_short_log(&scratch.path("a.db"), when);
    shim::world().as_mut().unwrap().loses_power = Some(|event| event % 7 == 0);
    for n in 0..150 {
        assert!(granted(&store.apply(&step(n), NOW).unwrap()));
        shim::world().as_mut().unwrap().acknowledged = n + 1;
    }
    let lost = std::mem::take(&mut shim::world().as_mut().unwrap().lost);
    shim::end();
    drop(store);
    let mut gone = 0;
    for (acknowledged, files) in &lost {
        let folder = Scratch::new();
        for (name, bytes) in files {
            std::fs::write(folder.path(name), bytes).unwrap();
        }
        let quick = SqliteOptions::new().table_prefix("keyward_").synchronous(Synchronous::Off);
        let there = progress(&quick.open(folder.path("a.db")).unwrap());
        assert!(there <= acknowledged + 1, "{there} are there, and {acknowledged} were acknowledged");
        gone += usize::from(there < *acknowledged);
    }
    (lost.len(), gone)
}

#[test]
fn a_loss_of_power_takes_nothing_that_was_acknowledged_in_full() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut losses, mut gone) = (0, 0);
    for dice in 1..=2 {
        let (more, lost) = lose_power(Synchronous::Full, dice);
        (losses, gone) = (losses + more, gone + lost);
    }
    println!("synchronous=FULL: {losses} losses of power, {gone} took something that was acknowledged");
    assert!(losses > 300, "{losses}");
    assert_eq!(gone, 0);
    // The same, where it is known that something is lost: it would be seen.
    let (losses, gone) = lose_power(Synchronous::Normal, 1);
    println!(
        "synchronous=NORMAL: {losses} losses of power, {gone} took something that was acknowledged; all consistent"
    );
    assert!(gone > 20, "the test would not have noticed: {gone}");
}

/// Opens a store and works, whatever fails; says what was answered to each operation.
fn durably(path: &Path) -> Vec<Said> {
    let Ok(store) = SqliteStore::open(path) else { return Vec::new() };
    (0..10).map(|n| store.apply(&step(n), NOW).map(|verdict| granted(&verdict))).collect()
}

/// The same with a cache of a few pages, so that most of what is asked must be read.
fn starved(path: &Path) -> Vec<Said> {
    let Ok(db) = Connection::open(path) else { return Vec::new() };
    let wal = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
    if wal.is_err() || db.execute_batch("PRAGMA cache_size = 1").is_err() {
        return Vec::new();
    }
    let Ok(store) = SqliteStore::on(db) else { return Vec::new() };
    (0..10).map(|n| store.apply(&step(n), NOW).map(|verdict| granted(&verdict))).collect()
}

/// The same, every other pair of them relaxed, and looked at now and then.
fn in_turns(path: &Path) -> Vec<Said> {
    let never = Duration::from_secs(3_600);
    let Ok(store) = SqliteOptions::new().relaxed_within(never).open(path) else { return Vec::new() };
    let mut said = Vec::new();
    for n in 0..10 {
        let plan = Plan { relaxed: n % 4 < 2, ..hosts_step(n) };
        said.push(store.apply(&plan, NOW).map(|verdict| granted(&verdict)));
        if n % 3 == 0 {
            let _ = store.account(&subject("alice"));
        }
    }
    said
}

type Said = Result<bool, keyward::StoreError>;

#[derive(Default)]
struct Seen {
    cases: u64,
    unknown: u64,
    errors: u64,
}

/// Something that is tried over and over, until nothing in it fails.
struct Scenario {
    work: fn(&Path) -> Vec<Said>,
    step: fn(u64) -> Plan,
    /// Which answers came early.
    early: fn(u64) -> bool,
}

const DURABLE: Scenario = Scenario { work: durably, step, early: |_| false };
const STARVED: Scenario = Scenario { work: starved, ..DURABLE };
const IN_TURNS: Scenario = Scenario { work: in_turns, step: hosts_step, early: |n| n % 4 < 2 };

/// Fails one event after the other, as `fail` says; looks at what each of them left.
fn every_place(
    scenario: &Scenario,
    forever: bool,
    fail: impl Fn(&mut shim::World, u64),
    count: fn(&shim::World) -> u64,
    seen: &mut Seen,
) {
    for at in 1.. {
        let scratch = Scratch::new();
        let path = scratch.path("a.db");
        shim::begin(1);
        {
            let mut world = shim::world();
            let world = world.as_mut().unwrap();
            world.forever = forever;
            fail(world, at);
        }
        let said = (scenario.work)(&path);
        let events = count(&shim::end());
        seen.cases += 1;
        // As if two seconds had passed. There may be no such table yet.
        let _ = Connection::open(&path).unwrap().execute_batch("DELETE FROM keyward_lease");
        let store = SqliteOptions::new().table_prefix("keyward_").synchronous(Synchronous::Off).open(&path).unwrap();
        sound(&store, NOW);
        for (n, said) in (0..).zip(&said) {
            let id = (scenario.step)(n).hold.unwrap();
            let parts = store.parts(&PartsOf::Op(id), None, 10).unwrap();
            let there = parts.iter().any(|part| n % 2 == 0 || !part.is_open());
            match said {
                // A settle of what was never held does nothing.
                Ok(_) if n % 2 == 1 && parts.is_empty() => {}
                // What was answered early is lost with the disk.
                Ok(true) if (scenario.early)(n) && forever => {}
                Ok(granted) => assert_eq!(*granted, there, "failing at {at}: {n} was answered"),
                Err(error) if error.is_unknown() => seen.unknown += 1,
                Err(error) => {
                    seen.errors += 1;
                    assert!(!there, "failing at {at}: {n} was said to have changed nothing: {error}");
                }
            }
        }
        // The disk is well again: whatever was unknown is resolved, and the rest can be done.
        for n in 0..10 {
            assert!(granted(&store.apply(&(scenario.step)(n), NOW).unwrap()));
        }
        assert_eq!(spent(&store, "alice"), (5, 0), "failing at {at}");
        let wrong = keyward::store::verify(&store, NOW).unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
        if events < at {
            assert!(said.len() == 10 && said.iter().all(|said| said == &Ok(true)), "nothing failed: {said:?}");
            return;
        }
    }
}

fn writes(code: std::ffi::c_int) -> impl Fn(&mut shim::World, u64) {
    move |world, at| (world.fail_at, world.code) = (Some(at), code)
}

#[test]
fn whichever_write_or_sync_fails_what_was_answered_is_so() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (scenario, codes) in
        [(DURABLE, &[ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_FULL][..]), (IN_TURNS, &[ffi::SQLITE_IOERR_WRITE])]
    {
        let mut seen = Seen::default();
        for forever in [false, true] {
            for code in codes {
                every_place(&scenario, forever, writes(*code), |world| world.events, &mut seen);
            }
        }
        let Seen { cases, unknown, errors } = seen;
        println!(
            "{cases} places at which the disk failed; {errors} errors, and {unknown} answers unknown; all resolved"
        );
        assert!(cases > 100 && unknown > 0, "{cases} {unknown}");
    }
}

#[test]
fn whichever_read_fails_what_was_answered_is_so() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all = Seen::default();
    for scenario in [DURABLE, STARVED, IN_TURNS] {
        let mut seen = Seen::default();
        for forever in [false, true] {
            every_place(&scenario, forever, |world, at| world.fail_read_at = Some(at), |world| world.reads, &mut seen);
        }
        let Seen { cases, unknown, errors } = seen;
        println!("{cases} places at which a read failed; {errors} errors, and {unknown} answers unknown; all resolved");
        (all.cases, all.errors) = (all.cases + cases, all.errors + errors);
    }
    assert!(all.cases > 300 && all.errors > 100, "{} {}", all.cases, all.errors);
}
