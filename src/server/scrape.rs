//! `/metrics`: the counters of the process, and what is looked up when somebody asks.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use prometheus_client::{
    encoding::{
        EncodeGaugeValue,
        prometheus_text::{CONTENT_TYPE, encode},
    },
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::Registry,
};

use super::{Certificates, admin::Admin};
use crate::{
    dispatch::{Figures, JobFigures},
    metrics::{PREFIX, Process, metrics},
};

/// Writes all metrics as Prometheus reads them.
pub(super) async fn scrape(State(admin): State<Arc<Admin>>) -> Response {
    let mut text = String::new();
    let figures = looked_up(&admin).await;
    match encode(&mut text, &metrics().registry).and_then(|()| encode(&mut text, &figures.0)) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(std::fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What was looked up for one scrape.
struct LookedUp(Registry);

async fn looked_up(admin: &Admin) -> LookedUp {
    let mut all = LookedUp(Registry::with_prefix(PREFIX));
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    all.0.register("build", "This circled", Info::new(version));
    all.add_process(&Process::look());
    let is_ready = !admin.stopping.is_cancelled() && admin.dispatcher.is_ready();
    all.gauge(
        "ready",
        "1 while new sessions and jobs are taken, as /readyz",
        u64::from(is_ready),
    );
    if let Some(gateway) = &admin.gateway {
        let (sessions, circles) = (gateway.registry.sessions(), gateway.registry.circles());
        all.gauge("sessions", "Sessions that are open", sessions);
        all.gauge("session_circles", "Circles that have a session", circles);
        if let Some(tls) = &gateway.tls {
            all.add_certificates(&tls.certificates());
        }
    }
    all.add_dispatcher(&admin.dispatcher.figures().await);
    all
}

impl LookedUp {
    fn gauge<N>(&mut self, name: &str, help: &str, value: N)
    where
        N: EncodeGaugeValue + std::fmt::Debug + Send + Sync + 'static,
    {
        self.0.register(name, help, ConstGauge::new(value));
    }

    fn some_gauge(&mut self, name: &str, help: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.gauge(name, help, value);
        }
    }

    fn add_process(&mut self, process: &Process) {
        let cpu = ConstCounter::new(process.cpu.as_secs_f64());
        self.0.register(
            "process_cpu_seconds",
            "Time of all cores that the process has used",
            cpu,
        );
        let started = metrics().started.as_millisecond() as f64 / 1000.0;
        self.gauge(
            "process_start_time_seconds",
            "Unix time when the process started",
            started,
        );
        self.some_gauge(
            "process_resident_memory_bytes",
            "Memory of the process",
            process.resident,
        );
        self.some_gauge(
            "process_open_fds",
            "Open files of the process",
            process.open_files,
        );
        self.some_gauge(
            "process_max_fds",
            "Open files that the system permits",
            process.max_files,
        );
    }

    fn add_certificates(&mut self, certificates: &Certificates) {
        let ends = Family::<[(&str, String); 1], Gauge>::default();
        for (file, time) in certificates.ends() {
            let labels = [("certificate", file.display().to_string())];
            ends.get_or_create(&labels).set(time.as_second());
        }
        self.0.register(
            "tls_certificate_not_after_seconds",
            "Unix time when the certificate in this file ends",
            ends,
        );
    }

    fn add_dispatcher(&mut self, figures: &Figures) {
        let queues = Family::<[(&str, &str); 1], Gauge>::default();
        let redis = figures.redis.as_ref();
        let lengths = [
            ("script", Some(figures.script_queue as u64)),
            ("waiting_room", Some(figures.waiting_room as u64)),
            ("redis", redis.and_then(|redis| redis.queue)),
        ];
        for (name, length) in lengths {
            if let Some(length) = length {
                let length = i64::try_from(length).unwrap_or(i64::MAX);
                queues.get_or_create(&[("queue", name)]).set(length);
            }
        }
        self.0.register(
            "queue_length",
            "What waits (script: for a script thread, waiting_room: for a place in that queue), or is in Redis for workers (redis)",
            queues,
        );
        if let Some(jobs) = &figures.jobs {
            self.add_jobs(jobs);
        }
        if let Some(disk) = &figures.disk {
            self.some_gauge(
                "disk_free_bytes",
                "Free space on the disk of the data folder",
                disk.free,
            );
            self.gauge(
                "disk_min_free_bytes",
                "dispatch.embedded.min_free: with less, nothing new is accepted",
                disk.min_free,
            );
            self.gauge(
                "write_queue_bytes",
                "Bytes of commits that wait to be written",
                disk.write_queue,
            );
        }
        if let Some(redis) = redis {
            self.gauge(
                "redis_up",
                "1 while Redis can be used",
                u64::from(redis.is_up),
            );
            if let Some(workers) = &redis.workers {
                self.gauge("workers", "Workers that the gateway sees", workers.there);
            }
        }
    }

    fn add_jobs(&mut self, jobs: &JobFigures) {
        self.gauge(
            "jobs_pending",
            "Durable jobs that are not over",
            jobs.pending,
        );
        self.gauge("jobs_dead", "Dead letters", jobs.dead);
        let age = jobs.oldest.map_or(Duration::ZERO, since);
        self.gauge(
            "jobs_oldest_pending_seconds",
            "Time since the oldest durable job came that runs or may run now; in Redis, since it went into its stream",
            age.as_secs_f64(),
        );
    }
}

fn since(time: Timestamp) -> Duration {
    let age = Timestamp::now().duration_since(time);
    Duration::try_from(age).unwrap_or_default()
}
