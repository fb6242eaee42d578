//! A compact table from names to values, for one thread at a time: whoever shares it puts it behind locks.
//!
//! An index of four bytes a name says in which slot an entry lies. A slot holds the name, if it is not long, beside its
//! value, so that finding one touches little memory. Slots lie in chunks that never move, so that growing copies none of
//! them; chunks that become empty are given back. A [`Slot`] is good for as long as its entry is there; who keeps one for
//! longer compares the entry's [`Table::stamp`], which is not given again before four billion others have come.
//!
//! A [`Hash64`] is split in two: the table goes by its lower half, shards of tables by [`Hash64::shard`].

#![allow(dead_code, reason = "the memory store uses what Keyed does not")]

use std::hash::{BuildHasher, Hasher, RandomState};

mod index;

use index::Index;

/// The hash of names, keyed anew for each value of this type.
///
/// It is aHash, which says of itself that it withstands flooding: who does not know the key cannot make names that meet.
/// The key comes from the standard library's source of randomness.
#[derive(Clone)]
pub(crate) struct Hash64(ahash::RandomState);

impl Hash64 {
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        let [a, b, c, d] = [0_u64, 1, 2, 3].map(|n| random.hash_one(n));
        Self(ahash::RandomState::with_seeds(a, b, c, d))
    }

    #[inline]
    pub(crate) fn of(&self, name: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(name);
        hasher.finish()
    }

    /// The number of a hash's shard, of a power of two of them.
    #[inline]
    pub(crate) fn shard(hash: u64, shards: usize) -> usize {
        usize::try_from(hash >> 32).unwrap_or_default() & shards.saturating_sub(1)
    }
}

impl BuildHasher for Hash64 {
    type Hasher = ahash::AHasher;

    #[inline]
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

impl std::fmt::Debug for Hash64 {
    /// Without its key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash64")
    }
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(u32);

impl Slot {
    /// The first of a table.
    pub(crate) const FIRST: Self = Self(0);

    /// The one after it.
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// A number that says where, for someone to keep.
    #[inline]
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    /// The slot of this number, whatever may lie in it.
    #[inline]
    pub(crate) const fn numbered(number: u32) -> Self {
        Self(number)
    }

    #[inline]
    fn of(chunk: usize, place: u32) -> Option<Self> {
        u32::try_from(chunk).ok()?.checked_mul(CHUNK)?.checked_add(place).filter(|slot| *slot < u32::MAX).map(Self)
    }

    #[inline]
    fn chunk(self) -> usize {
        usize::try_from(self.0 / CHUNK).unwrap_or(usize::MAX)
    }

    #[inline]
    fn place(self) -> usize {
        usize::try_from(self.0 % CHUNK).unwrap_or(usize::MAX)
    }

    #[inline]
    fn bit(self) -> u128 {
        1 << (self.0 % CHUNK)
    }
}

/// Slots in a chunk: one for each bit of what [`Chunk::used`] is.
const CHUNK: u32 = u128::BITS;

/// Names and their values. See the [module](self).
#[derive(Debug)]
pub(crate) struct Table<V, S = u32, const N: usize = 22> {
    index: Index,
    chunks: Vec<Vec<Option<Entry<V, S, N>>>>,
    /// Which slots of each chunk hold an entry.
    used: Vec<u128>,
    /// No chunk before this one has a free slot.
    open: usize,
    stamp: S,
}

#[derive(Debug)]
struct Entry<V, S, const N: usize> {
    value: V,
    name: Name<S, N>,
}

/// A name of at most `N` bytes lies beside its value: 22 make an entry of three words seven words long, 26 one of four
/// words without a stamp eight.
#[derive(Debug)]
enum Name<S, const N: usize> {
    Short { len: u8, bytes: [u8; N], hash: u32, stamp: S },
    Long { name: Box<[u8]>, hash: u32, stamp: S },
}

impl<S: Stamp, const N: usize> Name<S, N> {
    fn new(name: &[u8], hash: u32, stamp: S) -> Self {
        let mut bytes = [0; N];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(name);
                Self::Short { len, bytes, hash, stamp }
            }
            _ => Self::Long { name: name.into(), hash, stamp },
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes, .. } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long { name, .. } => name,
        }
    }

    #[inline]
    fn hash(&self) -> u32 {
        match self {
            Self::Short { hash, .. } | Self::Long { hash, .. } => *hash,
        }
    }

    #[inline]
    fn stamp(&self) -> S {
        match self {
            Self::Short { stamp, .. } | Self::Long { stamp, .. } => *stamp,
        }
    }
}

/// What tells an entry from those that were in its slot before: nothing, where nobody asks.
pub(crate) trait Stamp: Copy + Default + PartialEq {
    fn next(self) -> Self;
}

impl Stamp for u32 {
    #[inline]
    fn next(self) -> Self {
        self.wrapping_add(1)
    }
}

impl Stamp for () {
    fn next(self) -> Self {}
}

impl<V, S: Stamp, const N: usize> Default for Table<V, S, N> {
    fn default() -> Self {
        Self { index: Index::default(), chunks: Vec::new(), used: Vec::new(), open: 0, stamp: S::default() }
    }
}

impl<V> Table<V> {
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

impl<V, S: Stamp, const N: usize> Table<V, S, N> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The slot of a name, whose hash this is.
    #[inline]
    pub(crate) fn find(&self, hash: u64, name: &[u8]) -> Option<Slot> {
        let is_it = |slot| self.entry(Slot(slot)).is_some_and(|entry| same(entry.name.bytes(), name));
        self.index.find(lower(hash), is_it).map(Slot)
    }

