//! Jobs: who asks for what, and what comes of it.
//!
//! A job is data, and so is its outcome: whoever runs it, here or elsewhere, needs nothing else. The
//! [`Dispatcher`] hands jobs to the backend that the settings name. A backend commits a job in one
//! step: if the job is still pending, its effects land and its outcome is handed over; if not, nothing
//! happens at all.

mod embedded;
mod job;
mod settings;

pub use embedded::{Embedded, Ticket};
pub use job::{Caller, Job, JobId, Outcome};
pub use settings::{Backend, Settings};

use std::{io, sync::Arc, time::Duration};

use crate::script::Limits;

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

impl Dispatcher {
    /// Starts the backend.
    ///
    /// # Errors
    /// Where the operating system refuses the threads that scripts run on.
    pub fn start(settings: &Settings, limits: Limits) -> io::Result<Self> {
        match settings.backend {
            Backend::Embedded => Ok(Self::Embedded(Arc::new(Embedded::start(
                settings.job_timeout,
                limits,
            )?))),
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
