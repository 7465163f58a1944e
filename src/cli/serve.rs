//! `circled serve`

use std::process::ExitCode;

use clap::Args;

use super::{
    ConfigFile,
    runtime::{self, Process},
};
use crate::{
    config::Settings,
    dispatch::Backend,
    server::{Server, SetUp},
};

const EXAMPLES: &str = "\
Examples:
  circled serve                                  # on this machine only, open to anyone on it
  circled serve --config circled.toml            # `circled config check` lists its mistakes
  CIRCLED_SERVER__LISTEN=127.0.0.1:9000 circled serve

Signals: on SIGTERM or SIGINT, the server lets running scripts finish (server.shutdown_grace) and
exits with 0; on a second one it exits at once, with 143 or 130. On SIGHUP it reads its settings
again: log.level, log.slow, circles with their rules and grants, server.key, certificates, providers of
webhooks and their secrets change at once; the log lists what needs a restart, and all mistakes.";

/// Run the server.
///
/// Stops on SIGTERM or SIGINT; a second one ends it at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    /// Exit at once if Redis can't be reached, instead of trying again (dispatch.backend = "redis").
    #[arg(long)]
    fail_fast: bool,
    #[command(flatten)]
    config: ConfigFile,
}

impl Serve {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let set_up = |settings: &Settings| SetUp::of(settings).map(drop);
        let read = || self.config.checked(set_up);
        runtime::run(&self.config, read, async |process| {
            self.serve(process).await
        })
    }

    async fn serve(&self, mut process: Process) -> anyhow::Result<ExitCode> {
        let settings = &process.loaded.settings;
        let starting = Server::bind(settings, self.fail_fast);
        let Some(server) = process.signals.started(starting).await else {
            return Ok(ExitCode::SUCCESS);
        };
        let server = server?;
        let address = server.local_addr()?;
        let admin = server
            .admin_addr()
            .map(|address| address.to_string())
            .unwrap_or_default();
        let data_dir = &settings.dispatch.embedded.data_dir;
        let data = (settings.dispatch.backend == Backend::Embedded)
            .then(|| std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone()));
        let scheme = if server.has_tls() { "wss" } else { "ws" };
        let public_url = settings.server.public_url.as_ref();
        tracing::info!(
            url = %format_args!("{scheme}://{address}/<circle_pk>"),
            public_url = public_url.map(tracing::field::display),
            console = server.console_url(),
            %admin,
            data = data.map(|data| tracing::field::display(data.display().to_string())),
            "serving"
        );
        if server.lacks_console() {
            tracing::warn!(
                "this circled was built WITHOUT ITS WEB CONSOLE (server.console): to have it, run `make console`, and build circled again"
            );
        }
        if let Some(page) = server.refused_console() {
            tracing::warn!(
                "the console's pages may not connect: add {page:?} to server.allowed_origins, or set server.console = false"
            );
        }
        if settings.circles.open {
            tracing::info!(open = true, "any key names a circle (circles.open)");
        }
        let (failed, live) = (server.failed(), server.live());
        process
            .run(|shutdown| server.run(shutdown), failed, live)
            .await
    }
}
