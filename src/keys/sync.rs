//! A pool over a store that answers at once.

use super::records::health_in;
use super::{Answer, Chosen, Command, Exhausted, Facts, Found, Missed, Pool};
use crate::error::Error;
use crate::id::{KeyId, OpId, Secret};
use crate::plan::{Denial, Grant, Plan, Verdict};
use crate::pool::{Health, Standing};
use crate::store::{Question, Ready, Store, apply_at, block_on};
use crate::time::Timestamp;

/// What became of a call that asked for a key.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
#[must_use]
pub enum Acquired {
    /// It goes out with this key.
    Granted(Chosen),
    /// Something else than the pool's keys stood in the way.
    Denied(Denial),
    /// No key can be used.
    Exhausted(Exhausted),
}

impl Pool {
    /// Tells the store of the limits that its keys have. Said by itself by whatever here is given a store.
    ///
    /// # Errors
    /// What the store says.
    pub fn adopt(&self, store: &(impl Store + ?Sized), now: Timestamp) -> Result<(), Error> {
        block_on(self.adopt_in(&Ready(store), now))
    }

    /// A key for a call, which is held under this operation: see [`Pool::observe`] for its end.
    ///
    /// # Errors
    /// What the store says; a key's limit for which the call lacks a dimension or an estimate.
    pub fn acquire(
        &self,
        store: &(impl Store + ?Sized),
        facts: &Facts<'_>,
        op: &OpId,
        now: Timestamp,
    ) -> Result<Acquired, Error> {
        self.acquire_with(store, facts, now, |now| Ok(Plan::new(now).of(op.clone()))).map(|(acquired, _)| acquired)
    }

    /// A key for a call that asks for more than that: the plan, made for an instant, to which a pick is added.
    ///
    /// # Errors
    /// As [`Pool::acquire`]; what making the plan says; a conflict, or a plan that makes no sense.
    pub fn acquire_with(
        &self,
        store: &(impl Store + ?Sized),
        facts: &Facts<'_>,
        now: Timestamp,
        mut plan: impl FnMut(Timestamp) -> Result<Plan, Error>,
    ) -> Result<(Acquired, Option<Grant>), Error> {
        let mut question = Question::new(now);
        let make = |slot: &mut Plan, now| {
            *slot = plan(now)?;
            Ok(())
        };
        let store = Ready(store);
        let found = self.seek(&store, *facts, &mut question, make, |_, _| Ok(()));
        Ok(match block_on(found)? {
            Found::Chosen(chosen, grant) => (Acquired::Granted(chosen), Some(grant)),
            Found::Missed(Missed::Denied(denial)) => (Acquired::Denied(denial), None),
            Found::Missed(Missed::Exhausted(exhausted)) => (Acquired::Exhausted(exhausted), None),
        })
    }

    /// Tells the store what came back, and ends what the call held, if the answer names its operation: what it used is
    /// settled, a call that was served without saying what it used settles at what it held, and any other gives it back.
    /// Says what the key is now.
    ///
    /// # Errors
    /// What the store says; usage that was settled before as something else.
    pub fn observe(
        &self,
        store: &(impl Store + ?Sized),
        answer: &Answer<'_>,
        now: Timestamp,
    ) -> Result<Standing, Error> {
        let (verdict, _) = apply_at(store, now, |now| self.observe_plan(answer, now))?;
        Ok(Self::observed(&verdict))
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// As [`Pool::command`], and what the store says; the use of a key that was disabled or refused.
    pub fn tell(
        &self,
        store: &(impl Store + ?Sized),
        key: &KeyId,
        command: &Command,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (verdict, now) = apply_at(store, now, |now| self.command(key, command, now))?;
        if matches!(verdict, Verdict::Denied(_)) {
            return Err(Error::invalid("key.id", key, "a key that may be used"));
        }
        if matches!(command, Command::Used(_)) {
            let health = self.stored(store, key)?;
            self.0.inner.lock().roster.learn(key, &health, now);
        }
        Ok(())
    }

    /// Gives a key another secret: its id and its history stay, and what was said of the old secret no longer holds.
    ///
    /// # Errors
    /// As [`Pool::rotation`], and what the store says.
    pub fn rotate(
        &self,
        store: &(impl Store + ?Sized),
        key: &KeyId,
        secret: Secret,
        now: Timestamp,
    ) -> Result<(), Error> {
        apply_at(store, now, |now| self.rotation(key, secret.clone(), now)).map(drop)
    }

    /// What a store knows of a key.
    pub(super) fn stored(&self, store: &(impl Store + ?Sized), key: &KeyId) -> Result<Health, Error> {
        Ok(health_in(store.account(&self.subject(key)?)?.as_ref()))
    }
}
