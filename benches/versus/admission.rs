//! Several limits in one step: the memory store beside governor, checked once for each limit, and beside limitador.
//!
//! The peers' side stands. Each row names the goal that ours is held to once it is measured beside it.

use std::collections::HashMap;

use limitador::RateLimiter;
use limitador::limit::{Context, Limit, Namespace};

use crate::harness::{Bench, Row, Work};
use crate::heap;
use crate::keyed::{PLENTY, governor, names, visits, walk};

const THREE_GOVERNORS: &str = "governor 0.10, three checks in a row";
const LIMITADOR: &str = "limitador 0.14, in memory, 3 limits";

pub fn rows(bench: &Bench, rows: &mut Vec<Row>) {
    let to_come = |work: String, peer, peers, goal| Row { work, peer, ours: None, peers, goal: Some(goal) };
    for (size, n, one_subject, three_subjects, settled) in
        [("1 k", 1_000, 1.0, 1.5, 1.5), ("1 M", 1_000_000, 0.5, 1.0, 0.7)]
    {
        let works = [
            (format!("acquire of three limits on one subject, {size}"), one_subject),
            (format!("acquire of three limits on three subjects, {size}"), three_subjects),
            (format!("acquire and settle of three limits on one subject, {size}"), settled),
        ];
        if !works.iter().any(|(work, _)| bench.wants(work)) {
            continue;
        }
        let names = names(n);
        let visits = visits(&names);
        let governors = [(); 3].map(|()| governor(&names));
        let three_checks: Work<'_> =
            walk(&visits, |name: &String| governors.iter().all(|governor| governor.check_key(name).is_ok()));
        let peers = bench.medians(&[&three_checks], 1)[0];
        for (work, goal) in works.into_iter().filter(|(work, _)| bench.wants(work)) {
            rows.push(to_come(work, THREE_GOVERNORS, peers, goal));
        }
    }
    let work = "acquire of three limits, 1 k, beside limitador";
    let allocations = "heap allocations per acquire and settle (times)";
    let four = "live heap per subject at 1 M, four limits (bytes)";
    if bench.wants(work) || bench.wants(allocations) {
        let limitador = Limitador::new();
        let visits = visits(&names(1_000));
        let check = walk(&visits, |name: &String| limitador.check(name));
        if bench.wants(work) {
            rows.push(to_come(work.to_owned(), LIMITADOR, bench.medians(&[&check], 1)[0], 0.03));
        }
        if bench.wants(allocations) {
            let times = heap::asked(|| assert!(limitador.reserve_and_commit(&visits[0])));
            rows.push(to_come(allocations.to_owned(), "limitador 0.14, reserve and commit", times, 0.0));
        }
    }
    if bench.wants(four) {
        let names = names(1_000_000);
        let (kept, bytes) = heap::in_use(|| [(); 4].map(|()| governor(&names)));
        drop(kept);
        rows.push(to_come(four.to_owned(), "governor 0.10, four limiters", bytes / 1e6, 0.5));
    }
}

struct Limitador {
    limiter: RateLimiter,
    namespace: Namespace,
}

impl Limitador {
    fn new() -> Self {
        let limiter = RateLimiter::new(1_000_000);
        for seconds in [60, 3_600, 86_400] {
            let by_subject = vec!["subject".try_into().unwrap()];
            assert!(limiter.add_limit(Limit::new("versus", u64::from(PLENTY), seconds, vec![], by_subject)));
        }
        Self { limiter, namespace: "versus".into() }
    }

    fn context(name: &str) -> Context<'static> {
        HashMap::from([("subject".to_owned(), name.to_owned())]).into()
    }

    fn check(&self, name: &str) -> bool {
        !self.limiter.check_rate_limited_and_update(&self.namespace, &Self::context(name), 1).unwrap().limited
    }

    fn reserve_and_commit(&self, name: &str) -> bool {
        let context = Self::context(name);
        let held = self.limiter.reserve(&self.namespace, &context, 1, None).unwrap();
        let committed = self.limiter.commit_reservation(&self.namespace, &context, held.reservation_id.as_ref(), 1);
        !held.limited && committed.unwrap().reservation_released
    }
}
