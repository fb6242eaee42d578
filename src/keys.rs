//! Pools of upstream keys over a store: which key a call goes out with, and what its answer means for the key.
//!
//! A [`Pool`] proposes a few keys for a plan, and the store takes the first of them that can be used and has room; if none
//! will do, it proposes the next, eight at a time. What
//! came back is reported to the store, which keeps every key's health, for every process. A pool is shared: a clone is the
//! same pool.
//!
//! ```
//! use keyward::keys::{Acquired, Answer, Facts, Pool};
//! use keyward::{Class, Limit, MemoryStore, OpId, Outcome, Timestamp};
//!
//! let (store, now) = (MemoryStore::new(), Timestamp::EPOCH);
//! let pool = Pool::builder("openai")
//!     .text("sk-one-11111, sk-two-22222")
//!     .each_limited([Limit::requests(500).per_minute()])
//!     .build()?;
//!
//! let Acquired::Granted(chosen) = pool.acquire(&store, &Facts::default(), &OpId::at(now, 1), now)? else {
//!     panic!("nothing is used up yet")
//! };
//! assert_eq!(chosen.secret().expose(), "sk-one-11111");
//!
//! // The answer was a 429: this key cools, and the next call goes out with the other.
//! let limited = Outcome::new(Class::RateLimited);
//! pool.observe(&store, &Answer::new(chosen.key(), limited, now).ends(chosen.op()), now)?;
//! let Acquired::Granted(next) = pool.acquire(&store, &Facts::default(), &OpId::at(now, 2), now)? else {
//!     panic!("one key is left")
//! };
//! assert_eq!(next.secret().expose(), "sk-two-22222");
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! # For drivers
//!
//! Nothing in here waits for a store but the methods that are given one. A driver that has a plan of its own, or a store that
//! is asynchronous, goes through a [`Search`]: it puts the keys into the driver's plan, says when states are to be read, and
//! is told the verdict. [`Pool::report`] does the same for what came back.

mod answer;
mod builder;
mod chosen;
mod commands;
mod drive;
mod fresh;
mod limits;
mod offer;
mod records;
mod search;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

pub use answer::Answer;
pub use builder::{Builder, OnExhausted};
pub use chosen::Chosen;
pub use commands::Command;
pub(crate) use drive::{Found, Missed};
pub(crate) use records::health_in;
pub use records::{KeyRecord, Spend, Which};
pub use search::{Exhausted, Facts, Learned, Look, Proposal, Search, Way};
pub use sync::Acquired;

use crate::amount::Cap;
use crate::error::Error;
use crate::id::{KeyId, LimitId, Subject};
use crate::limit::Compiled;
use crate::pool::{Cooling, Explained, Key, Roster, Standing, Wanted};
use crate::terms::Term;
use crate::time::{Length, Timestamp};
use crate::upstream::{Next, Retries};
use crate::usage::Outcome;

/// The dimension of an upstream key's accounts.
pub const UPSTREAM: &str = "upstream";

/// Keys of which a call goes out with one. See the [module](self); a clone is the same pool.
#[derive(Clone)]
pub struct Pool(Arc<Core>);

struct Core {
    name: String,
    cooling: Cooling,
    exhausted: OnExhausted,
    fallback: Option<Pool>,
    look_every: Option<Length>,
    /// What jitter is drawn from; `None` for the middle of it.
    random: Option<RandomState>,
    inner: Mutex<Inner>,
}

/// What changes while a pool is used.
#[derive(Clone)]
struct Inner {
    roster: Roster,
    keys: BTreeMap<KeyId, Entry>,
    /// Every kind of limit that some key has, without its amount.
    limits: Vec<Compiled>,
    terms: Vec<Term>,
    /// The models of which it was read with which keys they are blocked.
    models: BTreeSet<Box<str>>,
    /// When the states of all keys were read.
    looked: Option<Timestamp>,
    /// The last instant that it was told.
    now: Timestamp,
    reports: u64,
}

/// A key, with what is worked out from it once.
#[derive(Clone)]
struct Entry {
    key: Arc<Key>,
    subject: Subject,
    limits: Vec<(LimitId, Cap)>,
}

impl Pool {
    /// A pool under this name, which is for people.
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// For how long its keys are left alone, by what happened.
    #[must_use]
    pub fn cooling(&self) -> &Cooling {
        &self.0.cooling
    }

    /// The pool that is asked when this one is exhausted.
    #[must_use]
    pub fn fallback(&self) -> Option<&Self> {
        self.0.fallback.as_ref()
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.inner.lock().roster.len()
    }

