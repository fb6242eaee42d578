//! Which of several balances pays for a call, what is done to it by hand, and that it is exactly one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod host;

use std::collections::BTreeMap;
use std::sync::Mutex;

use host::*;
use keyward::budgets::{Changed, Charged, Credits, OlderStore, Purse, Purses, Spent};
use keyward::error::Error;
use keyward::plan::{Adopt, BalanceChange, Plan};
use keyward::quota::{Every, Patch, Refill, RefillPolicy};
use keyward::store::Store;
use keyward::terms::Terms;
use keyward::{Amount, Limit, MemoryStore, OpId, StoreError, Subject, Usage};

/// An older store: balances by subject, and what was written to it.
#[derive(Default)]
struct Older {
    balances: Mutex<BTreeMap<String, i64>>,
    done: Mutex<BTreeMap<String, Spent>>,
    written: Mutex<Vec<String>>,
    fails: Mutex<Option<StoreError>>,
}

impl Older {
    fn with(of: &Subject, units: i64) -> Self {
        let older = Self::default();
        older.balances.lock().unwrap().insert(of.to_string(), units);
        older
    }

    fn units(&self) -> Vec<i64> {
        self.balances.lock().unwrap().values().copied().collect()
    }
}

impl OlderStore for Older {
    fn has(&self, of: &Subject) -> Result<bool, StoreError> {
        Ok(self.balances.lock().unwrap().contains_key(of.as_str()))
    }

    fn spend(&self, op: &OpId, of: &Subject, cost: Amount) -> Result<Spent, StoreError> {
        if let Some(error) = self.fails.lock().unwrap().clone().filter(|error| !error.is_unknown()) {
            return Err(error);
        }
        let mut done = self.done.lock().unwrap();
        if let Some(spent) = done.get(&op.to_string()) {
            return Ok(*spent);
        }
        let mut balances = self.balances.lock().unwrap();
        let units = balances.get_mut(of.as_str()).unwrap();
        if *units < cost.get() {
            return Ok(Spent::TooLittle(*units));
        }
        *units -= cost.get();
        self.written.lock().unwrap().push(format!("spend {cost}"));
        done.insert(op.to_string(), Spent::Taken(Some(*units)));
        match self.fails.lock().unwrap().clone() {
            Some(error) => Err(error),
            None => Ok(Spent::Taken(Some(*units))),
        }
    }

    fn change(&self, _: &OpId, of: &Subject, change: BalanceChange) -> Result<Changed, Error> {
        let mut balances = self.balances.lock().unwrap();
        let units = balances.get_mut(of.as_str()).unwrap();
        let before = *units;
        match change {
            BalanceChange::Set(Some(to)) => *units = to,
            BalanceChange::Credit(by) => *units += by.get(),
            BalanceChange::Debit(by) => *units -= by.get().min(*units),
            other => panic!("an older store knows no {other:?}"),
        }
        self.written.lock().unwrap().push(format!("{change:?}"));
        Ok(Changed { units: Some(*units), moved: *units - before })
    }
}

/// A host with a rate for all calls, and credits for identities and keys.
struct World {
    host: Host<MemoryStore>,
    credits: Terms,
}

fn key() -> Subject {
    subject("key", "alice")
}

fn person() -> Subject {
    subject("identity", "person")
}

impl World {
    fn new() -> Self {
        let host = Host::new(MemoryStore::new(), [Limit::requests(100).per_minute().by("key")], 0);
        let credits = [Limit::credits(0).by("identity"), Limit::credits(0).by("key")];
        let credits = Terms::adopt(&host.store, credits, Adopt::Start, at(0)).unwrap();
        Self { host, credits }
    }

