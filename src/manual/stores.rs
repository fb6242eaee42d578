//! How to write a store: three ways, of which the first is the shortest.
//!
//! 1. **A database that keeps bytes under keys, in their order** (a key-value store, or a table of two columns): write
//!    [`Database`](crate::store::Database), one transaction with `get`, `set`, `remove` and `range`. [`Ordered`](crate::store::Ordered) makes a
//!    store of it. `examples/custom_store.rs` does so with a file.
//! 2. **Tables of one's own**, for a host that wants to query them: write [`Transaction`](crate::store::Transaction), which loads and saves
//!    inside a transaction, and call [`transact`](crate::store::transact) in [`Store::apply`](crate::Store::apply); then the reading methods.
//!    The module [`store`](crate::store) has one in full.
//! 3. **All of it**: [`Store::apply`](crate::Store::apply) by other means. What it must answer is what [`decide`](crate::plan::decide) does.
//!
//! Loading, deciding and saving are one transaction, serializable or behind a lock; whatever is less loses updates. Say of an
//! error what is known: [`StoreError::unknown`](crate::StoreError::unknown) once a commit was sent and not answered.
//!
//! Then prove it, with feature `conformance`: more than sixty checks, each against a slow model, among them threads, steps of
//! the clock, replays and late settles. [`verify`](crate::store::verify) does it for a store in use: it works out from the ledger what every
//! meter should say.
//!
//! ```
//! use keyward::store::verify;
//! use keyward::{Call, Keeper, Limit, Timestamp, Usage, Usd};
//!
//! let keeper = Keeper::builder().limit(Limit::usd(Usd::dollars(5)).per_day()).build()?;
//! let permit = keeper.acquire(&Call::new().usd(Usd::cents(9)))?.granted().expect("five dollars are there");
//! permit.settle(&Usage::new().usd(Usd::cents(7)))?;
//! assert_eq!(verify(keeper.store(), Timestamp::MAX)?, []);
//! # Ok::<(), keyward::Error>(())
//! ```
