use proptest::prelude::*;

use super::*;
use crate::account::{Kind, MeterRow, Row, RowEntry, UsageRow};
use crate::usage::Class;

fn instant() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_micros)
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![0..300_i64, 0..=i64::MAX].prop_map(|units| Amount::from_i64(units).unwrap())
}

fn length() -> impl Strategy<Value = Length> {
    (2_000..=i64::MAX).prop_map(|micros| Length::from_micros(micros).unwrap())
}

fn state() -> impl Strategy<Value = State> {
    (any::<i64>(), 0..=i64::MAX, any::<i64>()).prop_map(|(a, b, c)| State::from_parts([a, b, c]).unwrap())
}

fn refill() -> impl Strategy<Value = Refill> {
    let every = prop_oneof![Just(Every::Day), (1..=31_u8).prop_map(|day| Every::Month { day })];
    let policy = prop_oneof![
        Just(RefillPolicy::Set),
        Just(RefillPolicy::Add),
        amount().prop_map(|most| RefillPolicy::AddCapped { most })
    ];
    (amount(), every, policy).prop_map(|(amount, every, policy)| Refill { amount, every, policy })
}

fn health() -> impl Strategy<Value = Health> {
    let cause = prop_oneof![Just(Cause::RateLimited), Just(Cause::ByHand), Just(Cause::Transient)];
    let source = prop_oneof![Just(Source::Guessed), Just(Source::Read), Just(Source::Stated)];
    let block = (cause, instant(), source).prop_map(|(cause, until, source)| Block { cause, until, source });
    let probe = (any::<u128>(), instant(), instant());
    let probe = probe.prop_map(|(n, began, until)| Probe { op: OpId::at(began, n), began, until });
    let instants = proptest::array::uniform5(proptest::option::of(instant()));
    let window = ("\\PC{0,9}", any::<(Option<u64>, Option<u64>)>(), proptest::option::of(instant()));
    let window =
        window.prop_map(|(name, (limit, remaining), resets)| ProviderWindow { name, limit, remaining, resets });
    let text = || proptest::option::of("\\PC{0,9}");
    let notes = (text(), text(), proptest::collection::vec(window, 0..3));
    let notes = notes.prop_map(|(name, error, windows)| Notes { name, error, windows });
    (proptest::option::of(block), proptest::option::of(probe), any::<(u32, u64, u64)>(), instants, notes).prop_map(
        |(block, probe, (failures, uses, limited), [disabled, failed, renewed, last_used, last_limited], notes)| {
            Health { block, probe, failures, uses, limited, disabled, failed, renewed, last_used, last_limited, notes }
        },
    )
}

fn counter() -> impl Strategy<Value = Counter> {
    prop_oneof![
        (instant(), instant(), amount(), amount())
            .prop_map(|(start, ends, spent, held)| Counter::Tally { tally: Tally { start, spent, held }, ends }),
        (length(), state(), amount()).prop_map(|(length, state, held)| Counter::Sliding { length, state, held }),
        (length(), instant(), proptest::collection::vec(0..1_000_i64, 0..9), amount()).prop_map(
            |(length, end, counts, held)| {
                let counts = counts.into_iter().map(|units| Amount::from_i64(units).unwrap()).collect();
                let ring = Ring::from_counts(end, counts).unwrap();
                Counter::Rolling { slices: Slices::new(length, 8).unwrap(), ring, held }
            }
        ),
        (length(), amount(), state(), amount()).prop_map(|(length, burst, state, held)| Counter::Leak {
            length,
            burst,
            state,
            held
        }),
        (proptest::option::of(any::<i64>()), amount(), any::<u32>(), proptest::option::of(refill()), any::<i64>())
            .prop_map(|(units, held, epoch, refill, covered)| Counter::Balance(Balance {
                units,
                held,
                epoch,
                refill,
                covered
            })),
        health().prop_map(|health| Counter::Health(Box::new(health))),
    ]
}

