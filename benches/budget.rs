//! What budgets cost: acquire and settle against 1, 4 and 16 of them, the status of 10,000, and a report over a ledger of a
//! million rows, beside a plain sum over the same rows.
//!
//! `cargo bench --bench budget` prints a table; `-- --quick` ends sooner.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::float_arithmetic
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward::account::{Act, Context};
use keyward::budgets;
use keyward::plan::{Adopt, Plan, Report, Used, Verdict};
use keyward::reports::{Group, activity, group, upstreams};
use keyward::store::{Filter, sums};
use keyward::terms::Terms;
use keyward::window::Zone;
use keyward::{Limit, MemoryStore, OpIds, Store, Subject, Timestamp, Usage, Usd};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, turns, rows) = if quick { (3, 2_000, 100_000) } else { (9, 20_000, 1_000_000) };

    println!("acquire and settle, memory store, budgets of money with a row for each change");
    let mut one = Duration::ZERO;
    for count in [1, 4, 16] {
        let mut world = World::new(count);
        let each = median(rounds, || world.acquire_and_settle(turns)) / turns;
        one = if count == 1 { each } else { one };
        println!("  {count:>2} budgets of one team   {each:>10.2?}   {:>5.2}x of one", ratio(each, one));
    }

    println!("status of 10,000 budgets, each of a team of its own");
    let world = World::of_teams(10_000);
    let pages = median(rounds, || time(|| assert_eq!(world.all_statuses(), 10_000)));
    println!("  by pages of 1,000        {pages:>10.2?}   {:>8.2?} each", pages / 10_000);
    let red = Subject::of([("team", "t5000")]).unwrap();
    let term = world.terms.iter().next().unwrap();
    let single = median(rounds, || {
        time(|| (0..turns).for_each(|_| drop(black_box(budgets::status(&world.store, term, &red, None, NOW).unwrap()))))
    });
    println!("  one by one               {:>10.2?}", single / turns);

    println!("reports over a ledger of {rows} rows of usage");
    let store = ledger(rows);
    let plain: Vec<(u64, i64)> = (0..rows).map(|n| (n % 1_000, (n % 97) as i64)).collect();
    let scan = median(rounds, || time(|| plain.iter().map(|(tokens, usd)| *tokens as i64 + usd).sum::<i64>()));
    let rounds = rounds.min(3);
    let read = median(rounds, || time(|| read_all(&store)));
    let whole = median(rounds, || time(|| sums(&store, &Filter::default()).unwrap()));
    let by = [Group::Client, Group::Dimension("model".into())];
    let grouped = median(rounds, || time(|| group(&store, &Filter::default(), &by).unwrap()));
    let clients = median(rounds, || time(|| activity(&store, &Filter::default(), Zone::UTC, NOW).unwrap()));
    let keys = median(rounds, || time(|| upstreams(&store, &Filter::default(), "task", |_| None).unwrap()));
    let one_client = median(rounds, || {
        let mut filter = Filter::default();
        filter.client = Some("c7".parse().unwrap());
        time(|| group(&store, &filter, &by).unwrap())
    });
    for (name, time) in [
        ("a sum over an array of numbers", scan),
        ("reading every row by pages", read),
        ("a sum of every row", whole),
        ("by client and model", grouped),
        ("activity of 200 client keys", clients),
        ("12 upstream keys and their tasks", keys),
        ("one client of 200, by model", one_client),
    ] {
        println!("  {name:34} {time:>10.2?}   {:>6.2}x of reading", ratio(time, read));
    }
    sql(rows, rounds, whole, grouped);
}

/// The same sums by SQL over a plain table, where SQLite is there.
#[cfg(feature = "sqlite")]
fn sql(rows: u64, rounds: usize, whole: Duration, grouped: Duration) {
    let mut db = rusqlite::Connection::open_in_memory().unwrap();
    db.execute_batch("create table usage (client text, model text, tokens integer, usd integer)").unwrap();
    let all = db.transaction().unwrap();
    {
        let mut insert = all.prepare("insert into usage values (?, ?, ?, ?)").unwrap();
        for n in 0..rows {
            let (client, model) = (format!("c{}", n % 200), format!("m{}", n % 5));
            insert.execute((client, model, (n % 1_000) as i64, (n % 97) as i64)).unwrap();
        }
    }
    all.commit().unwrap();
    let run = |text: &str| {
        let mut query = db.prepare(text).unwrap();
        let mut rows = query.query(()).unwrap();
        while let Some(row) = rows.next().unwrap() {
            black_box(row.get::<_, i64>(0).unwrap());
        }
    };
    let plain = median(rounds, || time(|| run("select sum(tokens), sum(usd) from usage")));
    let by = median(rounds, || time(|| run("select sum(tokens), sum(usd) from usage group by client, model")));
    println!(
        "  a plain SUM in SQLite              {plain:>10.2?}   a sum of every row takes {:.2}x",
        ratio(whole, plain)
    );
    println!("  the same by client and model       {by:>10.2?}   by client and model takes {:.2}x", ratio(grouped, by));
}

