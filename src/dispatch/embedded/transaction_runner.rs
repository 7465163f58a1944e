//! What interactive and durable jobs share: threads, the sandbox, the store, and running until the commit
//! doesn't collide.

use std::{
    cell::RefCell,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use super::running_file::RunningFile;
use crate::{
    auth::PublicKey,
    circle::{Ending, Executor, Run},
    dispatch::{Account, JobId},
    script::{self, Runner},
    store::{
        CommitCallback, CommitError, LockedCircle, NewEvent, Preconditions, Record, Store,
        Transaction, Unavailable, WaitPolicy,
    },
};

/// Runs beside others, before one that is alone in its circle.
const TRIES: usize = 4;
/// How long a run may keep all others of its circle from committing.
const MAX_LOCKED: Duration = Duration::from_millis(100);

/// Runs scripts and commits what they do.
#[derive(Debug)]
pub(super) struct TransactionRunner {
    pub(super) store: Store,
    pub(super) executor: Executor,
    pub(super) threads: Runner<Account>,
    pub(super) script_timeout: Duration,
}

/// What is run, and how long.
pub(super) struct Work<'a> {
    pub(super) circle: PublicKey,
    pub(super) run: &'a Run<'a>,
    /// When it must be over, however much of its time is left.
    pub(super) deadline: Option<Instant>,
    pub(super) cancelled: &'a Arc<AtomicBool>,
    /// Whether the first run builds on commits that are still on their way to the disk: it commits whatever
    /// comes of it, and so waits for the disk anyway.
    pub(super) latest: bool,
    /// Where it is noted that the script runs, for a job that the server may die of.
    pub(super) noted: Option<(&'a RunningFile, JobId)>,
}

/// What a run came to.
pub(super) struct Ran {
    pub(super) ending: Ending,
    /// What it is going to write, and what it saw. A run that failed writes nothing; where it writes nothing,
    /// there is something here as long as what it saw isn't safe, for it may still turn out never to have been.
    pub(super) writes: Option<Transaction>,
    /// Whether the ending may be told before anything else is on disk.
    pub(super) safe: bool,
}

/// Commits within a circle.
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
                    | CommitError::Gone
                    | CommitError::Superseded
                    | CommitError::Unavailable(_)) => why,
                })
            }
        }
    }
}

impl TransactionRunner {
    /// Runs the script and has `commit` commit what it does; over again where that collides with others, in
    /// the end with all others of the circle kept out.
    ///
    /// # Errors
    /// What `commit` answers last. [`CommitError::Conflict`]: it kept colliding, and alone it took too long.
    pub(super) fn run<R>(
        &self,
        work: &Work<'_>,
        mut commit: impl FnMut(&mut CircleCommitter<'_, '_>, Ran) -> Result<R, CommitError>,
    ) -> Result<R, CommitError> {
        for n in 0..TRIES {
            let transaction = if n > 0 || work.latest {
                self.store.begin_latest(work.circle)
            } else {
                self.store.begin(work.circle)
            };
            let ran = self.run_once(work, transaction, work.deadline);
            let mut concurrent =
                CircleCommitter::Concurrent(&self.store, work.circle, WaitPolicy::Wait);
            match commit(&mut concurrent, ran) {
                Err(CommitError::Conflict) => {}
                result => return result,
            }
        }
        let last_try = |locked: &mut LockedCircle<'_>| {
            let until = Instant::now() + MAX_LOCKED;
            let own = work.deadline.filter(|deadline| *deadline <= until);
            // The others wait for it.
            let ran = script::keep_slot(|| {
                self.run_once(work, locked.begin(), Some(own.unwrap_or(until)))
            });
            if matches!(ran.ending, Ending::TimedOut { .. }) && own.is_none() {
                return Err(CommitError::Conflict);
            }
            commit(&mut CircleCommitter::Locked(locked), ran)
        };
        self.store
            .lock_circle(work.circle, WaitPolicy::Wait, last_try)
            .unwrap_or(Err(CommitError::Conflict))
    }

    fn run_once(
        &self,
        work: &Work<'_>,
        transaction: Transaction,
        deadline: Option<Instant>,
    ) -> Ran {
        let mut transaction = Some(transaction);
        let mut run = || {
            self.executor
                .run(work.run, &mut transaction, deadline, work.cancelled)
        };
        let ending = match work.noted {
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
        Ran::new(ending, transaction)
    }
}

impl Ran {
    pub(super) fn new(ending: Ending, mut transaction: Option<Transaction>) -> Self {
        let safe = transaction
            .as_ref()
            .is_none_or(Transaction::read_only_durable);
        let well = matches!(ending, Ending::Finished(Ok(_)));
        if let Some(transaction) = transaction.as_mut().filter(|_| !well) {
            transaction.discard_writes();
        }
        Self {
            ending,
            safe,
            writes: transaction.filter(|transaction| transaction.writes() || !safe),
        }
    }
}
