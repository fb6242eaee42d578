//! What a window costs, and a step of a limiter: each kind computed anew beside a straightforward floor, and an unchanged
//! window by memo beside one integer division. The last lines are ratios, of medians of interleaved rounds.
//! `cargo bench --bench windows --features tz` includes the zones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::float_arithmetic, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use keyward::window::{Anchored, Calendar, FirstUse, FirstUseState, Grid, Memo, Schedule, Unit};
use keyward::{Length, Timestamp};

fn main_config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
}

criterion_group! {
    name = all;
    config = main_config();
    targets = window, limiter::steps, ratios
}
criterion_main!(all);

#[path = "windows/limiter.rs"]
mod limiter;

/// Rows of `src/window.rs`.
fn window(criterion: &mut Criterion) {
    let now: Timestamp = "2026-05-14T15:09:26.535897Z".parse().unwrap();
    let anchor: Timestamp = "2025-01-01T10:30:00Z".parse().unwrap();
    let length = Length::DAY;
    let grid = Grid { length };
    let anchored = Anchored { length, anchor };

    let mut group = criterion.benchmark_group("window");
    group.bench_function("floor: one division", |b| {
        b.iter(|| black_box(now.as_micros()) / black_box(length.as_micros()));
    });
    memo(&mut group, "grid", now, grid.into());
    memo(&mut group, "anchored", now, anchored.into());
    memo(&mut group, "calendar day, utc", now, Calendar::of(Unit::Day).into());
    #[cfg(feature = "tz")]
    zoned::memos(&mut group, now);

    group.bench_function("grid: floor", |b| {
        b.iter(|| {
            let (now, length) = (black_box(now.as_micros()), black_box(length.as_micros()));
            let start = now - now.rem_euclid(length);
            (start, start + length)
        });
    });
    group.bench_function("grid", |b| b.iter(|| black_box(grid).window(black_box(now))));

    group.bench_function("anchored: floor", |b| {
        b.iter(|| {
            let (now, anchor) = (black_box(now.as_micros()), black_box(anchor.as_micros()));
            let length = black_box(length.as_micros());
            let start = anchor + (now - anchor) / length * length;
            (start, start + length)
        });
    });
    group.bench_function("anchored", |b| b.iter(|| black_box(anchored).window(black_box(now))));

    let session = FirstUse::new(length);
    let state = FirstUseState { start: Some(now.saturating_sub(Length::HOUR)) };
    group.bench_function("first use", |b| b.iter(|| black_box(session).at_grant(black_box(state), black_box(now))));
    let steps = session.in_steps();
    let state = FirstUseState { start: Some(anchor) };
    group.bench_function("first use, in steps", |b| {
        b.iter(|| black_box(steps).at_grant(black_box(state), black_box(now)));
    });

    group.bench_function("calendar day, utc: floor by chrono", |b| {
        b.iter(|| {
            let date = chrono::DateTime::from_timestamp_micros(black_box(now.as_micros())).unwrap().date_naive();
            let midnight = |date: chrono::NaiveDate| date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_micros();
            (midnight(date), midnight(date.succ_opt().unwrap()))
        });
    });
    for unit in [Unit::Hour, Unit::Day, Unit::Week, Unit::Month] {
        let calendar = Calendar::of(unit);
        group
            .bench_function(format!("calendar {unit}, utc"), |b| b.iter(|| black_box(calendar).window(black_box(now))));
    }
    #[cfg(feature = "tz")]
    zoned::rows(&mut group, now);
    group.finish();
}

/// The same window again, by memo.
fn memo(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, now: Timestamp, schedule: Schedule) {
    let mut memo = Memo::new();
    group.bench_function(format!("memo: {name}"), |b| b.iter(|| memo.window(black_box(now), black_box(&schedule))));
}

#[cfg(feature = "tz")]
mod zoned {
    use super::*;
    use chrono::{DateTime, Datelike, NaiveDate, TimeZone};
    use chrono_tz::Tz;

