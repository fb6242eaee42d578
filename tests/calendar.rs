//! Calendar windows in zones, against an oracle that walks the clock on the wall minute by minute.
#![cfg(feature = "tz")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashSet;
use std::sync::LazyLock;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, Offset, TimeZone};
use keyward::Timestamp;
use keyward::window::{Calendar, Unit, Window};
use proptest::prelude::*;

const MINUTE: i64 = 60_000_000;

/// Zones, and a year in which each has something to show.
const ZONES: [(&str, i32); 18] = [
    ("America/New_York", 2026),
    ("Europe/Berlin", 2026),
    ("America/Sao_Paulo", 2018),   // midnight is skipped
    ("America/Santiago", 2022),    // midnight is skipped
    ("Asia/Beirut", 2022),         // midnight is skipped
    ("Africa/Cairo", 2024),        // midnight is skipped, and 23:00 repeats
    ("Australia/Lord_Howe", 2024), // half an hour
    ("Australia/Adelaide", 2023),  // an hour, half an hour off the full one
    ("America/St_Johns", 2010),    // one minute after midnight, which repeats
    ("Asia/Kolkata", 2025),        // no change, half an hour off
    ("Pacific/Apia", 2011),        // 30 December is skipped
    ("Pacific/Kwajalein", 1993),   // 21 August is skipped
    ("Asia/Kathmandu", 1986),      // a quarter of an hour is skipped at New Year's midnight
    ("America/Caracas", 2007),     // half an hour repeats
    ("Asia/Pyongyang", 2018),      // half an hour is skipped up to midnight
    ("Antarctica/Troll", 2024),    // two hours
    ("Antarctica/Casey", 2020),    // three hours
    ("Africa/Casablanca", 2023),   // a pause for Ramadan
];

/// Unit, first day of the week, day of the month, time of day.
const RULES: [(Unit, &str, u8, &str); 14] = [
    (Unit::Hour, "", 0, ""),
    (Unit::Day, "", 0, "00:00"),
    (Unit::Day, "", 0, "00:01"),
    (Unit::Day, "", 0, "01:45"),
    (Unit::Day, "", 0, "02:00"),
    (Unit::Day, "", 0, "02:30"),
    (Unit::Day, "", 0, "23:30"),
    (Unit::Week, "monday", 0, "00:00"),
    (Unit::Week, "sunday", 0, "02:15"),
    (Unit::Week, "friday", 0, "00:00"),
    (Unit::Month, "", 1, "00:00"),
    (Unit::Month, "", 30, "00:00"),
    (Unit::Month, "", 31, "02:00"),
    (Unit::Month, "", 29, "23:59"),
];

type Rule = (Unit, &'static str, u8, &'static str);

/// What a clock on the wall shows, minute by minute, over some fourteen months; everything in minutes since 1970.
struct Wall {
    zone: &'static str,
    first: i64,
    shows: Vec<i64>,
    /// By rule, the minutes at which a window begins.
    boundaries: Vec<Vec<i64>>,
    /// The minutes at which the clock is changed.
    changes: Vec<i64>,
}

static WALLS: LazyLock<Vec<Wall>> = LazyLock::new(|| ZONES.map(|(zone, year)| Wall::walk(zone, year)).into());

impl Wall {
    fn walk(zone: &'static str, year: i32) -> Self {
        let tz: chrono_tz::Tz = zone.parse().unwrap();
        let month = |year, month| {
            NaiveDate::from_ymd_opt(year, month, 1).unwrap().and_time(NaiveTime::MIN).and_utc().timestamp() / 60
        };
        let (first, end) = (month(year - 1, 12), month(year + 1, 2));
        let shows: Vec<i64> = (first..end)
            .map(|minute| {
                let utc = DateTime::from_timestamp(minute * 60, 0).unwrap().naive_utc();
                minute + i64::from(tz.offset_from_utc_datetime(&utc).fix().local_minus_utc() / 60)
            })
            .collect();
        let changes = (first + 1..).zip(shows.windows(2)).filter(|(_, pair)| pair[1] != pair[0] + 1);
        let changes = changes.map(|(minute, _)| minute).collect();
        let boundaries = boundaries(first, &shows, &RULES);
        Self { zone, first, shows, boundaries, changes }
    }
}

