//! Whatever a plan and a state say, deciding ends with a verdict, and says the same of them once they were written and
//! read again.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use keyward::account::{Account, Audit, Context, Counter, Entry, How, Meter, MeterId, OnExpiry, Part};
use keyward::budget::Tally;
use keyward::plan::{
    Act, Adopt, Alternative, Answer, Ask, BalanceChange, Counters, Due, Firm, Grant, Kernel, LimitRecord, Loaded, Pick,
    Place, Plan, Ready, Report, Rule, State, Take, Used, Verdict, decide,
};
use keyward::pool::{self, Block, Cause, Health, Ladder, Probe, Source, Until};
use keyward::quota::{Balance, Civil, Every, Patch, Refill, RefillPolicy};
use keyward::window::{FirstUse, Follow, Ring, Slices, Window};
use keyward::{Amount, Cap, Length, OpId, Subject, Timestamp, Usage, limiter};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn number() -> BoxedStrategy<i64> {
    prop_oneof![4 => -3..100_i64, 1 => any::<i64>(), 1 => Just(i64::MAX), 1 => Just(i64::MIN), 1 => Just(i64::MAX - 1)]
        .boxed()
}

fn amount() -> BoxedStrategy<Amount> {
    number().prop_map(|n| Amount::from_i64(n).unwrap_or(Amount::MAX)).boxed()
}

fn instant() -> BoxedStrategy<Timestamp> {
    number().prop_map(Timestamp::from_micros).boxed()
}

fn length() -> BoxedStrategy<Length> {
    number().prop_map(|n| Length::from_micros(n).unwrap_or(Length::MAX)).boxed()
}

fn cap() -> BoxedStrategy<Cap> {
    prop_oneof![1 => Just(Cap::Unlimited), 4 => amount().prop_map(Cap::At)].boxed()
}

fn subject() -> BoxedStrategy<Subject> {
    let few = ["", "key=a", "key=b", "team=c"].map(|text| text.parse::<Subject>().unwrap());
    prop::sample::select(few.to_vec()).boxed()
}

fn op() -> BoxedStrategy<OpId> {
    prop_oneof![
        prop::sample::select(vec!["a", "b"]).prop_map(|text| OpId::host(text).unwrap()),
        instant().prop_map(|at| OpId::at(at, 1)),
    ]
    .boxed()
}

fn meter_id() -> BoxedStrategy<MeterId> {
    prop_oneof![4 => 1..4_u32, 1 => Just(0), 1 => Just(u32::MAX)].prop_map(MeterId).boxed()
}

fn civil() -> BoxedStrategy<Civil> {
    (number(), number(), any::<u8>(), any::<u8>())
        .prop_map(|(day, month, day_of_month, month_length)| Civil { day, month, day_of_month, month_length })
        .boxed()
}

fn refill() -> BoxedStrategy<Refill> {
    let policy = prop_oneof![
        Just(RefillPolicy::Set),
        Just(RefillPolicy::Add),
        amount().prop_map(|most| RefillPolicy::AddCapped { most })
    ];
    let every = prop_oneof![Just(Every::Day), any::<u8>().prop_map(|day| Every::Month { day })];
    (amount(), every, policy).prop_map(|(amount, every, policy)| Refill { amount, every, policy }).boxed()
}

fn slices() -> BoxedStrategy<Slices> {
    (length(), 1..40_u16)
        .prop_map(|(length, n)| Slices::new(length, n).unwrap_or(Slices::new(Length::MAX, n).unwrap()))
        .boxed()
}

fn kernel() -> BoxedStrategy<Kernel> {
    prop_oneof![
        (instant(), instant()).prop_map(|(a, b)| Kernel::Tumble { window: Window { start: a.min(b), end: a.max(b) } }),
        (length(), of(instant()), any::<bool>()).prop_map(|(length, until, steps)| {
            let follow = if steps { Follow::InSteps } else { Follow::OnUse };
            Kernel::FirstUse(FirstUse { until, follow, ..FirstUse::new(length) })
        }),
        length().prop_map(|length| Kernel::Sliding { length }),
        slices().prop_map(Kernel::Rolling),
        (length(), amount()).prop_map(|(length, burst)| Kernel::Leak { length, burst }),
        (civil(), of(refill())).prop_map(|(today, refill)| Kernel::Balance { today, refill }),
    ]
    .boxed()
}

