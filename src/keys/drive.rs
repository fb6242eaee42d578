//! The search over a store: the one loop that does what a [`Search`] says.

use super::{Chosen, Exhausted, Facts, Learned, Pool, Proposal, Way};
use crate::error::Error;
use crate::plan::{Adopt, Denial, Grant, Plan, Verdict};
use crate::store::{AsyncStore, Question};
use crate::terms::Terms;
use crate::time::Timestamp;

/// What became of a search.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub(crate) enum Found {
    /// The call goes out with this key. The plan is the one that was granted.
    Chosen(Chosen, Grant),
    /// It does not go out.
    Missed(Missed),
}

/// Why a search has found no key.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub(crate) enum Missed {
    /// Something else than the keys stood in the way. The plan is the one that was denied.
    Denied(Denial),
    /// No key can be used.
    Exhausted(Exhausted),
}

/// Keys that were proposed, of which it is not known yet what became.
struct Proposed<'a> {
    pool: &'a Pool,
    proposal: Option<Proposal>,
    now: Timestamp,
}

impl Drop for Proposed<'_> {
    /// Whoever waits no longer, or was told of an error, uses none of them.
    fn drop(&mut self) {
        if let Some(proposal) = self.proposal.take() {
            self.pool.unused(proposal, self.now);
        }
    }
}

impl Pool {
    /// Tells a store of the limits that its keys have, and those of its fallbacks.
    pub(crate) async fn adopt_all(&self, store: &impl AsyncStore, now: Timestamp) -> Result<(), Error> {
        let mut next = Some(self);
        while let Some(pool) = next {
            pool.adopt_in(store, now).await?;
            next = pool.fallback();
        }
        Ok(())
    }

    pub(crate) async fn adopt_in(&self, store: &impl AsyncStore, now: Timestamp) -> Result<(), Error> {
        let limits = self.unadopted();
        if !limits.is_empty() {
            self.adopted(&Terms::adopt_in(store, limits, Adopt::Start, now).await?);
        }
        Ok(())
    }

    /// Goes through the keys, and those of the fallbacks, until one is taken with the plan or none is left. `make` puts into
    /// an empty plan what is asked beside the key, `route` adds to the pick that is made. What a plan reports is booked once,
    /// whatever becomes of the search.
    pub(crate) async fn seek(
        &self,
        store: &impl AsyncStore,
        facts: Facts<'_>,
        question: &mut Question,
        mut make: impl FnMut(&mut Plan, Timestamp) -> Result<(), Error>,
        route: impl Fn(&mut Plan, Timestamp) -> Result<(), Error>,
    ) -> Result<Found, Error> {
        let Question { plan, moment, .. } = question;
        self.adopt_all(store, moment.at()).await?;
        let (mut search, mut booked) = (self.search(facts), false);
        loop {
            let now = moment.at();
            *plan = Plan::new(now);
            make(plan, now)?;
            if booked {
                plan.reports.clear();
            }
            let (pool, proposal) = match search.pick(plan, now)? {
                Way::Proposed(proposal) => (search.asked().clone(), Some(proposal)),
                Way::Look(look) => {
                    let mut states = Vec::with_capacity(look.subjects().len());
                    for of in look.subjects() {
                        states.push(store.account(of).await?);
                    }
                    search.know(look, states, now)?;
                    continue;
                }
                Way::Exhausted(exhausted) => {
                    if !plan.reports.is_empty() && moment.takes(&store.apply(plan, now).await?, plan)? {
                        continue;
                    }
                    return Ok(Found::Missed(Missed::Exhausted(exhausted)));
                }
            };
            let mut proposed = Proposed { pool: &pool, proposal, now };
            route(plan, now)?;
            let verdict = store.apply(plan, now).await?;
            booked |= verdict.is_saved();
            let Some(proposal) = proposed.proposal.take() else { continue };
            match (search.learn(proposal, plan, &verdict, now), verdict) {
                (Learned::Chosen(chosen), Verdict::Granted(grant)) => return Ok(Found::Chosen(chosen, grant)),
                (Learned::Again, _) => {}
                (_, Verdict::Denied(denial)) => return Ok(Found::Missed(Missed::Denied(denial))),
                (_, Verdict::Granted(grant)) => {
                    let key = grant.key.map_or_else(String::new, |key| key.to_string());
                    return Err(Error::invalid("call.pool", self.name(), format!("the pool that still has key {key}")));
                }
                (_, verdict) => {
                    let _ = moment.takes(&verdict, plan)?;
                }
            }
        }
    }
}
