//! The log: to standard error, for people or for machines.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt,
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// What these log below `info` is what is sent and received, which is nobody's business.
const TALKATIVE: [&str; 6] = [
    "hyper",
    "hyper_util",
    "rhai",
    "rustls",
    "tokio_tungstenite",
    "tungstenite",
];

/// What these log below `warn` is of use to their authors.
const CHATTY: [&str; 2] = ["fjall", "lsm_tree"];

pub(super) fn init(log: &Log) -> anyhow::Result<()> {
    let level = EnvFilter::try_new(&log.level).context("log.level")?;
    // The hint leaves the level to the setting; without one, every library would ask for each line.
    let kept = filter_fn(keeps_secrets).with_max_level_hint(LevelFilter::TRACE);
    let filter = level.and(kept);
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => stderr().is_terminal(),
    };
    let lines = fmt::layer().with_writer(stderr).with_target(false);
    let lines = if human {
        lines.with_ansi(stderr().is_terminal()).boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed()
    };
    registry()
        .with(lines.with_filter(filter))
        .try_init()
        .context("the log cannot be set up")
}

/// No level that is set, however specific, gets past this.
fn keeps_secrets(line: &Metadata<'_>) -> bool {
    let library = line.target().split("::").next().unwrap_or_default();
    let most = if CHATTY.contains(&library) {
        Level::WARN
    } else if TALKATIVE.contains(&library) {
        Level::INFO
    } else {
        Level::TRACE
    };
    *line.level() <= most
}
