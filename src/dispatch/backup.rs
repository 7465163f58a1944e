//! Reads circles from a backend, and writes them to an empty one, with no server or beside it.

use circled_protocol::PublicKey;
use tokio::task::spawn_blocking;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Backend, Dispatcher, Settings, embedded::backup as embedded, record::fits, redis::RedisBackup,
    settings,
};
use crate::{
    backup::{ArchiveError, Failure, Part, PartsOut, Reader, Record, Summary, pipe},
    store::{self, Disk, NewDisk, Store},
};

/// Reads an archive to its end. Returns what it is.
///
/// # Errors
/// It is damaged, or no server could have written it.
pub fn verify<R: std::io::BufRead>(mut archive: Reader<R>) -> Result<Summary, ArchiveError> {
    let mut circle = None;
    while let Some(part) = archive.next_part()? {
        match part {
            Part::Circle(head) => circle = Some(head.circle),
            Part::Records(records) => {
                let misfit = records.iter().find_map(|one| match one {
                    Record::Job { id, record, .. } => circle
                        .filter(|circle| !fits(circle, *id, record))
                        .map(|_| id),
                    Record::Entry { .. } | Record::Event { .. } | Record::Seen { .. } => None,
                });
                if let Some(id) = misfit {
                    let why = format!("the record of the job {id} can't be its own");
                    return Err(ArchiveError::Damaged(why));
                }
            }
            Part::End | Part::Done => {}
        }
    }
    let whole = archive.summary().cloned();
    whole.ok_or(ArchiveError::Cut)
}

/// Begins to read all circles, or one: from a data folder that no server uses, or from Redis, whatever servers do meanwhile.
///
/// # Errors
/// It can't be opened.
pub async fn read_stopped(
    settings: &Settings,
    limits: &store::Settings,
    only: Option<PublicKey>,
) -> Result<PartsOut, Failure> {
    match settings.backend {
        Backend::Embedded => {
            let (settings, limits) = (settings.clone(), limits.clone());
            let begin = move || {
                let disk = Disk::open(&settings.embedded)?;
                let store = Store::start(disk, &settings.embedded, limits);
                let store = store?;
                let end = {
                    let store = store.clone();
                    move || store.shutdown()
                };
                begin_embedded(&store, &settings.durable, only, end)
            };
            spawn_blocking(begin).await.unwrap_or(Err(Failure::Ended))
        }
        Backend::Redis => {
            let backup = RedisBackup::connect(settings, limits).await?;
            // Both end with this process.
            let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
            Ok(backup.begin_read(only, &tasks, stop).await?)
        }
    }
}

/// Checks that no server uses the namespace of Redis that the settings name, if they name one. A data folder is locked by
/// whoever reads it.
///
/// # Errors
/// Some server does, or Redis can't be reached.
pub async fn check_unserved(settings: &Settings, limits: &store::Settings) -> Result<(), Failure> {
    match settings.backend {
        Backend::Embedded => Ok(()),
        Backend::Redis => {
            let backup = RedisBackup::connect(settings, limits).await?;
            Ok(backup.check_unserved().await?)
        }
    }
}

/// Begins to read a moment of a store. Calls `end` when that is over.
pub(super) fn begin_embedded(
    store: &Store,
    settings: &settings::Durable,
    only: Option<PublicKey>,
    end: impl FnOnce() + Send + 'static,
) -> Result<PartsOut, Failure> {
    let moment = store.moment()?;
    let (parts, out) = pipe();
    let settings = settings.clone();
    spawn_blocking(move || {
        let last = embedded::read_circles(&moment, only, &settings, &parts);
        drop(moment);
        end();
        // Once it is taken, the next backup may begin.
        if let Some(last) = last {
            let _ = parts.blocking_send(last);
        }
    });
    Ok(out)
}

/// The state of a store before circles are written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Nothing.
    Empty,
    /// Maybe others than this one, which alone is written.
    Beside(PublicKey),
}

/// Writes circles to a store that no server uses: all of them, or nothing.
///
/// # Errors
/// It has something that it should not have, can't be used, or the source fails.
pub async fn restore(
    settings: &Settings,
    limits: &store::Settings,
    parts: PartsOut,
    target: Target,
) -> Result<(), Failure> {
    match settings.backend {
        Backend::Embedded => {
            let (settings, limits) = (settings.clone(), limits.clone());
            let write = move || {
                let disk = match target {
                    Target::Empty => NewDisk::create(&settings.embedded)?,
                    Target::Beside(circle) => NewDisk::add(&settings.embedded, circle)?,
                };
                embedded::write_circles(disk, parts, &settings.durable, &limits)
            };
            spawn_blocking(write).await.unwrap_or(Err(Failure::Ended))
        }
        Backend::Redis => {
            if target != Target::Empty {
                let why = "a circle can't be put beside others in Redis: only into a data folder";
                return Err(Failure::Refused(why.to_owned()));
            }
            let backup = RedisBackup::connect(settings, limits).await?;
            backup.begin_restore().await?.take(parts).await
        }
    }
}

impl Dispatcher {
    /// Begins to read all circles, or one, while commits go on.
    ///
    /// # Errors
    /// Another backup is being made, or the store can't be read.
    pub async fn read_circles(&self, only: Option<PublicKey>) -> Result<PartsOut, Failure> {
        match self {
            Self::Embedded(embedded) => embedded.read_circles(only).await,
            Self::Redis(redis) => redis.read_circles(only).await,
        }
    }
}
