//! Live queries: scripts that only read, whose values are sent again whenever they change.
//!
//! Each circle that somebody watches has a task, which has the circle's [`Queries`](queries::Queries), follows its
//! commits, and has queries run. Sessions hold a [`WatchGuard`] for each of their watches.

mod answer;
mod index;
mod intervals;
mod queries;
mod spec;
mod task;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use circled_protocol::{PublicKey, Role};
use dashmap::{DashMap, mapref::one::RefMut};
use serde_json::Value;
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::{
    queries::{NewWatch, WatchId},
    spec::Spec,
    task::CircleTask,
};
use super::subscriptions::SessionWatch;
use crate::{
    auth::Change,
    circle::{Caller, QueryScript},
    dispatch::Dispatcher,
    memory::{MemoryBudget, OverBudget, Reservation},
    metrics::metrics,
    shares::{Bounds, Shares},
};

pub(super) use answer::{Answer, Content};
pub(super) use queries::{Ended, Watcher};

/// The setting that bounds the bytes of queries.
const QUERY_BYTES: &str = "circles.query_bytes";
/// The pause in which queries make room, and how often a watch waits for that.
const ROOM_PAUSE: Duration = Duration::from_millis(20);
const ROOM_TRIES: u32 = 5;
/// The longest that the end of the server waits for the tasks of circles.
const END: Duration = Duration::from_secs(1);

/// The bounds of live queries.
#[derive(Debug, Clone, Copy)]
pub struct WatchLimits {
    /// The most watches of a session.
    pub max_watches: usize,
    /// The most bytes that one query may read, as they are kept: keys and ranges, not values.
    pub watch_reads: usize,
    /// The most queries of a server; a circle has no more than it leaves for others.
    pub max_queries: usize,
    /// The most bytes that all queries of a server keep: their scripts, arguments and values, and the keys and ranges that
    /// they have read. A circle has no more than it leaves for others.
    pub query_bytes: usize,
}

/// The live queries of a server. A cheap handle.
#[derive(Debug, Clone)]
pub struct Watches(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    circles: DashMap<PublicKey, Circle>,
    dispatcher: Dispatcher,
    places: Shares<PublicKey>,
    memory: MemoryBudget,
    /// Notified when memory lacks: queries that nobody watches make room.
    crowded: Notify,
    limits: WatchLimits,
    last_watch: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A circle that somebody watches.
#[derive(Debug)]
struct Circle {
    /// Its task.
    task: mpsc::UnboundedSender<Command>,
    /// The memory of its queries: no more than it leaves for other circles.
    memory: MemoryBudget,
}

/// A message to the task of a circle. There are about as many as watches at most, and so they need no other bound.
enum Command {
    Watch(WatchId, Box<NewWatch<SessionWatch>>),
    Unwatch(WatchId),
    /// Scripts may find something else than what commits tell of.
    Refresh,
    /// Ends all watches: those who watch may not be told any more.
    End,
}

/// A watch to begin.
pub(super) struct Wanted {
    pub(super) script: QueryScript<'static>,
    pub(super) args: Value,
    pub(super) caller: Caller<'static>,
    /// The role that the circle's list must give the caller.
    pub(super) requires: Option<Role>,
    /// The commit at which the caller was told its last answer.
    pub(super) since: Option<u64>,
    /// The circle's last commit: the first answer has seen it.
    pub(super) least: u64,
}

/// A watch. Dropping it ends the watch.
#[derive(Debug)]
pub(super) enum WatchGuard {
    /// Of a query.
    Query { _watch: QueryGuard },
    /// Of a view, which has a task of its own.
    View { _task: DropGuard },
}

/// A watch of a query. Dropping it ends the watch.
#[derive(Debug)]
pub(super) struct QueryGuard {
    id: WatchId,
    circle: mpsc::UnboundedSender<Command>,
}

impl Drop for QueryGuard {
    fn drop(&mut self) {
        metrics().watches.dec();
        // Where the task is gone, so is the watch.
        let _ = self.circle.send(Command::Unwatch(self.id));
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Watch(..) => "Watch",
            Self::Unwatch(_) => "Unwatch",
            Self::Refresh => "Refresh",
            Self::End => "End",
        })
    }
}

