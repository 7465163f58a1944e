//! Logging in by the scheme `siwe`, as Ethereum wallets do: messages, accounts and their signatures.

use circled_protocol::{
    Address, BadSignature, Point, PublicKey, Scheme, SecretKey, SiweMessage, sign, verify,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::login::{assert_refused, fixed, with_high_s};
use crate::harness::{
    backend::on_both,
    server::{Answer, TestServer, Ws, circle, key},
};

/// Returns what the libraries siwe, viem and ethers have made: tests/vectors/wallets/make.mjs.
pub(super) fn vectors() -> Value {
    circled_json::parse(include_str!("../../vectors/wallets/wallets.json")).unwrap()
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}

fn signatures(vector: &Value) -> impl Iterator<Item = (&String, &str)> {
    let signatures = vector["signatures"].as_object().unwrap().iter();
    signatures.map(|(library, signature)| (library, signature.as_str().unwrap()))
}

fn address(of: &SecretKey) -> Address {
    Address::of(&of.public().to_string().parse().unwrap())
}

/// Signs a message as wallets do.
fn personal_sign(key: &SecretKey, message: &str) -> String {
    sign(Scheme::Eip191, key, message).unwrap()
}

/// Returns the compact form of ERC-2098.
fn compact(signature: &str) -> String {
    let mut bytes = fixed(signature).to_bytes();
    if signature.ends_with("1c") {
        bytes[32] |= 0x80;
    }
    hex::encode(bytes)
}

async fn fetch(session: &mut Ws, account: &SecretKey) -> String {
    let params = json!({ "address": address(account).to_string() });
    let message = session.call("fetch_nonce", params).await.unwrap();
    message.as_str().unwrap().to_owned()
}

async fn authenticate(session: &mut Ws, address: &str, signature: &str) -> Answer {
    let params = json!({ "address": address, "signature": signature });
    session.call("authenticate", params).await
}

#[test]
fn messages_are_those_of_the_libraries_to_the_letter() {
    let vectors = vectors();
    let vectors = vectors["siwe"].as_array().unwrap();
    assert!(!vectors.is_empty());
    for vector in vectors {
        let nonce = hex::decode(text(vector, "nonce")).unwrap();
        let time = |name: &str| Timestamp::from_millisecond(vector[name].as_i64().unwrap());
        let message = SiweMessage {
            domain: text(vector, "domain").to_owned(),
            address: text(vector, "address").parse().unwrap(),
            origin: text(vector, "origin").to_owned(),
            circle: text(vector, "circle").parse().unwrap(),
            chain_id: vector["chain_id"].as_u64().unwrap(),
            nonce: nonce.try_into().unwrap(),
            issued: time("issued_ms").unwrap(),
            expires: time("expires_ms").unwrap(),
        };
        for library in ["siwe", "viem"] {
            assert_eq!(message.to_string(), vector["message"][library], "{library}");
        }
    }
}

#[test]
fn signatures_of_the_libraries_give_the_key() {
    let vectors = vectors();
    for vector in vectors["siwe"].as_array().unwrap() {
        let (message, key) = (text(&vector["message"], "viem"), text(vector, "pubkey"));
        for (library, signature) in signatures(vector) {
            let point = Point::recover(message, signature).unwrap();
            assert_eq!(point.key.to_string(), key, "{library}");
            assert_eq!(Address::of(&point).to_string(), text(vector, "address"));
            let high = hex::encode(with_high_s(&low(signature)).to_bytes());
            for high in [format!("{high}1b"), format!("{high}1c")] {
                assert_eq!(Point::recover(message, &high), Err(BadSignature), "{high}");
            }
            // Without v, a high S is the compact form of another number.
            let other = Point::recover(message, &high);
            assert!(other.is_err() || other.unwrap().key.to_string() != key);
        }
    }
}

/// Returns r and s of a signature in any form.
fn low(signature: &str) -> String {
    let mut bytes = hex::decode(signature.trim_start_matches("0x")).unwrap();
    bytes.truncate(64);
    bytes[32] &= 0x7f;
    hex::encode(bytes)
}

#[test]
fn the_login_text_can_be_signed_in_every_form_of_the_libraries() {
    let vectors = vectors();
    let mut highest_bits = std::collections::HashSet::new();
    for vector in vectors["texts"].as_array().unwrap() {
        let (key, text) = (
            text(vector, "pubkey").parse().unwrap(),
            text(vector, "text"),
        );
        let holds = |signature: &str| verify(Scheme::Eip191, &key, text, signature);
        for (library, signature) in signatures(vector) {
            assert_eq!(holds(signature), Ok(()), "{library}");
            if library.ends_with("_compact") {
                assert_eq!(signature.len(), 2 + 128, "{library}");
                highest_bits.insert(&signature[66..67] >= "8");
            }
            let high = hex::encode(with_high_s(&low(signature)).to_bytes());
            for tail in ["", "00", "1b", "1c"] {
                assert_eq!(holds(&format!("{high}{tail}")), Err(BadSignature));
            }
        }
    }
    assert_eq!(highest_bits.len(), 2, "even and odd");
}

async fn an_account_logs_in_as_its_public_key() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    let mut parities = std::collections::HashSet::new();
    for me in (1..9).map(key) {
        let checked = address(&me).to_string();
        for written in [
            checked.clone(),
            checked.to_lowercase(),
            checked.to_uppercase().replace('X', "x"),
            checked.to_uppercase(),
        ] {
            let forms: [fn(&str) -> String; 5] = [
                |signature| signature.to_owned(),
                |signature| signature.replacen("0x", "0X", 1).to_uppercase(),
                // v as 0 or 1.
                |signature| {
                    let (fixed, v) = signature.split_at(signature.len() - 2);
                    format!("{fixed}{}", if v == "1b" { "00" } else { "01" })
                },
                compact,
                |signature| format!("0x{}", compact(signature)),
            ];
            for form in forms {
                let params = json!({ "address": written, "scheme": "siwe", "chain_id": 10.0 });
                let message = session.call("fetch_nonce", params).await.unwrap();
                let message = message.as_str().unwrap();
                assert!(message.contains(&format!(":\n{checked}\n\n\nURI: ")));
                assert!(message.contains("\nChain ID: 10\n"));
                let signature = personal_sign(&me, message);
                parities.insert(signature.ends_with("1b"));
                let params =
                    json!({ "address": written, "signature": form(&signature), "scheme": "siwe" });
                assert_eq!(
                    session.call("authenticate", params).await,
                    Ok(json!(true)),
                    "{signature}"
                );
                assert_eq!(session.whoami().await["pubkey"], json!(me.public()));
            }
        }
    }
    assert_eq!(parities.len(), 2);

    // The same caller as by the other schemes.
    let me = key(2);
    let message = fetch(&mut session, &me).await;
    let signature = personal_sign(&me, &message);
    let answer = authenticate(&mut session, &address(&me).to_string(), &signature).await;
    assert_eq!(answer, Ok(json!(true)));
    let caller = session.play("CALLER_ID").await.unwrap()["value"].clone();
    session.login(&me).await;
    assert_eq!(session.play("CALLER_ID").await.unwrap()["value"], caller);
}

