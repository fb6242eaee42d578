//! A table does what a map does, in little memory.

use super::*;
use std::collections::HashMap;

use proptest::prelude::*;

/// So that every hash of a test is one of a few, and names meet.
fn poor(name: &[u8]) -> u64 {
    name.iter().map(|byte| u64::from(*byte)).sum::<u64>() % 5 * 0x3100_0001
}

#[test]
fn an_entry_of_three_words_is_seven_words_long() {
    assert_eq!(size_of::<Option<Entry<[u64; 3], u32, 22>>>(), 56);
}

#[test]
fn an_entry_of_four_words_without_a_stamp_is_eight_words_long() {
    assert_eq!(size_of::<Option<Entry<[u64; 4], (), 26>>>(), 64);
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
    let name = || prop_oneof![prop::collection::vec(0_u8..8, 0..3), prop::collection::vec(0_u8..2, 20..36)];
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
