//! Logging in: the text to sign, and accepted and refused answers.

use std::collections::HashSet;

use circled_protocol::{Scheme, SecretKey, sign};
use jiff::Timestamp;
use k256::ecdsa::Signature;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::harness::server::{Answer, TestServer, Ws, circle, key};

async fn authenticate(session: &mut Ws, pubkey: &str, signature: &str, scheme: &str) -> Answer {
    let credentials = json!({ "pubkey": pubkey, "signature": signature, "scheme": scheme });
    session.call("authenticate", credentials).await
}

/// Fetches a text, and answers with the result of `sign`.
async fn log_in(
    session: &mut Ws,
    pubkey: &str,
    scheme: &str,
    sign: impl FnOnce(&str) -> String,
) -> Answer {
    let text = session.fetch_nonce(pubkey).await;
    authenticate(session, pubkey, &sign(&text), scheme).await
}

fn eip191(key: &SecretKey, text: &str) -> String {
    sign(Scheme::Eip191, key, text).unwrap()
}

/// Returns the 64 bytes of an ECDSA signature.
pub(super) fn fixed(signature: &str) -> Signature {
    let digits = signature.strip_prefix("0x").unwrap_or(signature);
    Signature::from_slice(&hex::decode(&digits[..128]).unwrap()).unwrap()
}

/// Returns the same signature with the other S, which is mathematically valid, too.
pub(super) fn with_high_s(signature: &str) -> Signature {
    let low = fixed(signature);
    let (r, s) = low.split_scalars();
    let high = Signature::from_scalars(r.to_bytes(), (-s).to_bytes()).unwrap();
    assert_ne!(low, high);
    assert_eq!(low.normalize_s(), low);
    assert_eq!(high.normalize_s(), low);
    high
}

pub(super) fn assert_refused(answer: Answer, reason: &str) {
    let error = answer.unwrap_err();
    assert_eq!(error["code"], -32002, "{error}");
    assert_eq!(error["message"], "Invalid Credentials");
    assert_eq!(error["data"], json!({ "reason": reason }));
}

#[tokio::test]
async fn every_scheme_logs_in() {
    let server = TestServer::start().await;
    let me = key(2);
    let pubkey = me.public().to_string();
    let uncompressed = k256::PublicKey::from_sec1_bytes(me.public().as_bytes()).unwrap();
    let uncompressed = hex::encode(k256::elliptic_curve::sec1::ToSec1Point::to_sec1_point(
        &uncompressed,
        false,
    ));
    let eip191 = |text: &str| sign(Scheme::Eip191, &me, text).unwrap();
    let sha256 = |text: &str| sign(Scheme::Sha256, &me, text).unwrap();
    let schnorr = |text: &str| sign(Scheme::Schnorr, &me, text).unwrap();
    let with_byte = |byte: &'static str| {
        move |text: &str| format!("{}{byte}", hex::encode(fixed(&eip191(text)).to_bytes()))
    };
    type Sign<'a> = &'a dyn Fn(&str) -> String;
    let ways: [(&str, &str, &str, Sign<'_>); 15] = [
        ("as wallets do", &pubkey, "eip191", &eip191),
        ("64 bytes", &pubkey, "eip191", &with_byte("")),
        ("v is 0", &pubkey, "eip191", &with_byte("00")),
        ("v is 1", &pubkey, "eip191", &with_byte("01")),
        ("v is 27", &pubkey, "eip191", &with_byte("1b")),
        ("v is 28", &pubkey, "eip191", &with_byte("1c")),
        ("in capitals", &pubkey, "eip191", &|text| {
            eip191(text).to_uppercase().replace("0X", "0x")
        }),
        ("uncompressed key", &uncompressed, "eip191", &eip191),
        ("sha256", &pubkey, "sha256", &sha256),
        ("sha256 with 0x", &pubkey, "sha256", &|text| {
            format!("0x{}", sha256(text))
        }),
        ("sha256, DER", &pubkey, "sha256", &|text| {
            hex::encode(fixed(&sha256(text)).to_der())
        }),
        ("schnorr", &pubkey, "schnorr", &schnorr),
        ("schnorr, x-only key", &pubkey[2..], "schnorr", &schnorr),
        (
            "schnorr, key with 0x",
            &format!("0x{pubkey}"),
            "schnorr",
            &schnorr,
        ),
        (
            "schnorr, x-only key with 0x",
            &format!("0x{}", &pubkey[2..]),
            "schnorr",
            &schnorr,
        ),
    ];
    for (way, pubkey, scheme, sign) in ways {
        let mut session = server.connect().await;
        let answer = log_in(&mut session, pubkey, scheme, sign).await;
        assert_eq!(answer, Ok(json!(true)), "{way}");
        assert_eq!(session.whoami().await["authenticated"], true, "{way}");
    }
}

