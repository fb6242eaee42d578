//! What keeps a file small, sound and copied.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::backup::Backup;
use rusqlite::{Connection, OptionalExtension, params};

use super::early::{Access, Leaves};
use super::queue::begin;
use super::read::total_seal;
use super::seal::subject_of;
use super::tables::{Tables, blob, read_named_account, read_row, tags, text};
use super::trouble::{locked, nap, patient_until, trouble};
use super::{SqliteStore, Writer};
use crate::account::{MeterId, RowEntry};
use crate::error::StoreError;
use crate::id::Subject;
use crate::plan::Plan;
use crate::store::{Total, Transaction, transact};
use crate::time::Timestamp;

/// How many parts end in one transaction of a sweep.
const SWEPT: usize = 256;
/// How many plans are carried out between two looks at what may be forgotten.
const EVERY: usize = 32;
/// How many rows a [`SqliteStore::compact`] reads at a time.
const PAGE: usize = 1_000;

/// Forgets what has ended long ago, a little with every few plans, on walks through all that there is.
#[derive(Default)]
pub(super) struct Chores {
    plans: usize,
    part: (Vec<u8>, String, i64),
    answer: Vec<u8>,
    account: Option<String>,
}

impl Chores {
    /// Does what is due after so many more plans.
    pub(super) fn some(&mut self, tables: &mut Tables<'_>, now: Timestamp, plans: usize) -> Result<(), StoreError> {
        self.plans = self.plans.saturating_add(plans);
        if self.plans < EVERY {
            return Ok(());
        }
        let (most, accounts) = (self.plans.saturating_mul(4), self.plans.saturating_mul(2));
        self.plans = 0;
        self.account = tables.drop_idle(now, self.account.take(), accounts)?;
        self.part = tables.forget_parts(now, std::mem::take(&mut self.part), most)?;
        self.answer = tables.forget_answers(now, std::mem::take(&mut self.answer), most)?;
        Ok(())
    }
}

impl<'c> Tables<'c> {
    /// Drops accounts that say no more than one never seen would, among the next few. Says where it stopped.
    fn drop_idle(&mut self, now: Timestamp, after: Option<String>, most: usize) -> Result<Option<String>, StoreError> {
        let epoch = self.counters()?.epoch;
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let (mut idle, mut seen, mut last) = (Vec::new(), 0, None);
        let mut statement =
            self.statement(if after.is_some() { &self.sql.accounts } else { &self.sql.first_accounts })?;
        let found = match after {
            Some(after) => statement.query(params![after, limit]),
            None => statement.query([limit]),
        };
        let mut found = found.map_err(trouble)?;
        while let Some(row) = found.next().map_err(trouble)? {
            seen += 1;
            let (subject, account) = read_named_account(row)?;
            if seen == most {
                last = Some(subject.as_str().to_owned());
            }
            if account.is_idle(now, epoch) {
                idle.push(subject);
            }
        }
        drop(found);
        for subject in idle {
            self.run(&self.sql.drop_account, [subject.as_str()])?;
        }
        Ok(last)
    }

    /// Removes parts that ended longer ago than anybody asks, among the next few. Says where it stopped.
    fn forget_parts(
        &mut self,
        now: Timestamp,
        (op, account, sequence): (Vec<u8>, String, i64),
        most: usize,
    ) -> Result<(Vec<u8>, String, i64), StoreError> {
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let (mut old, mut seen, mut last) = (Vec::new(), 0, None);
        let mut statement = self.statement(&self.sql.some_parts)?;
        let mut found = statement.query(params![now.as_micros(), op, account, sequence, limit]).map_err(trouble)?;
        while let Some(row) = found.next().map_err(trouble)? {
            seen += 1;
            let is_old: bool = row.get(3).map_err(trouble)?;
            if is_old || seen == most {
                let sequence: i64 = row.get(2).map_err(trouble)?;
                last = Some((blob(row, 0)?.to_vec(), text(row, 1)?.to_owned(), sequence));
            }
            old.extend(last.clone().filter(|_| is_old));
        }
        drop(found);
        for (op, account, sequence) in old {
            self.run(&self.sql.drop_part, params![op, account, sequence])?;
        }
        Ok(last.filter(|_| seen == most).unwrap_or_default())
    }

