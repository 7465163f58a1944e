//! Counts the bytes that the server keeps of a client's messages: of the unfinished message, and of the socket's
//! buffer, which is as large as the longest frame and never shrinks.
//!
//! To know them, the meter follows the frames (RFC 6455, section 5.2). The fragments of a message are kept, with pings
//! between them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Sink, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::{
    memory::{MemoryBudget, OverBudget, Reservation},
    turns::after_others,
};

/// The bytes that aren't counted: about as many as are read at once.
const LITTLE: usize = 8 << 10;
/// The step in which memory is reserved.
const STEP: usize = 16 << 10;
/// The most frames that are read before other sessions get their turn: a message may have many empty fragments.
const FRAMES: usize = 1024;
/// The time after which a session without memory for its message ends, and the interval of checks.
const PATIENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(100);

/// A connection that reads no more than there is memory for.
#[derive(Debug)]
pub struct Meter<S> {
    /// `None` once another meter has taken the connection over.
    stream: Option<S>,
    memory: MemoryBudget,
    frames: Frames,
    longest: usize,
    /// True once somebody has logged in.
    is_logged_in: bool,
    /// True while long messages stay unread.
    is_ahead: bool,
    reservation: Option<Reservation>,
    /// Bytes that have been read but not passed on: they wait for memory, or for long messages to be read.
    held: Vec<u8>,
    wait: Option<Pin<Box<Wait>>>,
}

/// The wait for memory; nothing is read meanwhile.
#[derive(Debug)]
struct Wait {
    since: Instant,
    again: Pin<Box<Sleep>>,
}

/// The position in the client's frames.
#[derive(Debug, Default)]
struct Frames {
    /// The header of the next frame, as far as it has come.
    header: [u8; 14],
    header_length: usize,
    /// The announced length of this frame, the bytes that have come, and those that are still to come.
    announced: usize,
    come: usize,
    left: u64,
    /// True while a message in fragments is unfinished; its bytes.
    is_fragmented: bool,
    gathered: usize,
    /// The bytes of finished messages that came in fragments, which may still be in use. The bytes of other messages
    /// are in the buffer.
    handed_on: usize,
    /// The most bytes that have come of one frame.
    largest: usize,
    /// The frames that have ended in this turn.
    ended: usize,
}

/// The reason why no more is read. It is the inner error of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The message is longer than any may be.
    #[error("a message is too long")]
    TooLong,
    /// The message is longer than one may be before a login.
    #[error("a message is too long before a login")]
    TooLongYet,
    /// The session's memory budget has no room for the message.
    #[error("there is no memory for a message")]
    NoMemory,
}

/// The socket of a session: messages, whose reading is metered.
pub trait Metered:
    Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin
{
    /// Sets the length that a message may have from now on.
    fn allow(&mut self, longest: usize);
    /// Starts or ends reading ahead, while a message is handled. Then of long messages only the header is read.
    fn read_ahead(&mut self, only: bool);
    /// Returns true if a long message has come that isn't read.
    fn has_unread_long(&self) -> bool;
    /// Returns true if the socket's buffer has become large.
    fn is_buffer_large(&self) -> bool;
    /// Returns true if the buffer has no part of a message: at most the header of the next one's first frame has come.
    fn is_between_messages(&self) -> bool;
    /// Notes that all messages passed on have been handled.
    fn handled(&mut self);
    /// Starts with new buffers. Everything must have been read and written before.
    fn renew(&mut self);
}

impl Frames {
    fn follow(&mut self, mut bytes: &[u8]) {
        loop {
            if self.left > 0 {
                let here =
                    usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.left -= here as u64;
                self.come += here;
                self.largest = self.largest.max(self.come);
                bytes = &bytes[here..];
                if self.left > 0 {
                    return;
                }
                self.end();
            }
            let before = self.header_length;
            let come = bytes.len().min(self.header.len() - before);
            self.header[before..before + come].copy_from_slice(&bytes[..come]);
            self.header_length += come;
            if self.header_length < 2 || self.header_length < self.header_size() {
                return;
            }
            // The bytes behind the header belong to the payload.
            self.header_length = self.header_size();
            bytes = &bytes[self.header_length - before..];
            self.left = self.payload();
            self.announced = usize::try_from(self.left).unwrap_or(usize::MAX);
            if self.left == 0 {
                self.end();
            }
        }
    }