#[tokio::test]
async fn the_message_is_for_this_server_and_circle() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    let (me, before) = (key(2), Timestamp::now());
    let message = fetch(&mut session, &me).await;
    let (origin, circle) = (format!("ws://{}", server.address), circle());
    let lines: Vec<&str> = message.split('\n').collect();
    let field = |at: usize, name: &str| lines[at].strip_prefix(name).unwrap();
    assert_eq!(
        lines[0],
        format!(
            "{} wants you to sign in with your Ethereum account:",
            server.address
        )
    );
    assert_eq!(lines[1], address(&me).to_string());
    assert_eq!(lines[2..4], ["", ""]);
    assert_eq!(field(4, "URI: "), format!("{origin}/{circle}"));
    assert_eq!(lines[5..7], ["Version: 1", "Chain ID: 1"]);
    assert_eq!(hex::decode(field(7, "Nonce: ")).unwrap().len(), 32);
    let time = |at, name| field(at, name).parse::<Timestamp>().unwrap();
    let (issued, expires) = (time(8, "Issued At: "), time(9, "Expiration Time: "));
    assert!(before.as_millisecond() <= issued.as_millisecond() && issued <= Timestamp::now());
    assert_eq!(expires.as_millisecond() - issued.as_millisecond(), 60_000);
    assert_eq!(
        lines[10..],
        ["Resources:", &format!("- urn:circled:circle:{circle}")]
    );
    assert_ne!(
        message,
        fetch(&mut session, &me).await,
        "a nonce is used once"
    );
}

