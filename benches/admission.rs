//! What it costs to ask and to settle, in memory: by limits, subjects, open holds and threads. At the end, what is kept
//! in memory for it.
//!
//! `cargo bench --bench admission`; a part of it with `-- acquire/limits`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::print_stdout, clippy::cast_precision_loss, clippy::float_arithmetic, missing_docs)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[path = "../tests/memory_store/counting.rs"]
mod counting;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use keyward::account::{Audit, MeterId, OnExpiry};
use keyward::plan::{Act, Ask, Firm, Kernel, Plan, Report, Rule, Take, Verdict};
use keyward::{Amount, Length, MemoryStore, OpId, Store, Subject, Timestamp};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn subject(n: usize) -> Subject {
    Subject::of([("key", format!("{n:016}").as_str())]).unwrap()
}

fn take(meter: u32, cap: i64, act: Act) -> Take {
    let rule = Rule {
        meter: MeterId(meter),
        generation: 0,
        cap: Amount::from_i64(cap).unwrap().into(),
        kernel: Kernel::Sliding { length: Length::MINUTE },
        firm: Firm::Hard,
        on_expiry: OnExpiry::Release,
        audit: Audit::None,
    };
    Take { account: 0, rule, ask: Ask::Exact(Amount::ONE), act }
}

/// A plan that is used again and again: what differs from use to use is set in place.
fn acquire(limits: u32) -> Plan {
    let plan = Plan::new(NOW).named(subject(0)).of(OpId::at(NOW, 0));
    (1..=limits).fold(plan, |plan, meter| plan.take(take(meter, i64::MAX / 4, Act::Hold)))
}

fn ending(report: Report) -> Plan {
    Plan::new(NOW).named(subject(0)).of(OpId::at(NOW, 0)).report(report)
}

fn settling() -> Plan {
    ending(Report::Settle { account: None, actual: Default::default() })
}

fn aim(plan: &mut Plan, subject: &Subject, op: u128) {
    plan.accounts[0].subject.clone_from(subject);
    plan.accounts[0].hint = 0;
    plan.hold = Some(OpId::at(NOW, op));
}

#[inline]
fn apply(store: &MemoryStore, plan: &Plan) -> Verdict {
    black_box(store.apply(black_box(plan), NOW).unwrap())
}

fn meet(store: &MemoryStore, subjects: &[Subject], limits: u32) {
    let mut charge = Plan::new(NOW).named(subject(0));
    charge.takes = (1..=limits).map(|meter| take(meter, i64::MAX / 4, Act::Charge)).collect();
    for subject in subjects {
        charge.accounts[0].subject.clone_from(subject);
        let Verdict::Granted(_) = apply(store, &charge) else { panic!() };
    }
}

/// Which subject comes next: each as likely as any other, or few of them most of the time.
#[derive(Clone, Copy, Debug)]
enum Spread {
    Uniform,
    Zipf,
}

struct Draw {
    state: u64,
    spread: Spread,
    of: usize,
}

impl Draw {
    fn new(spread: Spread, of: usize) -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15, spread, of }
    }

    #[inline]
    fn next(&mut self) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let unit = (self.state >> 11) as f64 / (1_u64 << 53) as f64;
        match self.spread {
            Spread::Uniform => (unit * self.of as f64) as usize,
            // With exponent one: as many draws below a rank as its logarithm says.
            Spread::Zipf => ((self.of as f64).powf(unit) as usize).saturating_sub(1),
        }
    }
}

fn pair(store: &MemoryStore, plans: &mut (Plan, Plan), subject: &Subject, op: u128) {
    aim(&mut plans.0, subject, op);
    let Verdict::Granted(_) = apply(store, &plans.0) else { panic!() };
    aim(&mut plans.1, subject, op);
    let Verdict::Granted(_) = apply(store, &plans.1) else { panic!() };
}

