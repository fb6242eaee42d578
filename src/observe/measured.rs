//! Numbers of the `metrics` crate.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::{Event, Observer, WaitEnd};
use crate::amount::Amount;
use crate::id::LimitId;
use crate::quota::Cause;
use crate::usage::Class;

/// Counts what a keeper does, through the recorder that the host has installed for the `metrics` crate.
///
/// | name | kind | labels | what it is |
/// |---|---|---|---|
/// | `keyward_granted_total` | counter | `pool` | calls that may go out |
/// | `keyward_denied_total` | counter | `cause` | calls that may not, by what is named first |
/// | `keyward_blocked_total` | counter | `limit` | how often a limit was in the way |
/// | `keyward_exhausted_total` | counter | `pool` | how often a pool had no key |
/// | `keyward_settled_total` | counter | `outcome` | calls that were settled |
/// | `keyward_cost_nanodollars_total` | counter | | what they cost, as far as it is known |
/// | `keyward_overage_total` | counter | `limit` | how often more was used than was held |
/// | `keyward_released_total` | counter | `outcome` | calls that came to nothing |
/// | `keyward_expired_total` | counter | | calls that were given up |
/// | `keyward_swept_total` | counter | | holds that were ended because their time was over |
/// | `keyward_failovers_total` | counter | `pool`, `outcome` | keys that a call moved on from |
/// | `keyward_keys_out_total` | counter | `pool`, `outcome` | keys that were found not to be usable |
/// | `keyward_alerts_total` | counter | `limit`, `percent` | thresholds that were reached |
/// | `keyward_wait_seconds` | histogram | `end` | how long calls stood in line |
/// | `keyward_store_up` | gauge | | 1 while the store answers, 0 while it does not; from the first time that it does not |
/// | `keyward_clock_jumps_total` | counter | | how often the clock jumped ahead |
///
/// Every label has as many values as the policy or this crate has names for it: `limit` is the identity of a limit, `none`
/// where it is not known; `pool` the name of a pool, `none` without one; `outcome` a [`Class`]; `cause` a [`Cause`];
/// `percent` a threshold of a limit's; `end` `served`, `denied` or `failed`. Subjects, keys, tags and operations are never
/// labels.
///
/// ```
/// use keyward::observe::MetricsObserver;
/// let keeper = keyward::Keeper::builder().observer(MetricsObserver::new()).build()?;
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MetricsObserver;

impl MetricsObserver {
    /// An observer; it keeps nothing. It describes its metrics to the recorder that is installed now.
    #[must_use]
    pub fn new() -> Self {
        describe_counter!("keyward_granted_total", "calls that may go out");
        describe_counter!("keyward_denied_total", "calls that may not go out, by what is named first");
        describe_counter!("keyward_blocked_total", "how often a limit was in the way");
        describe_counter!("keyward_exhausted_total", "how often a pool had no key");
        describe_counter!("keyward_settled_total", "calls that were settled");
        describe_counter!("keyward_cost_nanodollars_total", "what settled calls cost, in nano-dollars");
        describe_counter!("keyward_overage_total", "how often more was used than was held");
        describe_counter!("keyward_released_total", "calls that came to nothing");
        describe_counter!("keyward_expired_total", "calls that were given up");
        describe_counter!("keyward_swept_total", "holds that were ended because their time was over");
        describe_counter!("keyward_failovers_total", "keys that a call moved on from");
        describe_counter!("keyward_keys_out_total", "keys that were found not to be usable");
        describe_counter!("keyward_alerts_total", "thresholds that were reached");
        describe_histogram!("keyward_wait_seconds", Unit::Seconds, "how long calls stood in line");
        describe_gauge!("keyward_store_up", "1 while the store answers, 0 while it does not");
        describe_counter!("keyward_clock_jumps_total", "how often the clock jumped ahead");
        Self
    }
}

impl Observer for MetricsObserver {
    fn saw(&self, event: &Event<'_>) {
        match event {
            Event::Granted { pool, .. } => {
                counter!("keyward_granted_total", "pool" => named(*pool)).increment(1);
            }
            Event::Denied { cause: why, limits, pool, .. } => {
                counter!("keyward_denied_total", "cause" => cause(*why)).increment(1);
                for blocker in *limits {
                    counter!("keyward_blocked_total", "limit" => blocker.limit.to_string()).increment(1);
                }
                if pool.is_some() {
                    counter!("keyward_exhausted_total", "pool" => named(*pool)).increment(1);
                }
            }
            Event::Settled { class, cost, over, .. } => {
                counter!("keyward_settled_total", "outcome" => outcome(*class)).increment(1);
                let cost = cost.map_or(Amount::ZERO, Amount::from).get();
                counter!("keyward_cost_nanodollars_total").increment(cost.unsigned_abs());
                for one in *over {
                    let limit = named(one.limit.as_ref().map(LimitId::as_str));
                    counter!("keyward_overage_total", "limit" => limit).increment(1);
                }
            }
            Event::Released { class, .. } => {
                counter!("keyward_released_total", "outcome" => outcome(*class)).increment(1);
            }
            Event::Expired { .. } => counter!("keyward_expired_total").increment(1),
            Event::Swept { holds } => {
                counter!("keyward_swept_total").increment(u64::try_from(*holds).unwrap_or(u64::MAX));
            }
            Event::FailedOver { pool, class, .. } => {
                let pool = named(Some(pool));
                counter!("keyward_failovers_total", "pool" => pool, "outcome" => outcome(*class)).increment(1);
            }
            Event::KeyOut { pool, class, .. } => {
                let pool = named(Some(pool));
                counter!("keyward_keys_out_total", "pool" => pool, "outcome" => outcome(*class)).increment(1);
            }
            Event::Alert(alert) => {
                let limit = named(alert.limit.as_ref().map(LimitId::as_str));
                let percent = alert.percent.to_string();
                counter!("keyward_alerts_total", "limit" => limit, "percent" => percent).increment(1);
            }
            Event::Waited { end, waited } => {
                let end = match end {
                    WaitEnd::Served => "served",
                    WaitEnd::Denied => "denied",
                    WaitEnd::Failed => "failed",
                };
                histogram!("keyward_wait_seconds", "end" => end).record(waited.as_secs_f64());
            }
            Event::StoreDown { .. } => gauge!("keyward_store_up").set(0),
            Event::StoreBack => gauge!("keyward_store_up").set(1),
            Event::ClockJumped(_) => counter!("keyward_clock_jumps_total").increment(1),
        }
    }
}

fn named(name: Option<&str>) -> String {
    name.unwrap_or("none").to_owned()
}

const fn outcome(class: Class) -> &'static str {
    match class {
        Class::Success => "success",
        Class::RateLimited => "rate_limited",
        Class::Overloaded => "overloaded",
        Class::QuotaExhausted => "quota_exhausted",
        Class::CredentialRefused => "credential_refused",
        Class::ModelRefused => "model_refused",
        Class::Transient => "transient",
        Class::CallersFault => "callers_fault",
        Class::NoVerdict => "no_verdict",
    }
}

const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Unknown => "unknown",
        Cause::Disabled => "disabled",
        Cause::NotYetValid => "not_yet_valid",
        Cause::Expired => "expired",
        Cause::Address => "address",
        Cause::ClientType => "client_type",
        Cause::Model => "model",
        Cause::Quota => "quota",
        Cause::Budget => "budget",
        Cause::Rate => "rate",
        Cause::Slots => "slots",
        Cause::PoolLimited => "pool_limited",
        Cause::PoolDown => "pool_down",
        Cause::Store => "store",
        Cause::Clock => "clock",
    }
}
