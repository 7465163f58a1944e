//! The folder on disk: its lock, its format, and the database in it.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Write},
    mem,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use circled_protocol::PublicKey;
use fjall::{Keyspace, PersistMode, Readable, Snapshot};

use super::{
    commit::Scan,
    database::{LAST_WRITE, Reason, Tables, error_text},
    deletion::Deletions,
    disk_snapshot::DiskSnapshot,
    error::{OpenError, Unavailable},
    expiring::Clock,
    moment::{self, Before},
    room::Room,
    settings::DiskSettings,
    table::{Key, Record, Table, Value, full},
    watermark::Watermark,
};

/// The version of the format. It changes whenever an older circled could not read what a newer one writes, or the other
/// way round.
const FORMAT: u32 = 2;
const FORMAT_FILE: &str = "format";
const NEW_FORMAT_FILE: &str = "format.new";
/// The file in a new folder that a restore fills, until it is finished.
const RESTORING_FILE: &str = "restoring";
const LOCK_FILE: &str = "lock";
const DATABASE: &str = "database";
/// The file that fjall makes first in a folder of its own.
const DATABASE_VERSION: &str = "version";

/// Bytes that an entry takes in memory besides its key and value, about.
const ENTRY: usize = 100;
/// Bytes of earlier values that are noted in one batch, about.
const PIECE: usize = 4 << 20;

/// The data folder of one server. No two can have it at once.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    min_free: u64,
    pub(super) tables: Tables,
    pub(super) room: Room,
    pub(super) before: Before,
    /// The state after the last write.
    snapshot: RwLock<Arc<DiskSnapshot>>,
    watermark: Watermark,
    clock: Clock,
    deletions: Deletions,
    // Fields are dropped in order: the lock goes last.
    _lock: File,
}

/// The one who fills a new folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FilledBy {
    Server,
    /// A restore. If it isn't finished, no server begins with an empty folder in its place.
    Restore,
}

impl Disk {
    /// Opens the folder, and makes it where there is none.
    ///
    /// # Errors
    /// A folder that is in use, something else's, of another version, or damaged.
    pub fn open(settings: &DiskSettings) -> Result<Self, OpenError> {
        let (disk, is_new) = Self::begin(settings, FilledBy::Server)?;
        if is_new {
            disk.finish()?;
        }
        Ok(disk)
    }

    /// Opens the folder. A new one has nothing, whatever is written to it, until it is finished. Returns whether it is.
    pub(super) fn begin(
        settings: &DiskSettings,
        filled_by: FilledBy,
    ) -> Result<(Self, bool), OpenError> {
        let path = settings.data_dir.clone();
        let on_io = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(on_io)?;
        if fs::metadata(&path).map_err(on_io)?.mode() & 0o077 != 0 {
            tracing::warn!(
                folder = %path.display(),
                "others on this machine can read the data folder; `chmod go=` keeps them out"
            );
        }
        let lock = lock(&path)?;
        let database = path.join(DATABASE);
        let damaged = |reason| OpenError::Damaged {
            path: path.clone(),
            reason,
        };
        let is_new = !has_format(&path)?;
        if is_new {
            match filled_by {
                FilledBy::Server if path.join(RESTORING_FILE).exists() => {
                    return Err(OpenError::Unfinished(path));
                }
                FilledBy::Server => {}
                FilledBy::Restore => {
                    let marked = File::create(path.join(RESTORING_FILE));
                    marked.and_then(|mark| mark.sync_all()).map_err(on_io)?;
                }
            }
            begin(&path).map_err(on_io)?;
        } else if !database.join(DATABASE_VERSION).exists() {
            return Err(damaged("there is no database in it".to_owned()));
        }
        let refuse = |reason| match reason {
            Reason::Locked => OpenError::Locked(path.clone()),
            Reason::Io(source) => on_io(source),
            Reason::Damaged(reason) => damaged(reason),
            Reason::Lost(missing) => OpenError::Lost {
                path: path.clone(),
                missing,
                watermark: Watermark::path(&path),
            },
        };
        let tables = Tables::open(&database, settings).map_err(refuse)?;
        let forgotten = Before::forget(&tables.database);
        forgotten.map_err(|error| damaged(error_text(&error)))?;
        let watermark = Watermark::open(&path).map_err(on_io)?;
        let last = tables.check(watermark.number()).map_err(refuse)?;
        watermark.set(last).map_err(on_io)?;
        let room = Room::new(settings);
        let snapshot = Arc::new(DiskSnapshot::new(tables.database.snapshot()));
        room.note(0, &snapshot);
        let disk = Self {
            path,
            min_free: settings.min_free as u64,
            room,
            before: Before::default(),
            snapshot: RwLock::new(snapshot),
            tables,
            watermark,
            clock: Clock::default(),
            deletions: Deletions::default(),
            _lock: lock,
        };
        disk.finish_deletions().map_err(|source| OpenError::Io {
            path: disk.path.clone(),
            source,
        })?;
        Ok((disk, is_new))
    }