fn by_limits(c: &mut Criterion) {
    let mut group = c.benchmark_group("acquire/limits");
    let subjects: Vec<Subject> = (0..1_000).map(subject).collect();
    for limits in [1_u32, 2, 3, 4, 8, 16] {
        let store = MemoryStore::new();
        meet(&store, &subjects, limits);
        let (mut plan, mut draw) = (acquire(limits), Draw::new(Spread::Uniform, 1_000));
        let mut op = 0;
        // Each grant leaves a hold, so a batch of them is settled outside of the clock.
        group.bench_function(BenchmarkId::new("grant", limits), |b| {
            b.iter_custom(|rounds| timed_in_batches(&store, rounds, &mut plan, &subjects, &mut draw, &mut op));
        });
        let mut plans = (acquire(limits), settling());
        group.bench_function(BenchmarkId::new("grant+settle", limits), |b| {
            b.iter(|| {
                op += 1;
                pair(&store, &mut plans, &subjects[draw.next()], op);
            });
        });
    }
}

fn timed_in_batches(
    store: &MemoryStore,
    rounds: u64,
    plan: &mut Plan,
    subjects: &[Subject],
    draw: &mut Draw,
    op: &mut u128,
) -> Duration {
    let (mut settle, mut spent, mut left) = (settling(), Duration::ZERO, rounds);
    while left > 0 {
        let batch = left.min(1_000);
        let places: Vec<usize> = (0..batch).map(|_| draw.next()).collect();
        let first = *op;
        let start = Instant::now();
        for place in &places {
            *op += 1;
            aim(plan, &subjects[*place], *op);
            let Verdict::Granted(_) = apply(store, plan) else { panic!() };
        }
        spent += start.elapsed();
        for (n, place) in (1_u128..).zip(&places) {
            aim(&mut settle, &subjects[*place], first + n);
            let _ = apply(store, &settle);
        }
        left -= batch;
    }
    spent
}

fn by_subjects(c: &mut Criterion) {
    let mut group = c.benchmark_group("acquire+settle/subjects");
    for many in [1, 1_000, 1_000_000] {
        let made = std::cell::OnceCell::new();
        let make = || {
            let subjects: Vec<Subject> = (0..many).map(subject).collect();
            let store = MemoryStore::new();
            meet(&store, &subjects, 3);
            (subjects, store)
        };
        for spread in [Spread::Uniform, Spread::Zipf] {
            let (mut plans, mut draw, mut op) = ((acquire(3), settling()), Draw::new(spread, many), 0);
            group.bench_function(BenchmarkId::new(format!("{spread:?}").to_lowercase(), many), |b| {
                let (subjects, store) = made.get_or_init(make);
                b.iter(|| {
                    op += 1;
                    pair(store, &mut plans, &subjects[draw.next()], op);
                });
            });
            let mut plan = acquire(3);
            group.bench_function(BenchmarkId::new(format!("grant {spread:?}").to_lowercase(), many), |b| {
                let (subjects, store) = made.get_or_init(make);
                b.iter_custom(|rounds| timed_in_batches(store, rounds, &mut plan, subjects, &mut draw, &mut op));
            });
            if many == 1 {
                break;
            }
        }
    }
}

fn by_answer(c: &mut Criterion) {
    let mut group = c.benchmark_group("three limits");
    let subjects: Vec<Subject> = (0..1_000).map(subject).collect();
    let store = MemoryStore::new();
    meet(&store, &subjects, 3);
    let mut draw = Draw::new(Spread::Uniform, 1_000);
    let mut denied = Plan::new(NOW).named(subject(0)).of(OpId::at(NOW, 0));
    denied.takes = (1..=3).map(|meter| take(meter, 1, Act::Hold)).collect();
    group.bench_function("denial", |b| {
        b.iter(|| {
            aim(&mut denied, &subjects[draw.next()], 1);
            let Verdict::Denied(_) = apply(&store, &denied) else { panic!() };
        });
    });
    let mut op = 0;
    let mut plans = (acquire(3), ending(Report::Release { account: None }));
    group.bench_function("grant+release", |b| {
        b.iter(|| {
            op += 1;
            pair(&store, &mut plans, &subjects[draw.next()], op);
        });
    });
    let mut charge = Plan::new(NOW).named(subject(0));
    charge.takes = (1..=3).map(|meter| take(meter, i64::MAX / 4, Act::Charge)).collect();
    group.bench_function("charge", |b| {
        b.iter(|| {
            charge.accounts[0].subject.clone_from(&subjects[draw.next()]);
            let Verdict::Granted(_) = apply(&store, &charge) else { panic!() };
        });
    });
    let hints: Vec<u64> = subjects.iter().map(|subject| store.resolve(subject)).collect();
    charge.takes.truncate(1);
    for (name, with) in [("charge of one, by name", 0), ("charge of one, by hint", 1)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let place = draw.next();
                charge.accounts[0].subject.clone_from(&subjects[place]);
                charge.accounts[0].hint = hints[place] * with;
                let Verdict::Granted(_) = apply(&store, &charge) else { panic!() };
            });
        });
    }
    // The part of the above that is the bench's own.
    group.bench_function("drawing and naming", |b| {
        b.iter(|| {
            op += 1;
            aim(&mut plans.0, &subjects[draw.next()], op);
            black_box(&plans.0);
        });
    });
}

