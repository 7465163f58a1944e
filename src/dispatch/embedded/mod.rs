//! The backend for one machine: jobs run on threads of this process, and are kept on its disk.

mod claim;
mod durable;
mod interactive;
mod lanes;
mod ledger;
mod machine;
mod record;
mod running;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use durable::Scripts;
pub use interactive::EmbeddedTicket;

use self::{durable::Durable, machine::Machine};
use super::{Delivery, JobId, JobRecord, NotAccepted, Receipt, Settings, StartError, Status};
use crate::{
    script::{Limits, Runner, Sandbox},
    store::{CommitError, Store, Table, Terms, Unavailable},
};

/// Runs jobs in this process.
#[derive(Debug)]
pub struct Embedded {
    machine: Arc<Machine>,
    durable: Arc<Durable>,
    job_timeout: Duration,
    halt: CancellationToken,
}

impl Embedded {
    /// Starts the threads, and resumes the jobs that were pending.
    pub(super) fn start(
        settings: &Settings,
        limits: Limits,
        store: Store,
        scripts: Scripts,
    ) -> Result<Self, StartError> {
        let runner = Runner::start(limits.thread_count(), limits.queue);
        let machine = Arc::new(Machine {
            runner: runner.map_err(StartError::Threads)?,
            script_timeout: limits.timeout,
            sandbox: Sandbox::new(limits),
            store,
        });
        Ok(Self {
            durable: Durable::start(machine.clone(), settings.durable.clone(), scripts)?,
            machine,
            job_timeout: settings.job_timeout,
            halt: CancellationToken::new(),
        })
    }

    pub(super) fn job_timeout(&self) -> Duration {
        self.job_timeout
    }

    pub(super) async fn accept(
        &self,
        delivery: Delivery,
        wait: Duration,
    ) -> Result<Receipt, NotAccepted> {
        self.durable.accept(delivery, wait).await
    }

    pub(super) fn is_ready(&self) -> bool {
        self.machine.store.works()
    }

    pub(super) fn jobs(&self) -> Ledger {
        Ledger {
            store: self.machine.store.clone(),
            durable: Some(self.durable.clone()),
        }
    }

    pub(super) fn stop_durable(&self) {
        self.durable.stop();
    }

    pub(super) fn cancel_all(&self) {
        self.halt.cancel();
        self.durable.cancel_all();
    }

    pub(super) fn shutdown(&self) {
        self.durable.stop();
        self.machine.runner.shutdown();
        self.durable.join();
        self.machine.store.shutdown();
        let pending = self.durable.pending();
        if pending > 0 {
            tracing::info!(
                jobs = pending,
                "jobs stay pending; they are resumed at the next start"
            );
        }
    }
}

/// The durable jobs of a data folder, to be looked at and retried: those of a running server, or those of
/// one that is stopped.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
    durable: Option<Arc<Durable>>,
}

impl Ledger {
    /// Those in a folder that no server has.
    pub fn stopped(store: Store) -> Self {
        Self {
            store,
            durable: None,
        }
    }

    /// Writes what waits, and takes no more: for those of a stopped server, at the end. Blocks.
    pub fn close(&self) {
        self.store.shutdown();
    }

    /// Jobs in this state, the oldest first, `limit` at most. Blocks.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn list(&self, status: Status, limit: usize) -> Result<Vec<JobRecord>, Unavailable> {
        ledger::list(&self.store, status, limit)
    }

    /// One job. Blocks.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn find(&self, id: JobId) -> Result<Option<JobRecord>, Unavailable> {
        ledger::find(&self.store, id)
    }

    /// Has a dead job run again, from the first try; by the next server, where none is running. Answers
    /// whether there is such a job. Blocks.
    ///
    /// # Errors
    /// A disk that can't be read or written.
    pub fn retry(&self, id: JobId) -> Result<bool, Unavailable> {
        let Some(mut job) = self.find(id)?.filter(|job| job.status == Status::Dead) else {
            return Ok(false);
        };
        let circle = job.circle;
        // Somebody else may be doing the same.
        let still_dead = Terms {
            present: Some((Table::Dead, id.as_bytes())),
            ..Terms::NONE
        };
        job.retry();
        let records = ledger::retried(&job);
        match self.store.write_and_wait(circle, records, still_dead) {
            Err(CommitError::Gone) => return Ok(false),
            result => result.map_err(|_| Unavailable)?,
        }
        if let Some(durable) = &self.durable {
            durable.resume(circle, id);
        }
        Ok(true)
    }
}
