//! The tables, and how older ones become today's.
//!
//! Each step of [`STEPS`] brings a file from one version to the next and is never changed once it was released. The
//! version stands in a table of our own, since the file's `user_version` may be its host's.

use rusqlite::{Connection, OptionalExtension};

use super::trouble::trouble;
use crate::error::StoreError;

/// From no tables to version 1, from there to version 2, and so on.
const STEPS: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The version that is written.
pub(super) const VERSION: usize = STEPS.len();

/// The columns of a row, as they are read.
pub(super) const ROW: &str = "number, at, op, kind, subject, meter, client, key, body";
/// Those of a part.
pub(super) const PART: &str = "op, account, sequence, open, at, body";

/// The text of every statement, for one prefix of the tables.
pub(super) struct Sql {
    prefix: String,
    pub(super) account: String,
    pub(super) put_account: String,
    pub(super) drop_account: String,
    pub(super) accounts: String,
    pub(super) first_accounts: String,
    pub(super) due: String,
    pub(super) all_due: String,
    pub(super) parts_of_op: String,
    pub(super) parts_of_account: String,
    pub(super) open_parts: String,
    pub(super) open_in: String,
    pub(super) put_part: String,
    pub(super) drop_part: String,
    pub(super) some_parts: String,
    pub(super) answer: String,
    pub(super) put_answer: String,
    pub(super) drop_answer: String,
    pub(super) some_answers: String,
    pub(super) op_has_parts: String,
    pub(super) limit: String,
    pub(super) put_limit: String,
    pub(super) limits: String,
    pub(super) counters: String,
    pub(super) put_counters: String,
    pub(super) last_row: String,
    pub(super) put_row: String,
    pub(super) drop_row: String,
    pub(super) subject_has_rows: String,
    pub(super) put_label: String,
    pub(super) put_tag: String,
    pub(super) drop_tags: String,
    pub(super) rows: String,
    pub(super) old_rows: String,
    pub(super) totals: String,
    pub(super) total: String,
    pub(super) put_total: String,
    pub(super) lease: String,
    pub(super) put_lease: String,
    pub(super) last_op: String,
    pub(super) last_answer: String,
    pub(super) next_due: String,
}

