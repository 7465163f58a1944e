//! The state of all circles at one moment, read while commits go on.
//!
//! The library's snapshots keep all that is written after them in memory. An archive of much data takes too long for that.
//! So as long as a moment is read, each write notes what it changes as it was before: in a keyspace of its own, on disk.
//! Its reader looks there first. Writes wait for nothing, and readers may be slow.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use circled_protocol::PublicKey;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable};
use thiserror::Error;

use super::{
    circle::Usage,
    commit::Store,
    disk::{Disk, failed},
    error::Unavailable,
    log,
    table::{Key, Table, Value, full},
};

/// The keyspace with the earlier values. It is there as long as a moment is read.
const BEFORE: &str = "before";
/// The first byte of an earlier value, if there was one.
const WAS_THERE: u8 = 1;
/// The first byte, if there was none.
const WAS_MISSING: u8 = 0;
/// The bytes that its memtable takes before it is written out.
const MEMTABLE: u64 = 4 << 20;

/// The earlier values of what has changed since a moment that is being read.
#[derive(Default)]
pub(super) struct Before {
    /// Held while something is written.
    keyspace: Mutex<Option<Keyspace>>,
    /// Held as long as a moment is read: there is one at a time.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// A moment, which can be read until it is dropped.
pub struct Moment {
    store: Store,
    before: Keyspace,
    time: i64,
    /// The circles that were being deleted.
    deleted: BTreeSet<PublicKey>,
    _reading: tokio::sync::OwnedMutexGuard<()>,
}

/// The reason why no moment can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoMoment {
    /// Another one is.
    #[error("a backup is being made already")]
    Busy,
    /// The disk.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Before {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Keyspace>> {
        self.keyspace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes what a process has left that died while it read one.
    pub(super) fn forget(database: &Database) -> fjall::Result<()> {
        if database.keyspace_exists(BEFORE) {
            database.delete_keyspace(open(database)?)?;
        }
        Ok(())
    }
}

fn open(database: &Database) -> fjall::Result<Keyspace> {
    database.keyspace(BEFORE, || {
        KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE)
    })
}

/// Returns the key of an earlier value.
fn name(circle: &PublicKey, table: Table, key: &[u8]) -> Vec<u8> {
    [circle.as_bytes().as_slice(), &[table as u8], key].concat()
}

/// Returns what is to be noted before a key is written, unless it has been noted.
pub(super) fn note(
    before: &Keyspace,
    keyspace: &Keyspace,
    circle: &PublicKey,
    table: Table,
    key: &Key,
) -> fjall::Result<Option<(Vec<u8>, Vec<u8>)>> {
    // Nobody reads these: they can be made from the others.
    if matches!(table, Table::Expiry | Table::Own) {
        return Ok(None);
    }
    let name = name(circle, table, key);
    if before.contains_key(&name)? {
        return Ok(None);
    }
    let value = match keyspace.get(full(circle, key))? {
        Some(value) => [&[WAS_THERE], &value[..]].concat(),
        None => vec![WAS_MISSING],
    };
    Ok(Some((name, value)))
}

/// Returns the value that was noted.
fn noted(stored: &[u8]) -> Option<Value> {
    let (&first, value) = stored.split_first()?;
    (first == WAS_THERE).then(|| Value::new(value))
}

impl Store {
    /// Returns this moment, with all commits that are on disk. Blocks.
    ///
    /// # Errors
    /// See [`NoMoment`].
    pub fn moment(&self) -> Result<Moment, NoMoment> {
        let disk = self.disk();
        let reading = disk.before.reading.clone().try_lock_owned();
        let reading = reading.map_err(|_| NoMoment::Busy)?;
        let on_fail = |error| NoMoment::Unavailable(failed(&error));
        Before::forget(&disk.tables.database).map_err(on_fail)?;
        let before = open(&disk.tables.database).map_err(on_fail)?;
        // Nothing is being written while this is held.
        let mut current = disk.before.lock();
        *current = Some(before.clone());
        let time = disk.clock().now();
        let deleted = disk.deletions().all();
        drop(current);
        Ok(Moment {
            store: self.clone(),
            before,
            time,
            deleted,
            _reading: reading,
        })
    }
}

impl Moment {
    /// Returns the time, in milliseconds since 1970.
    pub fn time(&self) -> i64 {
        self.time
    }

    /// Returns whether a circle was being deleted, so that it may have been there in part.
    pub fn is_deleted(&self, circle: &PublicKey) -> bool {
        self.deleted.contains(circle)
    }

    fn disk(&self) -> &Disk {
        self.store.disk()
    }

