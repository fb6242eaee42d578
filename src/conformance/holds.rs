//! What becomes of a hold: settled, released, expired; late, twice, or never.

use std::sync::Arc;

use super::kit::{
    Failure, Outcome, amounts, charge, ensure, hold, key, later, lifetime, micros_later, minute, op, plan,
};
use super::kit::{releasing, same, seconds, settle};
use super::shadow::Shadow;
use crate::account::{Context, How, Kind, MeterId, RowEntry};
use crate::amount::Amount;
use crate::id::OpId;
use crate::plan::{Effect, Plan, Report, Used, Verdict};
use crate::store::{PartsOf, Store};
use crate::time::{Timestamp, When};
use crate::usage::Usage;

const RELEASE: Report = Report::Release { account: None };

/// Holds so much of the first limit, under this name.
fn held(now: Timestamp, name: &str, n: u32) -> Result<Plan, Failure> {
    Ok(plan(now, &[&key("alice")?]).under(op(name)?).take(hold(0, lifetime(1, 100), n)))
}

fn end(now: Timestamp, name: &str, report: Report) -> Result<Plan, Failure> {
    Ok(plan(now, &[&key("alice")?]).of(op(name)?).report(report))
}

pub(super) fn a_settle_books_what_was_used(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    shadow.granted(&held(now, "below", 40)?, now)?;
    shadow.granted(&held(now, "exact", 20)?, now)?;
    shadow.granted(&end(now, "below", settle(&[(1, 10)]))?, now)?;
    shadow.granted(&end(now, "exact", settle(&[]))?, now)?;
    same!(shadow.spent_and_held(&key("alice")?, 1, now)?, (30, 0), "what is spent and held");
    shadow.granted(&held(now, "rest", 70)?, now)?;
    shadow.denied(&held(now, "more", 1)?, now)?;
    shadow.proved(now)
}

/// A ledger forgave what a call cost beyond its hold, so that a budget of 100 paid for 160.
pub(super) fn a_settle_above_the_hold_is_booked_in_full(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    shadow.granted(&held(now, "call", 40)?, now)?;
    let grant = shadow.granted(&end(now, "call", settle(&[(1, 160)]))?, now)?;
    match grant.effects.first() {
        Some(Effect::Booked { held, booked, spent, .. }) => {
            same!((held.get(), booked.get()), (40, 160), "what was held, and booked");
            same!(*spent, Some(Amount::new(160)), "what is spent");
        }
        other => return Err(Failure::new(format!("nothing was booked: {other:?}"))),
    }
    let denial = shadow.denied(&held(now, "next", 1)?, now)?;
    same!(denial.blocked.first().map(|it| it.short.have.get()), Some(160), "what the denial says is spent");
    shadow.proved(now)
}

pub(super) fn a_second_settle_moves_nothing(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    shadow.granted(&held(now, "call", 40)?, now)?;
    for (name, first) in [("first", true), ("second", false), ("third", false)] {
        let grant = shadow.granted(&end(now, "call", settle(&[(1, 30)]))?, now)?;
        let already = grant.effects.first() == Some(&Effect::Already(How::Settled));
        same!(already, !first, "whether the {name} settle found it settled");
    }
    let verdict = shadow.apply(&end(now, "call", settle(&[(1, 31)]))?, now)?;
    ensure!(matches!(verdict, Verdict::Conflict { .. }), "a settle of another amount should conflict: {verdict:?}");
    same!(shadow.spent_and_held(&key("alice")?, 1, now)?, (30, 0), "what is spent and held");
    shadow.proved(now)
}

pub(super) fn a_settle_of_nothing_known_says_so(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    for report in [settle(&[(1, 3)]), RELEASE, Report::Extend { life: seconds(9) }, Report::Raise { to: amounts(&[]) }]
    {
        let grant = shadow.granted(&end(now, "nobody", report)?, now)?;
        same!(grant.effects.first(), Some(&Effect::Unknown), "what a report on nothing did");
    }
    shadow.agree(now)
}

pub(super) fn a_hold_is_kept_until_something_ends_it(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    for n in 0..10 {
        shadow.granted(&held(later(now, n), &format!("call-{n}"), 10)?, later(now, n))?;
    }
    same!(store.parts(&PartsOf::Open, None, 100)?.len(), 10, "the open parts");
    same!(store.parts(&PartsOf::Account(alice.clone()), None, 100)?.len(), 10, "the parts of the account");
    same!(store.parts(&PartsOf::Op(op("call-3")?), None, 100)?.len(), 1, "the parts of one operation");
    shadow.denied(&held(later(now, 899), "more", 1)?, later(now, 899))?;
    let account = store.account(&alice)?.unwrap_or_default();
    same!((account.earliest, account.latest), (later(now, 900), later(now, 909)), "the bounds of the expiries");
    shadow.proved(later(now, 899))
}

