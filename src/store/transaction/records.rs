//! The check of what a transaction has read, and the records that it writes to this machine's disk.

use super::{ReadSource, Transaction, own};
use crate::store::{
    disk::Disk,
    effects::Effects,
    error::{CommitError, Unavailable},
    read_set::RangeDigest,
    snapshot::Snapshot,
    table::{Key, Record, Table},
    write::{PUSHED, Write, last_push, pushed_key, sum},
};

/// What a transaction writes to the store.
pub(in crate::store) struct StoreRecords {
    /// The keys that it deletes by ranges.
    pub(in crate::store) removed: Vec<Record>,
    /// The bytes that they had.
    pub(in crate::store) freed: u64,
    /// All others.
    pub(in crate::store) written: Vec<Record>,
}

impl Transaction {
    /// Returns whether what it has read is unchanged in `now`. A transaction that writes nothing may come before all
    /// that has changed since, unless it saw something that is lost.
    pub(in crate::store) fn validate_reads(&self, now: &Snapshot) -> Result<bool, Unavailable> {
        let ReadSource::Disk { disk, snapshot } = &self.source else {
            return Ok(false);
        };
        if snapshot.as_ref().is_some_and(Snapshot::is_lost) {
            return Ok(false);
        }
        if !self.writes() {
            return Ok(true);
        }
        let reads = &self.effects.reads;
        for (key, value) in reads.keys() {
            if now.get(disk, &self.circle, Table::Store, key)? != *value {
                return Ok(false);
            }
        }
        for read in reads.ranges() {
            let mut found = RangeDigest::to_compare(read.found);
            now.entries(
                disk,
                &self.circle,
                Table::Store,
                &read.range,
                |key, value| {
                    found.push(key, value);
                    true
                },
            )?;
            if found.finish() != read.found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Drops what it has read, and returns what it writes to a store that is in the state `now`.
    pub(in crate::store) fn into_records(
        self,
        disk: &Disk,
        now: &Snapshot,
    ) -> Result<StoreRecords, CommitError> {
        let circle = self.circle;
        let max = self.limits.max_range_delete;
        let (mut removed, mut freed) = (Vec::new(), 0);
        for range in &self.effects.range_deletes {
            now.entries(disk, &circle, Table::Store, range, |key, value| {
                let record = Record::remove(Table::Store, key);
                if !self.effects.writes.contains_key(&record.key) {
                    freed += (key.len() + value.len()) as u64;
                    removed.push(record);
                }
                removed.len() <= max
            })?;
            if removed.len() > max {
                return Err(CommitError::RangeDelete { max });
            }
        }
        let record = |(key, write)| {
            let value = match write {
                Write::Put(value) => Some(value),
                Write::Delete => None,
                Write::Add(by) => {
                    let stored = now.get(disk, &circle, Table::Store, &key)?;
                    match sum(stored.as_ref(), by) {
                        Ok(sum) => Some(sum),
                        Err(why) => return Err(CommitError::Add { key, why }),
                    }
                }
            };
            Ok(Record {
                table: Table::Store,
                key,
                value,
            })
        };
        let Effects { writes, pushes, .. } = self.effects;
        let mut number = None;
        let mut pushed = Vec::with_capacity(pushes.len());
        for (prefix, value) in pushes {
            let find = |key: &Key| now.get(disk, &circle, Table::Store, key);
            let number = match &mut number {
                Some(number) => number,
                None => number.insert(last_push(find(&own(PUSHED))?.as_ref())),
            };
            let key = loop {
                *number += 1;
                let key = pushed_key(&prefix, *number);
                // A script may have written it.
                if !writes.contains_key(&key) && find(&key)?.is_none() {
                    break key;
                }
            };
            pushed.push(Record::put(Table::Store, key, value));
        }
        let number = number.map(|number| number.to_string().into_bytes());
        let number = number.map(|text| Record::put(Table::Store, own(PUSHED), text));
        let records = writes.into_iter().map(record);
        let records = records.chain(pushed.into_iter().chain(number).map(Ok));
        Ok(StoreRecords {
            removed,
            freed,
            written: records.collect::<Result<_, _>>()?,
        })
    }
}
