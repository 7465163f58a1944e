//! A store that is read somewhere else: whatever was seen of it is told to whoever commits.

use std::{collections::VecDeque, sync::Arc};

use super::{LIMITS, circle};
use crate::store::{Key, KeyRange, RemoteReads, Transaction, Unavailable, Value};

/// A store that returns something else each time.
struct Changing(VecDeque<Vec<&'static str>>);

impl RemoteReads for Changing {
    fn get(&mut self, _: &Key) -> Result<Option<Value>, Unavailable> {
        self.keys(&KeyRange::of_prefix(b""))
            .map(|keys| keys.into_iter().next())
    }

    fn keys(&mut self, _: &KeyRange) -> Result<Vec<Key>, Unavailable> {
        let keys = self.0.pop_front().ok_or(Unavailable)?;
        Ok(keys
            .into_iter()
            .map(|key| Key::new(key.as_bytes()))
            .collect())
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
    assert_eq!(
        hex::encode(read.found),
        "fd598ee13e448acb47f9923cb6922eef2997a60f"
    );
}
