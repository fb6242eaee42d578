//! The key that a call goes out with.

use std::fmt;
use std::sync::Arc;

use super::Pool;
use crate::id::{KeyId, OpId, Secret};
use crate::pool::Key;

/// The key that a call goes out with. It counts as under way until this is dropped.
#[must_use]
pub struct Chosen {
    pub(super) pool: Pool,
    pub(super) key: Arc<Key>,
    pub(super) op: OpId,
    pub(super) best_effort: bool,
}

impl Chosen {
    /// The key's id.
    #[must_use]
    pub fn key(&self) -> &KeyId {
        self.key.id()
    }

    /// The secret, for the one place that sends it.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        self.key.secret()
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.key.called()
    }

    /// Whose key it is.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.key.of_provider()
    }

    /// The operation that it was given out to.
    #[must_use]
    pub const fn op(&self) -> &OpId {
        &self.op
    }

    /// The pool that it is from: the one that was asked, or one of its fallbacks.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether it should not be used now, and is the best there is.
    #[must_use]
    pub const fn is_best_effort(&self) -> bool {
        self.best_effort
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.pool.ended(self.key.id());
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, key, op, best_effort } = self;
        let mut shown = f.debug_struct("Chosen");
        shown.field("pool", &pool.name()).field("key", key.id()).field("op", op).field("best_effort", best_effort);
        shown.finish_non_exhaustive()
    }
}