    /// Ends a frame.
    fn end(&mut self) {
        let first = self.header[0];
        let (is_final, is_control) = (first & 0x80 != 0, first & 0x08 != 0);
        if !is_control {
            self.gathered += self.come;
            if is_final {
                let gathered = std::mem::take(&mut self.gathered);
                self.handed_on += if self.is_fragmented { gathered } else { 0 };
            }
            self.is_fragmented = !is_final;
        }
        self.come = 0;
        self.announced = 0;
        self.header_length = 0;
        self.ended += 1;
    }

    fn header_size(&self) -> usize {
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn payload(&self) -> u64 {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        match self.header[1] & 0x7f {
            126 => number(&self.header[2..4]),
            127 => number(&self.header[2..10]),
            short => u64::from(short),
        }
    }

    /// Returns true if a part of a message or frame has come that is more than a header.
    fn is_within(&self) -> bool {
        self.come > 0 || self.is_fragmented
    }

    /// Returns the header of the next frame, as far as it has come.
    fn begun(&self) -> &[u8] {
        &self.header[..self.header_length]
    }

    /// Returns the length of the unfinished message, as far as it is known.
    fn message(&self) -> usize {
        self.gathered.saturating_add(self.announced)
    }

    /// Returns the bytes that are kept. The buffer has room for a whole frame as soon as its header has come.
    fn kept(&self) -> usize {
        self.gathered + self.handed_on + self.largest.max(self.announced)
    }
}

impl<S> Meter<S> {
    /// Creates a meter that counts in `memory`; messages may be `longest` bytes for now.
    pub fn new(stream: S, memory: MemoryBudget, longest: usize) -> Self {
        Self {
            stream: Some(stream),
            memory,
            frames: Frames::default(),
            longest,
            is_logged_in: false,
            is_ahead: false,
            reservation: None,
            held: Vec::new(),
            wait: None,
        }
    }

    /// Begins with bytes that have been read already.
    #[must_use]
    pub fn continuing(mut self, bytes: &[u8]) -> Self {
        self.frames.follow(bytes);
        self.held = bytes.to_vec();
        self
    }

    /// Takes the connection over with new buffers. Returns the header of a frame that has begun, too.
    pub(super) fn renewed(&mut self) -> (Self, Vec<u8>) {
        let frames = std::mem::take(&mut self.frames);
        let begun = frames.begun().to_vec();
        let renewed = Self {
            stream: self.stream.take(),
            memory: self.memory.clone(),
            frames: Frames {
                largest: 0,
                ..frames
            },
            longest: self.longest,
            is_logged_in: self.is_logged_in,
            is_ahead: self.is_ahead,
            reservation: None,
            held: Vec::new(),
            wait: None,
        };
        (renewed, begun)
    }

    pub(super) fn allow(&mut self, longest: usize) {
        self.longest = longest;
        self.is_logged_in = true;
    }

    /// Stops counting messages that were passed on.
    pub(super) fn handled(&mut self) {
        self.frames.handed_on = 0;
    }

    pub(super) fn read_ahead(&mut self, only: bool) {
        self.is_ahead = only;
    }

    pub(super) fn has_unread_long(&self) -> bool {
        self.is_ahead && self.frames.message() > LITTLE
    }

    pub(super) fn is_buffer_large(&self) -> bool {
        self.frames.largest > LITTLE
    }

    pub(super) fn is_between_messages(&self) -> bool {
        !self.frames.is_within() && self.held.is_empty()
    }

