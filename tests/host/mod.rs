//! What a host does with limits: it holds for a call before it goes out, and settles it afterwards.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use keyward::account::{Act, Context, MeterId};
use keyward::budgets;
use keyward::plan::{Adopt, Denial, Grant, Plan, Report, Used, Verdict};
use keyward::store::{Store, apply_at, verify};
use keyward::terms::{Term, Terms};
use keyward::{Amount, KeyId, Limit, OpId, Subject, Timestamp, Usage};

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds).unwrap()
}

pub fn units(n: i64) -> Amount {
    Amount::from_i64(n).unwrap()
}

pub fn host(id: &str) -> OpId {
    OpId::host(id).unwrap()
}

pub fn subject(dimension: &str, value: &str) -> Subject {
    Subject::of([(dimension, value)]).unwrap()
}

/// A store, and the limits that apply to every call.
pub struct Host<S> {
    pub store: S,
    pub terms: Terms,
}

impl<S: Store> Host<S> {
    #[track_caller]
    pub fn new(store: S, limits: impl IntoIterator<Item = Limit>, second: i64) -> Self {
        let terms = Terms::adopt(&store, limits, Adopt::Start, at(second)).unwrap();
        Self { store, terms }
    }

    /// Another set of limits over the same store.
    #[track_caller]
    pub fn edit(&mut self, limits: impl IntoIterator<Item = Limit>, second: i64) {
        self.terms = Terms::adopt(&self.store, limits, Adopt::Change, at(second)).unwrap();
    }

    #[track_caller]
    pub fn term(&self, place: usize) -> &Term {
        self.terms.iter().nth(place).unwrap()
    }

    /// The plan by which a call is held for.
    #[track_caller]
    pub fn plan(&self, op: &OpId, call: &[(&str, &str)], estimate: &Usage, now: Timestamp) -> Plan {
        let value = |name: &str| call.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let mut plan = budgets::ask_plan(&self.terms, value, estimate, budgets::no_own, now).unwrap();
        plan.takes.iter_mut().for_each(|take| take.act = Act::Hold);
        let id = |name: &str| value(name).map(|value| value.parse::<KeyId>().unwrap());
        plan.context = Some(Arc::new(Context {
            subject: Subject::of(call.iter().copied()).unwrap(),
            tags: Vec::new(),
            client: id("key"),
            key: id("upstream"),
            estimate: estimate.clone(),
        }));
        plan.of(op.clone())
    }

    #[track_caller]
    pub fn acquire(&self, op: &str, call: &[(&str, &str)], estimate: &Usage, second: i64) -> Verdict {
        apply_at(&self.store, at(second), |now| Ok(self.plan(&host(op), call, estimate, now))).unwrap().0
    }

    #[track_caller]
    pub fn hold(&self, op: &str, call: &[(&str, &str)], estimate: &Usage, second: i64) -> Grant {
        match self.acquire(op, call, estimate, second) {
            Verdict::Granted(grant) => grant,
            other => panic!("not granted: {other:?}"),
        }
    }

    #[track_caller]
    pub fn refused(&self, op: &str, call: &[(&str, &str)], estimate: &Usage, second: i64) -> Denial {
        match self.acquire(op, call, estimate, second) {
            Verdict::Denied(denial) => denial,
            other => panic!("not denied: {other:?}"),
        }
    }

    /// The plan by which a call is settled at what it used.
    pub fn settle_plan(&self, op: &OpId, usage: &Usage, now: Timestamp) -> Plan {
        let of_one = |term: &Term| Some((term.meter(), term.limit().used(usage).unwrap()?));
        let actual = self.terms.iter().filter_map(of_one).collect();
        let mut plan = Plan::new(now).of(op.clone()).report(Report::Settle { account: None, actual });
        plan.used = Some(Used { usage: usage.clone(), outcome: None });
        plan
    }

    pub fn try_settle(&self, op: &str, usage: &Usage, second: i64) -> Verdict {
        self.store.apply(&self.settle_plan(&host(op), usage, at(second)), at(second)).unwrap()
    }

    #[track_caller]
    pub fn settle(&self, op: &str, usage: &Usage, second: i64) {
        let _ = self.settled(op, usage, second);
    }

    #[track_caller]
    pub fn settled(&self, op: &str, usage: &Usage, second: i64) -> Verdict {
        match self.try_settle(op, usage, second) {
            verdict @ Verdict::Granted(_) => verdict,
            other => panic!("not settled: {other:?}"),
        }
    }

    /// A call from its beginning to its end.
    #[track_caller]
    pub fn call(&self, op: &str, call: &[(&str, &str)], usage: &Usage, second: i64) {
        self.hold(op, call, usage, second);
        self.settle(op, usage, second);
    }

    #[track_caller]
    pub fn release(&self, op: &str, second: i64) {
        let plan = Plan::new(at(second)).of(host(op)).report(Report::Release { account: None });
        assert!(matches!(self.store.apply(&plan, at(second)).unwrap(), Verdict::Granted(_)));
    }

    /// Spent and held.
    #[track_caller]
    pub fn count(&self, of: &Subject, meter: MeterId, second: i64) -> (i64, i64) {
        let account = self.store.account(of).unwrap().unwrap_or_default();
        account.meter(meter).map_or((0, 0), |meter| (meter.spent(at(second)).get(), meter.held().get()))
    }

    #[track_caller]
    pub fn is_proved(&self, second: i64) {
        assert_eq!(verify(&self.store, at(second)).unwrap(), []);
    }
}
