//! The SQLite store passes the conformance suite: on file, in memory, on a host's connection, and opened again and again.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

#[path = "sqlite/mod.rs"]
mod help;

use std::cell::RefCell;

use std::sync::atomic::AtomicUsize;

use help::{InTurns, Relaxed, Scratch};
use keyward::Store;
use keyward::conformance::{Reopening, run};
use keyward::store::{SqliteOptions, SqliteStore, Synchronous};
use rusqlite::Connection;

#[test]
fn in_memory_it_passes() {
    run(&|| Box::new(SqliteStore::in_memory().unwrap())).assert_passes();
}

#[test]
fn on_file_it_passes() {
    let folders = RefCell::new(Vec::new());
    let make = || -> Box<dyn Store> {
        let folder = Scratch::new();
        let store = SqliteStore::open(folder.path("a.db")).unwrap();
        folders.borrow_mut().push(folder);
        Box::new(store)
    };
    run(&make).assert_passes();
}

#[test]
fn on_a_hosts_connection_it_passes() {
    let folders = RefCell::new(Vec::new());
    let make = || -> Box<dyn Store> {
        let folder = Scratch::new();
        let db = Connection::open(folder.path("a.db")).unwrap();
        folders.borrow_mut().push(folder);
        Box::new(SqliteOptions::new().table_prefix("").synchronous(Synchronous::Off).on(db).unwrap())
    };
    run(&make).assert_passes();
}

#[test]
fn closed_and_opened_again_it_passes() {
    let make = || -> Box<dyn Store> {
        let folder = Scratch::new();
        let open = move || {
            let options = SqliteOptions::new().synchronous(Synchronous::Off);
            Ok(Box::new(options.open(folder.path("a.db"))?) as Box<dyn Store>)
        };
        Box::new(Reopening::every(3, open))
    };
    run(&make).assert_passes();
}

#[test]
fn relaxed_it_passes() {
    let folders = RefCell::new(Vec::new());
    let make = || -> Box<dyn Store> {
        let folder = Scratch::new();
        let store = SqliteOptions::new().synchronous(Synchronous::Off).open(folder.path("a.db")).unwrap();
        folders.borrow_mut().push(folder);
        Box::new(Relaxed(store))
    };
    run(&make).assert_passes();
}

#[test]
fn relaxed_closed_and_opened_again_it_passes() {
    let make = || -> Box<dyn Store> {
        let folder = Scratch::new();
        let open = move || {
            let options = SqliteOptions::new().synchronous(Synchronous::Off);
            Ok(Box::new(Relaxed(options.open(folder.path("a.db"))?)) as Box<dyn Store>)
        };
        Box::new(Reopening::every(3, open))
    };
    run(&make).assert_passes();
}

#[test]
fn relaxed_and_durable_in_turns_it_passes() {
    let folders = RefCell::new(Vec::new());
    let make = || -> Box<dyn Store> {
        let folder = Scratch::new();
        let store = SqliteOptions::new().synchronous(Synchronous::Off).open(folder.path("a.db")).unwrap();
        folders.borrow_mut().push(folder);
        Box::new(InTurns(Relaxed(store), AtomicUsize::new(0)))
    };
    run(&make).assert_passes();
}
