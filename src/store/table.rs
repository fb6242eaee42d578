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
pub(crate) struct Table<V> {
    index: Index,
    chunks: Vec<Vec<Option<Entry<V>>>>,
    /// Which slots of each chunk hold an entry.
    used: Vec<u128>,
    /// No chunk before this one has a free slot.
    open: usize,
    stamp: u32,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    name: Name,
    hash: u32,
    stamp: u32,
}

/// Longest name that is kept beside its value: what makes an entry of three words seven words long.
const INLINE: usize = 22;

#[derive(Debug)]
enum Name {
    Short { len: u8, bytes: [u8; INLINE] },
    Long(Box<[u8]>),
}

impl Name {
    fn new(name: &[u8]) -> Self {
        let mut bytes = [0; INLINE];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(name);
                Self::Short { len, bytes }
            }
            _ => Self::Long(name.into()),
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(name) => name,
        }
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { index: Index::default(), chunks: Vec::new(), used: Vec::new(), open: 0, stamp: 0 }
    }
}

impl<V> Table<V> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

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
        let entry = Some(Entry { value, name: Name::new(name), hash, stamp: *stamp });
        *used |= slot.bit();
        *stamp = stamp.wrapping_add(1);
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
    pub(crate) fn get_stamped(&mut self, slot: Slot, stamp: u32) -> Option<&mut V> {
        let entry = self.chunks.get_mut(slot.chunk())?.get_mut(slot.place())?;
        entry.as_mut().filter(|entry| entry.stamp == stamp).map(|entry| &mut entry.value)
    }

    /// The name in a slot, if there is an entry.
    #[inline]
    pub(crate) fn name(&self, slot: Slot) -> Option<&[u8]> {
        self.entry(slot).map(|entry| entry.name.bytes())
    }

    /// What tells the entry in a slot from all that were there before it, if there is an entry.
    #[inline]
    pub(crate) fn stamp(&self, slot: Slot) -> Option<u32> {
        self.entry(slot).map(|entry| entry.stamp)
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
        self.index.remove(entry.hash, slot.0);
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
    fn entry(&self, slot: Slot) -> Option<&Entry<V>> {
        self.chunks.get(slot.chunk())?.get(slot.place())?.as_ref()
    }

    /// Builds the index anew, from the entries in the order in which they lie.
    #[cold]
    fn rebuild(&mut self) {
        let mut index = Index::sized(self.index.len());
        for (chunk, entries) in self.chunks.iter().enumerate() {
            for (place, entry) in (0..).zip(entries) {
                if let (Some(entry), Some(slot)) = (entry, Slot::of(chunk, place)) {
                    index.insert(entry.hash, slot.0);
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
    match (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a1), Some(b1), Some(a3), Some(b3)) if a.len() <= 24 => {
            a1 == b1 && a3 == b3 && (a.len() <= 16 || a.get(8..16) == b.get(8..16))
        }
        _ => a == b,
    }
}

#[inline]
fn lower(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use proptest::prelude::*;

    /// So that every hash of a test is one of a few, and names meet.
    fn poor(name: &[u8]) -> u64 {
        name.iter().map(|byte| u64::from(*byte)).sum::<u64>() % 5 * 0x3100_0001
    }

    #[test]
    fn an_entry_of_three_words_is_seven_words_long() {
        assert_eq!(size_of::<Option<Entry<[u64; 3]>>>(), 56);
    }

    #[test]
    fn a_hash_differs_from_table_to_table_and_not_within_one() {
        let (a, b) = (Hash64::new(), Hash64::new());
        assert_eq!(a.of(b"alice"), a.clone().of(b"alice"));
        assert_ne!(a.of(b"alice"), b.of(b"alice"));
        assert_ne!(a.of(b"alice"), a.of(b"alice\0"));
    }

    #[test]
    fn shards_are_used_evenly_and_by_other_bits_than_the_table() {
        let hash = Hash64::new();
        let mut count = [0; 16];
        for n in 0..16_000_u32 {
            count[Hash64::shard(hash.of(&n.to_le_bytes()), 16)] += 1;
        }
        assert!(count.iter().all(|count| (850..1150).contains(count)), "{count:?}");
        assert_eq!(Hash64::shard(0xffff_ffff, 16), 0);
    }

    #[test]
    fn names_of_every_length_are_told_apart() {
        let mut table = Table::new();
        let names: Vec<Vec<u8>> = (0..60).map(|len| vec![b'x'; len]).collect();
        for name in &names {
            table.insert(7, name, name.len()).unwrap();
        }
        for name in &names {
            let slot = table.find(7, name).unwrap();
            assert_eq!((table.get(slot), table.name(slot)), (Some(&name.len()), Some(&name[..])));
        }
        assert_eq!(table.find(7, &[b'x'; 60]), None);
    }

    #[test]
    fn names_that_differ_in_any_one_byte_are_told_apart() {
        for len in 0..40 {
            let name = vec![b'x'; len];
            assert!(same(&name, &name.clone()));
            assert!(!same(&name, &vec![b'x'; len + 1]));
            for at in 0..len {
                let mut other = name.clone();
                other[at] = b'y';
                assert!(!same(&name, &other), "{len} bytes, of which {at} differs");
            }
        }
    }

    #[test]
    fn a_slot_that_is_used_again_has_another_stamp() {
        let mut table = Table::new();
        let slot = table.insert(1, b"alice", 1).unwrap();
        let stamp = table.stamp(slot).unwrap();
        assert_eq!(table.remove(slot), Some(1));
        assert_eq!((table.stamp(slot), table.get(slot), table.name(slot)), (None, None, None));
        assert_eq!(table.remove(slot), None);
        assert_eq!(table.insert(1, b"alice", 2), Ok(slot));
        assert_ne!(table.stamp(slot), Some(stamp));
    }

    #[test]
    fn memory_is_given_back_when_entries_leave() {
        let mut table = Table::new();
        let hash = Hash64::new();
        let names = if cfg!(miri) { 300 } else { 10_000_u32 };
        let slots: Vec<Slot> = (0..names)
            .map(|n| {
                let name = n.to_le_bytes();
                table.insert(hash.of(&name), &name, n).unwrap()
            })
            .collect();
        let full = table.index.lanes();
        for slot in &slots[1..] {
            table.remove(*slot);
        }
        assert_eq!((table.len(), table.get(slots[0])), (1, Some(&0)));
        assert!(table.index.lanes() < full / 8, "{} of {full}", table.index.lanes());
        assert_eq!((table.chunks.len(), table.used.len()), (1, 1));
        assert!(table.chunks.capacity() <= 8, "{}", table.chunks.capacity());
        table.remove(slots[0]);
        assert_eq!((table.chunks.len(), table.next_from(Slot::FIRST)), (0, None));
    }

    #[test]
    fn a_walk_sees_every_entry_that_stays() {
        let mut table = Table::new();
        for n in 0..400_u64 {
            table.insert(n, &n.to_le_bytes(), n).unwrap();
        }
        let (mut at, mut seen) = (Slot::FIRST, Vec::new());
        while let Some(slot) = table.next_from(at) {
            let value = *table.get(slot).unwrap();
            if value % 2 == 0 {
                seen.push(value);
            } else {
                table.remove(slot);
            }
            at = slot.next();
        }
        assert_eq!(seen, (0..400).filter(|n| n % 2 == 0).collect::<Vec<_>>());
        assert_eq!(table.len(), 200);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(Vec<u8>, u32),
        Remove(Vec<u8>),
        Sweep(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let name = || prop_oneof![prop::collection::vec(0_u8..8, 0..3), prop::collection::vec(0_u8..2, 20..26)];
        let step = prop_oneof![
            4 => (name(), any::<u32>()).prop_map(|(name, value)| Step::Put(name, value)),
            3 => name().prop_map(Step::Remove),
            1 => any::<u8>().prop_map(Step::Sweep),
        ];
        prop::collection::vec(step, 0..if cfg!(miri) { 40 } else { 600 })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_table_does_what_a_map_does(steps in steps(), keyed: bool) {
            let hash = Hash64::new();
            let hash = |name: &[u8]| if keyed { hash.of(name) } else { poor(name) };
            let mut table = Table::new();
            let mut map: HashMap<Vec<u8>, u32> = HashMap::new();
            let mut cursor = Slot::FIRST;
            for step in steps {
                match step {
                    Step::Put(name, value) => {
                        match table.find(hash(&name), &name) {
                            Some(slot) => *table.get_mut(slot).unwrap() = value,
                            None => drop(table.insert(hash(&name), &name, value).unwrap()),
                        }
                        map.insert(name, value);
                    }
                    Step::Remove(name) => {
                        let slot = table.find(hash(&name), &name);
                        prop_assert_eq!(slot.and_then(|slot| table.remove(slot)), map.remove(&name));
                    }
                    Step::Sweep(most) => for _ in 0..most {
                        let Some(slot) = table.next_from(cursor) else { cursor = Slot::FIRST; break };
                        cursor = slot.next();
                        let name = table.name(slot).unwrap().to_vec();
                        if name.len() % 2 == 1 {
                            prop_assert_eq!(table.remove(slot), map.remove(&name));
                        }
                    },
                }
                prop_assert_eq!(table.len(), map.len());
            }
            for (name, value) in &map {
                prop_assert_eq!(table.find(hash(name), name).and_then(|slot| table.get(slot)), Some(value));
            }
            let (mut at, mut walked) = (Slot::FIRST, 0);
            while let Some(slot) = table.next_from(at) {
                prop_assert!(map.contains_key(table.name(slot).unwrap()));
                (at, walked) = (slot.next(), walked + 1);
            }
            prop_assert_eq!(walked, map.len());
        }
    }
}
