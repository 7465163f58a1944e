//! A session's socket: reads one message at a time, and is the only writer.
//!
//! Messages to be sent wait in a bounded queue. Replies that are ready together leave in one write, once everything has
//! been read. While the client reads nothing, or the queue is half full, nothing more is read from it. Long messages
//! leave in pieces (RFC 6455, section 5.4), so that the socket's own buffer, which never shrinks, stays small.

mod input;
mod outbound;
mod socket_buffer;
mod turn;

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_tungstenite::tungstenite::{
    Message, Utf8Bytes,
    protocol::{CloseFrame, Role},
};

use super::{Closing, Settings, WebSocket, meter::Metered};
use crate::{
    memory::{MemoryBudget, Reservation},
    rpc::Notice,
};
pub(super) use input::Input;
use outbound::{Outbound, PIECE, size};
use socket_buffer::SocketBuffer;
use turn::{BURST, ReadTurn};

/// The size in bytes from which a message or reply counts as long.
const LONG: usize = 4 << 10;

/// The most pieces that are sent before other sessions get their turn.
const PIECES: usize = 16;

/// The messages that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// All of them.
    All,
    /// None, because one is being handled. Frames are read up to the next message, so that pongs and the client's
    /// departure are noticed.
    Ahead,
}

/// The capacity for more events.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EventCapacity {
    Free,
    /// Events may follow once the waiting messages have been sent, see [`Input::EventsWanted`].
    AfterSending,
    /// Events may follow once the session holds less memory. No input announces it.
    Later,
}

/// The connection of a session. `S` is a WebSocket: a stream and a sink of messages.
#[derive(Debug)]
pub(super) struct Connection<S> {
    socket: S,
    outbound: Outbound,
    socket_buffer: SocketBuffer,
    turn: ReadTurn,
    reads: Reads,
    /// A message that has been read while another one is handled.
    ahead: Option<Input>,
    /// True if a message was returned since the socket was told that all were handled.
    has_returned: bool,
    is_unflushed: bool,
    blocked_since: Option<Instant>,
    /// The condition for more events that somebody waits for.
    awaited: Option<Awaited>,
    /// The memory budget of the session, in which queued messages and unfinished replies count.
    memory: MemoryBudget,
    is_logged_in: bool,
}

/// A condition for more events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// No events wait, and the queue has a place for one.
    Place,
    /// The client has read everything.
    AllSent,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Metered for WebSocket<S> {
    fn allow(&mut self, longest: usize) {
        self.get_mut().allow(longest);
    }

    fn read_ahead(&mut self, only: bool) {
        self.get_mut().read_ahead(only);
    }

    fn has_unread_long(&self) -> bool {
        self.get_ref().has_unread_long()
    }

    fn is_buffer_large(&self) -> bool {
        self.get_ref().is_buffer_large()
    }

    fn is_between_messages(&self) -> bool {
        self.get_ref().is_between_messages()
    }

    fn handled(&mut self) {
        self.get_mut().handled();
    }

    fn renew(&mut self) {
        let config = *self.get_config();
        let (stream, begun) = self.get_mut().renewed();
        let renewed = Self::from_partially_read(stream, begun, Role::Server, Some(config));
        // The future is ready at once.
        if let Some(renewed) = renewed.now_or_never() {
            *self = renewed;
        }
    }
}

impl<S: Metered> Connection<S> {
    pub(super) fn new(socket: S, settings: &Settings, memory: MemoryBudget) -> Self {
        Self::with_turn(
            socket,
            ReadTurn::new(),
            settings.outbound_queue.get(),
            memory,
        )
    }

    fn with_turn(socket: S, turn: ReadTurn, max_queue: usize, memory: MemoryBudget) -> Self {
        Self {
            socket,
            outbound: Outbound::new(max_queue),
            socket_buffer: SocketBuffer::default(),
            turn,
            reads: Reads::All,
            ahead: None,
            has_returned: false,
            is_unflushed: false,
            blocked_since: None,
            awaited: None,
            memory,
            is_logged_in: false,
        }
    }

