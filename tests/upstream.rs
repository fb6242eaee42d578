//! What providers say: every case of the shared vectors, the stories of what was misread, and any bytes at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

use std::time::Duration;

use keyward::upstream::*;
use keyward::usage::Patience;
use keyward::{Class, Hint, Length, Outcome, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/upstream.json")).unwrap()
}

fn pool_vectors() -> Value {
    serde_json::from_str(include_str!("vectors/pool.json")).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn secs(seconds: i64) -> Length {
    Length::from_secs(seconds).unwrap()
}

const NOW: Timestamp = Timestamp::from_micros(1_780_000_000_000_000);

/// Seconds as the vectors write them, in microseconds and rounded up, by text so that no float is in between.
fn micros(seconds: &Value) -> i64 {
    let text = seconds.to_string();
    let (sign, text) = text.strip_prefix('-').map_or((1, text.as_str()), |text| (-1, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let micros: i64 = format!("{fraction:0<6}")[..6].parse().unwrap();
    let finer = fraction.len() > 6 && fraction[6..].bytes().any(|digit| digit != b'0');
    sign * (whole.parse::<i64>().unwrap() * 1_000_000 + micros + i64::from(finer))
}

fn duration(seconds: &Value) -> Option<Duration> {
    (!seconds.is_null()).then(|| Duration::from_micros(micros(seconds).try_into().unwrap()))
}

fn class(name: &Value) -> Class {
    match name.as_str().unwrap() {
        "rate" => Class::RateLimited,
        "quota" => Class::QuotaExhausted,
        "overloaded" => Class::Overloaded,
        "credential" => Class::CredentialRefused,
        "model" => Class::ModelRefused,
        "transient" => Class::Transient,
        "caller" => Class::CallersFault,
        "none" => Class::NoVerdict,
        other => panic!("{other} is no class"),
    }
}

/// The same error in the shapes of several providers.
fn bodies(code: &Value, message: &Value) -> Vec<String> {
    vec![
        json!({"error": {"code": code, "message": message}}).to_string(),
        json!({"type": "error", "error": {"type": code, "message": message}}).to_string(),
        json!([{"error": {"message": message, "status": code}}]).to_string(),
        json!({"__type": code, "message": message}).to_string(),
        format!("event: error\ndata: {}\n\n", json!({"error": {"code": code, "message": message}})),
    ]
}

#[test]
fn every_reset_of_the_vectors_is_read_as_go_means_it() {
    let vectors = vectors();
    let cases = vectors["reset_s"].as_object().unwrap();
    assert_eq!(cases.len(), 15);
    for (text, seconds) in cases {
        assert_eq!(go_duration(text), duration(seconds), "{text:?}");
    }
}

#[test]
fn every_retry_after_of_the_vectors_is_a_wait_or_none() {
    let vectors = vectors();
    let cases = vectors["retry_after_s"].as_object().unwrap();
    assert_eq!(cases.len(), 14);
    for (text, seconds) in cases {
        let hint = duration(seconds).map(|wait| Hint::after(wait, NOW));
        assert_eq!(retry_after(text, None, NOW), hint, "{text:?}");
        let headers = [("Retry-After", text)];
        let reply = Reply::new(429, NOW).headers(&headers);
        assert_eq!(Reader::default().read(&reply).outcome.hint, hint, "{text:?}");
    }
}

#[test]
fn milliseconds_win_over_seconds_where_they_can_be_read() {
    let vectors = vectors();
    let cases = vectors["retry_after_ms"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let headers = [
            ("retry-after", case["retry_after"].as_str().unwrap()),
            ("Retry-After-Ms", case["retry_after_ms"].as_str().unwrap()),
        ];
        let reply = Reply::new(429, NOW).headers(&headers);
        let hint = duration(&case["s"]).map(|wait| Hint::after(wait, NOW));
        assert_eq!(Reader::default().read(&reply).outcome.hint, hint, "{case}");
    }
}

#[test]
fn every_delay_of_gemini_is_read_from_its_typed_field_and_wins_over_headers() {
    let vectors = vectors();
    let cases = vectors["gemini_delay_s"].as_object().unwrap();
    assert_eq!(cases.len(), 3);
    for (text, seconds) in cases {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": text}]);
        let body = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}).to_string();
        let headers = [("retry-after", "7")];
        let reply = Reply::new(429, NOW).headers(&headers).body(&body);
        let wait = duration(seconds).unwrap();
        assert_eq!(Fields::of(body.as_bytes()).retry_delay, Some(wait));
        let outcome = Reader::new(Profile::Gemini).read(&reply).outcome;
        assert_eq!(outcome, Outcome::new(Class::RateLimited).with_hint(Hint::after(wait, NOW)), "{text}");
    }
}

#[test]
fn every_class_of_the_vectors_is_found_whatever_the_shape_of_the_body_and_the_profile() {
    let vectors = vectors();
    let cases = vectors["classes"].as_array().unwrap();
    assert_eq!(cases.len(), 19);
    let profiles =
        [Profile::OpenAi, Profile::Azure, Profile::Groq, Profile::Anthropic, Profile::Gemini, Profile::Bedrock];
    for (case, profile) in cases.iter().flat_map(|case| profiles.map(|profile| (case, profile))) {
        let mut reply = match case["status"].as_u64() {
            Some(status) => Reply::new(status.try_into().unwrap(), NOW),
            None => Reply::broken(NOW),
        };
        if case["empty_stream"] == true {
            reply = reply.empty_stream();
        }
        if case["client_gone"] == true {
            reply = reply.client_gone();
        }
        let stated = !case["code"].is_null() || !case["message"].is_null();
        let mut bodies = if stated { bodies(&case["code"], &case["message"]) } else { vec![String::new()] };
        if case["message"].as_str().is_some_and(|message| message.starts_with('<')) {
            bodies.push(case["message"].as_str().unwrap().to_owned());
        }
        for body in bodies {
            let read = Reader::new(profile).with_text().read(&reply.body(&body)).outcome.class;
            assert_eq!(read, class(&case["is_"]), "{case} as {body:?} of {profile:?}");
        }
    }
}

#[test]
fn every_text_of_the_vectors_speaks_of_a_limit_or_does_not() {
    let vectors = vectors();
    let cases = vectors["rate_limit_texts"].as_array().unwrap();
    assert_eq!(cases.len(), 14);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        assert_eq!(text_class(text), class(&case["is_"]), "{text:?}");
        assert_eq!(Reader::default().read_text(text, NOW).class, class(&case["is_"]), "{text:?}");
    }
}

