//! The search for an upstream key, in the plan of the call that it is for.

use super::denial::Denial;
use super::force::{Asked, Force};
use super::hold::Hold;
use super::permit::From;
use super::{Keeper, TRIES, lost};
use crate::account::Act;
use crate::error::Error;
use crate::id::KeyId;
use crate::keys::{Chosen, Exhausted, Facts, Learned, Pool, Way};
use crate::plan::{Grant, Plan, Verdict};
use crate::pool::Session;
use crate::store::Store;
use crate::time::Timestamp;

/// What became of a search.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
enum Found {
    Chosen(Plan, Grant, Chosen, Timestamp),
    Denied(Plan, crate::plan::Denial),
    Exhausted(Exhausted),
}

/// A key, with the plan that was granted; or why there is none.
type Picked<T> = Result<T, Box<Denial>>;

pub(super) fn facts<'a>(asked: &Asked<'a>, dimensions: &'a [(&'a str, &'a str)], except: &'a [KeyId]) -> Facts<'a> {
    let client = asked.client.map(|client| client.id.as_str()).or_else(|| asked.call.dimension("key"));
    Facts {
        model: asked.call.dimension("model"),
        session: asked.call.asked_session().map(|name| Session { client: client.unwrap_or_default(), name }),
        estimate: Some(asked.estimate),
        dimensions,
        except,
    }
}

impl<S: Store> Keeper<S> {
    /// A key for a call, held in one step with all else that it asks for.
    pub(super) fn pick(
        &self,
        pool: &Pool,
        force: &Force,
        asked: &Asked<'_>,
        now: Timestamp,
    ) -> Result<Picked<(Plan, Grant, Chosen, Timestamp)>, Error> {
        let pairs: Vec<(&str, &str)> = asked.call.pairs().collect();
        let facts = facts(asked, &pairs, &[]);
        let found =
            self.search(pool, facts, now, |now, _| force.plan(asked, now), |plan, now| force.route(asked, plan, now))?;
        Ok(match found {
            Found::Chosen(plan, grant, chosen, at) => Ok((plan, grant, chosen, at)),
            Found::Denied(plan, denial) => Err(Box::new(Denial::limits(force.terms(), &plan, &denial))),
            Found::Exhausted(exhausted) => Err(Box::new(Denial::pool(exhausted))),
        })
    }

    /// Another key for a call under way, after what is said of the one that failed.
    pub(super) fn pick_again(
        &self,
        from: &From,
        hold: &Hold,
        tried: &[KeyId],
        reports: &dyn Fn(&mut Plan, Timestamp) -> Result<(), Error>,
        now: Timestamp,
    ) -> Result<Picked<(Plan, Grant, Chosen)>, Error> {
        let From { pool, call, client, estimate } = from;
        let asked =
            Asked { call, client: client.as_deref(), op: &hold.op, act: Act::Hold, said: call.estimated(), estimate };
        let pairs: Vec<(&str, &str)> = call.pairs().collect();
        let facts = facts(&asked, &pairs, tried);
        // What is said of the failed key is booked by the first plan that is carried out or denied, and once.
        let make = |now, booked| {
            let mut plan = hold.leave(now);
            if booked {
                plan.reports.clear();
            } else {
                reports(&mut plan, now)?;
            }
            Ok(plan)
        };
        Ok(match self.search(pool, facts, now, make, |plan, now| hold.force.route(&asked, plan, now))? {
            Found::Chosen(plan, grant, chosen, _) => Ok((plan, grant, chosen)),
            Found::Denied(plan, denial) => Err(Box::new(Denial::limits(hold.force.terms(), &plan, &denial))),
            Found::Exhausted(exhausted) => Err(Box::new(Denial::pool(exhausted))),
        })
    }

    /// Goes through the keys of a pool, and of its fallbacks. `make` makes the plan without the pick, and is told whether
    /// what it reports was booked before; `route` adds to the pick.
    fn search(
        &self,
        pool: &Pool,
        facts: Facts<'_>,
        now: Timestamp,
        make: impl Fn(Timestamp, bool) -> Result<Plan, Error>,
        route: impl Fn(&mut Plan, Timestamp) -> Result<(), Error>,
    ) -> Result<Found, Error> {
        let mut next = Some(pool);
        while let Some(pool) = next {
            pool.adopt(self.store(), now)?;
            next = pool.fallback();
        }
        let (mut search, mut at, mut stale, mut booked) = (pool.search(facts), now, 0, false);
        loop {
            let mut plan = make(at, booked)?;
            let proposal = match search.pick(&mut plan, at)? {
                Way::Proposed(proposal) => proposal,
                Way::Look(look) => {
                    let states = look.subjects().map(|of| self.store().account(of)).collect::<Result<Vec<_>, _>>()?;
                    search.know(look, states, at)?;
                    continue;
                }
                Way::Exhausted(exhausted) => {
                    if !booked && !plan.reports.is_empty() {
                        let _ = crate::store::apply_at(self.store(), at, |at| make(at, false))?;
                    }
                    return Ok(Found::Exhausted(exhausted));
                }
            };
            let verdict = match route(&mut plan, at).and_then(|()| Ok(self.store().apply(&plan, at)?)) {
                Ok(verdict) => verdict,
                Err(error) => {
                    let _ = search.learn(proposal, &plan, &Verdict::More, at);
                    return Err(error);
                }
            };
            booked |= verdict.is_saved();
            match (search.learn(proposal, &plan, &verdict, at), verdict) {
                (Learned::Chosen(chosen), Verdict::Granted(grant)) => {
                    return Ok(Found::Chosen(plan, grant, chosen, at));
                }
                (Learned::Again, _) => {}
                (_, Verdict::Denied(denial)) => return Ok(Found::Denied(plan, denial)),
                (_, Verdict::Stale { now }) if stale < TRIES => (at, stale) = (now, stale + 1),
                (_, Verdict::Granted(grant)) => {
                    let key = grant.key.map_or_else(String::new, |key| key.to_string());
                    return Err(Error::invalid("call.pool", pool.name(), format!("the pool that still has key {key}")));
                }
                (_, verdict) => return Err(verdict.error(plan.op.as_ref()).unwrap_or_else(|| lost(at))),
            }
        }
    }
}
