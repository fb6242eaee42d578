//! An allocator that counts what each thread has in use and how often it asks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static IN_USE: Cell<usize> = const { Cell::new(0) };
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

fn count(more: usize, less: usize) {
    let _ = IN_USE.try_with(|bytes| bytes.set(bytes.get().wrapping_add(more).wrapping_sub(less)));
    if more > 0 {
        let _ = ASKED.try_with(|times| times.set(times.get() + 1));
    }
}

// Safety: all of it is the system's, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What this makes, and how many bytes it has in use.
pub fn in_use<T>(make: impl FnOnce() -> T) -> (T, f64) {
    let before = IN_USE.get();
    let made = make();
    (made, IN_USE.get().wrapping_sub(before) as f64)
}

/// How often this asks for memory.
pub fn asked(what: impl FnOnce()) -> f64 {
    let before = ASKED.get();
    what();
    (ASKED.get() - before) as f64
}
