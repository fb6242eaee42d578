//! Many callers, one transaction.
//!
//! A caller who finds nobody at work leads: it takes the writer, begins, carries out its own plan and those of all who
//! have queued by then, commits once, and hands the lead to the first of those who have queued meanwhile. There is no
//! thread of its own, and a caller alone neither queues nor copies anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::early::Access;
use super::trouble::{is_busy, locked, nap, patient_until, trouble};
use super::{SqliteStore, Writer};
use crate::error::StoreError;
use crate::plan::{Plan, Verdict};
use crate::store::transact;
use crate::time::Timestamp;

type Said = Result<Verdict, StoreError>;

/// The most plans that share one transaction.
const MOST: usize = 512;

#[derive(Default)]
pub(super) struct Queue(Mutex<Line>);

#[derive(Default)]
struct Line {
    /// Whether somebody leads.
    led: bool,
    waiting: VecDeque<Arc<Ticket>>,
}

/// A plan in the queue.
struct Ticket {
    plan: Plan,
    now: Timestamp,
    deadline: Option<Instant>,
    owner: Thread,
    turn: Mutex<Turn>,
}

#[expect(clippy::large_enum_variant, reason = "it ends as the large one, and there is one for each caller")]
enum Turn {
    Wait,
    Lead,
    Done(Said),
}

/// A plan that is being carried out.
enum Member<'a> {
    /// The leader's own.
    Own {
        plan: &'a Plan,
        now: Timestamp,
        deadline: Option<Instant>,
        said: &'a mut Option<Said>,
    },
    Queued(Arc<Ticket>),
}

impl Member<'_> {
    fn plan(&self) -> (&Plan, Timestamp) {
        match self {
            Self::Own { plan, now, .. } => (plan, *now),
            Self::Queued(ticket) => (&ticket.plan, ticket.now),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Own { deadline, .. } => *deadline,
            Self::Queued(ticket) => ticket.deadline,
        }
    }

    fn answer(self, answer: Said) {
        match self {
            Self::Own { said, .. } => *said = Some(answer),
            Self::Queued(ticket) => ticket.set(Turn::Done(answer)),
        }
    }
}

impl Ticket {
    fn set(&self, turn: Turn) {
        *self.turn.lock() = turn;
        self.owner.unpark();
    }
}

/// What a transaction came to.
enum Came {
    /// All were carried out: what is to be said to each.
    To(Vec<Said>),
    /// Something that one of them wrote failed, and took the others with it.
    Spoiled,
    /// Others held a lock; nothing was done.
    Locked,
    /// Another process keeps changes in memory; it was told that the file is wanted.
    Elsewhere,
}

impl SqliteStore {
    /// Carries out a plan, together with those of others.
    pub(super) fn carry_out(&self, plan: &Plan, now: Timestamp) -> Said {
        // What has been spent already is not refused because a file is in use.
        let patient = plan.takes.is_empty() && plan.picks.is_empty();
        let deadline = (!patient).then(|| Instant::now() + self.base.patience);
        let ticket = {
            let mut line = self.queue.0.lock();
            if line.led {
                let (owner, turn) = (thread::current(), Mutex::new(Turn::Wait));
                let ticket = Arc::new(Ticket { plan: plan.clone(), now, deadline, owner, turn });
                line.waiting.push_back(Arc::clone(&ticket));
                Some(ticket)
            } else {
                line.led = true;
                None
            }
        };
        if let Some(said) = ticket.and_then(|ticket| self.wait(&ticket)) {
            return said;
        }
        self.lead(plan, now, deadline)
    }

    /// Waits for an answer; `None` when it is this caller's turn to lead.
    fn wait(&self, ticket: &Arc<Ticket>) -> Option<Said> {
        loop {
            match std::mem::replace(&mut *ticket.turn.lock(), Turn::Wait) {
                Turn::Done(said) => return Some(said),
                Turn::Lead => return None,
                Turn::Wait => {}
            }
            let Some(deadline) = ticket.deadline else {
                thread::park();
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let mut line = self.queue.0.lock();
                let place = line.waiting.iter().position(|other| Arc::ptr_eq(other, ticket));
                if let Some(place) = place {
                    line.waiting.remove(place);
                    return Some(Err(locked()));
                }
                drop(line);
                // It is being carried out: whoever does it will say so.
                thread::park_timeout(Duration::from_millis(100));
            } else {
                thread::park_timeout(left);
            }
        }
    }

