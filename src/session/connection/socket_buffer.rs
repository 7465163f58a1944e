//! Counts the bytes that may be in the socket's own write buffer.

use std::collections::VecDeque;

use super::{LONG, outbound::PIECE};
use crate::memory::Reservation;

/// The most bytes in the buffer, about: it is written out when a piece makes it longer than one.
pub(super) const CAPACITY: usize = 2 * PIECE;
/// The size up to which an idle session keeps the buffer, which never shrinks.
pub(super) const IDLE_BUFFER: usize = 8 << 10;

/// The bytes that were handed to the socket since it was last flushed, and the memory of long messages among them.
#[derive(Debug, Default)]
pub(super) struct SocketBuffer {
    reservations: VecDeque<Reservation>,
    bytes: usize,
    is_large: bool,
}

impl SocketBuffer {
    /// Notes a piece of so many bytes. The memory of a long message counts until the buffer is empty again, or full of
    /// later pieces.
    pub(super) fn add(&mut self, bytes: usize, reservation: Option<Reservation>) {
        self.bytes += bytes;
        self.is_large |= self.bytes > IDLE_BUFFER;
        self.hold(reservation);
    }

    pub(super) fn hold(&mut self, reservation: Option<Reservation>) {
        let Some(mut reservation) = reservation.filter(|reservation| reservation.bytes() > LONG)
        else {
            return;
        };
        // Reducing it never fails.
        let _ = reservation.resize(reservation.bytes().min(PIECE));
        self.reservations.push_back(reservation);
        let mut bytes: usize = self.reservations.iter().map(Reservation::bytes).sum();
        while let Some(oldest) = self.reservations.front()
            && bytes - oldest.bytes() >= CAPACITY
        {
            bytes -= oldest.bytes();
            self.reservations.pop_front();
        }
    }

    /// Notes that the buffer is empty.
    pub(super) fn flushed(&mut self) {
        self.bytes = 0;
        self.reservations.clear();
    }

    /// Returns true if the buffer has become large.
    pub(super) fn is_large(&self) -> bool {
        self.is_large
    }

    /// Notes that the socket has a new buffer.
    pub(super) fn renewed(&mut self) {
        self.is_large = false;
    }
}
