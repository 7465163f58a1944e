//! How long a client is waited for whose connection is about to end.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a client may take for its part.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same once the server stops. A session's client is waited for twice: until it has answered the close frame, and
/// until it has closed.
const HURRY: Duration = Duration::from_millis(500);

/// Waits for a client to do its part, and no longer than that; hardly at all once the server is `stopping`.
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
