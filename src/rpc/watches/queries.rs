//! The queries of one circle and who watches them, without any I/O: a state machine.
//!
//! A query runs when somebody begins to watch it, and again after each commit that touches what it has read. Inputs are
//! the commits of the circle in their order, the results of runs, and that commits may have been missed. What is to be
//! done comes out: runs ([`Queries::next_run`]), reads of roles ([`Queries::next_confirm`]), and what watchers are told.
//!
//! These always hold:
//! - A result counts once all commits are known that it has seen. So whoever is removed from the circle by one of them
//!   isn't told of it.
//! - A query rests only if no commit since its run has touched what it has read.
//!
//! While all queries rest, commits that touch nothing need not come ([`Queries::wanted`]): their numbers do.

mod recent;
mod telling;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use circled_protocol::{Permission, PublicKey, Role};

use self::recent::Recent;
use super::{
    answer::{Answer, Content},
    index::Index,
    spec::Spec,
};
use crate::{
    circle::{self, Caller},
    script::{Reads, RunError},
    shares::{ShareGuard, Shares},
    store::{Commit, CommitSignal, Key, WantedKeys},
};

/// The time for which a query that nobody watches is kept until something changes: whoever comes back finds it.
pub(super) const LINGER: Duration = Duration::from_secs(60);
/// The pause before a query that could not run is tried again. It doubles up to the longest.
const RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(8);

/// The name of a query in its circle.
pub(super) type QueryId = u64;
/// The name of a watch in its circle.
pub(super) type WatchId = u64;

/// Is told of the answers of one watch: a session, or a test.
pub(in crate::rpc) trait Watcher {
    /// Begins with the first answer, which is so at a commit; the caller may have it already.
    fn begin(&mut self, answer: &Arc<Answer>, is_known: bool, at: u64);
    /// Tells of another answer, which is so at a commit.
    fn tell(&mut self, answer: &Arc<Answer>, at: u64);
    /// Ends the watch. If it hasn't begun, it fails.
    fn end(&mut self, why: Ended);
}

/// The reason for the end of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rpc) enum Ended {
    /// The caller lacks this role.
    Needs(Role),
    /// It can't run, or not by the caller's device key.
    Failed(RunError),
}

/// A watch that is to begin.
pub(super) struct NewWatch<W> {
    pub(super) spec: Arc<Spec>,
    pub(super) caller: Caller<'static>,
    /// The role that the circle's list must give the caller.
    pub(super) requires: Option<Role>,
    /// The commit at which the caller was told its last answer.
    pub(super) since: Option<u64>,
    /// The commit that the first answer must have seen.
    pub(super) least: u64,
    pub(super) watcher: W,
}

/// The result of a run.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) answer: Arc<Answer>,
    /// The last commit that it has seen.
    pub(super) at: u64,
    pub(super) reads: Reads,
    pub(super) by_caller: bool,
}

/// Tells queries apart: those that use the caller belong to one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct QueryKey {
    spec: [u8; 32],
    caller: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// Nothing has changed since it ran.
    Idle,
    /// It waits for its turn.
    Waiting,
    /// It runs; if so, it must run again whatever comes of it.
    Running { again: bool },
    /// It could not run, and is tried again after a pause.
    Paused,
}

struct Query {
    key: QueryKey,
    spec: Arc<Spec>,
    /// The caller who it runs as. Unless it uses the caller, it is the same for all.
    caller: Caller<'static>,
    run: Run,
    answer: Option<Arc<Answer>>,
    /// The commit at which the answer is known to be so.
    at: u64,
    /// The commit at which it was first known to be so.
    changed_at: u64,
    reads: Reads,
    watches: BTreeSet<WatchId>,
    /// Runs in a row that failed.
    failures: u32,
    /// The first look at which nobody watched it.
    unwatched: Option<Instant>,
    _place: ShareGuard<PublicKey>,
}

struct Watch<W> {
    query: QueryId,
    caller: Caller<'static>,
    requires: Option<Role>,
    since: Option<u64>,
    least: u64,
    role: RoleCheck,
    has_begun: bool,
    /// The digest of the answer that it was told last.
    told: Option<[u8; 32]>,
    watcher: W,
}

/// The state of the check of a watcher's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoleCheck {
    Confirmed,
    /// It waits for its turn.
    Waiting,
    /// It is being read; if so, it must be read again.
    Reading {
        again: bool,
    },
}

