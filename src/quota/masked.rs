//! What of a secret may be shown.

use std::fmt;

use crate::error::Error;
use crate::id::Secret;

/// A secret as people may see it: at most a quarter of its characters, from both of its ends.
///
/// ```
/// use keyward::Secret;
/// use keyward::quota::Masked;
/// assert_eq!(Masked::of(&Secret::new("kw_0123456789abcdefghijklmnopqrst")).as_str(), "kw_0…qrst");
/// assert_eq!(Masked::of(&Secret::new("abc")).as_str(), "…");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Masked(String);

/// The most that is shown of either end.
const MOST: usize = 4;
/// What stands for all that is not shown.
const MASKS: [&str; 4] = ["…", "...", "***", "•••"];

impl Masked {
    /// The secret, masked.
    #[must_use]
    pub fn of(secret: &Secret) -> Self {
        let text = secret.expose();
        let count = text.chars().count();
        let quarter = count / 4;
        let tail = quarter.div_ceil(2).min(MOST);
        let head = quarter.saturating_sub(tail).min(MOST);
        let shown = text.chars().take(head).chain(['…']).chain(text.chars().skip(count.saturating_sub(tail)));
        Self(shown.collect())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The secret that a person wrote into this field; a masked one, which a form had shown and sends back, is refused.
///
/// ```
/// use keyward::quota::secret_in;
/// assert_eq!(secret_in("keys[2].secret", " sk-1234567890 ")?.expose(), "sk-1234567890");
/// assert_eq!(secret_in("keys[2].secret", "sk-1…890").unwrap_err().field(), Some("keys[2].secret"));
/// # Ok::<(), keyward::Error>(())
/// ```
///
/// # Errors
/// A text that is empty, masked, or has spaces or control characters inside. The text itself is not repeated.
pub fn secret_in(field: &str, text: &str) -> Result<Secret, Error> {
    let text = text.trim();
    let refused = |what: &str, expected: &'static str| Error::invalid(field.to_owned(), what, expected);
    if text.is_empty() {
        return Err(refused("nothing", "a secret"));
    }
    if MASKS.iter().any(|mask| text.contains(mask)) || text.chars().all(|char| char == '*') {
        return Err(refused("a masked secret", "the secret itself; leave the field out to keep the one that is there"));
    }
    if text.chars().any(|char| char.is_whitespace() || char.is_control()) {
        return Err(refused("a text with spaces or control characters", "a secret without any"));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// aigetwey: a configuration was shown with its keys masked and saved as it was shown; every key was replaced by its
    /// mask, and the rules that went by the keys were dropped.
    #[test]
    fn a_masked_secret_is_refused_when_it_comes_back() {
        for text in ["sk-ant-…6789", "sk-...789", "****", "**", "sk-***", "•••"] {
            let error = secret_in("upstream.keys[0]", text).unwrap_err();
            assert_eq!((error.field(), error.value()), (Some("upstream.keys[0]"), Some("a masked secret")));
        }
        for text in ["", "  ", "sk 1", "sk\u{0}1"] {
            let error = secret_in("key", text).unwrap_err();
            assert!(error.field() == Some("key") && !error.to_string().contains("sk"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn at_most_a_quarter_is_shown_and_never_all(text in "[!-~]{0,80}") {
            let secret = Secret::new(text.as_str());
            let masked = Masked::of(&secret);
            let shown = masked.as_str().chars().filter(|char| *char != '…').count();
            prop_assert!(shown * 4 <= text.len() && shown <= 8);
            prop_assert_ne!(masked.as_str(), &text);
            prop_assert!(secret_in("key", masked.as_str()).is_err());
        }
    }
}
