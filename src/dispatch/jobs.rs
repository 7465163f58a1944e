//! The durable jobs of a running server, to be read, retried and cancelled.

use std::str::FromStr;

use circled_protocol::{JobId, JobStatus, PublicKey, methods::JobInput};
use serde_json::value::RawValue;
use tokio::task::spawn_blocking;

use super::{
    Account, JobRecord, JobStore, RedisJobs, Status, ended,
    job_reads::{JobRead, JobReadError, JobReads, ReservedRead},
    retry::Rerun,
    retry_dead::DeadJobs,
    submission::{self, Input},
};
use crate::{circle::Caller, memory::MemoryBudget, script, store::Unavailable};

/// Some of the jobs of all circles.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Only jobs in one of these states.
    pub states: Vec<JobStatus>,
    /// Only jobs of this circle.
    pub circle: Option<PublicKey>,
    /// Only jobs of this named script.
    pub script: Option<String>,
    /// Only jobs after this one.
    pub after: Option<Cursor>,
    /// The most that are returned.
    pub limit: usize,
}

/// The position where a [`Listing`] goes on: after this job, in the order in which they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(super) partition: usize,
    pub(super) list: List,
    /// Milliseconds since 1970, if the list is sorted by that.
    pub(super) ended_at: i64,
    /// Its circle, if that is known and the list is sorted by that.
    pub(super) circle: Option<PublicKey>,
    pub(super) id: JobId,
}

/// A text that is no [`Cursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: expected the one that the page before has")]
pub struct InvalidCursor;

/// A list of jobs that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Those that are not over.
    Open,
    /// Those that are dead.
    Dead,
    All,
}

/// A part of a listing: jobs, each with whether it runs right now, and where to go on, if there may be more.
pub(super) type ListedJobs = (Vec<(JobRecord, bool)>, Option<Cursor>);

/// The one who reads jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// A caller of the circle, with this key if with any.
    Caller(Option<PublicKey>),
    /// A provider, whose delivery it is.
    Provider,
    /// The operator of the server.
    Operator,
}

impl Listing {
    /// Returns the lists to read, one after the other.
    pub(super) fn lists(&self) -> Vec<List> {
        let statuses: Vec<Status> = self
            .states
            .iter()
            .map(|state| Status::from(*state))
            .collect();
        let mut lists = Vec::new();
        if statuses.contains(&Status::Finished) || statuses.contains(&Status::Cancelled) {
            lists.push(List::All);
        } else {
            for (status, list) in [(Status::Pending, List::Open), (Status::Dead, List::Dead)] {
                if statuses.contains(&status) {
                    lists.push(list);
                }
            }
        }
        lists
    }

    pub(super) fn wants(&self, job: &JobRecord, running: bool) -> bool {
        let script = self.script.as_deref();
        self.states.contains(&job.state(running))
            && self.circle.is_none_or(|wanted| wanted == job.circle)
            && script.is_none_or(|wanted| job.name.as_deref() == Some(wanted))
    }
}

impl List {
    const ALL: [Self; 3] = [Self::Open, Self::Dead, Self::All];

    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Dead => "dead",
            Self::All => "all",
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}.{}.{}.",
            self.partition,
            self.list.name(),
            self.ended_at
        )?;
        if let Some(circle) = &self.circle {
            circle.fmt(f)?;
        }
        write!(f, ".{}", self.id)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        fn parse<T: FromStr>(text: &str) -> Result<T, InvalidCursor> {
            text.parse().map_err(|_| InvalidCursor)
        }

        let parts: Vec<_> = text.split('.').collect();
        let [partition, list, ended_at, circle, id] = parts[..] else {
            return Err(InvalidCursor);
        };
        let list = List::ALL.into_iter().find(|known| known.name() == list);
        Ok(Self {
            partition: parse(partition)?,
            list: list.ok_or(InvalidCursor)?,
            ended_at: parse(ended_at)?,
            circle: match circle {
                "" => None,
                circle => Some(parse(circle)?),
            },
            id: parse(id)?,
        })
    }
}

