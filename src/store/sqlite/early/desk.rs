//! What is in memory and not yet in the file, and deciding on it.
//!
//! Accounts come here from the file as plans ask for them, and stay. Of an operation only what was taken here is known
//! here; whether the file knows an operation is asked once, and never of an id of the library's that is younger than all in
//! the file. An account that a durable plan asks for leaves; its parts are told from those of its successor by its life.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::lease::LEASE;
use super::alone::Brief;
use super::taken::Taken;
use crate::account::{Account, Part, Row};
use crate::id::{OpId, Subject};
use crate::plan::{Answer, Counters, Loaded, Plan, Report, State, Verdict, decide};
use crate::store::table::Hash64;
use crate::time::{Length, Timestamp};

/// The most things to write that are kept back.
const MOST: usize = 10_000;

pub(in super::super) struct Desk {
    pub(super) bound: Duration,
    /// Until when the lease is ours beyond doubt, if it is.
    pub(super) held: Option<Instant>,
    /// What was sent to the file by a commit of which nobody knows whether it was made, and the beat that would tell.
    pub(super) unsure: Option<(i64, Taken)>,
    /// The store's own counters, as in the file.
    counters: Counters,
    pub(super) accounts: HashMap<Subject, Kept, Hash64>,
    pub(super) ops: HashMap<OpId, Known, Hash64>,
    pub(super) answers: HashMap<OpId, (Answer, Length), Hash64>,
    pub(super) rows: Vec<Row>,
    pub(super) changed_accounts: Vec<Subject>,
    pub(super) changed_ops: Vec<OpId>,
    /// How much there is to write.
    pub(super) changes: usize,
    /// No younger operation of the library's is in the file.
    mark: Option<OpId>,
    /// Nothing expires before this, as far as the file knew when it was asked, and of what was held since.
    due: Timestamp,
    opened: Timestamp,
    /// Since when there is something to write, and something that is being written.
    pub(super) since: Option<Instant>,
    pub(super) taken_since: Option<Instant>,
    lives: u64,
    used: bool,
    state: State,
    pool: Vec<Account>,
}

/// An account.
pub(super) struct Kept {
    pub(super) account: Account,
    pub(super) life: u64,
    pub(super) changed: bool,
}

impl Kept {
    /// Says whose account has changed, if that is new.
    pub(super) fn change(&mut self, subject: &Subject) -> Option<Subject> {
        if std::mem::replace(&mut self.changed, true) { None } else { Some(subject.clone()) }
    }
}

/// What is known of an operation.
pub(super) enum Known {
    /// It has one part, which is open.
    Alone(Box<Brief>),
    /// All of its parts.
    Parts(Vec<Held>),
}

/// A part of an operation.
pub(super) struct Held {
    pub(super) part: Part,
    /// That of its account.
    pub(super) life: u64,
    pub(super) horizon: Length,
    pub(super) changed: bool,
    /// Whether the file may know of it.
    pub(super) written: bool,
}

impl Known {
    /// Its parts one by one.
    pub(super) fn parts(&mut self, op: &OpId) -> &mut Vec<Held> {
        if let Self::Alone(brief) = self {
            *self = Self::Parts(vec![brief.held(op)]);
        }
        match self {
            Self::Parts(parts) => parts,
            Self::Alone(_) => unreachable!("it was changed just now"),
        }
    }
}

/// What is said to a plan.
#[expect(clippy::large_enum_variant, reason = "it is the large one that matters")]
pub(in super::super) enum Heard {
    Said(Verdict),
    /// Something must be read from the file first.
    Ask,
    /// It is no plan for this place, or there is no time for it.
    No,
}

