//! A session's socket: reads one message at a time, and is the one writer.
//!
//! What is sent waits in a bounded queue; replies that are ready together leave in one write, once
//! nothing more is there to be read. While the client takes nothing, nothing more is read from it.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Error,
    body::Bytes,
    extract::ws::{CloseFrame, Message, Utf8Bytes},
};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;

use super::{Closing, Settings};

/// Messages read before the socket is flushed and other sessions get their turn.
const BURST: usize = 64;
/// The same, in time; looked at after each few messages.
const TURN: Duration = Duration::from_micros(100);
const FEW: usize = 4;

/// An idle session keeps no more room for its queue than this.
const IDLE_QUEUE: usize = 8;

/// What comes from the socket.
#[derive(Debug)]
pub(super) enum Input {
    Text(Utf8Bytes),
    Binary,
    Pong,
    /// The client has stopped taking what is sent. Said once each time.
    Blocked,
    /// There is room for events again. Said once after there was none.
    Room,
    /// The client closed, or is gone.
    Left,
    /// What came can't go on.
    Broken(Closing),
}

/// `S` is a WebSocket: a stream and a sink of messages.
#[derive(Debug)]
pub(super) struct Connection<S> {
    socket: S,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    max_queue: usize,
    max_bytes: usize,
    burst: usize,
    turn: Instant,
    longest_turn: Duration,
    unflushed: bool,
    blocked_since: Option<Instant>,
    /// Whether somebody was told that there is no room for events.
    crowded: bool,
}

