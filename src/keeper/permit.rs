//! A call that may go out.

use std::fmt;
use std::pin::pin;

use super::denial::Denial;
use super::held::Held;
use super::hold::{Remaining, Settled};
use crate::amount::Usd;
use crate::error::Error;
use crate::http::{Header, Options};
use crate::id::{KeyId, OpId, Secret};
use crate::store::{MemoryStore, Ready, Store, run};
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Outcome, Usage};

/// A call that may go out, and what is held for it.
///
/// It ends with [`Permit::settle`] or [`Permit::release`]. One that is dropped without either has been given up: its slots
/// are free and its money is charged at the estimate, which the keeper's next verb carries out, because a call that was
/// cancelled has usually cost something. Where nothing was sent, say `release`.
#[must_use]
pub struct Permit<S: Store = MemoryStore>(Held<Ready<S>>);

/// What became of a call whose key failed.
#[derive(Debug)]
#[must_use]
pub enum Moved {
    /// It goes out with another key: [`Permit::key`].
    On,
    /// No other key can take it; what the client holds is held still.
    Denied(Box<Denial>),
}

/// What a call has used so far, beside its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoFar {
    /// Whether more is held or spent somewhere than a limit allows: a host may stop the stream.
    pub is_over: bool,
}

impl<S: Store> Permit<S> {
    /// The operation: by it another process can settle what is held here.
    #[must_use]
    pub fn op(&self) -> OpId {
        self.0.op()
    }

    /// The upstream key that it goes out with, if it was drawn from a pool.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        self.0.key()
    }

    /// That key's secret, for the one place that sends it.
    #[must_use]
    pub fn secret(&self) -> Option<Secret> {
        self.0.secret()
    }

    /// Whose key it is.
    #[must_use]
    pub fn provider(&self) -> Option<String> {
        self.0.provider()
    }

    /// What was left of each limit when the call was admitted.
    #[must_use]
    pub fn remaining(&self) -> Vec<Remaining> {
        self.0.remaining()
    }

    /// The headers that tell a caller what was left, for the answer that goes back.
    ///
    /// ```
    /// use keyward::http::Options;
    /// use keyward::{Call, Keeper, Limit};
    /// let keeper = Keeper::builder().limit(Limit::requests(60).per_day().named("calls")).build()?;
    /// let permit = keeper.acquire(&Call::new())?.granted().expect("60 pass");
    /// let headers = permit.headers(&Options::default());
    /// assert!(headers[0].1.starts_with("\"calls\";r=59;t="), "{headers:?}");
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub fn headers(&self, options: &Options) -> Vec<Header> {
        self.0.headers(options)
    }

    /// Whether it is held in this process alone, since the store could not be asked: see
    /// [`Limit::when_down`](crate::Limit::when_down).
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.0.is_local()
    }

    /// When what it holds ends by itself, if it holds anything.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.expires()
    }

    /// The call is over, and has used this. What a usage does not state is settled as it was held, a request as one. Said
    /// again with the same usage, nothing more is done.
    ///
    /// # Errors
    /// Usage that no call can have had; another usage than was settled before; what the store says. After a store's
    /// error the permit is still there, and the same call settles it.
    pub fn settle(&self, usage: &Usage) -> Result<Settled, Error> {
        self.settle_as(usage, &Outcome::new(Class::Success))
    }

    /// The same, of an answer that was read. A key whose answer was no success is reported as what it was.
    ///
    /// # Errors
    /// As [`Permit::settle`].
    pub fn settle_as(&self, usage: &Usage, outcome: &Outcome) -> Result<Settled, Error> {
        run(pin!(self.0.settle(usage, outcome)))
    }

    /// Nothing was sent, or nothing is to be paid: all of it is given back.
    ///
    /// # Errors
    /// A permit that was settled; what the store says.
    pub fn release(&self) -> Result<(), Error> {
        self.release_as(&Outcome::new(Class::NoVerdict))
    }

    /// The same, of an attempt that failed like this.
    ///
    /// # Errors
    /// As [`Permit::release`].
    pub fn release_as(&self, outcome: &Outcome) -> Result<(), Error> {
        run(pin!(self.0.release(outcome)))
    }

    /// The call is still under way: what it holds lives this long from now. Says until when.
    ///
    /// # Errors
    /// What the store says.
    pub fn extend(&self, life: Length) -> Result<Option<Timestamp>, Error> {
        run(pin!(self.0.extend(life)))
    }

    /// The call has used this much so far, which is held at the least, and charged if nothing more is heard of it. Never
    /// refused; says whether a limit is crossed, so that a host can stop the stream.
    ///
    /// # Errors
    /// What the store says.
    pub fn so_far(&self, usage: &Usage) -> Result<SoFar, Error> {
        run(pin!(self.0.so_far(usage)))
    }

    /// The key has failed like this: that is reported whatever happens, and the call goes out with another key of its pool
    /// if there is one. What the client holds stays as it is.
    ///
    /// # Errors
    /// A call without a pool, or one that is over; what the store says.
    pub fn failover(&self, outcome: &Outcome) -> Result<Moved, Error> {
        run(pin!(self.0.failover(outcome)))
    }

    /// Whether it was settled or released.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// What the estimate, or an expiry, would cost.
    #[must_use]
    pub fn estimate(&self) -> Option<Usd> {
        self.0.estimate()
    }
}

impl<S: Store> From<Held<Ready<S>>> for Permit<S> {
    fn from(held: Held<Ready<S>>) -> Self {
        Self(held)
    }
}

impl<S: Store> fmt::Debug for Permit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show("Permit", f)
    }
}
