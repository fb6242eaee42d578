//! All of a plan, or nothing of it.

use super::kit::{Outcome, amounts, args, charge, ensure, hold, key, later, lifetime, minute, op, plan, same, settle};
use super::shadow::Shadow;
use crate::account::MeterId;
use crate::amount::{Amount, Cap};
use crate::id::Subject;
use crate::plan::{Alternative, Ask, BalanceChange, Effect, Firm, Pick, Report, Take, Verdict};
use crate::store::Store;
use crate::time::{Timestamp, When};

pub(super) fn every_limit_passes_or_none_is_held(store: &dyn Store, now: Timestamp) -> Outcome {
    let (one, two, three) = (key("one")?, key("two")?, key("three")?);
    let mut shadow = Shadow::of(store);
    let narrow = plan(now, &[&three]).under(op("first")?).take(hold(0, lifetime(3, 10), 8));
    shadow.granted(&narrow, now)?;
    let wide = plan(now, &[&one, &two, &three])
        .under(op("second")?)
        .take(hold(0, lifetime(1, 10), 3))
        .take(hold(1, lifetime(2, 10), 3))
        .take(hold(2, lifetime(3, 10), 3));
    shadow.denied(&wide, now)?;
    for (subject, meter, held) in [(&one, 1, 0), (&two, 2, 0), (&three, 3, 8)] {
        same!(shadow.spent_and_held(subject, meter, now)?, (0, held), "what {subject} has spent and holds");
    }
    shadow.granted(&plan(now, &[&three]).of(op("first")?).report(settle(&[(3, 1)])), now)?;
    shadow.granted(&wide, now)?;
    for (subject, meter, spent) in [(&one, 1, 0), (&two, 2, 0), (&three, 3, 1)] {
        same!(shadow.spent_and_held(subject, meter, now)?, (spent, 3), "what {subject} has spent and holds then");
    }
    shadow.proved(now)
}

pub(super) fn every_limit_in_the_way_is_named(store: &dyn Store, now: Timestamp) -> Outcome {
    let (one, two) = (key("one")?, key("two")?);
    let mut shadow = Shadow::of(store);
    let ask = plan(now, &[&one, &two])
        .take(charge(0, lifetime(1, 5), 6))
        .take(charge(0, minute(2, 100, now), 6))
        .take(charge(1, minute(3, 5, now), 6));
    let denial = shadow.denied(&ask, now)?;
    let named: Vec<(u16, u32)> = denial.blocked.iter().map(|it| (it.account, it.meter.0)).collect();
    same!(named, vec![(0, 1), (1, 3)], "what stood in the way");
    same!(denial.when, When::Never, "when it can pass");
    Ok(())
}

pub(super) fn eight_accounts_in_one_plan(store: &dyn Store, now: Timestamp) -> Outcome {
    let subjects: Vec<Subject> = (0..8).map(|n| key(&format!("user-{n}"))).collect::<Result<_, _>>()?;
    let mut shadow = Shadow::of(store);
    let all: Vec<&Subject> = subjects.iter().collect();
    for round in 0_u32..6 {
        let mut ask = plan(now, &all).under(op(&format!("call-{round}"))?);
        for account in 0..8 {
            ask = ask.take(hold(account, lifetime(u32::from(account) + 1, 10), 2));
        }
        if round < 5 {
            shadow.granted(&ask, now)?;
        } else {
            same!(shadow.denied(&ask, now)?.blocked.len(), 8, "how many limits stand in the way");
        }
    }
    shadow.granted(&plan(now, &all).of(op("call-0")?).report(settle(&[(1, 7), (8, 0)])), now)?;
    same!(shadow.spent_and_held(&key("user-0")?, 1, now)?, (7, 8), "what the first has spent and holds");
    shadow.proved(now)
}

fn way(take: Take) -> Alternative {
    Alternative { takes: [take].into_iter().collect(), ..Alternative::default() }
}

pub(super) fn the_first_alternative_that_passes_is_taken(store: &dyn Store, now: Timestamp) -> Outcome {
    let names = [key("a")?, key("b")?, key("c")?];
    let all: Vec<&Subject> = names.iter().collect();
    let mut shadow = Shadow::of(store);
    let mut picked = Vec::new();
    for round in 0..7 {
        let pick = Pick { alternatives: (0..3).map(|it| way(hold(it, lifetime(1, 4), 2))).collect() };
        let ask = plan(now, &all).under(op(&format!("call-{round}"))?).pick(pick);
        match shadow.apply(&ask, now)? {
            Verdict::Granted(grant) => picked.extend(grant.picked),
            Verdict::Denied(denial) => {
                same!(denial.picks.first().map(Vec::len), Some(3), "how many alternatives are explained");
            }
            other => return Err(super::kit::Failure::new(format!("neither granted nor denied: {other:?}"))),
        }
    }
    same!(picked, vec![0, 0, 1, 1, 2, 2], "the alternatives that were taken");
    shadow.granted(&plan(now, &all).of(op("call-1")?).report(Report::Release { account: None }), now)?;
    shadow.proved(now)
}

