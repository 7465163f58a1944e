//! The task of a circle that somebody watches: follows its commits, and has its queries run.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use circled_protocol::{PublicKey, Role};
use futures_util::{
    FutureExt,
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{interval, sleep},
};
use uuid::Uuid;

use super::{
    Command, Inner, Watcher as _,
    answer::{Answer, Content},
    queries::{Ended, Queries, QueryId, Ran, WatchId},
    spec::Spec,
};
use crate::rpc::subscriptions::SessionWatch;
use crate::{
    circle::{Caller, JobSpec},
    dispatch::{Played, ReservedOutcome},
    memory::MemoryBudget,
    metrics::metrics,
    script::{RunError, Seed, Success},
    store::{CommitFeed, Unavailable},
};

/// Runs of a circle that are under way at once: plays have the rest of the places.
const RUNS: usize = 8;
/// Roles of a circle that are read at once.
const CONFIRMS: usize = 8;
/// The time for which queries run on this thread before others get their turn.
const TURN: Duration = Duration::from_millis(1);
/// The pause before another attempt, after Redis couldn't be reached.
const AGAIN: Duration = Duration::from_millis(500);
/// The interval of checks that no commit was missed, and that somebody still watches.
const CHECK: Duration = Duration::from_secs(2);

/// The end of something that was waited for.
enum Done {
    Run(QueryId, ReservedOutcome),
    Role(WatchId, Result<Option<Role>, Unavailable>),
    /// The device key by which the caller of a watch acts is theirs no more, or doesn't permit it.
    Device(WatchId, RunError),
    /// A query is to be tried again.
    Retry(QueryId),
    /// The number of the last commit was read.
    Synced(Result<u64, Unavailable>),
    /// The same, to be compared with the commits that came.
    Checked(Result<u64, Unavailable>),
}

/// The task of one circle.
pub(super) struct CircleTask {
    inner: Arc<Inner>,
    circle: PublicKey,
    /// The session as which its queries wait for a turn, where too much runs.
    session: Uuid,
    memory: MemoryBudget,
    commands: mpsc::UnboundedReceiver<Command>,
    queries: Queries<SessionWatch>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    runs: usize,
    confirms: usize,
    is_syncing: bool,
    is_checking: bool,
    /// The last commit at the last check, if it wasn't known by then.
    unknown: Option<u64>,
}

