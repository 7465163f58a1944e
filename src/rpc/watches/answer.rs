//! The answers of queries: a value, or an error.

use std::sync::{Arc, OnceLock};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{memory::Reservation, script::RunError};

/// The result of a query, as all who watch it are told.
#[derive(Debug)]
pub(in crate::rpc) struct Answer {
    pub(in crate::rpc) content: Content,
    digest: [u8; 32],
    /// The text that tells of it, and the commit in it.
    text: OnceLock<(u64, Utf8Bytes)>,
    _reservation: Option<Reservation>,
}

#[derive(Debug)]
pub(in crate::rpc) enum Content {
    Value(Box<RawValue>),
    Failed(RunError),
}

impl Answer {
    pub(in crate::rpc) fn new(content: Content, reservation: Option<Reservation>) -> Arc<Self> {
        let mut hash = Sha256::new();
        match &content {
            Content::Value(value) => hash.update(value.get()),
            // No JSON begins with it.
            Content::Failed(error) => hash.update(format!("!{error:?}")),
        }
        Arc::new(Self {
            content,
            digest: hash.finalize().into(),
            text: OnceLock::new(),
            _reservation: reservation,
        })
    }

    /// Returns the text that tells that it is so at a commit, which is made once for all who are told of that one.
    pub(in crate::rpc) fn shared(&self, at: u64, make: impl Fn() -> Utf8Bytes) -> Utf8Bytes {
        let (made_at, text) = self.text.get_or_init(|| (at, make()));
        if *made_at == at { text.clone() } else { make() }
    }

    /// Returns a digest: that of another value is another one.
    pub(in crate::rpc) fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_once_for_all_who_are_told_of_the_same_commit() {
        let answer = Answer::new(Content::Value(RawValue::NULL.to_owned()), None);
        let first = answer.shared(7, || "seven".into());
        let other = answer.shared(7, || panic!("it is there"));
        assert_eq!(first.as_ptr(), other.as_ptr());
        assert_eq!(answer.shared(8, || "eight".into()), "eight");
        assert_eq!(answer.shared(7, || panic!("it is there")), "seven");
    }
}
