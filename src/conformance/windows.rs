//! Time: windows that end, clocks that step, limits and schedules that change under way.

use super::kit::{Failure, Outcome, charge, ensure, hold, key, later, lifetime, micros_later, minute, op, plan, rule};
use super::kit::{releasing, same, seconds, settle};
use super::shadow::Shadow;
use crate::account::{MeterId, Rule};
use crate::amount::{Amount, Cap};
use crate::id::Subject;
use crate::plan::{Kernel, Plan, Report};
use crate::store::Store;
use crate::time::{Length, Timestamp, When};
use crate::window::{FirstUse, Slices};

fn spend(now: Timestamp, who: &Subject, rule: Rule, n: u32) -> Plan {
    plan(now, &[who]).take(charge(0, rule, n))
}

pub(super) fn a_window_ends_on_its_boundary(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&spend(now, &alice, minute(1, 10, now), 10), now)?;
    let last = micros_later(now, 59_999_999);
    let denial = shadow.denied(&spend(last, &alice, minute(1, 10, last), 1), last)?;
    same!(denial.when, When::At(later(now, 60)), "when it can pass");
    let next = later(now, 60);
    shadow.granted(&spend(next, &alice, minute(1, 10, next), 10), next)?;
    same!(shadow.spent_and_held(&alice, 1, next)?, (10, 0), "what is spent and held in the next window");
    shadow.proved(next)
}

/// A clock that stepped back reset the bucket, and the key was not limited any more.
pub(super) fn a_clock_that_steps_back_charges_the_current_window(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&spend(now, &alice, minute(1, 10, now), 6), now)?;
    for back in [-1, -61, -3_600, -200_000] {
        let then = later(now, back);
        shadow.denied(&spend(then, &alice, minute(1, 10, then), 5), then)?;
        shadow.granted(&spend(then, &alice, minute(1, 10, then), 1), then)?;
    }
    same!(shadow.spent_and_held(&alice, 1, now)?, (10, 0), "what is spent and held");
    shadow.denied(&spend(now, &alice, minute(1, 10, now), 1), now)?;
    shadow.proved(now)
}

pub(super) fn a_clock_that_leaps_ahead_and_returns_stays_in_the_later_window(
    store: &dyn Store,
    now: Timestamp,
) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let ahead = later(now, 7_200);
    shadow.granted(&spend(now, &alice, minute(1, 10, now), 10), now)?;
    shadow.granted(&spend(ahead, &alice, minute(1, 10, ahead), 9), ahead)?;
    shadow.denied(&spend(now, &alice, minute(1, 10, now), 2), now)?;
    shadow.granted(&spend(now, &alice, minute(1, 10, now), 1), now)?;
    shadow.denied(&spend(ahead, &alice, minute(1, 10, ahead), 1), ahead)?;
    shadow.proved(ahead)
}

/// A refund landed in the next window, and let it admit 160 of 100.
pub(super) fn a_refund_lands_in_the_window_of_its_hold(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let call = plan(now, &[&alice]).under(op("call")?).take(hold(0, minute(1, 100, now), 60));
    shadow.granted(&call, now)?;
    let next = later(now, 60);
    shadow.granted(&spend(next, &alice, minute(1, 100, next), 70), next)?;
    shadow.granted(&plan(next, &[&alice]).of(op("call")?).report(Report::Release { account: None }), next)?;
    same!(shadow.spent_and_held(&alice, 1, next)?, (70, 0), "what is spent and held in the next window");
    shadow.denied(&spend(next, &alice, minute(1, 100, next), 31), next)?;
    shadow.granted(&spend(next, &alice, minute(1, 100, next), 30), next)?;
    shadow.proved(next)
}

pub(super) fn a_settle_lands_in_the_window_of_its_hold(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let call = plan(now, &[&alice]).under(op("call")?).take(hold(0, minute(1, 100, now), 60));
    shadow.granted(&call, now)?;
    let next = later(now, 60);
    // The hold is not carried along: the whole of the next window is free.
    shadow.granted(&spend(next, &alice, minute(1, 100, next), 100), next)?;
    let grant = shadow.granted(&plan(next, &[&alice]).of(op("call")?).report(settle(&[(1, 90)])), next)?;
    ensure!(
        matches!(grant.effects.first(), Some(crate::plan::Effect::Booked { spent: None, .. })),
        "the settle should be booked elsewhere: {grant:?}"
    );
    same!(shadow.spent_and_held(&alice, 1, next)?, (100, 0), "what is spent and held in the next window");
    let row = shadow.model.rows.last().map(|row| row.entry.clone());
    match row {
        Some(crate::account::RowEntry::Meter(row)) => same!((row.window, row.spent), (now, 90), "the settle's row"),
        other => return Err(Failure::new(format!("the last row should be the settle's: {other:?}"))),
    }
    shadow.proved(next)
}

