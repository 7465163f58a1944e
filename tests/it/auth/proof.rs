//! A server proves that it speaks for a circle, and clients check that before they sign.

use std::path::Path;

use circled_client::{Caller, Client, Error, Login, Options};
use circled_protocol::{Grant, Origin, Proof, ProofError, Scheme, SecretKey};
use futures_util::{SinkExt, StreamExt, future::select_all};
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::{accept_async, tungstenite::Message};

use crate::harness::{
    backend::on_both,
    server::{Builder, TestServer, Ws, circle, eventually, key, within},
};

const ORIGIN: &str = "wss://circles.example.org";

/// The owner's key, whose public half is the circle.
fn owner() -> SecretKey {
    key(1)
}

/// The server's key.
fn own() -> SecretKey {
    key(40)
}

fn origin() -> Origin {
    ORIGIN.parse().unwrap()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

fn grant(origin: &str, left: SignedDuration) -> Grant {
    let expires = Timestamp::now() + left;
    Grant::sign(&owner(), own().public(), &origin.parse().unwrap(), expires).unwrap()
}

/// Returns the settings with a `[[circle]]` that has this grant.
fn settings(grant: Option<&Grant>) -> String {
    let grant = grant.map_or_else(String::new, |grant| {
        format!(
            "grant = {{ server = \"{}\", origin = \"{}\", expires = \"{}\", signature = \"{}\" }}\n",
            grant.server, grant.origin, grant.expires, grant.signature
        )
    });
    format!(
        "[server]\npublic_url = \"{ORIGIN}\"\nkey = \"file:server.secret\"\n[[circle]]\nkey = \"{}\"\n{grant}",
        circle()
    )
}

/// Writes the settings and the server's key into a folder.
fn write(folder: &Path, text: &str, key: &SecretKey) -> Builder {
    let file = folder.join("circled.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::write(folder.join("server.secret"), key.to_hex() + "\n").unwrap();
    TestServer::builder().config(&file)
}

fn challenge() -> String {
    "07".repeat(32)
}

fn login(require_proof: bool) -> Login {
    Login {
        scheme: Scheme::Eip191,
        origin: Some(origin()),
        require_proof,
    }
}

async fn a_server_with_a_grant_proves_itself_before_any_login() {
    let folder = tempfile::tempdir().unwrap();
    let grant = grant(ORIGIN, days(90));
    let server = write(folder.path(), &settings(Some(&grant)), &own())
        .start()
        .await;
    let mut session = server.connect().await;
    let answer = session
        .call("prove", json!({ "challenge": challenge() }))
        .await;
    let proof: Proof = circled_json::from_value(answer.clone().unwrap()).unwrap();
    assert_eq!(json!(proof), answer.unwrap());
    assert_eq!(proof.grant, grant);
    let now = Timestamp::now();
    assert_eq!(proof.check(&circle(), &origin(), &[7; 32], now), Ok(()));
    assert_eq!(
        proof.check(&circle(), &origin(), &[8; 32], now),
        Err(ProofError::Proof)
    );
    for wrong in ["", "07", &"0g".repeat(32), &"07".repeat(33)] {
        let error = session
            .call("prove", json!({ "challenge": wrong }))
            .await
            .unwrap_err();
        assert_eq!(error["code"], -32602, "{wrong}");
        assert_eq!(error["data"]["reason"], "`challenge` must be 64 hex digits");
    }
    // A proof is no part of the login: a challenge that was sent stays.
    let text = session.fetch_nonce(key(2).public()).await;
    session.call("prove", json!([challenge()])).await.unwrap();
    let signature = circled_protocol::sign(Scheme::Eip191, &key(2), &text).unwrap();
    let credentials = json!([key(2).public(), signature]);
    assert_eq!(
        session.call("authenticate", credentials).await,
        Ok(json!(true))
    );

    // Of a circle without a grant.
    let mut other = server.connect_to(key(5).public()).await;
    let error = other.call("prove", json!([challenge()])).await.unwrap_err();
    assert_eq!(error["code"], -32006, "{error}");
    assert_eq!(error["data"], json!({ "what": "grant" }));

    // Our client checks it.
    let url = server.url(circle());
    let client = Client::connect(&url).await.unwrap();
    client.log_in(&key(2), &login(true)).await.unwrap();
    assert_eq!(client.whoami().await.unwrap().pubkey, Some(key(2).public()));
    let caller = Caller::new(&url, key(2)).login(login(true));
    let played = caller.play("40 + 2", &Options::default()).await.unwrap();
    assert_eq!(played.output, "42");

    let ungranted = Client::connect(&server.url(key(5).public())).await.unwrap();
    let refused = ungranted.log_in(&key(2), &login(true)).await;
    assert!(matches!(refused, Err(Error::NoProof)), "{refused:?}");
    let ungranted = Client::connect(&server.url(key(5).public())).await.unwrap();
    ungranted.log_in(&key(2), &login(false)).await.unwrap();
}

#[tokio::test]
async fn proofs_take_turns_with_logins() {
    let folder = tempfile::tempdir().unwrap();
    let grant = grant(ORIGIN, days(90));
    let server = write(folder.path(), &settings(Some(&grant)), &own())
        .env("CIRCLED_AUTH__CHECKS", 1)
        .env("CIRCLED_AUTH__QUEUE", 1)
        .start()
        .await;
    let params = json!([challenge()]);
    let call = |n| json!({ "jsonrpc": "2.0", "id": n, "method": "prove", "params": params });
    let batch = Value::from_iter((0..64).map(call)).to_string();
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(server.connect().await);
    }
    let ask = |mut session: Ws| {
        let batch = batch.clone();
        Box::pin(async move {
            loop {
                session.send_text(&batch).await;
                let replies = session.text().await;
                if replies.contains("auth.queue") {
                    return replies;
                }
            }
        })
    };
    // One has its turn, one waits, and the others are told to come again.
    let asking = select_all(sessions.into_iter().map(ask));
    let (replies, ..) = within("more proofs than may wait", asking).await;
    assert!(
        replies.contains("-32005") && replies.contains("retry_after_ms"),
        "{replies}"
    );
}

/// Starts a server in the middle, which answers `prove` as this function does. Returns the methods that it was called with.
async fn impostor(
    proof: impl Fn(&str) -> Value + Send + 'static,
) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/{}", listener.local_addr().unwrap(), circle());
    let served = tokio::task::spawn_blocking(move || {
        tokio::runtime::Handle::current().block_on(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut ws = accept_async(stream).await.unwrap();
            let mut methods = Vec::new();
            while let Some(Ok(Message::Text(request))) = ws.next().await {
                let request: Value = circled_json::parse(&request).unwrap();
                let method = request["method"].as_str().unwrap();
                methods.push(method.to_owned());
                let result = match method {
                    "prove" => proof(request["params"]["challenge"].as_str().unwrap()),
                    _ => json!("circled login v1"),
                };
                let reply = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
                if ws.send(Message::text(reply.to_string())).await.is_err() {
                    break;
                }
            }
            methods
        })
    });
    (url, served)
}

