//! The table of broken policies, against what is said of each.

use std::fmt::Write as _;

use keyward::policy::Policy;

use super::{policy, problems};

#[derive(serde::Deserialize)]
struct Table {
    case: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    title: String,
    policy: String,
}

/// What is said of a policy: by its format's reader with a line and a column, or by the policy, all of it.
fn said(text: &str) -> String {
    match toml::from_str::<Policy>(text) {
        Ok(policy) => match policy.check() {
            Ok(warnings) => format!("nothing, but {} warnings", warnings.len()),
            Err(problems) => problems.to_string(),
        },
        Err(error) => {
            assert!(!error.to_string().contains("canary"), "{error}");
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap();
            let (line, column) =
                (before.lines().count().max(1), before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1);
            let line = if before.ends_with('\n') { line + 1 } else { line };
            format!("line {line}, column {column}: {}", error.message())
        }
    }
}

/// `KEYWARD_BLESS=1` writes down what is said now.
#[test]
fn every_broken_policy_is_refused_with_its_fields_values_and_what_was_expected() {
    let table: Table = toml::from_str(include_str!("broken.toml")).unwrap();
    assert!(table.case.len() >= 50, "{}", table.case.len());
    let mut all = String::new();
    for Case { title, policy } in &table.case {
        let said = said(policy);
        assert!(!said.contains("canary") && !said.starts_with("nothing, "), "{title}: {said}");
        let indented = said.replace('\n', "\n    ");
        write!(all, "{title}\n    {indented}\n\n").unwrap();
    }
    if std::env::var_os("KEYWARD_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/policy/expected.txt");
        std::fs::write(path, &all).unwrap();
        return;
    }
    let expected = include_str!("expected.txt");
    for (said, expected) in all.split("\n\n").zip(expected.split("\n\n")) {
        assert_eq!(said, expected);
    }
    assert_eq!(all, expected, "set KEYWARD_BLESS=1 to write it down");
}

/// A reader that stops at the first problem is run again for every problem.
#[test]
fn one_wrong_value_hides_no_other() {
    let found = problems(
        r#"
        limits = [
            { measure = "tokns", amount = "few", window = "0h", by = ["Key", "team", "team"], soft = 1 },
            "60 requests / 1m",
            "60 requests / 1y",
        ]
        [[pools]]
        name = "a"
        keys = [{ secret = "env:1", weight = 0 }, "nowhere"]
        [[prices]]
        model = "m"
        input = "x"
        output = "y"
        "#,
    );
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "limits[0].measure",
            "limits[0].window",
            "limits[0].by[0]",
            "limits[0].by[2]",
            "limits[0].soft",
            "limits[2].window",
            "pools[0].keys[0]",
            "pools[0].keys[0].weight",
            "pools[0].keys[1]",
            "prices[0].input",
            "prices[0].output",
        ]
    );
}

/// aigetwey: a configuration was shown with its keys masked and saved as it was shown.
#[test]
fn what_is_no_reference_is_never_shown() {
    let leaky = policy(
        r#"
        [[pools]]
        name = "a"
        keys = ["sk-canary-1", { secret = "sk-canary-2" }, { key = "sk-canary-3" }, { token = "env:sk-canary-4" }]
        "#,
    );
    let problems = leaky.check().unwrap_err();
    assert_eq!(problems.len(), 4);
    let json = serde_json::to_string(&leaky).unwrap();
    let error: keyward::Error = problems.clone().into();
    for shown in [format!("{leaky:?}"), json.clone(), problems.to_string(), format!("{problems:?} {error} {error:?}")] {
        assert!(!shown.contains("canary"), "{shown}");
    }
    let again: Policy = serde_json::from_str(&json).unwrap();
    assert!(again.check().unwrap_err().iter().all(|problem| problem.value() == Some("a masked secret")));
}

/// A duplicate field passes in JSON, and the last one wins, where a reader collects a map.
#[test]
fn a_condition_that_comes_twice_is_refused_by_every_format() {
    let json = r#"{"limits": [{"limit": "60 requests / 1m", "when": {"team": "red", "team": "blue"}}]}"#;
    let error = serde_json::from_str::<Policy>(json).unwrap_err();
    assert!(error.to_string().contains("duplicate field `team` at line 1 column"), "{error}");
}

#[test]
fn an_unknown_field_is_refused_with_its_line_and_column_in_json_too() {
    let error = serde_json::from_str::<Policy>("{\n  \"limit\": []\n}").unwrap_err();
    assert_eq!((error.line(), error.column()), (2, 9));
    assert!(error.to_string().contains("unknown field `limit`, expected one of"), "{error}");
}
