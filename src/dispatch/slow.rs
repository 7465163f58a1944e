//! Runs of scripts that take longer than `log.slow`: each is logged, a few a second, and `circled top` shows which scripts
//! they were of.
//!
//! As the counters of the process, this is in one static: see `metrics`.

use std::{
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey};
use serde::Serialize;

use super::JobRecord;
use crate::{
    circle::{Caller, JobSpec, Task},
    log_limit::LogLimit,
    script::{Outcome, RunError},
    units::duration::milliseconds,
};

/// Runs that are logged each second.
const LINES: u32 = 10;
/// Scripts that are remembered.
const SCRIPTS: usize = 64;

/// The slow runs of this process.
struct SlowRuns {
    /// The nanoseconds that a run may take; 0 if none is slow.
    permitted: AtomicU64,
    limit: LogLimit,
    scripts: Mutex<Vec<SlowScript>>,
}

static SLOW_RUNS: LazyLock<SlowRuns> = LazyLock::new(|| SlowRuns {
    permitted: AtomicU64::new(0),
    limit: LogLimit::new(LINES, Instant::now()),
    scripts: Mutex::default(),
});

/// A script with slow runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlowScript {
    /// The circle.
    pub circle: PublicKey,
    /// The request that runs it: `play`, `call`, `webhook`, `job` or `watch`.
    pub kind: &'static str,
    /// Its name in the circle, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<Box<str>>,
    /// The version that ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Box<str>>,
    /// Its slow runs. If others were forgotten to make room for it, some of these may be theirs.
    pub runs: u64,
    /// The longest of them.
    pub longest_ms: u64,
}

/// A run of a script that has ended, and isn't committed yet.
#[derive(Debug)]
pub(super) struct TimedRun {
    job: JobId,
    script: SlowScript,
    times: Times,
    ended: Instant,
}

/// The time that a run has taken so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// The time before it began.
    pub(super) waited: Duration,
    /// The time of the run, and of those before it that conflicted with others.
    pub(super) ran: Duration,
    /// The number of those.
    pub(super) conflicts: u32,
}

/// Has runs logged that take longer; none if it is zero.
pub fn log_runs_over(permitted: Duration) {
    let permitted = u64::try_from(permitted.as_nanos()).unwrap_or(u64::MAX);
    SLOW_RUNS.permitted.store(permitted, Relaxed);
}

/// Returns the scripts with slow runs since the start of the process, those with the most first: some of them, if they are
/// many.
pub fn slow_scripts() -> Vec<SlowScript> {
    let mut scripts = SLOW_RUNS.scripts().clone();
    scripts.sort_by_key(|script| std::cmp::Reverse(script.runs));
    scripts
}

impl TimedRun {
    /// Notes that the run of a job ends now. Nothing, if no run is logged.
    pub(super) fn of(job: &JobSpec<'_>, outcome: &Outcome, times: Times) -> Option<Self> {
        let kind = match (&job.task, &job.caller) {
            (Task::Procedure(_), _) => return None,
            (_, Caller::Provider(_)) => "webhook",
            (Task::Pinned(_), _) => "job",
            (Task::Query { .. }, _) => "watch",
            (Task::Source(_), _) => "play",
            (Task::Named { .. }, _) => "call",
        };
        let version = match outcome {
            Ok(success) => success.version.as_deref(),
            Err(RunError::TimedOut { version, .. }) => version.as_deref(),
            Err(RunError::Failed(failure)) => failure.version.as_deref(),
            Err(_) => None,
        };
        Self::new(job.id, job.circle, kind, job.task.script(), version, times)
    }

    /// Notes the same of a durable job with this record.
    pub(super) fn of_durable(job: &JobRecord, times: Times) -> Option<Self> {
        let kind = match job.provider() {
            Some(_) => "webhook",
            None => "job",
        };
        let (name, version) = (job.name.as_deref(), job.version.as_deref());
        Self::new(job.id, job.circle, kind, name, version, times)
    }

    fn new(
        job: JobId,
        circle: PublicKey,
        kind: &'static str,
        name: Option<&str>,
        version: Option<&str>,
        times: Times,
    ) -> Option<Self> {
        (SLOW_RUNS.permitted.load(Relaxed) > 0).then(|| Self {
            job,
            script: SlowScript {
                circle,
                kind,
                script: name.map(Box::from),
                version: version.map(Box::from),
                runs: 1,
                longest_ms: 0,
            },
            times,
            ended: Instant::now(),
        })
    }

    /// Returns the time of its runs so far.
    pub(super) fn ran(&self) -> Duration {
        self.times.ran
    }

    /// Logs it, if it is slow. It is committed, or had nothing to commit.
    pub(super) fn committed(self) {
        let permitted = Duration::from_nanos(SLOW_RUNS.permitted.load(Relaxed));
        let committing = self.ended.elapsed();
        let took = self.times.ran + committing;
        if took > permitted {
            SLOW_RUNS.log(self, committing, took);
        }
    }
}

impl SlowRuns {
    fn log(&self, run: TimedRun, committing: Duration, took: Duration) {
        let TimedRun {
            job,
            mut script,
            times,
            ..
        } = run;
        if self.limit.admit(Instant::now()) {
            tracing::info!(
                circle = %script.circle,
                %job,
                kind = script.kind,
                script = script.script,
                version = script.version,
                waiting_ms = milliseconds(times.waited),
                running_ms = milliseconds(times.ran),
                committing_ms = milliseconds(committing),
                conflicts = times.conflicts,
                others = self.limit.take_skipped(),
                "a slow run (log.slow)"
            );
        }
        script.longest_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        add(&mut self.scripts(), script, SCRIPTS);
    }

    fn scripts(&self) -> MutexGuard<'_, Vec<SlowScript>> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a run to the scripts. If there are too many, it takes the place of the one with the fewest runs, and its number
/// (the algorithm "space-saving"): so one that has many is never missing.
fn add(scripts: &mut Vec<SlowScript>, run: SlowScript, most: usize) {
    let is_same = |script: &&mut SlowScript| {
        script.circle == run.circle
            && script.kind == run.kind
            && script.script == run.script
            && script.version == run.version
    };
    if let Some(script) = scripts.iter_mut().find(is_same) {
        script.runs += 1;
        script.longest_ms = script.longest_ms.max(run.longest_ms);
        return;
    }
    if scripts.len() < most {
        return scripts.push(run);
    }
    if let Some(fewest) = scripts.iter_mut().min_by_key(|script| script.runs) {
        let runs = fewest.runs + 1;
        *fewest = SlowScript { runs, ..run };
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::{SlowScript, add};

    #[test]
    fn a_script_that_is_often_slow_is_never_missing() {
        let circle = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let run = |name: &str, longest_ms| SlowScript {
            circle,
            kind: "call",
            script: Some(name.into()),
            version: None,
            runs: 1,
            longest_ms,
        };
        let mut scripts = Vec::new();
        for n in 0..30 {
            add(&mut scripts, run("often", n), 3);
            add(&mut scripts, run(&format!("once {n}"), 1), 3);
        }
        assert_eq!(scripts.len(), 3);
        let often = scripts.iter().max_by_key(|script| script.runs).unwrap();
        assert_eq!(often.script.as_deref(), Some("often"));
        assert_eq!((often.runs, often.longest_ms), (30, 29));
    }
}
