//! One call at a time: what the gateway does in the corners that a crowd does not show.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use gateway::app::App;
use gateway::client::{Client, text};
use gateway::fake::{self, End, Fake, Rules};
use gateway::setup::Setup;
use http_body_util::BodyExt;
use keyward::budgets::statuses;
use keyward::keys::Command;
use keyward::store::{Filter, sums, verify};
use keyward::{Clock, Length, ManualClock, MemoryStore, Timestamp};
use serde_json::json;

struct House {
    app: App,
    clock: ManualClock,
    fake: Fake,
    alice: Client,
}

/// The example's setup, over an upstream of which each so-manieth call fails.
async fn house(fails: u64, change: impl FnOnce(&mut Setup)) -> House {
    let clock = ManualClock::at("2026-03-08T09:30:00Z".parse::<Timestamp>().unwrap());
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let rules = Rules { calls: 1_000, seconds: 20, fails, word: Duration::ZERO };
    let fake = Fake::new(rules, Arc::clone(&shared));
    let mut setup = Setup::example(&fake::serve(fake.router()).await.unwrap()).unwrap();
    change(&mut setup);
    let app = App::new(&setup, Box::new(MemoryStore::new()), shared).unwrap();
    let base = fake::serve(app.router()).await.unwrap();
    House { app, clock, fake, alice: Client::new(&base, "kw_alice_0123456789") }
}

impl House {
    /// What alice has spent, in nano-dollars, by the counter and by the ledger.
    fn spent(&self) -> i64 {
        self.app.keeper().sweep().unwrap();
        assert_eq!(verify(self.app.keeper().store(), self.clock.now()).unwrap(), []);
        let keeper = self.app.keeper();
        let page = statuses(keeper.store(), &keeper.terms(), None, 100, self.clock.now()).unwrap();
        let budget = page.standings.iter().find(|standing| standing.limit.to_string() == "budget");
        let counter = budget.map_or(0, |budget| budget.status.spent.get());
        assert_eq!(sums(self.app.keeper().store(), &Filter::default()).unwrap().usd, counter.into());
        counter
    }
}

/// Of `small`: $1 for a million tokens in, $4 out.
fn price(input: i64, output: i64) -> i64 {
    (input + 4 * output) * 1_000
}

#[tokio::test]
async fn a_client_that_hangs_up_at_the_last_word_pays_what_it_was_served() {
    let house = house(0, |_| ()).await;
    for n in 1..=10 {
        let mut answer = house.alice.chat("small", "say 3", 1_000).await.unwrap();
        let mut seen = String::new();
        while !seen.contains("[DONE]") {
            let frame = answer.body_mut().frame().await.unwrap().unwrap();
            seen.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        drop(answer);
        assert_eq!(house.spent(), n * price(2, 3));
    }
}

#[tokio::test]
async fn an_answer_that_does_not_stream_is_paid_all_the_same() {
    let house = house(0, |_| ()).await;
    let asked = json!({"model": "small", "messages": [{"role": "user", "content": "say 7"}]});
    let answer = house.alice.send(Method::POST, "/v1/chat/completions", Some(asked)).await.unwrap();
    assert!(text(answer).await.unwrap().contains("\"completion_tokens\":7"));
    assert_eq!(house.spent(), price(2, 7));
}

#[tokio::test]
async fn a_clients_own_mistake_is_told_costs_nothing_and_takes_no_key() {
    let house = house(0, |_| ()).await;
    let answer = house.alice.chat("small", "refuse", 100).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(text(answer).await.unwrap().contains("invalid_request_error"), "it is what the upstream says");
    assert_eq!(house.spent(), 0);
    assert_eq!(house.app.pool().available(house.app.keeper().store(), house.clock.now()).unwrap().len(), 2);
}

#[tokio::test]
async fn a_request_that_makes_no_sense_reaches_nobody() {
    let house = house(0, |_| ()).await;
    for (asked, status) in [
        (json!({"messages": []}), 400),
        (json!({"model": "small"}), 400),
        (json!({"model": "small", "messages": [], "max_tokens": "many"}), 400),
        (json!({"model": "small", "messages": [], "max_tokens": u64::MAX}), 400),
        (json!({"model": "nobody knows its price", "messages": []}), 400),
        (json!({"model": "small", "messages": [{"content": "x".repeat(2 << 20)}]}), 413),
    ] {
        let answer = house.alice.send(Method::POST, "/v1/chat/completions", Some(asked)).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    assert_eq!((house.fake.seen().len(), house.spent()), (0, 0));
}

#[tokio::test]
async fn an_upstream_that_fails_on_every_key_costs_nothing() {
    let house = house(1, |setup| setup.retries.first = "1ms".parse().unwrap()).await;
    let answer = house.alice.chat("small", "say 3", 100).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "60");
    let seen = house.fake.seen();
    assert_eq!(seen.len(), 6, "each key is tried again twice: {seen:?}");
    assert!(seen.iter().all(|seen| seen.end == End::Failed));
    assert_eq!(house.spent(), 0);
}

#[tokio::test]
async fn an_upstream_that_does_not_stop_is_stopped_when_the_money_is_gone() {
    // A tenth of a cent: the call fits as it is estimated, and not as it is answered.
    let house = house(0, |setup| {
        setup.limits = vec![keyward::Limit::usd(keyward::Usd::micros(100)).per_month().by("key").named("budget")];
    });
    let house = house.await;
    let body = text(house.alice.chat("small", "babble 5000", 20).await.unwrap()).await.unwrap();
    assert!(body.contains("budget_exceeded") && !body.contains("word5000 "), "{} bytes", body.len());
    let words = body.matches("word").count();
    assert!(house.spent() > 100_000, "what has come out is paid, also beyond the budget");
    assert!(house.spent() >= price(11, 32) && house.spent() <= price(11, i64::try_from(words).unwrap() + 5_000));
}

/// A call waited to try its key again, another call met the key's limit meanwhile, and the key was used while it cooled.
#[tokio::test]
async fn a_key_that_was_limited_meanwhile_is_not_tried_again() {
    let house = house(2, |setup| setup.retries.first = "200ms".parse().unwrap()).await;
    let first = house.app.pool().keys()[0].id().clone();
    let tell =
        |command| house.app.pool().tell(house.app.keeper().store(), &first, &command, house.clock.now()).unwrap();
    // Each key serves its first call, and fails with the next. A machine that is too slow to tell in time tries once more.
    for round in 0.. {
        let before = house.fake.seen().len();
        let asking = tokio::spawn({
            let alice = house.alice.clone();
            async move { text(alice.chat("small", "say 1", 10).await.unwrap()).await.unwrap() }
        });
        while house.fake.seen().len() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let met = house.fake.seen()[before].clone();
        if met.end == End::Failed && met.key.ends_with("11111") {
            tell(Command::LimitedUntil(house.clock.now().saturating_add(Length::HOUR)));
            let told = house.fake.tick();
            asking.await.unwrap();
            let later = house.fake.seen().split_off(before + 1);
            if later.iter().all(|seen| seen.came > told) {
                assert!(later.iter().all(|seen| seen.key.ends_with("22222")), "{later:?}");
                assert!(later.iter().any(|seen| matches!(seen.end, End::Served(..))), "{later:?}");
                return;
            }
            tell(Command::Clear);
        } else {
            asking.await.unwrap();
        }
        assert!(round < 1_000, "the first key fails now and then");
        house.clock.advance(Length::MINUTE);
    }
}
