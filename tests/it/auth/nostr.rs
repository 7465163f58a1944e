//! Logging in by the scheme `nostr`: events of NIP-42, and every field of theirs.

use circled_protocol::{LoginRefusal, NostrEvent, Origin, SecretKey};
use jiff::{Span, Timestamp, ToSpan};
use serde_json::{Value, json};

use super::{
    login::assert_refused,
    wallets::{caller, text, vectors},
};
use crate::harness::{
    backend::on_both,
    server::{Answer, TestServer, Ws, circle, key},
};

fn origin(server: &TestServer) -> Origin {
    format!("ws://{}", server.address).parse().unwrap()
}

async fn fetch(session: &mut Ws, pubkey: &str) -> String {
    let params = json!({ "pubkey": pubkey, "scheme": "nostr" });
    let challenge = session.call("fetch_nonce", params).await.unwrap();
    challenge.as_str().unwrap().to_owned()
}

fn event(server: &TestServer, key: &SecretKey, challenge: &str) -> NostrEvent {
    let now = Timestamp::now();
    NostrEvent::login(key, &origin(server), &circle(), challenge, now).unwrap()
}

async fn authenticate(session: &mut Ws, event: &NostrEvent) -> Answer {
    session
        .call("authenticate", json!({ "event": event }))
        .await
}

#[test]
fn events_of_nostr_tools_hold() {
    let vectors = vectors();
    let (origin, circle) = (text(&vectors, "origin"), text(&vectors, "circle"));
    let circle = circle.parse().unwrap();
    let events = vectors["nostr"].as_array().unwrap();
    assert!(events.iter().any(|vector| vector["event"]["content"] != ""));
    for vector in events {
        let event: NostrEvent = circled_json::from_value(vector["event"].clone()).unwrap();
        let now = Timestamp::from_second(event.created_at.try_into().unwrap()).unwrap();
        let check = |event: &NostrEvent| {
            event.check(text(vector, "challenge"), origin, &circle, now)?;
            event.verify()
        };
        assert_eq!(check(&event), Ok(()), "{vector}");
        assert!(event.is_by(&text(vector, "pubkey").parse().unwrap()));
        assert!(!event.is_by(&key(99).public()));

        // Nothing can be changed without a new id, and a new id needs a new signature.
        let changed = |change: fn(&mut NostrEvent)| {
            let mut event = event.clone();
            change(&mut event);
            check(&event).unwrap_err()
        };
        for (change, refusal) in [
            (
                (|event| event.created_at += 1) as fn(&mut NostrEvent),
                LoginRefusal::BadId,
            ),
            (|event| event.content.push(' '), LoginRefusal::BadId),
            (
                |event| event.tags.push(vec!["t".to_owned()]),
                LoginRefusal::BadId,
            ),
            (
                |event| event.tags[0].push(String::new()),
                LoginRefusal::BadId,
            ),
            (|event| event.tags.reverse(), LoginRefusal::BadId),
            (
                |event| event.pubkey = key(99).public().to_string()[2..].to_owned(),
                LoginRefusal::BadId,
            ),
            (
                |event| event.id = event.id.to_uppercase(),
                LoginRefusal::BadId,
            ),
            (|event| event.kind = 1, LoginRefusal::BadKind),
            (
                |event| event.sig.replace_range(..2, "00"),
                LoginRefusal::BadSignature,
            ),
            (|event| event.sig.clear(), LoginRefusal::BadSignature),
        ] {
            assert_eq!(changed(change), refusal, "{vector}");
        }
    }
}

