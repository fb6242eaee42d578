//! What a check pays before it begins: one look at the clock, one operation id.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use keyward::{Clock, OpIds, SystemClock};
use std::hint::black_box;

fn clocks(c: &mut Criterion) {
    let (cheap, precise) = (SystemClock::new(), SystemClock::precise());
    c.bench_function("clock/std", |b| b.iter(std::time::SystemTime::now));
    c.bench_function("clock/cheap", |b| b.iter(|| black_box(&cheap).now()));
    c.bench_function("clock/precise", |b| b.iter(|| black_box(&precise).now()));
}

fn ids(c: &mut Criterion) {
    let (ids, cheap, precise) = (OpIds::new(), SystemClock::new(), SystemClock::precise());
    let now = cheap.now();
    c.bench_function("ids/same_instant", |b| b.iter(|| ids.next(black_box(now))));
    c.bench_function("ids/cheap_clock", |b| b.iter(|| ids.next(cheap.now())));
    c.bench_function("ids/precise_clock", |b| b.iter(|| ids.next(precise.now())));
    c.bench_function("ids/process_id", |b| b.iter(std::process::id));
}

criterion_group!(benches, clocks, ids);
criterion_main!(benches);
