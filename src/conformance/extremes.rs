//! Large numbers, long names, many things.

use super::kit::{Failure, Outcome, amount, amounts, args, charge, ensure, hold, key, later, lifetime, op, plan};
use super::kit::{releasing, same, seconds, settle};
use super::shadow::Shadow;
use crate::account::{How, MeterId, Rule};
use crate::amount::{Amount, Cap};
use crate::id::{OpId, Subject};
use crate::plan::{Act, Alternative, Ask, BalanceChange, Firm, Kernel, Pick, Ready, Report, Take};
use crate::quota::Civil;
use crate::store::{Filter, PartsOf, Store};
use crate::time::{Length, Timestamp};

fn take(rule: Rule, n: i64, act: Act) -> Result<Take, Failure> {
    Ok(Take { account: 0, rule, ask: Ask::Exact(amount(n)?), act })
}

fn open(meter: u32) -> Rule {
    Rule { cap: Cap::Unlimited, ..lifetime(meter, 0) }
}

/// A script computed with doubles, and 2^53 + 1 became 2^53.
pub(super) fn numbers_above_two_to_the_53_are_exact(store: &dyn Store, now: Timestamp) -> Outcome {
    const LARGE: i64 = (1 << 53) + 1;
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let limit = Rule { cap: Cap::At(amount(LARGE + 2)?), ..lifetime(1, 0) };
    shadow.granted(&plan(now, &[&alice]).take(take(limit, LARGE, Act::Charge)?), now)?;
    shadow.granted(&plan(now, &[&alice]).under(op("a")?).take(take(limit, 1, Act::Hold)?), now)?;
    shadow.granted(&plan(now, &[&alice]).under(op("b")?).take(take(limit, 1, Act::Hold)?), now)?;
    shadow.denied(&plan(now, &[&alice]).take(take(limit, 1, Act::Charge)?), now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (LARGE, 2), "what is spent and held");
    let mut end = plan(now, &[&alice]).of(op("a")?);
    let actual = [(MeterId(1), amount(LARGE * 3)?)].into_iter().collect();
    end = end.report(Report::Settle { account: None, actual });
    shadow.granted(&end, now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (LARGE * 4, 1), "what is spent and held after the settle");
    let row = shadow.model.rows.last().map(|row| row.entry.clone());
    ensure!(
        matches!(&row, Some(crate::account::RowEntry::Meter(row)) if row.spent == LARGE * 3),
        "the settle's row is {row:?}"
    );
    shadow.proved(now)
}

pub(super) fn the_largest_numbers_are_refused_or_kept(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&plan(now, &[&alice]).take(take(open(1), i64::MAX, Act::Charge)?), now)?;
    shadow.granted(&plan(now, &[&alice]).take(take(open(1), 0, Act::Charge)?), now)?;
    shadow.granted(&plan(now, &[&alice]).under(op("h")?).take(take(open(2), i64::MAX, Act::Hold)?), now)?;
    for act in [Act::Charge, Act::Hold] {
        let more = plan(now, &[&alice]).under(op("more")?).take(take(open(1), 1, act)?);
        let _ = shadow.apply(&more, now)?;
        let more = plan(now, &[&alice]).under(op("more-2")?).take(take(open(2), 1, act)?);
        let _ = shadow.apply(&more, now)?;
        shadow.agree(now)?;
    }
    same!(shadow.spent_and_held(&alice, 1, now)?.0, i64::MAX, "what is spent");
    let more = plan(now, &[&alice])
        .of(op("h")?)
        .report(Report::Raise { to: [(MeterId(2), Amount::MAX)].into_iter().collect() });
    let _ = shadow.apply(&more, now)?;
    let record = [(MeterId(2), Amount::MAX)].into_iter().collect();
    let _ = shadow.apply(&plan(now, &[&alice]).of(op("h")?).report(Report::Record { more: record }), now)?;
    shadow.agree(now)
}

pub(super) fn balances_reach_both_ends(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let today = Civil { day: 0, month: 0, day_of_month: 1, month_length: 31 };
    let rule = super::kit::rule(1, 0, Kernel::Balance { today, refill: None });
    let change = |change| plan(now, &[&alice]).report(Report::Balance { account: 0, rule, change });
    shadow.granted(&change(BalanceChange::Set(Some(i64::MAX))), now)?;
    shadow.invalid(&change(BalanceChange::Credit(Amount::ONE)), now)?;
    shadow.granted(&change(BalanceChange::Debit(Amount::MAX)), now)?;
    shadow.granted(&change(BalanceChange::Set(Some(i64::MIN + 2))), now)?;
    shadow.granted(&change(BalanceChange::Debit(Amount::MAX)), now)?;
    shadow.granted(&change(BalanceChange::Credit(Amount::MAX)), now)?;
    shadow.agree(now)
}