impl Viewer {
    pub(super) fn accounts(self, circle: PublicKey) -> Option<[Account; 2]> {
        match self {
            Self::Caller(key) => Some(Account::of_caller(circle, key.as_ref())),
            Self::Provider => Some(Account::of_job(circle, None)),
            Self::Operator => None,
        }
    }
}

/// The durable jobs, in whichever backend. A cheap handle.
#[derive(Debug, Clone)]
pub struct Jobs {
    pub(super) backend: JobsBackend,
    pub(super) job_reads: JobReads,
}

/// The backend that stores the durable jobs.
#[derive(Debug, Clone)]
pub(super) enum JobsBackend {
    /// On this machine's disk.
    Embedded(JobStore),
    /// Redis.
    Redis(RedisJobs),
}

impl Jobs {
    /// Returns some of the jobs that are wanted, the oldest of a page first, each with whether it runs right now; and
    /// where to go on, if there may be more. For the operator.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn list(
        self,
        listing: Listing,
    ) -> Result<(Vec<(JobRecord, bool)>, Option<Cursor>), Unavailable> {
        let permit = self.job_reads.operator().await;
        match self.backend {
            JobsBackend::Embedded(jobs) => {
                blocking(move || {
                    let _permit = permit;
                    jobs.list(&listing)
                })
                .await
            }
            JobsBackend::Redis(jobs) => jobs.list(&listing).await,
        }
    }

    /// Returns one job, and whether it runs right now. For the operator.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn find(self, id: JobId) -> Result<Option<(JobRecord, bool)>, Unavailable> {
        let permit = self.job_reads.operator().await;
        match self.backend {
            JobsBackend::Embedded(jobs) => {
                blocking(move || {
                    let _permit = permit;
                    jobs.find(id)
                })
                .await
            }
            JobsBackend::Redis(jobs) => jobs.find(id).await,
        }
    }

    /// Runs a dead or cancelled job again, from the first try; `by`: the caller who asks for that, if one does. Returns true
    /// if there is such a job.
    pub(super) async fn retry_in(
        self,
        circle: PublicKey,
        id: JobId,
        rerun: Rerun,
        by: Option<Caller<'static>>,
        viewer: Viewer,
    ) -> Result<bool, Unavailable> {
        // What it runs on is in memory until it is written.
        let permit = match rerun.changes() {
            true => self.job_reads.permit(viewer.accounts(circle)).await,
            false => None,
        };
        match self.backend {
            JobsBackend::Embedded(jobs) => {
                blocking(move || {
                    let _permit = permit;
                    let input = rerun.changes().then(|| jobs.input_in(&circle, id));
                    let input = input.transpose()?.flatten();
                    jobs.retry_in(circle, id, &rerun, input, by.as_ref())
                })
                .await
            }
            JobsBackend::Redis(jobs) => {
                let input = match rerun.changes() {
                    true => jobs.input_in(circle, id).await?,
                    false => None,
                };
                let retried = jobs.retry_in(circle, id, &rerun, input, by.as_ref());
                jobs.confirmed(circle, retried).await
            }
        }
    }

    /// Cancels a job that isn't over. Returns true if there is such a job.
    ///
    /// # Errors
    /// It can't be read or written.
    pub async fn stop_in(self, circle: PublicKey, id: JobId) -> Result<bool, Unavailable> {
        let stopped = match self.backend {
            JobsBackend::Embedded(jobs) => blocking(move || jobs.stop_in(circle, id)).await?,
            JobsBackend::Redis(jobs) => jobs.confirmed(circle, jobs.stop_in(circle, id)).await?,
        };
        if stopped {
            ended::cancelled(id);
        }
        Ok(stopped)
    }

    /// Returns one job of a circle, and whether it runs right now; with room in this budget for an answer with all of
    /// it.
    ///
    /// # Errors
    /// It can't be read, or there is no room for it.
    pub async fn find_in(
        self,
        circle: PublicKey,
        id: JobId,
        viewer: Viewer,
        memory: &MemoryBudget,
    ) -> Result<Option<ReservedRead<(JobRecord, bool)>>, JobReadError> {
        let pending = self.begin_read(circle, viewer, memory).await;
        match self.backend {
            JobsBackend::Embedded(jobs) => {
                blocking(move || {
                    let Some(bytes) = jobs.size_in(JobPart::Record, &circle, id)? else {
                        return Ok(None);
                    };
                    let read = pending.reserve(bytes)?;
                    let found = jobs.find_in(&circle, id)?;
                    Ok(found.map(|found| read.map(|()| found)))
                })
                .await
            }
            JobsBackend::Redis(jobs) => {
                let bytes = jobs.size_in(JobPart::Record, circle, id).await?;
                let mut read = pending.reserve(bytes)?;
                let since = jobs.number();
                let found = jobs.find_in(circle, id).await?;
                jobs.confirm_read(circle, since, &mut read).await?;
                Ok(found.map(|found| read.map(|()| found)))
            }
        }
    }

    /// Returns the record of one job of a circle, for a caller who shows nothing of it, or little.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn record_in(
        self,
        circle: PublicKey,
        id: JobId,
        viewer: Viewer,
    ) -> Result<Option<JobRecord>, Unavailable> {
        let permit = self.job_reads.permit(viewer.accounts(circle)).await;
        let found = match self.backend {
            JobsBackend::Embedded(jobs) => {
                blocking(move || {
                    let _permit = permit;
                    jobs.find_in(&circle, id)
                })
                .await
            }
            JobsBackend::Redis(jobs) => jobs.find_in(circle, id).await,
        };
        Ok(found?.map(|(job, _)| job))
    }

    /// Returns the payload of a delivery's job, as JSON; with room in this budget for an answer with it.
    ///
    /// # Errors
    /// It can't be read, or there is no room for it.
    pub async fn payload_in(
        self,
        circle: PublicKey,
        id: JobId,
        viewer: Viewer,
        memory: &MemoryBudget,
    ) -> Result<Option<ReservedRead<Box<RawValue>>>, JobReadError> {
        let read = self.kept_input_in(circle, id, viewer, memory, submission::payload);
        Ok(read.await?.transpose())
    }

    /// Returns what the caller of a job has submitted, if it is one and that is kept; with room in this budget for an answer
    /// with it.
    ///
    /// # Errors
    /// It can't be read, or there is no room for it.
    pub async fn submitted_in(
        self,
        circle: PublicKey,
        id: JobId,
        viewer: Viewer,
        memory: &MemoryBudget,
    ) -> Result<ReservedRead<Option<JobInput<Box<RawValue>>>>, JobReadError> {
        self.kept_input_in(circle, id, viewer, memory, submission::submitted)
            .await
    }

    /// Returns what `look` finds in the stored input of a job, if there is one.
    async fn kept_input_in<T: Send + 'static>(
        self,
        circle: PublicKey,
        id: JobId,
        viewer: Viewer,
        memory: &MemoryBudget,
        look: fn(&[u8]) -> Option<T>,
    ) -> Result<ReservedRead<Option<T>>, JobReadError> {
        let pending = self.begin_read(circle, viewer, memory).await;
        match self.backend {
            JobsBackend::Embedded(jobs) => {
                blocking(move || {
                    let bytes = jobs.size_in(JobPart::Input, &circle, id)?;
                    let read = pending.reserve(bytes.unwrap_or_default())?;
                    let found = jobs.kept_input_in(&circle, id, look)?;
                    Ok(read.map(|()| found))
                })
                .await
            }
            JobsBackend::Redis(jobs) => {
                let bytes = jobs.size_in(JobPart::Input, circle, id).await?;
                let read = pending.reserve(bytes)?;
                let found = jobs.kept_input_in(circle, id, look).await?;
                Ok(read.map(|()| found))
            }
        }
    }

    /// Returns what `look` finds in a job's input, if that can be read: all of it is in memory no longer than whoever
    /// reads it has a permit.
    pub(super) async fn input_in<T: Send + 'static>(
        self,
        circle: PublicKey,
        id: JobId,
        viewer: Viewer,
        look: impl FnOnce(Input) -> T + Send + 'static,
    ) -> Result<Option<T>, Unavailable> {
        let permit = self.job_reads.permit(viewer.accounts(circle)).await;
        match self.backend {
            JobsBackend::Embedded(jobs) => {
                blocking(move || {
                    let _permit = permit;
                    Ok(jobs.input_in(&circle, id)?.map(look))
                })
                .await
            }
            JobsBackend::Redis(jobs) => Ok(jobs.input_in(circle, id).await?.map(look)),
        }
    }

    /// Returns those of some dead jobs that are wanted, the oldest first, and the one to go on after, if there may be more.
    pub(super) async fn dead(
        self,
        wanted: DeadJobs,
        viewer: Viewer,
    ) -> Result<(Vec<JobId>, Option<JobId>), Unavailable> {
        let permit = self.job_reads.permit(viewer.accounts(wanted.circle)).await;
        match self.backend {
            JobsBackend::Embedded(jobs) => {
                blocking(move || {
                    let _permit = permit;
                    jobs.dead(&wanted)
                })
                .await
            }
            JobsBackend::Redis(jobs) => {
                let circle = wanted.circle;
                jobs.confirmed(circle, jobs.dead(&wanted)).await
            }
        }
    }

    async fn begin_read(
        &self,
        circle: PublicKey,
        viewer: Viewer,
        memory: &MemoryBudget,
    ) -> JobRead {
        let permit = self.job_reads.permit(viewer.accounts(circle)).await;
        JobRead::new(permit, memory.clone())
    }
}