impl Desk {
    pub(in super::super) fn new(bound: Duration) -> Self {
        let hash = Hash64::new();
        Self {
            bound,
            held: None,
            unsure: None,
            counters: Counters::default(),
            accounts: HashMap::with_hasher(hash.clone()),
            ops: HashMap::with_hasher(hash.clone()),
            answers: HashMap::with_hasher(hash),
            rows: Vec::new(),
            changed_accounts: Vec::new(),
            changed_ops: Vec::new(),
            changes: 0,
            mark: None,
            due: Timestamp::MIN,
            opened: Timestamp::MAX,
            since: None,
            taken_since: None,
            lives: 0,
            used: false,
            state: State::default(),
            pool: Vec::new(),
        }
    }

    /// Begins, with nothing in memory.
    pub(in super::super) fn begin(&mut self, began: Instant, counters: Counters, mark: Option<OpId>, due: Timestamp) {
        self.lose();
        (self.counters, self.mark, self.due, self.used) = (counters, mark, due, true);
        self.renew(began);
    }

    /// The lease was renewed, by a transaction that began then.
    pub(in super::super) fn renew(&mut self, began: Instant) {
        self.held = Some(began + LEASE * 3 / 4);
    }

    pub(in super::super) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether the lease is to be renewed.
    pub(in super::super) fn fades(&self, at: Instant) -> bool {
        self.held.is_some_and(|until| until < at + LEASE / 2)
    }

    pub(in super::super) const fn has_changes(&self) -> bool {
        self.since.is_some() || self.taken_since.is_some() || self.unsure.is_some()
    }

    /// Whether it is time to write, for someone who asks this so often.
    pub(in super::super) fn is_late(&self, at: Instant, tick: Duration) -> bool {
        let late = |since: Instant| at.saturating_duration_since(since) + tick > self.bound / 4 * 3;
        self.since.or(self.taken_since).is_some_and(late) || self.is_half_full() || self.unsure.is_some()
    }

    pub(in super::super) const fn is_half_full(&self) -> bool {
        self.changes >= MOST / 2
    }

    /// Whether it was used since this was asked last.
    pub(in super::super) fn was_used(&mut self) -> bool {
        std::mem::take(&mut self.used)
    }

    /// Lets go of everything: it is in the file, or can never be.
    pub(in super::super) fn lose(&mut self) {
        *self = Self { lives: self.lives, ..Self::new(self.bound) };
    }

    /// Whether plans may be answered before they are written: nothing has waited for too long, nor is there too much.
    fn is_open(&self, at: Instant) -> bool {
        let fresh = |since: Option<Instant>| since.is_none_or(|it| at.saturating_duration_since(it) < self.bound);
        self.held.is_some_and(|until| at < until)
            && self.unsure.is_none()
            && self.changes < MOST
            && fresh(self.taken_since)
            && fresh(self.since)
    }

    /// Whether the file may know this operation.
    pub(super) fn may_be_old(&self, op: &OpId) -> bool {
        op.library().is_none() || self.mark.as_ref().is_some_and(|mark| op <= mark)
    }

    /// The file may know this operation from now on.
    pub(in super::super) fn is_old(&mut self, op: &OpId) {
        if op.library().is_some() && !self.may_be_old(op) {
            self.mark = Some(op.clone());
        }
    }

