//! A global allocator that counts what each thread allocates, so that a run's memory is measured, not guessed.

#![expect(
    unsafe_code,
    reason = "`GlobalAlloc` is an unsafe trait, whose calls are passed on unchanged; `give_back` calls C"
)]

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
};

/// Wraps the allocator `A` and counts bytes per thread.
///
/// Memory that is freed on another thread than it was allocated on is counted there: only differences over
/// a stretch of work that hands nothing over, such as one script run, mean anything.
#[derive(Debug)]
pub struct Meter<A>(A);

thread_local! {
    // No destructor and a constant start: reading these never allocates and works during thread exit.
    static NET: Cell<isize> = const { Cell::new(0) };
    static GROSS: Cell<usize> = const { Cell::new(0) };
    static LARGEST_TEXT: Cell<usize> = const { Cell::new(0) };
    static LARGEST_LIST: Cell<usize> = const { Cell::new(0) };
}

/// The largest alignment of texts and bytes, and the smallest of lists of values. Characters are between these;
/// functions work on them for a moment.
const TEXT_ALIGN: usize = 2;
const LIST_ALIGN: usize = 8;

impl<A> Meter<A> {
    /// Counts what goes through `inner`.
    pub const fn new(inner: A) -> Self {
        Self(inner)
    }
}

/// Bytes this thread has allocated and not freed.
#[inline]
pub(crate) fn net() -> isize {
    NET.with(Cell::get)
}

/// Gives the memory back to the system that this thread has freed. The allocator keeps it otherwise, until the thread
/// allocates as much again.
pub(super) fn give_back() {
    // SAFETY: it touches nothing but what is free, and may be called at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// The bytes of a piece of work from which on its thread gives back what it has freed.
const MUCH: usize = 256 << 10;

/// Calls `work`. If that takes much memory, gives back what this thread has freed: it may be idle for long after.
pub(crate) fn returning_memory<R>(work: impl FnOnce() -> R) -> R {
    let before = gross();
    let done = work();
    if gross().wrapping_sub(before) > MUCH {
        give_back();
    }
    done
}

/// Bytes this thread has ever allocated (wraps around).
#[inline]
pub(super) fn gross() -> usize {
    GROSS.with(Cell::get)
}

/// The largest allocations of this thread since [`forget_largest`]: of text or bytes, and of lists.
pub(super) fn largest() -> (usize, usize) {
    (LARGEST_TEXT.get(), LARGEST_LIST.get())
}

/// Begins to look for the largest allocations anew.
pub(super) fn forget_largest() {
    LARGEST_TEXT.set(0);
    LARGEST_LIST.set(0);
}

#[inline]
fn allocated(size: usize, align: usize) {
    let largest = if align <= TEXT_ALIGN {
        &LARGEST_TEXT
    } else if align >= LIST_ALIGN {
        &LARGEST_LIST
    } else {
        return;
    };
    largest.with(|largest| {
        if size > largest.get() {
            largest.set(size);
        }
    });
}

#[inline]
fn grown(bytes: usize) {
    NET.with(|net| net.set(net.get().wrapping_add_unsigned(bytes)));
    GROSS.with(|gross| gross.set(gross.get().wrapping_add(bytes)));
}

#[inline]
fn shrunk(bytes: usize) {
    NET.with(|net| net.set(net.get().wrapping_sub_unsigned(bytes)));
}

// SAFETY: every method passes its arguments on to `A` and its answer back; counting neither allocates nor
// unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Meter<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let memory = unsafe { self.0.alloc(layout) };
        if !memory.is_null() {
            grown(layout.size());
            allocated(layout.size(), layout.align());
        }
        memory
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let memory = unsafe { self.0.alloc_zeroed(layout) };
        if !memory.is_null() {
            grown(layout.size());
            allocated(layout.size(), layout.align());
        }
        memory
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { self.0.dealloc(memory, layout) };
        shrunk(layout.size());
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        let moved = unsafe { self.0.realloc(memory, layout, new_size) };
        if !moved.is_null() {
            if new_size >= layout.size() {
                grown(new_size - layout.size());
                allocated(new_size, layout.align());
            } else {
                shrunk(layout.size() - new_size);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::{forget_largest, gross, largest, net};

    #[test]
    fn the_largest_of_each_kind_is_known() {
        forget_largest();
        let text = String::with_capacity(3000);
        let list: Vec<u64> = Vec::with_capacity(1000);
        assert_eq!(largest(), (3000, 8000));
        drop((text, list));
        assert_eq!(largest(), (3000, 8000));
        forget_largest();
        assert_eq!(largest(), (0, 0));
    }

    #[test]
    fn what_is_freed_is_taken_off_again() {
        let (net_before, gross_before) = (net(), gross());
        let mut bytes: Vec<u8> = Vec::with_capacity(1000);
        assert_eq!(net() - net_before, 1000);
        bytes.reserve_exact(5000);
        assert_eq!(net() - net_before, 5000);
        drop(bytes);
        assert_eq!(net(), net_before);
        assert_eq!(gross() - gross_before, 5000);
    }
}
