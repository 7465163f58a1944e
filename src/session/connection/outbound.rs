//! Messages that wait to be sent: replies in a bounded queue, and events that wait for a place in it.

use std::collections::VecDeque;

use axum::body::Bytes;
use tokio_tungstenite::tungstenite::{
    Message, Utf8Bytes,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::{memory::Reservation, rpc::Notice};

/// The longest piece of a message that is sent at once.
pub(super) const PIECE: usize = 16 << 10;

/// An idle session keeps no larger queue than this.
const IDLE_QUEUE: usize = 8;

/// The most bytes without a reservation in the queue; with more, nothing is read.
pub(super) const MAX_UNRESERVED: usize = 8 << 10;

/// The messages of one session that wait to be sent.
#[derive(Debug)]
pub(super) struct Outbound {
    queue: VecDeque<Queued>,
    /// The bytes of the queued messages.
    bytes: usize,
    /// The part of them without a reservation.
    unreserved: usize,
    /// Events that wait until the queue has a place for them.
    events: VecDeque<Notice>,
    /// A message whose first pieces have been sent.
    unfinished: Option<Unfinished>,
    max_queue: usize,
}

/// A message that waits to be sent, with its memory; a small one has none.
#[derive(Debug)]
struct Queued {
    message: Message,
    reservation: Option<Reservation>,
}

/// The rest of a message whose first pieces have been sent.
#[derive(Debug)]
struct Unfinished {
    rest: Bytes,
    reservation: Option<Reservation>,
}

impl Outbound {
    /// Creates an empty queue for at most `max_queue` messages.
    pub(super) fn new(max_queue: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            unreserved: 0,
            events: VecDeque::new(),
            unfinished: None,
            max_queue,
        }
    }

    /// Returns true if the queue is full: the client isn't reading.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= self.max_queue
    }

    /// Returns true if nothing is queued; events may wait still.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.unfinished.is_none()
    }

    /// Returns true if a message has been sent in part.
    pub(super) fn is_within_message(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Returns true if whole messages are queued.
    pub(super) fn has_messages(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns true if the replies to more requests may be queued, in a session that may hold `limit` bytes. A message
    /// that has been sent in part is held as a whole until its end.
    pub(super) fn may_take_replies(&self, limit: usize) -> bool {
        let is_little = self.queue.len() < self.max_queue / 2
            && self.bytes <= limit / 2
            && self.unreserved <= MAX_UNRESERVED;
        self.unfinished.is_none() && (self.queue.is_empty() || is_little)
    }

    /// Returns true if no events wait, and the queue has a place for one.
    pub(super) fn may_take_event(&self) -> bool {
        self.has_no_events() && self.has_place_for_event()
    }

    /// Returns true if no events wait for a place.
    pub(super) fn has_no_events(&self) -> bool {
        self.events.is_empty()
    }

    fn has_place_for_event(&self) -> bool {
        self.queue.len() < self.max_queue / 4 + 1
    }

    /// Queues a reply with its memory.
    pub(super) fn push(&mut self, text: Utf8Bytes, reservation: Option<Reservation>) {
        self.bytes += text.len();
        self.unreserved += unreserved(text.len(), &reservation);
        self.queue.push_back(Queued {
            message: Message::Text(text),
            reservation,
        });
    }

    /// Queues a ping.
    pub(super) fn push_ping(&mut self) {
        self.queue.push_back(Queued {
            message: Message::Ping(Bytes::new()),
            reservation: None,
        });
    }

    /// Adds events, which are queued as soon as there are places for them.
    pub(super) fn add_events(&mut self, events: Vec<Notice>) {
        self.events.extend(events);
    }

    /// Queues events, as far as there are places for them.
    #[inline]
    pub(super) fn queue_events(&mut self) {
        while !self.events.is_empty()
            && self.has_place_for_event()
            && let Some(Notice { text, reservation }) = self.events.pop_front()
        {
            self.push(text, reservation);
        }
    }

    /// Removes the next message from the queue, or the next piece of a long one. The last piece comes with the memory.
    pub(super) fn next_piece(&mut self) -> Option<(Message, Option<Reservation>)> {
        let (mut rest, reservation, kind) = match self.unfinished.take() {
            Some(Unfinished { rest, reservation }) => (rest, reservation, Data::Continue),
            None => {
                let Queued {
                    message,
                    reservation,
                } = self.queue.pop_front()?;
                self.bytes -= size(&message);
                self.unreserved -= unreserved(size(&message), &reservation);
                match message {
                    Message::Text(text) if text.len() > PIECE => {
                        (text.into(), reservation, Data::Text)
                    }
                    whole @ (Message::Text(_)
                    | Message::Binary(_)
                    | Message::Ping(_)
                    | Message::Pong(_)
                    | Message::Close(_)
                    | Message::Frame(_)) => return Some((whole, reservation)),
                }
            }
        };
        let piece = rest.split_to(rest.len().min(PIECE));
        let is_last = rest.is_empty();
        let mut last = None;
        if is_last {
            last = reservation;
        } else {
            self.unfinished = Some(Unfinished { rest, reservation });
        }
        let piece = Frame::message(piece, OpCode::Data(kind), is_last);
        Some((Message::Frame(piece), last))
    }

    /// Gives back the memory of an empty queue that was long.
    pub(super) fn shrink(&mut self) {
        if self.queue.capacity() > IDLE_QUEUE {
            self.queue.shrink_to(0);
        }
    }

    /// Removes everything.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.events.clear();
        self.unfinished = None;
    }

    /// Returns the number of queued messages, of waiting events, and of bytes without a reservation.
    #[cfg(test)]
    pub(super) fn lengths(&self) -> (usize, usize, usize) {
        (self.queue.len(), self.events.len(), self.unreserved)
    }
}

/// Returns how many of so many bytes have no reservation.
fn unreserved(bytes: usize, reservation: &Option<Reservation>) -> usize {
    bytes.saturating_sub(reservation.as_ref().map_or(0, Reservation::bytes))
}

/// Returns the bytes of a message, or of a piece of one.
pub(super) fn size(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Frame(frame) => frame.payload().len(),
        Message::Close(_) => 0,
    }
}