#[test]
fn every_reset_in_words_of_the_vectors_is_the_instant_that_is_meant() {
    let vectors = vectors();
    let cases = vectors["reset_texts"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let now = at(case["now"].as_str().unwrap());
        let read = text_reset(case["text"].as_str().unwrap(), now);
        assert_eq!(read, case["at"].as_str().map(at), "{case}");
    }
}

#[test]
fn every_hint_is_bounded_and_its_raw_value_is_kept() {
    let vectors = pool_vectors();
    for (name, count, hint) in [
        ("header_clamp", 6, Hint::Stated as fn(Timestamp) -> Hint),
        ("text_reset_clamp", 4, Hint::Read as fn(Timestamp) -> Hint),
    ] {
        let cases = vectors[name]["cases"].as_array().unwrap();
        assert_eq!(cases.len(), count);
        let bounds = Patience::default();
        let least = if name == "header_clamp" { bounds.stated } else { bounds.read };
        assert_eq!(least.as_micros(), micros(&vectors[name]["min_s"]));
        assert_eq!(bounds.most.as_micros(), micros(&vectors[name]["max_s"]));
        for case in cases {
            let stated = Timestamp::from_micros(NOW.as_micros() + micros(&case["in_s"]));
            let used = Timestamp::from_micros(NOW.as_micros() + micros(&case["used_s"]));
            assert_eq!(hint(stated).until(NOW, bounds), used, "{name} {case}");
            assert_eq!(hint(stated).instant(NOW), stated);
        }
    }
}

#[test]
fn every_header_of_the_clamp_is_bounded_from_its_text_on() {
    let vectors = pool_vectors();
    for case in vectors["header_clamp"]["cases"].as_array().unwrap() {
        let text = case["in_s"].to_string();
        let Some(hint) = retry_after(&text, None, NOW) else {
            assert!(text.starts_with('-'), "only a negative wait is none");
            continue;
        };
        let used = hint.until(NOW, Patience::default()).since(NOW);
        assert_eq!(Some(used), duration(&case["used_s"]), "{case}");
    }
}

#[test]
fn the_setting_of_agent_swarm_is_imported_as_it_is_read_there() {
    let vectors = pool_vectors();
    let cases = vectors["env_credits_exhausted"].as_array().unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let millis = credits_exhausted(case[0].as_str()).as_micros() / 1_000;
        assert_eq!(Some(millis), case[1].as_i64(), "{case}");
    }
    assert_eq!(credits_exhausted(Some(&"9".repeat(40))), Length::WEEK);
}

// What was misread elsewhere.

/// `insufficient_quota`, RESOURCE_EXHAUSTED, 529 and "try again in 20s" were taken for nothing, while a line number in a
/// path, a byte count and a head that was hit on a limit cooled keys.
#[test]
fn words_are_read_whole_and_in_their_place() {
    for text in [
        "line 429 of file.ts",
        "Read 4290 bytes",
        "at 0x529 in main",
        "hit your head on the limit",
        "the resource_exhausted_total counter",
        "try again later",
        "Please try again",
        "the rate limit is 60 per minute",
        "function overloaded",
        "2429 Too Many Requestss",
        "out of creditsworthy",
    ] {
        assert_eq!(text_class(text), Class::NoVerdict, "{text:?}");
    }
    for (text, class) in [
        ("HTTP/1.1 429", Class::RateLimited),
        ("request failed with status code 429", Class::RateLimited),
        ("API Error: 529 {\"type\":\"overloaded_error\"}", Class::Overloaded),
        ("You’ve hit your org’s monthly usage limit", Class::RateLimited),
        ("5-hour limit reached ∙ resets 3pm", Class::RateLimited),
        ("error: RESOURCE_EXHAUSTED", Class::RateLimited),
        ("Try again at 8:35 PM.", Class::RateLimited),
        ("retry after 60 seconds", Class::RateLimited),
        ("429: insufficient_quota", Class::QuotaExhausted),
    ] {
        assert_eq!(text_class(text), class, "{text:?}");
    }
}

/// Text decided before the status did, so that what a model wrote about rate limits cooled the key it was written with.
#[test]
fn words_never_overrule_a_status_or_a_typed_field() {
    let reader = Reader::default().with_text();
    for (status, body, class) in [
        (200, json!({"choices": [{"message": {"content": "429 rate limit exceeded"}}]}), Class::Success),
        (400, json!({"error": {"message": "rate limit exceeded"}}), Class::CallersFault),
        (429, json!({"error": {"message": "you are out of credits"}}), Class::RateLimited),
        (403, json!({"error": {"message": "rate limit exceeded"}}), Class::RateLimited),
    ] {
        assert_eq!(reader.read(&Reply::new(status, NOW).body(&body.to_string())).outcome.class, class, "{body}");
    }
    let forbidden = json!({"error": {"message": "rate limit exceeded"}}).to_string();
    let unasked = Reader::default().read(&Reply::new(403, NOW).body(&forbidden));
    assert_eq!(unasked.outcome, Outcome::new(Class::NoVerdict), "words are read only where a host asks for it");
}

