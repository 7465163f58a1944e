//! The figures of a backend that are looked up when somebody asks, for `/metrics`.

use jiff::Timestamp;

use super::Workers;

/// The figures of a backend right now.
#[derive(Debug, Default)]
pub struct Figures {
    /// Tasks that wait for a script thread.
    pub script_queue: usize,
    /// Tasks of sessions that wait for a place in that queue.
    pub waiting_room: usize,
    /// The durable jobs, if they could be looked at.
    pub jobs: Option<JobFigures>,
    /// The figures of the data folder, if there is one.
    pub disk: Option<DiskFigures>,
    /// The figures of Redis, if it is used.
    pub redis: Option<RedisFigures>,
}

/// The figures of all circles' durable jobs.
#[derive(Debug)]
pub struct JobFigures {
    /// Jobs that are not over.
    pub pending: u64,
    /// The time when the oldest of those came that run or may run now; in Redis, when it went into its stream.
    pub oldest: Option<Timestamp>,
    /// Dead letters.
    pub dead: u64,
}

/// The figures of the data folder.
#[derive(Debug)]
pub struct DiskFigures {
    /// Bytes of the disk that are free.
    pub free: Option<u64>,
    /// The bytes that have to be free.
    pub min_free: u64,
    /// Bytes of commits that wait to be written.
    pub write_queue: u64,
}

/// The figures of Redis, as this server sees it.
#[derive(Debug)]
pub struct RedisFigures {
    /// True if it can be used.
    pub is_up: bool,
    /// The jobs that are in its streams, plays and durable ones, if they could be counted.
    pub queue: Option<u64>,
    /// The workers that a gateway has seen, if it has looked.
    pub workers: Option<Workers>,
}
