//! A live query that outlives its connections.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use circled_json::Json;
use circled_protocol::{
    Origin, Role, RpcError, Scheme, Word, code,
    methods::{self, ValueNotice},
};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use serde_json::Value;

use crate::{Change, Error, Login, Signer, dial::Dial, routes::ValueFeed};

/// Watches what a script returns, across lost connections: connects, logs in and watches. When the connection is lost or
/// can't be made, it tries again, with waits from 250 ms to 30 s.
///
/// ```no_run
/// # async fn example(key: circled_client::protocol::SecretKey) -> Result<(), circled_client::Error> {
/// use circled_client::{Watch, WatchNotice};
/// use futures_util::StreamExt;
///
/// let mut values = Watch::named("ws://127.0.0.1:8080/02...", key, "top_ten").start();
/// while let Some(notice) = values.next().await {
///     match notice? {
///         WatchNotice::Value(value) => println!("{value}"),
///         WatchNotice::Failed(error) => println!("the script fails: {error}"),
///         WatchNotice::Ended { .. } => println!("not a member any more"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    dial: Dial,
    query: methods::Watch<'static>,
}

/// A notice of a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchNotice {
    /// A value. It differs from the one before; of values that follow each other quickly, only the newest may come.
    Value(Json),
    /// The script fails now. It is watched on.
    Failed(RpcError),
    /// There will be no more values: the caller may no longer run the script.
    Ended {
        /// The role that is needed, if the server has named it.
        needs: Option<Word<Role>>,
    },
}

/// The stream of [`Watch`]. An error is the last item; another attempt wouldn't help.
pub struct Watching(BoxStream<'static, Result<WatchNotice, Error>>);

impl Watch {
    /// Creates a watch of a script's source in the circle at `address`, by a caller's key or a device's.
    pub fn script(
        address: impl Into<String>,
        key: impl Into<Signer>,
        source: impl Into<String>,
    ) -> Self {
        let script = Some(source.into().into());
        Self {
            dial: Dial::new(address.into(), key.into()),
            query: methods::Watch {
                script,
                ..methods::Watch::default()
            },
        }
    }

    /// Creates a watch of a named script of the circle.
    pub fn named(
        address: impl Into<String>,
        key: impl Into<Signer>,
        name: impl Into<String>,
    ) -> Self {
        let name = Some(name.into().into());
        Self {
            dial: Dial::new(address.into(), key.into()),
            query: methods::Watch {
                name,
                ..methods::Watch::default()
            },
        }
    }

    /// Sets the value that the script sees as `ARGS`.
    #[must_use]
    pub fn args(mut self, args: Value) -> Self {
        self.query.args = args;
        self
    }

    /// Sets the version of a named script. Without it, it is the newest one at each run.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.query.version = Some(version.into().into());
        self
    }

    /// Sets the signature scheme of the logins.
    #[must_use]
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.dial.login.scheme = scheme;
        self
    }

    /// Sets the origin in the login text, if the server is dialled by another name than its own.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.dial.login.origin = Some(origin);
        self
    }

    /// Sets all that there is to say about the logins.
    #[must_use]
    pub fn login(mut self, login: Login) -> Self {
        self.dial.login = login;
        self
    }

    /// Sets a function that is called when the connection is made or lost.
    #[must_use]
    pub fn on_change(mut self, tell: impl FnMut(Change<'_>) + Send + 'static) -> Self {
        self.dial.on_change = Box::new(tell);
        self
    }

    /// Returns the stream, which begins once it is polled.
    pub fn start(self) -> Watching {
        let Self { dial, query } = self;
        let state = State {
            dial,
            query,
            feed: None,
            last: None,
            over: false,
        };
        Watching(stream::unfold(state, State::next).fuse().boxed())
    }
}

impl Stream for Watching {
    type Item = Result<WatchNotice, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watching")
    }
}

struct State {
    dial: Dial,
    query: methods::Watch<'static>,
    feed: Option<ValueFeed>,
    /// The last notice.
    last: Option<WatchNotice>,
    over: bool,
}

impl State {
    async fn next(mut self) -> Option<(Result<WatchNotice, Error>, Self)> {
        while !self.over {
            match self.try_next().await {
                Ok(notice) => {
                    self.dial.succeeded();
                    self.over = matches!(notice, WatchNotice::Ended { .. });
                    // What is read again after a break may be what it was before.
                    if self.last.as_ref() != Some(&notice) {
                        self.last = Some(notice.clone());
                        return Some((Ok(notice), self));
                    }
                }
                Err(error) if self.goes_on_after(&error) => {
                    self.feed = None;
                    if let Error::Rpc(error) = &error
                        && is_of_script(error)
                        && self.last.as_ref() != Some(&WatchNotice::Failed(error.clone()))
                    {
                        let notice = WatchNotice::Failed(error.clone());
                        self.last = Some(notice.clone());
                        return Some((Ok(notice), self));
                    }
                    self.dial.pause(&error).await;
                }
                Err(error) => {
                    self.over = true;
                    return Some((Err(error), self));
                }
            }
        }
        None
    }

    /// Returns whether it tries again after an error: also if a script fails that did not before.
    fn goes_on_after(&self, error: &Error) -> bool {
        let fails = matches!(error, Error::Rpc(error) if is_of_script(error));
        error.may_pass() || fails && self.last.is_some()
    }

    async fn try_next(&mut self) -> Result<WatchNotice, Error> {
        while let Some(feed) = &mut self.feed {
            return match feed.next().await? {
                ValueNotice::Value { value, .. } => Ok(WatchNotice::Value(value)),
                ValueNotice::Failed { error, .. } => Ok(WatchNotice::Failed(error)),
                ValueNotice::Ended { needs, .. } => Ok(WatchNotice::Ended { needs }),
                ValueNotice::Other => continue,
            };
        }
        let client = self.dial.connect().await?;
        // It always asks for the value: that of a commit which Redis has lost may have had the same number.
        let (value, feed) = client.begin_watch(&self.query).await?;
        self.feed = Some(feed);
        self.dial.connected();
        Ok(WatchNotice::Value(value))
    }
}

/// Returns whether an error is that of the script: it may pass once the circle has another one, or other data.
fn is_of_script(error: &RpcError) -> bool {
    matches!(error.code, code::EXECUTION_ERROR | code::NOT_FOUND)
}
