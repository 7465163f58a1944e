//! The sweep: deletes keys that have expired, and gives back what they took of the quota.
//!
//! Nobody sees such a key, whether it is swept or not. A sweep is a commit as any other, so who watches is told of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use circled_protocol::PublicKey;

use super::{
    circle::REPLIES,
    commit::{Scan, Store, WaitPolicy},
    error::Unavailable,
    expiring,
    locked_circle::LockedCircle,
    preconditions::Preconditions,
    range::KeyRange,
    table::{Key, Record, Table, Value},
    transaction::Transaction,
};

/// Keys that one commit sweeps at most: others of its circle wait for it.
const AT_ONCE: usize = 500;

/// The circles with keys that expire, each with a time before which none does.
#[derive(Debug, Default)]
pub(super) struct ExpiringCircles {
    circles: Mutex<HashMap<PublicKey, i64>>,
    /// True once those are in it that an earlier process has left.
    is_complete: Mutex<bool>,
}

/// The result of a sweep of a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// The keys that were deleted.
    pub keys: usize,
    /// True if there are more.
    pub more: bool,
}

/// Returns the bytes of a key and its value.
fn size(key: &Key, value: Option<&Value>) -> u64 {
    value.map_or(0, |value| (key.len() + value.len()) as u64)
}

impl ExpiringCircles {
    /// Notes a key of a circle that expires. Called with the circle locked.
    pub(super) fn note(&self, circle: PublicKey, expiry: i64) {
        let mut circles = self.lock();
        let first = circles.entry(circle).or_insert(expiry);
        *first = expiry.min(*first);
    }

    /// Returns the circles where a key may have expired.
    fn due(&self, now: i64) -> Vec<PublicKey> {
        let circles = self.lock();
        let due = circles.iter().filter(|(_, expiry)| **expiry <= now);
        due.map(|(circle, _)| *circle).collect()
    }

    /// Returns whether a key may have expired in a circle.
    fn is_due(&self, circle: &PublicKey, now: i64) -> bool {
        self.lock().get(circle).is_some_and(|expiry| *expiry <= now)
    }

    fn forget(&self, circle: &PublicKey) {
        self.lock().remove(circle);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PublicKey, i64>> {
        self.circles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Deletes keys that have expired, some of each circle, in one commit a circle. Returns whether there may be more. May
    /// block.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn sweep(&self) -> Result<bool, Unavailable> {
        self.find_expiring()?;
        let mut more = false;
        for circle in self.expiring_circles().due(self.disk().clock().now()) {
            let swept = self.lock_circle(circle, WaitPolicy::Wait, |locked| locked.sweep(AT_ONCE));
            more |= swept.unwrap_or(Err(Unavailable))?.more;
        }
        Ok(more)
    }

    /// Finds the circles with keys that expire, the first time.
    fn find_expiring(&self) -> Result<(), Unavailable> {
        let is_complete = &self.expiring_circles().is_complete;
        let mut is_complete = is_complete.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_complete {
            return Ok(());
        }
        let mut from = Some(Vec::new());
        while let Some(first) = from.take() {
            self.scan(Table::Expiry, &first, &mut |circle, entry, _| {
                if let Some((expiry, _)) = expiring::read_entry(entry) {
                    self.expiring_circles().note(circle, expiry);
                }
                // At the next ones in the circle, if there are more.
                let ranges = expiring::entries(0);
                let Some(next) = ranges.iter().find(|range| *entry < *range.start) else {
                    return Scan::NextCircle;
                };
                from = Some([circle.as_bytes(), &next.start[..]].concat());
                Scan::Stop
            })?;
        }
        *is_complete = true;
        Ok(())
    }
}

impl LockedCircle<'_> {
    /// Deletes keys that have expired, at most so many.
    ///
    /// # Errors
    /// A disk that can't be read.
    pub fn sweep(&mut self, most: usize) -> Result<Swept, Unavailable> {
        let now = self.store.disk().clock().now();
        let nothing = Swept {
            keys: 0,
            more: false,
        };
        if !self.store.expiring_circles().is_due(&self.key, now) {
            return Ok(nothing);
        }
        // Where it needs room itself, it isn't swept for that.
        self.store.expiring_circles().forget(&self.key);
        let (swept, next) = match self.sweep_due(now, most) {
            Ok(Some(done)) => done,
            // Too much waits for the disk.
            Ok(None) => (nothing, Some(now)),
            Err(unavailable) => {
                self.store.expiring_circles().note(self.key, now);
                return Err(unavailable);
            }
        };
        if let Some(expiry) = next {
            self.store.expiring_circles().note(self.key, expiry);
        }
        Ok(swept)
    }

