//! The time that a client may take to read a response.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::linger::Lingering;
use crate::pace::Pace;

/// A connection that ends when its client reads a response too slowly.
#[derive(Debug)]
pub(super) struct ResponseDeadline {
    stream: Lingering,
    pace: Pace,
    /// Present only while the client doesn't read.
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    taken: usize,
    timer: Pin<Box<Sleep>>,
}

impl ResponseDeadline {
    pub(super) fn new(stream: Lingering, pace: Pace) -> Self {
        Self {
            stream,
            pace,
            waiting: None,
        }
    }

    /// Returns the connection for a session, which has a deadline of its own, and no limit on unsent bytes.
    pub(super) fn into_session(self) -> Lingering {
        self.stream.lift_unsent();
        self.stream
    }

    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            if let (Some(waiting), Ok(bytes)) = (&mut self.waiting, &written) {
                waiting.taken += bytes;
            }
            return Poll::Ready(written);
        }
        self.wait(cx).map(Err)
    }

    /// Waits for the client to read. At the deadline, returns the error that ends the connection.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let waiting = self.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            let timer = Box::pin(sleep_until(since));
            Box::new(Waiting {
                since,
                taken: 0,
                timer,
            })
        });
        let deadline = self.pace.deadline(waiting.since, waiting.taken);
        waiting.timer.as_mut().reset(deadline);
        waiting
            .timer
            .as_mut()
            .poll(cx)
            .map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for ResponseDeadline {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ResponseDeadline {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes once it has nothing left to write. TLS may still have some.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(flushed) => {
                self.waiting = None;
                Poll::Ready(flushed)
            }
            Poll::Pending => self.wait(cx).map(Err),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