    /// Notes that somebody has logged in: the larger limits apply.
    pub(super) fn on_login(&mut self, settings: &Settings) {
        if std::mem::replace(&mut self.is_logged_in, true) {
            return;
        }
        self.socket.allow(settings.max_message.get());
        self.memory.raise();
    }

    /// Returns the capacity for more events, which leave part of the queue to replies. Before events that were `missed`
    /// and have to be read from the log, the client must have read everything.
    pub(super) fn event_capacity(&mut self, missed: bool) -> EventCapacity {
        let awaited = match missed {
            true => Awaited::AllSent,
            false => Awaited::Place,
        };
        self.awaited = (!self.has(awaited)).then_some(awaited);
        if self.awaited.is_some() {
            EventCapacity::AfterSending
        } else if self.memory.used() > self.memory.limit() / 4 {
            EventCapacity::Later
        } else {
            EventCapacity::Free
        }
    }

    fn has(&self, awaited: Awaited) -> bool {
        match awaited {
            Awaited::Place => self.outbound.may_take_event(),
            Awaited::AllSent => {
                let outbound = &self.outbound;
                outbound.has_no_events() && outbound.is_empty() && !self.is_unflushed
            }
        }
    }

    fn may_read(&self) -> bool {
        self.outbound.may_take_replies(self.memory.limit())
    }

    /// Queues a reply, with its memory; a small one needs none.
    ///
    /// # Errors
    /// [`Closing::TooSlow`] if the queue is full: the client isn't reading.
    pub(super) fn send(
        &mut self,
        text: impl Into<Utf8Bytes>,
        reservation: Option<Reservation>,
    ) -> Result<(), Closing> {
        if self.outbound.is_full() {
            return Err(Closing::TooSlow);
        }
        let text = text.into();
        self.turn.add_long(text.len() > LONG);
        self.outbound.push(text, reservation);
        Ok(())
    }

    /// Sends events as soon as the queue has places for them.
    pub(super) fn send_events(&mut self, events: Vec<Notice>) {
        self.outbound.add_events(events);
    }

    /// Queues a ping.
    pub(super) fn ping(&mut self) {
        self.outbound.push_ping();
    }

    /// Returns true if the last message was the first since other sessions had their turn.
    pub(super) fn begins_turn(&self) -> bool {
        self.turn.has_just_begun()
    }

    /// Returns the time when the last turn began.
    pub(super) fn turn_began(&self) -> std::time::Instant {
        self.turn.began().into_std()
    }

    /// Returns the time when the client last read something, if bytes wait for it now.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Returns true if a message has come that isn't handled yet, so that nothing behind it is noticed.
    pub(super) fn has_unhandled(&self) -> bool {
        self.ahead.is_some() || self.socket.has_unread_long()
    }

