//! Routes events to their subscriptions, and keeps those that haven't been read.
//!
//! The task that reads the connection never waits for the reader of a subscription, or replies and other subscriptions
//! would wait, too. So unread events are kept up to a bound. A subscription beyond it ends with [`Error::Behind`]: the
//! kept events can still be read, and the others are in the server's log.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use circled_json::Json;
use circled_protocol::methods::{self, Notification, ValueNotice, ValueNotification};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use crate::{Client, Closed, Error, Notice};

/// The most unread notices of a subscription.
const MAX_NOTICES: usize = 4096;
/// The most bytes of the messages that they came in.
const MAX_BYTES: usize = 16 << 20;

/// A message that the connection sends by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Ends a subscription that nobody reads any more.
    Unsubscribe(String),
    /// A request.
    Send(String),
    /// Checks if the server is still there.
    Ping,
}

/// The routes of events.
#[derive(Debug)]
pub(crate) struct Routes {
    /// The queue has at most one entry for each subscription, and a ping.
    commands: mpsc::UnboundedSender<Command>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<String, Route>,
    watches: HashMap<String, watch::Sender<Newest>>,
    /// The number of subscriptions that were asked for. While there are any, an event for an unknown name may be the
    /// first of one of them.
    asked: usize,
    /// Notices for unknown names.
    unclaimed: HashMap<String, Feed>,
}

#[derive(Debug)]
struct Route {
    sender: mpsc::Sender<(Notice, usize)>,
    kept: Arc<AtomicUsize>,
    end: End,
}

/// The reason for the end; `None` if the server gave it in a notice.
type End = Arc<Mutex<Option<Error>>>;

/// The notices of one subscription. Dropping it unsubscribes.
#[derive(Debug)]
pub(crate) struct Feed {
    name: String,
    receiver: mpsc::Receiver<(Notice, usize)>,
    kept: Arc<AtomicUsize>,
    end: End,
    over: bool,
    commands: mpsc::UnboundedSender<Command>,
}

/// The newest notice of a watch, or why it can't be read.
type Newest = Option<Result<ValueNotice, String>>;

/// The values of a watch: the newest one that wasn't read. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct ValueFeed {
    name: String,
    newest: watch::Receiver<Newest>,
    commands: mpsc::UnboundedSender<Command>,
    /// The client, so that its connection stays.
    client: Option<Client>,
}

impl ValueFeed {
    pub(crate) fn keep_open(&mut self, client: Client) {
        self.client = Some(client);
    }

    /// Waits for the next notice.
    pub(crate) async fn next(&mut self) -> Result<ValueNotice, Error> {
        if self.newest.changed().await.is_err() {
            let closed = self.client.as_ref().and_then(Client::closed);
            return Err(closed.cloned().unwrap_or_else(Closed::silently).into());
        }
        match self.newest.borrow_and_update().clone() {
            Some(Ok(notice)) => Ok(notice),
            // The next attempt begins with a value.
            Some(Err(_)) | None => Err(Error::Behind),
        }
    }
}

impl Drop for ValueFeed {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let _ = self.commands.send(Command::Unsubscribe(name));
    }
}

impl Routes {
    pub(crate) fn new(commands: mpsc::UnboundedSender<Command>) -> Self {
        Self {
            commands,
            table: Mutex::default(),
        }
    }

