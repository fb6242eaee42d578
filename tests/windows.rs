//! Every kind of window: the cases of the shared vectors, and the properties that all kinds have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use keyward::window::{
    Anchored, Calendar, FirstUse, FirstUseState, Grid, Memo, Schedule, TimeOfDay, Unit, Weekday, Window, Zone,
};
use keyward::{Amount, Cap, Length, Timestamp, When};
use proptest::prelude::*;
use serde_json::Value;

const WEEKDAYS: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

fn cases(name: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("vectors/windows.json")).unwrap();
    vectors[name].as_array().unwrap().clone()
}

fn millis(case: &Value, name: &str) -> Option<i64> {
    case[name].as_i64()
}

fn instant(case: &Value, name: &str) -> Option<Timestamp> {
    millis(case, name).map(|millis| Timestamp::from_millis(millis).unwrap())
}

fn length(case: &Value) -> Length {
    Length::from_micros(millis(case, "length_ms").unwrap() * 1_000).unwrap()
}

#[test]
fn every_grid_and_anchored_case_of_the_vectors_holds() {
    let cases = cases("grid");
    assert_eq!(cases.len(), 11);
    for case in &cases {
        let (length, now) = (length(case), instant(case, "now_ms").unwrap());
        let window = match instant(case, "anchor_ms") {
            None => Grid { length }.window(now),
            Some(anchor) => Anchored { length, anchor }.window(now),
        };
        assert_eq!(Some(window.start), instant(case, "start_ms"), "{case}");
        assert_eq!(Some(window.end), instant(case, "reset_ms"), "{case}");
        assert_eq!(Some(window.reset_in(now).as_millis()), millis(case, "reset_in_ms").map(|n| n.try_into().unwrap()));
        assert_eq!(window.contains(now), case["before_anchor"] != true, "{case}");
        assert!(!window.is_over(now));
    }
}

#[test]
fn every_first_use_case_of_the_vectors_holds() {
    let cases = cases("first_use");
    assert_eq!(cases.len(), 9);
    let now: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
    for case in &cases {
        let start = millis(case, "ago_ms").map(|ago| Timestamp::from_micros(now.as_micros() - ago * 1_000));
        let over = FirstUse::new(length(case)).is_over(FirstUseState { start }, now);
        assert_eq!(over, case["over"] == true, "{case}");
    }
}

#[test]
fn every_calendar_case_of_the_vectors_holds() {
    let cases = cases("calendar");
    assert_eq!(cases.len(), 20);
    let (mut checked, mut without_the_feature) = (0, 0);
    for case in &cases {
        let zone = match case["zone"].as_str().unwrap().parse::<Zone>() {
            Ok(zone) => zone,
            Err(error) => {
                assert!(!cfg!(feature = "tz") && error.to_string().contains("enable `tz`"), "{error}");
                without_the_feature += 1;
                continue;
            }
        };
        let unit = *[Unit::Hour, Unit::Day, Unit::Week, Unit::Month].iter().find(|u| u.word() == case["unit"]).unwrap();
        let mut settings = Calendar::builder(unit).zone(zone);
        if let Some(at) = case["at"].as_str() {
            settings = settings.at(at.parse().unwrap());
        }
        if let Some(day) = case["week_start"].as_str() {
            settings = settings.week_start(day.parse().unwrap());
        }
        if let Some(day) = case["day"].as_u64() {
            settings = settings.day(day.try_into().unwrap());
        }
        let window = settings.build().unwrap().window(case["now"].as_str().unwrap().parse().unwrap());
        assert_eq!(window.start, case["start"].as_str().unwrap().parse().unwrap(), "{case}");
        assert_eq!(window.end, case["end"].as_str().unwrap().parse().unwrap(), "{case}");
        checked += 1;
    }
    assert_eq!((checked, without_the_feature), if cfg!(feature = "tz") { (20, 0) } else { (9, 11) });
}

#[test]
fn a_calendar_names_the_setting_that_is_wrong() {
    let refused =
        |settings: keyward::window::CalendarBuilder| settings.build().unwrap_err().field().unwrap().to_owned();
    assert_eq!(refused(Calendar::builder(Unit::Month).day(0)), "window.day");
    assert_eq!(refused(Calendar::builder(Unit::Month).day(32)), "window.day");
    assert_eq!(refused(Calendar::builder(Unit::Week).day(1)), "window.day");
    assert_eq!(refused(Calendar::builder(Unit::Day).week_start(Weekday::Monday)), "window.week_start");
    assert_eq!(refused(Calendar::builder(Unit::Hour).at(TimeOfDay::MIDNIGHT)), "window.at");
    for text in ["", "9:00", "09:60", "24:00", "09:00:00", "+9:00", "０9:00"] {
        assert_eq!(text.parse::<TimeOfDay>().unwrap_err().field(), Some("window.at"), "{text}");
    }
    for text in ["", "utc", "+5:30", "+24:00", "5:30", "+0530", "-", "Berlin", "Europe/berlin"] {
        assert_eq!(text.parse::<Zone>().unwrap_err().field(), Some("window.zone"), "{text}");
    }
    for (text, prints) in [("Z", "UTC"), ("+00:00", "UTC"), ("-00:30", "-00:30"), ("+14:00", "+14:00")] {
        assert_eq!(text.parse::<Zone>().unwrap().to_string(), prints);
    }
    assert_eq!("Monday".parse::<Weekday>().unwrap_err().field(), Some("window.week_start"));
}

