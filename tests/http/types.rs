//! Into the types of the `http` crate.

use super::*;

#[test]
fn a_denial_becomes_a_response_of_the_http_crate() {
    let denied = Options::default().families(ALL).denied(&[], &[blocked(&calls("é\"\\"), 0, seconds(5))], now());
    let (count, body) = (denied.headers.len(), denied.body.clone());
    let response: http::Response<Vec<u8>> = denied.into();
    assert_eq!(response.status(), http::StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers().len(), count);
    assert_eq!(response.headers()["Retry-After"], "5");
    assert_eq!(response.headers()["RateLimit"], r#""%C3%A9\"\\";r=0;t=5"#);
    assert_eq!(response.headers()[http::header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(response.body(), body.as_bytes());
}

#[test]
fn a_status_that_is_none_becomes_an_internal_error() {
    let mut denied = Options::default().denied(&[], &[], now());
    denied.status = 1_000;
    assert_eq!(http::Response::from(denied).status(), http::StatusCode::INTERNAL_SERVER_ERROR);
}
