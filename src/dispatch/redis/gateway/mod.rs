//! The gateway: sends jobs to Redis, and receives their outcomes in its inbox.

mod accept;
mod barrier;
mod events;
mod hook_script_cache;
mod inbox;
mod outcome_handle;
mod plays;
mod refused;
mod workers;

pub(super) use accept::Accepted;
pub(super) use hook_script_cache::{HookScript, HookScriptCache, read as read_hook_script};
pub use outcome_handle::RedisOutcomeHandle;
pub use workers::Workers;

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use circled_protocol::{JobId, PublicKey};
use dashmap::{DashMap, DashSet};
use fred::types::Value;
use futures_util::{
    future::{BoxFuture, FutureExt},
    stream::{FuturesUnordered, StreamExt},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use uuid::Uuid;

use self::{
    accept::StoreRequest, barrier::Barriers, events::Watched, plays::SentPlay,
    refused::RefusedPlays,
};
use crate::{
    circle::{Caller, Executor},
    dispatch::{
        MAX_WAITING, Progress, Settings,
        redis::{conn::Connection, settings::RedisSettings},
        settings,
    },
    script::{RunError, waiting_room::Place},
    store::{self, Hub},
};

/// Requests that go to Redis in one call, at most.
const AT_ONCE: usize = 256;
/// About how many bytes of them go in one call.
const BYTES_AT_ONCE: usize = 1 << 20;
/// The pause after which plays that were refused are sent again, if no play of their circle ends before.
const AGAIN: Duration = Duration::from_millis(10);

/// Sends jobs, and waits for their outcomes.
pub(super) struct Gateway {
    redis: Connection,
    /// The connection for durable jobs: where replicas are waited for, all that comes after a job on its connection
    /// waits too.
    durable_connection: Connection,
    settings: RedisSettings,
    durable: settings::Durable,
    limits: Arc<store::Settings>,
    /// Requests to Redis. There is one for each outcome handle and each durable job that is about to be stored, so the
    /// limits of those bound it.
    requests: mpsc::UnboundedSender<Request>,
    plays: DashMap<JobId, SentPlay>,
    deliveries: DashMap<JobId, oneshot::Sender<Progress>>,
    barriers: Barriers,
    /// The hub of the listeners here.
    hub: Hub,
    /// The circles whose events or commits come to the inboxes.
    watched: DashSet<(PublicKey, Watched)>,
    /// True if there are inboxes for outcomes.
    has_inboxes: AtomicBool,
    /// The number of readers of inboxes that can't hand over what they read, because it isn't synced.
    unsynced: AtomicUsize,
    /// True if some plays wait here, for which there was no room in Redis.
    has_refused: AtomicBool,
    /// The workers that were there at the last look.
    workers: Mutex<Option<Workers>>,
    halt: CancellationToken,
    stop: CancellationToken,
}

/// A request to Redis.
enum Request {
    Play {
        circle: PublicKey,
        play: NewPlay,
    },
    Store {
        circle: PublicKey,
        new: Box<StoreRequest>,
    },
    /// Nobody waits for a play any more. It isn't sent, if it hasn't been.
    Leave {
        circle: PublicKey,
        id: JobId,
    },
    /// A play of the circle has ended: there may be room in Redis for one that was refused.
    Ended {
        circle: PublicKey,
    },
    /// A play is to be taken back from where it is.
    Cancel {
        circle: PublicKey,
        id: JobId,
        sent: SentPlay,
    },
}

/// A play that is to be sent.
struct NewPlay {
    id: JobId,
    session: Uuid,
    caller: Caller<'static>,
    /// The play as JSON, as workers read it.
    text: Value,
    /// The bytes that it takes.
    weight: usize,
}

/// The end of a call to Redis.
enum FinishedCall {
    Plays(SubmittedPlays),
    Store(PublicKey),
    Cancel,
}

/// Plays of a circle that Redis was asked to take.
struct SubmittedPlays {
    circle: PublicKey,
    /// True if some of them had been refused before.
    again: bool,
    refused: Vec<NewPlay>,
}

/// A step that can't wait for others.
enum Immediate {
    /// A play was not sent at all.
    Forget(JobId),
    Cancel(PublicKey, JobId, SentPlay),
}

/// Requests that wait to be sent.
struct RequestBuffer {
    plays: HashMap<PublicKey, Vec<NewPlay>>,
    refused: RefusedPlays,
    to_store: HashMap<PublicKey, Vec<StoreRequest>>,
    /// Calls for which a request has come.
    ready: HashSet<CallKey>,
    under_way: HashSet<CallKey>,
}

/// The kind and circle of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum CallKey {
    Plays(PublicKey),
    Store(PublicKey),
}