/// An HTML 403 of a proxy disabled every key behind it, one after the other, while a 401 disabled none.
#[test]
fn a_page_of_a_proxy_is_no_verdict_and_a_401_is_one() {
    let reader = Reader::default().with_text();
    let page = "<html><body>403: rate limit exceeded, try again in 20s</body></html>";
    assert_eq!(reader.read(&Reply::new(403, NOW).body(page)).outcome, Outcome::new(Class::NoVerdict));
    assert_eq!(reader.read(&Reply::new(401, NOW)).outcome.class, Class::CredentialRefused);
}

/// A request that was too large for a model, and a caller that hung up, walked through a whole chain of keys and
/// penalised each.
#[test]
fn what_the_caller_did_is_never_held_against_a_key() {
    let body = json!({"error": {"code": "rate_limit_exceeded", "message": "Request too large"}}).to_string();
    for reply in [
        Reply::new(400, NOW),
        Reply::new(413, NOW).body(&body),
        Reply::new(422, NOW),
        Reply::new(404, NOW),
        Reply::new(429, NOW).client_gone(),
        Reply::broken(NOW).client_gone(),
        Reply::new(500, NOW).empty_stream().client_gone(),
    ] {
        let outcome = Reader::new(Profile::Groq).read(&reply).outcome;
        assert_eq!(outcome, Outcome::new(Class::CallersFault), "{reply:?}");
        assert_eq!(Retries::default().next(&outcome, 0, 5, NOW), Next::GiveUp);
    }
}

/// "resets 3pm", read within the second at which it was three, cooled a key for a day.
#[test]
fn a_time_of_day_that_has_just_come_is_today_s() {
    let read = |now: &str| text_reset("resets 3pm", at(now)).unwrap().to_string();
    assert_eq!(read("2026-05-14T15:00:00Z"), "2026-05-14T15:00:00Z");
    assert_eq!(read("2026-05-14T15:02:00Z"), "2026-05-14T15:00:00Z");
    assert_eq!(read("2026-05-14T15:02:00.000001Z"), "2026-05-15T15:00:00Z");
    assert_eq!(read("2026-12-31T15:30:00Z"), "2027-01-01T15:00:00Z");
}

/// A weekly limit was capped at six hours, so that its key failed four times a day until the week was over.
#[test]
fn a_weekly_limit_is_believed() {
    let now = at("2026-05-23T17:00:00Z");
    let outcome = Reader::default().read_text("You've hit your weekly limit · resets May 28, 5pm (UTC)", now);
    let until = outcome.hint.unwrap().until(now, Patience::default());
    assert_eq!(until, at("2026-05-28T17:00:00Z"));
}

/// Azure says -1, -1 and 0 for what it does not know, which was taken for a limit that is used up.
#[test]
fn what_azure_does_not_know_is_not_used_up() {
    let headers = [
        ("x-ratelimit-limit-requests", "-1"),
        ("x-ratelimit-remaining-requests", "-1"),
        ("x-ratelimit-reset-requests", "0"),
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "37"),
    ];
    let reading = Reader::new(Profile::Azure).read(&Reply::new(429, NOW).headers(&headers));
    let [tokens] = &reading.windows[..] else { panic!("one window is known: {reading:?}") };
    assert_eq!((tokens.name.as_str(), tokens.limit, tokens.remaining), ("tokens", Some(1_000), Some(0)));
    let resets = NOW.saturating_add(secs(37));
    assert_eq!(tokens.resets, Some(resets));
    assert_eq!(
        reading.outcome.hint,
        Some(Hint::Stated(resets)),
        "no wait is stated, but when the window begins anew is"
    );
    assert!(
        Reader::new(Profile::Azure)
            .read(&Reply::new(429, NOW).headers(&[headers[0], headers[1], headers[2]]))
            .outcome
            .hint
            .is_none()
    );
}

#[test]
fn windows_are_known_before_a_limit_is_hit() {
    let headers = [
        ("x-ratelimit-limit-requests", "14400"),
        ("x-ratelimit-remaining-requests", "14370"),
        ("x-ratelimit-reset-requests", "2m59.56s"),
        ("x-ratelimit-remaining-tokens", "17997.9"),
        ("x-ratelimit-reset-tokens", "7.66s"),
    ];
    let reading = Reader::new(Profile::Groq).read(&Reply::new(200, NOW).headers(&headers));
    assert_eq!(reading.outcome, Outcome::new(Class::Success));
    let shown: Vec<_> = reading
        .windows
        .iter()
        .map(|window| {
            (window.name.as_str(), window.limit, window.remaining, window.resets.unwrap().since(NOW).as_micros())
        })
        .collect();
    assert_eq!(
        shown,
        [("requests", Some(14_400), Some(14_370), 179_560_000), ("tokens", None, Some(17_997), 7_660_000)]
    );
}

