//! A store and the model, side by side: each plan goes to both, and what they say and keep is compared.

use super::kit::{Failure, HORIZON, Outcome, all_accounts, all_parts, all_rows, ensure, key_of, same};
use super::model::Model;
use crate::account::{Account, Part, Row};
use crate::id::Subject;
use crate::plan::{Denial, Grant, Plan, Report, Verdict};
use crate::store::{Filter, PartKey, PartsOf, Store, verify};
use crate::time::Timestamp;

/// How many things a page has when everything is read.
const PAGE: usize = 300;

/// A store with its shadow.
pub(super) struct Shadow<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) model: Model,
    /// The number of the last row that was compared.
    row: u64,
}

impl<'a> Shadow<'a> {
    pub(super) fn of(store: &'a dyn Store) -> Self {
        Self { store, model: Model::default(), row: 0 }
    }

    /// Gives a plan to both, and compares the verdict, and everything that it names or appends.
    pub(super) fn apply(&mut self, plan: &Plan, now: Timestamp) -> Result<Verdict, Failure> {
        let subjects: Vec<Subject> = plan.accounts.iter().map(|place| place.subject.clone()).collect();
        let held = self.model.parts.values().filter(|part| plan.hold.as_ref() == Some(&part.op));
        let held: Vec<Subject> = held.map(|part| part.account.clone()).collect();
        for subject in subjects.iter().chain(&held) {
            self.follow_a_drop(subject, now)?;
        }
        let rows = self.model.rows.len();
        let should = self.model.apply(plan, now);
        let is = self.store.apply(plan, now)?;
        same!(is, should, "the verdict at {now} on {plan:?}");
        for subject in &subjects {
            self.same_account(subject, now)?;
        }
        if let Some(op) = &plan.hold {
            let of = PartsOf::Op(op.clone());
            same_parts(&all_parts(self.store, &of, PAGE)?, &self.model_parts(&of), now)?;
        }
        if plan.reports.iter().any(|report| matches!(report, Report::Adopt { .. })) {
            self.same_limits()?;
        }
        let new = self.new_rows()?;
        same!(new, self.model.rows.split_off(rows), "what was appended to the ledger at {now} by {plan:?}");
        self.model.rows.extend(new);
        Ok(is)
    }

    /// The same, for a plan that must pass.
    pub(super) fn granted(&mut self, plan: &Plan, now: Timestamp) -> Result<Grant, Failure> {
        match self.apply(plan, now)? {
            Verdict::Granted(grant) => Ok(grant),
            other => Err(Failure::new(format!("the verdict at {now} should be a grant: {other:?}, on {plan:?}"))),
        }
    }

    /// The same, for a plan that must be refused.
    pub(super) fn denied(&mut self, plan: &Plan, now: Timestamp) -> Result<Denial, Failure> {
        match self.apply(plan, now)? {
            Verdict::Denied(denial) => Ok(denial),
            other => Err(Failure::new(format!("the verdict at {now} should be a denial: {other:?}, on {plan:?}"))),
        }
    }

    /// The same, for a plan that makes no sense, of which nothing may be left.
    pub(super) fn invalid(&mut self, plan: &Plan, now: Timestamp) -> Result<String, Failure> {
        match self.apply(plan, now)? {
            Verdict::Invalid { field, .. } => {
                self.agree(now)?;
                Ok(field)
            }
            other => Err(Failure::new(format!("the verdict at {now} should be invalid: {other:?}, on {plan:?}"))),
        }
    }

    /// Sweeps both until nothing is due, the store by so many at a time; says how many parts were ended.
    pub(super) fn sweep(&mut self, now: Timestamp, most: usize) -> Result<usize, Failure> {
        let rows = self.model.rows.len();
        let should = self.model.sweep(now);
        let mut ended = 0;
        loop {
            let count = self.store.sweep(now, most)?;
            ensure!(count <= most, "a sweep of at most {most} ended {count}");
            ended += count;
            if count < most {
                break;
            }
            ensure!(ended <= should, "sweeps ended {ended} parts, and should end {should}");
        }
        same!(ended, should, "how many parts were swept by {now}");
        let new = self.new_rows()?;
        same!(sorted(&new), sorted(&self.model.rows.split_off(rows)), "what a sweep by {now} appended to the ledger");
        self.model.rows.extend(new);
        self.agree(now)?;
        Ok(ended)
    }