    fn lead(&self, plan: &Plan, now: Timestamp, deadline: Option<Instant>) -> Said {
        let mut said = None;
        let mut lead = Lead {
            store: self,
            batch: vec![Member::Own { plan, now, deadline, said: &mut said }],
            later: Vec::new(),
            handed_on: false,
        };
        lead.run();
        drop(lead);
        said.unwrap_or_else(|| Err(locked()))
    }
}

/// The lead, which is handed on however it ends.
struct Lead<'a> {
    store: &'a SqliteStore,
    batch: Vec<Member<'a>>,
    /// Those of a spoiled transaction whose turn alone is still to come, the next one last.
    later: Vec<Member<'a>>,
    handed_on: bool,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.hand_on();
        for member in self.batch.drain(..).chain(self.later.drain(..)) {
            member.answer(Err(StoreError::unknown("the thread that carried out the plan came to an end")));
        }
    }
}

impl Lead<'_> {
    fn run(&mut self) {
        let store = self.store;
        // Something long may hold the writer, such as a vacuum.
        let writer = match self.batch.first().and_then(Member::deadline) {
            None => Some(store.base.writer.lock()),
            Some(deadline) => store.base.writer.try_lock_until(deadline),
        };
        let Some(mut writer) = writer else { return self.finish(|_| Err(locked())) };
        let mut tries = 0;
        loop {
            match begin(&mut writer, self.patience_ends()) {
                Ok(true) => {}
                Ok(false) => {
                    self.dismiss_the_late();
                    if self.batch.is_empty() {
                        return;
                    }
                    nap(tries, Duration::MAX);
                    tries += 1;
                    continue;
                }
                Err(error) => return self.finish(|_| Err(error.clone())),
            }
            self.fill();
            match carry_out(store, &mut writer, &self.batch) {
                Came::To(said) => {
                    drop(writer);
                    self.hand_on();
                    let mut said = said.into_iter();
                    return self.finish(|_| said.next().unwrap_or_else(|| Err(locked())));
                }
                Came::Spoiled => return self.one_by_one(&mut writer),
                Came::Locked => self.dismiss_the_late(),
                Came::Elsewhere => {
                    self.dismiss_the_late();
                    if !self.batch.is_empty() {
                        nap(tries, Duration::MAX);
                        tries += 1;
                    }
                }
            }
            if self.batch.is_empty() {
                return;
            }
        }
    }

    /// When the first of the batch runs out of patience, or when to look again.
    fn patience_ends(&self) -> Instant {
        let later = Instant::now() + Duration::from_secs(1);
        self.batch.iter().filter_map(Member::deadline).min().map_or(later, |first| first.min(later))
    }

    fn dismiss_the_late(&mut self) {
        let now = Instant::now();
        let late = |member: &Member<'_>| member.deadline().is_some_and(|deadline| deadline <= now);
        let (late, batch) = std::mem::take(&mut self.batch).into_iter().partition(late);
        self.batch = batch;
        late.into_iter().for_each(|member: Member<'_>| member.answer(Err(locked())));
    }

    /// Takes on those who have queued.
    fn fill(&mut self) {
        let mut line = self.store.queue.0.lock();
        let room = MOST.saturating_sub(self.batch.len()).min(line.waiting.len());
        self.batch.extend(line.waiting.drain(..room).map(Member::Queued));
    }

    fn hand_on(&mut self) {
        if std::mem::replace(&mut self.handed_on, true) {
            return;
        }
        let mut line = self.store.queue.0.lock();
        match line.waiting.pop_front() {
            Some(next) => next.set(Turn::Lead),
            None => line.led = false,
        }
    }

    /// Answers all.
    fn finish(&mut self, mut said: impl FnMut(usize) -> Said) {
        for (place, member) in std::mem::take(&mut self.batch).into_iter().enumerate() {
            member.answer(said(place));
        }
    }

    /// Carries out each plan in a transaction of its own, so that what failed fails alone.
    fn one_by_one(&mut self, writer: &mut Writer) {
        self.later = std::mem::take(&mut self.batch);
        self.later.reverse();
        while let Some(member) = self.later.pop() {
            self.batch.push(member);
            let mut tries = 0;
            while !self.batch.is_empty() {
                match begin(writer, self.patience_ends()) {
                    Ok(true) => match carry_out(self.store, writer, &self.batch) {
                        Came::To(said) => {
                            let mut said = said.into_iter();
                            self.finish(|_| said.next().unwrap_or_else(|| Err(locked())));
                        }
                        Came::Spoiled | Came::Locked => self.dismiss_the_late(),
                        Came::Elsewhere => {
                            self.dismiss_the_late();
                            nap(tries, Duration::MAX);
                            tries += 1;
                        }
                    },
                    Ok(false) => {
                        self.dismiss_the_late();
                        nap(tries, Duration::MAX);
                        tries += 1;
                    }
                    Err(error) => self.finish(|_| Err(error.clone())),
                }
            }
        }
    }
}

