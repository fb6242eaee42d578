//! The tables as one transaction sees them: what [`transact`](crate::store::transact) loads and saves.
//!
//! Accounts are kept here until the end of the transaction, so that many plans on one account read and write it once.

use std::cell::Cell;
use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row as Record, params};

use super::early::{Desk, Early, Leaves, Taken};
use super::lease::Lease;
use super::schema::Sql;
use super::seal::{Seal, op_key, op_of, subject_of};
use super::trouble::{is_busy, trouble};
use crate::account::{Account, Part, Row, RowEntry};
use crate::error::StoreError;
use crate::id::{LimitId, OpId, Subject};
use crate::plan::{Answer, Counters, Due, LimitRecord, State};
use crate::store::Transaction;
use crate::time::{Length, Timestamp};

pub(super) struct Tables<'c> {
    db: &'c Connection,
    pub(super) sql: &'c Sql,
    /// How long the plan wants what has ended to be remembered.
    pub(super) horizon: Length,
    /// How many parts [`Transaction::due`] may still load.
    pub(super) due_most: usize,
    /// How many times something was saved.
    pub(super) saves: usize,
    busy: Cell<bool>,
    counters: Option<Counted>,
    accounts: HashMap<Subject, Kept>,
    body: Vec<u8>,
    /// What is kept in memory for a while, if this transaction is of the store's own.
    pub(super) early: Option<&'c Early>,
    /// What of it this transaction writes.
    pub(super) taken: Option<Taken>,
    /// Whether what was taken was only written in part.
    torn: bool,
    /// The lease as this transaction found it, or wrote it.
    pub(super) lease: Lease,
    /// Its beat, if this transaction made one.
    pub(super) beat: Option<i64>,
}

/// The store's own counters, and the number that the last row has, once it is known.
#[derive(Clone, Copy)]
struct Counted {
    of: Counters,
    gone_rows: i64,
    last_row: Option<i64>,
}

/// An account as it will stand when the transaction ends; `None` if it will be gone.
struct Kept {
    account: Option<Account>,
    changed: bool,
}

impl<'c> Tables<'c> {
    pub(super) fn new(db: &'c Connection, sql: &'c Sql) -> Self {
        Self {
            db,
            sql,
            horizon: Length::DAY,
            due_most: usize::MAX,
            saves: 0,
            busy: Cell::new(false),
            counters: None,
            accounts: HashMap::new(),
            body: Vec::new(),
            early: None,
            taken: None,
            torn: false,
            lease: Lease::default(),
            beat: None,
        }
    }

