//! Each limiter held against a slow one that keeps everything.

use std::collections::BTreeMap;

use super::*;
use crate::window::Slices;

/// One thing that is done to a limiter, and how far the clock moves before it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Check(i64),
    Charge(i64),
    GiveBack(usize, i64),
    ChargeMore(usize, i64),
}

pub(super) fn steps(cost: i64) -> impl Strategy<Value = Vec<(i64, Step)>> {
    let step = prop_oneof![
        6 => (0..=cost).prop_map(Step::Check),
        1 => (0..=cost).prop_map(Step::Charge),
        2 => (0..40_usize, 0..=cost).prop_map(|(which, n)| Step::GiveBack(which, n)),
        1 => (0..40_usize, 0..=cost).prop_map(|(which, n)| Step::ChargeMore(which, n)),
    ];
    let passed = prop_oneof![4 => 0..8_i64, 2 => 0..60_i64, 1 => -40..0_i64];
    prop::collection::vec((passed, step), 1..40)
}

/// Counts by the number of their bucket, and nothing forgotten.
struct Log {
    counts: BTreeMap<i128, i128>,
    newest: i128,
}

impl Log {
    fn new() -> Self {
        Self { counts: BTreeMap::new(), newest: i128::MIN }
    }

    fn count(&self, bucket: i128) -> i128 {
        self.counts.get(&bucket).copied().unwrap_or(0)
    }

    fn add(&mut self, bucket: i128, n: i64) {
        *self.counts.entry(bucket).or_default() += i128::from(n);
        self.newest = self.newest.max(bucket);
    }

    fn take(&mut self, bucket: i128, n: i64) {
        let count = self.counts.entry(bucket).or_default();
        *count = (*count - i128::from(n)).max(0);
    }
}

fn units_of(n: i64) -> Amount {
    Amount::from_i64(n).unwrap()
}

fn start() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), -100..100_i64, -(1_i64 << 60)..1_i64 << 60]
}

