//! Many callers at once. Each check ends with the numbers that must come out whatever the order was.

use std::sync::Barrier;
use std::thread;

use super::kit::{Failure, Outcome, all_parts, all_rows, charge, ensure, hold, key, later, lifetime, op, plan, same};
use super::kit::{minute, releasing, settle, spent_and_held};
use crate::account::{Audit, MeterId, RowEntry};
use crate::id::LimitId;
use crate::plan::{Adopt, Alternative, Claim, Effect, Firm, Pick, Ready, Report, Verdict};
use crate::pool::{Cause, Report as Health, Source, Until};
use crate::store::{Filter, PartsOf, Store, verify};
use crate::time::{Length, Timestamp};

const THREADS: u32 = 8;

/// Runs this on so many threads at once, and adds up what they return.
fn together<T: Send>(body: impl Fn(u32) -> Result<T, Failure> + Sync) -> Result<Vec<T>, Failure> {
    let start = Barrier::new(usize::try_from(THREADS).unwrap_or(1));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let (start, body) = (&start, &body);
                scope.spawn(move || {
                    start.wait();
                    body(number)
                })
            })
            .collect();
        let panicked = |_| Failure::new("the store panicked on a thread");
        threads.into_iter().map(|thread| thread.join().map_err(panicked)?).collect()
    })
}

fn is_granted(verdict: &Verdict) -> Result<bool, Failure> {
    match verdict {
        Verdict::Granted(_) => Ok(true),
        Verdict::Denied(_) => Ok(false),
        other => Err(Failure::new(format!("neither granted nor denied: {other:?}"))),
    }
}

