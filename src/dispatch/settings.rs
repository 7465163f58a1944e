//! The `[dispatch]` settings.

use std::time::Duration;

use serde::Deserialize;

/// How jobs reach whoever runs them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Who runs them.
    pub backend: Backend,
    /// The longest a job may take, waiting for its turn included.
    #[serde(with = "crate::units::duration")]
    pub job_timeout: Duration,
}

/// Where jobs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// In this process.
    Embedded,
}