fn firm() -> BoxedStrategy<Firm> {
    prop_oneof![3 => Just(Firm::Hard), 1 => Just(Firm::Soft)].boxed()
}

fn audit() -> BoxedStrategy<Audit> {
    prop_oneof![Just(Audit::Rows), Just(Audit::None)].boxed()
}

fn on_expiry() -> BoxedStrategy<OnExpiry> {
    prop_oneof![Just(OnExpiry::Charge), Just(OnExpiry::Release)].boxed()
}

fn rule() -> BoxedStrategy<Rule> {
    (meter_id(), 0..3_u32, cap(), kernel(), firm(), on_expiry(), audit())
        .prop_map(|(meter, generation, cap, kernel, firm, on_expiry, audit)| Rule {
            meter,
            generation,
            cap,
            kernel,
            firm,
            on_expiry,
            audit,
        })
        .boxed()
}

/// One of the accounts, or one that nobody named.
fn place() -> BoxedStrategy<u16> {
    prop_oneof![9 => 0..3_u16, 1 => any::<u16>()].boxed()
}

fn take() -> BoxedStrategy<Take> {
    (place(), rule(), amount(), any::<bool>(), any::<bool>())
        .prop_map(|(account, rule, n, assumed, holds)| Take {
            account,
            rule,
            ask: if assumed { Ask::Assumed(n) } else { Ask::Exact(n) },
            act: if holds { Act::Hold } else { Act::Charge },
        })
        .boxed()
}

fn health_report() -> BoxedStrategy<pool::Report> {
    let until = prop_oneof![
        instant().prop_map(|at| Until::At(at, Source::Read)),
        length().prop_map(Until::For),
        (length(), length()).prop_map(|(first, longest)| Until::Climb(Ladder { first, longest })),
        Just(Until::Changed),
    ];
    prop_oneof![
        (instant(), until).prop_map(|(began, until)| pool::Report::Failed { began, cause: Cause::RateLimited, until }),
        instant().prop_map(|began| pool::Report::Succeeded { began }),
        instant().prop_map(|began| pool::Report::Undecided { began }),
        Just(pool::Report::Clear),
        Just(pool::Report::Disable),
        Just(pool::Report::Enable),
        Just(pool::Report::Rotate),
    ]
    .boxed()
}

fn report() -> BoxedStrategy<Report> {
    let amounts = || vec((meter_id(), amount()), 0..3).prop_map(|of| of.into_iter().collect());
    let patch = (of(of(number())), of(of(refill()))).prop_map(|(units, refill)| Patch { units, refill });
    let change = prop_oneof![
        of(number()).prop_map(BalanceChange::Set),
        amount().prop_map(BalanceChange::Credit),
        amount().prop_map(BalanceChange::Debit),
        patch.prop_map(BalanceChange::Patch),
    ];
    prop_oneof![
        3 => (of(place()), amounts()).prop_map(|(account, actual)| Report::Settle { account, actual }),
        2 => of(place()).prop_map(|account| Report::Release { account }),
        1 => length().prop_map(|life| Report::Extend { life }),
        2 => amounts().prop_map(|to| Report::Raise { to }),
        1 => Just(Report::Expire),
        2 => amounts().prop_map(|more| Report::Record { more }),
        2 => (place(), rule(), change).prop_map(|(account, rule, change)| Report::Balance { account, rule, change }),
        1 => (place(), meter_id()).prop_map(|(account, meter)| Report::Reset { account, meter }),
        1 => (place(), meter_id(), instant(), any::<u8>(), any::<u16>()).prop_map(
            |(account, meter, window, bit, percent)| Report::Claim { account, meter, window, bit, percent }
        ),
        1 => (place(), health_report()).prop_map(|(account, report)| Report::Health { account, report }),
        1 => any::<bool>().prop_map(|change| Report::Adopt {
            limit: "limit".parse().unwrap(),
            schedule: String::new(),
            how: if change { Adopt::Change } else { Adopt::Start },
        }),
        1 => place().prop_map(|account| Report::Forget { account }),
    ]
    .boxed()
}

fn pick() -> BoxedStrategy<Pick> {
    let ready = (place(), length(), firm()).prop_map(|(account, probe, firm)| Ready { account, probe, firm });
    let alternative = (vec(ready, 0..2), vec(take(), 0..2)).prop_map(|(ready, takes)| Alternative {
        ready: ready.into_iter().collect(),
        takes: takes.into_iter().collect(),
        key: None,
    });
    prop_oneof![9 => vec(alternative.clone(), 0..3), 1 => vec(alternative, 9..10)]
        .prop_map(|alternatives| Pick { alternatives })
        .boxed()
}