pub(super) fn threads_take_exactly_what_the_limit_allows(store: &dyn Store, now: Timestamp) -> Outcome {
    const ROUNDS: usize = 300;
    let mut rule = lifetime(1, 100);
    rule.audit = Audit::None;
    let round = Barrier::new(usize::try_from(THREADS).unwrap_or(1));
    // Nobody leaves before the last round, or the others would wait forever.
    let counts = together(|_| {
        let (mut granted, mut failed) = (vec![0_u32; ROUNDS], None);
        for (place, count) in granted.iter_mut().enumerate() {
            round.wait();
            let subject = key(&format!("round-{place}"))?;
            for _ in 0..4 {
                match store.apply(&plan(now, &[&subject]).take(charge(0, rule, 4)), now) {
                    Ok(verdict) => *count += u32::from(is_granted(&verdict).unwrap_or(false)),
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(granted), |error| Err(error.into()))
    })?;
    for place in 0..ROUNDS {
        let granted: u32 = counts.iter().filter_map(|count| count.get(place)).sum();
        same!(granted, 25, "how many of 32 calls for 4 of 100 were granted in round {place}");
        let spent = spent_and_held(store, &key(&format!("round-{place}"))?, 1, now)?;
        same!(spent, (100, 0), "what is spent and held in round {place}");
    }
    Ok(())
}

pub(super) fn threads_hold_and_settle_without_loss(store: &dyn Store, now: Timestamp) -> Outcome {
    const CALLS: u32 = 40;
    let alice = key("alice")?;
    together(|thread| {
        for call in 0..CALLS {
            let op = op(&format!("call-{thread}-{call}"))?;
            let ask = plan(now, &[&alice]).under(op.clone()).take(hold(0, lifetime(1, 1_000_000), 5));
            ensure!(is_granted(&store.apply(&ask, now)?)?, "a call was refused that fits");
            let end = plan(now, &[&alice]).of(op).report(settle(&[(1, 3)]));
            ensure!(is_granted(&store.apply(&end, now)?)?, "a settle was refused");
        }
        Ok(())
    })?;
    let spent = spent_and_held(store, &alice, 1, now)?;
    same!(spent, (i64::from(3 * CALLS * THREADS), 0), "what is spent and held in the end");
    proved(store, now)
}

fn proved(store: &dyn Store, now: Timestamp) -> Outcome {
    let mismatches = verify(store, now)?;
    ensure!(mismatches.is_empty(), "the ledger proves something else: {mismatches:?}");
    Ok(())
}

pub(super) fn threads_settle_one_hold_once(store: &dyn Store, now: Timestamp) -> Outcome {
    const ROUNDS: u32 = 40;
    let alice = key("alice")?;
    for round in 0..ROUNDS {
        let op = op(&format!("call-{round}"))?;
        let ask = plan(now, &[&alice]).under(op.clone()).take(hold(0, lifetime(1, 1_000_000), 5));
        ensure!(is_granted(&store.apply(&ask, now)?)?, "a call was refused that fits");
        let booked = together(|_| {
            let end = plan(now, &[&alice]).of(op.clone()).report(settle(&[(1, 7)]));
            match store.apply(&end, now)? {
                Verdict::Granted(grant) => Ok(matches!(grant.effects.first(), Some(Effect::Booked { .. }))),
                other => Err(Failure::new(format!("a settle should pass: {other:?}"))),
            }
        })?;
        same!(booked.iter().filter(|booked| **booked).count(), 1, "how many of eight settles were booked");
    }
    same!(spent_and_held(store, &alice, 1, now)?, (i64::from(7 * ROUNDS), 0), "what is spent and held");
    proved(store, now)
}

pub(super) fn threads_replay_one_operation_once(store: &dyn Store, now: Timestamp) -> Outcome {
    const ROUNDS: u32 = 40;
    let alice = key("alice")?;
    for round in 0..ROUNDS {
        let ask = plan(now, &[&alice]).under(op(&format!("call-{round}"))?).take(charge(0, lifetime(1, 1_000), 2));
        let verdicts = together(|_| Ok(store.apply(&ask, now)?))?;
        let first = verdicts.first().cloned();
        ensure!(
            verdicts.iter().all(|verdict| Some(verdict) == first.as_ref()),
            "one operation has several answers: {verdicts:?}"
        );
    }
    same!(spent_and_held(store, &alice, 1, now)?, (i64::from(2 * ROUNDS), 0), "what is spent and held");
    proved(store, now)
}

pub(super) fn threads_in_opposite_order_do_not_wait_forever(store: &dyn Store, now: Timestamp) -> Outcome {
    const CALLS: u32 = 60;
    let (one, two) = (key("one")?, key("two")?);
    together(|thread| {
        for call in 0..CALLS {
            let order = if thread % 2 == 0 { [&one, &two] } else { [&two, &one] };
            let ask = plan(now, &order).under(op(&format!("call-{thread}-{call}"))?);
            let ask = ask.take(hold(0, lifetime(1, 1_000_000), 1)).take(hold(1, lifetime(1, 1_000_000), 1));
            ensure!(is_granted(&store.apply(&ask, now)?)?, "a call was refused that fits");
        }
        Ok(())
    })?;
    for subject in [&one, &two] {
        same!(spent_and_held(store, subject, 1, now)?, (0, i64::from(CALLS * THREADS)), "what {subject} holds");
    }
    proved(store, now)
}

pub(super) fn threads_claim_an_alert_once(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let rule = minute(1, 10, now);
    ensure!(is_granted(&store.apply(&plan(now, &[&alice]).take(charge(0, rule, 9)), now)?)?, "9 of 10 should pass");
    let window = store.account(&alice)?.and_then(|it| it.meter(MeterId(1)).map(crate::account::Meter::window_start));
    for bit in 0..16 {
        let window = window.unwrap_or(now);
        let claim = Report::Claim { account: 0, meter: MeterId(1), window, bit, percent: 80 };
        let first = together(|_| match store.apply(&plan(now, &[&alice]).report(claim.clone()), now)? {
            Verdict::Granted(grant) => Ok(grant.effects.contains(&Effect::Claimed(Claim::First))),
            other => Err(Failure::new(format!("a claim should pass: {other:?}"))),
        })?;
        same!(first.iter().filter(|first| **first).count(), 1, "how many of eight callers claimed alert {bit}");
    }
    let alerts = all_rows(store, &Filter::default(), 100)?;
    let alerts = alerts.iter().filter(|(_, row)| matches!(row.entry, RowEntry::Alert { .. }));
    same!(alerts.count(), 16, "the alerts in the ledger");
    Ok(())
}

pub(super) fn threads_probe_a_key_one_at_a_time(store: &dyn Store, now: Timestamp) -> Outcome {
    let upstream = key("upstream")?;
    for round in 0..20 {
        let now = later(now, round * 1_000);
        let until = Until::At(later(now, 10), Source::Stated);
        let failed = Health::Failed { began: now, cause: Cause::RateLimited, until };
        let report = plan(now, &[&upstream]).report(Report::Health { account: 0, report: failed });
        ensure!(is_granted(&store.apply(&report, now)?)?, "a report was refused");
        let then = later(now, 10);
        let probes = together(|thread| {
            let ready = Ready { account: 0, probe: Length::MINUTE, firm: Firm::Hard };
            let way = Alternative { ready: [ready].into_iter().collect(), ..Alternative::default() };
            let ask = plan(then, &[&upstream]).under(op(&format!("probe-{round}-{thread}"))?);
            is_granted(&store.apply(&ask.pick(Pick { alternatives: vec![way] }), then)?)
        })?;
        same!(probes.iter().filter(|probes| **probes).count(), 1, "how many of eight callers probe the key");
    }
    Ok(())
}

pub(super) fn threads_adopt_limits_under_one_number_each(store: &dyn Store, now: Timestamp) -> Outcome {
    const LIMITS: u32 = 12;
    let numbers = together(|_| {
        let mut numbers = Vec::new();
        for number in 0..LIMITS {
            let limit: LimitId = format!("limit-{number}").parse()?;
            let adopt = Report::Adopt { limit, schedule: "minute".to_owned(), how: Adopt::Start };
            match store.apply(&plan(now, &[]).report(adopt), now)? {
                Verdict::Granted(grant) => numbers.extend(grant.effects),
                other => return Err(Failure::new(format!("a limit should be adopted: {other:?}"))),
            }
        }
        Ok(numbers)
    })?;
    let first = numbers.first().cloned().unwrap_or_default();
    ensure!(numbers.iter().all(|other| *other == first), "threads were told different numbers: {numbers:?}");
    let mut meters: Vec<u32> = store.limits()?.iter().map(|record| record.meter.0).collect();
    meters.sort_unstable();
    same!(meters, (1..=LIMITS).collect::<Vec<_>>(), "the numbers of the limits");
    Ok(())
}

pub(super) fn threads_sweep_each_part_once(store: &dyn Store, now: Timestamp) -> Outcome {
    const PARTS: usize = 120;
    for number in 0..PARTS {
        let subject = key(&format!("user-{}", number % 3))?;
        let ask = plan(now, &[&subject]).under(op(&format!("call-{number}"))?).take(hold(0, lifetime(1, 1_000), 2));
        ensure!(is_granted(&store.apply(&ask, now)?)?, "a call was refused that fits");
    }
    let then = later(now, 3_600);
    let ended = together(|_| {
        let mut ended = 0;
        loop {
            match store.sweep(then, 7)? {
                0 => return Ok(ended),
                count => ended += count,
            }
        }
    })?;
    same!(ended.iter().sum::<usize>(), PARTS, "how many parts were swept by eight threads");
    same!(all_parts(store, &PartsOf::Open, 50)?.len(), 0, "the parts that are open");
    same!(all_rows(store, &Filter::default(), 50)?.len(), PARTS, "the rows of the expiries");
    proved(store, then)
}

pub(super) fn threads_of_every_kind_leave_a_ledger_that_proves_them(store: &dyn Store, now: Timestamp) -> Outcome {
    let subjects = [key("a")?, key("b")?, key("c")?];
    let all: Vec<&crate::id::Subject> = subjects.iter().collect();
    together(|thread| {
        for call in 0..40 {
            let now = later(now, i64::from(call) * 7);
            let op = op(&format!("call-{thread}-{call}"))?;
            let mut ask = plan(now, &all).under(op.clone());
            ask = ask.take(hold(0, minute(1, 60, now), 3)).take(hold(1, releasing(lifetime(2, 400)), 2));
            ask = ask.take(charge(2, minute(3, 50, now), 1));
            ask.life = Length::MINUTE;
            // A slower thread finds a window that a faster one has left behind: it charges the newer one.
            let held = is_granted(&store.apply(&ask, now)?)?;
            let end = plan(now, &all).of(op);
            match (thread + call) % 4 {
                _ if !held => {}
                0 => {}
                1 => ensure!(
                    is_granted(&store.apply(&end.report(Report::Release { account: None }), now)?)?,
                    "a release was refused"
                ),
                other => ensure!(
                    is_granted(&store.apply(&end.report(settle(&[(1, other * 2)])), now)?)?,
                    "a settle was refused"
                ),
            }
            store.sweep(now, 2)?;
        }
        Ok(())
    })?;
    let end = later(now, 7_200);
    proved(store, end)?;
    for subject in all {
        let open = store.account(subject)?.map_or(0, |account| account.open);
        same!(open, 0, "the parts that {subject} has open");
    }
    Ok(())
}
