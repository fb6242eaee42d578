//! API-key pools, budgets, quotas and rate limits: one atomic question before each call, one exact answer after it.
//!
//! ```
//! use keyward::{Call, Decision, Keeper, Limit, Usage};
//!
//! let keeper = Keeper::builder().limit(Limit::requests(60).per_minute().by("key")).build()?;
//! match keeper.acquire(&Call::new().with("key", "alice"))? {
//!     Decision::Granted(permit) => drop(permit.settle(&Usage::new())?),
//!     Decision::Denied(denial) => println!("{denial}"),
//! }
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! [`keeper`] is where to begin; [`manual`] has answers to the design questions, and [`policy`] says all of it as data.
//! [`Keyed`] is a limiter in two lines. Whoever wants the rules alone takes [`window`], [`limiter`], [`budget`], [`quota`],
//! [`pool`] and [`price`]; whoever has a database of their own, [`store`].
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod account;
pub mod amount;
pub mod budget;
pub mod budgets;
pub mod clients;
#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;
pub mod error;
pub mod http;
pub mod id;
pub mod keeper;
pub mod keyed;
pub mod keys;
pub mod limit;
pub mod limiter;
pub mod manual;
pub mod observe;
pub mod picture;
pub mod plan;
#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
pub mod policy;
pub mod pool;
pub mod price;
pub mod quota;
pub mod reports;
pub mod store;
pub mod system;
pub mod terms;
pub mod time;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;
pub mod trial;
pub mod upstream;
pub mod usage;
pub mod window;

pub use amount::{Amount, Cap, Measure, Usd};
pub use error::{Error, StoreError};
pub use id::{Fingerprint, KeyId, KeySuffix, LimitId, OpId, Secret, Subject};
pub use keeper::{AsyncKeeper, Call, Decision, Denial, Keeper, Permit};
pub use keyed::Keyed;
pub use keys::Pool;
pub use limit::Limit;
pub use limiter::Limiter;
#[cfg(feature = "sqlite")]
pub use store::SqliteStore;
pub use store::{AsyncStore, MemoryStore, Store};
pub use system::{OpIds, SystemClock};
pub use time::{Clock, Length, ManualClock, Timestamp, When};
pub use usage::{Class, Hint, Outcome, Usage};
pub use window::{Calendar, Period, Schedule, Window, Zone};

/// The README's examples are run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
