#![doc = include_str!("../README.md")]

mod backoff;
mod caller;
mod calls;
mod connection;
mod dial;
mod error;
mod follow;
mod login;
mod methods;
mod routes;
mod signer;
mod subscription;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use http::Uri;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_tungstenite::{connect_async_with_config, tungstenite::Message};
use tokio_util::task::AbortOnDropHandle;

pub use caller::Caller;
pub use circled_protocol as protocol;
pub use dial::Change;
pub use error::{Closed, Error};
pub use follow::{Follow, Following};
pub use login::Login;
pub use signer::{Signer, load_device_key, save_device_key};
pub use subscription::{Notice, Subscription};
pub use watch::{Watch, WatchNotice, Watching};

use circled_protocol::{
    Json, Method, Origin, PublicKey,
    code::LIMIT_EXCEEDED,
    methods::{CallScript, Play, Played, Subscribe},
};

use calls::Calls;
use connection::Sink;
use routes::{Command, Routes, ValueFeed};

/// The time that a server has to accept a connection, and for each step of a login.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most calls under way. Another call waits until one is answered.
const MAX_CALLS: usize = 1024;

/// A connection to a circle. Clones share it; it closes when the last one is dropped.
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

/// The options of a run besides its script.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The value that the script sees as `ARGS`.
    pub args: Value,
    /// The time limit in milliseconds; at most the server's own.
    pub timeout_ms: Option<u64>,
    /// A name of the request, one for each that is another: 1 to 64 of `A-Za-z0-9_.:-`. If a request with this name has
    /// changed anything, its reply comes again, and nothing runs. [`Caller`] makes one if there is none.
    pub request_id: Option<String>,
    /// Has the result tell the run's effects, for callers who may manage.
    pub effects: bool,
}

impl Options {
    /// Builds the request to run a script.
    fn play<'a>(&self, script: &'a str) -> Play<'a> {
        let options = self.clone();
        Play {
            script: script.into(),
            args: options.args,
            timeout_ms: options.timeout_ms,
            request_id: options.request_id.map(Into::into),
            effects: options.effects,
        }
    }

    /// Builds the request to run a named script.
    fn call<'a>(&self, name: &'a str, version: Option<&'a str>) -> CallScript<'a> {
        let options = self.clone();
        CallScript {
            name: name.into(),
            version: version.map(Into::into),
            args: options.args,
            timeout_ms: options.timeout_ms,
            request_id: options.request_id.map(Into::into),
            effects: options.effects,
        }
    }
}

impl Client {
    /// Connects to `ws://host:port/<circle_pk>`, or `wss://`.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::NoCircle`] or [`Error::Circle`] for an invalid address, [`Error::Connect`] if no
    /// circled server answers within 10 s.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let (origin, circle) = parse(address)?;
        let connect_error = |(reason, status)| Error::Connect {
            address: address.to_owned(),
            reason,
            status,
        };
        // An error means that a provider is installed already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Small messages must not wait for each other.
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

    /// Returns the circle.
    pub fn circle(&self) -> &PublicKey {
        &self.0.circle
    }

    /// Runs a script.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the script fails.
    pub async fn play(&self, script: &str) -> Result<Played, Error> {
        self.play_with(script, &Options::default()).await
    }

    /// Runs a script with arguments and a time limit.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the script fails.
    pub async fn play_with(&self, script: &str, options: &Options) -> Result<Played, Error> {
        self.request(&options.play(script)).await
    }

    /// Calls a method whose types are known, like [`Client::call`]. Parameters that are null are left out.
    ///
    /// # Errors
    /// The same as [`Client::call`].
    pub async fn request<M: Method>(&self, method: &M) -> Result<M::Result, Error> {
        self.call(M::NAME, params(method)?).await
    }

