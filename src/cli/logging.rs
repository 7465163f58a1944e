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
    /// Its setting.
    pub(super) const KEY: &str = "log.level";

    pub(super) fn set(&self, log: &Log) -> anyhow::Result<()> {
        let level = EnvFilter::try_new(&log.level).context(Self::KEY)?;
        self.0.reload(level).context(Self::KEY)
    }
}

/// Begins to log. The format stays as it is.
pub(super) fn init(log: &Log) -> anyhow::Result<LevelHandle> {
    let level = EnvFilter::try_new(&log.level).context(LevelHandle::KEY)?;
    let (level, handle) = reload::Layer::new(level);
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
    // Not so that it takes what libraries write by the `log` crate: that is for those who debug them, and what is wrong
    // comes back as an error, which is told in words.
    let subscriber = registry().with(lines.with_filter(filter));
    tracing::subscriber::set_global_default(subscriber).context("the log cannot be set up")?;
    Ok(LevelHandle(handle))
}

/// No level that is set, however specific, gets past this: what libraries log below `info` is what is sent and
/// received, which is nobody's business.
fn keeps_secrets(line: &Metadata<'_>) -> bool {
    let library = line.target().split("::").next().unwrap_or_default();
    library == env!("CARGO_CRATE_NAME") || *line.level() <= Level::INFO
}