    /// Decides the plan, if it can be done here. `asked`: the file was asked, and does not know its operations.
    pub(in super::super) fn hear(&mut self, plan: &Plan, now: Timestamp, at: Instant, asked: bool) -> Heard {
        let here = plan.hold.as_ref().filter(|op| self.ops.contains_key(*op));
        // What ends a hold is where the hold is.
        let follows = plan.takes.is_empty() && plan.picks.is_empty() && here.is_some();
        if !(plan.relaxed || follows) || !plan.reports.iter().all(|it| may_be_early(it, here.is_some())) {
            return Heard::No;
        }
        if !self.is_open(at) {
            return Heard::No;
        }
        self.used = true;
        if let Some(verdict) = self.hear_alone(plan, now, at) {
            return Heard::Said(verdict);
        }
        self.pool.extend(self.state.accounts.drain(..).map(|loaded| loaded.account));
        self.state.clear();
        self.state.counters = self.counters;
        let mut all_here = true;
        match (&plan.hold, here) {
            (Some(hold), Some(_)) => {
                if !self.load_parts(hold) {
                    return Heard::No;
                }
            }
            (Some(hold), None) => all_here &= asked || !self.may_be_old(hold),
            (None, _) => {}
        }
        if let Some(op) = plan.op.as_ref() {
            match self.answers.get(op) {
                Some((answer, _)) => self.state.answer = Some(answer.clone()),
                // What is held here under an id of the library's was answered here too.
                None => all_here &= asked || (op.library().is_some() && Some(op) == here) || !self.may_be_old(op),
            }
        }
        for place in &plan.accounts {
            all_here &= self.load_account(&place.subject);
        }
        for part in 0..self.state.parts.len() {
            let Some(subject) = self.state.parts.get(part).map(|part| part.account.clone()) else { break };
            if !self.state.accounts.iter().any(|loaded| loaded.subject == subject) {
                all_here &= self.load_account(&subject);
            }
        }
        if !all_here {
            return Heard::Ask;
        }
        if self.state.accounts.iter().any(|loaded| loaded.account.earliest <= now) {
            return Heard::No;
        }
        let verdict = decide(plan, &mut self.state, now);
        if verdict.is_saved() {
            self.save(plan, at);
        }
        Heard::Said(verdict)
    }

    /// The parts of an operation, unless their accounts have left since.
    fn load_parts(&mut self, op: &OpId) -> bool {
        let Self { ops, accounts, state, .. } = self;
        for held in ops.get_mut(op).map(|known| known.parts(op)).into_iter().flatten() {
            if accounts.get(&held.part.account).is_none_or(|kept| kept.life != held.life) {
                return false;
            }
            state.parts.push(held.part.clone());
        }
        if state.parts.len() > 1 {
            state.parts.sort_unstable_by(|a, b| (&a.account, a.sequence).cmp(&(&b.account, b.sequence)));
        }
        true
    }

    fn load_account(&mut self, subject: &Subject) -> bool {
        let Some(Kept { account: Account { meters, open, earliest, latest }, .. }) = self.accounts.get(subject) else {
            return false;
        };
        let mut account = self.pool.pop().unwrap_or_default();
        account.meters.clone_from(meters);
        (account.open, account.earliest, account.latest) = (*open, *earliest, *latest);
        self.state.accounts.push(Loaded::new(subject.clone(), account));
        true
    }

    /// Whether an account must still be read from the file.
    pub(in super::super) fn lacks(&self, subject: &Subject) -> bool {
        !self.accounts.contains_key(subject)
    }

    /// The accounts that the operation has here.
    pub(in super::super) fn accounts_of(&self, op: &OpId) -> Vec<Subject> {
        match self.ops.get(op) {
            Some(Known::Alone(brief)) => vec![brief.account.clone()],
            Some(Known::Parts(parts)) => parts.iter().map(|held| held.part.account.clone()).collect(),
            None => Vec::new(),
        }
    }

    /// Adds an account as it is in the file.
    pub(in super::super) fn add(&mut self, subject: &Subject, account: Account) {
        self.lives += 1;
        self.accounts.insert(subject.clone(), Kept { account, life: self.lives, changed: false });
    }

    fn save(&mut self, plan: &Plan, at: Instant) {
        let mut state = std::mem::take(&mut self.state);
        for loaded in state.accounts.iter_mut().filter(|loaded| loaded.changed) {
            let Some(kept) = self.accounts.get_mut(&loaded.subject) else { continue };
            std::mem::swap(&mut kept.account, &mut loaded.account);
            let changed = kept.change(&loaded.subject);
            self.changed_account(changed);
        }
        for part in state.changes.parts.drain(..) {
            self.save_part(part, plan.horizon);
        }
        self.changes += state.changes.rows.len();
        self.rows.append(&mut state.changes.rows);
        // An id of the library's is not answered twice here.
        if let Some(answer) = state.changes.answer.take().filter(|answer| answer.op.library().is_none()) {
            self.changes += 1;
            self.answers.insert(answer.op.clone(), (answer, plan.horizon));
        }
        self.state = state;
        self.was_changed(at);
    }

