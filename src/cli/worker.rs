//! `circled worker`

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::{
    ConfigFile,
    runtime::{self, Process},
};
use crate::{config::Settings, dispatch::Backend, server};

const EXAMPLES: &str = "\
Examples:
  circled worker --config circled.toml           # with dispatch.backend = \"redis\" in it
  CIRCLED_DISPATCH__BACKEND=redis CIRCLED_SERVER__ADMIN_LISTEN=127.0.0.1:8082 circled worker

Signals: on SIGTERM or SIGINT, a worker lets running jobs finish (server.shutdown_grace), gives the
others back, and exits with 0; on a second one it exits at once, with 143 or 130. On SIGHUP it reads
its settings again: log.level, log.slow, the rules and members of circles, and the scripts of webhooks change
at once; the log lists what needs a restart, and all mistakes.";

/// Run jobs that gateways put into Redis.
///
/// Any number of workers share the jobs. If one dies, another takes over its jobs (dispatch.redis.lease). A worker
/// reads the same settings as `circled serve`, but listens only on server.admin_listen.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Worker {
    /// Exit at once if Redis can't be reached, instead of trying again.
    #[arg(long)]
    fail_fast: bool,
    #[command(flatten)]
    config: ConfigFile,
}

impl Worker {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let scripts = |settings: &Settings| server::scripts(settings).map(drop);
        let read = || {
            let loaded = self.config.checked(scripts)?;
            if loaded.settings.dispatch.backend != Backend::Redis {
                bail!(
                    "there are workers only with dispatch.backend = \"redis\"; with \"embedded\", `circled serve` runs all jobs itself"
                );
            }
            Ok(loaded)
        };
        runtime::run(&self.config, read, async |process| self.work(process).await)
    }

    async fn work(&self, mut process: Process) -> anyhow::Result<ExitCode> {
        let starting = server::Worker::start(&process.loaded.settings, self.fail_fast);
        let Some(worker) = process.signals.started(starting).await else {
            return Ok(ExitCode::SUCCESS);
        };
        let worker = worker?;
        let admin = worker
            .admin_addr()
            .map(|address| address.to_string())
            .unwrap_or_default();
        tracing::info!(%admin, "working");
        let (failed, live) = (worker.failed(), worker.live());
        process
            .run(|shutdown| worker.run(shutdown), failed, live)
            .await
    }
}