    /// Waits for the next input, and writes queued messages meanwhile. Dropping the future loses nothing.
    pub(super) async fn next(&mut self, reads: Reads) -> Input {
        if self.reads != reads {
            self.reads = reads;
            self.socket.read_ahead(reads == Reads::Ahead);
        }
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Removes all queued messages.
    pub(super) fn discard(&mut self) {
        self.outbound.clear();
    }

    /// Writes queued messages and a close frame. Returns true if the client has read it all.
    pub(super) async fn close(&mut self, frame: CloseFrame) -> bool {
        while let Some((piece, _)) = self.outbound.next_piece() {
            if self.socket.feed(piece).await.is_err() {
                return false;
            }
        }
        self.socket.send(Message::Close(Some(frame))).await.is_ok()
    }

    /// Reads until the client has closed, answering its close frame.
    pub(super) async fn finish(&mut self) {
        self.socket.read_ahead(false);
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if let Err(input) = self.feed(cx) {
            return Poll::Ready(input);
        }
        if self.awaited.is_some_and(|awaited| self.has(awaited)) {
            self.awaited = None;
            return Poll::Ready(Input::EventsWanted);
        }
        self.turn.check_time();
        let may_read = self.blocked_since.is_none() && self.may_read();
        if self.reads == Reads::Ahead {
            self.turn.reset();
            if may_read && let Poll::Ready(input) = self.read_ahead(cx) {
                return Poll::Ready(input);
            }
            return self.flush(cx);
        }
        if std::mem::take(&mut self.has_returned) {
            self.socket.handled();
        }
        let mut has_read_all = false;
        if !self.turn.is_over() && may_read {
            if let Some(ahead) = self.ahead.take() {
                return Poll::Ready(self.input(ahead));
            }
            loop {
                let Poll::Ready(message) = self.socket.poll_next_unpin(cx) else {
                    has_read_all = true;
                    break;
                };
                if let Some(input) = Input::of(message) {
                    return Poll::Ready(self.input(input));
                }
                self.turn.count();
                if self.turn.is_over() {
                    break;
                }
            }
        }
        self.turn.begin(cx);
        let written = self.flush(cx);
        if has_read_all && written.is_pending() {
            self.renew(cx);
        }
        written
    }

    /// Counts an input that is returned.
    fn input(&mut self, input: Input) -> Input {
        self.turn.count();
        self.has_returned = true;
        let is_long = matches!(&input, Input::Text(text) if text.len() > LONG);
        self.turn.set_long(is_long);
        input
    }

    /// Reads on while a message is handled. The next message is kept for later.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        for _ in 0..BURST {
            if self.has_unhandled() {
                return Poll::Pending;
            }
            let Poll::Ready(message) = self.socket.poll_next_unpin(cx) else {
                return Poll::Pending;
            };
            match Input::of(message) {
                Some(message @ (Input::Text(_) | Input::Binary)) => self.ahead = Some(message),
                Some(input) => return Poll::Ready(input),
                None => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives the socket new buffers if its buffers are large and empty.
    fn renew(&mut self, cx: &mut Context<'_>) {
        let is_large = self.socket_buffer.is_large() || self.socket.is_buffer_large();
        let is_idle =
            self.socket.is_between_messages() && !self.is_unflushed && self.outbound.is_empty();
        if !is_large || !is_idle {
            return;
        }
        // A pong may wait to be written, too.
        if let Poll::Ready(Ok(())) = Pin::new(&mut self.socket).poll_flush(cx) {
            self.socket_buffer.renewed();
            self.socket.renew();
            cx.waker().wake_by_ref();
        }
    }

    /// Moves queued messages into the socket's own buffer, as far as it takes them.
    fn feed(&mut self, cx: &mut Context<'_>) -> Result<(), Input> {
        let mut bytes = 0;
        loop {
            self.outbound.queue_events();
            if self.outbound.is_empty() {
                break;
            }
            if bytes >= PIECES * PIECE {
                // The rest follows once these are flushed.
                return Ok(());
            }
            match Pin::new(&mut self.socket).poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Input::Left),
                Poll::Pending => return Ok(()),
            }
            if !self.outbound.is_within_message()
                && let Some(since) = &mut self.blocked_since
            {
                *since = Instant::now();
            }
            if let Some((piece, reservation)) = self.outbound.next_piece() {
                self.is_unflushed = true;
                bytes += size(&piece);
                self.socket_buffer.add(size(&piece), reservation);
                if self.socket.start_send_unpin(piece).is_err() {
                    return Err(Input::Left);
                }
            }
        }
        self.outbound.shrink();
        Ok(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if !self.is_unflushed && self.outbound.is_empty() {
            return Poll::Pending;
        }
        match Pin::new(&mut self.socket).poll_flush(cx) {
            // The deadline for reading a message covers all its pieces.
            Poll::Ready(Ok(())) if self.outbound.is_within_message() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Ok(())) => {
                self.is_unflushed = false;
                self.socket_buffer.flushed();
                let was_blocked = self.blocked_since.take().is_some();
                if was_blocked || self.awaited.is_some() || self.outbound.has_messages() {
                    // Reading was put off, somebody waits for this, or there is more to write.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(Input::Left),
            Poll::Pending if self.blocked_since.is_none() => {
                self.blocked_since = Some(Instant::now());
                Poll::Ready(Input::Blocked)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
