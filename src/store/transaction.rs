//! Transactions: what one run has read, and what it is going to write.

use std::{iter, sync::Arc};

use circled_protocol::PublicKey;

use super::{
    Settings,
    disk::Disk,
    effects::Effects,
    error::{CommitError, Unavailable, WriteError},
    event::NewEvent,
    range::{KeyRange, OWN, Want},
    read_set::{RangeDigest, ReadSet},
    snapshot::Snapshot,
    submitted_job::SubmittedJob,
    table::{Key, Record, Table, Value},
    write::{AddError, DIGITS, PUSHED, Write, last_push, pushed_key, sum},
};

/// A consistent view of one circle's store, with changes to it that nobody else sees before they are committed.
/// Dropping it changes nothing.
pub struct Transaction {
    source: ReadSource,
    limits: Arc<Settings>,
    circle: PublicKey,
    effects: Effects,
    /// The number of its writes that are the circle's own.
    own_writes: usize,
    /// The provider whose delivery it runs for, if it does.
    provider: Option<Box<str>>,
}

/// The store that a transaction reads.
enum ReadSource {
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

    /// Returns what is in a range, as it is to be read and as it is wanted, all of one moment.
    ///
    /// # Errors
    /// The store can't be reached.
    fn scan(&mut self, range: &KeyRange, want: Want) -> Result<Scanned, Unavailable>;
}

/// What a transaction writes to the store.
pub(super) struct StoreRecords {
    /// The keys that it deletes by ranges.
    pub(super) removed: Vec<Record>,
    /// The bytes that they had.
    pub(super) freed: u64,
    /// All others.
    pub(super) written: Vec<Record>,
}

/// What there is in a range, as it was wanted.
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

impl Transaction {
    pub(super) fn new(
        disk: Arc<Disk>,
        limits: Arc<Settings>,
        circle: PublicKey,
        snapshot: Option<Snapshot>,
    ) -> Self {
        Self::with(ReadSource::Disk { disk, snapshot }, limits, circle)
    }

    /// Begins a transaction on a remote store.
    pub fn remote(reads: Box<dyn RemoteReads>, limits: Arc<Settings>, circle: PublicKey) -> Self {
        Self::with(ReadSource::Remote(reads), limits, circle)
    }

    fn with(source: ReadSource, limits: Arc<Settings>, circle: PublicKey) -> Self {
        Self {
            source,
            limits,
            circle,
            effects: Effects::default(),
            own_writes: 0,
            provider: None,
        }
    }

    /// Has it run for a provider's delivery: its script may emit events under the provider's topic.
    pub fn run_for(&mut self, provider: &str) {
        if self.provider.as_deref() != Some(provider) {
            self.provider = Some(provider.into());
        }
    }

    /// The circle whose store this is.
    pub fn circle(&self) -> PublicKey {
        self.circle
    }

    /// Returns the value of `key`, the transaction's own writes included.
    ///
    /// # Errors
    /// A key that none can have; a disk that can't be read.
    pub fn get(&mut self, key: &str) -> Result<Option<Value>, WriteError> {
        let key = self.checked(key)?;
        self.read(key)
    }

    fn read(&mut self, key: Key) -> Result<Option<Value>, WriteError> {
        self.settle_pushes(|prefix| {
            let digits = key.strip_prefix(&prefix[..]);
            digits.is_some_and(|digits| digits.len() == DIGITS)
        })?;
        match self.effects.writes.get(&key) {
            Some(Write::Put(value)) => Ok(Some(value.clone())),
            Some(Write::Delete) => Ok(None),
            Some(Write::Add(by)) => {
                let by = *by;
                let stored = self.read_stored(key.clone())?;
                let sum = sum(stored.as_ref(), by).map_err(not_added(&key))?;
                Ok(Some(sum))
            }
            None if self.deletes(&key) => Ok(None),
            None => self.read_stored(key),
        }
    }

    /// Returns the value of `key` without its own writes.
    fn read_stored(&mut self, key: Key) -> Result<Option<Value>, WriteError> {
        if let Some(value) = self.effects.reads.get(&key) {
            return Ok(value.clone());
        }
        let value = self.source.get(&self.circle, &key)?;
        self.effects.reads.insert(key, value.clone());
        Ok(value)
    }

