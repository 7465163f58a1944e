//! A circle that is being restored: what is written once all of its records are.

use circled_protocol::JobId;
use jiff::Timestamp;

use crate::{
    backup::Head,
    dispatch::JobRecord,
    store::{self, is_request},
};

/// The circle that is being written.
pub(super) struct Circle {
    pub(super) head: Head,
    /// Bytes of the store, those of replies to requests excepted.
    pub(super) bytes: usize,
    /// The first time at which a key of the store expires.
    pub(super) first_expiry: i64,
    /// By how much events exceed their shares of the log, and the number of the first one.
    pub(super) excess: usize,
    pub(super) first_event: Option<u64>,
    /// Jobs that wait for a time.
    pub(super) delayed: usize,
    /// The last job that could run at once, and when it came.
    pub(super) last_ready: Option<(JobId, Timestamp)>,
}

/// When a job runs.
pub(super) enum Due {
    /// It is over.
    Never,
    /// At this time.
    At(Timestamp),
    /// In its turn, after this one, which isn't in the backlog yet.
    After(Option<JobId>),
}

impl Circle {
    pub(super) fn new(head: Head) -> Self {
        Self {
            head,
            bytes: 0,
            first_expiry: i64::MAX,
            excess: 0,
            first_event: None,
            delayed: 0,
            last_ready: None,
        }
    }

    /// Counts an entry of so many bytes.
    pub(super) fn note_entry(&mut self, key: &[u8], size: usize, expiry: Option<i64>) {
        // Those don't count in the quota.
        if !is_request(key) {
            self.bytes += size;
        }
        self.first_expiry = self.first_expiry.min(expiry.unwrap_or(i64::MAX));
    }

    /// Counts an event as `prelude.lua` does.
    pub(super) fn note_event(&mut self, number: u64, bytes: usize, limits: &store::Settings) {
        let share = limits.event_log_bytes.get() / limits.event_log.get();
        self.excess += bytes.saturating_sub(share);
        self.first_event.get_or_insert(number);
    }

    /// Returns the time that a job waits for, or that another one that could run at once comes before it in the backlog.
    pub(super) fn due(&mut self, job: &JobRecord, is_open: bool) -> Due {
        if !is_open {
            return Due::Never;
        }
        let now = Timestamp::now();
        match job.due.filter(|due| *due > now) {
            Some(due) => {
                self.delayed += 1;
                Due::At(due)
            }
            None => Due::After(
                self.last_ready
                    .replace((job.id, job.received_at))
                    .map(|(id, _)| id),
            ),
        }
    }
}
