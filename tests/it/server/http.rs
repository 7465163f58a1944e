//! The HTTP side: paths, keys, web pages, and the admin listener.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::interval,
};

use crate::harness::server::{TestServer, UPGRADE, circle, key, send, within};

const COMPRESSED: &str = "024e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e";
const UNCOMPRESSED: &str = "044e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e47fd35c4215d1edf53e6f83de344615ce719bdb0fd878f6ed76f06dd277956de";

#[tokio::test]
async fn every_spelling_of_a_key_is_the_same_circle() {
    let server = TestServer::start().await;
    for digits in [COMPRESSED, UNCOMPRESSED] {
        for prefix in ["", "0x", "0X"] {
            for digits in [digits.to_owned(), digits.to_uppercase()] {
                let spelling = format!("{prefix}{digits}");
                let mut session = server.connect_to(&spelling).await;
                assert_eq!(session.whoami().await["circle"], COMPRESSED, "{spelling}");
                let text = session.fetch_nonce(key(2).public()).await;
                assert!(text.contains(&format!("\ncircle: {COMPRESSED}\n")));
            }
        }
    }
}

#[tokio::test]
async fn paths_that_are_no_point_of_the_curve_are_not_found() {
    let server = TestServer::start().await;
    for wrong in [
        "hello",
        "0x",
        "00",
        &COMPRESSED[2..],
        &COMPRESSED[..64],
        &format!("{COMPRESSED}00"),
        &COMPRESSED.replacen("02", "05", 1),
        &format!("02{}", "ff".repeat(32)),
        &format!("04{}", "11".repeat(64)),
        &UNCOMPRESSED.replacen("04", "06", 1),
        &COMPRESSED.replace('e', "g"),
    ] {
        let path = format!("/{wrong}");
        for response in [
            server.upgrade(&path, &[]).await,
            server.get(&path, &[]).await,
        ] {
            assert_eq!(response.status, 404, "{wrong}");
            response.assert_is_an_error(404);
        }
    }
}

#[tokio::test]
async fn another_method_is_refused_with_a_body() {
    let server = TestServer::start().await;
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    for path in ["/x", &format!("/{COMPRESSED}")] {
        let refused = send(server.address, &post(path)).await;
        refused.assert_is_an_error(405);
        assert_eq!(refused.header("allow"), Some("GET,HEAD"));
    }
    let admin = server.admin_address().unwrap();
    send(admin, &post("/jobs")).await.assert_is_an_error(405);
    let nowhere = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    send(admin, nowhere).await.assert_is_an_error(404);
    server.upgrade("/%ff", &[]).await.assert_is_an_error(404);
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let server = TestServer::start().await;
    for path in [
        "/",
        "/favicon.ico",
        "/healthz",
        &format!("/{COMPRESSED}/"),
        &format!("/ws/{COMPRESSED}"),
        &format!("/{COMPRESSED}/more"),
    ] {
        server.upgrade(path, &[]).await.assert_is_an_error(404);
    }
}

#[tokio::test]
async fn a_closed_server_serves_its_own_circles_only() {
    let server = TestServer::builder()
        .toml(format!(
            "[circles]\nopen = false\n[[circle]]\nkey = \"{UNCOMPRESSED}\""
        ))
        .start()
        .await;
    server
        .upgrade(&format!("/{}", circle()), &[])
        .await
        .assert_is_an_error(404);
    let mut session = server.connect_to(COMPRESSED).await;
    assert_eq!(session.whoami().await["circle"], COMPRESSED);
}

#[tokio::test]
async fn a_page_that_may_connect_may_read_why_it_can_not() {
    let app = "https://app.example";
    let server = TestServer::builder()
        .toml(format!(
            "[server]\nallowed_origins = [\"{app}\"]\n[circles]\nopen = false\n[[circle]]\nkey = \"{UNCOMPRESSED}\""
        ))
        .start()
        .await;
    let (served, unknown) = (format!("/{COMPRESSED}"), format!("/{}", circle()));
    for (path, status) in [(&served, 426), (&unknown, 404), (&"/02".to_owned(), 404)] {
        let refused = server.get(path, &[("Origin", app)]).await;
        refused.assert_is_an_error(status);
        let reader = refused.header("access-control-allow-origin");
        assert_eq!(
            (reader, refused.header("vary")),
            (Some(app), Some("origin"))
        );
        let plain = server.get(path, &[]).await;
        plain.assert_is_an_error(status);
        assert_eq!(plain.header("access-control-allow-origin"), None);
    }
}