    /// Writes what was kept back. Nothing is to be loaded or saved afterwards.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        let mut accounts = std::mem::take(&mut self.accounts);
        for (subject, Kept { account, changed: _ }) in accounts.drain().filter(|(_, kept)| kept.changed) {
            match account {
                Some(account) => self.put_account(&subject, &account)?,
                None => self.run(&self.sql.drop_account, [subject.as_str()])?,
            }
        }
        Ok(())
    }

    fn put_account(&mut self, subject: &Subject, account: &Account) -> Result<(), StoreError> {
        self.body.clear();
        account.encode(&mut self.body);
        Seal::new().text(subject.as_str()).close(&mut self.body);
        self.run(&self.sql.put_account, params![subject.as_str(), self.body])
    }

    /// The store's own counters, if this transaction has asked for them.
    pub(super) fn known_counters(&self) -> Option<Counters> {
        self.counters.map(|counted| counted.of)
    }

    /// Writes what is in memory, and has accounts leave it, if that is so.
    pub(super) fn call_in(&mut self, leaves: Leaves<'_>, if_so: impl FnOnce(&Desk) -> bool) -> Result<(), StoreError> {
        let Some(early) = self.early.filter(|early| early.is_held()) else { return Ok(()) };
        let mut desk = early.desk.lock();
        if !if_so(&desk) {
            return Ok(());
        }
        let taken = desk.take(leaves);
        drop(desk);
        let written = if taken.is_empty() { Ok(()) } else { self.write(&taken) };
        self.taken.get_or_insert_default().add(taken);
        self.torn |= written.is_err();
        written
    }

    /// Whether this transaction can only be rolled back.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    fn write(&mut self, taken: &Taken) -> Result<(), StoreError> {
        if self.beat.is_none() {
            self.put_beat(self.lease.renewed())?;
        }
        let horizon = self.horizon;
        for (subject, account) in &taken.accounts {
            self.put_account(subject, account)?;
        }
        for (part, remembered) in &taken.parts {
            self.horizon = *remembered;
            self.put_part(part)?;
        }
        for row in &taken.rows {
            self.put_row(row)?;
        }
        for (answer, remembered) in &taken.answers {
            self.horizon = *remembered;
            self.put_answer(answer)?;
        }
        self.horizon = horizon;
        Ok(())
    }

    /// Whether a lock was what went wrong.
    pub(super) fn was_busy(&self) -> bool {
        self.busy.get()
    }

    /// Notes whether a lock was what went wrong, and says the rest in the store's words.
    pub(super) fn failed(&self, error: rusqlite::Error) -> StoreError {
        self.busy.set(self.busy.get() || is_busy(&error));
        trouble(error)
    }

    pub(super) fn statement(&self, sql: &'c str) -> Result<CachedStatement<'c>, StoreError> {
        self.db.prepare_cached(sql).map_err(|error| self.failed(error))
    }

    pub(super) fn run(&self, sql: &'c str, params: impl rusqlite::Params) -> Result<(), StoreError> {
        let mut statement = self.statement(sql)?;
        statement.execute(params).map(|_| ()).map_err(|error| self.failed(error))
    }

    fn counted(&mut self) -> Result<Counted, StoreError> {
        if let Some(counted) = self.counters {
            return Ok(counted);
        }
        let mut statement = self.statement(&self.sql.counters)?;
        let read = |row: &Record<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let found: Option<(u32, u32, i64, i64)> =
            statement.query_row([], read).optional().map_err(|error| self.failed(error))?;
        let counted = match found {
            None => Counted { of: Counters::default(), gone_rows: 0, last_row: None },
            Some((limits, epoch, gone_rows, seal)) => {
                counters_seal(Counters { limits, epoch }, gone_rows).check(seal)?;
                Counted { of: Counters { limits, epoch }, gone_rows, last_row: None }
            }
        };
        self.counters = Some(counted);
        Ok(counted)
    }

    fn put_counters(&mut self, counted: Counted) -> Result<(), StoreError> {
        self.counters = Some(counted);
        let Counters { limits, epoch } = counted.of;
        let seal = counters_seal(counted.of, counted.gone_rows).value();
        self.run(&self.sql.put_counters, params![limits, epoch, counted.gone_rows, seal])
    }

    /// Remembers that rows up to this number once were, so that no number is given twice when they are gone.
    pub(super) fn rows_gone(&mut self, up_to: i64) -> Result<(), StoreError> {
        let counted = self.counted()?;
        if up_to <= counted.gone_rows {
            return Ok(());
        }
        self.put_counters(Counted { gone_rows: up_to, ..counted })
    }

    pub(super) fn last_row(&mut self) -> Result<i64, StoreError> {
        let counted = self.counted()?;
        if let Some(last) = counted.last_row {
            return Ok(last);
        }
        let mut statement = self.statement(&self.sql.last_row)?;
        let last: Option<i64> = statement.query_row([], |row| row.get(0)).map_err(|error| self.failed(error))?;
        let last = last.unwrap_or(0).max(counted.gone_rows);
        self.counters = Some(Counted { last_row: Some(last), ..counted });
        Ok(last)
    }

    fn read_parts(&self, sql: &'c str, params: impl rusqlite::Params) -> Result<Vec<Part>, StoreError> {
        let mut statement = self.statement(sql)?;
        read_parts(&mut statement, params)
    }

    /// Ends the open parts of an account that is forgotten, as they stand in the file.
    fn forget(&mut self, subject: &Subject, at: Timestamp) -> Result<(), StoreError> {
        self.accounts.insert(subject.clone(), Kept { account: None, changed: true });
        for mut part in self.read_parts(&self.sql.open_in, [subject.as_str()])? {
            part.forget(at);
            self.put_part(&part)?;
        }
        Ok(())
    }

    fn put_part(&mut self, part: &Part) -> Result<(), StoreError> {
        let (op, account, sequence) = (op_key(&part.op), part.account.as_str(), part.sequence);
        let (open, at) = match part.end {
            None => (1, part.expires),
            Some((_, at)) => (0, at.saturating_add(self.horizon)),
        };
        self.body.clear();
        part.encode(&mut self.body);
        part_seal(&op, account, sequence, open, at.as_micros()).close(&mut self.body);
        self.run(&self.sql.put_part, params![op, account, sequence, open, at.as_micros(), self.body])
    }

    fn put_answer(&mut self, answer: &Answer) -> Result<(), StoreError> {
        let op = op_key(&answer.op);
        let until = answer.at.saturating_add(self.horizon).as_micros();
        self.body.clear();
        answer.encode(&mut self.body)?;
        Seal::new().bytes(&op).number(until).close(&mut self.body);
        self.run(&self.sql.put_answer, params![op, until, self.body])
    }

    fn put_limit(&mut self, record: &LimitRecord) -> Result<(), StoreError> {
        self.body.clear();
        record.encode(&mut self.body);
        limit_seal(record.limit.as_str(), record.meter.0).close(&mut self.body);
        self.run(&self.sql.put_limit, params![record.limit.as_str(), record.meter.0, self.body])
    }

    fn put_row(&mut self, row: &Row) -> Result<(), StoreError> {
        let number = self.last_row()?.checked_add(1).ok_or_else(|| StoreError::full("no number is left for a row"))?;
        let Columns { kind, subject, meter, client, key } = Columns::of(row);
        let op = row.op.as_ref().map(op_key);
        if let Some(subject) = subject {
            let mut statement = self.statement(&self.sql.subject_has_rows)?;
            let known: bool =
                statement.query_row([subject.as_str()], |row| row.get(0)).map_err(|error| self.failed(error))?;
            for (name, value) in subject.dimensions().filter(|_| !known) {
                self.run(&self.sql.put_label, params![name, value, subject.as_str()])?;
            }
        }
        for (name, value) in tags(row) {
            self.run(&self.sql.put_tag, params![name, value, number])?;
        }
        self.body.clear();
        row.encode(&mut self.body);
        row_seal(number, row.at, op.as_deref()).close(&mut self.body);
        let subject = subject.map(Subject::as_str);
        let at = row.at.as_micros();
        self.run(&self.sql.put_row, params![number, at, op, kind, subject, meter, client, key, self.body])?;
        if let Some(counted) = &mut self.counters {
            counted.last_row = Some(number);
        }
        Ok(())
    }
}

