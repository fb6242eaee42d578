//! Reading, beside the writer.

use std::time::Instant;

use parking_lot::Mutex;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::SqliteStore;
use super::seal::{Seal, op_key, subject_of};
use super::tables::{read_account, read_limit, read_named_account, read_parts, read_row, text};
use super::trouble::{patient_until, trouble};
use crate::account::{Account, MeterId, Part, Row};
use crate::error::StoreError;
use crate::id::Subject;
use crate::plan::LimitRecord;
use crate::store::{Filter, PartKey, PartsOf, Total};
use crate::time::Timestamp;

/// The most connections that are kept for reading.
const KEPT: usize = 8;

/// Connections that only read, and that nobody uses at the moment.
#[derive(Default)]
pub(super) struct Readers(Mutex<Vec<Connection>>);

impl Readers {
    pub(super) fn take(&self) -> Option<Connection> {
        self.0.lock().pop()
    }

    fn give_back(&self, reader: Connection) {
        let mut kept = self.0.lock();
        if kept.len() < KEPT {
            kept.push(reader);
        }
    }
}

impl SqliteStore {
    /// Reads on a connection beside the writer's, or on the one that there is.
    pub(super) fn reading<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.here()?;
        self.base.settle(false)?;
        patient_until(Instant::now() + self.base.patience);
        let Some(path) = &self.path else {
            let writer = self.base.writer()?;
            return read(&writer.db);
        };
        let reader = match self.readers.take() {
            Some(reader) => reader,
            None => super::open::reader(path)?,
        };
        let answer = read(&reader);
        self.readers.give_back(reader);
        answer
    }

    pub(super) fn read_account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        self.reading(|db| read_account(&mut db.prepare_cached(&self.base.sql.account).map_err(trouble)?, of))
    }

    pub(super) fn read_accounts(
        &self,
        after: Option<&Subject>,
        most: usize,
    ) -> Result<Vec<(Subject, Account)>, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.reading(|db| {
            let sql = if after.is_some() { &self.base.sql.accounts } else { &self.base.sql.first_accounts };
            let mut statement = db.prepare_cached(sql).map_err(trouble)?;
            let mut found = match after {
                Some(after) => statement.query(params![after.as_str(), most]),
                None => statement.query([most]),
            }
            .map_err(trouble)?;
            let mut accounts = Vec::new();
            while let Some(row) = found.next().map_err(trouble)? {
                accounts.push(read_named_account(row)?);
            }
            Ok(accounts)
        })
    }

    pub(super) fn read_parts(
        &self,
        of: &PartsOf,
        after: Option<&PartKey>,
        most: usize,
    ) -> Result<Vec<Part>, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let (op, account, sequence) = match after {
            Some((op, account, sequence)) => (op_key(op), account.as_str(), i64::from(*sequence)),
            None => (Vec::new(), "", -1),
        };
        self.reading(|db| match of {
            PartsOf::Open => {
                let mut statement = db.prepare_cached(&self.base.sql.open_parts).map_err(trouble)?;
                read_parts(&mut statement, params![op, account, sequence, most])
            }
            PartsOf::Op(of) => {
                let mut statement = db.prepare_cached(&self.base.sql.parts_of_op).map_err(trouble)?;
                read_parts(&mut statement, params![op_key(of), op, account, sequence, most])
            }
            PartsOf::Account(of) => {
                let mut statement = db.prepare_cached(&self.base.sql.parts_of_account).map_err(trouble)?;
                read_parts(&mut statement, params![of.as_str(), op, account, sequence, most])
            }
        })
    }

    pub(super) fn read_rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
        let (sql, values) = self.question(filter, after, most);
        self.reading(|db| {
            let mut statement = db.prepare_cached(&sql).map_err(trouble)?;
            let mut found = statement.query(params_from_iter(values)).map_err(trouble)?;
            let mut rows = Vec::new();
            while let Some(record) = found.next().map_err(trouble)? {
                let (number, row) = read_row(record)?;
                if !filter.has(&row) {
                    return Err(StoreError::corrupt("a row is filed under what it does not say"));
                }
                rows.push((u64::try_from(number).map_err(StoreError::corrupt)?, row));
            }
            Ok(rows)
        })
    }

    fn question(&self, filter: &Filter, after: i64, most: usize) -> (String, Vec<Value>) {
        let Filter { from, until, op, account, meter, dimension, tag, client, key } = filter;
        let (mut sql, mut values) = (self.base.sql.rows.clone(), vec![Value::Integer(after)]);
        let (of_dimension, of_tag) = self.base.sql.labelled();
        let mut ask = |clause: &str, asked: Vec<Value>| {
            sql.push_str(clause);
            values.extend(asked);
        };
        let name = |text: &str| Value::Text(text.to_owned());
        if let Some(from) = from {
            ask(" AND at >= ?", vec![from.as_micros().into()]);
        }
        if let Some(until) = until {
            ask(" AND at < ?", vec![until.as_micros().into()]);
        }
        if let Some(op) = op {
            ask(" AND op = ?", vec![op_key(op).into()]);
        }
        if let Some(account) = account {
            ask(" AND subject = ? AND kind <> 0", vec![name(account.as_str())]);
        }
        if let Some(MeterId(meter)) = meter {
            ask(" AND meter = ?", vec![(*meter).into()]);
        }
        if let Some((dimension, value)) = dimension {
            ask(&of_dimension, vec![name(dimension), name(value)]);
        }
        if let Some((tag, value)) = tag {
            ask(&of_tag, vec![name(tag), name(value)]);
        }
        if let Some(client) = client {
            ask(" AND client = ?", vec![name(client.as_str())]);
        }
        if let Some(key) = key {
            ask(" AND key = ?", vec![name(key.as_str())]);
        }
        ask(" ORDER BY number LIMIT ?", vec![i64::try_from(most).unwrap_or(i64::MAX).into()]);
        (sql, values)
    }

    pub(super) fn read_totals(&self) -> Result<Vec<Total>, StoreError> {
        self.reading(|db| {
            let mut statement = db.prepare_cached(&self.base.sql.totals).map_err(trouble)?;
            let mut found = statement.query([]).map_err(trouble)?;
            let mut totals = Vec::new();
            while let Some(row) = found.next().map_err(trouble)? {
                let total = Total {
                    account: subject_of(text(row, 0)?)?,
                    meter: MeterId(row.get(1).map_err(trouble)?),
                    epoch: row.get(2).map_err(trouble)?,
                    window: Timestamp::from_micros(row.get(3).map_err(trouble)?),
                    spent: row.get(4).map_err(trouble)?,
                };
                total_seal(&total).check(row.get(5).map_err(trouble)?)?;
                totals.push(total);
            }
            Ok(totals)
        })
    }

    pub(super) fn read_limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        self.reading(|db| {
            let mut statement = db.prepare_cached(&self.base.sql.limits).map_err(trouble)?;
            let mut found = statement.query([]).map_err(trouble)?;
            let mut limits = Vec::new();
            while let Some(row) = found.next().map_err(trouble)? {
                limits.push(read_limit(row)?);
            }
            Ok(limits)
        })
    }
}

pub(super) fn total_seal(total: &Total) -> Seal {
    let Total { account, meter, epoch, window, spent } = total;
    let seal = Seal::new().text(account.as_str()).number(meter.0.into()).number((*epoch).into());
    seal.number(window.as_micros()).number(*spent)
}
