//! Balances: set, credited, debited, patched, refilled, owed.

use super::kit::{Failure, Outcome, charge, hold, key, later, op, plan, same, settle};
use super::shadow::Shadow;
use crate::account::{Counter, MeterId, Rule};
use crate::amount::{Amount, Cap};
use crate::id::Subject;
use crate::plan::{BalanceChange, Effect, Kernel, Report, Verdict};
use crate::quota::{Balance, Civil, Every, Patch, Refill, RefillPolicy};
use crate::store::Store;
use crate::time::{Timestamp, When};

/// A day of January, in which days count from 0.
fn january(day: u8) -> Civil {
    Civil { day: i64::from(day) - 1, month: 0, day_of_month: day, month_length: 31 }
}

fn credits(cap: u32, today: Civil, refill: Option<Refill>) -> Rule {
    super::kit::rule(1, cap, Kernel::Balance { today, refill })
}

fn change(shadow: &mut Shadow<'_>, now: Timestamp, who: &Subject, change: BalanceChange) -> Result<Effect, Failure> {
    let report = Report::Balance { account: 0, rule: credits(100, january(10), None), change };
    let grant = shadow.granted(&plan(now, &[who]).report(report), now)?;
    grant.effects.first().copied().ok_or_else(|| Failure::new("a change of a balance did nothing"))
}

fn balance(shadow: &Shadow<'_>, who: &Subject) -> Result<Option<Balance>, Failure> {
    let account = super::kit::account(shadow.store, who)?;
    Ok(match account.meter(MeterId(1)).map(|meter| &meter.counter) {
        Some(Counter::Balance(balance)) => Some(*balance),
        _ => None,
    })
}

fn units(shadow: &Shadow<'_>, who: &Subject) -> Result<Option<i64>, Failure> {
    Ok(balance(shadow, who)?.and_then(|balance| balance.units))
}

pub(super) fn a_balance_is_set_credited_and_debited(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    for (number, (by_hand, left, moved)) in [
        (BalanceChange::Credit(Amount::new(50)), Some(150), 50),
        (BalanceChange::Debit(Amount::new(30)), Some(120), -30),
        (BalanceChange::Set(Some(7)), Some(7), -113),
        (BalanceChange::Debit(Amount::new(30)), Some(0), -7),
        (BalanceChange::Set(Some(-20)), Some(-20), -20),
        (BalanceChange::Debit(Amount::new(5)), Some(-20), 0),
        (BalanceChange::Credit(Amount::new(25)), Some(5), 25),
        (BalanceChange::Set(None), None, -5),
        (BalanceChange::Set(Some(9)), Some(9), 9),
    ]
    .into_iter()
    .enumerate()
    {
        let told = change(&mut shadow, now, &alice, by_hand)?;
        same!(told, Effect::Balance { units: left, moved }, "what change {number} did");
        same!(units(&shadow, &alice)?, left, "the balance after change {number}");
    }
    shadow.proved(now)
}

pub(super) fn a_balance_is_spent_to_its_last_unit(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let rule = credits(10, january(10), None);
    shadow.granted(&plan(now, &[&alice]).under(op("call")?).take(hold(0, rule, 4)), now)?;
    shadow.granted(&plan(now, &[&alice]).take(charge(0, rule, 6)), now)?;
    let denial = shadow.denied(&plan(now, &[&alice]).take(charge(0, rule, 1)), now)?;
    same!(denial.when, When::WhenFreed { latest: later(now, 900) }, "when it can pass");
    shadow.granted(&plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, 3)])), now)?;
    shadow.granted(&plan(now, &[&alice]).take(charge(0, rule, 1)), now)?;
    let denial = shadow.denied(&plan(now, &[&alice]).take(charge(0, rule, 1)), now)?;
    same!(denial.when, When::Never, "when it can pass then");
    same!(units(&shadow, &alice)?, Some(0), "the balance");
    shadow.proved(now)
}

/// A balance was set to 50 while a call of 1 was under way; its settle made 49 of it.
pub(super) fn a_balance_set_under_way_is_not_disturbed(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let rule = credits(100, january(10), None);
    shadow.granted(&plan(now, &[&alice]).under(op("call")?).take(hold(0, rule, 1)), now)?;
    change(&mut shadow, now, &alice, BalanceChange::Set(Some(50)))?;
    shadow.granted(&plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, 1)])), now)?;
    same!(units(&shadow, &alice)?, Some(50), "the balance after the settle");
    shadow.granted(&plan(now, &[&alice]).take(charge(0, rule, 1)), now)?;
    same!(units(&shadow, &alice)?, Some(49), "the balance after one more");
    shadow.proved(now)
}

pub(super) fn a_debt_is_paid_before_anything_is_free(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let rule = credits(10, january(10), None);
    shadow.granted(&plan(now, &[&alice]).under(op("call")?).take(hold(0, rule, 10)), now)?;
    shadow.granted(&plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, 45)])), now)?;
    same!(units(&shadow, &alice)?, Some(-35), "the balance that is owed");
    change(&mut shadow, now, &alice, BalanceChange::Credit(Amount::new(35)))?;
    shadow.denied(&plan(now, &[&alice]).take(charge(0, rule, 1)), now)?;
    change(&mut shadow, now, &alice, BalanceChange::Credit(Amount::new(1)))?;
    shadow.granted(&plan(now, &[&alice]).take(charge(0, rule, 1)), now)?;
    shadow.proved(now)
}

