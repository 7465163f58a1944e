//! Connections and time that strangers can take. There are always some left for others.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::harness::server::{TestServer, circle, eventually, key, within};

/// Opens a connection from another address of this machine, on which nothing is sent.
pub(crate) async fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let address = Ipv4Addr::new(127, 0, 0, last);
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

/// Sends a request over an open connection. Returns `None` if it is closed.
async fn status(stream: &mut TcpStream, path: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = [0; 12];
    let read = within("an answer", stream.read_exact(&mut answer)).await;
    read.ok()?;
    std::str::from_utf8(&answer[9..]).ok()?.parse().ok()
}

/// Opens as many idle connections from one address as are accepted.
async fn take_all(last: u8, to: SocketAddr) -> Vec<TcpStream> {
    let mut taken = Vec::new();
    loop {
        let mut stream = from(last, to).await;
        // A refused connection is closed at once.
        let mut byte = [0];
        let end = timeout(Duration::from_millis(300), stream.read(&mut byte)).await;
        match end {
            Ok(_) => return taken,
            Err(_) => taken.push(stream),
        }
    }
}

#[tokio::test]
async fn with_all_connections_taken_the_store_still_writes() {
    let mut server = TestServer::builder()
        .open_files(128)
        .env("CIRCLED_SERVER__MAX_ADMIN_CONNECTIONS", "8")
        .env("CIRCLED_SERVER__HANDSHAKE_TIMEOUT", "60s")
        .start()
        .await;
    let said = server
        .logged("how many connections there may be", |line| {
            line["connections"].is_number()
        })
        .await;
    assert_eq!(said["open_files"], 128, "{said}");
    assert_eq!(said["reserved_files"], 64, "{said}");
    assert_eq!(said["connections"], 56, "{said}");
    assert_eq!(said["per_address"], 28, "{said}");

    let mut session = server.log_in(&key(2)).await;
    let mut taken = Vec::new();
    for (last, expected) in [(2, 28), (3, 14), (4, 7), (5, 3)] {
        let own = take_all(last, server.address).await;
        assert_eq!(own.len(), expected, "{last}");
        taken.extend(own);
    }
    let mut other = from(9, server.address).await;
    assert_eq!(
        status(&mut other, "/").await,
        Some(404),
        "nor four together"
    );
    for last in 6..9 {
        taken.extend(take_all(last, server.address).await);
    }
    assert_eq!(taken.len(), 54, "and the session, and the other");
    // Enough that files are written and merged: several times what a table keeps in memory.
    let write =
        "let text = \"\"; text.pad(60_000, 'x'); for n in 0..8 { store.set(`${ARGS}/${n}`, text) }";
    for round in 0..50 {
        let args = json!({ "script": write, "args": round });
        let run = session.call("play", args).await;
        assert!(run.is_ok(), "{round}: {run:?}");
    }
    assert_eq!(server.admin("/healthz").await.status, 200);
    assert_eq!(server.admin("/readyz").await.status, 200);
    drop(taken);
    eventually("room for others", async || {
        let mut stream = from(9, server.address).await;
        status(&mut stream, "/").await == Some(404)
    })
    .await;
    let kept = session.play("store.keys(\"\").len()").await.unwrap();
    assert_eq!(kept["value"], 50 * 8);
}

#[tokio::test]
async fn with_too_few_open_files_it_says_so() {
    let (status, said) = TestServer::builder().open_files(40).give_up().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("permits 40 open files"), "{said}");
    assert!(said.contains("ulimit -n"), "{said}");
}

#[tokio::test]
async fn one_address_cannot_take_what_others_need() {
    let mut server = TestServer::builder()
        .env("CIRCLED_SERVER__MAX_CONNECTIONS_PER_ADDRESS", "20")
        .env("CIRCLED_SERVER__HANDSHAKE_TIMEOUT", "60s")
        .start()
        .await;
    let taken = take_all(2, server.address).await;
    assert_eq!(taken.len(), 20);
    server
        .logged("whose connections were refused", |line| {
            line["message"]
                .as_str()
                .unwrap_or_default()
                .contains("max_connections_per_address")
                && line["peer"].as_str().unwrap().starts_with("127.0.0.2:")
        })
        .await;
    let mut other = from(3, server.address).await;
    assert_eq!(status(&mut other, "/").await, Some(404));
    assert_eq!(server.admin("/healthz").await.status, 200);
    let mut session = server.log_in(&key(2)).await;
    session.play("1").await.unwrap();
    drop(taken);
    eventually("its share to be free", async || {
        let mut stream = from(2, server.address).await;
        status(&mut stream, "/").await == Some(404)
    })
    .await;
}

