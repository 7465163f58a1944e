//! A store that is read somewhere else: whatever was seen of it is told to whoever commits.

use std::{collections::VecDeque, sync::Arc};

use super::{LIMITS, circle};
use crate::store::{
    Found, Key, KeyRange, RemoteReads, Scanned, Transaction, Unavailable, Value, Want,
};

/// A store that returns something else each time.
struct Changing(VecDeque<Vec<&'static str>>);

impl RemoteReads for Changing {
    fn get(&mut self, _: &Key) -> Result<Option<Value>, Unavailable> {
        let keys = self.0.pop_front().ok_or(Unavailable)?;
        Ok(keys.first().map(|key| Value::new(key.as_bytes())))
    }

    fn now(&self) -> i64 {
        0
    }

    fn scan(&mut self, _: &KeyRange, want: Want) -> Result<Scanned, Unavailable> {
        let keys = self.0.pop_front().ok_or(Unavailable)?;
        let keys = keys.into_iter().map(|key| Key::new(key.as_bytes()));
        Ok(match want {
            Want::Keys => Scanned::Keys(keys.collect()),
            Want::Entries { .. } => {
                // A short value and a long one.
                let values = ["{}".to_owned(), format!("\"{}\"", "9".repeat(70))];
                let values = values.map(|value| Value::new(value.as_bytes()));
                Scanned::Entries(keys.zip(values).collect())
            }
            Want::Count => Scanned::Count(keys.count() as u64),
        })
    }
}

fn reading(answers: &[&[&'static str]]) -> Transaction {
    let answers = answers.iter().map(|keys| keys.to_vec()).collect();
    Transaction::remote(Box::new(Changing(answers)), Arc::new(LIMITS), circle(1))
}

#[test]
fn each_look_at_a_prefix_counts() {
    let mut transaction = reading(&[&[], &["q:1"], &["q:1", "q:2"]]);
    for count in 0..3 {
        assert_eq!(transaction.keys("q:", 10).unwrap().len(), count);
    }
    assert!(!transaction.read_only_durable());
    let effects = transaction.into_effects();
    let limits: Vec<_> = effects
        .reads
        .ranges()
        .map(|read| read.range.limit)
        .collect();
    assert_eq!(limits, [1, 2, 3]);
}

#[test]
fn a_key_is_looked_at_once() {
    let mut transaction = reading(&[&["1"], &["2"]]);
    for _ in 0..2 {
        assert_eq!(transaction.get("key").unwrap(), Some(Value::new(b"1")));
    }
    assert_eq!(transaction.into_effects().reads.len(), 1);
}

#[test]
fn a_list_is_hashed_as_redis_does_it() {
    let mut transaction = reading(&[&["a", "bc"]]);
    transaction.keys("", 10).unwrap();
    let effects = transaction.into_effects();
    let read = effects.reads.ranges().next().unwrap();
    // printf '1:a2:bc' | sha1sum
    let digest = digest("fd598ee13e448acb47f9923cb6922eef2997a60f");
    assert_eq!(read.found, Found::Keys(digest));
    let mut transaction = reading(&[&["a", "bc"]]);
    let all = KeyRange::of_prefix(b"");
    let entries = transaction.scan_entries(all.clone(), 1000).unwrap();
    assert_eq!(entries.len(), 2);
    let effects = transaction.into_effects();
    let read = effects.reads.ranges().next().unwrap();
    // long=\"$(printf '9%.0s' $(seq 70))\"
    // printf "1:a2:{}2:bc72:$(printf %s $long | sha1sum | cut -c 1-40)" | sha1sum
    let digest = self::digest("6eae727f03c3c732dc9ffdba7bdea8e696827c5f");
    assert_eq!(read.found, Found::Entries(digest));
    assert_eq!(read.range.limit, 3);
    let mut transaction = reading(&[&["a", "bc"]]);
    assert_eq!(transaction.count(all.clone(), &mut |_| true), Ok(Some(2)));
    let effects = transaction.into_effects();
    let read = effects.reads.ranges().next().unwrap();
    assert_eq!(read.found, Found::Count(2));
    assert_eq!(read.range, all);
}

fn digest(hex: &str) -> [u8; 20] {
    hex::decode(hex).unwrap().try_into().unwrap()
}
