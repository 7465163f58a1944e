//! What a query comes to.

use std::sync::Arc;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{memory::Reservation, script::RunError};

/// What a query came to, as all who watch it are told.
#[derive(Debug)]
pub(in crate::rpc) struct Answer {
    pub(in crate::rpc) content: Content,
    digest: [u8; 32],
    _reservation: Option<Reservation>,
}

#[derive(Debug)]
pub(in crate::rpc) enum Content {
    Value(Box<RawValue>),
    Failed(RunError),
}

impl Answer {
    pub(super) fn new(content: Content, reservation: Option<Reservation>) -> Arc<Self> {
        let mut hash = Sha256::new();
        match &content {
            Content::Value(value) => hash.update(value.get()),
            // No JSON begins with it.
            Content::Failed(error) => hash.update(format!("!{error:?}")),
        }
        Arc::new(Self {
            content,
            digest: hash.finalize().into(),
            _reservation: reservation,
        })
    }

    /// Returns a digest: that of another value is another one.
    pub(in crate::rpc) fn digest(&self) -> [u8; 32] {
        self.digest
    }
}