/// No page of another site learns which circles a server in the same network serves.
#[tokio::test]
async fn any_other_page_reads_only_that_it_may_not_connect() {
    let server = TestServer::builder()
        .toml(format!(
            "[circles]\nopen = false\n[[circle]]\nkey = \"{UNCOMPRESSED}\""
        ))
        .start()
        .await;
    let (served, unknown) = (format!("/{COMPRESSED}"), format!("/{}", circle()));
    let mut told = Vec::new();
    for path in [&served, &unknown, "/02", "/", "/ws/more"] {
        let refused = server
            .get(path, &[("Origin", "https://evil.example")])
            .await;
        refused.assert_is_an_error(403);
        let readers = refused.header("access-control-allow-origin");
        assert_eq!(readers, Some("*"), "{path}");
        told.push(refused.json());
    }
    assert!(told.windows(2).all(|both| both[0] == both[1]), "{told:?}");
    let own = format!("http://{}", server.address);
    let refused = server.get(&served, &[("Origin", &own)]).await;
    refused.assert_is_an_error(426);
    let reader = refused.header("access-control-allow-origin");
    assert_eq!(reader, Some(&*own));
}

#[tokio::test]
async fn without_an_upgrade_there_is_no_session() {
    let server = TestServer::start().await;
    let path = format!("/{COMPRESSED}");
    let plain = server.get(&path, &[]).await;
    plain.assert_is_an_error(426);
    assert_eq!(plain.header("upgrade"), Some("websocket"));

    let without_key = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
    ];
    server
        .get(&path, &without_key)
        .await
        .assert_is_an_error(426);
    let old_version = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "8"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let old = server.get(&path, &old_version).await;
    old.assert_is_an_error(426);
    assert_eq!(old.header("sec-websocket-version"), Some("13"));
}

#[tokio::test]
async fn a_handshake_is_read_as_http_says() {
    let server = TestServer::start().await;
    let ask = async |lines: &str| {
        let rest = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let request = format!("GET /{COMPRESSED} HTTP/1.1\r\nHost: x\r\n{lines}{rest}\r\n");
        send(server.address, &request).await.status
    };
    for (lines, expected) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", 101),
        (
            "Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            101,
        ),
        (
            "Connection: keep-alive, UPGRADE\r\nUpgrade: h2c, WebSocket\r\n",
            101,
        ),
        (
            "Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
            101,
        ),
        ("Connection: notupgrade\r\nUpgrade: websocket\r\n", 426),
        ("Connection: Upgrade\r\nUpgrade: websockets\r\n", 426),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n",
            426,
        ),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            400,
        ),
    ] {
        assert_eq!(ask(lines).await, expected, "{lines:?}");
    }
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_handled() {
    let server = TestServer::start().await;
    let lines: String = UPGRADE
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request = format!("GET /{COMPRESSED} HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"whoami"}"#;
    let length = u8::try_from(call.len()).unwrap();
    let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], call.as_bytes()].concat();
    // The last frame comes in two parts.
    let mut sent = [request.as_bytes(), &frame.repeat(3)].concat();
    let rest = sent.split_off(sent.len() - call.len() - 3);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&sent).await.unwrap();
    let mut read = Vec::new();
    let replies = async |stream: &mut TcpStream, read: &mut Vec<u8>, count: usize| {
        while String::from_utf8_lossy(read).matches("session_id").count() < count {
            assert_ne!(stream.read_buf(read).await.unwrap(), 0, "the end");
        }
    };
    within("two replies", replies(&mut stream, &mut read, 2)).await;
    stream.write_all(&rest).await.unwrap();
    within("the third", replies(&mut stream, &mut read, 3)).await;
}

