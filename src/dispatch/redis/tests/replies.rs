//! Replies to requests, which share the room that there is for them.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU16, Ordering},
    time::Instant,
};

use circled_protocol::PublicKey;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{LATE, PATIENCE, Server, circle};
use crate::store::{self, Disk, Store, Table};

/// Returns the bytes of a circle's replies by account on this machine. That of guests has no name.
fn reply_bytes(store: &Store, circle: PublicKey) -> BTreeMap<String, u64> {
    let mut bytes = BTreeMap::new();
    let walked = store.walk(
        Table::Usage,
        &circle,
        b"replies",
        false,
        &mut |key, stored| {
            let account = String::from_utf8(key["replies".len()..].to_vec()).unwrap();
            bytes.insert(account, u64::from_be_bytes(stored[..].try_into().unwrap()));
            true
        },
    );
    walked.unwrap();
    bytes
}

impl Server {
    /// Returns the same here.
    fn reply_bytes(&self, circle: PublicKey) -> BTreeMap<String, u64> {
        let partition = self.redis.keys().of(&circle);
        let of_guests = vec![partition.reply_bytes(&circle).into()];
        let of_guests = self.ask(circle, "GET", of_guests).as_u64();
        let of_guests = of_guests.map(|bytes| (String::new(), bytes));
        let of_members = partition.member_reply_bytes(&circle).into();
        let of_members = vec![of_members, 0.into(), (-1).into(), "WITHSCORES".into()];
        let of_members = self.ask(circle, "ZRANGE", of_members).into_array();
        let of_members = of_members.chunks(2).map(|pair| {
            let bytes = pair[1].as_string().unwrap().parse().unwrap();
            (pair[0].as_string().unwrap(), bytes)
        });
        let mut bytes: BTreeMap<_, _> = of_guests.into_iter().chain(of_members).collect();
        let of_all = bytes.remove("~").unwrap_or(0);
        let of_members = bytes.iter().filter(|(account, _)| !account.is_empty());
        assert_eq!(of_all, of_members.map(|(_, bytes)| bytes).sum::<u64>());
        bytes
    }

    /// Returns how many of the keys about a circle's replies there are, and of its replies.
    fn reply_keys(&self, circle: PublicKey) -> (Option<u64>, Option<u64>) {
        let partition = self.redis.keys().of(&circle);
        let lists = vec![
            partition.replies(&circle).into(),
            partition.short_replies(&circle).into(),
            partition.reply_bytes(&circle).into(),
            partition.member_replies(&circle).into(),
            partition.replies_by_member(&circle).into(),
            partition.member_reply_bytes(&circle).into(),
        ];
        let stored = vec![partition.store(&circle).into()];
        let lists = self.ask(circle, "EXISTS", lists).as_u64();
        (lists, self.ask(circle, "HLEN", stored).as_u64())
    }
}

/// Returns a reply as it is stored: a member's, where there is an account, with so much more than its first fields.
fn reply(account: &str, more: usize) -> String {
    let (head, more) = ("7".repeat(store::REPLY_HEAD), "8".repeat(more));
    match account {
        "" => format!("{head}{more}}}"),
        _ => format!("{head},\"account\":\"{account}\"{more}}}"),
    }
}

const ACCOUNTS: [&str; 4] = [
    "",
    "0123456789abcdef",
    "fedcba9876543210",
    "ffffffffffffffff",
];

#[test]
fn replies_are_bounded_in_the_same_way() {
    const MOST: usize = 900;
    let server = Server::start();
    let committer = server.committer(|settings| settings.max_requests = MOST);
    let folder = tempfile::tempdir().unwrap();
    let mut settings = server.settings.dispatch.embedded.clone();
    settings.data_dir = folder.path().join("data");
    settings.max_requests = MOST;
    let disk = Disk::open(&settings).unwrap();
    let store = Store::start(disk, &settings, server.settings.store.clone()).unwrap();
    let seeds = AtomicU16::new(1);
    let config = Config {
        cases: 30,
        failure_persistence: None,
        ..Config::default()
    };
    // Some have nothing that could be left out, and some have no room.
    let length = prop_oneof![1 => 0..2_usize, 4 => 2..450_usize, 1 => 700..1000_usize];
    let account = prop::sample::select(&ACCOUNTS[..]);
    let replies = vec((account, length, 0..3_i64), 1..40);
    let result = TestRunner::new(config).run(&replies, |replies| {
        let circle = circle(seeds.fetch_add(1, Ordering::Relaxed));
        let key = |n: usize| store::request_key(&[7, u8::try_from(n).unwrap()]);
        let mut before = BTreeMap::new();
        for (n, (account, length, after)) in replies.iter().enumerate() {
            for on_disk in [true, false] {
                let mut transaction = match on_disk {
                    true => store.begin_latest(circle),
                    false => server.begin(circle),
                };
                assert_eq!(transaction.own_get(&key(n)), Ok(None));
                let reply = reply(account, *length);
                transaction.own_set_until(&key(n), reply.as_bytes(), LATE + after);
                match on_disk {
                    true => {
                        store.commit_and_wait(transaction, Vec::new(), store::Preconditions::NONE)
                    }
                    false => server.commit(&committer, transaction),
                }
                .unwrap();
            }
            let bytes = reply_bytes(&store, circle);
            prop_assert_eq!(&server.reply_bytes(circle), &bytes);
            prop_assert!(bytes.values().sum::<u64>() <= MOST as u64);
            // Nobody makes room for somebody who has more.
            let most = bytes.values().max().copied().unwrap_or(0);
            for (other, before) in before.iter().filter(|(other, _)| *other != account) {
                let after = bytes.get(other).copied().unwrap_or(0);
                prop_assert!(
                    after == *before || *before >= most,
                    "{} for {}",
                    other,
                    account
                );
            }
            before = bytes;
        }
        // Nothing of it counts in the quota, and each is a commit.
        let count = replies.len();
        prop_assert_eq!(server.usage(circle), format!("0 {count}"));
        prop_assert_eq!(store.last_commit(&circle), Ok(count as u64));
        let (mut here, mut there) = (store.begin(circle), server.begin(circle));
        for n in 0..count {
            let reply = here.own_get(&key(n)).unwrap();
            prop_assert_eq!(reply, there.own_get(&key(n)).unwrap());
        }
        Ok(())
    });
    result.unwrap();
    store.shutdown();
}