#[tokio::test]
async fn every_key_logs_in_with_every_scheme() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    let mut beginnings = HashSet::new();
    for me in (1..10).map(key) {
        let pubkey = me.public().to_string();
        beginnings.insert(pubkey[..2].to_owned());
        for scheme in [Scheme::Eip191, Scheme::Sha256, Scheme::Schnorr] {
            let text = session.fetch_nonce(&pubkey).await;
            let signature = sign(scheme, &me, &text).unwrap();
            let params = json!([pubkey, signature, scheme]);
            let answer = session.call("authenticate", params).await;
            assert_eq!(answer, Ok(json!(true)), "{pubkey} {scheme:?}");
            assert_eq!(session.whoami().await["pubkey"], json!(pubkey));
        }
    }
    assert_eq!(beginnings.len(), 2, "points with even y and with odd");
}

#[tokio::test]
async fn an_x_only_key_names_the_point_with_even_y() {
    let server = TestServer::start().await;
    for seed in 2..10 {
        let me = key(seed);
        let x_only = me.public().to_string().split_off(2);
        let mut session = server.connect().await;
        let answer = log_in(&mut session, &x_only, "schnorr", |text| {
            sign(Scheme::Schnorr, &me, text).unwrap()
        })
        .await;
        assert_eq!(answer, Ok(json!(true)));
        assert_eq!(session.whoami().await["pubkey"], format!("02{x_only}"));
    }
}

#[tokio::test]
async fn credentials_come_in_every_form() {
    let server = TestServer::start().await;
    let me = key(2);
    let pubkey = me.public();
    type Form = fn(Value) -> Value;
    let forms: [(&str, Form); 3] = [
        ("by name", |credentials| credentials),
        ("by position", |credentials| {
            json!([credentials["pubkey"], credentials["signature"]])
        }),
        ("by position, with the scheme", |credentials| {
            json!([credentials["pubkey"], credentials["signature"], "eip191"])
        }),
    ];
    for (name, form) in forms {
        let mut session = server.connect().await;
        let text = session.call("fetch_nonce", json!([pubkey])).await.unwrap();
        let signature = eip191(&me, text.as_str().unwrap());
        let params = form(json!({ "pubkey": pubkey, "signature": signature }));
        let answer = session.call("authenticate", params).await;
        assert_eq!(answer, Ok(json!(true)), "{name}");
    }
}

#[tokio::test]
async fn the_text_is_to_the_letter() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    let asked = Timestamp::now();
    let text = session.fetch_nonce(key(2).public()).await;
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert_eq!(lines[0], "circled login v1");
    assert_eq!(lines[1], format!("origin: ws://{}", server.address));
    assert_eq!(lines[2], format!("circle: {}", circle()));
    assert_eq!(lines[3], format!("key: {}", key(2).public()));
    let expires = lines[4].strip_prefix("expires: ").unwrap();
    assert!(
        expires.len() == "2026-11-23T16:45:00Z".len() && expires.ends_with('Z'),
        "{expires}"
    );
    let lives = expires.parse::<Timestamp>().unwrap().as_second() - asked.as_second();
    assert!((60..=70).contains(&lives), "{lives} s");
    let nonce = lines[5].strip_prefix("nonce: ").unwrap();
    assert_eq!(nonce.len(), 64);
    assert!(
        nonce
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    );
}

#[tokio::test]
async fn every_text_is_another() {
    let server = TestServer::start().await;
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    let mut texts = Vec::new();
    for _ in 0..3 {
        for session in [&mut one, &mut two] {
            let text = session.fetch_nonce(key(2).public()).await;
            texts.push(text.split_once("nonce: ").unwrap().1.to_owned());
        }
    }
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 6);
}

