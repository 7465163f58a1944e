//! The gate between a job's commit and its cancellation: whichever comes first goes through.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::oneshot;

use crate::dispatch::Progress;

/// One job's end, decided once: it commits, or it is cancelled. The second attempt changes nothing.
#[derive(Debug)]
pub(super) struct CommitGate {
    begun: Instant,
    settled: AtomicBool,
    /// Ends the run, see [`Sandbox::run`](crate::script::Sandbox::run).
    cancelled: Arc<AtomicBool>,
    /// The receiver of the run's progress, from its commit on.
    waiter: Mutex<Option<oneshot::Sender<Progress>>>,
}

impl Default for CommitGate {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            settled: AtomicBool::default(),
            cancelled: Arc::default(),
            waiter: Mutex::default(),
        }
    }
}

impl CommitGate {
    /// Returns when the run began.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Sets who waits for the run that is committed right now.
    pub(super) fn set_waiter(&self, waiter: Option<oneshot::Sender<Progress>>) {
        *self.waiter.lock().unwrap_or_else(PoisonError::into_inner) = waiter;
    }

    /// Sends the progress to whoever waits; sends nothing if the disk hasn't taken the commit.
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

    /// Returns whether the job may commit. From here on nothing cancels it.
    pub(super) fn try_commit(&self) -> bool {
        !self.settled.swap(true, Ordering::AcqRel)
    }

    /// Cancels the job. Returns whether that came first: then nothing of it is committed.
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
