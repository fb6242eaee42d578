//! What would become of a call, and why: an `acquire` that is rehearsed, and changes nothing.

use super::rehearse::Rehearsed;
use crate::account::{Account, Act};
use crate::amount::{Amount, Cap, Measure, Usd};
use crate::budgets::standing;
use crate::error::{Error, StoreError};
use crate::id::{KeyId, KeySuffix, LimitId, Subject};
use crate::keeper::Call;
use crate::keeper::denial::Denial;
use crate::keeper::force::{self, Asked, Force};
use crate::keeper::shared::Shared;
use crate::keeper::verbs::facts;
use crate::keys::{Found, Pool, health_in};
use crate::limit::{Compiled, Own};
use crate::plan::{Firm, Plan, Take, Verdict};
use crate::pool::Why;
use crate::price::Entry;
use crate::quota::Cause;
use crate::store::{AsyncStore, Question};
use crate::system::OpIds;
use crate::time::{Timestamp, When};

/// The most keys that are explained that a call would not come to.
const OTHERS: usize = 1_000;
/// How many holds that are over are ended at a time.
const MANY: usize = 1_000;

/// What would become of a call, and why. Printed, it tells a person; as data it goes through serde.
///
/// It is worked out on copies of what [`Keeper::acquire`](super::super::Keeper::acquire) goes by, in one moment: what else
/// happens meanwhile may change the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
#[must_use]
pub struct Explanation {
    /// When it was worked out.
    pub at: Timestamp,
    /// What the gates of the client key said.
    pub gate: GateCheck,
    /// What the call would cost at most, and how that is known.
    pub price: PriceUsed,
    /// Every limit that concerns the call whatever key it goes out with.
    pub limits: Vec<LimitCheck>,
    /// The keys of its pool and of the pool's fallbacks: those that it would come to, in their order, then others.
    pub keys: Vec<KeyCheck>,
    /// Whether the store could not be asked, so that it would be decided in this process alone, or not at all; the limits are
    /// not told apart then.
    pub is_local: bool,
    /// Why it would be refused; `None` if it would not be.
    pub denial: Option<Denial>,
}

/// What the gates of a client key said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum GateCheck {
    /// The call shows no secret, and is asked for none.
    None,
    /// It is let in.
    Open {
        /// Whose key it is made with.
        client: KeyId,
    },
    /// It is let in, and sent to another pool than its own.
    Elsewhere {
        /// Whose key it is made with.
        client: KeyId,
        /// The pool.
        pool: String,
    },
    /// It is not let in, and nothing else was asked.
    Shut(Cause),
}

/// What a call would cost at most.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PriceUsed {
    /// So much; `None` where nobody knows.
    pub usd: Option<Usd>,
    /// The price that it was worked out by; `None` if the call states it, or nobody knows.
    pub entry: Option<Entry>,
}

/// How a limit stands to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LimitCheck {
    /// The limit.
    pub limit: LimitId,
    /// Whose account.
    pub subject: Subject,
    /// The limit in words.
    pub words: String,
    /// What it measures.
    pub measure: Measure,
    /// Whether it refuses.
    pub firm: Firm,
    /// How much the call needs of it.
    pub need: Amount,
    /// How much is spent. A balance has spent nothing.
    pub have: Amount,
    /// How much is held for calls under way.
    pub held: Amount,
    /// What it allows; for a balance what is there, holds included.
    pub cap: Cap,
    /// When its window ends, if it does.
    pub window_end: Option<Timestamp>,
    /// Whether the call passes it; a soft limit lets it pass all the same.
    pub passes: bool,
    /// When it would, if it does not.
    pub when: Option<When>,
}

/// How an upstream key stands to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyCheck {
    /// Its pool.
    pub pool: String,
    /// The key.
    pub key: KeyId,
    /// Its last characters, for people.
    pub suffix: KeySuffix,
    /// What people call it.
    pub name: Option<String>,
    /// In which place it would be asked, from 1; `None` if the call would not come to it.
    pub place: Option<usize>,
    /// Whether the call would go out with it.
    pub taken: bool,
    /// What speaks against it besides its limits; `None` if nothing does.
    pub why: Option<Why>,
    /// Its own limits, and those that go by the route, if it would be asked.
    pub limits: Vec<LimitCheck>,
}

impl Explanation {
    /// Whether the call would pass.
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.denial.is_none()
    }

    /// The key that it would go out with, if it would go out with one.
    #[must_use]
    pub fn key(&self) -> Option<&KeyId> {
        self.keys.iter().find(|key| key.taken).map(|key| &key.key)
    }
}