/// By rule, the minutes at which a window begins, as the documentation words it.
fn boundaries(first: i64, shows: &[i64], rules: &[Rule]) -> Vec<Vec<i64>> {
    let mut by_minute = vec![Vec::new(); 1_440];
    for (index, rule) in rules.iter().enumerate() {
        let at = minute_of_day(rule.3);
        by_minute
            .iter_mut()
            .enumerate()
            .skip(at)
            .step_by(if rule.0 == Unit::Hour { 60 } else { 1_440 })
            .for_each(|(_, rules)| rules.push(index));
    }
    let mut seen = HashSet::new();
    let mut found = vec![Vec::new(); rules.len()];
    for index in 1..shows.len() {
        let (before, now) = (shows[index - 1], shows[index]);
        // What is skipped begins with the first instant after the gap; what repeats began the first time.
        let mut label = if now > before { before + 1 } else { now };
        while label <= now {
            for rule in &by_minute[usize::try_from(label % 1_440).unwrap()] {
                let begins = match rules[*rule].0 {
                    Unit::Hour => label == now,
                    _ => is_date(label, rules[*rule]) && seen.insert((*rule, label)),
                };
                let minute = first + i64::try_from(index).unwrap();
                if begins && found[*rule].last() != Some(&minute) {
                    found[*rule].push(minute);
                }
            }
            label += 1;
        }
    }
    found
}

fn minute_of_day(text: &str) -> usize {
    text.split_once(':').map_or(0, |(h, m)| h.parse::<usize>().unwrap() * 60 + m.parse::<usize>().unwrap())
}

/// Whether a day, week or month begins on the date of this label.
fn is_date(label: i64, (unit, week_start, day, _): Rule) -> bool {
    let date = DateTime::from_timestamp(label * 60, 0).unwrap().date_naive();
    match unit {
        Unit::Week => date.weekday() == week_start.parse().unwrap(),
        Unit::Month => {
            let is_last = date.checked_add_days(Days::new(1)).unwrap().month() != date.month();
            date.day() == u32::from(day) || (is_last && date.day() < u32::from(day))
        }
        Unit::Hour | Unit::Day => true,
    }
}

fn calendar((unit, week_start, day, at): Rule, zone: &str) -> Calendar {
    let settings = Calendar::builder(unit).zone(zone.parse().unwrap());
    let settings = if unit == Unit::Hour { settings } else { settings.at(at.parse().unwrap()) };
    let settings = if unit == Unit::Week { settings.week_start(week_start.parse().unwrap()) } else { settings };
    if unit == Unit::Month { settings.day(day) } else { settings }.build().unwrap()
}

/// The last boundary up to a minute, and the first after it.
fn around(boundaries: &[i64], minute: i64) -> Window {
    let next = boundaries.partition_point(|boundary| *boundary <= minute);
    let instant = |boundary: i64| Timestamp::from_micros(boundary * MINUTE);
    Window { start: instant(boundaries[next - 1]), end: instant(boundaries[next]) }
}

/// A minute of a wall: half of the time within two days of a change, if it has one.
fn minute_of(wall: &Wall, near: bool, pick: usize, margin: usize) -> i64 {
    let minute = match wall.changes.len() {
        n if near && n > 0 => wall.changes[pick % n] - 2_880 + i64::try_from(pick / n % 5_760).unwrap(),
        _ => wall.first + i64::try_from(margin + pick % (wall.shows.len() - 2 * margin)).unwrap(),
    };
    let margin = i64::try_from(margin).unwrap();
    minute.clamp(wall.first + margin, wall.first + i64::try_from(wall.shows.len()).unwrap() - margin)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

    #[test]
    fn windows_are_those_of_the_clock_on_the_wall(
        wall in 0..ZONES.len(),
        rule in 0..RULES.len(),
        near: bool,
        pick: usize,
        into in 0..MINUTE,
    ) {
        let wall = &WALLS[wall];
        // The longest month and the longest jump must fit before the first and after the last minute.
        let minute = minute_of(wall, near, pick, 33 * 1_440);
        let now = Timestamp::from_micros(minute * MINUTE + into);
        let expected = around(&wall.boundaries[rule], minute);
        prop_assert_eq!(calendar(RULES[rule], wall.zone).window(now), expected, "{} {:?} {}", wall.zone, RULES[rule], now);
    }

    #[test]
    fn days_begin_at_any_time_of_day(wall in 0..ZONES.len(), near: bool, pick: usize, at in 0..1_440_u32) {
        let wall = &WALLS[wall];
        let minute = minute_of(wall, near, pick, 5 * 1_440);
        let text: &'static str = Box::leak(format!("{:02}:{:02}", at / 60, at % 60).into_boxed_str());
        let rule = (Unit::Day, "", 0, text);
        let from = usize::try_from(minute - wall.first).unwrap() - 3 * 1_440;
        let near = &wall.shows[from..from + 6 * 1_440];
        let found = boundaries(wall.first + i64::try_from(from).unwrap(), near, &[rule]);
        let window = calendar(rule, wall.zone).window(Timestamp::from_micros(minute * MINUTE));
        prop_assert_eq!(window, around(&found[0], minute), "{} {}", wall.zone, text);
    }
}

