//! Where the states of a [`Keyed`](super::Keyed) lie: in tables behind locks, and how they are reclaimed.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::amount::{Amount, Cap};
use crate::error::{Error, StoreError};
use crate::limiter::{Answer, Limiter, Refused, State};
use crate::store::table::{Hash64, Slot, Table};
use crate::time::{Length, Timestamp, When};

/// A slot, and the stamp of the entry in it.
pub(super) type Found = (Slot, u32);

/// For each processor, so that two seldom want the same one.
const SHARDS_EACH: usize = 16;

/// How many entries a new key looks at for some to reclaim: more than one, so that those that wait to be reclaimed are
/// always a part of those that count.
const LOOK: usize = 4;

/// How many it looks at when there is no room otherwise.
const LOOK_HARD: usize = 64;

pub(super) struct Shards {
    hash: Hash64,
    /// A power of two of them.
    shards: Box<[Shard]>,
    /// Entries in all shards; only ever changed by who holds the lock of the entry's shard.
    len: AtomicUsize,
    most: usize,
    /// Where the next look for room begins.
    turn: AtomicUsize,
}

/// On lines of its own, also for processors that fetch two at a time.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Inner>);

#[derive(Default)]
pub(super) struct Inner {
    table: Table<State>,
    /// The amounts that are not everybody's.
    own: Option<Box<Own>>,
    /// Where the next look for some to reclaim begins.
    cursor: Slot,
}

struct Own {
    caps: HashMap<Slot, Cap, Hash64>,
}

/// There is no room for a new key.
pub(super) struct Full {
    /// When one of those that were looked at can be reclaimed.
    latest: Option<Timestamp>,
}

impl Full {
    pub(super) fn refusal(&self, limiter: &Limiter, need: Amount, now: Timestamp) -> Answer {
        let latest = self.latest.unwrap_or_else(|| now.saturating_add(limiter.length()));
        let limit = limiter.limit();
        Answer::Refused(Refused {
            need,
            used: Amount::ZERO,
            limit,
            remaining: limit.left(Amount::ZERO).unwrap_or(Amount::MAX),
            retry: When::WhenFreed { latest },
            ends: latest,
        })
    }
}

impl Shards {
    pub(super) fn new(most: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let shards = processors.saturating_mul(SHARDS_EACH).clamp(32, 1_024).next_power_of_two();
        let shards = (0..shards).map(|_| Shard::default()).collect();
        Self { hash: Hash64::new(), shards, len: AtomicUsize::new(0), most, turn: AtomicUsize::new(0) }
    }

    pub(super) const fn most(&self) -> usize {
        self.most
    }

    #[inline]
    pub(super) fn hash(&self, name: &[u8]) -> u64 {
        self.hash.of(name)
    }

    #[inline]
    pub(super) fn of(&self, hash: u64) -> MutexGuard<'_, Inner> {
        self.numbered(Hash64::shard(hash, self.shards.len()))
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "masked by their number, which is a power of two")]
    fn numbered(&self, number: usize) -> MutexGuard<'_, Inner> {
        self.shards[number & (self.shards.len() - 1)].0.lock()
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// The entry of a key, a new one if there is none, and its shard.
    pub(super) fn add(
        &self,
        hash: u64,
        name: &[u8],
        limiter: &Limiter,
        now: Timestamp,
    ) -> Result<(MutexGuard<'_, Inner>, Found), Full> {
        let mut shard = self.of(hash);
        if let Some(found) = shard.find(hash, name) {
            return Ok((shard, found));
        }
        self.left(shard.sweep(LOOK, limiter, now).reclaimed);
        if !self.enter() {
            // One lock at a time: two that each wait for the other's would wait for ever.
            drop(shard);
            let latest = self.look_hard(limiter, now);
            shard = self.of(hash);
            if let Some(found) = shard.find(hash, name) {
                return Ok((shard, found));
            }
            if !self.enter() {
                return Err(Full { latest });
            }
        }
        let Ok(slot) = shard.table.insert(hash, name, State::default()) else {
            self.left(1);
            return Err(Full { latest: None });
        };
        let stamp = shard.table.stamp(slot).unwrap_or_default();
        Ok((shard, (slot, stamp)))
    }

    pub(super) fn set(&self, name: &[u8], cap: Cap, limiter: &Limiter, now: Timestamp) -> Result<(), Error> {
        let full = |_| Error::from(StoreError::full(format!("{} keys are kept and none can be reclaimed", self.most)));
        let fresh = || Box::new(Own { caps: HashMap::with_hasher(self.hash.clone()) });
        let (mut shard, (slot, _)) = self.add(self.hash(name), name, limiter, now).map_err(full)?;
        shard.bring_forward(slot, limiter, now);
        shard.own.get_or_insert_with(fresh).caps.insert(slot, cap);
        Ok(())
    }

    pub(super) fn forget(&self, name: &[u8]) -> bool {
        let hash = self.hash(name);
        let mut shard = self.of(hash);
        let Some((slot, _)) = shard.find(hash, name) else {
            return false;
        };
        shard.disown(slot);
        shard.table.remove(slot);
        self.left(1);
        true
    }

    pub(super) fn reclaim(&self, limiter: &Limiter, now: Timestamp) -> usize {
        let sweep = |number| {
            let reclaimed = self.numbered(number).sweep(usize::MAX, limiter, now).reclaimed;
            self.left(reclaimed);
            reclaimed
        };
        (0..self.shards.len()).map(sweep).sum()
    }

    /// Looks for some to reclaim in one shard after the other, and says when the first of those that stay will be one.
    #[cold]
    fn look_hard(&self, limiter: &Limiter, now: Timestamp) -> Option<Timestamp> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let (mut more, mut earliest) = (LOOK_HARD, None);
        for number in 0..self.shards.len() {
            let mut shard = self.numbered(first.wrapping_add(number));
            let swept = shard.sweep(more, limiter, now);
            self.left(swept.reclaimed);
            drop(shard);
            earliest = earliest.into_iter().chain(swept.earliest).min();
            more -= swept.looked;
            if swept.reclaimed > 0 || more == 0 {
                break;
            }
        }
        earliest
    }

    /// Takes room for one more.
    fn enter(&self) -> bool {
        let one_more = |len| if len < self.most { Some(len + 1) } else { None };
        self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn left(&self, n: usize) {
        if n > 0 {
            self.len.fetch_sub(n, Ordering::Relaxed);
        }
    }
}

