//! Retries the dead jobs of a circle: some at a time, each in a commit of its own, which checks that it is dead still.

use std::time::Instant;

use circled_protocol::{JobId, JobKind, PublicKey};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Dispatcher, JobRecord, NotRetried, Status, Viewer};
use crate::{circle::Caller, store::Unavailable};

/// Jobs that are retried at once.
const AT_ONCE: usize = 16;

/// The wanted dead jobs of a circle.
#[derive(Debug, Clone)]
pub struct DeadJobs {
    /// The circle.
    pub circle: PublicKey,
    /// Only jobs of this kind.
    pub kind: Option<JobKind>,
    /// Only jobs of this named script.
    pub name: Option<String>,
    /// Only jobs that were dead by then.
    pub until: Timestamp,
    /// Only jobs after this one.
    pub after: Option<JobId>,
}

/// The result of retrying dead jobs.
#[derive(Debug, Default)]
pub struct DeadRetried {
    /// The number of those that run again.
    pub retried: u64,
    /// The number of those that don't.
    pub failed: u64,
    /// The first reason for that.
    pub error: Option<String>,
    /// The job to go on after, if there may be more.
    pub after: Option<JobId>,
}

impl DeadJobs {
    /// The number of jobs that are looked at in one read.
    pub(super) const AT_A_TIME: usize = 50;

    pub(super) fn wants(&self, job: &JobRecord) -> bool {
        let name = self.name.as_deref();
        job.status == Status::Dead
            && job.ended_at.is_none_or(|ended_at| ended_at <= self.until)
            && self.kind.is_none_or(|kind| kind == job.kind())
            && name.is_none_or(|wanted| job.name.as_deref() == Some(wanted))
    }
}

impl Dispatcher {
    /// Counts dead jobs. Of those of one kind or script, it counts so many, and some more if there are.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn count_dead(
        &self,
        mut wanted: DeadJobs,
        most: u64,
        viewer: Viewer,
    ) -> Result<u64, Unavailable> {
        if wanted.kind.is_none() && wanted.name.is_none() {
            let usage = self.jobs().usage(wanted.circle, viewer).await?;
            return Ok(usage.jobs.dead);
        }
        let mut count = 0;
        loop {
            let (ids, next) = self.jobs().dead(wanted.clone(), viewer).await?;
            count += ids.len() as u64;
            wanted.after = next;
            if next.is_none() || count > most {
                return Ok(count);
            }
        }
    }

    /// Retries dead jobs, the oldest first, as [`retry`](Self::retry) does, until the time is over. `asker`: whoever asks,
    /// and their session.
    ///
    /// # Errors
    /// They can't be read or written. Some may run again by then.
    pub async fn retry_dead(
        &self,
        mut wanted: DeadJobs,
        asker: (PublicKey, Uuid),
    ) -> Result<DeadRetried, Unavailable> {
        let (begun, circle) = (Instant::now(), wanted.circle);
        let mut done = DeadRetried::default();
        loop {
            let viewer = Viewer::Caller(Some(asker.0));
            let (ids, next) = self.jobs().dead(wanted.clone(), viewer).await?;
            let retries = ids.into_iter().map(async |id| {
                let asker = (Caller::Key(asker.0), asker.1);
                let retried = self.retry(id, circle, Some(asker), None).await;
                (id, retried)
            });
            let retries: Vec<_> = stream::iter(retries)
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            for (id, retried) in retries {
                let why = match retried {
                    Ok(_) => {
                        done.retried += 1;
                        continue;
                    }
                    // Somebody else was first.
                    Err(NotRetried::NotOver) => continue,
                    Err(NotRetried::Script(why)) => why.to_string(),
                    Err(NotRetried::Unreadable) => NotRetried::UNREADABLE.to_owned(),
                    Err(NotRetried::Unavailable) => return Err(Unavailable),
                };
                done.failed += 1;
                done.error.get_or_insert_with(|| format!("{id}: {why}"));
            }
            wanted.after = next;
            if next.is_none() || begun.elapsed() >= self.time_to_look() {
                done.after = next;
                return Ok(done);
            }
        }
    }
}
