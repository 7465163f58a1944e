//! The inputs of a session that come from its socket.

use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes, error::ProtocolError};

use crate::session::{Closing, meter::Refused};

/// An input from the socket.
#[derive(Debug)]
pub(in crate::session) enum Input {
    Text(Utf8Bytes),
    Binary,
    Pong,
    /// The client has stopped reading. Returned once each time.
    Blocked,
    /// More events may be sent. Returned once after [`EventCapacity::AfterSending`](super::EventCapacity).
    EventsWanted,
    /// The client closed the connection, or is gone.
    Left,
    /// The session can't go on after a message or frame.
    Broken(Closing),
}

impl Input {
    /// Returns the input of a message; `None` if it needs no handling.
    pub(super) fn of(message: Option<Result<Message, Error>>) -> Option<Self> {
        match message {
            Some(Ok(Message::Text(text))) => Some(Self::Text(text)),
            Some(Ok(Message::Binary(_))) => Some(Self::Binary),
            Some(Ok(Message::Pong(_))) => Some(Self::Pong),
            // tungstenite answers pings by itself, and returns no bare frames.
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => None,
            Some(Ok(Message::Close(_))) | None => Some(Self::Left),
            Some(Err(error)) => Some(Self::of_error(&error)),
        }
    }

    fn of_error(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => Self::Broken(Closing::TooBig),
            Error::Utf8(_) => Self::Broken(Closing::Protocol(1007)),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Left,
            Error::Protocol(_) => Self::Broken(Closing::Protocol(1002)),
            Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(Refused::TooLong) => Self::Broken(Closing::TooBig),
                Some(Refused::TooLongYet) => Self::Broken(Closing::TooBigYet),
                Some(Refused::NoMemory) => Self::Broken(Closing::NoMemory),
                None => Self::Left,
            },
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Tls(_)
            | Error::WriteBufferFull(_)
            | Error::AttackAttempt
            | Error::Url(_)
            | Error::Http(_)
            | Error::HttpFormat(_) => Self::Left,
        }
    }
}
