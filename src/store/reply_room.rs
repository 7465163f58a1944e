//! Room for replies to requests, which accounts share: while all together have too many bytes, the account that has the most
//! gives up its oldest reply. So whoever keeps few loses none to somebody who keeps many.
//!
//! An account's whole replies are shortened first; once it has none, its short ones are deleted. The new one comes last.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::{
    error::Unavailable,
    expiring::{expiry_of, reindex},
    locked_circle::LockedCircle,
    range::KeyRange,
    replies::{self, Account},
    reply_bytes::NewReplyBytes,
    snapshot::Snapshot,
    table::{Key, Record, Table, Value},
};

/// Replies that are given up at most for one commit: others of its circle wait for it.
const GIVEN_UP_AT_ONCE: usize = 1000;

/// The replies that a commit writes, and those that make room for them.
pub(super) struct ReplyChange {
    /// All that it writes of them.
    pub(super) records: Vec<Record>,
    /// The bytes of the accounts that change.
    pub(super) bytes: BTreeMap<Account, u64>,
    /// The first expiry time of the new ones.
    pub(super) first_expiry: Option<i64>,
}

/// The replies of a circle as a commit is going to leave them.
struct ReplyRoom<'a, R> {
    /// Returns the stored value of a key before the commit.
    read: R,
    bytes: NewReplyBytes<'a>,
    /// The replies that change, as they were and as they become.
    changed: BTreeMap<Key, (Option<Value>, Option<Value>)>,
    /// Entries of the index that are for nothing.
    stale: Vec<Record>,
}

/// The entries of an account's replies in the order in which it gives them up. They are read a few at a time.
struct OldestFirst {
    entries: BTreeSet<Key>,
    /// The rest on the disk, which isn't among them yet.
    unread: Option<KeyRange>,
    /// Those of the commit's new replies.
    last: Vec<Key>,
}

impl LockedCircle<'_> {
    /// Returns what a commit writes of replies, and of others that make room for them. `now`: all as it is before the commit.
    pub(super) fn change_replies(
        &mut self,
        written: Vec<Record>,
        now: &Snapshot,
    ) -> Result<ReplyChange, Unavailable> {
        let (disk, circle) = (self.store.disk(), self.key);
        let most = self.store.max_requests();
        let bytes = NewReplyBytes::new(self.latest.replies(disk, &circle)?);
        let mut room = ReplyRoom {
            read: |key: &Key| now.get(disk, &circle, Table::Store, key),
            bytes,
            changed: BTreeMap::new(),
            stale: Vec::new(),
        };
        let mut first_expiry: Option<i64> = None;
        for Record { key, value, .. } in written {
            let expiry = value.as_ref().and_then(|value| expiry_of(&key, value));
            first_expiry = first_expiry.into_iter().chain(expiry).min();
            room.set(key, value)?;
        }
        let read_entries = |range: &KeyRange| {
            let mut entries = Vec::new();
            let found = |entry: &[u8], _: &Value| {
                entries.push(Key::new(entry));
                true
            };
            now.entries(disk, &circle, Table::Expiry, range, |_, _| true, found)?;
            Ok(entries)
        };
        let mut oldest = BTreeMap::new();
        for _ in 0..GIVEN_UP_AT_ONCE {
            let Some(account) = room.bytes.largest().filter(|_| room.bytes.total() > most) else {
                break;
            };
            let oldest = match oldest.entry(account) {
                Entry::Occupied(oldest) => oldest.into_mut(),
                Entry::Vacant(oldest) => oldest.insert(OldestFirst::new(&account, &room.changed)),
            };
            match oldest.next(read_entries)? {
                Some(entry) => room.give_up(&account, entry, oldest)?,
                // Its bytes were wrong.
                None => room.bytes.change(account, |_| 0),
            }
        }
        Ok(room.into_change(first_expiry))
    }
}

