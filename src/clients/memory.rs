//! Client keys in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Clients, Put};
use crate::error::StoreError;
use crate::id::{Fingerprint, KeyId};
use crate::quota::ClientKey;

/// Client keys in memory: gone with the process, unless the host saves what [`Clients::list`] says.
#[derive(Debug, Default)]
pub struct MemoryClients(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    keys: BTreeMap<KeyId, Arc<ClientKey>>,
    fingerprints: BTreeMap<Fingerprint, KeyId>,
}

impl MemoryClients {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Clients for MemoryClients {
    fn by_fingerprint(&self, of: &Fingerprint) -> Result<Option<Arc<ClientKey>>, StoreError> {
        let kept = self.0.read();
        Ok(kept.fingerprints.get(of).and_then(|id| kept.keys.get(id)).cloned())
    }

    fn by_id(&self, of: &KeyId) -> Result<Option<Arc<ClientKey>>, StoreError> {
        Ok(self.0.read().keys.get(of).cloned())
    }

    fn list(&self, after: Option<&KeyId>, most: usize) -> Result<Vec<Arc<ClientKey>>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self
            .0
            .read()
            .keys
            .range::<KeyId, _>((from, Bound::Unbounded))
            .take(most)
            .map(|(_, key)| key.clone())
            .collect())
    }

    fn put(&self, key: ClientKey, over: Option<u64>) -> Result<Put, StoreError> {
        let mut kept = self.0.write();
        let before = kept.keys.get(&key.id).cloned();
        if before.as_ref().map(|before| before.revision) != over {
            return Ok(Put::Changed);
        }
        if kept.fingerprints.get(&key.fingerprint).is_some_and(|id| *id != key.id) {
            return Ok(Put::Taken);
        }
        if let Some(before) = before {
            kept.fingerprints.remove(&before.fingerprint);
        }
        kept.fingerprints.insert(key.fingerprint, key.id.clone());
        kept.keys.insert(key.id.clone(), Arc::new(key));
        Ok(Put::Saved)
    }

    fn remove(&self, id: &KeyId) -> Result<bool, StoreError> {
        let mut kept = self.0.write();
        let Some(key) = kept.keys.remove(id) else { return Ok(false) };
        kept.fingerprints.remove(&key.fingerprint);
        Ok(true)
    }
}
