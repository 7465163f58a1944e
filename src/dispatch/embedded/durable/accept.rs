//! Accepts deliveries and submissions: each becomes a durable job.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey};
use jiff::Timestamp;
use tokio::{sync::oneshot, time::timeout};

use super::DurableJobs;
use crate::{
    dispatch::{
        JobRecord, NotAccepted, Progress, Receipt, Status,
        embedded::{
            circle_queues::ReadyJob,
            job_store::{self, NewJob},
            record,
            transaction_runner::{CircleCommitter, Ran},
            waiting_by_caller::Submitter,
        },
        ended::DurableRun,
        settings,
        slow::{TimedRun, Times},
        submission::{JobRequest, MAX_INLINE_INPUT},
    },
    store::{CommitCallback, LockedCircle, Preconditions, Record, Table, Unavailable, WaitPolicy},
};

/// Says when a delivery is on disk, or that it isn't going to be.
type OnDisk = oneshot::Receiver<Result<(), Unavailable>>;

/// A job that is about to be stored.
struct JobToStore {
    identity: Option<[u8; 32]>,
    new_job: NewJob,
    records: Vec<Record>,
}

/// A job that is on its way to the disk.
struct StoredJob {
    job: JobId,
    on_disk: OnDisk,
    /// Receives how the job's first run ends. Nothing for a job that has been here before.
    ended: Option<oneshot::Receiver<Progress>>,
    /// A job that may run now, this one or an earlier one of the circle.
    ready: Option<ReadyJob>,
}

/// Returns the receipt of a job once it is on disk.
async fn receipt(job: JobId, status: Progress, on_disk: OnDisk) -> Result<Receipt, NotAccepted> {
    match on_disk.await {
        Ok(Ok(())) => Ok(Receipt { job, status }),
        Ok(Err(Unavailable)) | Err(_) => Err(NotAccepted::Unavailable),
    }
}

impl JobToStore {
    fn of(request: JobRequest, settings: &settings::Durable) -> Self {
        let identity = request.identity;
        let (new_job, records) = job_store::accepted(request, settings);
        Self {
            identity,
            new_job,
            records,
        }
    }

    /// Gives it the id of an earlier job, which is dead, and whose place it takes.
    fn again(self, earlier: JobId, settings: &settings::Durable) -> Self {
        let NewJob { mut job, input, .. } = self.new_job;
        tracing::info!(
            circle = %job.circle,
            job = %earlier,
            "a duplicate of a dead letter has come: its job runs again"
        );
        job.id = earlier;
        let mut new = Self::of(
            JobRequest {
                job,
                input,
                identity: self.identity,
            },
            settings,
        );
        new.records
            .push(Record::remove(Table::Dead, earlier.as_bytes()));
        new
    }
}

impl DurableJobs {
    /// Stores a job, and has it run. Returns when it is on disk and its first run has ended, or the time `wait` is
    /// over.
    pub(in crate::dispatch::embedded) async fn accept(
        self: &Arc<Self>,
        request: JobRequest,
        wait: Duration,
    ) -> Result<Receipt, NotAccepted> {
        let circle = request.job.circle;
        if !wait.is_zero()
            && let Some((job, on_disk)) = self.try_run_first(&request)
        {
            return receipt(job, Progress::Finished, on_disk).await;
        }
        let new = Box::new(JobToStore::of(request, &self.settings));
        let stored = match self.try_store_job(new, WaitPolicy::FailFast) {
            Ok(stored) => stored?,
            // The circle is locked: that takes a moment, and blocks.
            Err(new) => {
                let this = self.clone();
                // Whoever waits for the answer may leave meanwhile: the job is handed over here.
                let store_job = move || {
                    let mut stored = this.try_store_job(new, WaitPolicy::Wait);
                    if let Ok(Ok(StoredJob { ready, .. })) = &mut stored
                        && let Some(ready) = ready.take()
                    {
                        let mut queues = this.lock();
                        this.submit(&mut queues, circle, ready);
                    }
                    stored
                };
                let stored = tokio::task::spawn_blocking(store_job).await;
                stored
                    .ok()
                    .and_then(Result::ok)
                    .unwrap_or(Err(NotAccepted::Unavailable))?
            }
        };
        let StoredJob {
            job,
            on_disk,
            ended,
            ready,
        } = stored;
        match ready {
            // Nobody waits for it, so it is not to keep this thread from others.
            Some(ready) if wait.is_zero() => {
                let mut queues = self.lock();
                self.submit(&mut queues, circle, ready);
            }
            Some(ready) => self.run_here(circle, ready),
            None => {}
        }
        let status = match ended {
            Some(ended) => {
                let ended = timeout(wait, ended).await.ok().and_then(Result::ok);
                ended.unwrap_or(Progress::Accepted)
            }
            None => Progress::Duplicate,
        };
        receipt(job, status, on_disk).await
    }