    const ZONE: &str = "America/New_York";

    pub(super) fn memos(group: &mut BenchmarkGroup<'_, WallTime>, now: Timestamp) {
        for unit in [Unit::Day, Unit::Month] {
            memo(group, &format!("calendar {unit}, zone"), now, calendar(unit).into());
        }
    }

    pub(super) fn rows(group: &mut BenchmarkGroup<'_, WallTime>, now: Timestamp) {
        let zone: Tz = ZONE.parse().unwrap();
        let date_of = move |now: Timestamp| {
            zone.from_utc_datetime(&DateTime::from_timestamp_micros(now.as_micros()).unwrap().naive_utc()).date_naive()
        };
        let midnight = move |date: NaiveDate| {
            zone.from_local_datetime(&date.and_hms_opt(0, 0, 0).unwrap()).earliest().unwrap().timestamp_micros()
        };
        group.bench_function("calendar day, zone: floor by chrono", |b| {
            b.iter(|| {
                let date = date_of(black_box(now));
                (midnight(date), midnight(date.succ_opt().unwrap()))
            });
        });
        group.bench_function("calendar month, zone: floor by chrono", |b| {
            b.iter(|| {
                let first = date_of(black_box(now)).with_day(1).unwrap();
                (midnight(first), midnight(first.checked_add_months(chrono::Months::new(1)).unwrap()))
            });
        });
        for unit in [Unit::Hour, Unit::Day, Unit::Week, Unit::Month] {
            let calendar = calendar(unit);
            group.bench_function(format!("calendar {unit}, zone"), |b| {
                b.iter(|| black_box(calendar).window(black_box(now)));
            });
        }
        let change: Timestamp = "2026-11-01T05:30:00Z".parse().unwrap();
        let day = calendar(Unit::Day);
        group.bench_function("calendar day, zone, on a day of a change", |b| {
            b.iter(|| black_box(day).window(black_box(change)));
        });
    }

    fn calendar(unit: Unit) -> Calendar {
        Calendar::builder(unit).zone(ZONE.parse().unwrap()).build().unwrap()
    }
}

/// An unchanged window by memo, as a ratio to one integer division: what is promised, measured in one run.
fn ratios(_: &mut Criterion) {
    let now: Timestamp = "2026-05-14T15:09:26.535897Z".parse().unwrap();
    let length = Length::DAY.as_micros();
    let zone = if cfg!(feature = "tz") { "America/New_York" } else { "-05:00" };
    let calendar = Calendar::builder(Unit::Day).zone(zone.parse().unwrap()).build().unwrap();
    let (grid, calendar) = (Schedule::from(Grid { length: Length::DAY }), Schedule::from(calendar));
    let (mut by_grid, mut by_calendar) = (Memo::new(), Memo::new());
    let mut rows: [Vec<f64>; 3] = Default::default();
    for _ in 0..301 {
        rows[0].push(nanos(|| {
            black_box(black_box(now.as_micros()) / black_box(length));
        }));
        rows[1].push(nanos(|| {
            black_box(by_grid.window(black_box(now), &grid));
        }));
        rows[2].push(nanos(|| {
            black_box(by_calendar.window(black_box(now), &calendar));
        }));
    }
    let [division, grid, calendar] = rows.map(|mut row| {
        row.sort_by(f64::total_cmp);
        row[row.len() / 2]
    });
    println!("one integer division                  {division:5.2} ns");
    println!("unchanged window by memo, grid        {grid:5.2} ns  {:.2}x  (goal 1.00x)", grid / division);
    println!("unchanged window by memo, {zone:<11} {calendar:5.2} ns  {:.2}x  (goal 3.00x)", calendar / division);
}

/// Nanoseconds for one call, over a round of ten thousand.
fn nanos(mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..10_000 {
        work();
    }
    began.elapsed().as_secs_f64() * 1e9 / 1e4
}