impl Transaction for Tables<'_> {
    fn account(&mut self, of: &Subject) -> Result<Account, StoreError> {
        if let Some(kept) = self.accounts.get(of) {
            return Ok(kept.account.clone().unwrap_or_default());
        }
        self.call_in(Leaves::One(of), |desk| !desk.lacks(of))?;
        let mut statement = self.statement(&self.sql.account)?;
        let account = read_account(&mut statement, of)?;
        self.accounts.insert(of.clone(), Kept { account: account.clone(), changed: false });
        Ok(account.unwrap_or_default())
    }

    fn due(&mut self, of: &Subject, now: Timestamp) -> Result<Due, StoreError> {
        let most = Due::MOST.min(self.due_most);
        let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
        let mut parts = self.read_parts(&self.sql.due, params![of.as_str(), limit])?;
        let due = parts.iter().take(most).take_while(|part| part.expires <= now).count();
        let next = parts.get(due).map(|part| part.expires);
        parts.truncate(due);
        self.due_most = self.due_most.saturating_sub(due);
        Ok(Due { parts, next })
    }

    fn parts(&mut self, of: &OpId) -> Result<Vec<Part>, StoreError> {
        self.call_in(Leaves::None, |desk| desk.knows(of))?;
        let op = op_key(of);
        self.read_parts(&self.sql.parts_of_op, params![op, op, "", -1, i64::MAX])
    }

    fn answer(&mut self, to: &OpId) -> Result<Option<Answer>, StoreError> {
        self.call_in(Leaves::None, |desk| desk.knows(to))?;
        let op = op_key(to);
        let mut statement = self.statement(&self.sql.answer)?;
        let mut found = statement.query([&op]).map_err(trouble)?;
        let Some(row) = found.next().map_err(trouble)? else { return Ok(None) };
        read_answer(row, &op, to).map(Some)
    }

    fn limit(&mut self, of: &LimitId) -> Result<Option<LimitRecord>, StoreError> {
        let mut statement = self.statement(&self.sql.limit)?;
        let mut found = statement.query([of.as_str()]).map_err(trouble)?;
        found.next().map_err(trouble)?.map(read_limit).transpose()
    }

    fn counters(&mut self) -> Result<Counters, StoreError> {
        Ok(self.counted()?.of)
    }

    fn save(&mut self, state: &State) -> Result<(), StoreError> {
        self.saves += 1;
        let changes = &state.changes;
        for gone in &changes.forgotten {
            self.forget(gone, changes.at)?;
        }
        for loaded in state.changed() {
            let kept = Kept { account: Some(loaded.account.clone()), changed: true };
            self.accounts.insert(loaded.subject.clone(), kept);
        }
        for part in &changes.parts {
            self.put_part(part)?;
        }
        for row in &changes.rows {
            self.put_row(row)?;
        }
        if let Some(answer) = &changes.answer {
            self.put_answer(answer)?;
        }
        for record in &changes.limits {
            self.put_limit(record)?;
        }
        let counted = self.counted()?;
        if counted.of != state.counters {
            self.put_counters(Counted { of: state.counters, ..counted })?;
        }
        Ok(())
    }
}

