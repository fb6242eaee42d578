//! One operation, once, however often it is asked for.

use super::kit::{Failure, Outcome, amounts, args, charge, ensure, hold, key, later, lifetime, minute, op, plan};
use super::kit::{same, settle};
use super::shadow::Shadow;
use crate::account::{Audit, MeterId};
use crate::amount::Amount;
use crate::id::OpId;
use crate::plan::{BalanceChange, Effect, Kernel, Plan, Report, Verdict};
use crate::quota::Civil;
use crate::store::Store;
use crate::time::{Length, Timestamp};

pub(super) fn the_same_again_gets_the_first_answer(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut ask = plan(now, &[&alice]).under(op("call")?).take(hold(0, lifetime(1, 100), 10));
    ask = ask.take(charge(0, lifetime(2, 100), 3));
    ask.args = args(&[("tokens", "10"), ("model", "m")]);
    let first = shadow.granted(&ask, now)?;
    shadow.granted(&plan(now, &[&alice]).take(charge(0, lifetime(1, 100), 30)), now)?;
    for seconds in [0, 1, 5_000] {
        same!(shadow.granted(&ask, later(now, seconds))?, first, "the answer {seconds} seconds later");
    }
    same!(shadow.spent_and_held(&alice, 1, now)?, (30, 10), "what is spent and held under the first limit");
    same!(shadow.spent_and_held(&alice, 2, now)?, (3, 0), "what is spent and held under the second limit");
    shadow.agree(now)
}

pub(super) fn other_arguments_are_a_conflict_that_names_the_field(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut ask = plan(now, &[&alice]).under(op("call")?).take(charge(0, lifetime(1, 100), 10));
    ask.args = args(&[("model", "m"), ("tokens", "10")]);
    shadow.granted(&ask, now)?;
    for (other, field) in [
        (args(&[("model", "m"), ("tokens", "11")]), "tokens"),
        (args(&[("model", "n"), ("tokens", "11")]), "model"),
        (args(&[("model", "m")]), "tokens"),
        (args(&[("model", "m"), ("tokens", "10"), ("usd", "1")]), "usd"),
    ] {
        ask.args = other;
        match shadow.apply(&ask, now)? {
            Verdict::Conflict { field: named, .. } => same!(named, field, "the field that differs"),
            other => return Err(Failure::new(format!("the verdict should be a conflict: {other:?}"))),
        }
    }
    ask.args = args(&[("tokens", "10"), ("model", "m")]);
    shadow.granted(&ask, now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (10, 0), "what is spent and held");
    shadow.proved(now)
}

pub(super) fn a_denied_operation_may_pass_later(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&plan(now, &[&alice]).under(op("first")?).take(hold(0, lifetime(1, 10), 10)), now)?;
    let mut ask = plan(now, &[&alice]).under(op("second")?).take(hold(0, lifetime(1, 10), 5));
    ask.args = args(&[("tokens", "5")]);
    shadow.denied(&ask, now)?;
    ask.args = args(&[("tokens", "five")]);
    shadow.denied(&ask, now)?;
    shadow.granted(&plan(now, &[&alice]).of(op("first")?).report(settle(&[(1, 2)])), now)?;
    let first = shadow.granted(&ask, now)?;
    same!(shadow.granted(&ask, now)?, first, "the answer to the same again");
    same!(shadow.spent_and_held(&alice, 1, now)?, (2, 5), "what is spent and held");
    shadow.proved(now)
}

pub(super) fn a_replay_after_the_settle_holds_nothing_again(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let ask = plan(now, &[&alice]).under(op("call")?).take(hold(0, lifetime(1, 10), 5));
    let first = shadow.granted(&ask, now)?;
    shadow.granted(&plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, 4)])), now)?;
    same!(shadow.granted(&ask, later(now, 30))?, first, "the answer to the same again");
    same!(shadow.spent_and_held(&alice, 1, now)?, (4, 0), "what is spent and held");
    shadow.proved(now)
}

pub(super) fn what_changed_nothing_leaves_no_answer(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut ask = plan(now, &[&alice]).under(op("call")?);
    ask.args = args(&[("tokens", "0")]);
    shadow.granted(&ask, now)?;
    let mut ask = plan(now, &[&alice]).under(op("call")?).take(charge(0, lifetime(1, 10), 5));
    ask.args = args(&[("tokens", "5")]);
    shadow.granted(&ask, now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (5, 0), "what is spent and held");
    shadow.proved(now)
}

