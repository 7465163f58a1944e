//! The errors of archives.

use std::io;

use thiserror::Error;

/// The reason why an archive can't be read or written.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The file, or what it is read from.
    #[error(transparent)]
    Io(io::Error),
    /// It is something else.
    #[error("it is no archive of circled")]
    Foreign,
    /// It has a format that this version doesn't know.
    #[error(
        "it has format {format}, made by circled {circled}, and this circled reads formats up to {known}: use a newer circled"
    )]
    Newer {
        /// Its format.
        format: u32,
        /// The version that wrote it.
        circled: String,
        /// The newest format that is known.
        known: u32,
    },
    /// It ends too early.
    #[error("it ends too early: it was cut off, or never written to its end")]
    Cut,
    /// It isn't as it was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl ArchiveError {
    pub(super) fn damaged(why: impl Into<String>) -> Self {
        Self::Damaged(why.into())
    }
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Cut;
        }
        // The operating system's errors have a code. All others are those of what decompresses.
        match error.raw_os_error() {
            None => Self::Damaged(error.to_string()),
            Some(_) => Self::Io(error),
        }
    }
}
