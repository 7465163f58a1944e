//! The parts that the methods about durable jobs share.

use circled_protocol::{InvalidJobId, JobId, PublicKey, methods::Jobs};

use super::run::{Raw, unavailable};
use crate::{
    dispatch::{JobReadError, JobRecord, NotAccepted, ReservedRead, Viewer},
    memory::MemoryBudget,
    rpc::{Answer, Context, Error, Shared, context::Admitted},
    store::Unavailable,
};

/// The default size of a page.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;

/// Returns a page of jobs in the caller's form.
pub(super) fn shown((jobs, cursor): (Vec<(JobRecord, bool)>, Option<JobId>)) -> Jobs<Raw> {
    let jobs = jobs.into_iter();
    Jobs {
        jobs: jobs.map(|(job, running)| job.view(running)).collect(),
        cursor,
    }
}

/// Returns what a read finds, in the memory that the read has reserved.
pub(super) fn read_reply<T: Send + 'static>(
    read: impl Future<Output = Result<ReservedRead<T>, Error>> + Send + 'static,
) -> Answer<ReservedRead<T>> {
    Answer::Reserved(Box::pin(async move {
        let mut read = read.await;
        let reservation = read.as_mut().ok().and_then(|read| read.answer.take());
        (read, reservation)
    }))
}

/// Checks the size of a page.
pub(super) fn limit(limit: Option<usize>) -> Result<usize, Error> {
    match limit {
        None => Ok(PAGE),
        Some(limit) if (1..=LARGEST_PAGE).contains(&limit) => Ok(limit),
        Some(_) => Err(Error::InvalidParams {
            reason: format!("`limit` must be from 1 to {LARGEST_PAGE}"),
        }),
    }
}

pub(super) fn job(id: &str) -> Result<JobId, Error> {
    named("job_id", id)
}

/// Reads the cursor at which a page begins.
pub(super) fn cursor(cursor: Option<&str>) -> Result<Option<JobId>, Error> {
    cursor.map(|cursor| named("cursor", cursor)).transpose()
}

fn named(param: &str, id: &str) -> Result<JobId, Error> {
    id.parse().map_err(|_| Error::InvalidParams {
        reason: format!("`{param}` is {}", InvalidJobId),
    })
}

/// Returns the caller whose jobs are visible; `None`: all callers' jobs.
pub(super) fn visible_caller(
    context: &Context,
    admitted: Admitted,
) -> Result<Option<PublicKey>, Error> {
    if admitted.is_owner(&context.circle) {
        return Ok(None);
    }
    admitted.key.map(Some).ok_or(Error::AuthenticationRequired)
}

/// Returns a job that the caller may see, and whether it runs right now. Deliveries have methods of their own.
pub(super) async fn visible(
    shared: &Shared,
    circle: PublicKey,
    id: JobId,
    (visible_caller, viewer): (Option<PublicKey>, Viewer),
    memory: &MemoryBudget,
) -> Result<ReservedRead<(JobRecord, bool)>, Error> {
    let jobs = shared.dispatcher.jobs();
    let found = jobs.find_in(circle, id, viewer, memory).await?;
    let theirs = |read: &ReservedRead<(JobRecord, bool)>| {
        visible_caller.is_none() || read.found.0.submitter() == visible_caller
    };
    found
        .filter(theirs)
        .ok_or(Error::NotFound { what: "job".into() })
}

/// Returns the record of such a job for a change; the caller gets nothing of it.
pub(super) async fn record(
    shared: &Shared,
    circle: PublicKey,
    id: JobId,
    (visible_caller, viewer): (Option<PublicKey>, Viewer),
) -> Result<JobRecord, Error> {
    let found = shared.dispatcher.jobs().record_in(circle, id, viewer).await;
    let found = found.map_err(|Unavailable| unavailable())?;
    found
        .filter(|job| visible_caller.is_none() || job.submitter() == visible_caller)
        .ok_or(Error::NotFound { what: "job".into() })
}

impl From<JobReadError> for Error {
    fn from(why: JobReadError) -> Self {
        match why {
            JobReadError::Unavailable(Unavailable) => unavailable(),
            JobReadError::OverBudget(over) => over.into(),
        }
    }
}

impl From<NotAccepted> for Error {
    fn from(error: NotAccepted) -> Self {
        match error {
            NotAccepted::Backlog => super::run::limit_exceeded("dispatch.durable.backlog".into()),
            NotAccepted::ScriptQueue => super::run::limit_exceeded("script.queue".into()),
            NotAccepted::Unavailable => unavailable(),
        }
    }
}
