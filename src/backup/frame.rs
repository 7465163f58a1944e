//! Frames: how parts are written one after another.

use std::io::{self, Read};

use circled_protocol::{JobId, PublicKey};

use super::{
    counts::Counts,
    error::ArchiveError,
    record::{Head, Record},
};
use crate::store::{Key, Value};

/// The text at the beginning.
pub(super) const MAGIC: &[u8] = b"circled archive\n";
/// The most bytes of a frame's content: far more than any setting permits a job to have.
pub(super) const MOST: usize = 300 << 20;
/// Bytes of a SHA-256.
pub(super) const SUM: usize = 32;
/// Bytes of the counts in [`Kind::End`].
pub(super) const COUNTS: usize = 4 * 8;

const IS_OPEN: u8 = 1;
const IS_DEAD: u8 = 2;
const HAS_INPUT: u8 = 4;

/// The kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Header = b'H',
    Circle = b'C',
    Entry = b'k',
    Event = b'e',
    Job = b'j',
    Seen = b's',
    End = b'E',
    Trailer = b'T',
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            b'H' => Self::Header,
            b'C' => Self::Circle,
            b'k' => Self::Entry,
            b'e' => Self::Event,
            b'j' => Self::Job,
            b's' => Self::Seen,
            b'E' => Self::End,
            b'T' => Self::Trailer,
            _ => return None,
        })
    }
}

/// A frame, its first five bytes included.
#[derive(Debug, Default)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    const HEAD: usize = 5;

    /// Replaces what it has by a new frame.
    pub(super) fn set(&mut self, kind: Kind, content: &[&[u8]]) -> io::Result<()> {
        let length = content.iter().map(|part| part.len()).sum::<usize>();
        if length > MOST {
            return Err(io::Error::other(format!(
                "a record has {length} bytes, and an archive can have {MOST} at most"
            )));
        }
        self.0.clear();
        self.0.push(kind as u8);
        self.0.extend((length as u32).to_be_bytes());
        content.iter().for_each(|part| self.0.extend(*part));
        Ok(())
    }

    /// Reads the next one.
    pub(super) fn read(&mut self, input: &mut impl Read) -> Result<Kind, ArchiveError> {
        let mut head = [0; Self::HEAD];
        input.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let kind = Kind::of(kind).ok_or_else(|| ArchiveError::damaged("a frame has no kind"))?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MOST {
            return Err(ArchiveError::damaged("a frame is too long"));
        }
        self.0.clear();
        self.0.extend(head);
        // It takes memory for what there is, whatever the length says.
        let read = input.take(length as u64).read_to_end(&mut self.0)?;
        if read < length {
            return Err(ArchiveError::Cut);
        }
        Ok(kind)
    }

    pub(super) fn all(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn content(&self) -> &[u8] {
        self.0.get(Self::HEAD..).unwrap_or_default()
    }

    pub(super) fn set_head(&mut self, head: &Head) -> io::Result<()> {
        let (commits, events) = (head.commits.to_be_bytes(), head.events.to_be_bytes());
        self.set(Kind::Circle, &[head.circle.as_bytes(), &commits, &events])
    }

    pub(super) fn set_record(&mut self, record: &Record) -> io::Result<()> {
        let length = |bytes: &[u8]| (bytes.len() as u32).to_be_bytes();
        match record {
            Record::Entry { key, value } => self.set(Kind::Entry, &[&length(key), key, value]),
            Record::Event { number, json } => self.set(Kind::Event, &[&number.to_be_bytes(), json]),
            Record::Job {
                id,
                is_open,
                is_dead,
                record,
                input,
            } => {
                let flags = u8::from(*is_open) * IS_OPEN
                    + u8::from(*is_dead) * IS_DEAD
                    + u8::from(input.is_some()) * HAS_INPUT;
                let input = input.as_ref().map_or(&[][..], |input| input);
                let length = length(record);
                self.set(
                    Kind::Job,
                    &[id.as_bytes(), &[flags], &length, record, input],
                )
            }
            Record::Seen {
                identity,
                job,
                until,
            } => {
                let until = until.map(i64::to_be_bytes);
                let until = until.as_ref().map_or(&[][..], |until| until);
                self.set(Kind::Seen, &[identity, job.as_bytes(), until])
            }
        }
    }

    /// Returns the head of a circle.
    pub(super) fn to_head(&self) -> Option<Head> {
        let (circle, numbers) = self
            .content()
            .split_first_chunk::<{ PublicKey::LENGTH }>()?;
        let (commits, events) = numbers.split_first_chunk()?;
        Some(Head {
            // What anybody sent is checked.
            circle: hex::encode(circle).parse().ok()?,
            commits: u64::from_be_bytes(*commits),
            events: u64::from_be_bytes(events.try_into().ok()?),
        })
    }

    /// Returns a record.
    pub(super) fn to_record(&self, kind: Kind) -> Option<Record> {
        let content = self.content();
        Some(match kind {
            Kind::Entry => {
                let (key, value) = split_by_length(content)?;
                Record::Entry {
                    key: Key::new(key),
                    value: Value::new(value),
                }
            }
            Kind::Event => {
                let (number, json) = content.split_first_chunk()?;
                Record::Event {
                    number: u64::from_be_bytes(*number),
                    json: Value::new(json),
                }
            }
            Kind::Job => {
                let (id, rest) = content.split_first_chunk()?;
                let (&flags, rest) = rest.split_first()?;
                let (record, input) = split_by_length(rest)?;
                let has_input = flags & HAS_INPUT != 0;
                if flags > IS_OPEN + IS_DEAD + HAS_INPUT || !has_input && !input.is_empty() {
                    return None;
                }
                Record::Job {
                    id: JobId::from_bytes(*id),
                    is_open: flags & IS_OPEN != 0,
                    is_dead: flags & IS_DEAD != 0,
                    record: Value::new(record),
                    input: has_input.then(|| Value::new(input)),
                }
            }
            Kind::Seen => {
                let (identity, rest) = content.split_first_chunk()?;
                let (job, until) = rest.split_first_chunk()?;
                let until = match until {
                    [] => None,
                    until => Some(i64::from_be_bytes(until.try_into().ok()?)),
                };
                Record::Seen {
                    identity: *identity,
                    job: JobId::from_bytes(*job),
                    until,
                }
            }
            Kind::Header | Kind::Circle | Kind::End | Kind::Trailer => return None,
        })
    }
}

fn split_by_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// Returns the content of [`Kind::End`].
pub(super) fn end_of(counts: Counts, sum: &[u8; SUM]) -> Vec<u8> {
    let counts = counts.all().into_iter().flat_map(u64::to_be_bytes);
    counts.chain(*sum).collect()
}
