//! The store in an SQLite file: exact across threads and processes, and it survives what they do not.
//!
//! One file, or tables in a host's own database, hold everything. Every plan is decided inside one transaction that
//! keeps all other writers out, so that whatever process asks, two never get the same room. What was acknowledged
//! survives `kill -9`, and, with [`Synchronous::Full`], a loss of power.
//!
//! ```
//! use keyward::plan::{Plan, Verdict};
//! use keyward::store::{SqliteStore, Store};
//! use keyward::{Subject, Timestamp};
//!
//! let store = SqliteStore::in_memory()?;
//! let plan = Plan::new(Timestamp::EPOCH).named(Subject::of([("key", "alice")])?);
//! assert!(matches!(store.apply(&plan, Timestamp::EPOCH)?, Verdict::Granted(_)));
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! # Threads
//!
//! A store is shared by reference. Plans of many threads that come at once share one transaction, and one wait for the
//! disk; each is answered after the commit. Readers have connections of their own and neither wait for the writer nor
//! stop it, except for a database in memory and for a host's connection, which have one connection for all. The store has no
//! thread of its own until a limit is relaxed; then it has one, until it is dropped.
//!
//! # Processes
//!
//! Any number of processes on one machine may open one file; it must not lie on a network's file system. They wait for
//! one another for as long as [`SqliteOptions::patience`] says, after which a plan that asks for something fails as
//! unavailable, with nothing changed. One that only reports, as a settle does, waits on: what was spent is booked.
//!
//! A store does not survive `fork`: in the child every call is refused, and dropping the store there leaves the file
//! alone. Open it again in the child, or fork first.
//!
//! # Relaxed limits
//!
//! A plan that is [relaxed](Plan::relaxed), because every one of its limits is, is answered from memory, and written by a
//! thread of the store's own: within a tenth of a second ([`SqliteOptions::relaxed_within`]), or before ten thousand things
//! wait to be written. Where the disk is slower than that, plans wait for it again. What ends a hold is where the hold is:
//! a settle of a relaxed hold is relaxed. All else is durable as ever, and a durable plan first writes what is in memory
//! of the accounts that it touches, in its own transaction. So limits are exact, whichever way they are asked.
//!
//! A process that is killed loses what it had not written, at most what it answered within that time: calls are
//! forgotten then, never counted twice, and what is in the file proves itself. A store that is dropped writes
//! everything. An operation of the library's that began and ended in between leaves its counts and rows, and no trace of
//! itself.
//!
//! All of this store's methods see what is in memory, since it is written before they read. Other processes see the
//! file. One process at a time has a lease for it, which is taken by the first relaxed plan, and given up a second after
//! the last. Others that want to write meanwhile ask for it, wait until its owner has written everything, and are served
//! durably; so is the first one then, for a second. An owner that was killed, or stopped, is waited for until two seconds
//! have passed since it was last heard of. What such a one still has in memory when it wakes up is lost, as is what an
//! owner has whose lease seems to be over because the machine's clock was set forward.
//!
//! ```
//! use keyward::store::SqliteOptions;
//! use std::time::Duration;
//! # let folder = std::env::temp_dir().join(format!("keyward-doc-relaxed-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//!
//! let store = SqliteOptions::new().relaxed_within(Duration::from_millis(20)).open(folder.join("keyward.db"))?;
//! # drop(store);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), keyward::StoreError>(())
//! ```
//!
//! # After trouble
//!
//! An error of the commit itself is [unknown](StoreError::is_unknown): repeat the call under the same operation id. After
//! any other error nothing was changed.
//!
//! Everything that is stored carries a sum, so that a damaged byte is an error where it is read. Two things are not seen at
//! once: what lies under a damaged name is not found, and a damaged log ends, as SQLite has it, before the first commit
//! that is damaged. [`SqliteStore::check`] reads everything and finds what is damaged, and
//! [`verify`](super::verify) proves the meters from the ledger.

mod check;
mod early;
mod lease;
mod open;
mod queue;
mod read;
mod schema;
mod seal;
mod tables;
mod trouble;
mod upkeep;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

pub use open::{SqliteOptions, Synchronous};

use super::{Filter, PartKey, PartsOf, Store, Total};
use crate::account::{Account, Part, Row};
use crate::error::StoreError;
use crate::id::Subject;
use crate::plan::{LimitRecord, Plan, Verdict};
use crate::time::Timestamp;
use early::Early;
use queue::Queue;
use read::Readers;
use schema::Sql;

/// A [`Store`] in an SQLite database. See the module's page for what it promises.
pub struct SqliteStore {
    queue: Queue,
    base: Arc<Base>,
    readers: Readers,
    /// Where readers find the file; `None` where they use the writer's connection.
    path: Option<PathBuf>,
    process: u32,
}

/// What the store shares with the thread that writes what is in memory.
struct Base {
    writer: Mutex<Writer>,
    sql: Sql,
    patience: Duration,
    early: Early,
}

/// The one connection that writes.
struct Writer {
    db: Connection,
    chores: upkeep::Chores,
}

impl Writer {
    fn new(db: Connection) -> Self {
        Self { db, chores: upkeep::Chores::default() }
    }
}

impl SqliteStore {
    /// Opens a file, and makes it if there is none. It is given a write-ahead log, and is synchronous in full.
    ///
    /// # Errors
    /// Unavailable: a folder that is not there, a file that cannot be written or opened. Refused: a file that is no SQLite
    /// database or is another program's, and a version of SQLite that can damage its log. Corrupt: a damaged file, or
    /// one that a newer version of this library wrote. Nothing was changed then.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        SqliteOptions::new().open(path)
    }

    /// Opens a database in memory, which is gone with the store.
    ///
    /// # Errors
    /// No memory.
    pub fn in_memory() -> Result<Self, StoreError> {
        SqliteOptions::new().in_memory()
    }

    /// Uses a host's own connection: see [`SqliteOptions::on`].
    ///
    /// # Errors
    /// As for [`SqliteStore::open`]; and a connection that is in the middle of a transaction.
    pub fn on(connection: Connection) -> Result<Self, StoreError> {
        SqliteOptions::new().on(connection)
    }

    fn new(base: Base, path: Option<PathBuf>) -> Self {
        let (queue, readers) = (Queue::default(), Readers::default());
        Self { queue, base: Arc::new(base), readers, path, process: process::id() }
    }

    /// Refuses to go on in a child that was forked: its locks would be its parent's.
    fn here(&self) -> Result<(), StoreError> {
        if process::id() == self.process {
            return Ok(());
        }
        Err(StoreError::refused("the store was opened before this process was forked; open it again here"))
    }
}

impl Store for SqliteStore {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        self.here()?;
        match self.base.answer(plan, now) {
            Some(verdict) => Ok(verdict),
            None => self.carry_out(plan, now),
        }
    }

    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        self.sweep_some(now, most)
    }

    fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        self.read_account(of)
    }

    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        self.read_accounts(after, most)
    }

    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        self.read_parts(of, after, most)
    }

    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        self.read_rows(filter, after, most)
    }

    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.read_totals()
    }

    fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.compact_rows(before)
    }

    fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        self.read_limits()
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if process::id() != self.process {
            // Closing would let go of locks, and of a log, that are the parent's; and its thread is not here.
            std::iter::from_fn(|| self.readers.take()).for_each(std::mem::forget);
            std::mem::forget(Arc::clone(&self.base));
            return;
        }
        self.base.early.stop();
        // What cannot be written now is lost, as if the process had ended.
        let _ = self.base.settle(true);
    }
}
