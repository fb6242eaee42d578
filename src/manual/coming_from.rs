//! Coming from governor, from limitador, or from a proxy such as LiteLLM.
//!
//! # governor
//!
//! One limit by key, in memory: [`Keyed`](crate::Keyed). A quota with a burst is `Limiter::gcra`; a refusal says when it can pass.
//! [`Keyed`](crate::Keyed) shows the calls side by side.
//!
//! ```
//! use keyward::Keyed;
//!
//! // Was: RateLimiter::keyed(Quota::per_minute(nonzero!(60u32)))
//! let limiter = Keyed::per_minute(60);
//! assert!(limiter.check("alice").has_passed());
//! ```
//!
//! Several limiters that are asked one after the other charge the first ones for a call that the last one refuses. A keeper asks
//! all of them in one step.
//!
//! # limitador
//!
//! A limit's namespace, conditions and variables are dimensions: `conditions` are `.when(..)`, `variables` are `.by(..)`;
//! `max_value` is the amount and `seconds` the window, which is a fixed one there.
//!
//! ```
//! use keyward::Limit;
//!
//! // Was: Limit::new("api", 100, 60, vec!["req_method == 'GET'"], vec!["user_id"])
//! let limit = Limit::requests(100).per_minute().fixed().when("method", "GET").by("user").compile()?;
//! assert_eq!(limit.to_string(), "100 requests per 1m, fixed by user when method=GET");
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! `check_and_update` is [`Keeper::acquire`](crate::Keeper::acquire); what it counts is exact under concurrent calls, and can be corrected by a
//! settle. `is_rate_limited` is [`Keeper::peek`](crate::Keeper::peek).
//!
//! # A proxy such as LiteLLM
//!
//! | there | here |
//! |---|---|
//! | `max_budget`, `budget_duration: 30d` of a key or team | `Limit::usd(..).per_days(30).by("key")`, `.by("team")` |
//! | `soft_budget` | the same with `.soft()`, or `.alert_at_percent([80])` |
//! | `rpm_limit`, `tpm_limit` | `Limit::requests(..).per_minute()`, `Limit::tokens(..).per_minute()` |
//! | `max_parallel_requests` | `Limit::slots(..)` |
//! | a limit for each model | `.by("key").by("model")`, or `.when("model", ..)` |
//! | `model_list` with several keys | a [`Pool`](crate::Pool) |
//! | `cooldown_time`, `allowed_fails` | [`Cooling`](crate::pool::Cooling) |
//! | `fallbacks` | the pool's `fallback`, and `Permit::failover` |
//! | virtual keys | [`clients`](crate::clients) |
//! | its price map | [`price::import`](crate::price::import) reads it |
//!
//! The difference that matters: there, spend is added after a call, and calls at the same time pass a budget together. Here
//! what a call may cost is held before it goes out.
//!
//! ```
//! use keyward::{Call, Keeper, Limit, Usd};
//!
//! let keeper = Keeper::builder().limit(Limit::usd(Usd::dollars(1)).per_days(30).by("key")).build()?;
//! let call = Call::new().with("key", "alice").usd(Usd::cents(40));
//! let open: Vec<_> = (0..10).map(|_| keeper.acquire(&call)).collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(open.into_iter().filter_map(|decision| decision.granted()).count(), 2, "of ten at once");
//! # Ok::<(), keyward::Error>(())
//! ```
