//! A client. It must cost little: it runs on the same cores as the servers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use circled_protocol::{Scheme, SecretKey, sign};
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, Utf8Bytes, client::IntoClientRequest, protocol::WebSocketConfig},
};

/// The size of the buffer for the replies to a burst. Its free part is zeroed before every read; the library's own 128
/// KiB would cost more than an echo.
const READ_BUFFER: usize = 16 << 10;

/// A connected client.
pub(super) struct Session(WebSocketStream<TcpStream>);

/// The number and the time of requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// The requests under way at once.
    pub(super) in_flight: usize,
    /// The start: requests that were sent before don't count.
    pub(super) start: Instant,
    /// The end: nothing more is sent from then on.
    pub(super) end: Instant,
}

/// The results of a client's requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// All replies, those before the start included.
    pub(super) answered: usize,
    /// The time of each reply.
    pub(super) taken: Vec<Duration>,
    /// Replies that were errors, or to no request.
    pub(super) errors: usize,
}

impl Session {
    pub(super) async fn open(url: &str) -> Self {
        let request = url.into_client_request().expect("a URL");
        let authority = request.uri().authority().expect("a host").as_str();
        let stream = TcpStream::connect(authority).await.expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let upgrade = client_async_with_config(request, stream, Some(config));
        Self(upgrade.await.expect("an upgrade").0)
    }

    /// Logs in. The text is signed as it comes: peers have other texts.
    pub(super) async fn login(&mut self, key: &SecretKey) {
        let pubkey = key.public();
        let text = self.call("fetch_nonce", json!({ "pubkey": pubkey })).await;
        let signature =
            sign(Scheme::Eip191, key, text.as_str().expect("a text")).expect("a signature");
        let credentials = json!({ "pubkey": pubkey, "signature": signature });
        let done = self.call("authenticate", credentials).await;
        assert_eq!(done, json!(true), "the login failed");
    }

    /// Closes the session properly: the server has seen it when this returns.
    pub(super) async fn close(mut self) {
        self.0.close(None).await.expect("to be sent");
        while let Some(Ok(message)) = self.0.next().await {
            if message.is_close() {
                return;
            }
        }
    }

    /// Writes one message, which leaves with [`Session::flush`].
    pub(super) async fn feed(&mut self, text: Utf8Bytes) {
        self.0.feed(Message::Text(text)).await.expect("to be sent");
    }

    pub(super) async fn flush(&mut self) {
        self.0.flush().await.expect("to be sent");
    }

    /// Returns the next message. Dropping the future loses nothing.
    pub(super) async fn text(&mut self) -> Utf8Bytes {
        loop {
            // The library answers pings.
            if let Message::Text(text) = self.0.next().await.expect("more").expect("a message") {
                return text;
            }
        }
    }

    /// Returns the bare socket, if everything sent has been read.
    pub(super) fn into_stream(self) -> std::net::TcpStream {
        self.0.into_inner().into_std().expect("a socket")
    }

    pub(super) async fn call(&mut self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params });
        let request = Message::text(request.to_string());
        self.0.send(request).await.expect("to be sent");
        let reply = self.text().await;
        let mut reply: Value = circled_json::parse(&reply).expect("JSON");
        match reply.get_mut("result") {
            Some(result) => result.take(),
            None => panic!("{reply}"),
        }
    }

    /// Keeps requests under way until the end of the plan, and waits for the last reply. For replies that are read
    /// together, new requests are sent in one write.
    pub(super) async fn play(mut self, requests: Requests, plan: Plan) -> Tally {
        let mut sent: Vec<Option<Instant>> = vec![None; plan.in_flight];
        let mut tally = Tally::default();
        let mut ready: Vec<usize> = (0..plan.in_flight).collect();
        let mut under_way = 0;
        loop {
            let now = Instant::now();
            if now < plan.end {
                for id in ready.drain(..) {
                    sent[id] = Some(now);
                    under_way += 1;
                    let request = Message::Text((requests.make)(id));
                    self.0.feed(request).await.expect("to be sent");
                }
                self.0.flush().await.expect("to be sent");
            }
            if under_way == 0 {
                return tally;
            }
            // Wait for one reply, and take those that came with it.
            let mut next = self.0.next().await;
            let now = Instant::now();
            while let Some(message) = next {
                if let Message::Text(text) = message.expect("a message") {
                    match id(&text).and_then(|id| Some((id, sent.get_mut(id)?.take()?))) {
                        Some((id, since)) => {
                            under_way -= 1;
                            tally.answered += 1;
                            ready.push(id);
                            if !text.contains(requests.expected) {
                                tally.errors += 1;
                            } else if since >= plan.start {
                                tally.taken.push(now - since);
                            }
                        }
                        None => tally.errors += 1,
                    }
                }
                next = self.0.next().now_or_never().flatten();
            }
        }
    }
}

/// The requests that a client sends.
#[derive(Clone)]
pub(super) struct Requests {
    /// Returns a request with this id.
    make: Arc<dyn Fn(usize) -> Utf8Bytes + Send + Sync>,
    /// A text that a reply must contain.
    expected: &'static str,
}

impl Requests {
    /// Plays a script over and over.
    pub(super) fn new(script: &str, in_flight: usize, expected: &'static str) -> Self {
        let params = json!({ "script": script });
        let text = |id| {
            format!(r#"{{"jsonrpc":"2.0","method":"play","params":{params},"id":{id}}}"#).into()
        };
        let texts: Vec<Utf8Bytes> = (0..in_flight).map(text).collect();
        Self {
            make: Arc::new(move |id| texts[id].clone()),
            expected,
        }
    }

    /// Makes each request anew.
    pub(super) fn made(request: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        Self {
            make: Arc::new(move |id| request(id).into()),
            expected: "\"result\":",
        }
    }
}

/// Returns the id of a reply: the last one in it isn't the script's.
fn id(text: &str) -> Option<usize> {
    let (_, rest) = text.rsplit_once("\"id\":")?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}
