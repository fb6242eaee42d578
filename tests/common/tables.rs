//! A small and complete store: tables in memory behind one lock, with an undo log for what is not carried out.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyward::account::{Account, MeterId, Part, Row, RowEntry};
use keyward::plan::{Answer, Due, LimitRecord, Plan, State, Verdict};
use keyward::store::{Counters, Filter, PartKey, PartsOf, Total, Transaction, transact};
use keyward::{LimitId, OpId, Store, StoreError, Subject, Timestamp};

type Result<T> = std::result::Result<T, StoreError>;
type Undo = Box<dyn FnOnce(&mut Tables) + Send>;

#[derive(Default)]
pub struct Tables {
    pub accounts: BTreeMap<Subject, Account>,
    pub parts: BTreeMap<PartKey, Part>,
    /// The open parts, by account and expiry.
    pub open: BTreeSet<(Subject, Timestamp, OpId, u16)>,
    pub answers: BTreeMap<OpId, Answer>,
    pub limits: BTreeMap<LimitId, LimitRecord>,
    pub rows: BTreeMap<u64, Row>,
    pub totals: BTreeMap<(Subject, MeterId, u32, Timestamp), i64>,
    pub last_row: u64,
    pub counters: Counters,
    undo: Vec<Undo>,
}

impl Tables {
    fn put_part(&mut self, part: Part) {
        let key = (part.op.clone(), part.account.clone(), part.sequence);
        let place = |part: &Part| (part.account.clone(), part.expires, part.op.clone(), part.sequence);
        if part.is_open() {
            self.open.insert(place(&part));
        }
        let is = part.is_open().then(|| place(&part));
        let old = self.parts.insert(key.clone(), part);
        let was = old.as_ref().filter(|old| old.is_open()).map(place);
        if let Some(was) = was.as_ref().filter(|was| Some(*was) != is.as_ref()) {
            self.open.remove(was);
        }
        self.undo.push(Box::new(move |tables| {
            if let Some(is) = is {
                tables.open.remove(&is);
            }
            tables.open.extend(was);
            match old {
                Some(old) => drop(tables.parts.insert(key, old)),
                None => drop(tables.parts.remove(&key)),
            }
        }));
    }

    fn put_account(&mut self, of: &Subject, account: Option<Account>) {
        let of = of.clone();
        let old = match account {
            Some(account) => self.accounts.insert(of.clone(), account),
            None => self.accounts.remove(&of),
        };
        self.undo.push(Box::new(move |tables| match old {
            Some(old) => drop(tables.accounts.insert(of, old)),
            None => drop(tables.accounts.remove(&of)),
        }));
    }

    /// The same tables once more, between two plans.
    fn copy(&self) -> Self {
        let Self { accounts, parts, open, answers, limits, rows, totals, last_row, counters, undo: _ } = self;
        Self {
            accounts: accounts.clone(),
            parts: parts.clone(),
            open: open.clone(),
            answers: answers.clone(),
            limits: limits.clone(),
            rows: rows.clone(),
            totals: totals.clone(),
            last_row: *last_row,
            counters: *counters,
            undo: Vec::new(),
        }
    }

    /// Forgets what a store need not remember of the library's own ids: answers, and what has ended.
    pub fn forget_what_permits_know(&mut self) {
        self.parts.retain(|(op, ..), part| part.is_open() || op.began().is_none());
        self.answers.retain(|op, _| op.began().is_none());
    }

    /// Parts of an account that have expired, for a sweep.
    pub fn first_due(&self, now: Timestamp) -> Option<Subject> {
        self.open.iter().find(|(_, expires, ..)| *expires <= now).map(|(subject, ..)| subject.clone())
    }
}

impl Transaction for Tables {
    fn account(&mut self, of: &Subject) -> Result<Account> {
        Ok(self.accounts.get(of).cloned().unwrap_or_default())
    }

