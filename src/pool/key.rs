//! An upstream key: what it is, apart from how it is doing.

use super::strategy::Member;
use crate::error::Error;
use crate::id::{Fingerprint, KeyId, KeySuffix, Secret};

/// A key of a provider's, with what a host says about it.
///
/// Its id is one that the host chose, or comes from the secret's fingerprint; never its position or its suffix, which
/// change hands. What is printed of a key is everything but its secret.
///
/// ```
/// use keyward::Secret;
/// use keyward::pool::Key;
///
/// let key = Key::new(Secret::new("sk-ant-123456789")).name("backup").provider("anthropic").weight(3);
/// assert!(key.id().as_str().starts_with("fp-"));
/// assert_eq!(key.suffix(5)?.as_str(), "56789");
/// assert!(!format!("{key:?}").contains("56789"));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Key {
    id: KeyId,
    secret: Secret,
    pub(super) member: Shared,
    name: Option<String>,
    provider: Option<String>,
    kind: Option<String>,
    scope: Option<Scope>,
    enabled: bool,
}

/// What matters to the choice among keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    weight: u32,
    priority: u32,
}

/// For whom a key is: everyone, one repository, one team, and so on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Scope {
    /// The kind of scope.
    pub name: String,
    /// Which one of that kind; `None` where there is only one.
    pub id: Option<String>,
}

impl Key {
    /// The heaviest that a key may be.
    pub const MOST_WEIGHT: u32 = 1_000_000;

    /// A key under an id that comes from its fingerprint: the same secret is the same key, wherever it is listed.
    pub fn new(secret: Secret) -> Self {
        Self {
            id: KeyId::from(&Fingerprint::of(&secret)),
            secret,
            member: Shared { weight: 1, priority: 0 },
            name: None,
            provider: None,
            kind: None,
            scope: None,
            enabled: true,
        }
    }

    /// Under an id that the host chose, which outlives the secret.
    pub fn identified(mut self, id: KeyId) -> Self {
        self.id = id;
        self
    }

    /// What people call it.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Whose key it is.
    pub fn provider(mut self, provider: &str) -> Self {
        self.provider = Some(provider.to_owned());
        self
    }

    /// What kind of key it is: an API key, a token of a subscription.
    pub fn kind(mut self, kind: &str) -> Self {
        self.kind = Some(kind.to_owned());
        self
    }

    /// For whom it is.
    pub fn scope(mut self, name: &str, id: Option<&str>) -> Self {
        self.scope = Some(Scope { name: name.to_owned(), id: id.map(str::to_owned) });
        self
    }

    /// How much of the work it gets, where that goes by weight; 1 unless set.
    pub const fn weight(mut self, weight: u32) -> Self {
        self.member.weight = weight;
        self
    }

    /// Which keys are used first: those of the lowest number, 0 unless set; others only while none of those can be.
    pub const fn priority(mut self, priority: u32) -> Self {
        self.member.priority = priority;
        self
    }

