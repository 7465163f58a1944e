//! How much a circle has.

use circled_protocol::{PublicKey, methods::CircleUsage};

use super::{
    Dispatcher, Viewer,
    jobs::{Jobs, JobsBackend, blocking},
};
use crate::store::Unavailable;

impl Dispatcher {
    /// Returns how much a circle has. For a caller with this key, if with any.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn usage(
        &self,
        circle: PublicKey,
        caller: Option<PublicKey>,
    ) -> Result<CircleUsage, Unavailable> {
        let mut usage = self.jobs().usage(circle, Viewer::Caller(caller)).await?;
        let log = self.log(circle, 0, 0).await?;
        if log.first > 0 {
            usage.events = log.last + 1 - log.first;
        }
        usage.last_event = log.last;
        Ok(usage)
    }
}

impl Jobs {
    /// Returns how much a circle has, but for its events.
    async fn usage(self, circle: PublicKey, viewer: Viewer) -> Result<CircleUsage, Unavailable> {
        let permit = self.job_reads.permit(viewer.accounts(circle)).await;
        match self.backend {
            JobsBackend::Embedded(jobs) => {
                blocking(move || {
                    let _permit = permit;
                    jobs.usage(circle)
                })
                .await
            }
            JobsBackend::Redis(jobs) => jobs.usage(circle).await,
        }
    }
}
