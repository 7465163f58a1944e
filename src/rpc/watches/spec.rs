//! What a query runs.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Value, json};

use crate::circle::{QueryScript, Task};

/// The script of a query, and its arguments.
#[derive(Debug)]
pub(in crate::rpc) struct Spec {
    script: QueryScript<'static>,
    pub(super) args: Value,
    /// What tells it apart from others.
    pub(super) key: Arc<str>,
}

impl Spec {
    pub(in crate::rpc) fn new(script: QueryScript<'static>, args: Value) -> Self {
        let key = json!([&script, &args]).to_string().into();
        Self { script, args, key }
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
