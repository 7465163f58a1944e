//! Parses the replies of Redis.

use fred::types::Value;

use super::connection::Connection;

/// An entry of a stream.
#[derive(Debug)]
pub(super) struct StreamEntry {
    pub(super) id: String,
    fields: Vec<Value>,
}

impl StreamEntry {
    pub(super) fn new(id: String, fields: Value) -> Self {
        Self {
            id,
            fields: fields.into_array(),
        }
    }

    fn read(value: Value) -> Option<Self> {
        let mut parts = value.into_array().into_iter();
        let id = parts.next()?.into_string()?;
        Some(Self::new(id, parts.next()?))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let mut pairs = self.fields.chunks_exact(2);
        pairs
            .find(|pair| pair[0].as_bytes() == Some(name.as_bytes()))
            .map(|pair| &pair[1])
    }

    /// Returns all fields: their names and values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.chunks_exact(2).filter_map(|pair| {
            let name = std::str::from_utf8(pair[0].as_bytes()?).ok()?;
            Some((name, pair[1].as_bytes()?))
        })
    }

    /// Returns how many bytes all fields have.
    pub(super) fn len(&self) -> usize {
        let bytes = |value: &Value| value.as_bytes().map_or(0, <[u8]>::len);
        self.fields.iter().map(bytes).sum()
    }

    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.get(name)?.as_bytes()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(name)?).ok()
    }

    /// Returns the time when Redis took it, in milliseconds of its own clock.
    pub(super) fn millis(&self) -> i64 {
        let millis = self.id.split('-').next().unwrap_or_default();
        millis.parse().unwrap_or(0)
    }
}

/// Parses the entries of one stream.
pub(super) fn entries(answer: Value) -> Vec<StreamEntry> {
    answer
        .into_array()
        .into_iter()
        .filter_map(StreamEntry::read)
        .collect()
}

/// Parses the reply to `XREAD` or `XREADGROUP`: the entries of each stream.
pub(super) fn streams(answer: Value) -> Vec<(String, Vec<StreamEntry>)> {
    if answer.is_null() {
        return Vec::new();
    }
    let stream = |value: Value| {
        let mut parts = value.into_array().into_iter();
        let name = parts.next()?.into_string()?;
        Some((name, entries(parts.next()?)))
    };
    answer.into_array().into_iter().filter_map(stream).collect()
}

/// Returns the partitions that one command can read from: all of them, or on a cluster, each by itself.
pub(super) fn shared_reads(redis: &Connection) -> Vec<Vec<usize>> {
    let all = 0..redis.keys().partitions().len();
    if redis.is_cluster() {
        all.map(|number| vec![number]).collect()
    } else {
        vec![all.collect()]
    }
}
