//! Reads and deletes of ranges of keys, as a transaction sees them.

use std::iter;

use super::{OnCounted, Transaction, own};
use crate::store::{
    effects::Effects,
    error::WriteError,
    expiring,
    range::{KeyRange, Want},
    read_set::RangeDigest,
    table::{Key, Value},
    write::{PUSHED, Write, pushed_key, sum},
};

impl Transaction {
    /// Deletes the keys in a range at the commit, the circle's own left out. It counts as one write, and is no read, so it
    /// collides with nothing. With a limit, it reads the range as [`scan`](Self::scan) does, and deletes the part that it
    /// has covered.
    ///
    /// # Errors
    /// One write too many; a disk that can't be read.
    pub fn delete_range(&mut self, mut range: KeyRange) -> Result<(), WriteError> {
        range.leave_out_own();
        if range.is_empty() {
            return Ok(());
        }
        self.check_writes(&own(PUSHED))?;
        self.settle_in(&range)?;
        if range.limit < usize::MAX {
            let keys = self.read_keys(range.clone())?;
            if keys.len() == range.limit
                && let Some(last) = keys.last()
            {
                range.cut_off_after(last);
            }
        }
        let Effects {
            range_deletes,
            writes,
            ..
        } = &mut self.effects;
        writes.retain(|key, _| !range.contains(key));
        let mut deleted = KeyRange {
            limit: usize::MAX,
            reverse: false,
            ..range
        };
        range_deletes.retain(|other| {
            let touches = other.start <= deleted.end && deleted.start <= other.end;
            if touches {
                deleted.start = other.start.clone().min(deleted.start.clone());
                deleted.end = other.end.clone().max(deleted.end.clone());
            }
            !touches
        });
        range_deletes.push(deleted);
        range_deletes.sort();
        Ok(())
    }

    /// Returns whether a range that it deletes has a key.
    pub(super) fn deletes(&self, key: &Key) -> bool {
        let mut deleted = self.effects.range_deletes.iter();
        deleted.any(|range| range.contains(key))
    }

    /// Cuts a range where the ranges that it deletes begin and end. Returns the parts as they are to be read, each with
    /// whether it deletes that part.
    fn parts(&self, range: &KeyRange) -> Vec<(KeyRange, bool)> {
        let part = |start: &Key, end: &Key| KeyRange {
            start: start.clone(),
            end: end.clone(),
            ..range.clone()
        };
        let mut parts = Vec::new();
        let mut from = &range.start;
        let deleted = self.effects.range_deletes.iter();
        for deleted in deleted.filter(|deleted| deleted.overlaps(range)) {
            let (start, end) = ((&deleted.start).max(from), (&deleted.end).min(&range.end));
            parts.push((part(from, start), false));
            parts.push((part(start, end), true));
            from = end;
        }
        parts.push((part(from, &range.end), false));
        parts.retain(|(part, _)| !part.is_empty());
        if range.reverse {
            parts.reverse();
        }
        parts
    }

    /// Returns the keys that begin with `prefix`, in the order of their bytes, at most `max` of them.
    ///
    /// # Errors
    /// More than `max` keys; a disk that can't be read.
    pub fn keys(&mut self, prefix: &str, max: usize) -> Result<Vec<Key>, WriteError> {
        self.list(prefix.as_bytes(), max)
    }

    pub(super) fn list(&mut self, prefix: &[u8], max: usize) -> Result<Vec<Key>, WriteError> {
        let range = KeyRange {
            // One more tells that there are too many.
            limit: max.saturating_add(1),
            ..KeyRange::of_prefix(prefix)
        };
        let keys = self.read_keys(range)?;
        if keys.len() > max {
            return Err(WriteError::Keys { max });
        }
        Ok(keys)
    }