fn account() -> impl Strategy<Value = Account> {
    let cap = prop_oneof![Just(Cap::Unlimited), amount().prop_map(Cap::At)];
    let audit = prop_oneof![Just(Audit::Rows), Just(Audit::None)];
    let meter = (any::<(u32, u32, u32, u16)>(), cap, audit, counter());
    let meter = meter.prop_map(|((id, generation, epoch, claimed), cap, audit, counter)| Meter {
        id: MeterId(id),
        generation,
        epoch,
        claimed,
        cap,
        audit,
        counter,
    });
    (proptest::collection::vec(meter, 0..6), any::<u32>(), instant(), instant()).prop_map(
        |(meters, open, earliest, latest)| {
            let (earliest, latest) = if open > 0 { (earliest, latest) } else { (Timestamp::MAX, Timestamp::MIN) };
            Account { meters, open, earliest, latest }
        },
    )
}

fn part() -> impl Strategy<Value = Part> {
    let on_expiry = prop_oneof![Just(OnExpiry::Charge), Just(OnExpiry::Release)];
    let audit = prop_oneof![Just(Audit::Rows), Just(Audit::None)];
    let entry = (any::<(u32, u32)>(), instant(), amount(), on_expiry, audit);
    let entry = entry.prop_map(|((meter, epoch), mark, amount, on_expiry, audit)| Entry {
        meter: MeterId(meter),
        epoch,
        mark,
        amount,
        on_expiry,
        audit,
    });
    let how = prop_oneof![Just(How::Settled), Just(How::Released), Just(How::Expired)];
    let tags = proptest::collection::vec(("\\PC{0,9}", "\\PC{0,9}"), 0..3);
    let context = (tags, proptest::option::of("[a-z]{1,9}"), any::<(Option<u64>, Option<u64>)>());
    let context = context.prop_map(|(tags, key, (input, output))| {
        let mut estimate = Usage::new().extra("pages", 7);
        (estimate.input, estimate.output) = (input, output);
        let subject = Subject::of([("key", "alice")]).unwrap();
        Arc::new(Context { subject, tags, client: None, key: key.map(|key| key.parse().unwrap()), estimate })
    });
    (
        (any::<u128>(), any::<u16>(), instant(), instant(), prop_oneof![Just(0), any::<u16>()]),
        proptest::option::of((how, instant())),
        proptest::collection::vec(entry, 0..6),
        proptest::option::of(context),
    )
        .prop_map(|((n, sequence, taken, expires, amended), end, entries, context)| Part {
            op: OpId::at(taken, n),
            account: Subject::of([("team", "red")]).unwrap(),
            sequence,
            taken,
            expires,
            end,
            entries: entries.into(),
            context,
            amended,
        })
}

proptest! {
    #[test]
    fn an_account_reads_what_it_wrote(account in account()) {
        let mut bytes = Vec::new();
        account.encode(&mut bytes);
        prop_assert_eq!(Account::decode(&bytes).unwrap(), account);
    }

    #[test]
    fn a_part_reads_what_it_wrote(part in part()) {
        let mut bytes = Vec::new();
        part.encode(&mut bytes);
        let again = Part::decode(part.op.clone(), part.account.clone(), part.sequence, &bytes).unwrap();
        prop_assert_eq!(again, part);
    }

    #[test]
    fn bytes_that_were_cut_or_lengthened_are_damaged(account in account(), at: prop::sample::Index, more: u8) {
        let mut bytes = Vec::new();
        account.encode(&mut bytes);
        let cut = at.index(bytes.len());
        prop_assert!(Account::decode(&bytes[..cut]).unwrap_err().is_corrupt());
        bytes.push(more);
        prop_assert!(Account::decode(&bytes).unwrap_err().is_corrupt());
    }

    #[test]
    fn no_bytes_panic_or_ask_for_the_memory_that_they_claim(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Account::decode(&bytes);
        let _ = Account::decode(&[&[VERSION], bytes.as_slice()].concat());
        let _ = Part::decode(OpId::at(Timestamp::EPOCH, 0), Subject::everyone(), 0, &[&[VERSION], bytes.as_slice()].concat());
    }

    #[test]
    fn flipped_bits_never_panic(account in account(), at: prop::sample::Index, bit in 0..8_u8) {
        let mut bytes = Vec::new();
        account.encode(&mut bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = Account::decode(&bytes);
    }
}

#[test]
fn a_newer_version_says_so() {
    let error = Account::decode(&[VERSION + 1, 0, 0]).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("version 2 is unknown"), "{error}");
}