    pub(super) fn was_changed(&mut self, at: Instant) {
        if self.changes > 0 {
            self.since.get_or_insert(at);
        }
    }

    pub(super) fn changed_account(&mut self, subject: Option<Subject>) {
        self.changes += usize::from(subject.is_some());
        self.changed_accounts.extend(subject);
    }

    /// An operation is known from now on.
    pub(super) fn add_op(&mut self, op: &OpId, brief: Brief, expires: Timestamp) {
        self.opened = self.opened.min(expires);
        self.changed_ops.push(op.clone());
        self.changes += 1;
        self.ops.insert(op.clone(), Known::Alone(Box::new(brief)));
    }

    /// An operation of so many parts that began and ended here, under an id of the library's, need not be known to anybody.
    pub(super) fn drop_op(&mut self, op: &OpId, parts: usize) {
        self.changes = self.changes.saturating_sub(parts);
        self.ops.remove(op);
        if self.changed_ops.last() == Some(op) {
            self.changed_ops.pop();
        } else if self.changed_ops.len() > 2 * self.ops.len() + 1_000 {
            let Self { changed_ops, ops, .. } = self;
            changed_ops.retain(|op| ops.contains_key(op));
        }
    }

    fn save_part(&mut self, part: Part, horizon: Length) {
        let life = self.accounts.get(&part.account).map_or(0, |kept| kept.life);
        if part.is_open() {
            self.opened = self.opened.min(part.expires);
        }
        let host = part.op.library().is_none();
        let op = part.op.clone();
        let parts = self.ops.entry(op.clone()).or_insert_with(|| Known::Parts(Vec::new())).parts(&op);
        match parts.iter_mut().find(|held| held.part.is(&part)) {
            Some(held) => {
                (held.part, held.horizon) = (part, horizon);
                if std::mem::replace(&mut held.changed, true) {
                    self.changes = self.changes.saturating_sub(1);
                } else {
                    self.changed_ops.push(op.clone());
                }
            }
            None => {
                self.changed_ops.push(op.clone());
                parts.push(Held { part, life, horizon, changed: true, written: false });
            }
        }
        self.changes += 1;
        if !host && parts.iter().all(|held| !held.written && !held.part.is_open()) {
            let parts = parts.len();
            self.drop_op(&op, parts);
        }
    }

    /// What has changed in the file: the counters, and when the next part expires.
    pub(in super::super) fn told(&mut self, counters: Option<Counters>, expires: Timestamp) {
        self.counters = counters.unwrap_or(self.counters);
        self.due = self.due.min(expires);
    }

    /// Whether nothing can have expired by now.
    pub(in super::super) fn is_before_due(&self, now: Timestamp) -> bool {
        self.is_held() && now < self.due.min(self.opened)
    }

    /// What was held here is being written, and the file is asked what expires next: it [says so](Self::expires) later.
    pub(in super::super) fn asks_for_due(&mut self) {
        self.opened = Timestamp::MAX;
    }

    /// What expires next; `None` if that is not known after all.
    pub(in super::super) fn expires(&mut self, due: Option<Timestamp>) {
        self.due = due.unwrap_or(Timestamp::MIN);
    }

    pub(in super::super) fn knows(&self, op: &OpId) -> bool {
        self.ops.contains_key(op) || self.answers.contains_key(op)
    }
}

/// Whether this may be reported before it is written. `here`: whether the plan's hold is.
fn may_be_early(report: &Report, here: bool) -> bool {
    match report {
        Report::Adopt { .. } | Report::Forget { .. } => false,
        Report::Settle { .. } | Report::Release { .. } | Report::Extend { .. } => here,
        Report::Expire | Report::Raise { .. } | Report::Record { .. } => here,
        Report::Balance { .. } | Report::Reset { .. } | Report::Claim { .. } => true,
        Report::Health { .. } | Report::Note { .. } => true,
    }
}
