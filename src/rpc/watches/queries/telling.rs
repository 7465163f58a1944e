//! The answers of queries, and who is told of them.

use std::sync::Arc;

use super::{
    super::answer::{Answer, Content},
    Ended, Queries, QueryId, Ran, RoleCheck, Run, Target, WatchId, Watcher,
};
use crate::script::RunError;

impl<W: Watcher> Queries<W> {
    /// Makes a result the query's answer.
    pub(super) fn apply(&mut self, id: QueryId, ran: Ran) {
        let Ran {
            answer,
            at,
            reads,
            by_caller,
        } = ran;
        let Some(query) = self.queries.get_mut(&id) else {
            return;
        };
        query.failures = 0;
        query.run = Run::Idle;
        let before = std::mem::replace(&mut query.reads, reads);
        if before != query.reads {
            self.index.remove(&before, Target::Query(id));
            self.index.insert(&query.reads, Target::Query(id));
        }
        let is_touched = self.recent.touches(at, &query.reads);
        if by_caller {
            self.split(id);
        }
        if is_touched {
            self.touch(id);
        }
        self.answer(id, answer, at);
    }

    /// Sets the answer of a query, and tells those who watch it if they don't have it.
    pub(super) fn answer(&mut self, id: QueryId, answer: Arc<Answer>, at: u64) {
        let Some(query) = self.queries.get_mut(&id) else {
            return;
        };
        query.at = at;
        let before = query.answer.as_ref().map(|before| before.digest());
        if before != Some(answer.digest()) {
            query.answer = Some(answer);
            query.changed_at = at;
        }
        // Those of a query that nobody waits for have been told, but for the new ones.
        let watches: Vec<_> = query.watches.iter().copied().collect();
        for id in watches {
            self.tell(id);
        }
    }

    /// Gives the query to its caller alone. Those of other callers get one of their own.
    fn split(&mut self, id: QueryId) {
        let Some(query) = self.queries.get_mut(&id) else {
            return;
        };
        if query.key.caller.is_none() {
            self.by_key.remove(&query.key);
            query.key.caller = Some(query.caller.to_string().into());
            self.by_key.entry(query.key.clone()).or_insert(id);
        }
        let caller = query.caller.clone();
        let spec = query.spec.clone();
        let others = query.watches.iter().copied().filter(|id| {
            let watch = self.watches.get(id);
            watch.is_some_and(|watch| watch.caller.key() != caller.key())
        });
        for other in others.collect::<Vec<_>>() {
            if let Some(query) = self.queries.get_mut(&id) {
                query.watches.remove(&other);
            }
            let Some(watch) = self.watches.get(&other) else {
                continue;
            };
            let caller = watch.caller.clone();
            match self.find_or_add(&spec, &caller, true) {
                Some(own) => {
                    if let Some(watch) = self.watches.get_mut(&other) {
                        watch.query = own;
                    }
                    self.attach(own, other);
                    self.tell(other);
                }
                None => {
                    let full = RunError::limit("circles.max_queries");
                    self.end(other, Ended::Failed(full));
                }
            }
        }
        let query = self.queries.get(&id);
        if query.is_some_and(|query| query.watches.is_empty()) {
            self.remove_query(id);
        }
    }

    /// Tells a watch the answer of its query, if it may know it and doesn't.
    pub(super) fn tell(&mut self, id: WatchId) {
        let Some(watch) = self.watches.get_mut(&id) else {
            return;
        };
        let Some(query) = self.queries.get(&watch.query) else {
            return;
        };
        let Some(answer) = query
            .answer
            .as_ref()
            .filter(|_| watch.role == RoleCheck::Confirmed)
        else {
            return;
        };
        if watch.has_begun {
            if watch.told != Some(answer.digest()) {
                watch.told = Some(answer.digest());
                watch.watcher.tell(answer, query.at);
            }
            return;
        }
        let is_resting = query.run == Run::Idle && self.is_synced;
        let at = if is_resting {
            query.at.max(self.seen)
        } else {
            query.at
        };
        if at < watch.least {
            if is_resting {
                self.late.insert((watch.least, id));
            }
            return;
        }
        if let Content::Failed(error) = &answer.content {
            let why = Ended::Failed(error.clone());
            self.end(id, why);
            return;
        }
        let is_known = watch.since.is_some_and(|since| {
            query.changed_at <= since && since <= at && since > self.distrusted
        });
        watch.has_begun = true;
        watch.told = Some(answer.digest());
        watch.watcher.begin(answer, is_known, at);
    }
}
