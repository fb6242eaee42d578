//! Policies as data in dry runs: pools without secrets, prices, and reports as data.

use keyward::policy::Policy;
use keyward::trial::{Entry, Log, Money, Trial, compare};
use keyward::{Class, Timestamp, Usage, Usd};

use super::{at, call, run};

fn trial(text: &str) -> Trial {
    let policy: Policy = toml::from_str(text).unwrap();
    Trial::of_policy(&policy).unwrap()
}

/// Two keys at two requests a minute each: the fifth call finds none, nobody has to know the secrets.
#[test]
fn pools_are_tried_without_their_secrets() {
    let trial = trial(
        r#"
        [[pools]]
        name = "main"
        keys = ["env:NOBODY_SET_THIS_ONE", { secret = "file:/nowhere/at/all", id = "spare" }]
        limits = [{ limit = "2 requests / 1m", shape = "fixed" }]
        "#,
    );
    let ask = |from| {
        let mut call = call("a", from, 1);
        call.pool = Some("main".into());
        call
    };
    let report = run(trial, (0..6).map(ask).chain([ask(60)]));
    assert_eq!((report.granted, report.refused), (5, 2));
    assert_eq!((report.pools[0].pool.as_str(), report.pools[0].refused, report.pools[0].first), ("main", 2, at(4)));
    assert!(report.to_string().contains("pool main"), "{report}");
}

/// A key that answered with a rate limit cools, in the pool of the trial and in no other.
#[test]
fn outcomes_of_the_log_cool_the_keys_of_the_trial_and_no_others() {
    let pool = keyward::Pool::builder("main").text("sk-one-0123456789").build().unwrap();
    let ask = |from, outcome| {
        let mut call = call("a", from, 1);
        (call.pool, call.outcome) = (Some("main".into()), Some(outcome));
        call
    };
    let log: Log =
        [ask(0, Class::QuotaExhausted), ask(10, Class::Success), ask(86_400, Class::Success)].into_iter().collect();
    let trial = Trial::new().pool(pool.clone()).listing(9);
    for _ in 0..2 {
        let report = trial.run(&log).unwrap();
        assert_eq!((report.granted, report.refusals[0].number), (2, 2));
    }
    let keeper = keyward::Keeper::builder().pool(pool).build().unwrap();
    assert!(keeper.acquire(&keyward::Call::new().pool("main")).unwrap().granted().is_some());
}

#[test]
fn random_orders_and_jitter_come_out_the_same_each_time() {
    let policy = r#"
        limits = ["3 requests / 1m by upstream"]
        [[pools]]
        name = "main"
        keys = ["env:A", "env:B", "env:C", "env:D", "env:E"]
        strategy = "random"
        cooling = { jitter = 900 }
        "#;
    let ask = |number: i64| {
        let mut call = call("a", number, 3);
        call.pool = Some("main".into());
        call.outcome = Some(if number % 3 == 0 { Class::RateLimited } else { Class::Success });
        call
    };
    let log: Log = (0..80).map(ask).collect();
    let reports = [0; 5].map(|_| trial(policy).listing(80).run(&log).unwrap());
    assert!(reports[0].refused > 0 && reports[0].granted > 10, "{}", reports[0]);
    for report in &reports {
        assert_eq!(report, &reports[0]);
    }
}

/// 1,000 tokens at 2 dollars for a million are 0.2 cents. The log says that they cost a dollar.
#[test]
fn a_log_is_tried_by_its_own_money_or_by_that_of_the_policy() {
    let text = r#"
        limits = ["1 USD / day by key"]
        [[prices]]
        model = "gpt-x"
        input = "2"
        "#;
    let ask = |from, model: &str| {
        let used = Usage::new().input(1_000).usd(Usd::dollars(1));
        call("a", from, 1).with("model", model).estimate(used.clone()).used(used)
    };
    let log: Log = [ask(0, "gpt-x"), ask(10, "gpt-x"), ask(20, "other")].into_iter().collect();
    assert_eq!(trial(text).run(&log).unwrap().granted, 1);
    let report = trial(text).money(Money::OfThePolicy).listing(5).run(&log).unwrap();
    // The other model has no price, so that the log's dollar holds, which does not fit beside 0.4 cents.
    assert_eq!((report.granted, report.refusals[0].number), (2, 3));
    assert_eq!(report.limits[0].peak.as_ref().unwrap().used, Usd::micros(4_000).into());
    // Without money in the log, the policy's prices say it.
    let plain: Log = log
        .entries()
        .iter()
        .map(|entry| {
            let mut entry = entry.clone();
            entry.estimate.usd = None;
            entry.usage.as_mut().unwrap().usd = None;
            entry
        })
        .take(2)
        .collect();
    assert_eq!(trial(text).run(&plain).unwrap().limits[0].peak.as_ref().unwrap().used, Usd::micros(4_000).into());
}

#[test]
fn a_report_and_a_comparison_are_data() {
    let log: Log = (0..3).map(|from| Entry::new(at(from)).with("key", "a")).collect();
    let compared = compare(&Trial::new(), &trial("limits = ['2 requests / 1m by key']").listing(1), &log).unwrap();
    let json = serde_json::to_value(&compared).unwrap();
    assert_eq!(json["after"]["limits"][0]["refused"], 1);
    assert_eq!(json["after"]["limits"][0]["subjects"][0]["subject"], "key=a");
    assert_eq!(json["refusals"][0]["denial"]["blockers"][0]["limit"], "requests per 1m by key");
    assert_eq!(json["whom"][0]["refused"], 1);
    assert_eq!(json["before"]["from"], Timestamp::as_micros(at(0)));
}
