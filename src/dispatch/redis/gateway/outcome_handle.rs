//! The handle of a play that somebody waits for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey};
use tokio::{
    sync::oneshot,
    time::{sleep_until, timeout},
};

use super::Gateway;
use crate::{dispatch::ReservedOutcome, script::RunError, store::Unavailable};

/// The time after its deadline for which a worker's outcome is waited for.
const NOTICE: Duration = Duration::from_millis(50);
/// The handle of a play that is under way. Dropping it cancels the play, unless it has been committed.
pub struct RedisOutcomeHandle {
    pub(super) outcome: oneshot::Receiver<ReservedOutcome>,
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
    pub(super) circle: PublicKey,
    pub(super) id: JobId,
    pub(super) gateway: Arc<Gateway>,
    pub(super) settled: bool,
}

impl RedisOutcomeHandle {
    /// Waits for the play, at most until its deadline. What has been committed by then is waited for.
    pub(crate) async fn outcome(mut self) -> ReservedOutcome {
        let gateway = self.gateway.clone();
        let early = tokio::select! {
            biased;
            reserved = &mut self.outcome => {
                self.settled = true;
                return reserved.unwrap_or(RunError::Unavailable.into());
            }
            () = gateway.halt.cancelled() => RunError::Cancelled,
            () = sleep_until((self.deadline + NOTICE).into()) => RunError::TimedOut {
                after: self.timeout,
                version: None,
            },
        };
        match gateway.take_back(self.circle, self.id).await {
            Ok(true) => {
                self.settled = true;
                early.into()
            }
            Ok(false) => {
                self.settled = true;
                let reserved = timeout(gateway.settings.timeout.get(), &mut self.outcome).await;
                match reserved {
                    Ok(Ok(reserved)) => reserved,
                    // There was no room for it.
                    Ok(Err(_)) => early.into(),
                    Err(_) => RunError::Unavailable.into(),
                }
            }
            Err(Unavailable) => RunError::Unavailable.into(),
        }
    }
}

impl Drop for RedisOutcomeHandle {
    fn drop(&mut self) {
        if self.settled {
            self.gateway.plays.remove(&self.id);
        } else {
            self.gateway.leave(self.circle, self.id);
        }
    }
}

impl std::fmt::Debug for RedisOutcomeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RedisOutcomeHandle").field(&self.id).finish()
    }
}
