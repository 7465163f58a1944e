//! Who decides how a job ends: the first of those who try.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// One job's fate, settled once: it commits, or it is cancelled. Whoever comes second changes nothing.
#[derive(Debug, Default)]
pub(super) struct Claim {
    settled: AtomicBool,
    /// Ends the run, see [`Sandbox::run`](crate::script::Sandbox::run).
    cancelled: Arc<AtomicBool>,
}

impl Claim {
    /// Whether the job may commit. From here on nothing cancels it.
    pub(super) fn commit(&self) -> bool {
        !self.settled.swap(true, Ordering::AcqRel)
    }

    /// Whether the job is cancelled: nothing of it will land.
    pub(super) fn cancel(&self) -> bool {
        let first = !self.settled.swap(true, Ordering::AcqRel);
        if first {
            self.cancelled.store(true, Ordering::Release);
        }
        first
    }

    pub(super) fn cancelled(&self) -> &Arc<AtomicBool> {
        &self.cancelled
    }
}
