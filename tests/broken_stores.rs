//! The conformance suite catches stores that are broken: each of these has one fault, and the checks that should find it
//! do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::as_conversions, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

#[path = "broken_stores/atomic.rs"]
mod atomic;
#[path = "broken_stores/frame.rs"]
mod frame;
#[path = "broken_stores/kept.rs"]
mod kept;
#[path = "broken_stores/reading.rs"]
mod reading;
#[path = "common/tables.rs"]
mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use frame::{Broken, Fault, assert_caught};
use keyward::conformance::{Reopening, run};
use keyward::plan::{Answer, State};
use keyward::store::{Counters, Transaction};
use keyward::{OpId, Store};
use tables::{TableStore, Tables};

/// The number of the last limit was kept in memory; after a restart the next limit got a number that was taken.
#[test]
fn numbers_of_limits_that_come_again_after_a_restart() {
    struct Forgetful(AtomicU32);
    impl Fault for Forgetful {
        fn counters(&self, tables: &mut Tables) -> Counters {
            let mut counters = tables.counters().unwrap();
            counters.limits = self.0.load(Ordering::Relaxed);
            counters
        }
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            self.0.store(state.counters.limits, Ordering::Relaxed);
        }
    }
    let make = || -> Box<dyn Store> {
        let file = TableStore::default();
        Box::new(Reopening::every(2, move || {
            Ok(Box::new(Broken { store: file.clone(), fault: Forgetful(AtomicU32::new(0)) }))
        }))
    };
    assert_caught(&make, &["limits_keep_their_numbers"]);
    let in_one_run = || Forgetful(AtomicU32::new(0));
    run(&|| Box::new(Broken { store: TableStore::default(), fault: in_one_run() })).assert_passes();
}

/// The frame in which faults are put is itself without one.
#[test]
fn a_store_without_a_fault_passes_in_the_same_frame() {
    struct None;
    impl Fault for None {}
    run(&|| Box::new(Broken { store: TableStore::default(), fault: None })).assert_passes();
}

/// Answers that were written by one connection were not seen by another.
#[test]
fn an_answer_that_only_one_connection_knows() {
    struct Cached(Arc<std::sync::Mutex<Vec<Answer>>>);
    impl Fault for Cached {
        fn answer(&self, _: &mut Tables, to: &OpId) -> Option<Answer> {
            self.0.lock().unwrap().iter().find(|answer| answer.op == *to).cloned()
        }
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            self.0.lock().unwrap().extend(state.changes.answer.take());
        }
    }
    let make = || -> Box<dyn Store> {
        let file = TableStore::default();
        Box::new(Reopening::every(1, move || {
            Ok(Box::new(Broken { store: file.clone(), fault: Cached(Arc::default()) }))
        }))
    };
    assert_caught(&make, &["the_same_again_gets_the_first_answer"]);
}
