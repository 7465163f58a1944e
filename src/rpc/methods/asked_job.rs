//! A durable job that a caller asks about, and the parameters of lists of jobs.

use std::sync::Arc;

use circled_protocol::{InvalidJobId, JobId, PublicKey, methods::JobInput};

use super::runs::{Raw, limit_exceeded, unavailable};
use crate::{
    dispatch::{JobReadError, JobRecord, NotAccepted, ReservedRead, Viewer},
    memory::MemoryBudget,
    rpc::{Admitted, Answer, Context, Error, Shared},
    store::Unavailable,
};

/// The default size of a page.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;

/// A durable job that a caller asks about.
pub(super) struct AskedJob {
    pub(super) shared: Arc<Shared>,
    pub(super) circle: PublicKey,
    pub(super) id: JobId,
    caller: Option<PublicKey>,
    is_owner: bool,
}

impl AskedJob {
    /// Reads the parameter `job_id`.
    pub(super) fn new(context: &Context, admitted: Admitted, id: &str) -> Result<Self, Error> {
        Ok(Self {
            shared: context.shared.clone(),
            circle: context.circle,
            id: named("job_id", id)?,
            caller: admitted.key,
            is_owner: admitted.is_owner(&context.circle),
        })
    }

    /// Returns the job if it is one that the caller submitted, or any job for the owner; and whether it runs right now.
    pub(super) async fn read(
        &self,
        memory: &MemoryBudget,
    ) -> Result<ReservedRead<(JobRecord, bool)>, Error> {
        let found = self.find(memory).await?;
        found
            .filter(|read| self.is_visible(&read.found.0))
            .ok_or(Error::NotFound { what: "job".into() })
    }

    /// Returns the record of such a job for a change; the caller gets nothing of it.
    pub(super) async fn record(&self) -> Result<JobRecord, Error> {
        let jobs = self.shared.dispatcher.jobs();
        let found = jobs.record_in(self.circle, self.id, self.viewer()).await;
        let found = found.map_err(|Unavailable| unavailable())?;
        found
            .filter(|job| self.is_visible(job))
            .ok_or(Error::NotFound { what: "job".into() })
    }

    /// Returns the job if it is that of a delivery, and whether it runs right now.
    pub(super) async fn delivery(
        &self,
        memory: &MemoryBudget,
    ) -> Result<ReservedRead<(JobRecord, bool)>, Error> {
        let found = self.find(memory).await?;
        found
            .filter(|read| read.found.0.provider().is_some())
            .ok_or_else(no_delivery)
    }

    /// Returns the body that the provider sent, as JSON.
    pub(super) async fn payload(&self, memory: &MemoryBudget) -> Result<ReservedRead<Raw>, Error> {
        let jobs = self.shared.dispatcher.jobs();
        let payload = jobs.payload_in(self.circle, self.id, self.viewer(), memory);
        payload.await?.ok_or_else(no_delivery)
    }

    /// Returns what was submitted, if the job isn't a delivery's and that is kept.
    pub(super) async fn submitted(
        &self,
        memory: &MemoryBudget,
    ) -> Result<ReservedRead<Option<JobInput<Raw>>>, Error> {
        let jobs = self.shared.dispatcher.jobs();
        let read = jobs.submitted_in(self.circle, self.id, self.viewer(), memory);
        Ok(read.await?)
    }

    async fn find(
        &self,
        memory: &MemoryBudget,
    ) -> Result<Option<ReservedRead<(JobRecord, bool)>>, JobReadError> {
        let jobs = self.shared.dispatcher.jobs();
        jobs.find_in(self.circle, self.id, self.viewer(), memory)
            .await
    }

    fn viewer(&self) -> Viewer {
        Viewer::Caller(self.caller)
    }

    fn is_visible(&self, job: &JobRecord) -> bool {
        self.is_owner || self.caller.is_some() && job.submitter() == self.caller
    }
}

fn no_delivery() -> Error {
    Error::NotFound {
        what: "delivery".into(),
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

/// Reads the cursor at which a page begins.
pub(super) fn cursor(cursor: Option<&str>) -> Result<Option<JobId>, Error> {
    cursor.map(|cursor| named("cursor", cursor)).transpose()
}

fn named(param: &str, id: &str) -> Result<JobId, Error> {
    id.parse().map_err(|_| Error::InvalidParams {
        reason: format!("`{param}` is {}", InvalidJobId),
    })
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
        // Nobody knows how long: what waits may be for next year.
        let full = |limit: &'static str| Self::LimitExceeded {
            limit: limit.into(),
            retry_after_ms: None,
        };
        match error {
            NotAccepted::Backlog => full("dispatch.durable.backlog"),
            NotAccepted::CallerShare => full("a caller's share of dispatch.durable.backlog"),
            NotAccepted::GuestsShare => full("the guests' share of dispatch.durable.backlog"),
            NotAccepted::ScriptQueue => limit_exceeded("script.queue".into()),
            NotAccepted::Unavailable => unavailable(),
        }
    }
}
