//! What the checks are written with: a failure that is a value, and short words for the parts of a plan.

use std::fmt;

use crate::account::{Account, Audit, MeterId, OnExpiry, RowEntry};
use crate::amount::{Amount, Cap};
use crate::error::{Error, StoreError};
use crate::id::{OpId, Subject};
use crate::plan::{Act, Ask, Firm, Kernel, Plan, Report, Rule, Take};
use crate::store::{Filter, PartKey, PartsOf, Store};
use crate::time::{Length, Timestamp};
use crate::window::{Grid, Window};

/// Why a store does not pass a check, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

/// What a check comes to.
pub type Outcome = Result<(), Failure>;

impl Failure {
    pub(super) fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(format!("the store failed: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// Fails the check unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::conformance::kit::Failure::new(format!($($why)+)));
        }
    };
}

/// Fails the check unless both are the same; the second is what should be.
macro_rules! same {
    ($is:expr, $should:expr, $($what:tt)+) => {
        match (&$is, &$should) {
            (is, should) => {
                if is != should {
                    let what = format!($($what)+);
                    return Err($crate::conformance::kit::Failure::new(format!(
                        "{what} is {is:?}, and should be {should:?}"
                    )));
                }
            }
        }
    };
}

pub(super) use {ensure, same};

/// Numbers that look like chance and are the same on every run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `n` - 1.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        u32::try_from(self.next() % u64::from(n.max(1))).unwrap_or(0)
    }

    /// Once in `n` times.
    pub(super) fn once_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub(super) fn of<T: Copy>(&mut self, choice: &[T]) -> Option<T> {
        let place = self.below(u32::try_from(choice.len()).unwrap_or(u32::MAX));
        usize::try_from(place).ok().and_then(|place| choice.get(place)).copied()
    }
}

/// The subject `key=name`.
pub(super) fn key(name: &str) -> Result<Subject, Failure> {
    Ok(Subject::of([("key", name)])?)
}

/// An operation id of the host's.
pub(super) fn op(name: &str) -> Result<OpId, Failure> {
    Ok(OpId::host(name)?)
}

/// So many seconds later, or earlier.
pub(super) fn later(now: Timestamp, seconds: i64) -> Timestamp {
    micros_later(now, seconds.saturating_mul(1_000_000))
}

/// So many microseconds later, or earlier.
pub(super) const fn micros_later(now: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(now.as_micros().saturating_add(micros))
}

pub(super) fn seconds(n: i64) -> Length {
    Length::from_secs(n).unwrap_or(Length::SECOND)
}

pub(super) fn amount(n: i64) -> Result<Amount, Failure> {
    Amount::from_i64(n).ok_or_else(|| Failure::new(format!("{n} is no amount")))
}

/// A rule that refuses, charges on expiry, and is proved by the ledger.
pub(super) fn rule(meter: u32, cap: u32, kernel: Kernel) -> Rule {
    Rule {
        meter: MeterId(meter),
        generation: 0,
        cap: Cap::At(Amount::new(cap)),
        kernel,
        firm: Firm::Hard,
        on_expiry: OnExpiry::Charge,
        audit: Audit::Rows,
    }
}

/// A rule that never resets.
pub(super) fn lifetime(meter: u32, cap: u32) -> Rule {
    rule(meter, cap, Kernel::Tumble { window: Window::ALWAYS })
}

/// A rule by the minute that `now` lies in.
pub(super) fn minute(meter: u32, cap: u32, now: Timestamp) -> Rule {
    rule(meter, cap, Kernel::Tumble { window: Grid { length: Length::MINUTE }.window(now) })
}

/// The same rule, whose holds are given back when they expire.
pub(super) const fn releasing(rule: Rule) -> Rule {
    Rule { on_expiry: OnExpiry::Release, ..rule }
}

pub(super) const fn hold(account: u16, rule: Rule, n: u32) -> Take {
    Take { account, rule, ask: Ask::Exact(Amount::new(n)), act: Act::Hold }
}

pub(super) const fn charge(account: u16, rule: Rule, n: u32) -> Take {
    Take { account, rule, ask: Ask::Exact(Amount::new(n)), act: Act::Charge }
}

/// How long the plans of the checks are remembered.
pub(super) const HORIZON: Length = match Length::from_secs(20 * 366 * 86_400) {
    Some(years) => years,
    None => Length::MAX,
};

/// A plan over these accounts that remembers for years, so that nothing is forgotten while a check runs.
pub(super) fn plan(now: Timestamp, accounts: &[&Subject]) -> Plan {
    let mut plan = Plan::new(now);
    plan.from = Timestamp::MIN;
    plan.horizon = HORIZON;
    accounts.iter().fold(plan, |plan, subject| plan.named((*subject).clone()))
}

