//! A circle's store in memory, which one run after another uses: for tests of scripts.

use std::{collections::BTreeMap, sync::Arc};

use circled_protocol::PublicKey;

use super::{
    CommitError, Effects, KeyRange, NewEvent, RemoteReads, Scanned, Settings, Transaction,
    Unavailable, Want,
    expiring::ReadTime,
    replies::is_request,
    table::{Key, Value},
    write::{PUSHED, Write, last_push, pushed_key, sum},
};

type Entries = BTreeMap<Key, Value>;

/// A circle's store in memory. Copies are cheap, and apart from one another.
#[derive(Debug, Clone)]
pub struct InMemory {
    circle: PublicKey,
    limits: Arc<Settings>,
    entries: Arc<Entries>,
}

/// The entries as they are at a time.
struct Snapshot {
    entries: Arc<Entries>,
    now: i64,
}

impl InMemory {
    /// Creates an empty store.
    pub fn new(circle: PublicKey, limits: Settings) -> Self {
        Self {
            circle,
            limits: Arc::new(limits),
            entries: Arc::default(),
        }
    }

    /// Begins a transaction at a time, in milliseconds since 1970.
    pub fn begin(&self, now: i64) -> Transaction {
        let reads = Snapshot {
            entries: Arc::clone(&self.entries),
            now,
        };
        Transaction::remote(Box::new(reads), Arc::clone(&self.limits), self.circle)
    }

    /// Commits a transaction. There must have been no other one since it began. Returns its events.
    ///
    /// # Errors
    /// Those of every commit but conflicts. Nothing of it is left then.
    pub fn commit(
        &mut self,
        transaction: Transaction,
        now: i64,
    ) -> Result<Vec<NewEvent>, CommitError> {
        let Effects {
            range_deletes,
            writes,
            pushes,
            events,
            ..
        } = transaction.into_effects();
        let mut entries = Entries::clone(&self.entries);
        let mut read_time = ReadTime::at(now);
        entries.retain(|key, value| read_time.sees(key, value, || now));
        let before = entries.len();
        entries.retain(|key, _| !range_deletes.iter().any(|range| range.contains(key)));
        let max = self.limits.max_range_delete;
        if before - entries.len() > max {
            return Err(CommitError::RangeDelete { max });
        }
        for (key, write) in writes {
            let value = match write {
                Write::Put(value) => Some(value),
                Write::Delete => None,
                Write::Add(by) => match sum(entries.get(&key), by) {
                    Ok(sum) => Some(sum),
                    Err(why) => return Err(CommitError::Add { key, why }),
                },
            };
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        if !pushes.is_empty() {
            let pushed = super::own_key(PUSHED);
            let mut number = last_push(entries.get(&pushed));
            for (prefix, value) in pushes {
                let key = loop {
                    number += 1;
                    let key = pushed_key(&prefix, number);
                    if !entries.contains_key(&key) {
                        break key;
                    }
                };
                entries.insert(key, value);
            }
            entries.insert(pushed, Value::from(number.to_string().into_bytes()));
        }
        let counted = entries.iter().filter(|(key, _)| !is_request(key));
        let used: usize = counted.map(|(key, value)| key.len() + value.len()).sum();
        let quota = self.limits.quota;
        if used > quota {
            return Err(CommitError::Quota { quota });
        }
        self.entries = Arc::new(entries);
        Ok(events)
    }
}

impl RemoteReads for Snapshot {
    fn get(&mut self, key: &Key) -> Result<Option<Value>, Unavailable> {
        Ok(self.entries.get(key).cloned())
    }

    fn now(&self) -> i64 {
        self.now
    }

