//! What the README says can be done, and says of itself, is so. Its code is run as a documentation test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

const README: &str = include_str!("../README.md");
const MANIFEST: &str = include_str!("../Cargo.toml");

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let open = format!("\n```{language}\n");
    README.split(&open).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn the_version_to_depend_on_is_this_one() {
    let mine = format!("{}.{}", env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let shown: Vec<&str> = README
        .lines()
        .filter(|line| line.starts_with("keyward = "))
        .map(|line| line.split('"').nth(1).expect("a version in quotes"))
        .collect();
    assert_eq!(shown, [mine.as_str()]);
}

#[test]
fn the_first_thing_shown_is_two_commands_and_the_second_is_five_lines() {
    assert_eq!(blocks("sh").first().copied(), Some("cargo run --example quickstart\ncargo test"));
    let first = README.find("```").unwrap();
    assert!(README[first..].starts_with("```sh"), "the commands come first");
    let code = blocks("rust")[0];
    let lines = code.lines().filter(|line| !line.is_empty() && !line.starts_with("# ") && !line.starts_with("use "));
    assert!(lines.count() <= 5, "{code}");
    assert!(README.contains("<!-- five lines -->\n```rust\n"));
}

#[test]
fn every_feature_is_in_the_table_with_its_default() {
    let features = MANIFEST.split("[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let named: Vec<(&str, &str)> =
        features.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = ")).collect();
    let (_, defaults) = named.iter().find(|(name, _)| *name == "default").unwrap();
    for (feature, _) in named.iter().filter(|(name, _)| *name != "default") {
        let row = README.lines().find(|line| line.starts_with(&format!("| `{feature}` |"))).expect(feature);
        assert_eq!(row.contains("| yes |"), defaults.contains(&format!("\"{feature}\"")), "{row}");
    }
}

#[test]
fn the_oldest_rust_is_the_one_in_the_manifest() {
    let oldest = MANIFEST.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(README.contains(&format!("Rust {oldest} or newer")));
}

#[test]
fn every_file_that_is_linked_is_there() {
    for link in README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        let there = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(link).is_file();
        assert!(there || link.starts_with("https://"), "{link}");
    }
}
