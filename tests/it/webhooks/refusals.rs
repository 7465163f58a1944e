//! The operator's view of refused requests.

use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::harness::{
    server::{TestServer, circle, key, send},
    webhooks::{SECRET, Webhook, event, taking_stripes},
};

/// A text in every payload, and in no line of the log.
const CANARY: &str = "canary_of_a_payload";

/// Returns the lines of a stopped server's log with this message.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let parsed = log.lines().map(circled_json::parse);
    parsed
        .filter_map(Result::ok)
        .filter(|line| {
            let text = line["message"].as_str().unwrap_or_default();
            text.starts_with(message)
        })
        .collect()
}

#[tokio::test]
async fn every_refusal_is_logged_once_with_its_reason() {
    let mut server = TestServer::builder()
        .env("STRIPE_WEBHOOK_SECRET", SECRET)
        .env("CIRCLED_WEBHOOKS__MAX_BODY", "1KiB")
        .env("CIRCLED_WEBHOOKS__RECEIVE_TIMEOUT", "200ms")
        .env("CIRCLED_DISPATCH__EMBEDDED__MIN_FREE", "1000000GiB")
        .toml(format!(
            "[circles]\nopen = false\n[[circle]]\nkey = \"{}\"\n",
            circle()
        ))
        .start()
        .await;
    let here = circle().to_string();
    let body = event(CANARY);
    let right = || Webhook::stripe(&body);
    let named = |provider: &str| {
        let mut webhook = right();
        webhook.provider = provider.to_owned();
        webhook
    };
    let mut wrong_key = right();
    wrong_key.circle = "nonsense".to_owned();
    let long = format!("acme%0A%1B[2J{}", "x".repeat(200));
    for (webhook, status) in [
        (Webhook::stripe(format!("{{\"{CANARY}\":1}}")), 400),
        (right().with("stripe-signature", None), 401),
        (named("acme"), 404),
        (named("idenfy"), 404),
        (named(&long), 404),
        (wrong_key, 404),
        (right().to(key(9).public()), 404),
        (Webhook::stripe(CANARY.repeat(100)), 413),
        (right().with("content-type", Some("text/plain")), 415),
        // Its disk has too little space.
        (right(), 503),
    ] {
        assert_eq!(webhook.send(&server).await.status, status);
    }
    for (request, status) in [
        (
            format!("POST /webhooks/stripe/{here} HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
            400,
        ),
        (
            format!("PUT /webhooks/stripe/{here} HTTP/1.1\r\nHost: x\r\n\r\n"),
            405,
        ),
        (
            "POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(),
            404,
        ),
        (
            "POST /webhooks/stripe/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(),
            404,
        ),
        (
            "POST /webhooks/stripe/key/more HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
            404,
        ),
    ] {
        assert_eq!(send(server.address, &request).await.status, status);
    }
    let signature = right().headers["stripe-signature"]
        .to_str()
        .unwrap()
        .to_owned();
    let half = format!(
        "POST /webhooks/stripe/{here} HTTP/1.1\r\nHost: x\r\nStripe-Signature: {signature}\r\nContent-Length: 500\r\n\r\n{CANARY}"
    );
    assert_eq!(send(server.address, &half).await.status, 408);
    let mut cut = TcpStream::connect(server.address).await.unwrap();
    cut.write_all(half.as_bytes()).await.unwrap();
    cut.shutdown().await.unwrap();
    server
        .logged("that it was cut off", |line| {
            line["reason"] == "the body ended early"
        })
        .await;
    server.sigterm();
    let log = server.whole_log().await;
    assert!(!log.contains(CANARY), "{log}");
    let refused = lines(&log, "webhook refused");
    let shown = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        let bytes = line["bytes"]
            .as_u64()
            .map_or("-".to_owned(), |bytes| bytes.to_string());
        format!(
            "{} {} {bytes} {}",
            line["status"],
            text("provider"),
            text("reason")
        )
    };
    let escaped = format!("acme\\n\\u{{1b}}[2J{}...", "x".repeat(55));
    let hostless = format!("{}...", &format!("/webhooks/stripe/{here}")[..64]);
    let length = body.len();
    let expected = [
        "400 stripe 25 the body has no /id (`required`)".to_owned(),
        format!("401 stripe {length} the signature header is missing"),
        format!("404 acme {length} the settings have no [webhooks.<provider>] of this name"),
        format!("404 idenfy {length} the provider is off: no secret is set (env:IDENFY_WEBHOOK_SECRET)"),
        format!("404 {escaped} {length} the settings have no [webhooks.<provider>] of this name"),
        format!("404 stripe {length} the path does not end in a secp256k1 public key: 66 or 130 hex digits of a point on the curve"),
        format!("404 stripe {length} this server does not serve that circle"),
        "413 stripe 0 the body is longer than webhooks.max_body".to_owned(),
        format!("415 stripe {length} the Content-Type is not one that the provider sends"),
        format!("503 stripe {length} the delivery cannot be kept now; try again later"),
        format!("400 {hostless} - a request needs exactly one Host header, with the name and port that were dialled"),
        "405 stripe - send a POST".to_owned(),
        "404 /webhooks/stripe 0 webhooks are at /webhooks/<provider>/<circle_pk>".to_owned(),
        "404 /webhooks/stripe/ 0 webhooks are at /webhooks/<provider>/<circle_pk>".to_owned(),
        "404 /webhooks/stripe/key/more 0 webhooks are at /webhooks/<provider>/<circle_pk>".to_owned(),
        "408 stripe 19 the body took longer than webhooks.receive_timeout, or came slower than webhooks.min_rate".to_owned(),
        "400 stripe 19 the body ended early".to_owned(),
    ];
    let found: Vec<String> = refused.iter().map(shown).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_flood_of_refusals_is_a_few_lines_and_their_number() {
    let mut server = taking_stripes()
        .env("CIRCLED_WEBHOOKS__REFUSALS_LOGGED", "2")
        .start()
        .await;
    let webhook = Webhook::stripe(event("evt_1")).with("stripe-signature", None);
    let start = std::time::Instant::now();
    let all = 300;
    for _ in 0..all {
        assert_eq!(webhook.send(&server).await.status, 401);
    }
    let seconds = start.elapsed().as_secs() + 2;
    // Another reason still gets its line.
    let other = Webhook::stripe("{}").send(&server).await;
    assert_eq!(other.status, 400);
    server
        .logged("the other", |line| line["status"] == 400)
        .await;
    // The rest is logged even if nothing comes after it.
    let rest = |line: &Value| line["code"] == "unsigned" && line["refused"].is_u64();
    server.logged("the rest", rest).await;
    server.sigterm();
    let log = server.whole_log().await;
    let one_by_one = lines(&log, "webhook refused")
        .iter()
        .filter(|line| line["status"] == 401)
        .count() as u64;
    assert!(one_by_one <= 2 * seconds, "{one_by_one} in {seconds} s");
    let together: u64 = lines(&log, "webhooks refused, more")
        .iter()
        .map(|line| line["refused"].as_u64().unwrap())
        .sum();
    assert_eq!(one_by_one + together, all);
}
