//! The script of a query, with its arguments.

use std::borrow::Cow;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    circle::{QueryScript, Task},
    memory::{MemoryBudget, OverBudget, Reservation},
    weight,
};

/// The script of a query, and its arguments.
#[derive(Debug)]
pub(in crate::rpc) struct Spec {
    script: QueryScript<'static>,
    pub(super) args: Value,
    /// A digest of both, which tells it apart from others.
    pub(super) digest: [u8; 32],
    _reservation: Reservation,
}

impl Spec {
    /// Keeps a script and its arguments, if there is memory for them.
    ///
    /// # Errors
    /// There is none.
    pub(in crate::rpc) fn new(
        script: QueryScript<'static>,
        args: Value,
        memory: &MemoryBudget,
    ) -> Result<Self, OverBudget> {
        let text = json!([&script, &args]).to_string();
        let source = match &script {
            QueryScript::Source(source) => source.len(),
            QueryScript::Named { name, .. } => name.len(),
        };
        let reservation = memory.try_reserve(source + weight::of_value(&args))?;
        Ok(Self {
            script,
            args,
            digest: Sha256::digest(text).into(),
            _reservation: reservation,
        })
    }

    #[cfg(test)]
    pub(super) fn source(&self) -> Option<&str> {
        match &self.script {
            QueryScript::Source(source) => Some(source),
            QueryScript::Named { .. } => None,
        }
    }

    /// Returns what runs. It may keep so many bytes of what it has read.
    pub(super) fn task(&self, max_reads: usize) -> Task<'_> {
        let script = match &self.script {
            QueryScript::Source(source) => QueryScript::Source(Cow::Borrowed(source)),
            QueryScript::Named { name, version } => QueryScript::Named {
                name: Cow::Borrowed(name),
                version: version.as_deref().map(Cow::Borrowed),
            },
        };
        Task::Query { script, max_reads }
    }
}
