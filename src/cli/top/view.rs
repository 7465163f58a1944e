//! The figures that are shown: computed from two looks, without the terminal.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    exposition::{Exposition, Sample},
    look::{Busy, Large, Look, Slow},
};
use crate::metrics::PREFIX;

/// The methods whose latency is shown: those that are called most.
const METHODS: usize = 6;

/// The state of a server, and what it did between two looks.
#[derive(Debug, Serialize)]
pub(super) struct View {
    pub(super) url: String,
    pub(super) version: String,
    pub(super) is_ready: bool,
    pub(super) uptime_seconds: u64,
    /// The time between the looks.
    pub(super) seconds: f64,
    pub(super) gauges: BTreeMap<&'static str, f64>,
    /// What waits.
    pub(super) waiting: BTreeMap<String, u64>,
    pub(super) rates: Vec<Rate>,
    pub(super) latencies: Vec<Latency>,
    pub(super) busiest: Vec<Busy>,
    pub(super) largest: Vec<Large>,
    pub(super) slow: Vec<Slow>,
}

/// The number of times that something happened.
#[derive(Debug, Serialize)]
pub(super) struct Rate {
    pub(super) name: &'static str,
    pub(super) per_second: f64,
    /// The part that failed or was refused, if it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed_per_second: Option<f64>,
}

/// The time that something took.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) name: String,
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
}

/// Two looks, and the time between them.
struct Between<'a> {
    before: &'a Look,
    after: &'a Look,
    seconds: f64,
}

fn named(name: &str) -> String {
    format!("{PREFIX}_{name}")
}

impl View {
    pub(super) fn between(url: &str, before: &Look, after: &Look) -> Self {
        let seconds = (after.at - before.at).as_secs_f64().max(1e-3);
        let between = Between {
            before,
            after,
            seconds,
        };
        let now = &after.metrics;
        let gauge = |name| now.value(&named(name));
        let started = gauge("process_start_time_seconds");
        let uptime = started.map_or(0.0, |started| after.unix_time - started);
        let build = now.samples(&named("build_info")).next();
        let circles = &after.circles;
        Self {
            url: url.to_owned(),
            version: build.map_or_else(String::new, |build| build.label("version").to_owned()),
            is_ready: gauge("ready") == Some(1.0),
            uptime_seconds: uptime.max(0.0) as u64,
            seconds,
            gauges: between.gauges(),
            waiting: waiting(now),
            rates: between.rates(),
            latencies: between.latencies(),
            busiest: circles.busiest.clone(),
            largest: circles.largest.clone(),
            slow: circles.slow.clone(),
        }
    }
}

/// Returns what waits, by its name.
fn waiting(now: &Exposition) -> BTreeMap<String, u64> {
    let queues = now.samples(&named("queue_length")).collect::<Vec<_>>();
    let queues = queues.into_iter();
    let mut waiting: BTreeMap<_, _> = queues
        .map(|queue| (queue.label("queue").to_owned(), queue.value as u64))
        .collect();
    for name in ["jobs_pending", "jobs_dead", "write_queue_bytes"] {
        if let Some(value) = now.value(&named(name)) {
            waiting.insert(name.to_owned(), value as u64);
        }
    }
    waiting
}

