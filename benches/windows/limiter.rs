//! One step of each limiter, beside the least that a limiter can do: compare a count and add to it.
use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use keyward::limiter::{Limiter, Rolling, RollingState, State};
use keyward::{Amount, Length, Timestamp};

/// Noon of some day, so that instants have the size that they have in life.
const NOON: i64 = 1_772_971_200_000_000;
const STEP: i64 = 7;

/// A fixed window without a promise: start, count, compare, add.
fn naive(state: &mut (i64, i64), limit: i64, now: i64) -> bool {
    if now - state.0 >= 60_000_000 {
        *state = (now - now % 60_000_000, 0);
    }
    let passes = state.1 < limit;
    state.1 += i64::from(passes);
    passes
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700)).sample_size(30);

    let many = Amount::try_from(i64::MAX / 4).unwrap();
    let kinds = |cap: Amount| {
        [
            ("fixed", Limiter::fixed(cap, Length::MINUTE)),
            ("sliding", Limiter::sliding(cap, Length::MINUTE)),
            ("gcra", Limiter::gcra(cap, Length::MINUTE, cap).unwrap()),
        ]
    };

    group.bench_function("floor/naive fixed", |b| {
        let (mut state, mut now) = ((0, 0), NOON);
        b.iter(|| {
            now += STEP;
            naive(black_box(&mut state), black_box(i64::MAX), black_box(now))
        });
    });
    for (name, limiter) in kinds(Amount::new(1_000_000_000)) {
        // A previous bucket and a level that are never empty, or the work would be less than in life.
        let mut state = State::default();
        limiter.charge(&mut state, Amount::new(1_000_000), at(NOON - 60_000_000)).unwrap();
        group.bench_function(format!("{name}/pass"), |b| {
            let (limiter, mut state, mut now) = (limiter.with_cap(many), state, NOON);
            let limiter = if name == "gcra" {
                Limiter::gcra(Amount::new(1_000_000), Length::MINUTE, many).unwrap()
            } else {
                limiter
            };
            b.iter(|| {
                now += STEP;
                black_box(&limiter).check(black_box(&mut state), Amount::ONE, black_box(at(now))).has_passed()
            });
        });
        group.bench_function(format!("{name}/pass, remaining read"), |b| {
            let (mut state, mut now) = (State::default(), NOON);
            b.iter(|| {
                now += STEP;
                black_box(&limiter).check(black_box(&mut state), Amount::ONE, black_box(at(now))).remaining()
            });
        });
    }
    for (name, limiter) in kinds(Amount::new(60)) {
        let mut full = State::default();
        limiter.charge(&mut full, Amount::new(60), at(NOON - 60_000_000)).unwrap();
        limiter.charge(&mut full, Amount::new(60), at(NOON)).unwrap();
        group.bench_function(format!("{name}/refuse, retry read"), |b| {
            let mut state = full;
            b.iter(|| {
                black_box(&limiter).check(black_box(&mut state), Amount::ONE, black_box(at(NOON + STEP))).retry()
            });
        });
        group.bench_function(format!("{name}/peek"), |b| {
            b.iter(|| {
                black_box(&limiter).peek(black_box(&full), Amount::ZERO, black_box(at(NOON + STEP))).has_passed()
            });
        });
    }
    let rolling = Rolling::new(many, Length::MINUTE, 60).unwrap();
    group.bench_function("rolling/pass", |b| {
        let (mut state, mut now) = (RollingState::default(), NOON);
        b.iter(|| {
            now += STEP;
            black_box(&rolling).check(black_box(&mut state), Amount::ONE, black_box(at(now))).has_passed()
        });
    });
    group.finish();
}