    /// Sets `key` to `value`, which must be JSON, or with none deletes it.
    ///
    /// # Errors
    /// A key or a value past its limit, or one key too many.
    pub fn set(&mut self, key: &str, value: Option<Value>) -> Result<(), WriteError> {
        let key = self.checked(key)?;
        let length = value.as_ref().map_or(0, |value| value.len());
        self.check_value(length)?;
        self.check_writes(&key)?;
        self.effects.writes.insert(key, value.into());
        Ok(())
    }

    /// Adds a number to the value that `key` has at the commit, or to 0. That is no read, so it collides with nothing;
    /// but the commit fails if the value is no whole number then, or the sum too large.
    ///
    /// # Errors
    /// A key past its limit, or one key too many. What it has written under the key can't be added to.
    pub fn add(&mut self, key: &str, by: i64) -> Result<(), WriteError> {
        let key = self.checked(key)?;
        self.check_writes(&key)?;
        let is_deleted = self.deletes(&key);
        let writes = &mut self.effects.writes;
        let added = match writes.get(&key) {
            None if is_deleted => sum(None, by).map(Write::Put),
            None => Ok(Write::Add(by)),
            Some(Write::Add(before)) => {
                let sum = before.checked_add(by).map(Write::Add);
                sum.ok_or(AddError::Overflow)
            }
            Some(Write::Put(value)) => sum(Some(value), by).map(Write::Put),
            Some(Write::Delete) => sum(None, by).map(Write::Put),
        };
        let added = added.map_err(not_added(&key))?;
        writes.insert(key, added);
        Ok(())
    }

    /// Gives `value`, which must be JSON, a new key at the commit: the prefix and 20 digits, greater than those of all
    /// pushes that were committed before. That is no read, so it collides with nothing.
    ///
    /// # Errors
    /// A key or a value past its limit, or one key too many.
    pub fn push(&mut self, prefix: &str, value: Value) -> Result<(), WriteError> {
        let (length, max) = (prefix.len() + DIGITS, self.limits.max_key.get());
        if length > max {
            return Err(WriteError::Key { length, max });
        }
        self.check_value(value.len())?;
        // Its key is another one than all that it has written.
        self.check_writes(&own(PUSHED))?;
        self.effects
            .pushes
            .push((Key::new(prefix.as_bytes()), value));
        // It has seen the number of the last push, and goes on from there.
        let has_settled = self.effects.writes.contains_key(&own(PUSHED));
        self.settle_pushes(|_| has_settled)
    }

