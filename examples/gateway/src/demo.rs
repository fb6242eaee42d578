//! A story that drives the whole gateway through its front door: what clients see, what it costs, what is proved in the end.
//! Its clock moves when the story says so, so that it is the same each time.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use keyward::keys::Which;
use keyward::picture::View;
use keyward::pool::Standing;
use keyward::store::{Filter, PartsOf, sums, verify};
use keyward::{Clock, Length, ManualClock, Timestamp, Usd};
use serde_json::{Value, json};

use crate::app::App;
use crate::client::{Client, Failure, text};
use crate::fake::{self, Fake, Rules};
use crate::setup::{AnyStore, Setup};

/// Tells it, over this store.
pub async fn tell(store: AnyStore) -> Result<(), Failure> {
    // A file that was used before goes on where it ended.
    let clock = ManualClock::at("2026-03-08T09:30:00Z".parse::<Timestamp>()?);
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let rules = Rules { calls: 4, seconds: 20, fails: 0, word: Duration::from_millis(1) };
    let upstream = Fake::new(rules, Arc::clone(&shared));
    let setup = Setup::example(&fake::serve(upstream.router()).await?)?;
    let app = App::new(&setup, store, shared)?;
    let gateway = fake::serve(app.router()).await?;
    let client = |secret: &str| Client::new(&gateway, secret);
    let (alice, bob) = (client("kw_alice_0123456789").task("task-7"), client("kw_bob_0123456789"));
    let operator = client("kw_operator_0123456789");
    println!("the gateway is at {gateway}, its upstream at {}\n", setup.upstream);

    println!("1. alice asks for ten words, and sees what is left of her limits");
    show(&app, alice.chat("small", "say 10", 100).await?).await?;

    println!("2. a key that nobody knows, and a model that bob may not use");
    show(&app, client("kw_guessed").chat("small", "say 1", 10).await?).await?;
    show(&app, bob.chat("large", "say 1", 10).await?).await?;

    println!("3. bob goes away in the middle: nobody knows what it cost, so what was held is charged");
    let mut answer = bob.chat("small", "endless", 1_000).await?;
    let _ = http_body_util::BodyExt::frame(answer.body_mut()).await;
    drop(answer);
    until_nothing_is_held(&app).await?;
    budgets(&app);

    println!("4. the upstream breaks off in the middle of an answer");
    show(&app, alice.chat("small", "break 3", 100).await?).await?;

    println!("5. an agent runner uses the first key beside the gateway, and reports it");
    let keys: Vec<_> = app.pool().keys().into_iter().map(|key| key.id().to_string()).collect();
    let runner = Client::new(&setup.upstream, setup.upstream_keys.split(',').next().unwrap_or_default());
    let _ = text(runner.chat("small", "say 1", 10).await?).await?;
    let report = json!({"key": keys[0], "op": "task-7/step-1"});
    println!("   {}", operator.ask(Method::POST, "/keys/report-usage", Some(report)).await?);

    println!("6. so that key has fewer calls left than the gateway knows: the other takes over, and alice never knows");
    for _ in 0..4 {
        show(&app, alice.chat("small", "say 3", 100).await?).await?;
    }
    records(&app)?;

    println!("7. the runner has met the limit of the other key too, and says so in the upstream's words");
    let report = json!({"key": keys[1], "text": "rate limit reached, try again in 30s"});
    println!("   {}", operator.ask(Method::POST, "/keys/report-rate-limit", Some(report)).await?);
    println!("   {}", operator.ask(Method::GET, "/keys/available", None).await?);
    println!("   alice is told when to come back:");
    let wait = show(&app, alice.chat("small", "say 3", 100).await?).await?.unwrap_or(1);
    clock.advance(Length::from_secs(wait).unwrap_or(Length::SECOND));
    println!("   {wait} seconds later:");
    show(&app, alice.chat("small", "say 3", 100).await?).await?;

    println!("8. a call that may cost more than alice has left is not let in");
    show(&app, alice.chat("large", "say 3", 5_000).await?).await?;

    println!("9. what went out with each key");
    println!("   {}", operator.ask(Method::GET, "/keys/costs", None).await?);

    println!("10. in the end");
    budgets(&app);
    let (store, now) = (app.keeper().store(), app.now());
    let rows = sums(store, &Filter::default())?;
    let usd = i64::try_from(rows.usd).ok().and_then(Usd::from_nanos).unwrap_or(Usd::ZERO);
    println!("   the ledger has {} calls, for {usd}", rows.rows);
    let faults = verify(store, now)?;
    println!("   the ledger and the accounts {}", if faults.is_empty() { "agree" } else { "do not agree" });
    if faults.is_empty() { Ok(()) } else { Err(format!("{faults:?}").into()) }
}

impl Client {
    /// One line of what is answered.
    async fn ask(&self, method: Method, path: &str, json: Option<Value>) -> Result<String, Failure> {
        text(self.send(method, path, json).await?).await
    }
}

/// Prints an answer, and says after how many seconds to come back if it says so.
async fn show(app: &App, answer: axum::http::Response<hyper::body::Incoming>) -> Result<Option<i64>, Failure> {
    let (status, headers) = (answer.status(), answer.headers().clone());
    println!("   {status}");
    for name in ["ratelimit", "retry-after"] {
        for value in headers.get_all(name) {
            println!("     {name}: {}", value.to_str()?);
        }
    }
    let body = text(answer).await?;
    let events = || body.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let words: String =
        events().filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect();
    match events().find(|event| event["error"].is_object()) {
        Some(event) => println!("     {words}... {}", event["error"]["message"].as_str().unwrap_or_default()),
        None if words.is_empty() => println!("     {body}"),
        None => println!("     {words}"),
    }
    app.keeper().sweep()?;
    Ok(headers.get("retry-after").and_then(|wait| wait.to_str().ok()?.parse().ok()))
}

/// Waits until the gateway has noticed that a client is gone.
async fn until_nothing_is_held(app: &App) -> Result<(), Failure> {
    loop {
        app.keeper().sweep()?;
        if app.keeper().store().parts(&PartsOf::Open, None, 1)?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What is known of every upstream key.
fn records(app: &App) -> Result<(), Failure> {
    for key in app.pool().list(app.keeper().store(), &Which::default(), app.now())? {
        let standing = match key.standing {
            Standing::Cooling(block) => format!("cooling until {}", block.until),
            other => format!("{other:?}").to_lowercase(),
        };
        println!("   key ...{}: {standing}, used {} times, limited {}", key.suffix, key.uses, key.limited);
    }
    Ok(())
}

/// Where every budget stands.
fn budgets(app: &App) {
    let picture = app.keeper().status(&View::new());
    let standings = picture.budgets.iter().map(|budget| &budget.standing);
    for standing in standings.filter(|standing| standing.limit.to_string() == "budget") {
        let show = |amount| standing.measure.show(amount);
        let left = standing.status.remaining.map(show).unwrap_or_default();
        println!("   {}: {} spent, {left} left", standing.subject, show(standing.status.spent));
    }
    println!();
}
