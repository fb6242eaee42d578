//! Opening: what a file must be, and what a connection is set to.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::early::Early;
use super::schema::Sql;
use super::trouble::{insisting, patient_until, trouble, waits};
use super::{Base, SqliteStore, Writer};
use crate::error::StoreError;

/// What a file of our own says that it is: `keyw`.
const APPLICATION: i32 = 0x6b65_7977;
/// The prefix of the tables unless a host chose another.
const PREFIX: &str = "keyward_";
/// For ever, as a span that an instant can be moved by.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
/// More statements than there are, and some that filters make.
const STATEMENTS: usize = 96;

/// When an acknowledged change is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Synchronous {
    /// Before it is acknowledged. What was acknowledged survives the end of the process and a loss of power.
    #[default]
    Full,
    /// At a checkpoint. What was acknowledged survives the end of the process; a loss of power takes what came after
    /// the last checkpoint, and leaves the file consistent.
    Normal,
    /// Whenever the system likes. What was acknowledged survives the end of the process; a loss of power may damage the
    /// file for good.
    Off,
}

/// How a [`SqliteStore`] is opened.
///
/// ```
/// use std::time::Duration;
/// use keyward::store::{SqliteOptions, Synchronous};
///
/// let options = SqliteOptions::new().synchronous(Synchronous::Normal).patience(Duration::from_secs(2));
/// let store = options.in_memory()?;
/// # Ok::<(), keyward::StoreError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SqliteOptions {
    prefix: Option<String>,
    synchronous: Synchronous,
    patience: Duration,
    relaxed: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            prefix: None,
            synchronous: Synchronous::default(),
            patience: Duration::from_secs(5),
            relaxed: Duration::from_millis(100),
        }
    }
}

impl SqliteOptions {
    /// A file of the store's own, synchronous in full, and five seconds of patience.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the names of the store's tables begin with, in a database that it shares with others: at most 32 lower-case
    /// ASCII letters, digits and `_`, the first no digit, and not `sqlite_`. It is `keyward_` unless set.
    pub fn table_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// When an acknowledged change is on the disk.
    pub fn synchronous(mut self, when: Synchronous) -> Self {
        self.synchronous = when;
        self
    }

    /// How long a call waits for a file that another process is writing. What has been spent already, as a settle
    /// says, is not given up then.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience.min(LONGEST);
        self
    }

    /// How long what was answered early may take to be in the file; a tenth of a second unless set, and never answered
    /// early if this is zero. See [Relaxed limits](super#relaxed-limits).
    pub fn relaxed_within(mut self, bound: Duration) -> Self {
        self.relaxed = bound;
        self
    }

    /// Opens a file, and makes it if there is none.
    ///
    /// # Errors
    /// As for [`SqliteStore::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, StoreError> {
        let path = path.as_ref();
        let sql = self.sql()?;
        sound_version()?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            return Err(StoreError::unavailable(format!("there is no folder {}", folder.display())));
        }
        let at = |error| explained(error, path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(path, flags).map_err(at)?;
        wait_for_locks(&mut db).map_err(at)?;
        patient_until(Instant::now() + self.patience);
        let owned = self.whose(&db, &sql, path)?;
        let to_wal = || db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        let mode = insisting(Instant::now() + self.patience, to_wal).map_err(at)?;
        if mode != "wal" {
            let what = format!("{} cannot have a write-ahead log: its journal mode stays {mode}", path.display());
            return Err(StoreError::refused(what));
        }
        // A relative path would lead elsewhere once the process has changed its folder.
        let path = std::path::absolute(path).map_err(StoreError::unavailable)?;
        self.finish(db, sql, Some(path), owned)
    }

    /// Opens a database in memory, which is gone with the store.
    ///
    /// # Errors
    /// A prefix that is refused, or no memory.
    pub fn in_memory(mut self) -> Result<SqliteStore, StoreError> {
        // There is nothing to gain.
        self.relaxed = Duration::ZERO;
        let sql = self.sql()?;
        let db = Connection::open_in_memory().map_err(trouble)?;
        self.finish(db, sql, None, true)
    }

    /// Uses a host's own connection, which may have other tables beside the store's. Its journal mode stays as it is;
    /// its busy handler and its synchronous mode become the store's. All reading is done on it too.
    ///
    /// # Errors
    /// As for [`SqliteStore::open`]; and a connection that is in the middle of a transaction.
    pub fn on(self, mut connection: Connection) -> Result<SqliteStore, StoreError> {
        let sql = self.sql()?;
        if !connection.is_autocommit() {
            return Err(StoreError::refused("the connection is in the middle of a transaction"));
        }
        wait_for_locks(&mut connection).map_err(trouble)?;
        patient_until(Instant::now() + self.patience);
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(trouble)?;
        if mode == "wal" {
            sound_version()?;
        }
        if connection.is_readonly(MAIN_DB).map_err(trouble)? {
            return Err(StoreError::unavailable("the connection can only read"));
        }
        sql.version(&connection)?;
        self.finish(connection, sql, None, false)
    }

    fn sql(&self) -> Result<Sql, StoreError> {
        let prefix = self.prefix.as_deref().unwrap_or(PREFIX);
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let fits = prefix.len() <= 32
            && prefix.bytes().all(word)
            && !prefix.starts_with(|first: char| first.is_ascii_digit())
            && !prefix.starts_with("sqlite_");
        if fits {
            Ok(Sql::new(prefix))
        } else {
            Err(StoreError::refused(format!(
                "the table prefix {:?} is not at most 32 lower-case ASCII letters, digits and _, the first no digit, \
                 other than sqlite_",
                prefix.chars().take(40).collect::<String>()
            )))
        }
    }

    /// Whether the file is ours alone. Reads it for the first time, so that whatever is wrong with it is found here.
    fn whose(&self, db: &Connection, sql: &Sql, path: &Path) -> Result<bool, StoreError> {
        let at = |error| explained(error, path);
        let count = || db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
        let tables = insisting(Instant::now() + self.patience, count).map_err(at)?;
        if db.is_readonly(MAIN_DB).map_err(at)? {
            return Err(StoreError::unavailable(format!("{} can only be read", path.display())));
        }
        let ours = sql.version(db)? > 0;
        let application = application(db)?;
        if tables > 0 && !ours && self.prefix.is_none() {
            return Err(StoreError::refused(format!(
                "{} is another program's: to share it, name a table prefix",
                path.display()
            )));
        }
        Ok((tables == 0 && application == 0) || application == APPLICATION)
    }

    fn finish(self, db: Connection, sql: Sql, path: Option<PathBuf>, owned: bool) -> Result<SqliteStore, StoreError> {
        let mode = match self.synchronous {
            Synchronous::Full => "FULL",
            Synchronous::Normal => "NORMAL",
            Synchronous::Off => "OFF",
        };
        db.pragma_update(None, "synchronous", mode).map_err(trouble)?;
        harden(&db)?;
        let deadline = Instant::now() + self.patience;
        insisting(deadline, || db.execute_batch("BEGIN IMMEDIATE")).map_err(trouble)?;
        let migrated = sql.migrate(&db).and_then(|()| {
            if owned && application(&db)? != APPLICATION {
                db.pragma_update(None, "application_id", APPLICATION).map_err(trouble)?;
            }
            db.execute_batch("COMMIT").map_err(trouble)
        });
        if let Err(error) = migrated {
            let _ = db.execute_batch("ROLLBACK");
            return Err(error);
        }
        let (writer, early) = (Mutex::new(Writer::new(db)), Early::new(self.relaxed));
        Ok(SqliteStore::new(Base { writer, sql, patience: self.patience, early }, path))
    }
}

