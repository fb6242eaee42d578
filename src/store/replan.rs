//! Plans for stores with a clock of their own.

use super::Store;
use crate::error::Error;
use crate::plan::{Plan, Verdict};
use crate::time::Timestamp;

/// How often a store may say that its clock is elsewhere. A clock that jumps each time is one to be told of.
const TRIES: usize = 4;

/// Makes a plan for an instant and applies it. Where the store's own clock says another instant at which the plan does not
/// hold, it is made again for that one. The verdict is granted or denied, and comes with the instant it was planned for.
///
/// ```
/// use keyward::plan::{Plan, Verdict};
/// use keyward::{MemoryStore, Timestamp, store};
///
/// let (verdict, _) = store::apply_at(&MemoryStore::new(), Timestamp::EPOCH, |now| Ok(Plan::new(now)))?;
/// assert!(matches!(verdict, Verdict::Granted(_)));
/// # Ok::<(), keyward::Error>(())
/// ```
///
/// # Errors
/// Whatever making the plan or the store says; a conflict, an operation id that is too old, or a plan that makes no
/// sense.
pub fn apply_at(
    store: &(impl Store + ?Sized),
    now: Timestamp,
    mut plan: impl FnMut(Timestamp) -> Result<Plan, Error>,
) -> Result<(Verdict, Timestamp), Error> {
    let mut at = now;
    for _ in 0..TRIES {
        let plan = plan(at)?;
        match store.apply(&plan, at)? {
            Verdict::Stale { now } => at = now,
            verdict => return verdict.error(plan.op.as_ref()).map_or(Ok((verdict, at)), Err),
        }
    }
    Err(Error::invalid(
        "clock",
        at,
        format!("one that agrees with the store's within {TRIES} tries; it began at {now}"),
    ))
}
