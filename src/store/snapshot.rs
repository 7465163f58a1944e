//! A snapshot of one circle: it doesn't change while it is read.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use circled_protocol::PublicKey;
use fjall::Readable;

use super::{
    circle::Generation,
    disk::{Disk, failed},
    disk_snapshot::DiskSnapshot,
    error::Unavailable,
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

    /// Calls `found` with every key that begins with `prefix`, in order, until it says to stop.
    pub(super) fn keys(
        &self,
        disk: &Disk,
        circle: &PublicKey,
        table: Table,
        prefix: &Key,
        mut found: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Unavailable> {
        let mut pending = self
            .pending
            .iter()
            .flat_map(|(pending, _)| {
                let from = Bound::Included((table, prefix.clone()));
                pending.range((from, Bound::Unbounded))
            })
            .take_while(|((of, key), _)| *of == table && key.starts_with(prefix))
            .map(|((_, key), (_, value))| (key, value.is_some()))
            .peekable();
        let stored = self
            .on_disk
            .inner()
            .prefix(disk.keyspace(table), full(circle, prefix));
        for entry in stored {
            let key = entry.key().map_err(|error| failed(&error))?;
            let key = &key[circle.as_bytes().len()..];
            while let Some((newer, there)) = pending.next_if(|(newer, _)| newer[..] < *key) {
                if there && !found(newer) {
                    return Ok(());
                }
            }
            let there = match pending.next_if(|(newer, _)| newer[..] == *key) {
                Some((_, there)) => there,
                None => true,
            };
            if there && !found(key) {
                return Ok(());
            }
        }
        for (newer, there) in pending {
            if there && !found(newer) {
                return Ok(());
            }
        }
        Ok(())
    }
}
