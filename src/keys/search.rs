//! The search for a key that a call can go out with, step by step, for whoever drives it.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Chosen, OnExhausted, Pool};
use crate::account::{Account, Counter, MeterId};
use crate::error::Error;
use crate::id::{KeyId, OpId, Subject};
use crate::plan::{Alternative, Blocked, Firm, Pick, Plan, Verdict};
use crate::pool::{Choice, Health, Key, Session};
use crate::time::{Timestamp, When};
use crate::usage::Usage;

/// What a call says of itself, as far as a pool asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The model that it asks for.
    pub model: Option<&'a str>,
    /// The session that it belongs to.
    pub session: Option<Session<'a>>,
    /// What it will use at most, for keys with limits of their own.
    pub estimate: Option<&'a Usage>,
    /// Its dimensions, for keys' limits that go by more than the key; `model` is one of them anyway.
    pub dimensions: &'a [(&'a str, &'a str)],
    /// Keys that it has tried already, and will not be given again.
    pub except: &'a [KeyId],
}

/// The search for one call's key. It goes through the pool, and through its fallbacks in their order.
///
/// A driver asks [`Search::pick`] what to do, does it, and asks again until something is chosen, or nothing is left:
///
/// ```
/// use keyward::keys::{Facts, Learned, Pool, Way};
/// use keyward::plan::Plan;
/// use keyward::{MemoryStore, OpId, Store, Timestamp};
///
/// let (store, now) = (MemoryStore::new(), Timestamp::EPOCH);
/// let pool = Pool::builder("openai").text("sk-one-11111").build()?;
/// let mut search = pool.search(Facts::default());
/// let chosen = loop {
///     let mut plan = Plan::new(now).of(OpId::at(now, 1));
///     match search.pick(&mut plan, now)? {
///         Way::Proposed(proposal) => {
///             let verdict = store.apply(&plan, now)?;
///             match search.learn(proposal, &plan, &verdict, now) {
///                 Learned::Chosen(chosen) => break Some(chosen),
///                 Learned::Again => {}
///                 Learned::Refused => break None,
///             }
///         }
///         Way::Look(look) => {
///             let states: Vec<_> = look.subjects().map(|of| store.account(of)).collect::<Result<_, _>>()?;
///             search.know(look, states, now)?;
///         }
///         Way::Exhausted(_) => break None,
///     }
/// };
/// assert!(chosen.is_some());
/// # Ok::<(), keyward::Error>(())
/// ```
///
/// What a plan reports is booked by the first plan that is applied, also if that is denied, and is left out of the next;
/// where the pool is exhausted before any was, it is applied without a pick. A replay of an operation that was carried out
/// before is answered by the place that was picked then, among the keys that were proposed then: a driver whose operations
/// are a host's own keeps which key that was, or finds it in the context of the operation's parts.
#[derive(Debug)]
#[must_use]
pub struct Search<'a> {
    facts: Facts<'a>,
    first: Pool,
    pool: Pool,
    /// Whether the states of the pool's keys were read for this call.
    looked: bool,
    /// Whether those of them that had no room were asked once more, all in one step.
    asked: bool,
    /// Whether keys that cool will do.
    anyway: bool,
    soonest: Option<(KeyId, When)>,
    rate_limited: bool,
    rounds: u32,
    /// Whether keys were proposed of which none would do.
    failed: bool,
    end: Option<Exhausted>,
}

/// How often keys of one pool are proposed for one call after their states were read: where others take the room in
/// between again and again, that ends somewhere.
const ROUNDS: u32 = 64;

/// How many keys are proposed at first: most calls go out with the first, and each that is named costs a store a look. When
/// none of them will do, it is eight at a time.
const FEW: usize = 3;

/// What to do next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most ways are the large one")]
#[must_use]
pub enum Way {
    /// The plan now has a pick: apply it, and let the search learn the verdict.
    Proposed(Proposal),
    /// Read the accounts of these keys, and let the search know them. Nothing was added to the plan.
    Look(Look),
    /// No key can be used.
    Exhausted(Exhausted),
}