impl Watches {
    /// Creates the live queries of a server, which has none yet.
    pub fn new(dispatcher: Dispatcher, limits: WatchLimits) -> Self {
        Self(Arc::new(Inner {
            circles: DashMap::new(),
            dispatcher,
            places: Shares::new(Bounds {
                places: limits.max_queries,
                share: limits.max_queries,
                shared_places: limits.max_queries,
            }),
            memory: MemoryBudget::new(QUERY_BYTES, limits.query_bytes),
            crowded: Notify::new(),
            limits,
            last_watch: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Returns the most watches of a session.
    pub(super) fn max_watches(&self) -> usize {
        self.0.limits.max_watches
    }

    /// Begins a watch in a circle.
    ///
    /// # Errors
    /// There is no memory for its script and arguments.
    pub(super) async fn watch(
        &self,
        circle: PublicKey,
        wanted: Wanted,
        watcher: SessionWatch,
    ) -> Result<WatchGuard, OverBudget> {
        let room = self.reserve(circle, spec::bytes(&wanted.script, &wanted.args));
        let spec = Spec::new(wanted.script, wanted.args, room.await?);
        let id = self.0.last_watch.fetch_add(1, Ordering::Relaxed);
        let new = NewWatch {
            spec: Arc::new(spec),
            caller: wanted.caller,
            requires: wanted.requires,
            since: wanted.since,
            least: wanted.least,
            watcher,
        };
        let circle = self.circle(circle);
        let _ = circle.task.send(Command::Watch(id, Box::new(new)));
        metrics().watches.inc();
        let watch = QueryGuard {
            id,
            circle: circle.task.clone(),
        };
        Ok(WatchGuard::Query { _watch: watch })
    }

    /// Begins a watch of a view: runs its task until the watch ends.
    pub(super) fn view<F>(&self, run: impl FnOnce(CancellationToken) -> F) -> WatchGuard
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let over = self.0.stop.child_token();
        self.0.tasks.spawn(run(over.clone()));
        WatchGuard::View {
            _task: over.drop_guard(),
        }
    }

    /// Reserves memory in a circle. If there is too little, queries that nobody watches make room.
    async fn reserve(&self, circle: PublicKey, bytes: usize) -> Result<Reservation, OverBudget> {
        let memory = self.circle(circle).memory.clone();
        for _ in 0..ROOM_TRIES {
            match memory.try_reserve(bytes) {
                Err(over) if !over.never => {}
                reserved => return reserved,
            }
            self.0.crowded.notify_waiters();
            sleep(ROOM_PAUSE).await;
        }
        memory.try_reserve(bytes)
    }

    /// Returns a circle, and begins its task if it has none. It is locked meanwhile, so that the task doesn't end with a
    /// message unread.
    fn circle(&self, key: PublicKey) -> RefMut<'_, PublicKey, Circle> {
        let start = || {
            let (task, commands) = mpsc::unbounded_channel();
            let memory = &self.0.memory;
            let memory = memory.share(QUERY_BYTES, self.0.limits.query_bytes / 2);
            let circle = CircleTask::new(self.0.clone(), key, memory.clone(), commands);
            self.0.tasks.spawn(circle.run());
            Circle { task, memory }
        };
        let mut circle = self.0.circles.entry(key).or_insert_with(start);
        if circle.task.is_closed() {
            // It has panicked.
            *circle = start();
        }
        circle
    }

    /// Notes that the settings have changed. Queries of circles with other members run again; where somebody may do less,
    /// all watches end, as their sessions do.
    pub fn on_change(&self, change: &Change) {
        for circle in &self.0.circles {
            let command = if change.narrows(circle.key()) {
                Command::End
            } else if change.changes_members(circle.key()) {
                Command::Refresh
            } else {
                continue;
            };
            let _ = circle.task.send(command);
        }
    }

    /// Ends the tasks, after the last session has ended.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        let _ = timeout(END, self.0.tasks.wait()).await;
    }
}
