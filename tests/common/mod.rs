//! What tests share: the smallest store that keeps every promise, and short words for plans.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keyward::account::{Account, Audit, MeterId, OnExpiry, Part, Row, RowEntry};
use keyward::plan::{
    Act, Answer, Ask, Denial, Due, Firm, Grant, Kernel, LimitRecord, Plan, Report, Rule, State, Take, Verdict,
};
use keyward::store::{Counters, Filter, PartKey, PartsOf, Store, Total, Transaction, transact};
use keyward::window::Window;
use keyward::{Amount, LimitId, OpId, StoreError, Subject, Timestamp};

/// Everything that a store keeps, in plain tables.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub accounts: BTreeMap<Subject, Account>,
    pub parts: BTreeMap<PartKey, Part>,
    pub answers: HashMap<OpId, Answer>,
    pub limits: BTreeMap<LimitId, LimitRecord>,
    pub rows: Vec<(u64, Row)>,
    pub written: u64,
    pub totals: Vec<Total>,
    pub counters: Counters,
}

/// A store in tables behind one lock; a transaction is a copy that replaces them.
#[derive(Debug, Default)]
pub struct Tables(Mutex<Kept>);

impl Clone for Tables {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.kept().clone()))
    }
}

impl Tables {
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Tables {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        let mut kept = self.kept();
        let mut copy = kept.clone();
        let verdict = transact(&mut copy, plan, now)?;
        if verdict.is_saved() {
            *kept = copy;
        }
        Ok(verdict)
    }

    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        let due = |tables: &Self| {
            let kept = tables.kept();
            let mut due: Vec<_> = kept.parts.values().filter(|part| part.is_open() && part.expires <= now).collect();
            due.sort_by_key(|part| part.expires);
            (due.len(), due.first().map(|part| part.account.clone()))
        };
        let (before, mut first) = due(self);
        let mut left = before;
        while let Some(account) = first.filter(|_| before - left < most) {
            let verdict = self.apply(&Plan::new(now).named(account), now)?;
            if !verdict.is_saved() {
                return Err(StoreError::corrupt(format!("what is due cannot be ended: {verdict:?}")));
            }
            (left, first) = due(self);
        }
        Ok(before - left)
    }

    fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        Ok(self.kept().accounts.get(of).cloned())
    }

    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        let kept = self.kept();
        let later = kept.accounts.iter().filter(|(subject, _)| after.is_none_or(|after| *subject > after));
        Ok(later.take(most).map(|(subject, account)| (subject.clone(), account.clone())).collect())
    }

    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        let kept = self.kept();
        let later = kept.parts.iter().filter(|(key, part)| after.is_none_or(|after| *key > after) && of.has(part));
        Ok(later.take(most).map(|(_, part)| part.clone()).collect())
    }

    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        let kept = self.kept();
        let found = kept.rows.iter().filter(|(number, row)| *number > after && filter.has(row));
        Ok(found.take(most).cloned().collect())
    }

    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        Ok(self.kept().totals.clone())
    }

    fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        let mut kept = self.kept();
        let (old, young): (Vec<_>, Vec<_>) = kept.rows.drain(..).partition(|(_, row)| row.at < before);
        kept.rows = young;
        for (_, row) in &old {
            let RowEntry::Meter(row) = &row.entry else { continue };
            let same = |total: &&mut Total| {
                (&total.account, total.meter, total.epoch, total.window)
                    == (&row.account, row.meter, row.epoch, row.window)
            };
            match kept.totals.iter_mut().find(same) {
                Some(total) => total.spent += row.spent,
                None => kept.totals.push(Total {
                    account: row.account.clone(),
                    meter: row.meter,
                    epoch: row.epoch,
                    window: row.window,
                    spent: row.spent,
                }),
            }
        }
        Ok(old.len())
    }

    fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        Ok(self.kept().limits.values().cloned().collect())
    }
}

impl Transaction for Kept {
    fn account(&mut self, of: &Subject) -> Result<Account, StoreError> {
        Ok(self.accounts.get(of).cloned().unwrap_or_default())
    }