#[test]
fn every_minute_around_every_change_is_in_the_window_of_the_clock_on_the_wall() {
    let mut checked = 0;
    for wall in WALLS.iter() {
        for (rule, boundaries) in RULES.into_iter().zip(&wall.boundaries) {
            let calendar = calendar(rule, wall.zone);
            let known = boundaries[0]..boundaries[boundaries.len() - 1];
            for change in &wall.changes {
                for minute in (change - 150..change + 150).filter(|minute| known.contains(minute)) {
                    let window = calendar.window(Timestamp::from_micros(minute * MINUTE));
                    assert_eq!(window, around(boundaries, minute), "{} {rule:?} {minute}", wall.zone);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 100_000, "{checked}");
}

#[test]
fn the_walls_show_what_they_were_chosen_for() {
    let changes: usize = WALLS.iter().map(|wall| wall.changes.len()).sum();
    assert!(changes >= 28, "{changes}");
    let unchanged: Vec<_> = WALLS.iter().filter(|wall| wall.changes.is_empty()).map(|wall| wall.zone).collect();
    assert_eq!(unchanged, ["Asia/Kolkata"]);
}

fn window(unit: Unit, zone: &str, now: &str) -> String {
    let settings = Calendar::builder(unit).zone(zone.parse().unwrap());
    settings.build().unwrap().window(now.parse().unwrap()).to_string()
}

#[test]
fn a_day_that_a_zone_skipped_has_no_window() {
    let last = window(Unit::Day, "Pacific/Apia", "2011-12-30T09:59:59Z");
    assert_eq!(last, "2011-12-29T10:00:00Z to 2011-12-30T10:00:00Z");
    let first = window(Unit::Day, "Pacific/Apia", "2011-12-30T10:00:00Z");
    assert_eq!(first, "2011-12-30T10:00:00Z to 2011-12-31T10:00:00Z");
}

#[test]
fn an_hour_is_as_long_as_the_clock_takes_to_show_the_next() {
    // Lord Howe's clock goes from 02:00 to 02:30 in October, and from 02:00 back to 01:30 in April.
    let spring = window(Unit::Hour, "Australia/Lord_Howe", "2024-10-05T15:45:00Z");
    assert_eq!(spring, "2024-10-05T14:30:00Z to 2024-10-05T16:00:00Z");
    let autumn = window(Unit::Hour, "Australia/Lord_Howe", "2024-04-06T15:15:00Z");
    assert_eq!(autumn, "2024-04-06T14:00:00Z to 2024-04-06T15:30:00Z");
}

/// LiteLLM skipped New York's repeated hour in autumn.
#[test]
fn an_hour_that_is_shown_twice_is_two_windows() {
    let first = window(Unit::Hour, "America/New_York", "2026-11-01T05:59:59Z");
    assert_eq!(first, "2026-11-01T05:00:00Z to 2026-11-01T06:00:00Z");
    let again = window(Unit::Hour, "America/New_York", "2026-11-01T06:00:00Z");
    assert_eq!(again, "2026-11-01T06:00:00Z to 2026-11-01T07:00:00Z");
}

#[test]
fn years_beyond_the_listed_ones_keep_their_summer_time() {
    let summer = window(Unit::Day, "Europe/Berlin", "9999-07-01T12:00:00Z");
    assert_eq!(summer, "9999-06-30T22:00:00Z to 9999-07-01T22:00:00Z");
    let winter = window(Unit::Day, "Europe/Berlin", "9999-12-01T12:00:00Z");
    assert_eq!(winter, "9999-11-30T23:00:00Z to 9999-12-01T23:00:00Z");
}
