//! A scrape of `/metrics`, read as Prometheus does, and `promtool`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
};

use crate::harness::server::TestServer;

/// The series of a server at one moment.
pub(super) struct Scrape {
    series: BTreeMap<String, f64>,
    /// The metrics with their kinds.
    kinds: BTreeMap<String, String>,
}

impl Scrape {
    pub(super) async fn of(server: &TestServer) -> Self {
        let response = server.admin("/metrics").await;
        assert_eq!(response.status, 200, "{response:?}");
        let (mut series, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        for line in response.body.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                kinds.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let before = series.insert(name.to_owned(), value.parse().unwrap());
                assert_eq!(before, None, "{name} is there twice");
            }
        }
        Self { series, kinds }
    }

    /// Returns the value of a series; 0 if there is none, as for a counter that has not counted yet.
    #[track_caller]
    pub(super) fn value(&self, series: &str) -> f64 {
        let name = series.split('{').next().unwrap();
        assert!(self.has(name), "there is no {name}");
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// Returns by how much a series is more than in an earlier scrape.
    #[track_caller]
    pub(super) fn since(&self, before: &Self, series: &str) -> f64 {
        self.value(series) - before.series.get(series).copied().unwrap_or(0.0)
    }

    /// Returns true if there is such a metric, or such a part of a histogram.
    pub(super) fn has(&self, name: &str) -> bool {
        let parts = ["_bucket", "_sum", "_count"].into_iter();
        let mut histograms = parts.filter_map(|part| name.strip_suffix(part));
        self.kinds.contains_key(name)
            || histograms.any(|name| self.kinds.get(name).is_some_and(|kind| kind == "histogram"))
    }

    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.series.keys().map(String::as_str).collect()
    }

    /// Returns the metrics with their kinds.
    pub(super) fn kinds(&self) -> &BTreeMap<String, String> {
        &self.kinds
    }
}

/// Runs `promtool` with this input. Returns true if it is content, and its output.
pub(super) fn promtool(args: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, which .ci/prometheus gets");
    // It reads all of it, or says what is wrong.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(told).unwrap())
}
