//! What people see of a keeper: events as they happen, the whole picture, and why a call would be refused.
//!
//! `cargo run --example status`
#![allow(clippy::print_stdout)]

use keyward::keys::Pool;
use keyward::observe::Event;
use keyward::picture::View;
use keyward::pool::Key;
use keyward::{Call, Class, Clock, Keeper, Length, Limit, ManualClock, Outcome, Secret, Timestamp, Usage, Usd};

fn main() -> Result<(), keyward::Error> {
    // A clock that moves when it is told to, so that this prints the same each time.
    let clock = ManualClock::at("2026-03-08T09:30:00Z".parse::<Timestamp>()?);
    let key = |secret: &str, name: &str| Key::new(Secret::new(secret)).name(name).provider("openai");
    let pool = Pool::builder("openai")
        .key_with(key("sk-demo-one-11111", "first"), [Limit::requests(500).per_minute()])
        .key(key("sk-demo-two-22222", "second"))
        .build()?;
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team").named("daily").alert_at_percent([50, 100]))
        .limit(Limit::requests(60).per_minute().by("key"))
        .limit(Limit::slots(2).by("key").named("at once"))
        .pool(pool)
        .clock(clock.clone())
        .alerts(|_: &keyward::budgets::Alert| {})
        .observer(|event: &Event<'_>| println!("  {}", line(event)))
        .refuse_after_jump(Length::HOUR)
        .build()?;

    println!("a morning, as an observer is told of it:");
    let call = |key: &str| Call::new().with("key", key).with("team", "red").usd(Usd::cents(150)).pool("openai");
    if let Some(permit) = keeper.acquire(&call("alice"))?.granted() {
        let _ = permit.failover(&Outcome::new(Class::RateLimited))?;
        permit.settle(&Usage::new().usd(Usd::dollars(3)))?;
    }
    clock.advance("30m".parse::<Length>()?);
    let _under_way = keeper.acquire(&call("bob"))?.granted();
    let _refused = keeper.acquire(&call("carol"))?.denied();

    println!("\nwhere everything stands, {}", keeper.status(&View::new()));
    println!("why carol's call does not go out:\n{}", keeper.explain(&call("carol"))?);

    // Somebody sets the clock to the next day: a fresh budget, unless a person has to look at it first.
    clock.set(clock.now().saturating_add(Length::DAY));
    println!("the clock is set to tomorrow:");
    let _doubted = keeper.acquire(&call("carol"))?.denied();
    keeper.accept_clock();
    println!("somebody has looked at it:");
    let _trusted = keeper.acquire(&call("carol"))?.granted();
    Ok(())
}

fn line(event: &Event<'_>) -> String {
    match event {
        Event::Granted { key, .. } => format!("granted{}", if key.is_some() { ", with a key" } else { "" }),
        Event::Denied { cause, .. } => format!("denied: {cause}"),
        Event::Settled { cost: Some(cost), .. } => format!("settled at {cost}"),
        Event::KeyOut { class, .. } => format!("a key is left alone after {class:?}"),
        Event::FailedOver { to, .. } => {
            format!("the call {}", if to.is_some() { "went on with another key" } else { "found no other key" })
        }
        Event::Alert(alert) => format!("alert: {} has spent {} %", alert.subject, alert.percent),
        Event::ClockJumped(jump) => format!("the clock jumped ahead by {}", jump.by),
        other => format!("{other:?}"),
    }
}
