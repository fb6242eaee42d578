//! What is known by operation: where its open parts lie, and, for ids of a host's own, what was answered and what has
//! ended.

use std::collections::{HashMap, VecDeque};

use hashbrown::HashTable;

use crate::account::Part;
use crate::id::OpId;
use crate::plan::Answer;
use crate::time::{Length, Timestamp};

/// One shard of operations. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Ops {
    index: HashTable<Place>,
    kept: HashMap<OpId, Kept>,
    /// When what is kept may go, roughly in order. An operation stands here again whenever its instant has moved.
    queue: VecDeque<(Timestamp, OpId)>,
    /// The most operations to keep.
    most: usize,
}

/// Where a part of an operation lies. The tag is half of the operation's hash; who reads this compares the operation
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    tag: u32,
    part: u32,
    shard: u16,
}

impl Place {
    /// The half that does not say in which shard an operation is.
    #[inline]
    fn tag(hash: u64) -> u32 {
        u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
    }

    /// A hash made of that half, all of whose bits depend on all of its own.
    #[inline]
    fn spread(tag: u32) -> u64 {
        u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(32)
    }
}

/// What is remembered of an operation.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) answer: Option<Box<Answer>>,
    pub(super) ended: Vec<Part>,
    pub(super) until: Timestamp,
}

/// How many of the oldest are looked at whenever something is added.
const FEW: usize = 4;

impl Ops {
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// The shards and numbers of the parts of every operation with this hash.
    #[inline]
    pub(super) fn places(&self, tag: u64) -> impl Iterator<Item = (u16, u32)> {
        let tag = Place::tag(tag);
        let places = self.index.iter_hash(Place::spread(tag)).filter(move |place| place.tag == tag);
        places.map(|place| (place.shard, place.part))
    }

    pub(super) fn add(&mut self, tag: u64, shard: u16, part: u32) {
        let tag = Place::tag(tag);
        self.index.insert_unique(Place::spread(tag), Place { tag, part, shard }, |place| Place::spread(place.tag));
    }

    pub(super) fn remove(&mut self, tag: u64, shard: u16, part: u32) {
        let tag = Place::tag(tag);
        if let Ok(found) = self.index.find_entry(Place::spread(tag), |place| *place == Place { tag, part, shard }) {
            found.remove();
        }
        // Half of what fits is free after this, so that as many must come or go before it moves again.
        if self.index.len() < self.index.capacity() / 8 && self.index.capacity() > 64 {
            self.index.shrink_to(self.index.len() * 2, |place| Place::spread(place.tag));
        }
    }

    pub(super) fn kept(&self, op: &OpId) -> Option<&Kept> {
        if self.kept.is_empty() { None } else { self.kept.get(op) }
    }

    pub(super) fn all_kept(&self) -> impl Iterator<Item = (&OpId, &Kept)> {
        self.kept.iter()
    }

    /// Remembers an answer until this instant at the least.
    pub(super) fn keep_answer(&mut self, answer: Answer, until: Timestamp) {
        let op = answer.op.clone();
        self.keep(&op, until).answer = Some(Box::new(answer));
    }

    /// Remembers an ended part until this instant at the least.
    pub(super) fn keep_part(&mut self, part: &Part, until: Timestamp) {
        let ended = &mut self.keep(&part.op, until).ended;
        match ended.iter_mut().find(|known| known.is(part)) {
            Some(known) => known.clone_from(part),
            None => ended.push(part.clone()),
        }
    }

    fn keep(&mut self, op: &OpId, until: Timestamp) -> &mut Kept {
        let known = self.kept.get(op).map(|kept| kept.until);
        if known.is_none_or(|known| known < until) {
            self.queue.push_back((until, op.clone()));
        }
        let kept = self.kept.entry(op.clone()).or_insert(Kept { answer: None, ended: Vec::new(), until });
        kept.until = kept.until.max(until);
        kept
    }

    /// Drops a few of those whose time is over, and the oldest while there are more than may be. `tag` is the hash of an
    /// operation: one with open parts is kept on.
    pub(super) fn forget_some(&mut self, now: Timestamp, horizon: Length, tag: impl Fn(&OpId) -> u64) {
        for _ in 0..FEW {
            if self.queue.front().is_none_or(|(until, _)| *until > now) {
                break;
            }
            let Some((until, op)) = self.queue.pop_front() else { break };
            if self.kept.get(&op).is_none_or(|kept| kept.until > until) {
                continue;
            }
            if self.places(tag(&op)).next().is_some() {
                self.keep(&op, now.saturating_add(horizon));
            } else {
                self.kept.remove(&op);
            }
        }
        while self.kept.len() > self.most {
            let Some((until, op)) = self.queue.pop_front() else { break };
            if self.kept.get(&op).is_some_and(|kept| kept.until <= until) {
                self.kept.remove(&op);
            }
        }
        if self.queue.len() < self.queue.capacity() / 8 && self.queue.capacity() > 64 {
            self.queue.shrink_to(self.queue.len() * 2);
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }
}
