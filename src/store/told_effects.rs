//! The effects of a run, as its caller is told of them: bounded, and without the circle's own keys.

use circled_protocol::{
    WriteOp,
    methods::{KeysTouched, MoreEffects, RunEffects, WriteEffect},
};

use super::{
    effects::Effects,
    range::{KeyRange, OWN},
    write::Write,
};

/// The most effects of each kind that are listed.
const LISTED: usize = 100;
/// Bytes of keys and topics, of all kinds together, after which no more are listed.
const BYTES: usize = 32 << 10;

impl Effects {
    /// Returns what the caller of a run is told of its effects.
    pub(super) fn told(&self) -> RunEffects {
        let is_own = |key: &[u8]| key.first() == Some(&OWN);
        let keys = self.reads.keys().map(|(key, _)| key);
        let keys = keys.filter(|key| !is_own(key)).map(|key| one(key));
        let ranges = self.reads.ranges().map(|read| &read.range);
        let ranges = ranges.filter(|range| !is_own(&range.start)).map(range_of);

        let write = |op: WriteOp, keys| WriteEffect {
            op: op.into(),
            keys,
        };
        let deleted = self.range_deletes.iter();
        let deleted = deleted.map(|range| write(WriteOp::DeleteRange, range_of(range)));
        let written = self.writes.iter().filter(|(key, _)| !is_own(key));
        let written = written.map(|(key, change)| {
            let op = match change {
                Write::Put(_) => WriteOp::Set,
                Write::Delete => WriteOp::Delete,
                Write::Add(_) => WriteOp::Add,
            };
            write(op, one(key))
        });
        let pushed = self.pushes.iter();
        let pushed = pushed.map(|(prefix, _)| write(WriteOp::Push, one(prefix)));
        let topics = self.events.iter().map(|event| event.topic.to_string());

        let mut room = BYTES;
        let (reads, more_reads) = listed(keys.chain(ranges), &mut room, bytes);
        let written = deleted.chain(written).chain(pushed);
        let (writes, more_writes) = listed(written, &mut room, |write| bytes(&write.keys));
        let (events, more_events) = listed(topics, &mut room, String::len);
        let more = MoreEffects {
            reads: more_reads,
            writes: more_writes,
            events: more_events,
        };
        RunEffects {
            reads,
            writes,
            events,
            jobs: self.jobs.len() as u64,
            more: (more != MoreEffects::default()).then_some(more),
        }
    }
}

/// Returns the first of them while there is room, and the number of the others.
fn listed<T>(
    all: impl Iterator<Item = T>,
    room: &mut usize,
    bytes: impl Fn(&T) -> usize,
) -> (Vec<T>, u64) {
    let (mut list, mut more) = (Vec::new(), 0);
    for item in all {
        let needed = bytes(&item);
        if more == 0 && list.len() < LISTED && needed <= *room {
            *room -= needed;
            list.push(item);
        } else {
            more += 1;
        }
    }
    (list, more)
}

fn bytes(keys: &KeysTouched) -> usize {
    let KeysTouched {
        key,
        start,
        end,
        prefix,
    } = keys;
    let texts = [key, start, end, prefix].into_iter().flatten();
    texts.map(String::len).sum()
}

fn one(key: &[u8]) -> KeysTouched {
    KeysTouched {
        key: Some(text(key)),
        ..KeysTouched::default()
    }
}

fn range_of(range: &KeyRange) -> KeysTouched {
    let (end, prefix) = match range.end.split_last() {
        // See `KeyRange::of_prefix`.
        Some((&OWN, prefix)) => (None, Some(text(prefix))),
        _ => (Some(text(&range.end)), None),
    };
    KeysTouched {
        key: None,
        start: Some(text(&range.start)),
        end,
        prefix,
    }
}

/// Returns a key that scripts can have: they are UTF-8.
fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}
