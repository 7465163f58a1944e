//! The numbers of a circle's keys and jobs: counted when somebody asks for the first time, and kept up by each commit
//! from then on, in memory alone.

use std::collections::HashMap;

use circled_protocol::PublicKey;
use tokio::sync::OwnedMutexGuard;

use super::{
    circle::Latest,
    commit::Store,
    disk::Disk,
    error::Unavailable,
    preconditions::Preconditions,
    range::{KeyRange, OWN},
    snapshot::Snapshot,
    table::{Key, Record, Table},
};

/// The tables whose entries are counted.
const TABLES: [Table; 4] = [Table::Store, Table::Jobs, Table::Open, Table::Dead];
/// Counts are forgotten when nobody has asked for so many milliseconds: each commit of jobs costs a little more with them.
const KEPT_FOR: i64 = 10 * 60 * 1000;

/// The numbers of entries that the tables have of one circle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The keys that scripts can have. Those that have expired count until they are deleted.
    pub keys: u64,
    /// All jobs.
    pub jobs: u64,
    /// The jobs that are not over.
    pub open: u64,
    /// The dead ones.
    pub dead: u64,
    /// The bytes of the store.
    pub bytes: u64,
}

/// The counts of a circle, as far as they are known: until it is complete, by how much they have changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    entries: [i64; TABLES.len()],
    is_complete: bool,
    /// The time when somebody asked for it last.
    asked_at: i64,
}

/// The right to count a circle's entries, if they were not counted when it was asked for: only one at a time has it.
#[derive(Debug)]
pub struct Counting(Option<OwnedMutexGuard<()>>);

/// Returns true for a key of the store that counts: it isn't the circle's own.
pub(super) fn is_counted(table: Table, key: &Key) -> bool {
    table == Table::Store && key.first() != Some(&OWN)
}

impl Tally {
    fn new(now: i64) -> Self {
        Self {
            entries: [0; TABLES.len()],
            is_complete: false,
            asked_at: now,
        }
    }

    /// Returns true if nobody has asked for it for long.
    pub(super) fn is_forgotten(&self, now: i64) -> bool {
        self.is_complete && self.asked_at.saturating_add(KEPT_FOR) <= now
    }

    fn counts(&self, bytes: u64) -> Counts {
        let [keys, jobs, open, dead] = self.entries.map(|count| count.max(0).cast_unsigned());
        Counts {
            keys,
            jobs,
            open,
            dead,
            bytes,
        }
    }
}

impl Latest {
    /// Counts what a commit adds and deletes, if the circle has been counted: by how many its keys become more, and the
    /// entries of jobs among these records.
    pub(super) fn count(&mut self, keys: i64, records: &[Record], disk: &Disk, circle: &PublicKey) {
        let Some(mut tally) = self.tally() else {
            return;
        };
        if tally.is_forgotten(disk.clock().now()) {
            return self.set_tally(None);
        }
        tally.entries[0] += keys;
        // Of what is written more than once, the last counts.
        let counted = records.iter().filter_map(|record| {
            let table = TABLES.iter().position(|table| *table == record.table);
            let table = table.filter(|_| record.table != Table::Store)?;
            Some(((table, &record.key), record.value.is_some()))
        });
        for ((table, key), is_there) in counted.collect::<HashMap<_, _>>() {
            let was_there = match self.pending(TABLES[table], key) {
                Some(was_there) => was_there,
                None => match disk.size_of(TABLES[table], circle, key) {
                    Ok(size) => size.is_some(),
                    // It is counted again.
                    Err(Unavailable) => return self.set_tally(None),
                },
            };
            tally.entries[table] += i64::from(is_there) - i64::from(was_there);
        }
        self.set_tally(Some(tally));
    }

    /// Returns the counts, if they are complete. They are kept from now on.
    fn counted(&mut self, disk: &Disk) -> Option<Tally> {
        let mut tally = self.tally().filter(|tally| tally.is_complete)?;
        tally.asked_at = disk.clock().now();
        self.set_tally(Some(tally));
        Some(tally)
    }
}

impl Store {
    /// Waits for the right to count a circle's entries, if they have to be counted.
    pub async fn counting(&self, circle: PublicKey) -> Counting {
        let is_counted = self
            .circle(circle)
            .try_lock()
            .is_some_and(|mut latest| latest.counted(self.disk()).is_some());
        match is_counted {
            true => Counting(None),
            false => Counting(Some(self.count_lock().clone().lock_owned().await)),
        }
    }

    /// Returns the numbers of a circle's entries, all of one moment, once that is on disk. Counts them if they aren't
    /// counted, which takes as long as reading them all. Blocks.
    ///
    /// # Errors
    /// A disk that can't be read, or that didn't take a write meanwhile.
    pub fn counts(&self, circle: PublicKey, counting: Counting) -> Result<Counts, Unavailable> {
        self.disk().deletions().check(&circle)?;
        let counts = self.latest_counts(circle, &counting)?;
        drop(counting);
        // It comes after all that they count.
        let last = self.commit_and_wait(self.begin(circle), Vec::new(), Preconditions::NONE);
        last.map(|()| counts).map_err(|_| Unavailable)
    }

    fn latest_counts(&self, circle: PublicKey, counting: &Counting) -> Result<Counts, Unavailable> {
        let (disk, shared) = (self.disk(), self.circle(circle));
        let snapshot = {
            let mut latest = shared.lock();
            if let Some(tally) = latest.counted(disk) {
                return Ok(tally.counts(latest.usage(disk, &circle)?.bytes));
            }
            if counting.0.is_none() {
                // The disk has failed since.
                return Err(Unavailable);
            }
            latest.set_tally(Some(Tally::new(disk.clock().now())));
            latest.snapshot(disk)
        };
        self.forget_idle();
        let counted = self.count_in(circle, &snapshot);
        let mut latest = shared.lock();
        let tally = latest.tally().zip(counted.ok());
        let Some((mut tally, found)) = tally else {
            latest.set_tally(None);
            return Err(Unavailable);
        };
        for (count, found) in tally.entries.iter_mut().zip(found) {
            *count += found;
        }
        (tally.is_complete, tally.asked_at) = (true, disk.clock().now());
        latest.set_tally(Some(tally));
        Ok(tally.counts(latest.usage(disk, &circle)?.bytes))
    }

    /// Counts the entries of each table.
    fn count_in(
        &self,
        circle: PublicKey,
        snapshot: &Snapshot,
    ) -> Result<[i64; TABLES.len()], Unavailable> {
        let (all, mut found) = (KeyRange::of_prefix(&[]), [0; TABLES.len()]);
        for (table, found) in TABLES.into_iter().zip(&mut found) {
            let count = |_: &[u8], _: &_| {
                *found += 1;
                true
            };
            snapshot.entries(self.disk(), &circle, table, &all, |_, _| true, count)?;
        }
        Ok(found)
    }
}
