//! Logs out of a store's ledger.

use keyward::store::Filter;
use keyward::trial::{End, Log, Trial};
use keyward::{Call, Keeper, Limit, ManualClock, OpId, Subject, Usage, Usd};

use super::{at, secs};

fn keeper(clock: &ManualClock) -> Keeper {
    Keeper::builder()
        .limit(Limit::usd(Usd::dollars(9)).lifetime().by("key").assume(1))
        .clock(clock.clone())
        .build()
        .unwrap()
}

fn call(key: &str) -> Call {
    Call::new().with("key", key).with("model", "m").tag("job", "7").tokens(100)
}

/// The id that the library made says when a call began, so that calls that lay side by side lie side by side again.
#[test]
fn the_ledger_of_a_keeper_is_a_log_with_times_and_ends() {
    let clock = ManualClock::at(at(100));
    let keeper = keeper(&clock);
    let first = keeper.acquire(&call("a")).unwrap().granted().unwrap();
    clock.set(at(110));
    let second = keeper.acquire(&call("a")).unwrap().granted().unwrap();
    clock.set(at(120));
    second.settle(&Usage::new().tokens(7).usd(Usd::cents(1))).unwrap();
    clock.set(at(130));
    first.settle(&Usage::new().tokens(5)).unwrap();
    keeper.charge(&call("b"), &Usage::new().tokens(9)).unwrap();

    let log = Log::of_rows(keeper.store(), &Filter::default()).unwrap();
    let shown: Vec<_> = log.entries().iter().map(|it| (it.time, it.ends, it.end, it.usage.clone().unwrap())).collect();
    assert_eq!(shown[0], (at(100), Some(at(130)), End::Settled, Usage::new().tokens(5)));
    assert_eq!(shown[1], (at(110), Some(at(120)), End::Settled, Usage::new().tokens(7).usd(Usd::cents(1))));
    assert_eq!(shown[2], (at(130), Some(at(130)), End::Charged, Usage::new().tokens(9)));
    let entry = &log.entries()[0];
    assert_eq!((entry.dimensions["model"].as_str(), entry.tags["job"].as_str()), ("m", "7"));
    assert_eq!(entry.estimate, Usage::new().tokens(100));

    // Two at once do not fit into one slot.
    let report = Trial::new().limit(Limit::slots(1).by("key")).listing(1).run(&log).unwrap();
    assert_eq!((report.granted, report.refusals[0].number), (2, 2));
    let mut of_b = Filter::default();
    of_b.dimension = Some(("key".into(), "b".into()));
    assert_eq!(Log::of_rows(keeper.store(), &of_b).unwrap().len(), 1);
}

/// A call that was given up is charged at its estimate; settled after all, it is charged at what it used.
#[test]
fn a_call_that_ended_by_itself_and_was_settled_late_is_one_call() {
    let clock = ManualClock::at(at(100));
    let keeper = keeper(&clock);
    drop(keeper.acquire(&call("a")).unwrap().granted().unwrap());
    let late = keeper.acquire(&call("b").life(secs(60))).unwrap().granted().unwrap();
    clock.set(at(200));
    keeper.sweep().unwrap();
    let log = Log::of_rows(keeper.store(), &Filter::default()).unwrap();
    assert_eq!(log.entries().iter().map(|it| it.end).collect::<Vec<_>>(), [End::Abandoned, End::Abandoned]);

    late.settle(&Usage::new().tokens(250)).unwrap();
    let log = Log::of_rows(keeper.store(), &Filter::default()).unwrap();
    let of_b = log.entries().iter().find(|it| it.dimensions["key"] == "b").unwrap();
    assert_eq!((log.len(), of_b.end, of_b.time, of_b.ends), (2, End::Settled, at(100), Some(at(200))));
    assert_eq!(of_b.usage, Some(Usage::new().tokens(250)));

    let report = Trial::new().limit(Limit::tokens(300).lifetime().by("key")).run(&log).unwrap();
    let peak = report.limits[0].peak.as_ref().unwrap();
    assert_eq!((&peak.subject, peak.used.get()), (&Subject::of([("key", "b")]).unwrap(), 250));
}

/// What the same operation used besides is added to it, and is no other call.
#[test]
fn what_was_used_besides_a_call_is_added_to_it() {
    use keyward::plan::{Plan, Report, Used};
    use keyward::store::Store as _;
    let clock = ManualClock::at(at(100));
    let keeper = keeper(&clock);
    let permit = keeper.acquire(&call("a")).unwrap().granted().unwrap();
    let op: OpId = permit.op();
    permit.settle(&Usage::new().tokens(5).usd(Usd::cents(1)).extra("pages", 1)).unwrap();
    let more = Usage::new().tokens(3).usd(Usd::cents(2)).extra("pages", 2).extra("hits", 4);
    let mut plan = Plan::new(at(101)).of(op).report(Report::Record { more: Default::default() });
    plan.used = Some(Used { usage: more, outcome: None });
    let _ = keeper.store().apply(&plan, at(101)).unwrap();

    let log = Log::of_rows(keeper.store(), &Filter::default()).unwrap();
    assert_eq!(log.len(), 1);
    let sum = Usage::new().tokens(8).usd(Usd::cents(3)).extra("pages", 3).extra("hits", 4);
    assert_eq!(log.entries()[0].usage, Some(sum));
}
