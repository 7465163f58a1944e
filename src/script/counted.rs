//! Counts the runs of scripts.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use super::{Outcome, RunError};
use crate::metrics::{Histogram, RunLabels, metrics};

/// The thread that a script runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The one that has the request: only short scripts run there.
    Inline,
    /// A script thread.
    Thread,
}

/// The outcome of a run that came to its end.
const FINISHED: &str = "finished";
/// The outcome of a run on the thread of a request that took too much, and starts over on a script thread.
const MOVED: &str = "moved";

/// The counter of what is most frequent.
static INLINE_FINISHED: LazyLock<Histogram> = LazyLock::new(|| of(Lane::Inline, FINISHED));

/// Counts a run that began then. Without an outcome, it starts over on a script thread.
pub(super) fn count(lane: Lane, outcome: Option<&Outcome>, begun: Instant) {
    let time: Duration = begun.elapsed();
    match (lane, outcome) {
        (Lane::Inline, Some(Ok(_))) => INLINE_FINISHED.observe(time),
        (_, None) => of(lane, MOVED).observe(time),
        (_, Some(outcome)) => {
            let outcome = outcome.as_ref().map_or_else(RunError::name, |_| FINISHED);
            of(lane, outcome).observe(time);
        }
    }
}

fn of(lane: Lane, outcome: &'static str) -> Histogram {
    let lane = match lane {
        Lane::Inline => "inline",
        Lane::Thread => "thread",
    };
    let labels = RunLabels { lane, outcome };
    metrics().script_runs.get_or_create_owned(&labels)
}
