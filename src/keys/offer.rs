//! What a pool puts into a plan, what it reads of a store, and what it makes of a verdict.

use super::Inner;
use super::limits::share;
use super::search::{Facts, Look};
use crate::account::MeterId;
use crate::error::Error;
use crate::id::KeyId;
use crate::plan::{Alternative, Blocked, Firm, Grant, Plan, Ready, Taken};
use crate::pool::{Block, Cause, Choice, Health, Source};
use crate::time::{Length, Timestamp, When};

impl Inner {
    /// How many models are remembered of which it was read with which keys they are blocked.
    const MODELS: usize = 1_024;

    /// What was never read: the keys of a pool that is new in this process, or a model that is.
    pub(super) fn unread(&self, facts: &Facts<'_>) -> Result<Option<Look>, Error> {
        let is_new = |model: &&str| self.models.len() < Self::MODELS && !self.models.contains(*model);
        let (all, model) = (self.looked.is_none(), facts.model.filter(is_new));
        if self.keys.is_empty() || (!all && model.is_none()) {
            return Ok(None);
        }
        let mut of = Vec::new();
        for entry in self.keys.values() {
            if all {
                of.push((entry.key.id().clone(), false, entry.subject.clone()));
            }
            if let Some(model) = model {
                of.push((entry.key.id().clone(), true, entry.with_model(model)?));
            }
        }
        Ok(Some(Look { of, all, model: model.map(Into::into) }))
    }

    /// The accounts of all keys, and of those that are blocked with the model.
    pub(super) fn all(&self, facts: &Facts<'_>) -> Result<Look, Error> {
        let mut of = Vec::new();
        for (id, entry) in &self.keys {
            of.push((id.clone(), false, entry.subject.clone()));
            if let Some(model) = facts.model.filter(|model| self.is_known_with(id, model)) {
                of.push((id.clone(), true, entry.with_model(model)?));
            }
        }
        Ok(Look { of, all: true, model: None })
    }

    pub(super) fn may_look(&self, every: Option<Length>, now: Timestamp) -> bool {
        let last = self.looked.zip(every);
        !self.keys.is_empty() && last.is_none_or(|(last, every)| now >= last.saturating_add(every))
    }

    /// The alternatives of a choice, with their accounts named in the plan.
    pub(super) fn offer(
        &self,
        choice: &Choice,
        facts: &Facts<'_>,
        firm: Firm,
        plan: &mut Plan,
        now: Timestamp,
    ) -> Result<Vec<Alternative>, Error> {
        let probe = self.roster.probe();
        let mut alternatives = Vec::with_capacity(choice.ids().len());
        for id in choice.ids() {
            let entry = self.entry(id)?;
            let account = plan.place(entry.subject.clone())?;
            let mut alternative = Alternative { key: Some(id.clone()), ..Alternative::default() };
            alternative.ready.push(Ready { account, probe, firm });
            if let Some(model) = facts.model.filter(|model| self.is_known_with(id, model)) {
                let account = plan.place(entry.with_model(model)?)?;
                alternative.ready.push(Ready { account, probe, firm });
            }
            alternative.takes = self.takes(entry, facts, plan, now)?;
            alternatives.push(alternative);
        }
        Ok(alternatives)
    }

    /// Notes how much of its own limits a key has left.
    pub(super) fn note_room(&mut self, id: &KeyId, alternative: Option<&Alternative>, grant: &Grant, now: Timestamp) {
        let takes = alternative.map_or(&[][..], |alternative| &alternative.takes);
        let left = takes.iter().filter_map(|take| {
            let is_it = |taken: &&Taken| (taken.account, taken.meter) == (take.account, take.rule.meter);
            let taken = grant.taken.iter().find(is_it)?;
            Some((share(taken.remaining, take.rule.cap)?, taken.window_end.unwrap_or(Timestamp::MAX)))
        });
        if let Some((share, until)) = left.max() {
            self.roster.used(id, share, until, now);
        }
    }

    /// Notes what stood in the way of a key.
    pub(super) fn stood(
        &mut self,
        id: &KeyId,
        way: &[Blocked],
        alternative: &Alternative,
        model: Option<&str>,
        now: Timestamp,
    ) {
        let key = alternative.ready.first().map(|ready| ready.account);
        let mut full: Option<When> = None;
        for blocked in way {
            let when = blocked.short.when;
            if blocked.meter != MeterId::HEALTH {
                full = Some(full.map_or(when, |full| full.and(when)));
            } else if Some(blocked.account) == key {
                self.roster.blocked(id, when, now);
            } else if let Some(model) = model {
                let known = self.roster.health_with(id, model).and_then(|health| health.block);
                let cause = known.map_or(Cause::ModelRefused, |block| block.cause);
                let block = Block { cause, until: when.instant().unwrap_or(Timestamp::MAX), source: Source::Stated };
                self.roster.learn_with(id, model, &Health { block: Some(block), ..Health::default() });
            }
        }
        if full.is_some() {
            self.roster.full(id, full, now);
        }
    }
}