/// Keys that were put into a plan.
#[derive(Debug)]
#[must_use]
pub struct Proposal {
    choice: Choice,
    keys: SmallVec<[Arc<Key>; 8]>,
    /// Which of the plan's picks it is.
    pick: usize,
}

/// Accounts to be read.
#[derive(Debug)]
#[must_use]
pub struct Look {
    /// Which key, whether with the call's model, and where that is kept.
    pub(super) of: Vec<(KeyId, bool, Subject)>,
    /// Whether these are all keys.
    pub(super) all: bool,
    /// The model of which nothing was read before.
    pub(super) model: Option<Box<str>>,
}

impl Look {
    /// Whose accounts, in the order in which [`Search::know`] takes them.
    #[must_use]
    pub fn subjects(&self) -> impl ExactSizeIterator<Item = &Subject> {
        self.of.iter().map(|(_, _, subject)| subject)
    }
}

/// What a verdict means for a search.
#[derive(Debug)]
#[must_use]
pub enum Learned {
    /// The call goes out with this key.
    Chosen(Chosen),
    /// None of the keys would do, and nothing else stood in the way: plan again.
    Again,
    /// Something else stood in the way: the verdict says what.
    Refused,
}

/// No key can be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
#[must_use]
pub struct Exhausted {
    /// The pool that was asked.
    pub pool: String,
    /// The earliest instant at which some key can be used, of this pool or of its fallbacks.
    pub when: When,
    /// Which key that is, if there is one.
    pub key: Option<KeyId>,
    /// Until when to wait and then ask again, where the pool has calls wait.
    pub wait: Option<Timestamp>,
    /// Whether rates stand in the way of every key, and nothing worse.
    pub rate_limited: bool,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no key of pool {} can be used now", self.pool)?;
        match (&self.key, self.when) {
            (Some(key), When::At(at)) => write!(f, "; {key} can at {at}"),
            (Some(key), When::WhenFreed { latest }) => {
                write!(f, "; {key} can when a call ends, at the latest {latest}")
            }
            _ => f.write_str(", and time alone will not help"),
        }
    }
}

impl Pool {
    /// Looks for a key for a call.
    pub fn search<'a>(&self, facts: Facts<'a>) -> Search<'a> {
        Search {
            facts,
            first: self.clone(),
            pool: self.clone(),
            looked: false,
            asked: false,
            anyway: false,
            soonest: None,
            rate_limited: true,
            rounds: 0,
            failed: false,
            end: None,
        }
    }
}

impl Pool {
    /// Keys that were proposed are not used after all.
    pub(super) fn unused(&self, proposal: Proposal, now: Timestamp) {
        self.0.inner.lock().roster.unused(proposal.choice, now);
    }
}

