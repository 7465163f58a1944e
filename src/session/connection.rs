//! A session's socket: reads one message at a time, and is the one writer.
//!
//! What is sent waits in a bounded queue; replies that are ready together leave in one write, once
//! nothing more is there to be read. While the client takes nothing, or the queue is half full, nothing more is read
//! from it. What is long leaves in pieces (RFC 6455, section 5.4), so that the socket's own buffer, which never gets
//! smaller again, stays small.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{
    Error, Message, Utf8Bytes,
    error::ProtocolError,
    protocol::{
        CloseFrame, Role,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::{
    Closing, Settings, WebSocket,
    meter::{Metered, Refused},
};
use crate::{
    memory::{MemoryBudget, Reservation},
    rpc::Notice,
    turns::after_others,
};

/// Messages read before the socket is flushed and other sessions get their turn.
const BURST: usize = 64;
/// The same, in time; looked at after each few messages, and after each that is long, or whose reply is.
const TURN: Duration = Duration::from_micros(100);
const FEW: usize = 4;
const LONG: usize = 4 << 10;

/// The longest piece of a message that is sent at once, and how many are before other sessions get their turn.
const PIECE: usize = 16 << 10;
const PIECES: usize = 16;
/// What the socket's own buffer holds at most, about: it is written out when a piece makes it longer than one.
const IN_SOCKET: usize = 2 * PIECE;
/// An idle session keeps that buffer only if no more than this was ever in it.
const IDLE_BUFFER: usize = 8 << 10;

/// An idle session keeps no more room for its queue than this.
const IDLE_QUEUE: usize = 8;

/// With more than so many bytes in the queue that count nowhere, nothing more is read.
const UNCOUNTED: usize = 8 << 10;

/// What comes from the socket.
#[derive(Debug)]
pub(super) enum Input {
    Text(Utf8Bytes),
    Binary,
    Pong,
    /// The client has stopped taking what is sent. Said once each time.
    Blocked,
    /// More events may be taken. Said once after [`MayTell::OnceSent`].
    Room,
    /// The client closed, or is gone.
    Left,
    /// What came can't go on.
    Broken(Closing),
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// What comes.
    All,
    /// While a message is handled: no other one. What has come behind it is read as far as the next that is one, so that
    /// pongs and the client's departure are heard.
    Ahead,
}

/// Whether more events may be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MayTell {
    Now,
    /// Once what waits has been sent, see [`Input::Room`].
    OnceSent,
    /// Once other things count less. Nobody says when.
    Later,
}

/// `S` is a WebSocket: a stream and a sink of messages.
#[derive(Debug)]
pub(super) struct Connection<S> {
    socket: S,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    /// Those of them that count nowhere.
    uncounted: usize,
    /// Events that wait until the queue has a place for them.
    events: VecDeque<Notice>,
    /// The rest of a message of which the first pieces have been sent.
    begun: Option<Begun>,
    /// Room for what is long, and may be in the socket's own buffer.
    in_socket: VecDeque<Reservation>,
    /// Bytes that may be in that.
    fed: usize,
    /// Whether it has become large.
    is_worn: bool,
    /// A message that has been read while another one is handled.
    ahead: Option<Input>,
    reads: Reads,
    max_queue: usize,
    /// What the session may hold: what is queued counts in it, and replies that aren't finished, too.
    memory: MemoryBudget,
    burst: usize,
    /// Whether the last message was long, or a reply since.
    was_long: bool,
    /// Whether a message has been handed out since the socket was told that all were handled.
    handed_out: bool,
    turn: Instant,
    longest_turn: Duration,
    unflushed: bool,
    blocked_since: Option<Instant>,
    /// What somebody was told to wait for, before they take more events.
    awaited: Option<Awaited>,
    /// Whether somebody has logged in.
    logged_in: bool,
}

/// What is to be so before more events are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// No events wait, and the queue has a place for one.
    Place,
    /// The client has taken all that there was.
    AllSent,
}

/// A message that waits to be sent, with its room. What is small has none.
#[derive(Debug)]
struct Queued {
    message: Message,
    room: Option<Reservation>,
}

/// What is left of a message.
#[derive(Debug)]
struct Begun {
    rest: Bytes,
    room: Option<Reservation>,
}

impl Metered for WebSocket {
    fn allow(&mut self, longest: usize) {
        self.get_mut().allow(longest);
    }