#[test]
fn nothing_is_left_of_replies_that_have_expired() {
    let server = Server::start();
    let committer = server.committer(|settings| settings.max_requests = 1000);
    let circle = circle(1);
    let end = server.redis.now() + 500;
    let mut ids = 0..;
    let mut keep = |account: &str, expiry| {
        let key = store::request_key(&[ids.next().unwrap()]);
        let mut transaction = server.begin(circle);
        assert_eq!(transaction.own_get(&key), Ok(None));
        transaction.own_set_until(&key, reply(account, 200).as_bytes(), expiry);
        server.commit(&committer, transaction).unwrap();
    };
    for account in ACCOUNTS.iter().cycle().take(20) {
        keep(account, end);
    }
    let bytes = server.reply_bytes(circle);
    assert_eq!(bytes.len(), ACCOUNTS.len());
    assert!(bytes.values().sum::<u64>() <= 1000);
    server.expire(circle);
    assert_eq!(server.reply_bytes(circle), bytes);
    let begun = Instant::now();
    while server.reply_keys(circle) != (Some(0), Some(0)) {
        assert!(begun.elapsed() < PATIENCE);
        server.expire(circle);
    }
}

#[test]
fn replies_that_an_earlier_version_has_changed_are_in_nobodys_way() {
    let server = Server::start();
    let committer = server.committer(|settings| settings.max_requests = 1000);
    let circle = circle(1);
    let partition = server.redis.keys().of(&circle);
    let end = server.redis.now() + 500;
    let keep = |id: u8, account: &str, more| {
        let key = store::request_key(&[id]);
        let mut transaction = server.begin(circle);
        assert_eq!(transaction.own_get(&key), Ok(None));
        transaction.own_set_until(&key, reply(account, more).as_bytes(), end);
        server.commit(&committer, transaction).unwrap();
        key
    };
    let [_, member, other, _] = ACCOUNTS;
    let changed = keep(0, member, 200);
    // It had expired, and the same request came again. An earlier worker knows no accounts.
    let changed = [&[255], &changed[..]].concat();
    let header = [&[1], &(end + 1).to_be_bytes()[..]].concat();
    let stored = [&header[..], reply("", 100).as_bytes()].concat();
    let (changed, stored) = (changed.as_slice(), stored.as_slice());
    let store = partition.store(&circle).into();
    server.ask(circle, "HSET", vec![store, changed.into(), stored.into()]);
    let list = partition.replies(&circle).into();
    server.ask(circle, "ZADD", vec![list, (end + 1).into(), changed.into()]);
    // One that is nowhere.
    let lists = [
        partition.replies(&circle),
        partition.member_replies(&circle),
    ];
    for list in lists {
        server.ask(circle, "ZADD", vec![list.into(), end.into(), "none".into()]);
    }
    for id in 1..20 {
        keep(id, [member, other][usize::from(id % 2)], 300);
    }
    let bytes = server.reply_bytes(circle);
    let counts = bytes
        .iter()
        .map(|(account, bytes)| (&**account, *bytes > 300));
    assert_eq!(Vec::from_iter(counts), [(member, true), (other, true)]);
    assert!(bytes.values().sum::<u64>() <= 1000);
    let begun = Instant::now();
    while server.reply_keys(circle) != (Some(0), Some(0)) {
        assert!(begun.elapsed() < PATIENCE);
        server.expire(circle);
    }
}
