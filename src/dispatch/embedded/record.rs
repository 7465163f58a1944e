//! Encodes and decodes what is stored of a durable job, and makes its keys.

use std::iter::successors;

use circled_protocol::{JobId, PublicKey};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    dispatch::{JobRecord, record::json},
    store::{Record, Table},
};

/// Returns the job's own record.
pub(super) fn put(job: &JobRecord) -> Record {
    Record::put(Table::Jobs, job.id.as_bytes(), json(job))
}

pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    circled_json::borrowed_slice(bytes).ok()
}

/// Reads a job's record; one that can't be read is there all the same.
pub(super) fn job(circle: &PublicKey, id: JobId, bytes: &[u8]) -> Option<JobRecord> {
    JobRecord::read(id, Some(*circle), bytes)
}

/// Returns the key that lists a job under its submitter.
pub(super) fn own_key(caller: &PublicKey, job: JobId) -> Vec<u8> {
    [caller.as_bytes().as_slice(), job.as_bytes()].concat()
}

/// Returns the record that remembers a delivery until a time.
pub(super) fn seen(identity: &[u8; 32], job: JobId, until: Timestamp) -> Record {
    let value = [job.as_bytes().as_slice(), &millis(until)].concat();
    Record::put(Table::Seen, identity, value)
}

/// Returns the job of a delivery, and the time until which it is remembered, in milliseconds since 1970.
pub(super) fn seen_until(value: &[u8]) -> Option<(JobId, i64)> {
    let (job, until) = value.split_first_chunk()?;
    let until = i64::from_be_bytes(until.try_into().ok()?);
    Some((JobId::from_bytes(*job), until))
}

/// Returns the job of a delivery that is still remembered.
pub(super) fn seen_job(value: &[u8], now: Timestamp) -> Option<JobId> {
    let (job, until) = value.split_first_chunk()?;
    (until > millis(now).as_slice()).then(|| JobId::from_bytes(*job))
}

/// The kinds of records that expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiring {
    /// A job that is over.
    Job,
    /// A delivery that is remembered.
    Seen,
}

impl Expiring {
    /// Its letter in [`Table::Expiry`]. Changing one changes the format on disk.
    fn letter(self) -> u8 {
        match self {
            Self::Job => b'j',
            Self::Seen => b's',
        }
    }

    fn of_letter(letter: u8) -> Option<Self> {
        // Each kind names the next one, so the compiler notices one that is missing.
        let next = |kind: &Self| match kind {
            Self::Job => Some(Self::Seen),
            Self::Seen => None,
        };
        successors(Some(Self::Job), next).find(|kind| kind.letter() == letter)
    }

    /// Returns the table of these records.
    pub(super) fn table(self) -> Table {
        match self {
            Self::Job => Table::Jobs,
            Self::Seen => Table::Seen,
        }
    }
}

/// Returns the record that has another one expire at a time.
pub(super) fn expiry(kind: Expiring, key: &[u8], at: Timestamp) -> Record {
    let key = [&millis(at), [kind.letter()].as_slice(), key].concat();
    Record::put(Table::Expiry, key, [])
}

/// Returns which record an entry of [`Table::Expiry`] is about, and when that expires.
pub(super) fn expired(key: &[u8]) -> Option<(Timestamp, Expiring, &[u8])> {
    let (at, rest) = key.split_first_chunk::<8>()?;
    let (&letter, rest) = rest.split_first()?;
    let at = Timestamp::from_millisecond(i64::from_be_bytes(*at)).ok()?;
    Some((at, Expiring::of_letter(letter)?, rest))
}

fn millis(at: Timestamp) -> [u8; 8] {
    // No time that is kept here is before 1970, so the order of the bytes is that of the times.
    at.as_millisecond().max(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::*;
    use crate::golden;

    #[test]
    fn bytes_are_stored_as_before() {
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let job = JobId::from_bytes([7; 16]);
        let key = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();

        let written = hex::encode(seen(&[9; 32], job, at).value.unwrap());
        golden::check("seen", &written, |text| {
            let before = Timestamp::from_millisecond(at.as_millisecond() - 1).ok()?;
            let job = seen_job(&hex::decode(text).ok()?, before)?;
            Some(hex::encode(seen(&[9; 32], job, at).value?))
        });
        for (name, kind) in [
            ("expiry_of_job", Expiring::Job),
            ("expiry_of_seen", Expiring::Seen),
        ] {
            let written = hex::encode(expiry(kind, b"key", at).key);
            golden::check(name, &written, |text| {
                let key = hex::decode(text).ok()?;
                let (at, kind, about) = expired(&key)?;
                Some(hex::encode(expiry(kind, about, at).key))
            });
        }
        let own = hex::encode(own_key(&key, job));
        golden::check("own_job_key", &own, |text| Some(text.to_owned()));
    }
}
