//! What this library does not do, and does not promise.
//!
//! - **It sends nothing.** It says whether a call may go out, and with which key. The call is the host's.
//! - **It counts no tokens.** Estimates and usage come from the host or from the upstream's answer; prices from a book.
//! - **It is as exact as its store.** A store in memory ends with its process. Limits that are `relaxed` may forget what they
//!   answered in the last moments before a kill; money never is, unless it is asked to be.
//! - **A sliding window is not a rolling one.** Up to twice its amount can pass in a length that lies across two buckets; the
//!   page on [`shapes`](super::shapes) says which shape promises what.
//! - **Estimates bound what can be held, and not what can be spent.** A call that costs more than it said is booked in full.
//!   Budgets are kept to the estimate: whoever states too little can overdraw, once, by the difference.
//! - **Waiting is fair in one process.** Calls that wait are served in the order in which they came there; two processes do not
//!   queue behind one another.
//! - **When a call can pass is said as if nothing else happened.** Others may take the room first.
//! - **Secrets are kept out of what this library writes.** It wipes its own copies. What the host does with a secret, and what
//!   an allocator or a swap file has kept of it, it does not know.
//! - **Names are not private.** Subjects, tags and models are in the store and its ledger, in plain text.
//! - **Clocks are believed.** A clock that is set a year ahead has new windows.
//!
//! ```
//! use keyward::{Call, Keeper, Limit, Usage, Usd};
//!
//! // A cent was announced, and a dollar spent: all of it is booked, and nothing passes any more.
//! let keeper = Keeper::builder().limit(Limit::usd(Usd::cents(10)).lifetime()).build()?;
//! let permit = keeper.acquire(&Call::new().usd(Usd::cents(1)))?.granted().expect("it fits");
//! permit.settle(&Usage::new().usd(Usd::dollars(1)))?;
//! assert!(keeper.acquire(&Call::new().usd(Usd::cents(1)))?.denied().is_some());
//! # Ok::<(), keyward::Error>(())
//! ```
