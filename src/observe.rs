//! What a keeper does, told as it happens.
//!
//! An [`Observer`] is told every [`Event`] after the store has answered, while no lock of the keeper is held. It decides
//! nothing: what it does, and whether it panics, changes no answer. A keeper without one pays for a single branch.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use keyward::observe::Event;
//! use keyward::{Call, Keeper, Limit};
//!
//! let denied = Arc::new(Mutex::new(Vec::new()));
//! let seen = Arc::clone(&denied);
//! let keeper = Keeper::builder()
//!     .limit(Limit::requests(0).per_minute().named("none"))
//!     .observer(move |event: &Event<'_>| {
//!         if let Event::Denied { limits, .. } = event {
//!             seen.lock().expect("no panic").extend(limits.iter().map(|blocker| blocker.limit.to_string()));
//!         }
//!     })
//!     .build()?;
//! assert!(keeper.acquire(&Call::new())?.denied().is_some());
//! assert_eq!(*denied.lock().expect("no panic"), ["none"]);
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! An event says what a call's answer says, and never a secret. It may name subjects and keys by their ids, so what is made
//! of it should not become the label of a metric. With feature `tracing` there is `TracingObserver`, with feature `metrics`
//! `MetricsObserver`; the latter takes limits, pools, classes and causes only, whose number is that of the policy's.

#[cfg(feature = "metrics")]
mod measured;
#[cfg(feature = "tracing")]
mod traced;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use measured::MetricsObserver;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use traced::TracingObserver;

use crate::amount::{Amount, Measure, Usd};
use crate::budgets::{Alert, Blocker};
use crate::error::StoreError;
use crate::id::{KeyId, LimitId, OpId};
use crate::pool::Standing;
use crate::quota::Cause;
use crate::time::{Length, Timestamp, When};
use crate::usage::Class;

/// Who is told what a keeper does.
///
/// It is called by the thread whose call it is about, and takes that call's time: whoever has much to do puts the event
/// into a queue. It may ask the keeper; a permit's own verbs are not for it, since the one that it is told of may be under
/// way. A panic in it is caught and forgotten; the next event is told all the same.
pub trait Observer: Send + Sync {
    /// This has happened.
    fn saw(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn saw(&self, event: &Event<'_>) {
        self(event);
    }
}

/// What has happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A call may go out.
    #[non_exhaustive]
    Granted {
        /// The operation.
        op: &'a OpId,
        /// The pool that its key is from, if it has one.
        pool: Option<&'a str>,
        /// The upstream key.
        key: Option<&'a KeyId>,
    },
    /// A call may not go out.
    #[non_exhaustive]
    Denied {
        /// What is named first as the reason.
        cause: Cause,
        /// Every limit in the way.
        limits: &'a [Blocker],
        /// The pool that has no key for it.
        pool: Option<&'a str>,
        /// When it can pass.
        when: When,
    },
    /// A call is over, and what it used is booked.
    #[non_exhaustive]
    Settled {
        /// The operation.
        op: &'a OpId,
        /// How its upstream answered.
        class: Class,
        /// What it cost, as far as that is known.
        cost: Option<Usd>,
        /// Where it used more than was held.
        over: &'a [Overage],
    },
    /// A call came to nothing, and what it held is given back.
    #[non_exhaustive]
    Released {
        /// The operation.
        op: &'a OpId,
        /// How its upstream answered.
        class: Class,
    },
    /// A call was given up: its slots are free, and its money is charged at the estimate.
    #[non_exhaustive]
    Expired {
        /// The operation.
        op: &'a OpId,
    },
    /// Holds whose time was over were ended, of calls that nobody here knows.
    #[non_exhaustive]
    Swept {
        /// How many.
        holds: usize,
    },
    /// A call moved on from a key that failed, or tried to.
    #[non_exhaustive]
    FailedOver {
        /// The operation.
        op: &'a OpId,
        /// The pool that it was drawn from.
        pool: &'a str,
        /// The key that failed.
        from: &'a KeyId,
        /// The key that it goes out with now; `None` if there is none.
        to: Option<&'a KeyId>,
        /// How the key failed.
        class: Class,
    },
    /// A key cannot be used for now, or until somebody looks after it.
    #[non_exhaustive]
    KeyOut {
        /// Its pool.
        pool: &'a str,
        /// The key.
        key: &'a KeyId,
        /// The answer that said so.
        class: Class,
        /// What it is now: cooling, refused or disabled.
        standing: Standing,
    },
    /// A budget has reached a threshold. Told by the keeper that claimed it, and by no other: one with
    /// [`Builder::alerts`](crate::keeper::Builder::alerts).
    Alert(&'a Alert),
    /// A call has stood in line.
    #[non_exhaustive]
    Waited {
        /// How that ended.
        end: WaitEnd,
        /// How long it stood there.
        waited: Duration,
    },
    /// The store does not answer any more.
    #[non_exhaustive]
    StoreDown {
        /// What it says.
        error: &'a StoreError,
    },
    /// The store answers again.
    StoreBack,
    /// The clock has jumped ahead.
    ClockJumped(Jump),
}

/// What was used above what was held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overage {
    /// The limit; `None` for one of an upstream key's own.
    pub limit: Option<LimitId>,
    /// What it measures.
    pub measure: Option<Measure>,
    /// How much above.
    pub by: Amount,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitEnd {
    /// The call goes out.
    Served,
    /// Its time was over, or waiting no longer helped.
    Denied,
    /// It was not understood, or the store did not answer.
    Failed,
}

/// A clock that went ahead of the time that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Jump {
    /// What it had shown before.
    pub from: Timestamp,
    /// What it showed then.
    pub to: Timestamp,
    /// By how much more than the time that had passed.
    pub by: Length,
}

/// Whoever is told, if anybody is.
#[derive(Clone, Default)]
pub(crate) struct Told(Option<Arc<dyn Observer>>);

impl Told {
    pub(crate) fn to(observer: impl Observer + 'static) -> Self {
        Self(Some(Arc::new(observer)))
    }

    /// Whether anybody is.
    #[inline]
    pub(crate) const fn is_any(&self) -> bool {
        self.0.is_some()
    }

    /// Tells of an event, which is only made if somebody listens.
    #[inline]
    pub(crate) fn tell<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if let Some(observer) = &self.0 {
            tell(&**observer, &event());
        }
    }
}

/// A call was answered by the time that this is told, so that a panic may not take the answer along.
#[cold]
fn tell(observer: &dyn Observer, event: &Event<'_>) {
    let _ = catch_unwind(AssertUnwindSafe(|| observer.saw(event)));
}