#[tokio::test]
async fn a_request_is_for_one_host() {
    let server = TestServer::start().await;
    let path = format!("/{COMPRESSED}");
    for to in [server.address, server.admin_address().unwrap()] {
        for hosts in ["", "Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host:\r\n"] {
            for line in [
                &format!("GET {path}"),
                "GET /healthz",
                "POST /webhooks/stripe/x",
            ] {
                let request = format!("{line} HTTP/1.1\r\n{hosts}\r\n");
                send(to, &request).await.assert_is_an_error(400);
            }
        }
    }
    // Some clients check like this if anybody is there.
    let old = send(
        server.admin_address().unwrap(),
        "GET /healthz HTTP/1.0\r\n\r\n",
    )
    .await;
    assert_eq!(old.status, 200);
}

#[tokio::test]
async fn pages_of_apps_and_of_subdomains_can_be_listed() {
    let server = TestServer::builder()
        .env(
            "CIRCLED_SERVER__ALLOWED_ORIGINS",
            "tauri://localhost, https://*.example.org",
        )
        .start()
        .await;
    let path = format!("/{COMPRESSED}");
    for (page, status) in [
        ("tauri://localhost", 101),
        ("https://app.example.org", 101),
        ("https://a.b.example.org", 403),
        ("https://example.org", 403),
        ("capacitor://localhost", 403),
        ("null", 403),
    ] {
        let response = server.upgrade(&path, &[("Origin", page)]).await;
        assert_eq!(response.status, status, "{page}");
    }
    let twice = [
        ("Origin", "tauri://localhost"),
        ("Origin", "https://evil.example"),
    ];
    assert_eq!(server.upgrade(&path, &twice).await.status, 403);
}

#[tokio::test]
async fn a_page_of_another_site_may_not_connect() {
    let server = TestServer::start().await;
    let (path, port) = (format!("/{COMPRESSED}"), server.address.port());
    for (page, status) in [
        (format!("http://localhost:{port}"), 101),
        (format!("http://127.0.0.1:{port}"), 101),
        (format!("http://[::1]:{port}"), 101),
        ("https://evil.example".to_owned(), 403),
        ("null".to_owned(), 403),
        (String::new(), 403),
        ("http://localhost".to_owned(), 403),
        (format!("http://localhost:{}", port ^ 1), 403),
        (format!("http://evil.example:{port}"), 403),
        (format!("http://localhost.evil.example:{port}"), 403),
        (format!("http://127.0.0.1.evil.example:{port}"), 403),
        (format!("http://localhost:{port}@evil.example"), 403),
        (format!("http://localhost:{port}.evil.example"), 403),
        (format!("http://evil.example#http://localhost:{port}"), 403),
    ] {
        let response = server.upgrade(&path, &[("Origin", &page)]).await;
        assert_eq!(response.status, status, "{page}");
        if status == 403 {
            response.assert_is_an_error(403);
        }
    }
    assert_eq!(
        server.upgrade(&path, &[]).await.status,
        101,
        "what isn't a browser sends none"
    );
}

#[tokio::test]
async fn a_name_that_was_pointed_at_this_machine_is_not_its_own() {
    let server = TestServer::start().await;
    let (path, port) = (format!("/{COMPRESSED}"), server.address.port());
    let host = format!("evil.example:{port}");
    let page = format!("http://{host}");
    server
        .upgrade(&path, &[("Host", &host), ("Origin", &page)])
        .await
        .assert_is_an_error(403);
    let local = format!("localhost:{port}");
    server
        .upgrade(&path, &[("Host", &local), ("Origin", &page)])
        .await
        .assert_is_an_error(403);
}

