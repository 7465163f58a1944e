//! The threads that sessions and requests are served on.

use std::{io, time::Duration};

use tokio::runtime::{Builder, Runtime};

/// After so many turns of tasks a busy thread looks which sockets have something to read. A turn may take a few
/// milliseconds, and with Tokio's own 61 of them a quiet client was heard up to half a second late beside busy ones.
const TURNS_PER_LOOK: u32 = 16;

/// How long what they still do may take once its caller has left.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Starts them, and runs a server on this thread to its end. Whatever is left then is left behind.
///
/// # Errors
/// They can't be started, or what the server says.
pub(super) fn run<T>(server: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = start()?;
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
