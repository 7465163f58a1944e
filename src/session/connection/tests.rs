use std::{collections::VecDeque, time::Duration};

use axum::body::Bytes;
use futures_util::{Sink, Stream};
use tokio_tungstenite::tungstenite::Error;

use super::{
    outbound::MAX_UNRESERVED,
    socket_buffer::{CAPACITY, IDLE_BUFFER},
    turn::FEW,
    *,
};

/// A socket in memory: received messages, the messages of each write, and a flag for a client that reads nothing.
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
        // Like tungstenite, it accepts one message even when the client is stuck.
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

    fn has_unread_long(&self) -> bool {
        false
    }

    fn is_buffer_large(&self) -> bool {
        false
    }

    fn is_between_messages(&self) -> bool {
        true
    }

    fn handled(&mut self) {}

    fn renew(&mut self) {
        self.renewed += 1;
    }
}

fn connection(max_queue: usize, max_bytes: usize) -> Connection<Socket> {
    with_longest_turn(max_queue, max_bytes, Duration::MAX)
}

fn with_longest_turn(max_queue: usize, max_bytes: usize, longest: Duration) -> Connection<Socket> {
    let memory = MemoryBudget::new("session.max_buffered", max_bytes);
    let turn = ReadTurn::of_at_most(longest);
    Connection::with_turn(Socket::default(), turn, max_queue, memory)
}

fn send(connection: &mut Connection<Socket>, text: impl Into<Utf8Bytes>) -> Result<(), Closing> {
    let text = text.into();
    let reservation = connection.memory.try_reserve(text.len());
    connection.send(text, reservation.ok())
}

fn next(connection: &mut Connection<Socket>) -> Option<Input> {
    connection.next(Reads::All).now_or_never()
}

/// Polls for the next input while a message is handled.
fn next_ahead(connection: &mut Connection<Socket>) -> Option<Input> {
    connection.next(Reads::Ahead).now_or_never()
}

#[test]
fn replies_to_messages_that_came_together_leave_in_one_write() {
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
    let mut connection = with_longest_turn(8, 1024, Duration::ZERO);
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
    let mut connection = with_longest_turn(8, 1024, Duration::ZERO);
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
    let mut connection = with_longest_turn(8, 1 << 20, Duration::ZERO);
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
    assert!(connection.has_unhandled());
    assert_eq!(text(next(&mut connection)), "2");
    assert!(connection.begins_turn());
    assert_eq!(text(next(&mut connection)), "3");
}

#[test]
fn while_a_message_is_handled_pongs_and_departures_are_noticed() {
    let mut connection = connection(8, 1024);
    connection.socket.incoming = [
        Message::text("1"),
        Message::Pong(Bytes::new()),
        Message::Close(None),
    ]
    .into();
    assert!(matches!(next(&mut connection), Some(Input::Text(_))));
    assert!(matches!(next_ahead(&mut connection), Some(Input::Pong)));
    assert!(!connection.has_unhandled());
    assert!(matches!(next_ahead(&mut connection), Some(Input::Left)));
}

