//! The client's end of a session. It sends exactly what the test says, and checks received messages only against
//! `rpc.discover`.

use std::net::SocketAddr;

use circled_protocol::{Scheme, SecretKey, sign};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, handshake::client::Request},
};
use tokio_util::either::Either;

use super::{schema::Calls, within};

/// A call's result, or its error.
pub(crate) type Answer = Result<Value, Value>;

/// A session.
#[derive(Debug)]
pub(crate) struct Ws {
    socket: WebSocketStream<Stream>,
    last_id: u64,
    calls: Calls,
    /// Replies that came while another one was waited for.
    early: Vec<Value>,
}

/// The connection below a session. TLS is in a box: it is large.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A connection that a test has made.
pub(crate) trait Connection {
    fn into_stream(self) -> Stream;
}

impl Connection for TcpStream {
    fn into_stream(self) -> Stream {
        self.set_nodelay(true).unwrap();
        Either::Left(self)
    }
}

impl Connection for TlsStream<TcpStream> {
    fn into_stream(self) -> Stream {
        self.get_ref().0.set_nodelay(true).unwrap();
        Either::Right(Box::new(self))
    }
}

/// A received message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Text(String),
    Close(u16, String),
    /// The connection ended, with or without a close frame.
    Gone,
}

impl Ws {
    /// Connects to `address`, and asks for `url`.
    pub(crate) async fn connect(address: SocketAddr, url: &str) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await;
        let request = url.into_client_request().unwrap();
        Self::over(stream.unwrap(), request).await
    }

    /// Opens a session over a connection that the test has made.
    pub(crate) async fn over(stream: impl Connection, request: Request) -> Self {
        let (socket, _) = within("the upgrade", client_async(request, stream.into_stream()))
            .await
            .unwrap();
        Self {
            socket,
            last_id: 0,
            calls: Calls::default(),
            early: Vec::new(),
        }
    }

    /// Returns both directions, for a client that sends and reads at its own pace.
    pub(crate) fn split(
        self,
    ) -> (
        SplitSink<WebSocketStream<Stream>, Message>,
        SplitStream<WebSocketStream<Stream>>,
    ) {
        self.socket.split()
    }

    /// Returns the bare connection, for a client that doesn't behave.
    pub(crate) fn into_stream(self) -> TcpStream {
        match self.socket.into_inner() {
            Either::Left(stream) => stream,
            Either::Right(_) => panic!("the bytes are those of TLS"),
        }
    }

    pub(crate) async fn send(&mut self, message: Message) {
        if let Message::Text(text) = &message {
            self.calls.sent(text);
        }
        within("a message to be sent", self.socket.send(message))
            .await
            .unwrap();
    }

    pub(crate) async fn send_text(&mut self, text: impl Into<String>) {
        self.send(Message::text(text.into())).await;
    }

    /// Returns the next message of any kind; `None` at the end. It must fit the schemas of `rpc.discover`.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        let message = within("a message", self.socket.next()).await?.ok()?;
        if let Message::Text(text) = &message {
            self.calls.check(text);
        }
        Some(message)
    }

    /// Returns the next text or close frame.
    pub(crate) async fn next(&mut self) -> Received {
        loop {
            return match self.message().await {
                Some(Message::Text(text)) => Received::Text(text.as_str().to_owned()),
                Some(Message::Close(Some(frame))) => {
                    Received::Close(frame.code.into(), frame.reason.as_str().to_owned())
                }
                Some(Message::Ping(_) | Message::Pong(_)) => continue,
                Some(other) => panic!("the server sent {other:?}"),
                None => Received::Gone,
            };
        }
    }

    /// Returns the next message, which must be a text.
    pub(crate) async fn text(&mut self) -> String {
        match self.next().await {
            Received::Text(text) => text,
            other => panic!("expected a text, got {other:?}"),
        }
    }

    /// Returns the next message as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        let text = self.text().await;
        circled_json::parse(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
    }

    /// Reads the next message, which must be the close frame, and then the end. Returns the code.
    pub(crate) async fn closed(mut self) -> u16 {
        let code = match self.next().await {
            Received::Close(code, _) => code,
            other => panic!("expected a close frame, got {other:?}"),
        };
        assert_eq!(self.next().await, Received::Gone);
        code
    }

    /// Closes, and waits until the server has closed as well.
    pub(crate) async fn leave(mut self) {
        within("a close frame to be sent", self.socket.close(None))
            .await
            .unwrap();
        while self.message().await.is_some() {}
    }

    /// Sends a text; returns the next one.
    pub(crate) async fn ask(&mut self, text: impl Into<String>) -> Value {
        self.send_text(text).await;
        self.json().await
    }

    /// Sends a call, whose reply comes later.
    pub(crate) async fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let call =
            json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params });
        self.send_text(call.to_string()).await;
        self.last_id
    }

    /// Sends a script, whose reply comes later.
    pub(crate) async fn begin_play(&mut self, script: &str) -> u64 {
        self.begin("play", json!({ "script": script })).await
    }

    /// Returns the reply to a call.
    pub(crate) async fn answer(&mut self, id: u64) -> Answer {
        loop {
            let early = self.early.iter().position(|reply| reply["id"] == id);
            let reply = match early {
                Some(index) => self.early.remove(index),
                None => self.json().await,
            };
            if reply["id"] == id {
                return outcome(reply);
            }
            self.early.push(reply);
        }
    }

    /// Returns the parameters of the next notification of an event.
    pub(crate) async fn event(&mut self) -> Value {
        self.notification("event").await
    }

    /// Returns the parameters of the next notification of a watch.
    pub(crate) async fn value(&mut self) -> Value {
        self.notification("value").await
    }

    async fn notification(&mut self, method: &str) -> Value {
        loop {
            let told = |message: &Value| message["method"] == method;
            let mut message = match self.early.iter().position(told) {
                Some(index) => self.early.remove(index),
                None => self.json().await,
            };
            if told(&message) {
                assert_eq!(message["jsonrpc"], "2.0", "{message}");
                assert!(message.get("id").is_none(), "a notification: {message}");
                return message["params"].take();
            }
            self.early.push(message);
        }
    }

    /// Returns true if the reply to a call has come while another one was waited for.
    pub(crate) fn has_answer(&self, id: u64) -> bool {
        self.early.iter().any(|reply| reply["id"] == id)
    }

    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Answer {
        let id = self.begin(method, params).await;
        self.answer(id).await
    }

    pub(crate) async fn play(&mut self, script: &str) -> Answer {
        self.call("play", json!({ "script": script })).await
    }

    pub(crate) async fn whoami(&mut self) -> Value {
        self.call("whoami", json!({})).await.unwrap()
    }

    /// Waits until the server has read everything that was sent so far.
    pub(crate) async fn fence(&mut self) {
        self.whoami().await;
    }

    /// Checks that only the expected replies have come.
    pub(crate) async fn assert_silent(&mut self) {
        let reply = self
            .ask(r#"{"jsonrpc":"2.0","id":"fence","method":"whoami"}"#)
            .await;
        assert_eq!(reply["id"], "fence", "an answer to nothing: {reply}");
        assert!(self.early.is_empty(), "{:?}", self.early);
    }

    pub(crate) async fn fetch_nonce(&mut self, pubkey: impl ToString) -> String {
        let text = self
            .call("fetch_nonce", json!({ "pubkey": pubkey.to_string() }))
            .await;
        text.unwrap().as_str().unwrap().to_owned()
    }

    pub(crate) async fn login(&mut self, key: &SecretKey) {
        let text = self.fetch_nonce(key.public()).await;
        let signature = sign(Scheme::Eip191, key, &text).unwrap();
        let credentials = json!({ "pubkey": key.public(), "signature": signature });
        assert_eq!(
            self.call("authenticate", credentials).await,
            Ok(json!(true))
        );
    }
}

fn outcome(mut reply: Value) -> Answer {
    assert_eq!(reply["jsonrpc"], "2.0", "{reply}");
    match (reply.get("result"), reply.get("error")) {
        (Some(_), None) => Ok(reply["result"].take()),
        (None, Some(_)) => Err(reply["error"].take()),
        _ => panic!("neither a result nor an error: {reply}"),
    }
}
