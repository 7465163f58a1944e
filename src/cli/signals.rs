//! Runs a server until a signal ends it.

use std::{io, pin::pin, process::ExitCode, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    reload::{Reload, Reloading},
    service_manager::ServiceManager,
};
use crate::server::ServeError;

/// The time in which a server that is asked to stop may still start: so it leaves in order.
const LAST_START: Duration = Duration::from_secs(2);

/// SIGTERM, SIGINT and SIGHUP, which don't end the process by themselves any more.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// True if SIGTERM or SIGINT came while the server started.
    is_asked: bool,
    /// A handler for writes beyond the limit on file sizes, which would end the process. With it, they fail like other
    /// writes that the disk refuses.
    _file_too_large: Signal,
}

impl Signals {
    /// Catches the signals. `hangup`: SIGHUP, which is caught from the beginning, see [`catch_hangup`].
    pub(super) fn catch(hangup: Signal) -> io::Result<Self> {
        let file_too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
            is_asked: false,
            _file_too_large: signal(file_too_large)?,
        })
    }

    /// Waits until a server has started. If a signal comes before, the server stops as soon as it runs. Returns nothing
    /// if it doesn't start soon after the signal.
    pub(super) async fn started<T>(&mut self, starting: impl Future<Output = T>) -> Option<T> {
        let mut starting = pin!(starting);
        tokio::select! {
            started = &mut starting => Some(started),
            code = first(&mut self.terminate, &mut self.interrupt) => {
                tracing::info!(signal = code - 128, "asked to stop");
                self.is_asked = true;
                timeout(LAST_START, starting).await.ok()
            }
        }
    }

    /// Runs a server until a signal ends it, or it has `failed`. A second signal ends the process at once. SIGHUP has
    /// the settings read again.
    ///
    /// The server has this thread to itself, so it stops in time even if its sessions keep all others busy.
    pub(super) async fn run<F: Future<Output = ()>>(
        mut self,
        server: impl FnOnce(CancellationToken) -> F,
        failed: impl Future<Output = ServeError>,
        reload: Reload,
    ) -> anyhow::Result<ExitCode> {
        let shutdown = CancellationToken::new();
        let mut running = pin!(server(shutdown.clone()));
        let mut failed = pin!(failed);
        let mut reloading = Reloading::new(move || reload.run());
        let mut manager = ServiceManager::find();
        manager.ready();
        let why = loop {
            if self.is_asked {
                break None;
            }
            tokio::select! {
                () = &mut running => return Ok(ExitCode::SUCCESS),
                code = first(&mut self.terminate, &mut self.interrupt) => {
                    tracing::info!(
                        signal = code - 128,
                        "asked to stop; a second signal ends at once"
                    );
                    break None;
                }
                why = &mut failed => break Some(why),
                Some(()) = self.hangup.recv() => {
                    manager.reloading();
                    reloading.ask();
                }
                () = reloading.ended() => {
                    if !reloading.is_reading() {
                        manager.ready();
                    }
                }
                () = manager.beat() => {}
            }
        };
        manager.stopping();
        shutdown.cancel();
        tokio::select! {
            () = running => {}
            code = first(&mut self.terminate, &mut self.interrupt) => {
                tracing::warn!("ended at once");
                std::process::exit(code);
            }
        }
        why.map_or(Ok(ExitCode::SUCCESS), |why| Err(why.into()))
    }
}

/// Catches SIGHUP, which would end the process: one that comes while the server starts is heeded once it runs.
pub(super) fn catch_hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Waits for one of the signals. Returns the exit code that a shell gives for a process ended by it.
async fn first(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => 128 + 15,
        _ = interrupt.recv() => 128 + 2,
    }
}
