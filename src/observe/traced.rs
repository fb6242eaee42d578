//! Events of the `tracing` crate.

use tracing::{debug, error, info, warn};

use super::{Event, Observer, WaitEnd};
use crate::budgets::Blocker;
use crate::quota::Cause;

/// How many limits an event names at most.
const NAMED: usize = 8;

/// Hands everything that a keeper does to the `tracing` crate, under the target `keyward`.
///
/// | message | level | fields |
/// |---|---|---|
/// | `granted` | debug | `op`, `pool`, `key` |
/// | `denied` | info; warn where no upstream key can be used, or the store does not answer | `cause`, `limits`, `pool`, `when` |
/// | `settled` | debug; info where more was used than was held | `op`, `class`, `cost`, `over` |
/// | `released` | debug | `op`, `class` |
/// | `expired` | info | `op` |
/// | `swept` | debug | `holds` |
/// | `failed over` | warn | `op`, `pool`, `from`, `to`, `class` |
/// | `key out` | warn | `pool`, `key`, `class`, `standing` |
/// | `alert` | warn | `limit`, `percent`, `spent`, `cap` |
/// | `waited` | debug | `end`, `micros` |
/// | `store down` | error | `error` |
/// | `store back` | info | |
/// | `clock jumped` | warn | `from`, `to`, `by` |
///
/// Fields are bounded: of limits in the way the first eight are named, and subjects, tags and amounts of usage are left to
/// the ledger. A host that wants them puts them into a span of its own. A key goes by its id, and no secret is in anything.
///
/// ```
/// use keyward::observe::TracingObserver;
/// let keeper = keyward::Keeper::builder().observer(TracingObserver::new()).build()?;
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TracingObserver;

impl TracingObserver {
    /// An observer; it keeps nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Observer for TracingObserver {
    fn saw(&self, event: &Event<'_>) {
        match event {
            Event::Granted { op, pool, key } => {
                debug!(target: "keyward", %op, pool, key = key.map(tracing::field::display), "granted");
            }
            Event::Denied { cause, limits, pool, when } => {
                let limits = names(limits);
                if matches!(cause, Cause::Store | Cause::PoolDown | Cause::Clock) {
                    warn!(target: "keyward", ?cause, limits, pool, ?when, "denied");
                } else {
                    info!(target: "keyward", ?cause, limits, pool, ?when, "denied");
                }
            }
            Event::Settled { op, class, cost, over } => {
                let cost = cost.map(tracing::field::display);
                if over.is_empty() {
                    debug!(target: "keyward", %op, ?class, cost, "settled");
                } else {
                    info!(target: "keyward", %op, ?class, cost, over = over.len(), "settled");
                }
            }
            Event::Released { op, class } => debug!(target: "keyward", %op, ?class, "released"),
            Event::Expired { op } => info!(target: "keyward", %op, "expired"),
            Event::Swept { holds } => debug!(target: "keyward", holds, "swept"),
            Event::FailedOver { op, pool, from, to, class } => {
                let to = to.map(tracing::field::display);
                warn!(target: "keyward", %op, pool, %from, to, ?class, "failed over");
            }
            Event::KeyOut { pool, key, class, standing } => {
                warn!(target: "keyward", pool, %key, ?class, ?standing, "key out");
            }
            Event::Alert(alert) => {
                let limit = alert.limit.as_ref().map(tracing::field::display);
                let (percent, spent, cap) = (alert.percent, alert.spent, alert.cap);
                warn!(target: "keyward", limit, percent, %spent, ?cap, "alert");
            }
            Event::Waited { end, waited } => {
                let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
                let end = match end {
                    WaitEnd::Served => "served",
                    WaitEnd::Denied => "denied",
                    WaitEnd::Failed => "failed",
                };
                debug!(target: "keyward", end, micros, "waited");
            }
            Event::StoreDown { error } => error!(target: "keyward", %error, "store down"),
            Event::StoreBack => info!(target: "keyward", "store back"),
            Event::ClockJumped(jump) => {
                warn!(target: "keyward", from = %jump.from, to = %jump.to, by = %jump.by, "clock jumped");
            }
        }
    }
}

/// The first few limits in the way, by their names.
fn names(limits: &[Blocker]) -> String {
    let names: Vec<&str> = limits.iter().take(NAMED).map(|blocker| blocker.limit.as_str()).collect();
    names.join("; ")
}
