//! The log: to standard error, for people or for machines.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// What some libraries log at these levels is what was sent: it never gets there.
const NEVER: [&str; 5] = [
    "tungstenite=info",
    "tokio_tungstenite=info",
    "hyper=info",
    "hyper_util=info",
    "rustls=info",
];

pub(super) fn init(log: &Log) -> anyhow::Result<()> {
    let mut filter = EnvFilter::try_new(&log.level).context("log.level")?;
    for directive in NEVER {
        filter = filter.add_directive(directive.parse()?);
    }
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => stderr().is_terminal(),
    };
    let subscriber = fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_target(false);
    let set = if human {
        subscriber.with_ansi(stderr().is_terminal()).try_init()
    } else {
        subscriber.json().flatten_event(true).try_init()
    };
    set.map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))
}
