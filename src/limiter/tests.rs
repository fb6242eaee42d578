//! Properties of every limiter, held against oracles that are slow and plain.

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;

mod bounds;
mod oracles;

fn cases() -> Config {
    Config { cases: if cfg!(miri) { 3 } else { 10_000 }, failure_persistence: None, ..Config::default() }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Small numbers, numbers as in life, and all there are.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 0..20_i64, 2 => 0..2_000_000_000_i64, 1 => 0..=i64::MAX, 1 => Just(i64::MAX)]
}

fn some_amount() -> impl Strategy<Value = Amount> {
    number().prop_map(|n| Amount::from_i64(n).unwrap())
}

fn some_cap() -> impl Strategy<Value = Cap> {
    prop_oneof![8 => some_amount().prop_map(Cap::At), 1 => Just(Cap::Unlimited)]
}

fn some_length() -> impl Strategy<Value = Length> {
    prop_oneof![3 => 1..30_i64, 1 => Just(60_000_000), 1 => 1..=i64::MAX].prop_map(|n| Length::from_micros(n).unwrap())
}

fn some_limiter() -> impl Strategy<Value = Limiter> {
    (0..3, some_cap(), some_length(), some_amount()).prop_map(|(kind, cap, length, burst)| match kind {
        0 => Limiter::fixed(cap, length),
        1 => Limiter::sliding(cap, length),
        _ => Limiter::gcra(cap, length, burst.max(Amount::ONE)).unwrap(),
    })
}

fn some_instant() -> impl Strategy<Value = i64> {
    prop_oneof![6 => -50..50_i64, 2 => 1_700_000_000_000_000..1_700_000_200_000_000_i64, 1 => any::<i64>(),
        1 => i64::MAX - 40..=i64::MAX, 1 => i64::MIN..=i64::MIN + 40]
}

fn some_state() -> impl Strategy<Value = State> {
    let rest = prop_oneof![1 => Just(0), 3 => number(), 3 => number().prop_map(|n| -n), 1 => any::<i64>()];
    (some_instant(), number(), rest).prop_map(|(until, count, rest)| State::from_parts([until, count, rest]).unwrap())
}