/// What came of looking for some to reclaim.
struct Swept {
    looked: usize,
    reclaimed: usize,
    /// When the first of those that stay can be reclaimed.
    earliest: Option<Timestamp>,
}

impl Inner {
    #[inline]
    pub(super) fn slot(&self, hash: u64, name: &[u8]) -> Option<Slot> {
        self.table.find(hash, name)
    }

    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Option<Found> {
        let slot = self.slot(hash, name)?;
        Some((slot, self.table.stamp(slot)?))
    }

    /// The state of an entry, if everything in this shard goes by everybody's limiter.
    #[inline]
    pub(super) fn plain(&mut self, slot: Slot) -> Option<&mut State> {
        if self.own.is_some() { None } else { self.table.get_mut(slot) }
    }

    /// The state of an entry, if everything in this shard goes by everybody's limiter and the entry is still there.
    #[inline]
    pub(super) fn plain_stamped(&mut self, (slot, stamp): Found) -> Option<&mut State> {
        if self.own.is_some() { None } else { self.table.get_stamped(slot, stamp) }
    }

    pub(super) fn check(&mut self, slot: Slot, limiter: &Limiter, n: Amount, now: Timestamp) -> Option<Answer> {
        let limiter = self.limiter(slot, *limiter);
        Some(limiter.check(self.table.get_mut(slot)?, n, now))
    }

    /// The limiter, with the key's own amount if it has one.
    pub(super) fn limiter(&self, slot: Slot, limiter: Limiter) -> Limiter {
        self.own(slot).map_or(limiter, |cap| limiter.with_cap(cap))
    }

    /// The same slot, if the entry with this stamp is still there.
    pub(super) fn still(&self, (slot, stamp): Found) -> Option<Slot> {
        Some(slot).filter(|slot| self.table.stamp(*slot) == Some(stamp))
    }

    pub(super) fn state(&mut self, slot: Slot) -> Option<&mut State> {
        self.table.get_mut(slot)
    }

    pub(super) fn own(&self, slot: Slot) -> Option<Cap> {
        self.own.as_ref()?.caps.get(&slot).copied()
    }

    /// Takes a key's own amount away.
    pub(super) fn clear(&mut self, slot: Slot, limiter: &Limiter, now: Timestamp) {
        if self.own(slot).is_some() {
            self.bring_forward(slot, limiter, now);
            self.disown(slot);
        }
    }

    /// Lets a meter leak until now at the rate that was in force until now.
    fn bring_forward(&mut self, slot: Slot, limiter: &Limiter, now: Timestamp) {
        let limiter = self.limiter(slot, *limiter);
        let Some(state) = self.table.get_mut(slot) else {
            return;
        };
        // Only what takes something moves a state.
        if let Ok(mark) = limiter.charge(state, Amount::ONE, now) {
            limiter.give_back(state, &mark, Amount::ONE, now);
        }
    }

    fn disown(&mut self, slot: Slot) {
        if let Some(own) = &mut self.own {
            own.caps.remove(&slot);
            if own.caps.is_empty() {
                self.own = None;
            }
        }
    }

    /// Looks at the next few entries, at none twice, and takes those out that say no more than new ones.
    fn sweep(&mut self, most: usize, limiter: &Limiter, now: Timestamp) -> Swept {
        let grace = limiter.length().min(Length::MINUTE);
        let before = now.saturating_sub(grace);
        let mut swept = Swept { looked: 0, reclaimed: 0, earliest: None };
        let looks = most.min(self.table.len());
        while swept.looked < looks {
            let Some(slot) = self.table.next_from(self.cursor).or_else(|| self.table.next_from(Slot::FIRST)) else {
                break;
            };
            self.cursor = slot.next();
            swept.looked += 1;
            let Some(state) = self.table.get(slot).filter(|_| self.own(slot).is_none()) else {
                continue;
            };
            if state.until() <= before && limiter.used(state, before).is_zero() {
                self.table.remove(slot);
                swept.reclaimed += 1;
            } else if most > LOOK {
                let idle = limiter.full_at(state, now).instant().map(|at| at.max(state.until()).saturating_add(grace));
                swept.earliest = swept.earliest.into_iter().chain(idle).min();
            }
        }
        swept
    }
}