async fn an_event_logs_in() {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    for me in (1..5).map(key) {
        let public = me.public();
        let x_only = public.to_string()[2..].to_owned();
        // A Nostr key is x alone, which stands for the point with even y; both have the same secret.
        let even = circled_protocol::PublicKey::from_x_only(&x_only).unwrap();
        for (pubkey, who) in [
            (x_only.clone(), even),
            (x_only.to_uppercase(), even),
            (public.to_string(), public),
            (format!("0x{public}"), public),
        ] {
            let challenge = fetch(&mut session, &pubkey).await;
            assert_eq!(hex::decode(&challenge).unwrap().len(), 32);
            let event = event(&server, &me, &challenge);
            assert_eq!(authenticate(&mut session, &event).await, Ok(json!(true)));
            assert_eq!(caller(&mut session).await, Some(who));
        }
    }
    // With the scheme, by position, and with fields of a later standard.
    let me = key(2);
    let x_only = me.public().to_string()[2..].to_owned();
    for as_params in [
        (|event| json!({ "event": event, "scheme": "nostr" })) as fn(Value) -> Value,
        (|event| json!([null, null, "nostr", null, event])),
        (|event| json!([null, null, null, null, event])),
        (|mut event| {
            event["ots"] = json!("later");
            event["created_at"] = json!(event["created_at"].as_u64().unwrap() as f64);
            json!({ "event": event, "pubkey": null, "signature": null, "address": null, "scheme": null })
        }),
    ] {
        let challenge = fetch(&mut session, &x_only).await;
        let event = json!(event(&server, &me, &challenge));
        let answer = session.call("authenticate", as_params(event)).await;
        assert_eq!(answer, Ok(json!(true)));
    }
}

/// Signs an event anew after a change.
fn resigned(server: &TestServer, change: impl FnOnce(&mut NostrEvent)) -> NostrEvent {
    let me = key(2);
    let mut event = event(server, &me, "");
    change(&mut event);
    event.sign(&me).unwrap();
    event
}

#[tokio::test]
async fn every_field_of_an_event_is_checked() {
    let server = TestServer::start().await;
    let (me, mut session) = (key(2), server.connect().await);
    let x_only = me.public().to_string()[2..].to_owned();
    let relay = format!("{}/{}", origin(&server), circle());
    let port = server.address.port();
    let shifted = |span: Span| u64::try_from((Timestamp::now() + span).as_second()).unwrap();
    type Change<'a> = Box<dyn Fn(&mut NostrEvent, &str) + 'a>;
    let set = |name: &'static str, value: String| -> Change<'_> {
        Box::new(move |event, _| {
            let tag = event.tags.iter_mut().find(|tag| tag[0] == name);
            tag.unwrap()[1] = value.clone();
        })
    };
    let changes: Vec<(&str, Change<'_>)> = vec![
        ("", Box::new(|_, _| {})),
        (
            "",
            Box::new(|event, _| event.content = "\u{1}\n\"\\".to_owned()),
        ),
        ("", Box::new(|event, _| event.tags.reverse())),
        ("", Box::new(|event, _| event.tags.push(vec![]))),
        (
            "",
            Box::new(|event, _| event.created_at = shifted(-9.minutes())),
        ),
        (
            "",
            Box::new(|event, _| event.created_at = shifted(9.minutes())),
        ),
        (
            "bad_time",
            Box::new(|event, _| event.created_at = shifted(-11.minutes())),
        ),
        (
            "bad_time",
            Box::new(|event, _| event.created_at = shifted(11.minutes())),
        ),
        ("bad_time", Box::new(|event, _| event.created_at = 0)),
        ("bad_time", Box::new(|event, _| event.created_at = u64::MAX)),
        ("bad_kind", Box::new(|event, _| event.kind = 1)),
        (
            "bad_kind",
            Box::new(|event, _| event.kind = 22242 + (1 << 32)),
        ),
        ("bad_challenge", set("challenge", "00".repeat(32))),
        ("bad_challenge", set("challenge", String::new())),
        (
            "bad_challenge",
            Box::new(|event, challenge| event.tags[1][1] = challenge.to_uppercase()),
        ),
        ("bad_challenge", Box::new(|event, _| event.tags.truncate(1))),
        (
            "bad_challenge",
            Box::new(|event, _| event.tags[1].truncate(1)),
        ),
        (
            "bad_challenge",
            Box::new(|event, challenge| {
                event
                    .tags
                    .push(vec!["challenge".to_owned(), challenge.to_owned()]);
            }),
        ),
        ("", set("relay", format!("{relay}/"))),
        ("", set("relay", relay.replace("ws:", "WS:"))),
        (
            "",
            set(
                "relay",
                format!(
                    "{}/{}",
                    origin(&server),
                    circle().to_string().to_uppercase()
                ),
            ),
        ),
        ("bad_relay", set("relay", origin(&server).to_string())),
        ("bad_relay", set("relay", String::new())),
        ("bad_relay", set("relay", relay.replace("ws:", "wss:"))),
        ("bad_relay", set("relay", relay.replace("ws:", "http:"))),
        (
            "bad_relay",
            set("relay", relay.replace("127.0.0.1", "127.0.0.2")),
        ),
        (
            "bad_relay",
            set("relay", relay.replace("127.0.0.1", "me@127.0.0.1")),
        ),
        (
            "bad_relay",
            set(
                "relay",
                relay.replace(&port.to_string(), &(port ^ 1).to_string()),
            ),
        ),
        (
            "bad_relay",
            set("relay", format!("{}/{}", origin(&server), key(9).public())),
        ),
        ("bad_relay", set("relay", format!("{relay}?x"))),
        ("bad_relay", set("relay", format!("{relay}//"))),
        ("bad_relay", set("relay", format!("{relay}/x"))),
        ("bad_relay", Box::new(|event, _| drop(event.tags.remove(0)))),
        (
            "bad_relay",
            Box::new(|event, _| {
                event
                    .tags
                    .push(vec!["relay".to_owned(), "wss://evil.example".to_owned()]);
            }),
        ),
    ];
    for (at, (reason, change)) in changes.iter().enumerate() {
        let challenge = fetch(&mut session, &x_only).await;
        let event = resigned(&server, |event| {
            event.tags[1][1].clone_from(&challenge);
            change(event, &challenge);
        });
        let answer = authenticate(&mut session, &event).await;
        if reason.is_empty() {
            assert_eq!(answer, Ok(json!(true)), "{at}: {event:?}");
        } else {
            assert_refused(answer, reason);
        }
    }

    // The id and the signature, and the key that they are of.
    type Tamper = fn(&mut NostrEvent);
    let tampered: [(&str, Tamper); 9] = [
        ("bad_id", |event| event.id.replace_range(..2, "zz")),
        ("bad_id", |event| event.id.clear()),
        ("bad_id", |event| event.content.push('x')),
        ("bad_id", |event| event.created_at += 1),
        ("bad_id", |event| event.tags.push(vec![])),
        ("bad_signature", |event| event.sig = "00".repeat(64)),
        ("bad_signature", |event| event.sig.truncate(126)),
        ("no_nonce", |event| event.sign(&key(3)).unwrap()),
        ("no_nonce", |event| {
            event.pubkey = event.pubkey.to_uppercase()
        }),
    ];
    for (reason, tamper) in tampered {
        let challenge = fetch(&mut session, &x_only).await;
        let mut event = event(&server, &me, &challenge);
        tamper(&mut event);
        assert_refused(authenticate(&mut session, &event).await, reason);
    }
}

