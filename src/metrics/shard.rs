//! Parts of a counter: threads that count at the same time don't wait for each other's cache line.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The parts of each counter.
pub(super) const SHARDS: usize = 8;

/// A part of a counter, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Shard<T>(pub(super) T);

/// Returns the part that this thread uses.
pub(super) fn own() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    OWN.with(|own| *own)
}