#[test]
fn before_1969_and_after_10000_a_calendar_has_one_window() {
    for unit in [Unit::Hour, Unit::Day, Unit::Month] {
        let calendar = Calendar::of(unit);
        let (early, late) = (calendar.window(Timestamp::MIN), calendar.window(Timestamp::MAX));
        assert_eq!(early.end, "1969-01-01T00:00:00Z".parse().unwrap(), "{unit}");
        assert_eq!(late.start, Timestamp::from_secs(253_433_923_200).unwrap(), "{unit}");
        assert_eq!((early.start, late.end), (Timestamp::MIN, Timestamp::MAX));
        assert!(!late.is_over(Timestamp::MAX) && early.is_over(early.end));
    }
    assert_eq!(Calendar::of(Unit::Hour).window(Timestamp::EPOCH).start, Timestamp::EPOCH);
}

/// Zones without the feature `tz` too; with it, any of IANA's.
fn zones() -> BoxedStrategy<Zone> {
    let fixed = (-1_439..1_440_i16).prop_map(|minutes| Zone::fixed(minutes).unwrap());
    #[cfg(feature = "tz")]
    let fixed = {
        let named = proptest::sample::select(&chrono_tz::TZ_VARIANTS[..]);
        prop_oneof![fixed, named.prop_map(|zone| zone.name().parse().unwrap())]
    };
    fixed.boxed()
}

fn calendars() -> impl Strategy<Value = Calendar> {
    let units = proptest::sample::select(vec![Unit::Hour, Unit::Day, Unit::Week, Unit::Month]);
    (units, 1..=31_u8, 0..24 * 60_u16, 0..7_usize, zones()).prop_map(|(unit, day, at, start, zone)| {
        let settings = Calendar::builder(unit).zone(zone);
        let at = format!("{:02}:{:02}", at / 60, at % 60).parse().unwrap();
        let settings = if unit == Unit::Hour { settings } else { settings.at(at) };
        let settings = if unit == Unit::Week { settings.week_start(WEEKDAYS[start]) } else { settings };
        if unit == Unit::Month { settings.day(day) } else { settings }.build().unwrap()
    })
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let lengths = || prop_oneof![1..=i64::MAX, 1..100_i64, 1..10_000_000_000_000_i64, Just(i64::MAX)];
    let lengths = move || lengths().prop_map(|micros| Length::from_micros(micros).unwrap());
    let anchors = any_instant().prop_map(Timestamp::from_micros);
    prop_oneof![
        2 => lengths().prop_map(|length| Grid { length }.into()),
        2 => (lengths(), anchors).prop_map(|(length, anchor)| Anchored { length, anchor }.into()),
        6 => calendars().prop_map(Schedule::from),
        1 => Just(Schedule::Lifetime),
    ]
}

/// All of time, the years that calendars promise, the years in which zones changed most, and the ends of each.
fn any_instant() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        -50_000_000_000_000_000..260_000_000_000_000_000_i64,
        0..2_000_000_000_000_000_i64,
        Just(i64::MIN),
        Just(i64::MAX),
        -31_600_000_000_000..-31_500_000_000_000_i64,
        253_433_923_200_000_000 - 90_000_000_000..253_433_923_200_000_000 + 90_000_000_000_i64,
    ]
}

/// A counter that follows a schedule, as simply as one can be written.
struct Meter {
    window: Window,
    used: i64,
}

