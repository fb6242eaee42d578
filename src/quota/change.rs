//! A change of a client key's record, in which what is absent stays as it is.

use std::collections::BTreeMap;

use super::{ClientKey, Network, Own};
use crate::error::Error;
use crate::id::LimitId;
use crate::time::Timestamp;

/// A change of a [`ClientKey`]: what is absent stays, what is null, empty or 0 is cleared.
///
/// Nothing here changes what was counted, and nothing but [`KeyPatch::enabled`] enables a key: a later expiry or a larger
/// amount lets a call pass that was refused for that, and no other.
///
/// ```
/// use keyward::quota::{ClientKey, KeyPatch};
/// use keyward::Secret;
///
/// let mut key = ClientKey::of("alice".parse()?, &Secret::new("kw_0123456789abcdefghijklmnopqrst"));
/// let patch = KeyPatch { models: Some(vec![" small ".into(), "".into()]), ..KeyPatch::default() };
/// patch.apply(&mut key)?;
/// assert_eq!(key.models, ["small"]);
///
/// let patch = KeyPatch { allow: Some(vec!["10.0.0.0/8".into(), "10.0.0.0/99".into()]), ..KeyPatch::default() };
/// assert_eq!(patch.apply(&mut key).unwrap_err().field(), Some("key.allow[1]"));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct KeyPatch {
    /// Its name; empty for none.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "or_empty"))]
    pub name: Option<String>,
    /// Whether it can be used at all.
    pub enabled: Option<bool>,
    /// The first instant at which it is valid; `Some(None)` for ever before.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "or_zero"))]
    pub not_before: Option<Option<Timestamp>>,
    /// The last instant at which it is valid; `Some(None)` for ever after.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "or_zero"))]
    pub expires: Option<Option<Timestamp>>,
    /// The models that it may use; empty for all.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "or_empty"))]
    pub models: Option<Vec<String>>,
    /// The kinds of client that may use it; empty for all.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "or_empty"))]
    pub client_types: Option<Vec<String>>,
    /// The pool for other kinds of client; empty for none.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "or_empty"))]
    pub fallback_pool: Option<String>,
    /// Networks from where it may not be used.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "or_empty"))]
    pub deny: Option<Vec<String>>,
    /// The only networks from where it may; empty for all.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "or_empty"))]
    pub allow: Option<Vec<String>>,
    /// What it has of its own of these limits, `None` for nothing; an empty map for nothing at all.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "or_empty"))]
    pub limits: Option<BTreeMap<LimitId, Option<Own>>>,
    /// Its tags by name, `None` to take one away; an empty map for all of them.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "or_empty"))]
    pub tags: Option<BTreeMap<String, Option<String>>>,
}

/// What a patch names; null is empty.
#[cfg(feature = "serde")]
fn or_empty<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de> + Default,
    D: serde::Deserializer<'de>,
{
    let named: Option<T> = serde::Deserialize::deserialize(from)?;
    Ok(Some(named.unwrap_or_default()))
}

/// An instant that a patch names; null and 0 are none.
#[cfg(feature = "serde")]
fn or_zero<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<Timestamp>>, D::Error> {
    let named: Option<Timestamp> = serde::Deserialize::deserialize(from)?;
    Ok(Some(named.filter(|at| *at != Timestamp::EPOCH)))
}

impl KeyPatch {
    /// Changes what it names, and nothing else.
    ///
    /// # Errors
    /// The first field that is wrong. Nothing is changed then.
    pub fn apply(&self, key: &mut ClientKey) -> Result<(), Error> {
        let mut changed = key.clone();
        let Self { name, enabled, not_before, expires, models, client_types, fallback_pool, deny, allow, limits, tags } =
            self;
        set(name, &mut changed.name);
        set(enabled, &mut changed.enabled);
        set(not_before, &mut changed.not_before);
        set(expires, &mut changed.expires);
        set(models, &mut changed.models);
        set(client_types, &mut changed.client_types);
        if let Some(pool) = fallback_pool {
            changed.fallback_pool = Some(pool.trim().to_owned()).filter(|pool| !pool.is_empty());
        }
        for (field, texts, networks) in
            [("key.deny", deny, &mut changed.addresses.deny), ("key.allow", allow, &mut changed.addresses.allow)]
        {
            if let Some(texts) = texts {
                *networks = read(field, texts)?;
            }
        }
        edit(limits, &mut changed.limits);
        edit(tags, &mut changed.tags);
        changed.normalize()?;
        *key = changed;
        Ok(())
    }
}

fn set<T: Clone>(named: &Option<T>, kept: &mut T) {
    if let Some(named) = named {
        kept.clone_from(named);
    }
}

fn edit<K: Ord + Clone, V: Clone>(named: &Option<BTreeMap<K, Option<V>>>, kept: &mut BTreeMap<K, V>) {
    let Some(named) = named else { return };
    if named.is_empty() {
        kept.clear();
    }
    for (key, value) in named {
        match value {
            Some(value) => drop(kept.insert(key.clone(), value.clone())),
            None => drop(kept.remove(key)),
        }
    }
}

/// Networks, blanks left out.
fn read(field: &str, texts: &[String]) -> Result<Vec<Network>, Error> {
    let texts = texts.iter().map(|text| text.trim()).enumerate().filter(|(_, text)| !text.is_empty());
    texts
        .map(|(place, text)| text.parse().map_err(|e: Error| e.renamed("address", &format!("{field}[{place}]"))))
        .collect()
}
