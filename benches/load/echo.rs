//! The bare axum echo, the least that a WebSocket server must do; also serves the bare broadcast, and the bare webhooks.

use axum::{
    Router,
    body::Bytes,
    extract::{
        State,
        ws::{WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{any, post},
    serve::ListenerExt,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::{
    broadcast::{self, Writes},
    webhook,
};

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
    /// An endpoint that checks Stripe's signature of each webhook, and keeps nothing.
    Webhook,
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
        Echo::Webhook => Router::new().route("/", post(check)),
    };
    axum::serve(listener, routes).await.expect("a server");
}

async fn upgrade(State(echo): State<Echo>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = match echo {
        Echo::Default => upgrade,
        Echo::Tuned | Echo::Broadcast | Echo::BroadcastTogether | Echo::Webhook => upgrade
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

async fn check(headers: HeaderMap, body: Bytes) -> StatusCode {
    match is_signed(&headers, &body) {
        Some(true) => StatusCode::OK,
        Some(false) | None => StatusCode::UNAUTHORIZED,
    }
}

fn is_signed(headers: &HeaderMap, body: &[u8]) -> Option<bool> {
    let signature = headers.get("stripe-signature")?.to_str().ok()?;
    let (time, signature) = signature.strip_prefix("t=")?.split_once(",v1=")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(webhook::SECRET.as_bytes()).ok()?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac.verify_slice(&hex::decode(signature).ok()?).is_ok())
}