#[cfg(not(feature = "sqlite"))]
fn sql(_: u64, _: usize, _: Duration, _: Duration) {}

struct World {
    store: MemoryStore,
    terms: Terms,
}

impl World {
    fn new(count: u32) -> Self {
        let store = MemoryStore::builder().rows(100_000).build().unwrap();
        let limit = |n: u32| Limit::usd(Usd::MAX).per_days(n + 1).by("team").named(&format!("budget {n}"));
        let terms = Terms::adopt(&store, (0..count).map(limit), Adopt::Start, NOW).unwrap();
        Self { store, terms }
    }

    fn of_teams(teams: u32) -> Self {
        let world = Self::new(1);
        for n in 0..teams {
            world.hold(&OpIds::new(), &format!("t{n}"));
        }
        world
    }

    fn hold(&self, ids: &OpIds, team: &str) -> keyward::OpId {
        let (op, estimate) = (ids.next(NOW), Usage::new().usd(Usd::micros(10)));
        let value = |name: &str| (name == "team").then_some(team);
        let mut plan = budgets::ask_plan(&self.terms, value, &estimate, budgets::no_own, NOW).unwrap().of(op.clone());
        plan.takes.iter_mut().for_each(|take| take.act = Act::Hold);
        match self.store.apply(&plan, NOW).unwrap() {
            Verdict::Granted(_) => op,
            other => panic!("{other:?}"),
        }
    }

    fn acquire_and_settle(&mut self, turns: u32) -> Duration {
        let ids = OpIds::new();
        time(|| {
            for _ in 0..turns {
                let op = self.hold(&ids, "red");
                let actual = self.terms.iter().map(|term| (term.meter(), Usd::micros(7).into())).collect();
                let plan = Plan::new(NOW).of(op).report(Report::Settle { account: None, actual });
                assert!(matches!(self.store.apply(&plan, NOW).unwrap(), Verdict::Granted(_)));
            }
        })
    }

    fn all_statuses(&self) -> usize {
        let (mut count, mut after) = (0, None);
        loop {
            let page = budgets::statuses(&self.store, &self.terms, after.as_ref(), 1_000, NOW).unwrap();
            count += black_box(page.standings).len();
            after = page.next;
            if after.is_none() {
                return count;
            }
        }
    }
}

/// A ledger of so many rows of usage, of 200 client keys, 12 upstream keys, 5 models and 1,000 tasks.
fn ledger(rows: u64) -> MemoryStore {
    let store = MemoryStore::builder().rows(usize::try_from(rows).unwrap()).build().unwrap();
    for n in 0..rows {
        let (client, model) = (format!("c{}", n % 200), format!("m{}", n % 5));
        let mut plan = Plan::new(NOW);
        plan.context = Some(Arc::new(Context {
            subject: Subject::of([("key", client.as_str()), ("model", model.as_str())]).unwrap(),
            tags: vec![("task".to_owned(), format!("t{}", n % 1_000))],
            client: Some(client.parse().unwrap()),
            key: Some(format!("u{}", n % 12).parse().unwrap()),
            estimate: Usage::new(),
        }));
        let usage = Usage::new().tokens(n % 1_000).usd(Usd::micros(u32::try_from(n % 97).unwrap()));
        plan.used = Some(Used { usage, outcome: None });
        assert!(matches!(store.apply(&plan, NOW).unwrap(), Verdict::Granted(_)));
    }
    store
}

fn read_all(store: &MemoryStore) -> usize {
    let (mut count, mut after) = (0, 0);
    loop {
        let page = store.rows(&Filter::default(), after, 4_096).unwrap();
        let Some((last, _)) = page.last() else { return count };
        after = *last;
        count += page.len();
    }
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let begin = Instant::now();
    black_box(work());
    begin.elapsed()
}

fn median(rounds: usize, mut run: impl FnMut() -> Duration) -> Duration {
    let mut all: Vec<Duration> = (0..rounds).map(|_| run()).collect();
    all.sort_unstable();
    all.get(rounds / 2).copied().unwrap_or_default()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
