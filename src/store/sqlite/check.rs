//! Reading everything, to find what is damaged.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row as Record};

use super::SqliteStore;
use super::schema::{PART, ROW, Sql};
use super::seal::op_of;
use super::tables::{Tables, read_answer, read_named_account, read_parts, read_row, tags, text};
use super::trouble::trouble;
use crate::account::Row;
use crate::error::StoreError;
use crate::store::Transaction;

impl SqliteStore {
    /// Reads everything that is stored, and says what is damaged: first what SQLite finds, then every account, part,
    /// answer, record and row of which the sum is wrong, or that cannot be read. Slow, and no part of any other call.
    ///
    /// Whether what is stored is right is for [`verify`](crate::store::verify) to say.
    ///
    /// # Errors
    /// What is damaged, or why it could not be read.
    pub fn check(&self) -> Result<(), StoreError> {
        self.reading(|db| {
            let said: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(trouble)?;
            if said != "ok" {
                return Err(StoreError::corrupt(said));
            }
            // All of it as of one instant.
            db.execute_batch("BEGIN").map_err(trouble)?;
            let read = read_all(db, &self.base.sql);
            db.execute_batch("ROLLBACK").map_err(trouble)?;
            read
        })?;
        self.read_totals()?;
        self.read_limits().map(|_| ())
    }
}

fn read_all(db: &Connection, sql: &Sql) -> Result<(), StoreError> {
    let mut tables = Tables::new(db, sql);
    tables.counters()?;
    tables.lease()?;
    each(db, &sql.all("subject, body", "accounts"), |record| read_named_account(record).map(|_| ()))?;
    read_parts(&mut db.prepare_cached(&sql.all(PART, "parts")).map_err(trouble)?, [])?;
    each(db, &sql.all("until, body, op", "answers"), |record| {
        let op = record.get_ref(2).map_err(trouble)?.as_blob().map_err(StoreError::corrupt)?;
        read_answer(record, op, &op_of(op)?).map(|_| ())
    })?;
    let (mut named, mut labels, mut tagged) = (BTreeSet::new(), BTreeSet::new(), 0);
    each(db, &sql.all("name, value, subject", "labels"), |record| {
        labels.insert([text(record, 0)?.to_owned(), text(record, 1)?.to_owned(), text(record, 2)?.to_owned()]);
        Ok(())
    })?;
    each(db, &sql.all(ROW, "rows"), |record| {
        let (_, row) = read_row(record)?;
        tagged += tags(&row).iter().collect::<BTreeSet<_>>().len();
        named.extend(labels_of(&row));
        Ok(())
    })?;
    let mut found = 0_usize;
    each(db, &sql.all("name, value, number", "tags"), |_| {
        found += 1;
        Ok(())
    })?;
    if !named.is_subset(&labels) {
        return Err(StoreError::corrupt("a row cannot be found by its dimensions"));
    }
    if found != tagged {
        return Err(StoreError::corrupt("a row cannot be found by its tags"));
    }
    Ok(())
}

fn labels_of(row: &Row) -> Vec<[String; 3]> {
    let Some(subject) = super::tables::Columns::of(row).subject else { return Vec::new() };
    let label =
        |(name, value): (&str, std::borrow::Cow<'_, str>)| [name.to_owned(), value.into_owned(), subject.to_string()];
    subject.dimensions().map(label).collect()
}

fn each(
    db: &Connection,
    sql: &str,
    mut read: impl FnMut(&Record<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = db.prepare(sql).map_err(trouble)?;
    let mut found = statement.query([]).map_err(trouble)?;
    while let Some(record) = found.next().map_err(trouble)? {
        read(record)?;
    }
    Ok(())
}