    /// Returns the keys in a range, as it is to be read, the transaction's own writes included and the circle's own keys
    /// left out. It collides with changes in the part that it has covered, and with no others.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn scan(&mut self, mut range: KeyRange) -> Result<Vec<Key>, WriteError> {
        range.leave_out_own();
        self.read_keys(range)
    }

    /// Returns the keys in a range and their values, as [`scan`](Self::scan) does. It collides with changes of the values,
    /// too.
    ///
    /// # Errors
    /// More than `max_bytes` of them; a disk that can't be read.
    pub fn scan_entries(
        &mut self,
        mut range: KeyRange,
        max_bytes: usize,
    ) -> Result<Vec<(Key, Value)>, WriteError> {
        range.leave_out_own();
        let mut entries = self.read_range(range, Want::Entries { max_bytes })?;
        for (key, value) in &mut entries {
            *value = expiring::json(key, value.clone());
        }
        let bytes = entries.iter().map(|(key, value)| key.len() + value.len());
        if bytes.sum::<usize>() > max_bytes {
            return Err(WriteError::Entries { max: max_bytes });
        }
        Ok(entries)
    }

    /// Returns the entries in a range as [`scan_entries`](Self::scan_entries) does, each with the time when it expires if it
    /// does.
    ///
    /// # Errors
    /// More than `max_bytes` of them; a disk that can't be read.
    pub fn page(
        &mut self,
        mut range: KeyRange,
        max_bytes: usize,
    ) -> Result<Vec<(Key, Value, Option<i64>)>, WriteError> {
        range.leave_out_own();
        let entries = self.read_range(range, Want::Entries { max_bytes })?;
        let entry = |(key, stored): (Key, Value)| {
            let expiry = expiring::expiry_of(&key, &stored);
            let value = expiring::json(&key, stored);
            (key, value, expiry)
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    /// Returns the number of keys in a range, the transaction's own writes included and the circle's own keys left out.
    /// It collides with changes of that number, and with those of keys in it that the transaction has written. With a
    /// limit, it counts up to there, and collides as [`scan`](Self::scan) does. Returns nothing if `on_counted` ended it.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn count(
        &mut self,
        mut range: KeyRange,
        on_counted: OnCounted<'_>,
    ) -> Result<Option<u64>, WriteError> {
        range.leave_out_own();
        if range.is_empty() {
            return Ok(Some(0));
        }
        if range.limit < usize::MAX {
            let keys = self.read_keys(range)?.len();
            return Ok(on_counted(keys).then_some(keys as u64));
        }
        self.settle_in(&range)?;
        let mut count = 0;
        for (part, is_deleted) in self.parts(&range) {
            let counted = if is_deleted {
                let own = self.own_in(&part).into_iter();
                Some(own.filter(|(_, write)| *write != Write::Delete).count() as u64)
            } else {
                self.count_part(part, on_counted)?
            };
            let Some(counted) = counted else {
                return Ok(None);
            };
            count += counted;
        }
        Ok(Some(count))
    }

    fn count_part(
        &mut self,
        range: KeyRange,
        on_counted: OnCounted<'_>,
    ) -> Result<Option<u64>, WriteError> {
        let counted = self
            .source
            .count(&self.circle, &range, &mut self.read_time, on_counted);
        let Some(mut count) = counted? else {
            return Ok(None);
        };
        let own = self.own_in(&range);
        self.effects.reads.insert_count(range, count);
        for (key, write) in own {
            let was_there = self.read_stored(key)?.is_some();
            let is_there = write != Write::Delete;
            count += u64::from(is_there && !was_there);
            // On a remote store, the two may be of different moments.
            count = count.saturating_sub(u64::from(!is_there && was_there));
        }
        Ok(Some(count))
    }

    fn read_keys(&mut self, range: KeyRange) -> Result<Vec<Key>, WriteError> {
        let entries = self.read_range(range, Want::Keys)?;
        Ok(entries.into_iter().map(|(key, _)| key).collect())
    }

    /// Gives all pushes their keys, if any of them may be in a range.
    pub(super) fn settle_in(&mut self, range: &KeyRange) -> Result<(), WriteError> {
        let (start, end) = (&range.start, &range.end);
        self.settle_pushes(|prefix| {
            *start <= pushed_key(prefix, u64::MAX) && pushed_key(prefix, 0) < *end
        })
    }

    /// Returns its own writes in a range, in the order of the keys.
    fn own_in(&self, range: &KeyRange) -> Vec<(Key, Write)> {
        let own = &self.effects.writes;
        let own = own.range(range.start.clone()..range.end.clone());
        own.map(|(key, write)| (key.clone(), write.clone()))
            .collect()
    }

    /// Reads a range. The values are there if they are wanted.
    fn read_range(&mut self, range: KeyRange, want: Want) -> Result<Vec<(Key, Value)>, WriteError> {
        self.settle_in(&range)?;
        let mut deleted = self.effects.range_deletes.iter();
        if !deleted.any(|deleted| deleted.overlaps(&range)) {
            return self.read_part(range, want);
        }
        let mut entries = Vec::new();
        for (mut part, is_deleted) in self.parts(&range) {
            part.limit = range.limit - entries.len();
            if is_deleted {
                let mut own = self.own_in(&part);
                if part.reverse {
                    own.reverse();
                }
                entries.extend(own.into_iter().filter_map(written_new).take(part.limit));
            } else {
                entries.extend(self.read_part(part, want)?);
            }
        }
        Ok(entries)
    }

    /// Reads a range that has nothing in it which it deletes.
    fn read_part(
        &mut self,
        mut range: KeyRange,
        want: Want,
    ) -> Result<Vec<(Key, Value)>, WriteError> {
        let mut entries = Vec::new();
        if range.is_empty() {
            return Ok(entries);
        }
        let mut written = self.own_in(&range);
        let wanted = KeyRange {
            // Those that it deletes don't count, so it may read more.
            limit: range.limit.saturating_add(written.len()),
            ..range.clone()
        };
        if range.reverse {
            written.reverse();
        }
        let mut written = written.into_iter().peekable();
        let mut found = RangeDigest::new(want);
        let max_bytes = match want {
            Want::Entries { max_bytes } => max_bytes,
            Want::Keys | Want::Count => usize::MAX,
        };
        let mut bytes = 0;
        let mut not_whole = None;
        let read_time = &mut self.read_time;
        self.source
            .entries(&self.circle, &wanted, want, read_time, &mut |key, value| {
                let before =
                    iter::from_fn(|| written.next_if(|(own, _)| range.is_before(own, key)));
                let before = before.filter_map(written_new);
                entries.extend(before.take(range.limit - entries.len()));
                if entries.len() == range.limit {
                    return false;
                }
                found.push(key, value);
                bytes += key.len() + value.len();
                match written.next_if(|(own, _)| own[..] == *key) {
                    Some((_, Write::Delete)) => {}
                    Some((own, Write::Put(value))) => entries.push((own, value)),
                    // Only the key is wanted.
                    Some((own, Write::Add(_))) if want == Want::Keys => {
                        entries.push((own, value.clone()));
                    }
                    Some((own, Write::Add(by))) => match sum(Some(value), by) {
                        Ok(sum) => entries.push((own, sum)),
                        Err(why) => not_whole = Some((own, why)),
                    },
                    None => entries.push((Key::new(key), value.clone())),
                }
                if bytes > max_bytes {
                    range.cut_off_after(&Key::new(key));
                }
                entries.len() < range.limit && bytes <= max_bytes
            })?;
        if bytes > max_bytes {
            self.effects.reads.insert_range(range, found);
            return Err(WriteError::Entries { max: max_bytes });
        }
        if let Some((key, why)) = not_whole {
            self.effects.reads.insert_range(range, found);
            return Err(WriteError::Add { key, why });
        }
        let rest = written.filter_map(written_new);
        entries.extend(rest.take(range.limit - entries.len()));
        if entries.len() == range.limit
            && let Some((last, _)) = entries.last()
        {
            range.cut_off_after(last);
        }
        self.effects.reads.insert_range(range, found);
        Ok(entries)
    }
}

/// Returns the value that a key gets which has none.
fn written_new((key, write): (Key, Write)) -> Option<(Key, Value)> {
    match write {
        Write::Put(value) => Some((key, value)),
        Write::Delete => None,
        Write::Add(by) => Some((key, Value::from(by.to_string().into_bytes()))),
    }
}
