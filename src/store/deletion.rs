//! Deletes a circle: all its records, in as many writes as that takes.
//!
//! Nobody sees half a circle meanwhile: nothing of it can be read or committed from before the first of these writes until
//! after the last one. A file in the folder names the circles whose deletion has begun; whoever opens the folder next
//! finishes it first.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
};

use circled_protocol::PublicKey;

use super::{
    commit::{CommitCallback, Store},
    disk::Disk,
    error::Unavailable,
    locked_circle::LockedCircle,
    table::{Record, Table},
};

/// The file that names the circles, one a line.
pub(super) const FILE: &str = "deleting";
const NEW_FILE: &str = "deleting.new";
/// The records that one write deletes at most.
const AT_ONCE: usize = 5_000;

/// The circles that are being deleted.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    /// True if there are some: mostly there are none, and nothing else is looked at.
    are_any: AtomicBool,
    circles: Mutex<BTreeSet<PublicKey>>,
}

/// The place where the deletion of a circle goes on.
#[derive(Debug, Default)]
struct Position {
    table: usize,
    /// The last key that was found in it.
    key: Vec<u8>,
}

impl Deletions {
    /// Reads the circles that the file names.
    pub(super) fn read(folder: &Path) -> io::Result<BTreeSet<PublicKey>> {
        let text = match fs::read_to_string(folder.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(error),
        };
        let circles = text
            .lines()
            .map(|line| line.parse().map_err(io::Error::other));
        circles.collect()
    }

    /// Checks that a circle isn't being deleted. A snapshot that was taken before has all of it.
    pub(super) fn check(&self, circle: &PublicKey) -> Result<(), Unavailable> {
        if self.are_any.load(Ordering::SeqCst) && self.lock().contains(circle) {
            return Err(Unavailable);
        }
        Ok(())
    }

    /// Returns the circles that are being deleted.
    pub(super) fn all(&self) -> BTreeSet<PublicKey> {
        self.lock().clone()
    }

    fn begin(&self, circle: PublicKey) {
        let mut circles = self.lock();
        circles.insert(circle);
        self.are_any.store(true, Ordering::SeqCst);
    }

    fn end(&self, circle: &PublicKey) {
        let mut circles = self.lock();
        circles.remove(circle);
        self.are_any.store(!circles.is_empty(), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<PublicKey>> {
        self.circles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the file name these circles, and is sure of it.
pub(super) fn write(folder: &Path, circles: &BTreeSet<PublicKey>) -> io::Result<()> {
    if circles.is_empty() {
        fs::remove_file(folder.join(FILE))?;
    } else {
        let mut file = File::create(folder.join(NEW_FILE))?;
        for circle in circles {
            writeln!(file, "{circle}")?;
        }
        file.sync_all()?;
        fs::rename(folder.join(NEW_FILE), folder.join(FILE))?;
    }
    File::open(folder)?.sync_all()
}

impl Disk {
    /// Finishes the deletions that an earlier process has begun.
    pub(super) fn finish_deletions(&self) -> io::Result<()> {
        let mut circles = Deletions::read(self.path())?;
        while let Some(circle) = circles.first().copied() {
            let mut position = Position::default();
            loop {
                let records = self.next_records(&circle, &mut position);
                let records = records.map_err(|_| io::Error::other("it can't be read"))?;
                if records.is_empty() {
                    break;
                }
                let all = records.iter().map(|record| (&circle, record));
                self.write(all)
                    .map_err(|_| io::Error::other("it can't be written"))?;
            }
            circles.remove(&circle);
            write(self.path(), &circles)?;
            tracing::info!(%circle, "the deletion of a circle is finished, which the last server had begun");
        }
        Ok(())
    }

    /// Returns some deletions of a circle's records, and none once all are deleted.
    fn next_records(
        &self,
        circle: &PublicKey,
        position: &mut Position,
    ) -> Result<Vec<Record>, Unavailable> {
        let mut records = Vec::new();
        while let Some(table) = Table::ALL.get(position.table) {
            let from = position.key.clone();
            self.walk(*table, circle, &from, false, &mut |key, _| {
                records.push(Record::remove(*table, key));
                records.len() < AT_ONCE
            })?;
            if records.len() == AT_ONCE {
                let last = records.last().map(|record| record.key.to_vec());
                position.key = last.unwrap_or_default();
                return Ok(records);
            }
            *position = Position {
                table: position.table + 1,
                key: Vec::new(),
            };
        }
        Ok(records)
    }
}

impl Store {
    /// Deletes all of a circle, and waits until that is on disk. Nothing of it can be read or committed meanwhile; if it
    /// fails, not until it is asked for again, or the folder is opened anew. One at a time. Blocks.
    ///
    /// # Errors
    /// A disk that can't be read or written.
    pub fn delete_circle(&self, circle: PublicKey) -> Result<(), Unavailable> {
        let (disk, shared) = (self.disk(), self.circle(circle));
        {
            // What was committed before is on its way to the disk, and nothing comes after it.
            let _latest = shared.lock();
            disk.deletions().begin(circle);
        }
        self.erase(circle, Vec::new())?;
        write(disk.path(), &disk.deletions().all()).map_err(|error| failed(&error))?;
        let mut position = Position::default();
        loop {
            let records = disk.next_records(&circle, &mut position)?;
            if records.is_empty() {
                break;
            }
            self.erase(circle, records)?;
        }
        shared.start_over();
        self.expiring_circles().forget(&circle);
        let mut others = disk.deletions().all();
        others.remove(&circle);
        write(disk.path(), &others).map_err(|error| failed(&error))?;
        disk.deletions().end(&circle);
        Ok(())
    }
}

impl Store {
    /// Writes records, and waits until that is on disk.
    fn erase(&self, circle: PublicKey, records: Vec<Record>) -> Result<(), Unavailable> {
        let (sender, on_disk) = sync_channel(1);
        let done: CommitCallback = Box::new(move |result| {
            let _ = sender.send(result);
        });
        let bytes = records.iter().map(Record::size).sum();
        let reservation = self.queue().reserve(bytes, true).ok_or(Unavailable)?;
        let shared = self.circle(circle);
        let latest = shared.lock();
        LockedCircle::new(self, circle, &shared, latest).erase(records, done, reservation);
        on_disk.recv().unwrap_or(Err(Unavailable))
    }
}

fn failed(error: &io::Error) -> Unavailable {
    tracing::error!(%error, "failed to note in the data folder which circle is deleted");
    Unavailable
}
