//! Receives a body, at the required pace and within the memory there is.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::{
    body_memory::{BodyReservation, NoMemory},
    refusal::WebhookRefusal,
};
use crate::pace::Pace;

/// The bytes that are reserved at first for a body that isn't here at once.
const FIRST: usize = 4 << 10;

/// The limits of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceiveLimits {
    /// The most bytes.
    pub(super) most: usize,
    /// The most time.
    pub(super) timeout: Duration,
    /// The pace at which it must arrive.
    pub(super) pace: Pace,
}

/// Receives a body; `announced` is its length, if one was given. Counts the bytes that come in `received`.
///
/// # Errors
/// The body is too long, too slow, cut off, or there is no memory for it.
pub(super) async fn receive(
    mut body: Body,
    announced: Option<usize>,
    limits: &ReceiveLimits,
    reservation: &mut BodyReservation,
    received: &mut usize,
) -> Result<Bytes, WebhookRefusal> {
    if announced.is_some_and(|length| length > limits.most) {
        return Err(WebhookRefusal::TooLarge);
    }
    let begun = Instant::now();
    let mut whole = Vec::new();
    *received = 0;
    loop {
        let deadline = limits.pace.deadline(begun, *received);
        let frame = tokio::select! {
            biased;
            frame = timeout_at(deadline.min(begun + limits.timeout), body.frame()) => frame,
            () = reservation.given_up() => return Err(WebhookRefusal::Busy),
        };
        let data = match frame.map_err(|_| WebhookRefusal::TooSlow)? {
            None => break,
            Some(Err(_)) => return Err(WebhookRefusal::CutOff),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                // Trailers aren't signed, so they are ignored.
                Err(_) => continue,
            },
        };
        if reservation.has_given_way() {
            return Err(WebhookRefusal::Busy);
        }
        *received += data.len();
        if *received > limits.most {
            return Err(WebhookRefusal::TooLarge);
        }
        // Usually the body is here as a whole, and isn't copied.
        if whole.is_empty() && body.is_end_stream() {
            reservation.take(data.len(), Instant::now())?;
            return Ok(data);
        }
        if *received > whole.capacity() {
            let least = (2 * whole.capacity()).max(FIRST);
            let capacity = least.min(announced.unwrap_or(limits.most)).max(*received);
            reservation.grow(capacity - whole.capacity(), Instant::now())?;
            whole.reserve_exact(capacity - whole.len());
        }
        whole.extend_from_slice(&data);
        if body.is_end_stream() {
            break;
        }
    }
    whole.shrink_to_fit();
    reservation.settle(whole.len())?;
    Ok(whole.into())
}

impl From<NoMemory> for WebhookRefusal {
    fn from(NoMemory: NoMemory) -> Self {
        Self::Busy
    }
}
