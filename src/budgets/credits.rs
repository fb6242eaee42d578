//! Balances changed by hand, each change by one call and once for its operation.

use super::effects;
use crate::account::Counter;
use crate::amount::Amount;
use crate::error::{Error, StoreError};
use crate::id::{OpId, Subject};
use crate::limit::{Own, Shape};
use crate::plan::{BalanceChange, Effect, Plan, Report, Verdict};
use crate::quota::{Balance, Patch};
use crate::store::{Store, apply_at};
use crate::terms::Term;
use crate::time::Timestamp;

/// What a change of a balance came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Changed {
    /// What is there now, holds included; below zero it is owed. `None` is without end.
    pub units: Option<i64>,
    /// By how much it moved.
    pub moved: i64,
}

/// The balances of one limit.
///
/// ```
/// use keyward::budgets::Credits;
/// use keyward::plan::Adopt;
/// use keyward::terms::Terms;
/// use keyward::{Amount, Limit, MemoryStore, OpId, Subject, Timestamp};
///
/// let (store, now) = (MemoryStore::new(), Timestamp::EPOCH);
/// let terms = Terms::adopt(&store, [Limit::credits(100).by("key")], Adopt::Start, now)?;
/// let credits = Credits::of(&store, terms.iter().next().unwrap())?;
///
/// let alice = Subject::of([("key", "alice")])?;
/// assert_eq!(credits.credit(&OpId::host("invoice 7")?, &alice, Amount::new(50), now)?.units, Some(150));
/// assert_eq!(credits.credit(&OpId::host("invoice 7")?, &alice, Amount::new(50), now)?.units, Some(150), "once");
/// assert_eq!(credits.debit(&OpId::host("refund 1")?, &alice, Amount::new(500), now)?.moved, -150);
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Debug)]
pub struct Credits<'a, S: ?Sized> {
    store: &'a S,
    term: &'a Term,
}

impl<'a, S: Store + ?Sized> Credits<'a, S> {
    /// The balances of this limit.
    ///
    /// # Errors
    /// A limit that is no balance.
    pub fn of(store: &'a S, term: &'a Term) -> Result<Self, Error> {
        match term.limit().shape() {
            Shape::Credits(..) => Ok(Self { store, term }),
            _ => Err(Error::invalid("limit", term.limit().id(), "a balance of credits")),
        }
    }

    /// Sets the balance; its refill is kept, and what is held under the old one no longer counts.
    ///
    /// # Errors
    /// What the store says; an operation that was carried out with other arguments.
    pub fn set(&self, op: &OpId, of: &Subject, units: Amount, now: Timestamp) -> Result<Changed, Error> {
        self.change(op, of, BalanceChange::Set(Some(units.get())), now)
    }

    /// Makes the balance unlimited, which clears its refill too.
    ///
    /// # Errors
    /// What the store says; an operation that was carried out with other arguments.
    pub fn unlimited(&self, op: &OpId, of: &Subject, now: Timestamp) -> Result<Changed, Error> {
        self.change(op, of, BalanceChange::Set(None), now)
    }

    /// Adds to the balance; a debt is paid by it first.
    ///
    /// # Errors
    /// A balance that is unlimited, or would pass what can be said; what the store says.
    pub fn credit(&self, op: &OpId, of: &Subject, by: Amount, now: Timestamp) -> Result<Changed, Error> {
        self.change(op, of, BalanceChange::Credit(by), now)
    }

    /// Takes from the balance at most this much, and nothing that is held or owed.
    ///
    /// # Errors
    /// A balance that is unlimited; what the store says.
    pub fn debit(&self, op: &OpId, of: &Subject, by: Amount, now: Timestamp) -> Result<Changed, Error> {
        self.change(op, of, BalanceChange::Debit(by), now)
    }

    /// Changes what the patch names, and nothing else.
    ///
    /// # Errors
    /// A refill where there is no balance, or on a day that no month has; what the store says.
    pub fn patch(&self, op: &OpId, of: &Subject, patch: Patch, now: Timestamp) -> Result<Changed, Error> {
        self.change(op, of, BalanceChange::Patch(patch), now)
    }

    /// Any of these.
    ///
    /// # Errors
    /// As that one.
    pub fn change(&self, op: &OpId, of: &Subject, change: BalanceChange, now: Timestamp) -> Result<Changed, Error> {
        let plan = |now| Ok(change_plan(self.term, op, of, change, now));
        apply_at(self.store, now, plan).and_then(|(verdict, _)| read_change(&verdict))
    }

    /// The balance as it stands now, refills that are due included; `None` where the subject has none yet.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn balance(&self, of: &Subject, now: Timestamp) -> Result<Option<Balance>, StoreError> {
        let account = self.store.account(of)?;
        let meter = account.and_then(|account| account.meter(self.term.meter()).cloned());
        Ok(meter.and_then(|mut meter| {
            meter.advance(&self.term.rule(&Own::default(), now), now);
            if let Counter::Balance(balance) = meter.counter { Some(balance) } else { None }
        }))
    }
}

/// The plan that changes a balance, once for its operation.
#[must_use]
pub fn change_plan(term: &Term, op: &OpId, of: &Subject, change: BalanceChange, now: Timestamp) -> Plan {
    let rule = term.rule(&Own::default(), now);
    let report = Report::Balance { account: 0, rule, change };
    let mut plan = Plan::new(now).named(of.clone()).under(op.clone()).report(report);
    plan.args = vec![
        ("limit".into(), term.limit().id().to_string()),
        ("subject".into(), of.to_string()),
        ("change".into(), format!("{change:?}")),
    ];
    plan
}

/// What a store answered to [`change_plan`].
///
/// # Errors
/// A verdict on some other plan.
pub fn read_change(verdict: &Verdict) -> Result<Changed, Error> {
    match effects(verdict) {
        [Effect::Balance { units, moved }] => Ok(Changed { units: *units, moved: *moved }),
        other => Err(Error::invalid("verdict", format!("{} effects", other.len()), "one balance that was changed")),
    }
}
