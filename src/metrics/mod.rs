//! The counters of this process, for `/metrics`.
//!
//! They are in one static, as log lines have one subscriber: everything counts, down to the thread that writes to the disk,
//! and nothing but a scrape reads them. Handing them down would be a parameter of every constructor. A process runs one
//! server; and no decision is made by them, so that tests which share a process don't disturb each other.
//!
//! No label has a value that a user chooses: each is a word of this program, or a provider that the settings name. What is
//! known only when somebody asks, such as the length of a queue, isn't here: `server::scrape` looks at it then.

mod counter;
mod histogram;
mod labels;
mod process;
mod shard;

use std::{sync::LazyLock, time::Duration};

use jiff::Timestamp;
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::{Metric, Registry},
};

pub(crate) use counter::Counter;
pub(crate) use histogram::Histogram;
use labels::BackupLabels;
pub(crate) use labels::{
    CallLabels, CloseLabels, HandshakeLabels, JobLabels, LoginLabels, MethodLabels,
};
pub(crate) use labels::{OK, RunLabels, WebhookLabels};
pub(crate) use process::Process;

/// The beginning of every name.
pub(crate) const PREFIX: &str = "circled";

/// The counters of a process.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) sessions_opened: Counter,
    pub(crate) session_closes: Family<CloseLabels, Counter>,
    pub(crate) tls_handshakes: Family<HandshakeLabels, Counter>,
    pub(crate) logins: Family<LoginLabels, Counter>,
    pub(crate) calls: Family<CallLabels, Counter>,
    pub(crate) call_durations: Family<MethodLabels, Histogram>,
    pub(crate) script_runs: Family<RunLabels, Histogram>,
    pub(crate) conflict_reruns: Counter,
    pub(crate) commits: Counter,
    pub(crate) syncs: Histogram,
    pub(crate) jobs: Family<JobLabels, Counter>,
    pub(crate) webhooks: Family<WebhookLabels, Counter>,
    pub(crate) watches: Gauge,
    pub(crate) query_runs: Counter,
    pub(crate) event_gaps: Counter,
    pub(crate) redis_commands: Histogram,
    pub(crate) redis_command_errors: Counter,
    backups: Family<BackupLabels, Counter>,
    last_backup: Gauge,
    /// The time when the process started.
    pub(crate) started: Timestamp,
    /// All of these, with their names.
    pub(crate) registry: Registry,
}

/// Returns the counters of this process.
pub(crate) fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
        let metrics = Metrics::new();
        metrics.prepare();
        metrics
    });
    &METRICS
}

impl Metrics {
    #[rustfmt::skip] // A table.
    fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let all = &mut registry;
        Self {
            sessions_opened: add(all, "sessions_opened", "Sessions that have begun"),
            session_closes: add(all, "session_closes", "Sessions that have ended, by the code of the close frame; left: by the client, silent: without a pong"),
            tls_handshakes: add(all, "tls_handshakes", "TLS handshakes by outcome; failed: by the client, timeout: too slow, refused: there were too many"),
            logins: add(all, "logins", "Logins by scheme, and ok or the reason why they were refused"),
            calls: add(all, "calls", "Calls by method, and ok or the code of the error"),
            call_durations: add(all, "call_duration_seconds", "Time from a call to its reply, without calls that were refused at once"),
            script_runs: add(all, "script_run_duration_seconds", "Time of runs of scripts, by lane (inline: on the thread of the session, thread: on a script thread) and outcome"),
            conflict_reruns: add(all, "conflict_reruns", "Runs that conflicted with others, and started over"),
            commits: add(all, "commits", "Commits that are stored"),
            syncs: add(all, "sync_duration_seconds", "Time of a synced write of commits; of WAITAOF, where Redis has to sync"),
            jobs: add(all, "jobs", "Runs of durable jobs that have ended, by kind and ending"),
            webhooks: add(all, "webhooks", "Requests of webhooks by provider and HTTP status"),
            watches: add(all, "watches", "Watches of live queries that are open"),
            query_runs: add(all, "query_runs", "Runs of live queries"),
            event_gaps: add(all, "event_gaps", "Gaps that subscribers were told of: the event log had been cut"),
            redis_commands: add(all, "redis_command_duration_seconds", "Time of commands and scripts in Redis, without those that block"),
            redis_command_errors: add(all, "redis_command_errors", "Commands and scripts that failed in Redis"),
            backups: add(all, "backups", "Backups that the server has made or sent, by outcome: ok or failed"),
            last_backup: add(all, "backup_last_success_timestamp_seconds", "Unix time of the last backup; 0 if none is known"),
            started: Timestamp::now(),
            registry,
        }
    }

    /// Creates what is usual, and what alerts are about, so that the first one is an increase.
    fn prepare(&self) {
        let inline = ["finished", "failed", "moved"].map(|outcome| ("inline", outcome));
        let thread = ["finished", "failed", "timed out", "cancelled", "limit"];
        let thread = thread.map(|outcome| ("thread", outcome));
        for (lane, outcome) in inline.into_iter().chain(thread) {
            drop(self.script_runs.get_or_create(&RunLabels { lane, outcome }));
        }
        for outcome in [OK, "failed", "timeout", "refused"] {
            drop(
                self.tls_handshakes
                    .get_or_create(&HandshakeLabels { outcome }),
            );
        }
        for kind in ["delivery", "submitted"] {
            let ending = "dead";
            drop(self.jobs.get_or_create(&JobLabels { kind, ending }));
        }
        for outcome in [OK, BackupLabels::FAILED] {
            drop(self.backups.get_or_create(&BackupLabels { outcome }));
        }
    }

    /// Notes a backup that was made so long ago.
    pub(crate) fn note_backup(&self, age: Duration) {
        let made = Timestamp::now().saturating_sub(age);
        self.last_backup.set(made.map_or(0, Timestamp::as_second));
    }

    /// Counts a backup that was made now.
    pub(crate) fn backup_made(&self) {
        self.count_backup(OK);
        self.note_backup(Duration::ZERO);
    }

    /// Counts a backup that could not be made.
    pub(crate) fn backup_failed(&self) {
        self.count_backup(BackupLabels::FAILED);
    }

    fn count_backup(&self, outcome: &'static str) {
        self.backups
            .get_or_create(&BackupLabels { outcome })
            .increment();
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text::encode;

    use super::*;

    #[test]
    fn all_threads_count_together() {
        let (counter, histogram) = (Counter::default(), Histogram::default());
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for micros in [1, 10, 11, 700, 60_000_000] {
                        counter.add(2);
                        histogram.observe(std::time::Duration::from_micros(micros));
                    }
                });
            }
        });
        let mut registry = Registry::default();
        registry.register("some", "Some", counter);
        registry.register("time_seconds", "Time", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "some_total 200",
            // A bound is of its own bucket.
            "time_seconds_bucket{le=\"1e-05\"} 40",
            "time_seconds_bucket{le=\"5e-05\"} 60",
            "time_seconds_bucket{le=\"0.0005\"} 60",
            "time_seconds_bucket{le=\"0.001\"} 80",
            "time_seconds_bucket{le=\"10\"} 80",
            "time_seconds_bucket{le=\"+Inf\"} 100",
            "time_seconds_count 100",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let sum = text
            .lines()
            .find_map(|line| line.strip_prefix("time_seconds_sum "));
        let sum: f64 = sum.unwrap().parse().unwrap();
        assert!((sum - 20.0 * 60.000722).abs() < 1e-6, "{sum}");
    }
}
