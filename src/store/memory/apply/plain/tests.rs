//! The short way leads to where the long one does, and what is meant to go it does.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::account::{Act, Ask, Context, Firm, Kernel, MeterId, OnExpiry, Rule};
use crate::amount::{Amount, Cap};
use crate::id::{OpId, Subject};
use crate::plan::{Alternative, Due, Pick, Ready, Report, Take, Used};
use crate::pool;
use crate::store::{Filter, PartsOf, Store};
use crate::time::Length;
use crate::usage::Usage;
use crate::window::{Grid, Slices};

fn kernel(shape: u32, now: Timestamp) -> Kernel {
    let length = Length::MINUTE;
    match shape {
        0 => Kernel::Tumble { window: Grid { length }.window(now) },
        1 => Kernel::Leak { length, burst: Amount::new(6) },
        2 => Kernel::Sliding { length },
        _ => Kernel::Rolling(Slices::new(length, 6).unwrap()),
    }
}

fn rule(meter: u32, kernel: Kernel) -> Rule {
    Rule {
        meter: MeterId(meter),
        generation: 0,
        cap: Cap::At(Amount::new(9)),
        kernel,
        firm: Firm::Hard,
        on_expiry: OnExpiry::Release,
        audit: Audit::None,
    }
}

fn hold(account: u16, rule: Rule, amount: u32) -> Take {
    Take { account, rule, ask: Ask::Exact(Amount::new(amount)), act: Act::Hold }
}

fn subject(name: &str) -> Subject {
    Subject::of([("key", name)]).unwrap()
}

fn settled() -> Report {
    Report::Settle { account: None, actual: SmallVec::new() }
}

fn used() -> Option<Used> {
    Some(Used { usage: Usage::new().input(7), outcome: None })
}

fn context() -> Option<Arc<Context>> {
    let estimate = Usage::new().input(5);
    Some(Arc::new(Context { subject: subject("a"), tags: Vec::new(), client: None, key: None, estimate }))
}

const NOW: Timestamp = Timestamp::EPOCH;

fn goes(store: &MemoryStore, plan: &Plan) -> bool {
    store.carry_out_plainly(plan, NOW, &mut Grant::default()).is_some()
}

#[test]
fn a_plain_hold_and_its_settle_go_the_short_way() {
    let store = MemoryStore::new();
    let take = hold(0, rule(1, kernel(2, NOW)), 1);
    let plan = |n| Plan::new(NOW).named(Subject::everyone()).of(OpId::at(NOW, n));
    assert!(!goes(&store, &plan(0).take(take)), "nobody knows the account");
    assert!(store.apply(&plan(0).take(take), NOW).unwrap().is_saved());
    assert!(goes(&store, &plan(1).take(take)));
    assert!(!goes(&store, &plan(1).take(take)), "the operation holds something already");
    assert!(goes(&store, &plan(2).take(Take { ask: Ask::Exact(Amount::new(9)), ..take })), "a refusal is as plain");
    assert!(goes(&store, &plan(1).report(Report::Extend { life: Length::DAY })));
    assert!(goes(&store, &plan(1).report(settled())));
    assert!(!goes(&store, &plan(1).report(settled())), "nothing is held any more");
    assert!(goes(&store, &plan(3).take(take)) && goes(&store, &plan(3).report(Report::Release { account: None })));
}

