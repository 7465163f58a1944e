//! Stripe's webhooks, as many as possible. The client must cost little, so it writes HTTP itself.

use std::time::Instant;

use axum::http::Uri;
use circled::{
    auth::Secret,
    webhooks::{Preset, Signing},
};
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use uuid::Uuid;

use crate::{Options, measure, session::Tally, table::Round};

/// The secret that they are signed with.
pub(super) const SECRET: &str = "whsec_bench";

/// Measures webhooks per second over so many connections, each with a new event.
pub(super) async fn deliveries(url: &str, options: &Options, connections: usize) -> Round {
    let (start, end) = measure::window(options);
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let mut connection = Connection::open(url).await;
        tasks.spawn(async move {
            let mut tally = Tally::default();
            loop {
                let request = connection.request();
                let before = Instant::now();
                if before >= end {
                    return tally;
                }
                let taken = connection.exchange(&request).await;
                tally.answered += 1;
                if !taken {
                    tally.errors += 1;
                } else if before >= start {
                    tally.taken.push(before.elapsed());
                }
            }
        });
    }
    measure::round(tasks, start, end).await
}

struct Connection {
    stream: TcpStream,
    path: String,
    host: String,
    received: Vec<u8>,
}

impl Connection {
    async fn open(url: &str) -> Self {
        let uri: Uri = url.parse().expect("a URL");
        let host = uri.authority().expect("a host").to_string();
        let stream = TcpStream::connect(&host).await.expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self {
            stream,
            path: uri.path().to_owned(),
            host,
            received: Vec::new(),
        }
    }

    /// Returns a new, signed event.
    fn request(&self) -> Vec<u8> {
        let id = format!("evt_{}", Uuid::now_v7().simple());
        let body = format!(
            r#"{{"id":"{id}","object":"event","type":"payment_intent.succeeded","created":1700000000,"livemode":false,"data":{{"object":{{"id":"pi_1","object":"payment_intent","amount":2000,"currency":"usd"}}}}}}"#
        );
        let signing = Signing {
            secret: &Secret::new(SECRET),
            at: Timestamp::now(),
            id: &id,
            body: body.as_bytes(),
        };
        let scheme = SCHEME.with(Clone::clone);
        let headers = scheme.sign(&signing).expect("a signature");
        let signature = headers["stripe-signature"].to_str().expect("a text");
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nStripe-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
            self.path, self.host, body.len()
        )
        .into_bytes()
    }

    /// Sends a request. Returns true if the delivery was accepted.
    async fn exchange(&mut self, request: &[u8]) -> bool {
        self.stream.write_all(request).await.expect("to be sent");
        self.received.clear();
        loop {
            let read = self.stream.read_buf(&mut self.received).await;
            assert!(
                read.expect("an answer") > 0,
                "the server closed the connection"
            );
            if is_whole(&self.received) {
                return self.received.starts_with(b"HTTP/1.1 200 ");
            }
        }
    }
}

thread_local! {
    static SCHEME: circled::webhooks::Scheme = Preset::Stripe.scheme().expect("a preset");
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().expect("a number"));
    answer.len() >= head + 4 + length
}