pub(super) fn a_debit_leaves_what_is_held(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let rule = credits(100, january(10), None);
    shadow.granted(&plan(now, &[&alice]).under(op("call")?).take(hold(0, rule, 40)), now)?;
    let told = change(&mut shadow, now, &alice, BalanceChange::Debit(Amount::new(90)))?;
    same!(told, Effect::Balance { units: Some(40), moved: -60 }, "what the debit did");
    shadow.granted(&plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, 40)])), now)?;
    same!(units(&shadow, &alice)?, Some(0), "the balance");
    shadow.proved(now)
}

fn refill(amount: u32, every: Every, policy: RefillPolicy) -> Refill {
    Refill { amount: Amount::new(amount), every, policy }
}

pub(super) fn refills_catch_up_once_for_each_period(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    for (name, policy, after) in [
        ("add", RefillPolicy::Add, [5, 15, 15, 45]),
        ("set", RefillPolicy::Set, [5, 10, 10, 10]),
        ("capped", RefillPolicy::AddCapped { most: Amount::new(12) }, [5, 12, 12, 12]),
    ] {
        let who = key(name)?;
        let daily = refill(10, Every::Day, policy);
        for (place, (day, spent)) in [(10, 95), (11, 0), (11, 0), (14, 0)].into_iter().enumerate() {
            let ask = plan(now, &[&who]).take(charge(0, credits(100, january(day), Some(daily)), spent));
            shadow.granted(&ask, now)?;
            same!(units(&shadow, &who)?, after.get(place).copied(), "the balance {name:?} on day {day}");
        }
    }
    shadow.proved(now)
}

pub(super) fn a_monthly_refill_knows_short_months(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let monthly = refill(10, Every::Month { day: 31 }, RefillPolicy::Add);
    let on = |month: i64, day_of_month: u8, month_length: u8| Civil {
        day: month * 30 + i64::from(day_of_month),
        month,
        day_of_month,
        month_length,
    };
    let dates = [(0, 30, 31), (0, 31, 31), (1, 27, 28), (1, 28, 28), (2, 30, 31), (2, 31, 31), (5, 1, 30)];
    for ((month, day, length), left) in dates.into_iter().zip([0, 10, 10, 20, 20, 30, 50]) {
        let rule = credits(0, on(month, day, length), Some(monthly));
        let _ = shadow.apply(&plan(now, &[&alice]).take(charge(0, rule, 0)), now)?;
        same!(units(&shadow, &alice)?, Some(left), "the balance on day {day} of month {month}");
    }
    shadow.proved(now)
}

pub(super) fn a_refill_is_kept_also_when_the_call_is_refused(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let daily = Some(refill(10, Every::Day, RefillPolicy::Add));
    shadow.granted(&plan(now, &[&alice]).take(charge(0, credits(5, january(3), daily), 5)), now)?;
    shadow.denied(&plan(now, &[&alice]).take(charge(0, credits(5, january(4), daily), 11)), now)?;
    same!(units(&shadow, &alice)?, Some(10), "the balance after the refusal");
    shadow.denied(&plan(now, &[&alice]).take(charge(0, credits(5, january(4), daily), 11)), now)?;
    same!(units(&shadow, &alice)?, Some(10), "the balance after another on the same day");
    shadow.proved(now)
}

pub(super) fn a_patch_changes_what_it_names(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let daily = refill(10, Every::Day, RefillPolicy::Set);
    let patch = |units, refill| BalanceChange::Patch(Patch { units, refill });
    for (number, (patch, left, kept)) in [
        (patch(None, Some(Some(daily))), Some(100), Some(daily)),
        (patch(Some(Some(40)), None), Some(40), Some(daily)),
        (patch(None, Some(None)), Some(40), None),
        (patch(Some(Some(60)), Some(Some(daily))), Some(60), Some(daily)),
        (patch(Some(None), None), None, None),
        (patch(None, None), None, None),
    ]
    .into_iter()
    .enumerate()
    {
        change(&mut shadow, now, &alice, patch)?;
        let is = balance(&shadow, &alice)?.map(|balance| (balance.units, balance.refill));
        same!(is, Some((left, kept)), "the balance and its refill after patch {number}");
    }
    let refused =
        Report::Balance { account: 0, rule: credits(100, january(10), None), change: patch(None, Some(Some(daily))) };
    shadow.invalid(&plan(now, &[&alice]).report(refused), now)?;
    shadow.proved(now)
}

pub(super) fn a_balance_without_end_takes_no_credit(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut rule = credits(0, january(10), None);
    rule.cap = Cap::Unlimited;
    shadow.granted(&plan(now, &[&alice]).take(charge(0, rule, 4_000_000_000)), now)?;
    for change in [BalanceChange::Credit(Amount::ONE), BalanceChange::Debit(Amount::ONE)] {
        let report = Report::Balance { account: 0, rule, change };
        let verdict = shadow.apply(&plan(now, &[&alice]).under(op("change")?).report(report), now)?;
        if !matches!(verdict, Verdict::Invalid { .. }) {
            return Err(Failure::new(format!("a change without end should be invalid: {verdict:?}")));
        }
        shadow.agree(now)?;
    }
    same!(units(&shadow, &alice)?, None, "the balance");
    shadow.proved(now)
}
