//! The reads of a query: a run that only reads, and that is run again when any of them changes.

use std::collections::BTreeSet;

use data_encoding::BASE64_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::RunError;
use crate::store::{Key, ReadSet};

/// The reads that a query's result came from, and when they were so.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Queried {
    /// The number of the circle's last commit that it has seen. With Redis, the commit finds it.
    #[serde(skip)]
    pub at: u64,
    /// The keys and ranges that it has read.
    pub reads: Reads,
    /// True if another caller may have got another value.
    #[serde(default)]
    pub by_caller: bool,
    /// The error of a script that failed: it stays the same until something changes that it has read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
}

/// Keys and ranges of keys, without what was found there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads {
    /// The keys.
    pub keys: BTreeSet<Key>,
    /// The ranges: the first key, and the key behind the last one.
    pub ranges: BTreeSet<(Key, Key)>,
}

impl Reads {
    /// Returns whether a key was read.
    pub fn contain(&self, key: &Key) -> bool {
        let mut ranges = self.ranges.iter();
        self.keys.contains(key) || ranges.any(|(start, end)| start <= key && key < end)
    }

    /// Returns about how many bytes it takes.
    pub fn size(&self) -> usize {
        let keys = self.keys.iter().map(|key| 64 + key.len());
        let ranges = self.ranges.iter();
        let ranges = ranges.map(|(start, end)| 128 + start.len() + end.len());
        keys.chain(ranges).sum()
    }
}

impl From<&ReadSet> for Reads {
    fn from(reads: &ReadSet) -> Self {
        let ranges = reads.ranges().map(|read| &read.range);
        Self {
            keys: reads.keys().map(|(key, _)| key.clone()).collect(),
            ranges: ranges
                .map(|range| (range.start.clone(), range.end.clone()))
                .collect(),
        }
    }
}

/// Keys are any bytes, so they are sent as Base64.
#[derive(Serialize, Deserialize)]
struct Encoded {
    keys: Vec<String>,
    ranges: Vec<(String, String)>,
}

impl Serialize for Reads {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encode = |key: &Key| BASE64_NOPAD.encode(key);
        let ranges = self.ranges.iter();
        let ranges = ranges.map(|(start, end)| (encode(start), encode(end)));
        let encoded = Encoded {
            keys: self.keys.iter().map(encode).collect(),
            ranges: ranges.collect(),
        };
        encoded.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decode = |text: String| {
            let bytes = BASE64_NOPAD.decode(text.as_bytes());
            bytes.map(Key::from).map_err(D::Error::custom)
        };
        let Encoded { keys, ranges } = Encoded::deserialize(deserializer)?;
        let ranges = ranges.into_iter();
        let ranges = ranges.map(|(start, end)| Ok((decode(start)?, decode(end)?)));
        Ok(Self {
            keys: keys.into_iter().map(decode).collect::<Result<_, _>>()?,
            ranges: ranges.collect::<Result<_, _>>()?,
        })
    }
}