#[test]
fn the_socket_keeps_no_buffer_of_long_messages_that_were_written() {
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
fn the_queue_for_a_client_is_bounded() {
    let mut connection = connection(2, 1024);
    connection.socket.stuck = true;
    send(&mut connection, "12345").unwrap();
    assert!(matches!(next(&mut connection), Some(Input::Blocked)));
    send(&mut connection, "12345").unwrap();
    send(&mut connection, "12345").unwrap();
    assert_eq!(send(&mut connection, "12345"), Err(Closing::TooSlow));
    connection.socket.stuck = false;
    while connection.outbound.has_messages() {
        assert!(next(&mut connection).is_none());
    }
    assert_eq!(connection.memory.used(), 0);
}

#[test]
fn few_bytes_wait_without_a_reservation() {
    let mut connection = connection(256, 1 << 20);
    connection.socket.stuck = true;
    let many = (0..64).map(|n| Message::text(n.to_string()));
    connection.socket.incoming.extend(many);
    let mut read = 0;
    while let Some(Input::Text(_)) = next(&mut connection) {
        read += 1;
        connection.send("x".repeat(1 << 10), None).unwrap();
    }
    // The first is in the socket.
    let (_, _, unreserved) = connection.outbound.lengths();
    assert_eq!((read, unreserved), (10, MAX_UNRESERVED + (1 << 10)));
    connection.socket.stuck = false;
    while connection.outbound.has_messages() {
        assert!(!matches!(next(&mut connection), Some(Input::Left)));
    }
    assert_eq!(connection.outbound.lengths().2, 0);
    assert!(matches!(next(&mut connection), Some(Input::Text(_))));
}

#[test]
fn events_wait_until_the_queue_has_places_for_them() {
    let mut connection = connection(8, 1 << 10);
    let memory = connection.memory.clone();
    let event = |n: usize| Notice {
        text: n.to_string().into(),
        reservation: Some(memory.try_reserve(100).unwrap()),
    };
    assert_eq!(connection.event_capacity(false), EventCapacity::Free);
    connection.socket.stuck = true;
    connection.send_events((0..8).map(event).collect());
    assert_eq!(
        connection.event_capacity(false),
        EventCapacity::AfterSending
    );
    assert!(matches!(next(&mut connection), Some(Input::Blocked)));
    // One is in the socket, and three are in the queue.
    let (queued, waiting, _) = connection.outbound.lengths();
    assert_eq!((queued, waiting), (3, 4));
    send(&mut connection, "reply").unwrap();
    connection.socket.stuck = false;
    let mut others = 0;
    loop {
        match next(&mut connection) {
            Some(Input::EventsWanted) => break,
            other => assert!(other.is_none(), "{other:?}"),
        }
        others += 1;
        assert!(others < 20, "no input says that there is a place");
    }
    assert_eq!(connection.event_capacity(false), EventCapacity::Free);
    let sent = connection.socket.writes.concat();
    assert_eq!(
        [sent, connection.socket.buffer.clone()].concat(),
        ["0", "1", "2", "3", "reply", "4", "5", "6", "7"]
    );
    assert_eq!(memory.used(), 0);
    let elsewhere = memory.try_reserve(300).unwrap();
    assert_eq!(connection.event_capacity(false), EventCapacity::Later);
    drop(elsewhere);
    assert_eq!(connection.event_capacity(false), EventCapacity::Free);
}

#[test]
fn long_messages_count_while_they_are_in_the_sockets_buffer() {
    let mut connection = connection(64, 1 << 20);
    connection.socket.stuck = true;
    send(&mut connection, "x".repeat(15_000)).unwrap();
    assert!(matches!(next(&mut connection), Some(Input::Blocked)));
    assert!(connection.outbound.is_empty());
    assert_eq!(connection.memory.used(), 15_000);
    connection.socket.stuck = false;
    assert!(next(&mut connection).is_none());
    assert_eq!(connection.memory.used(), 0);
    // The buffer holds so many, and earlier ones have been written by then; short ones don't count.
    for _ in 0..20 {
        let reservation = connection.memory.try_reserve(15_000).ok();
        connection.socket_buffer.hold(reservation);
        let short = connection.memory.try_reserve(LONG).ok();
        connection.socket_buffer.hold(short);
    }
    assert_eq!(connection.memory.used(), 45_000);
    let reservation = connection.memory.try_reserve(500_000).ok();
    connection.socket_buffer.hold(reservation);
    assert!(connection.memory.used() < CAPACITY + PIECE);
}

#[test]
fn missed_events_wait_until_the_client_has_read_everything() {
    let mut connection = connection(8, 1 << 10);
    assert_eq!(connection.event_capacity(true), EventCapacity::Free);
    connection.socket.stuck = true;
    send(&mut connection, "reply").unwrap();
    for _ in 0..3 {
        assert_eq!(connection.event_capacity(false), EventCapacity::Free);
        assert_eq!(connection.event_capacity(true), EventCapacity::AfterSending);
        // The queue is empty then, but not the socket's buffer.
        assert!(!matches!(next(&mut connection), Some(Input::EventsWanted)));
    }
    assert!(connection.outbound.is_empty());
    connection.socket.stuck = false;
    while !matches!(next(&mut connection), Some(Input::EventsWanted)) {}
    assert_eq!(connection.event_capacity(true), EventCapacity::Free);
    assert!(next(&mut connection).is_none(), "it is returned once");
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
    // The first is in the socket; after that, three are more than half.
    assert_eq!((read, connection.outbound.lengths().0), (4, 3));
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
fn with_many_unreserved_bytes_in_the_queue_nothing_more_is_read() {
    for (bytes, reservation, reads) in [
        (2 * MAX_UNRESERVED, None, false),
        (2 * MAX_UNRESERVED, Some(0), false),
        (2 * MAX_UNRESERVED, Some(200), false),
        (2 * MAX_UNRESERVED, Some(MAX_UNRESERVED), true),
        (4 * PIECE, Some(200), false),
    ] {
        let mut connection = connection(64, 1 << 20);
        connection.socket.stuck = true;
        send(&mut connection, "taken").unwrap();
        assert!(matches!(next(&mut connection), Some(Input::Blocked)));
        let reservation =
            reservation.map(|reservation| connection.memory.try_reserve(reservation).unwrap());
        connection.send("x".repeat(bytes), reservation).unwrap();
        assert_eq!(connection.may_read(), reads, "{bytes}");
        // The same after a part of it has been sent.
        drop(connection.outbound.next_piece());
        assert_eq!(connection.may_read(), bytes <= PIECE, "{bytes}");
        assert_eq!(connection.outbound.lengths().2, 0);
    }
}

#[test]
fn very_long_messages_leave_turn_by_turn() {
    let mut connection = connection(8, 1 << 20);
    send(&mut connection, "x".repeat(2 * PIECES * PIECE + 1)).unwrap();
    let (mut turns, mut half_way) = (0, false);
    while !connection.outbound.is_empty() {
        assert!(next(&mut connection).is_none());
        half_way |= !connection.outbound.is_empty() && connection.may_read();
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
fn long_messages_leave_in_pieces_and_have_one_deadline() {
    let mut connection = connection(8, 1 << 20);
    let long = "x".repeat(3 * PIECE + 1);
    send(&mut connection, long.clone()).unwrap();
    send(&mut connection, "y").unwrap();
    connection.socket.stuck = true;
    assert!(matches!(next(&mut connection), Some(Input::Blocked)));
    let since = connection.blocked_since();
    // The client reads a piece, and nothing more for a while.
    connection.socket.buffer.clear();
    assert!(next(&mut connection).is_none());
    assert_eq!(connection.blocked_since(), since);
    assert_eq!(connection.memory.used(), long.len() + 1);
    connection.socket.stuck = false;
    while !connection.outbound.is_empty() {
        assert!(next(&mut connection).is_none());
    }
    assert!(connection.blocked_since().is_none());
    assert_eq!(connection.memory.used(), 0);
    let sent = connection.socket.writes.concat();
    let lengths: Vec<_> = sent.iter().map(String::len).collect();
    assert_eq!(lengths, [PIECE, PIECE, 1, 1], "the first was taken before");
}