    fn stream(&mut self) -> io::Result<&mut S> {
        self.stream
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Counts the bytes that are kept now.
    fn settle(&mut self) -> Result<(), OverBudget> {
        let kept = self.frames.kept();
        if kept <= LITTLE {
            self.reservation = None;
            return Ok(());
        }
        let wanted = kept.next_multiple_of(STEP);
        match &mut self.reservation {
            Some(reservation) if reservation.bytes() == wanted => Ok(()),
            Some(reservation) => reservation.resize(wanted),
            None => {
                self.reservation = Some(self.memory.try_reserve(wanted)?);
                Ok(())
            }
        }
    }

    /// Waits until there is memory for the bytes that have come. No more are read meanwhile.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        while self.settle().is_err() {
            let wait = self.wait.get_or_insert_with(|| {
                Box::pin(Wait {
                    since: Instant::now(),
                    again: Box::pin(sleep(AGAIN)),
                })
            });
            ready!(wait.again.as_mut().poll(cx));
            if wait.since.elapsed() > PATIENCE {
                return Poll::Ready(Err(Refused::NoMemory));
            }
            wait.again.as_mut().reset(Instant::now() + AGAIN);
        }
        self.wait = None;
        Poll::Ready(Ok(()))
    }

    /// Checks the length of the present message.
    fn check(&self) -> Result<(), Refused> {
        match self.frames.message().saturating_sub(LITTLE) > self.longest {
            false => Ok(()),
            true if self.is_logged_in => Err(Refused::TooLong),
            true => Err(Refused::TooLongYet),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Meter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.frames.ended > FRAMES {
            self.frames.ended = 0;
            after_others(cx);
            return Poll::Pending;
        }
        loop {
            if self.has_unread_long() {
                // A session that reads ahead continues on its own.
                return Poll::Pending;
            }
            self.check().map_err(io::Error::other)?;
            ready!(self.poll_room(cx)).map_err(io::Error::other)?;
            if !self.held.is_empty() {
                let length = self.held.len().min(buf.remaining());
                buf.put_slice(&self.held[..length]);
                self.held.drain(..length);
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            ready!(Pin::new(self.stream()?).poll_read(cx, buf))?;
            self.frames.follow(&buf.filled()[before..]);
            if !self.has_unread_long() {
                self.check().map_err(io::Error::other)?;
                if self.settle().is_ok() {
                    return Poll::Ready(Ok(()));
                }
            }
            self.held = buf.filled()[before..].to_vec();
            buf.set_filled(before);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Meter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream()?).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream()?).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(S::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()?).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use std::cell::RefCell;

    use futures_util::FutureExt;

    use super::*;

    /// Builds the header of a masked frame with this first byte and length.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut bytes = match length {
            0..126 => vec![first, 0x80 | u8::try_from(length).unwrap()],
            _ => {
                let mut bytes = vec![first, 0x80 | 127];
                bytes.extend((length as u64).to_be_bytes());
                bytes
            }
        };
        bytes.extend([0; 4]);
        bytes.resize(bytes.len() + length, 0);
        bytes
    }

    const FRAGMENT: u8 = 0x01;
    const LAST: u8 = 0x80;
    const WHOLE: u8 = 0x81;
    const PONG: u8 = 0x8a;
    const PONG_FRAME: [u8; 6] = [PONG, 0x80, 0, 0, 0, 0];

    impl<S> Meter<S> {
        fn follow(&mut self, bytes: &[u8]) -> Result<(), Refused> {
            self.frames.follow(bytes);
            self.check()
        }

        fn would_be_renewed(&self) -> bool {
            self.is_buffer_large() && self.is_between_messages()
        }
    }

