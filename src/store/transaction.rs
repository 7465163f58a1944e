//! What one run has read and is going to write.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use sha1::{Digest, Sha1};

use super::{
    Settings,
    disk::Disk,
    error::{Unavailable, WriteError},
    event::NewEvent,
    snapshot::Snapshot,
    table::{Key, Record, Table, Value},
};
use crate::auth::PublicKey;

/// What the circle's own keys begin with. No script can name one of them: its keys are UTF-8.
const OWN: u8 = 0xff;

/// A consistent look at one circle's store, and changes to it that nobody else sees before they are
/// committed. Dropping it changes nothing.
pub struct Transaction {
    source: ReadSource,
    limits: Arc<Settings>,
    circle: PublicKey,
    /// What was found, or not found, under each key that was looked at.
    reads: BTreeMap<Key, Option<Value>>,
    /// What was found under each prefix that was listed.
    lists: BTreeMap<Key, PrefixDigest>,
    /// The same elsewhere, each time that it was: what is there may change between two looks.
    remote_lists: Vec<(Key, PrefixDigest)>,
    writes: BTreeMap<Key, Option<Value>>,
    /// How many of them are the circle's own.
    own_writes: usize,
    events: Vec<NewEvent>,
    /// Whose delivery it runs for, if it does.
    provider: Option<Box<str>>,
}

/// Where it reads.
enum ReadSource {
    Disk {
        disk: Arc<Disk>,
        /// Taken at the first read, unless it was given.
        snapshot: Option<Snapshot>,
    },
    Remote(Box<dyn RemoteReads>),
}

/// Reads a circle's store that is somewhere else, and may change between two reads: whoever commits checks
/// that what was read still stands.
pub trait RemoteReads: Send {
    /// What stands under `key`.
    ///
    /// # Errors
    /// It can't be told.
    fn get(&mut self, key: &Key) -> Result<Option<Value>, Unavailable>;

    /// The keys that begin with `prefix`, in the order of their bytes, at most `max` of them.
    ///
    /// # Errors
    /// They can't be told.
    fn keys(&mut self, prefix: &Key, max: usize) -> Result<Vec<Key>, Unavailable>;
}

/// What a run has read and is going to write, for whoever commits it elsewhere.
#[derive(Debug, Default)]
pub struct Effects {
    /// What was found, or not found, under each key that was looked at.
    pub reads: BTreeMap<Key, Option<Value>>,
    /// What was found under each prefix that was listed, each time.
    pub lists: Vec<PrefixRead>,
    /// What is to stand under each key, or that nothing is.
    pub writes: BTreeMap<Key, Option<Value>>,
    /// What it tells, in order.
    pub events: Vec<NewEvent>,
}

/// What was found under a prefix.
#[derive(Debug)]
pub struct PrefixRead {
    /// The prefix.
    pub prefix: Key,
    /// How many keys were seen.
    pub count: usize,
    /// Whether these were all of them.
    pub whole: bool,
    /// SHA-1 over them, each after its length in decimal and a colon. No other hash can be had inside Redis;
    /// who makes up keys that collide fools nobody but the scripts of their own circle.
    pub hash: [u8; 20],
}

/// A list of keys, told from any other by its hash, see [`PrefixRead::hash`].
struct PrefixDigest {
    hash: Sha1,
    count: usize,
    /// Whether it went to the end.
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

    /// One that reads a store elsewhere.
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

    /// Has it run for a provider's delivery: its script may tell of that under the provider's own topic.
    pub fn run_for(&mut self, provider: &str) {
        if self.provider.as_deref() != Some(provider) {
            self.provider = Some(provider.into());
        }
    }

    /// The circle whose store this is.
    pub fn circle(&self) -> PublicKey {
        self.circle
    }

    /// What stands under `key`, the transaction's own writes included.
    ///
    /// # Errors
    /// A key that none can have; a disk that can't be read.
    pub fn get(&mut self, key: &str) -> Result<Option<Value>, WriteError> {
        let key = self.checked(key)?;
        self.look(key)
    }

    fn look(&mut self, key: Key) -> Result<Option<Value>, WriteError> {
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

    /// Has `value`, which must be JSON, stand under `key`, or with none, nothing.
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

    /// The keys that begin with `prefix`, in the order of their bytes, at most `max` of them.
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

    /// What stands under a key of the circle's own, which no script sees.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn own_get(&mut self, key: &[u8]) -> Result<Option<Value>, WriteError> {
        self.look(own(key))
    }

    /// The same, without any need that it still stands at the commit: for what never changes under its key.
    /// What isn't there may come, and nobody notices.
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

    /// Has `value` stand under a key of the circle's own, or with none, nothing. The limits of a job don't
    /// hold for it, the circle's quota does.
    pub fn own_set(&mut self, key: &[u8], value: Option<Value>) {
        if self.writes.insert(own(key), value).is_none() {
            self.own_writes += 1;
        }
    }

    /// The circle's own keys that begin with `prefix` and don't go on with a byte 0xFF, in order, at most
    /// `max` of them.
    ///
    /// # Errors
    /// More than `max` keys; a disk that can't be read.
    pub fn own_keys(&mut self, prefix: &[u8], max: usize) -> Result<Vec<Key>, WriteError> {
        let keys = self.list(own(prefix), max)?;
        Ok(keys.iter().map(|key| Key::new(&key[1..])).collect())
    }

    /// Tells the circle's sessions, once it is committed, that something has happened, for a script: `data`, which
    /// must be JSON. `to`: only this key and the owner are told.
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

    /// The same for what circled itself tells, whatever the limits.
    pub fn emit_unchecked(&mut self, event: NewEvent) {
        self.events.push(event);
    }

    /// What it is going to tell.
    pub fn events(&self) -> &[NewEvent] {
        &self.events
    }

    /// The same, for whoever sees to it that it lands with the commit.
    pub fn take_events(&mut self) -> Vec<NewEvent> {
        std::mem::take(&mut self.events)
    }

    /// Takes back what it was going to write and to tell. What it has seen is still to be true when it is committed.
    pub fn discard_writes(&mut self) {
        self.writes.clear();
        self.own_writes = 0;
        self.events.clear();
    }

    /// Whether it would change anything.
    pub fn writes(&self) -> bool {
        !self.writes.is_empty() || !self.events.is_empty()
    }

    /// Whether what it has seen may be told at once: it is on disk, or nothing was.
    pub fn read_only_durable(&self) -> bool {
        match &self.source {
            ReadSource::Disk { snapshot, .. } => snapshot.as_ref().is_none_or(Snapshot::is_durable),
            ReadSource::Remote(_) => self.reads.is_empty() && self.remote_lists.is_empty(),
        }
    }

    /// What it has read still stands in `now`. What writes nothing may come before all that has changed
    /// since, but not if that is the end of something it saw.
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

    /// Lets go of what it has read, and answers what it writes.
    pub(super) fn into_records(self) -> Vec<Record> {
        let record = |(key, value)| Record {
            table: Table::Store,
            key,
            value,
        };
        self.writes.into_iter().map(record).collect()
    }

    /// Lets go of everything, for whoever commits it elsewhere.
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

    /// What its writes and events take, about.
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

/// Whether a list of what begins with `prefix` has this key in it. The circle's own come last of all, so
/// that a script's list of everything ends before them; and Redis has no end for a prefix but this.
fn is_under(key: &[u8], prefix: &[u8]) -> bool {
    key.strip_prefix(prefix)
        .is_some_and(|rest| rest.first() != Some(&OWN))
}

/// What is looked at, from the first look on.
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
