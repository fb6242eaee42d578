//! The two-line limiter: one [`Limiter`], a state for each key, and a clock.
//!
//! ```
//! use keyward::Keyed;
//!
//! let limiter = Keyed::per_minute(60);
//! if limiter.check("alice").has_passed() {
//!     // Call out.
//! }
//! ```
//!
//! It knows one limit and keeps its counts in memory. Several limits at once, holds that are settled later, and counts that
//! outlive the process are the keeper's.
//!
//! # Coming from governor
//!
//! A quota with a burst is [`Limiter::gcra`], the check is the same, and the refusal says when to come back. Nothing need be
//! called now and then: keys that equal one never seen are reclaimed as new ones come in. Zero and limits per key are there.
//!
//! ```
//! use keyward::limiter::{Answer, Limiter};
//! use keyward::{Amount, Keyed, Length, ManualClock, Timestamp, When};
//!
//! // Was: RateLimiter::keyed(Quota::per_second(nonzero!(50u32)).allow_burst(nonzero!(100u32)))
//! let limit = Limiter::gcra(Amount::new(50), Length::SECOND, Amount::new(100))?;
//! let clock = ManualClock::at(Timestamp::EPOCH);
//! let limiter = Keyed::new(limit).clock(clock.clone());
//!
//! // Was: limiter.check_key_n(&"alice", nonzero!(100u32))
//! assert!(limiter.check_n("alice", 100).has_passed());
//! match limiter.check("alice") {
//!     Answer::Passed(_) => unreachable!(),
//!     Answer::Refused(refused) => assert_eq!(refused.retry, When::At(Timestamp::from_micros(20_000))),
//! }
//! # Ok::<(), keyward::Error>(())
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::limiter::{Answer, Limiter, Mark, State};
use crate::store::table::Slot;
use crate::system::SystemClock;
use crate::time::{Clock, Length, Timestamp};

mod shard;

use shard::{Found, Shards};

/// One limit for each of many keys. See the [module](self).
///
/// A key is text or bytes. A clone shares the counts, and is how they come into another thread or a task.
///
/// Keys whose count says no more than that of a key never seen are reclaimed, a few whenever a new key comes in, or all at
/// once by [`Keyed::reclaim`]. Nothing that still counts is forgotten, nor is anything that would count again if the clock
/// stepped back by a minute, or by the limit's length if that is shorter.
#[derive(Clone)]
pub struct Keyed {
    core: Arc<Core>,
}

struct Core {
    limiter: Limiter,
    time: Time,
    shards: Shards,
}

/// The clock that most use, without a call through a pointer.
#[derive(Clone)]
enum Time {
    System(SystemClock),
    Other(Arc<dyn Clock>),
}

impl Keyed {
    /// This limit for each key, by the system's clock.
    #[must_use]
    pub fn new(limiter: Limiter) -> Self {
        Self::from(Core { limiter, time: Time::System(SystemClock::new()), shards: Shards::new(usize::MAX) })
    }

    /// So many in any second, for each key: [`Limiter::sliding`].
    #[must_use]
    pub fn per_second(n: u32) -> Self {
        Self::new(Limiter::sliding(Amount::new(n), Length::SECOND))
    }

    /// So many in any minute, for each key: [`Limiter::per_minute`].
    #[must_use]
    pub fn per_minute(n: u32) -> Self {
        Self::new(Limiter::per_minute(n))
    }

    /// So many in any hour, for each key: [`Limiter::sliding`].
    #[must_use]
    pub fn per_hour(n: u32) -> Self {
        Self::new(Limiter::sliding(Amount::new(n), Length::HOUR))
    }

