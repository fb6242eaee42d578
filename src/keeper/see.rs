//! A keeper as people see it: where it stands, and what it would say.

mod explain;
mod words;

pub use explain::{Explanation, GateCheck, KeyCheck, LimitCheck, PriceUsed};

use super::denial::Denial;
use super::{Call, Keeper};
use crate::error::Error;
use crate::picture::{Picture, View};
use crate::store::Store;

impl<S: Store> Keeper<S> {
    /// Where everything stands: limits, budgets, pools, holds, who waits, and whether the store answers. See
    /// [`picture`](crate::picture).
    ///
    /// ```
    /// use keyward::picture::View;
    /// use keyward::{Call, Keeper, Limit};
    ///
    /// let keeper = Keeper::builder().limit(Limit::requests(60).per_day().by("key")).build()?;
    /// let _held: Vec<_> = ["alice", "bob"].map(|key| keeper.acquire(&Call::new().with("key", key))).into();
    /// let (mut view, mut pages) = (View::new().most(1), 0);
    /// loop {
    ///     let picture = keeper.status(&view);
    ///     pages += 1;
    ///     let Some(next) = picture.next else { break };
    ///     view = view.after(next);
    /// }
    /// assert!(pages > 3, "two accounts, two holds");
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn status(&self, view: &View) -> Picture {
        let (now, force) = (self.tidy(), self.force());
        let mut picture = Picture::of(self.store(), force.terms(), &force.pools, view, now);
        picture.waiting = self.in_line();
        picture.clock = self.0.watch.state();
        picture
    }

    /// Whether a call would pass now, and if not, why: the verdict of [`Keeper::explain`].
    ///
    /// # Errors
    /// As [`Keeper::acquire`].
    pub fn peek(&self, call: &Call) -> Result<Option<Denial>, Error> {
        Ok(self.explain(call)?.denial)
    }
}
