//! Client keys: made once, found by their fingerprint, changed and removed by their id.
//!
//! The host keeps the records, through the small trait [`Clients`]; [`MemoryClients`] keeps them in memory. What a key has
//! spent is not in its record but in its accounts, so that no edit of the one can roll back the other.
//!
//! ```
//! use keyward::clients::{self, MemoryClients};
//! use keyward::quota::{Caller, Cause, Gate, KeyPatch};
//! use keyward::{Secret, Timestamp};
//!
//! let (kept, now) = (MemoryClients::new(), Timestamp::EPOCH);
//! let patch = KeyPatch { models: Some(vec!["small".into()]), ..KeyPatch::default() };
//! let (key, secret) = clients::create(&kept, Some("alice".parse()?), "kw", &patch)?;      // shown once
//!
//! let met = clients::verify(&kept, &secret, &Caller::new().model("small"), now)?;
//! assert_eq!((met.gate, met.key.map(|key| key.id.clone())), (Gate::Open, Some(key.id)));
//! let met = clients::verify(&kept, &Secret::new("kw_guessed"), &Caller::new(), now)?;
//! assert_eq!(met.gate, Gate::Shut(Cause::Unknown));
//! # Ok::<(), keyward::Error>(())
//! ```

mod memory;

pub use memory::MemoryClients;

use std::sync::Arc;

use crate::error::{Error, StoreError};
use crate::id::{Fingerprint, KeyId, Secret, Subject};
use crate::plan::{Plan, Report};
use crate::quota::{Caller, Cause, ClientKey, Gate, KeyPatch, Masked};
use crate::store::{Store, apply_at};
use crate::system::new_secret;
use crate::terms::Terms;
use crate::time::Timestamp;

/// How often a change is tried again that somebody else came before.
const TRIES: usize = 16;
/// How many accounts are looked at, or forgotten, at a time.
const PAGE: usize = 256;

/// Where the host keeps client keys.
///
/// An implementation keeps the record as it is given, and compares and saves in one atomic step: that is what keeps two
/// changes at the same time from undoing each other. It has an index by fingerprint. It never sees a secret.
pub trait Clients: Send + Sync {
    /// The key whose secret has this fingerprint.
    ///
    /// # Errors
    /// The records could not be read.
    fn by_fingerprint(&self, of: &Fingerprint) -> Result<Option<Arc<ClientKey>>, StoreError>;

    /// The key of this id.
    ///
    /// # Errors
    /// The records could not be read.
    fn by_id(&self, of: &KeyId) -> Result<Option<Arc<ClientKey>>, StoreError>;

    /// Up to `most` keys in the order of their ids, from the first after `after` on.
    ///
    /// # Errors
    /// The records could not be read.
    fn list(&self, after: Option<&KeyId>, most: usize) -> Result<Vec<Arc<ClientKey>>, StoreError>;

    /// Saves a record over the one of the same id that has this revision, or where there is none if that is `None`.
    ///
    /// # Errors
    /// The record could not be written.
    fn put(&self, key: ClientKey, over: Option<u64>) -> Result<Put, StoreError>;

    /// Removes the record of this id, and says whether there was one.
    ///
    /// # Errors
    /// The record could not be removed.
    fn remove(&self, id: &KeyId) -> Result<bool, StoreError>;
}

impl<C: Clients + ?Sized> Clients for Arc<C> {
    fn by_fingerprint(&self, of: &Fingerprint) -> Result<Option<Arc<ClientKey>>, StoreError> {
        (**self).by_fingerprint(of)
    }

    fn by_id(&self, of: &KeyId) -> Result<Option<Arc<ClientKey>>, StoreError> {
        (**self).by_id(of)
    }

    fn list(&self, after: Option<&KeyId>, most: usize) -> Result<Vec<Arc<ClientKey>>, StoreError> {
        (**self).list(after, most)
    }

    fn put(&self, key: ClientKey, over: Option<u64>) -> Result<Put, StoreError> {
        (**self).put(key, over)
    }

    fn remove(&self, id: &KeyId) -> Result<bool, StoreError> {
        (**self).remove(id)
    }
}

/// What became of a record that was to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Put {
    /// It is saved.
    Saved,
    /// The record of this id has another revision, or is there, or is not. Nothing was changed.
    Changed,
    /// Another key has this fingerprint. Nothing was changed.
    Taken,
}

/// Who is calling, and whether the call is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Met {
    /// The key; `None` where the secret is nobody's.
    pub key: Option<Arc<ClientKey>>,
    /// Whether the call is let in.
    pub gate: Gate,
}

/// Whose secret this is, and whether the call is let in.
///
/// # Errors
/// The records could not be read.
pub fn verify(
    clients: &(impl Clients + ?Sized),
    secret: &Secret,
    caller: &Caller<'_>,
    now: Timestamp,
) -> Result<Met, StoreError> {
    let key = clients.by_fingerprint(&Fingerprint::of(secret))?;
    let gate = key.as_ref().map_or(Gate::Shut(Cause::Unknown), |key| key.check(caller, now));
    Ok(Met { key, gate })
}