    #[test]
    fn received_bytes_of_a_message_count_until_it_is_whole() {
        let memory = MemoryBudget::new("session.max_buffered", 120_000);
        let mut meter = Meter::new((), memory.clone(), 60_000);
        let see = |meter: &mut Meter<()>, bytes: &[u8]| {
            meter.follow(bytes).map(|()| meter.settle().is_ok())
        };
        let long = frame(WHOLE, 70_000);
        assert_eq!(see(&mut meter, &long[..13]), Ok(true));
        assert_eq!(memory.used(), 0);
        assert_eq!(see(&mut meter, &long[13..14]), Err(Refused::TooLongYet));
        let mut meter = Meter::new((), memory.clone(), 60_000);
        meter.allow(65_000);
        // A frame is counted once it is announced, because its buffer is made then.
        assert_eq!(see(&mut meter, &long[..14]), Ok(true));
        assert!(memory.used() >= 70_000 && !meter.would_be_renewed());
        assert_eq!(see(&mut meter, &long[14..50_000]), Ok(true));
        assert!(memory.used() >= 70_000 && !meter.would_be_renewed());
        assert_eq!(see(&mut meter, &long[50_000..]), Ok(true));
        // The frame went through a buffer that stays, and that not only the next frame uses.
        assert!(meter.would_be_renewed() && memory.used() >= 70_000);
        assert_eq!(see(&mut meter, &frame(WHOLE, 100)), Ok(true));
        assert!(meter.would_be_renewed() && memory.used() >= 70_000);
        let longer = frame(WHOLE, 130_000);
        assert_eq!(see(&mut meter, &longer[..14]), Err(Refused::TooLong));
        meter.allow(1 << 20);
        assert_eq!(see(&mut meter, &longer[14..]), Ok(false));
        (meter, _) = meter.renewed();
        assert!(!meter.would_be_renewed());
        assert_eq!(see(&mut meter, &frame(WHOLE, 100)), Ok(true));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn fragments_are_counted_whatever_comes_between_them() {
        let memory = MemoryBudget::new("session.max_buffered", 1 << 20);
        for at_once in [1, 3, 1000, usize::MAX] {
            let meter = RefCell::new(Meter::new((), memory.clone(), 1 << 20));
            let see = |first, length| {
                let mut meter = meter.borrow_mut();
                for bytes in frame(first, length).chunks(at_once) {
                    meter.follow(bytes).unwrap();
                    meter.settle().unwrap();
                }
                (meter.would_be_renewed(), memory.used())
            };
            for n in 1..=4 {
                let (is_buffer_large, used) = see(if n == 1 { FRAGMENT } else { 0 }, 20_000);
                assert!(!is_buffer_large && used >= 20_000 * (n + 1), "{n}: {used}");
                assert_eq!(see(PONG, 0), (false, used));
                assert_eq!(see(PONG, 125), (false, used));
            }
            // The bytes count until the message has been handled.
            let (is_buffer_large, used) = see(LAST, 0);
            assert!(is_buffer_large && used >= 100_000, "{used}");
            meter.borrow_mut().handled();
            // An empty fragment counts as a frame, too.
            let (is_buffer_large, used) = see(FRAGMENT, 0);
            assert!(!is_buffer_large && used < 40_000, "{used}");
            assert_eq!(see(LAST, 0), (true, used));
            drop(meter);
            assert_eq!(memory.used(), 0);
        }
    }

    #[tokio::test]
    async fn announced_messages_wait_for_memory_and_then_come() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

        let memory = MemoryBudget::new("session.max_buffered", 40_000);
        let (mut client, server) = duplex(64 << 10);
        let mut meter = Meter::new(server, memory.clone(), 1 << 20);
        let short = frame(WHOLE, 100);
        let sent = [&short[..], &frame(WHOLE, 30_000)[..50]].concat();
        client.write_all(&sent).await.unwrap();
        let others = memory.try_reserve(20_000).unwrap();
        let mut read = vec![0; 150];
        let early = tokio::time::timeout(AGAIN, meter.read(&mut read)).await;
        assert!(early.is_err(), "it waits");
        assert_eq!(memory.used(), 20_000);
        drop(others);
        meter.read_exact(&mut read).await.unwrap();
        assert!(memory.used() >= 30_000);
        let mut rest = vec![0; sent.len() - read.len()];
        meter.read_exact(&mut rest).await.unwrap();
        assert_eq!([read, rest].concat(), sent);

        drop(meter);
        let _others = memory.try_reserve(20_000).unwrap();
        let (mut client, server) = duplex(64 << 10);
        let mut meter = Meter::new(server, memory.clone(), 1 << 20);
        client.write_all(&sent).await.unwrap();
        let refused = meter.read(&mut [0; 150]).await.unwrap_err();
        let refused = refused.get_ref().and_then(|inner| inner.downcast_ref());
        assert_eq!(refused, Some(&Refused::NoMemory));
    }