    /// Not to be used until it is enabled.
    pub const fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }

    /// To be used.
    pub const fn enabled(mut self) -> Self {
        self.enabled = true;
        self
    }

    /// The same key with another secret: its id, and with it its history, stays.
    pub fn rotated(mut self, secret: Secret) -> Self {
        self.secret = secret;
        self
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// Its secret, for the one place that sends it.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// What people call it.
    #[must_use]
    pub fn called(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whose key it is.
    #[must_use]
    pub fn of_provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// What kind of key it is.
    #[must_use]
    pub fn of_kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// For whom it is.
    #[must_use]
    pub const fn of_scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// Whether it is to be used.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Its last characters, for people: see [`KeySuffix`].
    ///
    /// # Errors
    /// A length that is not from 1 to 10.
    pub fn suffix(&self, length: usize) -> Result<KeySuffix, Error> {
        KeySuffix::of(&self.secret, length)
    }

    /// Whether it ends with these characters, as far as they would ever be shown.
    ///
    /// ```
    /// use keyward::Secret;
    /// use keyward::pool::Key;
    /// let key = Key::new(Secret::new("sk-ant-123456789"));
    /// assert!(key.ends_with("56789") && key.ends_with("789"));
    /// assert!(!key.ends_with("") && !key.ends_with("sk-ant-123456789"));
    /// ```
    #[must_use]
    pub fn ends_with(&self, suffix: &str) -> bool {
        KeySuffix::of(&self.secret, suffix.chars().count()).is_ok_and(|shown| shown.as_str() == suffix)
    }

    /// What matters to the choice among keys.
    #[must_use]
    pub fn member(&self) -> Member {
        let Shared { weight, priority } = self.member;
        Member { id: self.id.clone(), weight, priority }
    }

    /// Refuses what no key can be, by field; the secret is never part of what is said.
    ///
    /// ```
    /// use keyward::Secret;
    /// use keyward::pool::Key;
    /// let masked = Key::new(Secret::new("sk-a…6789")).check().unwrap_err();
    /// assert_eq!((masked.field(), masked.value()), (Some("key.secret"), Some("…")));
    /// ```
    ///
    /// # Errors
    /// A secret that is empty, has blanks or control characters, or is a masked text that came back; a weight out of range;
    /// a name that is empty or too long.
    pub fn check(&self) -> Result<(), Error> {
        let secret = self.secret.expose();
        let refused = |expected| Err(Error::invalid("key.secret", &self.secret, expected));
        if secret.is_empty() {
            return refused("a secret that is not empty");
        }
        if secret.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refused("a secret without blanks and control characters");
        }
        if secret.contains(['…', '•']) || secret.contains("***") {
            return refused("the secret itself, and not what was shown instead of it");
        }
        let Shared { weight, priority: _ } = self.member;
        if !(1..=Self::MOST_WEIGHT).contains(&weight) {
            return Err(Error::invalid("key.weight", weight, "from 1 to 1,000,000; to use no key, disable it"));
        }
        let scope = self.scope.as_ref();
        let texts = [
            ("key.name", self.name.as_deref()),
            ("key.provider", self.provider.as_deref()),
            ("key.kind", self.kind.as_deref()),
            ("key.scope", scope.map(|scope| scope.name.as_str())),
            ("key.scope_id", scope.and_then(|scope| scope.id.as_deref())),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                text.parse::<KeyId>()
                    .map_err(|error| Error::invalid(field, text, error.expected().unwrap_or_default().to_owned()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_with_one_suffix_are_two_keys() {
        let (one, two) = (Key::new(Secret::new("sk-one-99999")), Key::new(Secret::new("sk-two-99999")));
        assert_eq!(one.suffix(5), two.suffix(5));
        assert_ne!(one.id(), two.id());
        assert!(one.ends_with("99999") && two.ends_with("99999"));
    }

    #[test]
    fn a_rotated_key_is_the_same_key() {
        let old = Key::new(Secret::new("sk-one-99999")).name("one");
        let new = old.clone().rotated(Secret::new("sk-new-11111"));
        assert_eq!((old.id(), old.called()), (new.id(), new.called()));
        assert_ne!(old.secret(), new.secret());
    }

    #[test]
    fn what_no_key_can_be_is_refused_by_field_and_never_shown() {
        let key = |secret: &str| Key::new(Secret::new(secret));
        for (bad, field) in [
            (key(""), "key.secret"),
            (key("sk-canary 77"), "key.secret"),
            (key("sk-canary\r\nX-Evil: 1"), "key.secret"),
            (key("sk-***canary"), "key.secret"),
            (key("sk-canary").weight(0), "key.weight"),
            (key("sk-canary").weight(1_000_001), "key.weight"),
            (key("sk-canary").name(""), "key.name"),
            (key("sk-canary").scope("repo", Some("\n")), "key.scope_id"),
        ] {
            let error = bad.check().unwrap_err();
            assert_eq!(error.field(), Some(field));
            assert!(!format!("{error} {error:?} {bad:?}").contains("canary"), "{error}");
        }
        key("sk-canary-1").provider("openai").scope("global", None).check().unwrap();
    }
}
