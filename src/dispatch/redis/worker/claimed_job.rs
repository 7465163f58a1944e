//! A job that a worker has claimed.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey};

use super::{direct_reads::KnownValues, input_budget::InputReservation, slots::SlotGuard};
use crate::{
    circle::{Executor, JobSpec},
    dispatch::{
        Account, JobRecord,
        redis::proto::wire,
        submission::{Input, ParsedInput},
    },
    script::Occasion,
};

/// A job that is this worker's to run, until it is committed, or another worker's.
pub(super) struct ClaimedJob {
    pub(super) kind: JobKind,
    /// The number of runs that had begun when it was taken from another worker, which may have died of it.
    pub(super) begun: Option<i64>,
    /// The time when it was claimed.
    pub(super) claimed_at: Instant,
    /// The time when it must be over.
    pub(super) deadline: Option<Instant>,
    /// The time that it had waited by then.
    pub(super) waited: Duration,
    /// The time of its runs that collided with others.
    pub(super) ran: Duration,
    /// Runs that collided with others.
    pub(super) collisions: u32,
    /// True if it has locked its circle, for a moment.
    pub(super) has_lock: bool,
    /// The values that its last run would have had to read.
    pub(super) known: KnownValues,
    /// Runs that began without something that they read.
    pub(super) misses: u32,
    /// True if it is a play that had to wait in the queue.
    pub(super) has_waited: bool,
    /// The time and the randomness of a durable job's try, once it has begun.
    pub(super) occasion: OnceLock<Occasion>,
    /// Set to end the run.
    pub(super) cancelled: Arc<AtomicBool>,
    /// The worker's slot that it has: its partition, and its entry there.
    pub(super) slot: SlotGuard,
    /// Room for its input, if that was fetched.
    pub(super) _input: Option<InputReservation>,
}

/// The kind of job, with what is to be run.
pub(super) enum JobKind {
    Play(Box<wire::Play<'static>>),
    Durable {
        job: Box<JobRecord>,
        input: Box<Input>,
        /// About how many bytes the input takes in memory once it is parsed.
        size: usize,
        /// The gateway whose inbox is told.
        gateway: String,
    },
}

impl ClaimedJob {
    /// Returns about how many bytes a durable job's input takes in memory once it is parsed.
    pub(super) fn input_size(&self) -> usize {
        match &self.kind {
            JobKind::Play(_) => 0,
            JobKind::Durable { size, .. } => *size,
        }
    }

    pub(super) fn id(&self) -> JobId {
        match &self.kind {
            JobKind::Play(play) => play.job.id,
            JobKind::Durable { job, .. } => job.id,
        }
    }

    pub(super) fn circle(&self) -> PublicKey {
        match &self.kind {
            JobKind::Play(play) => play.job.circle,
            JobKind::Durable { job, .. } => job.circle,
        }
    }

    /// Returns whether it is a run of a query.
    pub(super) fn is_query(&self) -> bool {
        match &self.kind {
            JobKind::Play(play) => play.job.task.is_query(),
            JobKind::Durable { .. } => false,
        }
    }

    /// Returns the accounts that its time is charged to.
    pub(super) fn accounts(&self) -> [Account; 2] {
        match &self.kind {
            JobKind::Play(play) => Account::of_caller(play.job.circle, play.job.caller.key()),
            JobKind::Durable { job, .. } => Account::of_job(job.circle, job.submitter()),
        }
    }

    pub(super) fn gateway(&self) -> &str {
        match &self.kind {
            JobKind::Play(play) => &play.gateway,
            JobKind::Durable { gateway, .. } => gateway,
        }
    }

    /// Returns the name that the script has in its circle, for the log.
    pub(super) fn script(&self) -> Option<&str> {
        match &self.kind {
            JobKind::Play(play) => play.job.task.script(),
            JobKind::Durable { job, .. } => job.name.as_deref(),
        }
    }

    /// Keeps the values that its next run begins with. They count as the job's until then.
    pub(super) fn set_known(&mut self, known: KnownValues) {
        let values = known.iter();
        let bytes =
            values.map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len()));
        self.slot.hold(bytes.sum());
        self.known = known;
    }

    /// Parses the input of a durable job; a play has none.
    pub(super) fn parse_input(&self) -> serde_json::Result<Option<ParsedInput<'_>>> {
        match &self.kind {
            JobKind::Play(_) => Ok(None),
            JobKind::Durable { input, .. } => input.parse().map(Some),
        }
    }

    /// Returns what runs. `input`: what [`Self::parse_input`] returned; `provided`: the script of a delivery's provider.
    /// Returns nothing if there is no script.
    pub(super) fn spec<'a>(
        &'a self,
        input: Option<&'a ParsedInput<'_>>,
        provided: Option<&'a str>,
        executor: &Executor,
    ) -> Option<Cow<'a, JobSpec<'a>>> {
        match &self.kind {
            JobKind::Play(play) => Some(Cow::Borrowed(&play.job)),
            JobKind::Durable { job, .. } => {
                let occasion = *self.occasion.get_or_init(Occasion::now);
                let spec = input?.spec(job, occasion, provided, executor);
                spec.map(Cow::Owned)
            }
        }
    }
}

impl std::fmt::Debug for ClaimedJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaimedJob")
            .field("entry", &self.slot.entry())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
