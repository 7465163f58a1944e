//! Jobs: who asks for what, and what comes of it.
//!
//! A job is data, and so is its outcome: whoever runs it, here or elsewhere, needs nothing else. The
//! [`Dispatcher`] hands jobs to the backend that the settings name. A backend commits a job in one
//! step: if the job is still pending, its effects land and its outcome is handed over; if not, nothing
//! happens at all.

mod delivery;
mod embedded;
mod job;
pub mod settings;

pub use delivery::{Delivery, NotAccepted, Progress, Receipt, Series};
pub use embedded::{Embedded, JobError, JobRecord, Jobs, Scripts, Status, Ticket};
pub use job::{Caller, InvalidJobId, Job, JobId, Outcome};
pub use settings::{Backend, Settings};

use std::{io, sync::Arc, time::Duration};

use crate::{
    script::Limits,
    store::{self, Disk, OpenError, Store, Unavailable},
};

/// Hands jobs to whoever runs them. A cheap handle.
#[derive(Debug, Clone)]
pub enum Dispatcher {
    /// In this process.
    Embedded(Arc<Embedded>),
}

/// What comes of asking for a run.
#[derive(Debug)]
pub enum Played {
    /// It is over already.
    Now(Outcome),
    /// It is on its way.
    Later(Ticket),
}

/// Why a backend could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Disk(#[from] OpenError),
    /// The jobs in it.
    #[error(
        "the jobs that are kept in the data folder cannot be read; the log above says why (dispatch.embedded.data_dir)"
    )]
    Jobs(#[from] Unavailable),
    /// The file that says which of them run.
    #[error("the file \"running\" in the data folder cannot be used (dispatch.embedded.data_dir)")]
    Running(#[source] io::Error),
    /// No threads.
    #[error("the threads that jobs run on cannot be started")]
    Threads(#[source] io::Error),
}

impl Dispatcher {
    /// Starts the backend, and resumes the jobs that were pending. Blocks. `scripts` are those of the
    /// providers whose deliveries are accepted.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(
        settings: &Settings,
        limits: Limits,
        store: store::Settings,
        scripts: Scripts,
    ) -> Result<Self, StartError> {
        match settings.backend {
            Backend::Embedded => {
                let disk = Disk::open(&settings.embedded)?;
                let store =
                    Store::start(disk, &settings.embedded, store).map_err(StartError::Threads)?;
                let embedded = Embedded::start(settings, limits, store, scripts)?;
                Ok(Self::Embedded(Arc::new(embedded)))
            }
        }
    }

    /// Keeps a webhook's delivery, and has its job run: from then on, it is done sooner or later. Waits so long
    /// for it to end.
    ///
    /// # Errors
    /// It is not kept, and must be sent again.
    pub async fn accept(&self, delivery: Delivery, wait: Duration) -> Result<Receipt, NotAccepted> {
        match self {
            Self::Embedded(embedded) => embedded.accept(delivery, wait).await,
        }
    }

    /// Whether jobs can be accepted.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Embedded(embedded) => embedded.is_ready(),
        }
    }

    /// The durable jobs, to be looked at.
    pub fn jobs(&self) -> Jobs {
        match self {
            Self::Embedded(embedded) => embedded.jobs(),
        }
    }

    /// Starts no more durable jobs: those that wait stay pending.
    pub fn stop_durable(&self) {
        match self {
            Self::Embedded(embedded) => embedded.stop_durable(),
        }
    }

    /// Runs an interactive job: its caller waits for the outcome, and leaves by dropping the ticket.
    /// With `here`, a short script may run on this very thread.
    pub fn play(&self, job: Job<'_>, here: bool) -> Played {
        match self {
            Self::Embedded(embedded) => embedded.play(job, here),
        }
    }

    /// The longest a job may take.
    pub fn job_timeout(&self) -> Duration {
        match self {
            Self::Embedded(embedded) => embedded.job_timeout(),
        }
    }

    /// Cancels every job that is waiting or running: their callers are told so.
    pub fn cancel_all(&self) {
        match self {
            Self::Embedded(embedded) => embedded.cancel_all(),
        }
    }

    /// Ends the backend, after the last session has ended. Blocks until its threads are done.
    pub fn shutdown(&self) {
        match self {
            Self::Embedded(embedded) => embedded.shutdown(),
        }
    }
}
