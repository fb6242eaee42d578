//! Logs as JSON lines.

use keyward::trial::{End, Log};
use keyward::{Class, Length, Timestamp, Usage, Usd};

#[test]
fn every_field_is_read() {
    let line = r#"{"time": "1970-01-01T00:00:01Z", "ends": 3000000, "end": "released", "dimensions": {"key": "a"},
        "tags": {"job": "7"}, "model": "gpt-x", "provider": "openai", "client": "c-1", "upstream": "u-1",
        "pool": "main", "session": "s", "op": "job-7", "life": "10m", "outcome": "rate_limited",
        "estimate": {"tokens": 10, "usd": "0.02"},
        "usage": {"requests": 1, "input": 2, "cache_read": 3, "cache_write_5m": 4, "cache_write_1h": 5, "output": 6,
        "reasoning": 1, "usd": "0.01", "extras": {"pages": 7}}}"#
        .replace('\n', " ");
    let log = Log::read(line.as_bytes()).unwrap();
    let entry = &log.entries()[0];
    assert_eq!((entry.time.as_micros(), entry.ends), (1_000_000, Some(Timestamp::from_micros(3_000_000))));
    assert_eq!((entry.end, entry.outcome), (End::Released, Some(Class::RateLimited)));
    let dimensions: Vec<_> = entry.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(dimensions, ["key=a", "model=gpt-x", "provider=openai"]);
    assert_eq!(entry.tags["job"], "7");
    let ids = (entry.client.as_ref().unwrap().as_str(), entry.upstream.as_ref().unwrap().as_str());
    assert_eq!(ids, ("c-1", "u-1"));
    assert_eq!((entry.pool.as_deref(), entry.session.as_deref()), (Some("main"), Some("s")));
    assert_eq!(
        (entry.op.as_ref().unwrap().to_string().as_str(), entry.life.unwrap().to_string().as_str()),
        ("job-7", "10m")
    );
    assert_eq!(entry.estimate, Usage::new().tokens(10).usd(Usd::cents(2)));
    let usage =
        Usage::new().requests(1).input(2).cache_read(3).cache_write_5m(4).cache_write_1h(5).output(6).reasoning(1);
    assert_eq!(entry.usage, Some(usage.usd(Usd::cents(1)).extra("pages", 7)));
}

#[test]
fn a_duration_says_when_a_call_ended_and_lines_may_come_in_any_order() {
    let log =
        "{\"time\": 5}\n\n  \n{\"time\": 1, \"duration\": \"2s\", \"model\": null}\r\n{\"time\": 5, \"op\": \"b\"}";
    let log = Log::read(log.as_bytes()).unwrap();
    let times: Vec<i64> = log.entries().iter().map(|entry| entry.time.as_micros()).collect();
    assert_eq!(times, [1, 5, 5]);
    assert_eq!(log.entries()[0].ends, Some(Timestamp::from_micros(1).saturating_add(Length::from_secs(2).unwrap())));
    assert!(log.entries()[2].op.is_some(), "of one instant in their order");
}

#[test]
fn what_cannot_be_read_is_refused_by_its_line_its_field_and_its_value() {
    for (line, field, value) in [
        ("{", "line 2", "byte 2"),
        ("7", "line 2", "7"),
        ("{}", "line 2: time", "nothing"),
        (r#"{"time": "yesterday"}"#, "line 2: time", "yesterday"),
        (r#"{"time": 1.5}"#, "line 2: time", "1.5"),
        (r#"{"time": true}"#, "line 2: time", "true or false"),
        (r#"{"time": 0, "tim": 1}"#, "line 2: tim", "1"),
        (r#"{"time": 0, "time": 1}"#, "line 2: time", "1"),
        (r#"{"time": 0, "duration": "1.5h"}"#, "line 2: duration", "1.5h"),
        (r#"{"time": 0, "duration": "1s", "ends": 5}"#, "line 2: duration", "1s"),
        (r#"{"time": 9, "ends": 5}"#, "line 2: ends", "1970-01-01T00:00:00.000005Z"),
        (r#"{"time": 0, "end": "lost"}"#, "line 2: end", "lost"),
        (r#"{"time": 0, "outcome": "fine"}"#, "line 2: outcome", "fine"),
        (r#"{"time": 0, "dimensions": ["key"]}"#, "line 2: dimensions", "a list"),
        (r#"{"time": 0, "dimensions": {"key": 7}}"#, "line 2: dimensions.key", "7"),
        (r#"{"time": 0, "dimensions": {"model": "a"}, "model": "b"}"#, "line 2: dimensions.model", "b"),
        (r#"{"time": 0, "usage": {"tokens": -1}}"#, "line 2: usage.tokens", "-1"),
        (r#"{"time": 0, "usage": {"tokens": 18446744073709551616}}"#, "line 2: usage.tokens", "18446744073709551616"),
        (r#"{"time": 0, "usage": {"usd": 0.5}}"#, "line 2: usage.usd", "0.5"),
        (r#"{"time": 0, "usage": {"token": 5}}"#, "line 2: usage.token", "5"),
        (r#"{"time": 0, "estimate": {"extras": {"pages": "x"}}}"#, "line 2: estimate.extras.pages", "x"),
        (r#"{"time": 0, "usage": {"output": 1, "reasoning": 2}}"#, "line 2: usage.reasoning", "2"),
        (r#"{"time": 0, "estimate": {"output": 1, "reasoning": 2}}"#, "line 2: estimate.reasoning", "2"),
        (r#"{"time": 0, "op": ""}"#, "line 2: op", ""),
    ] {
        let error = Log::read(format!("{{\"time\": 0}}\n{line}\n").as_bytes()).unwrap_err();
        assert_eq!((error.field(), error.value()), (Some(field), Some(value)), "{line}: {error}");
    }
    let error = Log::read("x".repeat(2_000_000).as_bytes()).unwrap_err();
    assert_eq!(error.field(), Some("line 1"));
}
