//! A job that a worker has taken.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Instant,
};

use tokio::sync::Notify;

use super::wire;
use crate::{
    auth::PublicKey,
    circle::Run,
    dispatch::{JobId, JobRecord, submission::Input},
};

/// A job that is this worker's to run, until it is committed, or another worker's.
pub(super) struct Held {
    pub(super) what: What,
    /// How many runs of it had begun when it was taken from another worker, which may have died of it.
    pub(super) begun: Option<i64>,
    /// When it was taken.
    pub(super) since: Instant,
    /// Until when it may run.
    pub(super) deadline: Option<Instant>,
    /// Runs that collided with others.
    pub(super) collisions: u32,
    /// Runs that began without something that they read.
    pub(super) misses: u32,
    /// Whether it is a play that had to wait in the queue.
    pub(super) has_waited: bool,
    /// Ends the run.
    pub(super) cancelled: Arc<AtomicBool>,
    /// Where it is: its partition, and its entry there.
    pub(super) place: Place,
}

/// What is to be run.
pub(super) enum What {
    Play(Box<wire::Play<'static>>),
    Durable {
        job: Box<JobRecord>,
        input: Box<Input>,
        /// Whose inbox is told.
        gateway: String,
    },
}

impl Held {
    pub(super) fn id(&self) -> JobId {
        match &self.what {
            What::Play(play) => play.id,
            What::Durable { job, .. } => job.id,
        }
    }

    pub(super) fn circle(&self) -> PublicKey {
        match &self.what {
            What::Play(play) => play.circle,
            What::Durable { job, .. } => job.circle,
        }
    }

    pub(super) fn gateway(&self) -> &str {
        match &self.what {
            What::Play(play) => &play.gateway,
            What::Durable { gateway, .. } => gateway,
        }
    }

    /// Spells out what is run; `provided`: the script of a delivery's provider. Nothing, where there is none.
    pub(super) fn run<'a>(&'a self, provided: Option<&'a str>) -> Option<Run<'a>> {
        match &self.what {
            What::Play(play) => Some(play.run()),
            What::Durable { job, input, .. } => input.run(job, provided),
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("entry", &self.place.entry())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// What a worker holds, by partition and entry: it takes no more than it has places for.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Taken>);

#[derive(Debug, Default)]
struct Taken {
    jobs: Mutex<HashSet<(usize, Arc<str>)>>,
    freed: Notify,
}

/// One of them; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    job: (usize, Arc<str>),
}

impl Places {
    /// Nothing, where the job is held already.
    pub(super) fn take(&self, partition: usize, entry: &str) -> Option<Place> {
        let job = (partition, Arc::from(entry));
        self.held().insert(job.clone()).then(|| Place {
            places: self.clone(),
            job,
        })
    }

    pub(super) fn has(&self, partition: usize, entry: &str) -> bool {
        self.held().contains(&(partition, Arc::from(entry)))
    }

    /// Waits until fewer than so many are taken. Answers how many are free.
    pub(super) async fn free(&self, most: usize) -> usize {
        loop {
            let notified = self.0.freed.notified();
            let taken = self.held().len();
            if taken < most {
                return most - taken;
            }
            notified.await;
        }
    }

    fn held(&self) -> MutexGuard<'_, HashSet<(usize, Arc<str>)>> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn partition(&self) -> usize {
        self.job.0
    }

    pub(super) fn entry(&self) -> &str {
        &self.job.1
    }

    /// Both.
    pub(super) fn name(&self) -> (usize, String) {
        (self.job.0, self.job.1.to_string())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held().remove(&self.job);
        self.places.0.freed.notify_waiters();
    }
}