    /// Queues a message, if the connection still exists.
    pub(crate) fn command(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Notes that a subscription is being asked for.
    pub(crate) fn ask(&self) {
        self.table().asked += 1;
    }

    /// Notes the reply to `subscribe`, with the subscription's name if it has begun.
    pub(crate) fn answered(&self, name: Option<String>) -> Option<Feed> {
        let mut table = self.table();
        table.asked = table.asked.saturating_sub(1);
        let feed = name.map(|name| match table.unclaimed.remove(&name) {
            Some(feed) => feed,
            None => self.open(&mut table, name),
        });
        let forgotten = if table.asked == 0 {
            std::mem::take(&mut table.unclaimed)
        } else {
            HashMap::new()
        };
        drop(table);
        drop(forgotten);
        feed
    }

    /// Hands on a notification of so many bytes.
    pub(crate) fn on_event(&self, params: &RawValue, size: usize) {
        let (name, notice) = match circled_json::from_str(params.get()) {
            Ok(notification) => told(notification),
            Err(error) => unreadable(params, &error),
        };
        if let Some(notice) = notice {
            self.push(name, notice, size);
        }
    }

    /// Opens the route of a watch that has begun.
    pub(crate) fn watch(&self, name: String) -> ValueFeed {
        let (sender, newest) = watch::channel(None);
        self.table().watches.insert(name.clone(), sender);
        ValueFeed {
            name,
            newest,
            commands: self.commands.clone(),
            client: None,
        }
    }

    /// Hands on a notification of a watch: an earlier one that wasn't read is of no use any more.
    pub(crate) fn on_value(&self, params: &RawValue) {
        let read = circled_json::from_str::<ValueNotification>(params.get());
        let (name, newest) = match read {
            Ok(ValueNotification {
                subscription,
                notice,
            }) => (subscription, Ok(notice)),
            Err(error) => (unreadable(params, &error).0, Err(error.to_string())),
        };
        if let Some(watch) = self.table().watches.get(&name) {
            watch.send_replace(Some(newest));
        }
    }

    /// Removes a subscription or a watch that nobody reads any more.
    pub(crate) fn forget(&self, name: &str) {
        let mut table = self.table();
        table.known.remove(name);
        table.watches.remove(name);
    }

    /// Ends all subscriptions.
    pub(crate) fn close(&self, closed: &Closed) {
        let mut table = self.table();
        let (known, unclaimed) = (
            std::mem::take(&mut table.known),
            std::mem::take(&mut table.unclaimed),
        );
        table.watches.clear();
        drop(table);
        for (_, route) in known {
            route.end(Error::Closed(closed.clone()));
        }
        drop(unclaimed);
    }

    fn push(&self, name: String, notice: Notice, size: usize) {
        let mut table = self.table();
        if !table.known.contains_key(&name) {
            if table.asked == 0 {
                return;
            }
            let feed = self.open(&mut table, name.clone());
            table.unclaimed.insert(name.clone(), feed);
        }
        let Some(route) = table.known.get(&name) else {
            return;
        };
        let last = matches!(notice, Notice::Ended { .. });
        // Only the task that reads the connection adds to it.
        let kept = route.kept.load(Ordering::Relaxed);
        let full = kept.saturating_add(size) > MAX_BYTES && kept > 0;
        if !full && route.sender.try_send((notice, size)).is_ok() {
            route.kept.fetch_add(size, Ordering::Relaxed);
            if last {
                table.known.remove(&name);
            }
            return;
        }
        let route = table.known.remove(&name);
        drop(table);
        if let Some(route) = route
            && !route.sender.is_closed()
        {
            route.end(Error::Behind);
            self.command(Command::Unsubscribe(name));
        }
    }

    fn open(&self, table: &mut Table, name: String) -> Feed {
        let (sender, receiver) = mpsc::channel(MAX_NOTICES);
        let kept = Arc::<AtomicUsize>::default();
        let end = End::default();
        let route = Route {
            sender,
            kept: kept.clone(),
            end: end.clone(),
        };
        table.known.insert(name.clone(), route);
        Feed {
            name,
            receiver,
            kept,
            end,
            over: false,
            commands: self.commands.clone(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    fn end(self, why: Error) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

impl Feed {
    /// Waits for the next notice; an error is the last.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Notice, Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match self.receiver.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some((notice, size))) => {
                self.kept.fetch_sub(size, Ordering::Relaxed);
                Poll::Ready(Some(Ok(notice)))
            }
            Poll::Ready(None) => {
                self.over = true;
                let why = self
                    .end
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                Poll::Ready(why.map(Err))
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // If it has ended, the server knows.
        if !self.receiver.is_closed() {
            let name = std::mem::take(&mut self.name);
            let _ = self.commands.send(Command::Unsubscribe(name));
        }
    }
}

/// Returns the notice about an unreadable event, which counts as missing.
fn unreadable(params: &RawValue, error: &serde_json::Error) -> (String, Option<Notice>) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Named {
        subscription: Json,
        id: Json,
    }
    let named: Named = circled_json::from_str(params.get()).unwrap_or_default();
    let notice = named.subscription.as_str().map(|_| Notice::Unreadable {
        id: named.id.as_u64(),
        why: error.to_string(),
    });
    let name = named.subscription.as_str().unwrap_or_default();
    (name.to_owned(), notice)
}

/// Returns the subscription's name and its notice. Notifications of later versions are ignored.
fn told(notification: Notification) -> (String, Option<Notice>) {
    let notice = match notification.notice {
        methods::Notice::Event(event) => Some(Notice::Event(event)),
        methods::Notice::Gap { since, .. } => Some(Notice::Gap { since }),
        methods::Notice::Ended { needs, .. } => Some(Notice::Ended { needs }),
        methods::Notice::Other => None,
    };
    (notification.subscription, notice)
}
