//! The task that reads a connection, and sends what nobody waits for.

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

/// How long nothing may come before the server is asked for a sign of life, and then how long it has for one. Servers ask too,
/// but whoever only listens must find out by itself that the other end is gone without a word.
const QUIET: Duration = Duration::from_secs(30);

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
/// Where messages are sent, as long as the connection is there.
#[derive(Debug)]
pub(crate) struct Sink(Mutex<Option<SplitSink<Socket, Message>>>);

impl Sink {
    pub(crate) fn new(sink: SplitSink<Socket, Message>) -> Self {
        Self(Mutex::new(Some(sink)))
    }

    /// Where it can't be sent, the reader learns why.
    pub(crate) async fn send(&self, message: Message) {
        if let Some(sink) = self.0.lock().await.as_mut() {
            let _ = sink.send(message).await;
        }
    }

    /// Asks the server to close the connection. Where it is gone, it is closed already.
    pub(crate) async fn close(&self) {
        if let Some(sink) = self.0.lock().await.as_mut() {
            let _ = sink.close().await;
        }
    }
}

/// Hands replies and events out until the connection ends.
pub(crate) async fn run(
    stream: SplitStream<Socket>,
    sink: Arc<Sink>,
    calls: Arc<Calls>,
    commands: mpsc::UnboundedReceiver<Command>,
) {
    // Side by side, in one task: a server that is slow to read must not keep this end from reading.
    let closed = tokio::select! {
        closed = read(stream, &calls) => closed,
        closed = write(&sink, &calls, commands) => closed,
    };
    calls.close(closed);
    // With both its halves the socket goes, for which the server may be waiting.
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
                // No id: nobody wants a reply.
                let request =
                    json!({ "jsonrpc": "2.0", "method": Unsubscribe::NAME, "params": params });
                Message::text(request.to_string())
            }
        };
        sink.send(message).await;
    }
    // The client is gone, and this task with it.
    Closed::silently()
}
