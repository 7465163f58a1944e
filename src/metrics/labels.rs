//! The labels of the counters.

use std::{borrow::Cow, sync::Arc};

use prometheus_client::encoding::EncodeLabelSet;

/// The value of a label for what went well.
pub(crate) const OK: &str = "ok";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CloseLabels {
    /// The code of the close frame, or a word where the server sent none.
    pub(crate) code: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LoginLabels {
    pub(crate) scheme: &'static str,
    /// `ok`, or the reason of the refusal.
    pub(crate) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CallLabels {
    pub(crate) method: &'static str,
    /// `ok`, or the code of the error.
    pub(crate) code: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MethodLabels {
    pub(crate) method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RunLabels {
    pub(crate) lane: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct JobLabels {
    /// `delivery` or `submitted`.
    pub(crate) kind: &'static str,
    pub(crate) ending: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HandshakeLabels {
    /// `ok`, `failed`, `timeout` or `refused`.
    pub(crate) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WebhookLabels {
    /// A provider of the settings, or `other`.
    pub(crate) provider: Arc<str>,
    pub(crate) status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BackupLabels {
    /// `ok` or `failed`.
    pub(super) outcome: &'static str,
}

impl BackupLabels {
    pub(super) const FAILED: &'static str = "failed";
}
