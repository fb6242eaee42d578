//! What a call asks the allocator for: nothing, once its subject is known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "memory_store/counting.rs"]
mod counting;

use keyward::{Call, Keeper, Limit, ManualClock, MemoryStore, Timestamp, Usage};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

#[test]
fn a_call_of_a_known_subject_allocates_nothing_from_acquire_to_settle() {
    let start: Timestamp = "2026-03-08T09:30:00Z".parse().unwrap();
    let keeper = Keeper::builder()
        .limit(Limit::requests(1_000_000).per_minute().by("key"))
        .limit(Limit::tokens(1_000_000_000).per_day().by("key"))
        .limit(Limit::slots(5).by("team"))
        .clock(ManualClock::at(start))
        // A ledger that is full grows no more.
        .store(MemoryStore::builder().rows(500).build().unwrap())
        .build()
        .unwrap();
    let call = Call::new().with("key", "alice").with("team", "red").tokens(10);
    let (usage, mut asked) = (Usage::new().tokens(7), 0);
    let round = |usage: &Usage| {
        let permit = keeper.acquire(&call).unwrap().granted().unwrap();
        permit.settle(usage).unwrap();
    };
    (0..1_000).for_each(|_| round(&usage));
    let before = counting::live();
    for _ in 0..1_000 {
        let calls = counting::calls();
        round(&usage);
        asked = asked.max(counting::calls() - calls);
    }
    assert_eq!((asked, counting::live() - before), (0, 0));
    // So does one that is given back.
    let calls = counting::calls();
    keeper.acquire(&call).unwrap().granted().unwrap().release().unwrap();
    assert_eq!(counting::calls() - calls, 0);
}
