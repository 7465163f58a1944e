//! One run of a durable job, and what becomes of it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::Durable;
use crate::{
    auth::PublicKey,
    circle::Ending,
    dispatch::{
        JobError, JobId, JobRecord, Progress, Status,
        embedded::{
            claim::Claim,
            lanes::Ready,
            ledger::{self, Fresh},
            machine::{Committer, Ran, Work},
            record,
        },
        record::later,
        submission::Input,
    },
    store::{CommitCallback, CommitError, Preconditions, Table, Unavailable, WaitPolicy},
};

/// When to try again what the disk kept from happening.
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// What becomes of a job whose run is over.
enum Next {
    /// It is over, or will be once the disk says so.
    Over,
    /// It runs again then.
    At(Timestamp),
}

impl Next {
    fn again() -> Self {
        Self::At(later(Timestamp::now(), AGAIN))
    }

    /// What the record says.
    fn of(job: &JobRecord) -> Self {
        job.due.map_or(Self::Over, Self::At)
    }
}

impl Durable {
    /// Runs a job that may run, on a script thread.
    pub(super) fn run(self: &Arc<Self>, circle: PublicKey, ready: Ready) {
        let Ready {
            id,
            submitter,
            fresh,
        } = ready;
        self.running(circle, id, submitter, |claim| {
            Some(match fresh {
                Some(fresh) => self.attempt(&fresh.job, &fresh.input, claim),
                None => self.resume_or_end(circle, id, claim),
            })
        });
    }

    /// Runs a new job here and now if its script is known to be short, as sessions do with theirs: two hops
    /// between threads cost more than it does. Whatever doesn't end at once goes to a script thread.
    pub(super) fn run_here(self: &Arc<Self>, circle: PublicKey, ready: Ready) {
        let is_over = ready.fresh.as_ref().is_some_and(|fresh| {
            self.running(circle, ready.id, ready.submitter, |claim| {
                self.try_attempt(fresh, claim)
            })
        });
        if !is_over {
            let mut lanes = self.lock();
            self.submit(&mut lanes, circle, ready);
        }
    }

    /// Does `attempt` for a job that runs, and what comes after it. Answers whether it was done: if not, the
    /// job counts as running still.
    fn running(
        self: &Arc<Self>,
        circle: PublicKey,
        id: JobId,
        submitter: Option<PublicKey>,
        attempt: impl FnOnce(&Arc<Claim>) -> Option<Next>,
    ) -> bool {
        let claim = Arc::new(Claim::default());
        let stopping = {
            let mut lanes = self.lock();
            lanes.running(id, claim.clone());
            lanes.stopping
        };
        let next = if stopping {
            // It stays on disk, and is resumed.
            Some(Next::Over)
        } else {
            tracing::debug_span!("job", %id).in_scope(|| attempt(&claim))
        };
        let Some(next) = next else {
            return false;
        };
        let mut lanes = self.lock();
        lanes.stopped(&circle, id, &claim);
        if let Next::At(due) = next {
            lanes.delay(circle, id, submitter, due);
            self.wake.notify_one();
        }
        self.advance(&mut lanes, circle);
        true
    }

    /// Runs a job as it is kept.
    fn resume_or_end(self: &Arc<Self>, circle: PublicKey, id: JobId, claim: &Arc<Claim>) -> Next {
        let read = self
            .machine
            .store
            .lock_circle(circle, WaitPolicy::Wait, |alone| {
                let job = alone.read(Table::Jobs, id.as_bytes())?;
                let input = alone.read(Table::Inputs, id.as_bytes())?;
                Ok::<_, Unavailable>((job, input))
            });
        let Some(Ok((job, input))) = read else {
            return Next::again();
        };
        let job = job.and_then(|bytes| record::job(&circle, id, &bytes));
        let Some(job) = job.filter(|job| job.status == Status::Pending) else {
            return Next::Over;
        };
        let input = input.filter(|_| job.unread.is_none());
        let input = input.and_then(|bytes| record::read::<Input>(&bytes));
        let Some(input) = input else {
            job.log_unreadable();
            return self.fail(&job, claim, JobError::unreadable());
        };
        self.attempt(&job, &input, claim)
    }

    /// Nothing has happened where it answers `None`.
    fn try_attempt(self: &Arc<Self>, fresh: &Fresh, claim: &Arc<Claim>) -> Option<Next> {
        let Fresh { job, input, .. } = fresh;
        let provided = self.provided(job);
        let run = input.run(job, provided.as_deref())?;
        let store = &self.machine.store;
        let mut transaction = Some(store.try_begin_latest(job.circle)?);
        let slot = self.running.begin(job.id);
        let ending = self.machine.executor.try_run(&run, &mut transaction);
        drop(slot);
        let ran = Ran::new(ending?, transaction);
        let mut committer = Committer::Beside(store, job.circle, WaitPolicy::FailFast);
        self.settle(job, claim, &mut committer, ran, &mut None).ok()
    }

    fn provided(&self, job: &JobRecord) -> Option<Arc<str>> {
        job.provider().and_then(|name| self.scripts.get(name))
    }

