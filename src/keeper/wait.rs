//! Waiting for a limit: first come, first served.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::denial::Denial;
use super::force::dimension;
use super::held::Held;
use super::shared::Shared;
use super::verbs::Caller;
use super::{Call, Decision};
use crate::account::MeterId;
use crate::error::Error;
use crate::id::Subject;
use crate::store::{AsyncStore, Unpark};
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
pub(super) struct Lines {
    lines: Mutex<BTreeMap<Lane, VecDeque<Arc<Ticket>>>>,
    /// How many wait, so that nobody looks for them where there are none.
    count: AtomicUsize,
}

/// A place in a line.
#[derive(Default)]
struct Ticket(Mutex<Bell>);

#[derive(Default)]
struct Bell {
    /// Whether something has happened that its holder should look at.
    is_rung: bool,
    holder: Option<Waker>,
}

impl Ticket {
    fn call(&self) {
        let mut bell = self.0.lock();
        bell.is_rung = true;
        let holder = bell.holder.take();
        drop(bell);
        holder.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut bell = self.0.lock();
        if std::mem::take(&mut bell.is_rung) {
            return Poll::Ready(());
        }
        bell.holder = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Lines {
    /// A line in which others wait, of these.
    fn has_any(&self, lanes: &[Lane]) -> Option<Lane> {
        let lines = self.lines.lock();
        lanes.iter().find(|lane| lines.contains_key(lane)).cloned()
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn enter(&self, lane: Lane) -> Option<Waiting<'_>> {
        let mut lines = self.lines.lock();
        let line = lines.entry(lane.clone()).or_default();
        if line.len() >= LONGEST {
            return None;
        }
        let ticket = Arc::<Ticket>::default();
        line.push_back(Arc::clone(&ticket));
        self.count.fetch_add(1, Ordering::SeqCst);
        Some(Waiting { lines: self, lane, ticket })
    }

    /// Something was given back: the first of each line looks whether it is enough.
    pub(super) fn freed(&self) {
        if self.count() == 0 {
            return;
        }
        let first: Vec<_> = self.lines.lock().values().filter_map(VecDeque::front).cloned().collect();
        // Who is woken may do anything, and is not woken under the lock.
        first.iter().for_each(|ticket| ticket.call());
    }
}

/// A place in a line, which is left when this is dropped: by whoever was served, and whoever gives up.
struct Waiting<'a> {
    lines: &'a Lines,
    lane: Lane,
    ticket: Arc<Ticket>,
}

impl Waiting<'_> {
    /// How many stand before it.
    fn before(&self) -> usize {
        let lines = self.lines.lines.lock();
        let mut line = lines.get(&self.lane).into_iter().flatten();
        line.position(|other| Arc::ptr_eq(other, &self.ticket)).unwrap_or(0)
    }

    /// Sleeps until it is called, or until one of these is over. Says whether it was the second, which is the last.
    async fn sleep(&self, nap: impl Future<Output = ()>, mut last: Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut nap = pin!(nap);
        poll_fn(|context| {
            if self.ticket.poll(context).is_ready() {
                return Poll::Ready(false);
            }
            match last.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => nap.as_mut().poll(context).map(|()| false),
            }
        })
        .await
    }
}

impl Drop for Waiting<'_> {
    /// Leaves the line, and calls whoever is first now.
    fn drop(&mut self) {
        let mut lines = self.lines.lines.lock();
        let Some(line) = lines.get_mut(&self.lane) else { return };
        line.retain(|other| !Arc::ptr_eq(other, &self.ticket));
        let next = line.front().cloned();
        if next.is_none() {
            lines.remove(&self.lane);
        }
        drop(lines);
        self.lines.count.fetch_sub(1, Ordering::SeqCst);
        next.iter().for_each(|ticket| ticket.call());
    }
}

impl<T: AsyncStore> Shared<T> {
    /// Asks until the call may go out or the time is over, in its turn. `sleep` is how it sleeps.
    pub(super) async fn acquire_within<P: From<Held<T>>, F: Future<Output = ()>>(
        self: &Arc<Self>,
        call: &Call,
        most: Duration,
        sleep: impl Fn(Duration) -> F,
    ) -> Result<Decision<P>, Error> {
        let mut since = None;
        let decided = self.stand(call, most, sleep, &mut since).await;
        self.tell_waited(since, &decided);
        self.tell_in_the_end(&decided);
        decided
    }

