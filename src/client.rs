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

mod answers;
mod backoff;
mod calls;
mod connection;
mod error;
mod follow;
mod methods;
mod routes;
mod subscription;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::Uri;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_tungstenite::{connect_async_with_config, tungstenite::Message};
use tokio_util::task::AbortOnDropHandle;

pub use answers::{
    Called, Delivery, DeliveryPage, Job, JobError, JobPage, JobStatus, Member, Members, Removed,
    Retried, Script, ScriptEntry, ScriptVersion, Submitted,
};
pub use error::{Closed, Error, RpcError};
pub use follow::{Change, Follow, Following};
pub use methods::{Paging, Submission, Work};
pub use subscription::{Event, Notice, Subscription};

use crate::{
    auth::{Challenge, Origin, PublicKey, Scheme, SecretKey, sign},
    rpc::code::LIMIT_EXCEEDED,
};
use calls::Calls;
use connection::Sink;
use routes::{Command, Routes};

/// How long a server may take to accept a connection, and over each step of a login.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls under way at once. One more waits until one is answered.
const MAX_CALLS: usize = 1024;

/// A connection to a circle. Clones share it; it closes when the last is dropped.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Origin,
    circle: PublicKey,
    sink: Arc<Sink>,
    next_id: AtomicU64,
    calls: Arc<Calls>,
    free: Semaphore,
    _reader: AbortOnDropHandle<()>,
}

/// What a script came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// Its value as Rhai prints it.
    pub output: String,
    /// The same as JSON.
    #[serde(deserialize_with = "circled_json::value")]
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

impl Client {
    /// Connects to `ws://host:port/<circle_pk>`, or `wss://`.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::NoCircle`] or [`Error::Circle`] for an address that can't be one,
    /// [`Error::Connect`] where nobody answers within 10 s, or something else does.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let (origin, circle) = parse(address)?;
        let connect_error = |(reason, status)| Error::Connect {
            address: address.to_owned(),
            reason,
            status,
        };
        // An error says that there is a provider already, which is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Small messages are not to wait for each other.
        let no_delay = true;
        let (socket, _) = timeout(PATIENCE, connect_async_with_config(address, None, no_delay))
            .await
            .map_err(|_| connect_error((format!("no answer within {PATIENCE:?}"), None)))?
            .map_err(|error| connect_error(error::refusal(error)))?;
        let (sink, stream) = socket.split();
        let sink = Arc::new(Sink::new(sink));
        let (sender, commands) = mpsc::unbounded_channel();
        let calls = Arc::new(Calls::new(Routes::new(sender)));
        let connection = connection::run(stream, sink.clone(), calls.clone(), commands);
        #[expect(
            clippy::disallowed_methods,
            reason = "the handle ends it with the client"
        )]
        let reader = AbortOnDropHandle::new(tokio::spawn(connection));
        let inner = Inner {
            origin,
            circle,
            sink,
            next_id: AtomicU64::new(1),
            calls,
            free: Semaphore::new(MAX_CALLS),
            _reader: reader,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Logs in: fetches the text to sign, makes sure that it is for this server, circle and key, and
    /// signs it.
    ///
    /// # Errors
    /// [`Error::Challenge`] where the text is for somebody else; nothing is signed or sent then.
    /// [`Error::Silent`] where the server takes more than 10 s over a step.
    pub async fn authenticate(&self, key: &SecretKey, scheme: Scheme) -> Result<(), Error> {
        self.authenticate_at(&self.0.origin, key, scheme).await
    }

    /// Logs in to a server that is dialled by another name than its own: one behind a tunnel, say. The text must name
    /// this origin, and not the one that was dialled.
    ///
    /// # Errors
    /// As of [`Client::authenticate`].
    pub async fn authenticate_at(
        &self,
        origin: &Origin,
        key: &SecretKey,
        scheme: Scheme,
    ) -> Result<(), Error> {
        let pubkey = key.public();
        let text: String = self
            .call_soon("fetch_nonce", json!({ "pubkey": pubkey }))
            .await?;
        Challenge::check(&text, origin, &self.0.circle, &pubkey)?;
        let signature = sign(scheme, key, &text).ok_or(Error::Unsigned(pubkey))?;
        let credentials = json!({ "pubkey": pubkey, "signature": signature, "scheme": scheme });
        self.call_soon::<bool>("authenticate", credentials)
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

    /// Calls a method, and waits as long as it takes. 1024 calls may be under way at once, one more
    /// waits for its turn. Dropping a call forgets its reply.
    ///
    /// # Errors
    /// [`Error::Rpc`] with the server's answer, [`Error::Closed`] once there is no connection,
    /// [`Error::Answer`] where the reply is no `R`. An `R` for any value is [`Json`](json::Json): serde_json's own `Value`
    /// reads some keys as signs of its own.
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<R, Error> {
        let inner = &self.0;
        // It is never closed, and if it were, there would just be no limit.
        let _permit = inner.free.acquire().await;
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let params = serde_json::to_value(params)?;
        let call = inner.calls.begin(id)?;
        let request = Message::text(request(id, method, &params));
        inner.sink.send(request).await;
        call.reply().await?.read()
    }

    /// Subscribes to the circle's events: to the topics that begin with `prefix`, and after the event `since`, or from now on.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller may not, [`Error::Silent`] where the server takes more than 10 s.
    pub async fn subscribe(&self, prefix: &str, since: Option<u64>) -> Result<Subscription, Error> {
        let inner = &self.0;
        // It is never closed, and if it were, there would just be no limit.
        let _permit = inner.free.acquire().await;
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let mut params = json!({ "topic": prefix });
        if let Some(since) = since {
            params["since"] = since.into();
        }
        let method = "subscribe";
        let reply = inner.calls.begin_subscribe(id)?;
        // Sent for sure, even if this call is given up now: so that there is a reply, which ends what nobody wants.
        let request = Command::Send(request(id, method, &params));
        inner.calls.routes().command(request);
        let after = PATIENCE;
        let subscribed = timeout(PATIENCE, reply)
            .await
            .map_err(|_| Error::Silent { method, after })?
            .map_err(|_| inner.calls.gone())??;
        Ok(Subscription::new(subscribed, self.clone()))
    }

    /// How the connection was closed, if it was.
    pub fn closed(&self) -> Option<&Closed> {
        self.0.calls.closed()
    }

    /// Closes the connection, for all clones.
    pub async fn close(self) {
        self.0.sink.close().await;
    }

    /// For calls that every server answers at once, or asks to come again with.
    async fn call_soon<R: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<R, Error> {
        let after = PATIENCE;
        let until = Instant::now() + after;
        loop {
            let answer = timeout_at(until, self.call(method, params.clone())).await;
            let answer = answer.unwrap_or(Err(Error::Silent { method, after }));
            let Err(error) = &answer else {
                return answer;
            };
            let is_crowded = matches!(error, Error::Rpc(error) if error.code == LIMIT_EXCEEDED);
            match error.retry_after().map(|pause| Instant::now() + pause) {
                Some(again) if is_crowded && again < until => sleep_until(again).await,
                _ => return answer,
            }
        }
    }
}

fn request(id: u64, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// What an address leads to: what the login text has to name.
fn parse(address: &str) -> Result<(Origin, PublicKey), Error> {
    let no_address = || Error::Address(address.to_owned());
    let uri: Uri = address.parse().map_err(|_| no_address())?;
    let origin = Origin::of_socket(&uri).map_err(|_| no_address())?;
    match uri.path().trim_start_matches('/') {
        "" => Err(Error::NoCircle(address.to_owned())),
        circle => Ok((origin, circle.parse()?)),
    }
}
