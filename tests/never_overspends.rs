//! No order of calls, settles, releases, expiries, edits and steps of the clock lets more than a limit allows be held and
//! spent at a grant, and the ledger always adds up to what the accounts say. In memory and in SQLite, which agree.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

mod host;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use host::*;
use keyward::account::{Counter, Meter};
use keyward::budgets;
use keyward::plan::{Adopt, BalanceChange, Plan, Report, Verdict};
use keyward::store::{Store, apply_at};
use keyward::terms::Terms;
use keyward::window::FirstUse;
use keyward::{Cap, Length, Limit, MemoryStore, Timestamp, Usage, Usd};
use proptest::prelude::*;

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    Acquire { op: u8, team: u8, cents: u32, old: bool },
    Settle { op: u8, cents: u32 },
    Release { op: u8 },
    Extend { op: u8, seconds: i64 },
    Raise { op: u8, cents: u32 },
    Record { op: u8, cents: u32 },
    Wait { seconds: i64 },
    Back { seconds: i64 },
    Edit { dollars: u32, window: u8, calls: u32 },
    Reset { team: u8 },
    Credit { team: u8, change: BalanceChange },
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (op, team, cents) = (0..12_u8, 0..2_u8, 1..80_u32);
    let seconds = prop_oneof![1..60_i64, 100..5_000_i64, 40_000..100_000_i64];
    let change = prop_oneof![
        (0..30_i64).prop_map(|n| BalanceChange::Set(Some(n))),
        (0..30_u32).prop_map(|n| BalanceChange::Credit(n.into())),
        (0..30_u32).prop_map(|n| BalanceChange::Debit(n.into())),
    ];
    let step = prop_oneof![
        8 => (op.clone(), team.clone(), cents.clone(), prop::bool::weighted(0.2))
            .prop_map(|(op, team, cents, old)| Step::Acquire { op, team, cents, old }),
        5 => (op.clone(), 0..150_u32).prop_map(|(op, cents)| Step::Settle { op, cents }),
        2 => op.clone().prop_map(|op| Step::Release { op }),
        1 => (op.clone(), 1..4_000_i64).prop_map(|(op, seconds)| Step::Extend { op, seconds }),
        1 => (op.clone(), cents.clone()).prop_map(|(op, cents)| Step::Raise { op, cents }),
        1 => (op, cents).prop_map(|(op, cents)| Step::Record { op, cents }),
        4 => seconds.clone().prop_map(|seconds| Step::Wait { seconds }),
        1 => seconds.prop_map(|seconds| Step::Back { seconds }),
        2 => (0..4_u32, 0..5_u8, 0..8_u32).prop_map(|(dollars, window, calls)| Step::Edit { dollars, window, calls }),
        1 => team.clone().prop_map(|team| Step::Reset { team }),
        1 => (team, change).prop_map(|(team, change)| Step::Credit { team, change }),
        1 => Just(Step::Sweep),
    ];
    proptest::collection::vec(step, 1..70)
}

/// The policy: limits of every shape on one team, so that one call is held in all of them or in none.
fn limits(dollars: u32, window: u8, calls: u32) -> Vec<Limit> {
    let budget = Limit::usd(Usd::dollars(dollars)).by("team").named("budget");
    let budget = match window {
        0 => budget.per_day(),
        1 => budget.per_days(1),
        2 => budget.per_days(2),
        3 => budget.per_month(),
        _ => budget.per_first_use(FirstUse::new(Length::DAY)),
    };
    vec![
        budget,
        Limit::usd(Usd::dollars(20)).lifetime().named("all"),
        Limit::requests(calls.into()).per_minute().by("team").named("rate"),
        Limit::requests(u64::from(calls) * 3).per_hour().rolling(6).by("team").named("hourly"),
        Limit::slots(4).by("team").named("slots"),
        Limit::credits(15).by("team").named("credits"),
    ]
}

/// What is used of a meter and may not pass its limit, and the limit.
fn used(meter: &Meter, now: Timestamp) -> (i64, Cap) {
    match &meter.counter {
        Counter::Tally { tally, .. } => (tally.spent.get() + tally.held.get(), meter.cap),
        Counter::Balance(balance) => (balance.held.get(), Cap::At(units(balance.units.unwrap_or(i64::MAX).max(0)))),
        _ => (meter.spent(now).get(), meter.cap),
    }
}