/// The columns of a row by which it is found.
#[derive(PartialEq, Eq)]
pub(super) struct Columns<'a> {
    pub(super) kind: u8,
    pub(super) subject: Option<&'a Subject>,
    pub(super) meter: Option<u32>,
    pub(super) client: Option<&'a str>,
    pub(super) key: Option<&'a str>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a Row) -> Self {
        let none = Self { kind: 0, subject: None, meter: None, client: None, key: None };
        match &row.entry {
            RowEntry::Usage(usage) => usage.context.as_deref().map_or(none, |context| Self {
                kind: 0,
                subject: Some(&context.subject),
                meter: None,
                client: context.client.as_ref().map(crate::id::KeyId::as_str),
                key: context.key.as_ref().map(crate::id::KeyId::as_str),
            }),
            RowEntry::Meter(entry) => {
                Self { kind: 1, subject: Some(&entry.account), meter: Some(entry.meter.0), client: None, key: None }
            }
            RowEntry::Alert { account, meter, .. } => {
                Self { kind: 2, subject: Some(account), meter: Some(meter.0), client: None, key: None }
            }
            RowEntry::Forgotten { account } => {
                Self { kind: 3, subject: Some(account), meter: None, client: None, key: None }
            }
        }
    }
}

/// The tags by which a row is found.
pub(super) fn tags(row: &Row) -> &[(String, String)] {
    match &row.entry {
        RowEntry::Usage(usage) => usage.context.as_deref().map_or(&[], |context| &context.tags),
        _ => &[],
    }
}

pub(super) fn blob<'a>(row: &'a Record<'_>, at: usize) -> Result<&'a [u8], StoreError> {
    row.get_ref(at).map_err(trouble)?.as_blob().map_err(StoreError::corrupt)
}

pub(super) fn text<'a>(row: &'a Record<'_>, at: usize) -> Result<&'a str, StoreError> {
    row.get_ref(at).map_err(trouble)?.as_str().map_err(StoreError::corrupt)
}

fn part_seal(op: &[u8], account: &str, sequence: u16, open: u8, at: i64) -> Seal {
    Seal::new().bytes(op).text(account).number(sequence.into()).bytes(&[open]).number(at)
}

fn limit_seal(name: &str, meter: u32) -> Seal {
    Seal::new().text(name).number(meter.into())
}

