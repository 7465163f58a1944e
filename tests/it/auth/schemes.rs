//! The schemes beside each other: parameters that go together, and answers in another scheme than was asked for.

use circled_protocol::{Address, NostrEvent, Scheme, sign};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::login::assert_refused;
use crate::harness::{
    devices::{add_device, device},
    server::{TestServer, circle, key},
};

#[tokio::test]
async fn parameters_that_do_not_go_together_are_told() {
    let server = TestServer::start().await;
    let (me, mut session) = (key(2), server.connect().await);
    let pubkey = me.public().to_string();
    let address = Address::of(&pubkey.parse().unwrap()).to_string();
    let event = NostrEvent::login(
        &me,
        &"ws://localhost".parse().unwrap(),
        &circle(),
        "",
        Timestamp::now(),
    )
    .unwrap();
    let both = "give `pubkey` or `address`, not both";
    let only_siwe = "`address` is for the scheme `siwe`";
    let siwe_needs = "the scheme `siwe` needs `address`, and no `pubkey`";
    let alone = "`event` has the key and the signature: give it alone";
    for (method, params, reason) in [
        (
            "fetch_nonce",
            json!({}),
            "missing field `pubkey` (or `address`)",
        ),
        (
            "fetch_nonce",
            json!([null, "eip191"]),
            "missing field `pubkey` (or `address`)",
        ),
        (
            "fetch_nonce",
            json!({ "pubkey": pubkey, "address": address }),
            both,
        ),
        (
            "fetch_nonce",
            json!({ "pubkey": pubkey, "chain_id": 1 }),
            "`chain_id` is for an `address`",
        ),
        (
            "fetch_nonce",
            json!({ "pubkey": pubkey, "scheme": "siwe" }),
            siwe_needs,
        ),
        ("fetch_nonce", json!({ "scheme": "siwe" }), siwe_needs),
        (
            "fetch_nonce",
            json!({ "address": address, "scheme": "nostr" }),
            only_siwe,
        ),
        (
            "fetch_nonce",
            json!({ "address": address, "scheme": "eip191" }),
            only_siwe,
        ),
        (
            "fetch_nonce",
            json!({ "address": address, "chain_id": -1 }),
            "",
        ),
        (
            "fetch_nonce",
            json!({ "pubkey": pubkey, "scheme": "rot13" }),
            "",
        ),
        (
            "authenticate",
            json!({}),
            "missing field `pubkey` (or `address`, or `event`)",
        ),
        (
            "authenticate",
            json!({ "signature": "00" }),
            "missing field `pubkey` (or `address`, or `event`)",
        ),
        (
            "authenticate",
            json!({ "pubkey": pubkey }),
            "missing field `signature`",
        ),
        (
            "authenticate",
            json!({ "address": address }),
            "missing field `signature`",
        ),
        (
            "authenticate",
            json!({ "pubkey": pubkey, "address": address, "signature": "00" }),
            both,
        ),
        (
            "authenticate",
            json!({ "pubkey": pubkey, "signature": "00", "scheme": "siwe" }),
            siwe_needs,
        ),
        (
            "authenticate",
            json!({ "address": address, "signature": "00", "scheme": "sha256" }),
            only_siwe,
        ),
        (
            "authenticate",
            json!({ "pubkey": pubkey, "signature": "00", "scheme": "nostr" }),
            "the scheme `nostr` needs `event`",
        ),
        (
            "authenticate",
            json!({ "scheme": "nostr" }),
            "the scheme `nostr` needs `event`",
        ),
        (
            "authenticate",
            json!({ "event": event, "scheme": "schnorr" }),
            "`event` is for the scheme `nostr`",
        ),
        (
            "authenticate",
            json!({ "event": event, "pubkey": pubkey }),
            alone,
        ),
        (
            "authenticate",
            json!({ "event": event, "address": address }),
            alone,
        ),
        (
            "authenticate",
            json!({ "event": event, "signature": "00" }),
            alone,
        ),
        (
            "authenticate",
            json!({ "event": event, "signature": "00", "scheme": "eip191" }),
            alone,
        ),
        ("authenticate", json!({ "event": {} }), ""),
        (
            "authenticate",
            json!({ "event": json!(event).to_string() }),
            "",
        ),
    ] {
        let text = session.fetch_nonce(&pubkey).await;
        let error = session.call(method, params.clone()).await.unwrap_err();
        assert_eq!(error["code"], -32602, "{params}: {error}");
        let told = error["data"]["reason"].as_str().unwrap();
        assert!(
            told == reason || reason.is_empty() && told.starts_with('`'),
            "{params}: {told}"
        );
        // Each answer uses the text up; a question doesn't.
        let credentials =
            json!({ "pubkey": pubkey, "signature": sign(Scheme::Eip191, &me, &text) });
        let answer = session.call("authenticate", credentials).await;
        match method {
            "fetch_nonce" => assert_eq!(answer, Ok(json!(true)), "{params}"),
            _ => assert_refused(answer, "no_nonce"),
        }
    }
}