    fn due(&mut self, of: &Subject, now: Timestamp) -> Result<Due, StoreError> {
        Ok(Due::first(self.parts.values().filter(|part| part.account == *of), now))
    }

    fn parts(&mut self, of: &OpId) -> Result<Vec<Part>, StoreError> {
        Ok(self.parts.values().filter(|part| part.op == *of).cloned().collect())
    }

    fn answer(&mut self, to: &OpId) -> Result<Option<Answer>, StoreError> {
        Ok(self.answers.get(to).cloned())
    }

    fn limit(&mut self, of: &LimitId) -> Result<Option<LimitRecord>, StoreError> {
        Ok(self.limits.get(of).cloned())
    }

    fn counters(&mut self) -> Result<Counters, StoreError> {
        Ok(self.counters)
    }

    fn save(&mut self, state: &State) -> Result<(), StoreError> {
        let changes = &state.changes;
        for gone in &changes.forgotten {
            self.accounts.remove(gone);
            self.parts.values_mut().filter(|part| part.account == *gone).for_each(|part| part.forget(changes.at));
        }
        self.accounts.extend(state.changed().map(|it| (it.subject.clone(), it.account.clone())));
        let key = |part: &Part| (part.op.clone(), part.account.clone(), part.sequence);
        self.parts.extend(changes.parts.iter().map(|part| (key(part), part.clone())));
        self.answers.extend(changes.answer.iter().map(|answer| (answer.op.clone(), answer.clone())));
        self.limits.extend(changes.limits.iter().map(|record| (record.limit.clone(), record.clone())));
        for row in &changes.rows {
            self.written += 1;
            self.rows.push((self.written, row.clone()));
        }
        self.counters = state.counters;
        Ok(())
    }
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds).unwrap()
}

pub fn micros(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub fn units(n: i64) -> Amount {
    Amount::from_i64(n).unwrap()
}

pub fn key(name: &str) -> Subject {
    Subject::of([("key", name)]).unwrap()
}

pub fn host(id: &str) -> OpId {
    OpId::host(id).unwrap()
}

pub fn tumble(from: i64, to: i64) -> Kernel {
    Kernel::Tumble { window: Window { start: at(from), end: at(to) } }
}

pub const ALWAYS: Kernel = Kernel::Tumble { window: Window::ALWAYS };

/// A hard limit whose holds are charged when they expire, and proved by the ledger: a budget.
pub fn budget(meter: u32, cap: i64, kernel: Kernel) -> Rule {
    Rule {
        meter: MeterId(meter),
        generation: 0,
        cap: units(cap).into(),
        kernel,
        firm: Firm::Hard,
        on_expiry: OnExpiry::Charge,
        audit: Audit::Rows,
    }
}

/// A hard limit whose holds are given back when they expire, without rows: a rate.
pub fn rate(meter: u32, cap: i64, kernel: Kernel) -> Rule {
    Rule { on_expiry: OnExpiry::Release, audit: Audit::None, ..budget(meter, cap, kernel) }
}

pub fn hold(account: u16, rule: Rule, n: i64) -> Take {
    Take { account, rule, ask: Ask::Exact(units(n)), act: Act::Hold }
}

pub fn charge(account: u16, rule: Rule, n: i64) -> Take {
    Take { act: Act::Charge, ..hold(account, rule, n) }
}

pub fn amounts(of: &[(u32, i64)]) -> smallvec::SmallVec<[(MeterId, Amount); 4]> {
    of.iter().map(|(meter, n)| (MeterId(*meter), units(*n))).collect()
}

pub fn settle(of: &[(u32, i64)]) -> Report {
    Report::Settle { account: None, actual: amounts(of) }
}

pub const RELEASE: Report = Report::Release { account: None };

#[track_caller]
pub fn granted(verdict: Verdict) -> Grant {
    match verdict {
        Verdict::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

#[track_caller]
pub fn denied(verdict: Verdict) -> Denial {
    match verdict {
        Verdict::Denied(denial) => denial,
        other => panic!("not denied: {other:?}"),
    }
}
