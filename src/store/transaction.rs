//! What one run has read and is going to write.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    Settings,
    disk::Disk,
    error::{Unavailable, WriteError},
    table::{Key, Record, Table, Value},
    view::View,
};
use crate::auth::PublicKey;

/// A consistent look at one circle's store, and changes to it that nobody else sees before they are
/// committed. Dropping it changes nothing.
pub struct Transaction {
    disk: Arc<Disk>,
    limits: Arc<Settings>,
    circle: PublicKey,
    /// Taken at the first read, unless it was given.
    view: Option<View>,
    /// What was found, or not found, under each key that was looked at.
    reads: BTreeMap<Key, Option<Value>>,
    /// What was found under each prefix that was listed.
    lists: BTreeMap<Key, Listed>,
    writes: BTreeMap<Key, Option<Value>>,
}

/// A list of keys, told from any other by its hash.
struct Listed {
    hash: Sha256,
    count: usize,
    /// Whether it went to the end.
    whole: bool,
}

impl Listed {
    fn new() -> Self {
        Self {
            hash: Sha256::new(),
            count: 0,
            whole: true,
        }
    }

    fn push(&mut self, key: &[u8]) {
        // The length first, so that no two lists look the same.
        self.hash.update((key.len() as u64).to_be_bytes());
        self.hash.update(key);
        self.count += 1;
    }
}

impl Transaction {
    pub(super) fn new(
        disk: Arc<Disk>,
        limits: Arc<Settings>,
        circle: PublicKey,
        view: Option<View>,
    ) -> Self {
        Self {
            disk,
            limits,
            circle,
            view,
            reads: BTreeMap::new(),
            lists: BTreeMap::new(),
            writes: BTreeMap::new(),
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
        if let Some(value) = self.writes.get(&key) {
            return Ok(value.clone());
        }
        if let Some(value) = self.reads.get(&key) {
            return Ok(value.clone());
        }
        let circle = self.circle;
        let (view, disk) = self.view();
        let value = view.get(disk, &circle, Table::Store, &key)?;
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
        if self.writes.len() >= self.limits.max_writes && !self.writes.contains_key(&key) {
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
        let prefix = Key::new(prefix.as_bytes());
        let mut own = self
            .writes
            .range::<Key, _>((Bound::Included(&prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(key, value)| (key.clone(), value.is_some()))
            .collect::<Vec<_>>()
            .into_iter()
            .peekable();
        let mut keys = Vec::new();
        let mut listed = Listed::new();
        let circle = self.circle;
        let (view, disk) = self.view();
        view.keys(disk, &circle, Table::Store, &prefix, |key| {
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
        // The longest look at a prefix tells the most.
        match self.lists.get(&prefix) {
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

    /// Takes back what it was going to write. What it has seen is still to be true when it is committed.
    pub fn forget_writes(&mut self) {
        self.writes.clear();
    }

    /// Whether it would change anything.
    pub fn writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Whether what it has seen may be told at once: it is on disk.
    pub fn saw_what_is_safe(&self) -> bool {
        self.view.as_ref().is_none_or(View::is_durable)
    }

    /// What it has read still stands in `now`. What writes nothing may come before all that has changed
    /// since, but not if that is the end of something it saw.
    pub(super) fn stands(&self, now: &View) -> Result<bool, Unavailable> {
        if self.view.as_ref().is_some_and(View::is_lost) {
            return Ok(false);
        }
        if !self.writes() {
            return Ok(true);
        }
        for (key, value) in &self.reads {
            if now.get(&self.disk, &self.circle, Table::Store, key)? != *value {
                return Ok(false);
            }
        }
        for (prefix, before) in &self.lists {
            let mut listed = Listed::new();
            now.keys(&self.disk, &self.circle, Table::Store, prefix, |key| {
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

    /// What its writes take, about.
    pub(super) fn size(&self) -> usize {
        let size = |(key, value): (&Key, &Option<Value>)| {
            64 + key.len() + value.as_ref().map_or(0, |value| value.len())
        };
        self.writes.iter().map(size).sum()
    }

    fn view(&mut self) -> (&View, &Disk) {
        let view = self
            .view
            .get_or_insert_with(|| View::new(self.disk.landed(), None));
        (view, &self.disk)
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

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("circle", &self.circle)
            .field("reads", &self.reads.len())
            .field("lists", &self.lists.len())
            .field("writes", &self.writes.len())
            .finish_non_exhaustive()
    }
}