/// A part of what is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Query(QueryId),
    /// The role of a watch's caller.
    Watch(WatchId),
}

/// The queries of one circle, and who watches them.
pub(super) struct Queries<W> {
    queries: HashMap<QueryId, Query>,
    by_key: HashMap<QueryKey, QueryId>,
    watches: HashMap<WatchId, Watch<W>>,
    index: Arc<Index<Target>>,
    recent: Recent,
    /// All commits up to this one are known, or were before the feed began.
    seen: u64,
    /// The last commit that came.
    last_fed: Option<u64>,
    /// False until it is known which commits were missed.
    is_synced: bool,
    /// Numbers up to this one may be those of commits that Redis has lost since.
    distrusted: u64,
    to_run: VecDeque<QueryId>,
    /// The number of runs under way.
    runs: usize,
    to_confirm: VecDeque<WatchId>,
    /// Results that have seen commits which aren't known yet.
    held: Vec<(QueryId, Ran)>,
    /// Watches of resting queries that wait for a commit to be known.
    late: BTreeSet<(u64, WatchId)>,
    last_query: QueryId,
    circle: PublicKey,
    places: Shares<PublicKey>,
}

impl<W: Watcher> Queries<W> {
    pub(super) fn new(circle: PublicKey, places: Shares<PublicKey>) -> Self {
        Self {
            queries: HashMap::new(),
            by_key: HashMap::new(),
            watches: HashMap::new(),
            index: Arc::new(Index::new()),
            recent: Recent::new(),
            seen: 0,
            last_fed: None,
            is_synced: false,
            distrusted: 0,
            to_run: VecDeque::new(),
            runs: 0,
            to_confirm: VecDeque::new(),
            held: Vec::new(),
            late: BTreeSet::new(),
            last_query: 0,
            circle,
            places,
        }
    }

    /// Returns whether there is nothing here.
    pub(super) fn is_empty(&self) -> bool {
        self.queries.is_empty() && self.watches.is_empty()
    }

    /// Returns the last commit that is known.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Returns whether the number of the last commit must be read: commits may have been missed.
    pub(super) fn needs_sync(&self) -> bool {
        !self.is_synced
    }

    /// Returns the keys that commits must touch to be told; `None`: all commits are. This must hold from before a run
    /// begins: which keys it reads isn't known until it ends.
    pub(super) fn wanted(&self) -> Option<Arc<dyn WantedKeys>> {
        let waits = self.runs > 0 || !(self.to_run.is_empty() && self.held.is_empty());
        let waits = waits || !self.late.is_empty();
        (self.is_synced && !waits).then(|| self.index.clone() as _)
    }

    /// Notes what the feed tells of commits.
    pub(super) fn on_signal(&mut self, signal: &CommitSignal) {
        match signal {
            CommitSignal::Commit(commit) => self.on_commit(commit),
            CommitSignal::Unwanted { first, last } => {
                self.on_number(*first);
                self.last_fed = Some(*last);
                self.seen = self.seen.max(*last);
                self.recent.pass_over(*last);
                self.on_seen();
            }
            CommitSignal::Missed => self.on_missed(),
        }
    }

    /// Begins a watch.
    pub(super) fn watch(&mut self, id: WatchId, new: NewWatch<W>) {
        let NewWatch {
            spec,
            caller,
            requires,
            since,
            least,
            mut watcher,
        } = new;
        let Some(query) = self.find_or_add(&spec, &caller, false) else {
            watcher.end(Ended::Failed(RunError::limit("circles.max_queries")));
            return;
        };
        let mut role = RoleCheck::Confirmed;
        let role_key = role_key(&caller).filter(|_| requires.is_some());
        let keys = role_key.into_iter().chain(device_key(&caller));
        for key in keys {
            // From here on, a change of the role, or of the device key, is noticed.
            self.index.insert_key(key, Target::Watch(id));
            role = RoleCheck::Waiting;
        }
        if role == RoleCheck::Waiting {
            self.to_confirm.push_back(id);
        }
        let watch = Watch {
            query,
            caller,
            requires,
            since,
            least,
            role,
            has_begun: false,
            told: None,
            watcher,
        };
        self.watches.insert(id, watch);
        self.attach(query, id);
        self.tell(id);
    }