    /// Removes answers of the same age, unless a part of the operation is still known.
    fn forget_answers(&mut self, now: Timestamp, after: Vec<u8>, most: usize) -> Result<Vec<u8>, StoreError> {
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let (mut old, mut seen, mut last) = (Vec::new(), 0, Vec::new());
        let mut statement = self.statement(&self.sql.some_answers)?;
        let mut found = statement.query(params![now.as_micros(), after, limit]).map_err(trouble)?;
        while let Some(row) = found.next().map_err(trouble)? {
            seen += 1;
            if row.get(1).map_err(trouble)? {
                old.push(blob(row, 0)?.to_vec());
            }
            if seen == most {
                last = blob(row, 0)?.to_vec();
            }
        }
        drop(found);
        for op in old {
            let mut statement = self.statement(&self.sql.op_has_parts)?;
            let in_use: bool = statement.query_row([&op], |row| row.get(0)).map_err(trouble)?;
            if !in_use {
                self.run(&self.sql.drop_answer, [&op])?;
            }
        }
        Ok(last)
    }
}

impl SqliteStore {
    /// Does something in a transaction of its own. It may be done more than once, where others held a lock.
    fn transaction<T>(&self, mut work: impl FnMut(&mut Tables<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.here()?;
        let base = &*self.base;
        let mut writer = base.writer()?;
        let deadline = Instant::now() + base.patience;
        let mut tries = 0;
        loop {
            let began = Instant::now();
            if begin(&mut writer, deadline)? {
                let mut tables = base.tables(&writer.db);
                let done = tables.enter().and_then(|access| match access {
                    Access::Theirs => Ok(None),
                    Access::Ours | Access::Free => {
                        tables.call_in(Leaves::None, |_| true)?;
                        work(&mut tables).and_then(|done| tables.finish().map(|()| Some(done)))
                    }
                });
                let (left, busy) = (tables.leave(began), tables.was_busy());
                drop(tables);
                match done {
                    Ok(done) => {
                        if let (true, Some(done)) = (base.close(&mut writer, left)?, done) {
                            return Ok(done);
                        }
                    }
                    Err(error) => {
                        base.abandon(&mut writer, left);
                        if !busy {
                            return Err(error);
                        }
                    }
                }
            }
            let left = deadline.checked_duration_since(Instant::now()).ok_or_else(locked)?;
            nap(tries, left);
            tries += 1;
        }
    }

    pub(super) fn sweep_some(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        let desk = &self.base.early.desk;
        if self.base.early.is_held() && desk.lock().is_before_due(now) {
            return Ok(0);
        }
        let mut ended = 0;
        while ended < most {
            let wanted = SWEPT.min(most - ended);
            let some = self.transaction(|tables| {
                tables.due_most = wanted;
                let due = tables.accounts_due(now, wanted)?;
                for subject in due {
                    if tables.due_most == 0 {
                        break;
                    }
                    let plan = Plan::new(now).named(subject);
                    let _ = transact(tables, &plan, now)?;
                }
                desk.lock().asks_for_due();
                tables.call_in(Leaves::None, |_| true)?;
                Ok((wanted - tables.due_most, tables.next_due()?))
            });
            desk.lock().expires(some.as_ref().ok().map(|(_, due)| *due));
            let (some, _) = some?;
            ended += some;
            if some == 0 {
                break;
            }
        }
        Ok(ended)
    }

    pub(super) fn compact_rows(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.transaction(|tables| {
            let last = tables.last_row()?;
            let mut totals: BTreeMap<(Subject, MeterId, u32, Timestamp), i64> = BTreeMap::new();
            let mut count = 0;
            loop {
                let page = tables.old_rows(before, PAGE)?;
                for (number, row) in &page {
                    if let RowEntry::Meter(row) = &row.entry {
                        let place = (row.account.clone(), row.meter, row.epoch, row.window);
                        let sum = totals.entry(place).or_default();
                        *sum = added(*sum, row.spent)?;
                    }
                    for (name, value) in tags(row) {
                        tables.run(&tables.sql.drop_tags, params![name, value, number])?;
                    }
                    tables.run(&tables.sql.drop_row, [number])?;
                }
                count += page.len();
                if page.len() < PAGE {
                    break;
                }
            }
            if count > 0 {
                tables.rows_gone(last)?;
            }
            for ((account, meter, epoch, window), spent) in totals {
                tables.add_total(Total { account, meter, epoch, window, spent })?;
            }
            Ok(count)
        })
    }

    /// Copies the whole database to a file, which is made or written over, while others go on reading and writing. The
    /// copy is of one instant, and can be opened as it is.
    ///
    /// # Errors
    /// The copy could not be written, or the store not be read.
    ///
    /// ```
    /// # use keyward::store::{SqliteOptions, SqliteStore};
    /// # let folder = std::env::temp_dir().join(format!("keyward-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// let store = SqliteStore::in_memory()?;
    /// store.backup(folder.join("copy.db"))?;
    /// let copy = SqliteStore::open(folder.join("copy.db"))?;
    /// # drop(copy);
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), keyward::StoreError>(())
    /// ```
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<(), StoreError> {
        let to = to.as_ref();
        if self.path.as_deref().is_some_and(|path| std::path::absolute(to).is_ok_and(|to| to == path)) {
            return Err(StoreError::refused("a backup cannot be written over the store's own file"));
        }
        self.reading(|db| {
            let mut copy = Connection::open(to).map_err(trouble)?;
            patient_until(Instant::now() + self.base.patience);
            let backup = Backup::new(db, &mut copy).map_err(trouble)?;
            // In one step, since each step after a change by others would begin anew.
            patient_until(Instant::now() + self.base.patience);
            let mut tries = 0;
            let deadline = Instant::now() + self.base.patience;
            loop {
                use rusqlite::backup::StepResult;
                match backup.step(-1).map_err(trouble)? {
                    StepResult::Done => return Ok(()),
                    StepResult::More => {}
                    _ => {
                        let left = deadline.checked_duration_since(Instant::now()).ok_or_else(locked)?;
                        nap(tries, left);
                        tries += 1;
                    }
                }
            }
        })
    }

