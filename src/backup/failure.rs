//! The reasons why circles can't be read from a backend, or written to one.

use std::io;

use thiserror::Error;

use super::error::ArchiveError;
use crate::store::{NoMoment, OpenError, Unavailable};

/// The reason why parts can't be read or written.
#[derive(Debug, Error)]
pub enum Failure {
    /// Another archive is being made of this store.
    #[error("{0}")]
    Busy(String),
    /// The store can't be read or written any more.
    #[error("the store can't be reached")]
    Unavailable,
    /// Its disk has no room.
    #[error("the disk is full (dispatch.embedded.min_free)")]
    NoRoom,
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// It isn't permitted, for this reason.
    #[error("{0}")]
    Refused(String),
    /// The source ended before all was sent.
    #[error("reading ended before all was read")]
    Ended,
}

impl From<Unavailable> for Failure {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<NoMoment> for Failure {
    fn from(why: NoMoment) -> Self {
        match why {
            NoMoment::Busy => Self::Busy(why.to_string()),
            NoMoment::Unavailable(Unavailable) => Self::Unavailable,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Archive(error.into())
    }
}