    fn credits(&self, place: usize) -> Credits<'_, MemoryStore> {
        Credits::of(&self.host.store, self.credits.iter().nth(place).unwrap()).unwrap()
    }

    fn purses<'a>(&'a self, older: Option<&'a dyn OlderStore>) -> Purses<'a> {
        let mut terms = self.credits.iter();
        Purses { identity: terms.next(), key: terms.next(), older }
    }

    fn set(&self, place: usize, of: &Subject, units: u32) {
        self.credits(place).set(&host(&format!("set {of} {units}")), of, Amount::new(units), at(0)).unwrap();
    }

    fn find(&self, purses: &Purses<'_>) -> Purse {
        purses.find(&self.host.store, Some(&person()), &key()).unwrap()
    }

    fn charge(&self, purses: &Purses<'_>, op: &str, cost: u32) -> Result<Charged, Error> {
        let (purse, op) = (self.find(purses), host(op));
        let plan = |now| Ok(self.host.plan(&op, &[("key", "alice")], &Usage::new(), now));
        purses.charge(&self.host.store, &purse, &op, Amount::new(cost), at(1), plan)
    }

    /// What is left of a balance of this store, holds left aside, if it is there.
    fn left(&self, place: usize, of: &Subject) -> Option<i64> {
        self.credits(place).balance(of, at(1)).unwrap().map(|balance| balance.available().unwrap_or(i64::MAX))
    }

    /// Calls that are counted by the rate.
    fn counted(&self) -> i64 {
        self.host.count(&key(), self.host.term(0).meter(), 1).0
    }
}

#[test]
fn an_identitys_balance_decides_alone_then_the_keys_then_the_older_stores() {
    let (world, older) = (World::new(), Older::with(&key(), 7));
    assert_eq!(world.find(&world.purses(None)), Purse::Unlimited);
    assert_eq!(world.find(&world.purses(Some(&older))), Purse::Older(key()));
    world.set(1, &key(), 10);
    assert_eq!(world.find(&world.purses(Some(&older))), Purse::Key(key()));
    world.set(0, &person(), 20);
    assert_eq!(world.find(&world.purses(Some(&older))), Purse::Identity(person()));
    for n in 0..4 {
        assert!(matches!(world.charge(&world.purses(Some(&older)), &n.to_string(), 5).unwrap(), Charged::Granted(_)));
    }
    assert_eq!((world.left(0, &person()), world.left(1, &key()), older.units()), (Some(0), Some(10), vec![7]));
    let Charged::Denied(denial) = world.charge(&world.purses(Some(&older)), "x", 1).unwrap() else {
        panic!("one that is used up does not fall through")
    };
    assert_eq!(denial.blocked.len(), 1);
    assert_eq!((world.left(1, &key()), older.units(), world.counted()), (Some(10), vec![7], 4));
}

#[test]
fn no_balance_anywhere_is_unlimited_and_still_counted_by_rates() {
    let world = World::new();
    for n in 0..100 {
        assert!(matches!(world.charge(&world.purses(None), &n.to_string(), 1_000).unwrap(), Charged::Granted(_)));
    }
    assert!(matches!(world.charge(&world.purses(None), "x", 0).unwrap(), Charged::Denied(_)));
    assert_eq!((world.left(0, &person()), world.left(1, &key())), (None, None));
}

#[test]
fn an_unlimited_balance_is_one_and_decides() {
    let (world, older) = (World::new(), Older::with(&key(), 0));
    let credits = world.credits(0);
    credits.unlimited(&host("free"), &person(), at(0)).unwrap();
    world.set(1, &key(), 0);
    assert_eq!(world.find(&world.purses(Some(&older))), Purse::Identity(person()));
    assert!(matches!(world.charge(&world.purses(Some(&older)), "a", 99).unwrap(), Charged::Granted(_)));
    for change in [BalanceChange::Credit(Amount::ONE), BalanceChange::Debit(Amount::ONE)] {
        let error = credits.change(&host(&format!("{change:?}")), &person(), change, at(1)).unwrap_err();
        assert!(error.expected().unwrap().contains("not unlimited"), "{error}");
    }
}