pub(super) fn a_pick_without_a_way_leaves_the_rest_undone(store: &dyn Store, now: Timestamp) -> Outcome {
    let (client, upstream) = (key("client")?, key("upstream")?);
    let mut shadow = Shadow::of(store);
    let pick = |n| Pick { alternatives: vec![way(hold(1, lifetime(2, 4), n)), way(hold(1, lifetime(3, 4), n))] };
    let ask = |name: &str, n| -> Result<_, super::kit::Failure> {
        Ok(plan(now, &[&client, &upstream]).under(op(name)?).take(hold(0, lifetime(1, 9), 1)).pick(pick(n)))
    };
    shadow.denied(&ask("much", 5)?, now)?;
    same!(shadow.spent_and_held(&client, 1, now)?, (0, 0), "what the client's limit has spent and holds");
    shadow.granted(&ask("little", 3)?, now)?;
    same!(shadow.spent_and_held(&client, 1, now)?, (0, 1), "what the client's limit has spent and holds then");
    shadow.proved(now)
}

pub(super) fn many_picks_of_eight(store: &dyn Store, now: Timestamp) -> Outcome {
    let subjects: Vec<Subject> = (0..8).map(|n| key(&format!("key-{n}"))).collect::<Result<_, _>>()?;
    let all: Vec<&Subject> = subjects.iter().collect();
    let mut shadow = Shadow::of(store);
    for round in 0_u32..10 {
        let mut ask = plan(now, &all).under(op(&format!("call-{round}"))?);
        for meter in 1..=4 {
            let ways = (0..8).map(|place| way(hold(place, lifetime(meter, 1), 1)));
            ask = ask.pick(Pick { alternatives: ways.collect() });
        }
        if round < 8 {
            let place = u8::try_from(round).unwrap_or(u8::MAX);
            same!(shadow.granted(&ask, now)?.picked.into_vec(), vec![place; 4], "the alternatives that were taken");
        } else {
            same!(shadow.denied(&ask, now)?.picks.len(), 4, "the picks that found no way");
        }
    }
    shadow.proved(now)
}

pub(super) fn a_denial_changes_nothing(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let first = plan(now, &[&alice]).under(op("first")?).take(hold(0, lifetime(1, 10), 10));
    shadow.granted(&first, now)?;
    let (before, parts) = (store.account(&alice)?, shadow.model.parts.len());
    for n in 0..20 {
        let ask = plan(now, &[&alice]).under(op(&format!("more-{n}"))?).take(hold(0, lifetime(1, 10), 1));
        shadow.denied(&ask, now)?;
        same!(store.account(&alice)?, before, "the account after a denial");
    }
    same!(shadow.model.parts.len(), parts, "the number of parts");
    shadow.proved(now)
}

pub(super) fn an_invalid_plan_changes_nothing(store: &dyn Store, now: Timestamp) -> Outcome {
    let (alice, bob) = (key("alice")?, key("bob")?);
    let mut shadow = Shadow::of(store);
    let first = plan(now, &[&alice]).under(op("first")?).take(hold(0, lifetime(1, 10), 4));
    shadow.granted(&first, now)?;
    // Each settles something before it turns out to make no sense.
    let base = || Ok::<_, super::kit::Failure>(plan(now, &[&alice]).of(op("first")?).report(settle(&[(1, 4)])));
    let twice = base()?.take(charge(0, lifetime(1, 10), 1)).take(charge(0, lifetime(1, 10), 1));
    same!(shadow.invalid(&twice, now)?, "takes.meter", "the field");
    same!(shadow.invalid(&base()?.take(charge(7, lifetime(1, 10), 1)), now)?, "account", "the field");
    let nine = Pick { alternatives: (0..9).map(|_| way(charge(0, lifetime(2, 10), 1))).collect() };
    same!(shadow.invalid(&base()?.pick(nine), now)?, "pick.alternatives", "the field");
    let same_twice = plan(now, &[&alice, &bob, &alice]).take(charge(0, lifetime(1, 10), 1));
    same!(shadow.invalid(&same_twice, now)?, "accounts", "the field");
    let no_hold = plan(now, &[&alice]).take(hold(0, lifetime(1, 10), 1));
    same!(shadow.invalid(&no_hold, now)?, "hold", "the field");
    let no_balance = Report::Balance { account: 0, rule: lifetime(1, 10), change: BalanceChange::Credit(Amount::ONE) };
    same!(shadow.invalid(&base()?.report(no_balance), now)?, "rule.kernel", "the field");
    same!(shadow.spent_and_held(&alice, 1, now)?, (0, 4), "what is spent and held after all that");
    shadow.proved(now)
}

