//! Key pools: every case of the shared vectors, the stories of what went wrong elsewhere, and what holds of any pool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]

#[path = "pools/changes.rs"]
mod changes;
#[path = "pools/driver.rs"]
mod driver;
#[path = "pools/health.rs"]
mod health;
#[path = "pools/kit.rs"]
mod kit;
#[path = "pools/odd_stores.rs"]
mod odd_stores;
#[path = "pools/strategies.rs"]
mod strategies;
#[path = "pools/vectors.rs"]
mod vectors;

use keyward::pool::{Member, Roster, Strategy, Wanted};
use keyward::{KeyId, Length, OpId, Timestamp};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds).unwrap()
}

fn secs(seconds: i64) -> Length {
    Length::from_secs(seconds).unwrap()
}

fn id(name: &str) -> KeyId {
    name.parse().unwrap()
}

fn op(n: u128) -> OpId {
    OpId::at(Timestamp::EPOCH, n)
}

fn member(name: &str) -> Member {
    Member { id: id(name), weight: 1, priority: 0 }
}

/// A roster of keys `k0`, `k1`, ...
fn roster(strategy: Strategy, keys: usize) -> Roster {
    let mut roster = Roster::new(strategy);
    (0..keys).for_each(|n| roster.insert(member(&format!("k{n}"))).unwrap());
    roster
}

/// Uses the first key that is proposed, and ends the call.
fn next(roster: &mut Roster, wanted: &Wanted<'_>, now: Timestamp) -> KeyId {
    let choice = roster.choose(wanted, now);
    let key = roster.took(choice, 0, &op(1), now).unwrap();
    roster.ended(&key, now);
    key
}