/// Fixed and sliding by their definition.
fn agree_with_a_log(limiter: Limiter, cap: i64, start: i64, steps: Vec<(i64, Step)>) -> Result<(), TestCaseError> {
    let d = i128::from(limiter.length().as_micros());
    let (mut log, mut state, mut now, mut taken) = (Log::new(), State::default(), start, Vec::new());
    for (passed, step) in steps {
        now += passed;
        let bucket = i128::from(now).div_euclid(d).max(log.newest);
        let elapsed = (i128::from(now) - bucket * d).max(0);
        let faded = log.count(bucket - 1) * (d - elapsed) / d;
        let used = log.count(bucket) + if limiter.kind == Kind::Sliding { faded } else { 0 };
        prop_assert_eq!(i128::from(limiter.used(&state, at(now)).get()), used);
        match step {
            Step::Check(cost) => {
                let passes = cap > 0 && (cost == 0 || used + i128::from(cost) <= i128::from(cap));
                let answer = limiter.check(&mut state, units_of(cost), at(now));
                prop_assert_eq!(answer.has_passed(), passes);
                if let Some(mark) = answer.mark() {
                    taken.push((mark, bucket));
                }
                if passes && cost > 0 {
                    log.add(bucket, cost);
                }
            }
            Step::Charge(n) => {
                taken.push((limiter.charge(&mut state, units_of(n), at(now)).unwrap(), bucket));
                if n > 0 {
                    log.add(bucket, n);
                }
            }
            Step::GiveBack(which, n) => {
                if let Some((mark, bucket)) = taken.get(which) {
                    limiter.give_back(&mut state, mark, units_of(n), at(now));
                    log.take(*bucket, n);
                }
            }
            Step::ChargeMore(which, n) => {
                if let Some((mark, bucket)) = taken.get(which) {
                    limiter.charge_more(&mut state, mark, units_of(n), at(now)).unwrap();
                    if n > 0 {
                        log.add(*bucket, n);
                    }
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn fixed_and_sliding_are_what_their_definition_says(
        sliding: bool, cap in 0..30_i64, d in 1..60_i64, start in start(), steps in steps(12),
    ) {
        let length = Length::from_micros(d).unwrap();
        let limiter = if sliding { Limiter::sliding(units_of(cap), length) } else { Limiter::fixed(units_of(cap), length) };
        agree_with_a_log(limiter, cap, start, steps)?;
    }

    #[test]
    fn sliding_is_exact_for_numbers_of_any_size(
        end in some_instant(), current in number(), previous in number(), d in some_length(), left in number(),
    ) {
        let end = end.max(i64::MIN + 1);
        let now = end.saturating_sub(left.max(1));
        let state = State::from_parts([end, current, previous]).unwrap();
        let left = (i128::from(end) - i128::from(now)).min(i128::from(d.as_micros()));
        let product = u128::try_from(i128::from(previous) * left).unwrap();
        let used = u128::try_from(current).unwrap() + product / u128::try_from(d.as_micros()).unwrap();
        let limiter = Limiter::sliding(Amount::MAX, d);
        prop_assert_eq!(u128::from(limiter.see(&state, at(now)).used), used);
    }

    #[test]
    fn a_meter_is_an_exact_fraction(
        cap in number(), burst in number(), d in some_length(), start in start(),
        steps in prop::collection::vec((prop_oneof![4 => -5..40_i64, 1 => 0..1_i64 << 50], some_amount()), 1..20),
    ) {
        let limiter = Limiter::gcra(units_of(cap), d, units_of(burst.max(1))).unwrap();
        let unit = u128::try_from(d.as_micros()).unwrap();
        // The level in parts of a unit, and when it was that.
        let (mut level, mut last, mut state, mut now) = (0_u128, i64::MIN, State::default(), start);
        for (passed, cost) in steps {
            now += passed;
            let elapsed = if now > last { u128::from(now.abs_diff(last)) } else { 0 };
            let leaked = level.saturating_sub(elapsed * u128::from(cap.unsigned_abs()));
            prop_assert_eq!(u128::try_from(limiter.used(&state, at(now)).get()).unwrap(), leaked.div_ceil(unit));
            let after = leaked + u128::from(units(cost)) * unit;
            let passes = cap > 0 && (cost.is_zero() || after <= u128::from(burst.max(1).unsigned_abs()) * unit);
            let answer = limiter.check(&mut state, cost, at(now));
            prop_assert_eq!(answer.has_passed(), passes);
            if passes && !cost.is_zero() {
                (level, last) = (after, now.max(last));
            }
        }
    }

    #[test]
    fn rolling_is_what_its_definition_says(
        cap in 0..30_i64, n in 1..9_u16, extra in 0..60_i64, start in start(), steps in steps(12),
    ) {
        let d = i64::from(n) + extra;
        let limiter = Rolling::new(units_of(cap), Length::from_micros(d).unwrap(), n).unwrap();
        let (mut log, mut state, mut now, mut taken) = (Log::new(), RollingState::default(), start, Vec::new());
        for (passed, step) in steps {
            now += passed;
            let bucket = (i128::from(now) * i128::from(n)).div_euclid(i128::from(d)).max(log.newest);
            let used: i128 = (bucket - i128::from(n)..=bucket).map(|bucket| log.count(bucket)).sum();
            prop_assert_eq!(i128::from(limiter.used(&state, at(now)).get()), used);
            match step {
                Step::Check(cost) => {
                    let passes = cap > 0 && (cost == 0 || used + i128::from(cost) <= i128::from(cap));
                    let before = state.clone();
                    let answer = limiter.check(&mut state, units_of(cost), at(now));
                    prop_assert_eq!(answer.has_passed(), passes);
                    prop_assert_eq!(before == state, !passes || cost == 0);
                    let passes_at = |t| limiter.peek(&state, units_of(cost), t).has_passed();
                    retry_is_exact(answer.refused(), now, start.unsigned_abs(), passes_at)?;
                    if let Some(mark) = answer.mark() {
                        taken.push((mark, bucket));
                    }
                    if passes && cost > 0 {
                        log.add(bucket, cost);
                    }
                }
                Step::Charge(n) => {
                    taken.push((limiter.charge(&mut state, units_of(n), at(now)).unwrap(), bucket));
                    if n > 0 {
                        log.add(bucket, n);
                    }
                }
                Step::GiveBack(which, n) => {
                    if let Some((mark, bucket)) = taken.get(which) {
                        limiter.give_back(&mut state, mark, units_of(n));
                        log.take(*bucket, n);
                    }
                }
                Step::ChargeMore(which, n) => {
                    if let Some((mark, bucket)) = taken.get(which) {
                        limiter.charge_more(&mut state, mark, units_of(n)).unwrap();
                        if n > 0 {
                            log.add(*bucket, n);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rolling_names_its_instant_and_never_panics_whatever_becomes_of_its_slices(
        use_ in prop::collection::vec((some_instant(), some_amount(), some_length(), 1..9_u16, some_cap()), 1..8),
        mark in some_instant(), between: u64,
    ) {
        let mut state = RollingState::default();
        let mark = Mark { at: at(mark) };
        for (now, n, length, slices, cap) in use_ {
            let length = length.max(Length::from_micros(9).unwrap());
            let limiter = Rolling::new(cap, length, slices).unwrap();
            let held = limiter.used(&state, at(now));
            let refused = limiter.check(&mut state, n, at(now)).refused();
            if refused.is_none() {
                prop_assert_eq!(Some(limiter.used(&state, at(now))), held.checked_add(n));
            }
            retry_is_exact(refused, now, between, |t| limiter.peek(&state, n, t).has_passed())?;
            prop_assert!(limiter.used(&state, at(now.saturating_sub_unsigned(between))) >= limiter.used(&state, at(now)));
            limiter.give_back(&mut state, &mark, n);
            let before = (state.clone(), limiter.used(&state, at(now)));
            match limiter.charge(&mut state, n, at(now)) {
                Ok(_) => prop_assert_eq!(Some(limiter.used(&state, at(now))), before.1.checked_add(n)),
                Err(_) => prop_assert_eq!(&state, &before.0),
            }
            let before = state.clone();
            if limiter.charge_more(&mut state, &mark, n).is_err() {
                prop_assert_eq!(state.end(), before.end());
            }
        }
    }

    #[test]
    fn rolling_is_late_by_at_most_one_bucket(now in some_instant(), d in 9..3_000_i64, n in 1..9_u16) {
        let now = now.min(i64::MAX - 10_000);
        let length = Length::from_micros(d).unwrap();
        let (limiter, mut state) = (Rolling::new(Amount::ONE, length, n).unwrap(), RollingState::default());
        let _ = limiter.check(&mut state, Amount::ONE, at(now));
        let bucket = (i128::from(now) * i128::from(n)).div_euclid(i128::from(d));
        let begin = |bucket: i128| -(-bucket * i128::from(d)).div_euclid(i128::from(n));
        let late = i64::try_from(begin(bucket + 1) - begin(bucket)).unwrap();
        prop_assert_eq!(limiter.used(&state, at(now + d - 1)), Amount::ONE);
        prop_assert_eq!(limiter.used(&state, at(now + d + late)), Amount::ZERO);
    }
}

#[test]
fn slices_that_cannot_be_are_refused_by_name() {
    for (length, n, field) in [(60, 0, "buckets"), (60, 1_025, "buckets"), (9, 10, "length")] {
        let error = Slices::new(Length::from_micros(length).unwrap(), n).unwrap_err();
        assert_eq!(error.field(), Some(field));
    }
}