impl RequestBuffer {
    fn new(max_waiting: usize) -> Self {
        Self {
            plays: HashMap::new(),
            refused: RefusedPlays::new(max_waiting),
            to_store: HashMap::new(),
            ready: HashSet::new(),
            under_way: HashSet::new(),
        }
    }

    fn add(&mut self, request: Request) -> Option<Immediate> {
        match request {
            Request::Play { circle, play } => {
                self.plays.entry(circle).or_default().push(play);
                self.ready.insert(CallKey::Plays(circle));
            }
            Request::Store { circle, new } => {
                self.to_store.entry(circle).or_default().push(*new);
                self.ready.insert(CallKey::Store(circle));
            }
            Request::Leave { circle, id } => {
                let plays = self.plays.get_mut(&circle)?;
                let position = plays.iter().position(|play| play.id == id)?;
                plays.remove(position);
                return Some(Immediate::Forget(id));
            }
            Request::Ended { circle } => {
                self.ready.insert(CallKey::Plays(circle));
            }
            Request::Cancel { circle, id, sent } => {
                return Some(Immediate::Cancel(circle, id, sent));
            }
        }
        None
    }
}

/// Takes the requests of a circle that go in one call; nothing, if there are none.
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
        redis: Connection,
        durable_connection: Connection,
        settings: &Settings,
        limits: Arc<store::Settings>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (requests, receiver) = mpsc::unbounded_channel();
        let gateway = Arc::new(Self {
            redis,
            durable_connection,
            settings: settings.redis.clone(),
            durable: settings.durable.clone(),
            hub: Hub::new(&limits),
            limits,
            requests,
            plays: DashMap::new(),
            deliveries: DashMap::new(),
            barriers: Barriers::default(),
            watched: DashSet::new(),
            has_inboxes: AtomicBool::new(false),
            unsynced: AtomicUsize::new(0),
            has_refused: AtomicBool::new(false),
            workers: Mutex::default(),
            halt: CancellationToken::new(),
            stop,
        });
        tasks.spawn(gateway.clone().send(receiver, settings.max_waiting));
        gateway
    }

    /// Starts the tasks that read its inboxes, and that look at the workers.
    pub(super) fn start_tasks(
        self: &Arc<Self>,
        executor: Executor,
        tasks: &TaskTracker,
    ) -> Result<(), fred::error::Error> {
        inbox::start(self, tasks)?;
        tasks.spawn(self.clone().watch_workers(executor));
        Ok(())
    }

    /// Tells all who wait for a play that it is cancelled.
    pub(super) fn cancel_all(&self) {
        self.halt.cancel();
    }

    /// Waits until all are told that their plays are cancelled.
    pub(super) async fn halted(&self) {
        self.halt.cancelled().await;
    }

    /// Returns the connection for durable jobs.
    pub(super) fn durable_connection(&self) -> &Connection {
        &self.durable_connection
    }

    /// Closes the connection that it has for itself.
    pub(super) async fn close(&self) {
        self.durable_connection.close().await;
    }

    pub(super) fn is_ready(&self) -> bool {
        self.redis.is_up()
            && self.has_inboxes.load(Ordering::Relaxed)
            && self.unsynced.load(Ordering::Relaxed) == 0
    }

    /// Sends requests to Redis. Of each circle, one call of a kind is under way at a time, and takes along all that has
    /// gathered meanwhile.
    async fn send(
        self: Arc<Self>,
        mut requests: mpsc::UnboundedReceiver<Request>,
        max_waiting: usize,
    ) {
        let this = &*self;
        let mut batch = Vec::new();
        let mut buffer = RequestBuffer::new(max_waiting);
        let mut under_way: FuturesUnordered<BoxFuture<'_, FinishedCall>> = FuturesUnordered::new();
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(finished) = under_way.next(), if !under_way.is_empty() => {
                    let (call, had_room) = match finished {
                        FinishedCall::Plays(plays) => {
                            (CallKey::Plays(plays.circle), this.keep_refused(plays, &mut buffer))
                        }
                        FinishedCall::Store(circle) => (CallKey::Store(circle), true),
                        FinishedCall::Cancel => continue,
                    };
                    buffer.under_way.remove(&call);
                    under_way.extend(this.start_call(call, &mut buffer, had_room));
                }
                _ = requests.recv_many(&mut batch, AT_ONCE) => {
                    for request in batch.drain(..) {
                        match buffer.add(request) {
                            None => {}
                            Some(Immediate::Forget(id)) => {
                                this.plays.remove(&id);
                            }
                            Some(Immediate::Cancel(circle, id, sent)) => {
                                let cancel = async move {
                                    // A worker that runs it finds out, at the latest when it commits.
                                    let _ = this.cancel(circle, id, &sent).await;
                                    FinishedCall::Cancel
                                };
                                under_way.push(cancel.boxed());
                            }
                        }
                    }
                    for call in mem::take(&mut buffer.ready) {
                        under_way.extend(this.start_call(call, &mut buffer, true));
                    }
                }
                _ = again.tick(), if !buffer.refused.is_empty() => {
                    let circles: Vec<_> = buffer.refused.circles().collect();
                    for circle in circles {
                        let call = CallKey::Plays(circle);
                        under_way.extend(this.start_call(call, &mut buffer, true));
                    }
                }
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Starts a call with all that has gathered for it, unless one like it is under way. With `again`, some of the plays
    /// that were refused are sent again.
    fn start_call<'a>(
        &'a self,
        call: CallKey,
        buffer: &mut RequestBuffer,
        again: bool,
    ) -> Option<BoxFuture<'a, FinishedCall>> {
        if buffer.under_way.contains(&call) {
            return None;
        }
        let sent = match call {
            CallKey::Plays(circle) => {
                let mut plays = Vec::new();
                if !buffer.refused.is_empty() {
                    self.wait_behind_refused(circle, buffer);
                    if again {
                        plays = buffer.refused.take(&circle);
                        plays.retain(|play| self.sends_again(play.id));
                    }
                    self.note_refused(buffer);
                }
                let again = !plays.is_empty();
                let new = take_some(&mut buffer.plays, &circle, |play| play.weight);
                plays.extend(new.into_iter().flatten());
                if plays.is_empty() {
                    return None;
                }
                let submitted = self.submit(circle, plays).map(move |refused| {
                    FinishedCall::Plays(SubmittedPlays {
                        circle,
                        again,
                        refused,
                    })
                });
                submitted.boxed()
            }
            CallKey::Store(circle) => {
                let new = take_some(&mut buffer.to_store, &circle, StoreRequest::size)?;
                let stored = self.store_all(circle, new);
                stored.map(move |()| FinishedCall::Store(circle)).boxed()
            }
        };
        buffer.under_way.insert(call);
        Some(sent)
    }

    /// Has the new plays of sessions wait that have others waiting.
    fn wait_behind_refused(&self, circle: PublicKey, buffer: &mut RequestBuffer) {
        let Some(plays) = buffer.plays.get_mut(&circle) else {
            return;
        };
        let waits = |play: &mut NewPlay| buffer.refused.has(&circle, &play.session);
        let waiting: Vec<_> = plays.extract_if(.., waits).collect();
        for play in waiting {
            self.keep(circle, play, Place::Last, buffer);
        }
    }

    /// Keeps a play here, if somebody waits for it.
    fn keep(&self, circle: PublicKey, play: NewPlay, place: Place, buffer: &mut RequestBuffer) {
        let id = play.id;
        if !self.waits(id) {
            return;
        }
        let is_wanted = |play: &NewPlay| self.is_waited_for(play.id);
        let kept = buffer.refused.add(circle, play, place, is_wanted);
        if kept.is_err() {
            self.refuse(id, RunError::limit(MAX_WAITING));
        }
    }

    /// Keeps the plays for which there was no room. Returns true if there was room for all.
    fn keep_refused(&self, submitted: SubmittedPlays, buffer: &mut RequestBuffer) -> bool {
        let SubmittedPlays {
            circle,
            again,
            refused,
        } = submitted;
        let had_room = refused.is_empty();
        for play in refused.into_iter().rev() {
            self.keep(circle, play, Place::First, buffer);
        }
        if again {
            buffer.refused.note(&circle, had_room);
        }
        self.note_refused(buffer);
        had_room
    }

    fn note_refused(&self, buffer: &RequestBuffer) {
        let has_refused = !buffer.refused.is_empty();
        self.has_refused.store(has_refused, Ordering::Relaxed);
    }
}