    /// Gives the room of what was deleted back to the system, and shortens the log. Others wait meanwhile.
    ///
    /// # Errors
    /// The file was in use, or there is no room for the copy that this makes.
    pub fn vacuum(&self) -> Result<(), StoreError> {
        self.here()?;
        let mut writer = self.base.writer()?;
        patient_until(Instant::now() + self.base.patience);
        writer.roll_back();
        writer.db.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);").map_err(trouble)
    }
}

impl<'c> Tables<'c> {
    /// Accounts in which parts are due, the longest due first.
    fn accounts_due(&mut self, now: Timestamp, most: usize) -> Result<Vec<Subject>, StoreError> {
        let mut statement = self.statement(&self.sql.all_due)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut found = statement.query(params![now.as_micros(), most]).map_err(trouble)?;
        let mut due: Vec<Subject> = Vec::new();
        while let Some(row) = found.next().map_err(trouble)? {
            let subject = subject_of(text(row, 0)?)?;
            if !due.contains(&subject) {
                due.push(subject);
            }
        }
        Ok(due)
    }

    fn old_rows(&mut self, before: Timestamp, most: usize) -> Result<Vec<(i64, crate::account::Row)>, StoreError> {
        let mut statement = self.statement(&self.sql.old_rows)?;
        let mut found = statement.query([before.as_micros()]).map_err(trouble)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(trouble)? {
            rows.push(read_row(row)?);
            if rows.len() >= most {
                break;
            }
        }
        Ok(rows)
    }

    fn add_total(&mut self, mut total: Total) -> Result<(), StoreError> {
        let Total { account, meter, epoch, window, spent } = total.clone();
        let place = params![account.as_str(), meter.0, epoch, window.as_micros()];
        let mut statement = self.statement(&self.sql.total)?;
        let before = statement.query_row(place, |row| Ok((row.get(0)?, row.get(1)?)));
        if let Some((before, seal)) = before.optional().map_err(trouble)? {
            total.spent = before;
            total_seal(&total).check(seal)?;
            total.spent = added(before, spent)?;
        }
        let seal = total_seal(&total).value();
        let place = params![account.as_str(), meter.0, epoch, window.as_micros(), total.spent, seal];
        self.run(&self.sql.put_total, place)
    }
}

fn added(sum: i64, more: i64) -> Result<i64, StoreError> {
    sum.checked_add(more).ok_or_else(|| StoreError::refused("what the rows add up to is more than a total can hold"))
}

impl Writer {
    /// Commits; `false` if others held a lock, and nothing was committed. Whatever else goes wrong, nobody knows.
    pub(super) fn commit(&mut self) -> Result<bool, StoreError> {
        patient_until(Instant::now() + Duration::from_secs(1));
        let committed = self.db.prepare_cached("COMMIT").and_then(|mut statement| statement.execute([]));
        match committed {
            Ok(_) => Ok(true),
            Err(error) if super::trouble::is_busy(&error) => {
                self.roll_back();
                Ok(false)
            }
            Err(error) => {
                self.roll_back();
                Err(StoreError::unknown(error))
            }
        }
    }

    /// Leaves a transaction that may be open.
    pub(super) fn roll_back(&mut self) {
        if !self.db.is_autocommit() {
            // Where this fails, SQLite has rolled back by itself, or the next BEGIN says what is wrong.
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }
}