    fn scan(&mut self, range: &KeyRange, want: Want) -> Result<Scanned, Unavailable> {
        let now = self.now;
        let mut read_time = ReadTime::at(now);
        let mut found: Vec<_> = match range.is_empty() {
            true => Vec::new(),
            false => self
                .entries
                .range(range.start.clone()..range.end.clone())
                .collect(),
        };
        found.retain(|(key, value)| read_time.sees(key, value, || now));
        if want == Want::Count {
            return Ok(Scanned::Count(found.len() as u64));
        }
        if range.reverse {
            found.reverse();
        }
        found.truncate(range.limit);
        let found = found.into_iter();
        Ok(match want {
            Want::Entries { .. } => Scanned::Entries(
                found
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            ),
            Want::Keys | Want::Count => Scanned::Keys(found.map(|(key, _)| key.clone()).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Settings {
        Settings {
            max_key: crate::units::Size::new(64).unwrap(),
            max_value: crate::units::Size::new(64).unwrap(),
            max_writes: 100,
            max_range_delete: 2,
            max_events: std::num::NonZeroUsize::new(10).unwrap(),
            max_event: 64,
            event_log: std::num::NonZeroUsize::new(1).unwrap(),
            event_log_bytes: crate::units::Size::new(64).unwrap(),
            events_waiting: crate::units::Size::new(64).unwrap(),
            events_waiting_in_all: crate::units::Size::new(64).unwrap(),
            quota: 200,
        }
    }

    fn keys(store: &InMemory, now: i64, reverse: bool) -> Vec<String> {
        let range = KeyRange {
            reverse,
            limit: 3,
            ..KeyRange::of_prefix(b"")
        };
        let keys = store.begin(now).scan(range).unwrap();
        let text = |key: Key| String::from_utf8_lossy(&key).into_owned();
        keys.into_iter().map(text).collect()
    }

    #[test]
    fn a_commit_changes_what_later_runs_see() {
        let circle = PublicKey::from_stored([2; PublicKey::LENGTH]);
        let mut store = InMemory::new(circle, limits());
        let old = store.clone();
        let mut change = store.begin(10);
        let one = || Value::new(b"1");
        for key in ["a", "b"] {
            change.set(key, Some(one())).unwrap();
        }
        change.set_until("c", &one(), 20).unwrap();
        change.add("n", 2).unwrap();
        change.push("log/", one()).unwrap();
        change.emit("told", one(), None).unwrap();
        assert_eq!(store.commit(change, 10).unwrap().len(), 1);
        assert_eq!(keys(&store, 10, false), ["a", "b", "c"]);
        assert_eq!(
            keys(&store, 20, false),
            ["a", "b", "log/00000000000000000001"]
        );
        assert_eq!(
            keys(&store, 20, true),
            ["n", "log/00000000000000000001", "b"]
        );
        assert_eq!(store.begin(20).get("c").unwrap(), None);
        let count = store
            .begin(10)
            .count(KeyRange::of_prefix(b""), &mut |_| true);
        assert_eq!(count.unwrap(), Some(5));
        assert!(keys(&old, 10, false).is_empty());
        // What fails leaves nothing.
        let mut fails = store.begin(10);
        fails.set("b", None).unwrap();
        fails.delete_range(KeyRange::of_prefix(b"")).unwrap();
        let error = store.commit(fails, 10).unwrap_err();
        assert!(
            matches!(error, CommitError::RangeDelete { max: 2 }),
            "{error:?}"
        );
        let mut fails = store.begin(10);
        fails.push("log/", one()).unwrap();
        for n in 0..4 {
            let long = Value::new(&[b'1'; 60]);
            fails.set(&format!("long{n}"), Some(long)).unwrap();
        }
        let error = store.commit(fails, 10).unwrap_err();
        assert!(matches!(error, CommitError::Quota { .. }), "{error:?}");
        let mut adds = store.begin(30);
        adds.delete_range(KeyRange::of_prefix(b"a")).unwrap();
        adds.add("n", 3).unwrap();
        adds.add("c", 1).unwrap();
        store.commit(adds, 30).unwrap();
        assert_eq!(store.begin(30).get("n").unwrap().unwrap()[..], *b"5");
        assert_eq!(store.begin(30).get("c").unwrap().unwrap()[..], *b"1");
        assert_eq!(
            keys(&store, 30, false),
            ["b", "c", "log/00000000000000000001"]
        );
    }
}
