//! The end of Redis where jobs come from: they go in here, and what comes of them comes back by the inbox.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, DashSet};
use fred::types::Value;
use futures_util::{
    future::{BoxFuture, FutureExt},
    stream::{FuturesUnordered, StreamExt},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{accept::New, link::Link, plays::Sent, settings::RedisSettings};
use crate::{
    auth::PublicKey,
    dispatch::{Caller, JobId, Progress, Workers, settings},
    store::{self, Hub},
};

/// Requests that go to Redis in one call at most.
const AT_ONCE: usize = 256;
/// Bytes of them, about.
const BYTES_AT_ONCE: usize = 1 << 20;

/// Sends jobs, and waits for what comes of them.
pub(super) struct Gateway {
    pub(super) link: Link,
    /// Durable jobs go over this one: where replicas are waited for, all that comes after it waits too.
    pub(super) keeping: Link,
    pub(super) settings: RedisSettings,
    pub(super) durable: settings::Durable,
    pub(super) limits: Arc<store::Settings>,
    /// One for each ticket and each durable job that is about to be kept, so the limits of those bound it.
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) plays: DashMap<JobId, Sent>,
    pub(super) deliveries: DashMap<JobId, oneshot::Sender<Progress>>,
    /// Whoever is told of events here.
    pub(super) hub: Hub,
    /// The circles whose events come to the inboxes.
    pub(super) watched: DashSet<PublicKey>,
    /// Whether there are inboxes for outcomes to go to.
    pub(super) has_inboxes: AtomicBool,
    /// The workers that were there at the last look.
    pub(super) workers: Mutex<Option<Workers>>,
    pub(super) halt: CancellationToken,
    pub(super) stop: CancellationToken,
}

/// What is to go to Redis.
pub(super) enum Request {
    Play {
        circle: PublicKey,
        play: NewPlay,
    },
    Keep {
        circle: PublicKey,
        new: Box<New>,
    },
    /// Nobody waits for a play any more. It isn't sent, if it hasn't been.
    Leave {
        circle: PublicKey,
        id: JobId,
    },
    /// A play is to be taken back from where it is.
    Cancel {
        circle: PublicKey,
        id: JobId,
        sent: Sent,
    },
}

/// A play that is to be sent.
pub(super) struct NewPlay {
    pub(super) id: JobId,
    pub(super) caller: Caller,
    /// As workers read it.
    pub(super) text: String,
}

/// What a request asks for that can't wait for others.
enum Now {
    /// A play was not sent at all.
    Forget(JobId),
    Cancel(PublicKey, JobId, Sent),
}

/// What is to be sent.
#[derive(Default)]
struct Gathered {
    plays: HashMap<PublicKey, Vec<NewPlay>>,
    new: HashMap<PublicKey, Vec<New>>,
    /// For which something has come.
    ready: HashSet<Flight>,
    under_way: HashSet<Flight>,
}

/// What goes in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flight {
    Plays(PublicKey),
    New(PublicKey),
}

impl Gathered {
    fn add(&mut self, request: Request) -> Option<Now> {
        match request {
            Request::Play { circle, play } => {
                self.plays.entry(circle).or_default().push(play);
                self.ready.insert(Flight::Plays(circle));
            }
            Request::Keep { circle, new } => {
                self.new.entry(circle).or_default().push(*new);
                self.ready.insert(Flight::New(circle));
            }
            Request::Leave { circle, id } => {
                let plays = self.plays.get_mut(&circle)?;
                let position = plays.iter().position(|play| play.id == id)?;
                plays.remove(position);
                return Some(Now::Forget(id));
            }
            Request::Cancel { circle, id, sent } => return Some(Now::Cancel(circle, id, sent)),
        }
        None
    }
}

/// Those of a circle that go in one call. Nothing, where there are none.
fn take_some<T>(
    all: &mut HashMap<PublicKey, Vec<T>>,
    circle: &PublicKey,
    size: impl Fn(&T) -> usize,
) -> Option<Vec<T>> {
    let mut waiting = all.remove(circle)?;
    let mut bytes = 0;
    let fits = waiting.iter().take_while(|one| {
        let fits = bytes < BYTES_AT_ONCE;
        bytes += size(one);
        fits
    });
    let rest = waiting.split_off(fits.take(AT_ONCE).count());
    if !rest.is_empty() {
        all.insert(*circle, rest);
    }
    (!waiting.is_empty()).then_some(waiting)
}

impl Gateway {
    pub(super) fn start(
        link: Link,
        keeping: Link,
        settings: RedisSettings,
        durable: settings::Durable,
        limits: Arc<store::Settings>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (requests, receiver) = mpsc::unbounded_channel();
        let gateway = Arc::new(Self {
            link,
            keeping,
            settings,
            durable,
            hub: Hub::new(&limits),
            limits,
            requests,
            plays: DashMap::new(),
            deliveries: DashMap::new(),
            watched: DashSet::new(),
            has_inboxes: AtomicBool::new(false),
            workers: Mutex::default(),
            halt: CancellationToken::new(),
            stop,
        });
        tasks.spawn(gateway.clone().send(receiver));
        gateway
    }

    pub(super) fn is_ready(&self) -> bool {
        self.link.is_up() && self.has_inboxes.load(Ordering::Relaxed)
    }

    /// Carries requests to Redis. Of each circle one call of a kind is under way at a time, and takes along all that
    /// has gathered meanwhile.
    async fn send(self: Arc<Self>, mut requests: mpsc::UnboundedReceiver<Request>) {
        let this = &*self;
        let mut batch = Vec::new();
        let mut gathered = Gathered::default();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Option<Flight>>> =
            FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(landed) = under_way.next(), if !under_way.is_empty() => {
                    if let Some(flight) = landed {
                        gathered.under_way.remove(&flight);
                        under_way.extend(this.fly(flight, &mut gathered));
                    }
                }
                _ = requests.recv_many(&mut batch, AT_ONCE) => {
                    for request in batch.drain(..) {
                        match gathered.add(request) {
                            None => {}
                            Some(Now::Forget(id)) => {
                                this.plays.remove(&id);
                            }
                            Some(Now::Cancel(circle, id, sent)) => {
                                let cancel = async move {
                                    // A worker that runs it finds out, at the latest when it commits.
                                    let _ = this.cancel(circle, id, &sent).await;
                                    None
                                };
                                under_way.push(cancel.boxed());
                            }
                        }
                    }
                    for flight in mem::take(&mut gathered.ready) {
                        under_way.extend(this.fly(flight, &mut gathered));
                    }
                }
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// What has gathered for a flight goes, unless one like it is under way.
    fn fly<'a>(
        &'a self,
        flight: Flight,
        gathered: &mut Gathered,
    ) -> Option<BoxFuture<'a, Option<Flight>>> {
        if gathered.under_way.contains(&flight) {
            return None;
        }
        let sent = match flight {
            Flight::Plays(circle) => {
                let plays = take_some(&mut gathered.plays, &circle, |play| play.text.len())?;
                self.submit(circle, plays).boxed()
            }
            Flight::New(circle) => {
                let new = take_some(&mut gathered.new, &circle, New::size)?;
                self.keep_all(circle, new).boxed()
            }
        };
        gathered.under_way.insert(flight);
        Some(sent.map(move |()| Some(flight)).boxed())
    }
}

pub(super) fn number(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn millis(duration: Duration) -> Value {
    Value::Integer(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
