//! The other end of a session: connects, logs in, calls.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use circled::{auth::{Scheme, SecretKey}, client::Client};
//!
//! let key = SecretKey::generate()?;
//! let circle = "02...";
//! let client = Client::connect(&format!("ws://127.0.0.1:8080/{circle}")).await?;
//! client.authenticate(&key, Scheme::Eip191).await?;
//! let played = client.play("40 + 2").await?;
//! assert_eq!(played.output, "42");
//! # Ok(())
//! # }
//! ```

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::Uri;
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::{
    net::TcpStream,
    sync::{Mutex as AsyncMutex, oneshot},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, protocol::CloseFrame},
};
use tokio_util::task::AbortOnDropHandle;

use crate::auth::{
    Challenge, ChallengeError, InvalidKey, InvalidOrigin, Origin, PublicKey, Scheme, SecretKey,
    sign,
};

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a circle. Clones share it; it closes when the last is dropped.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Origin,
    circle: PublicKey,
    sink: AsyncMutex<SplitSink<Socket, Message>>,
    next_id: AtomicU64,
    waiting: Arc<Waiting>,
    _reader: AbortOnDropHandle<()>,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Who waits for which reply; nobody can any more once the connection has closed.
#[derive(Debug, Default)]
struct Waiting {
    replies: Mutex<HashMap<u64, oneshot::Sender<Result<Value, RpcError>>>>,
    closed: OnceLock<Closed>,
}

/// What a script came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// Its value as Rhai prints it.
    pub output: String,
    /// The same as JSON.
    pub value: Value,
    /// What it printed, line by line.
    pub logs: Vec<String>,
    /// The run's name in the server's log.
    pub job_id: String,
}

/// What can be said about a run beside its script.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Options {
    /// What the script sees as `ARGS`.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub args: Value,
    /// How long it may take, in milliseconds; the server's own limit at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// An error that the server answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// Which kind, as [`crate::rpc::code`] lists them.
    pub code: i32,
    /// What it says.
    pub message: String,
    /// What more it says.
    #[serde(default)]
    pub data: Value,
}

/// How the server closed the connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the server closed the connection{}", describe(*.code, .reason))]
pub struct Closed {
    /// RFC 6455, section 7.4; none where it just went away.
    pub code: Option<u16>,
    /// What it says.
    pub reason: String,
}

