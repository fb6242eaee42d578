//! How much each limiter lets pass in any stretch of its length, counted by hand; and what giving back does.

use super::oracles::{Step, steps};
use super::*;

/// Runs the checks and the give-backs; after each, no stretch of a length holds more than `bound` of what was taken and
/// not given back.
fn stays_within<S>(
    bound: i64,
    d: i64,
    start: i64,
    steps: Vec<(i64, Step)>,
    state: &mut S,
    check: impl Fn(&mut S, Amount, Timestamp) -> Answer,
    give_back: impl Fn(&mut S, &Mark, Amount, Timestamp),
) -> Result<(), TestCaseError> {
    let mut taken: Vec<(i64, Mark, i64)> = Vec::new();
    let (mut now, mut latest) = (start, i64::MIN);
    for (passed, step) in steps {
        now += passed;
        match step {
            Step::Check(cost) | Step::Charge(cost) | Step::ChargeMore(_, cost) => {
                if let Some(mark) = check(state, Amount::from_i64(cost).unwrap(), at(now)).mark() {
                    // A clock that is behind does not take anything to have happened earlier.
                    latest = if cost > 0 { latest.max(now) } else { latest };
                    taken.push((latest, mark, cost));
                }
            }
            Step::GiveBack(which, n) => {
                if let Some((_, mark, left)) = taken.get_mut(which) {
                    let n = n.min(*left);
                    *left -= n;
                    give_back(state, mark, Amount::from_i64(n).unwrap(), at(now));
                }
            }
        }
        // Earlier stretches have not changed, but for what was given back.
        for (first, ..) in taken.iter().filter(|(then, ..)| *then > latest.saturating_sub(d)) {
            let held = taken.iter().filter(|(then, ..)| (*first..first + d).contains(then));
            let sum: i64 = held.map(|(.., left)| left).sum();
            prop_assert!(sum <= bound, "{sum} > {bound} from {first} on: {taken:?}");
        }
    }
    Ok(())
}

fn length(d: i64) -> Length {
    Length::from_micros(d).unwrap()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn fixed_and_sliding_admit_at_most_twice_their_amount(
        sliding: bool, cap in 0..30_u32, d in 1..60_i64, start in -100..100_i64, steps in steps(12),
    ) {
        let cap_ = Amount::new(cap);
        let limiter = if sliding { Limiter::sliding(cap_, length(d)) } else { Limiter::fixed(cap_, length(d)) };
        stays_within(
            i64::from(cap) * 2, d, start, steps, &mut State::default(),
            |state, cost, now| limiter.check(state, cost, now),
            |state, mark, n, now| limiter.give_back(state, mark, n, now),
        )?;
    }

    #[test]
    fn a_meter_admits_at_most_its_amount_and_its_burst(
        cap in 0..30_u32, burst in 1..30_u32, d in 1..60_i64, start in -100..100_i64, steps in steps(12),
    ) {
        let limiter = Limiter::gcra(Amount::new(cap), length(d), Amount::new(burst)).unwrap();
        stays_within(
            i64::from(cap) + i64::from(burst), d, start, steps, &mut State::default(),
            |state, cost, now| limiter.check(state, cost, now),
            |state, mark, n, now| limiter.give_back(state, mark, n, now),
        )?;
    }

    #[test]
    fn rolling_admits_at_most_its_amount(
        cap in 0..30_u32, d in 9..80_i64, n in 1..9_u16, start in -100..100_i64, steps in steps(12),
    ) {
        let limiter = Rolling::new(Amount::new(cap), length(d), n).unwrap();
        stays_within(
            i64::from(cap), d, start, steps, &mut RollingState::default(),
            |state, cost, now| limiter.check(state, cost, now),
            |state, mark, n, _| limiter.give_back(state, mark, n),
        )?;
    }

    /// Beside a subject that never took it: after giving back, no less counts than for that one.
    #[test]
    fn giving_back_never_makes_more_room_than_there_was(
        limiter in some_limiter(), state in some_state(), n in some_amount(), now in some_instant(),
        wait in 0..100_i64, later in 0..100_i64, other in some_amount(),
    ) {
        let (mut with, mut without) = (state, state);
        let Ok(mark) = limiter.charge(&mut with, n, at(now)) else { return Ok(()) };
        // The same instants must have been seen by both, or one would have moved on and the other not.
        limiter.charge(&mut without, Amount::ZERO, at(now)).unwrap();
        if limiter.charge(&mut with, other, at(now)).is_err() || limiter.charge(&mut without, other, at(now)).is_err() {
            return Ok(());
        }
        let then = now.saturating_add(wait);
        limiter.give_back(&mut with, &mark, n, at(then));
        for t in [then, then.saturating_add(later), now] {
            prop_assert!(
                limiter.used(&with, at(t)) >= limiter.used(&without, at(t)),
                "{limiter} {with:?} {without:?} at {t}"
            );
        }
    }

    #[test]
    fn what_is_taken_and_given_back_at_once_leaves_the_room_that_was(
        limiter in some_limiter(), mut state in some_state(), n in some_amount(), now in some_instant(),
    ) {
        let before = limiter.used(&state, at(now));
        let Some(mark) = limiter.check(&mut state, n, at(now)).mark() else { return Ok(()) };
        limiter.give_back(&mut state, &mark, n, at(now));
        prop_assert_eq!(limiter.used(&state, at(now)), before);
        prop_assert!(limiter.check(&mut state, n, at(now)).has_passed());
    }
}