fn origin_in(text: &str) -> &str {
    text.lines()
        .nth(1)
        .unwrap()
        .strip_prefix("origin: ")
        .unwrap()
}

#[tokio::test]
async fn the_origin_is_never_a_host_header_that_could_be_elsewhere() {
    let server = TestServer::start().await;
    let port = server.address.port();
    for (host, origin) in [
        (
            format!("localhost:{port}"),
            format!("ws://localhost:{port}"),
        ),
        (
            format!("LOCALHOST:{port}"),
            format!("ws://localhost:{port}"),
        ),
        (format!("[::1]:{port}"), format!("ws://[::1]:{port}")),
        (
            format!("127.0.0.1:{port}"),
            format!("ws://127.0.0.1:{port}"),
        ),
        (
            format!("evil.example:{port}"),
            format!("ws://127.0.0.1:{port}"),
        ),
        ("evil.example".to_owned(), format!("ws://127.0.0.1:{port}")),
        ("localhost".to_owned(), format!("ws://127.0.0.1:{port}")),
        (
            format!("localhost.evil.example:{port}"),
            format!("ws://127.0.0.1:{port}"),
        ),
        (
            format!("localhost:{}", port ^ 1),
            format!("ws://127.0.0.1:{port}"),
        ),
    ] {
        let url = format!("ws://{host}/{}", circle());
        let mut session = Ws::connect(server.address, &url).await;
        let text = session.fetch_nonce(key(2).public()).await;
        assert_eq!(origin_in(&text), origin, "{host}");
    }
}

#[tokio::test]
async fn the_origin_is_the_public_url() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__PUBLIC_URL", "wss://circles.example.org")
        .start()
        .await;
    let port = server.address.port();
    for host in [
        "evil.example",
        &format!("localhost:{port}"),
        "circles.example.org",
    ] {
        let url = format!("ws://{host}/{}", circle());
        let mut session = Ws::connect(server.address, &url).await;
        let text = session.fetch_nonce(key(2).public()).await;
        assert_eq!(origin_in(&text), "wss://circles.example.org", "{host}");
    }
}