pub(super) fn names_come_back_as_they_were(store: &dyn Store, now: Timestamp) -> Outcome {
    let long = "x".repeat(256);
    let wide = "\u{1f511}".repeat(64);
    let names =
        ["a,b=c%d", "%2C", "%", "'; drop table parts; --", "\u{e9}\u{301}", "{tag}:key", " space ", &long, &wide, "\\"];
    let mut shadow = Shadow::of(store);
    for name in names {
        let subject = Subject::of([("key", name), ("team", name)])?;
        let call = op(name)?;
        let mut ask = plan(now, &[&subject]).under(call.clone()).take(hold(0, lifetime(1, 10), 4));
        ask.args = args(&[("name", name)]);
        shadow.granted(&ask, now)?;
        shadow.granted(&ask, now)?;
        shadow.granted(&plan(now, &[&subject]).of(call.clone()).report(settle(&[(1, 3)])), now)?;
        ensure!(store.account(&subject)?.is_some(), "the account {subject:?} is not found");
        same!(store.parts(&PartsOf::Op(call.clone()), None, 9)?.len(), 1, "the parts of {call:?}");
        let filter = Filter { dimension: Some(("team".to_owned(), name.to_owned())), ..Filter::default() };
        same!(store.rows(&filter, 0, 9)?.len(), 1, "the rows of team {name:?}");
    }
    same!(super::kit::all_accounts(store, 3)?.len(), names.len(), "the number of accounts");
    shadow.proved(now)
}

pub(super) fn everyone_is_an_account_too(store: &dyn Store, now: Timestamp) -> Outcome {
    let (everyone, alice) = (Subject::everyone(), key("alice")?);
    let mut shadow = Shadow::of(store);
    let both = plan(now, &[&everyone, &alice]).under(op("call")?);
    shadow.granted(&both.take(hold(0, lifetime(1, 10), 4)).take(hold(1, lifetime(1, 10), 4)), now)?;
    let accounts = store.accounts(None, 9)?;
    same!(accounts.iter().map(|(it, _)| it.clone()).collect::<Vec<_>>(), vec![everyone.clone(), alice], "the accounts");
    same!(store.accounts(Some(&everyone), 9)?.len(), 1, "the accounts after everyone");
    same!(store.parts(&PartsOf::Account(everyone), None, 9)?.len(), 1, "the parts of everyone");
    shadow.proved(now)
}

pub(super) fn a_text_that_looks_like_a_library_id_is_that_id(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let library = OpId::at(now, 77);
    let text = OpId::host(&library.to_string())?;
    let like = op(&library.to_string().to_uppercase())?;
    shadow.granted(&plan(now, &[&alice]).under(library.clone()).take(hold(0, lifetime(1, 10), 4)), now)?;
    shadow.granted(&plan(now, &[&alice]).under(like.clone()).take(hold(0, lifetime(1, 10), 4)), now)?;
    shadow.granted(&plan(now, &[&alice]).of(text).report(settle(&[(1, 1)])), now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (1, 4), "what is spent and held");
    let open = store.parts(&PartsOf::Open, None, 9)?;
    same!(open.iter().map(|part| part.op.clone()).collect::<Vec<_>>(), vec![like], "the operations that are open");
    shadow.proved(now)
}

pub(super) fn many_limits_of_one_subject_stand_side_by_side(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    for round in 0_u32..3 {
        let mut ask = plan(now, &[&alice]).under(op(&format!("call-{round}"))?);
        for meter in 1..=40 {
            ask = ask.take(hold(0, lifetime(meter, 100), meter));
        }
        let _ = shadow.apply(&ask, now)?;
    }
    let end = (1..=40).map(|meter| (meter, 1)).collect::<Vec<_>>();
    shadow.granted(&plan(now, &[&alice]).of(op("call-0")?).report(settle(&end)), now)?;
    same!(shadow.spent_and_held(&alice, 40, now)?, (1, 40), "what the last limit has spent and holds");
    shadow.proved(now)
}

/// Holds this many units one by one, all of which are due together.
fn crowd(shadow: &mut Shadow<'_>, now: Timestamp, n: u32, rule: Rule) -> Outcome {
    let alice = key("alice")?;
    for number in 0..n {
        let mut ask = plan(now, &[&alice]).under(op(&format!("call-{number}"))?).take(hold(0, rule, 1));
        ask.life = seconds(60 + i64::from(number % 7));
        shadow.granted(&ask, now)?;
    }
    Ok(())
}

pub(super) fn more_than_64_expired_holds_do_not_stand_in_the_way(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    let rule = releasing(lifetime(1, 100));
    crowd(&mut shadow, now, 100, rule)?;
    let then = later(now, 3_600);
    let ask = plan(then, &[&key("alice")?]).under(op("all")?).take(hold(0, rule, 100));
    shadow.granted(&ask, then)?;
    same!(shadow.spent_and_held(&key("alice")?, 1, then)?, (0, 100), "what is spent and held");
    shadow.proved(then)
}

