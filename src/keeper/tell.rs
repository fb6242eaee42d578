//! What an observer is told, once a verb has its answer and holds no lock.

use std::time::Instant;

use super::force::Force;
use super::held::Held;
use super::hold::{Booked, Settled};
use super::shared::Shared;
use super::{Decision, Denial};
use crate::error::Error;
use crate::id::{KeyId, OpId};
use crate::keys::{Chosen, Pool};
use crate::observe::{Event, Overage, WaitEnd};
use crate::pool::Standing;
use crate::store::AsyncStore;
use crate::time::Timestamp;
use crate::usage::Class;

/// The key that an attempt went out with, kept for an observer.
pub(super) struct Tried {
    pool: Pool,
    key: KeyId,
}

impl<T: AsyncStore> Shared<T> {
    #[inline]
    pub(super) fn tell_granted(&self, held: &Held<T>) {
        if self.told.is_any() {
            let (op, drawn) = (held.op(), held.drawn());
            let (pool, key) = (drawn.as_ref().map(|it| it.pool.name()), drawn.as_ref().map(|it| &it.key));
            self.told.tell(|| Event::Granted { op: &op, pool, key });
        }
    }

    /// Tells of what was denied after a wait.
    pub(super) fn tell_in_the_end<P>(&self, decided: &Result<Decision<P>, Error>) {
        if let Ok(Decision::Denied(denial)) = decided {
            self.tell_denied(denial);
        }
    }

    /// Tells that a call has left its line.
    pub(super) fn tell_waited<P>(&self, since: Option<Instant>, decided: &Result<Decision<P>, Error>) {
        let Some(since) = since else { return };
        let end = match decided {
            Ok(Decision::Granted(_)) => WaitEnd::Served,
            Ok(Decision::Denied(_)) => WaitEnd::Denied,
            Err(_) => WaitEnd::Failed,
        };
        self.told.tell(|| Event::Waited { end, waited: since.elapsed() });
    }
}

impl<T> Shared<T> {
    pub(super) fn tell_denied(&self, denial: &Denial) {
        self.told.tell(|| Event::Denied {
            cause: denial.cause(),
            limits: &denial.blockers,
            pool: denial.exhausted.as_ref().map(|exhausted| exhausted.pool.as_str()),
            when: denial.when,
        });
    }

    pub(super) fn tell_swept(&self, holds: usize) {
        if holds > 0 {
            self.told.tell(|| Event::Swept { holds });
        }
    }

    /// Tells what a call has used, unless that was booked before.
    pub(super) fn tell_settled(&self, op: Option<&OpId>, class: Class, settled: &Settled, force: &Force) {
        let Some(op) = op.filter(|_| self.told.is_any() && !settled.already) else { return };
        let over = settled.booked.iter().filter(|booked| !booked.overage().is_zero());
        let over: Vec<Overage> = over.map(|booked| overage(booked, force)).collect();
        self.told.tell(|| Event::Settled { op, class, cost: settled.cost, over: &over });
    }

    pub(super) fn tell_released(&self, op: Option<&OpId>, class: Class) {
        if let Some(op) = op {
            self.told.tell(|| Event::Released { op, class });
        }
    }

    /// The key of an attempt that ends, if anybody wants to hear of it.
    pub(super) fn tried(&self, chosen: Option<&Chosen>) -> Option<Tried> {
        chosen.filter(|_| self.told.is_any()).map(Tried::of)
    }

    /// Tells of a key that cannot be used after what was said of it.
    pub(super) fn tell_key(&self, tried: Option<&Tried>, model: Option<&str>, class: Class, now: Timestamp) {
        let Some(Tried { pool, key }) = tried else { return };
        self.tell_out(pool, key, class, pool.standing_here(key, model, now));
    }

    pub(super) fn tell_out(&self, pool: &Pool, key: &KeyId, class: Class, standing: Option<Standing>) {
        if class == Class::Success {
            return;
        }
        if let Some(standing @ (Standing::Cooling(_) | Standing::Refused | Standing::Disabled)) = standing {
            self.told.tell(|| Event::KeyOut { pool: pool.name(), key, class, standing });
        }
    }

    /// Tells that a call moved on, or could not.
    pub(super) fn tell_failover(&self, op: &OpId, from: Option<&Tried>, to: Option<&KeyId>, class: Class) {
        if let Some(Tried { pool, key }) = from {
            self.told.tell(|| Event::FailedOver { op, pool: pool.name(), from: key, to, class });
        }
    }
}

impl Tried {
    pub(super) fn of(chosen: &Chosen) -> Self {
        Self { pool: chosen.pool().clone(), key: chosen.key().clone() }
    }
}

fn overage(booked: &Booked, force: &Force) -> Overage {
    let term = booked.limit.as_ref().and_then(|limit| force.terms().get(limit));
    let measure = term.map(|term| term.limit().measure().clone());
    Overage { limit: booked.limit.clone(), measure, by: booked.overage() }
}
