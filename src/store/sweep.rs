//! The sweep: deletes keys that have expired, and gives back what they took of the quota.
//!
//! Nobody sees such a key, whether it is swept or not. A sweep is a commit as any other, so who watches is told of it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use circled_protocol::PublicKey;

use super::{
    commit::{Scan, Store, WaitPolicy},
    error::Unavailable,
    expiring,
    locked_circle::LockedCircle,
    preconditions::Preconditions,
    table::{Key, Record, Table},
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

    pub(super) fn forget(&self, circle: &PublicKey) {
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
