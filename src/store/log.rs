//! The event log on disk: a table by number, without a hole.

use std::sync::Arc;

use circled_protocol::PublicKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    circle::EventNumbers,
    disk::Disk,
    disk_snapshot::DiskSnapshot,
    error::Unavailable,
    event::NewEvent,
    hub::{Event, Log},
    table::{Key, Record, Table},
};

/// The key of a circle's event numbers: of the first event that is stored, and of the next one.
const NUMBERS: &[u8] = b"events";
/// Old events that a commit deletes at most, beside as many as it adds.
const AT_ONCE: u64 = 64;

/// An event, as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredEvent {
    topic: Box<str>,
    data: Box<RawValue>,
    at: Timestamp,
    #[serde(
        default,
        with = "circled_protocol::trusted::option",
        skip_serializing_if = "Option::is_none"
    )]
    to: Option<PublicKey>,
}

/// Returns the numbers of a circle's events.
pub(super) fn numbers(
    disk: &Disk,
    snapshot: &DiskSnapshot,
    circle: &PublicKey,
) -> Result<EventNumbers, Unavailable> {
    let stored = snapshot.get(disk, circle, Table::Usage, &Key::new(NUMBERS))?;
    let numbers = stored.and_then(|bytes| {
        let (first, next) = bytes.split_first_chunk()?;
        Some(EventNumbers {
            first: u64::from_be_bytes(*first),
            next: u64::from_be_bytes(next.try_into().ok()?),
        })
    });
    Ok(numbers.unwrap_or(EventNumbers { first: 1, next: 1 }))
}

/// Gives events their numbers, and adds what is to be written for them.
pub(super) fn append(
    new: Vec<NewEvent>,
    events: &mut EventNumbers,
    most: usize,
    records: &mut Vec<Record>,
) -> Vec<Arc<Event>> {
    let at = Timestamp::now();
    let mut events_out = Vec::with_capacity(new.len());
    let (old, mut spare) = (events.next, AT_ONCE + new.len() as u64);
    // Where there are more at once than are kept, the first of them aren't.
    let first = (old + new.len() as u64).saturating_sub(most as u64);
    for NewEvent { topic, data, to } in new {
        let id = events.next;
        events.next += 1;
        // What was emitted is JSON.
        let data = circled_json::from_slice(&data).unwrap_or_else(|_| RawValue::NULL.to_owned());
        let stored = StoredEvent {
            topic,
            data,
            at,
            to,
        };
        if id >= first {
            let value = serde_json::to_vec(&stored).unwrap_or_default();
            records.push(Record::put(Table::Events, id.to_be_bytes(), value));
        }
        events_out.push(Arc::new(Event::new(id, stored.topic, stored.data, at, to)));
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
    events_out
}

/// Returns up to `most` events from the number `from` on, and no more than [`Log::BYTES_AT_ONCE`].
pub(super) fn read(
    disk: &Disk,
    circle: &PublicKey,
    from: u64,
    most: usize,
) -> Result<Log, Unavailable> {
    // One moment for both: an event is in the log once its number is known.
    let snapshot = disk.snapshot();
    let EventNumbers { first, next } = numbers(disk, &snapshot, circle)?;
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
        &snapshot,
        Table::Events,
        circle,
        &from.max(first).to_be_bytes(),
        false,
        &mut |key, value| {
            bytes += value.len();
            match circled_json::from_slice::<StoredEvent>(value) {
                Ok(StoredEvent {
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

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::*;
    use crate::golden;

    #[test]
    fn events_are_stored_as_before() {
        let mut event = StoredEvent {
            topic: "orders.new".into(),
            data: circled_json::from_str("{\"total\":3,\"of\":[1.0,null]}").unwrap(),
            at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            to: None,
        };
        let check = |name, event: &StoredEvent| {
            let written = serde_json::to_string(event).unwrap();
            golden::check_json(name, &written, &[""], |text| {
                let event: StoredEvent = circled_json::from_str(text).ok()?;
                serde_json::to_string(&event).ok()
            });
        };
        check("event", &event);
        event.to = Some(SecretKey::from_hex(&"01".repeat(32)).unwrap().public());
        check("event_to_one", &event);
    }
}
