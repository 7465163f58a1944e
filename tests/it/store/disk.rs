//! The data folder, and faults of the disk or damage by others.

mod damage;
mod folder;
mod full;
mod volume;

use circled::{
    auth::Secret,
    webhooks::{Preset, Signing},
};
use serde_json::json;

use crate::harness::server::{Builder, Response, TestServer, circle, post};

pub(crate) const SECRET: &str = "whsec_of_this_test";

/// Builds a server that accepts Stripe's webhooks.
fn server() -> Builder {
    TestServer::builder().env("STRIPE_WEBHOOK_SECRET", SECRET)
}

/// Sends an event like Stripe does.
pub(crate) async fn deliver(server: &TestServer, event: &str) -> Response {
    let body = json!({ "id": event, "type": "ping", "data": { "object": {} } }).to_string();
    let signing = Signing {
        secret: &Secret::new(SECRET.to_owned()),
        at: jiff::Timestamp::now(),
        id: event,
        body: body.as_bytes(),
    };
    let headers = Preset::Stripe.description().sign(&signing, "ping").unwrap();
    let path = format!("/webhooks/stripe/{}", circle());
    post(server.address, &path, &headers, body.as_bytes()).await
}
