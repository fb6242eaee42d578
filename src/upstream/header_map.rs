//! The header map of the `http` crate.

use super::Headers;

/// A value that is no visible ASCII is none.
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
impl Headers for ::http::HeaderMap {
    fn header(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| value.to_str().ok())
    }
}
