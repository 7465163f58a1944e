//! Transactions: what one run has read, and what it is going to write.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use circled_protocol::PublicKey;
use sha1::{Digest, Sha1};

use super::{
    Settings,
    disk::Disk,
    error::{Unavailable, WriteError},
    event::NewEvent,
    snapshot::Snapshot,
    table::{Key, Record, Table, Value},
};

/// The first byte of the circle's own keys. No script can name one of them: its keys are UTF-8.
const OWN: u8 = 0xff;

/// A consistent view of one circle's store, with changes to it that nobody else sees before they are committed.
/// Dropping it changes nothing.
pub struct Transaction {
    source: ReadSource,
    limits: Arc<Settings>,
    circle: PublicKey,
    /// The value of each key that was read, or that it had none.
    reads: BTreeMap<Key, Option<Value>>,
    /// A digest of each prefix that was listed.
    lists: BTreeMap<Key, PrefixDigest>,
    /// Digests of lists in a remote store, one each time: the store may change between two reads.
    remote_lists: Vec<(Key, PrefixDigest)>,
    writes: BTreeMap<Key, Option<Value>>,
    /// The number of them that are the circle's own.
    own_writes: usize,
    events: Vec<NewEvent>,
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

    /// Returns the keys that begin with `prefix`, in the order of their bytes, at most `max` of them.
    ///
    /// # Errors
    /// The store can't be reached.
    fn keys(&mut self, prefix: &Key, max: usize) -> Result<Vec<Key>, Unavailable>;
}

/// The effects of a run: what it has read and is going to write, for a commit to a remote store.
#[derive(Debug, Default)]
pub struct Effects {
    /// The value of each key that was read, or that it had none.
    pub reads: BTreeMap<Key, Option<Value>>,
    /// The digest of each prefix that was listed, one each time.
    pub lists: Vec<PrefixRead>,
    /// The new value of each key, or that it has none.
    pub writes: BTreeMap<Key, Option<Value>>,
    /// The events that it emits, in order.
    pub events: Vec<NewEvent>,
}

/// A prefix that was listed, and what was found.
#[derive(Debug)]
pub struct PrefixRead {
    /// The prefix.
    pub prefix: Key,
    /// The number of keys that were seen.
    pub count: usize,
    /// True if these were all of them.
    pub whole: bool,
    /// SHA-1 over them, each after its length in decimal and a colon. No other hash can be had inside Redis;
    /// who makes up keys that collide fools nobody but the scripts of their own circle.
    pub hash: [u8; 20],
}

/// A digest of a list of keys, see [`PrefixRead::hash`].
struct PrefixDigest {
    hash: Sha1,
    count: usize,
    /// True if the list went to the end.
    whole: bool,
}

impl PrefixDigest {
    fn new() -> Self {
        Self {
            hash: Sha1::new(),
            count: 0,
            whole: true,
        }
    }