impl CircleTask {
    pub(super) fn new(
        inner: Arc<Inner>,
        circle: PublicKey,
        memory: MemoryBudget,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            queries: Queries::new(circle, inner.places.clone()),
            inner,
            circle,
            session: Uuid::new_v4(),
            memory,
            commands,
            under_way: FuturesUnordered::new(),
            runs: 0,
            confirms: 0,
            is_syncing: false,
            is_checking: false,
            unknown: None,
        }
    }

    /// Runs until nobody watches the circle any more.
    pub(super) async fn run(mut self) {
        let stop = self.inner.stop.clone();
        tokio::select! {
            () = self.serve() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn serve(&mut self) {
        // Commits are followed before the first run, so that none is missed in between.
        let mut feed = self.follow().await;
        let mut check = interval(CHECK);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut commands = Vec::new();
        let inner = self.inner.clone();
        loop {
            self.take_commits(&mut feed);
            let is_turn_over = self.start();
            tokio::select! {
                _ = self.commands.recv_many(&mut commands, 256) => {
                    for command in commands.drain(..) {
                        self.on_command(command);
                    }
                }
                signal = feed.next() => self.queries.on_signal(&signal),
                Some(done) = self.under_way.next(), if !self.under_way.is_empty() => {
                    // A result counts once all commits are known that it has seen.
                    self.take_commits(&mut feed);
                    if self.on_done(done) {
                        tracing::debug!(circle = %self.circle, "commits were missed: queries run again");
                        feed = self.follow().await;
                        self.queries.on_missed();
                    }
                }
                _ = check.tick() => {
                    self.queries.expire(Instant::now());
                    if self.queries.is_empty() && self.leave() {
                        return;
                    }
                    self.check();
                }
                () = inner.crowded.notified() => self.queries.forget_unwatched(),
                // More queries wait for their turn on this thread.
                () = yield_now(), if is_turn_over => {}
            }
        }
    }

    /// Follows the commits of the circle. Whoever watches meanwhile is told that it isn't possible now.
    async fn follow(&mut self) -> CommitFeed {
        loop {
            match self.inner.dispatcher.watch_commits(self.circle).await {
                Ok(feed) => return feed,
                Err(Unavailable) => {
                    while let Ok(command) = self.commands.try_recv() {
                        self.refuse(command);
                    }
                    sleep(AGAIN).await;
                }
            }
        }
    }

    fn refuse(&mut self, command: Command) {
        match command {
            Command::Watch(_, mut new) => {
                new.watcher.end(Ended::Failed(RunError::Unavailable));
            }
            Command::Unwatch(id) => self.queries.unwatch(id),
            // All queries run once commits are followed.
            Command::Refresh => {}
            Command::End => self.queries.end_all(),
        }
    }

    /// Ends the task unless somebody wants to watch again. Returns true if it has ended.
    fn leave(&mut self) -> bool {
        let commands = &self.commands;
        let circles = &self.inner.circles;
        let left = circles.remove_if(&self.circle, |_, _| commands.is_empty());
        left.is_some()
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Watch(id, new) => self.queries.watch(id, *new),
            Command::Unwatch(id) => self.queries.unwatch(id),
            Command::Refresh => self.queries.on_missed(),
            Command::End => self.queries.end_all(),
        }
    }

    /// Takes all that the feed tells, and has it tell from then on what is wanted. What has come by now is one step:
    /// queries that it touches run once.
    fn take_commits(&mut self, feed: &mut CommitFeed) {
        loop {
            while let Some(signal) = feed.try_next() {
                self.queries.on_signal(&signal);
            }
            if feed.narrow(self.queries.wanted()) {
                break;
            }
        }
    }

    /// Returns true if commits were missed without notice.
    fn on_done(&mut self, done: Done) -> bool {
        match done {
            Done::Run(id, reserved) => {
                self.runs -= 1;
                self.on_outcome(id, reserved);
            }
            Done::Role(id, role) => {
                self.confirms -= 1;
                match role {
                    Ok(role) => self.queries.on_role(id, role),
                    Err(Unavailable) => self.queries.on_role_unknown(id),
                }
            }
            Done::Device(id, why) => {
                self.confirms -= 1;
                self.queries.on_device(id, why);
            }
            Done::Retry(id) => self.queries.on_retry(id),
            Done::Synced(last) => {
                self.is_syncing = false;
                if let Ok(last) = last {
                    self.queries.on_synced(last);
                }
            }
            Done::Checked(last) => {
                self.is_checking = false;
                return last.is_ok_and(|last| self.has_missed(last));
            }
        }
        false
    }

    /// Returns true if the commits that came aren't those that there were. A commit that is known to Redis comes soon.
    fn has_missed(&mut self, last: u64) -> bool {
        if self.queries.needs_sync() {
            return false;
        }
        let seen = self.queries.seen();
        let before = self.unknown.take();
        if last > seen {
            self.unknown = Some(last);
        }
        before.is_some_and(|before| before > seen)
    }

    fn check(&mut self) {
        if !self.is_checking && !self.queries.needs_sync() {
            self.is_checking = true;
            let (dispatcher, circle) = (self.inner.dispatcher.clone(), self.circle);
            let last = async move { Done::Checked(dispatcher.last_commit(circle).await) };
            self.under_way.push(last.boxed());
        }
    }

    /// Starts what is to be done. Returns true if there is more, and others are to get their turn first.
    fn start(&mut self) -> bool {
        let (dispatcher, circle) = (self.inner.dispatcher.clone(), self.circle);
        if self.queries.needs_sync() && !self.is_syncing {
            self.is_syncing = true;
            let dispatcher = dispatcher.clone();
            let last = async move {
                let last = dispatcher.last_commit(circle).await;
                if last.is_err() {
                    sleep(AGAIN).await;
                }
                Done::Synced(last)
            };
            self.under_way.push(last.boxed());
        }
        while self.confirms < CONFIRMS
            && let Some((id, needs, caller)) = self.queries.next_confirm()
        {
            self.confirms += 1;
            let dispatcher = dispatcher.clone();
            let read = async move {
                let Some(key) = caller.key() else {
                    return Done::Role(id, Ok(None));
                };
                let device = dispatcher.check_device(circle, &caller, Some(needs));
                confirm(id, device, dispatcher.list_role(circle, *key)).await
            };
            self.under_way.push(read.boxed());
        }
        let turn = Instant::now();
        while self.runs < RUNS {
            if turn.elapsed() >= TURN {
                return true;
            }
            let Some((id, spec, caller)) = self.queries.next_run() else {
                break;
            };
            self.play(id, &spec, caller);
        }
        false
    }

    fn play(&mut self, id: QueryId, spec: &Spec, caller: Caller<'static>) {
        metrics().query_runs.increment();
        let Inner {
            dispatcher, limits, ..
        } = &*self.inner;
        let job = JobSpec {
            id: dispatcher.name_play(),
            circle: self.circle,
            caller,
            // Who watches is checked one by one.
            requires: None,
            task: spec.task(limits.watch_reads),
            args: Cow::Borrowed(&spec.args),
            event: None,
            timeout: dispatcher.job_timeout(),
            seed: Seed::draw(),
            durable: None,
            request: None,
            tells_effects: false,
        };
        match dispatcher.play(job, self.session, &self.memory, Instant::now(), true) {
            Played::Now(outcome) => {
                let reservation = None;
                self.on_outcome(
                    id,
                    ReservedOutcome {
                        outcome,
                        reservation,
                    },
                );
            }
            Played::Later(handle) => {
                self.runs += 1;
                let outcome = async move { Done::Run(id, handle.outcome().await) };
                self.under_way.push(outcome.boxed());
            }
        }
    }

    fn on_outcome(&mut self, id: QueryId, reserved: ReservedOutcome) {
        let ran = reserved.outcome.and_then(|success| self.ran(success));
        let ran = ran.map_err(|error| {
            // A worker of an earlier version has refused it.
            let is_refused = matches!(&error, RunError::TimedOut { after, .. } if after.is_zero());
            if is_refused {
                RunError::Unavailable
            } else {
                error
            }
        });
        let at = ran.as_ref().map(|ran| ran.at).ok();
        tracing::debug!(circle = %self.circle, at, "a query ran");
        match ran {
            Ok(ran) => self.queries.on_ran(id, ran),
            Err(error) => {
                tracing::debug!(circle = %self.circle, %error, "a query could not run");
                if let Some(pause) = self.queries.on_failed(id, &error) {
                    let retry = async move {
                        sleep(pause).await;
                        Done::Retry(id)
                    };
                    self.under_way.push(retry.boxed());
                }
            }
        }
    }

    /// Keeps the result of a run, if there is room for it.
    fn ran(&mut self, success: Success) -> Result<Ran, RunError> {
        let Success { value, queried, .. } = success;
        // Whoever ran it doesn't know queries.
        let queried = *queried.ok_or(RunError::Unavailable)?;
        // The text that tells of the value takes as much again.
        let bytes = 2 * value.get().len() + queried.reads.size();
        let room = self.memory.try_reserve(bytes).or_else(|_| {
            self.queries.forget_unwatched();
            self.inner.crowded.notify_waiters();
            self.memory.try_reserve(bytes)
        })?;
        let content = match queried.error {
            None => Content::Value(value),
            Some(error) => Content::Failed(error),
        };
        Ok(Ran {
            answer: Answer::new(content, Some(room)),
            at: queried.at,
            reads: queried.reads,
            by_caller: queried.by_caller,
        })
    }
}

