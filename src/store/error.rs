//! The errors of the store.

use std::path::PathBuf;

use circled_protocol::PublicKey;
use thiserror::Error;

use super::{table::Key, write::AddError};

/// The disk takes nothing more, or gives nothing back. What was acknowledged is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the store can't be reached")]
pub struct Unavailable;

/// The reason why a transaction was not committed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommitError {
    /// Something it had read has changed. It may be run again.
    #[error("what was read has changed meanwhile")]
    Conflict,
    /// The circle's store would take more than its quota.
    #[error("the circle's store would take more than {quota} bytes")]
    Quota {
        /// The quota, in bytes.
        quota: usize,
    },
    /// A number can't be added to the value of a key.
    #[error("the value of \"{}\" {why}", String::from_utf8_lossy(key))]
    Add {
        /// The key.
        key: Key,
        /// The reason.
        why: AddError,
    },
    /// It would delete too many keys by ranges.
    #[error("a job may delete at most {max} keys by ranges: use a limit, and run it again")]
    RangeDelete {
        /// The setting.
        max: usize,
    },
    /// Too many durable jobs of the circle wait already for it to submit any.
    #[error("too many jobs of the circle wait")]
    Backlog,
    /// Its preconditions don't hold: the job is over, or its gate is closed.
    #[error("the job is no longer pending")]
    Gone,
    /// The final delivery of its series is committed already.
    #[error("the job is superseded")]
    Superseded,
    /// It would have had to wait, and was told not to.
    #[error("another transaction is in the way")]
    Busy,
    /// The disk.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The reason why a transaction could not read or write something.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The key is too long, or empty.
    #[error("a key must have from 1 to {max} bytes, this one has {length}")]
    Key {
        /// Its length.
        length: usize,
        /// The setting.
        max: usize,
    },
    /// The value is too long.
    #[error("a value must have at most {max} bytes as JSON, this one has {length}")]
    Value {
        /// Its length.
        length: usize,
        /// The setting.
        max: usize,
    },
    /// Too many keys are written.
    #[error("a job may write at most {max} keys")]
    Writes {
        /// The setting.
        max: usize,
    },
    /// The topic of an event is too long, or empty.
    #[error("a topic must have from 1 to {max} bytes, this one has {length}")]
    Topic {
        /// Its length.
        length: usize,
        /// The longest that it may be.
        max: usize,
    },
    /// The topic of an event is one of the server's own.
    #[error(
        "topics that begin with \"job.\", \"circle.\", \"webhook.\" or \"presence\" are reserved for the server"
    )]
    Reserved,
    /// An event is too long.
    #[error("an event must have at most {max} bytes as JSON, this one has {length}")]
    Event {
        /// The length of its data.
        length: usize,
        /// The setting.
        max: usize,
    },
    /// Too many events.
    #[error("a job may emit at most {max} events")]
    Events {
        /// The setting.
        max: usize,
    },
    /// A list of keys is too long.
    #[error("there are more than {max} such keys")]
    Keys {
        /// The most that may be asked for.
        max: usize,
    },
    /// A number can't be added to the value of a key.
    #[error("the value of \"{}\" {why}", String::from_utf8_lossy(key))]
    Add {
        /// The key.
        key: Key,
        /// The reason.
        why: AddError,
    },
    /// Nothing may be written.
    #[error("a watched script only reads")]
    ReadOnly,
    /// The values of a range are too long together.
    #[error("what it finds has more than {max} bytes: use a smaller limit")]
    Entries {
        /// The most bytes that may be asked for.
        max: usize,
    },
    /// The disk.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The reason why the data folder could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{} is in use by another circled; stop that one, or give this one a folder of its own (dispatch.embedded.data_dir, CIRCLED_DISPATCH__EMBEDDED__DATA_DIR)",
        .0.display()
    )]
    Locked(PathBuf),
    /// There is data already, and it should be a new one.
    #[error(
        "{} has data already, and a restore takes an empty folder only: move it away, or name another (dispatch.embedded.data_dir)",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// It is a new one that a restore has begun to fill.
    #[error(
        "a restore into {} isn't finished: run it again, or delete the folder to begin an empty one",
        .0.display()
    )]
    Unfinished(PathBuf),
    /// There is such a circle already.
    #[error("{} has the circle {circle} already", path.display())]
    HasCircle {
        /// The folder.
        path: PathBuf,
        /// The circle.
        circle: PublicKey,
    },
    /// It is something else's folder.
    #[error(
        "{} holds files that are not circled's; name an empty or a new folder (dispatch.embedded.data_dir)",
        .0.display()
    )]
    Foreign(PathBuf),
    /// It was written by another version.
    #[error(
        "{} has format {found}, and this circled reads format {expected}; use the version of circled that wrote it",
        path.display()
    )]
    Format {
        /// The folder.
        path: PathBuf,
        /// The format that it names.
        found: String,
        /// The format that this version reads.
        expected: u32,
    },
    /// It is damaged.
    #[error(
        "{} is damaged: {reason}. Keep a copy of it, and restore the folder from a backup",
        path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The damage that was found.
        reason: String,
    },
    /// Writes that were safe are gone.
    #[error(
        "{} is damaged: {missing} writes that were acknowledged are gone. Keep a copy of it, and restore the folder from a backup; or remove {} to go on with what is left",
        path.display(),
        watermark.display()
    )]
    Lost {
        /// The folder.
        path: PathBuf,
        /// The number of writes.
        missing: u64,
        /// The file with the durable watermark.
        watermark: PathBuf,
    },
    /// The operating system refuses.
    #[error("{} cannot be used as the data folder (dispatch.embedded.data_dir)", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}