pub(super) fn an_expiry_lands_in_the_window_of_its_hold(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut call = plan(now, &[&alice]).under(op("call")?).take(hold(0, minute(1, 100, now), 60));
    call.life = seconds(90);
    shadow.granted(&call, now)?;
    let next = later(now, 65);
    shadow.granted(&spend(next, &alice, minute(1, 100, next), 10), next)?;
    let over = later(now, 95);
    shadow.granted(&spend(over, &alice, minute(1, 100, over), 90), over)?;
    same!(shadow.spent_and_held(&alice, 1, over)?, (100, 0), "what is spent and held in the next window");
    shadow.proved(over)
}

pub(super) fn a_limit_lowered_below_its_spend_refuses_and_returns(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&spend(now, &alice, lifetime(1, 100), 80), now)?;
    shadow.granted(&plan(now, &[&alice]).under(op("call")?).take(hold(0, lifetime(1, 100), 15)), now)?;
    let denial = shadow.denied(&spend(now, &alice, lifetime(1, 50), 1), now)?;
    let short = denial.blocked.first().map(|it| (it.short.have.get(), it.short.held.get(), it.short.cap));
    same!(short, Some((80, 15, Cap::At(Amount::new(50)))), "what the denial says");
    let grant = shadow.granted(&spend(now, &alice, lifetime(1, 50), 0), now)?;
    same!(grant.taken.first().and_then(|taken| taken.remaining), Some(Amount::ZERO), "what remains");
    shadow.granted(&plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, 15)])), now)?;
    shadow.granted(&spend(now, &alice, lifetime(1, 96), 1), now)?;
    shadow.denied(&spend(now, &alice, lifetime(1, 96), 1), now)?;
    shadow.proved(now)
}

/// Two versions of a policy ran side by side, and each found the other's window outdated: the budget never filled.
pub(super) fn two_generations_in_turns_share_one_count(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let old = minute(1, 10, now);
    let mut new = rule(1, 10, Kernel::Tumble { window: crate::window::Grid { length: Length::HOUR }.window(now) });
    new.generation = 1;
    shadow.granted(&spend(now, &alice, old, 10), now)?;
    for n in 0..10 {
        let rule = if n % 2 == 0 { new } else { old };
        shadow.granted(&spend(now, &alice, rule, 1), now)?;
    }
    shadow.denied(&spend(now, &alice, new, 1), now)?;
    shadow.denied(&spend(now, &alice, old, 1), now)?;
    let next = later(now, 60);
    shadow.denied(&spend(next, &alice, minute(1, 10, next), 1), next)?;
    let meter = store.account(&alice)?.and_then(|account| account.meter(MeterId(1)).cloned());
    same!(meter.map(|meter| meter.generation), Some(1), "the meter's generation");
    shadow.proved(next)
}

pub(super) fn a_new_generation_leaves_the_old_holds_behind(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&plan(now, &[&alice]).under(op("call")?).take(hold(0, lifetime(1, 10), 8)), now)?;
    let mut new = lifetime(1, 10);
    new.generation = 3;
    shadow.granted(&spend(now, &alice, new, 10), now)?;
    shadow.granted(&plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, 9)])), now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (10, 0), "what is spent and held");
    shadow.proved(now)
}

pub(super) fn another_shape_counts_from_nothing(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let kernels = [
        Kernel::Tumble { window: crate::window::Window::ALWAYS },
        Kernel::Sliding { length: Length::MINUTE },
        Kernel::Leak { length: Length::MINUTE, burst: Amount::new(10) },
        Kernel::Rolling(Slices::new(Length::MINUTE, 6)?),
    ];
    for (number, kernel) in kernels.into_iter().enumerate() {
        shadow.granted(&spend(now, &alice, rule(1, 10, kernel), 4), now)?;
        let call = plan(now, &[&alice]).under(op(&format!("call-{number}"))?);
        shadow.granted(&call.take(hold(0, rule(1, 10, kernel), 5)), now)?;
        shadow.denied(&spend(now, &alice, rule(1, 10, kernel), 2), now)?;
    }
    for number in 0..3 {
        let end = plan(now, &[&alice]).of(op(&format!("call-{number}"))?);
        shadow.granted(&end.report(Report::Release { account: None }), now)?;
    }
    same!(shadow.spent_and_held(&alice, 1, now)?, (9, 5), "what counts, and what is held of it");
    shadow.proved(now)
}

