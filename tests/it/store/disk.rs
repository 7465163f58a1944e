//! The data folder, and faults of the disk or damage by others.

mod damage;
mod folder;
mod full;
mod volume;

use serde_json::json;

use crate::harness::{
    server::{Response, TestServer},
    webhooks::Webhook,
};

/// Sends an event like Stripe does.
pub(crate) async fn deliver(server: &TestServer, event: &str) -> Response {
    let body = json!({ "id": event, "type": "ping", "data": { "object": {} } });
    Webhook::stripe(body.to_string()).send(server).await
}