pub(super) fn more_than_200_expired_holds_are_ended_in_rounds(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    crowd(&mut shadow, now, 210, lifetime(1, 210))?;
    let then = later(now, 3_600);
    // Each has been charged: all of them are looked at before it is refused.
    shadow.denied(&plan(then, &[&alice]).take(charge(0, lifetime(1, 210), 1)), then)?;
    same!(shadow.spent_and_held(&alice, 1, then)?, (210, 0), "what is spent and held after the refusal");
    same!(shadow.model.rows.len(), 210, "the rows of the expiries");
    shadow.proved(then)
}

pub(super) fn expired_holds_end_a_few_at_a_time_when_there_is_room(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    crowd(&mut shadow, now, 150, lifetime(1, 1_000))?;
    let then = later(now, 3_600);
    for open in [86, 22, 0, 0] {
        shadow.granted(&plan(then, &[&alice]).take(charge(0, lifetime(1, 1_000), 1)), then)?;
        same!(store.parts(&PartsOf::Open, None, 500)?.len(), open, "the parts that are still open");
    }
    shadow.proved(then)
}

pub(super) fn rounds_of_expired_holds_are_undone_with_the_plan(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    crowd(&mut shadow, now, 150, releasing(lifetime(1, 150)))?;
    let then = later(now, 3_600);
    // There is room after two rounds; only then it turns out that a key would be given out to no operation.
    let ready = Ready { account: 0, probe: Length::MINUTE, firm: Firm::Hard };
    let way = Alternative { ready: [ready].into_iter().collect(), ..Alternative::default() };
    let ask = plan(then, &[&alice]).take(charge(0, lifetime(1, 150), 100)).pick(Pick { alternatives: vec![way] });
    same!(shadow.invalid(&ask, then)?, "hold", "the field");
    same!(store.parts(&PartsOf::Open, None, 500)?.len(), 150, "the parts that are still open");
    shadow.proved(then)
}

pub(super) fn what_has_ended_leaves_nothing_open(store: &dyn Store, now: Timestamp) -> Outcome {
    let subjects = [key("a")?, key("b")?, key("c")?];
    for (number, subject) in (0_u32..400).zip(subjects.iter().cycle()) {
        let at = later(now, i64::from(number));
        let call = OpId::at(at, u128::from(number));
        let mut ask = plan(at, &[subject]).under(call.clone()).take(hold(0, lifetime(1, 100_000), 3));
        ask.horizon = Length::HOUR;
        if !matches!(store.apply(&ask, at)?, crate::plan::Verdict::Granted(_)) {
            return Err(Failure::new("a call was refused that fits"));
        }
        let mut end =
            plan(at, &[subject]).of(call).report(Report::Settle { account: None, actual: amounts(&[(1, 2)]) });
        end.horizon = Length::HOUR;
        if number % 8 != 0 && !matches!(store.apply(&end, at)?, crate::plan::Verdict::Granted(_)) {
            return Err(Failure::new("a settle was refused"));
        }
    }
    let far = later(now, 400_000);
    same!(store.parts(&PartsOf::Open, None, 1_000)?.len(), 50, "the parts that are open, however old");
    store.sweep(far, 1_000)?;
    same!(store.parts(&PartsOf::Open, None, 1_000)?.len(), 0, "the parts that are open after a sweep");
    same!(super::kit::all_rows(store, &Filter::default(), 90)?.len(), 400, "the rows, which are all kept");
    let spent: i64 =
        subjects.iter().map(|it| super::kit::spent_and_held(store, it, 1, far).map(|it| it.0)).sum::<Result<_, _>>()?;
    same!(spent, 350 * 2 + 50 * 3, "what is spent in all accounts");
    let mismatches = crate::store::verify(store, far)?;
    ensure!(mismatches.is_empty(), "the ledger proves something else: {mismatches:?}");
    Ok(())
}

pub(super) fn times_before_1970_and_far_away_are_times(store: &dyn Store, _: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    for (name, now) in [
        ("old", Timestamp::from_micros(-77_000_001)),
        ("epoch", Timestamp::EPOCH),
        ("far", Timestamp::from_micros(9_000_000_000_000_000)),
        ("farther", Timestamp::from_micros(253_402_300_799_999_999)),
    ] {
        let who = key(name)?;
        let ask = plan(now, &[&who]).under(op(name)?).take(hold(0, super::kit::minute(1, 10, now), 4));
        shadow.granted(&ask, now)?;
        let filter = Filter { account: Some(who.clone()), ..Filter::default() };
        shadow.sweep(later(now, 900), 9)?;
        let rows = store.rows(&filter, 0, 9)?;
        same!(rows.first().map(|(_, row)| row.at), Some(later(now, 900)), "the instant of the expiry of {name:?}");
        let parts = store.parts(&PartsOf::Op(op(name)?), None, 9)?;
        let ends: Vec<_> = parts.iter().map(|part| (part.taken, part.end)).collect();
        same!(ends, vec![(now, Some((How::Expired, later(now, 900))))], "when the part of {name:?} began and ended");
        let until = Filter { until: Some(later(now, 900)), ..filter };
        same!(store.rows(&until, 0, 9)?.len(), 0, "the rows before that instant");
    }
    Ok(())
}
