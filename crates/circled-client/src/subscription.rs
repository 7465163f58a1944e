//! The events of a subscription as a stream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use circled_protocol::{Role, Word, methods::Event};
use futures_util::Stream;

use crate::{Client, Error, calls::Subscribed, routes::Feed};

/// A notice to a subscription.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// An event. Events come in the circle's order, each once.
    Event(Event),
    /// Events are missing: the server's log doesn't reach back to them any more.
    Gap {
        /// The next event is after this id.
        since: u64,
    },
    /// This client can't read an event, and skips it.
    Unreadable {
        /// The event's id, if it can be read.
        id: Option<u64>,
        /// The reason.
        why: String,
    },
    /// There will be no more events: the caller may not subscribe any longer, or somebody else has logged in on the
    /// session.
    Ended {
        /// The role that is needed; `None` if somebody else has logged in.
        needs: Option<Word<Role>>,
    },
}

/// The events of one topic, as a stream. It keeps its connection open, and unsubscribes when it is dropped.
///
/// Unread events are kept: 4096 notices, or 16 MiB. If more come, the stream ends with [`Error::Behind`] after those; a
/// new subscription with `since` continues there. It ends with [`Error::Closed`] when the connection does;
/// [`Follow`](crate::Follow) is a stream that continues.
#[derive(Debug)]
pub struct Subscription {
    feed: Feed,
    since: u64,
    client: Client,
}

impl Subscription {
    pub(crate) fn new(subscribed: Subscribed, client: Client) -> Self {
        let Subscribed { feed, since } = subscribed;
        Self {
            feed,
            since,
            client,
        }
    }

    /// Returns the id after which its events begin.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Returns the client of its connection.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl Stream for Subscription {
    type Item = Result<Notice, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.feed.poll_next(context)
    }
}
