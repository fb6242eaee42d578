//! The stores of this repository pass the conformance suite; and the suite is what it says it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/tables.rs"]
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use keyward::conformance::{Reopening, checks, run, run_async, run_some};
use keyward::store::{Bytes, Database, Ending, Ordered, Ready, block_on};
use keyward::{MemoryStore, Store, StoreError};
use tables::TableStore;

#[test]
fn a_store_made_of_tables_passes() {
    run(&|| Box::new(TableStore::default())).assert_passes();
}

#[test]
fn the_store_in_memory_passes() {
    run(&|| Box::new(MemoryStore::new())).assert_passes();
}

#[test]
fn the_store_in_memory_passes_with_one_shard() {
    run(&|| Box::new(MemoryStore::builder().shards(1).build().unwrap())).assert_passes();
}

/// Bytes under keys in a map; a transaction is a copy of it.
#[derive(Clone, Default)]
struct Map(Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl Database for Map {
    fn transaction(
        &self,
        body: &mut dyn FnMut(&mut dyn Bytes) -> Result<Ending, StoreError>,
    ) -> Result<(), StoreError> {
        let mut map = self.0.lock().unwrap();
        let mut copy = map.clone();
        if body(&mut copy)? == Ending::Commit {
            *map = copy;
        }
        Ok(())
    }
}

#[test]
fn a_store_of_bytes_under_keys_passes_and_passes_opened_again_too() {
    run(&|| Box::new(Ordered::new(Map::default()))).assert_passes();
    let make = || -> Box<dyn Store> {
        let map = Map::default();
        Box::new(Reopening::every(2, move || Ok(Box::new(Ordered::new(map.clone())))))
    };
    run(&make).assert_passes();
}

/// Answers and ended parts of a host's own ids were kept for ever.
#[test]
fn a_store_of_bytes_under_keys_forgets_what_has_ended_long_ago() {
    use keyward::{Call, Keeper, Length, Limit, ManualClock, Timestamp, Usage};
    let (map, clock) = (Map::default(), ManualClock::at(Timestamp::EPOCH));
    let limit = Limit::requests(1_000).per_day().by("key");
    let keeper = Keeper::builder().limit(limit).store(Ordered::new(map.clone())).clock(clock.clone()).build().unwrap();
    let mut most = 0;
    for number in 0..400 {
        let call = Call::new().with("key", "a").under(format!("op-{number}").parse().unwrap());
        keeper.acquire(&call).unwrap().granted().unwrap().settle(&Usage::new()).unwrap();
        clock.advance(Length::HOUR);
        let kept =
            map.0.lock().unwrap().keys().filter(|key| [b'p', b'x', b'n', b'g', b'd', b'e'].contains(&key[0])).count();
        most = most.max(kept);
    }
    assert!(most < 250, "a day has 24 of them, with some keys each: {most}");
    let answer = keeper.acquire(&Call::new().with("key", "a").under("op-399".parse().unwrap())).unwrap().granted();
    assert!(answer.is_some(), "the last one is known still");
}

#[test]
fn a_store_that_is_opened_again_every_other_change_passes() {
    let make = || -> Box<dyn Store> {
        let file = TableStore::default();
        Box::new(Reopening::every(2, move || Ok(Box::new(file.clone()))))
    };
    run(&make).assert_passes();
}

#[test]
fn an_asynchronous_store_passes() {
    assert_eq!(block_on(async { 1 }), 1);
    run_async(&|| Ready(TableStore::default())).assert_passes();
}

#[test]
fn every_check_has_a_name_of_its_own_and_a_promise() {
    let names: BTreeSet<&str> = checks().iter().map(|check| check.name).collect();
    assert_eq!(names.len(), checks().len());
    assert!(checks().len() >= 60, "{}", checks().len());
    let promises: BTreeSet<&str> = checks().iter().map(|check| check.promise).collect();
    assert_eq!(promises.len(), checks().len());
}

#[test]
fn a_selection_runs_what_it_names_and_an_empty_one_does_not_pass() {
    let make = || -> Box<dyn Store> { Box::new(TableStore::default()) };
    let report = run_some(&make, |check| check.name.starts_with("threads_claim"));
    assert_eq!(report.passed(), ["threads_claim_an_alert_once"]);
    report.assert_passes();
    assert!(!run_some(&make, |_| false).is_clean());
}

#[test]
fn a_check_can_be_run_by_hand_at_any_time() {
    for check in checks().iter().filter(|check| !check.name.starts_with("threads")) {
        for now in ["1999-12-31T23:59:59Z", "2038-01-19T03:14:08Z"] {
            let outcome = check.run(&TableStore::default(), now.parse().unwrap());
            assert!(outcome.is_ok(), "{} at {now}: {outcome:?}", check.name);
        }
    }
}

/// A store that panicked took the whole run with it, and nobody learned what the other checks said.
#[test]
fn a_panic_is_the_failure_of_one_check() {
    let calls = std::sync::atomic::AtomicU32::new(0);
    let make = || -> Box<dyn Store> {
        assert!(calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) != 1, "the second store cannot be made");
        Box::new(TableStore::default())
    };
    let report = run_some(&make, |check| check.name.contains("_is_"));
    assert_eq!(report.failed().len(), 1);
    assert!(report.failed()[0].why.to_string().contains("the second store cannot be made"), "{report}");
    assert!(report.to_string().contains(report.failed()[0].check.name), "{report}");
    assert!(!report.passed().is_empty());
}