    /// Ends a watch that its caller has left.
    pub(super) fn unwatch(&mut self, id: WatchId) {
        self.take_watch(id);
    }

    /// Removes queries that nobody has watched for a while.
    pub(super) fn expire(&mut self, now: Instant) {
        let unwatched = self.queries.iter_mut();
        let unwatched = unwatched.filter(|(_, query)| query.watches.is_empty());
        let over = unwatched.filter_map(|(id, query)| {
            let since = *query.unwatched.get_or_insert(now);
            (now.duration_since(since) >= LINGER).then_some(*id)
        });
        for id in over.collect::<Vec<_>>() {
            self.remove_query(id);
        }
    }

    /// Notes the number of the commit that comes.
    fn on_number(&mut self, number: u64) {
        let follows = self.last_fed.is_none_or(|last| number == last + 1);
        if !follows {
            // There is a hole; or Redis has lost commits, and gives their numbers again.
            self.on_missed();
        }
        self.last_fed = Some(number);
        self.seen = self.seen.max(number);
    }

    /// Notes a commit.
    fn on_commit(&mut self, commit: &Arc<Commit>) {
        let number = commit.number;
        self.on_number(number);
        self.recent.push(commit.clone());
        for target in self.index.watching(&commit.keys) {
            match target {
                Target::Query(id) => {
                    let query = self.queries.get(&id);
                    if query.is_some_and(|query| query.at < number) {
                        self.touch(id);
                    }
                }
                Target::Watch(id) => self.confirm_again(id),
            }
        }
        self.on_seen();
    }

    /// Notes that there may have been commits which didn't come.
    pub(super) fn on_missed(&mut self) {
        self.distrusted = self.distrusted.max(self.seen);
        self.is_synced = false;
        self.last_fed = None;
        self.recent.clear();
        for (id, _) in std::mem::take(&mut self.held) {
            if let Some(query) = self.queries.get_mut(&id) {
                query.run = Run::Idle;
            }
        }
        let all: Vec<_> = self.queries.keys().copied().collect();
        for id in all {
            if let Some(query) = self.queries.get_mut(&id)
                && let Run::Running { again } = &mut query.run
            {
                *again = true;
            } else {
                self.touch(id);
            }
        }
        let all: Vec<_> = self.watches.keys().copied().collect();
        for id in all {
            self.confirm_again(id);
        }
    }

    /// Notes the number of the last commit, as it was read after commits may have been missed.
    pub(super) fn on_synced(&mut self, last: u64) {
        if self.is_synced {
            return;
        }
        self.is_synced = true;
        // What came meanwhile may be newer.
        self.seen = self.last_fed.map_or(last, |fed| fed.max(last));
        self.recent.complete(last);
        self.on_seen();
    }

    /// Takes a query that is to run now.
    pub(super) fn next_run(&mut self) -> Option<(QueryId, Arc<Spec>, Caller<'static>)> {
        while let Some(id) = self.to_run.pop_front() {
            let Some(query) = self.queries.get_mut(&id) else {
                continue;
            };
            if query.run != Run::Waiting {
                continue;
            }
            if query.watches.is_empty() {
                self.remove_query(id);
                continue;
            }
            query.run = Run::Running { again: false };
            self.runs += 1;
            return Some((id, query.spec.clone(), query.caller.clone()));
        }
        None
    }

    /// Notes the result of a run.
    pub(super) fn on_ran(&mut self, id: QueryId, ran: Ran) {
        self.runs -= 1;
        let Some(query) = self.queries.get_mut(&id) else {
            return;
        };
        if query.run == (Run::Running { again: true }) {
            self.wait(id);
        } else if self.is_synced && ran.at <= self.seen {
            self.apply(id, ran);
        } else {
            self.held.push((id, ran));
        }
    }