pub(super) fn a_stale_plan_changes_nothing(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&plan(now, &[&alice]).under(op("first")?).take(hold(0, minute(1, 10, now), 4)), now)?;
    let mut ask =
        plan(now, &[&alice]).of(op("first")?).report(settle(&[(1, 4)])).take(charge(0, minute(1, 10, now), 1));
    for then in [later(now, 60), later(now, 3_600)] {
        same!(shadow.apply(&ask, then)?, Verdict::Stale { now: then }, "the verdict on a plan of an earlier minute");
        shadow.agree(then)?;
    }
    ask.from = now;
    let before = later(now, -1);
    same!(shadow.apply(&ask, before)?, Verdict::Stale { now: before }, "the verdict on a plan that is yet to hold");
    shadow.agree(before)?;
    shadow.granted(&ask, now)?;
    shadow.proved(now)
}

pub(super) fn a_conflict_changes_nothing(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut ask = plan(now, &[&alice]).under(op("first")?).take(charge(0, lifetime(1, 10), 4));
    ask.args = args(&[("tokens", "4")]);
    shadow.granted(&ask, now)?;
    ask.args = args(&[("tokens", "5")]);
    let verdict = shadow.apply(&ask, now)?;
    ensure!(matches!(verdict, Verdict::Conflict { .. }), "the verdict should be a conflict: {verdict:?}");
    shadow.agree(now)?;
    shadow.granted(&plan(now, &[&alice]).under(op("call")?).take(hold(0, lifetime(1, 10), 4)), now)?;
    let ended = |n| Ok::<_, super::kit::Failure>(plan(now, &[&alice]).of(op("call")?).report(settle(&[(1, n)])));
    shadow.granted(&ended(4)?, now)?;
    let verdict = shadow.apply(&ended(5)?.take(charge(0, lifetime(1, 10), 1)), now)?;
    ensure!(matches!(verdict, Verdict::Conflict { .. }), "another settle should be a conflict: {verdict:?}");
    same!(shadow.spent_and_held(&alice, 1, now)?, (8, 0), "what is spent and held");
    shadow.proved(now)
}

pub(super) fn reports_are_booked_with_a_denial(store: &dyn Store, now: Timestamp) -> Outcome {
    let (alice, bob) = (key("alice")?, key("bob")?);
    let mut shadow = Shadow::of(store);
    shadow.granted(&plan(now, &[&alice]).under(op("first")?).take(hold(0, lifetime(1, 10), 4)), now)?;
    let ask = plan(now, &[&alice, &bob])
        .of(op("first")?)
        .report(settle(&[(1, 3)]))
        .take(charge(0, lifetime(1, 10), 5))
        .take(charge(1, lifetime(1, 10), 11));
    let denial = shadow.denied(&ask, now)?;
    ensure!(matches!(denial.effects.first(), Some(Effect::Booked { .. })), "the settle is not told: {denial:?}");
    same!(shadow.spent_and_held(&alice, 1, now)?, (3, 0), "what is spent and held after the denial");
    let raised = Report::Raise { to: amounts(&[(1, 9)]) };
    shadow.denied(&plan(now, &[&bob]).of(op("first")?).report(raised).take(charge(0, lifetime(1, 1), 2)), now)?;
    shadow.proved(now)
}

pub(super) fn a_soft_limit_counts_beyond_itself(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    let mut soft = lifetime(1, 10);
    soft.firm = Firm::Soft;
    for (name, over) in [("a", 0), ("b", 2), ("c", 8)] {
        let grant = shadow.granted(&plan(now, &[&alice]).under(op(name)?).take(hold(0, soft, 6)), now)?;
        same!(grant.taken.first().map(|taken| taken.over.get()), Some(over), "how far {name} is above the limit");
    }
    let mut hard = soft;
    hard.firm = Firm::Hard;
    shadow.denied(&plan(now, &[&alice]).take(charge(0, hard, 1)), now)?;
    same!(shadow.spent_and_held(&alice, 1, now)?, (0, 18), "what is spent and held");
    shadow.proved(now)
}

pub(super) fn nothing_assumed_and_nothing_at_all(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut shadow = Shadow::of(store);
    shadow.denied(&plan(now, &[&alice]).take(charge(0, lifetime(1, 0), 0)), now)?;
    shadow.granted(&plan(now, &[&alice]).take(charge(0, lifetime(2, 5), 5)), now)?;
    shadow.granted(&plan(now, &[&alice]).take(charge(0, lifetime(2, 5), 0)), now)?;
    let assumed = Take { ask: Ask::Assumed(Amount::ZERO), ..charge(0, lifetime(2, 5), 0) };
    shadow.denied(&plan(now, &[&alice]).take(assumed), now)?;
    let mut open = lifetime(3, 0);
    open.cap = Cap::Unlimited;
    let grant = shadow.granted(&plan(now, &[&alice]).take(charge(0, open, 1_000_000)), now)?;
    same!(grant.taken.first().map(|taken| taken.remaining), Some(None), "what remains without a limit");
    ensure!(store.account(&alice)?.is_some_and(|it| it.meter(MeterId(3)).is_some()), "the meter is not kept");
    shadow.proved(now)
}