#[test]
fn anthropic_s_windows_have_instants_and_its_subscriptions_have_shares() {
    let headers = [
        ("anthropic-ratelimit-input-tokens-limit", "50000"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-05-28T20:30:00Z"),
        ("anthropic-ratelimit-unified-5h-status", "allowed_warning"),
        ("anthropic-ratelimit-unified-5h-utilization", "0.8300001"),
        ("anthropic-ratelimit-unified-5h-reset", "1780000600"),
        ("anthropic-ratelimit-unified-7d-status", "rejected"),
        ("anthropic-ratelimit-unified-7d-reset", "1780000700"),
    ];
    let reading = Reader::new(Profile::Anthropic).read(&Reply::new(429, NOW).headers(&headers));
    let shown: Vec<_> =
        reading.windows.iter().map(|window| (window.name.as_str(), window.limit, window.remaining)).collect();
    assert_eq!(
        shown,
        [
            ("input-tokens", Some(50_000), Some(0)),
            ("unified-5h", Some(1_000_000), Some(169_999)),
            ("unified-7d", Some(1_000_000), Some(0)),
        ]
    );
    let latest = Timestamp::from_secs(1_780_000_700).unwrap().max(at("2026-05-28T20:30:00Z"));
    assert_eq!(reading.outcome.hint, Some(Hint::Stated(latest)), "all that is used up has begun anew");
}

/// A subscription that was used up for hours sent a short Retry-After along; its key was tried again every few seconds.
#[test]
fn a_rejected_subscription_outlasts_a_short_wait_and_one_that_is_not_rejected_does_not() {
    let hint = |headers: &[(&str, &str)]| {
        Reader::new(Profile::Anthropic).read(&Reply::new(429, NOW).headers(&headers.to_vec())).outcome.hint
    };
    let (wait, reset) = (("retry-after", "20"), ("anthropic-ratelimit-unified-reset", "1780007200"));
    let later = Some(Hint::Stated(Timestamp::from_secs(1_780_007_200).unwrap()));
    assert_eq!(hint(&[wait, reset, ("anthropic-ratelimit-unified-status", "rejected")]), later);
    assert_eq!(hint(&[wait, reset, ("anthropic-ratelimit-unified-status", "allowed")]), Some(Hint::Wait(secs(20))));
    assert_eq!(hint(&[reset]), later);
    let past = hint(&[("anthropic-ratelimit-unified-reset", "1000")]).unwrap();
    assert_eq!(past.until(NOW, Patience::default()), NOW.saturating_add(Length::SECOND));
}

/// A daily quota came with a delay of 22 seconds, after which it was used up as before.
#[test]
fn a_quota_of_a_day_lasts_until_google_s_next_day() {
    let body = |id: &str| {
        json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "22s"},
        ]}})
        .to_string()
    };
    let read = |id: &str, now| Reader::new(Profile::Gemini).read(&Reply::new(429, now).body(&body(id)));
    let day = read("GenerateRequestsPerDayPerProjectPerModel-FreeTier", at("2026-01-14T20:00:00Z"));
    assert_eq!(day.outcome.hint, Some(Hint::Stated(at("2026-01-15T08:00:00Z"))));
    assert_eq!(day.concerns, Concerns::KeyAndModel);
    let minute = read("GenerateRequestsPerMinutePerProject", NOW);
    assert_eq!((minute.outcome.hint, minute.concerns), (Some(Hint::Wait(secs(22))), Concerns::Key));
}

/// A server whose clock was ten minutes fast said when to come back by its own clock.
#[test]
fn a_date_is_taken_relative_to_the_answer_s_own() {
    let headers = |date: &'static str| [("Retry-After", "Thu, 28 May 2026 17:00:20 GMT"), ("Date", date)];
    let hint = |date| Reader::default().read(&Reply::new(429, NOW).headers(&headers(date))).outcome.hint;
    assert_eq!(hint("Thu, 28 May 2026 17:00:00 GMT"), Some(Hint::Wait(secs(20))));
    assert_eq!(hint("Thursday, 28-May-26 17:00:00 GMT"), Some(Hint::Wait(secs(20))));
    assert_eq!(hint("Thu, 28 May 2026 17:00:40 GMT"), Some(Hint::Stated(NOW)), "a date in the past is no wait");
    assert_eq!(hint("yesterday"), Some(Hint::Stated(at("2026-05-28T17:00:20Z"))));
}

#[test]
fn dates_of_http_have_three_forms_and_no_other() {
    let read = |text| http_date(text, NOW);
    assert_eq!(read("Tue, 29 Feb 2028 23:59:60 GMT"), Some(at("2028-03-01T00:00:00Z")));
    assert_eq!(read("Saturday, 01-Jan-80 00:00:00 GMT"), Some(at("1980-01-01T00:00:00Z")));
    assert_eq!(read("Wednesday, 01-Jan-70 00:00:00 GMT"), Some(at("2070-01-01T00:00:00Z")));
    for text in [
        "",
        "Thu",
        "Thu, 28 May 2026 17:00 GMT",
        "Thu, 28 May 2026 24:00:00 GMT",
        "Thu, 28 May 2026 17:00:00 PST",
        "Thu, 28 May 2026 17:00:00 GMT again",
        "Sun, 29 Feb 2026 00:00:00 GMT",
        "Thu, 28 May 02026 17:00:00 GMT",
        "Xyz, 28 May 2026 17:00:00 GMT",
        "Thu, ٢٨ May 2026 17:00:00 GMT",
    ] {
        assert_eq!(read(text), None, "{text:?}");
    }
}