/// Makes a key: its record, and the secret, which is kept nowhere. Without an id, it gets one of its own.
///
/// # Errors
/// A prefix or a patch that is wrong; an id that is taken; records that could not be written.
pub fn create(
    clients: &(impl Clients + ?Sized),
    id: Option<KeyId>,
    prefix: &str,
    patch: &KeyPatch,
) -> Result<(ClientKey, Secret), Error> {
    let secret = new_secret(prefix)?;
    import(clients, id, &secret, patch).map(|key| (key, secret))
}

/// Keeps the record of a secret that is there already.
///
/// # Errors
/// A patch that is wrong; an id or a secret that is taken; records that could not be written.
pub fn import(
    clients: &(impl Clients + ?Sized),
    id: Option<KeyId>,
    secret: &Secret,
    patch: &KeyPatch,
) -> Result<ClientKey, Error> {
    let id = id.unwrap_or_else(|| KeyId::from(&Fingerprint::of(secret)));
    let mut key = ClientKey::of(id, secret);
    patch.apply(&mut key)?;
    key.revision = 1;
    match clients.put(key.clone(), None)? {
        Put::Saved => Ok(key),
        Put::Changed => Err(Error::invalid("key.id", &key.id, "an id that no other key has")),
        Put::Taken => Err(taken(&key.masked)),
    }
}

/// Gives a key a new secret, which is kept nowhere. Its id, and with it all that it has spent, stays; the old secret is
/// nobody's from now on.
///
/// # Errors
/// An id that is nobody's; a prefix that is wrong; records that could not be written.
pub fn rotate(clients: &(impl Clients + ?Sized), id: &KeyId, prefix: &str) -> Result<(ClientKey, Secret), Error> {
    let secret = new_secret(prefix)?;
    let key = save(clients, id, |key| {
        (key.fingerprint, key.masked) = (Fingerprint::of(&secret), Masked::of(&secret));
        Ok(())
    })?;
    Ok((key, secret))
}

/// Changes what the patch names, and nothing else.
///
/// # Errors
/// An id that is nobody's; a patch that is wrong; records that could not be written.
pub fn change(clients: &(impl Clients + ?Sized), id: &KeyId, patch: &KeyPatch) -> Result<ClientKey, Error> {
    save(clients, id, |key| patch.apply(key))
}

/// Refuses what a key is to have of its own of limits that there are not.
///
/// # Errors
/// The first such limit.
pub fn check_limits(patch: &KeyPatch, terms: &Terms) -> Result<(), Error> {
    let named = patch.limits.iter().flatten().filter(|(_, own)| own.is_some());
    let unknown = named.map(|(id, _)| id).find(|id| terms.get(id).is_none());
    unknown.map_or(Ok(()), |id| Err(Error::invalid("key.limits", id, "a limit that there is")))
}

/// Removes a key: its record, and with it the rules that were its own, then every account of this dimension and its id.
/// Says how many accounts that were. What it has spent stays in the ledger. Repeated after an error, it goes on.
///
/// # Errors
/// The record could not be removed, or the accounts could not.
pub fn remove(
    clients: &(impl Clients + ?Sized),
    store: &(impl Store + ?Sized),
    id: &KeyId,
    dimension: &str,
    now: Timestamp,
) -> Result<usize, Error> {
    clients.remove(id)?;
    let is_its_own =
        |subject: &Subject| subject.dimensions().any(|(name, value)| name == dimension && value == id.as_str());
    let (mut after, mut count) = (None, 0);
    loop {
        let page = store.accounts(after.as_ref(), PAGE)?;
        let full = page.len() >= PAGE;
        let gone: Vec<&Subject> =
            page.iter().map(|(subject, _)| subject).filter(|subject| is_its_own(subject)).collect();
        if !gone.is_empty() {
            let plan = |now| {
                let places = (0_u16..).zip(&gone);
                Ok(places.fold(Plan::new(now), |plan, (account, subject)| {
                    plan.named((*subject).clone()).report(Report::Forget { account })
                }))
            };
            apply_at(store, now, plan).map(drop)?;
            count += gone.len();
        }
        after = page.into_iter().next_back().map(|(subject, _)| subject);
        if !full {
            return Ok(count);
        }
    }
}

fn save(
    clients: &(impl Clients + ?Sized),
    id: &KeyId,
    edit: impl Fn(&mut ClientKey) -> Result<(), Error>,
) -> Result<ClientKey, Error> {
    for _ in 0..TRIES {
        let Some(known) = clients.by_id(id)? else {
            return Err(Error::invalid("key.id", id, "the id of a key that there is"));
        };
        let mut key = ClientKey::clone(&known);
        edit(&mut key)?;
        key.revision = known.revision.saturating_add(1);
        match clients.put(key.clone(), Some(known.revision))? {
            Put::Saved => return Ok(key),
            Put::Changed => {}
            Put::Taken => return Err(taken(&key.masked)),
        }
    }
    Err(StoreError::unavailable(format!("the key {id} was changed by others {TRIES} times in a row")).into())
}

fn taken(masked: &Masked) -> Error {
    Error::invalid("key.secret", masked, "a secret that no other key has")
}
