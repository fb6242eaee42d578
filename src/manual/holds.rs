//! Estimates and holds; streams; what happens at a crash, an expiry and a disconnect; operation ids.
//!
//! # What to estimate
//!
//! A call says what it will use at most, and that is held. Estimate from above: what is not used is given back when the call
//! is settled, and until then it keeps others from spending it. With prices and a `model`, tokens are enough: the money is
//! worked out. [`Draft`](crate::price::Draft) makes a bound from the length of a prompt and `max_tokens`.
//!
//! A hard limit on tokens or money refuses to guess: a call without an estimate is an error, unless the limit says
//! `.assume(n)`, which is then held. Requests and slots count one without being asked.
//!
//! # What a settle books
//!
//! What was used, in the window in which it was held, in full: spend that has happened is never refused or cut. Where that is
//! more than was held, the limit may be overdrawn, and lets nothing pass until there is room again. A measure that the usage
//! does not state is settled as it was held.
//!
//! ```
//! use keyward::{Call, Keeper, Limit, Usage, Usd};
//!
//! let keeper = Keeper::builder().limit(Limit::usd(Usd::dollars(1)).per_month().by("team")).build()?;
//! let call = Call::new().with("team", "red").usd(Usd::cents(60));
//! let permit = keeper.acquire(&call)?.granted().expect("a dollar is there");
//! assert!(keeper.acquire(&call)?.denied().is_some(), "60 cents of it are held");
//! let settled = permit.settle(&Usage::new().usd(Usd::cents(150)))?;
//! assert!(settled.booked[0].is_over());
//! assert_eq!(settled.booked[0].overage(), Usd::cents(90).into());
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! # When nobody settles
//!
//! - **The permit is dropped** (a panic, a cancelled task, a client that went away): the keeper's next verb ends it. Slots,
//!   requests and tokens are given back, money and credits are charged at the estimate, because a call that was sent has
//!   usually cost something. `Limit::on_expiry` chooses otherwise. Where nothing was sent, say [`release`].
//! - **The process dies**: what it held is in the store, and ends in the same way when its life is over, a quarter of an hour unless
//!   `Call::life` says otherwise. Nobody has to clean up. With a store in memory all of it is gone.
//! - **A settle comes late**: it corrects what the expiry has booked, in the window of the hold.
//! - **A long call** says [`extend`] now and then.
//!
//! ```
//! use keyward::{Call, Keeper, Length, Limit, ManualClock, Timestamp, Usage, Usd};
//!
//! let clock = ManualClock::at(Timestamp::EPOCH);
//! let keeper = Keeper::builder()
//!     .limit(Limit::slots(1).by("key"))
//!     .limit(Limit::usd(Usd::dollars(1)).lifetime().by("key"))
//!     .clock(clock.clone())
//!     .build()?;
//! let call = Call::new().with("key", "alice").usd(Usd::cents(40)).life(Length::MINUTE);
//! let lost = keeper.acquire(&call)?.granted().expect("nothing is taken");
//!
//! clock.advance(Length::HOUR);
//! assert!(keeper.acquire(&call)?.granted().is_some(), "its slot is free, and 40 cents are charged");
//! lost.settle(&Usage::new().usd(Usd::cents(5)))?;
//! assert!(keeper.acquire(&call.usd(Usd::cents(55)))?.granted().is_some(), "of which 35 came back: 5 and 40 are spent");
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! # Streams
//!
//! [`so_far`] says what a stream has used until now. It is held at the least, charged if nothing more is heard, and never
//! refused; the answer says whether a limit is crossed, and the host decides whether to stop. At the end of the stream, settle.
//! When a client disconnects, settle by what was sent so far.
//!
//! # Operation ids
//!
//! A host that retries gives its call an id of its own, by `Call::under`. The same id with the same call is answered as
//! before and held once; with another call it is a conflict that names the field. A denial is not remembered: asked again,
//! it may pass. Answers are kept for a day. After an error of which nobody knows whether it took effect
//! ([`StoreError::is_unknown`](crate::StoreError::is_unknown)), the same call under the same id resolves it.
//!
//! ```
//! use keyward::{Call, Keeper, Limit, OpId};
//!
//! let keeper = Keeper::builder().limit(Limit::requests(1).per_day()).build()?;
//! let call = Call::new().under(OpId::host("request-7")?);
//! let first = keeper.acquire(&call)?.granted().expect("one passes");
//! let again = keeper.acquire(&call)?.granted().expect("it is the same one");
//! assert_eq!(first.op(), again.op());
//! assert!(keeper.acquire(&call.clone().tokens(5)).unwrap_err().is_conflict());
//! assert!(keeper.acquire(&Call::new())?.denied().is_some());
//! # first.release()?;
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! [`release`]: crate::Permit::release
//! [`extend`]: crate::Permit::extend
//! [`so_far`]: crate::Permit::so_far
