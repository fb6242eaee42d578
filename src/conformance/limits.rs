//! What a store knows of limits: numbers, generations, alerts; and how it forgets an account.

use super::kit::{
    Failure, Outcome, charge, ensure, hold, key, later, lifetime, minute, op, plan, rule, same, seconds, settle,
};
use super::shadow::Shadow;
use crate::account::{Audit, How, MeterId, RowEntry, Rule};
use crate::amount::Amount;
use crate::id::{LimitId, OpId, Subject};
use crate::plan::{Adopt, Claim, Effect, Kernel, Plan, Report};
use crate::store::{Filter, PartsOf, Store};
use crate::time::{Length, Timestamp};
use crate::window::Slices;

fn adopt(now: Timestamp, limit: &str, schedule: &str, how: Adopt) -> Result<Plan, Failure> {
    let limit: LimitId = limit.parse()?;
    Ok(plan(now, &[]).report(Report::Adopt { limit, schedule: schedule.to_owned(), how }))
}

fn adopted(shadow: &mut Shadow<'_>, plan: &Plan, now: Timestamp) -> Result<(u32, u32, Timestamp), Failure> {
    match shadow.granted(plan, now)?.effects.first() {
        Some(Effect::Adopted { meter, generation, anchor }) => Ok((meter.0, *generation, *anchor)),
        other => Err(Failure::new(format!("the limit was not adopted: {other:?}"))),
    }
}

pub(super) fn limits_keep_their_numbers(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    let names = ["requests/key", "tokens/key", "usd/team", "µ=%,\u{1f511}"];
    for round in 0..3 {
        let then = later(now, round * 100);
        for (number, name) in (1_u32..).zip(names) {
            let told = adopted(&mut shadow, &adopt(then, name, "minute", Adopt::Start)?, then)?;
            same!(told, (number, 0, now), "the number, the generation and the anchor of {name:?} in round {round}");
        }
    }
    same!(store.limits()?.len(), names.len(), "the number of limits");
    shadow.agree(now)
}

pub(super) fn a_process_that_restarts_finds_its_generation(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    for (schedule, how, generation) in [
        ("minute", Adopt::Start, 0),
        ("hour", Adopt::Start, 1),
        ("minute", Adopt::Start, 0),
        ("hour", Adopt::Change, 1),
        ("minute", Adopt::Change, 2),
        ("minute", Adopt::Change, 2),
        ("hour", Adopt::Start, 1),
        ("minute", Adopt::Start, 2),
        ("day", Adopt::Start, 3),
    ] {
        let told = adopted(&mut shadow, &adopt(now, "limit", schedule, how)?, now)?;
        same!(told, (1, generation, now), "the number, the generation and the anchor by {schedule:?}, {how:?}");
    }
    shadow.agree(now)
}

pub(super) fn several_limits_are_adopted_at_once(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut all = plan(now, &[&alice]);
    for name in ["a", "b", "a", "c"] {
        let report = Report::Adopt { limit: name.parse()?, schedule: "minute".to_owned(), how: Adopt::Start };
        all = all.report(report);
    }
    // Refused or not, a limit that was reported is known.
    let denial = shadow.denied(&all.take(charge(0, lifetime(9, 1), 2)), now)?;
    let numbers = denial.effects.iter().map(|effect| match effect {
        Effect::Adopted { meter, .. } => meter.0,
        _ => 0,
    });
    same!(numbers.collect::<Vec<_>>(), vec![1, 2, 1, 3], "the numbers");
    same!(store.limits()?.len(), 3, "the number of limits");
    shadow.agree(now)
}

pub(super) fn an_alert_is_claimed_once_in_its_window(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&plan(now, &[&alice]).take(charge(0, minute(1, 10, now), 9)), now)?;
    let claim = |window, bit| Report::Claim { account: 0, meter: MeterId(1), window, bit, percent: 80 };
    let (next, again) = (later(now, 60), [Claim::First, Claim::Late]);
    for (window, bit, told) in [(now, 0, again), (now, 1, again), (now, 15, again), (next, 0, [Claim::Late; 2])] {
        for told in told {
            let grant = shadow.granted(&plan(now, &[&alice]).report(claim(window, bit)), now)?;
            same!(grant.effects.first(), Some(&Effect::Claimed(told)), "what a claim of alert {bit} was told");
        }
    }
    shadow.invalid(&plan(now, &[&alice]).report(claim(now, 16)), now)?;
    shadow.granted(&plan(next, &[&alice]).take(charge(0, minute(1, 10, next), 9)), next)?;
    let grant = shadow.granted(&plan(next, &[&alice]).report(claim(now, 2)), next)?;
    same!(grant.effects.first(), Some(&Effect::Claimed(Claim::Late)), "what a claim for an earlier window was told");
    let grant = shadow.granted(&plan(next, &[&alice]).report(claim(next, 0)), next)?;
    same!(grant.effects.first(), Some(&Effect::Claimed(Claim::First)), "what a claim for the next window was told");
    let alerts = shadow.model.rows.iter().filter(|row| matches!(row.entry, RowEntry::Alert { .. }));
    same!(alerts.count(), 4, "the alerts in the ledger");
    shadow.proved(next)
}

