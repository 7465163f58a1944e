//! Operations of the transactions of a history, on a store or on a model of one.

use std::{collections::BTreeMap, sync::atomic::Ordering, thread};

use proptest::{collection::vec, prelude::*};

use super::{CircleHistory, clock};
use crate::store::{Key, KeyRange, Store, Transaction, WaitPolicy, WriteError};

/// The money of all accounts together.
pub(super) const MONEY: i64 = 30;
const ACCOUNTS: [&str; 4] = ["account/a", "account/b", "account/c", "account/d"];
const KEYS: [&str; 5] = ["k", "k/a", "k/ab", "k/b", "l"];
const PREFIXES: [&str; 5] = ["k", "k/", "k/a", "l", ""];
const BOUNDS: [&str; 6] = ["", "b", "k/", "k/ab", "l", "m"];

#[derive(Debug, Clone)]
pub(super) enum Op {
    Get(&'static str),
    Set(&'static str, i64),
    /// The same until so many milliseconds after the history began.
    SetUntil(&'static str, i64, i64),
    /// When a key expires.
    ExpiresAt(&'static str),
    /// Moves the clock.
    Tick(i64),
    /// Deletes so many keys that have expired.
    Sweep(usize),
    Delete(&'static str),
    Add(&'static str, i64),
    /// Adds to a number without a look at it.
    BlindAdd(&'static str, i64),
    /// Gives a number a new key.
    Push(&'static str, i64),
    /// Deletes the keys from one on up to another, or so many of them.
    DeleteRange(&'static str, &'static str, usize),
    /// The keys with a prefix, unless there are more than so many.
    PrefixRead(&'static str, usize),
    /// The keys from one on up to another, so many at most, from this end or the other.
    Scan(&'static str, &'static str, usize, bool),
    /// The same, with their values.
    Entries(&'static str, &'static str, usize, bool),
    /// Counts the keys from one on up to another.
    Count(&'static str, &'static str),
    /// Another key under "k/", if there are fewer than so many.
    Join(i64, usize),
    /// Moves as much as there is, if there is enough. An account with nothing in it is closed.
    Transfer(&'static str, &'static str, i64),
    /// All that is in the accounts.
    Total,
    /// Lets others go on.
    Yield,
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Value(Option<String>),
    Keys(Option<Vec<String>>),
    Entries(Vec<(String, String)>),
    Total(i64),
}

pub(super) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = || prop::sample::select(&KEYS[..]);
    let account = || prop::sample::select(&ACCOUNTS[..]);
    let prefix = prop::sample::select(&PREFIXES[..]);
    let bound = || prop::sample::select(&BOUNDS[..]);
    let op = prop_oneof![
        2 => key().prop_map(Op::Get),
        2 => (key(), 0..100_000_i64).prop_map(|(key, n)| Op::Set(key, n)),
        3 => (key(), 0..100_i64, 0..20_i64).prop_map(|(key, n, after)| Op::SetUntil(key, n, after)),
        1 => key().prop_map(Op::ExpiresAt),
        2 => (1..3_i64).prop_map(Op::Tick),
        1 => (1..3_usize).prop_map(Op::Sweep),
        1 => key().prop_map(Op::Delete),
        2 => (key(), 1..10_i64).prop_map(|(key, n)| Op::Add(key, n)),
        3 => (key(), 1..10_i64).prop_map(|(key, n)| Op::BlindAdd(key, n)),
        2 => (prop::sample::select(&["k/p", "l"][..]), 1..10_i64).prop_map(|(prefix, n)| Op::Push(prefix, n)),
        1 => (prop::sample::select(&BOUNDS[2..]), bound(), prop_oneof![1..3_usize, Just(usize::MAX)]).prop_map(|(start, end, limit)| Op::DeleteRange(start, end, limit)),
        2 => (prefix, prop_oneof![0..4_usize, Just(100)]).prop_map(|(prefix, max)| Op::PrefixRead(prefix, max)),
        2 => (bound(), bound(), 1..4_usize, any::<bool>()).prop_map(|(start, end, limit, reverse)| Op::Scan(start, end, limit, reverse)),
        2 => (bound(), bound(), 1..4_usize, any::<bool>()).prop_map(|(start, end, limit, reverse)| Op::Entries(start, end, limit, reverse)),
        2 => (bound(), bound()).prop_map(|(start, end)| Op::Count(start, end)),
        2 => (0..10_i64, 1..4_usize).prop_map(|(n, max)| Op::Join(n, max)),
        3 => (account(), account(), 1..20_i64).prop_map(|(from, to, n)| Op::Transfer(from, to, n)),
        2 => Just(Op::Total),
        2 => Just(Op::Yield),
    ];
    vec(op, 1..7)
}

/// A store, or a model of one.
pub(super) trait Access {
    fn look(&mut self, key: &str) -> Option<String>;
    fn put(&mut self, key: &str, value: Option<String>);
    /// Times count from the beginning of the history.
    fn put_until(&mut self, key: &str, value: String, end: i64);
    fn expires_at(&mut self, key: &str) -> Option<i64>;
    fn tick(&mut self, by: i64);
    fn sweep(&mut self, most: usize);
    fn add(&mut self, key: &str, by: i64);
    fn push(&mut self, prefix: &str, n: i64);
    fn delete_range(&mut self, start: &str, end: &str, limit: usize);
    fn list(&mut self, prefix: &str, max: usize) -> Option<Vec<String>>;
    fn scan(&mut self, start: &str, end: &str, limit: usize, reverse: bool) -> Vec<String>;
    fn entries(&mut self, start: &str, end: &str, limit: usize, reverse: bool) -> Entries;
    fn count(&mut self, start: &str, end: &str) -> i64;
}

type Entries = Vec<(String, String)>;

fn text(key: &Key) -> String {
    String::from_utf8(key.to_vec()).unwrap()
}

fn range(start: &str, end: &str, limit: usize, reverse: bool) -> KeyRange {
    KeyRange {
        start: Key::new(start.as_bytes()),
        end: Key::new(end.as_bytes()),
        limit,
        reverse,
    }
}

/// A transaction of a history.
pub(super) struct Running<'a> {
    pub(super) store: &'a Store,
    pub(super) place: &'a CircleHistory,
    pub(super) transaction: &'a mut Transaction,
}

impl Access for Running<'_> {
    fn look(&mut self, key: &str) -> Option<String> {
        let value = self.transaction.get(key).unwrap()?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    fn put(&mut self, key: &str, value: Option<String>) {
        self.transaction
            .set(key, value.map(|value| value.into_bytes().into()))
            .unwrap();
    }

    fn put_until(&mut self, key: &str, value: String, end: i64) {
        let (value, end) = (value.into_bytes().into(), self.place.began + end);
        self.transaction.set_until(key, &value, end).unwrap();
    }

    fn expires_at(&mut self, key: &str) -> Option<i64> {
        let end = self.transaction.expires_at(key).unwrap()?;
        Some(end - self.place.began)
    }

    fn tick(&mut self, by: i64) {
        clock(self.store).fetch_add(by, Ordering::SeqCst);
    }

    fn sweep(&mut self, most: usize) {
        self.place.sweep(self.store, WaitPolicy::FailFast, most);
    }

    fn add(&mut self, key: &str, by: i64) {
        self.transaction.add(key, by).unwrap();
    }

    fn push(&mut self, prefix: &str, n: i64) {
        let value = n.to_string().into_bytes().into();
        self.transaction.push(prefix, value).unwrap();
    }

    fn delete_range(&mut self, start: &str, end: &str, limit: usize) {
        let range = range(start, end, limit, false);
        self.transaction.delete_range(range).unwrap();
    }

    fn list(&mut self, prefix: &str, max: usize) -> Option<Vec<String>> {
        match self.transaction.keys(prefix, max) {
            Ok(keys) => Some(keys.iter().map(text).collect()),
            Err(WriteError::Keys { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn scan(&mut self, start: &str, end: &str, limit: usize, reverse: bool) -> Vec<String> {
        let keys = self
            .transaction
            .scan(range(start, end, limit, reverse))
            .unwrap();
        keys.iter().map(text).collect()
    }

    fn entries(&mut self, start: &str, end: &str, limit: usize, reverse: bool) -> Entries {
        let range = range(start, end, limit, reverse);
        let entries = self.transaction.scan_entries(range, usize::MAX).unwrap();
        let entry = |(key, value): &(Key, Key)| (text(key), text(value));
        entries.iter().map(entry).collect()
    }

    fn count(&mut self, start: &str, end: &str) -> i64 {
        let range = range(start, end, usize::MAX, false);
        let count = self.transaction.count(range, &mut |_| true).unwrap();
        count.unwrap().try_into().unwrap()
    }
}

/// The keys, each with its value and its expiry time, the number of the last push, and the time. Times count from the beginning of
/// the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) entries: BTreeMap<String, (String, Option<i64>)>,
    pub(super) pushed: u64,
    pub(super) time: i64,
}

impl Model {
    /// Returns what a history begins with.
    pub(super) fn endowed() -> Self {
        let entries = [(ACCOUNTS[0], MONEY - 10), (ACCOUNTS[1], 10), (KEYS[1], 1)];
        let entry = |(key, n): (&str, i64)| (key.to_owned(), (n.to_string(), None));
        Self {
            entries: entries.map(entry).into(),
            pushed: 0,
            time: 0,
        }
    }

    /// Returns it as it is at a later time.
    pub(super) fn at(mut self, time: i64) -> Self {
        self.entries
            .retain(|_, (_, end)| end.is_none_or(|end| end > time));
        Self { time, ..self }
    }
}

impl Access for Model {
    fn look(&mut self, key: &str) -> Option<String> {
        self.entries.get(key).map(|(value, _)| value.clone())
    }

    fn put(&mut self, key: &str, value: Option<String>) {
        match value {
            Some(value) => self.entries.insert(key.to_owned(), (value, None)),
            None => self.entries.remove(key),
        };
    }

    fn put_until(&mut self, key: &str, value: String, end: i64) {
        self.entries.insert(key.to_owned(), (value, Some(end)));
        *self = self.clone().at(self.time);
    }

    fn expires_at(&mut self, key: &str) -> Option<i64> {
        self.entries.get(key)?.1
    }

    fn tick(&mut self, _: i64) {}

    fn sweep(&mut self, _: usize) {}

    fn add(&mut self, key: &str, by: i64) {
        let before = self.entries.get(key).cloned();
        let (before, end) = before.unwrap_or(("0".to_owned(), None));
        let sum = before.parse::<i64>().unwrap() + by;
        self.entries.insert(key.to_owned(), (sum.to_string(), end));
    }

    fn push(&mut self, prefix: &str, n: i64) {
        self.pushed += 1;
        let key = format!("{prefix}{:020}", self.pushed);
        self.put(&key, Some(n.to_string()));
    }

    fn delete_range(&mut self, start: &str, end: &str, limit: usize) {
        for key in Self::scan(self, start, end, limit, false) {
            self.entries.remove(&key);
        }
    }

    fn list(&mut self, prefix: &str, max: usize) -> Option<Vec<String>> {
        let keys = self.entries.keys().filter(|key| key.starts_with(prefix));
        let keys: Vec<_> = keys.cloned().collect();
        (keys.len() <= max).then_some(keys)
    }

    fn scan(&mut self, start: &str, end: &str, limit: usize, reverse: bool) -> Vec<String> {
        let keys = self.entries.keys();
        let keys = keys.filter(|key| *start <= ***key && ***key < *end);
        let mut keys: Vec<_> = keys.cloned().collect();
        if reverse {
            keys.reverse();
        }
        keys.truncate(limit);
        keys
    }

    fn entries(&mut self, start: &str, end: &str, limit: usize, reverse: bool) -> Entries {
        let keys = Self::scan(self, start, end, limit, reverse).into_iter();
        keys.map(|key| (key.clone(), self.entries[&key].0.clone()))
            .collect()
    }

    fn count(&mut self, start: &str, end: &str) -> i64 {
        let keys = Self::scan(self, start, end, usize::MAX, false);
        keys.len().try_into().unwrap()
    }
}

pub(super) fn run(ops: &[Op], store: &mut impl Access) -> Vec<Seen> {
    ops.iter().flat_map(|op| step(op, store)).collect()
}

fn step(op: &Op, store: &mut impl Access) -> Option<Seen> {
    let number = |value: Option<String>| value.map_or(0, |value| value.parse::<i64>().unwrap());
    match *op {
        Op::Get(key) => return Some(Seen::Value(store.look(key))),
        Op::Set(key, n) => store.put(key, Some(n.to_string())),
        Op::SetUntil(key, n, end) => store.put_until(key, n.to_string(), end),
        Op::ExpiresAt(key) => {
            return Some(Seen::Value(
                store.expires_at(key).map(|end| end.to_string()),
            ));
        }
        Op::Tick(by) => store.tick(by),
        Op::Sweep(most) => store.sweep(most),
        Op::Delete(key) => store.put(key, None),
        Op::Add(key, n) => {
            let sum = number(store.look(key)) + n;
            store.put(key, Some(sum.to_string()));
            return Some(Seen::Value(Some(sum.to_string())));
        }
        Op::BlindAdd(key, n) => store.add(key, n),
        Op::Push(prefix, n) => store.push(prefix, n),
        Op::DeleteRange(start, end, limit) => store.delete_range(start, end, limit),
        Op::PrefixRead(prefix, max) => return Some(Seen::Keys(store.list(prefix, max))),
        Op::Scan(start, end, limit, reverse) => {
            return Some(Seen::Keys(Some(store.scan(start, end, limit, reverse))));
        }
        Op::Entries(start, end, limit, reverse) => {
            return Some(Seen::Entries(store.entries(start, end, limit, reverse)));
        }
        Op::Count(start, end) => {
            return Some(Seen::Value(Some(store.count(start, end).to_string())));
        }
        Op::Join(n, max) => {
            let keys = store.list("k/", 100);
            if keys.as_ref().is_some_and(|keys| keys.len() < max) {
                store.put(&format!("k/{n}"), Some(n.to_string()));
            }
            return Some(Seen::Keys(keys));
        }
        Op::Transfer(from, to, n) => {
            let there = number(store.look(from));
            if there < n {
                return Some(Seen::Value(None));
            }
            let left = there - n;
            store.put(from, (left > 0).then(|| left.to_string()));
            let sum = number(store.look(to)) + n;
            store.put(to, Some(sum.to_string()));
            return Some(Seen::Value(Some(sum.to_string())));
        }
        Op::Total => {
            let accounts = store.list("account/", 100).unwrap();
            let total = accounts.iter().map(|key| number(store.look(key)));
            return Some(Seen::Total(total.sum()));
        }
        Op::Yield => thread::yield_now(),
    }
    None
}
