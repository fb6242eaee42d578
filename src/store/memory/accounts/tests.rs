//! What is saved is what is loaded, however it is kept.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::account::{Audit, Counter, MeterId};
use crate::amount::Cap;
use crate::budget::Tally;
use crate::limiter::State;
use crate::quota::Balance;
use crate::time::Length;
use proptest::prelude::*;

fn counter() -> impl Strategy<Value = Counter> {
    let amount = || prop_oneof![Just(0), any::<i64>().prop_map(|n| n & i64::MAX)];
    (0..5, any::<[i64; 3]>(), amount(), 1_i64..9).prop_map(|(kind, [a, b, c], held, length)| {
        let held = Amount::from_i64(held).unwrap();
        let (length, count) = (Length::from_secs(length).unwrap(), b & i64::MAX);
        let state = State::from_parts([a, count, c]).unwrap();
        match kind {
            0 => {
                let spent = Amount::from_i64(c & i64::MAX).unwrap();
                let tally = Tally { start: Timestamp::from_micros(a), spent, held };
                Counter::Tally { tally, ends: Timestamp::from_micros(b) }
            }
            1 | 2 => Counter::Sliding { length, state, held },
            3 => Counter::Leak { length, burst: Amount::ONE, state, held },
            _ => Counter::Balance(Balance { held, ..Balance::of(a) }),
        }
    })
}

fn account() -> impl Strategy<Value = Account> {
    let meter = (0_u32..4, counter(), 0_u16..2).prop_map(|(id, counter, claimed)| {
        let (cap, audit) = (Cap::At(Amount::new(5)), Audit::None);
        Meter { id: MeterId(id), generation: 0, epoch: 0, claimed, cap, audit, counter }
    });
    let open = prop_oneof![Just((0, i64::MAX, i64::MIN)), any::<(u32, i64, i64)>()];
    (prop::collection::vec(meter, 0..5), open).prop_map(|(meters, (open, earliest, latest))| {
        let (earliest, latest) = (Timestamp::from_micros(earliest), Timestamp::from_micros(latest));
        Account { meters, open, earliest, latest }
    })
}

#[test]
fn a_record_is_four_words_long() {
    assert_eq!(size_of::<Record>(), 32);
}

proptest! {
    #[test]
    fn what_is_saved_is_what_is_loaded(steps in prop::collection::vec((0_u8..6, account(), any::<Option<u32>>()), 0..60)) {
        let mut accounts = Accounts::default();
        let mut known = std::collections::HashMap::<u8, (Account, u32)>::new();
        for (name, account, root) in steps {
            let (hash, name_of) = (u64::from(name), [name]);
            match accounts.find(hash, &name_of) {
                Some(slot) if root == Some(7) || account.open % 5 == 4 => {
                    accounts.remove(slot);
                    known.remove(&name);
                }
                slot => {
                    let slot = slot.or_else(|| accounts.insert(hash, &name_of)).unwrap();
                    accounts.save(slot, &account);
                    let root = root.unwrap_or(Holds::NONE);
                    accounts.set_root(slot, root);
                    known.insert(name, (account, root));
                }
            }
            for (name, (account, root)) in &known {
                let slot = accounts.find(u64::from(*name), &[*name]).unwrap();
                let mut loaded = Account::default();
                accounts.load(slot, &mut loaded);
                prop_assert_eq!(&loaded, account);
                prop_assert_eq!(accounts.root(slot), *root);
            }
        }
        let slots: Vec<Slot> = accounts.all().map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| accounts.remove(slot));
        prop_assert_eq!(accounts.besides.in_use(), 0);
        prop_assert_eq!(accounts.wholes.in_use(), 0);
        prop_assert!(accounts.layouts.is_empty());
    }
}
