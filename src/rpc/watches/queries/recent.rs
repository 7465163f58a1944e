//! The last commits of a circle.

use std::{collections::VecDeque, sync::Arc};

use crate::{script::Reads, store::Commit};

/// The keys of commits that are kept to be compared with what the runs under way have read.
pub(super) const RECENT_KEYS: usize = 4096;

/// The last commits.
#[derive(Debug)]
pub(super) struct Recent {
    commits: VecDeque<Arc<Commit>>,
    keys: usize,
    /// All commits after this one are here.
    complete_after: u64,
    /// The last one that has come and is not here.
    dropped: u64,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self {
            commits: VecDeque::new(),
            keys: 0,
            complete_after: u64::MAX,
            dropped: 0,
        }
    }

    pub(super) fn push(&mut self, commit: Arc<Commit>) {
        self.keys += commit.keys.len();
        self.commits.push_back(commit);
        while self.keys > RECENT_KEYS
            && let Some(oldest) = self.commits.pop_front()
        {
            self.keys -= oldest.keys.len();
            self.pass_over(oldest.number);
        }
    }

    /// Notes that the commits up to this one need not be here.
    pub(super) fn pass_over(&mut self, last: u64) {
        self.dropped = self.dropped.max(last);
        self.complete_after = self.complete_after.max(last);
    }

    /// Notes that all commits after this one have come.
    pub(super) fn complete(&mut self, after: u64) {
        self.complete_after = after.max(self.dropped);
    }

    pub(super) fn clear(&mut self) {
        self.dropped = 0;
        self.commits.clear();
        self.keys = 0;
        self.complete_after = u64::MAX;
    }

    /// Returns whether a commit after this one may have touched what was read.
    pub(super) fn touches(&self, at: u64, reads: &Reads) -> bool {
        let commits = self.commits.iter().rev();
        let mut later = commits.take_while(|commit| commit.number > at);
        at < self.complete_after
            || later.any(|commit| commit.keys.iter().any(|key| reads.contain(key)))
    }
}
