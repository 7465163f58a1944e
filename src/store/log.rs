//! The event log on disk: a table by number, without a hole.

use std::sync::Arc;

use circled_protocol::PublicKey;
use jiff::Timestamp;

use super::{
    circle::EventNumbers,
    disk::Disk,
    disk_snapshot::DiskSnapshot,
    error::Unavailable,
    event::NewEvent,
    event_record::{self, EventRecord},
    hub::{Event, Log},
    table::{Key, Record, Table},
};

/// The key of a circle's event numbers: of the first event that is stored, and of the next one.
const NUMBERS: &[u8] = b"events";
/// Old events that a commit deletes at most, beside as many as it adds.
const AT_ONCE: u64 = 64;

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
    for event in &new {
        let id = events.next;
        events.next += 1;
        let record = EventRecord::new(event, at);
        if id >= first {
            records.push(Record::put(
                Table::Events,
                id.to_be_bytes(),
                record.encode(),
            ));
        }
        events_out.push(record.into_event(id));
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
            if let Some(event) = event_record::decode(circle, number(key), value) {
                log.last = log.last.max(event.id);
                log.events.push(event);
            }
            log.events.len() < most && bytes < Log::BYTES_AT_ONCE
        },
    )?;
    Ok(log)
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}