pub(super) fn row_seal(number: i64, at: Timestamp, op: Option<&[u8]>) -> Seal {
    Seal::new().number(number).number(at.as_micros()).bytes(op.unwrap_or_default())
}

fn counters_seal(counters: Counters, gone_rows: i64) -> Seal {
    Seal::new().number(counters.limits.into()).number(counters.epoch.into()).number(gone_rows)
}

/// The account of a subject, from [`Sql::account`].
pub(super) fn read_account(statement: &mut CachedStatement<'_>, of: &Subject) -> Result<Option<Account>, StoreError> {
    let mut found = statement.query([of.as_str()]).map_err(trouble)?;
    let Some(row) = found.next().map_err(trouble)? else { return Ok(None) };
    let body = Seal::new().text(of.as_str()).open(blob(row, 0)?)?;
    Account::decode(body).map(Some)
}

/// An answer, from [`Sql::answer`].
pub(super) fn read_answer(row: &Record<'_>, key: &[u8], to: &OpId) -> Result<Answer, StoreError> {
    let until: i64 = row.get(0).map_err(trouble)?;
    let body = Seal::new().bytes(key).number(until).open(blob(row, 1)?)?;
    Answer::decode(to.clone(), body)
}

/// A subject and its account, from [`Sql::accounts`].
pub(super) fn read_named_account(row: &Record<'_>) -> Result<(Subject, Account), StoreError> {
    let subject = text(row, 0)?;
    let body = Seal::new().text(subject).open(blob(row, 1)?)?;
    Ok((subject_of(subject)?, Account::decode(body)?))
}

/// Parts, from any of the statements that read them.
pub(super) fn read_parts(
    statement: &mut CachedStatement<'_>,
    params: impl rusqlite::Params,
) -> Result<Vec<Part>, StoreError> {
    let mut found = statement.query(params).map_err(trouble)?;
    let mut parts = Vec::new();
    while let Some(row) = found.next().map_err(trouble)? {
        let (op, account) = (blob(row, 0)?, text(row, 1)?);
        let (sequence, open) = (row.get(2).map_err(trouble)?, row.get(3).map_err(trouble)?);
        let at: i64 = row.get(4).map_err(trouble)?;
        let body = part_seal(op, account, sequence, open, at).open(blob(row, 5)?)?;
        parts.push(Part::decode(op_of(op)?, subject_of(account)?, sequence, body)?);
    }
    Ok(parts)
}

/// The record of a limit, from [`Sql::limit`] or [`Sql::limits`].
pub(super) fn read_limit(row: &Record<'_>) -> Result<LimitRecord, StoreError> {
    let (name, meter) = (text(row, 0)?, row.get(1).map_err(trouble)?);
    let body = limit_seal(name, meter).open(blob(row, 2)?)?;
    LimitRecord::decode(name.parse().map_err(StoreError::corrupt)?, body)
}

/// A ledger row and its number, from [`Sql::rows`] or [`Sql::old_rows`].
pub(super) fn read_row(record: &Record<'_>) -> Result<(i64, Row), StoreError> {
    let number: i64 = record.get(0).map_err(trouble)?;
    let at = Timestamp::from_micros(record.get(1).map_err(trouble)?);
    let op = record.get_ref(2).map_err(trouble)?.as_blob_or_null().map_err(StoreError::corrupt)?;
    let body = row_seal(number, at, op).open(blob(record, 8)?)?;
    let row = Row::decode(at, op.map(op_of).transpose()?, body)?;
    let or_null = |at| record.get_ref(at).map_err(trouble)?.as_str_or_null().map_err(StoreError::corrupt);
    let stored: (u8, Option<u32>) = (record.get(3).map_err(trouble)?, record.get(5).map_err(trouble)?);
    let Columns { kind, subject, meter, client, key } = Columns::of(&row);
    let same = stored == (kind, meter)
        && or_null(4)? == subject.map(Subject::as_str)
        && or_null(6)? == client
        && or_null(7)? == key;
    if same { Ok((number, row)) } else { Err(StoreError::corrupt("a row is filed under what it does not say")) }
}
