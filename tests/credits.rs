//! Every case of the credits' vectors.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use chrono::{Datelike, NaiveDate};
use keyward::Amount;
use keyward::quota::{Balance, Civil, Every, Refill, RefillPolicy};
use proptest::prelude::*;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/credits.json")).unwrap()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn amount(value: &Value) -> Amount {
    Amount::from_i64(number(value)).unwrap()
}

fn civil(date: &Value) -> Civil {
    let date: NaiveDate = date.as_str().unwrap().parse().unwrap();
    let next = if date.month() == 12 { (date.year() + 1, 1) } else { (date.year(), date.month() + 1) };
    let last = NaiveDate::from_ymd_opt(next.0, next.1, 1).unwrap().pred_opt().unwrap();
    Civil {
        day: (date - NaiveDate::from_ymd_opt(1970, 1, 1).unwrap()).num_days(),
        month: (i64::from(date.year()) - 1970) * 12 + i64::from(date.month0()),
        day_of_month: date.day().try_into().unwrap(),
        month_length: last.day().try_into().unwrap(),
    }
}

#[test]
fn every_spend_of_the_vectors_holds() {
    let vectors = vectors();
    let cases = vectors["spend"].as_array().unwrap();
    for case in cases {
        let (cost, mut balance) = (amount(&case["cost"]), Balance::of(number(&case["balance"])));
        let passes = balance.has_room(cost);
        assert_eq!(passes, case["ok"].as_bool().unwrap(), "{case}");
        if passes {
            balance.hold(cost).unwrap();
            assert_eq!(balance.available(), Some(number(&case["reported"])), "{case}, held");
            assert!(balance.settle(balance.epoch, cost, cost).unwrap());
        }
        assert_eq!((balance.available(), balance.held), (Some(number(&case["reported"])), Amount::ZERO), "{case}");
    }
    assert_eq!(cases.len(), 7);
}

#[test]
fn every_refill_of_the_vectors_holds() {
    let vectors = vectors();
    let cases = vectors["refill"].as_array().unwrap();
    for case in cases {
        let every = match case["rule"].as_str().unwrap().split_once(':') {
            None => Every::Day,
            Some((_, day)) => Every::Month { day: day.parse().unwrap() },
        };
        let refill = Refill { amount: amount(&case["amount"]), every, policy: RefillPolicy::Set };
        let mut balance = Balance::of(number(&case["balance"])).refilled(refill, civil(&case["last"]));
        let risen = balance.catch_up(civil(&case["today"]));
        assert_eq!(balance.units, Some(number(&case["after"])), "{case}");
        assert_eq!(risen, number(&case["after"]) - number(&case["balance"]), "{case}");
        assert_eq!(balance.catch_up(civil(&case["today"])), 0, "the same period refills once: {case}");
        assert_eq!(balance.epoch, u32::from(risen != 0), "{case}");
    }
    assert_eq!(cases.len(), 13);
}

/// The date so many days after 1970.
fn day(days: i64) -> Civil {
    let date = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + chrono::Days::new(days.try_into().unwrap());
    civil(&Value::from(date.to_string()))
}

proptest! {
    /// A balance that was refused knew when its holds would end, but not when its refill would come, however near that was.
    #[test]
    fn the_date_of_a_refill_that_makes_room_is_found_by_waiting_for_it(
        began in 0_i64..20_000,
        units in -40_i64..40,
        (held, cost) in (0_u32..20, 1_u32..60),
        (amount, of_month) in (0_u32..30, prop::option::of(1_u8..=31)),
        policy in prop_oneof![
            Just(RefillPolicy::Set),
            Just(RefillPolicy::Add),
            (0_u32..70).prop_map(|most| RefillPolicy::AddCapped { most: Amount::new(most) }),
        ],
        behind in 0_i64..3,
    ) {
        let every = of_month.map_or(Every::Day, |day| Every::Month { day });
        let refill = Refill { amount: Amount::new(amount), every, policy };
        let mut balance = Balance { held: Amount::new(held), ..Balance::of(units).refilled(refill, day(began)) };
        let cost = Amount::new(cost);
        let said = balance.room_on(cost);
        // A clock may be behind the last refill.
        let waited = (0..6_000).map(|days| day((began - behind).max(0) + days)).find(|today| {
            balance.catch_up(*today);
            // The refill that sets the balance begins an epoch in which nothing is held.
            balance.has_room(cost)
        });
        let had_room = Balance { held: Amount::new(held), ..Balance::of(units) }.has_room(cost);
        // Further away than anybody waits here are only those whose refills add next to nothing each month.
        let far = said.is_some_and(|date| date.day > began + 5_900);
        prop_assert_eq!(said, waited.filter(|_| !had_room).or(said.filter(|_| far)));
    }
}

#[test]
fn no_refill_is_promised_after_the_year_9999_or_beyond_what_a_balance_can_say() {
    let add = |amount, units| {
        let refill = Refill { amount: Amount::new(amount), every: Every::Day, policy: RefillPolicy::Add };
        Balance::of(units).refilled(refill, day(0))
    };
    assert_eq!(add(1, 0).room_on(Amount::new(2_932_896)).map(|date| date.day), Some(2_932_896));
    assert_eq!(add(1, 0).room_on(Amount::new(2_932_897)), None);
    assert_eq!(add(u32::MAX, i64::MIN).room_on(Amount::MAX), None);
    let held = Balance { held: Amount::ONE, ..add(u32::MAX, 1 << 62) };
    assert_eq!(held.room_on(Amount::MAX), None, "with what is held it is more than 2^63");
}

#[test]
fn every_epoch_of_the_vectors_holds() {
    let vectors = vectors();
    let (mut cases, mut steps) = (0, 0);
    for case in vectors["epoch"].as_array().unwrap() {
        let (mut balance, mut hold) = (Balance::of(0), None);
        for step in case["steps"].as_array().unwrap() {
            let words: Vec<&str> = step.as_str().unwrap().split(' ').collect();
            let n: i64 = words[1].parse().unwrap();
            let of = Amount::from_i64(n).unwrap();
            match words[..] {
                ["set", _] => balance.set(Some(n)),
                ["hold", _] => {
                    assert!(balance.has_room(of));
                    balance.hold(of).unwrap();
                    hold = Some((balance.epoch, of));
                }
                ["settle", _, "of", "the", "old", "epoch"] => {
                    let (epoch, held) = hold.unwrap();
                    assert!(!balance.settle(epoch, held, of).unwrap());
                }
                ["spend", _] => {
                    assert!(balance.has_room(of));
                    balance.correct(-n).unwrap();
                }
                _ => panic!("{step}"),
            }
            steps += 1;
        }
        assert_eq!(balance.available(), Some(number(&case["reported"])), "{case}");
        cases += 1;
    }
    assert_eq!((cases, steps), (1, 5));
}