    /// Notes that a run failed, through no fault of what it has read. Returns the pause after which
    /// [`Self::on_retry`] has it run again.
    pub(super) fn on_failed(&mut self, id: QueryId, error: &RunError) -> Option<Duration> {
        self.runs -= 1;
        let query = self.queries.get_mut(&id)?;
        let pause = RETRY.saturating_mul(1 << query.failures.min(8));
        query.failures += 1;
        query.run = Run::Paused;
        let watches: Vec<_> = query.watches.iter().copied().collect();
        let waiting = watches.iter().filter(|id| {
            let watch = self.watches.get(id);
            watch.is_some_and(|watch| !watch.has_begun)
        });
        let waiting: Vec<_> = waiting.copied().collect();
        for id in waiting {
            self.end(id, Ended::Failed(error.clone()));
        }
        if is_told(error) {
            let answer = Answer::new(Content::Failed(error.clone()), None);
            let at = self.seen;
            self.answer(id, answer, at);
        }
        let query = self.queries.get(&id)?;
        if query.watches.is_empty() {
            self.remove_query(id);
            return None;
        }
        Some(pause.min(LONGEST_RETRY))
    }

    /// Has a query run again after a pause.
    pub(super) fn on_retry(&mut self, id: QueryId) {
        let query = self.queries.get(&id);
        if query.is_some_and(|query| query.run == Run::Paused) {
            self.wait(id);
        }
    }

    /// Takes a watch whose caller's role is to be read now; with the permission that a device key needs for it. Before it is known which commits were missed, a role may be
    /// older than they are.
    pub(super) fn next_confirm(&mut self) -> Option<(WatchId, Permission, Caller<'static>)> {
        while self.is_synced
            && let Some(id) = self.to_confirm.pop_front()
        {
            if let Some(watch) = self.watches.get_mut(&id)
                && watch.role == RoleCheck::Waiting
                && let Some(query) = self.queries.get(&watch.query)
            {
                watch.role = RoleCheck::Reading { again: false };
                return Some((id, query.spec.permission(), watch.caller.clone()));
            }
        }
        None
    }

    /// Notes the role that the circle's list gives a watch's caller.
    pub(super) fn on_role(&mut self, id: WatchId, role: Option<Role>) {
        let Some(watch) = self.watches.get_mut(&id) else {
            return;
        };
        if watch.role == (RoleCheck::Reading { again: true }) {
            watch.role = RoleCheck::Waiting;
            self.to_confirm.push_back(id);
            return;
        }
        match watch.requires {
            Some(needs) if role < Some(needs) => self.end(id, Ended::Needs(needs)),
            _ => {
                watch.role = RoleCheck::Confirmed;
                self.tell(id);
            }
        }
    }

    /// Notes that the device key by which a watch's caller acts is theirs no more, or doesn't permit it.
    pub(super) fn on_device(&mut self, id: WatchId, why: RunError) {
        self.end(id, Ended::Failed(why));
    }

