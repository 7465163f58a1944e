//! The threads that serve sessions and requests.

use std::{io, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::Signal,
};

use super::signals::catch_hangup;

/// The number of task turns after which a busy thread checks its sockets. A turn may take milliseconds; with Tokio's
/// default of 61, a quiet client was served up to half a second late beside busy ones.
const TURNS_PER_LOOK: u32 = 16;

/// The time in which remaining tasks may end.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Starts the threads, and runs a server on this one to its end. `prepare` may block, and gets SIGHUP. Tasks that are
/// left at the end are abandoned.
///
/// # Errors
/// The threads can't be started, or the server's error.
pub(super) fn run<T, F: Future<Output = anyhow::Result<T>>>(
    prepare: impl FnOnce(Signal) -> anyhow::Result<F>,
) -> anyhow::Result<T> {
    let runtime = start()?;
    let server = {
        let _context = runtime.enter();
        prepare(catch_hangup()?)?
    };
    let ended = runtime.block_on(server);
    runtime.shutdown_timeout(LAST_WAIT);
    ended
}

fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .event_interval(TURNS_PER_LOOK)
        .thread_name("circled")
        .build()
}