/// The older store, the new one, or both have a balance; it is set, credited, debited or spent.
#[test]
fn exactly_the_active_balance_is_changed() {
    let changes = [
        (Some(BalanceChange::Set(Some(50))), 50),
        (Some(BalanceChange::Credit(Amount::new(5))), 105),
        (Some(BalanceChange::Debit(Amount::new(5))), 95),
        (Some(BalanceChange::Debit(Amount::new(500))), 0),
        (None, 95),
    ];
    for (has_older, has_new) in [(true, false), (false, true), (true, true)] {
        for (change, after) in changes {
            let (world, older) = (World::new(), Older::default());
            if has_older {
                older.balances.lock().unwrap().insert(key().to_string(), 100);
            }
            if has_new {
                world.set(1, &key(), 100);
            }
            let purses = world.purses(Some(&older));
            match change {
                Some(change) => {
                    let purse = world.find(&purses);
                    let changed = purses.change(&world.host.store, &purse, &key(), &host("change"), change, at(1));
                    assert_eq!(changed.unwrap(), Changed { units: Some(after), moved: after - 100 });
                }
                None => assert!(matches!(world.charge(&purses, "spend", 5).unwrap(), Charged::Granted(_))),
            }
            let (new, old) = (world.left(1, &key()), older.units());
            let untouched = if has_older { vec![100] } else { vec![] };
            match has_new {
                true => assert_eq!((new, &old), (Some(after), &untouched), "{change:?}"),
                false => assert_eq!((new, &old), (None, &vec![after]), "{change:?}"),
            }
            assert_eq!(older.written.lock().unwrap().is_empty(), has_new, "written only while it is active");
        }
    }
}

#[test]
fn where_there_is_no_balance_a_change_makes_one_for_the_key_here() {
    let (world, older) = (World::new(), Older::default());
    let purses = world.purses(Some(&older));
    let credit = BalanceChange::Credit(Amount::new(5));
    let changed = purses.change(&world.host.store, &Purse::Unlimited, &key(), &host("c"), credit, at(1)).unwrap();
    assert_eq!((changed.units, world.left(1, &key()), older.units()), (Some(5), Some(5), vec![]));
    let none = Purses { identity: None, key: None, older: None };
    let error = none.change(&world.host.store, &Purse::Unlimited, &key(), &host("d"), credit, at(1)).unwrap_err();
    assert_eq!(error.field(), Some("purse"));
}

/// unkey: a call that was refused for credits had consumed rate tokens.
#[test]
fn what_was_held_for_a_call_that_the_older_store_refuses_is_given_back() {
    let (world, older) = (World::new(), Older::with(&key(), 3));
    let purses = world.purses(Some(&older));
    assert!(matches!(world.charge(&purses, "a", 3).unwrap(), Charged::Granted(_)));
    assert_eq!(world.charge(&purses, "b", 1).unwrap(), Charged::TooLittle(0));
    assert_eq!((world.counted(), older.units()), (1, vec![0]));
    world.host.is_proved(2);
}

#[test]
fn a_store_that_fails_gives_back_and_one_that_does_not_know_can_be_asked_again() {
    let (world, older) = (World::new(), Older::with(&key(), 3));
    let purses = world.purses(Some(&older));
    *older.fails.lock().unwrap() = Some(StoreError::unavailable("down"));
    assert!(world.charge(&purses, "a", 1).unwrap_err().is_store());
    assert_eq!((world.counted(), older.units()), (0, vec![3]));
    *older.fails.lock().unwrap() = Some(StoreError::unknown("no answer"));
    assert!(world.charge(&purses, "b", 1).unwrap_err().store().unwrap().is_unknown());
    assert_eq!((world.counted(), older.units()), (1, vec![2]), "it may have been spent, and what is held stays");
    *older.fails.lock().unwrap() = None;
    assert!(matches!(world.charge(&purses, "b", 1).unwrap(), Charged::Granted(_)));
    assert_eq!((world.counted(), older.units()), (1, vec![2]), "the same call again held and spent nothing more");
}

/// unkey: a decrement that was sent again, because its answer had been lost, charged twice.
#[test]
fn a_change_is_once_for_its_operation_and_another_under_its_id_is_a_conflict() {
    let world = World::new();
    let credits = world.credits(1);
    let debit = |by| credits.debit(&host("d"), &key(), Amount::new(by), at(1));
    credits.set(&host("s"), &key(), Amount::new(10), at(0)).unwrap();
    assert_eq!(debit(4).unwrap(), debit(4).unwrap());
    let error = debit(5).unwrap_err();
    assert!(error.is_conflict() && error.field() == Some("change"), "{error}");
    let error = credits.credit(&host("d"), &subject("key", "bob"), Amount::new(4), at(1)).unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert_eq!(world.left(1, &key()), Some(6));
    world.host.is_proved(2);
}