    /// Compares everything there is, and lets the ledger prove it.
    pub(super) fn agree(&mut self, now: Timestamp) -> Outcome {
        let known = all_accounts(self.store, PAGE)?;
        for (subject, account) in &known {
            ensure!(
                self.model.accounts.contains_key(subject) || *account == Account::default(),
                "there is an account {subject:?} that nothing was saved in: {account:?}"
            );
        }
        for subject in self.model.accounts.keys().cloned().collect::<Vec<_>>() {
            self.follow_a_drop(&subject, now)?;
            self.same_account(&subject, now)?;
            let listed = known.iter().find(|(other, _)| *other == subject).map(|(_, account)| account.clone());
            same!(listed, self.store.account(&subject)?, "the account {subject:?} in the list of all");
            let of = PartsOf::Account(subject);
            same_parts(&all_parts(self.store, &of, PAGE)?, &self.model_parts(&of), now)?;
        }
        same_parts(&all_parts(self.store, &PartsOf::Open, PAGE)?, &self.model_parts(&PartsOf::Open), now)?;
        let rows = all_rows(self.store, &Filter::default(), PAGE)?;
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        same!(rows.len(), self.model.rows.len(), "the number of rows");
        for (is, should) in rows.iter().zip(&self.model.rows) {
            same!(is, should, "a row");
        }
        self.same_limits()
    }

    /// Sweeps, compares everything, and asks for the proof.
    pub(super) fn proved(&mut self, now: Timestamp) -> Outcome {
        self.sweep(now, PAGE)?;
        let mismatches = verify(self.store, now)?;
        ensure!(mismatches.is_empty(), "the ledger proves something else by {now}: {mismatches:?}");
        super::kit::rows_have_keys(self.store)
    }

    /// What is spent and held in a meter.
    pub(super) fn spent_and_held(&self, of: &Subject, meter: u32, now: Timestamp) -> Result<(i64, i64), Failure> {
        super::kit::spent_and_held(self.store, of, meter, now)
    }

    /// A store may drop an account that says nothing; the model then does so too.
    fn follow_a_drop(&mut self, subject: &Subject, now: Timestamp) -> Outcome {
        let epoch = self.model.counters.epoch;
        let idle = self.model.accounts.get(subject).is_some_and(|account| account.is_idle(now, epoch));
        if idle && self.store.account(subject)?.is_none() {
            self.model.accounts.remove(subject);
        }
        Ok(())
    }

    fn same_account(&self, subject: &Subject, now: Timestamp) -> Outcome {
        let (is, should) = (self.store.account(subject)?, self.model.accounts.get(subject));
        let epoch = self.model.counters.epoch;
        if is.is_none() && should.is_some_and(|account| account.is_idle(now, epoch)) {
            return Ok(());
        }
        let ordered = |mut account: Account| {
            account.meters.sort_by_key(|meter| meter.id);
            account
        };
        let (is, should) = (ordered(is.unwrap_or_default()), ordered(should.cloned().unwrap_or_default()));
        same!(is, should, "the account {subject:?} at {now}");
        Ok(())
    }

    fn same_limits(&self) -> Outcome {
        let mut limits = self.store.limits()?;
        limits.sort_by(|one, other| one.limit.cmp(&other.limit));
        same!(limits, self.model.limits.values().cloned().collect::<Vec<_>>(), "the list of limits");
        Ok(())
    }

    fn model_parts(&self, of: &PartsOf) -> Vec<Part> {
        self.model.parts.values().filter(|part| of.has(part)).cloned().collect()
    }

    fn new_rows(&mut self) -> Result<Vec<Row>, Failure> {
        let mut new = Vec::new();
        loop {
            let page = self.store.rows(&Filter::default(), self.row, PAGE)?;
            let whole = page.len() >= PAGE;
            for (number, row) in page {
                ensure!(number > self.row, "row {number} comes after row {}", self.row);
                self.row = number;
                new.push(row);
            }
            if !whole {
                return Ok(new);
            }
        }
    }
}

/// Compares parts. A store may forget those that ended longer ago than the horizon; and, of operations whose ids the
/// library made, all that have ended: their callers remember them.
fn same_parts(is: &[Part], should: &[Part], now: Timestamp) -> Outcome {
    let oldest = now.saturating_sub(HORIZON);
    for part in is {
        let key: PartKey = key_of(part);
        let known = should.iter().find(|other| other.is(part));
        same!(Some(part), known, "the part {key:?}");
    }
    for part in should {
        let may_go = part.end.is_some_and(|(_, at)| part.op.began().is_some() || at < oldest);
        ensure!(may_go || is.iter().any(|other| other.is(part)), "the part {part:?} is missing");
    }
    Ok(())
}

fn sorted(rows: &[Row]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    rows.sort_unstable();
    rows
}