#[test]
fn so_do_several_accounts_rows_and_the_first_key_that_is_ready() {
    let store = MemoryStore::new();
    let audited = Rule { audit: Audit::Rows, ..rule(2, kernel(0, NOW)) };
    let named = || ["a", "b", "k1", "k2"].iter().fold(Plan::new(NOW), |plan, name| plan.named(subject(name)));
    let way = |account| {
        let ready = Ready { account, probe: Length::MINUTE, firm: Firm::Hard };
        let takes = [hold(account, rule(3, kernel(2, NOW)), 1)];
        Alternative { ready: [ready].into_iter().collect(), takes: takes.into_iter().collect(), key: None }
    };
    let acquire = |n| {
        let pick = Pick { alternatives: vec![way(2), way(3)] };
        let plan = named().under(OpId::at(NOW, n)).take(hold(0, rule(1, kernel(2, NOW)), 1)).take(hold(1, audited, 2));
        Plan { context: context(), ..plan.pick(pick) }
    };
    let settle = |n| Plan { used: used(), ..named().of(OpId::at(NOW, n)).report(settled()) };
    // Each key is met once: the first while it is ready, the second because the first is not.
    let cool = |cool| {
        let report = Report::Health { account: 2, report: cool };
        assert!(store.apply(&named().report(report), NOW).unwrap().is_saved());
    };
    assert!(store.apply(&acquire(1), NOW).unwrap().is_saved());
    cool(pool::Report::Disable);
    assert!(store.apply(&acquire(2), NOW).unwrap().is_saved());
    for n in [1, 2] {
        assert!(goes(&store, &settle(n)), "{n}");
    }
    let rows = store.rows(&Filter::default(), 0, 100).unwrap();
    assert_eq!(rows.len(), 4, "a usage row and a meter row for each: {rows:?}");
    let mut grant = Grant::default();
    assert_eq!(store.carry_out_plainly(&acquire(3), NOW, &mut grant), Some(Ok(())));
    assert_eq!(grant.picked.as_slice(), [1]);
    cool(pool::Report::Enable);
    let mut grant = Grant::default();
    assert_eq!(store.carry_out_plainly(&acquire(4), NOW, &mut grant), Some(Ok(())));
    assert_eq!(grant.picked.as_slice(), [0]);
}

thread_local! {
    static SHORT: Cell<[u32; 2]> = const { Cell::new([0; 2]) };
}