#[test]
fn a_patch_changes_what_it_names_and_a_refill_comes_when_it_is_looked_at() {
    let world = World::new();
    let credits = world.credits(1);
    let daily = Refill { amount: Amount::new(5), every: Every::Day, policy: RefillPolicy::Add };
    credits.set(&host("s"), &key(), Amount::new(10), at(0)).unwrap();
    let patch = Patch { refill: Some(Some(daily)), ..Patch::default() };
    assert_eq!(credits.patch(&host("p"), &key(), patch, at(10)).unwrap().units, Some(10));
    let later = at(3 * 86_400);
    assert_eq!(credits.balance(&key(), later).unwrap().unwrap().units, Some(25));
    assert_eq!(credits.debit(&host("d"), &key(), Amount::new(20), later).unwrap().units, Some(5));
    credits.unlimited(&host("u"), &key(), later).unwrap();
    let balance = credits.balance(&key(), later).unwrap().unwrap();
    assert_eq!((balance.units, balance.refill), (None, None), "which clears the refill too");
    let error = credits.patch(&host("q"), &key(), patch, later).unwrap_err();
    assert_eq!(error.field(), Some("refill"));
    world.host.is_proved(3 * 86_400);
}

#[test]
fn a_limit_that_is_no_balance_has_no_credits() {
    let world = World::new();
    let error = Credits::of(&world.host.store, world.host.term(0)).unwrap_err();
    assert_eq!(error.field(), Some("limit"));
}

/// A balance that pays puts itself into the account that the call's other limits are in, and not beside it.
#[test]
fn a_balance_joins_the_plan_of_the_call() {
    let world = World::new();
    world.set(1, &key(), 10);
    let purses = world.purses(None);
    let plan = world.host.plan(&host("a"), &[("key", "alice")], &Usage::new(), at(1));
    let (accounts, takes) = (plan.accounts.len(), plan.takes.len());
    let paid = purses.pay(plan, &Purse::Key(key()), Amount::ONE, keyward::plan::Act::Hold, at(1)).unwrap();
    assert_eq!((paid.accounts.len(), paid.takes.len()), (accounts, takes + 1));
    let plan = Plan::new(at(1));
    let paid = purses.pay(plan, &Purse::Identity(person()), Amount::ONE, keyward::plan::Act::Charge, at(1)).unwrap();
    assert_eq!((paid.accounts.len(), paid.takes.len()), (1, 1));
    let paid = purses.pay(Plan::new(at(1)), &Purse::Unlimited, Amount::ONE, keyward::plan::Act::Charge, at(1)).unwrap();
    assert_eq!(paid, Plan::new(at(1)));
    assert!(world.host.store.account(&person()).unwrap().is_none());
}

/// unkey: a balance came back to life when a cache entry expired before its writes had landed.
#[cfg(feature = "sqlite")]
#[test]
fn what_one_process_spent_is_gone_for_all_others() {
    use keyward::store::{SqliteOptions, Synchronous};
    let folder = std::env::temp_dir().join(format!("keyward-purses-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let open = || SqliteOptions::new().synchronous(Synchronous::Off).open(folder.join("a.db")).unwrap();
    let limit = || [Limit::credits(3).by("key")];
    let (one, other) = (Host::new(open(), limit(), 0), Host::new(open(), limit(), 0));
    let call = [("key", "alice")];
    one.call("a", &call, &Usage::new(), 1);
    other.call("b", &call, &Usage::new(), 1);
    one.hold("c", &call, &Usage::new(), 1);
    for (n, host) in [&other, &one, &other].into_iter().enumerate() {
        host.refused(&n.to_string(), &call, &Usage::new(), 1);
    }
    let of = |host: &Host<keyward::SqliteStore>| {
        Credits::of(&host.store, host.term(0)).unwrap().balance(&key(), at(1)).unwrap().unwrap()
    };
    assert_eq!(of(&one), of(&other));
    other.is_proved(2);
    drop((one, other));
    std::fs::remove_dir_all(&folder).unwrap();
}
