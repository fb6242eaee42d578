//! What a person does to a key, and what changes in a pool while it is used.

use std::sync::Arc;

use super::{Inner, Pool, UPSTREAM};
use crate::error::Error;
use crate::id::{KeyId, OpId, Secret, Subject};
use crate::limit::Limit;
use crate::plan::{Alternative, Firm, Pick, Plan, Ready, Report};
use crate::pool::{self, Cause, Key, Note, Source, Until};
use crate::time::Timestamp;

/// What a person, or another system, says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Nothing speaks against it any more, with whatever model.
    Clear,
    /// Nothing speaks against it with this model any more.
    ClearWith(String),
    /// It is not to be used until it is enabled, by no process.
    Disable,
    /// It may be used again; what else speaks against it stays.
    Enable,
    /// Its rate is used up until this instant.
    LimitedUntil(Timestamp),
    /// The same, with this model.
    LimitedWith(String, Timestamp),
    /// It is to be left alone until this instant.
    LeaveUntil(Timestamp),
    /// What people call it; `None` takes the name away.
    Name(Option<String>),
    /// It was used by a call that did not come through the pool, under this operation.
    Used(OpId),
}

impl Pool {
    /// The plan by which a store is told of a command, for a driver that applies it by itself; [`Pool::tell`] does both. It is
    /// taken to be carried out here.
    ///
    /// # Errors
    /// A key that the pool does not have; a name or a model that none can be.
    pub fn command(&self, key: &KeyId, command: &Command, now: Timestamp) -> Result<Plan, Error> {
        let inner = &mut *self.0.inner.lock();
        let subject = inner.entry(key)?.subject.clone();
        let limited = |cause, until: Timestamp| pool::Report::Failed {
            began: now,
            cause,
            until: Until::At(until, Source::Stated),
        };
        let mut plan = Plan::new(now).named(subject);
        match command {
            Command::Clear => {
                inner.say(&mut plan, key, None, pool::Report::Clear, now)?;
                let models: Vec<String> = inner.roster.models(key).map(str::to_owned).collect();
                for model in models {
                    inner.say(&mut plan, key, Some(&model), pool::Report::Clear, now)?;
                }
            }
            Command::ClearWith(model) => inner.say(&mut plan, key, Some(model), pool::Report::Clear, now)?,
            Command::Disable => inner.say(&mut plan, key, None, pool::Report::Disable, now)?,
            Command::Enable => {
                inner.say(&mut plan, key, None, pool::Report::Enable, now)?;
                inner.roster.enable(key, true, now);
            }
            Command::LimitedUntil(until) => {
                inner.say(&mut plan, key, None, limited(Cause::RateLimited, *until), now)?;
            }
            Command::LimitedWith(model, until) => {
                inner.say(&mut plan, key, Some(model), limited(Cause::RateLimited, *until), now)?;
            }
            Command::LeaveUntil(until) => inner.say(&mut plan, key, None, limited(Cause::ByHand, *until), now)?,
            Command::Name(name) => {
                if let Some(name) = name {
                    name.parse::<KeyId>().map_err(|error| {
                        Error::invalid("key.name", name, error.expected().unwrap_or_default().to_owned())
                    })?;
                }
                let note = Note { name: Some(name.clone()), ..Note::default() };
                inner.roster.note(key, &note, now);
                plan = plan.report(Report::Note { account: 0, note: Box::new(note) });
            }
            Command::Used(op) => {
                let ready = Ready { account: 0, probe: self.0.cooling.probe, firm: Firm::Soft };
                let mut alternative = Alternative { key: Some(key.clone()), ..Alternative::default() };
                alternative.ready.push(ready);
                plan = plan.under(op.clone()).pick(Pick { alternatives: vec![alternative] });
            }
        }
        Ok(plan)
    }