#[derive(Clone, Copy, Debug)]
struct Step {
    who: u8,
    call: u8,
    bits: [u8; 6],
    seconds: i64,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a step asks, of one account up to three, or says of an operation.
fn plan(step: Step, host: bool, now: Timestamp) -> Plan {
    let Step { who, call, bits: [a, b, c, d, e, f], .. } = step;
    let op = if host { OpId::host(&format!("call-{call}")).unwrap() } else { OpId::at(Timestamp::MAX, call.into()) };
    let mut plan = Plan::new(Timestamp::MIN);
    let accounts = if a % 8 > 4 && e % 2 == 0 { 3 } else { 1 + usize::from(e % 3) };
    for place in 0..accounts {
        plan = plan.named(subject(NAMES[(usize::from(who) + place) % NAMES.len()]));
    }
    plan = if f % 4 == 1 { plan.under(op) } else { plan.of(op) };
    plan.life = Length::from_secs(20 + i64::from(d % 8) * 20).unwrap();
    plan.context = context().filter(|_| f % 2 == 0);
    plan.used = used().filter(|_| f % 8 > 4);
    let take = |place: u32, bits: u8| {
        let account = (place + u32::from(e / 4)) % u32::try_from(accounts).unwrap();
        let shape = if d > 252 { 3 } else { (place + account + u32::from(who)) % 3 };
        let rule = Rule {
            generation: u32::from(d == 0),
            cap: [Cap::Unlimited, Cap::At(Amount::new(12)), Cap::At(Amount::new(9))][usize::from(bits % 16).min(2)],
            firm: if bits % 5 == 0 { Firm::Soft } else { Firm::Hard },
            on_expiry: if bits % 3 == 0 { OnExpiry::Charge } else { OnExpiry::Release },
            audit: if bits % 8 == 1 { Audit::Rows } else { Audit::None },
            ..rule(1 + place, kernel(shape, now))
        };
        let amount = Amount::new(u32::from(bits) % 5);
        let ask = if bits % 7 == 0 { Ask::Assumed(amount) } else { Ask::Exact(amount) };
        let act = if bits % 11 == 0 { Act::Charge } else { Act::Hold };
        Take { account: u16::try_from(account).unwrap(), rule, ask, act }
    };
    let takes = [b, c, b ^ c].into_iter().zip(0..).take(1 + usize::from(a) % 3);
    let used = |meter, bits: u8| (MeterId(meter), Amount::new(u32::from(bits) % 7));
    let actual = [used(1, b), used(2, c), used(3, d)].into_iter().take(usize::from(a / 2) % 4).collect();
    let only = [None, None, None, Some(0), Some(1)][usize::from(a / 8) % 5];
    match a % 8 {
        0..=2 => takes.fold(plan, |plan, (bits, place)| plan.take(take(place, bits))),
        3 => {
            let way = |account: u16, bits: u8| {
                let firm = if bits % 2 == 0 { Firm::Hard } else { Firm::Soft };
                let ready = [Ready { account, probe: Length::MINUTE, firm }].into_iter().take(usize::from(bits % 3));
                let takes = [(3, bits), (4, bits / 3)].map(|(place, bits)| Take { account, ..take(place, bits) });
                let takes = takes.into_iter().take(usize::from(bits % 4)).collect();
                let key = (bits % 5 == 0).then(|| format!("k{account}").parse().unwrap());
                Alternative { ready: ready.collect(), takes, key }
            };
            let ways = [b, c, d ^ c, b ^ d].into_iter().zip(0..).take(accounts);
            let pick = Pick { alternatives: ways.map(|(bits, account)| way(account, bits)).collect() };
            takes.take(usize::from(e) % 2).fold(plan, |plan, (bits, place)| plan.take(take(place, bits))).pick(pick)
        }
        4 => plan.report(Report::Health {
            account: 0,
            report: [pool::Report::Disable, pool::Report::Enable][usize::from(b % 2)],
        }),
        5 => match b % 4 {
            0 => plan.report(Report::Extend { life: Length::from_secs(1 + i64::from(c)).unwrap() }),
            _ => plan.report(Report::Release { account: only }),
        },
        _ => plan.report(Report::Settle { account: only, actual }),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3_u8, 0..6_u8, any::<[u8; 6]>(), 0_i64..12);
    prop::collection::vec(step.prop_map(|(who, call, bits, seconds)| Step { who, call, bits, seconds }), 1..80)
}

#[test]
fn the_short_way_leads_to_where_the_long_one_does() {
    let cases = if cfg!(miri) { 4 } else { 600 };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in steps(), host: bool)| {
        let new = || MemoryStore::builder().shards(2).build().unwrap();
        let (short, mut long) = (new(), new());
        // So that an idle account goes when it does in the other.
        long.hash = short.hash.clone();
        let mut now = Timestamp::from_secs(1_800_000_000).unwrap();
        for step in steps {
            now = now.saturating_add(Length::from_secs(step.seconds.max(1)).unwrap());
            let plan = plan(step, host, now);
            let mut grant = Grant::default();
            let went = short.carry_out_plainly(&plan, now, &mut grant);
            let place = usize::from(went.is_some());
            SHORT.with(|seen| {
                let mut counts = seen.get();
                counts[place] += 1;
                seen.set(counts);
            });
            let is = match went {
                Some(Ok(())) => crate::plan::Verdict::Granted(grant),
                Some(Err(denial)) => crate::plan::Verdict::Denied(*denial),
                None => short.carry_out(&plan, now, Due::MOST, &mut 0).unwrap(),
            };
            let should = long.carry_out(&plan, now, Due::MOST, &mut 0).unwrap();
            prop_assert_eq!(is, should, "{:?}", plan);
            for name in NAMES {
                let of = subject(name);
                prop_assert_eq!(short.account(&of).unwrap(), long.account(&of).unwrap(), "{:?}", plan);
            }
            let parts = |store: &MemoryStore, of| store.parts(&of, None, 100).unwrap();
            let of = || PartsOf::Op(plan.hold.clone().unwrap());
            prop_assert_eq!(parts(&short, of()), parts(&long, of()));
            prop_assert_eq!(parts(&short, PartsOf::Open), parts(&long, PartsOf::Open));
            let rows = |store: &MemoryStore| store.rows(&Filter::default(), 0, 1_000).unwrap();
            prop_assert_eq!(rows(&short), rows(&long));
        }
        let most = steps_end();
        prop_assert_eq!(short.sweep(most, 1_000).unwrap(), long.sweep(most, 1_000).unwrap());
        prop_assert_eq!(short.parts(&PartsOf::Open, None, 100).unwrap(), vec![]);
    });
    let [long, short] = SHORT.with(Cell::get);
    assert!(short > long / 20, "enough of them go the short way to tell: {short} of {}", short + long);
}

/// When all that the steps held has expired.
fn steps_end() -> Timestamp {
    Timestamp::from_secs(1_900_000_000).unwrap()
}
