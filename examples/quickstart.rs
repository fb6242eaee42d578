//! One keeper over one file: limits, a budget, and two upstream keys of which one fails. Run it twice: it carries on from
//! what was spent.
//!
//! `cargo run --example quickstart`
#![allow(clippy::print_stdout)]

use keyward::keeper::Moved;
use keyward::picture::View;
use keyward::pool::Key;
use keyward::{Call, Class, Decision, Keeper, Limit, Outcome, Permit, Pool, Secret, SqliteStore, Usage, Usd};

/// What a host usually is: whoever sends the call to the provider. Here the first key has been refused more calls.
fn send(permit: &Permit<SqliteStore>) -> Result<Usage, Outcome> {
    // A real one sends permit.secret() along.
    let key = permit.key().map(|key| key.to_string()).unwrap_or_default();
    if key == "first" { Err(Outcome::new(Class::RateLimited)) } else { Ok(Usage::new().tokens(900).usd(Usd::cents(3))) }
}

fn main() -> Result<(), keyward::Error> {
    let file = std::env::temp_dir().join("keyward-quickstart.db");
    println!("what is spent is kept in {}; remove it to begin anew\n", file.display());

    let key = |id: &str, secret: &str| Ok::<_, keyward::Error>(Key::new(Secret::new(secret)).identified(id.parse()?));
    let keys = Pool::builder("provider").key(key("first", "sk-one-of-11111")?).key(key("second", "sk-two-of-22222")?);
    let keeper = Keeper::builder()
        .store(SqliteStore::open(&file)?)
        .limit(Limit::requests(60).per_minute().by("key"))
        .limit(Limit::usd(Usd::cents(50)).per_month().by("team").named("budget").alert_at_percent([80]))
        .alerts(|alert: &keyward::budgets::Alert| {
            println!("        alert: {} has spent {} % of its month", alert.subject, alert.percent);
        })
        .pool(keys.build()?)
        .build()?;

    // Before a call it is asked what the call may use at most; afterwards it is told what it did use.
    let call = Call::new().with("key", "alice").with("team", "red").usd(Usd::cents(4)).pool("provider");
    for number in 1..=4 {
        let permit = match keeper.acquire(&call)? {
            Decision::Granted(permit) => permit,
            Decision::Denied(denial) => {
                println!("call {number}: {denial}");
                break;
            }
        };
        loop {
            let key = permit.key().map(|key| key.to_string()).unwrap_or_default();
            match send(&permit) {
                Ok(usage) => {
                    let cost = permit.settle(&usage)?.cost.unwrap_or_default();
                    println!("call {number}: served with the {key} key, for {cost}");
                    break;
                }
                Err(outcome) => {
                    println!("call {number}: the {key} key is rate limited, and left alone for a while");
                    if let Moved::Denied(denial) = permit.failover(&outcome)? {
                        println!("call {number}: {denial}");
                        permit.release()?;
                        break;
                    }
                }
            }
        }
    }

    // A call that was cancelled: its permit is dropped, and its money is charged at the estimate.
    drop(keeper.acquire(&call)?);
    keeper.sweep()?;

    print!("\nwhere everything stands, {}", keeper.status(&View::new()));
    Ok(())
}