fn context() -> BoxedStrategy<Option<Arc<Context>>> {
    of(subject().prop_map(|subject| {
        let tags = vec![(String::new(), "tag".to_owned())];
        Arc::new(Context { subject, tags, client: None, key: None, estimate: Usage::new().tokens(u64::MAX) })
    }))
    .boxed()
}

fn part() -> BoxedStrategy<Part> {
    let entry = (meter_id(), 0..3_u32, instant(), amount(), on_expiry(), audit()).prop_map(
        |(meter, epoch, mark, amount, on_expiry, audit)| Entry { meter, epoch, mark, amount, on_expiry, audit },
    );
    let end = of((prop::sample::select(vec![How::Settled, How::Released, How::Expired]), instant()));
    let sequence = prop_oneof![9 => 0..3_u16, 1 => Just(u16::MAX)];
    (op(), subject(), sequence, instant(), instant(), end, vec(entry, 0..4), context())
        .prop_map(|(op, account, sequence, taken, expires, end, entries, context)| Part {
            op,
            account,
            sequence,
            taken,
            expires,
            end,
            entries: entries.into_iter().collect(),
            context,
            amended: sequence / 2,
        })
        .boxed()
}

fn plan() -> BoxedStrategy<Plan> {
    let ids = (of(op()), of(op()), vec((prop::sample::select(vec!["", "x"]), "[ab]?"), 0..2));
    let times = (
        prop_oneof![3 => Just(Timestamp::MIN), 1 => instant()],
        prop_oneof![3 => Just(Timestamp::MAX), 1 => instant()],
    );
    let does = (vec(report(), 0..3), vec(take(), 0..4), vec(pick(), 0..2), any::<bool>());
    (ids, times, (length(), length()), vec(part(), 0..2), vec(subject(), 0..4), does, context())
        .prop_map(
            |(
                (op, hold, args),
                (from, until),
                (horizon, life),
                known,
                accounts,
                (reports, takes, picks, used),
                context,
            )| Plan {
                from,
                until,
                op,
                args: args.into_iter().map(|(field, value)| (field.into(), value)).collect(),
                horizon,
                hold,
                life,
                known,
                accounts: accounts.into_iter().map(|subject| Place { subject, hint: 0 }).collect(),
                reports: reports.into_iter().collect(),
                takes: takes.into_iter().collect(),
                picks,
                context,
                used: used.then(Used::default),
                relaxed: false,
            },
        )
        .boxed()
}

fn counter() -> BoxedStrategy<Counter> {
    let state = || {
        [number(), amount().prop_map(Amount::get).boxed(), number()]
            .prop_map(|parts| limiter::State::from_parts(parts).unwrap())
    };
    let ring = (slices(), vec((amount(), instant()), 0..3)).prop_map(|(slices, counts)| {
        let mut ring = Ring::default();
        for (n, at) in counts {
            let _ = ring.add(slices, n, at);
        }
        ring
    });
    let block = of((instant(), any::<bool>()).prop_map(|(until, sure)| {
        let source = if sure { Source::Stated } else { Source::Guessed };
        Block { cause: Cause::Overloaded, until, source }
    }));
    let probe = of((op(), instant(), instant()).prop_map(|(op, began, until)| Probe { op, began, until }));
    prop_oneof![
        (instant(), amount(), amount(), instant())
            .prop_map(|(start, spent, held, ends)| Counter::Tally { tally: Tally { start, spent, held }, ends }),
        (length(), state(), amount()).prop_map(|(length, state, held)| Counter::Sliding { length, state, held }),
        (slices(), ring, amount()).prop_map(|(slices, ring, held)| Counter::Rolling { slices, ring, held }),
        (length(), amount(), state(), amount()).prop_map(|(length, burst, state, held)| Counter::Leak {
            length,
            burst,
            state,
            held
        }),
        (of(number()), amount(), 0..3_u32, of(refill()), number()).prop_map(|(units, held, epoch, refill, covered)| {
            Counter::Balance(Balance { units, held, epoch, refill, covered })
        }),
        (of(instant()), block, probe, any::<u32>(), of(instant()), of(instant())).prop_map(
            |(disabled, block, probe, failures, failed, renewed)| {
                let uses = u64::MAX;
                Counter::Health(Box::new(Health {
                    disabled,
                    block,
                    probe,
                    failures,
                    failed,
                    renewed,
                    uses,
                    ..Health::default()
                }))
            }
        ),
    ]
    .boxed()
}

