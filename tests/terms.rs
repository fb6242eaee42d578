//! Limits as a store knows them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use keyward::account::{Account, Part, Row};
use keyward::plan::{Adopt, LimitRecord, Plan, Verdict};
use keyward::store::{Filter, PartKey, PartsOf, Total, apply_at};
use keyward::terms::Terms;
use keyward::{Limit, MemoryStore, Store, StoreError, Subject, Timestamp};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds).unwrap()
}

#[test]
fn a_wrong_limit_is_named_by_its_place() {
    let fine = || Limit::requests(1).per_minute();
    let error = Terms::compile([fine(), Limit::requests(1).by("key")]).unwrap_err();
    assert_eq!(error.field(), Some("limits[1].window"));
    let error = Terms::compile([fine(), Limit::tokens(1).per_day(), fine().unlimited()]).unwrap_err();
    assert_eq!(error.field(), Some("limits[2]"));
    assert!(error.to_string().contains("limits[0]"), "{error}");
    let named = Terms::compile([fine(), fine().named("second")]).unwrap();
    assert_eq!(named.len(), 2);
}

#[test]
fn a_schedule_that_changes_is_a_new_generation_and_an_amount_is_none() {
    let store = MemoryStore::new();
    let limit = |amount, window: &str| Limit::requests(amount).per(window).named("calls");
    let first = Terms::adopt(&store, [limit(5, "30d")], Adopt::Start, at(1)).unwrap();
    let raised = Terms::adopt(&store, [limit(9, "30d")], Adopt::Change, at(2)).unwrap();
    let month = Terms::adopt(&store, [limit(9, "month")], Adopt::Change, at(3)).unwrap();
    let old = Terms::adopt(&store, [limit(5, "30d")], Adopt::Start, at(4)).unwrap();
    let generation = |terms: &Terms| terms.iter().next().unwrap().generation();
    assert_eq!([&first, &raised, &month, &old].map(generation), [0, 0, 1, 0]);
    for terms in [&raised, &month, &old] {
        let (term, known) = (terms.iter().next().unwrap(), first.iter().next().unwrap());
        assert_eq!((term.meter(), term.anchor()), (known.meter(), known.anchor()));
        assert_eq!(terms.of(known.meter()), Some(term));
        assert_eq!(terms.get(term.limit().id()), Some(term));
    }
}

#[test]
fn an_answer_to_another_plan_is_refused() {
    let store = MemoryStore::new();
    let verdict = store.apply(&Plan::new(at(1)), at(1)).unwrap();
    let limits = Terms::compile([Limit::requests(1).per_minute()]).unwrap();
    assert_eq!(Terms::read(limits, &verdict).unwrap_err().field(), Some("verdict"));
}

/// A store by its own clock, which is an hour ahead of ours, or never the same twice.
struct Ahead(MemoryStore, bool);

impl Store for Ahead {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        let mine = now.max(at(3_600));
        let mine = if self.1 { now.max(at(3_600)).saturating_add(keyward::Length::HOUR) } else { mine };
        self.0.apply(plan, mine)
    }
    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        self.0.sweep(now, most)
    }
    fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        self.0.account(of)
    }
    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        self.0.accounts(after, most)
    }
    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        self.0.parts(of, after, most)
    }
    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        self.0.rows(filter, after, most)
    }
    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.0.totals()
    }
    fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.0.compact(before)
    }
    fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        self.0.limits()
    }
}

#[test]
fn a_plan_is_made_again_for_the_stores_own_instant() {
    let plan = |now: Timestamp| {
        let mut plan = Plan::new(now);
        plan.until = now.saturating_add(keyward::Length::MINUTE);
        Ok(plan)
    };
    let (verdict, planned) = apply_at(&Ahead(MemoryStore::new(), false), at(5), plan).unwrap();
    assert!(matches!(verdict, Verdict::Granted(_)));
    assert_eq!(planned, at(3_600));
    let error = apply_at(&Ahead(MemoryStore::new(), true), at(5), plan).unwrap_err();
    assert_eq!(error.field(), Some("clock"));
}