    /// Whether it has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its keys, in their order.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let inner = self.0.inner.lock();
        inner.roster.ids().filter_map(|id| inner.keys.get(id)).map(|entry| Key::clone(&entry.key)).collect()
    }

    /// One of its keys.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<Key> {
        self.0.inner.lock().keys.get(id).map(|entry| Key::clone(&entry.key))
    }

    /// All keys that end with these characters, in their order: see [`Key::ends_with`]. A suffix is no identity.
    #[must_use]
    pub fn ending_with(&self, suffix: &str) -> Vec<Key> {
        self.keys().into_iter().filter(|key| key.ends_with(suffix)).collect()
    }

    /// The account in which a key's health and its own limits are kept.
    ///
    /// # Errors
    /// A key that the pool does not have.
    pub fn subject(&self, key: &KeyId) -> Result<Subject, Error> {
        let inner = self.0.inner.lock();
        inner.entry(key).map(|entry| entry.subject.clone())
    }

    /// What a choice would do with each key, in their order, by what is known here.
    #[must_use]
    pub fn explain(&self, facts: &Facts<'_>, now: Timestamp) -> Vec<Explained> {
        self.0.inner.lock().roster.explain(&facts.wanted(), now)
    }

    /// What to do after an answer to a call that was already tried again `tries` times with this key: try it here again,
    /// take another key, or give up. See [`Retries::next`].
    pub fn next(&self, retries: &Retries, key: &KeyId, outcome: &Outcome, tries: u32, now: Timestamp) -> Next {
        retries.next(outcome, tries, usize::from(self.has_others(key, now)), now)
    }

    /// Whether some key but this one could serve, here or in a fallback, now or later.
    fn has_others(&self, key: &KeyId, now: Timestamp) -> bool {
        self.0.inner.lock().roster.has_others(key, now) || self.fallback().is_some_and(|pool| pool.has_others(key, now))
    }

    /// What is known here of a key, or of the key with a model where nothing speaks against the key itself.
    pub(crate) fn standing_here(&self, key: &KeyId, model: Option<&str>, now: Timestamp) -> Option<Standing> {
        let inner = self.0.inner.lock();
        let of_key = inner.roster.health(key).map(|health| health.standing(now));
        let with_model = model.and_then(|model| inner.roster.health_with(key, model));
        match of_key {
            Some(Standing::Available) => with_model.map(|health| health.standing(now)).or(of_key),
            other => other,
        }
    }

    /// A copy of it and of its fallbacks, on which a search can be rehearsed: what that learns and counts stays in the copy.
    pub(crate) fn rehearsed(&self) -> Self {
        let Core { name, cooling, exhausted, fallback, look_every, random, inner } = &*self.0;
        Self(Arc::new(Core {
            name: name.clone(),
            cooling: *cooling,
            exhausted: *exhausted,
            fallback: fallback.as_ref().map(Self::rehearsed),
            look_every: *look_every,
            random: random.clone(),
            inner: Mutex::new(inner.lock().clone()),
        }))
    }

    /// A call with this key is over, or was never made. A [`Chosen`] says so by itself when it is dropped.
    fn ended(&self, key: &KeyId) {
        let inner = &mut *self.0.inner.lock();
        inner.roster.ended(key, inner.now);
    }

    /// A random number, for jitter.
    fn random(&self, count: u64) -> u32 {
        let Some(random) = &self.0.random else { return u32::MAX / 2 };
        u32::try_from(random.hash_one(count) >> 32).unwrap_or(0)
    }
}

impl Inner {
    fn entry(&self, key: &KeyId) -> Result<&Entry, Error> {
        self.keys.get(key).ok_or_else(|| Error::invalid("key.id", key, "a key of the pool"))
    }

    fn term(&self, id: &LimitId) -> Option<&Term> {
        self.terms.iter().find(|term| term.limit().id() == id)
    }

    fn is_known_with(&self, key: &KeyId, model: &str) -> bool {
        self.roster.health_with(key, model).is_some()
    }
}

impl Entry {
    /// The account of this key with a model.
    fn with_model(&self, model: &str) -> Result<Subject, Error> {
        Subject::of([(UPSTREAM, self.key.id().as_str()), ("model", model)])
    }
}

impl Facts<'_> {
    fn wanted(&self) -> Wanted<'_> {
        Wanted { model: self.model, session: self.session, except: self.except }
    }
}

/// Its keys by their ids, never by their secrets.
impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<KeyId> = self.0.inner.lock().roster.ids().cloned().collect();
        f.debug_struct("Pool").field("name", &self.0.name).field("keys", &ids).finish_non_exhaustive()
    }
}
