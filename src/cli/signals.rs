//! What runs until it is told to stop.

use std::{io, process::ExitCode};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::server::ServeError;

/// SIGTERM and SIGINT, which end nothing by themselves any more.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// A write past a limit on the size of files would end the process. With a handler, it fails like any other
    /// write that the disk doesn't take.
    _file_too_large: Signal,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let file_too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_too_large: signal(file_too_large)?,
        })
    }

    /// Runs a server until a signal comes, or it has `failed`; a second signal ends the process at once.
    pub(super) async fn run<F: Future<Output = ()> + Send + 'static>(
        mut self,
        server: impl FnOnce(CancellationToken) -> F,
        failed: impl Future<Output = ServeError>,
    ) -> anyhow::Result<ExitCode> {
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let running = tasks.spawn(server(shutdown.clone()));
        let why = tokio::select! {
            code = self.first() => {
                tracing::info!(
                    signal = code - 128,
                    "asked to stop; a second signal ends at once"
                );
                None
            }
            why = failed => Some(why),
        };
        shutdown.cancel();
        tokio::select! {
            ended = running => ended.context("the server panicked")?,
            code = self.first() => {
                tracing::warn!("ended at once");
                std::process::exit(code);
            }
        }
        why.map_or(Ok(ExitCode::SUCCESS), |why| Err(why.into()))
    }

    /// Waits for a signal, and answers what a shell would make of a process that it ended.
    async fn first(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 128 + 15,
            _ = self.interrupt.recv() => 128 + 2,
        }
    }
}
