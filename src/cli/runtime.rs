//! The process of a server: its threads, settings, log and signals.

use std::{io, process::ExitCode, time::Duration};

use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::{
    ConfigFile,
    logging::{self, LevelHandle},
    reload::{Reload, warn_of_doubts},
    signals::{Signals, catch_hangup},
};
use crate::{
    config::Loaded,
    server::{Live, ServeError},
};

/// The number of task turns after which a busy thread checks its sockets. A turn may take milliseconds; with Tokio's
/// default of 61, a quiet client was served up to half a second late beside busy ones.
const TURNS_PER_LOOK: u32 = 16;

/// The time in which remaining tasks may end.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// A server that is about to start. Its settings are read, its log is set up, and its signals are caught.
pub(super) struct Process {
    pub(super) loaded: Loaded,
    pub(super) signals: Signals,
    config: ConfigFile,
    level: LevelHandle,
}

/// Starts the threads, and runs a server on this one to its end. `read` reads its settings, and may block. Tasks that
/// are left at the end are abandoned.
///
/// # Errors
/// The threads can't be started, or the server's error.
pub(super) fn run(
    config: &ConfigFile,
    read: impl FnOnce() -> anyhow::Result<Loaded>,
    serve: impl AsyncFnOnce(Process) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let runtime = start()?;
    let process = {
        let _context = runtime.enter();
        let hangup = catch_hangup()?;
        let loaded = read()?;
        let level = logging::init(&loaded.settings.log)?;
        warn_of_doubts(&loaded);
        Process {
            signals: Signals::catch(hangup)?,
            config: config.clone(),
            loaded,
            level,
        }
    };
    let ended = runtime.block_on(serve(process));
    runtime.shutdown_timeout(LAST_WAIT);
    ended
}

impl Process {
    /// Runs a server that has started, until a signal ends it or it has `failed`. SIGHUP changes its `live` settings.
    pub(super) async fn run<F: Future<Output = ()>>(
        self,
        server: impl FnOnce(CancellationToken) -> F,
        failed: impl Future<Output = ServeError>,
        live: Live,
    ) -> anyhow::Result<ExitCode> {
        let reload = Reload::new(self.config, self.loaded, self.level, live);
        self.signals.run(server, failed, reload).await
    }
}

fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .event_interval(TURNS_PER_LOOK)
        .thread_name("circled")
        .build()
}
