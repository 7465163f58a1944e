//! Closes a connection so that its client learns the reason.
//!
//! If a socket is closed while received bytes are unread, TCP resets the connection. The client may then lose the last
//! bytes it was sent: the error, or the close frame. So bytes from the client are read and discarded for a while first,
//! as nginx does (`lingering_close`).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{accept::Ending, stream::Stream};
use crate::{address::Network, farewell, shares::ShareGuard};

const LINGER_BYTES: u64 = 16 << 20;

/// A connection that lingers when it is dropped.
#[derive(Debug)]
pub(super) struct Lingering(Option<Open>);

#[derive(Debug)]
struct Open {
    stream: Stream,
    _share: ShareGuard<Network>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Lingering {
    pub(super) fn new(stream: Stream, place: ShareGuard<Network>, ending: &Ending) -> Self {
        Self(Some(Open {
            stream,
            _share: place,
            stopping: ending.stopping.clone(),
            tasks: ending.tasks.clone(),
        }))
    }

    /// Removes the limit on unsent bytes that the listener has set.
    pub(super) fn lift_unsent(&self) {
        if let Some(open) = &self.0
            && let Err(error) = SockRef::from(open.stream.socket()).set_tcp_notsent_lowat(u32::MAX)
        {
            tracing::debug!(%error, "failed to lift TCP_NOTSENT_LOWAT");
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.0
            .as_mut()
            .map(|open| Pin::new(&mut open.stream))
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        // The client has closed already, or the connection is broken.
        let socket = open.stream.socket();
        if matches!(socket.try_read(&mut [0]), Ok(0))
            || socket.take_error().is_ok_and(|error| error.is_some())
        {
            return;
        }
        let tasks = open.tasks.clone();
        tasks.spawn(async move {
            let mut stream = open.stream;
            let drain = async {
                stream.shutdown().await?;
                let socket = stream.into_socket();
                tokio::io::copy(&mut socket.take(LINGER_BYTES), &mut tokio::io::sink()).await
            };
            farewell::wait_for(drain, &open.stopping).await;
        });
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|open| open.stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