impl Sql {
    pub(super) fn new(prefix: &str) -> Self {
        let p = prefix;
        Self {
            prefix: p.to_owned(),
            account: format!("SELECT body FROM {p}accounts WHERE subject = ?1"),
            put_account: format!(
                "INSERT INTO {p}accounts (subject, body) VALUES (?1, ?2)
                 ON CONFLICT (subject) DO UPDATE SET body = excluded.body"
            ),
            drop_account: format!("DELETE FROM {p}accounts WHERE subject = ?1"),
            accounts: format!("SELECT subject, body FROM {p}accounts WHERE subject > ?1 ORDER BY subject LIMIT ?2"),
            first_accounts: format!("SELECT subject, body FROM {p}accounts ORDER BY subject LIMIT ?1"),
            due: format!(
                "SELECT {PART} FROM {p}parts WHERE account = ?1 AND open = 1 ORDER BY at, op, sequence LIMIT ?2"
            ),
            all_due: format!("SELECT account FROM {p}parts WHERE open = 1 AND at <= ?1 ORDER BY at LIMIT ?2"),
            parts_of_op: format!(
                "SELECT {PART} FROM {p}parts WHERE op = ?1 AND (op, account, sequence) > (?2, ?3, ?4)
                 ORDER BY op, account, sequence LIMIT ?5"
            ),
            // The page is found in the index alone, so that only its own bodies are read.
            parts_of_account: format!(
                "WITH page AS MATERIALIZED (
                     SELECT op, sequence FROM {p}parts
                     WHERE account = ?1 AND (op, account, sequence) > (?2, ?3, ?4) ORDER BY op, sequence LIMIT ?5)
                 SELECT op, {p}parts.account, sequence, open, at, body FROM page JOIN {p}parts USING (op, sequence)
                 WHERE {p}parts.account = ?1 ORDER BY op, sequence"
            ),
            open_parts: format!(
                "SELECT {PART} FROM {p}parts WHERE (op, account, sequence) > (?1, ?2, ?3) AND +open = 1
                 ORDER BY op, account, sequence LIMIT ?4"
            ),
            open_in: format!("SELECT {PART} FROM {p}parts WHERE account = ?1 AND open = 1"),
            put_part: format!(
                "INSERT INTO {p}parts ({PART}) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (op, account, sequence)
                 DO UPDATE SET open = excluded.open, at = excluded.at, body = excluded.body"
            ),
            drop_part: format!("DELETE FROM {p}parts WHERE op = ?1 AND account = ?2 AND sequence = ?3"),
            some_parts: format!(
                "SELECT op, account, sequence, open = 0 AND at <= ?1 FROM {p}parts
                 WHERE (op, account, sequence) > (?2, ?3, ?4) ORDER BY op, account, sequence LIMIT ?5"
            ),
            answer: format!("SELECT until, body FROM {p}answers WHERE op = ?1"),
            put_answer: format!("INSERT OR REPLACE INTO {p}answers (op, until, body) VALUES (?1, ?2, ?3)"),
            drop_answer: format!("DELETE FROM {p}answers WHERE op = ?1"),
            some_answers: format!("SELECT op, until <= ?1 FROM {p}answers WHERE op > ?2 ORDER BY op LIMIT ?3"),
            op_has_parts: format!("SELECT EXISTS (SELECT 1 FROM {p}parts WHERE op = ?1)"),
            limit: format!("SELECT name, meter, body FROM {p}limits WHERE name = ?1"),
            put_limit: format!("INSERT OR REPLACE INTO {p}limits (name, meter, body) VALUES (?1, ?2, ?3)"),
            limits: format!("SELECT name, meter, body FROM {p}limits ORDER BY meter"),
            counters: format!("SELECT limits, epoch, rows, seal FROM {p}counters WHERE one = 1"),
            put_counters: format!(
                "INSERT OR REPLACE INTO {p}counters (one, limits, epoch, rows, seal) VALUES (1, ?1, ?2, ?3, ?4)"
            ),
            last_row: format!("SELECT max(number) FROM {p}rows"),
            put_row: format!(
                "INSERT INTO {p}rows (number, at, op, kind, subject, meter, client, key, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
            ),
            drop_row: format!("DELETE FROM {p}rows WHERE number = ?1"),
            subject_has_rows: format!("SELECT EXISTS (SELECT 1 FROM {p}rows WHERE subject = ?1)"),
            put_label: format!("INSERT OR IGNORE INTO {p}labels (name, value, subject) VALUES (?1, ?2, ?3)"),
            put_tag: format!("INSERT OR IGNORE INTO {p}tags (name, value, number) VALUES (?1, ?2, ?3)"),
            drop_tags: format!("DELETE FROM {p}tags WHERE name = ?1 AND value = ?2 AND number = ?3"),
            rows: format!(
                "SELECT number, at, op, kind, subject, meter, client, key, body FROM {p}rows WHERE number > ?"
            ),
            old_rows: format!(
                "SELECT number, at, op, kind, subject, meter, client, key, body FROM {p}rows WHERE at < ?1"
            ),
            totals: format!(
                "SELECT account, meter, epoch, window, spent, seal FROM {p}totals
                 ORDER BY account, meter, epoch, window"
            ),
            total: format!(
                "SELECT spent, seal FROM {p}totals WHERE account = ?1 AND meter = ?2 AND epoch = ?3 AND window = ?4"
            ),
            put_total: format!(
                "INSERT OR REPLACE INTO {p}totals (account, meter, epoch, window, spent, seal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
            ),
            lease: format!("SELECT owner, beat, until, wanted, seal FROM {p}lease WHERE one = 1"),
            put_lease: format!(
                "INSERT OR REPLACE INTO {p}lease (one, owner, beat, until, wanted, seal) VALUES (1, ?1, ?2, ?3, ?4, ?5)"
            ),
            last_op: format!("SELECT max(op) FROM {p}parts WHERE op < x'01'"),
            last_answer: format!("SELECT max(op) FROM {p}answers WHERE op < x'01'"),
            next_due: format!("SELECT min(at) FROM {p}parts WHERE open = 1"),
        }
    }

    /// The rows that carry this value of a dimension, or of a tag.
    pub(super) fn labelled(&self) -> (String, String) {
        let p = &self.prefix;
        (
            format!(" AND subject IN (SELECT subject FROM {p}labels WHERE name = ? AND value = ?)"),
            format!(" AND number IN (SELECT number FROM {p}tags WHERE name = ? AND value = ?)"),
        )
    }

    /// A whole table, for whoever reads everything.
    pub(super) fn all(&self, columns: &str, table: &str) -> String {
        format!("SELECT {columns} FROM {}{table}", self.prefix)
    }

    /// The version of the tables; 0 where there are none.
    pub(super) fn version(&self, db: &Connection) -> Result<usize, StoreError> {
        let p = &self.prefix;
        let there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
        let there: bool = db.query_row(there, [format!("{p}schema")], |row| row.get(0)).map_err(trouble)?;
        if !there {
            return Ok(0);
        }
        let version = db.query_row(&format!("SELECT version FROM {p}schema WHERE one = 1"), [], |row| row.get(0));
        let version: i64 = version
            .optional()
            .map_err(trouble)?
            .ok_or_else(|| StoreError::corrupt(format!("the table {p}schema does not say its version")))?;
        match usize::try_from(version) {
            Ok(known @ 1..=VERSION) => Ok(known),
            Ok(newer) if newer > VERSION => Err(StoreError::corrupt(format!(
                "the file was written by a newer version of the library: its tables are of version {newer}, and the \
                 newest that this one knows is {VERSION}"
            ))),
            _ => Err(StoreError::corrupt(format!("the tables cannot be of version {version}"))),
        }
    }

    /// Brings the tables to today's version, inside a transaction that the caller has begun.
    pub(super) fn migrate(&self, db: &Connection) -> Result<(), StoreError> {
        let from = self.version(db)?;
        for step in STEPS.iter().skip(from) {
            db.execute_batch(&step.replace("{p}", &self.prefix)).map_err(trouble)?;
        }
        if from < VERSION {
            let version = i64::try_from(VERSION).unwrap_or(i64::MAX);
            let put = format!("INSERT OR REPLACE INTO {}schema (one, version) VALUES (1, ?1)", self.prefix);
            db.execute(&put, [version]).map_err(trouble)?;
        }
        Ok(())
    }
}