    /// Runs a job before it is stored, if its script is known to be short, and stores it as ended: that is one commit
    /// instead of two. Returns nothing if the run can't end so; then nothing has happened.
    fn try_run_first(self: &Arc<Self>, request: &JobRequest) -> Option<(JobId, OnDisk)> {
        let JobRequest {
            job,
            input,
            identity,
        } = request;
        let identity = identity.as_ref();
        // Others wait for this thread.
        if self.has_lost_a_job || job.due.is_some() || input.weight() > MAX_INLINE_INPUT {
            return None;
        }
        if !self.lock().may_run_first(&job.circle) {
            return None;
        }
        let begun = Instant::now();
        let Ran {
            outcome, writes, ..
        } = self.try_run(job, &input.parse().ok()?)?;
        let mut ended = job.clone();
        // Whatever fails is stored first: it runs again.
        let outcome = Ok(outcome.ok()?);
        let progress = ended.ran(outcome, Timestamp::now(), &self.settings)?;
        if progress != Progress::Finished {
            return None;
        }
        let records = job_store::ended(&ended, input, identity, &self.settings);
        let (tell, on_disk) = oneshot::channel();
        let run = DurableRun::new(&ended, progress, begun);
        // A short one is slow only if its commit is.
        let timed = TimedRun::of_durable(&ended, Times::default());
        let done: CommitCallback = Box::new(move |result| {
            if result.is_ok() {
                run.committed();
                if let Some(timed) = timed {
                    timed.committed();
                }
            }
            // Whoever waited may have left.
            let _ = tell.send(result);
        });
        let (event, done) = self.event_of(&ended, done);
        let commit = |locked: &mut LockedCircle<'_>| {
            if self.seen(job, identity, locked).ok()?.is_some() {
                return None;
            }
            let preconditions = Preconditions {
                no_final_of: ended.superseded_by().copied(),
                ..Preconditions::NONE
            };
            CircleCommitter::Locked(locked)
                .commit(writes, event, records, preconditions, done)
                .ok()
        };
        let store = &self.runner.store;
        let committed = store.lock_circle(job.circle, WaitPolicy::FailFast, commit);
        committed.flatten().map(|()| (job.id, on_disk))
    }

    /// Returns the job that has been here before with this identity.
    fn seen(
        &self,
        job: &JobRecord,
        identity: Option<&[u8; 32]>,
        locked: &LockedCircle<'_>,
    ) -> Result<Option<JobId>, Unavailable> {
        let seen = match identity {
            Some(identity) if !self.settings.dedupe_for.is_zero() => {
                locked.read(Table::Seen, identity)?
            }
            Some(_) | None => None,
        };
        Ok(seen.and_then(|value| record::seen_job(&value, job.received_at)))
    }

    /// Stores a job. Returns `new` if it would have to wait, and must not.
    fn try_store_job(
        self: &Arc<Self>,
        new: Box<JobToStore>,
        wait_policy: WaitPolicy,
    ) -> Result<Result<StoredJob, NotAccepted>, Box<JobToStore>> {
        let circle = new.new_job.job.circle;
        if self.lock().stopping {
            return Ok(Err(NotAccepted::Unavailable));
        }
        let mut given = Some(new);
        let stored = self
            .runner
            .store
            .lock_circle(circle, wait_policy, |locked| {
                let new = given.take()?;
                Some(self.store_job(circle, *new, locked))
            });
        match (stored.flatten(), given) {
            (Some(stored), _) => Ok(stored),
            (None, Some(new)) => Err(new),
            (None, None) => Ok(Err(NotAccepted::Unavailable)),
        }
    }

    fn store_job(
        self: &Arc<Self>,
        circle: PublicKey,
        new: JobToStore,
        locked: &mut LockedCircle<'_>,
    ) -> Result<StoredJob, NotAccepted> {
        let unavailable = |_| NotAccepted::Unavailable;
        let seen = self.seen(&new.new_job.job, new.identity.as_ref(), locked);
        let seen = seen.map_err(unavailable)?;
        let (tell, on_disk) = oneshot::channel();
        let is_given_up = match seen {
            Some(job) if new.new_job.job.provider().is_some() => {
                let first = locked.read(Table::Jobs, job.as_bytes());
                let first = first.map_err(unavailable)?;
                first
                    .and_then(|bytes| record::job(&circle, job, &bytes))
                    .is_some_and(|job| job.status == Status::Dead)
            }
            Some(_) | None => false,
        };
        if let Some(job) = seen.filter(|_| !is_given_up) {
            // The first one may be on its way to the disk still. This comes after it.
            let done: CommitCallback = Box::new(move |result| {
                // Whoever waited may have left.
                let _ = tell.send(result);
            });
            let nothing = locked.commit(None, Vec::new(), Preconditions::NONE, done);
            nothing.map_err(|_| NotAccepted::Unavailable)?;
            return Ok(StoredJob {
                job,
                on_disk,
                ended: None,
                ready: None,
            });
        }
        let new = match seen {
            Some(first) => new.again(first, &self.settings),
            None => new,
        };
        let JobToStore {
            new_job, records, ..
        } = new;
        // What has been here before takes no place.
        self.check_room(&new_job.job)?;
        let (job, this) = (new_job.job.id, self.clone());
        let done: CommitCallback = Box::new(move |result| {
            if result.is_err() {
                // No run of it is going to end.
                this.lock().waiter(job);
            }
            let _ = tell.send(result);
        });
        let announced = new_job.job.accepted_event().map(|event| {
            let mut transaction = locked.begin();
            transaction.emit_unchecked(event);
            transaction
        });
        let due = new_job.job.due;
        locked
            .commit(announced, records, Preconditions::NONE, done)
            .map_err(|_| NotAccepted::Unavailable)?;
        // It may run at once: what it commits is written after this, or not at all.
        let (waiter, ended) = oneshot::channel();
        let mut queues = self.lock();
        queues.wait_for(job, waiter);
        match due {
            Some(due) => {
                queues.delay(circle, job, Submitter::of(&new_job.job), due);
                self.wake.notify_one();
            }
            None => queues.push_new(circle, new_job),
        }
        Ok(StoredJob {
            job,
            on_disk,
            ended: Some(ended),
            ready: queues.start(&circle, self.settings.per_circle.get()),
        })
    }
}
