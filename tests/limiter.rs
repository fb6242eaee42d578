//! Every case of the limiter's vectors, and the stories that it must not repeat.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::float_arithmetic)]

use keyward::limiter::{Limiter, Rolling, RollingState, State};
use keyward::{Amount, Cap, Length, Timestamp, When};
use serde_json::Value;

const MINUTE_US: i64 = 60_000_000;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/limiter.json")).unwrap()
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn amount(value: &Value) -> Amount {
    Amount::try_from(value.as_i64().unwrap()).unwrap()
}

/// A decimal number of seconds in microseconds, read from its text so that no float rounds it.
fn micros(seconds: &Value) -> i64 {
    let text = seconds.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{fraction:0<6}").parse().unwrap()
}

fn taken(limiter: &Limiter, state: &mut State, now: i64) -> bool {
    limiter.check(state, Amount::ONE, at(now)).has_passed()
}

#[test]
fn every_fixed_case_of_the_vectors_holds() {
    let vectors = vectors();
    let mut seen = (0, 0);
    for case in vectors["fixed"].as_array().unwrap() {
        let limiter = Limiter::fixed(amount(&case["limit"]), Length::MINUTE);
        let mut state = State::default();
        let steps = case["at_ms"].as_array().unwrap().iter().zip(case["passes"].as_array().unwrap());
        for (millis, passes) in steps {
            let now = millis.as_i64().unwrap() * 1_000;
            assert_eq!(taken(&limiter, &mut state, now), passes.as_bool().unwrap(), "{case} at {millis}");
            seen.1 += 1;
        }
        seen.0 += 1;
    }
    assert_eq!(seen, (4, 12), "cases and steps");
}

