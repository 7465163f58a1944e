//! The numbers of a circle's keys and jobs: counted when somebody asks for the first time, and kept up by each commit
//! from then on, in memory alone.

use std::collections::HashMap;

use circled_protocol::PublicKey;

use super::{
    circle::Latest,
    commit::Store,
    disk::Disk,
    error::Unavailable,
    preconditions::Preconditions,
    range::{KeyRange, OWN},
    table::{Record, Table},
};

/// The tables whose entries are counted.
const TABLES: [Table; 4] = [Table::Store, Table::Jobs, Table::Open, Table::Dead];

/// How many entries the tables have of one circle.
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
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    entries: [i64; TABLES.len()],
    is_complete: bool,
}

impl Tally {
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
    /// Counts what a commit adds and deletes, if the circle has been counted.
    pub(super) fn count(&mut self, records: &[Record], disk: &Disk, circle: &PublicKey) {
        let Some(mut tally) = self.tally() else {
            return;
        };
        // Of what is written more than once, the last counts.
        let counted = records.iter().filter_map(|record| {
            let is_own = record.table == Table::Store && record.key.first() == Some(&OWN);
            let table = TABLES.iter().position(|table| *table == record.table);
            let table = table.filter(|_| !is_own)?;
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
}

impl Store {
    /// Returns the numbers of a circle's entries, all of one moment, once that is on disk. Counts them the first time, which
    /// takes as long as reading them all. Blocks.
    ///
    /// # Errors
    /// A disk that can't be read, or that didn't take a write meanwhile.
    pub fn counts(&self, circle: PublicKey) -> Result<Counts, Unavailable> {
        let counts = self.latest_counts(circle)?;
        // It comes after all that they count.
        let last = self.commit_and_wait(self.begin(circle), Vec::new(), Preconditions::NONE);
        last.map(|()| counts).map_err(|_| Unavailable)
    }

    fn latest_counts(&self, circle: PublicKey) -> Result<Counts, Unavailable> {
        let _only_one_counts = self.counting();
        let (disk, shared) = (self.disk(), self.circle(circle));
        let snapshot = {
            let mut latest = shared.lock();
            if let Some(tally) = latest.tally().filter(|tally| tally.is_complete) {
                return Ok(tally.counts(latest.usage(disk, &circle)?.bytes));
            }
            latest.set_tally(Some(Tally::default()));
            latest.snapshot(disk)
        };
        let (all, mut found) = (KeyRange::of_prefix(&[]), [0; TABLES.len()]);
        for (table, found) in TABLES.into_iter().zip(&mut found) {
            let count = |_: &[u8], _: &_| {
                *found += 1;
                true
            };
            snapshot.entries(disk, &circle, table, &all, |_, _| true, count)?;
        }
        let mut latest = shared.lock();
        let mut tally = latest.tally().ok_or(Unavailable)?;
        for (count, found) in tally.entries.iter_mut().zip(found) {
            *count += found;
        }
        tally.is_complete = true;
        latest.set_tally(Some(tally));
        Ok(tally.counts(latest.usage(disk, &circle)?.bytes))
    }
}
