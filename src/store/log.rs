//! The event log on disk: a table by number, without a hole.

use std::sync::Arc;

use circled_protocol::PublicKey;
use jiff::Timestamp;

use super::{
    Settings,
    circle::EventNumbers,
    disk::Disk,
    disk_snapshot::DiskSnapshot,
    error::Unavailable,
    event::NewEvent,
    event_record::{self, EventRecord},
    hub::{Event, Log},
    table::{Key, Record, Table, Value},
};

/// The key of a circle's event numbers: of the first event that is stored, and of the next one.
pub(super) const NUMBERS: &[u8] = b"events";
/// The key of the numbers of the first event that is counted, and of the next one; and of the bytes by which those between
/// exceed their shares. It is there once any does.
const EXCESS: &[u8] = b"excess";
/// Old events that a commit deletes at most, beside as many as it adds, and as many as its large ones count for.
const AT_ONCE: u64 = 64;

/// The bounds of a circle's log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Bounds {
    pub(super) fn new(limits: &Settings) -> Self {
        Self {
            events: limits.event_log.get() as u64,
            bytes: limits.event_log_bytes.get() as u64,
        }
    }

    /// Returns an equal share of the bytes: what an event counts as at least.
    fn share(self) -> u64 {
        self.bytes / self.events
    }

    /// Returns by how much an event with so many bytes exceeds its share.
    pub(super) fn excess(self, bytes: usize) -> u64 {
        (bytes as u64).saturating_sub(self.share())
    }

    fn are_exceeded(self, events: &EventNumbers) -> bool {
        let count = events.next - events.first;
        count > self.events || count * self.share() + events.excess > self.bytes
    }
}

/// Returns the number of the last event, by what is stored under [`NUMBERS`].
pub(super) fn last_number(stored: Option<Value>) -> u64 {
    let numbers = stored.and_then(read_numbers);
    numbers.map_or(0, |[_, next]| next.saturating_sub(1))
}

/// Returns the records of these numbers.
pub(super) fn number_records(events: &EventNumbers) -> impl Iterator<Item = Record> + use<> {
    let put = |key, numbers: &[u64]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        Record::put(Table::Usage, key, bytes)
    };
    let EventNumbers {
        first,
        next,
        counted_from,
        excess,
    } = *events;
    let excess = (excess > 0).then(|| put(EXCESS, &[counted_from, next, excess]));
    [put(NUMBERS, &[first, next])].into_iter().chain(excess)
}

/// Returns the numbers of a circle's events.
pub(super) fn numbers(
    disk: &Disk,
    snapshot: &DiskSnapshot,
    circle: &PublicKey,
) -> Result<EventNumbers, Unavailable> {
    let get = |key| snapshot.get(disk, circle, Table::Usage, &Key::new(key));
    let [first, next] = get(NUMBERS)?.and_then(read_numbers).unwrap_or([1, 1]);
    let counted = get(EXCESS)?.and_then(read_numbers);
    // Otherwise, an earlier version has added events, and has counted none.
    let counted = counted.filter(|[_, to, _]| *to == next);
    let [counted_from, _, excess] = counted.unwrap_or([next, next, 0]);
    Ok(EventNumbers {
        first,
        next,
        counted_from,
        excess,
    })
}

/// Reads numbers of 8 bytes each.
fn read_numbers<const N: usize>(stored: Value) -> Option<[u64; N]> {
    let (numbers, rest) = stored.as_chunks();
    let numbers: &[_; N] = numbers.try_into().ok()?;
    rest.is_empty().then(|| numbers.map(u64::from_be_bytes))
}

/// Gives events their numbers, and adds what is to be written for them. `size_of` returns the bytes of an earlier one.
pub(super) fn append(
    new: Vec<NewEvent>,
    events: &mut EventNumbers,
    bounds: Bounds,
    records: &mut Vec<Record>,
    size_of: impl Fn(&Key) -> Result<usize, Unavailable>,
) -> Result<Vec<Arc<Event>>, Unavailable> {
    let at = Timestamp::now();
    let (old, old_excess) = (events.next, events.excess);
    let (mut encoded, mut events_out) = (Vec::new(), Vec::new());
    for event in &new {
        let record = EventRecord::new(event, at);
        let bytes = record.encode();
        events.excess += bounds.excess(bytes.len());
        encoded.push(bytes);
        events_out.push(record.into_event(events.next));
        events.next += 1;
    }
    // What is new takes the place of so many others at most, where they are small.
    let added = (events.excess - old_excess) / bounds.share().max(1);
    let mut spare = AT_ONCE + new.len() as u64 + added;
    while bounds.are_exceeded(events) && events.first + 1 < events.next && spare > 0 {
        let id = events.first;
        let is_counted = id >= events.counted_from && events.excess > 0;
        let size = if let Some(bytes) = encoded.get(id.wrapping_sub(old) as usize) {
            bytes.len()
        } else {
            let key = Key::new(&id.to_be_bytes());
            let size = if is_counted { size_of(&key)? } else { 0 };
            records.push(Record::remove(Table::Events, key));
            spare -= 1;
            size
        };
        events.excess = events.excess.saturating_sub(bounds.excess(size));
        events.first += 1;
    }
    // Where there are more at once than are kept, the first of them aren't.
    let kept = (old..).zip(encoded).filter(|(id, _)| *id >= events.first);
    records.extend(kept.map(|(id, bytes)| Record::put(Table::Events, id.to_be_bytes(), bytes)));
    let mut put = |key, numbers: &[u64]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        records.push(Record::put(Table::Usage, key, bytes));
    };
    put(NUMBERS, &[events.first, events.next]);
    if events.excess > 0 || old_excess > 0 {
        put(EXCESS, &[events.counted_from, events.next, events.excess]);
    }
    Ok(events_out)
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
    let EventNumbers { first, next, .. } = numbers(disk, &snapshot, circle)?;
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
