//! What people see of a keeper: one picture, an explanation, events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "seeing/clocks.rs"]
mod clocks;
#[path = "seeing/events.rs"]
mod events;
#[path = "seeing/explaining.rs"]
mod explaining;
#[path = "seeing/pictures.rs"]
mod pictures;

use keyward::keeper::Permit;
use keyward::{Call, Decision, Denial, Length, OpId, Store, Timestamp};

fn start() -> Timestamp {
    "2026-03-08T09:30:00Z".parse().unwrap()
}

fn secs(seconds: i64) -> Length {
    Length::from_secs(seconds).unwrap()
}

fn host(id: &str) -> OpId {
    OpId::host(id).unwrap()
}

fn alice() -> Call {
    Call::new().with("key", "alice").with("team", "red")
}

fn granted<S: Store>(decision: Decision<Permit<S>>) -> Permit<S> {
    match decision {
        Decision::Granted(permit) => permit,
        Decision::Denied(denial) => panic!("{denial}"),
    }
}

fn denied<S: Store>(decision: Decision<Permit<S>>) -> Denial {
    match decision {
        Decision::Granted(permit) => panic!("{permit:?}"),
        Decision::Denied(denial) => *denial,
    }
}
