//! Whether a client's key may be used at all: the checks before any limit is asked.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::refusal::Cause;
use super::{Addresses, Masked};
use crate::amount::Cap;
use crate::error::Error;
use crate::id::{Fingerprint, KeyId, LimitId, Secret};
use crate::time::Timestamp;

/// What one subject has of its own, instead of what the limit says for all. Its count stays the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Own {
    /// Its amount.
    pub cap: Option<Cap>,
    /// Where its windows begin, if they are anchored.
    pub anchor: Option<Timestamp>,
    /// From when on none of its windows opens, if a first use opens them.
    pub until: Option<Timestamp>,
}

/// What is kept of a client's key. Of the secret there is a fingerprint, by which it is found, and what may be shown.
///
/// The record says what may be done with the key, and counts nothing: what it has spent is in its accounts.
///
/// ```
/// use keyward::quota::{Caller, Cause, ClientKey, Gate};
/// use keyward::{Secret, Timestamp};
///
/// let mut key = ClientKey::of("alice".parse()?, &Secret::new("kw_0123456789abcdefghijklmnopqrst"));
/// key.models = vec!["small".to_owned()];
/// let call = Caller::new().model("small");
/// assert_eq!(key.check(&call, Timestamp::EPOCH), Gate::Open);
/// assert_eq!(key.check(&call.model("large"), Timestamp::EPOCH), Gate::Shut(Cause::Model));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ClientKey {
    /// What it is known by, whatever becomes of its secret.
    pub id: KeyId,
    /// What people call it; up to 200 characters.
    #[cfg_attr(feature = "serde", serde(default))]
    pub name: String,
    /// By which its secret is found.
    pub fingerprint: Fingerprint,
    /// What of its secret may be shown.
    pub masked: Masked,
    /// Whether a person has not taken it out.
    pub enabled: bool,
    /// The first instant at which it is valid.
    #[cfg_attr(feature = "serde", serde(default))]
    pub not_before: Option<Timestamp>,
    /// The last instant at which it is.
    #[cfg_attr(feature = "serde", serde(default))]
    pub expires: Option<Timestamp>,
    /// The models that it may use; all, if there are none.
    #[cfg_attr(feature = "serde", serde(default))]
    pub models: Vec<String>,
    /// The kinds of client that may use it; all, if there are none.
    #[cfg_attr(feature = "serde", serde(default))]
    pub client_types: Vec<String>,
    /// The pool that other kinds of client are sent to, instead of being refused.
    #[cfg_attr(feature = "serde", serde(default))]
    pub fallback_pool: Option<String>,
    /// From where it may be used.
    #[cfg_attr(feature = "serde", serde(default))]
    pub addresses: Addresses,
    /// What it has of its own, instead of what a limit says for all.
    #[cfg_attr(feature = "serde", serde(default))]
    pub limits: BTreeMap<LimitId, Own>,
    /// What else the host wants to know of it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tags: BTreeMap<String, String>,
    /// How often the record was saved. Whoever saves it names the revision that was read, so that no change is lost.
    #[cfg_attr(feature = "serde", serde(default))]
    pub revision: u64,
}

/// What is known of a call before it is planned. What is not known is not let in where there are rules about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Caller<'a> {
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// What kind of client it is.
    pub client_type: Option<&'a str>,
    /// Which model it is for.
    pub model: Option<&'a str>,
}

impl<'a> Caller<'a> {
    /// A call of which nothing is known.
    #[must_use]
    pub const fn new() -> Self {
        Self { address: None, client_type: None, model: None }
    }

    /// It comes from here.
    #[must_use]
    pub const fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// It comes from this kind of client.
    #[must_use]
    pub const fn client_type(mut self, client_type: &'a str) -> Self {
        self.client_type = Some(client_type);
        self
    }

    /// It is for this model.
    #[must_use]
    pub const fn model(mut self, model: &'a str) -> Self {
        self.model = Some(model);
        self
    }
}

/// Whether a call is let in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[must_use]
pub enum Gate {
    /// It is.
    Open,
    /// It is, and goes to this pool.
    Elsewhere(String),
    /// It is not.
    Shut(Cause),
}

