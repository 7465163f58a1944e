//! One client. It must cost little: it runs on the cores that the servers run on.

use std::time::{Duration, Instant};

use circled::auth::{Scheme, SecretKey, sign};
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, Utf8Bytes, client::IntoClientRequest},
};

pub(super) struct Session(WebSocketStream<TcpStream>);

impl Session {
    pub(super) async fn open(url: &str) -> Self {
        let request = url.into_client_request().expect("a URL");
        let authority = request
            .uri()
            .authority()
            .expect("a host")
            .as_str()
            .to_owned();
        let stream = TcpStream::connect(&authority).await.expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self(client_async(request, stream).await.expect("an upgrade").0)
    }

    /// Logs in. The text is signed as it comes: peers have texts of their own.
    pub(super) async fn login(&mut self, key: &SecretKey) {
        let pubkey = key.public();
        let text = self.call("fetch_nonce", json!({ "pubkey": pubkey })).await;
        let signature =
            sign(Scheme::Eip191, key, text.as_str().expect("a text")).expect("a signature");
        let done = self
            .call(
                "authenticate",
                json!({ "pubkey": pubkey, "signature": signature }),
            )
            .await;
        assert_eq!(done, json!(true), "the login failed");
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params });
        self.0
            .send(Message::text(request.to_string()))
            .await
            .expect("to be sent");
        let reply = loop {
            // Pings are answered by the library.
            if let Message::Text(text) = self.0.next().await.expect("a reply").expect("a message") {
                break text;
            }
        };
        let reply: Value = serde_json::from_str(&reply).expect("JSON");
        reply
            .get("result")
            .cloned()
            .unwrap_or_else(|| panic!("{reply}"))
    }

    /// Keeps so many requests under way until `end`. Answers how long each took that was sent after
    /// `start`, and how many replies were errors.
    pub(super) async fn play(
        mut self,
        script: String,
        in_flight: usize,
        start: Instant,
        end: Instant,
        is_echo: bool,
    ) -> (Vec<Duration>, usize) {
        let requests: Vec<Utf8Bytes> = (0..in_flight)
            .map(|id| json!({ "jsonrpc": "2.0", "method": "play", "params": { "script": script }, "id": id }).to_string().into())
            .collect();
        let expected = if is_echo {
            "\"method\":"
        } else {
            "\"result\":"
        };
        let mut sent = vec![Instant::now(); in_flight];
        let mut taken = Vec::new();
        let mut errors = 0;
        let mut ready: Vec<usize> = (0..in_flight).collect();
        let mut under_way = 0;
        loop {
            let now = Instant::now();
            if now < end {
                for id in ready.drain(..) {
                    sent[id] = now;
                    under_way += 1;
                    self.0
                        .feed(Message::Text(requests[id].clone()))
                        .await
                        .expect("to be sent");
                }
                self.0.flush().await.expect("to be sent");
            }
            if under_way == 0 {
                return (taken, errors);
            }
            // One reply is waited for; those that came with it are taken along.
            let mut next = self.0.next().await;
            while let Some(message) = next {
                if let Message::Text(text) = message.expect("a message") {
                    let id = id(&text);
                    if sent[id] >= start {
                        taken.push(sent[id].elapsed());
                    }
                    errors += usize::from(!text.contains(expected));
                    under_way -= 1;
                    ready.push(id);
                }
                next = self.0.next().now_or_never().flatten();
            }
        }
    }
}

fn id(text: &str) -> usize {
    let (_, rest) = text.rsplit_once("\"id\":").expect("an id");
    let digits = rest
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or_default();
    digits.parse().expect("our id")
}
