//! Several limits in one step: the memory store beside governor, checked once for each limit, and beside limitador.
//!
//! Ours is the whole of it: the clock is read, the subject is made of the caller's text, the plan is decided and saved. Where
//! a row says `acquire` alone, what is asked for is spent at once, which is what a check of the peers does; where it says
//! `and settle`, it is held first.

use std::collections::HashMap;

use keyward::account::{Act, Ask, Audit, Firm, Kernel, MeterId, OnExpiry, Rule};
use keyward::plan::{Plan, Report, Take, Verdict};
use keyward::{Amount, Clock, Length, MemoryStore, OpId, OpIds, Store, Subject, SystemClock, Timestamp};
use limitador::RateLimiter;
use limitador::limit::{Context, Limit, Namespace};

use crate::harness::{Bench, Row, Work};
use crate::heap;
use crate::keyed::{PLENTY, governor, names, visits, walk};

const THREE_GOVERNORS: &str = "governor 0.10, three checks in a row";
const LIMITADOR: &str = "limitador 0.14, in memory, 3 limits";
const LENGTHS: [Length; 4] = [Length::MINUTE, Length::HOUR, Length::DAY, Length::WEEK];

pub fn rows(bench: &Bench, rows: &mut Vec<Row>) {
    for (size, n, goals) in [("1 k", 1_000, [1.0, 1.5, 1.5]), ("1 M", 1_000_000, [0.5, 1.0, 0.7])] {
        beside_governor(bench, rows, size, n, goals);
    }
    let work = "acquire of three limits, 1 k, beside limitador";
    let allocations = "heap allocations per acquire and settle (times)";
    if bench.wants(work) || bench.wants(allocations) {
        let (limitador, names) = (Limitador::new(), names(1_000));
        let visits = visits(&names);
        let ours = Ours::knowing(&names, 3);
        if bench.wants(work) {
            let check = walk(&visits, |name: &String| limitador.check(name));
            rows.push(row(work, LIMITADOR, 0.03, bench.both(&ours.spend(&visits, &["key"]), &check, 1)));
        }
        if bench.wants(allocations) {
            let peers = heap::asked(|| assert!(limitador.reserve_and_commit(&visits[0])));
            let settle = ours.settle(&visits);
            assert_eq!(settle(0, 2_000), 2_000);
            // The plans are made once for a walk, which asks for no memory then.
            let asked = heap::asked(|| assert_eq!(settle(2_000, 1_000), 1_000)) / 1_000.0;
            rows.push(row(allocations, "limitador 0.14, reserve and commit", 0.0, (asked, peers)));
        }
    }
    let four = "live heap per subject at 1 M, four limits (bytes)";
    if bench.wants(four) {
        let names = names(1_000_000);
        let (kept, peers) = heap::in_use(|| [(); 4].map(|()| governor(&names)));
        drop(kept);
        let (kept, ours) = heap::in_use(|| Ours::knowing(&names, 4));
        drop(kept);
        rows.push(row(four, "governor 0.10, four limiters", 0.5, (ours / 1e6, peers / 1e6)));
    }
    let hold = "live heap per open hold of three limits (bytes)";
    if bench.wants(hold) {
        let names = names(1_000);
        let ours = Ours::knowing(&names, 3);
        let ((), bytes) = heap::in_use(|| ours.hold(&names, 20_000));
        rows.push(row(hold, "what a hold may take", 1.0, (bytes / 20_000.0, 200.0)));
    }
}

fn beside_governor(bench: &Bench, rows: &mut Vec<Row>, size: &str, n: usize, goals: [f64; 3]) {
    let one = format!("acquire of three limits on one subject, {size}");
    let three = format!("acquire of three limits on three subjects, {size}");
    let settled = format!("acquire and settle of three limits on one subject, {size}");
    let many = format!("acquire and settle, {size}, with 20,000 holds open");
    if ![&one, &three, &settled, &many].into_iter().any(|work| bench.wants(work)) {
        return;
    }
    let names = names(n);
    let visits = visits(&names);
    let governors = [(); 3].map(|()| governor(&names));
    let peers: Work<'_> =
        walk(&visits, |name: &String| governors.iter().all(|governor| governor.check_key(name).is_ok()));
    let ours = Ours::knowing(&names, 3);
    let [goal, goal_of_three, goal_settled] = goals;
    if bench.wants(&one) {
        rows.push(row(&one, THREE_GOVERNORS, goal, bench.both(&ours.spend(&visits, &["key"]), &peers, 1)));
    }
    if bench.wants(&three) {
        let spend = ours.spend(&visits, &["key", "team", "user"]);
        rows.push(row(&three, THREE_GOVERNORS, goal_of_three, bench.both(&spend, &peers, 1)));
    }
    if bench.wants(&settled) {
        rows.push(row(&settled, THREE_GOVERNORS, goal_settled, bench.both(&ours.settle(&visits), &peers, 1)));
    }
    if bench.wants(&many) && n == 1_000 {
        ours.hold(&names, 20_000);
        rows.push(row(&many, THREE_GOVERNORS, 2.5, bench.both(&ours.settle(&visits), &peers, 1)));
    }
}