impl Search<'_> {
    /// What to do next. If keys are proposed, the plan has one more pick, and names their accounts; it needs an operation
    /// for which it holds. A plan that holds no longer for a store's clock is made anew, after [`Search::learn`] has seen the
    /// verdict.
    ///
    /// # Errors
    /// A key's limit that no store has adopted, or that the call lacks a dimension or an estimate for.
    pub fn pick(&mut self, plan: &mut Plan, now: Timestamp) -> Result<Way, Error> {
        if let Some(end) = &self.end {
            return Ok(Way::Exhausted(end.clone()));
        }
        loop {
            let pool = self.pool.clone();
            let mut inner = pool.0.inner.lock();
            inner.now = inner.now.max(now);
            if let Some(look) = inner.unread(&self.facts)? {
                return Ok(Way::Look(look));
            }
            let wanted = self.facts.wanted();
            let mut choice = match self.anyway {
                true => inner.roster.choose_anyway(&wanted, now),
                false => inner.roster.choose(&wanted, now),
            };
            if choice.is_empty() && self.looked && !self.asked {
                // What was read key by key may have changed in between; what a store decides on all of them has not.
                self.asked = true;
                choice = inner.roster.choose_aside(&wanted, now);
            }
            if !self.failed && !self.asked && !self.anyway {
                choice.shorten(FEW);
            }
            self.rounds += 1;
            if !choice.is_empty() && self.rounds <= ROUNDS {
                let firm = if self.anyway { Firm::Soft } else { Firm::Hard };
                return match inner.offer(&choice, &self.facts, firm, plan, now) {
                    Ok(alternatives) => {
                        plan.picks.push(Pick { alternatives });
                        let keys =
                            choice.ids().filter_map(|id| inner.keys.get(id)).map(|entry| entry.key.clone()).collect();
                        Ok(Way::Proposed(Proposal { choice, keys, pick: plan.picks.len() - 1 }))
                    }
                    Err(error) => {
                        inner.roster.unused(choice, now);
                        Err(error)
                    }
                };
            }
            inner.roster.unused(choice, now);
            if !self.looked && !self.anyway && inner.may_look(pool.0.look_every, now) {
                return Ok(Way::Look(inner.all(&self.facts)?));
            }
            if !self.anyway {
                self.rate_limited &= inner.roster.is_rate_limited(now);
                let soonest = inner.roster.soonest(&wanted, now).map(|(key, when)| (key.clone(), when));
                self.soonest = match (self.soonest.take(), soonest) {
                    (Some(one), Some(other)) => Some(if one.1.or(other.1) == one.1 { one } else { other }),
                    (one, other) => one.or(other),
                };
            }
            drop(inner);
            if !self.go_on() {
                let exhausted = self.exhausted(now);
                self.end = Some(exhausted.clone());
                return Ok(Way::Exhausted(exhausted));
            }
        }
    }

    /// The pool whose keys were proposed last.
    pub(super) const fn asked(&self) -> &Pool {
        &self.pool
    }

    /// Turns to the next pool; after the last, to the first of those whose keys are given out although they cool.
    fn go_on(&mut self) -> bool {
        let mut next = self.pool.fallback().cloned();
        if !self.anyway && next.is_none() {
            self.anyway = true;
            next = Some(self.first.clone());
        }
        while let Some(pool) = next {
            if !self.anyway || pool.0.exhausted == OnExhausted::BestEffort {
                (self.pool, self.looked, self.asked, self.rounds) = (pool, false, self.anyway, 0);
                return true;
            }
            next = pool.fallback().cloned();
        }
        false
    }

    fn exhausted(&self, now: Timestamp) -> Exhausted {
        let (key, when) = self.soonest.clone().map_or((None, When::Never), |(key, when)| (Some(key), when));
        let wait = match self.first.0.exhausted {
            OnExhausted::Wait(most) => when.instant().filter(|at| *at <= now.saturating_add(most)),
            _ => None,
        };
        let (pool, rate_limited) = (self.first.name().to_owned(), self.rate_limited && key.is_some());
        Exhausted { pool, when, key, wait, rate_limited }
    }

    /// Takes over what was read, in the order of [`Look::subjects`].
    ///
    /// # Errors
    /// A key's limit that the call lacks a dimension or an estimate for.
    pub fn know(
        &mut self,
        look: Look,
        accounts: impl IntoIterator<Item = Option<Account>>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut inner = self.pool.0.inner.lock();
        if look.all {
            (self.looked, self.rounds) = (true, 0);
            inner.looked = Some(now);
        }
        inner.models.extend(look.model);
        for ((key, with_model, _), account) in look.of.into_iter().zip(accounts) {
            let account = account.unwrap_or_default();
            let health = match account.meter(MeterId::HEALTH).map(|meter| &meter.counter) {
                Some(Counter::Health(health)) => Health::clone(health),
                _ => Health::default(),
            };
            match self.facts.model.filter(|_| with_model) {
                Some(model) => inner.roster.learn_with(&key, model, &health),
                None => {
                    inner.roster.learn(&key, &health, now);
                    let Ok(entry) = inner.entry(&key).cloned() else { continue };
                    if entry.limits.iter().all(|(id, _)| inner.term(id).is_some()) {
                        let when = inner.room(&entry, &account, &self.facts, now)?;
                        inner.roster.full(&key, when, now);
                    }
                }
            }
        }
        Ok(())
    }

    /// Learns what became of a proposal. `plan` is the one that was applied.
    pub fn learn(&mut self, proposal: Proposal, plan: &Plan, verdict: &Verdict, now: Timestamp) -> Learned {
        let Proposal { choice, keys, pick } = proposal;
        let alternatives = plan.picks.get(pick).map_or(&[][..], |pick| &pick.alternatives);
        let pool = self.pool.clone();
        let mut inner = pool.0.inner.lock();
        match verdict {
            Verdict::Granted(grant) => {
                let at = grant.picked.get(pick).map_or(0, |at| usize::from(*at));
                let op = plan.hold.as_ref().or(plan.op.as_ref());
                // A plan without an operation has not been granted a key.
                let Some(op) = op.cloned() else { return Learned::Refused };
                let is_it = |key: &&Arc<Key>| grant.key.as_ref().is_none_or(|picked| picked == key.id());
                let Some(key) = keys.get(at).filter(is_it).cloned() else {
                    // An answer that was given before names a key that need not be among these.
                    inner.roster.unused(choice, now);
                    drop(inner);
                    return grant.key.as_ref().map_or(Learned::Refused, |key| self.given_before(key, op));
                };
                // Whoever was removed meanwhile is used all the same this once.
                if let Some(id) = inner.roster.took(choice, at, &op, now) {
                    inner.note_room(&id, alternatives.get(at), grant, now);
                }
                Learned::Chosen(Chosen { pool: pool.clone(), key, op, best_effort: self.anyway })
            }
            Verdict::Denied(denial) => {
                let failed = denial.picks.iter().find(|ways| are_of(ways, alternatives));
                let only = denial.blocked.is_empty() && denial.picks.len() == 1;
                inner.roster.unused(choice, now);
                self.failed |= failed.is_some();
                let Some(ways) = failed else { return Learned::Refused };
                for ((key, way), alternative) in keys.iter().zip(ways).zip(alternatives) {
                    inner.stood(key.id(), way, alternative, self.facts.model, now);
                }
                // Where keys are given out although they cool, what stands in the way is as good as told.
                if only && !self.anyway {
                    Learned::Again
                } else if only {
                    self.give_up()
                } else {
                    Learned::Refused
                }
            }
            _ => {
                inner.roster.unused(choice, now);
                Learned::Refused
            }
        }
    }

    /// The key that an operation was given before, if a pool of the chain still has it.
    fn given_before(&self, key: &KeyId, op: OpId) -> Learned {
        let mut next = Some(self.first.clone());
        while let Some(pool) = next {
            let found = pool.0.inner.lock().keys.get(key).map(|entry| entry.key.clone());
            if let Some(key) = found {
                return Learned::Chosen(Chosen { pool, key, op, best_effort: false });
            }
            next = pool.fallback().cloned();
        }
        Learned::Refused
    }

    /// Nothing of this pool will do.
    const fn give_up(&mut self) -> Learned {
        self.rounds = ROUNDS;
        Learned::Again
    }
}

/// Whether these are the ways of this pick: each has something in the way that only its alternative asks for.
fn are_of(ways: &[Vec<Blocked>], alternatives: &[Alternative]) -> bool {
    let is_of = |way: &Vec<Blocked>, alternative: &Alternative| {
        way.iter().all(|blocked| {
            alternative.ready.iter().any(|ready| ready.account == blocked.account && blocked.meter == MeterId::HEALTH)
                || alternative
                    .takes
                    .iter()
                    .any(|take| (take.account, take.rule.meter) == (blocked.account, blocked.meter))
        })
    };
    ways.len() == alternatives.len() && ways.iter().zip(alternatives).all(|(way, alternative)| is_of(way, alternative))
}
