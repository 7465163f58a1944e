//! A subscription that outlives its connections.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use circled_protocol::{Origin, Scheme, methods::Event};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};

use crate::{Change, Error, Login, Notice, Signer, Subscription, dial::Dial};

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
#[derive(Debug)]
pub struct Follow {
    dial: Dial,
    topic: String,
    since: Option<u64>,
}

/// The stream of [`Follow`]: every event once, in order. An error is the last item; another attempt wouldn't help.
pub struct Following(BoxStream<'static, Result<Notice, Error>>);

impl Follow {
    /// Creates a follower of all events of the circle at `address`, from now on, by a caller's key or a device's.
    pub fn new(address: impl Into<String>, key: impl Into<Signer>) -> Self {
        Self {
            dial: Dial::new(address.into(), key.into()),
            topic: String::new(),
            since: None,
        }
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
    pub fn on_change(mut self, tell: impl FnMut(Change<'_>) + Send + 'static) -> Self {
        self.dial.on_change = Box::new(tell);
        self
    }

    /// Returns the stream, which begins once it is polled.
    pub fn start(self) -> Following {
        let state = State {
            position: self.since,
            follow: self,
            events: None,
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

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Following")
    }
}

struct State {
    follow: Follow,
    events: Option<Subscription>,
    /// The id of the last event, or the id after which the first one comes.
    position: Option<u64>,
    over: bool,
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
                Err(error) if error.may_pass() => {
                    self.events = None;
                    self.follow.dial.pause(&error).await;
                }
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
        let subscription = match &mut self.events {
            Some(events) => events,
            none @ None => {
                let client = self.follow.dial.connect().await?;
                let events = client.subscribe(&self.follow.topic, self.position).await?;
                // From here on, nothing is missed, even if the connection is lost before the first event.
                self.position.get_or_insert(events.since());
                self.follow.dial.connected();
                none.insert(events)
            }
        };
        match subscription.next().await {
            Some(Ok(Notice::Event(event))) => Ok(self.on_event(event).map(Notice::Event)),
            Some(Ok(Notice::Gap { since })) => {
                // If the log is older than the events that were seen, this goes back.
                self.position = Some(since);
                Ok(Some(Notice::Gap { since }))
            }
            Some(Ok(Notice::Unreadable { id, why })) => Ok(self.on_unreadable(id, why)),
            Some(Ok(ended @ Notice::Ended { .. })) => Ok(Some(ended)),
            Some(Err(Error::Behind)) => {
                let client = subscription.client().clone();
                *subscription = client.subscribe(&self.follow.topic, self.position).await?;
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
        self.follow.dial.succeeded();
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
}
