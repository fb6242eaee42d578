//! What is answered before it is written.
//!
//! While a store has the [lease](super::lease) on its file, plans that say so are decided in memory, on the [`Desk`], and a
//! thread writes what they changed, all of it in one transaction, within the bound. Whoever writes to the file otherwise
//! first writes what the desk has, in the same transaction, and takes from the desk the accounts that it touches.
//!
//! Accounts are added to the desk, and taken from it, only by who holds the writer. So what is read from the file for the
//! desk is what it says when it arrives there.

mod alone;
mod desk;
mod taken;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

pub(super) use desk::{Desk, Heard};
pub(super) use taken::{Leaves, Taken};

use super::lease::{Lease, Seen};
use super::queue::begin;
use super::seal::op_of;
use super::tables::Tables;
use super::trouble::{locked, nap, patient_until};
use super::{Base, Writer};
use crate::account::Account;
use crate::error::StoreError;
use crate::id::{OpId, Subject};
use crate::plan::{Counters, Plan, Verdict};
use crate::store::Transaction;
use crate::time::Timestamp;

/// How often it is looked whether another wants the file, at the least.
const LOOK: Duration = Duration::from_millis(250);
/// How long a lease is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(1);

/// What is in memory, and whose it is.
pub(super) struct Early {
    pub(super) desk: Mutex<Desk>,
    /// Whether the lease is ours, for those who only want to know.
    held: AtomicBool,
    bound: Duration,
    owner: i64,
    seen: Mutex<Option<Seen>>,
    /// When a lease that others had, or wanted, may be asked for again.
    again: Mutex<Option<Instant>>,
    bell: Mutex<Bell>,
    rung: Condvar,
}

#[derive(Default)]
struct Bell {
    stop: bool,
    thread: Option<JoinHandle<()>>,
}

/// Whether a transaction may write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Free,
    Ours,
    /// Another has the lease. That it is wanted has been written down, and is to be committed.
    Theirs,
}

/// What a transaction leaves to be told to the desk.
pub(super) struct Left {
    began: Instant,
    beat: Option<i64>,
    taken: Option<Taken>,
    counters: Option<Counters>,
    /// The first expiry of what it holds.
    pub(super) expires: Timestamp,
}

