//! The backups of Redis that servers make.

use std::fmt::Write;

use axum::http::HeaderMap;
use circled::{
    backup::{Failure, Head, Part, Record},
    store::{Key, Value},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use super::backup::{NAMESPACE, PARTITIONS, deliver, fleet};
use crate::harness::{
    redis::{Archived, RedisServer, circle},
    server::{TestServer, eventually, post, within},
};

/// Asks a server for a backup. Returns the status, and why it is refused if it is.
async fn post_backup(server: &TestServer) -> (u16, String) {
    let address = server.admin_address().unwrap();
    let answer = post(address, "/backup", &HeaderMap::new(), b"").await;
    (answer.status, answer.body)
}

/// Waits until no backup has a connection to Redis.
async fn until_unread(redis: &RedisServer) {
    eventually("the connections of backups to end", async || {
        let clients = redis.command(&["CLIENT", "LIST"]).await;
        !clients.contains("name=circled-backup")
    })
    .await;
}

#[tokio::test]
async fn backups_leave_no_connections() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let fleet = fleet(&redis.url()).with("DISPATCH__REDIS__TIMEOUT", "300ms");
    let server = fleet.gateway().await;
    for number in 0..4 {
        deliver(&server, number, "evt_1").await;
    }
    for _ in 0..3 {
        assert_eq!(post_backup(&server).await.0, 200);
        until_unread(&redis).await;
    }
    let archived = Archived::of(&redis.url(), NAMESPACE, PARTITIONS);
    archived.read().await.unwrap();
    archived.check_unserved().await.unwrap_err();
    until_unread(&redis).await;
    redis.kill();
    assert_eq!(post_backup(&server).await.0, 503);
    redis.restart().await;
    eventually("another backup", async || {
        post_backup(&server).await.0 == 200
    })
    .await;
    until_unread(&redis).await;
}

#[tokio::test]
async fn a_backup_waits_for_another_one_and_is_refused_at_once() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis.url());
    let server = fleet.gateway().await;
    for number in 0..4 {
        deliver(&server, number, "evt_1").await;
    }
    let archived = Archived::of(&redis.url(), NAMESPACE, PARTITIONS);
    // It waits for somebody who takes what it reads.
    let out = archived.begin().await;
    let (status, why) = post_backup(&server).await;
    assert_eq!(status, 409, "{why}");
    assert!(why.contains("another backup uses the namespace"), "{why}");
    let busy = archived.read().await.unwrap_err();
    assert!(matches!(busy, Failure::Busy(_)), "{busy}");

    let folder = tempfile::tempdir().unwrap();
    let scheduled = fleet.builder().env("CIRCLED_BACKUP__EVERY", "24h");
    let scheduled = scheduled.env("CIRCLED_BACKUP__FOLDER", folder.path().display());
    let mut scheduled = scheduled.start().await;
    scheduled
        .logged("that it waits", |line| {
            line["message"] == "a backup has to wait for another one"
        })
        .await;
    let metrics = scheduled.admin("/metrics").await.body;
    let failed = "circled_backups_total{outcome=\"failed\"} 0";
    assert!(metrics.contains(failed), "{metrics}");

    drop(out);
    eventually("the next backup", async || {
        post_backup(&server).await.0 == 200
    })
    .await;
}

/// Returns the JSON of a long text that can't be compressed well.
fn noise(seed: u64) -> String {
    let mut text = "\"".to_owned();
    let mut state = seed;
    for _ in 0..50_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        write!(text, "{:016x}", state ^ (state >> 29)).unwrap();
    }
    text + "\""
}

#[tokio::test]
async fn a_backup_ends_with_its_server_and_leaves_nothing() {
    let redis = RedisServer::start().await;
    let head = Head {
        circle: circle(1),
        commits: 1,
        events: 0,
    };
    // More than fits between Redis and a client that doesn't read.
    let values = (10..34_u64).map(|n| {
        let (key, value) = (Key::new(n.to_string().as_bytes()), noise(n));
        let value = Value::new(value.as_bytes());
        Part::Records(vec![Record::Entry { key, value }])
    });
    let parts: Vec<_> = [Part::Circle(head)]
        .into_iter()
        .chain(values)
        .chain([Part::End])
        .collect();
    let archived = Archived::of(&redis.url(), NAMESPACE, PARTITIONS);
    archived.write(&parts).await.unwrap();
    let mut server = fleet(&redis.url()).gateway().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let address = server.admin_address().unwrap();
    let mut client = socket.connect(address).await.unwrap();
    let request = format!("POST /backup HTTP/1.1\r\nHost: {address}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut begun = [0; 12];
    let begins = client.read_exact(&mut begun);
    within("a response", begins).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    let left = async || redis.command(&["KEYS", "{circled*}:backup*"]).await;
    eventually("the copy of a circle", async || {
        left().await.contains("backup:store")
    })
    .await;
    server.sigterm();
    assert!(server.wait().await.success());
    assert_eq!(left().await, "");
    // Nobody has the right to be the only one any more.
    archived.read().await.unwrap();
}
