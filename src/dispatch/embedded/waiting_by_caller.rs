//! The numbers of a circle's durable jobs that wait, by the caller who submitted them.

use std::collections::HashMap;

use circled_protocol::PublicKey;

use crate::dispatch::JobRecord;

/// The caller who submitted a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Submitter {
    pub(super) key: PublicKey,
    /// True if the caller was below member then.
    pub(super) is_guest: bool,
}

impl Submitter {
    /// Returns the submitter of a job that is no delivery.
    pub(super) fn of(job: &JobRecord) -> Option<Self> {
        let key = job.submitter()?;
        let is_guest = job.by_guest;
        Some(Self { key, is_guest })
    }
}

/// How many jobs wait of each caller, and of all guests together.
#[derive(Debug, Default)]
pub(super) struct WaitingByCaller {
    callers: HashMap<PublicKey, usize>,
    of_guests: usize,
}

impl WaitingByCaller {
    /// Returns how many jobs of a caller wait.
    pub(super) fn of(&self, caller: &PublicKey) -> usize {
        self.callers.get(caller).copied().unwrap_or(0)
    }

    /// Returns how many jobs of guests wait.
    pub(super) fn of_guests(&self) -> usize {
        self.of_guests
    }

    /// Counts one more job, if a caller submitted it.
    pub(super) fn add(&mut self, submitter: Option<Submitter>) {
        if let Some(Submitter { key, is_guest }) = submitter {
            *self.callers.entry(key).or_default() += 1;
            self.of_guests += usize::from(is_guest);
        }
    }

    /// Counts one job less.
    pub(super) fn remove(&mut self, submitter: Option<Submitter>) {
        let Some(Submitter { key, is_guest }) = submitter else {
            return;
        };
        if let Some(waiting) = self.callers.get_mut(&key) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.callers.remove(&key);
            }
        }
        self.of_guests = self.of_guests.saturating_sub(usize::from(is_guest));
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::{Submitter, WaitingByCaller};

    #[test]
    fn each_job_counts_once() {
        let submitter = |byte: &str, is_guest| {
            let key = SecretKey::from_hex(&byte.repeat(32)).unwrap().public();
            Some(Submitter { key, is_guest })
        };
        let of = |waiting: &WaitingByCaller, one: Option<Submitter>| waiting.of(&one.unwrap().key);
        let (guest, member) = (submitter("01", true), submitter("02", false));
        let mut waiting = WaitingByCaller::default();
        for one in [guest, guest, member, None] {
            waiting.add(one);
        }
        assert_eq!((of(&waiting, guest), of(&waiting, member)), (2, 1));
        assert_eq!(waiting.of_guests(), 2);
        for one in [guest, member, None, member] {
            waiting.remove(one);
        }
        assert_eq!((of(&waiting, guest), of(&waiting, member)), (1, 0));
        assert_eq!(waiting.of_guests(), 1);
        waiting.remove(guest);
        assert!(waiting.callers.is_empty() && waiting.of_guests() == 0);
    }
}