#[test]
fn every_sliding_case_of_the_vectors_holds() {
    let vectors = vectors();
    let mut seen = 0;
    for case in vectors["sliding"].as_array().unwrap() {
        let limiter = Limiter::sliding(amount(&case["limit"]), Length::MINUTE);
        let mut state = State::default();
        limiter.charge(&mut state, amount(&case["previous"]), at(0)).unwrap();
        limiter.charge(&mut state, amount(&case["current"]), at(MINUTE_US)).unwrap();
        let now = MINUTE_US + case["elapsed_ms"].as_i64().unwrap() * 1_000;
        let before = state;
        let answer = limiter.check(&mut state, amount(&case["cost"]), at(now));
        assert_eq!(answer.has_passed(), case["passes"].as_bool().unwrap(), "{case}: {answer}");
        assert_eq!(answer.remaining(), Some(amount(&case["remaining"])), "{case}: {answer}");
        match answer.refused() {
            None => assert_eq!(case["wait_us"], 0, "{case}"),
            Some(refused) => {
                let wait = refused.retry.instant().map(|retry| retry.as_micros() - now);
                assert_eq!(wait, case["wait_us"].as_i64(), "{case}: {answer}");
                assert_eq!(state, before, "{case}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 12, "cases");
}

#[test]
fn every_gcra_step_of_the_vectors_holds() {
    let gcra = &vectors()["gcra"];
    let limiter = Limiter::gcra(amount(&gcra["per_second"]), Length::SECOND, amount(&gcra["burst"])).unwrap();
    let mut state = State::default();
    let mut seen = 0;
    for step in gcra["steps"].as_array().unwrap() {
        let now = micros(&step["at_s"]);
        let answer = limiter.check(&mut state, amount(&step["cost"]), at(now));
        assert_eq!(answer.has_passed(), step["verdict"] == "ok", "{step}: {answer}");
        assert_eq!(answer.remaining(), Some(amount(&step["remaining"])), "{step}: {answer}");
        assert_eq!(limiter.full_at(&state, at(now)), When::At(at(now + micros(&step["reset_s"]))), "{step}");
        let retry = if step["never"].as_bool().unwrap() {
            Some(When::Never)
        } else if step["retry_s"].is_null() {
            None
        } else {
            Some(When::At(at(now + micros(&step["retry_s"]))))
        };
        assert_eq!(answer.retry(), retry, "{step}");
        seen += 1;
    }
    assert_eq!(seen, 12, "steps");
}

/// The keys of one gateway came back after a constant 60 s, whatever they had used and whenever they asked: too late in a
/// fixed minute that was about to end, too early after a burst.
#[test]
fn the_wait_is_what_is_left_and_not_a_constant_minute() {
    let limiter = Limiter::fixed(Amount::ONE, Length::MINUTE);
    for elapsed in [0, 1, 30_000_000, 59_999_999] {
        let mut state = State::default();
        assert!(taken(&limiter, &mut state, elapsed));
        let refused = limiter.check(&mut state, Amount::ONE, at(elapsed)).refused().unwrap();
        assert_eq!(refused.retry, When::At(at(MINUTE_US)), "asked after {elapsed} us");
        assert!(!taken(&limiter, &mut state, MINUTE_US - 1));
        assert!(taken(&limiter, &mut state, MINUTE_US));
    }
}

/// A two-bucket limiter told callers to come back when the window ends, where the last bucket still stood in their way;
/// and elsewhere to wait for the end, where a part of the last bucket's fading would have done.
#[test]
fn a_sliding_wait_is_neither_too_short_nor_too_long() {
    let limiter = Limiter::per_minute(10);
    let mut burst = State::default();
    limiter.charge(&mut burst, Amount::new(10), at(0)).unwrap();
    let refused = limiter.check(&mut burst, Amount::ONE, at(1)).refused().unwrap();
    assert_eq!(refused.ends, at(MINUTE_US));
    assert_eq!(refused.retry, When::At(at(MINUTE_US + 1)), "at the end of the window all ten still count");
    let refused = limiter.check(&mut burst, Amount::new(5), at(MINUTE_US)).refused().unwrap();
    assert_eq!(refused.retry, When::At(at(MINUTE_US + 24_000_001)), "long before the window ends");
}

/// Refused calls that were counted kept an eager client locked out for as long as it kept asking.
#[test]
fn refused_calls_consume_nothing() {
    let five = Amount::new(5);
    for limiter in [
        Limiter::fixed(five, Length::SECOND),
        Limiter::sliding(five, Length::SECOND),
        Limiter::gcra(five, Length::SECOND, five).unwrap(),
    ] {
        let mut state = State::default();
        assert!((0..5).all(|_| taken(&limiter, &mut state, 0)));
        let (full, refused) = (state, limiter.check(&mut state, Amount::ONE, at(0)).refused().unwrap());
        let retry = refused.retry.instant().unwrap().as_micros();
        for now in (0..retry).step_by(997) {
            assert!(!taken(&limiter, &mut state, now), "{limiter} at {now}");
            assert_eq!(state, full, "{limiter} at {now}");
        }
        assert!(taken(&limiter, &mut state, retry), "{limiter}");
    }
    let rolling = Rolling::new(five, Length::SECOND, 10).unwrap();
    let mut state = RollingState::default();
    assert!(rolling.check(&mut state, five, at(0)).has_passed());
    let full = state.clone();
    assert!((0..1_000).all(|now| !rolling.check(&mut state, Amount::ONE, at(now)).has_passed()));
    assert_eq!(state, full);
}

/// A limit of 0 given with a call made one limiter fail with an error, and its caller let the call pass. Here 0 is a
/// limit like any other: it refuses everything, reads too, and says that time will not help.
#[test]
fn a_limit_of_zero_refuses_everything_and_is_no_error() {
    for limiter in [
        Limiter::fixed(Amount::ZERO, Length::MINUTE),
        Limiter::sliding(Amount::ZERO, Length::MINUTE),
        Limiter::gcra(Amount::ZERO, Length::MINUTE, Amount::new(5)).unwrap(),
    ] {
        for cost in [Amount::ZERO, Amount::ONE, Amount::MAX] {
            let mut state = State::default();
            let refused = limiter.check(&mut state, cost, at(0)).refused().unwrap();
            assert_eq!((refused.limit, refused.retry), (Cap::At(Amount::ZERO), When::Never), "{limiter}");
            assert!(state.is_new(), "{limiter}");
        }
    }
    let rolling = Rolling::new(Amount::ZERO, Length::MINUTE, 6).unwrap();
    let refused = rolling.check(&mut RollingState::default(), Amount::ZERO, at(0)).refused().unwrap();
    assert_eq!(refused.retry, When::Never);
}

/// A limiter that kept its level as a time read it as another level when the rate was changed: ten times the rate made a
/// full meter look a tenth full, or the other way round.
#[test]
fn another_rate_finds_the_same_level() {
    let ten = Amount::new(10);
    let slow = Limiter::gcra(Amount::ONE, Length::SECOND, ten).unwrap();
    let mut state = State::default();
    assert!(slow.check(&mut state, ten, at(0)).has_passed());
    for cap in [1, 10, 1_000_000] {
        let limiter = slow.with_cap(Amount::new(cap));
        assert_eq!(limiter.used(&state, at(0)), ten);
        let refused = limiter.check(&mut state, Amount::ONE, at(0)).refused().unwrap();
        assert_eq!(refused.retry, When::At(at(1_000_000 / i64::from(cap))));
    }
}

/// Raising a limit must not begin a new count, and lowering it below the count must not wrap.
#[test]
fn another_amount_keeps_the_count() {
    let mut state = State::default();
    let limiter = Limiter::per_minute(10);
    assert!(limiter.check(&mut state, Amount::new(10), at(0)).has_passed());
    assert_eq!(limiter.with_cap(Amount::new(12)).remaining(&state, at(0)), Some(Amount::new(2)));
    assert_eq!(limiter.with_cap(Amount::new(3)).remaining(&state, at(0)), Some(Amount::ZERO));
    assert_eq!(limiter.with_cap(Cap::Unlimited).remaining(&state, at(0)), None);
}

/// A length or a kind that changed while calls were counted read the old numbers as its own: a fraction as a count of
/// millions, or a full minute as an empty second.
#[test]
fn another_length_or_kind_keeps_what_counts_and_invents_nothing() {
    let ten = Amount::new(10);
    let minute = Limiter::fixed(ten, Length::MINUTE);
    let second = Limiter::fixed(ten, Length::SECOND);
    let meter = Limiter::gcra(Amount::new(7), Length::MINUTE, ten).unwrap();
    let mut state = State::default();
    assert!(minute.check(&mut state, ten, at(30_000_000)).has_passed());
    assert_eq!(second.used(&state, at(40_000_000)), ten, "the old minute has not ended");
    assert_eq!(second.used(&state, at(MINUTE_US)), Amount::ZERO);
    assert_eq!(meter.used(&state, at(40_000_000)), ten);
    assert_eq!(meter.used(&state, at(2 * MINUTE_US)), Amount::new(3), "leaks from the end of the old minute");

    let mut level = State::default();
    assert!(meter.check(&mut level, ten, at(0)).has_passed());
    assert!(meter.check(&mut level, Amount::ONE, at(10_000_000)).has_passed());
    assert_eq!(meter.used(&level, at(10_000_000)), ten, "9 and five sixths");
    assert_eq!(minute.used(&level, at(10_000_000)), ten);
    assert_eq!(minute.used(&level, at(MINUTE_US)), Amount::ZERO);
}

/// A clock that stepped back by a second found no bucket for that second, made an empty one, and un-limited the key.
#[test]
fn a_clock_that_steps_back_does_not_unlimit_a_key() {
    let five = Amount::new(5);
    for limiter in [
        Limiter::fixed(five, Length::MINUTE),
        Limiter::sliding(five, Length::MINUTE),
        Limiter::gcra(five, Length::MINUTE, five).unwrap(),
    ] {
        let mut state = State::default();
        assert!((0..5).all(|_| taken(&limiter, &mut state, 10 * MINUTE_US)));
        for back in [1, 1_000_000, 5 * MINUTE_US, i64::MAX] {
            assert!(!taken(&limiter, &mut state, 10 * MINUTE_US - back), "{limiter}, {back} us back");
        }
    }
    let rolling = Rolling::new(five, Length::MINUTE, 6).unwrap();
    let mut state = RollingState::default();
    assert!(rolling.check(&mut state, five, at(10 * MINUTE_US)).has_passed());
    assert!(!rolling.check(&mut state, Amount::ONE, at(0)).has_passed());
}

/// A fixed minute lets its amount pass right before the boundary and again right after: twice the rate within a
/// millisecond. That is what the word means, so those who cannot have it are offered three kinds that do not do it.
#[test]
fn the_burst_at_the_boundary_of_a_fixed_minute_has_three_alternatives() {
    let ten = Amount::new(10);
    let (before, after) = (at(MINUTE_US - 500), at(MINUTE_US + 500));
    let burst = |limiter: Limiter| {
        let mut state = State::default();
        let mut pass = |now| (0..20).filter(|_| limiter.check(&mut state, Amount::ONE, now).has_passed()).count();
        pass(before) + pass(after)
    };
    assert_eq!(burst(Limiter::fixed(ten, Length::MINUTE)), 20);
    // At 500 us into the minute, a hair less than all ten of the last one count.
    assert_eq!(burst(Limiter::sliding(ten, Length::MINUTE)), 11);
    assert_eq!(burst(Limiter::gcra(ten, Length::MINUTE, ten).unwrap()), 10);
    let rolling = Rolling::new(ten, Length::MINUTE, 60).unwrap();
    let mut state = RollingState::default();
    assert!(rolling.check(&mut state, ten, before).has_passed());
    assert!(!rolling.check(&mut state, Amount::ONE, after).has_passed());
}

/// A limit over thirty days admitted everything, because its timer overflowed.
#[test]
fn a_month_and_an_age_are_lengths_like_any_other() {
    for length in ["30d".parse().unwrap(), Length::MAX] {
        let mut state = State::default();
        let limiter = Limiter::sliding(Amount::new(2), length);
        assert!(taken(&limiter, &mut state, 0) && taken(&limiter, &mut state, 1));
        assert!(!taken(&limiter, &mut state, 2), "{limiter}");
    }
}

/// A refund that came in the next window was taken from that window's count, and let it admit 160 of 100.
#[test]
fn what_is_given_back_late_goes_to_the_bucket_it_was_taken_from() {
    let limiter = Limiter::fixed(Amount::new(100), Length::MINUTE);
    let mut state = State::default();
    let mark = limiter.check(&mut state, Amount::new(60), at(0)).mark().unwrap();
    let next = MINUTE_US + 1;
    assert!(limiter.check(&mut state, Amount::new(100), at(next)).has_passed());
    limiter.give_back(&mut state, &mark, Amount::new(60), at(next));
    assert_eq!(limiter.remaining(&state, at(next)), Some(Amount::ZERO));
    assert!(!taken(&limiter, &mut state, next));
    // A sliding limiter still counts a part of that bucket, and now counts less of it.
    let sliding = Limiter::sliding(Amount::new(200), Length::MINUTE);
    assert_eq!(sliding.used(&state, at(next)), Amount::new(100));
}

/// Settling above the hold books all of it, in the window of the hold.
#[test]
fn spend_that_has_happened_is_counted_where_it_was_held_and_never_clamped() {
    let limiter = Limiter::sliding(Amount::new(10), Length::MINUTE);
    let mut state = State::default();
    let mark = limiter.check(&mut state, Amount::new(10), at(0)).mark().unwrap();
    limiter.charge_more(&mut state, &mark, Amount::new(90), at(MINUTE_US)).unwrap();
    assert_eq!(limiter.used(&state, at(MINUTE_US)), Amount::new(100));
    assert_eq!(limiter.used(&state, at(MINUTE_US + MINUTE_US / 2)), Amount::new(50));
    assert_eq!(limiter.used(&state, at(2 * MINUTE_US)), Amount::ZERO);
    let error = limiter.charge_more(&mut state, &mark, Amount::MAX, at(0)).unwrap_err();
    assert!(error.is_invalid());
    assert_eq!(limiter.used(&state, at(MINUTE_US)), Amount::new(100), "an error changes nothing");
}

#[cfg(feature = "serde")]
#[test]
fn states_and_marks_survive_being_written_and_read() {
    let limiter = Limiter::gcra(Amount::new(7), Length::MINUTE, Amount::new(10)).unwrap();
    let mut state = State::default();
    limiter.charge(&mut state, Amount::new(3), at(1)).unwrap();
    let mark = limiter.charge(&mut state, Amount::new(3), at(5)).unwrap();
    let text = serde_json::to_string(&(state, mark)).unwrap();
    assert_eq!(serde_json::from_str::<(State, keyward::limiter::Mark)>(&text).unwrap(), (state, mark));
    assert!(serde_json::from_str::<State>(r#"{"until":0,"count":-1,"rest":0}"#).is_err());

    let rolling = Rolling::new(Amount::new(7), Length::MINUTE, 3).unwrap();
    let mut ring = RollingState::default();
    rolling.charge(&mut ring, Amount::new(3), at(1)).unwrap();
    let text = serde_json::to_string(&ring).unwrap();
    assert_eq!(serde_json::from_str::<RollingState>(&text).unwrap(), ring);
    let huge = format!(r#"{{"end":0,"counts":[{0},{0}]}}"#, i64::MAX);
    assert!(serde_json::from_str::<RollingState>(&huge).is_err());
}
