//! The slowest store there is: everything in maps, loaded by looking at all of it. What a store does is held to this.

use std::collections::BTreeMap;

use crate::account::{Account, Part, Row};
use crate::id::{LimitId, OpId, Subject};
use crate::plan::{Answer, Counters, Due, LimitRecord, Loaded, Plan, Report, State, Verdict, decide};
use crate::store::PartKey;
use crate::time::Timestamp;

/// Everything that a store should have.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) accounts: BTreeMap<Subject, Account>,
    pub(super) parts: BTreeMap<PartKey, Part>,
    pub(super) limits: BTreeMap<LimitId, LimitRecord>,
    pub(super) rows: Vec<Row>,
    answers: BTreeMap<OpId, Answer>,
    pub(super) counters: Counters,
}

impl Model {
    /// Loads, decides and saves.
    pub(super) fn apply(&mut self, plan: &Plan, now: Timestamp) -> Verdict {
        let mut state = self.load(plan, now);
        let mut before = None;
        loop {
            let verdict = decide(plan, &mut state, now);
            if verdict == Verdict::More {
                before.get_or_insert_with(|| self.clone());
                self.save(&state);
                state.saved();
                for loaded in state.accounts.iter_mut().filter(|it| it.due.next.is_some_and(|next| next <= now)) {
                    loaded.due = self.due(&loaded.subject, now);
                }
                continue;
            }
            if verdict.is_saved() {
                self.save(&state);
            } else if let Some(before) = before {
                *self = before;
            }
            return verdict;
        }
    }

    /// Ends every part that is due, account by account, and says how many.
    pub(super) fn sweep(&mut self, now: Timestamp) -> usize {
        let mut ended = 0;
        loop {
            let due = self.parts.values().find(|part| part.is_open() && part.expires <= now);
            let Some(account) = due.map(|part| part.account.clone()) else { return ended };
            let open = |model: &Self| model.parts.values().filter(|part| part.is_open()).count();
            let before = open(self);
            let _ = self.apply(&Plan::new(now).named(account), now);
            ended += before - open(self);
        }
    }

    fn load(&self, plan: &Plan, now: Timestamp) -> State {
        let mut state = State::default();
        state.counters = self.counters;
        state.answer = plan.op.as_ref().and_then(|op| self.answers.get(op)).cloned();
        let of_hold = |part: &&Part| plan.hold.as_ref() == Some(&part.op);
        state.parts = self.parts.values().filter(of_hold).cloned().collect();
        let named = plan.accounts.iter().map(|place| &place.subject);
        let mut subjects: Vec<Subject> = named.chain(state.parts.iter().map(|part| &part.account)).cloned().collect();
        let mut place = plan.accounts.len();
        while let Some(subject) = subjects.get(place).cloned() {
            if subjects.iter().take(place).any(|other| *other == subject) {
                subjects.remove(place);
            } else {
                place += 1;
            }
        }
        for subject in subjects {
            let mut loaded = Loaded::new(subject.clone(), self.accounts.get(&subject).cloned().unwrap_or_default());
            if loaded.account.earliest <= now {
                loaded.due = self.due(&subject, now);
            }
            state.accounts.push(loaded);
        }
        for report in &plan.reports {
            if let Report::Adopt { limit, .. } = report {
                if !state.limits.iter().any(|record| record.limit == *limit) {
                    state.limits.extend(self.limits.get(limit).cloned());
                }
            }
        }
        state
    }

    fn due(&self, of: &Subject, now: Timestamp) -> Due {
        Due::first(self.parts.values().filter(|part| part.account == *of), now)
    }

    fn save(&mut self, state: &State) {
        let changes = &state.changes;
        for gone in &changes.forgotten {
            self.accounts.remove(gone);
            self.parts.values_mut().filter(|part| part.account == *gone).for_each(|part| part.forget(changes.at));
        }
        for loaded in state.changed() {
            self.accounts.insert(loaded.subject.clone(), loaded.account.clone());
        }
        for part in &changes.parts {
            self.parts.insert(super::kit::key_of(part), part.clone());
        }
        self.answers.extend(changes.answer.iter().map(|answer| (answer.op.clone(), answer.clone())));
        self.limits.extend(changes.limits.iter().map(|record| (record.limit.clone(), record.clone())));
        self.rows.extend(changes.rows.iter().cloned());
        self.counters = state.counters;
    }
}
