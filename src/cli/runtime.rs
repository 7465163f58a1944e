//! The threads that sessions and requests are served on.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// After so many turns of tasks a busy thread looks which sockets have something to read. A turn may take a few
/// milliseconds, and with Tokio's own 61 of them a quiet client was heard up to half a second late beside busy ones.
const TURNS_PER_LOOK: u32 = 8;

/// Starts them.
///
/// # Errors
/// They can't be started.
pub(super) fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .event_interval(TURNS_PER_LOOK)
        .thread_name("circled")
        .build()
}
