//! A global allocator that counts what each thread allocates, so that a run's memory is measured, not guessed.

#![expect(
    unsafe_code,
    reason = "`GlobalAlloc` is an unsafe trait; every call is passed on unchanged"
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
}

impl<A> Meter<A> {
    /// Counts what goes through `inner`.
    pub const fn new(inner: A) -> Self {
        Self(inner)
    }
}

/// Bytes this thread has allocated and not freed.
#[inline]
pub(super) fn net() -> isize {
    NET.with(Cell::get)
}

/// Bytes this thread has ever allocated (wraps around).
#[inline]
pub(super) fn gross() -> usize {
    GROSS.with(Cell::get)
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
        }
        memory
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let memory = unsafe { self.0.alloc_zeroed(layout) };
        if !memory.is_null() {
            grown(layout.size());
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
            } else {
                shrunk(layout.size() - new_size);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::{gross, net};

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
