//! The events of a circle, as they come.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use circled_protocol::{Role, Word, methods::Event};
use futures_util::Stream;

use crate::{Client, Error, calls::Subscribed, routes::Feed};

/// What comes for a subscription.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// An event, in the order of the circle's, each once.
    Event(Event),
    /// Events are missing: the server's log doesn't reach back to them any more.
    Gap {
        /// What comes next is after this id.
        since: u64,
    },
    /// An event that makes no sense to this client: it is passed over.
    Unreadable {
        /// Its id, where that can be read.
        id: Option<u64>,
        /// What is wrong with it.
        why: String,
    },
    /// There will be no more: the caller may not subscribe any longer, or the session is another caller's by now.
    Ended {
        /// The role that it would take; nothing, where somebody else has logged in.
        needs: Option<Word<Role>>,
    },
}

/// The events of one topic, as a stream. It keeps its connection open, and unsubscribes when it is dropped.
///
/// What isn't read is kept: 4096 notices, or 16 MiB. If more come, the stream ends with [`Error::Behind`] after those; a new
/// subscription goes on with `since` where it stopped. It ends with [`Error::Closed`] when the connection does;
/// [`Follow`](crate::Follow) is the stream that goes on.
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

    /// The id after which its events begin.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The connection that it comes over.
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