fn row(work: &str, peer: &'static str, goal: f64, (ours, peers): (f64, f64)) -> Row {
    Row { work: work.to_owned(), peer, ours, peers, goal: Some(goal) }
}

/// A store in memory, and the sliding limits that every subject has there.
struct Ours {
    store: MemoryStore,
    limits: u32,
    clock: SystemClock,
    ids: OpIds,
}

impl Ours {
    /// Where each of these has been seen.
    fn knowing(names: &[String], limits: u32) -> Self {
        let store = MemoryStore::builder().accounts(8_000_000).build().unwrap();
        let ours = Self { store, limits, clock: SystemClock::new(), ids: OpIds::new() };
        let mut plan = ours.plan(&["key"], Act::Charge);
        for name in names {
            plan.accounts[0].subject = subject("key", name);
            assert!(matches!(ours.store.apply(&plan, ours.clock.now()), Ok(Verdict::Granted(_))));
        }
        ours
    }

    /// A plan of all limits, on one subject or dealt out to several.
    fn plan(&self, dimensions: &[&str], act: Act) -> Plan {
        let mut plan = Plan::new(Timestamp::MIN);
        for dimension in dimensions {
            plan = plan.named(subject(dimension, "nobody"));
        }
        for ((meter, length), place) in (1..=self.limits).zip(LENGTHS).zip((0_u16..).cycle()) {
            let rule = Rule {
                meter: MeterId(meter),
                generation: 0,
                cap: Amount::new(u32::MAX).into(),
                kernel: Kernel::Sliding { length },
                firm: Firm::Soft,
                on_expiry: OnExpiry::Release,
                audit: Audit::None,
            };
            let account = place % u16::try_from(dimensions.len()).unwrap();
            plan = plan.take(Take { account, rule, ask: Ask::Exact(Amount::ONE), act });
        }
        plan
    }

    fn spend<'a>(&'a self, visits: &'a [String], dimensions: &'a [&'a str]) -> Work<'a> {
        Box::new(move |from, count| {
            let mut plan = self.plan(dimensions, Act::Charge);
            let visits = visits.iter().cycle().skip(from % visits.len()).take(count);
            visits
                .filter(|name| {
                    for (place, dimension) in plan.accounts.iter_mut().zip(dimensions) {
                        place.subject = subject(dimension, name);
                    }
                    matches!(self.store.apply(&plan, self.clock.now()), Ok(Verdict::Granted(_)))
                })
                .count()
        })
    }

    fn settle<'a>(&'a self, visits: &'a [String]) -> Work<'a> {
        let (acquire, mut settle) = (self.plan(&["key"], Act::Hold), Plan::new(Timestamp::MIN));
        let actual = (1..=self.limits).map(|meter| (MeterId(meter), Amount::ONE)).collect();
        settle = settle.named(subject("key", "nobody")).report(Report::Settle { account: None, actual });
        Box::new(move |from, count| {
            let (mut acquire, mut settle) = (acquire.clone(), settle.clone());
            let visits = visits.iter().cycle().skip(from % visits.len()).take(count);
            visits
                .filter(|name| {
                    let now = self.clock.now();
                    self.aim(&mut acquire, name, now);
                    if !matches!(self.store.apply(&acquire, now), Ok(Verdict::Granted(_))) {
                        return false;
                    }
                    settle.accounts[0].subject = acquire.accounts[0].subject.clone();
                    settle.hold.clone_from(&acquire.hold);
                    matches!(self.store.apply(&settle, self.clock.now()), Ok(Verdict::Granted(_)))
                })
                .count()
        })
    }

    /// Opens so many holds, and leaves them open.
    fn hold(&self, names: &[String], holds: usize) {
        let mut plan = self.plan(&["key"], Act::Hold);
        plan.life = Length::DAY;
        for name in names.iter().cycle().take(holds) {
            let now = self.clock.now();
            self.aim(&mut plan, name, now);
            assert!(matches!(self.store.apply(&plan, now), Ok(Verdict::Granted(_))));
        }
    }

    fn aim(&self, plan: &mut Plan, name: &str, now: Timestamp) {
        let id: OpId = self.ids.next(now);
        plan.accounts[0].subject = subject("key", name);
        plan.hold = Some(id);
    }
}

fn subject(dimension: &str, name: &str) -> Subject {
    Subject::of([(dimension, name)]).unwrap()
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