impl<T: AsyncStore> Shared<T> {
    pub(super) async fn explain(&self, call: &Call) -> Result<Explanation, Error> {
        let (now, force) = (self.now(), self.force());
        let mut told = Explanation {
            at: now,
            gate: GateCheck::None,
            price: PriceUsed { usd: None, entry: None },
            limits: Vec::new(),
            keys: Vec::new(),
            is_local: false,
            denial: None,
        };
        let caller = match self.gate(call, now)? {
            Ok(caller) => caller,
            Err(cause) => {
                (told.gate, told.denial) = (GateCheck::Shut(cause), Some(Denial::gate(cause)));
                return Ok(told);
            }
        };
        if let Some(client) = &caller.client {
            let client = client.id.clone();
            told.gate = match caller.elsewhere() {
                None => GateCheck::Open { client },
                Some(pool) => GateCheck::Elsewhere { client, pool: pool.to_owned() },
            };
        }
        let op = OpIds::new().next(now);
        let estimate = force::estimate(&force, call, now)?;
        told.price = PriceUsed { usd: estimate.usd, entry: force.priced_by(call, now) };
        let asked = caller.asks(call, &op, Act::Hold, [call.estimated(), &estimate]);
        let pool = caller.pool(call).map(|name| force.pool(name)).transpose()?;
        let rehearsal = Rehearsal { store: &self.store, force: &force, asked: &asked, now };
        match rehearsal.run(&mut told, pool).await {
            Err(error) if error.store().is_some_and(StoreError::is_unavailable) => {
                told.limits.clear();
                told.is_local = true;
                told.denial = self.peek_here(&force, &asked, &caller, now)?;
            }
            done => done?,
        }
        if self.is_refused_by_clock(&force, &asked)? {
            told.denial = Some(Denial::clock());
            told.keys.iter_mut().for_each(|key| key.taken = false);
        }
        Ok(told)
    }
}

/// A call that is asked for on copies of what it would change.
struct Rehearsal<'a, T> {
    store: &'a T,
    force: &'a Force,
    asked: &'a Asked<'a>,
    now: Timestamp,
}

