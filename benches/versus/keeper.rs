//! The keeper, as a host uses it: gates, limits, prices and the ledger's row of each call, beside governor checked once for
//! each limit, which does none of that.
//!
//! Calls are kept and asked again, as a host does that knows its keys; one row makes each call anew.

use std::collections::HashMap;

use keyward::{Call, Decision, Keeper, Limit, MemoryStore, Usage};

use crate::harness::{Bench, Row, Work};
use crate::heap;
use crate::keyed::{PLENTY, governor, names, visits, walk};

const THREE_GOVERNORS: &str = "governor 0.10, three checks in a row";

pub fn rows(bench: &Bench, rows: &mut Vec<Row>) {
    let charged = "keeper: charge of three limits on one subject, 1 k";
    let settled = "keeper: acquire and settle of three limits on one subject, 1 k";
    let anew = ["1 k", "1 M"].map(|size| format!("keeper: acquire and settle, each call made anew, {size}"));
    let allocations = "keeper: heap allocations per acquire and settle (times)";
    for (n, anew, goal) in [(1_000, &anew[0], None), (1_000_000, &anew[1], Some(0.7))] {
        let kept = n == 1_000;
        let others = [charged, settled, allocations];
        if !(bench.wants(anew) || kept && others.into_iter().any(|work| bench.wants(work))) {
            continue;
        }
        let names = names(n);
        let visits = visits(&names);
        let governors = [(); 3].map(|()| governor(&names));
        let peers: Work<'_> =
            walk(&visits, |name: &String| governors.iter().all(|governor| governor.check_key(name).is_ok()));
        let mut add = |work: &str, goal, ours: &Work<'_>| {
            let (ours, peers) = bench.both(ours, &peers, 1);
            rows.push(Row { work: work.to_owned(), peer: THREE_GOVERNORS, ours, peers, goal });
        };
        let keeper = knowing(&names);
        if bench.wants(anew) {
            add(anew, goal, &walk(&visits, |name: &String| settles(&keeper, &call(name))));
        }
        if !kept {
            continue;
        }
        let places: HashMap<&String, Call> = names.iter().map(|name| (name, call(name))).collect();
        let calls: Vec<&Call> = visits.iter().map(|name| &places[name]).collect();
        if bench.wants(settled) {
            add(settled, Some(1.5), &walk(&calls, |call: &&Call| settles(&keeper, call)));
        }
        if bench.wants(charged) {
            let usage = Usage::new();
            add(charged, None, &walk(&calls, |call: &&Call| keeper.charge(call, &usage).is_ok_and(|no| no.is_none())));
        }
        if bench.wants(allocations) {
            // What grows with the number of calls has grown by now.
            assert!(calls.iter().cycle().take(100_000).all(|call| settles(&keeper, call)));
            let asked = heap::asked(|| assert!(calls.iter().take(1_000).all(|call| settles(&keeper, call))));
            let work = allocations.to_owned();
            rows.push(Row { work, peer: "one", ours: asked / 1_000.0, peers: 1.0, goal: Some(0.0) });
        }
    }
}

/// A keeper that has seen each of these.
fn knowing(names: &[String]) -> Keeper {
    let store = MemoryStore::builder().accounts(8_000_000).build().unwrap();
    let limit = |length| Limit::requests(PLENTY.into()).per(length).by("key");
    let keeper = Keeper::builder().store(store).limits(["1m", "1h", "12h"].map(limit)).build().unwrap();
    assert!(names.iter().all(|name| settles(&keeper, &call(name))));
    keeper
}

fn call(name: &str) -> Call {
    Call::new().with("key", name)
}

fn settles(keeper: &Keeper, call: &Call) -> bool {
    let Ok(Decision::Granted(permit)) = keeper.acquire(call) else { return false };
    permit.settle(&Usage::new()).is_ok()
}
