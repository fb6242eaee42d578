//! A refusal: a value that a program acts on, and that tells a person what to do.

use std::fmt;

use crate::budgets::{self, Blocker};
use crate::http::{Options, Response};
use crate::id::LimitId;
use crate::keys::{Exhausted, Missed};
use crate::picture::StoreState;
use crate::plan::{self, Plan};
use crate::quota::{Cause, Refusal, Reply, Table};
use crate::terms::Terms;
use crate::time::{Timestamp, When};

/// Why a call may not go out, and when it may.
///
/// Printed, it names every limit in the way with its numbers, and the instant to come back at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Denial {
    /// The gate of the client key that was shut; nothing else was asked then.
    pub gate: Option<Cause>,
    /// Every limit in the way.
    pub blockers: Vec<Blocker>,
    /// The pool that has no key for the call.
    pub exhausted: Option<Exhausted>,
    /// Whether the store could not be asked, and some limit refuses then.
    pub store_down: bool,
    /// Whether the clock has jumped ahead, and a hard limit of money concerns the call: see
    /// [`Builder::refuse_after_jump`](super::Builder::refuse_after_jump).
    pub clock_jumped: bool,
    /// Whether it was decided in this process alone, on shares of the limits, since the store could not be asked.
    pub is_local: bool,
    /// How many calls waited before it, where the time that it could wait was over before its turn had come. Zero otherwise.
    pub behind: usize,
    /// The earliest instant at which all of it would pass, if nothing else happened.
    pub when: When,
}

impl Denial {
    const fn nothing() -> Self {
        Self {
            gate: None,
            blockers: Vec::new(),
            exhausted: None,
            store_down: false,
            clock_jumped: false,
            is_local: false,
            behind: 0,
            when: When::Never,
        }
    }

    pub(super) fn gate(cause: Cause) -> Self {
        Self { gate: Some(cause), ..Self::nothing() }
    }

    /// What a store said of a plan, in the words of its limits: those that refill know when by the dates of their zones.
    pub(super) fn limits(terms: &Terms, plan: &Plan, denial: &plan::Denial) -> Self {
        let blockers = budgets::explain(terms, plan, denial);
        let together = blockers.iter().map(|blocker| blocker.refusal.when).reduce(When::and);
        // Of the ways of a pick one is enough.
        let when = together.filter(|_| denial.picks.is_empty()).unwrap_or(denial.when);
        Self { blockers, when, ..Self::nothing() }
    }

    /// Why a search has found no key.
    pub(super) fn missed(terms: &Terms, plan: &Plan, missed: Missed) -> Self {
        match missed {
            Missed::Denied(denial) => Self::limits(terms, plan, &denial),
            Missed::Exhausted(exhausted) => {
                Self { when: exhausted.when, exhausted: Some(exhausted), ..Self::nothing() }
            }
        }
    }

    /// It would pass, but for those who wait before it.
    pub(super) fn after(others: usize, now: Timestamp) -> Self {
        Self { behind: others, when: When::At(now), ..Self::nothing() }
    }

    pub(super) fn down(state: StoreState) -> Self {
        let when = match state {
            StoreState::Down { until } => When::At(until),
            StoreState::Up => When::Never,
        };
        Self { store_down: true, when, ..Self::nothing() }
    }

    pub(super) fn clock() -> Self {
        Self { clock_jumped: true, ..Self::nothing() }
    }

    /// What is named first of all that stood in the way.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let first = self.refusals().into_iter().min_by_key(Refusal::order);
        // There is no denial without a reason.
        first.map_or(Cause::Rate, |refusal| refusal.cause)
    }

    /// The instant to come back at, if there is one.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Timestamp> {
        match self.when {
            When::At(at) | When::WhenFreed { latest: at } => Some(at),
            When::Never => None,
        }
    }

    /// The first limit in the way, if it was one.
    #[must_use]
    pub fn limit(&self) -> Option<&LimitId> {
        self.blockers.first().map(|blocker| &blocker.limit)
    }

    /// Everything that stood in the way, as [`Table`] takes it.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        let gate = self.gate.map(Refusal::new);
        let store = self.store_down.then(|| Refusal::new(Cause::Store).until(self.when));
        let clock = self.clock_jumped.then(|| Refusal::new(Cause::Clock));
        let pool = self.exhausted.iter().map(|pool| {
            Refusal::new(if pool.rate_limited { Cause::PoolLimited } else { Cause::PoolDown }).until(pool.when)
        });
        let limits = self.blockers.iter().map(|blocker| blocker.refusal.clone());
        let line = (self.behind > 0).then(|| Refusal::new(Cause::Rate).until(self.when));
        gate.into_iter().chain(store).chain(clock).chain(limits).chain(pool).chain(line).collect()
    }

    /// The whole answer over HTTP: status, headers and body.
    ///
    /// ```
    /// use keyward::http::Options;
    /// use keyward::{Call, Keeper, Limit, Timestamp};
    /// let keeper = Keeper::builder().limit(Limit::requests(0).per_minute()).build()?;
    /// let denial = keeper.acquire(&Call::new())?.denied().expect("none pass");
    /// assert_eq!(denial.response(&Options::default(), Timestamp::EPOCH).status, 429);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn response(&self, options: &Options, now: Timestamp) -> Response {
        options.denied(&self.refusals(), &self.blockers, now)
    }

    /// What it is over HTTP: the status, the code, and the seconds of `Retry-After`.
    #[must_use]
    pub fn reply(&self, table: &Table, now: Timestamp) -> Reply {
        let known = table.reply(&self.refusals(), now);
        // There is no denial without a reason.
        known.unwrap_or_else(|| {
            let answer = table.answer(&Refusal::new(Cause::Rate));
            Reply { cause: Cause::Rate, status: answer.status, code: answer.code, retry_after: None }
        })
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.gate.map(|cause| cause.to_string()));
        words.extend(self.store_down.then(|| Cause::Store.to_string()));
        words.extend(self.clock_jumped.then(|| Cause::Clock.to_string()));
        words.extend(self.blockers.iter().map(ToString::to_string));
        words.extend(self.exhausted.as_ref().map(ToString::to_string));
        words.extend((self.behind > 0).then(|| format!("{} calls wait before it", self.behind)));
        f.write_str("refused: ")?;
        f.write_str(&words.join("; "))?;
        match self.when {
            When::At(at) => write!(f, "; come back at {at}"),
            When::WhenFreed { latest } => write!(f, "; come back when a call has ended, or at {latest}"),
            When::Never if self.gate.is_some() || self.store_down || self.clock_jumped => Ok(()),
            When::Never => f.write_str("; waiting will not help"),
        }
    }
}