    /// Gives all pushes their keys, if any of their prefixes is looked at: whoever looks sees them as they will be, and
    /// collides with others' pushes.
    fn settle_pushes(&mut self, is_looked_at: impl Fn(&Key) -> bool) -> Result<(), WriteError> {
        let pushes = &mut self.effects.pushes;
        if !pushes.iter().any(|(prefix, _)| is_looked_at(prefix)) {
            return Ok(());
        }
        let pushes = std::mem::take(pushes);
        let mut number = last_push(self.own_get(PUSHED)?.as_ref());
        for (prefix, value) in pushes {
            let key = loop {
                number += 1;
                let key = pushed_key(&prefix, number);
                if !self.effects.writes.contains_key(&key)
                    && self.read_stored(key.clone())?.is_none()
                {
                    break key;
                }
            };
            self.effects.writes.insert(key, Write::Put(value));
        }
        self.own_set(PUSHED, Some(Value::from(number.to_string().into_bytes())));
        Ok(())
    }

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
    fn deletes(&self, key: &Key) -> bool {
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

    /// Checks that one more key may be written.
    fn check_writes(&self, key: &Key) -> Result<(), WriteError> {
        let Effects {
            range_deletes,
            writes,
            pushes,
            ..
        } = &self.effects;
        let max = self.limits.max_writes;
        let written = range_deletes.len() + writes.len() - self.own_writes + pushes.len();
        if written >= max && (!writes.contains_key(key) || key[0] == OWN) {
            return Err(WriteError::Writes { max });
        }
        Ok(())
    }

    fn check_value(&self, length: usize) -> Result<(), WriteError> {
        let max = self.limits.max_value.get();
        if length > max {
            return Err(WriteError::Value { length, max });
        }
        Ok(())
    }

    /// Returns the keys that begin with `prefix`, in the order of their bytes, at most `max` of them.
    ///
    /// # Errors
    /// More than `max` keys; a disk that can't be read.
    pub fn keys(&mut self, prefix: &str, max: usize) -> Result<Vec<Key>, WriteError> {
        self.list(prefix.as_bytes(), max)
    }

    fn list(&mut self, prefix: &[u8], max: usize) -> Result<Vec<Key>, WriteError> {
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
        let entries = self.read_range(range, Want::Entries { max_bytes })?;
        let bytes = entries.iter().map(|(key, value)| key.len() + value.len());
        if bytes.sum::<usize>() > max_bytes {
            return Err(WriteError::Entries { max: max_bytes });
        }
        Ok(entries)
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
        let Some(mut count) = self.source.count(&self.circle, &range, on_counted)? else {
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
    fn settle_in(&mut self, range: &KeyRange) -> Result<(), WriteError> {
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
        self.source
            .entries(&self.circle, &wanted, want, &mut |key, value| {
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

    /// Returns the value of one of the circle's own keys, which no script sees.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn own_get(&mut self, key: &[u8]) -> Result<Option<Value>, WriteError> {
        self.read(own(key))
    }

    /// Returns the value of one of the circle's own keys without checking it again at the commit: for values that never
    /// change. A key that has none may get one, and the commit doesn't notice.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn own_peek(&mut self, key: &[u8]) -> Result<Option<Value>, WriteError> {
        let key = own(key);
        let Effects { reads, writes, .. } = &self.effects;
        if writes.contains_key(&key) || reads.get(&key).is_some() {
            return self.read(key);
        }
        Ok(self.source.get(&self.circle, &key)?)
    }

    /// Sets one of the circle's own keys to `value`, or with none deletes it. The limits of a job don't hold for it,
    /// the circle's quota does.
    pub fn own_set(&mut self, key: &[u8], value: Option<Value>) {
        if self.effects.writes.insert(own(key), value.into()).is_none() {
            self.own_writes += 1;
        }
    }

    /// Returns the circle's own keys that begin with `prefix` and don't go on with a byte 0xFF, in order, at most `max`
    /// of them.
    ///
    /// # Errors
    /// More than `max` keys; a disk that can't be read.
    pub fn own_keys(&mut self, prefix: &[u8], max: usize) -> Result<Vec<Key>, WriteError> {
        let keys = self.list(&own(prefix), max)?;
        Ok(keys.iter().map(|key| Key::new(&key[1..])).collect())
    }

    /// Emits an event for a script, which the circle's sessions receive once it is committed. `data` must be JSON.
    /// `to`: only this key and the owner receive it.
    ///
    /// # Errors
    /// A topic that is the server's own; a topic or data past its limit, or one event too many.
    pub fn emit(
        &mut self,
        topic: &str,
        data: Value,
        to: Option<PublicKey>,
    ) -> Result<(), WriteError> {
        let topic = topic.into();
        let event = NewEvent { topic, data, to };
        let events = &mut self.effects.events;
        event.check(events, self.provider.as_deref(), &self.limits)?;
        events.push(event);
        Ok(())
    }

    /// Emits an event of circled itself, whatever the limits.
    pub fn emit_unchecked(&mut self, event: NewEvent) {
        self.effects.events.push(event);
    }

    /// Submits a durable job.
    pub fn submit(&mut self, job: SubmittedJob) {
        self.effects.jobs.push(job);
    }

    /// Returns what it has read.
    pub fn reads(&self) -> &ReadSet {
        &self.effects.reads
    }

    /// Returns the events that it emits.
    pub fn events(&self) -> &[NewEvent] {
        &self.effects.events
    }

    /// Takes the events out, for a caller that commits them.
    pub fn take_events(&mut self) -> Vec<NewEvent> {
        std::mem::take(&mut self.effects.events)
    }

    pub(super) fn take_jobs(&mut self) -> Vec<SubmittedJob> {
        std::mem::take(&mut self.effects.jobs)
    }

    /// Discards its writes, events and jobs. What it has read must still be unchanged when it is committed.
    pub fn discard_writes(&mut self) {
        self.effects.discard_changes();
        self.own_writes = 0;
    }

    /// Returns whether it would change anything.
    pub fn writes(&self) -> bool {
        self.effects.changes()
    }

    /// Returns whether it would change the store.
    pub(super) fn writes_store(&self) -> bool {
        self.effects.writes_store()
    }

    /// Returns whether all that it has read is on disk, so that a result may be sent at once.
    pub fn read_only_durable(&self) -> bool {
        match &self.source {
            ReadSource::Disk { snapshot, .. } => snapshot.as_ref().is_none_or(Snapshot::is_durable),
            ReadSource::Remote(_) => self.effects.reads.is_empty(),
        }
    }

    /// Returns whether what it has read is unchanged in `now`. A transaction that writes nothing may come before all
    /// that has changed since, unless it saw something that is lost.
    pub(super) fn validate_reads(&self, now: &Snapshot) -> Result<bool, Unavailable> {
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
    pub(super) fn into_records(
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

    /// Takes it apart, for a commit to a remote store.
    pub fn into_effects(self) -> Effects {
        self.effects
    }

    /// Returns about how many bytes its changes take.
    pub(super) fn size(&self) -> usize {
        let removed = match &self.effects.range_deletes[..] {
            [] => 0,
            // Nobody knows yet how many keys there are.
            _ => 64 * self.limits.max_range_delete,
        };
        self.effects.size() + removed
    }

    fn checked(&self, key: &str) -> Result<Key, WriteError> {
        if key.is_empty() || key.len() > self.limits.max_key.get() {
            return Err(WriteError::Key {
                length: key.len(),
                max: self.limits.max_key.get(),
            });
        }
        Ok(Key::new(key.as_bytes()))
    }
}

impl ReadSource {
    fn get(&mut self, circle: &PublicKey, key: &Key) -> Result<Option<Value>, Unavailable> {
        match self {
            Self::Disk { disk, snapshot } => {
                viewed(snapshot, disk).get(disk, circle, Table::Store, key)
            }
            Self::Remote(reads) => reads.get(key),
        }
    }

    /// Calls `found` with every key in a range and its value, if that is wanted, as it is to be read, until it says to
    /// stop.
    fn entries(
        &mut self,
        circle: &PublicKey,
        range: &KeyRange,
        want: Want,
        found: &mut dyn FnMut(&[u8], &Value) -> bool,
    ) -> Result<(), Unavailable> {
        match self {
            Self::Disk { disk, snapshot } => {
                viewed(snapshot, disk).entries(disk, circle, Table::Store, range, found)
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
    fn count(
        &mut self,
        circle: &PublicKey,
        range: &KeyRange,
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
                viewed(snapshot, disk).entries(disk, circle, Table::Store, range, found)?;
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

/// Returns the value that a key gets which has none.
fn written_new((key, write): (Key, Write)) -> Option<(Key, Value)> {
    match write {
        Write::Put(value) => Some((key, value)),
        Write::Delete => None,
        Write::Add(by) => Some((key, Value::from(by.to_string().into_bytes()))),
    }
}

/// Returns the error of a number that can't be added to the value of a key.
fn not_added(key: &Key) -> impl FnOnce(AddError) -> WriteError {
    let key = key.clone();
    |why| WriteError::Add { key, why }
}

/// The key as it is kept.
pub(super) fn own(key: &[u8]) -> Key {
    Key::from([&[OWN], key].concat())
}

/// Returns the key that has the number of the last push.
pub fn pushed() -> Key {
    own(PUSHED)
}

/// Returns the snapshot, and takes it first if there is none.
fn viewed<'a>(snapshot: &'a mut Option<Snapshot>, disk: &Disk) -> &'a Snapshot {
    snapshot.get_or_insert_with(|| Snapshot::new(disk.snapshot(), None))
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("circle", &self.circle)
            .field("reads", &self.effects.reads.len())
            .field("writes", &self.effects.writes.len())
            .field("events", &self.effects.events.len())
            .field("jobs", &self.effects.jobs.len())
            .finish_non_exhaustive()
    }
}
