//! Events on disk: a table by their numbers, without a hole.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    circle::Events,
    disk::Disk,
    error::Unavailable,
    event::Emitted,
    hub::{Event, Log},
    landed::Landed,
    table::{Key, Record, Table},
};
use crate::auth::PublicKey;

/// Where a circle's numbers are kept: of the first event that is there, and of the next one.
const NUMBERS: &[u8] = b"events";
/// Old ones that a commit takes away at most, beside as many as it adds.
const AT_ONCE: u64 = 64;

/// An event, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    topic: Box<str>,
    data: Box<RawValue>,
    at: Timestamp,
    #[serde(
        default,
        with = "crate::auth::trusted::option",
        skip_serializing_if = "Option::is_none"
    )]
    to: Option<PublicKey>,
}

/// The numbers of a circle's events.
pub(super) fn numbers(
    disk: &Disk,
    landed: &Landed,
    circle: &PublicKey,
) -> Result<Events, Unavailable> {
    let kept = landed.get(disk, circle, Table::Usage, &Key::new(NUMBERS))?;
    let numbers = kept.and_then(|bytes| {
        let (first, next) = bytes.split_first_chunk()?;
        Some(Events {
            first: u64::from_be_bytes(*first),
            next: u64::from_be_bytes(next.try_into().ok()?),
        })
    });
    Ok(numbers.unwrap_or(Events { first: 1, next: 1 }))
}

/// Gives events their numbers, and adds what is to be written for them.
pub(super) fn append(
    emitted: Vec<Emitted>,
    events: &mut Events,
    most: usize,
    records: &mut Vec<Record>,
) -> Vec<Arc<Event>> {
    let at = Timestamp::now();
    let mut told = Vec::with_capacity(emitted.len());
    let (old, mut spare) = (events.next, AT_ONCE + emitted.len() as u64);
    // Where there are more at once than are kept, the first of them aren't.
    let first = (old + emitted.len() as u64).saturating_sub(most as u64);
    for Emitted { topic, data, to } in emitted {
        let id = events.next;
        events.next += 1;
        // What was emitted is JSON.
        let data = crate::json::from_slice(&data).unwrap_or_else(|_| RawValue::NULL.to_owned());
        let kept = Kept {
            topic,
            data,
            at,
            to,
        };
        if id >= first {
            let value = serde_json::to_vec(&kept).unwrap_or_default();
            records.push(Record::put(Table::Events, id.to_be_bytes(), value));
        }
        told.push(Arc::new(Event::new(id, kept.topic, kept.data, at, to)));
    }
    while events.first < first.min(old) && spare > 0 {
        records.push(Record::remove(Table::Events, events.first.to_be_bytes()));
        events.first += 1;
        spare -= 1;
    }
    if events.first == old {
        events.first = events.first.max(first);
    }
    let numbers = [events.first.to_be_bytes(), events.next.to_be_bytes()].concat();
    records.push(Record::put(Table::Usage, NUMBERS, numbers));
    told
}

/// Those from one on, so many at most, and no more than [`Log::BYTES_AT_ONCE`].
pub(super) fn read(
    disk: &Disk,
    circle: &PublicKey,
    from: u64,
    most: usize,
) -> Result<Log, Unavailable> {
    // One moment for both: an event is in the log once its number is known.
    let landed = disk.landed();
    let Events { first, next } = numbers(disk, &landed, circle)?;
    let mut log = Log {
        first: if next > first { first } else { 0 },
        last: next - 1,
        events: Vec::new(),
    };
    if most == 0 {
        return Ok(log);
    }
    let mut bytes = 0;
    disk.walk_in(
        &landed,
        Table::Events,
        circle,
        &from.max(first).to_be_bytes(),
        false,
        &mut |key, value| {
            bytes += value.len();
            match crate::json::from_slice::<Kept>(value) {
                Ok(Kept {
                    topic,
                    data,
                    at,
                    to,
                }) => {
                    let event = Event::new(number(key), topic, data, at, to);
                    log.last = log.last.max(event.id);
                    log.events.push(Arc::new(event));
                }
                Err(error) => tracing::error!(%circle, %error, "failed to read an event"),
            }
            log.events.len() < most && bytes < Log::BYTES_AT_ONCE
        },
    )?;
    Ok(log)
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}
