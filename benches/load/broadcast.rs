//! The bare broadcast: the least that a server of events must do. Each message at `/emit` goes to every socket at `/`,
//! through tokio's broadcast channel.

use axum::{
    Router,
    extract::{
        State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::any,
};
use futures_util::SinkExt;
use tokio::sync::broadcast::{Receiver, Sender, channel, error::RecvError};

/// The events that a socket may be behind, which the clients never reach.
const CAPACITY: usize = 1024;

/// The manner of writing events.
#[derive(Debug, Clone, Copy)]
pub(super) enum Writes {
    /// Each by itself, as in examples.
    Each,
    /// All that are ready together in one write.
    Together,
}

#[derive(Clone)]
struct Server {
    events: Sender<Utf8Bytes>,
    writes: Writes,
}

pub(super) fn routes(writes: Writes) -> Router {
    let (events, _) = channel(CAPACITY);
    Router::new()
        .route("/", any(subscribe))
        .route("/emit", any(emit))
        .with_state(Server { events, writes })
}

async fn emit(State(server): State<Server>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        while let Some(Ok(Message::Text(text))) = socket.recv().await {
            let _ = server.events.send(text.clone());
            if socket.send(Message::Text(text)).await.is_err() {
                return;
            }
        }
    })
}

async fn subscribe(State(server): State<Server>, upgrade: WebSocketUpgrade) -> Response {
    // The buffers have the sizes of circled's: axum's own would take 128 MiB for a thousand sessions.
    let upgrade = upgrade
        .read_buffer_size(4 << 10)
        .write_buffer_size(16 << 10);
    // Subscribe before the client knows that it is connected, so that it misses nothing from then on.
    let events = server.events.subscribe();
    upgrade.on_upgrade(move |socket| deliver(socket, events, server.writes))
}

async fn deliver(mut socket: WebSocket, mut events: Receiver<Utf8Bytes>, writes: Writes) {
    loop {
        tokio::select! {
            event = events.recv() => {
                let event = match event {
                    Ok(event) => event,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                };
                let sent = match writes {
                    Writes::Each => socket.send(Message::Text(event)).await,
                    Writes::Together => {
                        let mut fed = socket.feed(Message::Text(event)).await;
                        while let (Ok(()), Ok(event)) = (&fed, events.try_recv()) {
                            fed = socket.feed(Message::Text(event)).await;
                        }
                        fed.and(socket.flush().await)
                    }
                };
                if sent.is_err() {
                    return;
                }
            }
            message = socket.recv() => {
                if !matches!(message, Some(Ok(_))) {
                    return;
                }
            }
        }
    }
}