fn application(db: &Connection) -> Result<i32, StoreError> {
    db.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(trouble)
}

/// What every connection is set to.
fn harden(db: &Connection) -> Result<(), StoreError> {
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise every statement with a limit is planned anew whenever it is bound.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(trouble)?;
    // What is deleted is overwritten; damaged pages are noticed early; a log that once grew long does not stay so.
    db.execute_batch(
        "PRAGMA secure_delete = ON; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;
         PRAGMA journal_size_limit = 67108864;",
    )
    .map_err(trouble)
}

/// Later versions of rusqlite want the connection to be mutable for this.
fn wait_for_locks(db: &mut Connection) -> rusqlite::Result<()> {
    db.busy_handler(Some(waits))
}

/// One more connection to a file that a store has open, to read on.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(|error| explained(error, path))?;
    wait_for_locks(&mut db).map_err(trouble)?;
    harden(&db)?;
    db.pragma_update(None, "query_only", "ON").map_err(trouble)?;
    Ok(db)
}

fn explained(error: rusqlite::Error, path: &Path) -> StoreError {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::refused(format!("{path} is no SQLite database: {error}")),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            StoreError::unavailable(format!("{path} cannot be opened: {error}"))
        }
        _ => trouble(error),
    }
}

/// Refuses versions of SQLite in which a write-ahead log that begins anew can damage the file.
fn sound_version() -> Result<(), StoreError> {
    let number = rusqlite::version_number();
    if is_sound(number) {
        return Ok(());
    }
    Err(StoreError::refused(format!(
        "SQLite {} can damage a file when its write-ahead log begins anew while another connection makes a checkpoint; \
         use 3.51.3 or later, or 3.50.7 or 3.44.6",
        rusqlite::version()
    )))
}

/// The defect came with 3.7.0 and went with 3.51.3; two older lines were mended too.
fn is_sound(number: i32) -> bool {
    number >= 3_051_003 || (3_050_007..3_051_000).contains(&number) || (3_044_006..3_045_000).contains(&number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log of SQLite could begin anew while another connection was in the middle of a checkpoint, which then took
    /// pages for copied that were not: the file was damaged.
    #[test]
    fn versions_that_can_damage_a_log_are_refused() {
        for sound in [3_051_003, 3_052_000, 3_053_002, 3_050_007, 3_044_006, 4_000_000] {
            assert!(is_sound(sound), "{sound}");
        }
        for affected in [3_007_000, 3_044_005, 3_045_000, 3_046_001, 3_050_006, 3_051_000, 3_051_002] {
            assert!(!is_sound(affected), "{affected}");
        }
        assert!(is_sound(rusqlite::version_number()), "{}", rusqlite::version());
    }

    #[test]
    fn a_prefix_is_a_word() {
        for good in ["", "keyward_", "k2_", "a23456789012345678901234567890_2"] {
            assert!(SqliteOptions::new().table_prefix(good).sql().is_ok(), "{good:?}");
        }
        for bad in ["Keyward_", "a b", "a;", "2a", "sqlite_", "é", "a234567890123456789012345678901_3", "\"", "a-"] {
            assert!(SqliteOptions::new().table_prefix(bad).sql().is_err_and(|error| error.is_refused()), "{bad:?}");
        }
    }
}