    /// Notes that a role, or a device key, couldn't be read: it is read again.
    pub(super) fn on_role_unknown(&mut self, id: WatchId) {
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.role = RoleCheck::Waiting;
            self.to_confirm.push_back(id);
        }
    }

    fn find_or_add(
        &mut self,
        spec: &Arc<Spec>,
        caller: &Caller<'static>,
        by_caller: bool,
    ) -> Option<QueryId> {
        let shared = QueryKey {
            spec: spec.digest,
            caller: None,
        };
        let own = QueryKey {
            caller: Some(caller.to_string().into()),
            ..shared.clone()
        };
        let known = self.by_key.get(&own);
        let known = known.or_else(|| self.by_key.get(&shared).filter(|_| !by_caller));
        if let Some(id) = known {
            return Some(*id);
        }
        let place = self.places.take(Some(self.circle)).or_else(|_| {
            self.forget_unwatched();
            self.places.take(Some(self.circle))
        });
        let place = place.ok()?;
        self.last_query += 1;
        let id = self.last_query;
        let key = if by_caller { own } else { shared };
        self.by_key.insert(key.clone(), id);
        let query = Query {
            key,
            spec: spec.clone(),
            // Who watches is checked one by one.
            caller: caller.without_device(),
            run: Run::Idle,
            answer: None,
            at: 0,
            changed_at: 0,
            reads: Reads::default(),
            watches: BTreeSet::new(),
            failures: 0,
            unwatched: None,
            _place: place,
        };
        self.queries.insert(id, query);
        self.wait(id);
        Some(id)
    }

    fn attach(&mut self, query: QueryId, watch: WatchId) {
        if let Some(query) = self.queries.get_mut(&query) {
            query.watches.insert(watch);
            query.unwatched = None;
        }
    }

    /// Ends all watches, and forgets all queries.
    pub(super) fn end_all(&mut self) {
        let watches: Vec<_> = self.watches.keys().copied().collect();
        for id in watches {
            self.end(id, Ended::Failed(RunError::Cancelled));
        }
        self.forget_unwatched();
    }

    /// Removes queries that nobody watches.
    pub(super) fn forget_unwatched(&mut self) {
        let unwatched = self.queries.iter();
        let unwatched = unwatched.filter(|(_, query)| query.watches.is_empty());
        let unwatched: Vec<_> = unwatched.map(|(id, _)| *id).collect();
        for id in unwatched {
            self.remove_query(id);
        }
    }

    fn remove_query(&mut self, id: QueryId) {
        if let Some(query) = self.queries.remove(&id) {
            self.index.remove(&query.reads, Target::Query(id));
            if self.by_key.get(&query.key) == Some(&id) {
                self.by_key.remove(&query.key);
            }
        }
    }

    fn take_watch(&mut self, id: WatchId) -> Option<Watch<W>> {
        let watch = self.watches.remove(&id)?;
        let keys = role_key(&watch.caller).into_iter();
        for key in keys.chain(device_key(&watch.caller)) {
            self.index.remove_key(&key, Target::Watch(id));
        }
        self.late.remove(&(watch.least, id));
        if let Some(query) = self.queries.get_mut(&watch.query) {
            query.watches.remove(&id);
        }
        Some(watch)
    }

    fn end(&mut self, id: WatchId, why: Ended) {
        if let Some(mut watch) = self.take_watch(id) {
            watch.watcher.end(why);
        }
    }

    /// Notes that something has changed that a query has read.
    fn touch(&mut self, id: QueryId) {
        let Some(query) = self.queries.get(&id) else {
            return;
        };
        match query.run {
            Run::Idle if query.watches.is_empty() => self.remove_query(id),
            Run::Idle => self.wait(id),
            // What a run has read is compared with the commits that came meanwhile.
            Run::Waiting | Run::Running { .. } | Run::Paused => {}
        }
    }

    fn wait(&mut self, id: QueryId) {
        if let Some(query) = self.queries.get_mut(&id) {
            query.run = Run::Waiting;
            // Whoever waits for a first answer comes before those who have one.
            match query.answer {
                None => self.to_run.push_front(id),
                Some(_) => self.to_run.push_back(id),
            }
        }
    }

    fn confirm_again(&mut self, id: WatchId) {
        let Some(watch) = self.watches.get_mut(&id) else {
            return;
        };
        match &mut watch.role {
            RoleCheck::Confirmed if watch.requires.is_some() || watch.caller.device().is_some() => {
                watch.role = RoleCheck::Waiting;
                self.to_confirm.push_back(id);
            }
            RoleCheck::Reading { again } => *again = true,
            RoleCheck::Confirmed | RoleCheck::Waiting => {}
        }
    }

    /// Goes on with what waited for commits to be known.
    fn on_seen(&mut self) {
        if !self.is_synced {
            return;
        }
        let seen = self.seen;
        if !self.held.is_empty() {
            let is_known = |(_, ran): &mut (QueryId, Ran)| ran.at <= seen;
            let known: Vec<_> = self.held.extract_if(.., is_known).collect();
            for (id, ran) in known {
                self.apply(id, ran);
            }
        }
        while let Some((least, id)) = self.late.first().copied()
            && least <= seen
        {
            self.late.pop_first();
            self.tell(id);
        }
    }
}

/// Returns whether watchers are told of the error of a run. Others pass by themselves.
fn is_told(error: &RunError) -> bool {
    match error {
        RunError::TimedOut { .. }
        | RunError::Displaced
        | RunError::Limit { .. }
        | RunError::Conflict
        | RunError::Failed(_)
        | RunError::NotFound { .. }
        | RunError::Forbidden { .. }
        | RunError::OutOfScope { .. }
        | RunError::UnknownDevice
        | RunError::Outdated { .. }
        | RunError::Invalid { .. } => true,
        RunError::Cancelled | RunError::Unavailable => false,
    }
}

/// Returns the key of the store that has a caller's role.
fn role_key(caller: &Caller<'_>) -> Option<Key> {
    caller.key().map(circle::member_key)
}

/// Returns the key of the store that has the device key by which a caller acts.
fn device_key(caller: &Caller<'_>) -> Option<Key> {
    caller.device().map(circle::device_record_key)
}

#[cfg(test)]
mod tests;