    fn read_ahead(&mut self, only: bool) {
        self.get_mut().read_ahead(only);
    }

    fn holds_back(&self) -> bool {
        self.get_ref().holds_back()
    }

    fn is_worn(&self) -> bool {
        self.get_ref().is_worn()
    }

    fn is_between(&self) -> bool {
        self.get_ref().is_between()
    }

    fn handled(&mut self) {
        self.get_mut().handled();
    }

    fn renew(&mut self) {
        let config = *self.get_config();
        let (stream, begun) = self.get_mut().renewed();
        let renewed = Self::from_partially_read(stream, begun, Role::Server, Some(config));
        // There is nothing to wait for.
        if let Some(renewed) = renewed.now_or_never() {
            *self = renewed;
        }
    }
}

impl<S> Connection<S>
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Metered + Unpin,
{
    pub(super) fn new(socket: S, settings: &Settings, memory: MemoryBudget) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
            queued_bytes: 0,
            uncounted: 0,
            events: VecDeque::new(),
            begun: None,
            in_socket: VecDeque::new(),
            fed: 0,
            is_worn: false,
            ahead: None,
            reads: Reads::All,
            max_queue: settings.outbound_queue.get(),
            memory,
            burst: 0,
            was_long: false,
            handed_out: false,
            turn: Instant::now(),
            longest_turn: TURN,
            unflushed: false,
            blocked_since: None,
            awaited: None,
            logged_in: false,
        }
    }

    /// Somebody has logged in: more may come from them, and wait for them.
    pub(super) fn on_login(&mut self, settings: &Settings) {
        if std::mem::replace(&mut self.logged_in, true) {
            return;
        }
        self.socket.allow(settings.max_message.get());
        self.memory.raise();
    }

    /// Whether more events may be taken: they may wait elsewhere, and replies may not. For those which wait in the log
    /// (`missed`), the client must have taken everything before.
    pub(super) fn may_tell(&mut self, missed: bool) -> MayTell {
        let awaited = if missed {
            Awaited::AllSent
        } else {
            Awaited::Place
        };
        self.awaited = (!self.has(awaited)).then_some(awaited);
        if self.awaited.is_some() {
            MayTell::OnceSent
        } else if self.memory.used() > self.memory.limit() / 4 {
            MayTell::Later
        } else {
            MayTell::Now
        }
    }

    fn has(&self, awaited: Awaited) -> bool {
        self.events.is_empty()
            && match awaited {
                Awaited::Place => self.has_place(),
                Awaited::AllSent => self.is_empty() && !self.unflushed,
            }
    }

    /// Whether the queue has a place for an event.
    fn has_place(&self) -> bool {
        self.queue.len() < self.max_queue / 4 + 1
    }

    /// Whether there is room for the replies to more requests. A message of which the first pieces have been sent is held
    /// whole until the last one is.
    fn may_read(&self) -> bool {
        let is_little = self.queue.len() < self.max_queue / 2
            && self.queued_bytes <= self.memory.limit() / 2
            && self.uncounted <= UNCOUNTED;
        self.begun.is_none() && (self.queue.is_empty() || is_little)
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.begun.is_none()
    }

    /// Puts a reply into the queue, with its room; one that is small needs none.
    ///
    /// # Errors
    /// [`Closing::TooSlow`] where as many wait as may: the client isn't reading.
    pub(super) fn send(
        &mut self,
        text: impl Into<Utf8Bytes>,
        room: Option<Reservation>,
    ) -> Result<(), Closing> {
        if self.queue.len() >= self.max_queue {
            return Err(Closing::TooSlow);
        }
        let text = text.into();
        self.was_long |= text.len() > LONG;
        self.put(text, room);
        Ok(())
    }

    /// Has events leave as soon as the queue has places for them.
    pub(super) fn tell(&mut self, events: Vec<Notice>) {
        self.events.extend(events);
    }

    /// Puts events into the queue, as far as it has places for them.
    fn queue_events(&mut self) {
        while self.has_place()
            && let Some(Notice { text, room }) = self.events.pop_front()
        {
            self.put(text, room);
        }
    }

    fn put(&mut self, text: Utf8Bytes, room: Option<Reservation>) {
        self.queued_bytes += text.len();
        self.uncounted += uncounted(text.len(), &room);
        self.queue.push_back(Queued {
            message: Message::Text(text),
            room,
        });
    }

    /// Puts a ping into the queue.
    pub(super) fn ping(&mut self) {
        self.queue.push_back(Queued {
            message: Message::Ping(Bytes::new()),
            room: None,
        });
    }

    /// Whether the last message was the first since other sessions had their turn.
    pub(super) fn begins_turn(&self) -> bool {
        self.burst == 1
    }

    /// When the client last took something, if something waits for it now.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Whether a message has come that isn't read yet, so that nothing is heard that came after it.
    pub(super) fn is_deaf(&self) -> bool {
        self.ahead.is_some() || self.socket.holds_back()
    }

    /// The next input. Writes what is queued meanwhile. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self, reads: Reads) -> Input {
        if self.reads != reads {
            self.reads = reads;
            self.socket.read_ahead(reads == Reads::Ahead);
        }
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Throws away what is queued.
    pub(super) fn discard(&mut self) {
        self.queue.clear();
        self.events.clear();
        self.begun = None;
    }

    /// Writes what is queued and a close frame. Answers whether the client has taken it all.
    pub(super) async fn close(&mut self, frame: CloseFrame) -> bool {
        while let Some((piece, _)) = self.next_piece() {
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
            return Poll::Ready(Input::Room);
        }
        if self.burst > 0
            && (self.was_long || self.burst.is_multiple_of(FEW))
            && self.turn.elapsed() > self.longest_turn
        {
            // Others get their turn, as after so many messages.
            self.burst = BURST;
        }
        let may_read = self.blocked_since.is_none() && self.may_read();
        if self.reads == Reads::Ahead {
            // Others have their turn while a message waits for its own.
            self.burst = 0;
            if may_read && let Poll::Ready(input) = self.read_ahead(cx) {
                return Poll::Ready(input);
            }
            return self.flush(cx);
        }
        if std::mem::take(&mut self.handed_out) {
            self.socket.handled();
        }
        let mut has_read_all = false;
        if self.burst < BURST && may_read {
            if let Some(ahead) = self.ahead.take() {
                return Poll::Ready(self.hand_out(ahead));
            }
            loop {
                let Poll::Ready(message) = self.socket.poll_next_unpin(cx) else {
                    has_read_all = true;
                    break;
                };
                if let Some(input) = input(message) {
                    return Poll::Ready(self.hand_out(input));
                }
                self.count();
                if self.burst == BURST {
                    break;
                }
            }
        }
        if self.burst == BURST && self.was_long {
            after_others(cx);
        } else if self.burst == BURST {
            cx.waker().wake_by_ref();
        }
        self.burst = 0;
        let written = self.flush(cx);
        if has_read_all && written.is_pending() {
            self.renew(cx);
        }
        written
    }

    /// Counts what was read.
    fn count(&mut self) {
        if self.burst == 0 {
            self.turn = Instant::now();
        }
        self.burst += 1;
    }

    fn hand_out(&mut self, input: Input) -> Input {
        self.count();
        self.handed_out = true;
        self.was_long = matches!(&input, Input::Text(text) if text.len() > LONG);
        input
    }

    /// Reads on while a message is handled. Another one is kept for later.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        for _ in 0..BURST {
            if self.is_deaf() {
                return Poll::Pending;
            }
            let Poll::Ready(message) = self.socket.poll_next_unpin(cx) else {
                return Poll::Pending;
            };
            match input(message) {
                Some(message @ (Input::Text(_) | Input::Binary)) => self.ahead = Some(message),
                Some(input) => return Poll::Ready(input),
                None => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Has the socket begin with new buffers, where what was long has left large ones, and nothing is in them.
    fn renew(&mut self, cx: &mut Context<'_>) {
        let is_worn = self.is_worn || self.socket.is_worn();
        if !is_worn || !self.socket.is_between() || self.unflushed || !self.is_empty() {
            return;
        }
        // The answer to a ping may wait, too.
        if let Poll::Ready(Ok(())) = Pin::new(&mut self.socket).poll_flush(cx) {
            self.is_worn = false;
            self.socket.renew();
            cx.waker().wake_by_ref();
        }
    }

    /// Moves the queue into the socket's own buffer, as far as it takes it.
    fn feed(&mut self, cx: &mut Context<'_>) -> Result<(), Input> {
        let mut bytes = 0;
        loop {
            self.queue_events();
            if self.is_empty() {
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
            if self.begun.is_none()
                && let Some(since) = &mut self.blocked_since
            {
                *since = Instant::now();
            }
            if let Some((piece, room)) = self.next_piece() {
                self.hold_in_socket(room);
                self.unflushed = true;
                bytes += size(&piece);
                self.fed += size(&piece);
                self.is_worn |= self.fed > IDLE_BUFFER;
                if self.socket.start_send_unpin(piece).is_err() {
                    return Err(Input::Left);
                }
            }
        }
        if self.queue.capacity() > IDLE_QUEUE {
            self.queue.shrink_to(0);
        }
        Ok(())
    }

    /// Has what is long count until the socket's own buffer is empty again, or full of what came after it.
    fn hold_in_socket(&mut self, room: Option<Reservation>) {
        let Some(mut room) = room.filter(|room| room.bytes() > LONG) else {
            return;
        };
        // Less of it is never refused.
        let _ = room.resize(room.bytes().min(PIECE));
        self.in_socket.push_back(room);
        let mut bytes: usize = self.in_socket.iter().map(Reservation::bytes).sum();
        while let Some(oldest) = self.in_socket.front()
            && bytes - oldest.bytes() >= IN_SOCKET
        {
            bytes -= oldest.bytes();
            self.in_socket.pop_front();
        }
    }

    /// Takes the next message out of the queue, or the next piece of one that is long. The last piece has its room.
    fn next_piece(&mut self) -> Option<(Message, Option<Reservation>)> {
        let (mut rest, room, kind) = match self.begun.take() {
            Some(Begun { rest, room }) => (rest, room, Data::Continue),
            None => {
                let Queued { message, room } = self.queue.pop_front()?;
                self.queued_bytes -= size(&message);
                self.uncounted -= uncounted(size(&message), &room);
                match message {
                    Message::Text(text) if text.len() > PIECE => (text.into(), room, Data::Text),
                    whole @ (Message::Text(_)
                    | Message::Binary(_)
                    | Message::Ping(_)
                    | Message::Pong(_)
                    | Message::Close(_)
                    | Message::Frame(_)) => return Some((whole, room)),
                }
            }
        };
        let piece = rest.split_to(rest.len().min(PIECE));
        let is_last = rest.is_empty();
        let mut last = None;
        if is_last {
            last = room;
        } else {
            self.begun = Some(Begun { rest, room });
        }
        let piece = Frame::message(piece, OpCode::Data(kind), is_last);
        Some((Message::Frame(piece), last))
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if !self.unflushed && self.is_empty() {
            return Poll::Pending;
        }
        match Pin::new(&mut self.socket).poll_flush(cx) {
            // The client has so long for all of a message, however long.
            Poll::Ready(Ok(())) if self.begun.is_some() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Ok(())) => {
                self.unflushed = false;
                self.fed = 0;
                self.in_socket.clear();
                let was_blocked = self.blocked_since.take().is_some();
                if was_blocked || self.awaited.is_some() || !self.queue.is_empty() {
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

/// How many of so many bytes count nowhere.
fn uncounted(bytes: usize, room: &Option<Reservation>) -> usize {
    bytes.saturating_sub(room.as_ref().map_or(0, Reservation::bytes))
}

/// Bytes of a message, or of a piece of one.
fn size(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Frame(frame) => frame.payload().len(),
        Message::Close(_) => 0,
    }
}

fn input(message: Option<Result<Message, Error>>) -> Option<Input> {
    match message {
        Some(Ok(Message::Text(text))) => Some(Input::Text(text)),
        Some(Ok(Message::Binary(_))) => Some(Input::Binary),
        Some(Ok(Message::Pong(_))) => Some(Input::Pong),
        // tungstenite answers pings by itself, and hands out no bare frames.
        Some(Ok(Message::Ping(_) | Message::Frame(_))) => None,
        Some(Ok(Message::Close(_))) | None => Some(Input::Left),
        Some(Err(error)) => Some(broken(&error)),
    }
}

fn broken(error: &Error) -> Input {
    match error {
        Error::Capacity(_) => Input::Broken(Closing::TooBig),
        Error::Utf8(_) => Input::Broken(Closing::Protocol(1007)),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Input::Left,
        Error::Protocol(_) => Input::Broken(Closing::Protocol(1002)),
        Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(Refused::TooLong) => Input::Broken(Closing::TooBig),
            Some(Refused::TooLongYet) => Input::Broken(Closing::TooBigYet),
            Some(Refused::NoRoom) => Input::Broken(Closing::NoRoom),
            None => Input::Left,
        },
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => Input::Left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket in memory: what came in, what went out in which write, and whether it takes anything.
    #[derive(Default)]
    struct Socket {
        incoming: VecDeque<Message>,
        buffer: Vec<String>,
        writes: Vec<Vec<String>>,
        stuck: bool,
        renewed: usize,
    }

    impl Stream for Socket {
        type Item = Result<Message, Error>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.incoming
                .pop_front()
                .map_or(Poll::Pending, |message| Poll::Ready(Some(Ok(message))))
        }
    }

    impl Sink<Message> for Socket {
        type Error = Error;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
            // One message is taken even when the client is stuck, as by tungstenite.
            if self.stuck && !self.buffer.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(Ok(()))
            }
        }

        fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
            self.buffer.push(message.into_text().unwrap().to_string());
            Ok(())
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
            if self.stuck {
                return Poll::Pending;
            }
            let written = std::mem::take(&mut self.buffer);
            self.writes.push(written);
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
            self.poll_flush(cx)
        }
    }

    impl Metered for Socket {
        fn allow(&mut self, _: usize) {}

        fn read_ahead(&mut self, _: bool) {}

        fn holds_back(&self) -> bool {
            false
        }

        fn is_worn(&self) -> bool {
            false
        }

        fn is_between(&self) -> bool {
            true
        }

        fn handled(&mut self) {}

        fn renew(&mut self) {
            self.renewed += 1;
        }
    }

    fn connection(max_queue: usize, max_bytes: usize) -> Connection<Socket> {
        Connection {
            socket: Socket::default(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            uncounted: 0,
            events: VecDeque::new(),
            begun: None,
            in_socket: VecDeque::new(),
            fed: 0,
            is_worn: false,
            ahead: None,
            reads: Reads::All,
            max_queue,
            memory: MemoryBudget::new("session.max_buffered", max_bytes),
            burst: 0,
            was_long: false,
            handed_out: false,
            turn: Instant::now(),
            longest_turn: Duration::MAX,
            unflushed: false,
            blocked_since: None,
            awaited: None,
            logged_in: false,
        }
    }

    fn send(
        connection: &mut Connection<Socket>,
        text: impl Into<Utf8Bytes>,
    ) -> Result<(), Closing> {
        let text = text.into();
        let room = connection.memory.try_reserve(text.len());
        connection.send(text, room.ok())
    }

    fn next(connection: &mut Connection<Socket>) -> Option<Input> {
        connection.next(Reads::All).now_or_never()
    }

    /// While a message is handled.
    fn next_ahead(connection: &mut Connection<Socket>) -> Option<Input> {
        connection.next(Reads::Ahead).now_or_never()
    }

    #[test]
    fn replies_to_what_came_together_leave_in_one_write() {
        let mut connection = connection(8, 1024);
        for text in ["a", "b", "c"] {
            connection.socket.incoming.push_back(Message::text(text));
        }
        while let Some(Input::Text(text)) = next(&mut connection) {
            send(&mut connection, text.to_string()).unwrap();
        }
        assert_eq!(connection.socket.writes, [["a", "b", "c"]]);
    }

    #[test]
    fn a_burst_does_not_put_off_its_replies() {
        let mut connection = connection(8, 1024);
        connection
            .socket
            .incoming
            .extend((0..2 * BURST).map(|n| Message::text(n.to_string())));
        let mut turns = 0;
        while !connection.socket.incoming.is_empty() {
            while let Some(Input::Text(text)) = next(&mut connection) {
                send(&mut connection, text.to_string()).unwrap();
            }
            turns += 1;
        }
        assert!(turns >= 2, "other sessions get their turn");
        assert_eq!(connection.socket.writes[0].len(), BURST);
    }

    #[test]
    fn a_burst_that_takes_long_ends_early() {
        let mut connection = connection(8, 1024);
        connection.longest_turn = Duration::ZERO;
        let many = (0..2 * FEW).map(|n| Message::text(n.to_string()));
        connection.socket.incoming.extend(many);
        while let Some(Input::Text(text)) = next(&mut connection) {
            std::thread::sleep(Duration::from_micros(1));
            send(&mut connection, text.to_string()).unwrap();
        }
        assert_eq!(connection.socket.writes[0].len(), FEW);
    }

    #[test]
    fn one_long_message_is_enough_of_a_burst() {
        let mut connection = connection(8, 1024);
        connection.longest_turn = Duration::ZERO;
        let long = [LONG + 1, 1].map(|length| Message::text("x".repeat(length)));
        connection.socket.incoming.extend(long);
        let mut read = 0;
        while let Some(Input::Text(_)) = next(&mut connection) {
            std::thread::sleep(Duration::from_micros(1));
            read += 1;
        }
        assert_eq!(read, 1);
    }

    #[test]
    fn one_long_reply_is_enough_of_a_burst() {
        let mut connection = connection(8, 1 << 20);
        connection.longest_turn = Duration::ZERO;
        let short = ["1", "2"].map(Message::text);
        connection.socket.incoming.extend(short);
        let mut read = 0;
        while let Some(Input::Text(_)) = next(&mut connection) {
            std::thread::sleep(Duration::from_micros(1));
            send(&mut connection, "x".repeat(LONG + 1)).unwrap();
            read += 1;
        }
        assert_eq!(read, 1);
    }

    #[test]
    fn a_client_that_does_not_read_is_not_read_from() {
        let mut connection = connection(8, 1024);
        connection.socket.stuck = true;
        send(&mut connection, "reply".to_owned()).unwrap();
        assert!(matches!(next(&mut connection), Some(Input::Blocked)));
        connection.socket.incoming.push_back(Message::text("more"));
        assert!(next(&mut connection).is_none());
        assert!(connection.blocked_since().is_some());

        connection.socket.stuck = false;
        assert!(next(&mut connection).is_none(), "it is written first");
        assert_eq!(connection.socket.writes, [["reply"]]);
        assert!(connection.blocked_since().is_none());
        assert!(matches!(next(&mut connection), Some(Input::Text(_))));
    }

    #[test]
    fn while_a_message_is_handled_replies_leave_and_one_more_is_kept_for_later() {
        let mut connection = connection(8, 1024);
        for text in ["1", "2", "3"] {
            connection.socket.incoming.push_back(Message::text(text));
        }
        let text = |input: Option<Input>| match input {
            Some(Input::Text(text)) => text.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(next(&mut connection)), "1");
        for n in 0..20 {
            send(&mut connection, n.to_string()).unwrap();
            assert!(next_ahead(&mut connection).is_none());
            assert_eq!(connection.socket.writes.len(), n + 1);
            assert_eq!(connection.memory.used(), 0);
        }
        assert_eq!(connection.socket.incoming.len(), 1);
        assert!(connection.is_deaf());
        assert_eq!(text(next(&mut connection)), "2");
        assert!(connection.begins_turn());
        assert_eq!(text(next(&mut connection)), "3");
    }

    #[test]
    fn while_a_message_is_handled_pongs_and_departures_are_heard() {
        let mut connection = connection(8, 1024);
        connection.socket.incoming = [
            Message::text("1"),
            Message::Pong(Bytes::new()),
            Message::Close(None),
        ]
        .into();
        assert!(matches!(next(&mut connection), Some(Input::Text(_))));
        assert!(matches!(next_ahead(&mut connection), Some(Input::Pong)));
        assert!(!connection.is_deaf());
        assert!(matches!(next_ahead(&mut connection), Some(Input::Left)));
    }

    #[test]
    fn of_what_was_long_and_has_been_written_the_socket_keeps_no_buffer() {
        let mut connection = connection(8, 1 << 20);
        for (lengths, renewed) in [
            ([IDLE_BUFFER, 0], 0),
            ([IDLE_BUFFER, 1], 1),
            ([1, 2], 1),
            ([2 * PIECE, 0], 2),
        ] {
            for length in lengths {
                send(&mut connection, "x".repeat(length)).unwrap();
            }
            connection.socket.stuck = true;
            let before = connection.socket.renewed;
            assert!(matches!(next(&mut connection), Some(Input::Blocked)));
            assert_eq!(connection.socket.renewed, before);
            connection.socket.stuck = false;
            for _ in 0..3 {
                assert!(next(&mut connection).is_none());
            }
            assert_eq!(connection.socket.renewed, renewed, "{lengths:?}");
        }
    }

    #[test]
    fn what_waits_for_a_client_is_bounded() {
        let mut connection = connection(2, 1024);
        connection.socket.stuck = true;
        send(&mut connection, "12345").unwrap();
        assert!(matches!(next(&mut connection), Some(Input::Blocked)));
        send(&mut connection, "12345").unwrap();
        send(&mut connection, "12345").unwrap();
        assert_eq!(send(&mut connection, "12345"), Err(Closing::TooSlow));
        connection.socket.stuck = false;
        while !connection.queue.is_empty() {
            assert!(next(&mut connection).is_none());
        }
        assert_eq!(connection.memory.used(), 0);
    }

    #[test]
    fn little_waits_that_counts_nowhere() {
        let mut connection = connection(256, 1 << 20);
        connection.socket.stuck = true;
        let many = (0..64).map(|n| Message::text(n.to_string()));
        connection.socket.incoming.extend(many);
        let mut read = 0;
        while let Some(Input::Text(_)) = next(&mut connection) {
            read += 1;
            connection.send("x".repeat(1 << 10), None).unwrap();
        }
        // The first is the socket's.
        assert_eq!((read, connection.uncounted), (10, UNCOUNTED + (1 << 10)));
        connection.socket.stuck = false;
        while !connection.queue.is_empty() {
            assert!(!matches!(next(&mut connection), Some(Input::Left)));
        }
        assert_eq!(connection.uncounted, 0);
        assert!(matches!(next(&mut connection), Some(Input::Text(_))));
    }

    #[test]
    fn events_wait_until_the_queue_has_places_for_them() {
        let mut connection = connection(8, 1 << 10);
        let memory = connection.memory.clone();
        let event = |n: usize| Notice {
            text: n.to_string().into(),
            room: Some(memory.try_reserve(100).unwrap()),
        };
        assert_eq!(connection.may_tell(false), MayTell::Now);
        connection.socket.stuck = true;
        connection.tell((0..8).map(event).collect());
        assert_eq!(connection.may_tell(false), MayTell::OnceSent);
        assert!(matches!(next(&mut connection), Some(Input::Blocked)));
        // One is the socket's, and three are in the queue.
        assert_eq!((connection.queue.len(), connection.events.len()), (3, 4));
        send(&mut connection, "reply").unwrap();
        connection.socket.stuck = false;
        let mut others = 0;
        loop {
            match next(&mut connection) {
                Some(Input::Room) => break,
                other => assert!(other.is_none(), "{other:?}"),
            }
            others += 1;
            assert!(others < 20, "nobody says that there is room");
        }
        assert_eq!(connection.may_tell(false), MayTell::Now);
        let sent = connection.socket.writes.concat();
        assert_eq!(
            [sent, connection.socket.buffer.clone()].concat(),
            ["0", "1", "2", "3", "reply", "4", "5", "6", "7"]
        );
        assert_eq!(memory.used(), 0);
        let elsewhere = memory.try_reserve(300).unwrap();
        assert_eq!(connection.may_tell(false), MayTell::Later);
        drop(elsewhere);
        assert_eq!(connection.may_tell(false), MayTell::Now);
    }

    #[test]
    fn what_is_long_counts_while_it_is_in_the_sockets_own_buffer() {
        let mut connection = connection(64, 1 << 20);
        connection.socket.stuck = true;
        send(&mut connection, "x".repeat(15_000)).unwrap();
        assert!(matches!(next(&mut connection), Some(Input::Blocked)));
        assert!(connection.is_empty());
        assert_eq!(connection.memory.used(), 15_000);
        connection.socket.stuck = false;
        assert!(next(&mut connection).is_none());
        assert_eq!(connection.memory.used(), 0);
        // It holds so many, and others have been written by then; what is short counts nowhere.
        for _ in 0..20 {
            let room = connection.memory.try_reserve(15_000).ok();
            connection.hold_in_socket(room);
            let short = connection.memory.try_reserve(LONG).ok();
            connection.hold_in_socket(short);
        }
        assert_eq!(connection.memory.used(), 45_000);
        let room = connection.memory.try_reserve(500_000).ok();
        connection.hold_in_socket(room);
        assert!(connection.memory.used() < IN_SOCKET + PIECE);
    }

    #[test]
    fn what_was_missed_waits_until_the_client_has_taken_all_that_it_was_sent() {
        let mut connection = connection(8, 1 << 10);
        assert_eq!(connection.may_tell(true), MayTell::Now);
        connection.socket.stuck = true;
        send(&mut connection, "reply").unwrap();
        for _ in 0..3 {
            assert_eq!(connection.may_tell(false), MayTell::Now);
            assert_eq!(connection.may_tell(true), MayTell::OnceSent);
            // The queue is empty then, and the socket's own buffer isn't.
            assert!(!matches!(next(&mut connection), Some(Input::Room)));
        }
        assert!(connection.is_empty());
        connection.socket.stuck = false;
        while !matches!(next(&mut connection), Some(Input::Room)) {}
        assert_eq!(connection.may_tell(true), MayTell::Now);
        assert!(next(&mut connection).is_none(), "it is said once");
    }

    #[test]
    fn with_a_queue_half_full_nothing_more_is_read() {
        let mut connection = connection(8, 100);
        connection.socket.stuck = true;
        let many = (0..8).map(|n| Message::text(n.to_string()));
        connection.socket.incoming.extend(many);
        let mut read = 0;
        while let Some(Input::Text(_)) = next(&mut connection) {
            read += 1;
            send(&mut connection, "x".repeat(20)).unwrap();
        }
        // The first is the socket's; and then it takes three to be past the half.
        assert_eq!((read, connection.queue.len()), (4, 3));
        connection.socket.stuck = false;
        for _ in 0..8 {
            if let Some(Input::Text(_)) = next(&mut connection) {
                read += 1;
                send(&mut connection, "x".repeat(20)).unwrap();
            }
        }
        assert_eq!(read, 8);
    }

    #[test]
    fn with_much_in_the_queue_that_has_too_little_room_nothing_more_is_read() {
        for (bytes, room, reads) in [
            (2 * UNCOUNTED, None, false),
            (2 * UNCOUNTED, Some(0), false),
            (2 * UNCOUNTED, Some(200), false),
            (2 * UNCOUNTED, Some(UNCOUNTED), true),
            (4 * PIECE, Some(200), false),
        ] {
            let mut connection = connection(64, 1 << 20);
            connection.socket.stuck = true;
            send(&mut connection, "taken").unwrap();
            assert!(matches!(next(&mut connection), Some(Input::Blocked)));
            let room = room.map(|room| connection.memory.try_reserve(room).unwrap());
            connection.send("x".repeat(bytes), room).unwrap();
            assert_eq!(connection.may_read(), reads, "{bytes}");
            // Also once some of it has left.
            drop(connection.next_piece());
            assert_eq!(connection.may_read(), bytes <= PIECE, "{bytes}");
            assert_eq!(connection.uncounted, 0);
        }
    }

    #[test]
    fn what_is_very_long_leaves_turn_by_turn() {
        let mut connection = connection(8, 1 << 20);
        send(&mut connection, "x".repeat(2 * PIECES * PIECE + 1)).unwrap();
        let (mut turns, mut half_way) = (0, false);
        while !connection.is_empty() {
            assert!(next(&mut connection).is_none());
            half_way |= !connection.is_empty() && connection.may_read();
            turns += 1;
        }
        assert_eq!(turns, 3);
        assert!(!half_way);
        let sent: usize = connection
            .socket
            .writes
            .concat()
            .iter()
            .map(String::len)
            .sum();
        assert_eq!(sent, 2 * PIECES * PIECE + 1);
    }

    #[test]
    fn what_is_long_leaves_in_pieces_and_has_one_deadline() {
        let mut connection = connection(8, 1 << 20);
        let long = "x".repeat(3 * PIECE + 1);
        send(&mut connection, long.clone()).unwrap();
        send(&mut connection, "y").unwrap();
        connection.socket.stuck = true;
        assert!(matches!(next(&mut connection), Some(Input::Blocked)));
        let since = connection.blocked_since();
        // The client takes a piece, and no more for a while.
        connection.socket.buffer.clear();
        assert!(next(&mut connection).is_none());
        assert_eq!(connection.blocked_since(), since);
        assert_eq!(connection.memory.used(), long.len() + 1);
        connection.socket.stuck = false;
        while !connection.is_empty() {
            assert!(next(&mut connection).is_none());
        }
        assert!(connection.blocked_since().is_none());
        assert_eq!(connection.memory.used(), 0);
        let sent = connection.socket.writes.concat();
        let lengths: Vec<_> = sent.iter().map(String::len).collect();
        assert_eq!(lengths, [PIECE, PIECE, 1, 1], "the first was taken before");
    }
}
