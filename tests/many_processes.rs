//! Many processes on one file share its limits exactly, and none hears that the file is busy.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "sqlite/mod.rs"]
mod help;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use help::*;
use keyward::store::SqliteStore;
use keyward::{Store, Subject};

const CHILD: &str = "KEYWARD_ONE_OF_MANY";
const PROCESSES: u64 = 16;
const CALLS: u64 = 400;
/// Fewer than are asked for.
const LIMIT: u32 = 6_000;

/// The child: asks and settles, and says how often it was granted and how long it waited at the most.
#[test]
#[ignore = "the child of the other test"]
fn one_of_many() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let (path, number) = arguments.split_once('|').unwrap();
    let number: u64 = number.parse().unwrap();
    let store = SqliteStore::open(path).unwrap();
    let (mut yes, mut worst) = (0, Duration::ZERO);
    let mut timed = |plan| {
        let began = Instant::now();
        let verdict = store.apply(&plan, NOW).unwrap();
        worst = worst.max(began.elapsed());
        granted(&verdict)
    };
    for n in number * CALLS..(number + 1) * CALLS {
        let plan =
            acquire(n, "shared", 1, LIMIT, NOW).named(Subject::everyone()).take(hold(1, requests(2, 1_000_000), 1));
        if timed(plan) {
            yes += 1;
            assert!(timed(settle(n, 1, NOW)));
        }
    }
    eprintln!("{yes} {}", worst.as_micros());
}

#[test]
fn sixteen_processes_share_one_limit_exactly() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let began = Instant::now();
    // None finds the file made: they make it at once.
    let children: Vec<_> = (0..PROCESSES)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "one_of_many", "--ignored", "--nocapture"])
                .env(CHILD, format!("{}|{number}", path.display()))
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let (mut yes, mut worst) = (0, 0);
    for child in children {
        let said = child.wait_with_output().unwrap();
        let text = String::from_utf8(said.stderr).unwrap();
        assert!(said.status.success(), "{text}");
        let (granted, waited) = text.trim().split_once(' ').unwrap();
        yes += granted.parse::<u32>().unwrap();
        worst = worst.max(waited.parse::<u64>().unwrap());
    }
    println!(
        "{PROCESSES} processes, {CALLS} calls each: {yes} granted of {LIMIT} in {:?}; the worst wait was {} ms",
        began.elapsed(),
        worst / 1_000
    );
    assert_eq!(yes, LIMIT);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(spent(&store, "shared"), (i64::from(LIMIT), 0));
    sound(&store, NOW);
}