impl Meter {
    fn passes(&self, schedule: &Schedule, cap: i64, cost: i64, at: Timestamp) -> bool {
        let current = Window::current(self.window, schedule.window(at));
        let used = if current == self.window { self.used } else { 0 };
        cap > 0 && (cost == 0 || used + cost <= cap)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

    #[test]
    fn windows_partition_the_time_line(schedule in schedules(), micros in any_instant()) {
        let now = Timestamp::from_micros(micros);
        let window = schedule.window(now);
        let anchor = if let Schedule::Anchored(Anchored { anchor, .. }) = schedule { Some(anchor) } else { None };
        let waits = anchor.is_some_and(|anchor| now < anchor);
        prop_assert_eq!(window.contains(now), !waits && now < Timestamp::MAX);
        if waits {
            prop_assert_eq!(Some(window.start), anchor);
        }
        prop_assert_eq!(schedule.window(window.start), window);
        if let Some(end) = window.resets_at() {
            prop_assert_eq!(schedule.window(end).start, end);
        }
        if window.start > Timestamp::MIN && Some(window.start) != anchor {
            prop_assert_eq!(schedule.window(window.start.saturating_sub(Length::MIN)).end, window.start);
        }
    }

    #[test]
    fn a_memo_answers_as_its_schedule_does(schedule in schedules(), start in any_instant(), steps: [i32; 6]) {
        let mut memo = Memo::new();
        for step in steps {
            let now = Timestamp::from_micros(start.saturating_add(i64::from(step) * 1_000_000));
            prop_assert_eq!(memo.window(now, &schedule), schedule.window(now));
        }
    }

    #[test]
    fn the_earliest_instant_passes_and_a_microsecond_sooner_does_not(
        schedule in schedules(),
        kept in any_instant(),
        later in prop_oneof![Just(0), -10_000_000_000..10_000_000_000_i64, any::<i64>()],
        between: u64,
        used in 0..6_i64,
        cap in 0..6_i64,
        cost in 0..6_i64,
    ) {
        let meter = Meter { window: schedule.window(Timestamp::from_micros(kept)), used };
        let now = Timestamp::from_micros(kept.saturating_add(later).min(i64::MAX - 1));
        let amount = |units| Amount::from_i64(units).unwrap();
        let passes = |at| meter.passes(&schedule, cap, cost, at);
        match meter.window.earliest(amount(used), Cap::At(amount(cap)), amount(cost), now) {
            When::At(at) => {
                prop_assert!(passes(at));
                if at > now {
                    let wait = at.as_micros().abs_diff(now.as_micros());
                    let sooner = now.as_micros().saturating_add_unsigned(between % wait);
                    prop_assert!(!passes(at.saturating_sub(Length::MIN)) && !passes(Timestamp::from_micros(sooner)));
                } else {
                    prop_assert_eq!(at, now);
                }
            }
            When::Never => {
                for at in [now, meter.window.end, Timestamp::from_micros(i64::MAX - 1)] {
                    prop_assert!(at == Timestamp::MAX || !passes(at));
                }
            }
            When::WhenFreed { .. } => prop_assert!(false, "nothing is held here"),
        }
    }

    #[test]
    fn a_clock_that_steps_back_never_opens_an_older_window(schedule in schedules(), clock: [i64; 8]) {
        let mut kept = schedule.window(Timestamp::from_micros(clock[0]));
        for now in clock {
            let next = Window::current(kept, schedule.window(Timestamp::from_micros(now)));
            prop_assert!(next.start >= kept.start);
            kept = next;
        }
        let latest = schedule.window(Timestamp::from_micros(*clock.iter().max().unwrap()));
        prop_assert_eq!(kept, latest);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn schedules_and_windows_read_back_as_they_were_written(schedule in schedules(), now in any_instant()) {
        let text = serde_json::to_string(&schedule).unwrap();
        prop_assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
        let window = schedule.window(Timestamp::from_micros(now));
        let text = serde_json::to_string(&window).unwrap();
        prop_assert_eq!(serde_json::from_str::<Window>(&text).unwrap(), window);
    }
}

#[cfg(feature = "serde")]
#[test]
fn what_is_read_is_checked() {
    let refused = |json: &str| serde_json::from_str::<Schedule>(json).unwrap_err().to_string();
    assert!(refused(r#"{"calendar":{"unit":"month","day":32}}"#).contains("window.day"));
    assert!(refused(r#"{"calendar":{"unit":"month","day":3,"week_start":"monday"}}"#).contains("window.week_start"));
    assert!(refused(r#"{"calendar":{"unit":"day","at":"25:00"}}"#).contains("window.at"));
    assert!(refused(r#"{"calendar":{"unit":"day","zone":"Nowhere"}}"#).contains("window.zone"));
    assert!(refused(r#"{"calendar":{"unit":"day","timezone":"UTC"}}"#).contains("timezone"));
    assert!(refused(r#"{"grid":{"length":"0h"}}"#).contains("longer than zero"));
    assert!(serde_json::from_str::<Window>(r#"{"start":2,"end":1}"#).unwrap_err().to_string().contains("window.end"));
    let day = serde_json::from_str::<Schedule>(r#"{"calendar":{"unit":"day"}}"#).unwrap();
    assert_eq!(day, Calendar::of(Unit::Day).into());
}
