//! Upstream keys: what is reported of them is kept, and they are given out by it.

use super::kit::{Failure, Outcome, charge, hold, key, later, lifetime, op, plan, same};
use super::shadow::Shadow;
use crate::account::{Counter, MeterId};
use crate::id::Subject;
use crate::plan::{Alternative, Firm, Pick, Plan, Ready, Report, Verdict};
use crate::pool::{Cause, Health, Ladder, Report as Said, Source, Until};
use crate::store::Store;
use crate::time::{Length, Timestamp, When};

fn way(account: u16) -> Alternative {
    let ready = Ready { account, probe: Length::MINUTE, firm: Firm::Hard };
    Alternative {
        ready: [ready].into_iter().collect(),
        takes: [hold(account, lifetime(1, 100), 1)].into_iter().collect(),
        key: None,
    }
}

/// Asks for one of these keys, the first that is ready.
fn ask(now: Timestamp, name: &str, keys: &[&Subject]) -> Result<Plan, Failure> {
    let ways = (0_u16..).zip(keys).map(|(account, _)| way(account));
    Ok(plan(now, keys).under(op(name)?).pick(Pick { alternatives: ways.collect() }))
}

fn say(now: Timestamp, of: &Subject, said: Said) -> Plan {
    plan(now, &[of]).report(Report::Health { account: 0, report: said })
}

fn limited(began: Timestamp, until: Until) -> Said {
    Said::Failed { began, cause: Cause::RateLimited, until }
}

fn health(store: &dyn Store, of: &Subject) -> Result<Health, Failure> {
    let account = super::kit::account(store, of)?;
    Ok(match account.meter(MeterId::HEALTH).map(|meter| &meter.counter) {
        Some(Counter::Health(health)) => (**health).clone(),
        _ => Health::default(),
    })
}

pub(super) fn a_cooling_key_is_passed_over(store: &dyn Store, now: Timestamp) -> Outcome {
    let (one, two) = (key("one")?, key("two")?);
    let keys = [&one, &two];
    let mut shadow = Shadow::of(store);
    shadow.granted(&say(now, &one, limited(now, Until::At(later(now, 60), Source::Stated))), now)?;
    same!(shadow.granted(&ask(now, "a", &keys)?, now)?.picked.into_vec(), vec![1], "the key that was picked");
    shadow.granted(&say(now, &two, limited(now, Until::At(later(now, 30), Source::Stated))), now)?;
    let denial = shadow.denied(&ask(later(now, 29), "b", &keys)?, later(now, 29))?;
    same!(denial.when, When::At(later(now, 30)), "when a key is ready");
    let then = later(now, 30);
    same!(shadow.granted(&ask(then, "b", &keys)?, then)?.picked.into_vec(), vec![1], "the key that was picked then");
    shadow.proved(then)
}

pub(super) fn what_is_said_of_a_key_is_kept(store: &dyn Store, now: Timestamp) -> Outcome {
    let one = key("one")?;
    let mut shadow = Shadow::of(store);
    let climb = Until::Climb(Ladder::default());
    for _ in 0..10 {
        shadow.granted(&say(now, &one, limited(now, climb)), now)?;
    }
    let kept = health(store, &one)?;
    same!((kept.failures, kept.limited), (1, 10), "the steps and the reports of one burst");
    same!(kept.block.map(|block| block.until), Some(later(now, 1)), "until when it cools");
    let then = later(now, 5);
    shadow.granted(&say(then, &one, limited(then, climb)), then)?;
    same!(health(store, &one)?.block.map(|block| block.until), Some(later(now, 7)), "until when it cools then");
    shadow.granted(&say(then, &one, Said::Succeeded { began: now }), then)?;
    same!(health(store, &one)?.failures, 2, "the steps after an old success");
    shadow.granted(&say(then, &one, Said::Succeeded { began: later(then, 1) }), later(then, 2))?;
    same!(health(store, &one)?.failures, 0, "the steps after a newer success");
    same!(health(store, &one)?.last_limited, Some(then), "when it was last limited");
    shadow.proved(then)
}

