//! The script of a query, with its arguments.

use std::borrow::Cow;

use circled_protocol::Permission;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    circle::{QueryScript, Task},
    memory::Reservation,
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

/// Returns about how many bytes a script and its arguments take.
pub(super) fn bytes(script: &QueryScript<'_>, args: &Value) -> usize {
    let script = match script {
        QueryScript::Source(source) => source.len(),
        QueryScript::Named { name, .. } => name.len(),
    };
    script + weight::of_value(args)
}

impl Spec {
    /// Keeps a script and its arguments, with the memory for them.
    pub(super) fn new(script: QueryScript<'static>, args: Value, reservation: Reservation) -> Self {
        let text = json!([&script, &args]).to_string();
        Self {
            script,
            args,
            digest: Sha256::digest(text).into(),
            _reservation: reservation,
        }
    }

    #[cfg(test)]
    pub(super) fn source(&self) -> Option<&str> {
        match &self.script {
            QueryScript::Source(source) => Some(source),
            QueryScript::Named { .. } => None,
        }
    }

    /// Returns the permission that a device key needs to watch it.
    pub(super) fn permission(&self) -> Permission {
        match &self.script {
            QueryScript::Source(_) => Permission::Play,
            QueryScript::Named { name, .. } => Permission::CallNamed(name.to_string()),
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
