//! A policy in TOML: what it says in words, what an edit of it would change, and everything that is wrong with a broken one.
//!
//! `cargo run --example policy`; with `-- FILE` it reads that file and says the same of it.
#![allow(clippy::print_stdout)]

use std::error::Error;

use keyward::Secret;
use keyward::policy::{Policy, Reference};
use keyward::price::Rate;
use keyward::quota::Masked;

const POLICY: &str = r#"
dimensions = ["key", "team", "provider"]

limits = [
    "60 requests / 1m by key",
    "200_000 tokens / 1m by key",
    "5 slots by key",
    { limit = "25 USD / monthly by team", alert_at_percent = [80, 100], note = "agreed in March", name = "team budget" },
    { limit = "10 USD / day @ +01:00 when provider=openai", soft = true },
]

[[pools]]
name = "openai"
provider = "openai"
keys = ["env:OPENAI_KEYS", { secret = "name:vault/spare", id = "spare", priority = 1 }]
strategy = { by = "sticky", lifetime = "30m" }
limits = ["500 requests / 1m"]
fallback = "anthropic"

[[pools]]
name = "anthropic"
keys = "file:/run/secrets/anthropic"
on_exhausted = "wait 30s"

[[prices]]
model = "gpt-x-*"
provider = "openai"
input = "2.50"
output = "10"
"#;

const EDITED: &str = r#"
dimensions = ["key", "team", "provider"]

limits = [
    "90 requests / 60s by key",
    "200_000 tokens / 1m by key",
    { limit = "25 USD / 7d by team", alert_at_percent = [80, 100], note = "agreed in March", name = "team budget" },
    { limit = "10 USD / day @ +01:00 when provider=openai" },
    "1_000 requests / day by team",
]

[[pools]]
name = "openai"
provider = "openai"
keys = [{ secret = "file:/run/secrets/spare", id = "spare" }, "env:OPENAI_KEYS"]
strategy = { by = "sticky", lifetime = "30m" }
limits = ["500 requests / 1m"]

[[prices]]
model = "gpt-x-*"
provider = "openai"
input = "2.00"
output = "10"
"#;

const BROKEN: &str = r#"
dimensions = ["key", "team", "provider"]

limits = [
    "60 requests / 1.5h by kye",
    { measure = "usd", amount = 12.5, window = "0h", alert_at_percent = 0 },
    "5 slots / 1m",
]

[[pools]]
name = "openai"
keys = ["sk-live-0123456789", { secret = "env:SPARE", weight = 0 }]
fallback = "anthropc"
cooling = { exhausted = "30 days" }

[[prices]]
model = "gpt-x-*"
input = "-2.50"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = std::env::args().nth(1) {
        return tell(&toml::from_str(&std::fs::read_to_string(path)?)?, Reference::read);
    }
    let policy: Policy = toml::from_str(POLICY)?;
    // A made-up vault; a host gives `Reference::read`, or its own way to names.
    tell(&policy, |reference| Ok(Secret::new(format!("sk-made-up-{reference}-0123456789"))))?;

    println!("\nWhat an edit of it would change\n");
    let changes = policy.diff(&toml::from_str(EDITED)?)?;
    println!("{}", indented(&changes.to_string()));
    println!("\nThe first of them as data\n");
    println!("  {}", changes.iter().next().map(serde_json::to_string).transpose()?.unwrap_or_default());

    println!("\nA broken policy, and everything that is wrong with it\n");
    let broken: Policy = toml::from_str(BROKEN)?;
    if let Err(problems) = broken.check() {
        println!("{}\n\n  {} problems; nothing was changed.", indented(&problems.to_string()), problems.len());
    }

    println!("\nA field that there is not, with its place in the text\n");
    if let Err(error) = toml::from_str::<Policy>("limits = [\n    { limit = \"60 requests / 1m\", allert = 80 },\n]") {
        println!("{}", indented(&error.to_string()));
    }
    Ok(())
}

/// What a policy says, in words.
fn tell(
    policy: &Policy,
    resolve: impl FnMut(&Reference) -> Result<Secret, keyward::Error>,
) -> Result<(), Box<dyn Error>> {
    let built = policy.build(resolve)?;
    println!("Limits\n");
    for limit in &built.limits {
        let note = if limit.note().is_empty() { String::new() } else { format!(" ({})", limit.note()) };
        let alerts: String = limit.alerts().iter().map(|percent| format!(", alert at {percent} %")).collect();
        println!("  {limit}{alerts}{note}");
    }
    println!("\nPools\n");
    for pool in &built.pools {
        let keys = pool.keys();
        let shown: Vec<String> = keys.iter().map(|key| Masked::of(key.secret()).to_string()).collect();
        let then = pool.fallback().map(|pool| format!(", then {}", pool.name())).unwrap_or_default();
        println!("  {}: {}{then}", pool.name(), shown.join(", "));
    }
    println!("\nPrices\n");
    for entry in built.prices.iter().flat_map(|book| book.entries()) {
        let rate = |rate: Option<Rate>| rate.map_or_else(|| "unpriced".to_owned(), |rate| rate.to_string());
        println!("  {}: input {}, output {}", entry.model, rate(entry.price.input), rate(entry.price.output));
    }
    for warning in &built.warnings {
        println!("\nWarning: {warning}");
    }
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
