//! Policies in YAML: read as in any other format, refused with line and column.

use keyward::policy::Policy;
use keyward::{Secret, Usd};

const WRITTEN: &str = "\
dimensions: [key, team, provider]
limits:
  - 60 requests / 1m by key
  - 10 USD / day @ +01:00 by team
  - limit: 1_000_000 tokens / 30d by team
    alert_at_percent: [80, 100]
    soft: true
    note: as agreed
  - measure: usd
    amount: '12.50'
    window: 7d
    anchor: 2026-01-15
    when: {provider: openai}
pools:
  - name: openai
    provider: openai
    keys:
      - env:OPENAI_KEYS
      - {secret: 'file:/run/secrets/spare', id: spare, priority: 1}
    strategy: {by: sticky, lifetime: 30m}
    fallback: ~
unpriced: {input: '3', output: '15'}
prices:
  - model: gpt-x-*
    input: '2.50'
    output: 10
";

const SAME: &str = r#"
dimensions = ["key", "team", "provider"]
limits = [
    "60 requests / 1m by key",
    "10 USD / day @ +01:00 by team",
    { limit = "1_000_000 tokens / 30d by team", alert_at_percent = [80, 100], soft = true, note = "as agreed" },
    { measure = "usd", amount = "12.50", window = "7d", anchor = "2026-01-15", when = { provider = "openai" } },
]
unpriced = { input = "3", output = "15" }

[[pools]]
name = "openai"
provider = "openai"
keys = ["env:OPENAI_KEYS", { secret = "file:/run/secrets/spare", id = "spare", priority = 1 }]
strategy = { by = "sticky", lifetime = "30m" }

[[prices]]
model = "gpt-x-*"
input = "2.50"
output = 10
"#;

fn yaml(text: &str) -> Policy {
    yaml_serde::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn a_policy_in_yaml_is_the_same_policy() {
    let (read, other) = (yaml(WRITTEN), super::policy(SAME));
    assert!(read.diff(&other).unwrap().is_empty(), "{}", read.diff(&other).unwrap());
    assert!(read == other);
    let built = read.build(|reference| Ok(Secret::new(format!("sk-{reference}-0123456789")))).unwrap();
    assert_eq!(built.limits[3].to_string(), "$12.50 per 1w when provider=openai");
    assert_eq!(built.limits[3].cap(), keyward::Cap::At(Usd::micros(12_500_000).into()));
    assert_eq!((built.pools[0].len(), built.prices.unwrap().entries().len()), (2, 1));
}

#[test]
fn a_policy_goes_through_yaml_and_back_unchanged() {
    let written = yaml(WRITTEN);
    let text = yaml_serde::to_string(&written).unwrap();
    assert!(yaml(&text) == written, "{text}");
    assert!(!text.contains("null"), "{text}");
}

/// `KEYWARD_BLESS=1` writes down what is said now: by the reader of YAML with a line and a column where it knows them, or by
/// the policy, all of it.
#[test]
fn broken_policies_in_yaml_are_refused_with_line_and_column_or_with_every_field() {
    let mut all = String::new();
    for text in [
        "limits:\n  - limit: 60 requests / 1m\n    allert: 80\n",
        "limits:\n  - 60 requests / 1m\nlimit: []\n",
        "limits: 60 requests / 1m\n",
        "limits:\n  - 60 requests / 1m\n    by: key\n",
        "limits: [\n",
        "limits:\n  - 60 requests / 1.5h\n  - -1 tokens / 1m\n  - {measure: usd, amount: 12.5, window: day}\n",
        "limits:\n  - limit: 60 requests / 1m\n    soft: yes\n    when: [provider]\n",
        "pools:\n  - name: a\n    keys: [sk-live-canary-0123456789]\n    fallback: b\n",
        "pools:\n  - name: a\n    keys: {secret: sk-live-canary-0123456789, wieght: 3}\n",
        "pools:\n  - name: a\n    keys: [sk-live-canary-0123456789, \"sk-live-canary\n",
        "unpriced: {model: m}\n",
    ] {
        let heard = match yaml_serde::from_str::<Policy>(text) {
            Ok(policy) => policy.check().expect_err(text).to_string(),
            Err(error) => error.to_string(),
        };
        assert!(!heard.contains("canary"), "{heard}");
        let (text, heard) = (text.replace("sk-live-canary", "sk-live"), heard.replace('\n', "\n    "));
        all.push_str(&format!("{text}=>\n    {heard}\n\n"));
    }
    if std::env::var_os("KEYWARD_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/policy/yaml.txt");
        std::fs::write(path, &all).unwrap();
        return;
    }
    let expected = include_str!("yaml.txt");
    for (said, expected) in all.split("\n\n").zip(expected.split("\n\n")) {
        assert_eq!(said, expected);
    }
    assert_eq!(all, expected, "set KEYWARD_BLESS=1 to write it down");
}