    /// The same limit by another clock than the system's. It starts without any keys.
    #[must_use]
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        let shards = Shards::new(self.core.shards.most());
        Self::from(Core { limiter: self.core.limiter, time: Time::Other(Arc::new(clock)), shards })
    }

    /// The same limit for no more than so many keys at a time; without it, as many as there is memory for. It starts without
    /// any.
    ///
    /// At the cap a new key takes the place of one that can be reclaimed. While none of those that it looks at can be, the
    /// new key is refused, with `retry` [`When::WhenFreed`](crate::When::WhenFreed), which says nothing else here: counts
    /// that are in force are never dropped for a key that nobody has seen. Keys that have a place go on as ever.
    ///
    /// ```
    /// use keyward::{Keyed, When};
    ///
    /// let limiter = Keyed::per_minute(60).max_keys(1);
    /// assert!(limiter.check("alice").has_passed());
    /// let refused = limiter.check("bob").refused().unwrap();
    /// assert!(matches!(refused.retry, When::WhenFreed { .. }));
    /// ```
    #[must_use]
    pub fn max_keys(self, most: usize) -> Self {
        Self::from(Core { limiter: self.core.limiter, time: self.core.time.clone(), shards: Shards::new(most) })
    }

    /// Takes one from what the key has left, if there is one.
    #[inline]
    pub fn check(&self, key: impl AsRef<[u8]>) -> Answer {
        self.core.check(key.as_ref(), Amount::ONE)
    }

    /// Takes so many from what the key has left, all or none. A cost of none takes nothing and reports what is left.
    #[inline]
    pub fn check_n(&self, key: impl AsRef<[u8]>, n: impl Into<Amount>) -> Answer {
        self.core.check(key.as_ref(), n.into())
    }

    /// The answer that [`Keyed::check_n`] would give, without taking anything; a key never seen stays so, and is judged as
    /// if there were room for it.
    #[inline]
    pub fn peek(&self, key: impl AsRef<[u8]>, n: impl Into<Amount>) -> Answer {
        self.core.read(key.as_ref(), |limiter, state, now| limiter.peek(state, n.into(), now))
    }

    /// How much of the key's limit is in use.
    #[must_use]
    pub fn used(&self, key: impl AsRef<[u8]>) -> Amount {
        self.core.read(key.as_ref(), Limiter::used)
    }

    /// How much the key has left; `None` when there is no end to it.
    #[must_use]
    pub fn remaining(&self, key: impl AsRef<[u8]>) -> Option<Amount> {
        self.core.read(key.as_ref(), Limiter::remaining)
    }

    /// Gives back some of what a check of this key took, or all of it: see [`Limiter::give_back`]. The mark is the one
    /// that the check answered with.
    ///
    /// ```
    /// use keyward::{Amount, Keyed};
    ///
    /// let limiter = Keyed::per_minute(10);
    /// let mark = limiter.check_n("alice", 10).mark().unwrap();
    /// limiter.give_back("alice", &mark, 4);
    /// assert_eq!(limiter.remaining("alice"), Some(Amount::new(4)));
    /// ```
    pub fn give_back(&self, key: impl AsRef<[u8]>, mark: &Mark, n: impl Into<Amount>) {
        self.core.give_back(key.as_ref(), mark, n.into());
    }

    /// Gives one key an amount of its own, from now on; its count stays. Such a key is kept until [`Keyed::clear`] or
    /// [`Keyed::forget`].
    ///
    /// ```
    /// use keyward::{Amount, Cap, Keyed};
    ///
    /// let limiter = Keyed::per_minute(10);
    /// assert!(limiter.check_n("alice", 10).has_passed());
    /// limiter.set("alice", Amount::new(15))?;
    /// assert_eq!(limiter.remaining("alice"), Some(Amount::new(5)));
    /// limiter.set("alice", Cap::Unlimited)?;
    /// assert_eq!(limiter.remaining("alice"), None);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// A new key, and no room for it: see [`Keyed::max_keys`]. The error's [`Error::store`] says that it is full.
    pub fn set(&self, key: impl AsRef<[u8]>, cap: impl Into<Cap>) -> Result<(), Error> {
        self.core.shards.set(key.as_ref(), cap.into(), &self.core.limiter, self.core.now())
    }

    /// Takes a key's own amount away; the count stays, under the amount that all keys have.
    pub fn clear(&self, key: impl AsRef<[u8]>) {
        let (name, now) = (key.as_ref(), self.core.now());
        let hash = self.core.shards.hash(name);
        let mut shard = self.core.shards.of(hash);
        if let Some((slot, _)) = shard.find(hash, name) {
            shard.clear(slot, &self.core.limiter, now);
        }
    }

    /// A key's own amount, if it has one.
    #[must_use]
    pub fn own(&self, key: impl AsRef<[u8]>) -> Option<Cap> {
        let name = key.as_ref();
        let hash = self.core.shards.hash(name);
        let shard = self.core.shards.of(hash);
        shard.find(hash, name).and_then(|(slot, _)| shard.own(slot))
    }

    /// Forgets a key, its count and its own amount. Whether there was anything to forget.
    pub fn forget(&self, key: impl AsRef<[u8]>) -> bool {
        self.core.shards.forget(key.as_ref())
    }

    /// A key that is looked up once, for checks that need not look again.
    #[must_use]
    pub fn handle(&self, key: impl AsRef<[u8]>) -> Handle {
        let name: Box<[u8]> = key.as_ref().into();
        let hash = self.core.shards.hash(&name);
        let found = self.core.shards.of(hash).find(hash, &name);
        Handle { core: self.core.clone(), place: AtomicU64::new(found.map_or(NOWHERE, pack)), hash, name }
    }

    /// How many keys are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.shards.len()
    }

    /// Whether no key is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The limit.
    #[must_use]
    pub fn limiter(&self) -> Limiter {
        self.core.limiter
    }

    /// Reclaims all that can be reclaimed now, and says how many. It locks a part of the keys at a time.
    #[expect(clippy::must_use_candidate, reason = "what it does is the point")]
    pub fn reclaim(&self) -> usize {
        self.core.shards.reclaim(&self.core.limiter, self.core.now())
    }
}

