//! Counts what a client has sent of a message that isn't whole yet: until it is, it has to be kept.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::memory::{MemoryBudget, Reservation};

/// What isn't counted: about as much as is read at once.
const LITTLE: usize = 8 << 10;
/// Room is taken in steps of this size.
const STEP: usize = 16 << 10;

/// A connection that reads no more of a message than there is room for.
#[derive(Debug)]
pub struct Meter<S> {
    stream: S,
    memory: MemoryBudget,
    /// Bytes since the last message was whole.
    read: usize,
    longest: usize,
    room: Option<Reservation>,
}

/// Why no more is read. It comes as the inner error of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Nobody may send so much, yet.
    #[error("a message is too long")]
    TooLong,
    /// What its client makes the server hold would be too much.
    #[error("there is no room for a message")]
    NoRoom,
}

/// The end of a session's socket that reads.
pub(super) trait Metered {
    /// A message is whole, and is taken.
    fn taken(&mut self);
    /// Messages may be so long from now on.
    fn allow(&mut self, longest: usize);
}

impl<S> Meter<S> {
    /// Counts in `memory`; messages may be so long for now.
    pub fn new(stream: S, memory: MemoryBudget, longest: usize) -> Self {
        Self {
            stream,
            memory,
            read: 0,
            longest,
            room: None,
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), Refused> {
        self.read += bytes;
        if self.read <= LITTLE {
            return Ok(());
        }
        if self.read - LITTLE > self.longest {
            return Err(Refused::TooLong);
        }
        let wanted = self.read.next_multiple_of(STEP);
        match &mut self.room {
            Some(room) if room.bytes() >= self.read => Ok(()),
            Some(room) => room.resize(wanted).map_err(|_| Refused::NoRoom),
            None => {
                let room = self.memory.try_reserve(wanted);
                self.room = Some(room.map_err(|_| Refused::NoRoom)?);
                Ok(())
            }
        }
    }
}

impl<S> Metered for Meter<S> {
    fn taken(&mut self) {
        self.read = 0;
        self.room = None;
    }

    fn allow(&mut self, longest: usize) {
        self.longest = longest;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Meter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read {
            self.count(buf.filled().len() - before)
                .map_err(io::Error::other)?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Meter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_of_a_message_is_counted_until_it_is_whole() {
        let memory = MemoryBudget::new("session.max_buffered", 100_000);
        let mut meter = Meter::new((), memory.clone(), 80_000);
        meter.count(LITTLE).unwrap();
        assert_eq!(memory.used(), 0);
        meter.count(1).unwrap();
        assert_eq!(memory.used(), STEP);
        meter.count(50_000).unwrap();
        assert!((58_000..75_000).contains(&memory.used()));
        assert_eq!(meter.count(40_000), Err(Refused::TooLong));
        meter.allow(1 << 20);
        assert_eq!(meter.count(4000), Err(Refused::NoRoom));
        meter.taken();
        assert_eq!(memory.used(), 0);
        meter.count(50_000).unwrap();
    }
}
