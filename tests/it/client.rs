//! The client as a library, and login texts that it refuses to sign.

use circled_client::{
    Caller, Client, Closed, Error, Login, Options, load_device_key, save_device_key,
};
use circled_json::Json;
use circled_protocol::{Challenge, ChallengeError, DeviceSecretKey, Origin, PublicKey, Scheme};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};
use tokio_tungstenite::{accept_async, tungstenite::Message};

use crate::harness::{
    redis::Proxy,
    server::{PATIENCE, TestServer, key},
};

#[tokio::test]
async fn calls_run_side_by_side() {
    let server = TestServer::start().await;
    let client = Client::connect(&server.url(key(1).public())).await.unwrap();
    client.authenticate(&key(1), Scheme::Eip191).await.unwrap();
    let plays = (0..50).map(|n| {
        let client = client.clone();
        async move { client.play(&format!("{n} * 2")).await.unwrap().value }
    });
    let values = timeout(PATIENCE, futures_util::future::join_all(plays))
        .await
        .unwrap();
    assert_eq!(values, (0..50).map(|n| json!(n * 2)).collect::<Vec<_>>());
    let failed = client.play("foo").await.unwrap_err();
    assert!(
        matches!(failed, Error::Rpc(ref error) if error.code == -32000),
        "{failed}"
    );
    client.close().await;
}

#[tokio::test]
async fn waiting_callers_learn_why_the_server_closed() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__LOGIN_DEADLINE", "100ms")
        .start()
        .await;
    let client = Client::connect(&server.url(key(1).public())).await.unwrap();
    let closed = loop {
        if let Err(error) = client.call::<Json>("whoami", json!({})).await {
            break error;
        }
    };
    assert!(
        matches!(
            closed,
            Error::Closed(Closed {
                code: Some(1008),
                ..
            })
        ),
        "{closed}"
    );
    let url = server.url(key(1).public());
    drop(server);
    let gone = Client::connect(&url).await.unwrap_err();
    assert!(matches!(gone, Error::Connect { .. }), "{gone}");
}

#[tokio::test]
async fn a_refused_upgrade_is_told_in_the_servers_words() {
    let server = TestServer::builder()
        .toml(format!(
            "[circles]\nopen = false\n[[circle]]\nkey = \"{}\"",
            key(2).public()
        ))
        .start()
        .await;
    let refused = Client::connect(&server.url(key(1).public()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("does not serve that circle") && refused.contains("404"),
        "{refused}"
    );
}

/// Starts a server in the middle, which returns somebody else's text from `fetch_nonce` and counts the other calls.
async fn man_in_the_middle(
    text: impl Fn(&str) -> String + Send + 'static,
) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    let own = address.clone();
    let served = tokio::task::spawn_blocking(move || {
        tokio::runtime::Handle::current().block_on(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut ws = accept_async(stream).await.unwrap();
            let mut methods = Vec::new();
            while let Some(Ok(Message::Text(request))) = ws.next().await {
                let request: Value = circled_json::parse(&request).unwrap();
                methods.push(request["method"].as_str().unwrap().to_owned());
                let mut reply = json!({ "jsonrpc": "2.0", "id": request["id"] });
                match request["method"].as_str() {
                    Some("prove") => reply["error"] = json!({ "code": -32006, "message": "" }),
                    _ => reply["result"] = text(&own).into(),
                }
                ws.send(Message::text(reply.to_string())).await.unwrap();
            }
            methods
        })
    });
    (address, served)
}

fn challenge(origin: &str, circle: PublicKey, key: PublicKey) -> String {
    Challenge::new(
        origin.to_owned(),
        circle,
        key,
        PATIENCE,
        jiff::Timestamp::now(),
        [7; 32],
    )
    .text()
}

#[tokio::test]
async fn a_text_for_somebody_else_is_not_signed_in_any_scheme() {
    for scheme in [Scheme::Eip191, Scheme::Sha256, Scheme::Schnorr] {
        assert_only_its_own_text_is_signed(scheme).await;
    }
}

