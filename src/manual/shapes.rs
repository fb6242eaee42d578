//! Which kind of limit keeps which promise.
//!
//! | what you want to promise | write | what it means |
//! |---|---|---|
//! | about 60 a minute, smoothly | `.per_minute()` | slides; at most twice the amount in any minute, at the seam of two |
//! | never more than 60 in any minute | `.per_minute().rolling(60)` | sums up the last minute in 60 buckets; late by one bucket at most |
//! | 60 a minute, with bursts of 10 | `.per_minute().gcra(10)` | leaks; at most 70 in any minute |
//! | 60 in each minute of the clock | `.per_minute().fixed()` | begins anew on the minute; twice as much around the boundary |
//! | an invoice: so much a month | `.per_month()` with `.zone(..)` | calendar; from the month's first day in that zone |
//! | so much every 30 days from the start | `.per_days(30)` | anchored where the store first saw the limit, or `.anchored_at(..)` |
//! | five hours from the first use | `.per_first_use(..)` | opens at the first grant |
//! | so much, and then never again | `.lifetime()` | does not reset |
//! | so many at a time | `Limit::slots(5)` | counts what is under way |
//! | prepaid | `Limit::credits(..)` | a balance, refilled or not; it may be in debt |
//!
//! A text such as `"10 USD / 30d by team"` says the same. A length below 24 hours slides, one of 24 hours or more is anchored;
//! `day`, `week` and `month` are words of the calendar, and are not the same as `24h`, `7d` and `30d`.
//!
//! ```
//! use keyward::Limit;
//!
//! for (limit, words) in [
//!     (Limit::requests(60).per_minute(), "60 requests per 1m"),
//!     (Limit::requests(60).per_minute().fixed(), "60 requests per 1m, fixed"),
//!     (Limit::tokens(9_000).per_day(), "9000 tokens per day at 00:00 UTC"),
//!     (Limit::tokens(9_000).per_days(1), "9000 tokens per 1d"),
//! ] {
//!     assert_eq!(limit.compile()?.to_string(), words);
//! }
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! # For whom
//!
//! `.by("key")` counts each key by itself, `.by("key").by("model")` each pair, nothing counts everyone together;
//! `.when("provider", "openai")` counts only such calls. A call that lacks what a limit goes by is an error, and not a call
//! that slips through, unless the limit says `.if_present()`.
//!
//! # Nothing and no end
//!
//! An amount of 0 refuses every call. No end is said as such: `.unlimited()`, or `unlimited` in a policy. The two are never
//! mistaken for one another.
//!
//! # Hard and soft
//!
//! A hard limit refuses. A `.soft()` one counts, sends its alerts, and lets the call pass.
//!
//! # Several at once
//!
//! All limits of a call are one step: either every one of them holds, or none does, and a denial lists each that was in the
//! way. There is no order of limits to get right.
//!
//! ```
//! use keyward::{Call, Keeper, Limit};
//!
//! let keeper = Keeper::builder()
//!     .limit(Limit::requests(2).per_hour().by("key"))
//!     .limit(Limit::requests(1).per_hour().by("team").named("team"))
//!     .build()?;
//! let call = Call::new().with("key", "alice").with("team", "red");
//! let first = keeper.acquire(&call)?.granted().expect("both have room");
//! let denial = keeper.acquire(&call)?.denied().expect("the team has had its one");
//! assert_eq!(denial.limit().map(|limit| limit.as_str()), Some("team"));
//! // What was refused took nothing of the key's own two.
//! let other = Call::new().with("key", "alice").with("team", "blue");
//! assert!(keeper.acquire(&other)?.granted().is_some());
//! # first.release()?;
//! # Ok::<(), keyward::Error>(())
//! ```
