//! The room for a circle's durable jobs that wait.

use super::JobRecord;

/// The most of a circle's jobs that may wait, a new one among them: of all, of its caller, and of all guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) of_all: usize,
    pub(super) of_caller: usize,
    pub(super) of_guests: usize,
}

impl Room {
    /// Returns the room for a new job, where `backlog` jobs may wait in all. Callers leave half of that to deliveries. Of
    /// the other half, a quarter is for the owner alone, and each other caller gets a quarter at most. Keys cost nothing,
    /// so all guests together get half of it.
    pub(super) fn of(job: &JobRecord, backlog: usize) -> Self {
        let Some(caller) = job.submitter() else {
            return Self::all(backlog, backlog);
        };
        let half = most_waiting(backlog, true);
        if caller == job.circle {
            return Self::all(half, backlog);
        }
        let share = half.div_ceil(4);
        Self {
            of_all: half.saturating_sub(half / 4),
            of_caller: share,
            of_guests: if job.by_guest { half.div_ceil(2) } else { half },
        }
    }

    fn all(of_all: usize, backlog: usize) -> Self {
        Self {
            of_all,
            of_caller: backlog,
            of_guests: backlog,
        }
    }
}

/// Returns how many of a circle's jobs may wait when one more comes, of `backlog` in all: submitted jobs leave half of the
/// room to deliveries.
pub(super) fn most_waiting(backlog: usize, has_submitter: bool) -> usize {
    if has_submitter {
        backlog.div_ceil(2)
    } else {
        backlog
    }
}
