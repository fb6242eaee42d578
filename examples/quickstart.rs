//! One keeper, three limits, a few calls: what is granted, what is refused and why, and what everything cost in the end.
//!
//! `cargo run --example quickstart`
#![allow(clippy::print_stdout)]

use keyward::picture::View;
use keyward::{Call, Clock, Decision, Keeper, Length, Limit, ManualClock, Timestamp, Usage, Usd};

fn main() -> Result<(), keyward::Error> {
    // A clock that moves when it is told to, so that this prints the same each time.
    let clock = ManualClock::at("2026-03-08T09:30:00Z".parse::<Timestamp>()?);
    let keeper = Keeper::builder()
        .limit(Limit::requests(3).per_minute().by("key"))
        .limit(Limit::tokens(200_000).per_minute().by("key"))
        .limit(Limit::usd(Usd::cents(10)).per_day().by("team").alert_at_percent([80]))
        .alerts(|alert: &keyward::budgets::Alert| {
            println!("          alert: {} has spent {} % of its day", alert.subject, alert.percent);
        })
        .clock(clock.clone())
        .build()?;

    // Before a call it is asked what the call may use at most; afterwards it is told what it did use.
    let call = Call::new().with("key", "alice").with("team", "red").tokens(1_200).usd(Usd::cents(4));
    for number in 1..=6 {
        match keeper.acquire(&call)? {
            Decision::Granted(permit) => {
                let settled = permit.settle(&Usage::new().tokens(900).usd(Usd::cents(3)))?;
                let cost = settled.cost.map(|cost| cost.to_string()).unwrap_or_default();
                println!("{}  call {number}: granted, cost {cost}", clock.now());
            }
            Decision::Denied(denial) => {
                println!("{}  call {number}: {denial}", clock.now());
                if let Some(retry) = denial.retry_at() {
                    clock.set(retry);
                }
            }
        }
        clock.advance("5s".parse::<Length>()?);
    }

    // A call that was cancelled: its permit is dropped, and its money is charged at the estimate.
    drop(keeper.acquire(&call)?);
    keeper.sweep()?;

    print!("\nwhere everything stands, {}", keeper.status(&View::new()));
    Ok(())
}
