//! Who decides how a job ends: the first of those who try.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::oneshot;

use crate::dispatch::Progress;

/// One job's fate, settled once: it commits, or it is cancelled. Whoever comes second changes nothing.
#[derive(Debug, Default)]
pub(super) struct CommitGate {
    settled: AtomicBool,
    /// Ends the run, see [`Sandbox::run`](crate::script::Sandbox::run).
    cancelled: Arc<AtomicBool>,
    /// Who is told how the run ended, from its commit on.
    waiter: Mutex<Option<oneshot::Sender<Progress>>>,
}

impl CommitGate {
    /// What is committed right now is what `waiter` waits for.
    pub(super) fn set_waiter(&self, waiter: Option<oneshot::Sender<Progress>>) {
        *self.waiter.lock().unwrap_or_else(PoisonError::into_inner) = waiter;
    }

    /// Tells whoever waits how the run ended; or nothing more, where the disk hasn't taken it.
    pub(super) fn notify(&self, progress: Option<Progress>) {
        let waiter = self
            .waiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((waiter, progress)) = waiter.zip(progress) {
            // Whoever waited may have left.
            let _ = waiter.send(progress);
        }
    }

    /// Whether the job may commit. From here on nothing cancels it.
    pub(super) fn try_commit(&self) -> bool {
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