pub(super) fn a_release_gives_back_once(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    shadow.granted(&held(now, "call", 60)?, now)?;
    shadow.granted(&held(now, "other", 40)?, now)?;
    shadow.granted(&end(now, "call", RELEASE)?, now)?;
    let again = shadow.granted(&end(now, "call", RELEASE)?, now)?;
    same!(again.effects.first(), Some(&Effect::Already(How::Released)), "what the second release did");
    same!(shadow.spent_and_held(&key("alice")?, 1, now)?, (0, 40), "what is spent and held");
    shadow.granted(&held(now, "next", 60)?, now)?;
    shadow.denied(&held(now, "more", 1)?, now)?;
    shadow.proved(now)
}

pub(super) fn a_settle_after_a_release_is_booked(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    shadow.granted(&held(now, "call", 60)?, now)?;
    shadow.granted(&end(now, "call", RELEASE)?, now)?;
    shadow.granted(&end(later(now, 5), "call", settle(&[(1, 25)]))?, later(now, 5))?;
    same!(shadow.spent_and_held(&key("alice")?, 1, now)?, (25, 0), "what is spent and held");
    let again = shadow.granted(&end(now, "call", RELEASE)?, now)?;
    same!(again.effects.first(), Some(&Effect::Already(How::Settled)), "what a release after it did");
    shadow.proved(now)
}

pub(super) fn an_expiry_charges_at_its_own_instant(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&held(now, "call", 60)?, now)?;
    let expires = later(now, 900);
    let last = micros_later(expires, -1);
    same!(shadow.sweep(last, 10)?, 0, "what a microsecond before the expiry ends");
    same!(shadow.spent_and_held(&alice, 1, last)?, (0, 60), "what is spent and held until then");
    let noticed = later(expires, 77);
    let denial = shadow.denied(&held(noticed, "next", 41)?, noticed)?;
    same!(denial.blocked.first().map(|it| it.short.have.get()), Some(60), "what the denial says is spent");
    same!(shadow.spent_and_held(&alice, 1, noticed)?, (60, 0), "what is spent and held then");
    let row = shadow.model.rows.last();
    same!(row.map(|row| row.at), Some(expires), "the instant of the expiry's row");
    same!(shadow.sweep(noticed, 10)?, 0, "what is left to sweep");
    shadow.proved(noticed)
}

pub(super) fn an_expiry_gives_back_at_its_own_instant(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let ask = |at, name: &str| -> Result<Plan, Failure> {
        let mut ask = plan(at, &[&alice]).under(op(name)?).take(hold(0, releasing(lifetime(1, 3)), 2));
        ask.life = seconds(10);
        Ok(ask)
    };
    shadow.granted(&ask(now, "one")?, now)?;
    let last = micros_later(now, 9_999_999);
    let denial = shadow.denied(&ask(last, "two")?, last)?;
    same!(denial.when, When::WhenFreed { latest: later(now, 10) }, "when it can pass");
    shadow.granted(&ask(later(now, 10), "two")?, later(now, 10))?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (0, 2), "what is spent and held");
    let ended = store.parts(&PartsOf::Op(op("one")?), None, 5)?;
    let end = ended.first().and_then(|part| part.end);
    same!(end, Some((How::Expired, later(now, 10))), "how the first hold ended");
    shadow.proved(later(now, 10))
}

pub(super) fn a_late_settle_adjusts_what_the_expiry_charged(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    for (name, used) in [("less", 20), ("more", 50)] {
        shadow.granted(&held(now, name, 30)?, now)?;
        let late = later(now, 1_000);
        shadow.sweep(late, 10)?;
        shadow.granted(&end(late, name, settle(&[(1, used)]))?, late)?;
        shadow.granted(&end(late, name, settle(&[(1, used)]))?, late)?;
    }
    same!(shadow.spent_and_held(&key("alice")?, 1, now)?, (70, 0), "what is spent and held");
    let adjusting = shadow.model.rows.iter().filter(|row| is_kind(&row.entry, Kind::Adjust));
    same!(adjusting.count(), 2, "the adjusting rows");
    shadow.proved(later(now, 1_000))
}

fn is_kind(entry: &RowEntry, kind: Kind) -> bool {
    match entry {
        RowEntry::Meter(row) => row.kind == kind,
        RowEntry::Usage(row) => row.kind == kind,
        _ => false,
    }
}