impl<S> Connection<S>
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    pub(super) fn new(socket: S, settings: &Settings) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
            queued_bytes: 0,
            max_queue: settings.outbound_queue,
            max_bytes: settings.outbound_bytes,
            burst: 0,
            turn: Instant::now(),
            longest_turn: TURN,
            unflushed: false,
            blocked_since: None,
            crowded: false,
        }
    }

    /// Whether there is room for events: they may wait elsewhere, and replies may not.
    pub(super) fn has_room(&mut self) -> bool {
        self.crowded = !self.is_spacious();
        !self.crowded
    }

    fn is_spacious(&self) -> bool {
        self.queue.len() < self.max_queue / 4 + 1 && self.queued_bytes <= self.max_bytes / 4
    }

    /// Puts a reply into the queue.
    ///
    /// # Errors
    /// [`Closing::TooSlow`] where the queue is full: the client isn't reading.
    pub(super) fn send(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), Closing> {
        let text = text.into();
        // One message larger than all the room there is may still go, alone.
        let fits =
            self.queue.len() < self.max_queue && self.queued_bytes + text.len() <= self.max_bytes;
        if !fits && !self.queue.is_empty() {
            return Err(Closing::TooSlow);
        }
        self.queued_bytes += text.len();
        self.queue.push_back(Message::Text(text));
        Ok(())
    }

    /// Puts a ping into the queue.
    pub(super) fn ping(&mut self) {
        self.queue.push_back(Message::Ping(Bytes::new()));
    }

    /// Whether the last message was the first since other sessions had their turn.
    pub(super) fn begins_turn(&self) -> bool {
        self.burst == 1
    }

    /// When the client last took something, if something waits for it now.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// The next input. Writes what is queued meanwhile. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Input {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Throws away what is queued.
    pub(super) fn discard(&mut self) {
        self.queue.clear();
    }

    /// Writes what is queued and a close frame, and waits for the client to close as well.
    pub(super) async fn close(&mut self, frame: CloseFrame) {
        while let Some(message) = self.queue.pop_front() {
            if self.socket.feed(message).await.is_err() {
                return;
            }
        }
        if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
            self.finish().await;
        }
    }

    /// Reads until the client has closed, answering its close frame.
    pub(super) async fn finish(&mut self) {
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if let Err(input) = self.feed(cx) {
            return Poll::Ready(input);
        }
        if self.crowded && self.is_spacious() {
            self.crowded = false;
            return Poll::Ready(Input::Room);
        }
        if self.burst > 0
            && self.burst.is_multiple_of(FEW)
            && self.turn.elapsed() > self.longest_turn
        {
            // Others get their turn, as after so many messages.
            self.burst = BURST;
        }
        if self.blocked_since.is_none() && self.burst < BURST {
            while let Poll::Ready(message) = self.socket.poll_next_unpin(cx) {
                if self.burst == 0 {
                    self.turn = Instant::now();
                }
                self.burst += 1;
                if let Some(input) = input(message) {
                    return Poll::Ready(input);
                }
                if self.burst == BURST {
                    break;
                }
            }
        }
        if self.burst == BURST {
            cx.waker().wake_by_ref();
        }
        self.burst = 0;
        self.flush(cx)
    }

    /// Moves the queue into the socket's own buffer, as far as it takes it.
    fn feed(&mut self, cx: &mut Context<'_>) -> Result<(), Input> {
        while !self.queue.is_empty() {
            match Pin::new(&mut self.socket).poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Input::Left),
                Poll::Pending => return Ok(()),
            }
            if let Some(message) = self.queue.pop_front() {
                self.queued_bytes -= size(&message);
                self.unflushed = true;
                if let Some(since) = &mut self.blocked_since {
                    *since = Instant::now();
                }
                if self.socket.start_send_unpin(message).is_err() {
                    return Err(Input::Left);
                }
            }
        }
        if self.queue.capacity() > IDLE_QUEUE {
            self.queue.shrink_to(0);
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if !self.unflushed && self.queue.is_empty() {
            return Poll::Pending;
        }
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.unflushed = false;
                if self.blocked_since.take().is_some() || !self.queue.is_empty() {
                    // Reading was put off, or there is more to write.
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

fn size(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}

fn input(message: Option<Result<Message, Error>>) -> Option<Input> {
    match message {
        Some(Ok(Message::Text(text))) => Some(Input::Text(text)),
        Some(Ok(Message::Binary(_))) => Some(Input::Binary),
        Some(Ok(Message::Pong(_))) => Some(Input::Pong),
        // tungstenite answers pings by itself.
        Some(Ok(Message::Ping(_))) => None,
        Some(Ok(Message::Close(_))) | None => Some(Input::Left),
        Some(Err(error)) => Some(broken(error)),
    }
}

fn broken(error: Error) -> Input {
    match error.into_inner().downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => Input::Broken(Closing::TooBig),
        Some(tungstenite::Error::Utf8(_)) => Input::Broken(Closing::Protocol(1007)),
        Some(tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        )) => Input::Left,
        Some(tungstenite::Error::Protocol(_)) => Input::Broken(Closing::Protocol(1002)),
        _ => Input::Left,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// A socket in memory: what came in, what went out in which write, and whether it takes anything.
    #[derive(Default)]
    struct Socket {
        incoming: VecDeque<Message>,
        buffer: Vec<String>,
        writes: Vec<Vec<String>>,
        stuck: bool,
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

    fn connection(max_queue: usize, max_bytes: usize) -> Connection<Socket> {
        Connection {
            socket: Socket::default(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            max_queue,
            max_bytes,
            burst: 0,
            turn: Instant::now(),
            longest_turn: Duration::MAX,
            unflushed: false,
            blocked_since: None,
            crowded: false,
        }
    }

    fn next(connection: &mut Connection<Socket>) -> Option<Input> {
        connection.next().now_or_never()
    }

    #[test]
    fn replies_to_what_came_together_leave_in_one_write() {
        let mut connection = connection(8, 1024);
        for text in ["a", "b", "c"] {
            connection.socket.incoming.push_back(Message::text(text));
        }
        while let Some(Input::Text(text)) = next(&mut connection) {
            connection.send(text.to_string()).unwrap();
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
                connection.send(text.to_string()).unwrap();
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
            connection.send(text.to_string()).unwrap();
        }
        assert_eq!(connection.socket.writes[0].len(), FEW);
    }

    #[test]
    fn a_client_that_does_not_read_is_not_read_from() {
        let mut connection = connection(8, 1024);
        connection.socket.stuck = true;
        connection.send("reply".to_owned()).unwrap();
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
    fn what_waits_for_a_client_is_bounded() {
        let mut few = connection(2, 1024);
        let mut small = connection(8, 10);
        for connection in [&mut few, &mut small] {
            connection.socket.stuck = true;
            connection.send("12345".to_owned()).unwrap();
            assert!(matches!(next(connection), Some(Input::Blocked)));
            connection.send("12345".to_owned()).unwrap();
            connection.send("12345".to_owned()).unwrap();
            assert_eq!(connection.send("12345".to_owned()), Err(Closing::TooSlow));
        }
    }

    #[test]
    fn a_message_larger_than_the_queue_goes_alone() {
        let mut connection = connection(8, 10);
        connection.send("x".repeat(100)).unwrap();
        assert_eq!(connection.send("y".to_owned()), Err(Closing::TooSlow));
        assert!(next(&mut connection).is_none());
        connection.send("y".to_owned()).unwrap();
    }
}
