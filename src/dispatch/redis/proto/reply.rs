//! Parses the replies of Redis.

use fred::types::Value;

/// An entry of a stream.
#[derive(Debug)]
pub(crate) struct StreamEntry {
    pub(crate) id: String,
    fields: Vec<Value>,
}

impl StreamEntry {
    pub(crate) fn new(id: String, fields: Value) -> Self {
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
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.chunks_exact(2).filter_map(|pair| {
            let name = std::str::from_utf8(pair[0].as_bytes()?).ok()?;
            Some((name, pair[1].as_bytes()?))
        })
    }

    /// Returns how many bytes all fields have.
    pub(crate) fn len(&self) -> usize {
        let bytes = |value: &Value| value.as_bytes().map_or(0, <[u8]>::len);
        self.fields.iter().map(bytes).sum()
    }

    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.get(name)?.as_bytes()
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(name)?).ok()
    }

    /// Returns the time when Redis took it, in milliseconds of its own clock.
    pub(crate) fn millis(&self) -> i64 {
        let millis = self.id.split('-').next().unwrap_or_default();
        millis.parse().unwrap_or(0)
    }
}

/// Parses the entries of one stream.
pub(crate) fn entries(answer: Value) -> Vec<StreamEntry> {
    answer
        .into_array()
        .into_iter()
        .filter_map(StreamEntry::read)
        .collect()
}

/// Parses the reply to `XREAD` or `XREADGROUP`: the entries of each stream.
pub(crate) fn streams(answer: Value) -> Vec<(String, Vec<StreamEntry>)> {
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
