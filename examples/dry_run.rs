//! Yesterday's traffic against tomorrow's policy: what would have been refused, when, by which limit, and for whom.
//!
//! `cargo run --example dry_run`; with `-- POLICY LOG` it reads a policy in TOML and a log of JSON lines.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fmt::Write as _;

use keyward::policy::Policy;
use keyward::trial::{Log, Trial, compare};

const TODAY: &str = r#"
limits = [
    "60 requests / 1m by key",
    "25 USD / day by team",
]

[[pools]]
name = "openai"
keys = ["env:OPENAI_KEY"]
"#;

/// Nobody has to know the secret that a dry run will not use.
const TOMORROW: &str = r#"
limits = [
    { limit = "20 requests / 1m by key", shape = "fixed" },
    "2 slots by key",
    "6 USD / day by team",
]

[[pools]]
name = "openai"
keys = ["env:OPENAI_KEY"]
limits = ["40 requests / 1m"]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [policy, log] = &arguments[..] {
        let (policy, log) = (toml::from_str(&std::fs::read_to_string(policy)?)?, std::fs::File::open(log)?);
        println!("{}", Trial::of_policy(&policy)?.listing(20).run(&Log::read(log)?)?);
        return Ok(());
    }

    let lines = traffic()?;
    println!("A log of {} calls, of which the first two are\n", lines.lines().count());
    lines.lines().take(2).for_each(|line| println!("  {line}"));
    let log = Log::read(lines.as_bytes())?;

    let (today, tomorrow): (Policy, Policy) = (toml::from_str(TODAY)?, toml::from_str(TOMORROW)?);
    println!("\nWhat the policy of tomorrow says otherwise\n");
    today.diff(&tomorrow)?.to_string().lines().for_each(|line| println!("  {line}"));

    println!("\nThe log under the policy of tomorrow\n");
    let tomorrow = Trial::of_policy(&tomorrow)?.listing(2).top(3);
    println!("{}", tomorrow.run(&log)?);

    println!("Side by side\n");
    println!("{}", compare(&Trial::of_policy(&today)?, &tomorrow, &log)?);

    println!("A line that cannot be read\n");
    if let Err(error) = Log::read(&b"{\"time\": \"2026-03-09T12:00:00Z\", \"usage\": {\"tokens\": -7}}"[..]) {
        println!("  {error}");
    }
    Ok(())
}

/// Five minutes of three callers: one steady, one in bursts, one that asks for much money.
fn traffic() -> Result<String, std::fmt::Error> {
    let mut lines = String::new();
    for second in 0..300_u32 {
        let time = format!("2026-03-09T12:{:02}:{:02}Z", second / 60, second % 60);
        let mut call = |key: &str, team: &str, lasts: &str, most: &str, cost: &str| {
            writeln!(
                lines,
                r#"{{"time": "{time}", "dimensions": {{"key": "{key}", "team": "{team}"}}, "pool": "openai", "duration": "{lasts}", "estimate": {{"usd": "{most}"}}, "usage": {{"usd": "{cost}"}}}}"#
            )
        };
        if second % 5 == 0 {
            call("steady", "red", "2s", "0.02", "0.01")?;
        }
        if second % 60 < 25 {
            call("bursts", "red", "900ms", "0.02", "0.015")?;
        }
        if second % 20 == 7 {
            call("dear", "blue", "45s", "1.20", "0.55")?;
        }
    }
    Ok(lines)
}
