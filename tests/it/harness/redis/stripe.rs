//! A provider's end of a webhook: its requests, and the responses.

use std::net::SocketAddr;

use circled::{
    auth::Secret,
    webhooks::{Preset, Signing},
};
use jiff::Timestamp;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::fleet::circle;
use crate::harness::server::within;

/// The secret that Stripe signs with here.
pub(crate) const SECRET: &str = "whsec_test";

/// Returns the body of one event of Stripe's.
pub(crate) fn delivery(id: &str, stubborn: bool, slow: bool) -> String {
    json!({
        "id": id,
        "object": "event",
        "type": "payment_intent.succeeded",
        "data": { "object": { "id": "pi_1", "object": "payment_intent", "stubborn": stubborn, "slow": slow } },
    })
    .to_string()
}

/// A response to a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// 200
    Kept,
    /// 503, and when.
    ComeBack,
}

/// Sends a delivery, signed anew. Returns `None` if the gateway is gone.
pub(crate) async fn send(address: SocketAddr, number: u8, body: &str) -> Option<Said> {
    let signing = Signing {
        secret: &Secret::new(SECRET),
        at: Timestamp::now(),
        id: "",
        body: body.as_bytes(),
    };
    let headers = Preset::Stripe.description().sign(&signing, "test").unwrap();
    let signature = headers["stripe-signature"].to_str().unwrap();
    let request = format!(
        "POST /webhooks/stripe/{} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nStripe-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        circle(number),
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    let answer = within("an answer", exchange).await?;
    match answer.strip_prefix("HTTP/1.1 ")?.get(..3)? {
        "200" => Some(Said::Kept),
        "503" => {
            assert!(
                answer.to_lowercase().contains("\r\nretry-after: "),
                "{answer}"
            );
            Some(Said::ComeBack)
        }
        _ => panic!("{answer}"),
    }
}