impl From<Core> for Keyed {
    fn from(core: Core) -> Self {
        Self { core: Arc::new(core) }
    }
}

impl Core {
    // Not inlined, since the clock cannot be inlined into other crates.
    fn check(&self, name: &[u8], n: Amount) -> Answer {
        let (hash, now) = (self.shards.hash(name), self.now());
        let mut shard = self.shards.of(hash);
        if let Some(slot) = shard.slot(hash, name) {
            // Straight into its place: an answer is large, and copying it would take as long as making it.
            if let Some(state) = shard.plain(slot) {
                return self.limiter.check(state, n, now);
            }
            if let Some(answer) = shard.check(slot, &self.limiter, n, now) {
                return answer;
            }
        }
        drop(shard);
        self.check_new(hash, name, n, now).0
    }

    /// Another thread may have come first with the same key.
    #[cold]
    fn check_new(&self, hash: u64, name: &[u8], n: Amount, now: Timestamp) -> (Answer, Option<Found>) {
        // What takes nothing leaves nothing.
        let answer = self.limiter.peek(&State::default(), n, now);
        if n.is_zero() || !answer.has_passed() {
            let mut shard = self.shards.of(hash);
            let found = shard.find(hash, name);
            let checked = found.and_then(|(slot, _)| shard.check(slot, &self.limiter, n, now));
            return (checked.unwrap_or(answer), found);
        }
        match self.shards.add(hash, name, &self.limiter, now) {
            Ok((mut shard, found)) => (shard.check(found.0, &self.limiter, n, now).unwrap_or(answer), Some(found)),
            Err(full) => (full.refusal(&self.limiter, n, now), None),
        }
    }