#[tokio::test]
async fn a_challenge_is_answered_once_in_its_session() {
    let server = TestServer::start().await;
    let (me, mut session) = (key(2), server.connect().await);
    let pubkey = me.public().to_string();
    let unasked = event(&server, &me, &"00".repeat(32));
    assert_refused(authenticate(&mut session, &unasked).await, "no_nonce");
    let challenge = fetch(&mut session, &pubkey).await;
    let right = event(&server, &me, &challenge);
    let mut other = server.connect().await;
    assert_refused(authenticate(&mut other, &right).await, "no_nonce");
    fetch(&mut other, &pubkey).await;
    assert_refused(authenticate(&mut other, &right).await, "bad_challenge");
    assert_eq!(authenticate(&mut session, &right).await, Ok(json!(true)));
    assert_refused(authenticate(&mut session, &right).await, "no_nonce");

    // A refused event uses the challenge up, too.
    let challenge = fetch(&mut session, &pubkey).await;
    let right = event(&server, &me, &challenge);
    let mut wrong = right.clone();
    wrong.kind = 1;
    assert_refused(authenticate(&mut session, &wrong).await, "bad_kind");
    assert_refused(authenticate(&mut session, &right).await, "no_nonce");
}

#[tokio::test]
async fn a_challenge_expires() {
    let server = TestServer::builder()
        .env("CIRCLED_AUTH__NONCE_TTL", "1ms")
        .start()
        .await;
    let (me, mut session) = (key(2), server.connect().await);
    let challenge = fetch(&mut session, &me.public().to_string()).await;
    let event = event(&server, &me, &challenge);
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    assert_refused(authenticate(&mut session, &event).await, "expired");
}

on_both!(an_event_logs_in);