    /// Returns the first circle after another one that may have had something.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn circle_after(&self, last: Option<&PublicKey>) -> Result<Option<PublicKey>, Unavailable> {
        // No key of a circle is past this one.
        let from = last.map(|last| full(last, &[0xff; 1 << 10]));
        let from = from.unwrap_or_else(|| Key::new(&[]));
        let snapshot = self.disk().snapshot();
        let mut first: Option<PublicKey> = None;
        let tables = Table::ALL.map(|table| self.disk().keyspace(table));
        for keyspace in tables.into_iter().chain([&self.before]) {
            for entry in snapshot.read(|inner| inner.range(keyspace, from.clone()..))? {
                let key = entry.key().map_err(|error| failed(&error))?;
                let Some((circle, _)) = key.split_first_chunk::<{ PublicKey::LENGTH }>() else {
                    continue;
                };
                let circle = PublicKey::from_stored(*circle);
                let is_first = first.is_none_or(|one| circle.as_bytes() < one.as_bytes());
                first = if is_first { Some(circle) } else { first };
                break;
            }
        }
        Ok(first)
    }

    /// Returns the numbers of a circle's last commit and of its last event.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn last_numbers(&self, circle: &PublicKey) -> Result<(u64, u64), Unavailable> {
        let usage = self.get(Table::Usage, circle, &[])?;
        let events = self.get(Table::Usage, circle, log::NUMBERS)?;
        Ok((Usage::of(usage.as_ref()).commit, log::last_number(events)))
    }

    /// Returns the value that a key had.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn get(
        &self,
        table: Table,
        circle: &PublicKey,
        key: &[u8],
    ) -> Result<Option<Value>, Unavailable> {
        let snapshot = self.disk().snapshot();
        let before = |name| snapshot.read(|inner| inner.get(&self.before, name));
        let before = before(name(circle, table, key))?.map_err(|error| failed(&error))?;
        match before {
            Some(stored) => Ok(noted(&stored)),
            None => snapshot.get(self.disk(), circle, table, &Key::new(key)),
        }
    }

    /// Goes through the entries that one circle's table had, from the key `from` on, until `found` says to stop.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn walk(
        &self,
        table: Table,
        circle: &PublicKey,
        from: &[u8],
        found: &mut dyn FnMut(&[u8], &Value) -> bool,
    ) -> Result<(), Unavailable> {
        let (disk, snapshot) = (self.disk(), self.disk().snapshot());
        let (first, last) = (full(circle, from), full(circle, &[0xff; 1 << 10]));
        let first_before = name(circle, table, from);
        let last_before = name(circle, table, &[0xff; 1 << 10]);
        let (mut now, mut before) = snapshot.read(|inner| {
            let now = inner.range(disk.keyspace(table), first..=last);
            (now, inner.range(&self.before, first_before..=last_before))
        })?;
        let mut next_now = || {
            let entry = now.next().map(fjall::Guard::into_inner).transpose();
            let entry = entry.map_err(|error| failed(&error))?;
            Ok::<_, Unavailable>(
                entry.map(|(key, value)| (Key::new(&key[PublicKey::LENGTH..]), value)),
            )
        };
        let mut next_before = || {
            let entry = before.next().map(fjall::Guard::into_inner).transpose();
            let entry = entry.map_err(|error| failed(&error))?;
            let key = |key: Key| Key::new(&key[PublicKey::LENGTH + 1..]);
            Ok::<_, Unavailable>(entry.map(|(name, value)| (key(name), noted(&value))))
        };
        let (mut newer, mut older) = (next_now()?, next_before()?);
        loop {
            let is_older = match (&newer, &older) {
                (None, None) => return Ok(()),
                (Some((newer, _)), Some((older, _))) => older <= newer,
                (newer, _) => newer.is_none(),
            };
            let entry = if is_older {
                // What has been there since is newer.
                if newer.as_ref().map(|(key, _)| key) == older.as_ref().map(|(key, _)| key) {
                    newer = next_now()?;
                }
                let (key, value) = std::mem::replace(&mut older, next_before()?).unzip();
                key.zip(value.flatten())
            } else {
                std::mem::replace(&mut newer, next_now()?)
            };
            if entry.is_some_and(|(key, value)| !found(&key, &value)) {
                return Ok(());
            }
        }
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        *self.disk().before.lock() = None;
        // Its memory is given back before it is gone.
        let deleted = self.before.rotate_memtable_and_wait();
        let database = &self.disk().tables.database;
        let deleted = deleted.and_then(|()| database.delete_keyspace(self.before.clone()));
        if let Err(error) = deleted {
            failed(&error);
        }
    }
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Before")
            .field(&self.lock().is_some())
            .finish()
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Moment").field(&self.time).finish()
    }
}