    /// Does that. Returns what it came to, and the next expiry time; nothing, if that can't be committed now.
    fn sweep_due(
        &mut self,
        now: i64,
        most: usize,
    ) -> Result<Option<(Swept, Option<i64>)>, Unavailable> {
        let disk = self.store.disk();
        let snapshot = self.latest.snapshot(disk);
        let (mut due, mut next) = (Vec::new(), None::<i64>);
        for range in expiring::entries(most.saturating_add(1)) {
            snapshot.entries(
                disk,
                &self.key,
                Table::Expiry,
                &range,
                |_, _| true,
                |entry, _| {
                    let Some((expiry, key)) = expiring::read_entry(entry) else {
                        return true;
                    };
                    if expiry > now || due.len() == most {
                        next = Some(next.map_or(expiry, |next| next.min(expiry)));
                        return false;
                    }
                    due.push((Key::new(entry), expiry, Key::new(key)));
                    true
                },
            )?;
        }
        let mut swept = Swept {
            keys: 0,
            more: next.is_some_and(|expiry| expiry <= now),
        };
        if due.is_empty() {
            return Ok(Some((swept, next)));
        }
        let (mut transaction, mut records) = (self.begin(), Vec::new());
        for (entry, expiry, key) in &due {
            let stored = snapshot.get(disk, &self.key, Table::Store, key)?;
            if stored.and_then(|stored| expiring::expiry_of(key, &stored)) == Some(*expiry) {
                transaction.sweep(key);
                swept.keys += 1;
            } else {
                // An earlier version has changed the key, which knows no expiry.
                records.push(Record::remove(Table::Expiry, entry));
            }
        }
        let (store, circle) = (self.store.clone(), self.key);
        let done = Box::new(move |result: Result<(), Unavailable>| {
            if result.is_err() {
                store.expiring_circles().note(circle, now);
            }
        });
        let committed = self.commit(Some(transaction), records, Preconditions::NONE, done);
        Ok(committed.is_ok().then_some((swept, next)))
    }