pub(super) fn an_id_beyond_the_horizon_is_too_old(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let ask = |at: Timestamp| {
        let mut ask = plan(now, &[&alice]).under(OpId::at(at, 7)).take(charge(0, lifetime(1, 10), 1));
        ask.horizon = Length::DAY;
        ask
    };
    let yesterday = now.saturating_sub(Length::DAY);
    shadow.granted(&ask(yesterday), now)?;
    let older = ask(later(yesterday, -1));
    let verdict = shadow.apply(&older, now)?;
    ensure!(matches!(verdict, Verdict::TooOld { .. }), "the verdict should be that it is too old: {verdict:?}");
    same!(shadow.spent_and_held(&alice, 1, now)?, (1, 0), "what is spent and held");
    shadow.proved(now)
}

pub(super) fn a_credit_and_a_record_are_booked_once(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut rule = lifetime(1, 100);
    rule.kernel =
        Kernel::Balance { today: Civil { day: 1, month: 1, day_of_month: 1, month_length: 31 }, refill: None };
    let credit = Report::Balance { account: 0, rule, change: BalanceChange::Credit(Amount::new(40)) };
    let credit = plan(now, &[&alice]).under(op("credit")?).report(credit);
    let call = plan(now, &[&alice]).under(op("call")?).take(hold(0, lifetime(2, 100), 10));
    shadow.granted(&call, now)?;
    let mut record = plan(now, &[&alice]).of(op("call")?).report(Report::Record { more: amounts(&[(2, 4)]) });
    record.op = Some(op("record")?);
    for _ in 0..3 {
        let grant = shadow.granted(&credit, now)?;
        let told = Effect::Balance { units: Some(140), moved: 40 };
        same!(grant.effects.first(), Some(&told), "what the credit did");
        shadow.granted(&record, now)?;
    }
    same!(shadow.spent_and_held(&alice, 2, now)?, (4, 10), "what is spent and held");
    shadow.proved(now)
}

pub(super) fn answers_outlive_many_others(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let ask = |n: u32| -> Result<Plan, Failure> {
        let mut rule = lifetime(1, 1_000_000);
        rule.audit = Audit::None;
        Ok(plan(now, &[&alice]).under(op(&format!("call-{n}"))?).take(charge(0, rule, n)))
    };
    for n in 0..300 {
        shadow.granted(&ask(n)?, now)?;
    }
    for n in (0..300).step_by(23) {
        let grant = shadow.granted(&ask(n)?, later(now, 80_000))?;
        same!(grant.taken.first().map(|taken| taken.meter), Some(MeterId(1)), "what was taken by call {n}");
    }
    same!(shadow.spent_and_held(&alice, 1, now)?, (300 * 299 / 2, 0), "what is spent and held");
    shadow.agree(now)
}

pub(super) fn a_denied_report_can_be_repeated(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&plan(now, &[&alice]).under(op("call")?).take(hold(0, lifetime(1, 10), 5)), now)?;
    let mut over = plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, 9)])).take(hold(0, lifetime(1, 10), 5));
    over.op = Some(op("failover")?);
    shadow.denied(&over, now)?;
    let again = shadow.denied(&over, now)?;
    let told = Effect::Already(crate::account::How::Settled);
    same!(again.effects.first(), Some(&told), "what the second settle did");
    same!(shadow.spent_and_held(&alice, 1, now)?, (9, 0), "what is spent and held");
    shadow.proved(now)
}

/// All that was recorded after a settle had one key in the ledger, so that whoever took rows by their keys lost all but one;
/// so had what one hold took in two windows.
pub(super) fn rows_of_one_operation_are_told_apart(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    let alice = key("alice")?;
    let of = |name: &str, now, report| Ok::<_, Failure>(plan(now, &[]).of(op(name)?).report(report));
    let more = |n| Report::Record { more: amounts(&[(1, n)]) };
    for minutes in [0, 1] {
        let then = later(now, 60 * minutes);
        shadow.granted(&plan(then, &[&alice]).of(op("call")?).take(hold(0, minute(1, 100, then), 4)), then)?;
    }
    let then = later(now, 61);
    for report in [more(1), more(2), settle(&[(1, 9)]), more(3), more(3)] {
        shadow.granted(&of("call", then, report)?, then)?;
    }
    shadow.granted(&of("call", then, more(5))?.report(more(6)), then)?;
    // What expired, and is raised again and again until it is settled.
    shadow.granted(&plan(then, &[&alice]).of(op("lost")?).take(hold(0, lifetime(2, 100), 4)), then)?;
    let late = later(now, 2_000);
    for n in [5, 6, 7] {
        shadow.granted(&of("lost", late, Report::Raise { to: amounts(&[(2, n)]) })?, late)?;
    }
    shadow.granted(&of("lost", late, settle(&[(2, 3)]))?, late)?;
    shadow.proved(late)
}
