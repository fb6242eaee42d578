//! What SQLite says, in the store's own words; and waiting for a lock.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Error, ErrorCode};

use crate::error::StoreError;

/// The longest that a waiting thread sleeps at a time.
const NAP: Duration = Duration::from_millis(1);

/// What an error of SQLite means, where nothing was changed.
pub(super) fn trouble(error: Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::full(error),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation) => {
            StoreError::corrupt(error)
        }
        Some(ErrorCode::ReadOnly) => StoreError::unavailable(format!("the file cannot be written: {error}")),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => locked(),
        Some(ErrorCode::TooBig) => StoreError::refused(error),
        Some(_) => StoreError::unavailable(error),
        None => match error {
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::QueryReturnedNoRows
            | Error::Utf8Error(..) => StoreError::corrupt(error),
            _ => StoreError::unavailable(error),
        },
    }
}

/// What is said when others held the file for longer than anybody was ready to wait.
pub(super) fn locked() -> StoreError {
    StoreError::unavailable("the file is in use, and was not free in time")
}

/// Whether others hold a lock, and the same may pass once they let go of it.
pub(super) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

thread_local! {
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    static DICE: Cell<u64> = Cell::new(RandomState::new().hash_one(thread::current().id()) | 1);
}

/// Lets SQLite wait for locks on this thread until then.
pub(super) fn patient_until(deadline: Instant) {
    DEADLINE.set(Some(deadline));
}

/// What SQLite calls while a lock is held: whether to try again.
pub(super) fn waits(tries: i32) -> bool {
    let now = Instant::now();
    let Some(left) = DEADLINE.get().and_then(|deadline| deadline.checked_duration_since(now)) else { return false };
    if left.is_zero() {
        return false;
    }
    nap(u32::try_from(tries).unwrap_or(0), left);
    true
}

/// Tries again for as long as others hold a lock: SQLite does not ask its handler in all of its cases.
pub(super) fn insisting<T>(deadline: Instant, mut what: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let mut tries = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match what() {
            Err(error) if is_busy(&error) && !left.is_zero() => nap(tries, left),
            answer => return answer,
        }
        tries += 1;
    }
}

/// Sleeps for a while that grows with the number of tries and is never the same, so that waiting processes do not march
/// in step.
pub(super) fn nap(tries: u32, most: Duration) {
    let longest = Duration::from_micros(50).saturating_mul(1 << tries.min(5)).min(NAP);
    let mut dice = DICE.get();
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    DICE.set(dice);
    let part = u32::try_from(dice % 1_000).unwrap_or(0);
    let span = longest / 4 + longest.saturating_mul(part) * 3 / 4_000;
    thread::sleep(span.min(most));
}
