//! What would become of a call, and why: an `acquire` that is rehearsed, and changes nothing.

use crate::account::{Account, Act};
use crate::amount::{Amount, Cap, Measure, Usd};
use crate::budgets::{decide_on, standing};
use crate::error::{Error, StoreError};
use crate::id::{KeyId, KeySuffix, LimitId, Subject};
use crate::keeper::denial::Denial;
use crate::keeper::force::{Asked, Force};
use crate::keeper::pick::facts;
use crate::keeper::{Call, Keeper, estimate};
use crate::keys::{Facts, Learned, Pool, Way, health_in};
use crate::limit::{Compiled, Own};
use crate::plan::{Alternative, Firm, Plan, Take, Verdict};
use crate::pool::Why;
use crate::price::Entry;
use crate::quota::Cause;
use crate::store::{AsyncStore, Ready, Store, block_on};
use crate::system::OpIds;
use crate::time::{Timestamp, When};

/// The most keys that are explained that a call would not come to.
const OTHERS: usize = 1_000;
/// How many holds that are over are ended at a time.
const MANY: usize = 1_000;

/// What would become of a call, and why. Printed, it tells a person; as data it goes through serde.
///
/// It is worked out on copies of what [`Keeper::acquire`] goes by, in one moment: what else
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

impl<S: Store> Keeper<S> {
    /// What would become of a call, and why. Nothing is held, spent or counted, and no key is given out; what time alone has
    /// ended, such as a hold that is over, may be ended on the way. A call with an operation id is explained as if it had
    /// none.
    ///
    /// It costs more than an [`acquire`](Keeper::acquire), and is meant for people.
    ///
    /// ```
    /// use keyward::{Call, Keeper, Limit, Usd};
    ///
    /// let keeper = Keeper::builder()
    ///     .limit(Limit::requests(60).per_day().by("key"))
    ///     .limit(Limit::usd(Usd::dollars(1)).per_day().by("team"))
    ///     .build()?;
    /// let call = Call::new().with("key", "alice").with("team", "red").usd(Usd::dollars(2));
    /// let explained = keeper.explain(&call)?;
    /// let passes: Vec<bool> = explained.limits.iter().map(|limit| limit.passes).collect();
    /// assert_eq!((explained.passes(), passes), (false, vec![true, false]));
    /// println!("{explained}");
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Keeper::acquire`].
    pub fn explain(&self, call: &Call) -> Result<Explanation, Error> {
        let (now, force) = (self.now(), self.force());
        let mut told = Explanation {
            at: now,
            gate: GateCheck::None,
            price: PriceUsed { usd: None, entry: None },
            limits: Vec::new(),
            keys: Vec::new(),
            denial: None,
        };
        let (client, elsewhere) = match self.gate(call, now)? {
            Ok(met) => met,
            Err(cause) => {
                (told.gate, told.denial) = (GateCheck::Shut(cause), Some(Denial::gate(cause)));
                return Ok(told);
            }
        };
        if let Some(client) = &client {
            let client = client.id.clone();
            told.gate = match &elsewhere {
                None => GateCheck::Open { client },
                Some(pool) => GateCheck::Elsewhere { client, pool: pool.clone() },
            };
        }
        let op = OpIds::new().next(now);
        let estimate = estimate(&force, call, now)?;
        told.price = PriceUsed { usd: estimate.usd, entry: force.priced_by(call, now) };
        let asked = Asked {
            call,
            client: client.as_deref(),
            op: &op,
            act: Act::Hold,
            said: call.estimated(),
            estimate: &estimate,
        };
        let pool = elsewhere.as_deref().or_else(|| call.asked_pool()).map(|name| force.pool(name)).transpose()?;
        let mut next = pool;
        while let Some(pool) = next {
            pool.adopt(self.store(), now)?;
            next = pool.fallback();
        }
        let store = Ready(self.store());
        let done = block_on(Rehearsal { store: &store, force: &force, asked: &asked, now }.run(&mut told, pool));
        match done {
            Err(error) if error.store().is_some_and(StoreError::is_unavailable) => told.denial = Some(Denial::down()),
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
        let plan = self.plan()?;
        for take in &plan.takes {
            told.limits.extend(self.check(&plan, take).await?);
        }
        let Some(pool) = pool else {
            told.denial = match self.decide(&plan).await? {
                Verdict::Denied(denial) => Some(Denial::limits(self.force.terms(), &plan, &denial)),
                verdict => verdict.error(None).map_or(Ok(None), Err)?,
            };
            return Ok(());
        };
        // The search goes through copies: whatever it learns and counts is forgotten with them.
        let copy = pool.rehearsed();
        let pairs: Vec<(&str, &str)> = self.asked.call.pairs().collect();
        let facts = facts(self.asked, &pairs, &[]);
        let taken = match self.search(told, &copy, facts).await? {
            Ok(key) => Some(key),
            Err(denial) => {
                told.denial = Some(denial);
                None
            }
        };
        for key in &mut told.keys {
            key.taken = Some(&key.key) == taken.as_ref();
        }
        let mut next = Some(&copy);
        while let Some(pool) = next {
            for one in pool.explain(&facts, self.now) {
                let is_new = !told.keys.iter().any(|known| known.key == one.key && known.pool == pool.name());
                if is_new && told.keys.len() < OTHERS {
                    // That it is proposed next is said of a search that has ended.
                    let why = if matches!(one.why, Why::Proposed(_)) { Why::ComesLater } else { one.why };
                    told.keys.extend(key_check(pool, &one.key, None, Some(why))?);
                }
            }
            next = pool.fallback();
        }
        Ok(())
    }

    /// What the call asks of limits that do not go by its route.
    fn plan(&self) -> Result<Plan, Error> {
        Ok(Plan { op: None, ..self.force.plan(self.asked, self.now)? })
    }

    /// What an acquire does with a pool, on a copy of it; says which key it would take.
    async fn search(
        &self,
        told: &mut Explanation,
        copy: &Pool,
        facts: Facts<'_>,
    ) -> Result<Result<KeyId, Denial>, Error> {
        let (now, mut search) = (self.now, copy.search(facts));
        loop {
            let mut plan = self.plan()?;
            let proposal = match search.pick(&mut plan, now)? {
                Way::Proposed(proposal) => proposal,
                Way::Look(look) => {
                    let mut states = Vec::new();
                    for of in look.subjects() {
                        states.push(self.store.account(of).await?);
                    }
                    search.know(look, states, now)?;
                    continue;
                }
                Way::Exhausted(exhausted) => return Ok(Err(Denial::pool(exhausted))),
            };
            self.force.route(self.asked, &mut plan, now)?;
            let verdict = self.decide(&plan).await?;
            let picked = match &verdict {
                Verdict::Granted(grant) => grant.picked.last().map(|at| usize::from(*at)),
                _ => None,
            };
            let ways = plan.picks.last().map_or(&[][..], |pick| &pick.alternatives);
            for way in ways.iter().take(picked.map_or(usize::MAX, |at| at + 1)) {
                self.check_key(told, &plan, way, search.pool()).await?;
            }
            match (search.learn(proposal, &plan, &verdict, now), verdict) {
                (Learned::Chosen(chosen), _) => return Ok(Ok(chosen.key().clone())),
                (Learned::Again, _) => {}
                (_, Verdict::Denied(denial)) => return Ok(Err(Denial::limits(self.force.terms(), &plan, &denial))),
                (_, verdict) => {
                    let other = || Error::invalid("clock", now, "one that agrees with the store's");
                    return Err(verdict.error(None).unwrap_or_else(other));
                }
            }
        }
    }

    /// A key that the call would come to.
    async fn check_key(
        &self,
        told: &mut Explanation,
        plan: &Plan,
        way: &Alternative,
        pool: &Pool,
    ) -> Result<(), Error> {
        let Some(key) = &way.key else { return Ok(()) };
        let mut why = None;
        for (place, ready) in way.ready.iter().enumerate() {
            let account = self.account_at(plan, ready.account).await?;
            let health = health_in(account.as_ref());
            if why.is_none() && health.ready(self.now).is_err() {
                let standing = health.standing(self.now);
                why = Some(if place == 0 { Why::Standing(standing) } else { Why::WithModel(standing) });
            }
        }
        let place = told.keys.iter().filter_map(|key| key.place).max().unwrap_or(0) + 1;
        let Some(mut check) = key_check(pool, key, Some(place), why)? else { return Ok(()) };
        for take in &way.takes {
            check.limits.extend(self.check(plan, take).await?);
        }
        // One that is asked again later keeps its first place.
        if !told.keys.iter().any(|known| known.key == check.key && known.pool == check.pool) {
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
        let verdict = self.decide(&alone).await?;
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

    /// Decides a plan on the accounts as they are, and saves nothing.
    async fn decide(&self, plan: &Plan) -> Result<Verdict, Error> {
        let mut accounts = Vec::with_capacity(plan.accounts.len());
        for place in &plan.accounts {
            accounts.push(self.store.account(&place.subject).await?);
        }
        Ok(decide_on(plan, accounts, self.now))
    }

    async fn account_at(&self, plan: &Plan, place: u16) -> Result<Option<Account>, Error> {
        let Some(place) = plan.accounts.get(usize::from(place)) else { return Ok(None) };
        Ok(self.store.account(&place.subject).await?)
    }
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