#[tokio::test]
async fn a_signature_must_be_this_keys_over_this_text() {
    let server = TestServer::start().await;
    let me = key(2);
    let pubkey = me.public().to_string();
    let eip191 = |text: &str| sign(Scheme::Eip191, &me, text).unwrap();
    let sha256 = |text: &str| sign(Scheme::Sha256, &me, text).unwrap();
    let schnorr = |text: &str| sign(Scheme::Schnorr, &me, text).unwrap();
    let flipped = |signature: String, bit: usize| {
        let mut bytes = hex::decode(signature.trim_start_matches("0x")).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        hex::encode(bytes)
    };
    type Sign<'a> = &'a dyn Fn(&str) -> String;
    let wrong: [(&str, &str, Sign<'_>); 22] = [
        ("a flipped bit of r", "eip191", &|text| {
            flipped(eip191(text), 7)
        }),
        ("a flipped bit of s", "eip191", &|text| {
            flipped(eip191(text), 500)
        }),
        ("a flipped bit", "sha256", &|text| flipped(sha256(text), 7)),
        ("a flipped bit", "schnorr", &|text| {
            flipped(schnorr(text), 300)
        }),
        ("another text", "eip191", &|text| {
            eip191(&format!("{text}\n"))
        }),
        ("the nonce alone", "eip191", &|text| {
            eip191(text.split_once("nonce: ").unwrap().1)
        }),
        ("another text", "sha256", &|text| {
            sha256(&text.replace('\n', "\r\n"))
        }),
        ("another text", "schnorr", &|text| {
            schnorr(&text.to_uppercase())
        }),
        ("another key", "eip191", &|text| {
            sign(Scheme::Eip191, &key(3), text).unwrap()
        }),
        ("another key", "schnorr", &|text| {
            sign(Scheme::Schnorr, &key(3), text).unwrap()
        }),
        ("another scheme", "eip191", &sha256),
        ("another scheme", "sha256", &eip191),
        ("another scheme", "schnorr", &sha256),
        ("high S", "eip191", &|text| {
            hex::encode(with_high_s(&eip191(text)).to_bytes())
        }),
        ("high S", "sha256", &|text| {
            hex::encode(with_high_s(&sha256(text)).to_bytes())
        }),
        ("high S, DER", "sha256", &|text| {
            hex::encode(with_high_s(&sha256(text)).to_der())
        }),
        ("a v that there isn't", "eip191", &|text| {
            format!("{}02", hex::encode(fixed(&eip191(text)).to_bytes()))
        }),
        ("a v where none belongs", "sha256", &|text| {
            sha256(text) + "1b"
        }),
        ("DER for eip191", "eip191", &|text| {
            hex::encode(fixed(&eip191(text)).to_der())
        }),
        ("no hex", "eip191", &|_| "not hex".to_owned()),
        ("nothing", "sha256", &|_| String::new()),
        ("zeros", "schnorr", &|_| "00".repeat(64)),
    ];
    let mut session = server.connect().await;
    for (what, scheme, sign) in wrong {
        let answer = log_in(&mut session, &pubkey, scheme, sign).await;
        assert_eq!(
            answer.as_ref().unwrap_err()["data"]["reason"],
            "bad_signature",
            "{what}, {scheme}"
        );
        assert_refused(answer, "bad_signature");
        assert_eq!(session.whoami().await["authenticated"], false, "{what}");
    }
    session.login(&me).await;
}

#[tokio::test]
async fn texts_that_are_no_key_are_refused() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    let pubkey = key(2).public().to_string();
    for wrong in ["", "02", "hello", &format!("02{}", "ff".repeat(32))] {
        assert_refused(
            session
                .call("fetch_nonce", json!({ "pubkey": wrong }))
                .await,
            "bad_key",
        );
        session.fetch_nonce(&pubkey).await;
        assert_refused(
            authenticate(&mut session, wrong, &"00".repeat(64), "eip191").await,
            "bad_key",
        );
    }
    for scheme in ["eip191", "sha256"] {
        session.fetch_nonce(&pubkey[2..]).await;
        let answer = authenticate(&mut session, &pubkey[2..], &"00".repeat(64), scheme).await;
        assert_refused(answer, "bad_key");
    }
}

#[tokio::test]
async fn without_a_nonce_nobody_gets_in() {
    let server = TestServer::start().await;
    let me = key(2);
    let pubkey = me.public().to_string();
    let mut session = server.connect().await;
    assert_refused(
        authenticate(&mut session, &pubkey, &"00".repeat(64), "eip191").await,
        "no_nonce",
    );

    // Fetched for another key.
    let text = session.fetch_nonce(key(3).public()).await;
    assert_refused(
        authenticate(&mut session, &pubkey, &eip191(&me, &text), "eip191").await,
        "no_nonce",
    );

    // Another session's.
    let mut other = server.connect().await;
    let text = other.fetch_nonce(&pubkey).await;
    let signature = eip191(&me, &text);
    assert_refused(
        authenticate(&mut session, &pubkey, &signature, "eip191").await,
        "no_nonce",
    );
    session.fetch_nonce(&pubkey).await;
    assert_refused(
        authenticate(&mut session, &pubkey, &signature, "eip191").await,
        "bad_signature",
    );
    assert_eq!(
        authenticate(&mut other, &pubkey, &signature, "eip191").await,
        Ok(json!(true)),
        "nobody else has used it up"
    );

    // Used already.
    assert_refused(
        authenticate(&mut other, &pubkey, &signature, "eip191").await,
        "no_nonce",
    );
}

