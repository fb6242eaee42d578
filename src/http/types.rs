//! The types of the `http` crate.

use ::http::header::{HeaderMap, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};

/// Headers as a map, to be added to those of an answer.
///
/// ```
/// let map = keyward::http::header_map([("retry-after", "5".to_owned())]);
/// assert_eq!(map["Retry-After"], "5");
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
#[must_use]
pub fn header_map(headers: impl IntoIterator<Item = super::Header>) -> HeaderMap {
    let pairs = headers.into_iter().filter_map(|(name, value)| {
        // Names are written in this module, and values are visible ASCII.
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    });
    pairs.collect()
}

#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
impl super::Response {
    /// The same as a response of the `http` crate, with whatever body can be made of a text.
    ///
    /// ```
    /// use keyward::http::Options;
    /// let answer = Options::default().error(404, "not_found", "there is no such model").into_http::<String>();
    /// assert_eq!(answer.status(), 404);
    /// assert_eq!(answer.headers()["Content-Type"], "application/problem+json");
    /// ```
    #[must_use]
    pub fn into_http<B: From<String>>(self) -> Response<B> {
        let Self { status, headers, body } = self;
        let mut response = Response::new(body.into());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = header_map(headers);
        response
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
impl From<super::Response> for Response<Vec<u8>> {
    fn from(denied: super::Response) -> Self {
        denied.into_http()
    }
}