fn account() -> BoxedStrategy<Account> {
    let meter = (
        meter_id(),
        0..3_u32,
        prop_oneof![9 => 0..3_u32, 1 => Just(u32::MAX)],
        any::<u16>(),
        cap(),
        audit(),
        counter(),
    )
        .prop_map(|(id, generation, epoch, claimed, cap, audit, counter)| Meter {
            id,
            generation,
            epoch,
            claimed,
            cap,
            audit,
            counter,
        });
    (vec(meter, 0..4), 0..3_u32, instant(), instant())
        .prop_map(|(meters, open, earliest, latest)| Account { meters, open, earliest, latest })
        .boxed()
}

/// Accounts as the plan names them, or not.
fn state_for(plan: Plan) -> BoxedStrategy<(Plan, State)> {
    let due = (vec(part(), 0..3), of(instant())).prop_map(|(parts, next)| Due { parts, next });
    let more = vec(subject(), 0..2);
    let named: Vec<Subject> = plan.accounts.iter().map(|place| place.subject.clone()).collect();
    let answer = of((op(), vec(("x?", "[ab]?"), 0..2))).prop_map(|answer| {
        answer.map(|(op, args)| {
            let args = args.into_iter().map(|(field, value)| (field.into(), value)).collect();
            Answer { op, at: Timestamp::EPOCH, args, verdict: Verdict::Granted(Grant::default()) }
        })
    });
    let record = of((0..3_u32, instant()).prop_map(|(n, anchor)| LimitRecord {
        limit: "limit".parse().unwrap(),
        meter: MeterId(n),
        anchor,
        schedules: (0..n).map(|n| (n.wrapping_sub(1), "day".to_owned())).collect(),
    }));
    let missing = prop::bool::weighted(0.05);
    (
        more,
        vec((account(), due), 6),
        vec(part(), 0..4),
        prop::option::weighted(0.1, answer),
        record,
        missing,
        any::<u32>(),
    )
        .prop_map(move |(more, kept, parts, answer, record, missing, epoch)| {
            let mut state = State::default();
            let subjects = named.iter().cloned().chain(more).skip(usize::from(missing));
            state.accounts = subjects
                .zip(kept)
                .map(|(subject, (account, due))| Loaded { due, ..Loaded::new(subject, account) })
                .collect();
            state.parts = parts;
            state.answer = answer.flatten();
            state.limits = record.into_iter().collect();
            state.counters = Counters { limits: epoch, epoch };
            (plan.clone(), state)
        })
        .boxed()
}

fn cases() -> u32 {
    if std::env::var_os("KEYWARD_SOAK").is_some() { 500_000 } else { 2_000 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_on_every_state_has_a_verdict((plan, state) in plan().prop_flat_map(state_for), now in instant()) {
        let (mut first, mut again) = (state.clone(), state);
        let verdict = decide(&plan, &mut first, now);
        prop_assert_eq!(&verdict, &decide(&plan, &mut again, now));
        prop_assert_eq!(&first, &again);
        if let Verdict::Denied(_) = verdict {
            prop_assert_eq!(&first.changes.answer, &None);
        }
        prop_assert!(verdict.error(plan.op.as_ref()).is_none() || !verdict.is_saved());
        // What was decided on can itself be decided on, whatever became of it.
        first.saved();
        let _ = decide(&plan, &mut first, now);
    }
}

#[cfg(feature = "serde")]
proptest! {
    #![proptest_config(ProptestConfig { cases: cases() / 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_and_read_again_is_decided_in_the_same_way(
        (plan, state) in plan().prop_flat_map(state_for), now in instant(),
    ) {
        fn again<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
            serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
        }
        let (mut state, mut state_again) = (state.clone(), again(&state));
        prop_assert_eq!(&state, &state_again);
        let plan_again: Plan = again(&plan);
        prop_assert_eq!(&plan, &plan_again);
        let verdict = decide(&plan, &mut state, now);
        prop_assert_eq!(&verdict, &decide(&plan_again, &mut state_again, now));
        prop_assert_eq!(&verdict, &again(&verdict));
        prop_assert_eq!(&state.changes, &state_again.changes);
        prop_assert_eq!(&state, &state_again);
        prop_assert_eq!(&state, &again(&state));
    }
}