/// Begins a transaction that may write; `false` if others held the file until the deadline.
pub(super) fn begin(writer: &mut Writer, deadline: Instant) -> Result<bool, StoreError> {
    patient_until(deadline);
    writer.roll_back();
    let mut statement = writer.db.prepare_cached("BEGIN IMMEDIATE").map_err(trouble)?;
    match statement.execute([]) {
        Ok(_) => Ok(true),
        Err(error) if is_busy(&error) => Ok(false),
        Err(error) => Err(trouble(error)),
    }
}

/// Decides the plans one after the other inside a transaction that has begun, and ends it.
fn carry_out(store: &SqliteStore, writer: &mut Writer, batch: &[Member<'_>]) -> Came {
    let (base, began) = (&*store.base, Instant::now());
    let mut tables = base.tables(&writer.db);
    let mut said = Vec::with_capacity(batch.len());
    match tables.enter() {
        Ok(Access::Theirs) => {
            drop(tables);
            // Where this is not written down, it is the next time.
            let _ = writer.commit();
            return Came::Elsewhere;
        }
        Ok(Access::Ours) => {
            let mut desk = base.early.desk.lock();
            let ops = batch.iter().map(|member| member.plan().0).flat_map(|plan| [&plan.op, &plan.hold]);
            ops.flatten().for_each(|op| desk.is_old(op));
        }
        Ok(Access::Free) => {}
        Err(error) => {
            let (left, busy) = (tables.leave(began), tables.was_busy());
            drop(tables);
            base.abandon(writer, left);
            return if busy { Came::Locked } else { Came::To(batch.iter().map(|_| Err(error.clone())).collect()) };
        }
    }
    let mut spoiled = false;
    for member in batch {
        let (plan, now) = member.plan();
        tables.horizon = plan.horizon;
        let before = tables.saves;
        let answer = transact(&mut tables, plan, now);
        // Whatever is not carried out must not leave anything behind.
        let saved = answer.as_ref().is_ok_and(Verdict::is_saved);
        spoiled = tables.saves != before && !saved || tables.is_torn();
        said.push(answer);
        if spoiled || tables.was_busy() {
            break;
        }
    }
    if !spoiled && !tables.was_busy() && tables.saves > 0 {
        let now = batch.first().map_or(Timestamp::MIN, |member| member.plan().1);
        let finished = tables.finish().and_then(|()| writer.chores.some(&mut tables, now, batch.len()));
        if let Err(error) = finished {
            spoiled = true;
            said.truncate(batch.len().saturating_sub(1));
            said.push(Err(error));
        }
    }
    let busy = tables.was_busy();
    let mut left = tables.leave(began);
    drop(tables);
    if busy || spoiled {
        base.abandon(writer, left);
        return match said.pop() {
            _ if busy => Came::Locked,
            Some(alone) if batch.len() == 1 => Came::To(vec![alone]),
            _ => Came::Spoiled,
        };
    }
    left.expires = said.iter().filter_map(expires).min().unwrap_or(Timestamp::MAX);
    match base.close(writer, left) {
        Ok(true) => Came::To(said),
        Ok(false) => Came::Locked,
        Err(error) => {
            let unknown = |said: Said| match said {
                Ok(verdict) if verdict.is_saved() => Err(error.clone()),
                other => other,
            };
            Came::To(said.into_iter().map(unknown).collect())
        }
    }
}

/// When what was held with this ends by itself.
fn expires(said: &Said) -> Option<Timestamp> {
    match said {
        Ok(Verdict::Granted(grant)) => grant.expires,
        _ => None,
    }
}