fn by_open_holds(c: &mut Criterion) {
    let mut group = c.benchmark_group("acquire+settle/open holds");
    for open in [0_u32, 100, 20_000] {
        let store = MemoryStore::new();
        let alice = subject(0);
        let mut plans = (acquire(3), settling());
        for n in 0..open {
            aim(&mut plans.0, &alice, (1 << 60) + u128::from(n));
            let Verdict::Granted(_) = apply(&store, &plans.0) else { panic!() };
        }
        let mut op = 0;
        group.bench_function(BenchmarkId::from_parameter(open), |b| {
            b.iter(|| {
                op += 1;
                pair(&store, &mut plans, &alice, op);
            });
        });
    }
}

fn by_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("acquire+settle/threads");
    let subjects: Vec<Subject> = (0..1_000).map(subject).collect();
    for threads in [1_u64, 2] {
        let store = MemoryStore::new();
        meet(&store, &subjects, 3);
        let mut base = 0;
        group.bench_function(BenchmarkId::from_parameter(threads), |b| {
            b.iter_custom(|rounds| {
                base += 1 << 40;
                let start = Instant::now();
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let (store, subjects) = (&store, &subjects);
                        scope.spawn(move || {
                            let (mut plans, mut draw) = ((acquire(3), settling()), Draw::new(Spread::Uniform, 1_000));
                            draw.state += thread;
                            for n in 0..rounds {
                                let op = u128::from(base + (thread << 36) + n);
                                pair(store, &mut plans, &subjects[draw.next()], op);
                            }
                        });
                    }
                });
                start.elapsed()
            });
        });
    }
}

fn memory() {
    println!();
    for limits in [1, 4] {
        let store = MemoryStore::new();
        let before = counting::live();
        for n in 0..1_000_000 {
            meet(&store, &[subject(n)], limits);
        }
        println!("{limits} limits: {} bytes for each of 1,000,000 subjects", (counting::live() - before) / 1_000_000);
    }
    for (name, apart) in [("of one subject", 0), ("of as many subjects", 1)] {
        let store = MemoryStore::new();
        let subjects: Vec<Subject> = (0..20_000).map(subject).collect();
        meet(&store, &subjects, 3);
        let (mut plan, before) = (acquire(3), counting::live());
        for n in 0..20_000 {
            aim(&mut plan, &subjects[n * apart], n as u128);
            let Verdict::Granted(_) = apply(&store, &plan) else { panic!() };
        }
        println!("20,000 open holds {name}: {} bytes each", (counting::live() - before) / 20_000);
        let (mut plans, before) = ((acquire(3), settling()), counting::calls());
        for (n, subject) in subjects.iter().take(1_000).enumerate() {
            pair(&store, &mut plans, subject, 1_000_000 + n as u128);
        }
        println!("  {} allocations in 1,000 times acquire and settle", counting::calls() - before);
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .without_plots()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .configure_from_args();
    by_limits(&mut criterion);
    by_subjects(&mut criterion);
    by_answer(&mut criterion);
    by_open_holds(&mut criterion);
    by_threads(&mut criterion);
    criterion.final_summary();
    // Whoever asks for a part of it, or for no measurement, does not wait for the rest.
    if std::env::args().skip(1).all(|arg| arg == "--bench") {
        memory();
    }
}