pub(super) fn a_first_use_window_opens_with_its_grant(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let session = rule(1, 10, Kernel::FirstUse(FirstUse::new(Length::HOUR)));
    shadow.denied(&spend(now, &alice, session, 11), now)?;
    let opens = later(now, 100);
    shadow.granted(&plan(opens, &[&alice]).under(op("call")?).take(hold(0, session, 10)), opens)?;
    shadow.granted(&plan(opens, &[&alice]).of(op("call")?).report(Report::Release { account: None }), opens)?;
    let grant = shadow.granted(&spend(later(now, 200), &alice, session, 10), later(now, 200))?;
    same!(grant.taken.first().and_then(|it| it.window_end), Some(later(opens, 3_600)), "when the window ends");
    let last = micros_later(opens, 3_599_999_999);
    let denial = shadow.denied(&spend(last, &alice, session, 1), last)?;
    same!(denial.when, When::At(later(opens, 3_600)), "when it can pass");
    let next = later(opens, 5_000);
    shadow.granted(&spend(next, &alice, session, 1), next)?;
    let grant = shadow.granted(&spend(later(next, 3_599), &alice, session, 9), later(next, 3_599))?;
    same!(grant.taken.first().and_then(|it| it.window_end), Some(later(next, 3_600)), "when the next window ends");
    shadow.proved(later(next, 3_599))
}

pub(super) fn a_first_use_window_in_steps_ends_with_its_subscription(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let weekly = FirstUse::new(Length::HOUR).in_steps().until(later(now, 9_000));
    let weekly = rule(1, 10, Kernel::FirstUse(weekly));
    shadow.granted(&spend(now, &alice, weekly, 10), now)?;
    let second = later(now, 4_000);
    shadow.granted(&spend(second, &alice, weekly, 10), second)?;
    let denial = shadow.denied(&spend(second, &alice, weekly, 1), second)?;
    same!(denial.when, When::At(later(now, 7_200)), "when the third window begins");
    let third = later(now, 7_300);
    shadow.granted(&spend(third, &alice, weekly, 10), third)?;
    let over = later(now, 90_000);
    let denial = shadow.denied(&spend(over, &alice, weekly, 1), over)?;
    same!(denial.when, When::Never, "when it can pass after the end");
    shadow.proved(over)
}

/// For each shape: refused a microsecond before the instant that a denial names, and granted at it.
pub(super) fn the_instant_of_a_denial_is_exact(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    let slices = Slices::new(Length::MINUTE, 7)?;
    let tumble = |at| Kernel::Tumble { window: crate::window::Grid { length: Length::MINUTE }.window(at) };
    let shapes: [(&str, &dyn Fn(Timestamp) -> Kernel); 5] = [
        ("tumble", &tumble),
        ("sliding", &|_| Kernel::Sliding { length: Length::MINUTE }),
        ("leak", &|_| Kernel::Leak { length: Length::MINUTE, burst: Amount::new(7) }),
        ("rolling", &|_| Kernel::Rolling(slices)),
        ("first_use", &|_| Kernel::FirstUse(FirstUse::new(Length::MINUTE))),
    ];
    for (name, kernel) in shapes {
        let who = key(name)?;
        let mut at = later(now, 17);
        for (number, n) in [3, 4, 5, 2, 7, 1].into_iter().enumerate() {
            at = micros_later(at, 1_234_567);
            let ask = |at| spend(at, &who, rule(1, 7, kernel(at)), n);
            if let crate::plan::Verdict::Denied(denial) = shadow.apply(&ask(at), at)? {
                let When::At(then) = denial.when else {
                    return Err(Failure::new(format!("{name}, call {number}: it can pass {:?}", denial.when)));
                };
                ensure!(then > at, "{name}, call {number}: it can pass at {then}, which is not after {at}");
                let before = micros_later(then, -1);
                shadow.denied(&ask(before), before)?;
                at = then;
                shadow.granted(&ask(at), at)?;
            }
        }
    }
    shadow.proved(later(now, 4_000))
}

pub(super) fn holds_in_shapes_that_forget_are_given_back_where_they_count(
    store: &dyn Store,
    now: Timestamp,
) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let kernels = [
        Kernel::Sliding { length: Length::MINUTE },
        Kernel::Leak { length: Length::MINUTE, burst: Amount::new(40) },
        Kernel::Rolling(Slices::new(Length::MINUTE, 6)?),
    ];
    for wait in [0, 5, 29, 59, 61, 119, 121, 300] {
        for (meter, kernel) in (1_u32..).zip(kernels) {
            let limit = releasing(rule(meter, 40, kernel));
            let name = format!("call-{wait}-{meter}");
            let at = later(now, wait * 1_000);
            shadow.granted(&plan(at, &[&alice]).under(op(&name)?).take(hold(0, limit, 30)), at)?;
            let then = later(at, wait);
            let used = u32::try_from(wait % 50).unwrap_or(0);
            shadow.granted(&plan(then, &[&alice]).of(op(&name)?).report(settle(&[(meter, used)])), then)?;
            let _ = shadow.apply(&spend(then, &alice, limit, 20), then)?;
            let held = shadow.spent_and_held(&alice, meter, then)?.1;
            same!(held, 0, "what is held under limit {meter} after a settle {wait} seconds later");
        }
    }
    shadow.proved(later(now, 500_000))
}