pub(super) fn one_caller_probes_and_the_next_when_it_vanishes(store: &dyn Store, now: Timestamp) -> Outcome {
    let one = key("one")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&say(now, &one, limited(now, Until::At(later(now, 10), Source::Stated))), now)?;
    let then = later(now, 10);
    shadow.granted(&ask(then, "first", &[&one])?, then)?;
    let denial = shadow.denied(&ask(then, "second", &[&one])?, then)?;
    same!(denial.when, When::WhenFreed { latest: later(then, 60) }, "when the probe is over");
    shadow.denied(&ask(later(then, 59), "second", &[&one])?, later(then, 59))?;
    let freed = later(then, 60);
    shadow.granted(&ask(freed, "second", &[&one])?, freed)?;
    shadow.denied(&ask(freed, "third", &[&one])?, freed)?;
    shadow.granted(&say(freed, &one, Said::Succeeded { began: freed }), freed)?;
    for name in ["third", "fourth"] {
        shadow.granted(&ask(freed, name, &[&one])?, freed)?;
    }
    same!(health(store, &one)?.uses, 4, "how often it was given out");
    shadow.proved(freed)
}

pub(super) fn a_refused_and_a_disabled_key_stay_out(store: &dyn Store, now: Timestamp) -> Outcome {
    let one = key("one")?;
    let mut shadow = Shadow::of(store);
    let refused = Said::Failed { began: now, cause: Cause::CredentialRefused, until: Until::Changed };
    shadow.granted(&say(now, &one, refused), now)?;
    let far = later(now, 40_000_000);
    same!(shadow.denied(&ask(far, "a", &[&one])?, far)?.when, When::Never, "when a refused key is ready");
    shadow.granted(&say(far, &one, Said::Rotate), far)?;
    shadow.granted(&ask(far, "a", &[&one])?, far)?;
    shadow.granted(&say(far, &one, Said::Disable), far)?;
    shadow.granted(&say(far, &one, Said::Clear), far)?;
    same!(shadow.denied(&ask(far, "b", &[&one])?, far)?.when, When::Never, "when a disabled key is ready");
    shadow.granted(&say(far, &one, Said::Enable), far)?;
    shadow.granted(&ask(far, "b", &[&one])?, far)?;
    shadow.proved(far)
}

pub(super) fn a_failure_is_kept_though_no_other_key_takes_over(store: &dyn Store, now: Timestamp) -> Outcome {
    let (one, two) = (key("one")?, key("two")?);
    let mut shadow = Shadow::of(store);
    shadow.granted(&say(now, &two, Said::Disable), now)?;
    shadow.granted(&ask(now, "call", &[&one])?, now)?;
    let over = plan(now, &[&one, &two])
        .of(op("call")?)
        .report(Report::Health { account: 0, report: limited(now, Until::For(Length::MINUTE)) })
        .report(Report::Release { account: Some(0) })
        .pick(Pick { alternatives: vec![way(1)] });
    shadow.denied(&over, now)?;
    same!(health(store, &one)?.block.map(|block| block.until), Some(later(now, 60)), "until when the failed key cools");
    same!(shadow.spent_and_held(&one, 1, now)?, (0, 0), "what the failed key has spent and holds");
    shadow.proved(now)
}

pub(super) fn a_cooling_key_is_given_out_at_best_effort(store: &dyn Store, now: Timestamp) -> Outcome {
    let one = key("one")?;
    let mut shadow = Shadow::of(store);
    shadow.granted(&say(now, &one, limited(now, Until::For(Length::HOUR))), now)?;
    let mut soft = way(0);
    soft.ready.iter_mut().for_each(|ready| ready.firm = Firm::Soft);
    let pick = Pick { alternatives: vec![way(0), soft] };
    let effort = plan(now, &[&one]).under(op("call")?).take(charge(0, lifetime(2, 5), 1)).pick(pick);
    same!(shadow.granted(&effort, now)?.picked.into_vec(), vec![1], "the alternative that was taken");
    let without_an_id = plan(now, &[&one])
        .pick(Pick { alternatives: vec![Alternative { takes: smallvec::SmallVec::new(), ..way(0) }] });
    shadow.granted(&say(now, &one, Said::Clear), now)?;
    let verdict = shadow.apply(&without_an_id, now)?;
    if !matches!(verdict, Verdict::Invalid { .. }) {
        return Err(Failure::new(format!("a key given out to nobody should be invalid: {verdict:?}")));
    }
    same!(health(store, &one)?.uses, 1, "how often it was given out");
    shadow.proved(now)
}
