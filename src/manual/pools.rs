//! Upstream keys, failures, and moving on to another key.
//!
//! A [`Pool`](crate::Pool) is a list of keys of which a call goes out with one. A key is told apart by an id: the host's, or one
//! derived from the secret. Keys can be added, reordered, rotated and removed, and every other key keeps its state. Secrets are
//! never stored or shown.
//!
//! ```
//! use keyward::keeper::Moved;
//! use keyward::{Call, Class, Keeper, Outcome, Pool, Usage};
//!
//! let pool = Pool::builder("openai").text("sk-one-0123456789,sk-two-0123456789").build()?;
//! let keeper = Keeper::builder().pool(pool).build()?;
//!
//! let permit = keeper.acquire(&Call::new().pool("openai"))?.granted().expect("two keys are ready");
//! let first = permit.key();
//! // The upstream said 429. Its key cools, and the call goes on with the other one; what the client holds stays.
//! assert!(matches!(permit.failover(&Outcome::new(Class::RateLimited))?, Moved::On));
//! assert_ne!(permit.key(), first);
//! permit.settle(&Usage::new().tokens(700))?;
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! # What an answer means
//!
//! [`upstream`](crate::upstream) reads status, headers and body and says which [`Class`](crate::Class) it is. A rate limit cools
//! the key until the time that was stated, or climbs a ladder of waits; a refused credential is out until it is rotated; a
//! caller's mistake, and a caller that went away, are never held against a key. After a cooldown one call probes the key,
//! and the others wait for what it finds.
//!
//! # Which key
//!
//! The strategy of a pool orders its ready keys; the plan of the call takes the first of them whose own limits have room,
//! in the same step in which the client's limits are held. So a key's limit is never overdrawn for the sake of order. When no
//! key is ready, [`Denial::exhausted`](crate::keeper::Denial::exhausted) says until when; a pool may have a fallback, which is asked
//! then.
//!
//! # Limits by route
//!
//! What a key adds to a call, limits can go by: `upstream`, its id, and `provider`. `Limit::requests(500).per_minute().by("upstream")`
//! counts each key; a pool's own `each_limited` does the same with an amount for each key.
//!
//! # What is shared
//!
//! Health and limits of a key are in the store, and so are shared by all processes. The order of turns, calls under way and
//! sessions are of each process: they are about fairness, and never about correctness.
