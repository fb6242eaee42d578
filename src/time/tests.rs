use super::*;
use proptest::prelude::*;

#[test]
fn a_length_says_why_it_is_refused() {
    for (text, reason) in [
        ("", "empty"),
        ("0h", "longer than zero"),
        ("-1h", "whole number"),
        ("1.5h", "no unit"),
        ("1 d", "no unit"),
        ("1M", "calendar word month"),
        ("5", "no unit"),
        ("1m1h", "larger to smaller"),
        ("1h1h", "each once"),
        ("999999999999999999999day", "292,000 years"),
    ] {
        let error = text.parse::<Length>().unwrap_err();
        assert_eq!(error.value(), Some(text));
        assert!(error.to_string().contains(reason), "{text:?}: {error}");
    }
}

#[test]
fn an_instant_finer_than_a_microsecond_is_refused_rather_than_moved() {
    assert!("2026-01-01T00:00:00.0000001Z".parse::<Timestamp>().is_err());
    assert!("2016-12-31T23:59:60Z".parse::<Timestamp>().is_err());
    let early = SystemTime::UNIX_EPOCH - Duration::from_nanos(1);
    assert_eq!(Timestamp::try_from(early).unwrap(), Timestamp::from_micros(-1));
}

/// The earliest instant went out to a `SystemTime`, and was refused on its way back.
#[test]
fn both_ends_of_time_survive_the_systems_clock() {
    for edge in [Timestamp::MIN, Timestamp::MAX] {
        if let Ok(time) = SystemTime::try_from(edge) {
            assert_eq!(Timestamp::try_from(time).unwrap(), edge);
        }
    }
}

#[test]
fn clones_of_a_manual_clock_are_one_clock_for_all_threads() {
    let clock = ManualClock::at(Timestamp::EPOCH);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let clock = clock.clone();
            scope.spawn(move || (0..1_000).for_each(|_| clock.advance(Length::MIN)));
        }
    });
    assert_eq!(clock.now().as_micros(), 4_000);
}

proptest! {
    #[test]
    fn lengths_print_what_they_read(micros in 1..=i64::MAX) {
        let length = Length(micros);
        prop_assert_eq!(length.to_string().parse::<Length>().unwrap(), length);
    }

    #[test]
    fn instants_print_what_they_read(any: i64, four_digit_year in 0..253_402_300_800_000_000_i64) {
        for at in [Timestamp(any), Timestamp(four_digit_year), Timestamp::MIN, Timestamp::MAX] {
            prop_assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        }
    }

    #[test]
    fn no_instant_panics(micros: i64, other: i64) {
        let (a, b) = (Timestamp(micros), Timestamp(other));
        let _ = (a.to_string(), a.since(b), a.as_millis(), a.as_secs(), DateTime::<Utc>::try_from(a).is_ok());
        if let Ok(time) = SystemTime::try_from(a) {
            prop_assert_eq!(Timestamp::try_from(time).unwrap(), a);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = (text.parse::<Length>().is_ok(), text.parse::<Timestamp>().is_ok());
    }
}