/// Each scheme's question and its right answer; each answer is right for its own question alone.
#[tokio::test]
async fn no_answer_is_good_in_another_scheme() {
    let server = TestServer::start().await;
    let (me, mut session) = (key(2), server.connect().await);
    let pubkey = me.public().to_string();
    let address = Address::of(&pubkey.parse().unwrap()).to_string();
    session.login(&me).await;
    add_device(&mut session, &device(1), "play").await;
    let of_device = device(1).public();
    let origin = format!("ws://{}", server.address).parse().unwrap();
    let signed = |scheme: Scheme, text: &str| {
        let signature = sign(scheme, &me, text);
        json!({ "pubkey": pubkey, "signature": signature, "scheme": scheme })
    };
    let of_text = |scheme: Scheme| json!({ "pubkey": pubkey, "scheme": scheme });
    let schemes = [
        Scheme::Eip191,
        Scheme::Sha256,
        Scheme::Schnorr,
        Scheme::Siwe,
        Scheme::Nostr,
        Scheme::Es256,
    ];
    for asked in schemes {
        for answered in schemes {
            let params = match asked {
                Scheme::Siwe => json!({ "address": address }),
                Scheme::Es256 => json!({ "pubkey": of_device, "scheme": asked }),
                _ => of_text(asked),
            };
            let text = session.call("fetch_nonce", params).await.unwrap();
            let text = text.as_str().unwrap();
            let credentials: Value = match answered {
                Scheme::Siwe => {
                    json!({ "address": address, "signature": sign(Scheme::Eip191, &me, text) })
                }
                Scheme::Nostr => {
                    let now = Timestamp::now();
                    json!({ "event": NostrEvent::login(&me, &origin, &circle(), text, now) })
                }
                Scheme::Es256 => {
                    json!({ "pubkey": of_device, "signature": device(1).sign(text), "scheme": answered })
                }
                _ => signed(answered, text),
            };
            let answer = session.call("authenticate", credentials).await;
            if asked == answered {
                assert_eq!(answer, Ok(json!(true)), "{asked:?}");
            } else {
                assert_refused(answer, "no_nonce");
            }
        }
    }
    // A signature of one scheme, said to be of another.
    for (made, said) in schemes[..3]
        .iter()
        .flat_map(|made| schemes[..3].iter().map(move |said| (*made, *said)))
    {
        let text = session.fetch_nonce(&pubkey).await;
        let signature = sign(made, &me, &text);
        let params = json!({ "pubkey": pubkey, "signature": signature, "scheme": said });
        let answer = session.call("authenticate", params).await;
        if made == said {
            assert_eq!(answer, Ok(json!(true)));
        } else {
            assert_refused(answer, "bad_signature");
        }
    }
}