    fn attempt(self: &Arc<Self>, job: &JobRecord, input: &Input, claim: &Arc<Claim>) -> Next {
        let provided = self.provided(job);
        let Some(run) = input.run(job, provided.as_deref()) else {
            return self.fail(job, claim, JobError::no_provider(job));
        };
        let work = Work {
            circle: job.circle,
            run: &run,
            deadline: None,
            cancelled: claim.cancelled(),
            latest: true,
            noted: Some((&self.running, job.id)),
        };
        let mut version = job.version.clone();
        let settled = self.machine.run(&work, |committer, ran| {
            self.settle(job, claim, committer, ran, &mut version)
        });
        let as_ran = || JobRecord {
            version,
            ..job.clone()
        };
        match settled {
            Ok(next) => next,
            // The server stops, and the job stays pending; or it isn't any more.
            Err(CommitError::Gone) => Next::Over,
            Err(CommitError::Superseded) => self.supersede(&as_ran(), claim),
            Err(CommitError::Unavailable(Unavailable) | CommitError::Busy) => Next::again(),
            // The script isn't to blame, so this is no try.
            Err(CommitError::Conflict) => {
                tracing::warn!(circle = %job.circle, job = %job.id, "a durable job keeps colliding with others; it runs again");
                Next::again()
            }
            Err(why @ CommitError::Quota { .. }) => {
                self.fail(&as_ran(), claim, JobError::plain(why.to_string()))
            }
        }
    }

    /// Commits what a run came to, by the rule of all commits: if the job is still pending, or else nothing. Notes which
    /// version of its script ran.
    fn settle(
        self: &Arc<Self>,
        job: &JobRecord,
        claim: &Arc<Claim>,
        committer: &mut Committer<'_, '_>,
        ran: Ran,
        version: &mut Option<String>,
    ) -> Result<Next, CommitError> {
        let Ran { ending, writes, .. } = ran;
        let why = match ending {
            Ending::Unavailable => Unavailable.into(),
            Ending::Finished(_)
            | Ending::TimedOut { .. }
            | Ending::Cancelled
            | Ending::Displaced
            | Ending::Refused(_) => CommitError::Gone,
        };
        let mut job = job.clone();
        let (now, time) = (Timestamp::now(), self.machine.script_timeout);
        let progress = job.ran(ending, time, now, &self.settings).ok_or(why)?;
        version.clone_from(&job.version);
        if progress == Progress::Failed {
            job.log_failure();
        }
        let may_commit = || claim.commit() && self.owe(job.id, claim);
        let preconditions = Preconditions {
            absent: job.superseded_by().map(|series| (Table::Seen, &series[..])),
            gate: &may_commit,
            ..still_open(&job.id)
        };
        let mut done = self.done(&job, claim.clone(), progress);
        let records = ledger::settled(&job, &self.settings);
        let (store, circle) = (&self.machine.store, job.circle);
        let is_told = !job.is_routine() || store.hub().has_listeners(&circle);
        let told = is_told.then(|| job.told());
        if !is_told {
            // Whoever has begun to listen meanwhile waits for it, maybe.
            let (store, land) = (store.clone(), done);
            done = Box::new(move |result| {
                land(result);
                store.hub().signal_read_log(&circle);
            });
        }
        committer.commit(writes, told, records, preconditions, done)?;
        Ok(Next::of(&job))
    }

    /// Counts a try that failed.
    fn fail(self: &Arc<Self>, job: &JobRecord, claim: &Arc<Claim>, error: JobError) -> Next {
        tracing::warn!(
            circle = %job.circle,
            job = %job.id,
            script = job.name,
            error = error.message,
            "a durable job failed"
        );
        let mut job = job.clone();
        let progress = job.fail(error, Timestamp::now(), &self.settings);
        self.end(&job, claim, progress)
    }

    /// Ends a job that may have no effect any more: the final one of its series has been committed.
    fn supersede(self: &Arc<Self>, job: &JobRecord, claim: &Arc<Claim>) -> Next {
        let mut job = job.clone();
        let progress = job.supersede(Timestamp::now());
        self.end(&job, claim, progress)
    }

    /// Commits how a run without effects ended.
    fn end(self: &Arc<Self>, job: &JobRecord, claim: &Arc<Claim>, progress: Progress) -> Next {
        let records = ledger::settled(job, &self.settings);
        let done = self.done(job, claim.clone(), progress);
        let store = &self.machine.store;
        let mut transaction = store.begin(job.circle);
        transaction.emit_unchecked(job.told());
        let owe = || self.owe(job.id, claim);
        let preconditions = Preconditions {
            gate: &owe,
            ..still_open(&job.id)
        };
        let committed = store.commit(transaction, records, preconditions, done, WaitPolicy::Wait);
        match committed.map_err(|refused| refused.why) {
            Err(CommitError::Gone) => Next::Over,
            Ok(()) => Next::of(job),
            Err(_) => Next::again(),
        }
    }

    /// Has the run that is committed right now tell whoever waits for the job, and no later run of that name. Always so.
    fn owe(&self, id: JobId, claim: &Claim) -> bool {
        claim.owe(self.lock().waiter(id));
        true
    }

    /// Tells whoever waits, once it is on disk. What the disk didn't take runs again.
    fn done(
        self: &Arc<Self>,
        job: &JobRecord,
        claim: Arc<Claim>,
        progress: Progress,
    ) -> CommitCallback {
        let this = self.clone();
        let (circle, id, submitter) = (job.circle, job.id, job.submitter());
        Box::new(move |result| {
            claim.tell(result.is_ok().then_some(progress));
            if let Err(Unavailable) = result {
                let due = later(Timestamp::now(), AGAIN);
                this.lock().delay(circle, id, submitter, due);
                this.wake.notify_one();
            }
        })
    }
}

/// If the job isn't over, or else nothing.
fn still_open(id: &JobId) -> Preconditions<'_> {
    Preconditions {
        present: Some((Table::Open, id.as_bytes())),
        ..Preconditions::NONE
    }
}