/// One store, and what a host does with it.
struct World<S> {
    host: Host<S>,
    /// The policy of a process that has not heard of the last edit.
    before: Terms,
    now: i64,
    earliest: i64,
    latest: i64,
    count: u32,
}

/// Some hours before midnight.
const BEGIN: i64 = 1_000_000;

impl<S: Store> World<S> {
    fn new(store: S) -> Self {
        let host = Host::new(store, limits(3, 0, 5), BEGIN);
        Self { before: host.terms.clone(), host, now: BEGIN, earliest: BEGIN, latest: BEGIN, count: 0 }
    }

    /// What became of it; for a grant, that it was within every limit.
    fn step(&mut self, step: &Step) -> Result<Option<Verdict>, TestCaseError> {
        self.count += 1;
        let (now, count) = (at(self.now), self.count);
        let of = |op: &u8| keyward::OpId::host(&format!("op {op}")).unwrap();
        let team = |team: &u8| if *team == 0 { "red" } else { "blue" };
        let usd = |cents: &u32| Usage::new().usd(Usd::cents(*cents));
        let apply = |plan: Plan| self.host.store.apply(&plan, now).unwrap();
        let meter = self.host.term(0).meter();
        let amounts = |cents: &u32| [(meter, Usd::cents(*cents).into())].into_iter().collect();
        Ok(match step {
            Step::Acquire { op, team: name, cents, old } => {
                let call = [("team", team(name))];
                let current = self.host.terms.clone();
                if *old {
                    self.host.terms = self.before.clone();
                }
                let plan = self.host.plan(&of(op), &call, &usd(cents), now);
                self.host.terms = current;
                let verdict = self.host.store.apply(&plan, now).unwrap();
                if matches!(verdict, Verdict::Granted(_)) {
                    self.is_within(&plan, now)?;
                }
                Some(verdict)
            }
            Step::Settle { op, cents } => Some(apply(self.host.settle_plan(&of(op), &usd(cents), now))),
            Step::Release { op } => Some(apply(Plan::new(now).of(of(op)).report(Report::Release { account: None }))),
            Step::Extend { op, seconds } => {
                let life = Length::from_secs(*seconds).unwrap();
                Some(apply(Plan::new(now).of(of(op)).report(Report::Extend { life })))
            }
            Step::Raise { op, cents } => {
                Some(apply(Plan::new(now).of(of(op)).report(Report::Raise { to: amounts(cents) })))
            }
            Step::Record { op, cents } => {
                let record = Plan::new(now).of(of(op)).report(Report::Record { more: amounts(cents) });
                Some(apply(Plan { op: Some(keyward::OpId::host(&format!("record {count}")).unwrap()), ..record }))
            }
            Step::Wait { seconds } => {
                self.now += seconds;
                self.latest = self.latest.max(self.now);
                None
            }
            Step::Back { seconds } => {
                self.now -= seconds;
                self.earliest = self.earliest.min(self.now);
                None
            }
            Step::Edit { dollars, window, calls } => {
                self.before = self.host.terms.clone();
                let limits = limits(*dollars, *window, *calls);
                self.host.terms = Terms::adopt(&self.host.store, limits, Adopt::Change, now).unwrap();
                None
            }
            Step::Reset { team: name } => {
                let op = keyward::OpId::host(&format!("reset {count}")).unwrap();
                budgets::reset(&self.host.store, &op, self.host.term(0), &subject("team", team(name)), now).unwrap();
                None
            }
            Step::Credit { team: name, change } => {
                let op = keyward::OpId::host(&format!("credit {count}")).unwrap();
                let plan =
                    |now| Ok(budgets::change_plan(self.host.term(5), &op, &subject("team", team(name)), *change, now));
                apply_at(&self.host.store, now, plan).ok().map(|(verdict, _)| verdict)
            }
            Step::Sweep => {
                while self.host.store.sweep(now, 100).unwrap() >= 100 {}
                None
            }
        })
    }

    fn is_within(&self, plan: &Plan, now: Timestamp) -> Result<(), TestCaseError> {
        for take in &plan.takes {
            let subject = &plan.accounts[usize::from(take.account)].subject;
            let account = self.host.store.account(subject).unwrap().unwrap();
            let (used, cap) = used(account.meter(take.rule.meter).unwrap(), now);
            prop_assert!(cap.allows(units(used)), "{subject}, {:?}: {used} of {cap:?}", take.rule);
        }
        Ok(())
    }