    /// The new folder is ready: from here on it holds what must not be lost.
    pub(super) fn finish(&self) -> Result<(), OpenError> {
        let folder = &self.path;
        let renamed = fs::rename(folder.join(NEW_FORMAT_FILE), folder.join(FORMAT_FILE));
        let synced = renamed.and_then(|()| File::open(folder)?.sync_all());
        // It says nothing of a folder that is finished.
        let _ = fs::remove_file(folder.join(RESTORING_FILE));
        synced.map_err(|source| OpenError::Io {
            path: folder.clone(),
            source,
        })
    }

    /// Returns whether there is a data folder. Creates none.
    pub fn is_there(settings: &DiskSettings) -> bool {
        settings.data_dir.join(FORMAT_FILE).exists()
    }

    /// Returns whether a server, or another command, uses the folder.
    pub fn is_used(settings: &DiskSettings) -> bool {
        let lock = File::open(settings.data_dir.join(LOCK_FILE));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The clock by which keys expire.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The circles that are being deleted.
    pub(super) fn deletions(&self) -> &Deletions {
        &self.deletions
    }

    /// Returns a snapshot of what is on disk right now.
    pub(super) fn snapshot(&self) -> Arc<DiskSnapshot> {
        self.snapshot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn keyspace(&self, table: Table) -> &Keyspace {
        &self.tables.by_table[table as usize]
    }

    pub(super) fn get(
        &self,
        table: Table,
        circle: &PublicKey,
        key: &[u8],
    ) -> Result<Option<Value>, Unavailable> {
        self.keyspace(table)
            .get(full(circle, key))
            .map_err(|error| failed(&error))
    }

    /// Returns the length of the value.
    pub(super) fn size_of(
        &self,
        table: Table,
        circle: &PublicKey,
        key: &[u8],
    ) -> Result<Option<usize>, Unavailable> {
        let size = self.keyspace(table).size_of(full(circle, key));
        let size = size.map_err(|error| failed(&error))?;
        Ok(size.map(|size| size as usize))
    }

    pub(super) fn scan(
        &self,
        table: Table,
        from: &[u8],
        found: &mut dyn FnMut(PublicKey, &[u8], &Value) -> Scan,
    ) -> Result<(), Unavailable> {
        let snapshot = self.snapshot();
        let mut from = from.to_vec();
        'circles: loop {
            let range = |inner: &Snapshot| inner.range(self.keyspace(table), from.clone()..);
            for entry in snapshot.read(range)? {
                let (key, value) = entry.into_inner().map_err(|error| failed(&error))?;
                let Some((circle, rest)) = key.split_first_chunk::<{ PublicKey::LENGTH }>() else {
                    continue;
                };
                match found(PublicKey::from_stored(*circle), rest, &value) {
                    Scan::Continue => {}
                    Scan::Stop => return Ok(()),
                    Scan::NextCircle => {
                        // No key of a circle is past this one.
                        from = [circle.as_slice(), &[0xff; 1 << 10]].concat();
                        continue 'circles;
                    }
                }
            }
            return Ok(());
        }
    }

    /// Goes through the entries of one circle's table, from the key `from` on or, where `newest` says so, from it
    /// backwards, until `found` says to stop.
    pub(super) fn walk(
        &self,
        table: Table,
        circle: &PublicKey,
        from: &[u8],
        newest: bool,
        found: &mut dyn FnMut(&[u8], &Value) -> bool,
    ) -> Result<(), Unavailable> {
        self.walk_in(&self.snapshot(), table, circle, from, newest, found)
    }

    /// Does the same in a snapshot.
    pub(super) fn walk_in(
        &self,
        snapshot: &DiskSnapshot,
        table: Table,
        circle: &PublicKey,
        from: &[u8],
        newest: bool,
        found: &mut dyn FnMut(&[u8], &Value) -> bool,
    ) -> Result<(), Unavailable> {
        let (first, last) = (full(circle, &[]), full(circle, &[0xff; 1 << 7]));
        let from = full(circle, from);
        let (range, keyspace) = if newest {
            (first..=from, self.keyspace(table))
        } else {
            (from..=last, self.keyspace(table))
        };
        let mut entries = snapshot.read(|inner| inner.range(keyspace, range))?;
        while let Some(entry) = if newest {
            entries.next_back()
        } else {
            entries.next()
        } {
            let (key, value) = entry.into_inner().map_err(|error| failed(&error))?;
            if !found(&key[PublicKey::LENGTH..], &value) {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the disk has room for more.
    pub(super) fn has_room(&self) -> bool {
        match self.free() {
            Ok(free) => free >= self.min_free,
            Err(error) => {
                tracing::error!(%error, "failed to read how much of the disk is free");
                false
            }
        }
    }

    /// Returns the bytes of the disk that are free.
    ///
    /// # Errors
    /// The system doesn't tell.
    pub fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Returns the bytes that must be free.
    pub fn min_free(&self) -> u64 {
        self.min_free
    }

    /// Writes all of it or nothing, and returns when it is safe. Waits for room in memory. Called by one thread.
    pub(super) fn write<'a>(
        &self,
        records: impl Iterator<Item = (&'a PublicKey, &'a Record)>,
    ) -> Result<(), Unavailable> {
        let mut batch = self
            .tables
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        // Of what is written more than once, a job's record for one, only the last counts.
        let last: HashMap<_, _> = records
            .map(|(circle, record)| ((record.table, circle, &record.key), &record.value))
            .collect();
        if last.is_empty() {
            return Ok(());
        }
        let size = |(_, _, key): &(Table, _, &Key), value: &&Option<Value>| {
            ENTRY + key.len() + value.as_ref().map_or(0, |value| value.len())
        };
        // No moment begins until all is written.
        let before = self.before.lock();
        let noted = match &*before {
            Some(before) => self.note(before, last.keys().copied()),
            None => Ok(0),
        };
        let noted = noted.map_err(|error| failed(&error))?;
        let bytes = last.iter().map(|(key, value)| size(key, value));
        let bytes = bytes.sum::<usize>();
        let room = self.wait_for_room(bytes as u64);
        room.map_err(|error| failed(&error))?;
        for ((table, circle, key), value) in last {
            let (keyspace, key) = (self.keyspace(table), full(circle, key));
            match value {
                Some(value) => batch.insert(keyspace, key, value.clone()),
                None => batch.remove(keyspace, key),
            }
        }
        let number = self.watermark.number() + 1;
        batch.insert(&self.tables.writes, LAST_WRITE, number.to_be_bytes());
        batch.commit().map_err(|error| failed(&error))?;
        if let Err(error) = self.watermark.set(number) {
            // It is safe all the same. Less will be noticed, should the database be damaged.
            tracing::warn!(%error, "failed to note how much is safely on disk");
        }
        let snapshot = Arc::new(DiskSnapshot::new(self.tables.database.snapshot()));
        self.room.note((noted + bytes) as u64, &snapshot);
        *self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner) = snapshot;
        Ok(())
    }

    /// Notes what is there before these keys are written, in pieces: all of it may be more than the memory takes. A note
    /// that is there before the write is true as well. Returns how many bytes that were.
    fn note<'a>(
        &self,
        before: &Keyspace,
        keys: impl Iterator<Item = (Table, &'a PublicKey, &'a Key)>,
    ) -> fjall::Result<usize> {
        let write = |piece: &mut Vec<(Vec<u8>, Vec<u8>)>, bytes: usize| {
            self.wait_for_room(bytes as u64)?;
            let mut batch = self.tables.database.batch();
            let insert = |(key, value)| batch.insert(before, key, value);
            piece.drain(..).for_each(insert);
            batch.commit()
        };
        let (mut piece, mut bytes, mut all) = (Vec::new(), 0, 0);
        for (table, circle, key) in keys {
            let note = moment::note(before, self.keyspace(table), circle, table, key)?;
            let Some((key, value)) = note else {
                continue;
            };
            bytes += ENTRY + key.len() + value.len();
            piece.push((key, value));
            if bytes >= PIECE {
                write(&mut piece, bytes)?;
                all += mem::take(&mut bytes);
            }
        }
        if !piece.is_empty() {
            write(&mut piece, bytes)?;
        }
        Ok(all + bytes)
    }
}

/// Logs what went wrong: nobody further up needs to know more than that it did.
pub(super) fn failed(error: &fjall::Error) -> Unavailable {
    tracing::error!(error = error_text(error), "failed to use the data folder");
    Unavailable
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let on_io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let mut entries = fs::read_dir(path).map_err(on_io)?;
    let ours = path.join(FORMAT_FILE).exists();
    let begun = path.join(NEW_FORMAT_FILE).exists();
    // Whatever has neither our format file nor nothing in it is somebody's: not even a lock is left there.
    let foreign = entries.try_fold(false, |foreign, entry| {
        let name = entry.map_err(on_io)?.file_name();
        Ok::<_, OpenError>(
            foreign
                || !(name == LOCK_FILE
                    || name == NEW_FORMAT_FILE
                    || name == RESTORING_FILE
                    || name == "lost+found"
                    || begun && (name == DATABASE || name == Watermark::FILE)),
        )
    })?;
    if foreign && !ours {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path.join(LOCK_FILE))
        .map_err(on_io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(on_io(source)),
    }
}

/// Reads the format. Returns whether there is one: a new folder has none.
fn has_format(path: &Path) -> Result<bool, OpenError> {
    let on_io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path.join(FORMAT_FILE)) {
        Ok(text) if text.trim() == format!("circled {FORMAT}") => Ok(true),
        Ok(text) => Err(OpenError::Format {
            path: path.to_owned(),
            found: text
                .trim()
                .trim_start_matches("circled ")
                .chars()
                .take(40)
                .collect(),
            expected: FORMAT,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(on_io(error)),
    }
}

/// Begins a new folder. One that was begun and never finished holds nothing yet, and maybe half a database.
fn begin(folder: &Path) -> io::Result<()> {
    let mut format = File::create(folder.join(NEW_FORMAT_FILE))?;
    writeln!(format, "circled {FORMAT}")?;
    format.sync_all()?;
    File::open(folder)?.sync_all()?;
    for removed in [
        fs::remove_dir_all(folder.join(DATABASE)),
        fs::remove_file(Watermark::path(folder)),
    ] {
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
