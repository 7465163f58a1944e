//! The check of what a transaction has read, and the records that it writes to this machine's disk.

use super::{ReadSource, Transaction, own};
use crate::store::{
    disk::Disk,
    effects::Effects,
    error::{CommitError, Unavailable},
    expiring::{ReadTime, reindex},
    read_set::RangeDigest,
    snapshot::Snapshot,
    table::{Key, Record, Table, Value},
    write::{PUSHED, Write, last_push, pushed_key, sum},
};

/// The writes of a transaction to the store.
pub(in crate::store) struct StoreRecords {
    /// The deletes of keys by ranges, and of what the index has of them.
    pub(in crate::store) removed: Vec<Record>,
    /// The bytes that they had.
    pub(in crate::store) freed: u64,
    /// All others.
    pub(in crate::store) written: Vec<Record>,
}

impl Transaction {
    /// Returns whether what it has read is unchanged in `now`, at the time `at`. A transaction that writes nothing may come
    /// before all that has changed since, unless it saw something that is lost, or that a key had expired: others may have
    /// committed before that, and not be in what it saw.
    pub(in crate::store) fn validate_reads(
        &self,
        now: &Snapshot,
        at: i64,
    ) -> Result<bool, Unavailable> {
        let ReadSource::Disk { disk, snapshot } = &self.source else {
            return Ok(false);
        };
        if snapshot.as_ref().is_some_and(Snapshot::is_lost) {
            return Ok(false);
        }
        if !self.writes() && !self.read_time.is_near_expiry(0) {
            return Ok(true);
        }
        let mut read_time = ReadTime::at(at);
        if self.read_time.is_over(at) {
            return Ok(false);
        }
        let reads = &self.effects.reads;
        for (key, value) in reads.keys() {
            let found = now.get(disk, &self.circle, Table::Store, key)?;
            if found.filter(|stored| read_time.sees(key, stored, || at)) != *value {
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
                |key, stored| read_time.sees(key, stored, || at),
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

    /// Drops what it has read, and returns what it writes to a store that is in the state `now`, at the time `at`.
    pub(in crate::store) fn into_records(
        self,
        disk: &Disk,
        now: &Snapshot,
        at: i64,
    ) -> Result<StoreRecords, CommitError> {
        let mut read_time = ReadTime::at(at);
        let mut sees = |key: &[u8], stored: &Value| read_time.sees(key, stored, || at);
        let circle = self.circle;
        let max = self.limits.max_range_delete;
        let (mut removed, mut count, mut freed) = (Vec::new(), 0, 0);
        for range in &self.effects.range_deletes {
            now.entries(
                disk,
                &circle,
                Table::Store,
                range,
                &mut sees,
                |key, value| {
                    let record = Record::remove(Table::Store, key);
                    if !self.effects.writes.contains_key(&record.key) {
                        count += 1;
                        freed += (key.len() + value.len()) as u64;
                        removed.extend(reindex(&record.key, Some(value), None));
                        removed.push(record);
                    }
                    count <= max
                },
            )?;
            if count > max {
                return Err(CommitError::RangeDelete { max });
            }
        }
        let mut find = |key: &Key| {
            let found = now.get(disk, &circle, Table::Store, key)?;
            Ok::<_, Unavailable>(found.filter(|stored| sees(key, stored)))
        };
        let Effects { writes, pushes, .. } = self.effects;
        let mut number = None;
        let mut pushed = Vec::with_capacity(pushes.len());
        for (prefix, value) in pushes {
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
        let record = |(key, write)| {
            let value = match write {
                Write::Put(value) => Some(value),
                Write::Delete => None,
                Write::Add(by) => match sum(find(&key)?.as_ref(), by) {
                    Ok(sum) => Some(sum),
                    Err(why) => return Err(CommitError::Add { key, why }),
                },
            };
            Ok(Record {
                table: Table::Store,
                key,
                value,
            })
        };
        let records = writes.into_iter().map(record);
        let records = records.chain(pushed.into_iter().chain(number).map(Ok));
        Ok(StoreRecords {
            removed,
            freed,
            written: records.collect::<Result<_, _>>()?,
        })
    }
}