pub(super) fn a_reset_counts_from_nothing(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let rule = minute(1, 10, now);
    shadow.granted(&plan(now, &[&alice]).take(charge(0, rule, 6)), now)?;
    shadow.granted(&plan(now, &[&alice]).under(op("call")?).take(hold(0, rule, 4)), now)?;
    shadow.granted(&plan(now, &[&alice]).report(Report::Reset { account: 0, meter: MeterId(1) }), now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (0, 0), "what is spent and held after the reset");
    shadow.granted(&plan(now, &[&alice]).take(charge(0, rule, 10)), now)?;
    shadow.granted(&plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, 4)])), now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (10, 0), "what is spent and held after the old settle");
    shadow.proved(now)
}

/// A limit was no longer to be audited, and what was held from then on ended without a row, in a count that rows had to
/// prove.
pub(super) fn what_began_audited_stays_audited(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let audited = lifetime(1, 100);
    let silent = Rule { audit: Audit::None, ..audited };
    shadow.granted(&plan(now, &[&alice]).take(charge(0, audited, 6)), now)?;
    shadow.granted(&plan(now, &[&alice]).under(op("call")?).take(hold(0, silent, 4)), now)?;
    shadow.granted(&plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, 5)])), now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (11, 0), "what is spent and held");
    shadow.proved(now)
}

/// Lets so many strangers come that a store that drops idle accounts has looked at all.
fn strangers(shadow: &mut Shadow<'_>, now: Timestamp) -> Outcome {
    for n in 0..40 {
        let stranger = key(&format!("stranger-{n:02}"))?;
        shadow.granted(&plan(now, &[&stranger]).take(charge(0, lifetime(9, 10), 1)), now)?;
    }
    Ok(())
}

/// A limit of each shape that forgets, or never ends, with an account and an operation of its own.
fn one_by_one() -> Result<[(Rule, Subject, OpId); 4], Failure> {
    let length = Length::MINUTE;
    Ok([
        (lifetime(1, 10), key("alice")?, op("call-1")?),
        (rule(2, 10, Kernel::Sliding { length }), key("bob")?, op("call-2")?),
        (rule(3, 10, Kernel::Rolling(Slices::new(length, 6)?)), key("carol")?, op("call-3")?),
        (rule(4, 10, Kernel::Leak { length, burst: Amount::new(10) }), key("dave")?, op("call-4")?),
    ])
}

/// A store dropped an account in which all had been given back. What was used was told a little later, and counted nowhere:
/// a lifetime's budget did not see it, and the ledger proved more than was kept. An account with nothing but such a budget
/// may be dropped all the same: deciding finds its only window again.
pub(super) fn what_was_given_back_can_be_settled_late(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    for (limit, who, call) in one_by_one()? {
        shadow.granted(&plan(now, &[&who]).under(call.clone()).take(hold(0, limit, 4)), now)?;
        shadow.granted(&plan(now, &[&who]).of(call).report(Report::Release { account: None }), now)?;
    }
    strangers(&mut shadow, now)?;
    let then = later(now, 5);
    for (limit, who, call) in one_by_one()? {
        let meter = limit.meter.0;
        shadow.granted(&plan(then, &[]).of(call).report(settle(&[(meter, 7)])), then)?;
        same!(shadow.spent_and_held(&who, meter, then)?, (7, 0), "what is spent and held of limit {meter}");
        shadow.denied(&plan(then, &[&who]).take(charge(0, limit, 4)), then)?;
    }
    shadow.proved(then)
}

/// A store dropped an account that had been reset. Its successor went back to the epoch before, in which a settle of what
/// was held before the reset found it.
pub(super) fn a_reset_outlives_an_account_that_is_empty(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    for (limit, who, call) in one_by_one()? {
        shadow.granted(&plan(now, &[&who]).under(call.clone()).take(hold(0, limit, 4)), now)?;
        shadow.granted(&plan(now, &[&who]).of(call).report(Report::Release { account: None }), now)?;
        shadow.granted(&plan(now, &[&who]).report(Report::Reset { account: 0, meter: limit.meter }), now)?;
    }
    strangers(&mut shadow, now)?;
    let then = later(now, 5);
    for (limit, who, call) in one_by_one()? {
        let meter = limit.meter.0;
        shadow.granted(&plan(then, &[&who]).take(charge(0, limit, 2)), then)?;
        shadow.granted(&plan(then, &[]).of(call).report(settle(&[(meter, 7)])), then)?;
        same!(shadow.spent_and_held(&who, meter, then)?, (2, 0), "what is spent and held of limit {meter}");
    }
    shadow.proved(then)
}