/// Where a limiter can be asked, whatever its state is made of.
fn retry_is_exact(
    refused: Option<Refused>,
    now: i64,
    between: u64,
    passes: impl Fn(Timestamp) -> bool,
) -> Result<(), TestCaseError> {
    let Some(refused) = refused else {
        return Ok(());
    };
    match refused.retry {
        When::At(retry) => {
            let retry = retry.as_micros();
            prop_assert!(retry > now, "{refused:?}");
            prop_assert!(passes(at(retry)), "refused at the instant it named: {refused:?}");
            prop_assert!(!passes(at(retry - 1)), "passes earlier: {refused:?}");
            let earlier = now.saturating_add_unsigned(between % retry.abs_diff(now));
            prop_assert!(!passes(at(earlier)), "passes already at {earlier}: {refused:?}");
        }
        When::Never => {
            for later in [now, now.saturating_add_unsigned(between), i64::MAX - 1, i64::MAX] {
                prop_assert!(!passes(at(later)), "passes at {later}: {refused:?}");
            }
        }
        When::WhenFreed { .. } => prop_assert!(false, "a limiter holds nothing: {refused:?}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_refusal_names_the_very_microsecond_at_which_it_passes(
        limiter in some_limiter(), state in some_state(), cost in some_amount(), now in some_instant(), between: u64,
    ) {
        let refused = limiter.peek(&state, cost, at(now)).refused();
        retry_is_exact(refused, now, between, |t| limiter.peek(&state, cost, t).has_passed())?;
    }

    #[test]
    fn a_refusal_names_its_instant_from_states_that_use_leads_to(
        limiter in some_limiter(),
        use_ in prop::collection::vec((some_instant(), some_amount()), 1..8),
        cost in some_amount(), between: u64,
    ) {
        let mut state = State::default();
        for (now, n) in use_ {
            let refused = limiter.check(&mut state, n, at(now)).refused();
            retry_is_exact(refused, now, between, |t| limiter.peek(&state, n, t).has_passed())?;
            let refused = limiter.peek(&state, cost, at(now)).refused();
            retry_is_exact(refused, now, between, |t| limiter.peek(&state, cost, t).has_passed())?;
        }
    }

    #[test]
    fn a_refusal_changes_nothing_and_a_read_neither(
        limiter in some_limiter(), state in some_state(), cost in some_amount(), now in some_instant(),
    ) {
        for cost in [cost, Amount::ZERO] {
            let mut after = state;
            let answer = limiter.check(&mut after, cost, at(now));
            prop_assert_eq!(answer, limiter.peek(&state, cost, at(now)));
            let taken = answer.has_passed() && !cost.is_zero();
            prop_assert_eq!(after == state, !taken);
            if taken {
                let used = limiter.used(&state, at(now));
                prop_assert_eq!(limiter.used(&after, at(now)), used.checked_add(cost).unwrap());
                prop_assert_eq!(limiter.remaining(&after, at(now)), answer.remaining());
            }
        }
        let read = limiter.peek(&state, Amount::ZERO, at(now));
        prop_assert_eq!(read.has_passed(), limiter.cap() != Cap::At(Amount::ZERO));
        prop_assert_eq!(limiter.remaining(&state, at(now)), read.remaining());
    }

    #[test]
    fn another_amount_judges_the_same_count(
        limiter in some_limiter(), state in some_state(), cap in some_amount(), more in some_amount(),
        cost in some_amount(), now in some_instant(),
    ) {
        let (low, high) = (limiter.with_cap(cap), limiter.with_cap(cap.checked_add(more).unwrap_or(Amount::MAX)));
        let (few, many) = (low.used(&state, at(now)), high.used(&state, at(now)));
        match limiter.kind {
            Kind::Meter { .. } => prop_assert!(many <= few, "a higher rate leaks faster: {} {}", few, many),
            Kind::Fixed | Kind::Sliding => prop_assert_eq!(few, many),
        }
        if low.peek(&state, cost, at(now)).has_passed() {
            prop_assert!(high.peek(&state, cost, at(now)).has_passed());
        }
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_back(
        limiter in some_limiter(), mut state in some_state(), now in some_instant(), back: u64, n in some_amount(),
    ) {
        let earlier = now.saturating_sub_unsigned(back);
        prop_assert!(limiter.used(&state, at(earlier)) >= limiter.used(&state, at(now)));
        if limiter.charge(&mut state, n, at(now)).is_ok() {
            let used = limiter.used(&state, at(now));
            prop_assert!(limiter.used(&state, at(earlier)) >= used);
            let before = state;
            if limiter.check(&mut state, Amount::ONE, at(earlier)).has_passed() {
                prop_assert!(limiter.used(&state, at(now)) >= used);
                prop_assert!(state.until >= before.until);
            }
        }
    }

    #[test]
    fn what_is_charged_counts_whatever_the_limit(
        limiter in some_limiter(), state in some_state(), n in some_amount(), now in some_instant(),
    ) {
        let mut after = state;
        let used = |state| u128::from(limiter.see(state, at(now)).used);
        let sum = used(&state) + u128::from(units(n));
        match limiter.charge(&mut after, n, at(now)) {
            Ok(_) => prop_assert_eq!(used(&after), sum),
            Err(error) => {
                prop_assert!(error.is_invalid());
                prop_assert_eq!(after, state);
                prop_assert!(sum > u128::from(units(Amount::MAX)));
            }
        }
    }

    #[test]
    fn nothing_panics_and_every_answer_can_be_read(
        limiter in some_limiter(), mut state in some_state(), mark in some_instant(), now in some_instant(),
        later in some_instant(), n in some_amount(),
    ) {
        let mark = Mark { at: at(mark) };
        limiter.give_back(&mut state, &mark, n, at(now));
        let before = state;
        if limiter.charge_more(&mut state, &mark, n, at(now)).is_err() {
            prop_assert_eq!(state, before);
        }
        let answer = limiter.check(&mut state, n, at(later));
        prop_assert!(!answer.to_string().is_empty() && !limiter.to_string().is_empty());
        let full = limiter.full_at(&state, at(now));
        if let When::At(full) = full {
            prop_assert_eq!(limiter.used(&state, full), Amount::ZERO);
        }
        prop_assert_eq!(State::from_parts(state.parts()).unwrap(), state);
    }

    #[test]
    fn another_length_or_kind_forgets_nothing_early(
        before in some_limiter(), after in some_limiter(), n in some_amount(), more in some_amount(),
        now in some_instant(),
    ) {
        // A meter without limit leaks at once.
        let after = if after.cap() == Cap::Unlimited { after.with_cap(Amount::MAX) } else { after };
        let mut state = State::default();
        before.charge(&mut state, n, at(now)).unwrap();
        let _ = before.charge(&mut state, more, at(now));
        // Whole units; a begun one is read in other parts.
        let used = before.used(&state, at(now));
        prop_assert!(after.used(&state, at(now)) >= used, "{before} {after} {state:?}");
    }
}

#[test]
fn the_state_is_as_small_as_it_says() {
    assert_eq!(size_of::<State>(), 24);
    assert!(State::default().is_new());
    assert_eq!(State::from_parts([0, -1, 0]).unwrap_err().field(), Some("count"));
}

#[test]
fn a_burst_of_nothing_is_refused_by_name() {
    let error = Limiter::gcra(Amount::ONE, Length::SECOND, Amount::ZERO).unwrap_err();
    assert_eq!(error.field(), Some("burst"));
}

#[test]
fn limiters_say_what_they_allow() {
    let five = Amount::new(5);
    assert_eq!(Limiter::per_minute(60).to_string(), "60 per 1m");
    assert_eq!(Limiter::fixed(Cap::Unlimited, Length::HOUR).to_string(), "unlimited per 1h, fixed");
    assert_eq!(Limiter::gcra(five, Length::SECOND, five).unwrap().to_string(), "5 per 1s, 5 at once");
    assert_eq!(Rolling::new(five, Length::SECOND, 10).unwrap().to_string(), "5 in any 1s");
}

#[test]
fn a_refusal_tells_a_person_what_to_do() {
    let limiter = Limiter::per_minute(10);
    let mut state = State::default();
    limiter.charge(&mut state, Amount::new(8), at(0)).unwrap();
    for (limiter, cost, text) in [
        (limiter, 3, "limit 10: 8 used, 2 left, 3 more asked for; come back at 1970-01-01T00:01:00.000001Z"),
        (limiter, 11, "11 asked for, more than the limit 10; it will never pass"),
        (limiter.with_cap(Amount::ZERO), 0, "limit 0 refuses everything; it will never pass"),
    ] {
        assert_eq!(limiter.peek(&state, Amount::new(cost), at(0)).to_string(), text);
    }
    assert_eq!(limiter.peek(&state, Amount::ONE, at(0)).to_string(), "passed, 1 of 10 left");
    assert_eq!(limiter.with_cap(Cap::Unlimited).peek(&state, Amount::ONE, at(0)).to_string(), "passed, without limit");
}