    /// Adds a key behind all others, with limits of its own; a driver adopts them by [`Pool::unadopted`].
    ///
    /// # Errors
    /// A key that is there already, under its id or another; a key or a limit that none can be. Nothing is changed.
    pub fn add(&self, key: Key, limits: impl IntoIterator<Item = Limit>) -> Result<(), Error> {
        key.check()?;
        let mut inner = self.0.inner.lock();
        inner.is_new_secret(key.secret())?;
        // Its state is read with the next look; until then it is taken for a key never seen.
        inner.looked = None;
        inner.insert(key, limits.into_iter().collect())
    }

    /// Removes a key. Every other key's state stays, and so do its own accounts in the store.
    ///
    /// # Errors
    /// A key that the pool does not have.
    pub fn remove(&self, key: &KeyId) -> Result<(), Error> {
        let mut inner = self.0.inner.lock();
        inner.entry(key)?;
        inner.keys.remove(key);
        inner.roster.remove(key);
        Ok(())
    }

    /// Puts the keys in this order; those that are not named come after, as they were.
    ///
    /// # Errors
    /// A key that is not there, or is named twice. Nothing is changed.
    pub fn reorder(&self, order: &[KeyId]) -> Result<(), Error> {
        let inner = &mut *self.0.inner.lock();
        inner.roster.reorder(order, inner.now)
    }

    /// Replaces what is said about a key: its name, provider, kind, scope, weight, priority, and whether it is switched on.
    /// Its secret, its limits and its state stay.
    ///
    /// # Errors
    /// A key that the pool does not have, or that none can be. Nothing is changed.
    pub fn change(&self, key: Key) -> Result<(), Error> {
        let inner = &mut *self.0.inner.lock();
        let secret = inner.entry(key.id())?.key.secret().clone();
        let key = key.rotated(secret);
        key.check()?;
        inner.roster.change(&key.member(), inner.now)?;
        inner.roster.enable(key.id(), key.is_enabled(), inner.now);
        if let Some(entry) = inner.keys.get_mut(key.id()) {
            entry.key = Arc::new(key);
        }
        Ok(())
    }

    /// Gives a key another secret: its id and its history stay, and what was said of the old secret no longer holds. This is
    /// the plan by which a store is told of that; [`Pool::rotate`] does both.
    ///
    /// # Errors
    /// A key that the pool does not have; a secret that none can be, or that another key has. Nothing is changed.
    pub fn rotation(&self, key: &KeyId, secret: Secret, now: Timestamp) -> Result<Plan, Error> {
        let inner = &mut *self.0.inner.lock();
        let entry = inner.entry(key)?;
        let (rotated, subject) = (Key::clone(&entry.key).rotated(secret), entry.subject.clone());
        rotated.check()?;
        if rotated.secret() != entry.key.secret() {
            inner.is_new_secret(rotated.secret())?;
        }
        if let Some(entry) = inner.keys.get_mut(key) {
            entry.key = Arc::new(rotated);
        }
        let mut plan = Plan::new(now).named(subject);
        inner.say(&mut plan, key, None, pool::Report::Rotate, now)?;
        let models: Vec<String> = inner.roster.models(key).map(str::to_owned).collect();
        for model in models {
            inner.say(&mut plan, key, Some(&model), pool::Report::Rotate, now)?;
        }
        Ok(plan)
    }
}

impl Inner {
    /// Says something of a key, or of a key with a model, in a plan and here.
    fn say(
        &mut self,
        plan: &mut Plan,
        key: &KeyId,
        model: Option<&str>,
        report: pool::Report,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.now = self.now.max(now);
        let subject = match model {
            None => self.subject_of(key)?,
            Some(model) => Subject::of([(UPSTREAM, key.as_str()), ("model", model)])?,
        };
        let account = plan.place(subject)?;
        plan.reports.push(Report::Health { account, report });
        match model {
            None => self.roster.report(key, report, now),
            Some(model) => self.roster.report_with(key, model, report, now),
        }
        Ok(())
    }

    fn is_new_secret(&self, secret: &Secret) -> Result<(), Error> {
        match self.keys.values().find(|entry| entry.key.secret() == secret) {
            Some(known) => {
                Err(Error::invalid("key.secret", secret, format!("a secret that {} has not", known.key.id())))
            }
            None => Ok(()),
        }
    }
}