    /// Adds the deletes of some replies that have expired to what a commit writes. If there are too many bytes of replies,
    /// the oldest are shortened, and if that isn't enough, the oldest of the short ones are deleted. `added`: by how many
    /// bytes the commit changes them without that. Returns the bytes of all replies afterwards.
    pub(super) fn drop_replies(
        &mut self,
        added: i64,
        now: i64,
        records: &mut Vec<Record>,
    ) -> Result<u64, Unavailable> {
        let before = self.latest.replies(self.store.disk(), &self.key)?;
        let most = self.store.max_requests();
        let mut bytes = before.saturating_add_signed(added);
        let snapshot = self.latest.snapshot(self.store.disk());
        let read = |key: &Key| snapshot.get(self.store.disk(), &self.key, Table::Store, key);
        // This commit changes them.
        let changed: HashSet<Key> = records.iter().map(|record| record.key.clone()).collect();
        let [_, whole, short] = expiring::entries(0);
        // By their new entries: their keys and values.
        let mut shortened: BTreeMap<Key, (Key, Value)> = BTreeMap::new();
        self.oldest(&whole, |entry, expiry, key, is_first| {
            if changed.contains(&key) {
                return Ok(true);
            }
            let has_expired = expiry <= now;
            if bytes <= most && !(has_expired && is_first) {
                return Ok(false);
            }
            let stored = read(&key)?;
            bytes = bytes.saturating_sub(size(&key, stored.as_ref()));
            records.push(Record::remove(Table::Expiry, entry));
            let short = stored.filter(|_| !has_expired);
            match short.and_then(|stored| expiring::shortened(&stored)) {
                Some(short) => {
                    bytes += size(&key, Some(&short));
                    shortened.insert(expiring::entry(expiry, &key, &short), (key, short));
                }
                None => records.push(Record::remove(Table::Store, key)),
            }
            Ok(true)
        })?;
        // The ones that have just been shortened are among the short ones by now.
        self.oldest(&short, |entry, expiry, key, is_first| {
            while bytes > most
                && let Some(first) = shortened.first_entry()
                && *first.key() < entry
            {
                let (key, short) = first.remove();
                bytes -= size(&key, Some(&short));
                records.push(Record::remove(Table::Store, key));
            }
            if changed.contains(&key) {
                return Ok(true);
            }
            if bytes <= most && !(expiry <= now && is_first) {
                return Ok(false);
            }
            let stored = read(&key)?;
            bytes = bytes.saturating_sub(size(&key, stored.as_ref()));
            records.push(Record::remove(Table::Expiry, entry));
            records.push(Record::remove(Table::Store, key));
            Ok(true)
        })?;
        for (entry, (key, short)) in shortened {
            if bytes > most {
                bytes -= size(&key, Some(&short));
                records.push(Record::remove(Table::Store, key));
            } else {
                records.push(Record::put(Table::Expiry, entry, []));
                records.push(Record::put(Table::Store, key, short));
            }
        }
        records.push(Record::put(Table::Usage, REPLIES, bytes.to_be_bytes()));
        Ok(bytes)
    }

    /// Calls `found` with the entries in a range of [`Table::Expiry`], the oldest first, until it returns false: with the
    /// entry, its time, its key, and true if it is one of the first few.
    fn oldest(
        &self,
        range: &KeyRange,
        mut found: impl FnMut(Key, i64, Key, bool) -> Result<bool, Unavailable>,
    ) -> Result<(), Unavailable> {
        // Most often no more are needed, for a commit adds one reply.
        const AT_FIRST: usize = 4;
        let disk = self.store.disk();
        let snapshot = self.latest.snapshot(disk);
        let (mut seen, mut limit) = (0, AT_FIRST);
        loop {
            let mut entries = Vec::new();
            let range = KeyRange {
                limit,
                ..range.clone()
            };
            snapshot.entries(
                disk,
                &self.key,
                Table::Expiry,
                &range,
                |_, _| true,
                |entry, _| {
                    entries.push(Key::new(entry));
                    true
                },
            )?;
            let count = entries.len();
            for entry in entries.into_iter().skip(seen) {
                let Some((expiry, key)) = expiring::read_entry(&entry) else {
                    continue;
                };
                let key = Key::new(key);
                if !found(entry.clone(), expiry, key, limit == AT_FIRST)? {
                    return Ok(());
                }
            }
            if count < limit {
                return Ok(());
            }
            (seen, limit) = (count, limit * 8);
        }
    }

    /// Deletes keys that have expired if a transaction may have no room in the quota beside them.
    pub(super) fn make_room(&mut self, transaction: Option<&Transaction>, now: i64) {
        const AT_MOST: usize = 1000;
        let quota = self.store.limits().quota as u64;
        let Some(transaction) = transaction.filter(|transaction| transaction.writes_store()) else {
            return;
        };
        // If that can't be read, nothing is committed.
        let Ok(usage) = self.latest.usage(self.store.disk(), &self.key) else {
            return;
        };
        let most = usage.bytes.saturating_add(transaction.size() as u64);
        if most > quota && self.store.expiring_circles().is_due(&self.key, now) {
            // If it can't, the transaction is refused.
            let _ = self.sweep(AT_MOST);
        }
    }
}