fn prove(server: &SecretKey, grant: Grant, challenge: &str) -> Value {
    let challenge: [u8; 32] = hex::decode(challenge).unwrap().try_into().unwrap();
    json!(Proof::sign(server, grant, &circle(), &challenge).unwrap())
}

#[tokio::test]
async fn a_wrong_proof_ends_the_connection_and_nothing_is_signed() {
    type Impostor = fn(&str) -> Value;
    let impostors: [(&str, Impostor); 6] = [
        ("not signed by the server's key", |challenge| {
            prove(&key(41), grant(ORIGIN, days(9)), challenge)
        }),
        ("not signed by the server's key", |_| {
            prove(&own(), grant(ORIGIN, days(9)), &"00".repeat(32))
        }),
        ("not signed by the circle's key", |challenge| {
            let expires = Timestamp::now() + days(9);
            let grant = Grant::sign(&key(41), own().public(), &origin(), expires);
            prove(&own(), grant.unwrap(), challenge)
        }),
        ("not signed by the circle's key", |challenge| {
            let mut grant = grant(ORIGIN, days(9));
            grant.expires = Timestamp::now() + days(900);
            prove(&own(), grant, challenge)
        }),
        ("is for the server wss://evil.example", |challenge| {
            prove(&own(), grant("wss://evil.example", days(9)), challenge)
        }),
        ("has expired", |challenge| {
            prove(&own(), grant(ORIGIN, days(-1)), challenge)
        }),
    ];
    for (told, proof) in impostors {
        for required in [false, true] {
            let (url, served) = impostor(proof).await;
            let client = Client::connect(&url).await.unwrap();
            let refused = client.log_in(&key(2), &login(required)).await.unwrap_err();
            assert!(matches!(refused, Error::Proof(_)), "{refused:?}");
            assert!(refused.to_string().contains(told), "{refused}");
            assert!(!refused.may_pass());
            // The client closes the connection, though somebody still holds it.
            let methods = within("the end", served).await.unwrap();
            assert_eq!(methods, ["prove", "fetch_nonce"], "nothing signed was sent");
            let closed = client.whoami().await.unwrap_err();
            assert!(matches!(closed, Error::Closed(_)), "{closed:?}");
        }
    }
}

