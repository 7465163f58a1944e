//! The log: to standard error, for people or for machines.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt,
    layer::SubscriberExt,
    registry, reload,
};

use crate::config::{Log, LogFormat};

/// A handle that changes the log level while the server runs.
pub(super) struct LevelHandle(reload::Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// The setting of the level.
    pub(super) const KEY: &str = "log.level";

    pub(super) fn set(&self, log: &Log) -> anyhow::Result<()> {
        let level = EnvFilter::try_new(&log.level).context(Self::KEY)?;
        self.0.reload(level).context(Self::KEY)
    }
}

/// Starts to log. The format can't change later.
pub(super) fn init(log: &Log) -> anyhow::Result<LevelHandle> {
    let level = EnvFilter::try_new(&log.level).context(LevelHandle::KEY)?;
    let (level, handle) = reload::Layer::new(level);
    // The hint leaves the level to the setting. Without it, libraries would ask for each line.
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
    // Logs that libraries write with the `log` crate aren't captured: they are for debugging the libraries, and their
    // errors reach us as values.
    let subscriber = registry().with(lines.with_filter(filter));
    tracing::subscriber::set_global_default(subscriber).context("the log cannot be set up")?;
    Ok(LevelHandle(handle))
}

/// Returns true for lines that may be logged. No level, however specific, gets past this: below `info`, libraries log
/// sent and received data, which is private.
fn keeps_secrets(line: &Metadata<'_>) -> bool {
    let library = line.target().split("::").next().unwrap_or_default();
    library == env!("CARGO_CRATE_NAME") || *line.level() <= Level::INFO
}
