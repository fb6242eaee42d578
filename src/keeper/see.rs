//! A keeper as people see it: where it stands, and what it would say.

mod explain;
mod rehearse;
mod words;

pub use explain::{Explanation, GateCheck, KeyCheck, LimitCheck, PriceUsed};

use super::denial::Denial;
use super::shared::Shared;
use super::{AsyncKeeper, Call, Keeper};
use crate::error::Error;
use crate::picture::{Picture, View};
use crate::store::{AsyncStore, Store, block_on};

impl<S: Store> Keeper<S> {
    /// Where everything stands: limits, budgets, pools, holds, who waits, and whether the store answers. See
    /// [`picture`](crate::picture).
    ///
    /// ```
    /// use keyward::picture::View;
    /// use keyward::{Call, Keeper, Limit};
    ///
    /// let keeper = Keeper::builder().limit(Limit::requests(60).per_day().by("key")).build()?;
    /// let _held = ["alice", "bob"].map(|key| keeper.acquire(&Call::new().with("key", key)));
    /// let (mut view, mut pages) = (View::new().most(1), 0);
    /// loop {
    ///     let picture = keeper.status(&view);
    ///     pages += 1;
    ///     let Some(next) = picture.next else { break };
    ///     view = view.after(next);
    /// }
    /// assert!(pages >= 4, "two accounts, two holds");
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn status(&self, view: &View) -> Picture {
        block_on(self.0.status(view))
    }

    /// Whether a call would pass now, and if not, why: the verdict of [`Keeper::explain`].
    ///
    /// # Errors
    /// As [`Keeper::acquire`].
    pub fn peek(&self, call: &Call) -> Result<Option<Denial>, Error> {
        block_on(self.0.peek(call))
    }

    /// What would become of a call, and why. Nothing is held, spent or counted, and no key is given out; what time alone has
    /// ended, such as a hold that is over, may be ended on the way. A call with an operation id is explained as if it had
    /// none.
    ///
    /// It costs more than an [`acquire`](Keeper::acquire), and is meant for people.
    ///
    /// ```
    /// use keyward::{Call, Keeper, Limit, Usd};
    ///
    /// let keeper = Keeper::builder()
    ///     .limit(Limit::requests(60).per_day().by("key"))
    ///     .limit(Limit::usd(Usd::dollars(1)).per_day().by("team"))
    ///     .build()?;
    /// let call = Call::new().with("key", "alice").with("team", "red").usd(Usd::dollars(2));
    /// let explained = keeper.explain(&call)?;
    /// let passes: Vec<bool> = explained.limits.iter().map(|limit| limit.passes).collect();
    /// assert_eq!((explained.passes(), passes), (false, vec![true, false]));
    /// println!("{explained}");
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Keeper::acquire`].
    pub fn explain(&self, call: &Call) -> Result<Explanation, Error> {
        block_on(self.0.explain(call))
    }
}

impl<S: AsyncStore> AsyncKeeper<S> {
    /// As [`Keeper::status`].
    pub async fn status(&self, view: &View) -> Picture {
        self.0.status(view).await
    }

    /// As [`Keeper::peek`].
    ///
    /// # Errors
    /// As there.
    pub async fn peek(&self, call: &Call) -> Result<Option<Denial>, Error> {
        self.0.peek(call).await
    }

    /// As [`Keeper::explain`].
    ///
    /// # Errors
    /// As there.
    pub async fn explain(&self, call: &Call) -> Result<Explanation, Error> {
        self.0.explain(call).await
    }
}

impl<T: AsyncStore> Shared<T> {
    async fn status(&self, view: &View) -> Picture {
        let (now, force) = (self.tidy().await, self.force());
        let mut picture = Picture::gather(&self.store, force.terms(), &force.pools, view, now).await;
        picture.store = self.store.state();
        picture.waiting = self.lines.count();
        picture.clock = self.watch.state();
        picture
    }

    pub(super) async fn peek(&self, call: &Call) -> Result<Option<Denial>, Error> {
        Ok(self.explain(call).await?.denial)
    }
}