    fn proved(&self) -> Vec<keyward::store::Mismatch> {
        keyward::store::verify(&self.host.store, at(self.now)).unwrap()
    }
}

/// Each store forgets an empty account when it comes by; a late settle begins its meters again, without their limits until
/// the next rule. Here every limit has an end, so where only one store names it, that one had not forgotten.
#[cfg(feature = "sqlite")]
fn with_known_caps(mut one: Option<Verdict>, mut other: Option<Verdict>) -> (Option<Verdict>, Option<Verdict>) {
    use keyward::plan::Effect;

    if let (Some(Verdict::Granted(one)), Some(Verdict::Granted(other))) = (&mut one, &mut other) {
        for (one, other) in one.effects.iter_mut().zip(other.effects.iter_mut()) {
            let (Effect::Booked { cap: one, .. }, Effect::Booked { cap: other, .. }) = (one, other) else { continue };
            match (*one, *other) {
                (Cap::Unlimited, known) => *one = known,
                (known, Cap::Unlimited) => *other = known,
                _ => {}
            }
        }
    }
    (one, other)
}

fn cases() -> u32 {
    if std::env::var_os("KEYWARD_SOAK").is_some() { 20_000 } else { 300 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_memory_no_order_of_things_passes_a_limit(steps in steps()) {
        let mut world = World::new(MemoryStore::new());
        for step in &steps {
            world.step(step)?;
        }
        prop_assert_eq!(world.proved(), []);
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn sqlite_and_memory_answer_the_same_and_pass_no_limit(steps in steps()) {
        let mut memory = World::new(MemoryStore::new());
        let mut file = World::new(keyward::SqliteStore::in_memory().unwrap());
        for step in &steps {
            let (one, other) = (memory.step(step)?, file.step(step)?);
            // After a day, one may have forgotten what the other still knows.
            if memory.latest - memory.earliest < 86_400 {
                let (one, other) = with_known_caps(one, other);
                prop_assert_eq!(one, other, "{:?}", step);
            }
        }
        prop_assert_eq!(memory.proved(), []);
        prop_assert_eq!(file.proved(), []);
    }
}

/// aigetwey, sub2api, Bifrost, LiteLLM, new-api: checked first and charged later, so that calls at the same time all passed
/// one budget. Whoever looks, at any moment, finds no more spent and held than there is.
fn threads_never_pass_it(store: impl Store) {
    let host = Host::new(store, [Limit::usd(Usd::cents(500)).lifetime().by("team")], 0);
    let (red, meter) = (subject("team", "red"), host.term(0).meter());
    let (done, granted) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        let (host, granted, done) = (&host, &granted, &done);
        let callers: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn(move || {
                    for turn in 0..25_u32 {
                        // Several calls are under way at a time.
                        let ask = |call: u32| {
                            let (op, cents) = (format!("{n} {turn} {call}"), 1 + (turn * 7 + call * 5 + n) % 11);
                            let usage = Usage::new().usd(Usd::cents(cents));
                            let verdict = host.acquire(&op, &[("team", "red")], &usage, 1);
                            matches!(verdict, Verdict::Granted(_)).then_some((op, cents, usage))
                        };
                        let under_way: Vec<_> = (0..6).filter_map(ask).collect();
                        for (op, cents, usage) in under_way {
                            if cents % 3 == 0 {
                                host.release(&op, 1);
                                continue;
                            }
                            host.settle(&op, &usage, 1);
                            granted.fetch_add(Usd::cents(cents).as_nanos(), Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let (spent, held) = host.count(&red, meter, 1);
                assert!(spent + held <= Usd::cents(500).as_nanos(), "{spent} + {held}");
            }
        });
        // Whoever looks on stops also where a caller has failed.
        let ended: Vec<_> = callers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(Result::unwrap);
    });
    let spent = host.count(&subject("team", "red"), meter, 1);
    assert_eq!(spent, (granted.load(Ordering::Relaxed), 0));
    assert!(spent.0 > Usd::cents(480).as_nanos(), "it was nearly used up");
    host.is_proved(2);
}

#[test]
fn in_memory_threads_never_pass_a_budget() {
    threads_never_pass_it(MemoryStore::new());
}

#[cfg(feature = "sqlite")]
#[test]
fn in_sqlite_threads_never_pass_a_budget() {
    threads_never_pass_it(keyward::SqliteStore::in_memory().unwrap());
}
