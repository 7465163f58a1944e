//! The store that a transaction reads.

use std::sync::Arc;

use circled_protocol::PublicKey;

use crate::store::{
    circle::Usage,
    disk::Disk,
    error::Unavailable,
    expiring::ReadTime,
    range::{KeyRange, Want},
    snapshot::Snapshot,
    table::{Key, Table, Value},
};

/// The store that a transaction reads.
pub(super) enum ReadSource {
    Disk {
        disk: Arc<Disk>,
        /// The snapshot, taken at the first read unless it was given.
        snapshot: Option<Snapshot>,
    },
    Remote(Box<dyn RemoteReads>),
}

/// Reads a circle's store that is somewhere else, and may change between two reads: the commit checks that what was
/// read is unchanged.
pub trait RemoteReads: Send {
    /// Returns the value of `key`.
    ///
    /// # Errors
    /// The store can't be reached.
    fn get(&mut self, key: &Key) -> Result<Option<Value>, Unavailable>;

    /// Returns about what time it is there, in milliseconds since 1970: by that, keys expire.
    fn now(&self) -> i64;

    /// Returns what is in a range, as it is to be read and as it is wanted, all of one moment. What has expired by then is
    /// left out.
    ///
    /// # Errors
    /// The store can't be reached.
    fn scan(&mut self, range: &KeyRange, want: Want) -> Result<Scanned, Unavailable>;
}

/// The content of a range, as it was wanted.
#[derive(Debug)]
pub enum Scanned {
    /// The keys.
    Keys(Vec<Key>),
    /// The keys and their values. The last ones may be missing if they were too long.
    Entries(Vec<(Key, Value)>),
    /// The number of keys, whatever the limit.
    Count(u64),
}

/// Is told of so much work that was done: the keys that were counted. Returns whether there may be more.
pub type OnCounted<'a> = &'a mut dyn FnMut(usize) -> bool;

/// Keys between two looks at whether to go on counting.
const COUNTED_AT_ONCE: usize = 512;

impl ReadSource {
    /// Returns the number of the circle's last commit that is in it; 0 where the commit finds it.
    pub(super) fn last_commit(&mut self, circle: &PublicKey) -> Result<u64, Unavailable> {
        match self {
            Self::Disk { disk, snapshot } => {
                let snapshot = viewed(snapshot, disk, circle)?;
                let stored = snapshot.get(disk, circle, Table::Usage, &Key::new(&[]))?;
                Ok(Usage::of(stored.as_ref()).commit)
            }
            Self::Remote(_) => Ok(0),
        }
    }

    /// Returns the stored value of a key, unless it has expired by its read time.
    pub(super) fn get(
        &mut self,
        circle: &PublicKey,
        key: &Key,
        read_time: &mut ReadTime,
    ) -> Result<Option<Value>, Unavailable> {
        let found = match self {
            Self::Disk { disk, snapshot } => {
                viewed(snapshot, disk, circle)?.get(disk, circle, Table::Store, key)?
            }
            Self::Remote(reads) => reads.get(key)?,
        };
        Ok(found.filter(|stored| read_time.sees(key, stored, || self.now())))
    }

    /// Returns the time by which keys expire.
    pub(super) fn now(&self) -> i64 {
        match self {
            Self::Disk { disk, .. } => disk.clock().now(),
            Self::Remote(reads) => reads.now(),
        }
    }

    /// Calls `found` with every key in a range and its stored value, if that is wanted, as it is to be read, until it says
    /// to stop. Leaves out what has expired by its read time.
    pub(super) fn entries(
        &mut self,
        circle: &PublicKey,
        range: &KeyRange,
        want: Want,
        read_time: &mut ReadTime,
        found: &mut dyn FnMut(&[u8], &Value) -> bool,
    ) -> Result<(), Unavailable> {
        match self {
            Self::Disk { disk, snapshot } => {
                let sees =
                    |key: &[u8], stored: &Value| read_time.sees(key, stored, || disk.clock().now());
                viewed(snapshot, disk, circle)?.entries(
                    disk,
                    circle,
                    Table::Store,
                    range,
                    sees,
                    found,
                )
            }
            Self::Remote(reads) => {
                let none = Value::new(&[]);
                match reads.scan(range, want)? {
                    Scanned::Keys(keys) => keys.iter().all(|key| found(key, &none)),
                    Scanned::Entries(entries) => {
                        entries.iter().all(|(key, value)| found(key, value))
                    }
                    Scanned::Count(_) => return Err(Unavailable),
                };
                Ok(())
            }
        }
    }

    /// Counts the keys in a range. Returns nothing if `on_counted` ended it.
    pub(super) fn count(
        &mut self,
        circle: &PublicKey,
        range: &KeyRange,
        read_time: &mut ReadTime,
        on_counted: OnCounted<'_>,
    ) -> Result<Option<u64>, Unavailable> {
        match self {
            Self::Disk { disk, snapshot } => {
                let (mut count, mut untold, mut goes_on) = (0, 0, true);
                let found = |_: &[u8], _: &Value| {
                    count += 1;
                    untold += 1;
                    if untold == COUNTED_AT_ONCE {
                        untold = 0;
                        goes_on = on_counted(COUNTED_AT_ONCE);
                    }
                    goes_on
                };
                let sees =
                    |key: &[u8], stored: &Value| read_time.sees(key, stored, || disk.clock().now());
                let view = viewed(snapshot, disk, circle)?;
                view.entries(disk, circle, Table::Store, range, sees, found)?;
                goes_on = goes_on && on_counted(untold);
                Ok(goes_on.then_some(count))
            }
            Self::Remote(reads) => match reads.scan(range, Want::Count)? {
                Scanned::Count(count) => {
                    let told = usize::try_from(count).unwrap_or(usize::MAX);
                    Ok(on_counted(told).then_some(count))
                }
                Scanned::Keys(_) | Scanned::Entries(_) => Err(Unavailable),
            },
        }
    }
}

/// Returns the snapshot, and takes it first if there is none. Not while the circle is being deleted.
fn viewed<'a>(
    snapshot: &'a mut Option<Snapshot>,
    disk: &Disk,
    circle: &PublicKey,
) -> Result<&'a Snapshot, Unavailable> {
    if snapshot.is_none() {
        disk.deletions().check(circle)?;
        *snapshot = Some(Snapshot::new(disk.snapshot(), None));
        disk.deletions().check(circle)?;
    }
    snapshot.as_ref().ok_or(Unavailable)
}