#[test]
fn an_account_of_four_limits_takes_less_than_a_hundred_bytes() {
    let meter = |id| Meter {
        id: MeterId(id),
        generation: 0,
        epoch: 0,
        claimed: 0,
        cap: Cap::At(Amount::new(60)),
        audit: Audit::None,
        counter: Counter::Sliding {
            length: Length::MINUTE,
            state: State::from_parts([1_800_000_000_000_000, 12, 30]).unwrap(),
            held: Amount::ZERO,
        },
    };
    let account = Account { meters: (1..=4).map(meter).collect(), ..Account::default() };
    let mut bytes = Vec::new();
    account.encode(&mut bytes);
    assert!(bytes.len() < 100, "{}", bytes.len());
}

fn row() -> impl Strategy<Value = Row> {
    let kinds = [
        Kind::Settle,
        Kind::Charge,
        Kind::Expire,
        Kind::Adjust,
        Kind::Record,
        Kind::Set,
        Kind::Credit,
        Kind::Debit,
        Kind::Refill,
        Kind::Reset,
    ];
    let classes = [Class::Success, Class::RateLimited, Class::CallersFault, Class::NoVerdict];
    let outcome = proptest::option::of(prop::sample::select(classes.to_vec()));
    let usage = (prop::sample::select(kinds.to_vec()), part(), any::<(u64, Option<u64>)>(), outcome).prop_map(
        |(kind, part, (input, output), outcome)| {
            let mut usage = Usage::new().input(input);
            usage.output = output;
            let instead_of = output.map(|output| Usage::new().output(output));
            RowEntry::Usage(UsageRow { kind, context: part.context, usage, instead_of, outcome })
        },
    );
    let account = || Subject::of([("key", "alice"), ("team", "a,b=c%")]).unwrap();
    let numbers = || (any::<(u32, u32, u16, i64)>(), instant());
    let meter = (prop::sample::select(kinds.to_vec()), numbers()).prop_map(
        move |(kind, ((meter, epoch, sequence, spent), window))| {
            let meter = MeterId(meter);
            RowEntry::Meter(MeterRow {
                kind,
                account: account(),
                meter,
                window,
                epoch,
                sequence: u32::from(sequence) << (epoch % 17),
                spent,
            })
        },
    );
    let alert = (numbers(), amount()).prop_map(move |(((meter, _, percent, _), window), spent)| RowEntry::Alert {
        account: account(),
        meter: MeterId(meter),
        window,
        percent,
        spent,
        cap: Cap::At(spent),
    });
    let entry = prop_oneof![usage, meter, alert, Just(RowEntry::Forgotten { account: Subject::everyone() })];
    (entry, instant(), proptest::option::of(any::<u128>())).prop_map(|(entry, at, op)| Row {
        at,
        op: op.map(|n| OpId::at(Timestamp::EPOCH, n)),
        entry,
    })
}

proptest! {
    #[test]
    fn a_row_reads_what_it_wrote(row in row(), at: prop::sample::Index) {
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        let cut = at.index(bytes.len());
        prop_assert!(Row::decode(row.at, row.op.clone(), &bytes[..cut]).unwrap_err().is_corrupt());
        prop_assert_eq!(Row::decode(row.at, row.op.clone(), &bytes).unwrap(), row);
    }
}