#[tokio::test]
async fn a_nonce_dies_at_the_first_answer() {
    let server = TestServer::start().await;
    let me = key(2);
    let pubkey = me.public().to_string();
    let mut session = server.connect().await;
    for wrong in [
        json!({ "pubkey": pubkey, "signature": "00" }),
        json!({ "pubkey": "no key", "signature": "00" }),
        json!({ "pubkey": key(3).public(), "signature": "00" }),
        json!({ "pubkey": pubkey, "signature": "00", "scheme": "rot13" }),
        json!({ "pubkey": pubkey }),
        json!({ "pubkey": pubkey, "signature": "00", "more": 1 }),
        json!({ "credentials": { "pubkey": pubkey, "signature": "00" } }),
        json!([{ "pubkey": pubkey, "signature": "00" }]),
        json!({ "pubkey": 7, "signature": [] }),
        json!({}),
        json!([]),
        json!([1, 2, 3, 4, 5]),
    ] {
        let text = session.fetch_nonce(&pubkey).await;
        let code = session
            .call("authenticate", wrong.clone())
            .await
            .unwrap_err()["code"]
            .clone();
        assert!(code == -32002 || code == -32602, "{wrong}: {code}");
        assert_refused(
            authenticate(&mut session, &pubkey, &eip191(&me, &text), "eip191").await,
            "no_nonce",
        );
    }

    // A notification is an answer, too.
    let text = session.fetch_nonce(&pubkey).await;
    session
        .send_text(r#"{"jsonrpc":"2.0","method":"authenticate","params":[]}"#)
        .await;
    assert_refused(
        authenticate(&mut session, &pubkey, &eip191(&me, &text), "eip191").await,
        "no_nonce",
    );
}

#[tokio::test]
async fn two_answers_at_once_use_the_nonce_once() {
    let server = TestServer::start().await;
    let me = key(2);
    let mut session = server.connect().await;
    let text = session.fetch_nonce(me.public()).await;
    let params = json!({ "pubkey": me.public(), "signature": eip191(&me, &text) });
    let call =
        |id| json!({ "jsonrpc": "2.0", "id": id, "method": "authenticate", "params": params });
    let replies = session.ask(json!([call(1), call(2)]).to_string()).await;
    let reply = |id| {
        replies
            .as_array()
            .unwrap()
            .iter()
            .find(|reply| reply["id"] == id)
    };
    assert_eq!(reply(1).unwrap()["result"], true);
    assert_eq!(reply(2).unwrap()["error"]["data"]["reason"], "no_nonce");
}

#[tokio::test]
async fn a_newer_text_replaces_the_one_before() {
    let server = TestServer::start().await;
    let me = key(2);
    let pubkey = me.public().to_string();
    let mut session = server.connect().await;
    let old = session.fetch_nonce(&pubkey).await;
    session.fetch_nonce(&pubkey).await;
    assert_refused(
        authenticate(&mut session, &pubkey, &eip191(&me, &old), "eip191").await,
        "bad_signature",
    );
}

#[tokio::test]
async fn a_text_expires() {
    let server = TestServer::builder()
        .env("CIRCLED_AUTH__NONCE_TTL", "1s")
        .start()
        .await;
    let me = key(2);
    let pubkey = me.public().to_string();
    let mut session = server.connect().await;
    let text = session.fetch_nonce(&pubkey).await;
    let expires = text
        .lines()
        .nth(4)
        .unwrap()
        .strip_prefix("expires: ")
        .unwrap();
    let left = expires
        .parse::<Timestamp>()
        .unwrap()
        .duration_since(Timestamp::now());
    let left = left.unsigned_abs();
    assert!(left.as_millis() <= 2000, "{left:?}");
    sleep_until(Instant::now() + left).await;
    assert_refused(
        authenticate(&mut session, &pubkey, &eip191(&me, &text), "eip191").await,
        "expired",
    );
    assert_refused(
        authenticate(&mut session, &pubkey, &eip191(&me, &text), "eip191").await,
        "no_nonce",
    );
    session.login(&me).await;
}

#[tokio::test]
async fn whoami_tells_what_was_proved() {
    let server = TestServer::start().await;
    let (mut session, me) = (server.connect().await, key(2));
    let before = session.whoami().await;
    let id = before["session_id"].as_str().unwrap().to_owned();
    assert_eq!(
        before,
        json!({
            "authenticated": false,
            "pubkey": null,
            "device": null,
            "circle": circle(),
            "role": null,
            "permissions": [],
            "session_id": id,
            "server": concat!("circled/", env!("CARGO_PKG_VERSION")),
        })
    );
    session.fetch_nonce(me.public()).await;
    assert_eq!(session.whoami().await, before, "asking proves nothing");
    session.login(&me).await;
    let after = session.whoami().await;
    assert_eq!(after["authenticated"], true);
    assert_eq!(after["pubkey"], json!(me.public()));
    assert_eq!(after["role"], "guest");
    assert_eq!(
        after["permissions"],
        json!(["call", "jobs", "play", "subscribe"])
    );
    assert_eq!(after["session_id"], json!(id));
    let other = server.connect().await.whoami().await;
    assert_ne!(other["session_id"], json!(id));
    assert_eq!(other["authenticated"], false);
}

#[tokio::test]
async fn a_session_can_log_in_as_somebody_else() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(
        session.play("CALLER_ID").await.unwrap()["value"],
        json!(key(2).public())
    );

    // Until the new login succeeds, the caller stays the same.
    let other = key(3).public().to_string();
    session.fetch_nonce(&other).await;
    assert_eq!(session.whoami().await["pubkey"], json!(key(2).public()));
    assert_refused(
        authenticate(&mut session, &other, &"00".repeat(64), "eip191").await,
        "bad_signature",
    );
    assert_eq!(session.whoami().await["pubkey"], json!(key(2).public()));

    session.login(&key(3)).await;
    assert_eq!(session.whoami().await["pubkey"], json!(key(3).public()));
    assert_eq!(
        session.play("CALLER_ID").await.unwrap()["value"],
        json!(key(3).public())
    );
}