async fn assert_only_its_own_text_is_signed(scheme: Scheme) {
    let (circle, me, other) = (key(1).public(), key(2), key(3).public());
    let mine = me.public();
    type Text = Box<dyn Fn(&str) -> String + Send>;
    let texts: [(Text, &str); 4] = [
        (
            Box::new(move |_| challenge("wss://circles.example.org", circle, mine)),
            "origin",
        ),
        (Box::new(move |own| challenge(own, other, mine)), "circle"),
        (Box::new(move |own| challenge(own, circle, other)), "key"),
        (
            Box::new(|_| "I hereby transfer everything".to_owned()),
            "nonsense",
        ),
    ];
    for (text, what) in texts {
        let (address, served) = man_in_the_middle(text).await;
        let client = Client::connect(&format!("{address}/{circle}"))
            .await
            .unwrap();
        let refused = client.authenticate(&me, scheme).await.unwrap_err();
        let expected = match refused {
            Error::Challenge(ChallengeError::Origin { .. }) => "origin",
            Error::Challenge(ChallengeError::Circle(_)) => "circle",
            Error::Challenge(ChallengeError::Key(_)) => "key",
            Error::Challenge(ChallengeError::Malformed) => "nonsense",
            error => panic!("{error}"),
        };
        assert_eq!(what, expected);
        client.close().await;
        assert_eq!(
            timeout(PATIENCE, served).await.unwrap().unwrap(),
            ["prove", "fetch_nonce"],
            "nothing signed was sent"
        );
    }
}

#[tokio::test]
async fn a_device_logs_in_for_its_caller_through_lost_connections() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__PUBLIC_URL", "wss://circles.example.org")
        .start()
        .await;
    let network = Proxy::to(server.address.port()).await;
    let url = format!("ws://127.0.0.1:{}/{}", network.port(), key(1).public());
    let origin: Origin = "wss://circles.example.org".parse().unwrap();
    let client = Client::connect(&url).await.unwrap();
    let wallet = key(2);
    let login = client.authenticate_at(&origin, &wallet, Scheme::Eip191);
    login.await.unwrap();
    let me = client.whoami().await.unwrap().pubkey.unwrap();
    let device = DeviceSecretKey::generate().unwrap();
    let expires = jiff::Timestamp::now().as_second() + 3600;
    let expires = jiff::Timestamp::from_second(expires).unwrap();
    let scope = "play".parse().unwrap();
    let added = client.add_device_key(me, &device, "a test", scope, expires);
    let added = added.await.unwrap();
    assert_eq!(client.list_device_keys().await.unwrap(), [added]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("device.key");
    save_device_key(&file, &device).unwrap();
    assert!(
        save_device_key(&file, &device).is_err(),
        "none is overwritten"
    );
    let loaded = load_device_key(&file).unwrap();
    let caller = Caller::new(&url, loaded).origin(origin.clone());
    for n in 0..3 {
        let played = caller.play("CALLER_ID", &Options::default()).await;
        assert_eq!(played.unwrap().value, json!(me), "{n}");
        network.cut();
    }
    let client = Client::connect(&url).await.unwrap();
    let login = Login {
        origin: Some(origin.clone()),
        ..Login::default()
    };
    client.log_in(&device, &login).await.unwrap();
    let who = client.whoami().await.unwrap();
    assert_eq!((who.pubkey, who.device), (Some(me), Some(device.public())));
    let elsewhere = client.authenticate_device(&device).await.unwrap_err();
    assert!(matches!(elsewhere, Error::Challenge(_)), "{elsewhere}");
    assert!(client.remove_device_key(&device.public()).await.unwrap());
    let refused = caller.play("1", &Options::default()).await.unwrap_err();
    assert!(!refused.may_pass(), "{refused}");
}
