//! The time for which a closing connection waits for its client.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The time that a client may take for its part.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same time once the server stops. A session waits twice: until the client has answered the close frame, and until
/// it has closed.
const HURRY: Duration = Duration::from_millis(500);

/// Waits for a client to do its part, but not for long; even less once the server is `stopping`.
pub(crate) async fn wait_for(client: impl Future, stopping: &CancellationToken) {
    let hurry = async {
        stopping.cancelled().await;
        sleep(HURRY).await;
    };
    tokio::select! {
        _ = timeout(PATIENCE, client) => {}
        () = hurry => {}
    }
}
