//! The sessions that have logged in by device keys: each ends when its key is removed, changes or expires.
//!
//! Runs read the key in their own transactions, so nothing that they do depends on how soon a session ends. Each circle with
//! such sessions has a task, which listens to the circle's events, because a change of a device key is one.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use circled_protocol::{DeviceKey, PublicKey, Scope};
use dashmap::DashMap;
use futures_util::{
    FutureExt,
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::InFlight;
use crate::{
    circle::{DEVICE_ADDED, DEVICE_REMOVED, DeviceRecord},
    dispatch::Dispatcher,
    store::{Event, Feed, Signal, Unavailable},
};

/// Keys of a circle that are read at once.
const READS: usize = 8;
/// The pause before another attempt, after Redis couldn't be reached.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest wait for the next key to expire: the clock may be set meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The longest that the end of the server waits for the tasks of circles.
const END: Duration = Duration::from_secs(1);

/// The reason why a device key counts no more in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceEnd {
    /// It was removed.
    Removed,
    /// It was added again with another scope.
    Changed,
    /// Its time is over.
    Expired,
}

/// The sessions of a server that have logged in by device keys. A cheap handle.
#[derive(Debug, Clone)]
pub struct DeviceSessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    circles: DashMap<PublicKey, mpsc::UnboundedSender<Command>>,
    dispatcher: Dispatcher,
    last_session: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A message to the task of a circle. There are about as many as sessions at most, and so they need no other bound.
#[derive(Debug)]
enum Command {
    Join(u64, Box<DeviceSession>),
    Leave(u64),
}

/// A session that has logged in by a device key.
#[derive(Debug)]
struct DeviceSession {
    device: DeviceKey,
    caller: PublicKey,
    scope: Scope,
    expires_at: Timestamp,
    ending: SessionEnding,
}

/// What ends a session.
#[derive(Debug, Clone)]
pub(super) struct SessionEnding {
    pub(super) token: CancellationToken,
    pub(super) in_flight_requests: InFlight,
}

/// A session's place among those that end with their device keys. Dropping it takes the session out.
#[derive(Debug)]
pub(super) struct DeviceGuard {
    session: u64,
    circle: mpsc::UnboundedSender<Command>,
}

impl Drop for DeviceGuard {
    fn drop(&mut self) {
        // Where the task is gone, so are its sessions.
        let _ = self.circle.send(Command::Leave(self.session));
    }
}

impl DeviceSessions {
    /// Creates the sessions of a server, which has none yet.
    pub fn new(dispatcher: Dispatcher) -> Self {
        Self(Arc::new(Inner {
            circles: DashMap::new(),
            dispatcher,
            last_session: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Has a session end with its device key, which was read as it is in `record`. A change since then counts, too.
    pub(super) fn join(
        &self,
        circle: PublicKey,
        device: DeviceKey,
        record: &DeviceRecord,
        ending: SessionEnding,
    ) -> DeviceGuard {
        let session = self.0.last_session.fetch_add(1, Ordering::Relaxed);
        let joins = Command::Join(
            session,
            Box::new(DeviceSession {
                device,
                caller: record.caller,
                scope: record.scope.clone(),
                expires_at: record.expires_at,
                ending,
            }),
        );
        let start = || {
            let (task, commands) = mpsc::unbounded_channel();
            let circle = CircleTask::new(self.0.clone(), circle, commands);
            self.0.tasks.spawn(circle.run());
            task
        };
        // It is locked meanwhile, so that the task doesn't end with a message unread.
        let mut task = self.0.circles.entry(circle).or_insert_with(start);
        if task.is_closed() {
            // It has panicked.
            *task = start();
        }
        let _ = task.send(joins);
        DeviceGuard {
            session,
            circle: task.clone(),
        }
    }

    /// Does some work that a session doesn't wait for.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Ends the tasks, after the last session has ended.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        let _ = timeout(END, self.0.tasks.wait()).await;
    }
}

/// The task of one circle.
struct CircleTask {
    inner: Arc<Inner>,
    circle: PublicKey,
    commands: mpsc::UnboundedReceiver<Command>,
    sessions: HashMap<u64, DeviceSession>,
    by_device: HashMap<DeviceKey, Vec<u64>>,
    by_expiry: BTreeSet<(Timestamp, u64)>,
    /// Keys that are to be read.
    to_read: BTreeSet<DeviceKey>,
    reads: FuturesUnordered<BoxFuture<'static, (DeviceKey, Read)>>,
}

type Read = Result<Option<DeviceRecord>, Unavailable>;

impl CircleTask {
    fn new(
        inner: Arc<Inner>,
        circle: PublicKey,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            inner,
            circle,
            commands,
            sessions: HashMap::new(),
            by_device: HashMap::new(),
            by_expiry: BTreeSet::new(),
            to_read: BTreeSet::new(),
            reads: FuturesUnordered::new(),
        }
    }

    /// Runs until the circle has no such session any more.
    async fn run(mut self) {
        let stop = self.inner.stop.clone();
        tokio::select! {
            () = self.serve() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn serve(&mut self) {
        let mut listening = self.listen();
        let mut feed: Option<Feed> = None;
        loop {
            // A key that was read before anybody listened may have changed since.
            if feed.is_some() {
                self.start_reads();
            }
            let wait = self.until_expiry();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Join(id, session)) => self.join(id, *session),
                    Some(Command::Leave(id)) => drop(self.leave(id)),
                    None => return,
                },
                begun = &mut listening, if feed.is_none() => feed = Some(begun),
                signal = next(&mut feed) => self.on_signal(&signal),
                Some((device, read)) = self.reads.next(), if !self.reads.is_empty() => {
                    self.on_read(device, read);
                }
                () = sleep(wait) => {}
            }
            self.expire(Timestamp::now());
            if self.sessions.is_empty() && self.end() {
                return;
            }
        }
    }

    /// Listens to the circle's events, as soon as that is possible.
    fn listen(&self) -> BoxFuture<'static, Feed> {
        let (dispatcher, circle) = (self.inner.dispatcher.clone(), self.circle);
        async move {
            loop {
                match dispatcher.listen(circle).await {
                    Ok(feed) => return feed,
                    Err(Unavailable) => sleep(AGAIN).await,
                }
            }
        }
        .boxed()
    }

