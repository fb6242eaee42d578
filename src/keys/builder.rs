//! How a pool is put together, and where its keys come from.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Core, Inner, Pool};
use crate::error::Error;
use crate::id::KeyId;
use crate::limit::Limit;
use crate::pool::parse::{self, Twice};
use crate::pool::{Cooling, Key, Roster, Strategy};
use crate::time::{Length, Timestamp};

/// What becomes of a call when no key of the pool, nor of its fallback, can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OnExhausted {
    /// It is refused, with the earliest instant at which a key can be used.
    #[default]
    Refuse,
    /// It gets a key that is cooling, the one that will be ready first, and is told so. Refused and disabled keys are never
    /// given out, and a key's own limits hold.
    BestEffort,
    /// It is told until when to wait, if that is no longer than this; else it is refused.
    Wait(Length),
}

/// A pool in the making. Nothing is checked before [`Builder::build`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    name: String,
    keys: Vec<(Result<Key, Error>, Vec<Limit>)>,
    each: Vec<Limit>,
    twice: Twice,
    strategy: Strategy,
    cooling: Cooling,
    exhausted: OnExhausted,
    fallback: Option<Pool>,
    look_every: Option<Length>,
}

impl Builder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            keys: Vec::new(),
            each: Vec::new(),
            twice: Twice::default(),
            strategy: Strategy::default(),
            cooling: Cooling::default(),
            exhausted: OnExhausted::default(),
            fallback: None,
            look_every: None,
        }
    }

    /// Adds a key.
    pub fn key(self, key: Key) -> Self {
        self.key_with(key, [])
    }

    /// Adds a key with limits of its own, which are counted for it alone.
    ///
    /// The same kind of limit on several keys is one limit of which each key has its own amount; it goes by the dimension
    /// [`UPSTREAM`](super::UPSTREAM), which need not be said.
    pub fn key_with(mut self, key: Key, limits: impl IntoIterator<Item = Limit>) -> Self {
        self.keys.push((Ok(key), limits.into_iter().collect()));
        self
    }

    /// Adds keys.
    pub fn keys(self, keys: impl IntoIterator<Item = Key>) -> Self {
        keys.into_iter().fold(self, Self::key)
    }

    /// Adds the keys of a text, with commas in between.
    pub fn text(self, text: &str) -> Self {
        self.keys(parse::list(text).map(|secret| Key::new(crate::id::Secret::new(secret))))
    }

    /// Adds the keys of an environment variable, which are read now.
    pub fn env(self, variable: &str) -> Self {
        self.resolved(variable, |name| std::env::var(name).ok())
    }

    /// Adds the keys that a host's own resolver has under a name, as text with commas in between.
    ///
    /// ```
    /// use keyward::keys::Pool;
    /// let vault = |name: &str| (name == "openai").then(|| "sk-one-11111,sk-two-22222".to_owned());
    /// assert_eq!(Pool::builder("openai").resolved("openai", vault).build()?.len(), 2);
    /// let error = Pool::builder("groq").resolved("groq", vault).build().unwrap_err();
    /// assert_eq!((error.field(), error.value()), (Some("keys"), Some("groq")));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn resolved(mut self, name: &str, resolve: impl FnOnce(&str) -> Option<String>) -> Self {
        match resolve(name).map(zeroize::Zeroizing::new) {
            Some(text) => self.text(&text),
            None => {
                let missing = Error::invalid("keys", name, "the name of something that has keys");
                self.keys.push((Err(missing), Vec::new()));
                self
            }
        }
    }

    /// Gives these limits to every key that has none of its own: for each key so much, not for all together.
    pub fn each_limited(mut self, limits: impl IntoIterator<Item = Limit>) -> Self {
        self.each.extend(limits);
        self
    }

    /// What becomes of a key that is listed twice; the list is refused unless this is set.
    pub const fn twice(mut self, twice: Twice) -> Self {
        self.twice = twice;
        self
    }

    /// By what a key is chosen; one after the other unless set.
    pub const fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// For how long keys are left alone, by what happened.
    pub const fn cooling(mut self, cooling: Cooling) -> Self {
        self.cooling = cooling;
        self
    }

    /// What becomes of a call when no key can be used.
    pub const fn when_exhausted(mut self, policy: OnExhausted) -> Self {
        self.exhausted = policy;
        self
    }

    /// The pool that is asked when this one is exhausted; it may have a fallback of its own.
    pub fn fallback(mut self, pool: Pool) -> Self {
        self.fallback = Some(pool);
        self
    }

    /// Reads the states of all keys before a refusal no more often than this; before every refusal unless set. Until then a
    /// refusal goes by what was read, and by what was heard since.
    pub const fn look_every(mut self, length: Length) -> Self {
        self.look_every = Some(length);
        self
    }

    /// The pool.
    ///
    /// # Errors
    /// The first thing that is wrong, by its field: a key by its place and never by its secret, a limit by its key, a
    /// strategy or a rule out of range.
    pub fn build(self) -> Result<Pool, Error> {
        let Self { name, keys, each, twice, strategy, cooling, exhausted, fallback, look_every } = self;
        name.parse::<KeyId>()
            .map_err(|error| Error::invalid("pool.name", &name, error.expected().unwrap_or_default().to_owned()))?;
        strategy.check()?;
        cooling.check()?;
        let mut limits: BTreeMap<KeyId, Vec<Limit>> = BTreeMap::new();
        let mut listed = Vec::new();
        for (key, own) in keys {
            let key = key?;
            limits.entry(key.id().clone()).or_insert(own);
            listed.push(key);
        }
        let mut inner = Inner {
            roster: Roster::new(strategy).probing(cooling.probe),
            keys: BTreeMap::new(),
            limits: Vec::new(),
            terms: Vec::new(),
            models: BTreeSet::new(),
            looked: None,
            now: Timestamp::MIN,
            reports: 0,
        };
        for key in parse::once(listed, twice)? {
            let own = limits.remove(key.id()).filter(|own| !own.is_empty()).unwrap_or_else(|| each.clone());
            inner.insert(key, own)?;
        }
        let (random, inner) = (Some(RandomState::new()), Mutex::new(inner));
        Ok(Pool(Arc::new(Core { name, cooling, exhausted, fallback, look_every, random, inner })))
    }
}
