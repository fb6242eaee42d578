//! The locks, in one place: so that a checker of schedules can put its own in their stead.

#[cfg(not(shuttle))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
}

#[cfg(shuttle)]
mod real {
    pub(crate) use shuttle::sync::MutexGuard;
    pub(crate) use shuttle::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};

    /// A lock that is never poisoned, as the real one.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

pub(crate) use real::{AtomicI64, AtomicU32, AtomicUsize, Mutex, MutexGuard, Ordering};
