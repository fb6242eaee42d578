//! Which key a session belongs to: that of its nearest point on a ring, so that a key that comes or goes moves no session
//! between two others.
//!
//! Each key has a few points on the ring, and each session looks from several places for the nearest one ahead. As with
//! rendezvous hashing every session has an order of all keys, in which taking one out leaves the rest as they are; but it is
//! found with a few look-ups, where that hashes every key. The places depend on names alone, so that processes agree.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Bound;

use sha2::{Digest, Sha256};

use super::Session;
use crate::id::KeyId;
use crate::time::{Length, Timestamp};

/// How many points a key has.
const POINTS: u64 = 8;
/// From how many places a session looks.
const PLACES: usize = 16;

/// Mixes all bits of a number; no two numbers come out the same.
pub(super) const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn hash(parts: [&[u8]; 2]) -> u64 {
    let mut sha = Sha256::new();
    // The length of the first keeps apart what two other parts would say together.
    sha.update(u64::try_from(parts[0].len()).unwrap_or(u64::MAX).to_be_bytes());
    parts.iter().for_each(|part| sha.update(part));
    sha.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A session as a number.
pub(super) fn session(of: Session<'_>) -> u64 {
    hash([of.client.as_bytes(), of.name.as_bytes()])
}

/// A key as a number.
pub(super) fn key(id: &KeyId) -> u64 {
    hash([b"key", id.as_bytes()])
}

fn places(of: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |n: u64| mix(of ^ mix(n)))
}

/// Points and whose they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring(BTreeSet<(u64, u32)>);

impl Ring {
    pub(super) fn insert(&mut self, key: u64, slot: u32) {
        self.0.extend(places(key).zip(0..POINTS).map(|(place, _)| (place, slot)));
    }

    pub(super) fn remove(&mut self, key: u64, slot: u32) {
        for (place, _) in places(key).zip(0..POINTS) {
            self.0.remove(&(place, slot));
        }
    }

    /// Who has the points ahead of the session's places, the nearest first. Everyone comes up several times.
    pub(super) fn nearest(&self, session: u64) -> impl Iterator<Item = u32> {
        let from: [u64; PLACES] = std::array::from_fn(|n| mix(session ^ mix(!u64::try_from(n).unwrap_or(0))));
        let mut ahead = from.map(|place| {
            let behind = (Bound::Unbounded, Bound::Excluded((place, 0)));
            self.0.range((place, 0)..).chain(self.0.range(behind)).copied()
        });
        let mut next: BinaryHeap<Reverse<(u64, u32, usize)>> = BinaryHeap::with_capacity(PLACES);
        for (at, (points, place)) in ahead.iter_mut().zip(from).enumerate() {
            next.extend(points.next().map(|(point, slot)| Reverse((point.wrapping_sub(place), slot, at))));
        }
        std::iter::from_fn(move || {
            let Reverse((_, slot, at)) = next.pop()?;
            if let (Some(points), Some(place)) = (ahead.get_mut(at), from.get(at)) {
                next.extend(points.next().map(|(point, slot)| Reverse((point.wrapping_sub(*place), slot, at))));
            }
            Some(slot)
        })
    }
}

/// Which key each session used last, for as long as that is remembered.
///
/// What is forgotten early is found on the ring again, so that there need not be room for every session.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    used: BTreeMap<u64, Used>,
    ends: BTreeSet<(Timestamp, u64)>,
}

/// A key that a session used: where it lies, which one that was, and until when the session stays with it.
#[derive(Clone, Copy, Debug)]
struct Used {
    slot: u32,
    born: u64,
    until: Timestamp,
}

impl Sessions {
    /// How many are remembered.
    const MOST: usize = 65_536;

    pub(super) fn get(&self, session: u64, now: Timestamp) -> Option<(u32, u64)> {
        self.used.get(&session).filter(|used| now < used.until).map(|used| (used.slot, used.born))
    }

    pub(super) fn put(&mut self, session: u64, (slot, born): (u32, u64), now: Timestamp, lifetime: Length) {
        let until = now.saturating_add(lifetime);
        if let Some(before) = self.used.insert(session, Used { slot, born, until }) {
            self.ends.remove(&(before.until, session));
        }
        self.ends.insert((until, session));
        while let Some((end, first)) = self.ends.first().copied() {
            if end > now && self.used.len() <= Self::MOST {
                break;
            }
            self.ends.remove(&(end, first));
            self.used.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: std::ops::Range<u32>) -> Ring {
        let mut ring = Ring::default();
        keys.for_each(|n| ring.insert(mix(n.into()), n));
        ring
    }

    #[test]
    fn everyone_is_found_from_everywhere_and_nobody_else() {
        let ring = ring(0..20);
        for session in 0..50 {
            let found: BTreeSet<u32> = ring.nearest(mix(session)).collect();
            assert_eq!(found, (0..20).collect());
        }
        assert_eq!(Ring::default().nearest(1).next(), None);
    }

    #[test]
    fn who_is_removed_leaves_the_order_of_the_rest() {
        let (all, mut fewer) = (ring(0..9), ring(0..9));
        fewer.remove(mix(4), 4);
        for session in 0..200 {
            let order = |ring: &Ring| {
                let mut seen = Vec::new();
                ring.nearest(session).for_each(|slot| {
                    if !seen.contains(&slot) {
                        seen.push(slot);
                    }
                });
                seen
            };
            let (mut before, after) = (order(&all), order(&fewer));
            before.retain(|slot| *slot != 4);
            assert_eq!(before, after);
        }
    }

    #[test]
    fn sessions_of_two_clients_are_two_however_their_names_run_together() {
        let of = |client, name| session(Session { client, name });
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_eq!(of("a", "b"), of("a", "b"));
    }

    #[test]
    fn sessions_are_remembered_for_their_lifetime_and_only_so_many() {
        let at = |micros| Timestamp::from_micros(micros);
        let mut sessions = Sessions::default();
        sessions.put(7, (1, 1), at(0), Length::MIN);
        assert_eq!((sessions.get(7, at(0)), sessions.get(7, at(1))), (Some((1, 1)), None));
        for n in 0..100_000 {
            sessions.put(n, (0, 0), at(1), Length::HOUR);
        }
        assert_eq!((sessions.used.len(), sessions.ends.len()), (Sessions::MOST, Sessions::MOST));
        sessions.put(1, (0, 0), Timestamp::MAX, Length::HOUR);
        assert!(sessions.used.len() <= 1);
    }
}
