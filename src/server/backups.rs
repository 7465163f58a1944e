//! The backups that a server makes by itself.

use std::{
    fs::{DirBuilder, File},
    io::{self, BufReader, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{task::spawn_blocking, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    backup::{ArchiveError, Failure, Header, NewFile, PartsOut, Reader, Series, Settings, pack},
    dispatch::{Dispatcher, verify},
    metrics::metrics,
};

/// The pause after one that failed, or `backup.every` if that is shorter.
const AGAIN: Duration = Duration::from_secs(10 * 60);
/// The pause while another one is being made.
const SOON: Duration = Duration::from_secs(60);
/// Bytes after which it is looked whether the disk has room for more.
const LOOK: u64 = 16 << 20;

/// The task that makes backups, until the server stops. One that fails is logged and made again.
#[derive(Debug)]
pub(super) struct Backups {
    pub(super) dispatcher: Dispatcher,
    pub(super) settings: Settings,
    /// Bytes that must stay free on the disk.
    pub(super) min_free: u64,
    pub(super) stopping: CancellationToken,
}

impl Backups {
    /// Makes a backup whenever the newest one is old enough.
    pub(super) async fn run(self) {
        let Some(every) = self.settings.every else {
            return;
        };
        let newest = self.age().await;
        if let Some(age) = newest {
            metrics().note_backup(age);
        }
        let mut pause = newest.map_or(Duration::ZERO, |age| every.saturating_sub(age));
        while timeout(pause, self.stopping.cancelled()).await.is_err() {
            let made = tokio::select! {
                made = self.make() => made,
                // It never gets its name.
                () = self.stopping.cancelled() => return,
            };
            pause = match made {
                Ok(file) => {
                    tracing::info!(file = %file.display(), "a backup was made");
                    metrics().backup_made();
                    every
                }
                Err(Failure::Busy(why)) => {
                    tracing::info!(why, "a backup has to wait for another one");
                    every.min(SOON)
                }
                Err(error) => {
                    tracing::error!(
                        folder = %self.settings.folder.display(),
                        %error,
                        "a backup could not be made (backup.folder); it is tried again"
                    );
                    metrics().backup_failed();
                    every.min(AGAIN)
                }
            };
        }
    }

    /// Returns the age of the newest one.
    async fn age(&self) -> Option<Duration> {
        let folder = self.settings.folder.clone();
        let age = spawn_blocking(move || Series(&folder).age(Timestamp::now()).ok().flatten());
        age.await.ok().flatten()
    }

    async fn make(&self) -> Result<PathBuf, Failure> {
        let header = Header::new(Timestamp::now(), None);
        let parts = self.dispatcher.read_circles(None).await?;
        let (settings, min_free) = (self.settings.clone(), self.min_free);
        let made = spawn_blocking(move || write(parts, header, &settings, min_free));
        made.await.unwrap_or(Err(Failure::Ended))
    }
}

/// Writes a backup into the folder, and deletes those that are too many. Returns its file.
fn write(
    parts: PartsOut,
    header: Header,
    settings: &Settings,
    min_free: u64,
) -> Result<PathBuf, Failure> {
    let Settings { folder, keep, .. } = settings;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let series = Series(folder);
    if let Err(error) = series.remove_left() {
        tracing::error!(folder = %folder.display(), %error, "a backup that was cut off can't be deleted");
    }
    let path = series.name(header.made_at);
    let out = Bounded {
        file: NewFile::create(&path)?,
        folder,
        min_free,
        unlooked: LOOK,
    };
    let (out, written) = pack(parts, out, header)?;
    let archive = BufReader::new(File::open(out.file.partial())?);
    let found = verify(Reader::open(archive)?)?;
    if found.contents != written.contents {
        let why = "it isn't as it was written".to_owned();
        return Err(ArchiveError::Damaged(why).into());
    }
    out.file.finish()?;
    if let Err(error) = series.keep(keep.get()) {
        tracing::error!(folder = %folder.display(), %error, "old backups can't be deleted (backup.keep)");
    }
    Ok(path)
}

/// A file that leaves room on its disk for others.
struct Bounded<'a> {
    file: NewFile,
    folder: &'a Path,
    min_free: u64,
    /// Bytes that were written since it was looked.
    unlooked: u64,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unlooked >= LOOK {
            self.unlooked = 0;
            let stat = rustix::fs::statvfs(self.folder)?;
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            if free < self.min_free.saturating_add(LOOK) {
                return Err(rustix::io::Errno::NOSPC.into());
            }
        }
        let written = self.file.write(bytes)?;
        self.unlooked += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
