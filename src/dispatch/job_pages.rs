//! Pages of a circle's durable jobs, the newest first.
//!
//! A page is read from the list that has the fewest other jobs. It goes on over several bounded reads, each at its own
//! turn, until it is full: so jobs between the wanted ones make it slower, and not shorter.

use std::time::{Duration, Instant};

use circled_protocol::{JobId, JobKind, JobStatus, PublicKey};

use super::{
    Dispatcher, JobRecord, Status, Viewer,
    job_reads::{JobRead, ReservedRead},
    jobs::{Jobs, JobsBackend, blocking},
};
use crate::{memory::MemoryBudget, store::Unavailable};

/// Jobs that one read looks at, at most.
const MAX_READS: usize = 2000;
/// The longest that a call looks at jobs that aren't wanted.
const LONGEST: Duration = Duration::from_secs(5);

/// The wanted jobs of a circle.
#[derive(Debug, Clone)]
pub struct Page {
    /// The circle.
    pub circle: PublicKey,
    /// The caller; nothing: all.
    pub caller: Option<PublicKey>,
    /// Only jobs in this state.
    pub state: Option<JobStatus>,
    /// Only jobs of this kind.
    pub kind: Option<JobKind>,
    /// Only jobs of this provider.
    pub provider: Option<String>,
    /// Only jobs of this named script.
    pub name: Option<String>,
    /// Only jobs before this one.
    pub before: Option<JobId>,
    /// The most that are returned.
    pub limit: usize,
    /// The time after which the page ends at its next read, however few jobs it has.
    pub time: Duration,
}

/// A job on a page.
#[derive(Debug)]
pub struct ListedJob {
    /// Its record.
    pub job: JobRecord,
    /// True if it runs right now.
    pub running: bool,
    /// The bytes of its input.
    pub input_bytes: usize,
}

/// A list of a circle's jobs that is stored, or made of those that are.
#[derive(Debug, Clone, Copy)]
pub(super) enum JobList {
    All,
    /// Those that a caller has submitted.
    Own(PublicKey),
    /// Those that any caller has submitted.
    Submitted,
    /// Those that are not over.
    Open,
    Dead,
}

/// A page that is being read.
#[derive(Debug)]
pub(super) struct PageProgress {
    /// The wanted jobs that have not been looked at yet.
    pub(super) page: Page,
    max_bytes: usize,
    jobs: Vec<ListedJob>,
    bytes: usize,
    /// The number of jobs that this read has looked at, and their bytes.
    looks: usize,
    bytes_read: usize,
    /// True if there are no more.
    pub(super) is_at_end: bool,
}

impl Page {
    /// Returns the list in which it finds its jobs.
    pub(super) fn list(&self) -> JobList {
        match (self.caller, self.state.map(Status::from), self.kind) {
            (Some(caller), _, _) => JobList::Own(caller),
            (None, Some(Status::Dead), _) => JobList::Dead,
            (None, Some(Status::Pending), _) => JobList::Open,
            (None, _, Some(JobKind::Submitted)) => JobList::Submitted,
            (None, Some(Status::Finished | Status::Cancelled) | None, _) => JobList::All,
        }
    }

    /// Returns true if a job is wanted.
    pub(super) fn wants(&self, job: &JobRecord, running: bool) -> bool {
        let (provider, name) = (self.provider.as_deref(), self.name.as_deref());
        self.state.is_none_or(|state| state == job.state(running))
            && self.kind.is_none_or(|kind| kind == job.kind())
            && provider.is_none_or(|wanted| job.provider() == Some(wanted))
            && name.is_none_or(|wanted| job.name.as_deref() == Some(wanted))
    }
}

impl PageProgress {
    fn new(page: Page, max_bytes: usize) -> Self {
        Self {
            page,
            max_bytes,
            jobs: Vec::new(),
            bytes: 0,
            looks: 0,
            bytes_read: 0,
            is_at_end: false,
        }
    }

    fn is_full(&self) -> bool {
        self.jobs.len() >= self.page.limit || self.bytes >= self.max_bytes
    }

    /// Returns true if this read may look at one more job.
    pub(super) fn goes_on(&self) -> bool {
        !self.is_full() && self.looks < MAX_READS && self.bytes_read < self.max_bytes
    }

    /// Returns the bytes that this read has looked at.
    pub(super) fn bytes_read(&self) -> usize {
        self.bytes_read
    }

    /// Notes that the jobs from this one on have been looked at.
    pub(super) fn pass(&mut self, id: JobId, looks: usize, bytes: usize) {
        self.page.before = Some(id);
        self.looks += looks;
        self.bytes_read += bytes;
    }

    /// Adds a job that is wanted.
    pub(super) fn add(&mut self, job: ListedJob) {
        self.bytes += job.job.size();
        self.jobs.push(job);
    }

    fn begin_read(&mut self) {
        self.looks = 0;
        self.bytes_read = 0;
    }
}

impl Dispatcher {
    /// Returns the longest that a call looks through many jobs: then it ends, with a position to go on from.
    pub fn time_to_look(&self) -> Duration {
        LONGEST.min(self.job_timeout() / 2)
    }
}

impl Jobs {
    /// Returns some of a circle's jobs, and the one that the next page is before, if there may be one.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn page(
        self,
        page: Page,
        viewer: Viewer,
        memory: &MemoryBudget,
    ) -> Result<ReservedRead<(Vec<ListedJob>, Option<JobId>)>, Unavailable> {
        let until = Instant::now() + page.time;
        let accounts = viewer.accounts(page.circle);
        let max_bytes = match &self.backend {
            JobsBackend::Embedded(jobs) => jobs.max_page(),
            JobsBackend::Redis(jobs) => jobs.max_page(),
        };
        let permit = self.job_reads.permit(accounts).await;
        let read = JobRead::new(permit, memory.clone()).reserve_page(max_bytes);
        let mut read = read.map(|()| PageProgress::new(page, max_bytes));
        let since = match &self.backend {
            JobsBackend::Embedded(_) => None,
            JobsBackend::Redis(jobs) => Some((jobs, jobs.number())),
        };
        loop {
            read.found.begin_read();
            read = match &self.backend {
                JobsBackend::Embedded(jobs) => {
                    let jobs = jobs.clone();
                    let mut reading = read;
                    blocking(move || {
                        jobs.read_page(&mut reading.found)?;
                        Ok::<_, Unavailable>(reading)
                    })
                    .await?
                }
                JobsBackend::Redis(jobs) => {
                    jobs.read_page(&mut read.found).await?;
                    read
                }
            };
            let progress = &read.found;
            if progress.is_at_end || progress.is_full() || Instant::now() >= until {
                break;
            }
            read.take_turn(&self.job_reads, accounts).await;
        }
        read.resize(read.found.bytes);
        if let Some((jobs, since)) = since {
            let circle = read.found.page.circle;
            jobs.confirm_read(circle, since, &mut read).await?;
        }
        Ok(read.map(|progress| {
            let next = progress.page.before.filter(|_| !progress.is_at_end);
            (progress.jobs, next)
        }))
    }
}
