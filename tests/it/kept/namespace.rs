//! A Redis namespace as text: the commands that write it, a line each, quoted as `redis-cli` takes them.

use jiff::{SignedDuration, Timestamp};

use crate::harness::redis::{RedisServer, resp::Reply};

use super::folder::{CENTURY, put_off};

/// The namespace of kept data.
pub(super) const NAME: &str = "kept";

/// The day on which those that there are were written.
const DAY: &str = "2026-11-30T";

/// Keys that live no longer than this aren't kept: with them, their servers only say that they are there.
const SHORT: i64 = 3_600_000;

/// Returns the text of a namespace. What would expire stays, so that tests with it hold on any day.
pub(super) async fn dump(redis: &RedisServer) -> String {
    let mut keys: Vec<Vec<u8>> = texts(&redis.ask(&["KEYS", "*"]).await);
    keys.sort();
    let mut lines = String::new();
    for key in keys {
        let left: i64 = redis
            .ask(&[b"PTTL", &key[..]])
            .await
            .to_string()
            .parse()
            .unwrap();
        if (0..SHORT).contains(&left) {
            continue;
        }
        for command in writing(redis, &key).await {
            lines += &line(&command);
        }
    }
    lines
}

/// Returns the commands that write a key.
async fn writing(redis: &RedisServer, key: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let ask = async |words: &[&[u8]]| texts(&redis.ask(words).await);
    let command = |name: &str, words: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        [vec![name.into(), key.to_vec()], words].concat()
    };
    match &*redis.ask(&[b"TYPE", key]).await.to_string() {
        "string" => {
            let value = redis.ask(&[b"GET", key]).await;
            vec![command("SET", vec![value.bytes().to_vec()])]
        }
        "list" => vec![command("RPUSH", ask(&[b"LRANGE", key, b"0", b"-1"]).await)],
        "set" => {
            let mut members = ask(&[b"SMEMBERS", key]).await;
            members.sort();
            vec![command("SADD", members)]
        }
        "hash" => {
            let fields = ask(&[b"HGETALL", key]).await;
            let mut pairs: Vec<_> = fields.chunks(2).map(<[_]>::to_vec).collect();
            pairs.sort();
            if kind(key) == "store" {
                for pair in &mut pairs {
                    pair[1] = put_off(&pair[1]);
                }
            }
            vec![command("HSET", pairs.concat())]
        }
        "zset" => {
            let mut pairs = ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]).await;
            for pair in pairs.chunks_mut(2) {
                // These expire by their scores.
                if ["dead", "expiring", "replies"].contains(&kind(key)) {
                    let score: f64 = String::from_utf8_lossy(&pair[1]).parse().unwrap();
                    pair[1] = (score + CENTURY as f64).to_string().into_bytes();
                }
                pair.swap(0, 1);
            }
            vec![command("ZADD", pairs)]
        }
        "stream" => stream(redis, key).await,
        other => panic!("{}: a {other}", String::from_utf8_lossy(key)),
    }
}

/// Returns the first word of a key after its partition: `{kept:05}:store:<circle>` is a `store`.
fn kind(key: &[u8]) -> &str {
    let name = std::str::from_utf8(key).ok();
    let name = name.and_then(|name| name.split("}:").nth(1)?.split(':').next());
    name.unwrap_or_default()
}

/// Returns the commands that write a stream with its groups and the entries that consumers have.
async fn stream(redis: &RedisServer, key: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut commands = Vec::new();
    let mut add = |words: &[&[u8]]| commands.push(words.iter().map(|word| word.to_vec()).collect());
    for entry in redis.ask(&[b"XRANGE", key, b"-", b"+"]).await.items() {
        let fields = texts(&entry.items()[1]);
        let fields: Vec<_> = fields.iter().map(Vec::as_slice).collect();
        add(&[&[b"XADD", key, entry.items()[0].bytes()], &fields[..]].concat());
    }
    let groups = redis.ask(&[&b"XINFO"[..], b"GROUPS", key]).await;
    for group in groups.items() {
        let name = field(group, "name");
        let last = field(group, "last-delivered-id");
        add(&[
            b"XGROUP",
            b"CREATE",
            key,
            name.bytes(),
            last.bytes(),
            b"MKSTREAM",
        ]);
        let pending = [b"XPENDING", key, name.bytes(), b"-", b"+", b"1000"];
        for entry in redis.ask(&pending).await.items() {
            let [id, consumer, _, deliveries] = entry.items() else {
                panic!("{entry}");
            };
            let (consumer, id, times) = (consumer.bytes(), id.bytes(), deliveries.bytes());
            let claim = [b"XCLAIM", key, name.bytes(), consumer, b"0", id];
            add(&[&claim[..], &[b"RETRYCOUNT", times, b"FORCE", b"JUSTID"]].concat());
        }
    }
    let stream = redis.ask(&[&b"XINFO"[..], b"STREAM", key]).await;
    add(&[b"XSETID", key, field(&stream, "last-generated-id").bytes()]);
    commands
}

