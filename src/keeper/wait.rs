//! Waiting for a limit: first come, first served.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Call, Decision, Keeper};
use crate::account::MeterId;
use crate::error::Error;
use crate::id::Subject;
use crate::store::Store;
use crate::time::When;

/// The most calls that wait in one line; who comes then is refused as if it did not wait.
const LONGEST: usize = 1_024;
/// How long the first in line sleeps at most before it looks at the clock again, which may have been set.
const NAP: Duration = Duration::from_millis(100);
/// How long it sleeps where only the end of another call frees room, which may end in another process.
const LOOK: Duration = Duration::from_millis(20);

/// What is waited for: the room of one subject under one limit, or a key of a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Limit(MeterId, Subject),
    Pool(String),
}

/// The lines of calls that wait.
#[derive(Default)]
pub(super) struct Lines(Mutex<BTreeMap<Lane, VecDeque<Arc<Ticket>>>>);

/// A place in a line.
#[derive(Default)]
struct Ticket {
    /// Whether something has happened that its holder should look at.
    called: Mutex<bool>,
    bell: Condvar,
}

impl Ticket {
    fn call(&self) {
        *self.called.lock() = true;
        self.bell.notify_one();
    }

    /// Sleeps until it is called, or until this is over.
    fn sleep(&self, most: Duration) {
        let mut called = self.called.lock();
        if !*called {
            let _ = self.bell.wait_for(&mut called, most);
        }
        *called = false;
    }
}

impl Lines {
    /// Whether others wait in any of these lines.
    fn has_any(&self, lanes: &[Lane]) -> Option<Lane> {
        let lines = self.0.lock();
        if lines.is_empty() {
            return None;
        }
        lanes.iter().find(|lane| lines.contains_key(lane)).cloned()
    }

    fn enter(&self, lane: &Lane, ticket: &Arc<Ticket>) -> bool {
        let mut lines = self.0.lock();
        let line = lines.entry(lane.clone()).or_default();
        if line.len() >= LONGEST {
            return false;
        }
        line.push_back(Arc::clone(ticket));
        true
    }

    /// Leaves a line, and calls whoever is first now.
    fn leave(&self, lane: &Lane, ticket: &Arc<Ticket>) {
        let mut lines = self.0.lock();
        let Some(line) = lines.get_mut(lane) else { return };
        line.retain(|other| !Arc::ptr_eq(other, ticket));
        match line.front() {
            Some(next) => next.call(),
            None => drop(lines.remove(lane)),
        }
    }

    fn is_first(&self, lane: &Lane, ticket: &Arc<Ticket>) -> bool {
        let lines = self.0.lock();
        lines.get(lane).and_then(VecDeque::front).is_some_and(|first| Arc::ptr_eq(first, ticket))
    }

    /// Something was given back: the first of each line looks whether it is enough.
    pub(super) fn freed(&self) {
        for line in self.0.lock().values() {
            if let Some(first) = line.front() {
                first.call();
            }
        }
    }
}

/// A place in a line, which is left when this is dropped: by whoever was served, and whoever gives up.
struct Waiting<'a> {
    lines: &'a Lines,
    lane: Lane,
    ticket: Arc<Ticket>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.lines.leave(&self.lane, &self.ticket);
    }
}

impl<S: Store> Keeper<S> {
    /// The same as [`Keeper::acquire`], of a call that would rather wait than be refused, for so long at most. Calls that
    /// wait for the same limit are served in the order in which they came; whoever does not wait is not held up by them.
    ///
    /// It sleeps until the instant at which the call can pass, or until another call ends. What time will never let pass is
    /// refused at once, and so is a call that finds more than a thousand others in line.
    ///
    /// ```
    /// use std::time::Duration;
    /// use keyward::{Call, Keeper, Limit, Usage};
    ///
    /// let keeper = Keeper::builder().limit(Limit::slots(1).by("key")).build()?;
    /// let call = Call::new().with("key", "alice");
    /// let first = keeper.acquire(&call)?.granted().expect("a slot is free");
    /// let second = std::thread::scope(|scope| {
    ///     let waiting = scope.spawn(|| keeper.acquire_within(&call, Duration::from_secs(60)));
    ///     first.settle(&Usage::new())?;
    ///     waiting.join().expect("no panic")
    /// })?;
    /// assert!(second.granted().is_some());
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Keeper::acquire`].
    pub fn acquire_within(&self, call: &Call, most: Duration) -> Result<Decision<S>, Error> {
        let began = Instant::now();
        let left = || most.checked_sub(began.elapsed());
        let lines = &self.0.lines;
        let mut waiting: Option<Waiting<'_>> = None;
        if let Some(lane) = lines.has_any(&self.lanes(call)) {
            let ticket = Arc::default();
            if lines.enter(&lane, &ticket) {
                waiting = Some(Waiting { lines, lane, ticket });
            }
        }
        loop {
            if let Some(Waiting { lane, ticket, .. }) = &waiting {
                while !lines.is_first(lane, ticket) {
                    let Some(left) = left() else { return self.acquire(call) };
                    ticket.sleep(left.min(NAP));
                }
            }
            let denial = match self.acquire(call)? {
                Decision::Granted(permit) => return Ok(Decision::Granted(permit)),
                Decision::Denied(denial) => denial,
            };
            let lane = match (denial.blockers.first(), &denial.exhausted) {
                (Some(blocker), _) => {
                    self.terms().get(&blocker.limit).map(|it| Lane::Limit(it.meter(), blocker.subject.clone()))
                }
                (None, Some(pool)) => Some(Lane::Pool(pool.pool.clone())),
                (None, None) => None,
            };
            let (Some(lane), Some(left)) = (lane.filter(|_| denial.when != When::Never), left()) else {
                return Ok(Decision::Denied(denial));
            };
            if waiting.is_none() {
                let ticket = Arc::default();
                if !lines.enter(&lane, &ticket) {
                    return Ok(Decision::Denied(denial));
                }
                waiting = Some(Waiting { lines, lane, ticket });
            }
            let Some(Waiting { ticket, .. }) = &waiting else { continue };
            let nap = match denial.when {
                When::At(at) => at.since(self.now()).min(NAP),
                When::WhenFreed { .. } | When::Never => LOOK,
            };
            ticket.sleep(left.min(nap));
        }
    }

    /// How many calls wait now.
    #[must_use]
    pub fn in_line(&self) -> usize {
        self.0.lines.0.lock().values().map(VecDeque::len).sum()
    }

    /// Every line that the call may have to stand in.
    fn lanes(&self, call: &Call) -> Vec<Lane> {
        let force = self.force();
        let dimension = |name: &str| call.dimension(name);
        let mut lanes = Vec::new();
        for term in force.terms() {
            // What the call lacks is said where it is asked for.
            if let Ok(Some(subject)) = term.limit().subject(dimension) {
                lanes.push(Lane::Limit(term.meter(), subject));
            }
        }
        lanes.extend(call.asked_pool().map(|pool| Lane::Pool(pool.to_owned())));
        lanes
    }
}
