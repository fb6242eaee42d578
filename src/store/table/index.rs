//! Where names lie, by their hashes: buckets of one cache line each, so that a look touches one line of memory.
//!
//! A bucket has twelve lanes, each a tag of eight bits and a slot of 32. What does not fit into its own bucket goes to the
//! next that has room, and each bucket counts what passed over it, so that a look knows where to stop, and taking out
//! leaves nothing behind.

/// Four bytes and a tag for each entry, and some room.
#[derive(Debug, Default)]
pub(super) struct Index {
    buckets: Vec<Bucket>,
    len: usize,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// The tags of the first eight lanes; 0 where a lane is free.
    low: u64,
    /// The tags of the other four.
    high: u32,
    /// How many entries found no room from here on back to their own bucket.
    over: u32,
    slots: [u32; LANES],
}

const LANES: usize = 12;
/// One in each byte of twelve.
const ONES: u128 = 0x0101_0101_0101_0101_0101_0101;

impl Bucket {
    /// The lanes that may have this tag, each as its lowest bit times 128; the lowest of them has it.
    #[inline]
    fn lanes(&self, tag: u8) -> u128 {
        let other = (u128::from(self.low) | u128::from(self.high) << 64) ^ (u128::from(tag) * ONES);
        other.wrapping_sub(ONES) & !other & (ONES << 7)
    }

    fn free(&self) -> Option<usize> {
        Some(self.lanes(0)).filter(|lanes| *lanes != 0).map(lane)
    }

    fn put(&mut self, lane: usize, tag: u8, slot: u32) {
        if lane < 8 {
            self.low = self.low & !(0xff << (lane * 8)) | u64::from(tag) << (lane * 8);
        } else {
            self.high = self.high & !(0xff << (lane * 8 - 64)) | u32::from(tag) << (lane * 8 - 64);
        }
        if let Some(place) = self.slots.get_mut(lane) {
            *place = slot;
        }
    }
}

#[inline]
fn lane(lanes: u128) -> usize {
    usize::try_from(lanes.trailing_zeros() / 8).unwrap_or(LANES)
}

/// From other bits than those that choose the bucket, and never 0.
#[inline]
fn tag(hash: u32) -> u8 {
    let [low, ..] = hash.to_le_bytes();
    low.max(1)
}

impl Index {
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How many bytes it has for each lane.
    #[cfg(test)]
    pub(super) fn lanes(&self) -> usize {
        self.buckets.len() * LANES
    }

    /// The slot with this hash that is the one.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.position(hash, is_it).map(|(_, _, slot)| slot)
    }

    /// Whether one more would make it too full; it is rebuilt then: see [`Index::sized`].
    pub(super) fn is_full(&self) -> bool {
        // Six in seven: longer ways beyond that.
        self.len >= self.buckets.len() * LANES * 6 / 7
    }

    /// Whether it has four times the room that it needs.
    pub(super) fn is_loose(&self) -> bool {
        self.len < self.buckets.len() * LANES / 4 && self.buckets.len() > 1
    }

    /// An empty one, with room for half as many again as there are to be.
    pub(super) fn sized(len: usize) -> Self {
        let buckets = (len + len / 2) * 7 / 6 / LANES + 1;
        Self { buckets: vec![Bucket::default(); buckets], len: 0 }
    }

    /// Adds a slot; there must be room: see [`Index::is_full`].
    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let Some(bucket) = self.buckets.get_mut(at) else {
                return;
            };
            if let Some(lane) = bucket.free() {
                bucket.put(lane, tag(hash), slot);
                self.len += 1;
                return;
            }
            bucket.over += 1;
            at = self.after(at);
        }
    }

    /// Takes a slot out.
    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        let Some((found, lane, _)) = self.position(hash, |other| other == slot) else {
            return;
        };
        self.len -= 1;
        if let Some(bucket) = self.buckets.get_mut(found) {
            bucket.put(lane, 0, 0);
        }
        let mut at = self.home(hash);
        while at != found {
            if let Some(bucket) = self.buckets.get_mut(at) {
                bucket.over -= 1;
            }
            at = self.after(at);
        }
    }

    /// Bucket, lane and slot.
    #[inline]
    fn position(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<(usize, usize, u32)> {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(at)?;
            let mut lanes = bucket.lanes(tag(hash));
            while lanes != 0 {
                let lane = lane(lanes);
                let slot = *bucket.slots.get(lane)?;
                if is_it(slot) {
                    return Some((at, lane, slot));
                }
                lanes &= lanes - 1;
            }
            if bucket.over == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// The bucket that its upper bits say, of any number of them.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        let buckets = u64::try_from(self.buckets.len()).unwrap_or(u64::MAX);
        usize::try_from(u64::from(hash).wrapping_mul(buckets) >> 32).unwrap_or(usize::MAX)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 < self.buckets.len() { at + 1 } else { 0 }
    }
}