pub(super) fn a_late_settle_is_booked_after_the_expiry_gave_back(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let ask = plan(now, &[&alice]).under(op("call")?).take(hold(0, releasing(lifetime(1, 100)), 30));
    shadow.granted(&ask, now)?;
    // Nobody has noticed the expiry yet: the settle itself does.
    let late = later(now, 5_000);
    shadow.granted(&end(late, "call", settle(&[(1, 45)]))?, late)?;
    same!(shadow.spent_and_held(&alice, 1, late)?, (45, 0), "what is spent and held");
    shadow.proved(late)
}

pub(super) fn a_record_adds_to_what_was_booked(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    shadow.granted(&held(now, "call", 30)?, now)?;
    shadow.granted(&end(now, "call", Report::Record { more: amounts(&[(1, 5)]) })?, now)?;
    same!(shadow.spent_and_held(&key("alice")?, 1, now)?, (5, 30), "what is spent and held before the settle");
    shadow.granted(&end(now, "call", settle(&[(1, 10)]))?, now)?;
    shadow.granted(&end(now, "call", Report::Record { more: amounts(&[(1, 7)]) })?, now)?;
    same!(shadow.spent_and_held(&key("alice")?, 1, now)?, (22, 0), "what is spent and held after it");
    shadow.proved(now)
}

pub(super) fn an_extended_hold_lives_on(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    shadow.granted(&held(now, "call", 60)?, now)?;
    let heartbeat = later(now, 800);
    let grant = shadow.granted(&end(heartbeat, "call", Report::Extend { life: seconds(900) })?, heartbeat)?;
    same!(grant.effects.first(), Some(&Effect::Extended(later(now, 1_700))), "what the heartbeat did");
    same!(shadow.sweep(later(now, 1_000), 10)?, 0, "what ends at the old expiry");
    let shorter = Report::Extend { life: seconds(1) };
    let grant = shadow.granted(&end(later(now, 1_000), "call", shorter.clone())?, later(now, 1_000))?;
    same!(grant.effects.first(), Some(&Effect::Extended(later(now, 1_700))), "what a shorter life did");
    same!(shadow.sweep(later(now, 1_700), 10)?, 1, "what ends at the new expiry");
    let grant = shadow.granted(&end(later(now, 1_701), "call", shorter)?, later(now, 1_701))?;
    same!(grant.effects.first(), Some(&Effect::Already(How::Expired)), "what a heartbeat after it did");
    shadow.proved(later(now, 1_701))
}

pub(super) fn a_raised_hold_holds_more_whatever_the_limit(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    shadow.granted(&held(now, "call", 60)?, now)?;
    for (to, is) in [(50, 60), (90, 90), (130, 130), (20, 130)] {
        shadow.granted(&end(now, "call", Report::Raise { to: amounts(&[(1, to)]) })?, now)?;
        same!(shadow.spent_and_held(&key("alice")?, 1, now)?, (0, is), "what is spent and held, raised to {to}");
    }
    shadow.denied(&held(now, "next", 1)?, now)?;
    shadow.granted(&end(now, "call", settle(&[(1, 70)]))?, now)?;
    shadow.granted(&end(now, "call", Report::Raise { to: amounts(&[(1, 99)]) })?, now)?;
    same!(shadow.spent_and_held(&key("alice")?, 1, now)?, (70, 0), "what is spent and held in the end");
    shadow.proved(now)
}

pub(super) fn accounts_of_one_operation_end_apart(store: &dyn Store, now: Timestamp) -> Outcome {
    let (client, first, second) = (key("client")?, key("first")?, key("second")?);
    let mut shadow = Shadow::of(store);
    let ask = plan(now, &[&client, &first]).under(op("call")?);
    let ask = ask.take(hold(0, lifetime(1, 100), 10)).take(hold(1, lifetime(2, 100), 10));
    shadow.granted(&ask, now)?;
    // The first key fails: what it held is released, and the second takes over under the same operation.
    let over = plan(now, &[&client, &first, &second]).of(op("call")?);
    let over = over.report(Report::Release { account: Some(1) }).take(hold(2, lifetime(2, 100), 10));
    shadow.granted(&over, now)?;
    same!(shadow.spent_and_held(&first, 2, now)?, (0, 0), "what the first key has spent and holds");
    let back = plan(now, &[&client, &first]).of(op("call")?).take(hold(1, lifetime(2, 100), 4));
    shadow.granted(&back, now)?;
    same!(store.parts(&PartsOf::Op(op("call")?), None, 9)?.len(), 4, "the parts of the operation");
    let all = plan(now, &[&client]).of(op("call")?).report(settle(&[(1, 8), (2, 3)]));
    shadow.granted(&all, now)?;
    for (subject, meter, spent) in [(&client, 1, 8), (&first, 2, 3), (&second, 2, 3)] {
        same!(shadow.spent_and_held(subject, meter, now)?, (spent, 0), "what {subject} has spent and holds");
    }
    shadow.proved(now)
}

