//! Handshakes, which strangers may begin: bounded in time and in number.

use std::time::Duration;

use futures_util::future::join_all;
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::{
    harness::{
        server::{TestServer, Ws, circle, eventually, key, within},
        tls::{Authority, shake},
    },
    server::doors::from,
};

const HOST: &str = "127.0.0.1";
/// The beginning of a ClientHello of 512 bytes.
const BEGUN: [u8; 9] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];

fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("own", &[HOST]);
    authority
}

/// Returns the number of handshakes that ended like this.
async fn counted(server: &TestServer, outcome: &str) -> u64 {
    let series = format!("circled_tls_handshakes_total{{outcome=\"{outcome}\"}} ");
    let metrics = server.admin("/metrics").await.body;
    let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
    value.unwrap().parse().unwrap()
}

/// Waits until the server has closed a connection.
async fn closed(stream: &mut TcpStream) {
    let mut into = [0; 64];
    let end = async { while stream.read(&mut into).await.is_ok_and(|read| read > 0) {} };
    within("the end", end).await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended() {
    let authority = authority();
    let server = authority
        .server(&["own"])
        .env("CIRCLED_SERVER__HANDSHAKE_TIMEOUT", "500ms")
        .start()
        .await;
    let mut session = authority.connect(&server).await;
    let mut silent = from(2, server.address).await;
    let mut half = from(2, server.address).await;
    half.write_all(&BEGUN).await.unwrap();
    let mut slow = from(2, server.address).await;
    let dripping = async {
        while slow.write_all(&[0x16]).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    within("the end of a slow one", dripping).await;
    closed(&mut silent).await;
    closed(&mut half).await;
    // The slow one sends no TLS: it failed as soon as that was clear, or took too long.
    assert!(counted(&server, "timeout").await >= 2);
    assert_eq!(counted(&server, "ok").await, 1);
    session.login(&key(2)).await;
    session.play("1").await.unwrap();
}

#[tokio::test]
async fn half_open_handshakes_keep_nobody_out() {
    let authority = authority();
    let mut server = authority
        .server(&["own"])
        .env("CIRCLED_SERVER__HANDSHAKE_TIMEOUT", "60s")
        .env("CIRCLED_SERVER__TLS__MAX_HANDSHAKES", 40)
        .start()
        .await;
    let mut session = authority.connect(&server).await;
    session.login(&key(2)).await;
    let mut half_open = Vec::new();
    for (last, expected) in [(2, 20), (3, 10), (4, 5)] {
        let mut own = Vec::new();
        for _ in 0..=expected {
            let mut stream = from(last, server.address).await;
            stream.write_all(&BEGUN).await.ok();
            own.push(stream);
        }
        let open = join_all(own.into_iter().map(async |mut stream| {
            let end = timeout(Duration::from_millis(500), stream.read(&mut [0])).await;
            end.is_err().then_some(stream)
        }))
        .await;
        let before = half_open.len();
        half_open.extend(open.into_iter().flatten());
        assert_eq!(half_open.len() - before, expected, "{last}");
    }
    assert_eq!(counted(&server, "refused").await, 3);
    server
        .logged("whose handshakes were refused", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.contains("server.tls.max_handshakes")
                && line["peer"].as_str().unwrap().starts_with("127.0.0.2:")
        })
        .await;
    // Those who come in time are served meanwhile, one after another, and those who are there go on.
    for seed in 3..13 {
        let mut other = authority.connect(&server).await;
        other.login(&key(seed)).await;
        other.play("1").await.unwrap();
    }
    session.play("1").await.unwrap();
    drop(half_open);
    eventually("places to be free", async || {
        let mut stream = from(2, server.address).await;
        stream.write_all(&BEGUN).await.ok();
        timeout(Duration::from_millis(100), stream.read(&mut [0]))
            .await
            .is_err()
    })
    .await;
}

#[tokio::test]
async fn what_fails_is_counted_and_told_to_the_client() {
    let authority = authority();
    let server = authority.server(&["own"]).start().await;
    let mut garbage = from(2, server.address).await;
    garbage
        .write_all(b"\x16\x03\x01\x00\x05hello")
        .await
        .unwrap();
    closed(&mut garbage).await;
    for version in [&TLS12, &TLS13] {
        let mut config = authority.client(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(server.address).await.unwrap();
        let refused = shake(stream, HOST, config).await.unwrap_err();
        let told = refused.to_string();
        assert!(told.contains("NoApplicationProtocol"), "{told}");
    }
    eventually("three failures", async || {
        counted(&server, "failed").await == 3
    })
    .await;
    assert_eq!(counted(&server, "ok").await, 0);
}

#[tokio::test]
async fn clients_that_read_nothing_are_cut_off() {
    let authority = authority();
    let server = authority
        .server(&["own"])
        .env("CIRCLED_SERVER__RESPONSE_TIMEOUT", "500ms")
        .env("CIRCLED_SESSION__WRITE_TIMEOUT", "500ms")
        .start()
        .await;
    let narrow = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let stream = socket.connect(server.address).await.unwrap();
        shake(stream, HOST, authority.client(&[&TLS13]))
            .await
            .unwrap()
    };
    let mut deaf = narrow().await;
    let requests = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let cut = async {
        loop {
            let written = deaf.write_all(requests.as_bytes());
            if let Ok(Err(_)) = timeout(Duration::from_millis(50), written).await {
                return;
            }
        }
    };
    within("the end of a connection", cut).await;

    let request = server.url(circle()).into_client_request().unwrap();
    let mut session = Ws::over(narrow().await, request).await;
    session.login(&key(2)).await;
    for _ in 0..60 {
        session
            .begin_play("let text = \"\"; text.pad(60_000, 'x'); text")
            .await;
    }
    eventually("the end of the session", async || {
        server.admin("/readyz").await.json()["sessions"] == 0
    })
    .await;
    drop(session);
}
