//! Keys from text: a list with commas in between.
//!
//! ```
//! use keyward::pool::parse::{self, Twice};
//!
//! let listed: Vec<_> = parse::list(" token1 , token2,,").collect();
//! assert_eq!(listed, ["token1", "token2"]);
//!
//! let twice = parse::keys("sk-one-11111,sk-one-11111", Twice::Refused).unwrap_err();
//! assert_eq!(twice.to_string(), r#"keys: "key 2, …11111" is refused: each key once; this is key 1 again"#);
//! assert_eq!(parse::keys("sk-one-11111,sk-one-11111", Twice::Merged)?.len(), 1);
//! # Ok::<(), keyward::Error>(())
//! ```

use std::collections::BTreeMap;

use super::Key;
use crate::error::Error;
use crate::id::{KeySuffix, Secret};

/// What becomes of a key that is listed twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Twice {
    /// The list is refused.
    #[default]
    Refused,
    /// It is one key, where it is listed first.
    Merged,
}

/// The keys of a text: what stands between commas, trimmed, in their order; blanks are dropped.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|key| !key.is_empty())
}

/// The keys of a text, each checked.
///
/// # Errors
/// A key that no key can be, or one that is listed twice, by its place in the list; never by its secret.
pub fn keys(text: &str, twice: Twice) -> Result<Vec<Key>, Error> {
    once(list(text).map(|key| Key::new(Secret::new(key))), twice)
}

/// Each of these keys once, each checked.
///
/// # Errors
/// As those of [`keys`]. Two keys are one if they have the same id; two with one secret and two ids are refused always,
/// since they would be limited as one and counted as two.
pub fn once(keys: impl IntoIterator<Item = Key>, twice: Twice) -> Result<Vec<Key>, Error> {
    let mut once: Vec<Key> = Vec::new();
    let (mut by_id, mut by_secret) = (BTreeMap::new(), BTreeMap::new());
    for (place, key) in (1_usize..).zip(keys) {
        key.check().map_err(|error| {
            let value = error.value().unwrap_or_default().to_owned();
            let field =
                format!("keys.{place}.{}", error.field().and_then(|field| field.strip_prefix("key.")).unwrap_or("id"));
            Error::invalid(field, value, error.expected().unwrap_or_default().to_owned())
        })?;
        let fingerprint = crate::id::Fingerprint::of(key.secret());
        let earlier = by_id.get(key.id()).or_else(|| by_secret.get(&fingerprint)).copied();
        if let Some(earlier) = earlier {
            let same_id = by_id.contains_key(key.id());
            if twice == Twice::Merged && same_id {
                continue;
            }
            let shown = key.suffix(KeySuffix::LENGTH).unwrap_or_default();
            return Err(Error::invalid(
                "keys",
                format!("key {place}, …{shown}"),
                format!("each key once; this is key {earlier} again"),
            ));
        }
        by_id.insert(key.id().clone(), place);
        by_secret.insert(fingerprint, place);
        once.push(key);
    }
    Ok(once)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_secret_under_two_ids_is_refused_even_if_twins_are_merged() {
        let key = |id: &str| Key::new(Secret::new("sk-canary-1")).identified(id.parse().unwrap());
        let error = once([key("one"), key("two")], Twice::Merged).unwrap_err();
        assert_eq!(error.field(), Some("keys"));
        assert!(!error.to_string().contains("canary"), "{error}");
        let elsewhere = Key::new(Secret::new("sk-other-1")).identified("one".parse().unwrap());
        assert!(once([key("one"), elsewhere.clone()], Twice::Refused).is_err());
        assert_eq!(once([key("one"), elsewhere], Twice::Merged).unwrap(), [key("one")]);
    }

    #[test]
    fn a_key_that_is_wrong_is_named_by_its_place() {
        let error = keys("sk-good-1,sk-canary\tx", Twice::Refused).unwrap_err();
        assert_eq!(error.field(), Some("keys.2.secret"));
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_in_its_order_without_blanks(text in any::<String>()) {
            let listed: Vec<&str> = list(&text).collect();
            prop_assert!(listed.iter().all(|key| !key.is_empty() && key.trim() == *key && !key.contains(',')));
            let again = listed.join(" , ");
            prop_assert_eq!(list(&again).collect::<Vec<_>>(), listed.clone());
            match keys(&text, Twice::Merged) {
                Ok(keys) => prop_assert!(keys.iter().all(|key| listed.contains(&key.secret().expose()))),
                Err(error) => prop_assert!(error.field().is_some_and(|field| field.starts_with("keys"))),
            }
        }
    }
}
