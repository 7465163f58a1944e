//! The reasons why circles can't be read from Redis or written into it.

use circled_protocol::{JobId, PublicKey};
use fred::error::Error;
use thiserror::Error;

use crate::{
    backup::Failure,
    dispatch::redis::conn::{Disagreement, error_text},
};

/// The reason why circles can't be read from Redis or written into it.
#[derive(Debug, Error)]
pub(in crate::dispatch) enum RedisBackupError {
    /// No connection.
    #[error("Redis can't be reached (dispatch.redis.url): {0}")]
    Unreachable(String),
    /// A command that failed.
    #[error("Redis failed: {0}")]
    Failed(String),
    /// The connection isn't the one of the beginning.
    #[error(
        "the connection to Redis was lost in between, so nobody can tell if all is there: try again"
    )]
    Disconnected,
    /// Redis replied with something else than it should.
    #[error("Redis has something that can't be read: {0}")]
    Unreadable(String),
    /// An empty namespace, where there should be something.
    #[error(
        "nothing is in the namespace \"{0}\" in Redis (dispatch.redis.namespace, dispatch.redis.url)"
    )]
    Nothing(String),
    /// The settings have another number of partitions.
    #[error(
        "the namespace \"{namespace}\" in Redis has {found} partitions, and the settings have {own}: set dispatch.redis.partitions = {found}"
    )]
    Partitions {
        /// The namespace.
        namespace: String,
        /// The number that it has.
        found: String,
        /// The number in the settings.
        own: usize,
    },
    /// A restore that isn't finished.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// A target that isn't empty.
    #[error(
        "the namespace \"{namespace}\" in Redis isn't empty: it has {some}. Take another dispatch.redis.namespace, or delete these keys first"
    )]
    NotEmpty {
        /// The namespace.
        namespace: String,
        /// Keys that it has, in words.
        some: String,
    },
    /// Servers that use the namespace.
    #[error(
        "servers use the namespace \"{namespace}\" in Redis: {servers}. Stop them first; one that was killed is known for {seconds} seconds"
    )]
    Served {
        /// The namespace.
        namespace: String,
        /// Their names.
        servers: String,
        /// Seconds for which a server is known that has ended without a word.
        seconds: u64,
    },
    /// Another backup, or another restore.
    #[error(
        "another {what} uses the namespace in Redis: wait for it; if it was killed, for {seconds} seconds"
    )]
    Busy {
        /// The other one.
        what: &'static str,
        /// Seconds for which one is known that was killed.
        seconds: u64,
    },
    /// It has lost its right to go on.
    #[error("it took too long to reply to Redis, and another one may have begun: try again")]
    TooLate,
    /// Two jobs of one id.
    #[error("the job {id} of the circle {circle} is there twice")]
    TwoJobs {
        /// The circle.
        circle: PublicKey,
        /// The job.
        id: JobId,
    },
    /// Nobody takes what is read.
    #[error("stopped")]
    Stopped,
}

impl RedisBackupError {
    pub(super) fn of(error: &Error) -> Self {
        Self::Failed(error_text(error))
    }
}

pub(super) fn unreadable(what: &str) -> RedisBackupError {
    RedisBackupError::Unreadable(what.to_owned())
}

impl From<RedisBackupError> for Failure {
    fn from(error: RedisBackupError) -> Self {
        let why = error.to_string();
        match matches!(error, RedisBackupError::Busy { .. }) {
            true => Self::Busy(why),
            false => Self::Refused(why),
        }
    }
}
