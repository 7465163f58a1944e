//! A snapshot of one circle: it doesn't change while it is read.

use std::{collections::BTreeMap, sync::Arc};

use circled_protocol::PublicKey;
use fjall::Readable;

use super::{
    circle::Generation,
    disk::{Disk, failed},
    disk_snapshot::DiskSnapshot,
    error::Unavailable,
    range::KeyRange,
    table::{Key, Table, Value, full},
};

/// Writes that are committed and may not be on disk yet: the newest value of each key, and the number of the commit
/// that brought it.
pub(super) type PendingWrites = BTreeMap<(Table, Key), (u64, Option<Value>)>;

/// The state of a circle at one moment: what was on disk, and what was on its way there.
pub(super) struct Snapshot {
    on_disk: Arc<DiskSnapshot>,
    pending: Option<(Arc<PendingWrites>, Generation)>,
}

impl Snapshot {
    pub(super) fn new(
        on_disk: Arc<DiskSnapshot>,
        pending: Option<(Arc<PendingWrites>, Generation)>,
    ) -> Self {
        Self { on_disk, pending }
    }

    /// Returns a snapshot of a circle that is being deleted: nothing that was read in it can be told or committed.
    pub(super) fn of_deletion(on_disk: Arc<DiskSnapshot>) -> Self {
        let lost = Generation::default();
        lost.lose();
        Self::new(on_disk, Some((Arc::default(), lost)))
    }

    /// Returns whether all of it is on disk.
    pub(super) fn is_durable(&self) -> bool {
        self.pending.is_none()
    }

    /// Returns whether some of it never came to be on disk.
    pub(super) fn is_lost(&self) -> bool {
        self.pending
            .as_ref()
            .is_some_and(|(_, generation)| generation.is_lost())
    }

    pub(super) fn get(
        &self,
        disk: &Disk,
        circle: &PublicKey,
        table: Table,
        key: &Key,
    ) -> Result<Option<Value>, Unavailable> {
        if let Some((pending, _)) = &self.pending
            && let Some((_, value)) = pending.get(&(table, key.clone()))
        {
            return Ok(value.clone());
        }
        self.on_disk.get(disk, circle, table, key)
    }

    /// Calls `found` with every key in a range and its value, as it is to be read, until it says to stop. Leaves out what
    /// `sees` returns false for.
    pub(super) fn entries(
        &self,
        disk: &Disk,
        circle: &PublicKey,
        table: Table,
        range: &KeyRange,
        mut sees: impl FnMut(&[u8], &Value) -> bool,
        mut found: impl FnMut(&[u8], &Value) -> bool,
    ) -> Result<(), Unavailable> {
        if range.is_empty() {
            return Ok(());
        }
        let mut left = range.limit;
        let mut found = |key: &[u8], value: &Value| {
            if !sees(key, value) {
                return true;
            }
            left -= 1;
            found(key, value) && left > 0
        };
        let pending = self.pending.as_ref().map(|(pending, _)| {
            let (start, end) = (range.start.clone(), range.end.clone());
            pending.range((table, start)..(table, end))
        });
        let mut pending = pending.into_iter().flatten();
        let mut next_pending = || {
            let next = if range.reverse {
                pending.next_back()
            } else {
                pending.next()
            };
            next.map(|((_, key), (_, value))| (key, value.as_ref()))
        };
        let mut stored = self.on_disk.read(|inner| {
            inner.range(
                disk.keyspace(table),
                full(circle, &range.start)..full(circle, &range.end),
            )
        })?;
        let mut newer = next_pending();
        while let Some(entry) = if range.reverse {
            stored.next_back()
        } else {
            stored.next()
        } {
            let (key, value) = entry.into_inner().map_err(|error| failed(&error))?;
            let key = &key[circle.as_bytes().len()..];
            while let Some((before, value)) = newer
                && range.is_before(before, key)
            {
                newer = next_pending();
                if value.is_some_and(|value| !found(before, value)) {
                    return Ok(());
                }
            }
            let mut value = Some(&value);
            if let Some((_, newest)) = newer.filter(|(same, _)| same[..] == *key) {
                newer = next_pending();
                value = newest;
            }
            if value.is_some_and(|value| !found(key, value)) {
                return Ok(());
            }
        }
        while let Some((key, value)) = newer {
            newer = next_pending();
            if value.is_some_and(|value| !found(key, value)) {
                return Ok(());
            }
        }
        Ok(())
    }
}
