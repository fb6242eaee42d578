//! Two hundred calls at the same moment against a budget that fits thirty-seven. Some cost more than was held for them,
//! some are given up; what was admitted, what it cost, and the ledger that proves it.
//!
//! `cargo run --release --example reserve_settle`, or with a number to roll other dice: `-- 7`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::{Arc, Barrier};

use keyward::account::{Act, Context};
use keyward::plan::{Adopt, Plan, Report, Used, Verdict};
use keyward::store::{Filter, sums, verify};
use keyward::terms::Terms;
use keyward::{Limit, MemoryStore, OpId, OpIds, Store, Subject, Timestamp, Usage, Usd, budgets};

const CALLS: u64 = 200;
const FIT: u32 = 37;

type Done<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Budget {
    store: MemoryStore,
    terms: Terms,
    now: Timestamp,
}

impl Budget {
    /// Holds a cent for a call, if there is one left.
    fn hold(&self) -> Done<Option<OpId>> {
        let (op, estimate) = (OpIds::new().next(self.now), Usage::new().usd(Usd::cents(1)));
        let team = |name: &str| (name == "team").then_some("red");
        let mut plan = budgets::ask_plan(&self.terms, team, &estimate, budgets::no_own, self.now)?.of(op.clone());
        plan.takes.iter_mut().for_each(|take| take.act = Act::Hold);
        plan.context = Some(Arc::new(Context { subject: red()?, tags: vec![], client: None, key: None, estimate }));
        Ok(match self.store.apply(&plan, self.now)? {
            Verdict::Granted(_) => Some(op),
            _ => None,
        })
    }

    /// Books what a call has cost, or gives back what was held for it. Says what it cost.
    fn end(&self, op: OpId, cost: Option<Usd>) -> Done<Usd> {
        let plan = Plan::new(self.now).of(op);
        let plan = match cost {
            None => plan.report(Report::Release { account: None }),
            Some(cost) => {
                let actual = self.terms.iter().map(|term| (term.meter(), cost.into())).collect();
                let used = Some(Used { usage: Usage::new().usd(cost), outcome: None });
                Plan { used, ..plan.report(Report::Settle { account: None, actual }) }
            }
        };
        match self.store.apply(&plan, self.now)? {
            Verdict::Granted(_) => Ok(cost.unwrap_or(Usd::ZERO)),
            other => Err(format!("it was not booked: {other:?}").into()),
        }
    }
}

fn red() -> Done<Subject> {
    Ok(Subject::of([("team", "red")])?)
}

/// Numbers that look like chance and are the same on every run.
fn dice(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What a call turns out to cost: one in five is given up, one in three costs up to three cents, the others up to one.
fn cost(seed: u64) -> Option<Usd> {
    let micros = |most: u64| u32::try_from(dice(seed + 1) % most).map(|n| Usd::micros(n + 1)).ok();
    match dice(seed) % 15 {
        0..=2 => None,
        3..=7 => micros(30_000),
        _ => micros(10_000),
    }
}

fn main() -> Done<()> {
    let seed: u64 = std::env::args().nth(1).map_or(Ok(1), |seed| seed.parse())?;
    let (store, now) = (MemoryStore::new(), "2026-03-01T09:00:00Z".parse()?);
    let limit = Limit::usd(Usd::cents(FIT)).per_month().by("team");
    let terms = Terms::adopt(&store, [limit], Adopt::Start, now)?;
    let budget = Budget { store, terms, now };
    println!("{CALLS} calls at once, a cent held for each, against {}", budget.terms.iter().next().unwrap().limit());

    // All of them ask before any of them ends.
    let all_asked = Barrier::new(CALLS.try_into()?);
    let ended = std::thread::scope(|scope| {
        let (budget, all_asked) = (&budget, &all_asked);
        let calls: Vec<_> = (0..CALLS)
            .map(|n| {
                scope.spawn(move || -> Done<Option<Option<Usd>>> {
                    let held = budget.hold();
                    all_asked.wait();
                    let Some(op) = held? else { return Ok(None) };
                    let cost = cost(seed * 1_000 + 2 * n);
                    budget.end(op, cost)?;
                    Ok(Some(cost))
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect::<Done<Vec<_>>>()
    })?;

    let admitted: Vec<Option<Usd>> = ended.into_iter().flatten().collect();
    let costs: Vec<Usd> = admitted.iter().copied().flatten().collect();
    let sum = |costs: &mut dyn Iterator<Item = i64>| Usd::from_nanos(costs.sum::<i64>()).unwrap();
    let cost = sum(&mut costs.iter().map(|cost| cost.as_nanos()));
    let overage = sum(&mut costs.iter().map(|cost| (cost.as_nanos() - Usd::cents(1).as_nanos()).max(0)));
    println!("  admitted   {:>4}", admitted.len());
    println!("  refused    {:>4}", usize::try_from(CALLS)? - admitted.len());
    println!("  given up   {:>4}", admitted.len() - costs.len());
    println!("  settled    {:>4}   for {cost}, of which {overage} above what was held", costs.len());
    assert_eq!(admitted.len(), usize::try_from(FIT)?, "exactly as many as fit");

    let status = || budgets::status(&budget.store, budget.terms.iter().next().unwrap(), &red().unwrap(), None, now);
    let standing = status()?.status;
    println!("  spent {} and held {}; {} left", Usd::from(standing.spent), Usd::from(standing.held), left(&standing));
    assert_eq!(Usd::from(standing.spent), cost, "every cost is booked whole");

    // What was given up or came cheaper is there for others.
    let mut more = 0;
    while let Some(op) = budget.hold()? {
        budget.end(op, Some(Usd::cents(1)))?;
        more += 1;
    }
    let standing = status()?.status;
    println!("{more} more calls at a cent each: {} spent, {} left", Usd::from(standing.spent), left(&standing));
    let most = Usd::cents(FIT).checked_add(overage).unwrap();
    assert!(Usd::from(standing.spent) <= most, "never more than the budget and what calls cost above their holds");

    let rows = sums(&budget.store, &Filter::default())?;
    let mismatches = verify(&budget.store, now)?;
    println!("the ledger has {} rows of usage, which add up to {} nano-dollars", rows.rows, rows.usd);
    println!("the ledger and the account {}", if mismatches.is_empty() { "agree" } else { "do not agree" });
    assert_eq!((rows.usd, mismatches), (standing.spent.get().into(), vec![]));
    Ok(())
}

fn left(status: &keyward::budget::Status) -> String {
    status.remaining.map_or("no end".to_owned(), |left| Usd::from(left).to_string())
}