/// A stored part of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobPart {
    Record,
    Input,
}

/// Does `work` on a thread that may block. What `work` holds is held until it is over, however long somebody waits for
/// it.
pub(super) async fn blocking<T: Send + 'static, E: From<Unavailable> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let done = spawn_blocking(|| script::returning_memory(work)).await;
    done.unwrap_or_else(|_| Err(Unavailable.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use circled_protocol::SecretKey;
    use tokio::task::yield_now;
    use tokio_util::task::TaskTracker;

    use super::{Cursor, InvalidCursor, JobId, JobReads, List, Unavailable, Viewer, blocking};

    #[tokio::test]
    async fn a_look_that_nobody_waits_for_keeps_its_turn_until_it_is_over() {
        let circle = SecretKey::from_hex(&"7".repeat(64)).unwrap().public();
        let tasks = TaskTracker::new();
        for viewer in [Viewer::Caller(None), Viewer::Operator] {
            let reads = JobReads::new(1);
            let permit = reads.permit(viewer.accounts(circle)).await;
            let (begin, has_begun) = tokio::sync::oneshot::channel();
            let (end, may_end) = mpsc::channel::<()>();
            let pending = tasks.spawn(blocking(move || {
                let _permit = permit;
                begin.send(()).unwrap();
                may_end.recv().map_err(|_| Unavailable)
            }));
            has_begun.await.unwrap();
            pending.abort();
            assert!(pending.await.unwrap_err().is_cancelled());
            let next = reads.clone();
            let next = tasks.spawn(async move { next.permit(viewer.accounts(circle)).await });
            for _ in 0..100 {
                yield_now().await;
            }
            assert!(!next.is_finished(), "{viewer:?}");
            end.send(()).unwrap();
            assert!(next.await.unwrap().is_some());
        }
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let circle = SecretKey::from_hex(&"7".repeat(64)).unwrap().public();
        for (list, circle) in [(List::Open, None), (List::All, Some(circle))] {
            let cursor = Cursor {
                partition: 3,
                list,
                ended_at: 1_700_000_000_000,
                circle,
                id: JobId::new(),
            };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "019ab1c2", "0.open.0.", "0.none.0..0", "0.open.0.1.2"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
