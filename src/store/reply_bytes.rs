//! The bytes of a circle's replies to requests, by account.

use std::collections::{BTreeMap, BTreeSet};

use circled_protocol::PublicKey;

use super::{disk::Disk, error::Unavailable, replies::Account, table::Table};

/// The bytes of each account, as the last commit left them.
#[derive(Debug, Default)]
pub(super) struct ReplyBytes {
    of: BTreeMap<Account, u64>,
    by_size: BTreeSet<(u64, Account)>,
    total: u64,
}

/// The bytes of each account, as a commit is going to leave them.
#[derive(Debug)]
pub(super) struct NewReplyBytes<'a> {
    before: &'a ReplyBytes,
    changed: BTreeMap<Account, u64>,
    total: u64,
}

impl ReplyBytes {
    /// Reads what is on disk.
    pub(super) fn read(disk: &Disk, circle: &PublicKey) -> Result<Self, Unavailable> {
        let mut bytes = Self::default();
        let first = Account::first_usage();
        disk.walk(Table::Usage, circle, first, false, &mut |key, stored| {
            if let Some((account, of)) = Account::read_usage(key, stored) {
                bytes.set(account, of);
            }
            key.starts_with(first)
        })?;
        Ok(bytes)
    }

    /// Sets the bytes of an account.
    pub(super) fn set(&mut self, account: Account, bytes: u64) {
        let old = self.of.remove(&account).unwrap_or(0);
        self.by_size.remove(&(old, account));
        if bytes > 0 {
            self.of.insert(account, bytes);
            self.by_size.insert((bytes, account));
        }
        self.total = self.total - old + bytes;
    }
}

impl<'a> NewReplyBytes<'a> {
    /// Creates those that nothing has changed yet.
    pub(super) fn new(before: &'a ReplyBytes) -> Self {
        Self {
            before,
            changed: BTreeMap::new(),
            total: before.total,
        }
    }

    /// Returns the bytes of all accounts.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Sets the bytes of an account to what `change` returns for what they are.
    pub(super) fn change(&mut self, account: Account, change: impl FnOnce(u64) -> u64) {
        let before = self.before.of.get(&account).copied().unwrap_or(0);
        let bytes = self.changed.entry(account).or_insert(before);
        let old = *bytes;
        *bytes = change(old);
        self.total = self.total - old + *bytes;
    }

    /// Returns the account that has the most bytes, if any has some.
    pub(super) fn largest(&self) -> Option<Account> {
        let changed = self.changed.iter();
        let changed = changed.map(|(account, bytes)| (*bytes, *account)).max();
        let mut others = self.before.by_size.iter().rev();
        let other = others.find(|(_, account)| !self.changed.contains_key(account));
        let largest = changed.max(other.copied());
        largest.and_then(|(bytes, account)| (bytes > 0).then_some(account))
    }

    /// Returns the accounts that have changed, with their bytes.
    pub(super) fn into_changed(self) -> BTreeMap<Account, u64> {
        self.changed
    }
}
