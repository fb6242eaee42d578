//! Every case of `pool.json` that is about keys; those about texts of providers are in `tests/upstream.rs`.

use keyward::pool::{Cause, Health, Ladder, Report, Source, Strategy, Until, Wanted, parse};
use keyward::usage::Patience;
use keyward::{Hint, KeySuffix, Length, Secret, Timestamp, When};
use serde_json::Value;

use super::{at, id, member, next};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/pool.json")).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn every_file_case_is_known_here() {
    let known = [
        "about",
        "ladder_ms",
        "parse",
        "boundary",
        "env_credits_exhausted",
        "text_reset_clamp",
        "header_clamp",
        "round_robin_n",
        "suffixes",
    ];
    let vectors = vectors();
    assert!(vectors.as_object().unwrap().keys().all(|name| known.contains(&name.as_str())));
}

#[test]
fn separate_bursts_climb_the_ladder() {
    let (mut key, mut now) = (Health::default(), at(0));
    for millis in vectors()["ladder_ms"].as_array().unwrap() {
        let until = Until::Climb(Ladder::default());
        key.report(Report::Failed { began: now, cause: Cause::RateLimited, until }, now);
        let Err(When::At(ready)) = key.ready(now) else { panic!("it cools") };
        assert_eq!(i64::try_from(ready.since(now).as_millis()).unwrap(), millis.as_i64().unwrap());
        now = ready.saturating_add(Length::SECOND);
    }
}

#[test]
fn lists_are_parsed_as_they_were() {
    for case in vectors()["parse"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(parse::list(text).collect::<Vec<_>>(), texts(&case["keys"]), "{text:?}");
        let keys = parse::keys(text, parse::Twice::Refused).unwrap();
        assert_eq!(keys.iter().map(|key| key.secret().expose()).collect::<Vec<_>>(), texts(&case["keys"]));
        if !case["suffixes"].is_null() {
            let shown: Vec<KeySuffix> = keys.iter().map(|key| key.suffix(KeySuffix::LENGTH).unwrap()).collect();
            assert_eq!(shown.iter().map(KeySuffix::as_str).collect::<Vec<_>>(), texts(&case["suffixes"]));
        }
    }
}

#[test]
fn suffixes_leave_four_characters_hidden() {
    for case in vectors()["suffixes"].as_array().unwrap() {
        let (key, n) = (case["key"].as_str().unwrap(), case["n"].as_u64().unwrap() as usize);
        let suffix = KeySuffix::of(&Secret::new(key), n).unwrap();
        assert_eq!(suffix.as_str(), case["suffix"].as_str().unwrap(), "{key:?}");
    }
}

#[test]
fn a_key_can_be_used_at_its_very_instant() {
    let boundary = &vectors()["boundary"];
    let until: Timestamp = boundary["until"].as_str().unwrap().parse().unwrap();
    let mut key = Health::default();
    let began = until.saturating_sub(Length::HOUR);
    key.report(Report::Failed { began, cause: Cause::RateLimited, until: Until::At(until, Source::Stated) }, began);
    for case in boundary["at"].as_array().unwrap() {
        let now: Timestamp = case[0].as_str().unwrap().parse().unwrap();
        assert_eq!(key.ready(now).is_ok(), case[1].as_bool().unwrap(), "{now}");
    }
}

/// Seconds as the vectors write them, halves included.
fn instant(seconds: &Value) -> Timestamp {
    let (whole, half) = match seconds.as_i64() {
        Some(whole) => (whole, 0),
        None => (seconds.to_string().strip_suffix(".5").unwrap().parse().unwrap(), 500_000),
    };
    Timestamp::from_micros(1_780_000_000_000_000 + whole * 1_000_000 + half)
}

#[test]
fn what_is_said_of_time_is_bounded() {
    let now = Timestamp::from_micros(1_780_000_000_000_000);
    for (name, hint) in [("text_reset_clamp", Hint::Read as fn(Timestamp) -> Hint), ("header_clamp", Hint::Stated)] {
        let patience = Patience::default();
        for case in vectors()[name]["cases"].as_array().unwrap() {
            let until = hint(instant(&case["in_s"])).until(now, patience);
            assert_eq!(until, instant(&case["used_s"]), "{name} {}", case["in_s"]);
        }
    }
}

#[test]
fn round_robin_stays_so_many_times_with_each() {
    let case = &vectors()["round_robin_n"];
    let in_a_row = u32::try_from(case["n"].as_u64().unwrap()).unwrap();
    let mut roster = keyward::pool::Roster::new(Strategy::RoundRobin { in_a_row });
    texts(&case["order"]).into_iter().for_each(|name| roster.insert(member(name)).unwrap());
    for pick in texts(&case["picks"]) {
        assert_eq!(next(&mut roster, &Wanted::default(), at(0)), id(pick));
    }
}
