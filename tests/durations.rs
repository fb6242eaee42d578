//! Texts of windows: every case of the shared vectors, and what the messages say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use keyward::window::{OldName, Period, Unit};
use keyward::{Length, Timestamp};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/durations.json")).unwrap()
}

#[test]
fn every_length_of_the_vectors_is_read_as_a_length() {
    let vectors = vectors();
    let lengths = vectors["lengths_ms"].as_object().unwrap();
    assert_eq!(lengths.len(), 14);
    for (text, millis) in lengths {
        let expected = Length::from_micros(millis.as_i64().unwrap() * 1_000).unwrap();
        assert_eq!(text.parse::<Period>(), Ok(Period::Length(expected)), "{text}");
        assert_eq!(text.parse::<Length>(), Ok(expected), "{text}");
    }
}

#[test]
fn every_calendar_word_of_the_vectors_is_read_as_the_calendar_s() {
    let units = [Unit::Hour, Unit::Day, Unit::Week, Unit::Month];
    let vectors = vectors();
    let words = vectors["calendar_words"].as_array().unwrap();
    assert_eq!(words.len(), units.len());
    for (word, unit) in words.iter().zip(units) {
        let period: Period = word.as_str().unwrap().parse().unwrap();
        assert_eq!(period, Period::Calendar(unit));
        assert_eq!(period.length(), None);
        assert_eq!(period.to_string(), *word);
    }
}

#[test]
fn every_old_name_of_the_vectors_loads_as_a_length_with_a_warning() {
    let vectors = vectors();
    let names = vectors["legacy_ms"].as_object().unwrap();
    assert_eq!(names.len(), 3);
    for (text, millis) in names {
        let period: Period = text.parse().unwrap();
        let Period::Old(name) = period else { panic!("{text} is an old name") };
        assert_eq!(name.length().as_micros(), millis.as_i64().unwrap() * 1_000);
        assert_eq!(period.length(), Some(name.length()));
        assert!(name.to_string().starts_with(&format!("{text} is read as ")), "{name}");
        assert_eq!(period.to_string(), *text);
    }
    assert_eq!(
        OldName::Monthly.to_string(),
        "monthly is read as 30d, a length; write 30d, or month for a calendar month"
    );
}

#[test]
fn everything_else_is_refused_with_its_text_and_what_would_be_accepted() {
    let vectors = vectors();
    let refused = vectors["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 14);
    let more = ["Day", "days", " day", "day ", "DAILY", "yearly", "24H", "1h 30m", "P1D", "day @ UTC", "∞"];
    for text in refused.iter().map(|text| text.as_str().unwrap()).chain(more) {
        let error = text.parse::<Period>().unwrap_err();
        assert_eq!((error.field(), error.value()), (Some("window"), Some(text)));
        assert!(error.to_string().contains("hour, day, week and month"), "{error}");
    }
}

/// LiteLLM read `48h` and `72h` as "until next midnight", `30h` as 19.7 hours and `90m` as an hour. A length is one.
#[test]
fn a_length_ends_that_much_later_whatever_the_clock_on_the_wall_says() {
    use keyward::window::Anchored;
    let anchor: Timestamp = "2026-03-07T15:40:00Z".parse().unwrap();
    for (text, end) in [
        ("48h", "2026-03-09T15:40:00Z"),
        ("72h", "2026-03-10T15:40:00Z"),
        ("30h", "2026-03-08T21:40:00Z"),
        ("90m", "2026-03-07T17:10:00Z"),
    ] {
        let length = text.parse::<Period>().unwrap().length().unwrap();
        assert_eq!(Anchored { length, anchor }.window(anchor).end, end.parse().unwrap(), "{text}");
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_period_is_written_as_its_text_and_checked_when_it_is_read() {
    for text in ["1m30s", "1w", "month", "weekly"] {
        let period: Period = serde_json::from_value(text.into()).unwrap();
        assert_eq!(serde_json::to_value(period).unwrap(), text);
    }
    assert!(serde_json::from_str::<Period>("\"0h\"").unwrap_err().to_string().contains("longer than zero"));
    assert!(serde_json::from_str::<Period>("86400").is_err());
}