#[tokio::test]
async fn the_list_of_pages_is_the_whole_list() {
    let server = TestServer::builder()
        .env(
            "CIRCLED_SERVER__ALLOWED_ORIGINS",
            "https://app.example.org, http://localhost:3000",
        )
        .start()
        .await;
    let path = format!("/{COMPRESSED}");
    for (page, status) in [
        ("https://app.example.org", 101),
        ("https://APP.example.org:443", 101),
        ("http://localhost:3000", 101),
        ("http://app.example.org", 403),
        ("https://example.org", 403),
        ("https://app.example.org.evil.example", 403),
        (&format!("http://{}", server.address), 403),
    ] {
        let response = server.upgrade(&path, &[("Origin", page)]).await;
        assert_eq!(response.status, status, "{page}");
    }
}

#[tokio::test]
async fn a_public_server_lets_its_own_pages_in() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__PUBLIC_URL", "wss://circles.example.org")
        .start()
        .await;
    let path = format!("/{COMPRESSED}");
    for (page, status) in [
        ("https://circles.example.org", 101),
        ("http://circles.example.org", 403),
        ("https://circles.example.org:8443", 403),
        (&format!("http://{}", server.address), 403),
    ] {
        let response = server.upgrade(&path, &[("Origin", page)]).await;
        assert_eq!(response.status, status, "{page}");
    }
}

#[tokio::test]
async fn health_is_told_on_the_admin_listener() {
    let server = TestServer::start().await;
    assert_eq!(server.admin("/healthz").await.status, 200);
    let ready = server.admin("/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json(),
        json!({ "status": "ready", "sessions": 0, "circles": 0 })
    );

    let mut sessions = Vec::new();
    for circle in [key(1), key(1), key(2)] {
        let mut session = server.connect_to(circle.public()).await;
        session.fence().await;
        sessions.push(session);
    }
    let ready = server.admin("/readyz").await.json();
    assert_eq!(
        ready,
        json!({ "status": "ready", "sessions": 3, "circles": 2 })
    );

    let admin = server.admin_address().unwrap();
    let path = format!("/{COMPRESSED}");
    let response = send(admin, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert_eq!(response.status, 404, "no sessions here");
}

#[tokio::test]
async fn the_admin_listener_can_be_turned_off() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__ADMIN_LISTEN", "")
        .start()
        .await;
    assert_eq!(server.admin_address(), None);
    server.connect().await.fence().await;
}

#[tokio::test]
async fn a_connection_must_send_its_request_in_time() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__HANDSHAKE_TIMEOUT", "400ms")
        .start()
        .await;
    let mut session = server.connect().await;
    for address in [server.address, server.admin_address().unwrap()] {
        for beginning in ["", "GET /", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let end = stream.read_to_end(&mut answer);
            let _ = within(&format!("the end after {beginning:?}"), end).await;
        }
    }
    session.fence().await;
}

#[tokio::test]
async fn a_request_that_trickles_in_is_cut() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__HANDSHAKE_TIMEOUT", "400ms")
        .start()
        .await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let trickle = async {
        let mut pace = interval(Duration::from_millis(50));
        let head = "GET / HTTP/1.1\r\nHost: x\r\nX-Long: ";
        for byte in head.bytes().chain(std::iter::repeat(b'x')) {
            pace.tick().await;
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    };
    let mut answer = Vec::new();
    let end = async {
        tokio::select! {
            end = reader.read_to_end(&mut answer) => drop(end),
            () = trickle => {}
        }
    };
    within("the end of a slow request", end).await;
}

#[tokio::test]
async fn a_connection_that_is_kept_must_go_on_in_time() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__HANDSHAKE_TIMEOUT", "400ms")
        .start()
        .await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = within("the end", stream.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_request_may_not_be_endless() {
    let server = TestServer::start().await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let send = async {
        let mut result = writer.write_all(b"GET / HTTP/1.1\r\nX-Long: ").await;
        while result.is_ok() {
            result = writer.write_all(&[b'x'; 4096]).await;
        }
    };
    let mut answer = Vec::new();
    let end = async {
        tokio::select! {
            end = reader.read_to_end(&mut answer) => drop(end),
            () = send => {}
        }
    };
    within("the end of an endless request", end).await;
    server.connect().await.fence().await;
}