    fn due(&mut self, of: &Subject, now: Timestamp) -> Result<Due> {
        let from = OpId::host("!").unwrap();
        let from = (of.clone(), Timestamp::MIN, OpId::at(Timestamp::EPOCH, 0).min(from), 0);
        let open = self.open.range(from..).take_while(|(account, ..)| account == of).take(Due::MOST + 1);
        let parts = open.map(|(account, _, op, sequence)| &self.parts[&(op.clone(), account.clone(), *sequence)]);
        Ok(Due::first(parts, now))
    }

    fn parts(&mut self, of: &OpId) -> Result<Vec<Part>> {
        let from = (of.clone(), Subject::everyone(), 0);
        Ok(self.parts.range(from..).take_while(|((op, ..), _)| op == of).map(|(_, part)| part.clone()).collect())
    }

    fn answer(&mut self, to: &OpId) -> Result<Option<Answer>> {
        Ok(self.answers.get(to).cloned())
    }

    fn limit(&mut self, of: &LimitId) -> Result<Option<LimitRecord>> {
        Ok(self.limits.get(of).cloned())
    }

    fn counters(&mut self) -> Result<Counters> {
        Ok(self.counters)
    }

    fn save(&mut self, state: &State) -> Result<()> {
        let changes = &state.changes;
        for gone in &changes.forgotten {
            self.put_account(gone, None);
            let parts: Vec<Part> = self.parts.values().filter(|part| part.account == *gone).cloned().collect();
            for mut part in parts {
                part.forget(changes.at);
                self.put_part(part);
            }
        }
        for loaded in state.changed() {
            self.put_account(&loaded.subject, Some(loaded.account.clone()));
        }
        for part in &changes.parts {
            self.put_part(part.clone());
        }
        if let Some(answer) = &changes.answer {
            let (op, old) = (answer.op.clone(), self.answers.insert(answer.op.clone(), answer.clone()));
            assert!(old.is_none(), "an answer is given once");
            self.undo.push(Box::new(move |tables| drop(tables.answers.remove(&op))));
        }
        for record in &changes.limits {
            let (limit, old) = (record.limit.clone(), self.limits.insert(record.limit.clone(), record.clone()));
            self.undo.push(Box::new(move |tables| match old {
                Some(old) => drop(tables.limits.insert(limit, old)),
                None => drop(tables.limits.remove(&limit)),
            }));
        }
        for row in &changes.rows {
            self.last_row += 1;
            let number = self.last_row;
            self.rows.insert(number, row.clone());
            self.undo.push(Box::new(move |tables| {
                tables.rows.remove(&number);
                tables.last_row = number - 1;
            }));
        }
        let counters = self.counters;
        self.undo.push(Box::new(move |tables| tables.counters = counters));
        self.counters = state.counters;
        Ok(())
    }
}

/// A transaction of which a sweep ends only so many parts.
pub struct AtMost<'a, T> {
    pub tables: &'a mut T,
    pub most: usize,
}

impl<T: Transaction> Transaction for AtMost<'_, T> {
    fn account(&mut self, of: &Subject) -> Result<Account> {
        self.tables.account(of)
    }

    fn due(&mut self, of: &Subject, now: Timestamp) -> Result<Due> {
        let mut due = self.tables.due(of, now)?;
        if let Some(next) = due.parts.get(self.most) {
            due.next = Some(next.expires);
            due.parts.truncate(self.most);
        }
        Ok(due)
    }

    fn parts(&mut self, of: &OpId) -> Result<Vec<Part>> {
        self.tables.parts(of)
    }

    fn answer(&mut self, to: &OpId) -> Result<Option<Answer>> {
        self.tables.answer(to)
    }

    fn limit(&mut self, of: &LimitId) -> Result<Option<LimitRecord>> {
        self.tables.limit(of)
    }

    fn counters(&mut self) -> Result<Counters> {
        self.tables.counters()
    }

    fn save(&mut self, state: &State) -> Result<()> {
        self.tables.save(state)
    }
}