/// The most characters of a name, or of a note.
const LONGEST: usize = 200;

impl ClientKey {
    /// The record of this secret: enabled, and without any rule.
    #[must_use]
    pub fn of(id: KeyId, secret: &Secret) -> Self {
        Self {
            id,
            name: String::new(),
            fingerprint: Fingerprint::of(secret),
            masked: Masked::of(secret),
            enabled: true,
            not_before: None,
            expires: None,
            models: Vec::new(),
            client_types: Vec::new(),
            fallback_pool: None,
            addresses: Addresses::default(),
            limits: BTreeMap::new(),
            tags: BTreeMap::new(),
            revision: 0,
        }
    }

    /// Whether a call with this key is let in, for the first reason that there is: disabled, not valid now, address, kind
    /// of client, model. Limits come after all of these, in one plan.
    pub fn check(&self, caller: &Caller<'_>, now: Timestamp) -> Gate {
        if !self.enabled {
            return Gate::Shut(Cause::Disabled);
        }
        if self.not_before.is_some_and(|from| now < from) {
            return Gate::Shut(Cause::NotYetValid);
        }
        if self.expires.is_some_and(|expires| expires < now) {
            return Gate::Shut(Cause::Expired);
        }
        if !self.addresses.admit(caller.address) {
            return Gate::Shut(Cause::Address);
        }
        let is_known = |list: &[String], value: Option<&str>| {
            list.is_empty() || value.is_some_and(|value| list.iter().any(|known| known == value.trim()))
        };
        let kind = is_known(&self.client_types, caller.client_type);
        if !kind && self.fallback_pool.is_none() {
            return Gate::Shut(Cause::ClientType);
        }
        if !is_known(&self.models, caller.model) {
            return Gate::Shut(Cause::Model);
        }
        match &self.fallback_pool {
            Some(pool) if !kind => Gate::Elsewhere(pool.clone()),
            _ => Gate::Open,
        }
    }

    /// What the key has of its own of a limit; nothing, if it has the same as all.
    #[must_use]
    pub fn own(&self, limit: &LimitId) -> Own {
        self.limits.get(limit).copied().unwrap_or_default()
    }

    /// Brings the record into its normal form: names are trimmed, blanks and what stands twice dropped.
    ///
    /// # Errors
    /// The first field that is wrong, such as `key.name` or `key.models[3]`. The record is to be thrown away then.
    pub fn normalize(&mut self) -> Result<(), Error> {
        self.name = text("key.name", &self.name)?;
        names("key.models", &mut self.models)?;
        names("key.client_types", &mut self.client_types)?;
        if let Some(pool) = &mut self.fallback_pool {
            *pool = text("key.fallback_pool", pool)?;
            if pool.is_empty() {
                return Err(Error::invalid("key.fallback_pool", "", "the name of a pool, or none"));
            }
        }
        for (name, value) in &self.tags {
            if text("key.tags", name)?.is_empty() {
                return Err(Error::invalid("key.tags", name, "a name that is not empty"));
            }
            text(&format!("key.tags.{name}"), value)?;
        }
        match (self.not_before, self.expires) {
            (Some(from), Some(expires)) if expires < from => {
                Err(Error::invalid("key.expires", expires, format!("no earlier than key.not_before, {from}")))
            }
            _ => Ok(()),
        }
    }
}

/// A text of at most 200 characters on one line, trimmed.
fn text(field: &str, text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.chars().count() > LONGEST || text.chars().any(char::is_control) {
        return Err(Error::invalid(field.to_owned(), text, "at most 200 characters, none of them a control character"));
    }
    Ok(text.to_owned())
}

fn names(field: &str, names: &mut Vec<String>) -> Result<(), Error> {
    let mut seen: Vec<String> = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let name = text(&format!("{field}[{place}]"), name)?;
        if !name.is_empty() && !seen.contains(&name) {
            seen.push(name);
        }
    }
    *names = seen;
    Ok(())
}