    /// Says since when it has stood in a line, if it has.
    async fn stand<P: From<Held<T>>, F: Future<Output = ()>>(
        self: &Arc<Self>,
        call: &Call,
        most: Duration,
        sleep: impl Fn(Duration) -> F,
        since: &mut Option<Instant>,
    ) -> Result<Decision<P>, Error> {
        let lines = &self.lines;
        let (mut end, mut is_over, mut waiting) = (pin!(sleep(most)), false, None);
        if lines.count() > 0 {
            if let Some(lane) = lines.has_any(&self.lanes(call)?) {
                let Some(place) = lines.enter(lane) else { return self.turned_away(call, LONGEST).await };
                waiting = Some(place);
                *since = Some(Instant::now());
            }
        }
        loop {
            if let Some(place) = &waiting {
                loop {
                    match place.before() {
                        0 => break,
                        others if is_over => return self.turned_away(call, others).await,
                        _ => is_over = place.sleep(sleep(NAP), end.as_mut()).await,
                    }
                }
            }
            let denial = match self.decide(call, |_, _| {}).await? {
                Decision::Granted(permit) => return Ok(Decision::Granted(permit)),
                Decision::Denied(denial) => denial,
            };
            if is_over || denial.when == When::Never {
                return Ok(Decision::Denied(denial));
            }
            if waiting.is_none() {
                waiting = self.lane_of(&denial).and_then(|lane| lines.enter(lane));
            }
            let Some(place) = &waiting else { return Ok(Decision::Denied(denial)) };
            since.get_or_insert_with(Instant::now);
            let nap = match denial.when {
                When::At(at) => at.since(self.now()).min(NAP),
                When::WhenFreed { .. } | When::Never => LOOK,
            };
            is_over = place.sleep(sleep(nap), end.as_mut()).await;
        }
    }

    /// Others were before it to the last.
    async fn turned_away<P>(&self, call: &Call, others: usize) -> Result<Decision<P>, Error> {
        let denial = self.peek(call).await?.unwrap_or_else(|| Denial::after(others, self.now()));
        Ok(Decision::Denied(Box::new(denial)))
    }

    /// The line to stand in after a denial.
    fn lane_of(&self, denial: &Denial) -> Option<Lane> {
        match (denial.blockers.first(), &denial.exhausted) {
            (Some(blocker), _) => {
                let meter = self.force().terms().get(&blocker.limit)?.meter();
                Some(Lane::Limit(meter, blocker.subject.clone()))
            }
            (None, Some(pool)) => Some(Lane::Pool(pool.pool.clone())),
            (None, None) => None,
        }
    }

    /// Every line that the call may have to stand in.
    fn lanes(&self, call: &Call) -> Result<Vec<Lane>, Error> {
        // Whom a gate turns away stands in no line.
        let Ok(caller) = self.gate(call, self.now())? else { return Ok(Vec::new()) };
        let force = self.force();
        let mut lanes = Vec::new();
        for term in force.terms() {
            // What the call lacks is said where it is asked for.
            if let Ok(Some(subject)) = term.limit().subject(|name| dimension(call, caller.client.as_deref(), name)) {
                lanes.push(Lane::Limit(term.meter(), subject));
            }
        }
        lanes.extend(Caller::pool(&caller, call).map(|pool| Lane::Pool(pool.to_owned())));
        Ok(lanes)
    }
}

/// A thread that sleeps where others wait in another way.
#[derive(Default)]
pub(super) struct Sleeper {
    /// When the first of its naps is over.
    first: Cell<Option<Instant>>,
}

impl Sleeper {
    /// A nap, which ends while [`Sleeper::run`] is under way.
    pub(super) fn nap(&self, length: Duration) -> impl Future<Output = ()> {
        // One that is longer than the clock can say never ends.
        let end = Instant::now().checked_add(length);
        poll_fn(move |_| match end {
            Some(end) if Instant::now() >= end => Poll::Ready(()),
            _ => {
                let first = self.first.get().into_iter().chain(end).min();
                self.first.set(first);
                Poll::Pending
            }
        })
    }

    /// Runs a future to its end on this thread.
    pub(super) fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            self.first.set(None);
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            match self.first.get() {
                Some(first) => std::thread::park_timeout(first.saturating_duration_since(Instant::now())),
                None => std::thread::park(),
            }
        }
    }
}
