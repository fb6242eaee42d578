//! Disks that fail and power that is lost: what was acknowledged is there, and what is there proves itself.
#![cfg(all(feature = "sqlite", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "sqlite/mod.rs"]
mod help;
#[path = "sqlite/shim.rs"]
mod shim;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use help::*;
use keyward::Store;
use keyward::plan::Plan;
use keyward::store::{PartsOf, SqliteOptions, SqliteStore, Synchronous};
use rusqlite::{Connection, ffi};

/// The file system is one for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// An operation for each number: acquire, settle, acquire, settle...
fn step(n: u64) -> Plan {
    let id = n / 2;
    if n % 2 == 0 { acquire(id, "alice", 2, 1_000_000, NOW) } else { settle(id, 1, NOW) }
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
    for dice in 1..=3 {
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
fn work(path: &Path) -> Vec<Result<bool, keyward::StoreError>> {
    let Ok(store) = SqliteStore::open(path) else { return Vec::new() };
    (0..10).map(|n| store.apply(&step(n), NOW).map(|verdict| granted(&verdict))).collect()
}

#[test]
fn whichever_write_or_sync_fails_what_was_answered_is_so() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut cases, mut unknown) = (0, 0);
    for (forever, code) in [
        (false, ffi::SQLITE_IOERR_WRITE),
        (true, ffi::SQLITE_IOERR_WRITE),
        (false, ffi::SQLITE_FULL),
        (true, ffi::SQLITE_FULL),
    ] {
        for at in 1.. {
            let scratch = Scratch::new();
            let path = scratch.path("a.db");
            shim::begin(1);
            {
                let mut world = shim::world();
                let world = world.as_mut().unwrap();
                (world.fail_at, world.forever, world.code) = (Some(at), forever, code);
            }
            let said = work(&path);
            let events = shim::end().events;
            cases += 1;
            let store =
                SqliteOptions::new().table_prefix("keyward_").synchronous(Synchronous::Off).open(&path).unwrap();
            sound(&store, NOW);
            for (n, said) in (0..).zip(&said) {
                let parts = store.parts(&PartsOf::Op(op(n / 2)), None, 10).unwrap();
                let there = parts.iter().any(|part| n % 2 == 0 || !part.is_open());
                match said {
                    // A settle of what was never held does nothing.
                    Ok(_) if n % 2 == 1 && parts.is_empty() => {}
                    Ok(granted) => assert_eq!(*granted, there, "failing at {at}: {n} was answered"),
                    Err(error) if error.is_unknown() => unknown += 1,
                    Err(error) => {
                        assert!(!there, "failing at {at}: {n} was said to have changed nothing: {error}");
                    }
                }
            }
            // The disk is well again: whatever was unknown is resolved, and the rest can be done.
            for n in 0..10 {
                assert!(granted(&store.apply(&step(n), NOW).unwrap()));
            }
            assert_eq!(progress(&store), 10);
            assert_eq!(spent(&store, "alice"), (5, 0));
            if events < at {
                assert!(said.len() == 10 && said.iter().all(|said| said == &Ok(true)), "nothing failed: {said:?}");
                break;
            }
        }
    }
    println!("{cases} places at which the disk failed; {unknown} answers were unknown; all resolved");
    assert!(cases > 100 && unknown > 0, "{cases} {unknown}");
}