pub(super) fn a_forgotten_account_is_gone_and_its_rows_stay(store: &dyn Store, now: Timestamp) -> Outcome {
    let (alice, bob) = (key("alice")?, key("bob")?);
    let mut shadow = Shadow::of(store);
    let both = plan(now, &[&alice, &bob]).under(op("call")?);
    shadow.granted(&both.take(hold(0, lifetime(1, 10), 4)).take(hold(1, lifetime(1, 10), 4)), now)?;
    shadow.granted(&plan(now, &[&alice]).take(charge(0, lifetime(1, 10), 5)), now)?;
    let rows = shadow.model.rows.len();
    let forget = plan(now, &[&alice]).report(Report::Forget { account: 0 });
    same!(shadow.granted(&forget, now)?.effects.first(), Some(&Effect::Forgotten), "what forgetting did");
    same!(store.account(&alice)?, None, "the forgotten account");
    same!(store.parts(&PartsOf::Open, None, 9)?.len(), 1, "the parts that are open");
    let parts = store.parts(&PartsOf::Account(alice.clone()), None, 9)?;
    let ends = parts.iter().map(|part| part.end).collect::<Vec<_>>();
    same!(ends, vec![Some((How::Released, now))], "how the forgotten part ended");
    same!(store.rows(&Filter::default(), 0, 99)?.len(), rows + 1, "the rows, with the closing one");
    ensure!(store.account(&bob)?.is_some(), "another account was forgotten with it");
    same!(shadow.sweep(later(now, 1_000), 9)?, 1, "what is due afterwards");
    shadow.proved(later(now, 1_000))
}

pub(super) fn a_late_settle_of_a_forgotten_account_moves_nothing(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&plan(now, &[&alice]).under(op("old")?).take(hold(0, lifetime(1, 10), 4)), now)?;
    shadow.granted(&plan(now, &[&alice]).report(Report::Forget { account: 0 }), now)?;
    // Whoever takes the name next begins in an epoch of its own.
    shadow.granted(&plan(now, &[&alice]).under(op("new")?).take(hold(0, lifetime(1, 10), 7)), now)?;
    shadow.granted(&plan(now, &[&alice]).of(op("old")?).report(settle(&[(1, 4)])), now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (0, 7), "what the successor has spent and holds");
    shadow.granted(&plan(now, &[&alice]).of(op("new")?).report(settle(&[(1, 6)])), now)?;
    shadow.granted(&plan(now, &[&alice]).report(Report::Forget { account: 0 }), now)?;
    shadow.granted(&plan(now, &[&alice]).take(charge(0, lifetime(1, 10), 10)), now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (10, 0), "what the third has spent and holds");
    shadow.proved(now)
}

/// An account had been reset before it was forgotten, and its successor began in the epoch that this had opened.
pub(super) fn a_forgotten_epoch_is_never_used_again(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&plan(now, &[&alice]).take(charge(0, lifetime(1, 10), 1)), now)?;
    shadow.granted(&plan(now, &[&alice]).report(Report::Reset { account: 0, meter: MeterId(1) }), now)?;
    shadow.granted(&plan(now, &[&alice]).under(op("old")?).take(hold(0, lifetime(1, 10), 4)), now)?;
    shadow.granted(&plan(now, &[&alice]).report(Report::Forget { account: 0 }), now)?;
    shadow.granted(&plan(now, &[&alice]).under(op("new")?).take(hold(0, lifetime(1, 10), 7)), now)?;
    shadow.granted(&plan(now, &[&alice]).of(op("old")?).report(settle(&[(1, 4)])), now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (0, 7), "what the successor has spent and holds");
    shadow.proved(now)
}

/// A hold of a call that the plan did not name was due when its account was forgotten; a store said that it had been given
/// back, although the ledger had charged for it.
pub(super) fn what_is_due_ends_before_its_account_is_forgotten(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    for n in 0..100 {
        let mut ask = plan(now, &[&alice]).under(op(&format!("call-{n}"))?).take(hold(0, lifetime(1, 1_000), 2));
        ask.life = seconds(if n % 10 == 0 { 900 } else { 60 });
        shadow.granted(&ask, now)?;
    }
    let then = later(now, 100);
    shadow.granted(&plan(then, &[&alice]).report(Report::Forget { account: 0 }), then)?;
    let parts = store.parts(&PartsOf::Account(alice), None, 500)?;
    let ended = |how, at| parts.iter().filter(|part| part.end == Some((how, at))).count();
    same!(ended(How::Expired, later(now, 60)), 90, "the parts that had expired");
    same!(ended(How::Released, then), 10, "the parts that were forgotten");
    shadow.proved(then)
}

pub(super) fn forgetting_ends_every_part_of_an_account(store: &dyn Store, now: Timestamp) -> Outcome {
    let (alice, bob) = (key("alice")?, key("bob")?);
    let mut shadow = Shadow::of(store);
    for n in 0..150 {
        let both = plan(now, &[&alice, &bob]).under(op(&format!("call-{n}"))?);
        shadow.granted(&both.take(hold(0, lifetime(1, 1_000), 2)).take(hold(1, lifetime(1, 1_000), 2)), now)?;
    }
    shadow.granted(&plan(now, &[&alice]).of(op("call-7")?).report(Report::Forget { account: 0 }), now)?;
    shadow.agree(now)?;
    same!(store.parts(&PartsOf::Open, None, 500)?.len(), 150, "the parts that are open");
    same!(shadow.sweep(later(now, 1_000), 1_000)?, 150, "what is due afterwards");
    shadow.proved(later(now, 1_000))
}