#[test]
fn numbers_above_ten_to_the_eleventh_are_milliseconds_and_what_is_finer_than_a_microsecond_is_rounded_up() {
    assert_eq!(unix("100000000000"), Timestamp::from_secs(100_000_000_000));
    assert_eq!(unix("100000000001"), Timestamp::from_millis(100_000_000_001));
    assert_eq!(unix("1780000000.0000001"), Some(Timestamp::from_micros(1_780_000_000_000_001)));
    assert_eq!(unix(&"9".repeat(60)), Some(Timestamp::MAX));
    assert_eq!(rfc3339("2026-05-28T17:00:00.0000001Z"), Some(at("2026-05-28T17:00:00.000001Z")));
    assert_eq!(rfc3339("2026-05-28T23:59:60.5Z"), Some(at("2026-05-29T00:00:00.5Z")));
    assert_eq!(rfc3339("1969-12-31T23:59:59.9999999Z"), Some(Timestamp::EPOCH));
    for text in ["", "-1", "1_000", "١٢", "2026-05-28", "2026-05-28T17:00:00"] {
        assert_eq!((unix(text), rfc3339(text)), (None, None), "{text:?}");
    }
}

#[test]
fn a_stream_that_breaks_says_in_its_event_what_its_status_could_not() {
    let read = |body: &str| Reader::default().read(&Reply::new(200, NOW).body(body)).outcome.class;
    assert_eq!(
        read(
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n"
        ),
        Class::Overloaded
    );
    assert_eq!(read(r#"{"error": {"code": 502, "message": "no provider"}}"#), Class::Transient);
    assert_eq!(
        read(r#"{"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}"#),
        Class::RateLimited
    );
    assert_eq!(read(r#"{"error": {"code": "content_filter"}}"#), Class::NoVerdict);
    assert_eq!(read(r#"{"error": null, "status": "completed", "code": "rate_limit_exceeded"}"#), Class::Success);
}

#[test]
fn an_empty_stream_counts_by_its_status_where_that_says_more() {
    let read = |status| Reader::default().read(&Reply::new(status, NOW).empty_stream()).outcome.class;
    assert_eq!((read(200), read(401), read(429)), (Class::Transient, Class::CredentialRefused, Class::RateLimited));
}

#[test]
fn each_provider_s_own_names_are_known() {
    let bedrock = [("x-amzn-ErrorType", "ThrottlingException:http://internal.example/")];
    let read = |profile, status, body: &str, headers: &dyn Headers| {
        let reading = Reader::new(profile).read(&Reply::new(status, NOW).headers(headers).body(body));
        (reading.outcome.class, reading.concerns)
    };
    let none: [(&str, &str); 0] = [];
    for (profile, status, body, headers, class) in [
        (Profile::Bedrock, 400, "", &bedrock as &dyn Headers, Class::RateLimited),
        (Profile::Bedrock, 403, r#"{"__type":"com.amazon#ExpiredTokenException"}"#, &none, Class::CredentialRefused),
        (Profile::Bedrock, 424, r#"{"__type":"ModelErrorException"}"#, &none, Class::Transient),
        (Profile::Groq, 498, "", &none, Class::Overloaded),
        (Profile::OpenAi, 498, "", &none, Class::CallersFault),
        (Profile::OpenAi, 503, r#"{"error":{"code":"slow_down"}}"#, &none, Class::Overloaded),
        (
            Profile::Gemini,
            400,
            r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
            &none,
            Class::CredentialRefused,
        ),
        (
            Profile::Anthropic,
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-06-01 at 00:00 UTC."}}"#,
            &none,
            Class::QuotaExhausted,
        ),
    ] {
        assert_eq!(read(profile, status, body, headers), (class, Concerns::Key), "{profile:?} {status} {body}");
    }
    for (profile, status, body) in [
        (Profile::Azure, 404, r#"{"error":{"code":"DeploymentNotFound"}}"#),
        (Profile::Gemini, 404, r#"{"error":{"code":404,"status":"NOT_FOUND","message":"models/x is not found"}}"#),
        (Profile::Anthropic, 404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: x"}}"#),
        (Profile::OpenAi, 403, r#"{"error":{"code":"model_not_found"}}"#),
    ] {
        assert_eq!(read(profile, status, body, &none), (Class::ModelRefused, Concerns::KeyAndModel), "{body}");
    }
    let conversation = r#"{"error":{"message":"No such conversation"}}"#;
    assert_eq!(read(Profile::OpenAi, 404, conversation, &none).0, Class::CallersFault);
}

#[test]
fn words_say_until_when_only_where_a_host_asks_and_headers_do_not() {
    let body = json!({"error": {"message": "Limit reached. Please try again in 20s."}}).to_string();
    let reply = Reply::new(429, NOW).body(&body);
    assert_eq!(Reader::default().read(&reply).outcome.hint, None);
    let in_20_seconds = Some(Hint::Read(NOW.saturating_add(secs(20))));
    let asked = Reader::default().with_text();
    assert_eq!(asked.read(&reply).outcome.hint, in_20_seconds);
    let headers = [("retry-after", "5")];
    assert_eq!(asked.read(&reply.headers(&headers)).outcome.hint, Some(Hint::Wait(secs(5))));
    let plain = Reply::new(429, NOW).body("slow down, try again in 20s");
    assert_eq!(asked.read(&plain).outcome.hint, in_20_seconds);
}

#[test]
fn a_rate_that_only_words_tell_of_is_left_alone_for_five_minutes() {
    let outcome = Reader::default().read_text("Claude usage limit reached", NOW);
    assert_eq!(outcome.hint, Some(Hint::Read(NOW.saturating_add(secs(300)))));
    let shorter = Reader::default().with_text_for(secs(90)).read_text("too many requests", NOW);
    assert_eq!(shorter.hint, Some(Hint::Read(NOW.saturating_add(secs(90)))));
    assert_eq!(Reader::default().read_text("out of credits", NOW).hint, None);
}

#[test]
fn times_in_words_have_many_forms() {
    let now = at("2026-05-25T18:00:00Z");
    for (text, expected) in [
        ("Try again in 2 days 13 hours 5 minutes.", "2026-05-28T07:05:00Z"),
        ("Please retry in 45.837906927s.", "2026-05-25T18:00:45.837907Z"),
        ("resets in 2h 15m", "2026-05-25T20:15:00Z"),
        ("Retry after: 1 hour and 30 minutes", "2026-05-25T19:30:00Z"),
        ("Claude AI usage limit reached|1779740000", "2026-05-25T20:13:20Z"),
        ("resets May 28, 5pm (UTC)", "2026-05-28T17:00:00Z"),
        ("resets May 28 at 5:30 p.m.", "2026-05-28T17:30:00Z"),
        ("Try again at Feb 22nd, 2027 1:20 AM.", "2027-02-22T01:20:00Z"),
        ("resets Jan 2, 12am (UTC)", "2027-01-02T00:00:00Z"),
        ("resets Feb 29, 1pm", "2028-02-29T13:00:00Z"),
        ("You will regain access on 2026-06-01 at 00:00 UTC.", "2026-06-01T00:00:00Z"),
        ("quota resets at 2026-05-26T01:02:03+02:00.", "2026-05-25T23:02:03Z"),
        ("resets 23:15:30 GMT", "2026-05-25T23:15:30Z"),
        ("resets 12pm (+05:30)", "2026-05-26T06:30:00Z"),
        ("You can try again. It resets 7pm.", "2026-05-25T19:00:00Z"),
        ("resets 7pm (utc). May I go on?", "2026-05-25T19:00:00Z"),
    ] {
        assert_eq!(text_reset(text, now).map(|at| at.to_string()).as_deref(), Some(expected), "{text}");
    }
    for text in [
        "",
        "resets soon",
        "resets 3",
        "resets 25:00",
        "resets 0pm",
        "resets 3pm (Mars/Olympus)",
        "resets 3pm PST",
        "resets 15:30 on 8 Jan",
        "resets 3pm UTC, Jan 8",
        "resets Feb 30, 1pm",
        "resets May 28, 13:99",
        "try again in ٢٠s",
        "try again in 2٠s",
        "try again in -5s",
        "presets 3pm",
        "resetsx 3pm",
    ] {
        assert_eq!(text_reset(text, now), None, "{text}");
    }
}

#[cfg(feature = "tz")]
#[test]
fn times_in_words_are_read_in_their_zone() {
    let now = at("2026-05-25T18:00:00Z");
    assert_eq!(text_reset("resets 9pm (Europe/Berlin)", now), Some(at("2026-05-25T19:00:00Z")));
    assert_eq!(text_reset("resets May 28, 5pm (America/New_York)", now), Some(at("2026-05-28T21:00:00Z")));
}

#[test]
fn a_rule_of_the_host_goes_first_and_never_reads_what_a_model_wrote() {
    let rule = || AnswerRule::new(Class::QuotaExhausted).words(["plan expired"]);
    let reader = Reader::default()
        .rule(AnswerRule::new(Class::Transient).status(401).words(["upstream login"]).cooldown(secs(9)))
        .unwrap()
        .rule(rule())
        .unwrap();
    let read = |status, body| reader.read(&Reply::new(status, NOW).body(body)).outcome;
    assert_eq!(read(401, "Upstream LOGIN failed"), Outcome::new(Class::Transient).with_hint(Hint::Wait(secs(9))));
    assert_eq!(read(401, "upstream logins failed").class, Class::CredentialRefused);
    assert_eq!(read(429, r#"{"error":{"message":"your pl\u0061n expired"}}"#).class, Class::QuotaExhausted);
    assert_eq!(read(200, "the plan expired").class, Class::Success);
    for (rule, field) in [
        (AnswerRule::new(Class::Transient), "rule"),
        (rule().status(99), "rule.status"),
        (rule().words([" "]), "rule.words"),
    ] {
        assert_eq!(Reader::default().rule(rule).unwrap_err().field(), Some(field));
    }
}

/// A pool of one key blocked itself after one 503, and answered nothing for a minute.
#[test]
fn a_key_without_others_is_waited_for_and_never_blocked_for_what_is_transient() {
    let retries = Retries::default();
    let next = |class, tries, others| retries.next(&Outcome::new(class), tries, others, NOW);
    let here = |millis: i64| Next::RetryHere { after: Length::from_micros(millis * 1_000).unwrap() };
    let alone: Vec<_> = (0..3).map(|tries| next(Class::Transient, tries, 0)).collect();
    assert_eq!(alone, [here(500), here(1_000), Next::GiveUp]);
    let many: Vec<_> = (0..3).map(|tries| next(Class::Transient, tries, 7)).collect();
    assert_eq!(many, [here(500), here(1_000), Next::Switch]);
    assert_eq!(next(Class::Overloaded, 0, 0), here(500));
    assert_eq!(next(Class::Overloaded, 2, 0), Next::Switch);
    assert_eq!(next(Class::RateLimited, 0, 1), Next::Switch);
    for class in [Class::QuotaExhausted, Class::CredentialRefused, Class::ModelRefused] {
        assert_eq!((next(class, 0, 0), next(class, 0, 3)), (Next::Switch, Next::Switch));
    }
    for class in [Class::Success, Class::CallersFault, Class::NoVerdict] {
        assert_eq!((next(class, 0, 0), next(class, 0, 3)), (Next::GiveUp, Next::GiveUp));
    }
}

#[test]
fn waits_double_to_eight_seconds_and_are_never_shorter_than_what_is_asked_for() {
    let retries = Retries { most: u32::MAX, ..Retries::default() };
    let broken = Outcome::new(Class::Transient);
    let waits: Vec<_> = [0, 1, 2, 3, 4, 5, 63, 64, u32::MAX - 1]
        .into_iter()
        .map(|tries| match retries.next(&broken, tries, 1, NOW) {
            Next::RetryHere { after } => after.as_micros() / 1_000,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000, 8_000, 8_000]);
    let asked = |seconds| retries.next(&broken.with_hint(Hint::Wait(secs(seconds))), 0, 1, NOW);
    assert_eq!(asked(3), Next::RetryHere { after: secs(3) });
    assert_eq!(asked(9), Next::Switch, "the provider asks for more than a key is waited for");
}

#[test]
fn an_event_of_a_limit_is_a_window_and_a_verdict() {
    let event = |json: Value| RateLimitEvent::of(json.to_string().as_bytes());
    let rejected = event(json!({"rate_limit_info": {
        "status": "rejected", "rateLimitType": "seven_day", "resetsAt": 1_780_500_000}}))
    .unwrap();
    assert_eq!((rejected.window.limit, rejected.window.remaining), (Some(1_000_000), Some(0)));
    let resets = Timestamp::from_secs(1_780_500_000).unwrap();
    assert_eq!(rejected.outcome(), Outcome::new(Class::RateLimited).with_hint(Hint::Stated(resets)));
    let over = event(json!({"status": "allowed", "rateLimitType": "overage", "utilization": 1.02})).unwrap();
    assert_eq!((over.window.remaining, over.outcome().class), (Some(0), Class::NoVerdict));
    assert_eq!(event(json!({"status": "allowed"})), None);
}

/// A provider repeated the key that it refused in its message, and the message was logged.
#[test]
fn no_debug_text_shows_a_body_a_header_or_a_message() {
    let body = json!({"error": {"message": "Incorrect API key provided: sk-canary"}}).to_string();
    let headers = [("authorization", "sk-canary")];
    let reply = Reply::new(401, NOW).headers(&headers).body(&body);
    let shown = format!("{reply:?} {:?} {:?}", Fields::of(body.as_bytes()), Reader::default().with_text().read(&reply));
    assert!(!shown.contains("canary"), "{shown}");
}

#[cfg(feature = "http")]
#[test]
fn a_header_map_is_headers() {
    let mut headers = http::HeaderMap::new();
    headers.insert("Retry-After", "1.5".parse().unwrap());
    headers.insert("date", http::HeaderValue::from_bytes(b"\xff").unwrap());
    let reading = Reader::default().read(&Reply::new(503, NOW).headers(&headers));
    assert_eq!(reading.outcome.hint, Some(Hint::Wait("1500ms".parse().unwrap())));
}

#[test]
fn what_is_read_of_a_body_is_bounded() {
    let deep = "[".repeat(1 << 20);
    assert_eq!(Fields::of(deep.as_bytes()), Fields::default());
    let long = json!({"error": {"code": "x".repeat(1 << 16), "message": "é".repeat(1 << 15)}}).to_string();
    let fields = Fields::of(long.as_bytes());
    assert_eq!(fields.code, None, "it does not end within what is read");
    let long = json!({"error": {"message": "é".repeat(1 << 13), "code": "a".repeat(1_000)}}).to_string();
    let fields = Fields::of(long.as_bytes());
    assert_eq!((fields.message.unwrap().len(), fields.code.unwrap().len()), (4_096, 128));
    let ids: Vec<_> = (0..1_000).map(|n| json!({"quotaId": n.to_string()})).collect();
    let many = json!({"error": {"details": [{"violations": ids}]}}).to_string();
    assert_eq!(Fields::of(many.as_bytes()).quota_ids.len(), 8);
}

#[test]
fn a_body_that_is_cut_short_says_what_it_said() {
    let whole = json!({"error": {"type": "x", "code": "insufficient_quota", "message": "m \"\\\u{1f600}"}}).to_string();
    let class = |body: &str| Reader::default().read(&Reply::new(429, NOW).body(body)).outcome.class;
    for end in (0..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let said = whole[..end].contains(r#""insufficient_quota""#);
        let expected = if said { Class::QuotaExhausted } else { Class::RateLimited };
        assert_eq!(class(&whole[..end]), expected, "{}", &whole[..end]);
    }
    let escaped = br#"{"error":{"message":"\ud83d\ude00 \ud83d \u00e9\n\q\""}}"#;
    assert_eq!(Fields::of(escaped).message.as_deref(), Some("😀 \u{fffd} é\nq\""));
}

/// Texts that look like what is parsed, so that more than the first letter is reached.
fn texts() -> impl Strategy<Value = String> {
    let pieces = [
        "resets ",
        "try again in ",
        "try again at ",
        "retry after ",
        "limit reached|",
        "regain access on ",
        "May ",
        "Feb 29",
        "28th, ",
        "2026-05-28",
        "T17:00:00Z",
        "5pm",
        "8:35 PM",
        "(UTC)",
        "(+99:99)",
        "(",
        ")",
        "12",
        "99999999999999999999",
        ".",
        "0.000000000000000001",
        ":",
        "s",
        "ms",
        "h",
        "m",
        "µs",
        "٢",
        "-",
        "+",
        " ",
        ",",
        "Sun, 06 Nov 1994 ",
        "08:49:37",
        " GMT",
        "429",
        "529",
        "é",
        "\u{0}",
        "limit",
        "hit your ",
        "1779987600",
        "1e9",
        "NaN",
        "inf",
    ];
    prop_oneof![
        ".{0,60}",
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..9).prop_map(|pieces| pieces.concat()),
    ]
}

/// Bytes that look like JSON of errors, or like anything.
fn bodies_of_any_kind() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u",
        "d83d",
        "\"error\":",
        "\"code\":",
        "\"message\":",
        "\"details\":",
        "\"retryDelay\":",
        "\"violations\":",
        "\"quotaId\":",
        "\"PerDay\"",
        "\"22s\"",
        "429",
        "null",
        "\"rate_limit_exceeded\"",
        "data:",
        "event: error\n",
        "\n",
        " ",
        "<html>",
        "\"status\":",
        "\"rateLimitType\":",
        "\"utilization\":",
        "0.5",
        "\"resets_at\":",
        "1e400",
    ];
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..30)
            .prop_map(|pieces| pieces.concat().into_bytes()),
    ]
}

fn profiles() -> impl Strategy<Value = Profile> {
    proptest::sample::select(vec![
        Profile::OpenAi,
        Profile::Azure,
        Profile::Groq,
        Profile::Anthropic,
        Profile::Gemini,
        Profile::Bedrock,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 20 } else { 2_000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_makes_a_parser_panic(text in texts(), date in texts(), now: i64) {
        let now = Timestamp::from_micros(now);
        let _ = (go_duration(&text), retry_after(&text, Some(&date), now), retry_after_ms(&text), rfc3339(&text));
        let _ = (unix(&text), reset(&text, now), http_date(&text, now), text_reset(&text, now), text_class(&text));
        let _ = (credits_exhausted(Some(&text)), Fields::of(text.as_bytes()), RateLimitEvent::of(text.as_bytes()));
    }

    #[test]
    fn no_answer_makes_the_reader_panic_and_every_hint_is_within_the_bounds(
        status: u16,
        body in bodies_of_any_kind(),
        values in proptest::collection::vec(texts(), 5),
        profile in profiles(),
        now in prop_oneof![any::<i64>(), 0..4_000_000_000_000_000_i64],
        tries: u32,
    ) {
        let now = Timestamp::from_micros(now);
        let lookup = headers_by(|name| Some(values[name.len() % values.len()].as_str()));
        let reply = Reply::new(status, now).headers(&lookup).body(&body);
        let reader = Reader::new(profile).with_text().rule(AnswerRule::new(Class::RateLimited).words(["hit"])).unwrap();
        for reply in [reply, reply.empty_stream(), Reply::new(429, now).headers(&lookup).body(&body)] {
            let outcome = reader.read(&reply).outcome;
            let _ = Retries::default().next(&outcome, tries, 0, now);
            if let Some(hint) = outcome.hint {
                let until = hint.until(now, Patience::default());
                let least = if matches!(hint, Hint::Read(_)) { Length::MINUTE } else { Length::SECOND };
                prop_assert!(until >= now.saturating_add(least) && until <= now.saturating_add(Length::WEEK));
            }
        }
        let _ = RateLimitEvent::of(&body).map(|event| event.outcome());
    }

    #[test]
    fn no_wait_is_rounded_down(whole in 0..1_000_000_u64, nanos in 0..1_000_000_000_u32, finer in 0..1_000_u32) {
        let exact = Duration::new(whole, nanos);
        let at_least = |wait: Duration| wait >= exact && wait <= exact + Duration::from_nanos(1_001);
        let text = format!("{whole}.{nanos:09}{finer:03}");
        prop_assert!(at_least(go_duration(&text).unwrap()), "{}", text);
        let parts = format!("{}h{}m{}.{nanos:09}{finer:03}s", whole / 3_600, whole / 60 % 60, whole % 60);
        prop_assert_eq!(go_duration(&parts), go_duration(&text), "rounded once, however it is written");
        prop_assert!(at_least(retry_after(&text, None, NOW).unwrap().instant(NOW).since(NOW)));
        let millis = format!("{}{:03}.{:06}", whole, nanos / 1_000_000, nanos % 1_000_000);
        prop_assert!(at_least(retry_after_ms(&millis).unwrap()));
        let unix = unix(&text).unwrap().since(Timestamp::EPOCH);
        prop_assert!(at_least(unix));
        let words = text_reset(&format!("try again in {text} seconds"), NOW).unwrap().since(NOW);
        prop_assert!(at_least(words));
    }

    #[test]
    fn an_instant_in_words_is_never_more_than_two_minutes_ago_and_a_day_ahead(
        now in 0..4_000_000_000_000_000_i64,
        hour in 0..24_u32,
        minute in 0..60_u32,
    ) {
        let now = Timestamp::from_micros(now);
        let read = text_reset(&format!("resets {hour:02}:{minute:02} UTC"), now).unwrap();
        prop_assert!(read >= now.saturating_sub(secs(120)) && read < now.saturating_add(secs(86_400 - 120)));
        prop_assert_eq!(read.as_secs().rem_euclid(86_400), i64::from(hour * 3_600 + minute * 60));
        prop_assert_eq!(read.as_micros() % 1_000_000, 0);
    }

    #[test]
    fn what_serde_writes_as_json_is_read_as_it_was(message in "\\PC{0,80}|[\\x00-\\x7f]{0,40}", code in "[a-z_]{1,20}") {
        let body = json!({"noise": [1, {"error": {"code": "no"}}, null], "error": {"message": message, "code": code}});
        let fields = Fields::of(serde_json::to_string_pretty(&body).unwrap().as_bytes());
        prop_assert_eq!(fields.message.unwrap_or_default(), message);
        prop_assert_eq!(fields.code, Some(code));
    }
}
