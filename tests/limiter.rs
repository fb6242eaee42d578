//! Every case of the limiter's vectors, and the stories that it must not repeat.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::float_arithmetic)]

use keyward::limiter::{Limiter, State};
use keyward::{Amount, Length, Timestamp, When};
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