impl<R: Fn(&Key) -> Result<Option<Value>, Unavailable>> ReplyRoom<'_, R> {
    /// Returns the stored value of a key.
    fn get(&self, key: &Key) -> Result<Option<Value>, Unavailable> {
        match self.changed.get(key) {
            Some((_, value)) => Ok(value.clone()),
            None => (self.read)(key),
        }
    }

    /// Changes the stored value of a key.
    fn set(&mut self, key: Key, new: Option<Value>) -> Result<(), Unavailable> {
        let old = self.get(&key)?;
        if let Some(old) = &old {
            let size = replies::size(&key, old);
            let account = Account::of(old);
            self.bytes
                .change(account, |bytes| bytes.saturating_sub(size));
        }
        if let Some(new) = &new {
            let size = replies::size(&key, new);
            self.bytes.change(Account::of(new), |bytes| bytes + size);
        }
        self.changed.entry(key).or_insert((old, None)).1 = new;
        Ok(())
    }

    /// Has an account give up the reply of an entry.
    fn give_up(
        &mut self,
        account: &Account,
        entry: Key,
        oldest: &mut OldestFirst,
    ) -> Result<(), Unavailable> {
        let Some(key) = account.key_in(&entry) else {
            return Ok(());
        };
        let stored = self.get(&key)?;
        let is_its = |stored: &Value| {
            let is_of = Account::of(stored) == *account;
            is_of && account.entry(&key, stored).as_ref() == Some(&entry)
        };
        let Some(stored) = stored.filter(is_its) else {
            // The entry of what has changed goes with it.
            if !self.changed.contains_key(&key) {
                self.stale.push(Record::remove(Table::Expiry, entry));
            }
            return Ok(());
        };
        let short = replies::shortened(&stored);
        let entry = short.as_ref().and_then(|short| account.entry(&key, short));
        oldest.entries.extend(entry);
        self.set(key, short)
    }

    fn into_change(self, first_expiry: Option<i64>) -> ReplyChange {
        let mut records = self.stale;
        for (key, (old, new)) in self.changed {
            records.extend(reindex(&key, old.as_ref(), new.as_ref()));
            records.push(Record {
                table: Table::Store,
                key,
                value: new,
            });
        }
        let bytes = self.bytes.into_changed();
        records.extend(bytes.iter().map(|(account, bytes)| account.usage(*bytes)));
        ReplyChange {
            records,
            bytes,
            first_expiry,
        }
    }
}

impl OldestFirst {
    /// Entries that are read first: most often no more are needed, for a commit adds one reply.
    const AT_FIRST: usize = 4;

    /// Begins with the oldest one. The commit's new replies are among `changed`.
    fn new(account: &Account, changed: &BTreeMap<Key, (Option<Value>, Option<Value>)>) -> Self {
        let new = changed.iter().filter_map(|(key, (_, new))| {
            let new = new.as_ref().filter(|new| Account::of(new) == *account)?;
            account.entry(key, new)
        });
        Self {
            entries: BTreeSet::new(),
            unread: Some(account.entries(Self::AT_FIRST)),
            last: new.collect(),
        }
    }

    /// Takes the next one.
    fn next(
        &mut self,
        read: impl Fn(&KeyRange) -> Result<Vec<Key>, Unavailable>,
    ) -> Result<Option<Key>, Unavailable> {
        let is_behind = |range: &KeyRange, first: &Key| *first >= range.start;
        while let Some(range) = &mut self.unread
            && self
                .entries
                .first()
                .is_none_or(|first| is_behind(range, first))
        {
            let entries = read(range)?;
            match entries.last().filter(|_| entries.len() == range.limit) {
                Some(last) => {
                    range.start = Key::from([last, &[0][..]].concat());
                    range.limit *= 8;
                }
                None => self.unread = None,
            }
            self.entries.extend(entries);
        }
        Ok(self.entries.pop_first().or_else(|| self.last.pop()))
    }
}