#[tokio::test]
async fn trusted_proxies_may_have_any_number_of_connections() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__MAX_CONNECTIONS_PER_ADDRESS", "2")
        .env("CIRCLED_SERVER__TRUSTED_PROXIES", "127.0.0.8/30")
        .start()
        .await;
    let mut taken = Vec::new();
    for _ in 0..10 {
        let mut stream = from(9, server.address).await;
        assert_eq!(status(&mut stream, "/").await, Some(404));
        taken.push(stream);
    }
    assert_eq!(take_all(12, server.address).await.len(), 2);
}

#[tokio::test]
async fn the_admin_listener_has_connections_of_its_own() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__MAX_ADMIN_CONNECTIONS", "3")
        .env("CIRCLED_SERVER__HANDSHAKE_TIMEOUT", "60s")
        .start()
        .await;
    let admin = server.admin_address().unwrap();
    let taken = take_all(2, admin).await;
    assert_eq!(taken.len(), 3);
    let mut people = from(2, server.address).await;
    assert_eq!(status(&mut people, "/").await, Some(404));
    drop(taken);
    eventually("room", async || {
        let mut stream = from(2, admin).await;
        status(&mut stream, "/healthz").await == Some(200)
    })
    .await;
}

/// Sends requests and reads nothing, until nothing more is accepted.
async fn deaf(last: u8, to: SocketAddr) -> TcpStream {
    let mut stream = from(last, to).await;
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    while let Ok(sent) = timeout(
        Duration::from_millis(500),
        stream.write_all(request.as_bytes()),
    )
    .await
    {
        sent.unwrap();
    }
    stream
}

#[tokio::test]
async fn clients_that_read_no_response_are_cut_off() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__RESPONSE_TIMEOUT", "500ms")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for to in [server.address, server.admin_address().unwrap()] {
        let mut stream = deaf(2, to).await;
        let cut = async {
            // The bytes in the buffers between both ends come first.
            let mut into = vec![0; 64 << 10];
            while stream.write_all(b"GET").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            while stream.read(&mut into).await.is_ok_and(|read| read > 0) {}
        };
        within("the end", cut).await;
    }
    // A session has deadlines of its own.
    session.play("1").await.unwrap();
}

#[tokio::test]
async fn an_upgrade_behind_responses_that_nobody_takes_is_cut_off_with_them() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__RESPONSE_TIMEOUT", "500ms")
        .start()
        .await;
    let mut streams = Vec::new();
    for count in [2_000, 5_000, 20_000] {
        let mut stream = from(2, server.address).await;
        let mut requests = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(count);
        requests += &format!(
            "GET /{} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            circle()
        );
        within("the requests", stream.write_all(requests.as_bytes()))
            .await
            .unwrap();
        streams.push(stream);
    }
    // A session that answers no ping would last for 35 s.
    for mut stream in streams {
        let cut = async {
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("the end", cut).await;
    }
}

#[tokio::test]
async fn clients_that_read_no_response_do_not_keep_the_server() {
    let mut server = TestServer::builder()
        .env("CIRCLED_SERVER__RESPONSE_TIMEOUT", "60s")
        .env("CIRCLED_SERVER__HANDSHAKE_TIMEOUT", "60s")
        .env("CIRCLED_SERVER__SHUTDOWN_GRACE", "1s")
        .start()
        .await;
    let admin = server.admin_address().unwrap();
    let _deaf = [deaf(2, server.address).await, deaf(3, admin).await];
    let mut half = from(4, server.address).await;
    half.write_all(b"POST /webhooks/stripe/").await.unwrap();
    let start = Instant::now();
    server.sigterm();
    assert_eq!(server.wait().await.code(), Some(0));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}
