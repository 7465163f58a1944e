//! What gateways and workers say to each other, as JSON. Other versions may be on the other end: unknown
//! fields are skipped, and new ones must have a default.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    auth::PublicKey,
    dispatch::{Job, JobId},
};

/// A play, as it waits for a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Play<'a> {
    pub(super) id: JobId,
    #[serde(with = "crate::auth::trusted")]
    pub(super) circle: PublicKey,
    #[serde(with = "crate::auth::trusted")]
    pub(super) caller: PublicKey,
    #[serde(borrow)]
    pub(super) script: Cow<'a, str>,
    pub(super) args: Cow<'a, Value>,
    pub(super) timeout_ms: u64,
    /// Whose inbox the outcome goes to.
    #[serde(borrow)]
    pub(super) gateway: Cow<'a, str>,
}

impl<'a> Play<'a> {
    pub(super) fn new(job: &'a Job<'_>, gateway: &'a str) -> Self {
        let crate::dispatch::Caller::Key(caller) = job.caller;
        Self {
            id: job.id,
            circle: job.circle,
            caller,
            script: Cow::Borrowed(&job.script),
            args: Cow::Borrowed(&job.args),
            timeout_ms: u64::try_from(job.timeout.as_millis()).unwrap_or(u64::MAX),
            gateway: Cow::Borrowed(gateway),
        }
    }

    pub(super) fn into_owned(self) -> Play<'static> {
        Play {
            id: self.id,
            circle: self.circle,
            caller: self.caller,
            script: Cow::Owned(self.script.into_owned()),
            args: Cow::Owned(self.args.into_owned()),
            timeout_ms: self.timeout_ms,
            gateway: Cow::Owned(self.gateway.into_owned()),
        }
    }
}