impl Between<'_> {
    fn gauges(&self) -> BTreeMap<&'static str, f64> {
        const NAMES: [&str; 11] = [
            "sessions",
            "session_circles",
            "watches",
            "workers",
            "redis_up",
            "jobs_oldest_pending_seconds",
            "disk_free_bytes",
            "disk_min_free_bytes",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
        ];
        let now = &self.after.metrics;
        let gauges = NAMES.into_iter();
        let mut gauges: BTreeMap<_, _> = gauges
            .filter_map(|name| Some((name, now.value(&named(name))?)))
            .collect();
        let cores = self.per_second("process_cpu_seconds_total", |_| true);
        gauges.insert("cores_used", cores);
        gauges
    }

    /// Returns how often the wanted part of a counter was counted each second.
    fn per_second(&self, name: &str, is_wanted: impl Fn(&Sample) -> bool) -> f64 {
        let name = named(name);
        let [before, after] =
            [self.before, self.after].map(|look| look.metrics.sum(&name, &is_wanted));
        // A server that was started again counts from 0.
        let new = if after < before {
            after
        } else {
            after - before
        };
        new / self.seconds
    }

    fn rates(&self) -> Vec<Rate> {
        let all = |_: &Sample| true;
        let rate = |name, counter: &str, failed: Option<&dyn Fn(&Sample) -> bool>| Rate {
            name,
            per_second: self.per_second(counter, all),
            failed_per_second: failed.map(|failed| self.per_second(counter, failed)),
        };
        let has_status = |from: u16| {
            move |sample: &Sample| {
                sample
                    .label("status")
                    .parse()
                    .is_ok_and(|status: u16| status >= from)
            }
        };
        let not = |label: &'static str, fine: &'static str| {
            move |sample: &Sample| sample.label(label) != fine
        };
        vec![
            rate("calls", "calls_total", Some(&not("code", "ok"))),
            rate("logins", "logins_total", Some(&not("outcome", "ok"))),
            rate("sessions opened", "sessions_opened_total", None),
            rate("webhooks", "webhooks_total", Some(&has_status(400))),
            rate("jobs", "jobs_total", Some(&not("ending", "finished"))),
            rate("script runs", "script_run_duration_seconds_count", None),
            rate("conflicts", "conflict_reruns_total", None),
            rate("commits", "commits_total", None),
            rate("live queries", "query_runs_total", None),
        ]
    }

    fn latencies(&self) -> Vec<Latency> {
        let name = named("call_duration_seconds_bucket");
        let methods = self.after.metrics.samples(&name);
        let methods: BTreeSet<_> = methods.map(|bucket| bucket.label("method")).collect();
        let methods = methods.into_iter();
        let mut calls: Vec<_> = methods
            .map(|method| {
                let is_of = |bucket: &Sample| bucket.label("method") == method;
                self.latency(method, "call_duration_seconds", is_of)
            })
            .filter(|latency| latency.per_second > 0.0)
            .collect();
        calls.sort_by(|one, other| other.per_second.total_cmp(&one.per_second));
        calls.truncate(METHODS);
        for lane in ["inline", "thread"] {
            let is_of = |bucket: &Sample| bucket.label("lane") == lane;
            let name = format!("scripts {lane}");
            calls.push(self.latency(&name, "script_run_duration_seconds", is_of));
        }
        calls.push(self.latency("synced writes", "sync_duration_seconds", |_| true));
        if self.after.metrics.value(&named("redis_up")).is_some() {
            calls.push(self.latency("Redis", "redis_command_duration_seconds", |_| true));
        }
        calls
    }

    /// Returns how long something took, by the buckets of its histogram.
    fn latency(&self, name: &str, histogram: &str, is_of: impl Fn(&Sample) -> bool) -> Latency {
        let bucket = named(&format!("{histogram}_bucket"));
        let cumulative = |look: &Look| {
            let mut counts: BTreeMap<u64, f64> = BTreeMap::new();
            for sample in look.metrics.samples(&bucket).filter(|sample| is_of(sample)) {
                let bound: f64 = sample.label("le").parse().unwrap_or(f64::INFINITY);
                // Of positive numbers, the bits are in the same order.
                *counts.entry(bound.to_bits()).or_default() += sample.value;
            }
            counts
        };
        let [before, after] = [self.before, self.after].map(cumulative);
        let total = |counts: &BTreeMap<u64, f64>| counts.values().last().copied().unwrap_or(0.0);
        let is_new = total(&after) < total(&before);
        let buckets: Vec<_> = after
            .iter()
            .map(|(bound, count)| {
                let old = before.get(bound).filter(|_| !is_new);
                (f64::from_bits(*bound), count - old.copied().unwrap_or(0.0))
            })
            .collect();
        let count = buckets.last().map_or(0.0, |(_, count)| *count);
        Latency {
            name: name.to_owned(),
            per_second: count / self.seconds,
            p50_ms: quantile(&buckets, 0.5) * 1000.0,
            p90_ms: quantile(&buckets, 0.9) * 1000.0,
            p99_ms: quantile(&buckets, 0.99) * 1000.0,
        }
    }
}

/// Returns a quantile by the buckets of a histogram: each has its upper bound, and the number of all up to that. Within a
/// bucket, all are taken to be spread evenly. 0 if there are none.
pub(super) fn quantile(buckets: &[(f64, f64)], quantile: f64) -> f64 {
    let wanted = buckets.last().map_or(0.0, |(_, count)| *count) * quantile;
    if wanted <= 0.0 {
        return 0.0;
    }
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= wanted {
            // Nothing is known beyond the last bound.
            let high = if bound.is_finite() { *bound } else { low };
            return low + (high - low) * (wanted - below) / (count - below);
        }
        (low, below) = (*bound, *count);
    }
    low
}