    fn join(&mut self, id: u64, session: DeviceSession) {
        self.to_read.insert(session.device);
        self.by_device.entry(session.device).or_default().push(id);
        self.by_expiry.insert((session.expires_at, id));
        self.sessions.insert(id, session);
    }

    fn leave(&mut self, id: u64) -> Option<DeviceSession> {
        let session = self.sessions.remove(&id)?;
        self.by_expiry.remove(&(session.expires_at, id));
        if let Some(sessions) = self.by_device.get_mut(&session.device) {
            sessions.retain(|other| *other != id);
            if sessions.is_empty() {
                self.by_device.remove(&session.device);
                self.to_read.remove(&session.device);
            }
        }
        Some(session)
    }

    fn on_signal(&mut self, signal: &Signal) {
        match signal {
            Signal::Event(event) => {
                let device = changed_device(event);
                let device = device.filter(|device| self.by_device.contains_key(device));
                self.to_read.extend(device);
            }
            Signal::ReadLog => self.to_read.extend(self.by_device.keys()),
        }
    }

    fn start_reads(&mut self) {
        while self.reads.len() < READS
            && let Some(device) = self.to_read.pop_first()
        {
            let (dispatcher, circle) = (self.inner.dispatcher.clone(), self.circle);
            let read = async move {
                let read = dispatcher.device(circle, device).await;
                if read.is_err() {
                    sleep(AGAIN).await;
                }
                (device, read)
            };
            self.reads.push(read.boxed());
        }
    }

    fn on_read(&mut self, device: DeviceKey, read: Read) {
        let Some(sessions) = self.by_device.get(&device) else {
            return;
        };
        let Ok(record) = read else {
            self.to_read.insert(device);
            return;
        };
        for id in sessions.clone() {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            match &record {
                Some(record) if record.caller == session.caller => {
                    if record.scope != session.scope {
                        self.finish(id, DeviceEnd::Changed);
                    } else if record.expires_at != session.expires_at {
                        self.by_expiry.remove(&(session.expires_at, id));
                        session.expires_at = record.expires_at;
                        self.by_expiry.insert((session.expires_at, id));
                    }
                }
                Some(_) | None => self.finish(id, DeviceEnd::Removed),
            }
        }
    }

    /// Returns the time until the next key expires.
    fn until_expiry(&self) -> Duration {
        let next = self.by_expiry.first();
        let left = next.map(|(at, _)| at.duration_since(Timestamp::now()));
        let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
        left.map_or(LONGEST_WAIT, |left| left.min(LONGEST_WAIT))
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.by_expiry.first().copied()
            && at <= now
        {
            self.finish(id, DeviceEnd::Expired);
        }
    }

    fn finish(&mut self, id: u64, why: DeviceEnd) {
        if let Some(session) = self.leave(id) {
            tracing::debug!(circle = %self.circle, device = %session.device, ?why, "a device key ended");
            session.ending.in_flight_requests.end_with_device(why);
            session.ending.token.cancel();
        }
    }

    /// Ends the task unless another session has joined. Returns true if it has ended.
    fn end(&mut self) -> bool {
        let commands = &self.commands;
        let circles = &self.inner.circles;
        let ended = circles.remove_if(&self.circle, |_, _| commands.is_empty());
        ended.is_some()
    }
}

async fn next(feed: &mut Option<Feed>) -> Signal {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

/// Returns the device key that an event tells of.
pub(super) fn changed_device(event: &Event) -> Option<DeviceKey> {
    #[derive(Deserialize)]
    struct Changed {
        #[serde(with = "circled_protocol::trusted::device")]
        pubkey: DeviceKey,
    }
    if ![DEVICE_ADDED, DEVICE_REMOVED].contains(&&*event.topic) {
        return None;
    }
    let changed: Changed = circled_json::from_str(event.data.get()).ok()?;
    Some(changed.pubkey)
}
