//! Sends an archive of what is stored, while the server serves.

use std::{
    io::{self, Write},
    mem,
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use circled_protocol::PublicKey;
use futures_util::stream::unfold;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{
    sync::mpsc::{Sender, channel},
    task::spawn_blocking,
};

use super::admin::{Admin, Refused};
use crate::{
    backup::{Header, pack},
    metrics::metrics,
};

/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;
/// Chunks that wait to be sent.
const WAITING: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    circle: Option<PublicKey>,
}

/// Sends an archive of all circles, or of one. An archive that can't be sent to its end has none, and the connection ends.
pub(super) async fn send(
    State(admin): State<Arc<Admin>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(Wanted { circle }) = wanted?;
    // All that is acknowledged before is in it.
    let header = Header::new(Timestamp::now(), circle);
    let parts = admin.dispatcher.read_circles(circle).await;
    let parts = parts.map_err(Refused::Backup)?;
    let (sender, receiver) = channel(WAITING);
    spawn_blocking(move || {
        let chunks = Chunks {
            sender: sender.clone(),
            buffer: Vec::new(),
        };
        match pack(parts, chunks, header) {
            Ok(_) if circle.is_none() => metrics().backup_made(),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a backup ended early: whoever asked for it left, or it could not be read");
                let _ = sender.blocking_send(Err(io::Error::other(error)));
            }
        }
    });
    let chunks = unfold(receiver, async |mut receiver| {
        let next = receiver.recv().await?;
        Some((next, receiver))
    });
    let kind = [(header::CONTENT_TYPE, "application/zstd")];
    Ok((kind, Body::from_stream(chunks)).into_response())
}

/// Collects what is written into chunks, and sends these.
struct Chunks {
    sender: Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = mem::take(&mut self.buffer).into();
        let sent = self.sender.blocking_send(Ok(chunk));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