/// The tables behind a lock; a clone is the same store, as a second connection would be.
#[derive(Clone, Default)]
pub struct TableStore(Arc<Mutex<Tables>>);

impl TableStore {
    pub fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A store of its own with the same in it.
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().copy())))
    }

    /// Carries it out, or leaves nothing of it.
    pub fn transaction(&self, body: impl FnOnce(&mut Tables) -> Result<Verdict>) -> Result<Verdict> {
        let mut tables = self.lock();
        let verdict = body(&mut tables);
        let undo = std::mem::take(&mut tables.undo);
        if !verdict.as_ref().is_ok_and(Verdict::is_saved) {
            undo.into_iter().rev().for_each(|undo| undo(&mut tables));
            tables.undo.clear();
        }
        verdict
    }

    /// Sweeps account by account; `apply` carries out a plan that ends at most so many parts.
    pub fn sweep_by(
        &self,
        now: Timestamp,
        most: usize,
        apply: impl Fn(&mut Tables, &Plan, usize) -> Result<Verdict>,
    ) -> Result<usize> {
        let mut ended = 0;
        while ended < most {
            let mut count = 0;
            let verdict = self.transaction(|tables| {
                let Some(subject) = tables.first_due(now) else { return Ok(Verdict::More) };
                let before = tables.open.len();
                let verdict = apply(tables, &Plan::new(now).named(subject), most - ended);
                count = before - tables.open.len();
                verdict
            })?;
            ended += count;
            if verdict == Verdict::More || count == 0 {
                break;
            }
        }
        Ok(ended)
    }
}

impl Store for TableStore {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict> {
        self.transaction(|tables| transact(tables, plan, now))
    }

    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize> {
        self.sweep_by(now, most, |tables, plan, most| transact(&mut AtMost { tables, most }, plan, now))
    }

    fn account(&self, of: &Subject) -> Result<Option<Account>> {
        Ok(self.lock().accounts.get(of).cloned())
    }

    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>> {
        let tables = self.lock();
        let page = tables.accounts.range::<Subject, _>((after.map_or(Unbounded, Excluded), Unbounded));
        Ok(page.take(most).map(|(subject, account)| (subject.clone(), account.clone())).collect())
    }

    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>> {
        let tables = self.lock();
        let page = tables.parts.range::<PartKey, _>((after.map_or(Unbounded, Excluded), Unbounded));
        Ok(page.map(|(_, part)| part).filter(|part| of.has(part)).take(most).cloned().collect())
    }

    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>> {
        let tables = self.lock();
        let page = tables.rows.range((Excluded(after), Unbounded)).filter(|(_, row)| filter.has(row));
        Ok(page.take(most).map(|(number, row)| (*number, row.clone())).collect())
    }

    fn totals(&self) -> Result<Vec<Total>> {
        let total = |((account, meter, epoch, window), spent): (&(Subject, MeterId, u32, Timestamp), &i64)| Total {
            account: account.clone(),
            meter: *meter,
            epoch: *epoch,
            window: *window,
            spent: *spent,
        };
        Ok(self.lock().totals.iter().map(total).collect())
    }

    fn compact(&self, before: Timestamp) -> Result<usize> {
        let mut tables = self.lock();
        let old: Vec<u64> = tables.rows.iter().filter(|(_, row)| row.at < before).map(|(number, _)| *number).collect();
        for number in &old {
            if let Some(RowEntry::Meter(row)) = tables.rows.remove(number).map(|row| row.entry) {
                *tables.totals.entry((row.account, row.meter, row.epoch, row.window)).or_default() += row.spent;
            }
        }
        Ok(old.len())
    }

    fn limits(&self) -> Result<Vec<LimitRecord>> {
        Ok(self.lock().limits.values().cloned().collect())
    }
}