impl Early {
    pub(super) fn new(bound: Duration) -> Self {
        Self {
            desk: Mutex::new(Desk::new(bound)),
            held: AtomicBool::new(false),
            bound,
            owner: i64::from_ne_bytes(RandomState::new().hash_one(0).to_ne_bytes()) | 1,
            seen: Mutex::new(None),
            again: Mutex::new(None),
            bell: Mutex::new(Bell::default()),
            rung: Condvar::new(),
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    fn now_held(&self, desk: &MutexGuard<'_, Desk>) {
        self.held.store(desk.is_held(), Ordering::Release);
    }

    fn tick(&self) -> Duration {
        (self.bound / 2).clamp(Duration::from_millis(1), LOOK)
    }

    /// The thread that writes ends.
    pub(super) fn stop(&self) {
        let thread = {
            let mut bell = self.bell.lock();
            bell.stop = true;
            self.rung.notify_all();
            bell.thread.take()
        };
        // One that panicked has ended too.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Tables<'_> {
    /// Finds out who may write, in a transaction that has begun.
    pub(super) fn enter(&mut self) -> Result<Access, StoreError> {
        let Some(early) = self.early else { return Ok(Access::Free) };
        self.lease = self.lease()?;
        let mut desk = early.desk.lock();
        if self.lease.owner == early.owner {
            desk.resolve(self.lease.beat);
            return Ok(Access::Ours);
        }
        if desk.is_held() || desk.has_changes() {
            // Another has taken it over: what is still in memory was lost then.
            desk.lose();
            early.now_held(&desk);
        }
        drop(desk);
        if self.lease.is_free() {
            return Ok(Access::Free);
        }
        if self.lease.is_over(&mut early.seen.lock()) {
            self.put_beat(Lease { wanted: false, ..self.lease }.given_up())?;
            return Ok(Access::Free);
        }
        if !self.lease.wanted {
            self.put_lease(Lease { wanted: true, ..self.lease })?;
        }
        Ok(Access::Theirs)
    }

    pub(super) fn put_beat(&mut self, lease: Lease) -> Result<(), StoreError> {
        self.put_lease(lease)?;
        (self.lease, self.beat) = (lease, Some(lease.beat));
        Ok(())
    }

    /// What is to be told to the desk when this has ended.
    pub(super) fn leave(&mut self, began: Instant) -> Left {
        let (taken, counters) = (self.taken.take(), self.known_counters());
        Left { began, beat: self.beat, taken, counters, expires: Timestamp::MAX }
    }

    /// The youngest operation of the library's that the file knows.
    fn youngest(&self) -> Result<Option<OpId>, StoreError> {
        let mut youngest = None;
        for sql in [&self.sql.last_op, &self.sql.last_answer] {
            let mut statement = self.statement(sql)?;
            let key: Option<Vec<u8>> = statement.query_row([], |row| row.get(0)).map_err(|error| self.failed(error))?;
            youngest = youngest.max(key.map(|key| op_of(&key)).transpose()?);
        }
        Ok(youngest)
    }

    /// When the next part expires that the file knows.
    pub(super) fn next_due(&self) -> Result<Timestamp, StoreError> {
        let mut statement = self.statement(&self.sql.next_due)?;
        let at: Option<i64> = statement.query_row([], |row| row.get(0)).map_err(|error| self.failed(error))?;
        Ok(at.map_or(Timestamp::MAX, Timestamp::from_micros))
    }
}

impl Base {
    pub(super) fn tables<'c>(&'c self, db: &'c rusqlite::Connection) -> Tables<'c> {
        let mut tables = Tables::new(db, &self.sql);
        tables.early = Some(&self.early);
        tables
    }

    /// Commits, and tells the desk what became of it; `false` if others held a lock, and nothing was committed.
    pub(super) fn close(&self, writer: &mut Writer, left: Left) -> Result<bool, StoreError> {
        let committed = writer.commit();
        if left.taken.is_none() && !self.early.is_held() {
            return committed;
        }
        let mut desk = self.early.desk.lock();
        match (&committed, left) {
            (Ok(true), Left { began, beat, taken, counters, expires }) => {
                if beat.is_some() && desk.is_held() {
                    desk.renew(began);
                }
                desk.told(counters, expires);
                taken.into_iter().for_each(|taken| desk.end(taken, true));
            }
            (Err(_), Left { beat: Some(beat), taken: Some(taken), .. }) => desk.doubt(beat, taken),
            (_, Left { taken, .. }) => taken.into_iter().for_each(|taken| desk.end(taken, false)),
        }
        self.early.now_held(&desk);
        committed
    }

    /// Rolls back, and tells the desk so.
    pub(super) fn abandon(&self, writer: &mut Writer, left: Left) {
        writer.roll_back();
        if let Some(taken) = left.taken {
            let mut desk = self.early.desk.lock();
            desk.end(taken, false);
            self.early.now_held(&desk);
        }
    }

    /// Answers a plan before it is written, if that may be.
    pub(super) fn answer(self: &Arc<Self>, plan: &Plan, now: Timestamp) -> Option<Verdict> {
        if self.early.bound.is_zero() || !(plan.relaxed || self.early.is_held()) {
            return None;
        }
        let at = Instant::now();
        let mut desk = self.early.desk.lock();
        match desk.hear(plan, now, at, false) {
            Heard::Said(verdict) => {
                let full = desk.is_half_full();
                drop(desk);
                if full {
                    self.early.rung.notify_one();
                }
                return Some(verdict);
            }
            Heard::No if desk.is_held() || !plan.relaxed => return None,
            Heard::No | Heard::Ask => {}
        }
        drop(desk);
        // Whatever is wrong with the file, the plan will meet it again on the other way.
        self.ask(plan, now).unwrap_or_default()
    }

    /// Reads from the file what a plan needs, after taking the lease on it if it is not ours yet.
    fn ask(self: &Arc<Self>, plan: &Plan, now: Timestamp) -> Result<Option<Verdict>, StoreError> {
        // Without the lease there is nothing to wait for: the other way is as long.
        let writer = if self.early.is_held() { Some(self.writer()?) } else { self.writer.try_lock() };
        let Some(mut writer) = writer else { return Ok(None) };
        if !self.early.is_held() && !self.take_lease(&mut writer)? {
            return Ok(None);
        }
        let mut tables = Tables::new(&writer.db, &self.sql);
        let mut subjects: Vec<Subject> = plan.accounts.iter().map(|place| place.subject.clone()).collect();
        if let Some(hold) = &plan.hold {
            let here = self.early.desk.lock().accounts_of(hold);
            if here.is_empty() && !tables.parts(hold)?.is_empty() {
                return Ok(None);
            }
            subjects.extend(here);
        }
        if let Some(op) = &plan.op {
            if tables.answer(op)?.is_some() {
                return Ok(None);
            }
        }
        subjects.retain(|subject| self.early.desk.lock().lacks(subject));
        let mut read: Vec<(Subject, Account)> = Vec::new();
        for subject in subjects {
            let account = tables.account(&subject)?;
            read.push((subject, account));
        }
        let mut desk = self.early.desk.lock();
        for (subject, account) in read {
            if desk.lacks(&subject) {
                desk.add(&subject, account);
            }
        }
        match desk.hear(plan, now, Instant::now(), true) {
            Heard::Said(verdict) => Ok(Some(verdict)),
            Heard::Ask | Heard::No => Ok(None),
        }
    }

    /// Takes the lease, if nobody has it or wants it.
    fn take_lease(self: &Arc<Self>, writer: &mut Writer) -> Result<bool, StoreError> {
        let began = Instant::now();
        let mut again = self.early.again.lock();
        if again.is_some_and(|again| began < again) || !self.start()? {
            return Ok(false);
        }
        *again = Some(began + self.early.tick());
        drop(again);
        if !begin(writer, began + self.early.tick())? {
            return Ok(false);
        }
        let mut tables = self.tables(&writer.db);
        let asked = self.found(&mut tables);
        let left = tables.leave(began);
        drop(tables);
        let Ok(Some((counters, mark, due))) = asked else {
            self.abandon(writer, left);
            return asked.map(|_| false);
        };
        if !self.close(writer, left)? {
            return Ok(false);
        }
        let mut desk = self.early.desk.lock();
        desk.begin(began, counters, mark, due);
        self.early.now_held(&desk);
        drop(desk);
        let _bell = self.early.bell.lock();
        self.early.rung.notify_all();
        Ok(true)
    }

    /// Writes down that the lease is ours, and says what the desk begins with.
    fn found(&self, tables: &mut Tables<'_>) -> Result<Option<(Counters, Option<OpId>, Timestamp)>, StoreError> {
        let access = tables.enter()?;
        let rests = access == Access::Free && tables.lease.is_free() && !tables.lease.has_rested();
        if access == Access::Theirs || rests {
            return Ok(None);
        }
        tables.put_beat(tables.lease.taken_by(self.early.owner))?;
        Ok(Some((tables.counters()?, tables.youngest()?, tables.next_due()?)))
    }

    /// Has a thread that writes; `false` if the store is being closed.
    fn start(self: &Arc<Self>) -> Result<bool, StoreError> {
        let mut bell = self.early.bell.lock();
        if bell.thread.is_none() && !bell.stop {
            let base = Arc::clone(self);
            let thread = thread::Builder::new().name("keyward-sqlite".to_owned()).spawn(move || base.keep_writing());
            bell.thread = Some(thread.map_err(StoreError::unavailable)?);
        }
        Ok(!bell.stop)
    }

    fn keep_writing(&self) {
        let mut idle = Duration::ZERO;
        loop {
            let mut bell = self.early.bell.lock();
            if !bell.stop && !self.early.is_held() {
                idle = Duration::ZERO;
                self.early.rung.wait(&mut bell);
            } else if !bell.stop {
                self.early.rung.wait_for(&mut bell, self.early.tick());
            }
            if bell.stop {
                return;
            }
            drop(bell);
            let (used, writes) = {
                let (mut desk, now) = (self.early.desk.lock(), Instant::now());
                (desk.was_used(), desk.is_late(now, self.early.tick()) || desk.fades(now))
            };
            idle = if used { Duration::ZERO } else { idle + self.early.tick() };
            if self.early.is_held() && (writes || idle > IDLE || self.is_wanted()) {
                // What cannot be written now is tried again; whoever wants more than fits meanwhile hears why.
                let _ = self.write_early(Instant::now() + LOOK, idle > IDLE);
            }
        }
    }

    fn is_wanted(&self) -> bool {
        let Some(writer) = self.writer.try_lock() else { return false };
        patient_until(Instant::now());
        Tables::new(&writer.db, &self.sql).lease().is_ok_and(|lease| lease.wanted || lease.owner != self.early.owner)
    }

    /// Writes what is in memory, and gives the lease up if another wants it, or if that is asked. `false` if others held
    /// the file until the deadline.
    pub(super) fn write_early(&self, deadline: Instant, give_up: bool) -> Result<bool, StoreError> {
        let Some(mut writer) = self.writer.try_lock_until(deadline) else { return Ok(false) };
        let began = Instant::now();
        if !begin(&mut writer, deadline)? {
            return Ok(false);
        }
        let mut tables = self.tables(&writer.db);
        let written = tables.enter().and_then(|access| {
            if access != Access::Ours {
                return Ok(access == Access::Free);
            }
            let ends = give_up || tables.lease.wanted;
            tables.call_in(if ends { Leaves::All } else { Leaves::None }, |_| true)?;
            tables.put_beat(if ends { tables.lease.given_up() } else { tables.lease.renewed() }).map(|()| true)
        });
        let (left, busy) = (tables.leave(began), tables.was_busy());
        drop(tables);
        match written {
            Ok(true) => self.close(&mut writer, left),
            Ok(false) => {
                self.abandon(&mut writer, left);
                Ok(true)
            }
            Err(error) => {
                self.abandon(&mut writer, left);
                if busy { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Writes what is in memory, so that it can be read, or so that the store can be closed.
    pub(super) fn settle(&self, give_up: bool) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.patience;
        let mut tries = 0;
        while self.early.is_held() && (give_up || self.early.desk.lock().has_changes()) {
            if self.write_early(deadline, give_up)? {
                return Ok(());
            }
            let left = deadline.checked_duration_since(Instant::now()).ok_or_else(locked)?;
            nap(tries, left);
            tries += 1;
        }
        Ok(())
    }
}

impl Base {
    /// The connection that writes, if nothing long holds it.
    pub(super) fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        self.writer.try_lock_until(Instant::now() + self.patience).ok_or_else(locked)
    }
}
