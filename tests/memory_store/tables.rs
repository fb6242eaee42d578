//! The store of the documentation's worked example, which forgets what the memory store says it forgets.

use std::collections::{BTreeMap, HashMap};

use keyward::account::{Account, Part, Row};
use keyward::plan::{Answer, Due, LimitRecord, Plan, State, Verdict};
use keyward::store::{Counters, Transaction, transact};
use keyward::{LimitId, OpId, StoreError, Subject, Timestamp};

#[derive(Clone, Default)]
pub(crate) struct Tables {
    pub(crate) accounts: BTreeMap<Subject, Account>,
    pub(crate) parts: BTreeMap<(OpId, Subject, u16), Part>,
    pub(crate) answers: HashMap<OpId, Answer>,
    pub(crate) limits: BTreeMap<LimitId, LimitRecord>,
    pub(crate) rows: Vec<Row>,
    pub(crate) counters: Counters,
}

impl Transaction for Tables {
    fn account(&mut self, of: &Subject) -> Result<Account, StoreError> {
        Ok(self.accounts.get(of).cloned().unwrap_or_default())
    }
    fn due(&mut self, of: &Subject, now: Timestamp) -> Result<Due, StoreError> {
        Ok(Due::first(self.parts.values().filter(|part| part.account == *of), now))
    }
    fn parts(&mut self, of: &OpId) -> Result<Vec<Part>, StoreError> {
        Ok(self.parts.values().filter(|part| part.op == *of).cloned().collect())
    }
    fn answer(&mut self, to: &OpId) -> Result<Option<Answer>, StoreError> {
        Ok(self.answers.get(to).cloned())
    }
    fn limit(&mut self, of: &LimitId) -> Result<Option<LimitRecord>, StoreError> {
        Ok(self.limits.get(of).cloned())
    }
    fn counters(&mut self) -> Result<Counters, StoreError> {
        Ok(self.counters)
    }
    fn save(&mut self, state: &State) -> Result<(), StoreError> {
        let changes = &state.changes;
        for gone in &changes.forgotten {
            self.accounts.remove(gone);
            self.parts.values_mut().filter(|part| part.account == *gone).for_each(|part| part.forget(changes.at));
        }
        self.accounts.extend(state.changed().map(|it| (it.subject.clone(), it.account.clone())));
        self.parts
            .extend(changes.parts.iter().map(|it| ((it.op.clone(), it.account.clone(), it.sequence), it.clone())));
        self.parts.retain(|(op, ..), part| part.is_open() || op.began().is_none());
        let answer = changes.answer.iter().filter(|answer| answer.op.began().is_none());
        self.answers.extend(answer.map(|it| (it.op.clone(), it.clone())));
        self.limits.extend(changes.limits.iter().map(|it| (it.limit.clone(), it.clone())));
        self.rows.extend(changes.rows.iter().cloned());
        self.counters = state.counters;
        Ok(())
    }
}

impl Tables {
    pub(crate) fn apply(&mut self, plan: &Plan, now: Timestamp) -> Verdict {
        let mut copy = self.clone();
        let verdict = transact(&mut copy, plan, now).unwrap();
        if verdict.is_saved() {
            *self = copy;
        }
        verdict
    }
}
