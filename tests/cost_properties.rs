//! Costs add up, to one rounding for each request, and more usage never costs less.
#![allow(clippy::unwrap_used, clippy::panic)]

use keyward::price::{Cost, Price};
use keyward::{Usage, Usd};
use proptest::prelude::*;

/// Rates from nothing to $1,000 a million, to the last digit that a price may have.
fn rate() -> impl Strategy<Value = String> {
    (0..=1_000_u32, 0..1_000_000_000_u32).prop_map(|(dollars, nanos)| format!("{dollars}.{nanos:09}"))
}

fn price() -> impl Strategy<Value = Price> {
    (rate(), rate(), rate(), rate(), rate()).prop_map(|(input, read, five, hour, output)| {
        let rate = |text: String| text.parse().unwrap();
        let caches = Price::new().cache_read(rate(read)).cache_write_5m(rate(five)).cache_write_1h(rate(hour));
        caches.input(rate(input)).output(rate(output))
    })
}

type Parts = (u64, u64, u64, u64, u64);

fn parts() -> impl Strategy<Value = Parts> {
    let tokens = || prop_oneof![0..10_u64, 0..2_000_000_u64];
    (tokens(), tokens(), tokens(), tokens(), tokens())
}

fn usage((input, read, five, hour, output): Parts) -> Usage {
    let usage = Usage::new().input(input).cache_read(read).cache_write_5m(five).cache_write_1h(hour).output(output);
    usage.reasoning(output / 2)
}

fn both(a: Parts, b: Parts) -> Parts {
    (a.0 + b.0, a.1 + b.1, a.2 + b.2, a.3 + b.3, a.4 + b.4)
}

fn nanos(price: &Price, parts: Parts) -> i64 {
    match price.cost(&usage(parts)).unwrap() {
        Cost::Priced(cost) => cost.as_nanos(),
        other => panic!("all of it has a rate: {other:?}"),
    }
}

proptest! {
    #[test]
    fn two_requests_cost_what_one_of_both_costs_and_at_most_one_rounding_more(price in price(), a in parts(), b in parts()) {
        let (apart, together) = (nanos(&price, a) + nanos(&price, b), nanos(&price, both(a, b)));
        prop_assert!((0..=1).contains(&(apart - together)), "{apart} apart, {together} together");
    }

    #[test]
    fn more_usage_never_costs_less(price in price(), a in parts(), b in parts()) {
        prop_assert!(nanos(&price, both(a, b)) >= nanos(&price, a));
    }

    /// aigetwey: reasoning is a part of the output, and was charged beside it, twice over.
    #[test]
    fn reasoning_costs_nothing_of_its_own(price in price(), a in parts(), share in 0..=100_u64) {
        let cost = |usage: &Usage| price.cost(usage).unwrap();
        let mut without = usage(a);
        without.reasoning = None;
        prop_assert_eq!(cost(&without), cost(&usage(a).reasoning(a.4 * share / 100)));
    }

    #[test]
    fn what_is_printed_is_read_again(dollars in 0..9_000_000_000_i64, nanos in 0..1_000_000_000_i64) {
        let usd = Usd::from_nanos(dollars * 1_000_000_000 + nanos).unwrap();
        prop_assert_eq!(usd.to_string().parse::<Usd>().unwrap(), usd);
    }
}
