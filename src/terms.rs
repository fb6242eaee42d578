//! Limits as a store knows them: each with the number, the generation and the anchor that the store gave it.
//!
//! A [`Limit`] that was compiled says what is counted. Before it can stand in a plan, a store must learn of
//! it: the number that it gets there is its name in every account, so that an edited limit finds its count again, and
//! the generation tells two schedules of it apart.
//!
//! ```
//! use keyward::limit::Own;
//! use keyward::plan::Adopt;
//! use keyward::terms::Terms;
//! use keyward::{Limit, MemoryStore, Timestamp};
//!
//! let (store, now) = (MemoryStore::new(), Timestamp::EPOCH);
//! let limits = [Limit::requests(60).per_minute().by("key"), Limit::requests(5_000).per_day().by("key")];
//! let terms = Terms::adopt(&store, limits, Adopt::Start, now)?;
//! let rule = terms.iter().next().map(|term| term.rule(&Own::default(), now));
//! assert_eq!(rule.map(|rule| rule.generation), Some(0));
//!
//! // The same limits find their numbers again, in whatever order, and however their amounts have changed.
//! let again = Terms::adopt(&store, [Limit::requests(9).per_day().by("key")], Adopt::Start, now)?;
//! assert_eq!(again.iter().next().map(|term| term.meter()), terms.iter().nth(1).map(|term| term.meter()));
//! # Ok::<(), keyward::Error>(())
//! ```

use crate::account::{MeterId, Rule};
use crate::error::Error;
use crate::id::LimitId;
use crate::limit::{Compiled, Limit, Own};
use crate::plan::{Adopt, Effect, Plan, Report, Verdict};
use crate::store::{AsyncStore, Ready, Store, ask_of, block_on};
use crate::time::Timestamp;

/// One limit as a store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    limit: Compiled,
    meter: MeterId,
    generation: u32,
    anchor: Timestamp,
}

impl Term {
    /// The limit.
    #[must_use]
    pub const fn limit(&self) -> &Compiled {
        &self.limit
    }

    /// Its number in the store.
    #[must_use]
    pub const fn meter(&self) -> MeterId {
        self.meter
    }

    /// The generation of its schedule.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// When the store first saw it.
    #[must_use]
    pub const fn anchor(&self) -> Timestamp {
        self.anchor
    }

    /// The rule by which a store counts it at this instant: [`Compiled::rule`].
    #[must_use]
    pub fn rule(&self, own: &Own, now: Timestamp) -> Rule {
        self.limit.rule(self.meter, self.generation, self.anchor, own, now)
    }
}

/// The limits that a store was told of, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(Vec<Term>);

impl Terms {
    /// Compiles limits, each under its place in the list where one is wrong, and refuses two of one identity.
    ///
    /// # Errors
    /// The first limit that is wrong, as `limits[2].window` and the like.
    pub fn compile(limits: impl IntoIterator<Item = Limit>) -> Result<Vec<Compiled>, Error> {
        let mut compiled: Vec<Compiled> = Vec::new();
        for (place, limit) in limits.into_iter().enumerate() {
            let limit = limit.compile().map_err(|error| error.renamed("limit", &format!("limits[{place}]")))?;
            if let Some(first) = compiled.iter().position(|other| other.id() == limit.id()) {
                return Err(Error::invalid(
                    format!("limits[{place}]"),
                    limit.id(),
                    format!("no limit like limits[{first}]; name them, or change what they count"),
                ));
            }
            compiled.push(limit);
        }
        Ok(compiled)
    }

    /// Compiles limits and tells a store of them.
    ///
    /// # Errors
    /// The first limit that is wrong; what the store says.
    pub fn adopt(
        store: &(impl Store + ?Sized),
        limits: impl IntoIterator<Item = Limit>,
        how: Adopt,
        now: Timestamp,
    ) -> Result<Self, Error> {
        Self::adopt_compiled(store, Self::compile(limits)?, how, now)
    }

    /// Tells a store of limits that were compiled before.
    ///
    /// # Errors
    /// What the store says.
    pub fn adopt_compiled(
        store: &(impl Store + ?Sized),
        limits: Vec<Compiled>,
        how: Adopt,
        now: Timestamp,
    ) -> Result<Self, Error> {
        block_on(Self::adopt_in(&Ready(store), limits, how, now))
    }

    /// The same, of a store that may have to be waited for.
    pub(crate) async fn adopt_in(
        store: &impl AsyncStore,
        limits: Vec<Compiled>,
        how: Adopt,
        now: Timestamp,
    ) -> Result<Self, Error> {
        if limits.is_empty() {
            return Ok(Self::default());
        }
        let (verdict, _) = ask_of(store, now, |now| Ok(Self::plan(&limits, how, now))).await?;
        Self::read(limits, &verdict)
    }

    /// The plan by which a store is told of limits, for a host that applies it by itself.
    #[must_use]
    pub fn plan(limits: &[Compiled], how: Adopt, now: Timestamp) -> Plan {
        limits.iter().fold(Plan::new(now), |plan, limit| {
            plan.report(Report::Adopt { limit: limit.id().clone(), schedule: limit.schedule(), how })
        })
    }

    /// What a store answered to [`Terms::plan`].
    ///
    /// # Errors
    /// A verdict on some other plan.
    pub fn read(limits: Vec<Compiled>, verdict: &Verdict) -> Result<Self, Error> {
        let effects = match verdict {
            Verdict::Granted(grant) => grant.effects.as_slice(),
            Verdict::Denied(denial) => denial.effects.as_slice(),
            _ => &[],
        };
        let other = || Error::invalid("verdict", format!("{} effects", effects.len()), "one for each limit adopted");
        if effects.len() != limits.len() {
            return Err(other());
        }
        let terms = limits.into_iter().zip(effects).map(|(limit, effect)| match *effect {
            Effect::Adopted { meter, generation, anchor } => Ok(Term { limit, meter, generation, anchor }),
            _ => Err(other()),
        });
        terms.collect::<Result<_, _>>().map(Self)
    }

    /// All of them, in the order in which they were given.
    pub fn iter(&self) -> std::slice::Iter<'_, Term> {
        self.0.iter()
    }

    /// The one of this identity.
    #[must_use]
    pub fn get(&self, id: &LimitId) -> Option<&Term> {
        self.0.iter().find(|term| term.limit.id() == id)
    }

    /// The one of this number.
    #[must_use]
    pub fn of(&self, meter: MeterId) -> Option<&Term> {
        self.0.iter().find(|term| term.meter == meter)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Terms {
    type Item = &'a Term;
    type IntoIter = std::slice::Iter<'a, Term>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