#[tokio::test]
async fn a_closed_circle_is_for_its_members() {
    let server = TestServer::builder()
        .toml(format!(
            "[circles]\nopen = false\n[[circle]]\nkey = \"{}\"\nmembers = [\"{}\"]\n[[circle]]\nkey = \"{}\"\n",
            circle(),
            key(2).public(),
            key(4).public(),
        ))
        .start()
        .await;
    for (seed, role) in [(1, "owner"), (2, "member"), (3, "guest"), (4, "guest")] {
        let mut session = server.log_in(&key(seed)).await;
        assert_eq!(session.whoami().await["role"], role);
        let answer = session.play("40 + 2").await;
        if role == "guest" {
            let error = answer.unwrap_err();
            assert_eq!(error["code"], -32003);
            assert_eq!(error["message"], "Forbidden");
            assert_eq!(error["data"], json!({ "needs": "member" }));
        } else {
            assert_eq!(answer.unwrap()["output"], "42");
        }
    }
    // A member here is none there.
    let mut session = server.connect_to(key(4).public()).await;
    session.login(&key(2)).await;
    assert_eq!(session.whoami().await["role"], "guest");
    assert_eq!(session.play("1").await.unwrap_err()["code"], -32003);

    let mut nobody = server.connect().await;
    assert_eq!(nobody.play("1").await.unwrap_err()["code"], -32001);
}

#[tokio::test]
async fn in_an_open_server_members_are_known_and_all_may_play() {
    let server = TestServer::builder()
        .toml(format!(
            "[[circle]]\nkey = \"{}\"\nmembers = [\"{}\"]",
            circle(),
            key(2).public()
        ))
        .start()
        .await;
    for (seed, role) in [(1, "owner"), (2, "member"), (3, "guest")] {
        let mut session = server.log_in(&key(seed)).await;
        assert_eq!(session.whoami().await["role"], role);
        assert_eq!(session.play("40 + 2").await.unwrap()["output"], "42");
    }
}

#[tokio::test]
async fn a_text_that_is_fetched_while_a_login_is_verified_is_good() {
    let server = TestServer::start().await;
    let (first, second) = (key(2), key(3));
    let mut session = server.connect().await;
    let text = session.fetch_nonce(first.public()).await;
    let credentials = json!([first.public(), eip191(&first, &text)]);
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "authenticate", "params": credentials },
        { "jsonrpc": "2.0", "id": 2, "method": "fetch_nonce", "params": [second.public()] },
    ]);
    let replies = session.ask(batch.to_string()).await;
    let replies = replies.as_array().unwrap();
    let result = |id| &replies.iter().find(|reply| reply["id"] == id).unwrap()["result"];
    assert_eq!(result(1), true);
    let signature = eip191(&second, result(2).as_str().unwrap());
    let pubkey = second.public().to_string();
    assert_eq!(session.whoami().await["pubkey"], json!(first.public()));
    let answer = authenticate(&mut session, &pubkey, &signature, "eip191").await;
    assert_eq!(answer, Ok(json!(true)));
    assert_eq!(session.whoami().await["pubkey"], json!(pubkey));
}