    /// Calls a method by its name, and waits for the reply without a time limit. 1024 calls may be under way at once;
    /// another one waits for its turn. Dropping a call ignores its reply.
    ///
    /// # Errors
    /// [`Error::Rpc`] with the server's error, [`Error::Closed`] once there is no connection, [`Error::Answer`] if the
    /// result is no `R`. For any value, use [`Json`] as `R`: serde_json's own `Value` treats
    /// some keys specially.
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<R, Error> {
        let inner = &self.0;
        // It is never closed; if it were, there would just be no limit.
        let _permit = inner.free.acquire().await;
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let params = serde_json::to_value(params)?;
        let call = inner.calls.begin(id)?;
        let request = Message::text(request(id, method, &params));
        inner.sink.send(request).await;
        call.reply().await?.read()
    }

    /// Subscribes to the circle's events: to topics that begin with `prefix`, after the event `since`, or from now on.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller may not, [`Error::Silent`] if the server takes more than 10 s.
    pub async fn subscribe(&self, prefix: &str, since: Option<u64>) -> Result<Subscription, Error> {
        let inner = &self.0;
        // It is never closed; if it were, there would just be no limit.
        let _permit = inner.free.acquire().await;
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let method = Subscribe::NAME;
        let subscribe = Subscribe {
            topic: prefix.to_owned(),
            since,
        };
        let params = params(&subscribe)?;
        let reply = inner.calls.begin_subscribe(id)?;
        // It is sent even if this call is dropped now, so that a reply comes, which ends the unwanted subscription.
        let request = Command::Send(request(id, method, &params));
        inner.calls.routes().command(request);
        let after = PATIENCE;
        let subscribed = timeout(PATIENCE, reply)
            .await
            .map_err(|_| Error::Silent { method, after })?
            .map_err(|_| inner.calls.gone())??;
        Ok(Subscription::new(subscribed, self.clone()))
    }

    /// Watches a script. Returns its value, and those that follow.
    async fn begin_watch(
        &self,
        query: &protocol::methods::Watch<'_>,
    ) -> Result<(Json, ValueFeed), Error> {
        let inner = &self.0;
        // It is never closed; if it were, there would just be no limit.
        let _permit = inner.free.acquire().await;
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let method = protocol::methods::Watch::NAME;
        let params = params(query)?;
        let reply = inner.calls.begin_watch(id)?;
        // It is sent even if this call is dropped now, so that a reply comes, which ends the unwanted watch.
        let request = Command::Send(request(id, method, &params));
        inner.calls.routes().command(request);
        let (value, mut feed) = reply.await.map_err(|_| inner.calls.gone())??;
        feed.keep_open(self.clone());
        Ok((value, feed))
    }

    /// Returns the end of the connection, once it is closed.
    pub fn closed(&self) -> Option<&Closed> {
        self.0.calls.closed()
    }

    /// Closes the connection, for all clones.
    pub async fn close(self) {
        self.0.sink.close().await;
    }

    /// Calls a method that servers answer at once, or ask to try again later.
    async fn request_soon<M: Method>(&self, method: &M) -> Result<M::Result, Error> {
        let after = PATIENCE;
        let until = Instant::now() + after;
        loop {
            let answer = timeout_at(until, self.request(method)).await;
            let answer = answer.unwrap_or(Err(Error::Silent {
                method: M::NAME,
                after,
            }));
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

/// Returns the parameters of a call. Unset ones are left out.
fn params(method: &impl Method) -> Result<Value, serde_json::Error> {
    let mut params = serde_json::to_value(method)?;
    if let Some(params) = params.as_object_mut() {
        params.retain(|_, value| !value.is_null());
    }
    Ok(params)
}

fn request(id: u64, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// Returns the server and the circle of an address, which the login text must name, too.
fn parse(address: &str) -> Result<(Origin, PublicKey), Error> {
    let no_address = || Error::Address(address.to_owned());
    let uri: Uri = address.parse().map_err(|_| no_address())?;
    let origin = Origin::of_socket(&uri).map_err(|_| no_address())?;
    match uri.path().trim_start_matches('/') {
        "" => Err(Error::NoCircle(address.to_owned())),
        circle => Ok((origin, circle.parse()?)),
    }
}
