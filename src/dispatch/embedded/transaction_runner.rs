//! Runs transactions, for interactive and durable jobs alike: it runs the script, and again until its commit doesn't
//! conflict.

use std::{
    cell::RefCell,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey};

use super::running_file::RunningFile;
use crate::{
    circle::{Executor, JobSpec},
    dispatch::{Account, ended, slow::Times},
    script::{self, Outcome, RunError, Runner},
    store::{
        CommitCallback, CommitError, LockedCircle, NewEvent, Preconditions, Record, Store,
        Transaction, Unavailable, WaitPolicy,
    },
};

/// Runs beside other commits, before one that locks its circle.
const TRIES: usize = 4;
/// The longest that a run may keep all others of its circle from committing.
const MAX_LOCKED: Duration = Duration::from_millis(100);

/// Runs scripts and commits what they do.
#[derive(Debug)]
pub(super) struct TransactionRunner {
    pub(super) store: Store,
    pub(super) executor: Executor,
    pub(super) threads: Runner<Account>,
}

/// A job to run, and its bounds.
pub(super) struct BoundedJob<'a> {
    pub(super) job: &'a JobSpec<'a>,
    /// The time when it must be over, however much of its own time is left.
    pub(super) deadline: Option<Instant>,
    pub(super) cancelled: &'a Arc<AtomicBool>,
    /// True if the first run builds on commits that are still on their way to the disk: it commits in any case, and so
    /// waits for the disk anyway.
    pub(super) latest: bool,
    /// The file that names the running job, for a job that the server may die of.
    pub(super) noted: Option<(&'a RunningFile, JobId)>,
}

/// The end of a run.
pub(super) struct Ran {
    pub(super) outcome: Outcome,
    /// The transaction. A run that failed writes nothing; one that writes nothing has its transaction here as long as
    /// what it read isn't on disk, for that may still be lost.
    pub(super) writes: Option<Transaction>,
    /// True if the outcome may be told before anything else is on disk.
    pub(super) safe: bool,
    /// The time that it took, with the runs before it.
    pub(super) times: Times,
}

/// Commits within a circle: beside other commits, or with the circle locked.
pub(super) enum CircleCommitter<'a, 'b> {
    Concurrent(&'a Store, PublicKey, WaitPolicy),
    Locked(&'a mut LockedCircle<'b>),
}

impl CircleCommitter<'_, '_> {
    pub(super) fn commit(
        &mut self,
        mut writes: Option<Transaction>,
        event: Option<NewEvent>,
        records: Vec<Record>,
        preconditions: Preconditions<'_>,
        done: CommitCallback,
    ) -> Result<(), CommitError> {
        if let Some(event) = event {
            let writes = writes.get_or_insert_with(|| match self {
                Self::Concurrent(store, circle, _) => store.begin(*circle),
                Self::Locked(locked) => locked.begin(),
            });
            writes.emit_unchecked(event);
        }
        match self {
            Self::Concurrent(store, circle, wait_policy) => {
                let writes = writes.unwrap_or_else(|| store.begin(*circle));
                let result = store.commit(writes, records, preconditions, done, *wait_policy);
                result.map_err(|refused| refused.why)
            }
            Self::Locked(locked) => {
                let result = locked.commit(writes, records, preconditions, done);
                result.map_err(|refused| match refused.why {
                    // Nobody may wait here for room to write, and there is none.
                    CommitError::Busy => CommitError::Unavailable(Unavailable),
                    why @ (CommitError::Conflict
                    | CommitError::Quota { .. }
                    | CommitError::Add { .. }
                    | CommitError::RangeDelete { .. }
                    | CommitError::Backlog
                    | CommitError::Gone
                    | CommitError::Superseded
                    | CommitError::Unavailable(_)) => why,
                })
            }
        }
    }
}

impl TransactionRunner {
    /// Runs the script, and has `commit` commit what it does. If that conflicts with others, it runs again, at last
    /// with the circle locked.
    ///
    /// # Errors
    /// The last error of `commit`. [`CommitError::Conflict`]: it kept conflicting, and with the circle locked it took
    /// too long.
    pub(super) fn run<R>(
        &self,
        bounded: &BoundedJob<'_>,
        mut commit: impl FnMut(&mut CircleCommitter<'_, '_>, Ran) -> Result<R, CommitError>,
    ) -> Result<R, CommitError> {
        let mut times = Times::default();
        for n in 0..TRIES {
            let transaction = if n > 0 || bounded.latest {
                self.store.begin_latest(bounded.job.circle)
            } else {
                self.store.begin(bounded.job.circle)
            };
            let ran = self.run_once(bounded, transaction, bounded.deadline, &mut times);
            let mut concurrent =
                CircleCommitter::Concurrent(&self.store, bounded.job.circle, WaitPolicy::Wait);
            match commit(&mut concurrent, ran) {
                Err(CommitError::Conflict) => {
                    times.conflicts += 1;
                    ended::starts_over(&bounded.job.circle, bounded.job.id);
                }
                result => return result,
            }
        }
        let begun = Instant::now();
        let last_try = |locked: &mut LockedCircle<'_>| {
            script::waited_for_lock(begun.elapsed());
            let until = Instant::now() + MAX_LOCKED;
            let own = bounded.deadline.filter(|deadline| *deadline <= until);
            // The others wait for it.
            let ran = script::keep_slot(|| {
                let until = Some(own.unwrap_or(until));
                self.run_once(bounded, locked.begin(), until, &mut times)
            });
            if matches!(ran.outcome, Err(RunError::TimedOut { .. })) && own.is_none() {
                return Err(CommitError::Conflict);
            }
            commit(&mut CircleCommitter::Locked(locked), ran)
        };
        self.store
            .lock_circle(bounded.job.circle, WaitPolicy::Wait, last_try)
            .unwrap_or(Err(CommitError::Conflict))
    }

    fn run_once(
        &self,
        bounded: &BoundedJob<'_>,
        transaction: Transaction,
        deadline: Option<Instant>,
        times: &mut Times,
    ) -> Ran {
        let begun = Instant::now();
        let mut transaction = Some(Box::new(transaction));
        let mut run = || {
            self.executor
                .run(bounded.job, &mut transaction, deadline, bounded.cancelled)
        };
        let outcome = match bounded.noted {
            None => run(),
            Some((running, job)) => {
                // While the script itself runs and no longer: waiting for others' locks kills nobody, and neither does
                // waiting for a turn.
                let (running, slot) = (running.clone(), RefCell::new(Some(running.begin(job))));
                let note = move |goes_on: bool| {
                    slot.replace(goes_on.then(|| running.begin(job)));
                };
                script::observe_aside(note, run)
            }
        };
        times.ran += begun.elapsed();
        let mut ran = Ran::new(outcome, transaction);
        ran.times = *times;
        ran
    }
}

impl Ran {
    #[inline]
    pub(super) fn new(outcome: Outcome, mut transaction: Option<Box<Transaction>>) -> Self {
        let safe = transaction
            .as_deref()
            .is_none_or(Transaction::read_only_durable);
        if let Some(transaction) = transaction.as_mut().filter(|_| outcome.is_err()) {
            transaction.discard_writes();
        }
        let writes = transaction.filter(|transaction| !safe || transaction.writes());
        Self {
            outcome,
            writes: writes.map(|writes| *writes),
            safe,
            times: Times::default(),
        }
    }
}
