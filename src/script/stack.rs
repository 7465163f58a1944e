//! The stack of a thread: the interpreter recurses with the script, and an overflow would kill the process.

use std::{
    cell::Cell,
    io,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Stack of a thread that runs scripts. Only what is touched becomes real memory. Dropping a value takes up
/// to two bytes of stack for each byte of the value when it is nested as deeply as can be.
pub(super) const SIZE: usize = 512 << 20;

/// The largest `max_memory` that this is enough for, with as much again to spare.
pub(super) const MAX_MEMORY: usize = 128 << 20;

/// The largest `max_memory` on a thread that isn't ours, on which values and interpreter share 2 MiB.
pub(super) const MAX_FOREIGN_MEMORY: usize = 512 << 10;

/// A run that never held more than this can't have nested a value deeply enough to touch much stack.
pub(super) const SHALLOW_MEMORY: usize = 8 << 20;

/// Bytes that stay free below the interpreter, for functions that recurse over a value (dropping, cloning).
const RESERVE: usize = SIZE - (32 << 20);

/// The pause between two log lines about threads that can't be started.
pub(super) const QUIET: Duration = Duration::from_secs(5);

/// Bytes that a run may use on a thread that isn't ours. Tokio's have 2 MiB.
const FOREIGN: usize = 640 << 10;

thread_local! {
    /// Address near the top of this thread's stack, if it is one of ours.
    static TOP: Cell<Option<usize>> = const { Cell::new(None) };
    /// The thread has dipped so deep into its stack that it should give it back.
    static SPENT: Cell<bool> = const { Cell::new(false) };
}

/// Starts a thread that may run any script.
pub(super) fn spawn<T: Send + 'static>(
    name: String,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    thread::Builder::new()
        .name(name)
        .stack_size(SIZE)
        .spawn(move || {
            TOP.set(Some(pointer()));
            work()
        })
}

/// Runs `work` on a stack that is large enough for any script: this thread's own if it is one of ours. Returns nothing
/// where there can't be one, which is told in the log once in a while.
pub(super) fn with_large<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    static TOLD: Mutex<Option<Instant>> = Mutex::new(None);

    if TOP.get().is_some() {
        return Some(work());
    }
    let done = on_thread_of_its_own(work);
    done.inspect_err(|error| {
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= QUIET) {
            *told = Some(Instant::now());
            tracing::error!(%error, "failed to start a thread for a script");
        }
    })
    .ok()
}

fn on_thread_of_its_own<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("script-once".into())
            .stack_size(SIZE)
            .spawn_scoped(scope, || {
                TOP.set(Some(pointer()));
                work()
            })?;
        thread
            .join()
            .map_err(|_| io::Error::other("the script thread panicked"))
    })
}

/// Returns the lowest address that the interpreter may reach on this thread.
pub(super) fn floor() -> usize {
    match TOP.get() {
        Some(top) => top.saturating_sub(SIZE - RESERVE),
        None => pointer().saturating_sub(FOREIGN),
    }
}

/// Returns where the stack is now.
#[inline]
pub(super) fn pointer() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// Notes that a run may have touched much of this thread's stack.
pub(super) fn mark_spent() {
    SPENT.set(true);
}

/// Returns whether this thread should end, so that its stack becomes free memory again.
pub(super) fn is_spent() -> bool {
    SPENT.get()
}
