//! The bare axum echo, the least that a WebSocket server must do; also serves the bare broadcast.

use axum::{
    Router,
    extract::{
        State,
        ws::{WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::any,
    serve::ListenerExt,
};
use tokio::net::TcpListener;

use crate::broadcast::{self, Writes};

/// The kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Echo {
    /// An echo with axum's defaults: buffers of 128 KiB, whose free part is zeroed before every read.
    Default,
    /// An echo with the buffer sizes of circled's sessions.
    Tuned,
    /// A broadcast instead of an echo.
    Broadcast,
    /// A broadcast that writes events which are ready together in one write.
    BroadcastTogether,
}

/// Serves on a free port, which it prints.
pub(super) async fn serve(echo: Echo) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("TCP_NODELAY"));
    let routes = match echo {
        Echo::Default | Echo::Tuned => Router::new().route("/", any(upgrade)).with_state(echo),
        Echo::Broadcast => broadcast::routes(Writes::Each),
        Echo::BroadcastTogether => broadcast::routes(Writes::Together),
    };
    axum::serve(listener, routes).await.expect("a server");
}

async fn upgrade(State(echo): State<Echo>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = match echo {
        Echo::Default => upgrade,
        Echo::Tuned | Echo::Broadcast | Echo::BroadcastTogether => upgrade
            .read_buffer_size(4 << 10)
            .write_buffer_size(16 << 10),
    };
    upgrade.on_upgrade(answer)
}

async fn answer(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}
