//! Transactions: what one run has read, and what it is going to write.

mod ranges;
mod read_source;
mod records;

use std::sync::Arc;

use circled_protocol::{PublicKey, methods::RunEffects};

use self::read_source::ReadSource;
pub use self::read_source::{OnCounted, RemoteReads, Scanned};
pub(super) use self::records::StoreRecords;
use super::{
    Settings,
    disk::Disk,
    effects::Effects,
    error::{Unavailable, WriteError},
    event::NewEvent,
    expiring::{self, ReadTime},
    range::OWN,
    read_set::ReadSet,
    snapshot::Snapshot,
    submitted_job::SubmittedJob,
    table::{Key, Value},
    write::{AddError, DIGITS, PUSHED, Write, last_push, pushed_key, sum},
};

/// A consistent view of one circle's store, with changes to it that nobody else sees before they are committed.
/// Dropping it changes nothing.
pub struct Transaction {
    source: ReadSource,
    limits: Arc<Settings>,
    circle: PublicKey,
    /// The time at which it looks at keys that expire.
    read_time: ReadTime,
    effects: Effects,
    /// The number of its writes that are the circle's own.
    own_writes: usize,
    /// The provider whose delivery it runs for, if it does.
    provider: Option<Box<str>>,
    /// True if it may write nothing.
    only_reads: bool,
    /// True if its run knows its caller.
    saw_caller: bool,
}

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
            read_time: ReadTime::default(),
            effects: Effects::default(),
            own_writes: 0,
            provider: None,
            only_reads: false,
            saw_caller: false,
        }
    }

    /// Has it write nothing, and emit nothing: a script that tries fails.
    pub fn only_read(&mut self) {
        self.only_reads = true;
    }

    /// Notes that its run knows its caller: that of another one may end otherwise.
    pub fn see_caller(&mut self) {
        self.saw_caller = true;
    }

    /// Returns whether its run knows its caller.
    pub fn saw_caller(&self) -> bool {
        self.saw_caller
    }

    /// Returns the number of the circle's last commit that it sees; 0 for a remote store, where the commit finds it.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn last_commit(&mut self) -> Result<u64, Unavailable> {
        self.source.last_commit(&self.circle)
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
        let stored = self.read(key.clone())?;
        Ok(stored.map(|stored| expiring::json(&key, stored)))
    }

    /// Returns the time when `key` expires, if it does, in milliseconds since 1970. That reads its value.
    ///
    /// # Errors
    /// A key that none can have; a disk that can't be read.
    pub fn expires_at(&mut self, key: &str) -> Result<Option<i64>, WriteError> {
        let key = self.checked(key)?;
        let stored = self.read(key.clone())?;
        Ok(stored.and_then(|stored| expiring::expiry_of(&key, &stored)))
    }

    /// Returns the stored value of `key`, the transaction's own writes included.
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

    /// Returns the stored value of `key` without its own writes.
    fn read_stored(&mut self, key: Key) -> Result<Option<Value>, WriteError> {
        if let Some(value) = self.effects.reads.get(&key) {
            return Ok(value.clone());
        }
        let value = self.source.get(&self.circle, &key, &mut self.read_time)?;
        self.effects.reads.insert(key, value.clone());
        Ok(value)
    }

    /// Sets `key` to `value`, which must be JSON, or with none deletes it. Then the key doesn't expire.
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

    /// Sets `key` to `value`, which must be JSON, until a time in milliseconds since 1970: from then on, nobody sees it.
    ///
    /// # Errors
    /// A key or a value past its limit, or one key too many.
    pub fn set_until(&mut self, key: &str, value: &Value, end: i64) -> Result<(), WriteError> {
        let is_there = self.read_time.writes_until(end, || self.source.now());
        self.set(key, Some(value.clone()))?;
        let write = match is_there {
            true => Write::Put(expiring::with_expiry(value, end)),
            false => Write::Delete,
        };
        self.effects.writes.insert(Key::new(key.as_bytes()), write);
        Ok(())
    }

    /// Sets `key` to `value`, which must be JSON. If it expires, it does so as before. That reads its value.
    ///
    /// # Errors
    /// A key or a value past its limit, or one key too many; a disk that can't be read.
    pub fn set_keeping_expiry(&mut self, key: &str, value: Value) -> Result<(), WriteError> {
        match self.expires_at(key)? {
            Some(end) => self.set_until(key, &value, end),
            None => self.set(key, Some(value)),
        }
    }

    /// Adds a number to the value that `key` has at the commit, or to 0. If it expires, it does so as before. That is no read, so
    /// it collides with nothing; but the commit fails if the value is no whole number then, or the sum too large.
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

    /// Checks that one more key may be written.
    fn check_writes(&self, key: &Key) -> Result<(), WriteError> {
        if self.only_reads {
            return Err(WriteError::ReadOnly);
        }
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

    /// Returns the value of one of the circle's own keys, which no script sees.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn own_get(&mut self, key: &[u8]) -> Result<Option<Value>, WriteError> {
        let key = own(key);
        let stored = self.read(key.clone())?;
        Ok(stored.map(|stored| expiring::json(&key, stored)))
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
        Ok(self.source.get(&self.circle, &key, &mut self.read_time)?)
    }

    /// Sets one of the circle's own keys to `value`, or with none deletes it. The limits of a job don't hold for it,
    /// the circle's quota does.
    pub fn own_set(&mut self, key: &[u8], value: Option<Value>) {
        if self.effects.writes.insert(own(key), value.into()).is_none() {
            self.own_writes += 1;
        }
    }

    /// Sets one of the circle's own keys that has the reply to a request, until a time in milliseconds since 1970.
    pub fn own_set_until(&mut self, key: &[u8], value: &[u8], expiry: i64) {
        let is_there = self.read_time.writes_until(expiry, || self.source.now());
        let value = is_there.then(|| expiring::with_expiry(value, expiry));
        self.own_set(key, value);
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
        if self.only_reads {
            return Err(WriteError::ReadOnly);
        }
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

    /// Returns what its run's caller is told of its effects.
    pub fn told_effects(&self) -> RunEffects {
        self.effects.told()
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

    /// Returns whether all that it has read is on disk, so that a result may be sent at once. If it came to a key that had
    /// expired, that needs a commit as well: see `validate_reads`.
    pub fn read_only_durable(&self) -> bool {
        match &self.source {
            ReadSource::Disk { snapshot, .. } => {
                snapshot.as_ref().is_none_or(Snapshot::is_durable)
                    && !self.read_time.is_near_expiry(0)
            }
            ReadSource::Remote(_) => self.effects.reads.is_empty(),
        }
    }

    /// Returns whether it came to a key that had expired or expires within some milliseconds. Then a clock that is off by these
    /// may have told it wrong.
    pub fn is_near_expiry(&self, within: i64) -> bool {
        self.read_time.is_near_expiry(within)
    }

    /// Returns the time at which it looks at keys that expire, if there were any.
    pub(super) fn read_at(&self) -> Option<i64> {
        self.read_time.read_at()
    }

    /// Deletes a key that has expired.
    pub(super) fn sweep(&mut self, key: &[u8]) {
        let writes = &mut self.effects.writes;
        writes.insert(Key::new(key), Write::Delete);
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

/// Returns the error of a number that can't be added to the value of a key.
fn not_added(key: &Key) -> impl FnOnce(AddError) -> WriteError {
    let key = key.clone();
    |why| WriteError::Add { key, why }
}

/// Returns one of the circle's own keys as it is kept.
pub fn own(key: &[u8]) -> Key {
    Key::from([&[OWN], key].concat())
}

/// Returns the key that has the number of the last push.
pub fn pushed() -> Key {
    own(PUSHED)
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
