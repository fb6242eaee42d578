//! Work that may wait, done where it is asked for or on a thread of the host's.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Work as it is handed over.
pub(super) type Work = Box<dyn FnOnce() + Send>;
/// The host's function that has work done elsewhere.
pub(super) type Spawn = Arc<dyn Fn(Work) + Send + Sync>;

/// What becomes of a result that nobody waits for any more.
type Unclaimed<T> = fn(T);

/// Work under way.
pub(super) enum Task<T: Send + 'static> {
    /// It was done in place.
    Here(Option<T>),
    /// It is done elsewhere.
    There(Arc<Desk<T>>, Spawn, Unclaimed<T>),
}

/// Where the result is put down.
pub(super) struct Desk<T>(Mutex<Slot<T>>);

enum Slot<T> {
    Waiting(Option<Waker>),
    Done(T),
    /// The work was thrown away.
    Lost,
    /// Nobody waits any more, or the result was taken.
    Left,
}

/// Says that the work was thrown away, if it was.
struct Worker<T>(Arc<Desk<T>>);

impl<T: Send + 'static> Task<T> {
    /// Has it done. A result that nobody waits for any more is handed to `unclaimed`, where the work was done.
    pub(super) fn run(
        spawn: Option<&Spawn>,
        work: impl FnOnce() -> T + Send + 'static,
        unclaimed: Unclaimed<T>,
    ) -> Self {
        let Some(spawn) = spawn else { return Self::Here(Some(work())) };
        let desk = Arc::new(Desk(Mutex::new(Slot::Waiting(None))));
        let worker = Worker(Arc::clone(&desk));
        spawn(Box::new(move || {
            if let Some(result) = worker.0.put(Slot::Done(work())) {
                unclaimed(result);
            }
        }));
        Self::There(desk, Arc::clone(spawn), unclaimed)
    }

    /// The result, once; nothing if the work was thrown away.
    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<Option<T>> {
        match self {
            Self::Here(result) => Poll::Ready(result.take()),
            Self::There(desk, ..) => {
                let mut slot = desk.0.lock();
                match std::mem::replace(&mut *slot, Slot::Left) {
                    Slot::Done(result) => Poll::Ready(Some(result)),
                    Slot::Lost | Slot::Left => Poll::Ready(None),
                    Slot::Waiting(_) => {
                        *slot = Slot::Waiting(Some(context.waker().clone()));
                        Poll::Pending
                    }
                }
            }
        }
    }
}

impl<T> Desk<T> {
    /// Puts something down and wakes who waits for it; gives back a result that nobody does.
    fn put(&self, next: Slot<T>) -> Option<T> {
        let mut slot = self.0.lock();
        if let Slot::Waiting(waker) = &mut *slot {
            let waker = waker.take();
            *slot = next;
            drop(slot);
            waker.into_iter().for_each(Waker::wake);
            return None;
        }
        drop(slot);
        match next {
            Slot::Done(result) => Some(result),
            _ => None,
        }
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        // After the work was done nobody waits, and this does nothing.
        let _ = self.0.put(Slot::Lost);
    }
}

impl<T: Send + 'static> Drop for Task<T> {
    fn drop(&mut self) {
        let Self::There(desk, spawn, unclaimed) = self else { return };
        let left = std::mem::replace(&mut *desk.0.lock(), Slot::Left);
        if let Slot::Done(result) = left {
            let unclaimed = *unclaimed;
            spawn(Box::new(move || unclaimed(result)));
        }
    }
}