#[tokio::test]
async fn the_domain_is_the_pages_or_the_servers() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__PUBLIC_URL", "wss://circles.example.org:8443")
        .env(
            "CIRCLED_SERVER__ALLOWED_ORIGINS",
            "https://app.example.org, http://localhost:5173, https://*.example.com, tauri://localhost",
        )
        .start()
        .await;
    let port = server.address.port();
    for (page, domain) in [
        (None, "circles.example.org:8443"),
        (Some("https://app.example.org"), "app.example.org"),
        (Some("https://APP.example.org:443"), "app.example.org"),
        (Some("http://localhost:5173"), "localhost:5173"),
        (Some("https://a.example.com"), "a.example.com"),
        (Some("tauri://localhost"), "localhost"),
    ] {
        let url = format!("ws://evil.example:{port}/{}", circle());
        let mut request = url.into_client_request().unwrap();
        if let Some(page) = page {
            request
                .headers_mut()
                .insert("origin", page.parse().unwrap());
        }
        let stream = TcpStream::connect(server.address).await.unwrap();
        let mut session = Ws::over(stream, request).await;
        let message = fetch(&mut session, &key(2)).await;
        let (first, _) = message.split_once(' ').unwrap();
        assert_eq!(first, domain, "{page:?}");
        let uri = format!("\nURI: wss://circles.example.org:8443/{}\n", circle());
        assert!(message.contains(&uri), "{message}");
    }
}

#[tokio::test]
async fn texts_that_are_no_address_are_refused() {
    let server = TestServer::start().await;
    let (me, mut session) = (key(2), server.connect().await);
    let right = address(&me).to_string();
    let at = right.rfind(|char: char| char.is_ascii_lowercase()).unwrap();
    let mut miswritten = right.clone();
    miswritten[at..=at].make_ascii_uppercase();
    for wrong in [
        "",
        "0x",
        &right[2..],
        &miswritten,
        &format!("{right}00"),
        &me.public().to_string(),
        "vitalik.eth",
        "0x\u{fe0f}\u{1d7d9}",
        &right.replace('0', "\u{ff10}"),
    ] {
        let fetched = session
            .call("fetch_nonce", json!({ "address": wrong }))
            .await;
        assert_refused(fetched, "bad_key");
        fetch(&mut session, &me).await;
        let answer = authenticate(&mut session, wrong, &"00".repeat(65)).await;
        assert_refused(answer, "bad_key");
    }
}

