//! Every kind of window at one instant: when it began, when it ends, and how long that is.
//!
//! `cargo run --example windows -- 2026-03-08T05:30:00Z`; the zones need `--features tz`.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use keyward::window::{Anchored, Calendar, FirstUse, FirstUseState, Grid, Schedule, Unit, Weekday, Window};
use keyward::{Error, Length, Timestamp};

fn main() -> Result<(), Error> {
    let now: Timestamp = std::env::args().nth(1).as_deref().unwrap_or("2026-03-08T05:30:00Z").parse()?;
    println!("{:42}  {:22}{:22}resets in", format!("at {now}"), "start", "end");
    for (name, schedule) in schedules()? {
        row(&name, schedule.window(now), now);
    }

    let session = FirstUse::new("5h".parse()?);
    let used_before = FirstUseState { start: Some(now.saturating_sub(Length::HOUR)) };
    for (name, state) in [("used an hour ago", used_before), ("used now", FirstUseState::default())] {
        if let Some(window) = session.at_grant(state, now) {
            row(&format!("5h from first use, {name}"), window, now);
        }
    }
    Ok(())
}

fn schedules() -> Result<Vec<(String, Schedule)>, Error> {
    let mut schedules = vec![
        ("5h on the grid".to_owned(), Grid { length: "5h".parse()? }.into()),
        ("7d on the grid".to_owned(), Grid { length: Length::WEEK }.into()),
        (
            "30d from 2026-01-15 10:30".to_owned(),
            Anchored { length: "30d".parse()?, anchor: "2026-01-15T10:30:00Z".parse()? }.into(),
        ),
        ("lifetime".to_owned(), Schedule::Lifetime),
    ];
    let mut zones = vec!["UTC", "+05:30"];
    if cfg!(feature = "tz") {
        zones.extend(["America/New_York", "Australia/Lord_Howe"]);
    }
    for zone in zones {
        let zone = zone.parse()?;
        for calendar in [
            Calendar::builder(Unit::Hour).zone(zone).build()?,
            Calendar::builder(Unit::Day).zone(zone).build()?,
            Calendar::builder(Unit::Week).week_start(Weekday::Sunday).zone(zone).build()?,
            Calendar::builder(Unit::Month).day(31).at("09:00".parse()?).zone(zone).build()?,
        ] {
            schedules.push((calendar.to_string(), calendar.into()));
        }
    }
    Ok(schedules)
}

fn row(name: &str, window: Window, now: Timestamp) {
    match window.resets_at() {
        Some(end) => println!("{name:42}  {:22}{end:22}{}", window.start, rounded(window.reset_in(now))),
        None => println!("{name:42}  {:22}{:22}", "-", "never"),
    }
}

/// A wait to the second, as a length.
fn rounded(wait: Duration) -> String {
    let seconds = Duration::from_secs(wait.as_secs());
    Length::try_from(seconds).map_or_else(|_| "less than 1s".to_owned(), |length| length.to_string())
}