#[tokio::test]
async fn a_grant_that_does_not_fit_the_server_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let right = grant(ORIGIN, days(90));
    let mut forged = right.clone();
    forged.server = key(41).public();
    for (grant, server_key, told) in [
        (
            &grant("wss://circles.example.com", days(90)),
            own(),
            "not for wss://circles.example.org",
        ),
        (&forged, own(), "is not signed by the circle's key"),
        (&right, key(41), "is for the server key"),
    ] {
        let server = write(folder.path(), &settings(Some(grant)), &server_key);
        let (status, log) = server.give_up().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(
            log.contains("circle[0].grant") && log.contains(told),
            "{log}"
        );
    }
    let without_key = settings(Some(&right)).replace("key = \"file:server.secret\"\n", "");
    let (_, log) = write(folder.path(), &without_key, &own()).give_up().await;
    assert!(log.contains("needs `server.key`"), "{log}");
    let server = write(folder.path(), &settings(Some(&right)), &own());
    std::fs::write(folder.path().join("server.secret"), "hunter2-hunter2").unwrap();
    let (_, log) = server.give_up().await;
    assert!(
        log.contains("server.key") && log.contains("is no secret key"),
        "{log}"
    );
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_grant_that_has_expired_keeps_no_server_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let write = |grant: &Grant| write(folder.path(), &settings(Some(grant)), &own());
    let expired = grant(ORIGIN, days(-1));
    let told = |line: &Value| {
        line["level"] == "ERROR"
            && line["circle"] == circle().to_string()
            && line["message"].as_str().unwrap().contains("has ended")
    };
    let mut server = write(&expired).start().await;
    server.logged("that it has ended", told).await;
    let mut session = server.connect().await;
    let params = json!([challenge()]);
    let error = session.call("prove", params.clone()).await.unwrap_err();
    assert_eq!(error["code"], -32006, "{error}");
    assert_eq!(error["data"], json!({ "what": "grant" }));
    // SIGHUP takes up a new one, and one that has expired.
    let valid = grant(ORIGIN, days(90));
    for grant in [valid, expired] {
        drop(write(&grant));
        server.signal(Signal::HUP);
        let is_valid = grant.expires > Timestamp::now();
        eventually("the other grant", async || {
            let proof = session.call("prove", params.clone()).await;
            proof.is_ok() == is_valid
        })
        .await;
    }
}

#[tokio::test]
async fn grants_and_the_servers_key_are_read_again_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |grant: Option<&Grant>, key: &SecretKey| write(folder.path(), &settings(grant), key);
    let mut server = write(None, &own()).start().await;
    let mut session = server.connect().await;
    let params = json!([challenge()]);
    let error = session.call("prove", params.clone()).await.unwrap_err();
    assert_eq!(error["code"], -32006);

    let reread = |changed: &'static str| {
        move |line: &Value| {
            line["message"] == "the settings were read again" && line["changed"] == changed
        }
    };
    let first = grant(ORIGIN, days(3));
    drop(write(Some(&first), &own()));
    server.signal(Signal::HUP);
    server.logged("a grant", reread("circle")).await;
    let warned = |line: &Value| {
        line["level"] == "WARN"
            && line["circle"] == circle().to_string()
            && line["ends"].is_string()
    };
    server.logged("that it ends soon", warned).await;
    let proof = session.call("prove", params.clone()).await.unwrap();
    assert_eq!(proof["grant"], json!(first));

    // A mistake changes nothing.
    drop(write(Some(&grant("wss://evil.example", days(90))), &own()));
    server.signal(Signal::HUP);
    server
        .logged("the mistake", |line| {
            line["problem"]
                .as_str()
                .is_some_and(|problem| problem.contains("circle[0].grant"))
        })
        .await;
    assert_eq!(
        session.call("prove", params.clone()).await.unwrap()["grant"],
        json!(first)
    );

    // Another key in the same file, and a grant for it.
    let expires = Timestamp::now() + days(90);
    let second = Grant::sign(&owner(), key(41).public(), &origin(), expires).unwrap();
    drop(write(Some(&second), &key(41)));
    server.signal(Signal::HUP);
    server
        .logged("another key", reread("circle, server.key"))
        .await;
    let proof = session.call("prove", params).await.unwrap();
    assert_eq!(proof["grant"], json!(second));
}

on_both!(a_server_with_a_grant_proves_itself_before_any_login);
