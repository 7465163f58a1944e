//! Webhooks: a provider's end of them, and servers that accept them.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::http::HeaderMap;
use circled::{
    auth::Secret,
    webhooks::{Description, Preset, Signing},
};
use circled_protocol::PublicKey;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::server::{Builder, Response, TestServer, circle, eventually, key, post, try_post};

/// The secret that Stripe signs with here.
pub(crate) const SECRET: &str = "whsec_test";

/// Builds a server that accepts Stripe's webhooks.
pub(crate) fn taking_stripes() -> Builder {
    TestServer::builder().env("STRIPE_WEBHOOK_SECRET", SECRET)
}

/// Returns the body of one event of Stripe's.
pub(crate) fn event(id: &str) -> String {
    json!({
        "id": id,
        "object": "event",
        "type": "payment_intent.succeeded",
        "data": { "object": { "id": "pi_1", "object": "payment_intent", "amount": 2000 } },
    })
    .to_string()
}

/// A response to a delivery, as far as a provider acts on it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// 200
    Kept,
    /// 503, and when.
    ComeBack,
}

/// A request that a provider has signed.
pub(crate) struct Webhook {
    pub(crate) provider: String,
    pub(crate) circle: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Webhook {
    /// Creates a valid request of Stripe's to [`circle`].
    pub(crate) fn stripe(body: impl AsRef<str>) -> Self {
        Self::signed(Preset::Stripe, SECRET, body)
    }

    pub(crate) fn signed(preset: Preset, secret: &str, body: impl AsRef<str>) -> Self {
        let name = format!("{preset:?}").to_lowercase();
        Self::described(&name, &preset.description(), secret, body, Timestamp::now())
    }

    pub(crate) fn signed_at(at: Timestamp, body: impl AsRef<str>) -> Self {
        Self::described("stripe", &Preset::Stripe.description(), SECRET, body, at)
    }

    pub(crate) fn described(
        name: &str,
        description: &Description,
        secret: &str,
        body: impl AsRef<str>,
        at: Timestamp,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let body = body.as_ref().as_bytes();
        let signing = Signing {
            secret: &Secret::new(secret),
            at,
            id: &format!("delivery-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            body,
        };
        Self {
            provider: name.to_owned(),
            circle: circle().to_string(),
            headers: description.sign(&signing, "test").unwrap(),
            body: body.to_vec(),
        }
    }

    pub(crate) fn to(mut self, circle: PublicKey) -> Self {
        self.circle = circle.to_string();
        self
    }

    /// Replaces or removes a header.
    pub(crate) fn with(mut self, name: &'static str, value: Option<&str>) -> Self {
        self.headers.remove(name);
        if let Some(value) = value {
            self.headers.insert(name, value.parse().unwrap());
        }
        self
    }

    pub(crate) async fn send(&self, server: &TestServer) -> Response {
        post(server.address, &self.path(), &self.headers, &self.body).await
    }

    /// Sends it to a server that may be gone: returns `None` then.
    pub(crate) async fn offer(&self, address: SocketAddr) -> Option<Said> {
        let response = try_post(address, &self.path(), &self.headers, &self.body).await?;
        match response.status {
            200 => Some(Said::Kept),
            503 => {
                assert!(response.header("retry-after").is_some(), "{response:?}");
                Some(Said::ComeBack)
            }
            _ => panic!("{response:?}"),
        }
    }

    fn path(&self) -> String {
        format!("/webhooks/{}/{}", self.provider, self.circle)
    }

    /// Sends it, and returns its job's id and status.
    pub(crate) async fn kept(&self, server: &TestServer) -> (String, String) {
        let response = self.send(server).await;
        assert_eq!(response.status, 200, "{response:?}");
        let answer = response.json();
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
        (text("job_id"), text("status"))
    }
}

/// Returns the value of a script, run by the circle's owner.
pub(crate) async fn ask(server: &TestServer, circle: u8, script: &str) -> Value {
    let mut session = server.connect_to(key(circle).public()).await;
    session.login(&key(circle)).await;
    session.play(script).await.unwrap()["value"].take()
}

/// Creates a script in a folder of its own, and the settings with which Stripe's deliveries run it.
pub(crate) fn scripted(script: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stripe.rhai");
    std::fs::write(&path, script).unwrap();
    let settings = format!("[webhooks.stripe]\nscript = {path:?}\n");
    (folder, settings)
}

/// A script that fails until it is told not to.
pub(crate) const STUBBORN: &str = r#"
    store.incr("kept only if it ends well", 1);
    if !store.has("give in") { throw "not yet" }
    store.incr("runs", 1);
"#;

pub(crate) async fn job(server: &TestServer, id: &str) -> Value {
    server.admin(&format!("/jobs/{id}")).await.json()
}

pub(crate) async fn until(server: &TestServer, id: &str, status: &str) -> Value {
    eventually(&format!("the job to be {status}"), async || {
        job(server, id).await["status"] == status
    })
    .await;
    job(server, id).await
}
