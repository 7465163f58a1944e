//! Compiles for somebody who waits for it, on a script thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout_at};
use uuid::Uuid;

use super::{MAX_WAITING, job::Account};
use crate::{
    circle::{Compiler, Executor},
    script::{RunError, Runner},
    store::Transaction,
};

/// Bytes that a compilation counts as while it waits, with most scripts, and the session's future.
const WEIGHT: usize = 16 << 10;

/// The one who has a script compiled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requester {
    pub(super) accounts: [Account; 2],
    /// The session that waits where the queue is full. Nobody else waits then.
    pub(super) session: Option<Uuid>,
}

/// Cancels the compilation when it is dropped.
struct CancelGuard(Arc<AtomicBool>);

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Calls `work` with a compiler when it is its turn. `begin` begins the transaction. It may take `time`, waiting for its
/// turn included, and ends when this future is dropped.
///
/// # Errors
/// Too much waits, or it took too long.
pub(super) async fn compile<R: Send + 'static>(
    runner: &Runner<Account>,
    requester: Requester,
    executor: Executor,
    time: Duration,
    begin: impl FnOnce() -> Transaction + Send + 'static,
    work: impl FnOnce(Transaction, &Compiler<'_>) -> R + Send + 'static,
) -> Result<R, RunError> {
    let (tell, done) = oneshot::channel();
    let cancel = Arc::<AtomicBool>::default();
    let (guard, deadline) = (CancelGuard(cancel.clone()), Instant::now() + time);
    let task = Box::new({
        let cancel = cancel.clone();
        move || {
            if cancel.load(Ordering::Acquire) {
                return;
            }
            let compiler = Compiler {
                sandbox: &executor.sandbox,
                deadline,
                time,
                cancel: &cancel,
            };
            // Whoever asked may have left.
            let _ = tell.send(work(begin(), &compiler));
        }
    });
    let Requester { accounts, session } = requester;
    match session {
        Some(session) => runner
            .submit_waiting(session, WEIGHT, accounts, cancel, task)
            .map_err(|_| RunError::limit(MAX_WAITING))?,
        None => runner
            .submit(accounts, cancel, task)
            .map_err(|_| RunError::limit("script.queue"))?,
    }
    let done = timeout_at(deadline.into(), done).await;
    drop(guard);
    match done {
        Ok(done) => done.map_err(|_| RunError::Cancelled),
        Err(_) => Err(RunError::TimedOut {
            after: time,
            version: None,
        }),
    }
}