/// Settles all parts of the plan's operation at these amounts.
pub(super) fn settle(actual: &[(u32, u32)]) -> Report {
    Report::Settle { account: None, actual: amounts(actual) }
}

/// Amounts by meter.
pub(super) fn amounts(of: &[(u32, u32)]) -> smallvec::SmallVec<[(MeterId, Amount); 4]> {
    of.iter().map(|(meter, n)| (MeterId(*meter), Amount::new(*n))).collect()
}

/// What a caller said.
pub(super) fn args(of: &[(&'static str, &str)]) -> crate::plan::Args {
    of.iter().map(|(field, value)| ((*field).into(), (*value).to_owned())).collect()
}

/// The account of a subject as the store has it; an empty one if it has none.
pub(super) fn account(store: &dyn Store, of: &Subject) -> Result<Account, Failure> {
    Ok(store.account(of)?.unwrap_or_default())
}

/// What is spent and held in a meter, as the store has it.
pub(super) fn spent_and_held(
    store: &dyn Store,
    of: &Subject,
    meter: u32,
    now: Timestamp,
) -> Result<(i64, i64), Failure> {
    let account = account(store, of)?;
    Ok(account.meter(MeterId(meter)).map_or((0, 0), |meter| (meter.spent(now).get(), meter.held().get())))
}

/// Fails if two rows of meters have the same operation, kind, account, meter and sequence.
pub(super) fn rows_have_keys(store: &dyn Store) -> Outcome {
    let mut seen = std::collections::BTreeSet::new();
    for (number, row) in all_rows(store, &Filter::default(), 1_000)? {
        let (Some(op), RowEntry::Meter(meter)) = (row.op, row.entry) else { continue };
        let key = (op, format!("{:?}", meter.kind), meter.account, meter.meter, meter.sequence);
        ensure!(!seen.contains(&key), "row {number} has the key of another: {key:?}");
        seen.insert(key);
    }
    Ok(())
}

/// All that a paged reading gives, in pages of this size; fails when a page does not move on.
pub(super) fn all_rows(
    store: &dyn Store,
    filter: &Filter,
    page: usize,
) -> Result<Vec<(u64, crate::account::Row)>, Failure> {
    let mut all: Vec<(u64, crate::account::Row)> = Vec::new();
    loop {
        let after = all.last().map_or(0, |(number, _)| *number);
        let next = store.rows(filter, after, page)?;
        ensure!(next.len() <= page, "a page of {page} rows has {}", next.len());
        let whole = next.len() == page;
        for (number, row) in next {
            let last = all.last().map_or(0, |(number, _)| *number);
            ensure!(number > last, "row {number} is read after row {last}");
            all.push((number, row));
        }
        if !whole {
            return Ok(all);
        }
    }
}

/// All parts, in pages of this size.
pub(super) fn all_parts(store: &dyn Store, of: &PartsOf, page: usize) -> Result<Vec<crate::account::Part>, Failure> {
    let mut all: Vec<crate::account::Part> = Vec::new();
    loop {
        let after = all.last().map(key_of);
        let next = store.parts(of, after.as_ref(), page)?;
        ensure!(next.len() <= page, "a page of {page} parts has {}", next.len());
        let whole = next.len() == page;
        for part in next {
            let (last, key) = (all.last().map(key_of), key_of(&part));
            ensure!(last.as_ref() < Some(&key), "the part {key:?} is read after {last:?}");
            all.push(part);
        }
        if !whole {
            return Ok(all);
        }
    }
}

/// All accounts, in pages of this size.
pub(super) fn all_accounts(store: &dyn Store, page: usize) -> Result<Vec<(Subject, Account)>, Failure> {
    let mut all: Vec<(Subject, Account)> = Vec::new();
    loop {
        let after = all.last().map(|(subject, _)| subject.clone());
        let next = store.accounts(after.as_ref(), page)?;
        ensure!(next.len() <= page, "a page of {page} accounts has {}", next.len());
        let whole = next.len() == page;
        for (subject, account) in next {
            let last = all.last().map(|(subject, _)| subject);
            ensure!(last < Some(&subject), "the account {subject:?} is read after {last:?}");
            all.push((subject, account));
        }
        if !whole {
            return Ok(all);
        }
    }
}

pub(super) fn key_of(part: &crate::account::Part) -> PartKey {
    (part.op.clone(), part.account.clone(), part.sequence)
}