    fn push(&mut self, key: &[u8]) {
        // The length first, so that no two lists look the same.
        self.hash.update(format!("{}:", key.len()));
        self.hash.update(key);
        self.count += 1;
    }
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
            reads: BTreeMap::new(),
            lists: BTreeMap::new(),
            remote_lists: Vec::new(),
            writes: BTreeMap::new(),
            own_writes: 0,
            events: Vec::new(),
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
        if let Some(value) = self.writes.get(&key) {
            return Ok(value.clone());
        }
        if let Some(value) = self.reads.get(&key) {
            return Ok(value.clone());
        }
        let value = self.source.get(&self.circle, &key)?;
        self.reads.insert(key, value.clone());
        Ok(value)
    }

    /// Sets `key` to `value`, which must be JSON, or with none deletes it.
    ///
    /// # Errors
    /// A key or a value past its limit, or one key too many.
    pub fn set(&mut self, key: &str, value: Option<Value>) -> Result<(), WriteError> {
        let key = self.checked(key)?;
        let length = value.as_ref().map_or(0, |value| value.len());
        if length > self.limits.max_value {
            return Err(WriteError::Value {
                length,
                max: self.limits.max_value,
            });
        }
        let written = self.writes.len() - self.own_writes;
        if written >= self.limits.max_writes && !self.writes.contains_key(&key) {
            return Err(WriteError::Writes {
                max: self.limits.max_writes,
            });
        }
        self.writes.insert(key, value);
        Ok(())
    }

    /// Returns the keys that begin with `prefix`, in the order of their bytes, at most `max` of them.
    ///
    /// # Errors
    /// More than `max` keys; a disk that can't be read.
    pub fn keys(&mut self, prefix: &str, max: usize) -> Result<Vec<Key>, WriteError> {
        self.list(Key::new(prefix.as_bytes()), max)
    }

    fn list(&mut self, prefix: Key, max: usize) -> Result<Vec<Key>, WriteError> {
        let mut own = self
            .writes
            .range::<Key, _>((Bound::Included(&prefix), Bound::Unbounded))
            .take_while(|(key, _)| is_under(key, &prefix))
            .map(|(key, value)| (key.clone(), value.is_some()))
            .collect::<Vec<_>>()
            .into_iter()
            .peekable();
        let mut keys = Vec::new();
        let mut listed = PrefixDigest::new();
        // Those that it deletes are no longer counted, so it may look at more.
        let most = max.saturating_add(self.writes.len()).saturating_add(1);
        self.source.keys(&self.circle, &prefix, most, &mut |key| {
            if !is_under(key, &prefix) {
                return false;
            }
            listed.push(key);
            while let Some((own, there)) = own.next_if(|(own, _)| own[..] < *key) {
                if there {
                    keys.push(own);
                }
            }
            match own.next_if(|(own, _)| own[..] == *key) {
                Some((_, false)) => {}
                Some(_) | None => keys.push(Key::new(key)),
            }
            listed.whole = keys.len() <= max;
            listed.whole
        })?;
        keys.extend(own.filter(|(_, there)| *there).map(|(key, _)| key));
        // One state was looked at, so the longest look at a prefix tells the most.
        match self.lists.get(&prefix) {
            _ if matches!(self.source, ReadSource::Remote(_)) => {
                self.remote_lists.push((prefix, listed))
            }
            Some(before) if before.whole || !listed.whole && before.count >= listed.count => {}
            _ => {
                self.lists.insert(prefix, listed);
            }
        }
        if keys.len() > max {
            return Err(WriteError::Keys { max });
        }
        Ok(keys)
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
        match self.writes.get(&key).or_else(|| self.reads.get(&key)) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.source.get(&self.circle, &key)?),
        }
    }

    /// Sets one of the circle's own keys to `value`, or with none deletes it. The limits of a job don't hold for it,
    /// the circle's quota does.
    pub fn own_set(&mut self, key: &[u8], value: Option<Value>) {
        if self.writes.insert(own(key), value).is_none() {
            self.own_writes += 1;
        }
    }

    /// Returns the circle's own keys that begin with `prefix` and don't go on with a byte 0xFF, in order, at most `max`
    /// of them.
    ///
    /// # Errors
    /// More than `max` keys; a disk that can't be read.
    pub fn own_keys(&mut self, prefix: &[u8], max: usize) -> Result<Vec<Key>, WriteError> {
        let keys = self.list(own(prefix), max)?;
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
        event.check(&self.events, self.provider.as_deref(), &self.limits)?;
        self.events.push(event);
        Ok(())
    }

    /// Emits an event of circled itself, whatever the limits.
    pub fn emit_unchecked(&mut self, event: NewEvent) {
        self.events.push(event);
    }

    /// Returns the events that it emits.
    pub fn events(&self) -> &[NewEvent] {
        &self.events
    }

    /// Takes the events out, for a caller that commits them.
    pub fn take_events(&mut self) -> Vec<NewEvent> {
        std::mem::take(&mut self.events)
    }

    /// Discards its writes and events. What it has read must still be unchanged when it is committed.
    pub fn discard_writes(&mut self) {
        self.writes.clear();
        self.own_writes = 0;
        self.events.clear();
    }

    /// Returns whether it would change anything.
    pub fn writes(&self) -> bool {
        !self.writes.is_empty() || !self.events.is_empty()
    }

    /// Returns whether all that it has read is on disk, so that a result may be sent at once.
    pub fn read_only_durable(&self) -> bool {
        match &self.source {
            ReadSource::Disk { snapshot, .. } => snapshot.as_ref().is_none_or(Snapshot::is_durable),
            ReadSource::Remote(_) => self.reads.is_empty() && self.remote_lists.is_empty(),
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
        for (key, value) in &self.reads {
            if now.get(disk, &self.circle, Table::Store, key)? != *value {
                return Ok(false);
            }
        }
        for (prefix, before) in &self.lists {
            let mut listed = PrefixDigest::new();
            now.keys(disk, &self.circle, Table::Store, prefix, |key| {
                if !is_under(key, prefix) {
                    return false;
                }
                listed.push(key);
                before.whole || listed.count < before.count
            })?;
            if listed.count != before.count
                || listed.hash.finalize() != before.hash.clone().finalize()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Drops what it has read, and returns what it writes.
    pub(super) fn into_records(self) -> Vec<Record> {
        let record = |(key, value)| Record {
            table: Table::Store,
            key,
            value,
        };
        self.writes.into_iter().map(record).collect()
    }

    /// Takes it apart, for a commit to a remote store.
    pub fn into_effects(self) -> Effects {
        let list = |(prefix, listed): (Key, PrefixDigest)| PrefixRead {
            prefix,
            count: listed.count,
            whole: listed.whole,
            hash: listed.hash.finalize().into(),
        };
        Effects {
            reads: self.reads,
            lists: self.remote_lists.into_iter().map(list).collect(),
            writes: self.writes,
            events: self.events,
        }
    }

    /// Returns about how many bytes its writes and events take.
    pub(super) fn size(&self) -> usize {
        let size = |(key, value): (&Key, &Option<Value>)| {
            64 + key.len() + value.as_ref().map_or(0, |value| value.len())
        };
        let writes: usize = self.writes.iter().map(size).sum();
        writes + self.events.iter().map(NewEvent::size).sum::<usize>()
    }

    fn checked(&self, key: &str) -> Result<Key, WriteError> {
        if key.is_empty() || key.len() > self.limits.max_key {
            return Err(WriteError::Key {
                length: key.len(),
                max: self.limits.max_key,
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

    /// Calls `found` with every key that begins with `prefix`, in order, until it says to stop or has
    /// seen `max`.
    fn keys(
        &mut self,
        circle: &PublicKey,
        prefix: &Key,
        max: usize,
        found: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), Unavailable> {
        match self {
            Self::Disk { disk, snapshot } => {
                viewed(snapshot, disk).keys(disk, circle, Table::Store, prefix, found)
            }
            Self::Remote(reads) => {
                for key in reads.keys(prefix, max)? {
                    if !found(&key) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

/// The key as it is kept.
pub(super) fn own(key: &[u8]) -> Key {
    Key::from([&[OWN], key].concat())
}

/// Returns whether a list of the keys under `prefix` includes this key. The circle's own keys come last, so that a
/// script's list of everything ends before them; and Redis has no other end for a prefix.
fn is_under(key: &[u8], prefix: &[u8]) -> bool {
    key.strip_prefix(prefix)
        .is_some_and(|rest| rest.first() != Some(&OWN))
}

/// Returns the snapshot, and takes it first if there is none.
fn viewed<'a>(snapshot: &'a mut Option<Snapshot>, disk: &Disk) -> &'a Snapshot {
    snapshot.get_or_insert_with(|| Snapshot::new(disk.snapshot(), None))
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("circle", &self.circle)
            .field("reads", &self.reads.len())
            .field("lists", &self.lists.len())
            .field("writes", &self.writes.len())
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}
