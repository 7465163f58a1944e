//! A subscription that outlives its connections.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use circled_protocol::{Origin, Scheme, SecretKey, methods::Event};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, sleep};

use crate::{Client, Error, Notice, Subscription, backoff::Backoff};

/// The time after which a connection counts as stable: after its loss, the first waits are short again.
const STEADY: Duration = Duration::from_secs(30);

/// Follows a circle's events across lost connections: connects, logs in and subscribes. When the connection is lost or
/// can't be made, it tries again, with waits from 250 ms to 30 s, and resumes after the last event.
///
/// ```no_run
/// # async fn example(key: circled_client::protocol::SecretKey) -> Result<(), circled_client::Error> {
/// use circled_client::{Follow, Notice};
/// use futures_util::StreamExt;
///
/// let mut events = Follow::new("ws://127.0.0.1:8080/02...", key).topic("chat.").start();
/// while let Some(notice) = events.next().await {
///     match notice? {
///         Notice::Event(event) => println!("{} {} {}", event.id, event.topic, event.data),
///         Notice::Gap { since } => println!("events up to {since} are missing"),
///         Notice::Unreadable { id, why } => println!("the event {id:?} can't be read: {why}"),
///         Notice::Ended { .. } => println!("not a member any more"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Follow {
    address: String,
    key: SecretKey,
    scheme: Scheme,
    origin: Option<Origin>,
    topic: String,
    since: Option<u64>,
    on_change: Box<dyn FnMut(Change<'_>) + Send>,
}

/// A change of the connection.
#[derive(Debug)]
pub enum Change<'a> {
    /// The connection and the subscription exist.
    Connected,
    /// There is no connection.
    Lost {
        /// The error of the connection or of the attempt.
        why: &'a Error,
        /// The time until the next attempt.
        retry_in: Duration,
    },
}

/// The stream of [`Follow`]: every event once, in order. An error is the last item; another attempt wouldn't help.
pub struct Following(BoxStream<'static, Result<Notice, Error>>);

impl Follow {
    /// Creates a follower of all events of the circle at `address`, from now on, as the holder of this key.
    pub fn new(address: impl Into<String>, key: SecretKey) -> Self {
        Self {
            address: address.into(),
            key,
            scheme: Scheme::Eip191,
            origin: None,
            topic: String::new(),
            since: None,
            on_change: Box::new(|_| {}),
        }
    }

    /// Sets the signature scheme of the logins.
    #[must_use]
    pub fn scheme(self, scheme: Scheme) -> Self {
        Self { scheme, ..self }
    }

    /// Sets the origin in the login text, if the server is dialled by another name than its own.
    #[must_use]
    pub fn origin(self, origin: Origin) -> Self {
        let origin = Some(origin);
        Self { origin, ..self }
    }

    /// Selects only events whose topic begins with `prefix`.
    #[must_use]
    pub fn topic(self, prefix: impl Into<String>) -> Self {
        let topic = prefix.into();
        Self { topic, ..self }
    }

    /// Begins after the event with this id; 0: with the oldest event of the server.
    #[must_use]
    pub fn since(self, id: u64) -> Self {
        let since = Some(id);
        Self { since, ..self }
    }

    /// Sets a function that is called when the connection is made or lost.
    #[must_use]
    pub fn on_change(self, tell: impl FnMut(Change<'_>) + Send + 'static) -> Self {
        let on_change = Box::new(tell);
        Self { on_change, ..self }
    }

    /// Returns the stream, which begins once it is polled.
    pub fn start(self) -> Following {
        let state = State {
            position: self.since,
            follow: self,
            session: None,
            backoff: Backoff::default(),
            over: false,
        };
        Following(stream::unfold(state, State::next).fuse().boxed())
    }
}

impl Stream for Following {
    type Item = Result<Notice, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("address", &self.address)
            .field("topic", &self.topic)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Following")
    }
}

struct State {
    follow: Follow,
    session: Option<Session>,
    /// The id of the last event, or the id after which the first one comes.
    position: Option<u64>,
    backoff: Backoff,
    over: bool,
}

struct Session {
    events: Subscription,
    began: Instant,
}

impl State {
    async fn next(mut self) -> Option<(Result<Notice, Error>, Self)> {
        while !self.over {
            match self.try_next().await {
                Ok(Some(notice)) => {
                    self.over = matches!(notice, Notice::Ended { .. });
                    return Some((Ok(notice), self));
                }
                Ok(None) => {}
                Err(error) if error.may_pass() => self.pause(&error).await,
                Err(error) => {
                    self.over = true;
                    return Some((Err(error), self));
                }
            }
        }
        None
    }

    /// Waits for the next notice; returns `None` if the event has been seen before.
    async fn try_next(&mut self) -> Result<Option<Notice>, Error> {
        let session = match &mut self.session {
            Some(session) => session,
            none @ None => {
                let client = Client::connect(&self.follow.address).await?;
                let (key, scheme) = (&self.follow.key, self.follow.scheme);
                match &self.follow.origin {
                    Some(origin) => client.authenticate_at(origin, key, scheme).await?,
                    None => client.authenticate(key, scheme).await?,
                }
                let events = client.subscribe(&self.follow.topic, self.position).await?;
                // From here on, nothing is missed, even if the connection is lost before the first event.
                self.position.get_or_insert(events.since());
                (self.follow.on_change)(Change::Connected);
                let began = Instant::now();
                none.insert(Session { events, began })
            }
        };
        match session.events.next().await {
            Some(Ok(Notice::Event(event))) => Ok(self.on_event(event).map(Notice::Event)),
            Some(Ok(Notice::Gap { since })) => {
                // If the log is older than the events that were seen, this goes back.
                self.position = Some(since);
                Ok(Some(Notice::Gap { since }))
            }
            Some(Ok(Notice::Unreadable { id, why })) => Ok(self.on_unreadable(id, why)),
            Some(Ok(ended @ Notice::Ended { .. })) => Ok(Some(ended)),
            Some(Err(Error::Behind)) => {
                let client = session.events.client().clone();
                session.events = client.subscribe(&self.follow.topic, self.position).await?;
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::Closed(crate::Closed::silently())),
        }
    }

    fn on_event(&mut self, event: Event) -> Option<Event> {
        if self.position.is_some_and(|position| event.id <= position) {
            return None;
        }
        self.position = Some(event.id);
        self.backoff.reset();
        Some(event)
    }

    /// Counts an unreadable event as seen: a second read would give the same.
    fn on_unreadable(&mut self, id: Option<u64>, why: String) -> Option<Notice> {
        if let Some(id) = id {
            if self.position.is_some_and(|position| id <= position) {
                return None;
            }
            self.position = Some(id);
        }
        Some(Notice::Unreadable { id, why })
    }

    async fn pause(&mut self, why: &Error) {
        let session = self.session.take();
        if session.is_some_and(|session| session.began.elapsed() >= STEADY) {
            self.backoff.reset();
        }
        // Without randomness, all waits have their shortest length.
        let random = getrandom::u32().unwrap_or_default();
        let wait = self.backoff.next(random);
        let retry_in = why.retry_after().map_or(wait, |least| wait.max(least));
        (self.follow.on_change)(Change::Lost { why, retry_in });
        sleep(retry_in).await;
    }
}
