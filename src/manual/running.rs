//! Several processes, changes of policy, a store that is down, clocks, dry runs.
//!
//! # Several processes
//!
//! Exactness is the store's: whatever process asks, one plan is decided after another on what it touches. [`MemoryStore`] is
//! one process. An SQLite file is shared by any number of processes on one machine, and must not lie on a network's file system.
//! A permit can be settled by another process that knows its [`op`](crate::Permit::op): [`Keeper::settle`](crate::Keeper::settle).
//!
//! # Changing a policy
//!
//! [`Keeper::apply`](crate::Keeper::apply) and `apply_policy` swap everything at once, or change nothing. Calls under way end by
//! what they began with. An edited amount keeps what is spent; below it, nothing passes until there is room. A window of another
//! length begins anew. [`Policy::diff`](crate::policy::Policy::diff) says so beforehand. A limit is known by its name, or else by what it measures, its
//! window and its dimensions: name the limits whose window you may change.
//!
//! ```
//! use keyward::{Call, Keeper, Limit, Usage};
//!
//! let limit = |amount| Limit::requests(amount).per_day().by("key");
//! let keeper = Keeper::builder().limit(limit(1)).build()?;
//! let call = Call::new().with("key", "alice");
//! keeper.acquire(&call)?.granted().expect("one passes").settle(&Usage::new())?;
//! assert!(keeper.acquire(&call)?.denied().is_some());
//! keeper.apply([limit(2)], [], None)?;
//! keeper.acquire(&call)?.granted().expect("the first one counts, and a second passes").settle(&Usage::new())?;
//! assert!(keeper.acquire(&call)?.denied().is_some());
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! During a rolling deployment two versions run side by side. A store counts the generations of each schedule: an old process
//! charges the current cycle, so that two versions cannot reset a budget in turns.
//!
//! # A dry run first
//!
//! [`trial`](crate::trial) tries a policy on a log of calls: JSON lines, or what a store's ledger has of yesterday.
//!
//! ```
//! use keyward::store::Filter;
//! use keyward::trial::{Log, Trial};
//! use keyward::{Call, Keeper, Limit, Usage};
//!
//! let keeper = Keeper::builder().build()?;
//! for _ in 0..3 {
//!     keeper.acquire(&Call::new().with("key", "alice"))?.granted().expect("no limits").settle(&Usage::new())?;
//! }
//! let yesterday = Log::of_rows(keeper.store(), &Filter::default())?;
//! let report = Trial::new().limit(Limit::requests(2).per_day().by("key")).run(&yesterday)?;
//! assert_eq!(report.refused, 1);
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! # When the store is down
//!
//! A call that cannot be asked about is refused: [`Denial::store_down`](crate::keeper::Denial::store_down) says that this was why, and over HTTP it
//! is a 503. The store is left alone for a while then, longer each time, and one verb tries it again. A settle that fails
//! leaves the permit as it was: say it again. What is never settled ends with its hold.
//!
//! A rate, or slots, may choose otherwise: [`Limit::when_down`](crate::Limit::when_down) has it decided in this process alone, on a share
//! of its amount, as long as every limit that concerns the call says so. [`Permit::is_local`](crate::Permit::is_local) tells; such calls are in
//! no ledger. Money never goes out unseen.
//!
//! # Clocks
//!
//! A keeper reads one [`Clock`](crate::Clock) for each verb. A clock that steps back charges the current window: windows never move
//! backwards, and small steps do no harm. One that is set forward ends windows early, as it would for a person who reads it. Rules
//! read no clock at all, which is why a [`ManualClock`](crate::ManualClock) tests a month in a moment.
//!
//! [`MemoryStore`]: crate::MemoryStore
