//! The memory of what is written: a bound on the memtables of all tables together.
//!
//! The library bounds the number of each table's memtables, not the bytes of all of them. Besides, it keeps those that it
//! has written out until it begins with the next one, and as long as there is a snapshot from before. So half of the room is
//! for what isn't written out, and a snapshot ends once the other half has been written after it.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};

use fjall::PersistMode;

use super::{disk::Disk, disk_snapshot::DiskSnapshot, settings::DiskSettings};

/// The part of the room that one table's memtable takes before it is written out.
const OF_ONE_TABLE: usize = 16;
/// The time between two looks for room.
const LOOK: Duration = Duration::from_millis(2);
/// Snapshots among which those are looked for that nobody has any more.
const SNAPSHOTS: usize = 64;

/// The room in memory.
#[derive(Debug)]
pub(super) struct Room {
    /// Bytes of half of it.
    half: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The bytes that have been written.
    written: u64,
    /// The snapshots that somebody may still read, the oldest first, and the bytes that had been written before.
    snapshots: Vec<(u64, Weak<DiskSnapshot>)>,
}

/// Returns the bytes of a table's memtable.
pub(super) fn of_one_table(settings: &DiskSettings) -> usize {
    settings.memtables.get() / OF_ONE_TABLE
}

impl Room {
    pub(super) fn new(settings: &DiskSettings) -> Self {
        Self {
            half: settings.memtables.get() as u64 / 2,
            state: Mutex::default(),
        }
    }

    /// Notes that so many bytes have been written, and the snapshot that others may read from now on. Ends those before it
    /// for which the disk would have to keep too much.
    pub(super) fn note(&self, bytes: u64, snapshot: &Arc<DiskSnapshot>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.written += bytes;
        let written = state.written;
        let all = &mut state.snapshots;
        if all.len() >= all.capacity().max(SNAPSHOTS) {
            all.retain(|(_, one)| one.strong_count() > 0);
        }
        let is_old = |(before, _): &&(u64, _)| written - before > self.half;
        let old = all.iter().take_while(is_old).count();
        let ended = all.drain(..old).filter_map(|(_, one)| one.upgrade());
        let ended = ended.inspect(|one| one.end()).count();
        all.push((written, Arc::downgrade(snapshot)));
        drop(state);
        if ended > 0 {
            tracing::warn!(
                snapshots = ended,
                "runs that read what was there long ago end with -32007: too much was written since (dispatch.embedded.memtables)"
            );
        }
    }
}

impl Disk {
    /// Waits until there is room for so many bytes, or for a quarter of all where they are more.
    ///
    /// # Errors
    /// A database that takes no more: it makes no room either.
    pub(super) fn wait_for_room(&self, bytes: u64) -> fjall::Result<()> {
        let half = self.room.half;
        let needed = bytes.min(half / 2);
        while self.tables.database.write_buffer_size() + needed > half {
            self.tables.database.persist(PersistMode::Buffer)?;
            if !self.tables.are_written_out() && !self.tables.write_out()? {
                break;
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}