/// Why something failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The address is no `ws://` or `wss://` one.
    #[error("the address is {0}")]
    Address(#[from] InvalidOrigin),
    /// The address's path names no circle.
    #[error("the address must end in the circle's key, ws://host:port/<circle_pk>: {0}")]
    Circle(#[from] InvalidKey),
    /// No connection came about.
    #[error("no connection to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The text to sign is not one to sign: the server may be passing another one's on.
    #[error("the login text was not signed: {0}")]
    Challenge(#[from] ChallengeError),
    /// The key can't sign, which doesn't happen.
    #[error("the key cannot sign")]
    Unsigned,
    /// The server answered an error.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The server answered something that makes no sense.
    #[error("the server's answer makes no sense: {0}")]
    Answer(#[from] serde_json::Error),
}

impl Client {
    /// Connects to `ws://host:port/<circle_pk>`, or `wss://`.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::Circle`] or [`Error::Connect`].
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let uri: Uri = address.parse().map_err(|_| InvalidOrigin)?;
        let origin = Origin::of_socket(&uri)?;
        let circle = uri.path().trim_start_matches('/').parse()?;
        let connect_error = |reason: String| Error::Connect {
            address: address.to_owned(),
            reason,
        };
        // An error says that there is a provider already, which is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (socket, _) = timeout(CONNECT_TIMEOUT, connect_async(address))
            .await
            .map_err(|_| connect_error(format!("no answer within {CONNECT_TIMEOUT:?}")))?
            .map_err(|error| connect_error(refusal(error)))?;
        let (sink, mut stream) = socket.split();
        let waiting = Arc::new(Waiting::default());
        let reader = {
            let waiting = waiting.clone();
            async move {
                let mut last = None;
                while let Some(Ok(message)) = stream.next().await {
                    match message {
                        Message::Text(text) => waiting.on_text(&text),
                        Message::Close(frame) => last = frame,
                        Message::Binary(_)
                        | Message::Ping(_)
                        | Message::Pong(_)
                        | Message::Frame(_) => {}
                    }
                }
                waiting.close(last);
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the handle ends it with the client"
        )]
        let reader = AbortOnDropHandle::new(tokio::spawn(reader));
        let inner = Inner {
            origin,
            circle,
            sink: AsyncMutex::new(sink),
            next_id: AtomicU64::new(1),
            waiting,
            _reader: reader,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Logs in: fetches the text to sign, makes sure that it is for this server, circle and key, and
    /// signs it.
    ///
    /// # Errors
    /// [`Error::Challenge`] where the text is for somebody else; it is not signed then.
    pub async fn authenticate(&self, key: &SecretKey, scheme: Scheme) -> Result<(), Error> {
        let pubkey = key.public();
        let text: String = self
            .call("fetch_nonce", json!({ "pubkey": pubkey }))
            .await?;
        Challenge::check(&text, &self.0.origin, &self.0.circle, &pubkey)?;
        let signature = sign(scheme, key, &text).ok_or(Error::Unsigned)?;
        let credentials = json!({ "pubkey": pubkey, "signature": signature, "scheme": scheme });
        self.call::<bool>("authenticate", credentials)
            .await
            .map(drop)
    }

    /// Runs a script.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the script fails.
    pub async fn play(&self, script: &str) -> Result<Played, Error> {
        self.play_with(script, &Options::default()).await
    }

    /// Runs a script with arguments and a time limit.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the script fails.
    pub async fn play_with(&self, script: &str, options: &Options) -> Result<Played, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            script: &'a str,
            #[serde(flatten)]
            options: &'a Options,
        }
        self.call("play", Params { script, options }).await
    }

    /// Calls a method. Any number of calls may be under way at once; dropping one forgets its reply.
    ///
    /// # Errors
    /// [`Error::Rpc`] with the server's answer, [`Error::Closed`] once there is no connection.
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<R, Error> {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let text = serde_json::to_string(
            &json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": serde_json::to_value(params)? }),
        )?;
        let reply = self.0.waiting.begin(id)?;
        let _forget = Forget {
            waiting: &self.0.waiting,
            id,
        };
        // Where it can't be sent, the reader learns why.
        let _ = self.0.sink.lock().await.send(Message::text(text)).await;
        match reply.await {
            Ok(result) => Ok(serde_json::from_value(result?)?),
            Err(_) => Err(self.0.waiting.why_closed().into()),
        }
    }

    /// Closes the connection.
    pub async fn close(self) {
        let _ = self.0.sink.lock().await.close().await;
    }
}

/// Takes a call that is given up off the list.
struct Forget<'a> {
    waiting: &'a Waiting,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.waiting
            .replies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

impl Waiting {
    fn begin(&self, id: u64) -> Result<oneshot::Receiver<Result<Value, RpcError>>, Closed> {
        let (sender, receiver) = oneshot::channel();
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: the reader empties the list after it has said why.
        if let Some(closed) = self.closed.get() {
            return Err(closed.clone());
        }
        replies.insert(id, sender);
        Ok(receiver)
    }

    fn on_text(&self, text: &str) {
        #[derive(Deserialize)]
        struct Reply {
            id: Option<u64>,
            #[serde(default)]
            result: Value,
            error: Option<RpcError>,
        }
        // Whatever else a server sends is for nobody.
        let Ok(Reply {
            id: Some(id),
            result,
            error,
        }) = serde_json::from_str(text)
        else {
            return;
        };
        let waiting = self
            .replies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(error.map_or(Ok(result), Err));
        }
    }

    fn close(&self, frame: Option<CloseFrame>) {
        let closed = frame.map_or(
            Closed {
                code: None,
                reason: String::new(),
            },
            |frame| Closed {
                code: Some(frame.code.into()),
                reason: frame.reason.as_str().to_owned(),
            },
        );
        let _ = self.closed.set(closed);
        self.replies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn why_closed(&self) -> Closed {
        self.closed.get().cloned().unwrap_or(Closed {
            code: None,
            reason: String::new(),
        })
    }
}

fn describe(code: Option<u16>, reason: &str) -> String {
    match (code, reason) {
        (None, _) => String::new(),
        (Some(code), "") => format!(" ({code})"),
        (Some(code), reason) => format!(" ({code}: {reason})"),
    }
}

/// Why an upgrade failed; a server of ours says more in the body.
fn refusal(error: tungstenite::Error) -> String {
    let tungstenite::Error::Http(response) = error else {
        return error.to_string();
    };
    let body: Value = response
        .body()
        .as_deref()
        .and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default();
    match body["error"]["message"].as_str() {
        Some(message) => format!("{} ({})", message, response.status()),
        None => format!("the server answers {}", response.status()),
    }
}