#[tokio::test]
async fn only_the_accounts_signature_over_this_message_logs_in() {
    let server = TestServer::start().await;
    let (me, mut session) = (key(2), server.connect().await);
    let mine = address(&me).to_string();
    let flip = |signature: &str, byte: usize, bit: u8| {
        let mut bytes = hex::decode(signature.trim_start_matches("0x")).unwrap();
        bytes[byte] ^= bit;
        hex::encode(bytes)
    };
    type Sign<'a> = Box<dyn Fn(&str) -> String + 'a>;
    let right = |message: &str| personal_sign(&me, message);
    let mut wrong: Vec<(String, Sign<'_>)> = vec![
        ("nothing".into(), Box::new(|_| String::new())),
        ("no hex".into(), Box::new(|_| "0xhello".into())),
        ("zeros".into(), Box::new(|_| "00".repeat(65))),
        (
            "another's".into(),
            Box::new(|message| personal_sign(&key(3), message)),
        ),
        (
            "the other v".into(),
            Box::new(|message| {
                // 27 is 0b11011, 28 is 0b11100.
                flip(&right(message), 64, 0b111)
            }),
        ),
        (
            "no v".into(),
            Box::new(|message| {
                fixed(&right(message))
                    .to_bytes()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
                    + "1d"
            }),
        ),
        (
            "the other parity, compact".into(),
            Box::new(|message| flip(&compact(&right(message)), 32, 0x80)),
        ),
        (
            "a byte more".into(),
            Box::new(|message| right(message) + "00"),
        ),
        (
            "high S".into(),
            Box::new(|message| {
                let signature = right(message);
                let v = if signature.ends_with("1b") {
                    "1c"
                } else {
                    "1b"
                };
                hex::encode(with_high_s(&signature).to_bytes()) + v
            }),
        ),
        (
            "sha256".into(),
            Box::new(|message| sign(Scheme::Sha256, &me, message).unwrap() + "1b"),
        ),
        (
            "schnorr".into(),
            Box::new(|message| sign(Scheme::Schnorr, &me, message).unwrap()),
        ),
    ];
    for byte in (0..64).step_by(9) {
        wrong.push((
            format!("byte {byte}"),
            Box::new(move |message| flip(&right(message), byte, 1)),
        ));
    }
    // Each line of the message counts.
    let lines = fetch(&mut session, &me).await.split('\n').count();
    for at in 0..lines {
        wrong.push((
            format!("line {at}"),
            Box::new(move |message| {
                let mut lines: Vec<String> = message.split('\n').map(str::to_owned).collect();
                lines[at].push('0');
                right(&lines.join("\n"))
            }),
        ));
    }
    for (what, sign) in wrong {
        let message = fetch(&mut session, &me).await;
        let answer = authenticate(&mut session, &mine, &sign(&message)).await;
        assert_refused(answer, "bad_signature");
        let answer = authenticate(&mut session, &mine, &right(&message)).await;
        assert_refused(answer, "no_nonce");
        assert_eq!(session.whoami().await["authenticated"], false, "{what}");
    }
}

#[tokio::test]
async fn a_message_is_answered_once_in_its_session_by_its_account() {
    let server = TestServer::start().await;
    let (me, other) = (key(2), key(3));
    let (mine, others) = (address(&me).to_string(), address(&other).to_string());
    let (mut session, mut second) = (server.connect().await, server.connect().await);
    assert_refused(
        authenticate(&mut session, &mine, &"00".repeat(65)).await,
        "no_nonce",
    );
    let message = fetch(&mut session, &me).await;
    let answer = authenticate(&mut session, &others, &personal_sign(&other, &message)).await;
    assert_refused(answer, "no_nonce");

    let message = fetch(&mut session, &me).await;
    let signature = personal_sign(&me, &message);
    assert_refused(
        authenticate(&mut second, &mine, &signature).await,
        "no_nonce",
    );
    fetch(&mut second, &me).await;
    assert_refused(
        authenticate(&mut second, &mine, &signature).await,
        "bad_signature",
    );
    assert_eq!(
        authenticate(&mut session, &mine, &signature).await,
        Ok(json!(true))
    );
    assert_refused(
        authenticate(&mut session, &mine, &signature).await,
        "no_nonce",
    );
}

#[tokio::test]
async fn a_message_expires() {
    let server = TestServer::builder()
        .env("CIRCLED_AUTH__NONCE_TTL", "1ms")
        .start()
        .await;
    let (me, mut session) = (key(2), server.connect().await);
    let message = fetch(&mut session, &me).await;
    let signature = personal_sign(&me, &message);
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let answer = authenticate(&mut session, &address(&me).to_string(), &signature).await;
    assert_refused(answer, "expired");
}

/// The caller of a session, by its key alone.
pub(super) async fn caller(session: &mut Ws) -> Option<PublicKey> {
    circled_json::from_value(session.whoami().await["pubkey"].take()).unwrap()
}

on_both!(an_account_logs_in_as_its_public_key);
