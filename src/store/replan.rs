//! Plans for stores with a clock of their own.

use super::{AsyncStore, Ready, Store, block_on};
use crate::error::Error;
use crate::plan::{Plan, Verdict};
use crate::time::Timestamp;

/// How often a store may say that its clock is elsewhere. A clock that jumps each time is one to be told of.
const TRIES: usize = 4;

/// The instant that plans are made for: the caller's, until a store says another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    began: Timestamp,
    at: Timestamp,
    moves: usize,
}

impl Moment {
    pub(crate) const fn new(now: Timestamp) -> Self {
        Self { began: now, at: now, moves: 0 }
    }

    pub(crate) const fn at(&self) -> Timestamp {
        self.at
    }

    /// What a verdict says of it. `true` if the plan did not hold at the store's instant and is to be made again for that
    /// one; `false` if it was granted or denied.
    pub(crate) fn takes(&mut self, verdict: &Verdict, plan: &Plan) -> Result<bool, Error> {
        match verdict {
            Verdict::Granted(_) | Verdict::Denied(_) => return Ok(false),
            Verdict::Stale { now } if self.moves + 1 < TRIES => {
                (self.at, self.moves) = (*now, self.moves + 1);
                return Ok(true);
            }
            Verdict::Stale { now } => self.at = *now,
            _ => {}
        }
        Err(verdict.error(plan.op.as_ref().or(plan.hold.as_ref())).unwrap_or_else(|| {
            let expected = format!("one that agrees with the store's within {TRIES} tries; it began at {}", self.began);
            Error::invalid("clock", self.at, expected)
        }))
    }
}

/// A plan, and what became of it. Both are large, and stay where they are.
pub(crate) struct Question {
    pub(crate) plan: Plan,
    pub(crate) verdict: Verdict,
    pub(crate) moment: Moment,
}

impl Question {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { plan: Plan::new(now), verdict: Verdict::More, moment: Moment::new(now) }
    }

    /// Makes the plan and applies it, and again for the store's own instant where that is another. The verdict is granted or
    /// denied then.
    pub(crate) async fn ask<S: AsyncStore + ?Sized>(
        &mut self,
        store: &S,
        mut fill: impl FnMut(&mut Plan, Timestamp) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            fill(&mut self.plan, self.moment.at())?;
            // Not by `?`, which would move the verdict once more.
            match store.apply(&self.plan, self.moment.at()).await {
                Ok(verdict) => self.verdict = verdict,
                Err(error) => return Err(error.into()),
            }
            if !self.moment.takes(&self.verdict, &self.plan)? {
                return Ok(());
            }
            self.plan = Plan::new(self.moment.at());
        }
    }
}

/// The same of a plan that is made whole.
pub(crate) async fn ask_of<S: AsyncStore + ?Sized>(
    store: &S,
    now: Timestamp,
    mut plan: impl FnMut(Timestamp) -> Result<Plan, Error>,
) -> Result<(Verdict, Timestamp), Error> {
    let mut question = Question::new(now);
    let fill = |slot: &mut Plan, at| {
        *slot = plan(at)?;
        Ok(())
    };
    question.ask(store, fill).await?;
    Ok((question.verdict, question.moment.at()))
}

/// Makes a plan for an instant and applies it. Where the store's own clock says another instant at which the plan does not
/// hold, it is made again for that one. The verdict is granted or denied, and comes with the instant it was planned for.
///
/// ```
/// use keyward::plan::{Plan, Verdict};
/// use keyward::{MemoryStore, Timestamp, store};
///
/// let (verdict, _) = store::apply_at(&MemoryStore::new(), Timestamp::EPOCH, |now| Ok(Plan::new(now)))?;
/// assert!(matches!(verdict, Verdict::Granted(_)));
/// # Ok::<(), keyward::Error>(())
/// ```
///
/// # Errors
/// Whatever making the plan or the store says; a conflict, an operation id that is too old, or a plan that makes no
/// sense.
pub fn apply_at(
    store: &(impl Store + ?Sized),
    now: Timestamp,
    plan: impl FnMut(Timestamp) -> Result<Plan, Error>,
) -> Result<(Verdict, Timestamp), Error> {
    block_on(ask_of(&Ready(store), now, plan))
}