/// Returns a field of a list of names and values.
fn field<'a>(list: &'a Reply, name: &str) -> &'a Reply {
    let pairs = list.items().chunks(2);
    let mut found = pairs.filter(|pair| pair[0].bytes() == name.as_bytes());
    &found.next().unwrap()[1]
}

fn texts(list: &Reply) -> Vec<Vec<u8>> {
    let items = list.items().iter();
    items.map(|item| item.bytes().to_vec()).collect()
}

/// Returns a command with its arguments in quotes.
fn line(command: &[Vec<u8>]) -> String {
    let mut line = String::from_utf8(command[0].clone()).unwrap();
    for word in &command[1..] {
        line += " \"";
        for &byte in word {
            match byte {
                b'"' | b'\\' => line.extend(['\\', char::from(byte)]),
                b' '..=b'~' => line.push(char::from(byte)),
                _ => line += &format!("\\x{byte:02x}"),
            }
        }
        line.push('"');
    }
    line + "\n"
}

/// Returns the words of a line.
fn words(line: &str) -> Vec<Vec<u8>> {
    let (name, mut rest) = line.split_once(' ').unwrap();
    let mut words = vec![name.as_bytes().to_vec()];
    while let Some(quoted) = rest.trim_start().strip_prefix('"') {
        let mut word = Vec::new();
        let mut bytes = quoted.bytes().enumerate();
        let end = loop {
            match bytes.next().unwrap() {
                (at, b'"') => break at,
                (_, b'\\') => match bytes.next().unwrap() {
                    (at, b'x') => {
                        word.push(u8::from_str_radix(&quoted[at + 1..at + 3], 16).unwrap());
                        bytes.nth(1);
                    }
                    (_, byte) => word.push(byte),
                },
                (_, byte) => word.push(byte),
            }
        };
        words.push(word);
        rest = &quoted[end + 1..];
    }
    words
}

/// Returns a text with yesterday in place of the day on which it was written: jobs that are over are kept for a year at most.
pub(super) fn made_lately(text: &str) -> String {
    let yesterday = Timestamp::now() - SignedDuration::from_hours(24);
    text.replace(DAY, &yesterday.to_string()[..DAY.len()])
}

/// Has the marks of deliveries expire a century later: kept ones don't, and so look like others.
pub(super) async fn have_marks_expire(redis: &RedisServer) {
    let marks = format!("{{{NAME}:*}}:seen:*");
    for mark in texts(&redis.ask(&["KEYS", &marks]).await) {
        let time = CENTURY.to_string();
        redis.ask(&[b"PEXPIRE", &mark[..], time.as_bytes()]).await;
    }
}

/// Writes a namespace into an empty Redis.
pub(super) async fn replay(redis: &RedisServer, text: &str) {
    for line in text.lines() {
        redis.ask(&words(line)).await;
    }
}

/// Returns the number of the last commit, which is beside the size of the circle's store.
pub(super) async fn last_commit(redis: &RedisServer) -> u64 {
    let pattern = format!("{{{NAME}:*}}:usage:*");
    let keys = texts(&redis.ask(&["KEYS", &pattern]).await);
    let [key] = &keys[..] else {
        panic!("stores of {} circles", keys.len());
    };
    let usage = redis.ask(&[b"GET", &key[..]]).await.to_string();
    usage.split_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn a_line_is_read_as_it_was_written() {
    let command = [
        &b"SET"[..],
        b"",
        b"a \"b\" \\x",
        b"\x00\xff\n",
        "ü".as_bytes(),
    ];
    let command = command.map(<[u8]>::to_vec);
    assert_eq!(words(line(&command).trim_end()), command);
}
