//! The manual: answers to the design questions that a host will ask. There is nothing here but text, and every block of code
//! in it runs.
//!
//! - [`shapes`]: which kind of limit keeps which promise
//! - [`holds`]: estimates; streams; what happens at a crash, an expiry and a disconnect; operation ids
//! - [`pools`]: upstream keys, failures, and moving on to another key
//! - [`running`]: several processes, changes of policy, a store that is down, clocks, dry runs
//! - [`stores`]: how to write a store
//! - [`coming_from`]: governor, limitador, a proxy such as LiteLLM
//! - [`not_promised`]: what this library does not do
//!
//! All of it comes down to this much code, and to the questions that it leaves open:
//!
//! ```
//! use keyward::{Call, Decision, Keeper, Limit, Usage, Usd};
//!
//! let keeper = Keeper::builder().limit(Limit::usd(Usd::dollars(25)).per_month().by("team")).build()?;
//! match keeper.acquire(&Call::new().with("team", "red").usd(Usd::cents(2)))? {
//!     Decision::Granted(permit) => drop(permit.settle(&Usage::new().usd(Usd::cents(1)))?),
//!     Decision::Denied(denial) => println!("{denial}"),
//! }
//! # Ok::<(), keyward::Error>(())
//! ```

pub mod coming_from;
pub mod holds;
pub mod not_promised;
pub mod pools;
pub mod running;
pub mod shapes;
pub mod stores;