    #[tokio::test]
    async fn only_short_messages_are_read_ahead() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

        let memory = MemoryBudget::new("session.max_buffered", 1 << 20);
        let (mut client, server) = duplex(64 << 10);
        let mut meter = Meter::new(server, memory.clone(), 10_000);
        meter.read_ahead(true);
        let mut read = [0; 4096];
        let short = [&frame(WHOLE, 100)[..], &PONG_FRAME].concat();
        client.write_all(&short).await.unwrap();
        meter.read_exact(&mut read[..short.len()]).await.unwrap();
        assert!(!meter.has_unread_long());
        // It is too long before a login; but the message in progress may be the login.
        let long = frame(WHOLE, 30_000);
        client.write_all(&long).await.unwrap();
        for _ in 0..3 {
            let ahead = meter.read(&mut read).now_or_never();
            assert!(ahead.is_none() && meter.has_unread_long());
            assert_eq!(memory.used(), 0);
        }
        meter.read_ahead(false);
        meter.allow(30_000);
        let mut all = vec![0; long.len()];
        meter.read_exact(&mut all).await.unwrap();
        assert!(all == long && memory.used() >= 30_000);
        // The same with many fragments.
        meter.read_ahead(true);
        let fragments = [frame(FRAGMENT, 5000), frame(0, 5000)].concat();
        client.write_all(&fragments).await.unwrap();
        let mut come = 0;
        while let Some(length) = meter.read(&mut read).now_or_never() {
            come += length.unwrap();
        }
        assert!((4000..=5100).contains(&come), "{come}");
    }

    #[tokio::test]
    async fn of_many_fragments_some_are_read_and_then_others_have_their_turn() {
        let memory = MemoryBudget::new("session.max_buffered", 1 << 20);
        let sent = [frame(FRAGMENT, 0), frame(0, 0).repeat(4 * FRAMES)].concat();
        let mut meter = Meter::new(&sent[..], memory, 1 << 20);
        let (mut read, mut turns) = (0, 1);
        let mut bytes = [0; 600];
        while read < sent.len() {
            let mut buffer = ReadBuf::new(&mut bytes);
            poll_fn(|cx| {
                let polled = Pin::new(&mut meter).poll_read(cx, &mut buffer);
                turns += usize::from(polled.is_pending());
                polled
            })
            .await
            .unwrap();
            read += buffer.filled().len();
        }
        assert!((4..=5).contains(&turns), "{turns}");
    }

    #[test]
    fn a_header_that_has_come_is_no_reason_to_keep_a_buffer() {
        let memory = MemoryBudget::new("session.max_buffered", 1 << 20);
        let next = frame(WHOLE, 30_000);
        for length in 1..=14 {
            let mut meter = Meter::new((), memory.clone(), 1 << 20);
            let long = [&frame(WHOLE, 70_000), &next[..length]].concat();
            meter.follow(&long).unwrap();
            meter.settle().unwrap();
            assert!(meter.would_be_renewed() && memory.used() >= 70_000);
            let begun;
            (meter, begun) = meter.renewed();
            assert_eq!(begun, next[..length]);
            assert!(!meter.would_be_renewed());
            meter.follow(&next[length..14]).unwrap();
            meter.follow(&next[14..]).unwrap();
            meter.settle().unwrap();
            assert!(meter.would_be_renewed() && (30_000..70_000).contains(&memory.used()));
            // With any part of its payload, the buffer is kept.
            meter.follow(&next[..15]).unwrap();
            assert!(!meter.would_be_renewed());
        }
        assert_eq!(memory.used(), 0);
    }
}
