//! The marks that tell duplicates, as they were at the moment when their circle was copied.
//!
//! They have keys of their own, which no script can find at once. So a backup looks at all keys of Redis before it copies the
//! first circle. From before that, `accept.lua` keeps a list of the marks that it makes. The script that copies a
//! circle says how long that list was.

use std::collections::BTreeMap;

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;

use crate::backup::Record;

type Identity = [u8; 32];

/// Redis's time for what never expires.
const NEVER: i64 = -1;

/// The marks that are known of circles that haven't been read yet: about 100 bytes each.
#[derive(Default)]
pub(super) struct Marks {
    /// Those that were found, sorted once all were.
    found: Vec<(PublicKey, Identity, Mark)>,
    /// Those that were made since.
    made: BTreeMap<PublicKey, Vec<(Identity, Mark)>>,
}

#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) job: JobId,
    pub(super) until: Option<i64>,
}

impl Marks {
    /// Adds one that was found. Returns its circle.
    pub(super) fn add_found(&mut self, value: Value) -> Option<PublicKey> {
        let parts: Vec<_> = value
            .into_array()
            .into_iter()
            .map(Value::into_string)
            .collect();
        let [Some(circle), Some(identity), Some(job), Some(until)] = &parts[..] else {
            return None;
        };
        let (circle, identity, mark) = read([circle, identity, job, until])?;
        self.found.push((circle, identity, mark));
        Some(circle)
    }

    /// Adds one that was made since, as the list has it.
    pub(super) fn add_made(&mut self, text: &str) -> Option<()> {
        let parts: Vec<_> = text.split(' ').collect();
        let (circle, identity, mark) = read(parts.try_into().ok()?)?;
        self.made.entry(circle).or_default().push((identity, mark));
        Some(())
    }

    /// All that were there are found.
    pub(super) fn sort(&mut self) {
        self.found.sort_unstable_by_key(|(circle, ..)| *circle);
    }

    /// Returns the marks of a circle that haven't expired by then, and these ones, which never do.
    pub(super) fn take(
        &mut self,
        circle: &PublicKey,
        at: i64,
        for_good: impl IntoIterator<Item = (Identity, JobId)>,
    ) -> impl Iterator<Item = Record> {
        let from = self.found.partition_point(|(other, ..)| other < circle);
        let found = self.found[from..]
            .iter()
            .take_while(|(other, ..)| other == circle);
        let found = found.map(|(_, identity, mark)| (*identity, *mark));
        let made = self.made.remove(circle).unwrap_or_default();
        let mut marks = BTreeMap::new();
        for (identity, mark) in found.chain(made) {
            // One that never expires is another kind of mark, and says as much as both.
            let kept = marks.entry(identity).or_insert(mark);
            if kept.until.is_some() {
                *kept = mark;
            }
        }
        for (identity, job) in for_good {
            marks.insert(identity, Mark { job, until: None });
        }
        marks.retain(|_, mark| mark.until.is_none_or(|until| until > at));
        marks.into_iter().map(|(identity, mark)| Record::Seen {
            identity,
            job: mark.job,
            until: mark.until,
        })
    }
}

fn read([circle, identity, job, until]: [&str; 4]) -> Option<(PublicKey, Identity, Mark)> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(identity, &mut bytes).ok()?;
    let until: i64 = until.parse().ok()?;
    let mark = Mark {
        job: job.parse().ok()?,
        // One that has just expired has a lower time.
        until: (until != NEVER).then_some(until),
    };
    Some((PublicKey::from_stored_hex(circle)?, bytes, mark))
}
