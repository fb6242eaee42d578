//! Policies as data: what is read, everything that is wrong at once, what is built, and what would change.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "policy/broken.rs"]
mod broken;
#[path = "policy/building.rs"]
mod building;
#[path = "policy/changes.rs"]
mod changes;
#[path = "policy/texts.rs"]
mod texts;
#[path = "policy/yaml.rs"]
mod yaml;

use keyward::policy::{Policy, Problems};

/// A policy of this TOML.
fn policy(text: &str) -> Policy {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What is wrong with it, as field and value.
fn problems(text: &str) -> Vec<(String, String)> {
    pairs(&policy(text).check().unwrap_err())
}

fn pairs(problems: &Problems) -> Vec<(String, String)> {
    let parts = |text: Option<&str>| text.unwrap_or_default().to_owned();
    problems.iter().map(|problem| (parts(problem.field()), parts(problem.value()))).collect()
}
