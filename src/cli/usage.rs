//! `circled usage`

use std::{
    io::{self, Write},
    process::ExitCode,
};

use circled_protocol::methods::CircleUsage;
use clap::Args;

use super::{
    output::stdout,
    with_login::{Login, TOO_SLOW, exit_codes},
};

const EXAMPLES: &str = "\
  circled usage C --key circle.key
  circled usage C --key circle.key --json";

/// Print how much a circle has: keys, bytes, events and jobs. Only for callers who may manage.
#[derive(Debug, Args)]
#[command(after_help = exit_codes(&[TOO_SLOW], EXAMPLES))]
pub(super) struct Usage {
    #[command(flatten)]
    login: Login,
}

impl Usage {
    pub(super) fn run(&self) -> ExitCode {
        self.login
            .run(None, async |client| client.usage().await, print)
    }
}

pub(super) fn print(usage: &CircleUsage) -> io::Result<()> {
    let CircleUsage {
        keys,
        bytes,
        quota,
        events,
        last_event,
        jobs,
    } = usage;
    let percent = bytes.saturating_mul(100) / quota.max(&1);
    let mut out = stdout();
    writeln!(out, "keys    {keys}")?;
    writeln!(out, "bytes   {bytes} of {quota} ({percent} %)")?;
    writeln!(out, "events  {events}, up to {last_event}")?;
    writeln!(
        out,
        "jobs    {} open, {} ended, {} dead",
        jobs.open, jobs.ended, jobs.dead
    )
}
