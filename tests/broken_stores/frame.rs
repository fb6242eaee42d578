//! The frame in which faults are put: a good store, of which one method is replaced.
#![allow(unreachable_pub, reason = "a module of one test")]

use keyward::account::{Account, Part, Row};
use keyward::conformance::run_some;
use keyward::plan::{Answer, Due, LimitRecord, Plan, State, Verdict};
use keyward::store::{Counters, Filter, PartKey, PartsOf, Total, Transaction, transact};
use keyward::{LimitId, OpId, Store, StoreError, Subject, Timestamp};

use crate::tables::{AtMost, TableStore, Tables};

pub type Result<T> = std::result::Result<T, StoreError>;

/// One fault: a good store, of which one method is replaced.
pub trait Fault: Send + Sync + 'static {
    fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict>
    where
        Self: Sized,
    {
        store.transaction(|tables| transact(&mut Through { tables, fault: self }, plan, now))
    }

    fn account(&self, tables: &mut Tables, of: &Subject) -> Account {
        tables.account(of).unwrap()
    }

    fn due(&self, tables: &mut Tables, of: &Subject, now: Timestamp) -> Due {
        tables.due(of, now).unwrap()
    }

    fn answer(&self, tables: &mut Tables, to: &OpId) -> Option<Answer> {
        tables.answer(to).unwrap()
    }

    fn parts(&self, tables: &mut Tables, of: &OpId) -> Vec<Part> {
        tables.parts(of).unwrap()
    }

    fn counters(&self, tables: &mut Tables) -> Counters {
        tables.counters().unwrap()
    }

    /// Changes what is about to be saved.
    fn spoil(&self, _: &mut Tables, _: &mut State) {}

    fn save(&self, tables: &mut Tables, state: &State) -> Result<()> {
        let mut state = state.clone();
        self.spoil(tables, &mut state);
        tables.save(&state)
    }

    fn read_accounts(&self, store: &TableStore, after: Option<&Subject>, most: usize) -> Vec<(Subject, Account)> {
        store.accounts(after, most).unwrap()
    }

    fn read_parts(&self, store: &TableStore, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Vec<Part> {
        Store::parts(store, of, after, most).unwrap()
    }

    fn read_rows(&self, store: &TableStore, filter: &Filter, after: u64, most: usize) -> Vec<(u64, Row)> {
        store.rows(filter, after, most).unwrap()
    }

    fn compact(&self, store: &TableStore, before: Timestamp) -> usize {
        store.compact(before).unwrap()
    }
}

/// A transaction in which the fault has its say.
pub struct Through<'a, F> {
    pub tables: &'a mut Tables,
    pub fault: &'a F,
}

impl<F: Fault> Transaction for Through<'_, F> {
    fn account(&mut self, of: &Subject) -> Result<Account> {
        Ok(self.fault.account(self.tables, of))
    }

    fn due(&mut self, of: &Subject, now: Timestamp) -> Result<Due> {
        Ok(self.fault.due(self.tables, of, now))
    }

    fn parts(&mut self, of: &OpId) -> Result<Vec<Part>> {
        Ok(self.fault.parts(self.tables, of))
    }

    fn answer(&mut self, to: &OpId) -> Result<Option<Answer>> {
        Ok(self.fault.answer(self.tables, to))
    }

    fn limit(&mut self, of: &LimitId) -> Result<Option<LimitRecord>> {
        self.tables.limit(of)
    }

    fn counters(&mut self) -> Result<Counters> {
        Ok(self.fault.counters(self.tables))
    }

    fn save(&mut self, state: &State) -> Result<()> {
        self.fault.save(self.tables, state)
    }
}

pub struct Broken<F> {
    pub store: TableStore,
    pub fault: F,
}

impl<F: Fault> Store for Broken<F> {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict> {
        self.fault.apply(&self.store, plan, now)
    }

    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize> {
        self.store.sweep_by(now, most, |tables, plan, most| {
            let mut through = Through { tables, fault: &self.fault };
            transact(&mut AtMost { tables: &mut through, most }, plan, now)
        })
    }

    fn account(&self, of: &Subject) -> Result<Option<Account>> {
        Store::account(&self.store, of)
    }

    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>> {
        Ok(self.fault.read_accounts(&self.store, after, most))
    }

    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>> {
        Ok(self.fault.read_parts(&self.store, of, after, most))
    }

    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>> {
        Ok(self.fault.read_rows(&self.store, filter, after, most))
    }

    fn totals(&self) -> Result<Vec<Total>> {
        self.store.totals()
    }

    fn compact(&self, before: Timestamp) -> Result<usize> {
        Ok(self.fault.compact(&self.store, before))
    }

    fn limits(&self) -> Result<Vec<LimitRecord>> {
        self.store.limits()
    }
}

/// The suite fails a store with this fault: these of its checks do.
#[track_caller]
pub fn caught<F: Fault>(make: impl Fn() -> F, by: &[&str]) {
    let broken = || -> Box<dyn Store> { Box::new(Broken { store: TableStore::default(), fault: make() }) };
    assert_caught(&broken, by);
}

#[track_caller]
pub fn assert_caught(make: &dyn Fn() -> Box<dyn Store>, by: &[&str]) {
    let report = run_some(make, |check| by.contains(&check.name));
    assert_eq!(report.passed().len() + report.failed().len(), by.len(), "each of {by:?} is a check");
    assert!(report.passed().is_empty(), "a store that is broken passes {:?}", report.passed());
}

/// For each fault a store, the one thing that it does wrong, and the checks that find it.
macro_rules! faults {
    ($($(#[$story:meta])* $test:ident: [$($by:literal),+] { $($wrong:tt)* })*) => {
        $(
            $(#[$story])*
            #[test]
            fn $test() {
                struct It;
                impl Fault for It { $($wrong)* }
                caught(|| It, &[$($by),+]);
            }
        )*
    };
}

pub(crate) use faults;
