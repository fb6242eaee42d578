//! Damaged files: whatever is flipped, the store says that it is damaged or answers what was there, and never panics.
#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::as_conversions
)]

#[path = "sqlite/mod.rs"]
mod help;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use help::*;
use keyward::account::{Account, Part, Row};
use keyward::plan::LimitRecord;
use keyward::store::{Filter, PartsOf, SqliteOptions, SqliteStore, Synchronous, Total};
use keyward::{Store, StoreError, Subject};

const CASES: u64 = 1_200;

/// Everything that reading a store says.
#[derive(Debug, PartialEq)]
struct Said {
    accounts: Vec<(Subject, Account)>,
    parts: Vec<Part>,
    rows: Vec<(u64, Row)>,
    totals: Vec<Total>,
    limits: Vec<LimitRecord>,
}

fn read(store: &SqliteStore) -> Result<Said, StoreError> {
    Ok(Said {
        accounts: store.accounts(None, 1_000)?,
        parts: store.parts(&PartsOf::Open, None, 1_000)?,
        rows: store.rows(&Filter::default(), 0, 1_000)?,
        totals: store.totals()?,
        limits: store.limits()?,
    })
}

fn fill(store: &SqliteStore, from: u64, mut each: impl FnMut()) {
    for n in from..from + 40 {
        let _ = store.apply(&acquire(n, &format!("k{}", n % 5), 2, 1_000, NOW), NOW).unwrap();
        each();
        if n % 3 > 0 {
            let _ = store.apply(&settle(n, 1, NOW), NOW).unwrap();
            each();
        }
    }
}

/// Flips some bytes of a copy; says whether the store noticed, and otherwise that what it says once was so.
fn case(folder: &Path, files: &[(&str, Vec<u8>)], target: usize, truths: &[Said], dice: &mut Dice) -> bool {
    for (place, (name, bytes)) in files.iter().enumerate() {
        let mut bytes = bytes.clone();
        if place == target {
            for _ in 0..1 + dice.roll(8) {
                let at = usize::try_from(dice.roll(bytes.len() as u64)).unwrap();
                bytes[at] ^= u8::try_from(1 + dice.roll(255)).unwrap();
            }
        }
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let quick = SqliteOptions::new().synchronous(Synchronous::Off);
    let Ok(store) = quick.open(folder.join("a.db")) else { return true };
    let healthy = store.check();
    match read(&store) {
        Err(_) => return true,
        Ok(said) if truths.contains(&said) => {}
        // What was filed under another name is found by whoever looks at everything.
        Ok(_) => assert!(healthy.is_err(), "what it says was never so, and it finds nothing wrong"),
    }
    // It may be written to, as well as it can.
    for n in 500..505 {
        if store.apply(&acquire(n, &format!("k{}", n % 5), 2, 1_000, NOW), NOW).is_err() {
            return true;
        }
        let _ = store.apply(&settle(n, 1, NOW), NOW);
    }
    let _ = keyward::store::verify(&store, later(10_000));
    let _ = store.compact(later(10_000));
    healthy.is_err()
}

#[test]
fn flipped_bytes_are_an_error_or_change_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = SqliteStore::open(&path).unwrap();
    fill(&store, 0, || {});
    assert!(store.compact(NOW).unwrap() == 0);
    drop(store);
    // What is in the log may end at any commit: the damaged rest of a log is no part of it.
    let store = SqliteStore::open(&path).unwrap();
    let mut truths = vec![read(&store).unwrap()];
    fill(&store, 100, || truths.push(read(&store).unwrap()));
    let copy = |name: &'static str| (name, std::fs::read(scratch.path(name)).unwrap());
    let files = [copy("a.db"), copy("a.db-wal")];
    drop(store);
    let closed = [copy("a.db")];

    let mut dice = Dice(7);
    let mut noticed = [0_u64; 3];
    let folders: Vec<Scratch> = (0..CASES).map(|_| Scratch::new()).collect();
    for (n, folder) in folders.iter().enumerate() {
        let kind = n % 3;
        let (files, target, truths) = match kind {
            0 => (&closed[..], 0, &truths[truths.len() - 1..]),
            1 => (&files[..], 0, &truths[..]),
            _ => (&files[..], 1, &truths[..]),
        };
        let seed = dice.0;
        let outcome = catch_unwind(AssertUnwindSafe(|| case(folder.folder(), files, target, truths, &mut dice)));
        let saw = outcome.unwrap_or_else(|_| panic!("case {n}, seed {seed}"));
        noticed[kind] += u64::from(saw);
        let _ = std::fs::remove_dir_all(folder.folder());
    }
    println!(
        "{CASES} damaged files, no panic, nothing said that was never so; noticed: {} of the closed file, {} of the file \
         beside a log, {} of the log, each of {}",
        noticed[0],
        noticed[1],
        noticed[2],
        CASES / 3
    );
    assert!(noticed[0] > CASES / 12, "hardly anything was noticed: {noticed:?}");
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}
