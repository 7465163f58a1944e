//! The task that reads a connection, and sends unsubscribes and pings.

use std::{sync::Arc, time::Duration};

use circled_protocol::{Method, methods::Unsubscribe};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::{Mutex, mpsc},
    time::{Instant, interval_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Bytes, Message},
};

use crate::{Closed, calls::Calls, routes::Command};

/// The time without messages after which the server is pinged, and then the time for its answer. Servers ping too, but
/// a client that only listens must notice by itself that the server is gone.
const QUIET: Duration = Duration::from_secs(30);

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
/// The sending half of the connection, while it exists.
#[derive(Debug)]
pub(crate) struct Sink(Mutex<Option<SplitSink<Socket, Message>>>);

impl Sink {
    pub(crate) fn new(sink: SplitSink<Socket, Message>) -> Self {
        Self(Mutex::new(Some(sink)))
    }

    /// Sends a message. If that fails, the reader learns the reason.
    pub(crate) async fn send(&self, message: Message) {
        if let Some(sink) = self.0.lock().await.as_mut() {
            let _ = sink.send(message).await;
        }
    }

    /// Asks the server to close the connection, unless it is closed already.
    pub(crate) async fn close(&self) {
        if let Some(sink) = self.0.lock().await.as_mut() {
            let _ = sink.close().await;
        }
    }
}

/// Reads replies and events and hands them out until the connection ends.
pub(crate) async fn run(
    stream: SplitStream<Socket>,
    sink: Arc<Sink>,
    calls: Arc<Calls>,
    commands: mpsc::UnboundedReceiver<Command>,
) {
    // Both run side by side: a server that reads slowly must not keep this end from reading.
    let closed = tokio::select! {
        closed = read(stream, &calls) => closed,
        closed = write(&sink, &calls, commands) => closed,
    };
    calls.close(closed);
    // Dropping both halves closes the socket, for which the server may be waiting.
    drop(sink.0.lock().await.take());
}

async fn read(mut stream: SplitStream<Socket>, calls: &Calls) -> Closed {
    let mut last = None;
    let mut rounds = interval_at(Instant::now() + QUIET, QUIET);
    let (mut heard, mut asked) = (false, false);
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            _ = rounds.tick() => {
                if asked && !heard {
                    return Closed::lost(format!("nothing came for {:?}", QUIET * 2));
                }
                asked = !heard;
                if asked {
                    calls.routes().command(Command::Ping);
                }
                heard = false;
                continue;
            }
        };
        heard = true;
        match message {
            Some(Ok(Message::Text(text))) => calls.on_text(&text),
            Some(Ok(Message::Close(frame))) => last = frame,
            Some(Ok(
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
            )) => {}
            ended @ (Some(Err(_)) | None) => {
                return match (last, ended) {
                    (Some(frame), _) => Closed {
                        code: Some(frame.code.into()),
                        reason: frame.reason.as_str().to_owned(),
                    },
                    (None, Some(Err(tungstenite::Error::Protocol(error)))) => {
                        Closed::lost(error.to_string())
                    }
                    (None, Some(Err(error))) => Closed::lost(error.to_string()),
                    (None, _) => Closed::silently(),
                };
            }
        }
    }
}

async fn write(
    sink: &Sink,
    calls: &Calls,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> Closed {
    while let Some(command) = commands.recv().await {
        let message = match command {
            Command::Ping => Message::Ping(Bytes::new()),
            Command::Send(request) => Message::text(request),
            Command::Unsubscribe(name) => {
                calls.routes().forget(&name);
                let params = Unsubscribe { subscription: name };
                // Without an id, there is no reply.
                let request =
                    json!({ "jsonrpc": "2.0", "method": Unsubscribe::NAME, "params": params });
                Message::text(request.to_string())
            }
        };
        sink.send(message).await;
    }
    // The client is gone, and this task ends with it.
    Closed::silently()
}