impl<T: AsyncStore> Rehearsal<'_, T> {
    async fn run(&self, told: &mut Explanation, pool: Option<&Pool>) -> Result<(), Error> {
        while self.store.sweep(self.now, MANY).await? >= MANY {}
        let mut plan = Plan::new(self.now);
        self.plan(&mut plan, self.now)?;
        for take in &plan.takes {
            told.limits.extend(self.check(&plan, take).await?);
        }
        let (store, mut question) = (Rehearsed::on(self.store), Question::new(self.now));
        let Some(pool) = pool else {
            question.ask(&store, |plan, now| self.plan(plan, now)).await?;
            if let Verdict::Denied(denial) = &question.verdict {
                told.denial = Some(Denial::limits(self.force.terms(), &question.plan, denial));
            }
            return Ok(());
        };
        pool.adopt_all(self.store, self.now).await?;
        // The search goes through copies: whatever it learns and counts is forgotten with them.
        let copy = pool.rehearsed();
        let pairs: Vec<(&str, &str)> = self.asked.call.pairs().collect();
        let facts = facts(self.asked, &pairs, &[]);
        let found = copy.seek(
            &store,
            facts,
            &mut question,
            |plan, now| self.plan(plan, now),
            |plan, now| self.force.route(self.asked, plan, now),
        );
        let taken = match found.await? {
            Found::Chosen(chosen, _) => Some(chosen.key().clone()),
            Found::Missed(missed) => {
                told.denial = Some(Denial::missed(self.force.terms(), &question.plan, missed));
                None
            }
        };
        for (plan, verdict) in store.asked() {
            self.check_keys(told, &copy, &plan, &verdict).await?;
        }
        for key in &mut told.keys {
            key.taken = Some(&key.key) == taken.as_ref();
        }
        for pool in chain(&copy) {
            for one in pool.explain(&facts, self.now) {
                let is_new = !told.keys.iter().any(|known| known.key == one.key && known.pool == pool.name());
                if is_new && told.keys.len() < OTHERS {
                    // That it is proposed next is said of a search that has ended.
                    let why = if matches!(one.why, Why::Proposed(_)) { Why::ComesLater } else { one.why };
                    told.keys.extend(key_check(pool, &one.key, None, Some(why))?);
                }
            }
        }
        Ok(())
    }

    /// What the call asks of limits that do not go by its route.
    fn plan(&self, plan: &mut Plan, now: Timestamp) -> Result<(), Error> {
        self.force.plan(self.asked, plan, now)?;
        plan.op = None;
        Ok(())
    }

    /// The keys that the call came to in one plan.
    async fn check_keys(
        &self,
        told: &mut Explanation,
        first: &Pool,
        plan: &Plan,
        verdict: &Verdict,
    ) -> Result<(), Error> {
        let last = match verdict {
            Verdict::Granted(grant) => grant.picked.last().map_or(usize::MAX, |at| usize::from(*at)),
            _ => usize::MAX,
        };
        let ways = plan.picks.last().map_or(&[][..], |pick| &pick.alternatives);
        for way in ways.iter().take(last.saturating_add(1)) {
            let Some(key) = &way.key else { continue };
            // One that is asked again later keeps its first place.
            if told.keys.iter().any(|known| known.key == *key) {
                continue;
            }
            let Some(pool) = chain(first).find(|pool| pool.key(key).is_some()) else { continue };
            let mut why = None;
            for (place, ready) in way.ready.iter().enumerate() {
                let health = health_in(self.account_at(plan, ready.account).await?.as_ref());
                if why.is_none() && health.ready(self.now).is_err() {
                    let standing = health.standing(self.now);
                    why = Some(if place == 0 { Why::Standing(standing) } else { Why::WithModel(standing) });
                }
            }
            let Some(mut check) = key_check(pool, key, Some(told.keys.len() + 1), why)? else { continue };
            for take in &way.takes {
                check.limits.extend(self.check(plan, take).await?);
            }
            told.keys.push(check);
        }
        Ok(())
    }

    /// How one limit of a plan stands, asked alone.
    async fn check(&self, plan: &Plan, take: &Take) -> Result<Option<LimitCheck>, Error> {
        let of_pools = || self.force.pools.iter().flat_map(Pool::terms).find(|term| term.meter() == take.rule.meter);
        let (term, own) = match self.force.terms().of(take.rule.meter) {
            Some(term) => (term.clone(), self.asked.own(term)),
            None => match of_pools() {
                Some(term) => (term, Own::default()),
                None => return Ok(None),
            },
        };
        let Some(subject) = plan.accounts.get(usize::from(take.account)).map(|place| &place.subject) else {
            return Ok(None);
        };
        let alone = Plan { takes: [*take].into_iter().collect(), picks: Vec::new(), ..plan.clone() };
        let verdict = Rehearsed::on(self.store).apply(&alone, self.now).await?;
        let account = self.account_at(plan, take.account).await?;
        let own = Own { cap: Some(take.rule.cap), ..own };
        let status = standing(&term, subject, account.as_ref(), Some(&own), self.now).status;
        let mut check = LimitCheck {
            limit: term.limit().id().clone(),
            subject: subject.clone(),
            words: words(term.limit(), take.rule.cap),
            measure: term.limit().measure().clone(),
            firm: take.rule.firm,
            need: take.ask.amount(),
            have: status.spent,
            held: status.held,
            cap: status.cap,
            window_end: status.resets,
            passes: true,
            when: None,
        };
        match verdict {
            Verdict::Granted(grant) => {
                let taken = grant.taken.first();
                check.window_end = check.window_end.or(taken.and_then(|taken| taken.window_end));
                check.passes = taken.is_none_or(|taken| taken.over.is_zero());
            }
            Verdict::Denied(denial) => {
                let short = denial.blocked.first().map(|blocked| blocked.short);
                check.passes = false;
                check.when = Some(short.map_or(denial.when, |short| term.limit().when(&short)));
            }
            verdict => verdict.error(None).map_or(Ok(()), Err)?,
        }
        Ok(Some(check))
    }

    async fn account_at(&self, plan: &Plan, place: u16) -> Result<Option<Account>, Error> {
        let Some(place) = plan.accounts.get(usize::from(place)) else { return Ok(None) };
        Ok(self.store.account(&place.subject).await?)
    }
}

/// A pool and its fallbacks.
fn chain(first: &Pool) -> impl Iterator<Item = &Pool> {
    std::iter::successors(Some(first), |pool| pool.fallback())
}

fn key_check(pool: &Pool, key: &KeyId, place: Option<usize>, why: Option<Why>) -> Result<Option<KeyCheck>, Error> {
    let Some(known) = pool.key(key) else { return Ok(None) };
    Ok(Some(KeyCheck {
        pool: pool.name().to_owned(),
        key: key.clone(),
        suffix: known.suffix(KeySuffix::LENGTH)?,
        name: known.called().map(str::to_owned),
        place,
        taken: false,
        why,
        limits: Vec::new(),
    }))
}

/// A limit in words. One that keys have is compiled without an amount, since each key has its own.
fn words(limit: &Compiled, cap: Cap) -> String {
    let words = limit.to_string();
    match (limit.cap(), cap, words.strip_prefix(&format!("unlimited {}", limit.measure()))) {
        (Cap::Unlimited, Cap::At(most), Some(rest)) => format!("{}{rest}", limit.measure().show(most)),
        _ => words,
    }
}
