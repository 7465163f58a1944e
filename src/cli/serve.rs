//! `circled serve`

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ConfigFile, logging};
use crate::{config::Settings, server::Server};

const EXAMPLES: &str = "\
Examples:
  circled serve                                  # on this machine only, open to anyone on it
  circled serve --config circled.toml            # `circled config check` finds its mistakes
  CIRCLED_SERVER__LISTEN=127.0.0.1:9000 circled serve

Signals: SIGTERM or SIGINT lets running scripts finish (server.shutdown_grace) and exits with 0;
a second one exits at once, with 143 or 130.";

/// Run the server.
///
/// It runs until SIGTERM or SIGINT; a second one ends it at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
}

impl Serve {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let settings = self.config.settings()?;
        logging::init(&settings.log)?;
        raise_open_files(settings.session.max_sessions);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("circled")
            .build()?;
        runtime.block_on(serve(&settings))
    }
}

async fn serve(settings: &Settings) -> anyhow::Result<ExitCode> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    // A write past a limit on the size of files would end the process. With a handler, it fails like any
    // other write that the disk doesn't take.
    let _file_too_large = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    let server = Server::bind(settings).await?;
    let address = server.local_addr()?;
    let admin = server
        .admin_addr()
        .map(|address| address.to_string())
        .unwrap_or_default();
    let data_dir = &settings.dispatch.embedded.data_dir;
    let data = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone());
    let public_url = Some(settings.server.public_url.as_str()).filter(|url| !url.is_empty());
    tracing::info!(
        url = %format_args!("ws://{address}/<circle_pk>"),
        public_url,
        %admin,
        data = %data.display(),
        "serving"
    );

    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let running = tasks.spawn(server.run(shutdown.clone()));
    let code = first(&mut terminate, &mut interrupt).await;
    tracing::info!(
        signal = code - 128,
        "asked to stop; a second signal ends at once"
    );
    shutdown.cancel();
    tokio::select! {
        ended = running => ended.map(|()| ExitCode::SUCCESS).context("the server panicked"),
        code = first(&mut terminate, &mut interrupt) => {
            tracing::warn!("ended at once");
            std::process::exit(code);
        }
    }
}

/// Waits for a signal, and answers what a shell would make of a process that it ended.
async fn first(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => 128 + 15,
        _ = interrupt.recv() => 128 + 2,
    }
}

/// Every session is an open file; shells permit few by default.
fn raise_open_files(sessions: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let permitted = if raised.is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    if let Some(permitted) = permitted
        && permitted < sessions as u64
    {
        tracing::info!(
            permitted,
            max_sessions = sessions,
            "the system permits fewer open files than session.max_sessions; see `ulimit -Hn`"
        );
    }
}
