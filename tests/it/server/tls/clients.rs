//! Clients that connect through TLS.

use std::process::{Command, Stdio};

use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{
    backend::on_both,
    command::circled_command,
    server::{Received, TestServer, Ws, circle, key, within},
    tls::{Authority, shake, shown},
};

const HOST: &str = "127.0.0.1";

async fn sessions_work_through_both_versions() {
    let authority = Authority::new();
    authority.issue("own", &[HOST]);
    let mut server = authority.server(&["own"]).start().await;
    for (version, expected) in [
        (&TLS12, rustls::ProtocolVersion::TLSv1_2),
        (&TLS13, rustls::ProtocolVersion::TLSv1_3),
    ] {
        let mut config = authority.client(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = TcpStream::connect(server.address).await.unwrap();
        let stream = shake(stream, HOST, config).await.unwrap();
        let connection = stream.get_ref().1;
        assert_eq!(connection.protocol_version(), Some(expected));
        assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        let request = server.url(circle()).into_client_request().unwrap();
        let mut session = Ws::over(stream, request).await;
        let text = session.fetch_nonce(key(2).public()).await;
        assert!(
            text.contains(&format!("wss://{}", server.address)),
            "{text}"
        );
        session.login(&key(1)).await;
        // Longer than what TLS keeps, and than a record.
        let script = json!({ "script": "let text = \"\"; text.pad(60_000, 'x'); store.set(\"a\", text); [text, text]" });
        let run = session.call("play", script).await.unwrap();
        assert_eq!(run["value"][1].as_str().unwrap().len(), 60_000);
        session.leave().await;
    }
    let mut session = authority.connect(&server).await;
    session.fence().await;
    server.sigterm();
    assert!(matches!(session.next().await, Received::Close(1001, _)));
    assert_eq!(server.wait().await.code(), Some(0));
}

#[tokio::test]
async fn each_name_gets_its_certificate() {
    let authority = Authority::new();
    let first = authority.issue("first", &["a.example", HOST]);
    let wild = authority.issue("wild", &["*.b.example", "b.example"]);
    let server = authority.server(&["first", "wild"]).start().await;
    for (name, expected) in [
        ("a.example", &first),
        ("A.Example", &first),
        ("b.example", &wild),
        ("x.b.example", &wild),
        // A client that dials an address sends no name.
        (HOST, &first),
    ] {
        let stream = authority.dial(&server, name).await.unwrap();
        assert_eq!(&shown(&stream), expected, "{name}");
    }
    for name in ["c.example", "x.y.b.example", "127.0.0.2"] {
        let refused = authority.dial(&server, name).await.unwrap_err();
        let told = refused.to_string();
        // It got the first one, and refuses that itself.
        assert!(told.contains("a.example"), "{name}: {told}");
    }
    authority.dial(&server, HOST).await.unwrap();
}

#[tokio::test]
async fn connections_end_as_tls_wants_it() {
    let authority = Authority::new();
    authority.issue("own", &[HOST]);
    let server = authority.server(&["own"]).start().await;
    let mut stream = authority.dial(&server, HOST).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut response = Vec::new();
    // Without the end that TLS has, this would be an error.
    within("the end", stream.read_to_end(&mut response))
        .await
        .unwrap();
    assert!(response.starts_with(b"HTTP/1.1 404 "));

    let mut stream = authority.dial(&server, HOST).await.unwrap();
    let upgrade = format!(
        "GET /{} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        circle()
    );
    // An empty close frame.
    let frame = [0x88, 0x80, 0, 0, 0, 0];
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    stream.write_all(&frame).await.unwrap();
    let mut response = Vec::new();
    within("the end", stream.read_to_end(&mut response))
        .await
        .unwrap();
    assert!(response.ends_with(&[0x88, 0]), "{response:?}");
}

#[tokio::test]
async fn a_request_without_tls_is_told_why() {
    let authority = Authority::new();
    authority.issue("own", &[HOST]);
    let server = authority.server(&["own"]).start().await;
    let response = server.get("/", &[]).await;
    response.assert_is_an_error(400);
    assert!(response.body.contains("wss://"), "{response:?}");
}

fn circled(args: &[&str], root: Option<&std::path::Path>) -> (i32, String) {
    let mut command = circled_command();
    command.args(args).stdin(Stdio::null());
    match root {
        Some(root) => command.env("SSL_CERT_FILE", root),
        None => command.env_remove("SSL_CERT_FILE"),
    };
    let output = command.env_remove("SSL_CERT_DIR").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

#[tokio::test]
async fn commands_connect_if_they_trust_the_ca() {
    let authority = Authority::new();
    authority.issue("own", &["localhost"]);
    let server = authority.server(&["own"]).start().await;
    authority.write("me.key", &key(1).to_hex());
    let file = authority.path("me.key");
    let url = format!("wss://localhost:{}/{}", server.address.port(), circle());
    let play = ["play", &url, "--key", file.to_str().unwrap(), "40 + 2"];
    let root = authority.path("root.pem");
    let (code, said) = circled(&play, Some(&root));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("42"), "{said}");
    let (code, said) = circled(&play, None);
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("SSL_CERT_FILE"), "{said}");
    let plain = url.replace("wss", "ws");
    let play = ["play", &plain, "--key", file.to_str().unwrap(), "1"];
    let (code, said) = circled(&play, Some(&root));
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("wss://"), "{said}");
    // The admin listener stays plain.
    let admin = format!("http://{}", server.admin_address().unwrap());
    let (code, said) = circled(&["health", &admin], None);
    assert_eq!(code, 0, "{said}");
}

#[tokio::test]
async fn openssl_connects_with_what_is_safe() {
    let authority = Authority::new();
    authority.issue("own", &["localhost"]);
    let server: TestServer = authority.server(&["own"]).start().await;
    let (address, root) = (server.address.to_string(), authority.path("root.pem"));
    let connect = |version: &str| {
        let args = [
            "s_client",
            "-connect",
            &address,
            "-servername",
            "localhost",
            "-verify_hostname",
            "localhost",
            "-alpn",
            "h2,http/1.1",
            "-verify_return_error",
            version,
            "-CAfile",
        ];
        let output = Command::new("openssl")
            .args(args)
            .arg(&root)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("this test needs openssl, which can't be run: {error}"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said)
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let (connects, said) = connect(version);
        assert!(connects, "{version}: {said}");
        assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    }
    let (connects, said) = connect("-tls1_1");
    assert!(!connects, "{said}");
}

on_both!(sessions_work_through_both_versions);
