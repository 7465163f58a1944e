//! Compiles for somebody who waits for it, on a script thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout_at};

use super::job::Account;
use crate::{
    circle::{Compiler, Executor},
    script::Runner,
    store::Transaction,
};

/// Cancels the compilation when it is dropped.
struct CancelGuard(Arc<AtomicBool>);

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Calls `work` with a compiler when it is its turn; returns nothing if too much waits. `begin` begins the transaction.
/// It may take `time`, waiting for its turn included, and ends when this future is dropped.
pub(super) async fn compile<R: Send + 'static>(
    runner: &Runner<Account>,
    accounts: [Account; 2],
    executor: Executor,
    time: Duration,
    begin: impl FnOnce() -> Transaction + Send + 'static,
    work: impl FnOnce(Transaction, &Compiler<'_>) -> R + Send + 'static,
) -> Option<R> {
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
    runner.submit(accounts, cancel, task).ok()?;
    let done = timeout_at(deadline.into(), done).await;
    drop(guard);
    done.ok()?.ok()
}
