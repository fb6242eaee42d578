//! Limits as people write them: what they are compiled to, and what is said of those that make no sense.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use keyward::account::{Act, Ask, Audit, Firm, Kernel, MeterId, OnExpiry};
use keyward::limit::{Compiled, Own, Shape, Weights};
use keyward::plan::{Plan, Take, Verdict};
use keyward::quota::{Every, Refill, RefillPolicy};
use keyward::window::{Calendar, FirstUse, TimeOfDay, Unit, Window, Zone};
use keyward::{Amount, Cap, Length, Limit, Measure, MemoryStore, OpId, Store, Subject, Timestamp, Usage, Usd, When};
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn kernel(limit: &Compiled, seen: &str, now: &str) -> Kernel {
    limit.rule(MeterId(1), 0, at(seen), &Own::default(), at(now)).kernel
}

fn window(limit: Limit, now: &str) -> String {
    match kernel(&limit.compile().unwrap(), "2026-01-10T12:00:00Z", now) {
        Kernel::Tumble { window } => window.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn an_amount_is_no_part_of_a_limits_identity_and_everything_else_is() {
    let id = |limit: Limit| limit.compile().unwrap().id().to_string();
    let base = id(Limit::requests(60).per_minute().by("key"));
    assert_eq!(base, "requests per 1m by key");
    assert_eq!(id(Limit::requests(61).per("60s").by("key")), base);
    for other in [
        Limit::tokens(60).per_minute().by("key"),
        Limit::requests(60).per_hour().by("key"),
        Limit::requests(60).per_minute().fixed().by("key"),
        Limit::requests(60).per_minute().by("team"),
        Limit::requests(60).per_minute().by("key").by("model"),
        Limit::requests(60).per_minute().by("key").when("provider", "openai"),
    ] {
        assert_ne!(id(other), base);
    }
    let named = |n, unit| id(Limit::requests(n).per(unit).named("burst"));
    assert_eq!(named(1, "1h"), named(2, "day"));
    let pair = |a, b| id(Limit::requests(1).per_day().by(a).by(b));
    assert_eq!(pair("key", "model"), pair("model", "key"));
}

#[test]
fn a_limit_that_makes_no_sense_is_refused_by_its_field() {
    let refill = Refill { amount: Amount::ONE, every: Every::Month { day: 32 }, policy: RefillPolicy::Set };
    let refused = [
        (Limit::requests(60).by("key"), "limit.window"),
        (Limit::requests(u64::MAX).per_minute(), "limit.amount"),
        (Limit::custom("Pages", 1).per_minute(), "limit.measure"),
        (Limit::custom("usd", 1).per_minute(), "limit.measure"),
        (Limit::requests(1).per("0h"), "limit.window"),
        (Limit::requests(1).per("1M"), "limit.window"),
        (Limit::requests(1).per("9999999999999999999d"), "limit.window"),
        (Limit::requests(1).per_days(0), "limit.window"),
        (Limit::requests(1).per_day().fixed(), "limit.window"),
        (Limit::requests(1).lifetime().gcra(5), "limit.window"),
        (Limit::requests(1).per_minute().gcra(0), "limit.burst"),
        (Limit::requests(1).per_minute().rolling(0), "limit.buckets"),
        (Limit::requests(1).per_minute().zone(Zone::UTC), "limit.zone"),
        (Limit::requests(1).per_minute().refill(refill), "limit.refill"),
        (Limit::credits(1).refill(refill), "limit.refill.day"),
        (Limit::slots(1).per_minute(), "limit.window"),
        (Limit::requests(1).per_minute().by("Key"), "limit.by"),
        (Limit::requests(1).per_minute().by("key").by("key"), "limit.by"),
        (Limit::requests(1).per_minute().by("key").when("key", "alice"), "limit.when"),
        (Limit::requests(1).per_minute().when("key", ""), "limit.when.key.value"),
        (Limit::requests(1).per_minute().named("a\nb"), "limit.name.limit"),
        (Limit::requests(1).per_minute().assume(u64::MAX), "limit.assume"),
        (Limit::requests(1).per_minute().weights(Weights { output: 5_000, ..Weights::default() }), "limit.weights"),
        (Limit::usd(Usd::cents(5)).per_minute().alert_at_percent([80]), "limit.alert_at_percent"),
        (Limit::usd(Usd::cents(5)).per_day().alert_at_percent([0]), "limit.alert_at_percent"),
        (Limit::usd(Usd::cents(5)).per_day().alert_at_percent([1_001]), "limit.alert_at_percent"),
        (Limit::usd(Usd::cents(5)).per_day().alert_at_percent(1..18), "limit.alert_at_percent"),
    ];
    for (limit, field) in refused {
        let shown = format!("{limit:?}");
        let error = limit.compile().expect_err(&shown);
        assert_eq!(error.field(), Some(field), "{error}");
    }
}

/// LiteLLM reset a 48 h budget at the next midnight, and `24h` -> `1day`, the same length, reset aigetwey's spend.
#[test]
fn a_length_is_a_length_and_a_calendar_word_is_a_calendar_word() {
    let seen = "2026-01-10T12:00:00Z";
    assert_eq!(
        window(Limit::requests(1).per("48h"), "2026-01-12T11:59:59Z"),
        format!("{seen} to 2026-01-12T12:00:00Z")
    );
    assert_eq!(
        window(Limit::requests(1).per_day(), "2026-01-12T11:59:59Z"),
        "2026-01-12T00:00:00Z to 2026-01-13T00:00:00Z"
    );
    let schedule = |text| Limit::requests(1).per(text).compile().unwrap().schedule();
    assert_eq!(schedule("24h"), schedule("1day"));
    assert_eq!(schedule("7d"), schedule("1w"));
    assert_eq!(schedule("90m"), schedule("1h30m"));
    assert_ne!(schedule("24h"), schedule("day"));
    assert_ne!(schedule("30d"), schedule("month"));
}

#[test]
fn every_shape_is_compiled_to_its_kernel() {
    let now = "2026-03-08T05:30:00Z";
    let of = |limit: Limit| kernel(&limit.compile().unwrap(), "2026-01-01T00:00:00Z", now);
    let minute = Length::MINUTE;
    assert_eq!(of(Limit::requests(5).per_minute()), Kernel::Sliding { length: minute });
    assert_eq!(of(Limit::requests(5).per_minute().gcra(9)), Kernel::Leak { length: minute, burst: Amount::new(9) });
    assert!(matches!(of(Limit::requests(5).per_minute().rolling(6)), Kernel::Rolling(slices) if slices.n() == 6));
    assert_eq!(of(Limit::requests(5).lifetime()), Kernel::Tumble { window: Window::ALWAYS });
    assert_eq!(of(Limit::slots(5)), Kernel::Tumble { window: Window::ALWAYS });
    assert_eq!(of(Limit::credits(5)), Kernel::Balance { today: Zone::UTC.date(at(now)), refill: None });
    let first = FirstUse::new(Length::HOUR);
    assert_eq!(of(Limit::requests(5).per_first_use(first)), Kernel::FirstUse(first));
    let nine: TimeOfDay = "09:00".parse().unwrap();
    let calendar = Calendar::builder(Unit::Day).at(nine).zone("+01:00".parse().unwrap()).build().unwrap();
    assert_eq!(window(Limit::requests(5).per_calendar(calendar), now), "2026-03-07T08:00:00Z to 2026-03-08T08:00:00Z");
    assert_eq!(window(Limit::requests(5).per("10m").fixed(), now), "2026-03-08T05:30:00Z to 2026-03-08T05:40:00Z");
    let anchored = Limit::requests(5).per_days(7).anchored_at(at("2026-03-02T00:00:00Z"));
    assert_eq!(window(anchored, now), "2026-03-02T00:00:00Z to 2026-03-09T00:00:00Z");
}

#[test]
fn one_subjects_own_amount_anchor_and_end_replace_the_limits() {
    let limit = Limit::requests(5).per_days(7).compile().unwrap();
    let own = Own { cap: Some(Cap::Unlimited), anchor: Some(at("2026-01-05T00:00:00Z")), until: None };
    let rule = limit.rule(MeterId(7), 3, at("2026-01-01T00:00:00Z"), &own, at("2026-01-06T00:00:00Z"));
    assert_eq!((rule.meter, rule.generation, rule.cap), (MeterId(7), 3, Cap::Unlimited));
    assert!(matches!(rule.kernel, Kernel::Tumble { window } if window.start == at("2026-01-05T00:00:00Z")));
    let first = Limit::requests(5).per_first_use(FirstUse::new(Length::DAY)).compile().unwrap();
    let own = Own { until: Some(at("2026-02-01T00:00:00Z")), ..Own::default() };
    let rule = first.rule(MeterId(7), 0, at("2026-01-01T00:00:00Z"), &own, at("2026-01-06T00:00:00Z"));
    assert!(matches!(rule.kernel, Kernel::FirstUse(first) if first.until == own.until));
}

#[test]
fn money_and_credits_are_charged_on_expiry_and_proved_by_the_ledger_and_all_else_is_not() {
    let rule = |limit: Limit| {
        limit.compile().unwrap().rule(MeterId(1), 0, Timestamp::EPOCH, &Own::default(), Timestamp::EPOCH)
    };
    for money in [Limit::usd(Usd::cents(1)).per_day(), Limit::credits(1)] {
        let rule = rule(money);
        assert_eq!((rule.on_expiry, rule.audit), (OnExpiry::Charge, Audit::Rows));
    }
    for other in [Limit::requests(1).per_day(), Limit::tokens(1).per_day(), Limit::slots(1)] {
        let rule = rule(other);
        assert_eq!((rule.on_expiry, rule.audit), (OnExpiry::Release, Audit::None));
    }
    let chosen = rule(Limit::tokens(1).per_day().on_expiry(OnExpiry::Charge).audit(Audit::Rows).soft());
    assert_eq!((chosen.on_expiry, chosen.audit, chosen.firm), (OnExpiry::Charge, Audit::Rows, Firm::Soft));
}

#[test]
fn nobody_dodges_a_limit_by_leaving_a_dimension_out() {
    let of = |limit: Limit, call: &[(&'static str, &'static str)]| {
        let found = |name: &str| call.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        limit.compile().unwrap().subject(found).map(|subject| subject.map(|subject| subject.to_string()))
    };
    let base = || Limit::requests(1).per_minute();
    let call = [("key", "alice"), ("model", "a=b"), ("provider", "openai")];
    assert_eq!(of(base(), &call).unwrap(), Some(Subject::everyone().to_string()));
    assert_eq!(of(base().by("model").by("key"), &call).unwrap().as_deref(), Some("key=alice,model=a%3Db"));
    assert_eq!(of(base().by("key").when("provider", "openai"), &call).unwrap().as_deref(), Some("key=alice"));
    assert_eq!(of(base().by("key").when("provider", "other"), &call).unwrap(), None);
    assert_eq!(of(base().by("team").if_present(), &call).unwrap(), None);
    assert_eq!(of(base().when("team", "red").if_present(), &call).unwrap(), None);
    let error = of(base().by("team"), &call).unwrap_err();
    assert_eq!(error.field(), Some("call.team"));
    assert!(error.to_string().contains("requests per 1m by team"), "{error}");
    assert_eq!(of(base().when("team", "red"), &call).unwrap_err().field(), Some("call.team"));
}

#[test]
fn an_amount_that_nobody_stated_is_assumed_or_refused() {
    let ask = |limit: Limit, stated: Option<u32>| limit.compile().unwrap().ask(stated.map(Amount::new));
    let tokens = || Limit::tokens(10).per_minute();
    assert_eq!(ask(tokens(), Some(3)).unwrap(), Ask::Exact(Amount::new(3)));
    assert_eq!(ask(tokens(), None).unwrap_err().field(), Some("call.tokens"));
    assert_eq!(ask(tokens().assume(7), None).unwrap(), Ask::Assumed(Amount::new(7)));
    assert_eq!(ask(tokens().assume(7), Some(0)).unwrap(), Ask::Exact(Amount::ZERO));
    assert_eq!(ask(tokens().soft(), None).unwrap(), Ask::Exact(Amount::ZERO));
    assert_eq!(ask(Limit::requests(1).per_minute(), None).unwrap(), Ask::Exact(Amount::ONE));
    assert_eq!(ask(Limit::slots(1), None).unwrap(), Ask::Exact(Amount::ONE));
}

#[test]
fn tokens_count_by_their_weights_rounded_up_once() {
    let weights = Weights { cache_read: 100, output: 5_000, ..Weights::default() };
    let limit = Limit::tokens(1).per_minute().weights(weights).compile().unwrap();
    let used = |usage: Usage| limit.used(&usage).map(|amount| amount.map(Amount::get));
    assert_eq!(used(Usage::new().input(10).cache_read(11).output(2)).unwrap(), Some(10 + 2 + 10));
    assert_eq!(used(Usage::new().tokens(3)).unwrap(), Some(15));
    assert_eq!(used(Usage::new()).unwrap(), None);
    assert_eq!(used(Usage::new().output(u64::MAX)).unwrap_err().field(), Some("usage.tokens"));
    let slots = Limit::slots(1).compile().unwrap();
    assert_eq!(slots.used(&Usage::new()).unwrap(), Some(Amount::ZERO));
    assert_eq!(slots.measure(), &Measure::Slots);
}

#[test]
fn a_limit_reads_as_a_person_would_say_it() {
    for (limit, text) in [
        (Limit::requests(60).per_minute().by("key"), "60 requests per 1m by key"),
        (Limit::usd(Usd::cents(2_500)).per_days(30).by("team"), "$25.00 per 30d by team"),
        (Limit::tokens(5).unlimited().per_day(), "unlimited tokens per day at 00:00 UTC"),
        (Limit::slots(3).by("key").when("provider", "x"), "3 slots in all by key when provider=x"),
    ] {
        assert_eq!(limit.compile().unwrap().to_string(), text);
    }
    assert!(matches!(Limit::requests(1).per("monthly").compile().unwrap().shape(), Shape::Anchored(..)));
}

const ZONES: &[&str] = if cfg!(feature = "tz") {
    // Sao Paulo skips midnights, Havana and the Azores show some hours before midnight twice, Apia left out a day.
    &[
        "UTC",
        "+05:30",
        "-11:00",
        "Europe/Berlin",
        "America/Sao_Paulo",
        "America/Havana",
        "Atlantic/Azores",
        "Pacific/Apia",
    ]
} else {
    &["UTC", "+05:30", "-11:00"]
};

proptest! {
    /// A refused balance named the end of its holds, or nothing, when the next midnight of its zone would have let it pass.
    #[test]
    fn a_refused_balance_passes_at_the_midnight_that_is_named_and_not_a_microsecond_earlier(
        zone in prop::sample::select(ZONES),
        began in 1_100_000_000_i64..1_700_000_000,
        wait in 0_i64..400 * 86_400,
        (first, cost) in (0_u64..20, 1_u32..60),
        (amount, of_month) in (0_u32..30, prop::option::of(1_u8..=31)),
        policy in prop_oneof![
            Just(RefillPolicy::Set),
            Just(RefillPolicy::Add),
            (0_u32..70).prop_map(|most| RefillPolicy::AddCapped { most: Amount::new(most) }),
        ],
    ) {
        let every = of_month.map_or(Every::Day, |day| Every::Month { day });
        let refill = Refill { amount: Amount::new(amount), every, policy };
        let limit = Limit::credits(first).refill(refill).zone(zone.parse().unwrap()).compile().unwrap();
        let store = MemoryStore::builder().shards(1).build().unwrap();
        let ask = |amount: u32, now: Timestamp| {
            let rule = limit.rule(MeterId(1), 0, now, &Own::default(), now);
            let take = Take { account: 0, rule, ask: Ask::Exact(Amount::new(amount)), act: Act::Charge };
            store.apply(&Plan::new(now).named(Subject::everyone()).take(take), now).unwrap()
        };
        let began = Timestamp::from_secs(began).unwrap();
        prop_assert!(matches!(ask(0, began), Verdict::Granted(_)));
        let now = began.saturating_add(Length::from_secs(wait + 1).unwrap());
        if let Verdict::Denied(denial) = ask(cost, now) {
            prop_assert_eq!(denial.when, When::Never);
            match limit.when(&denial.blocked[0].short) {
                When::At(at) => {
                    prop_assert!(at > now);
                    let before = Timestamp::from_micros(at.as_micros() - 1);
                    prop_assert!(matches!(ask(cost, before), Verdict::Denied(_)), "a microsecond before {}", at);
                    prop_assert!(matches!(ask(cost, at), Verdict::Granted(_)), "at {}", at);
                }
                When::Never => {
                    let late = "9998-12-31T00:00:00Z".parse().unwrap();
                    prop_assert!(matches!(ask(cost, late), Verdict::Denied(_)), "when all refills have come");
                }
                freed @ When::WhenFreed { .. } => prop_assert!(false, "nothing is held: {freed:?}"),
            }
        }
    }
}

#[test]
fn what_is_held_may_let_a_balance_pass_before_its_refill_does() {
    let refill = Refill { amount: Amount::new(5), every: Every::Day, policy: RefillPolicy::Add };
    let limit = Limit::credits(10).refill(refill).compile().unwrap();
    let now = at("2026-01-10T12:00:00Z");
    let short = |need: u32, minutes: i64| {
        let store = MemoryStore::new();
        let rule = limit.rule(MeterId(1), 0, now, &Own::default(), now);
        let take = |amount| Take { account: 0, rule, ask: Ask::Exact(Amount::new(amount)), act: Act::Hold };
        let mut plan = Plan::new(now).named(Subject::everyone()).of(OpId::at(now, 1)).take(take(8));
        plan.life = Length::from_secs(60 * minutes).unwrap();
        assert!(matches!(store.apply(&plan, now).unwrap(), Verdict::Granted(_)));
        let more = Plan::new(now).named(Subject::everyone()).of(OpId::at(now, 2)).take(take(need));
        let Verdict::Denied(denial) = store.apply(&more, now).unwrap() else { unreachable!() };
        denial.blocked[0].short
    };
    let freed = |text| When::WhenFreed { latest: at(text) };
    assert_eq!(limit.when(&short(4, 15)), freed("2026-01-10T12:15:00Z"), "the hold ends first");
    assert_eq!(limit.when(&short(4, 24 * 60)), freed("2026-01-11T00:00:00Z"), "the refill comes first");
    assert_eq!(limit.when(&short(12, 15)), freed("2026-01-12T00:00:00Z"), "two refills, or one and what is held");
    let plain = Limit::credits(10).compile().unwrap();
    assert_eq!(plain.when(&short(12, 15)), freed("2026-01-12T00:00:00Z"), "the account's own refill counts");
}
