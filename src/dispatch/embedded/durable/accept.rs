//! From a delivery, or what a caller asks for, to a job that is kept.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::timeout};

use super::Durable;
use crate::{
    auth::PublicKey,
    dispatch::{
        JobId, NotAccepted, Progress, Receipt, Status,
        embedded::{
            lanes::Ready,
            ledger::{self, Fresh},
            record,
        },
        settings,
        submission::Order,
    },
    store::{CommitCallback, LockedCircle, Preconditions, Record, Table, Unavailable, WaitPolicy},
};

/// Says when a delivery is on disk, or that it isn't going to be.
type OnDisk = oneshot::Receiver<Result<(), Unavailable>>;

/// A job that is about to be kept.
struct New {
    identity: Option<[u8; 32]>,
    fresh: Fresh,
    records: Vec<Record>,
}

/// A job that is on its way to the disk.
struct Kept {
    job: JobId,
    on_disk: OnDisk,
    /// How its job's first run ends. Nothing for one that has been here before.
    ended: Option<oneshot::Receiver<Progress>>,
    /// A job that may run now, this one or an earlier one of the circle.
    ready: Option<Ready>,
}

impl New {
    fn of(order: Order, settings: &settings::Durable) -> Self {
        let identity = order.identity;
        let (fresh, records) = ledger::accepted(order, settings);
        Self {
            identity,
            fresh,
            records,
        }
    }

    /// The same under the name of an earlier job, which was given up: it takes its place.
    fn again(self, earlier: JobId, settings: &settings::Durable) -> Self {
        let Fresh { mut job, input, .. } = self.fresh;
        tracing::info!(
            circle = %job.circle,
            job = %earlier,
            "a delivery has come again whose job was given up: it runs again"
        );
        job.id = earlier;
        let mut new = Self::of(
            Order {
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

impl Durable {
    /// Keeps a job, and has it run. Answers when it is on disk and its first run has ended, or so much time is over.
    pub(in crate::dispatch::embedded) async fn accept(
        self: &Arc<Self>,
        order: Order,
        wait: Duration,
    ) -> Result<Receipt, NotAccepted> {
        let circle = order.job.circle;
        let new = Box::new(New::of(order, &self.settings));
        let kept = match self.try_keep(new, WaitPolicy::FailFast) {
            Ok(kept) => kept?,
            // Somebody is alone in the circle: that takes a moment, and blocks.
            Err(new) => {
                let this = self.clone();
                // Whoever waits for the answer may leave meanwhile: the job is handed over here.
                let keep = move || {
                    let mut kept = this.try_keep(new, WaitPolicy::Wait);
                    if let Ok(Ok(Kept { ready, .. })) = &mut kept
                        && let Some(ready) = ready.take()
                    {
                        let mut lanes = this.lock();
                        this.submit(&mut lanes, circle, ready);
                    }
                    kept
                };
                let kept = tokio::task::spawn_blocking(keep).await;
                kept.ok()
                    .and_then(Result::ok)
                    .unwrap_or(Err(NotAccepted::Unavailable))?
            }
        };
        let Kept {
            job,
            on_disk,
            ended,
            ready,
        } = kept;
        match ready {
            // Nobody waits for it, so it is not to keep this thread from others.
            Some(ready) if wait.is_zero() => {
                let mut lanes = self.lock();
                self.submit(&mut lanes, circle, ready);
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
        match on_disk.await {
            Ok(Ok(())) => Ok(Receipt { job, status }),
            Ok(Err(Unavailable)) | Err(_) => Err(NotAccepted::Unavailable),
        }
    }

    /// Gives `new` back if it would have to wait, and was told not to.
    fn try_keep(
        self: &Arc<Self>,
        new: Box<New>,
        wait_policy: WaitPolicy,
    ) -> Result<Result<Kept, NotAccepted>, Box<New>> {
        let circle = new.fresh.job.circle;
        if self.lock().stopping {
            return Ok(Err(NotAccepted::Unavailable));
        }
        let mut given = Some(new);
        let kept = self
            .machine
            .store
            .lock_circle(circle, wait_policy, |alone| {
                let new = given.take()?;
                Some(self.keep(circle, *new, alone))
            });
        match (kept.flatten(), given) {
            (Some(kept), _) => Ok(kept),
            (None, Some(new)) => Err(new),
            (None, None) => Ok(Err(NotAccepted::Unavailable)),
        }
    }

    fn keep(
        self: &Arc<Self>,
        circle: PublicKey,
        new: New,
        alone: &mut LockedCircle<'_>,
    ) -> Result<Kept, NotAccepted> {
        let unavailable = |_| NotAccepted::Unavailable;
        let seen = match &new.identity {
            Some(identity) if !self.settings.dedupe_for.is_zero() => {
                alone.read(Table::Seen, identity).map_err(unavailable)?
            }
            Some(_) | None => None,
        };
        let now = new.fresh.job.received_at;
        let seen = seen.and_then(|value| record::seen_job(&value, now));
        let (tell, on_disk) = oneshot::channel();
        let is_given_up = match seen {
            Some(job) if new.fresh.job.provider().is_some() => {
                let first = alone.read(Table::Jobs, job.as_bytes());
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
            let nothing = alone.commit(None, Vec::new(), Preconditions::NONE, done);
            nothing.map_err(|_| NotAccepted::Unavailable)?;
            return Ok(Kept {
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
        let New { fresh, records, .. } = new;
        // What has been here before takes no place.
        let most = fresh.job.most_waiting(self.settings.backlog);
        if self.lock().backlog(&circle) >= most {
            return Err(NotAccepted::Backlog);
        }
        let (job, this) = (fresh.job.id, self.clone());
        let done: CommitCallback = Box::new(move |result| {
            if result.is_err() {
                // No run of it is going to end.
                this.lock().waiter(job);
            }
            let _ = tell.send(result);
        });
        let told = fresh.job.told_first().map(|told| {
            let mut transaction = alone.begin();
            transaction.emit_unchecked(told);
            transaction
        });
        let due = fresh.job.due;
        alone
            .commit(told, records, Preconditions::NONE, done)
            .map_err(|_| NotAccepted::Unavailable)?;
        // It may run at once: what it commits is written after this, or not at all.
        let (waiter, ended) = oneshot::channel();
        let mut lanes = self.lock();
        lanes.wait_for(job, waiter);
        match due {
            Some(due) => {
                lanes.delay(circle, job, fresh.job.submitter(), due);
                self.wake.notify_one();
            }
            None => lanes.push_fresh(circle, fresh),
        }
        Ok(Kept {
            job,
            on_disk,
            ended: Some(ended),
            ready: lanes.start(&circle, self.settings.per_circle),
        })
    }
}
