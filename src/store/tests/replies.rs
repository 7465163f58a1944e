//! Replies to requests: they expire, and share the room that there is for them.

use super::{
    circle, commit, open, open_with,
    ttl::{NOW, sweep, value},
    usage,
};
use crate::store::{CommitError, REPLY_HEAD, Store, Table, Value, request_key};

/// Returns a reply as it is stored: a member's where there is an account, and with more than its first fields or not.
fn reply(account: &str, more: &str) -> String {
    let head = "7".repeat(REPLY_HEAD);
    match account {
        "" => format!("{head}{more}}}"),
        _ => format!("{head},\"account\":\"{account}\"{more}}}"),
    }
}

/// Keeps the reply to a request.
fn keep(store: &Store, id: u8, reply: &str, expiry: i64) -> Result<(), CommitError> {
    let mut transaction = store.begin_latest(circle(1));
    let key = request_key(&[id; 16]);
    assert_eq!(transaction.own_get(&key).unwrap(), None);
    transaction.own_set_until(&key, reply.as_bytes(), expiry);
    commit(store, transaction)
}

fn kept(store: &Store, id: u8) -> Option<Value> {
    let key = request_key(&[id; 16]);
    store.begin_latest(circle(1)).own_get(&key).unwrap()
}

/// Returns the bytes of the replies of an account.
fn reply_bytes(store: &Store, account: &str) -> u64 {
    let key = format!("replies{account}");
    let stored = store.read(Table::Usage, &circle(1), key.as_bytes());
    let bytes = |stored: Value| u64::from_be_bytes(stored[..].try_into().unwrap());
    stored.unwrap().map_or(0, bytes)
}

/// Returns how many entries the index of expiry times has, those by account included.
fn entries(store: &Store) -> usize {
    let mut count = 0;
    let walked = store.walk(Table::Expiry, &circle(1), &[], false, &mut |_, _| {
        count += 1;
        true
    });
    walked.unwrap();
    count
}

#[test]
fn replies_expire_and_count_apart() {
    for (account, entries_of_one) in [("", 1), ("0123456789abcdef", 2)] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.stop_clock(NOW);
        let text = reply(account, "");
        // Of two at once, one conflicts.
        let mut second = store.begin_latest(circle(1));
        let key = request_key(&[7; 16]);
        assert_eq!(second.own_get(&key).unwrap(), None);
        second.own_set_until(&key, b"\"other\"", NOW + 10);
        keep(&store, 7, &text, NOW + 10).unwrap();
        assert_eq!(commit(&store, second), Err(CommitError::Conflict));
        assert_eq!(kept(&store, 7), Some(value(&text)));
        let size = (1 + key.len() + 9 + text.len()) as u64;
        let counts = |store: &Store| (reply_bytes(store, account), usage(store, circle(1)));
        assert_eq!(counts(&store), (size, 0));
        assert_eq!(entries(&store), entries_of_one);
        // In its place comes another one, once it has expired.
        store.stop_clock(NOW + 10);
        keep(&store, 7, &text, NOW + 20).unwrap();
        assert_eq!(counts(&store), (size, 0));
        assert_eq!(entries(&store), entries_of_one);
        // It may be another account's, for its caller may have become a member, or be none any more.
        store.stop_clock(NOW + 20);
        let other = if account.is_empty() {
            "fedcba9876543210"
        } else {
            ""
        };
        keep(&store, 7, &reply(other, ""), NOW + 30).unwrap();
        assert_eq!(counts(&store), (0, 0));
        assert!(reply_bytes(&store, other) > 0);
        assert_eq!(entries(&store), 3 - entries_of_one);
        keep(&store, 8, &text, NOW + 30).unwrap();
        store.shutdown();
        drop(store);
        let store = open(folder.path());
        store.stop_clock(NOW + 30);
        sweep(&store);
        assert_eq!(counts(&store), (0, 0));
        assert_eq!((reply_bytes(&store, other), entries(&store)), (0, 0));
        store.shutdown();
    }
}

#[test]
fn accounts_share_the_room_for_replies() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(1000);
    let size = |reply: &str| (2 + 16 + 9 + reply.len()) as u64;
    let whole = size(&reply("0000000000000000", &long));
    let most = |count: u64| usize::try_from(count * whole).unwrap();
    let store = open_with(folder.path(), |settings| settings.max_requests = most(10));
    store.stop_clock(NOW);
    let account = |n: u8| format!("{n:016x}");
    // One has nearly all of it.
    for id in 0..10 {
        keep(
            &store,
            id,
            &reply(&account(1), &long),
            NOW + 100 + i64::from(id),
        )
        .unwrap();
    }
    assert_eq!(reply_bytes(&store, &account(1)), 10 * whole);
    // It makes room for what others keep, the oldest first, until it has no more than they have.
    for n in 2..=9 {
        keep(&store, 10 + n, &reply(&account(n), &long), NOW + 50).unwrap();
        assert!(kept(&store, 10 + n).unwrap().ends_with(b"x}"), "{n}");
    }
    for id in 0..10 {
        assert_eq!(kept(&store, id), Some(value(&reply(&account(1), ""))));
    }
    for n in 2..=9 {
        assert_eq!(reply_bytes(&store, &account(n)), whole);
    }
    // All guests are one more, and so is what an earlier version has left.
    for id in 100..200 {
        keep(&store, id, &reply("", &long), NOW + 100 + i64::from(id)).unwrap();
    }
    for n in 2..=9 {
        assert!(kept(&store, 10 + n).unwrap().ends_with(b"x}"), "{n}");
    }
    // Its short ones are more than one whole reply.
    assert_eq!((kept(&store, 0), kept(&store, 3).is_some()), (None, true));
    assert_eq!((kept(&store, 100), kept(&store, 150)), (None, None));
    assert_eq!(kept(&store, 199), Some(value(&reply("", &long))));
    let total = |store: &Store| {
        let of_members = (1..=9).map(|n| reply_bytes(store, &account(n)));
        of_members.sum::<u64>() + reply_bytes(store, "")
    };
    assert!(total(&store) <= 10 * whole);
    store.shutdown();
    drop(store);
    // With a smaller bound, all give up what they have more than an equal share.
    let store = open_with(folder.path(), |settings| settings.max_requests = most(5));
    store.stop_clock(NOW);
    keep(&store, 200, &reply(&account(1), ""), NOW + 500).unwrap();
    assert!(total(&store) <= 5 * whole);
    for n in 1..=9 {
        let bytes = reply_bytes(&store, &account(n));
        assert!(bytes > 0 && bytes <= 2 * whole, "{n}: {bytes}");
    }
    assert!(kept(&store, 200).is_some());
    // Nobody's is left once all have expired.
    store.stop_clock(NOW + 1000);
    sweep(&store);
    assert_eq!((total(&store), entries(&store)), (0, 0));
    store.shutdown();
}
