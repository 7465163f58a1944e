//! `circled worker`

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use tokio::signal::unix::Signal;

use super::{
    ConfigFile,
    logging::{self, LevelHandle},
    reload::{Reload, warn_of_doubts},
    runtime,
    signals::Signals,
};
use crate::{
    config::Loaded,
    dispatch::Backend,
    server::{self, Worker as Server},
};

const EXAMPLES: &str = "\
Examples:
  circled worker --config circled.toml           # with dispatch.backend = \"redis\" in it
  CIRCLED_DISPATCH__BACKEND=redis CIRCLED_SERVER__ADMIN_LISTEN=127.0.0.1:8082 circled worker

Signals: on SIGTERM or SIGINT, a worker lets running jobs finish (server.shutdown_grace), gives the
others back, and exits with 0; on a second one it exits at once, with 143 or 130. On SIGHUP it reads
its settings again: log.level, the rules and members of circles, and the scripts of webhooks change
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
        runtime::run(|hangup| {
            let loaded = self
                .config
                .checked(|settings| server::scripts(settings).map(drop))?;
            if loaded.settings.dispatch.backend != Backend::Redis {
                bail!(
                    "there are workers only with dispatch.backend = \"redis\"; with \"embedded\", `circled serve` runs all jobs itself"
                );
            }
            let level = logging::init(&loaded.settings.log)?;
            warn_of_doubts(&loaded);
            Ok(self.work(loaded, level, hangup))
        })
    }
}

impl Worker {
    async fn work(
        &self,
        loaded: Loaded,
        level: LevelHandle,
        hangup: Signal,
    ) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::catch(hangup)?;
        let starting = Server::start(&loaded.settings, self.fail_fast);
        let Some(worker) = signals.started(starting).await else {
            return Ok(ExitCode::SUCCESS);
        };
        let worker = worker?;
        let admin = worker
            .admin_addr()
            .map(|address| address.to_string())
            .unwrap_or_default();
        tracing::info!(%admin, "working");
        let failed = worker.failed();
        let reload = Reload::new(self.config.clone(), loaded.clone(), level, worker.live());
        signals
            .run(|shutdown| worker.run(shutdown), failed, reload)
            .await
    }
}