    /// Adds a name that is not there yet, or gives the value back: a table holds up to four billion names.
    pub(crate) fn insert(&mut self, hash: u64, name: &[u8], value: V) -> Result<Slot, V> {
        let Some(slot) = self.free_slot() else {
            return Err(value);
        };
        if self.index.is_full() {
            self.rebuild();
        }
        let hash = lower(hash);
        let Self { index, chunks, used, stamp, .. } = self;
        let (Some(chunk), Some(used)) = (chunks.get_mut(slot.chunk()), used.get_mut(slot.chunk())) else {
            return Err(value);
        };
        let entry = Some(Entry { value, name: Name::new(name, hash, *stamp) });
        *used |= slot.bit();
        *stamp = stamp.next();
        match chunk.get_mut(slot.place()) {
            Some(place) => *place = entry,
            None => chunk.push(entry),
        }
        index.insert(hash, slot.0);
        Ok(slot)
    }

    /// The value in a slot, if there is an entry.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&V> {
        self.entry(slot).map(|entry| &entry.value)
    }

    /// The value in a slot, to be changed, if there is an entry.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut V> {
        let entry = self.chunks.get_mut(slot.chunk())?.get_mut(slot.place())?;
        entry.as_mut().map(|entry| &mut entry.value)
    }

    /// The value in a slot, to be changed, if the entry there is still the one with this stamp.
    #[inline]
    pub(crate) fn get_stamped(&mut self, slot: Slot, stamp: S) -> Option<&mut V> {
        let entry = self.chunks.get_mut(slot.chunk())?.get_mut(slot.place())?;
        entry.as_mut().filter(|entry| entry.name.stamp() == stamp).map(|entry| &mut entry.value)
    }

    /// The name in a slot, if there is an entry.
    #[inline]
    pub(crate) fn name(&self, slot: Slot) -> Option<&[u8]> {
        self.entry(slot).map(|entry| entry.name.bytes())
    }

    /// What tells the entry in a slot from all that were there before it, if there is an entry.
    #[inline]
    pub(crate) fn stamp(&self, slot: Slot) -> Option<S> {
        self.entry(slot).map(|entry| entry.name.stamp())
    }

    /// The first slot from this one on that holds an entry: with [`Slot::next`], a walk that may be left off at any point,
    /// whatever happens to the table in between.
    pub(crate) fn next_from(&self, slot: Slot) -> Option<Slot> {
        let from = self.used.get(slot.chunk())? & !(slot.bit() - 1);
        if from != 0 {
            return Slot::of(slot.chunk(), from.trailing_zeros());
        }
        let (chunk, used) = self.used.iter().enumerate().skip(slot.chunk() + 1).find(|(_, used)| **used != 0)?;
        Slot::of(chunk, used.trailing_zeros())
    }

    /// Takes an entry out, and gives memory back when enough has become free.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<V> {
        let entry = self.chunks.get_mut(slot.chunk())?.get_mut(slot.place())?.take()?;
        self.index.remove(entry.name.hash(), slot.0);
        if let Some(used) = self.used.get_mut(slot.chunk()) {
            *used &= !slot.bit();
            self.open = self.open.min(slot.chunk());
            if *used == 0 {
                self.close(slot.chunk());
            }
        }
        // Half as many again must come, or half of them go, before it is built again.
        if self.index.is_loose() {
            self.rebuild();
        }
        Some(entry.value)
    }

    #[inline]
    fn entry(&self, slot: Slot) -> Option<&Entry<V, S, N>> {
        self.chunks.get(slot.chunk())?.get(slot.place())?.as_ref()
    }

    /// Builds the index anew, from the entries in the order in which they lie.
    #[cold]
    fn rebuild(&mut self) {
        let mut index = Index::sized(self.index.len());
        for (chunk, entries) in self.chunks.iter().enumerate() {
            for (place, entry) in (0..).zip(entries) {
                if let (Some(entry), Some(slot)) = (entry, Slot::of(chunk, place)) {
                    index.insert(entry.name.hash(), slot.0);
                }
            }
        }
        self.index = index;
    }

    /// The lowest free slot, with a chunk for it: the later ones have a chance to become empty.
    fn free_slot(&mut self) -> Option<Slot> {
        let open = self.used.iter().skip(self.open).position(|used| *used != u128::MAX);
        let chunk = open.map_or(self.used.len(), |skipped| self.open + skipped);
        let slot = Slot::of(chunk, self.used.get(chunk).map_or(0, |used| used.trailing_ones()))?;
        self.open = chunk;
        if chunk == self.used.len() {
            self.used.push(0);
            self.chunks.push(Vec::new());
        }
        // The first one grows with its entries: many tables stay small.
        if let Some(empty) = self.chunks.get_mut(chunk).filter(|empty| chunk > 0 && empty.capacity() == 0) {
            empty.reserve_exact(usize::try_from(CHUNK).unwrap_or_default());
        }
        Some(slot)
    }

    /// Gives an empty chunk back, and the places of those at the end.
    fn close(&mut self, chunk: usize) {
        if let Some(empty) = self.chunks.get_mut(chunk) {
            *empty = Vec::new();
        }
        let kept = self.used.iter().rposition(|used| *used != 0).map_or(0, |last| last + 1);
        self.used.truncate(kept);
        self.chunks.truncate(kept);
        if self.used.len() < self.used.capacity() / 4 {
            self.used.shrink_to(kept * 2);
            self.chunks.shrink_to(kept * 2);
        }
    }
}

/// `a == b`, without a call for the lengths that names usually have.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        8..=16 => (a.first_chunk::<8>(), a.last_chunk::<8>()) == (b.first_chunk::<8>(), b.last_chunk::<8>()),
        17..=32 => (a.first_chunk::<16>(), a.last_chunk::<16>()) == (b.first_chunk::<16>(), b.last_chunk::<16>()),
        _ => a == b,
    }
}

#[inline]
fn lower(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests;