    fn give_back(&self, name: &[u8], mark: &Mark, n: Amount) {
        let (hash, now) = (self.shards.hash(name), self.now());
        let mut shard = self.shards.of(hash);
        if let Some((slot, _)) = shard.find(hash, name) {
            let limiter = shard.limiter(slot, self.limiter);
            if let Some(state) = shard.state(slot) {
                limiter.give_back(state, mark, n, now);
            }
        }
    }

    fn read<T>(&self, name: &[u8], what: impl FnOnce(&Limiter, &State, Timestamp) -> T) -> T {
        let (hash, now) = (self.shards.hash(name), self.now());
        let mut shard = self.shards.of(hash);
        let Some((slot, _)) = shard.find(hash, name) else {
            drop(shard);
            return what(&self.limiter, &State::default(), now);
        };
        let limiter = shard.limiter(slot, self.limiter);
        let state = shard.state(slot).copied().unwrap_or_default();
        drop(shard);
        what(&limiter, &state, now)
    }

    #[inline]
    fn now(&self) -> Timestamp {
        match &self.time {
            Time::System(clock) => clock.now(),
            Time::Other(clock) => clock.now(),
        }
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("limiter", &self.limiter()).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A key that was looked up: see [`Keyed::handle`].
///
/// It keeps nothing alive. If its key is reclaimed or forgotten, the next check begins it anew, as [`Keyed::check`] would.
///
/// ```
/// use keyward::Keyed;
///
/// let limiter = Keyed::per_minute(2);
/// let alice = limiter.handle("alice");
/// assert!(alice.check().has_passed());
/// assert!(limiter.check("alice").has_passed());
/// assert!(!alice.check().has_passed());
/// ```
pub struct Handle {
    core: Arc<Core>,
    /// Slot and stamp of the entry that was found last.
    place: AtomicU64,
    hash: u64,
    name: Box<[u8]>,
}

/// No entry is here: the last slot stays free.
const NOWHERE: u64 = u64::MAX;

#[inline]
fn pack((slot, stamp): Found) -> u64 {
    u64::from(slot.number()) << 32 | u64::from(stamp)
}

#[inline]
fn unpack(place: u64) -> Found {
    let half = |half: u64| u32::try_from(half & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (Slot::numbered(half(place >> 32)), half(place))
}

impl Handle {
    /// Takes one from what the key has left, if there is one.
    #[inline]
    pub fn check(&self) -> Answer {
        self.take(Amount::ONE)
    }

    /// Takes so many from what the key has left, all or none. A cost of none takes nothing and reports what is left.
    #[inline]
    pub fn check_n(&self, n: impl Into<Amount>) -> Answer {
        self.take(n.into())
    }

    /// Gives back some of what a check took, or all of it: see [`Keyed::give_back`].
    pub fn give_back(&self, mark: &Mark, n: impl Into<Amount>) {
        self.core.give_back(&self.name, mark, n.into());
    }

    /// How much the key has left; `None` when there is no end to it.
    #[must_use]
    pub fn remaining(&self) -> Option<Amount> {
        self.core.read(&self.name, Limiter::remaining)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.name
    }

    fn take(&self, n: Amount) -> Answer {
        let (limiter, now) = (&self.core.limiter, self.core.now());
        // Whatever another thread has written last, the stamp proves that it is this key's.
        let found = unpack(self.place.load(Ordering::Relaxed));
        let mut shard = self.core.shards.of(self.hash);
        if let Some(state) = shard.plain_stamped(found) {
            return limiter.check(state, n, now);
        }
        if let Some(answer) = shard.still(found).and_then(|slot| shard.check(slot, limiter, n, now)) {
            return answer;
        }
        drop(shard);
        self.look_again(n, now)
    }

    #[cold]
    fn look_again(&self, n: Amount, now: Timestamp) -> Answer {
        let (answer, found) = self.core.check_new(self.hash, &self.name, n, now);
        self.place.store(found.map_or(NOWHERE, pack), Ordering::Relaxed);
        answer
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("key", &String::from_utf8_lossy(&self.name)).finish_non_exhaustive()
    }
}