/// Confirms that the caller of a watch may go on. What can't be read is read again: nobody is told of anything by a device
/// key that wasn't.
async fn confirm(
    id: WatchId,
    device: impl Future<Output = Result<(), RunError>>,
    role: impl Future<Output = Result<Option<Role>, Unavailable>>,
) -> Done {
    let role = match device.await {
        Ok(()) => role.await,
        Err(RunError::Unavailable) => Err(Unavailable),
        Err(why) => return Done::Device(id, why),
    };
    if role.is_err() {
        sleep(AGAIN).await;
    }
    Done::Role(id, role)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn a_device_key_that_can_not_be_read_confirms_nothing() {
        let confirm = |device| confirm(1, ready(device), ready(Ok(Some(Role::Member))));
        let unread = confirm(Err(RunError::Unavailable)).await;
        assert!(matches!(unread, Done::Role(1, Err(Unavailable))));
        let gone = confirm(Err(RunError::UnknownDevice)).await;
        assert!(matches!(gone, Done::Device(1, RunError::UnknownDevice)));
        let narrowed = confirm(Err(RunError::OutOfScope { needs: None })).await;
        assert!(matches!(
            narrowed,
            Done::Device(1, RunError::OutOfScope { .. })
        ));
        let read = confirm(Ok(())).await;
        assert!(matches!(read, Done::Role(1, Ok(Some(Role::Member)))));
    }
}