pub(super) fn several_limits_of_one_account_share_a_part(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut ask = plan(now, &[&alice]).under(op("call")?);
    for meter in 1..=12 {
        let rule = if meter % 2 == 0 { releasing(lifetime(meter, 100)) } else { lifetime(meter, 100) };
        ask = ask.take(hold(0, rule, meter));
    }
    shadow.granted(&ask, now)?;
    let parts = store.parts(&PartsOf::Op(op("call")?), None, 9)?;
    same!(parts.len(), 1, "the parts of the operation");
    same!(parts.first().map(|part| part.entries.len()), Some(12), "the entries of its part");
    let then = later(now, 900);
    same!(shadow.sweep(then, 10)?, 1, "what was swept");
    for meter in 1..=12 {
        let spent = if meter % 2 == 0 { 0 } else { i64::from(meter) };
        same!(shadow.spent_and_held(&alice, meter, then)?, (spent, 0), "what limit {meter} has spent and holds");
    }
    shadow.proved(then)
}

pub(super) fn usage_is_told_once_and_replaced_when_it_is_late(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let context = Arc::new(Context {
        subject: alice.clone(),
        tags: vec![("task".to_owned(), "t-1".to_owned())],
        client: Some("client".parse()?),
        key: Some("upstream".parse()?),
        estimate: Usage::new().tokens(30),
    });
    for name in ["settled", "expired"] {
        let mut ask = held(now, name, 30)?;
        ask.context = Some(Arc::clone(&context));
        shadow.granted(&ask, now)?;
    }
    let used = |tokens| Some(Used { usage: Usage::new().tokens(tokens), outcome: Some(crate::usage::Class::Success) });
    let mut ended = end(now, "settled", settle(&[(1, 20)]))?;
    ended.used = used(20);
    shadow.granted(&ended, now)?;
    let late = later(now, 1_000);
    shadow.sweep(late, 10)?;
    let mut ended = end(late, "expired", settle(&[(1, 25)]))?;
    ended.used = used(25);
    shadow.granted(&ended, late)?;
    let sum = crate::store::sums(store, &crate::store::Filter::default())?;
    same!((sum.rows, sum.tokens), (3, 45), "the rows of usage, and the tokens that they add up to");
    shadow.proved(late)
}

/// A permit outlived what the store remembered of it; its settle booked nothing.
pub(super) fn what_only_the_caller_remembers_is_settled(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    for (number, rule) in [(1, lifetime(1, 100)), (2, releasing(lifetime(2, 100)))] {
        let call = OpId::at(now, number);
        shadow.granted(&plan(now, &[&alice]).under(call.clone()).take(hold(0, rule, 30)), now)?;
        let known = store.parts(&PartsOf::Op(call.clone()), None, 9)?;
        same!(known.len(), 1, "the parts of the operation");
        let late = later(now, 2_000);
        shadow.sweep(late, 10)?;
        let mut ended = plan(late, &[&alice]).of(call).report(settle(&[(rule.meter.0, 20)]));
        ended.known = known;
        shadow.granted(&ended, late)?;
        same!(shadow.spent_and_held(&alice, rule.meter.0, late)?, (20, 0), "what limit {number} has spent and holds");
    }
    shadow.proved(later(now, 2_000))
}

pub(super) fn a_hold_without_end_is_never_due(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut ask = held(now, "forever", 10)?;
    ask.life = crate::time::Length::MAX;
    let grant = shadow.granted(&ask, now)?;
    same!(grant.expires, Some(Timestamp::MAX), "when the hold ends");
    let far = later(now, 200 * 366 * 86_400);
    same!(shadow.sweep(far, 10)?, 0, "what is swept two hundred years later");
    same!(shadow.spent_and_held(&alice, 1, far)?, (0, 10), "what is spent and held then");
    shadow.granted(&end(far, "forever", settle(&[(1, 11)]))?, far)?;
    let meter = store.account(&alice)?.and_then(|account| account.meter(MeterId(1)).map(crate::account::Meter::held));
    same!(meter, Some(Amount::ZERO), "what is held after its settle");
    shadow.granted(&plan(far, &[&alice]).take(charge(0, minute(3, 5, far), 5)), far)?;
    shadow.proved(far)
}
