//! One look at a server.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::http::{Request, StatusCode};
use circled_protocol::PublicKey;
use http_body_util::Full;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::exposition::Exposition;
use crate::cli::http::send;

/// The longest that a server may take to respond.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server's figures at one time.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    /// The time by the clock, in seconds since 1970.
    pub(super) unix_time: f64,
    pub(super) metrics: Exposition,
    pub(super) circles: Circles,
}

/// The circles and scripts that it names.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Circles {
    pub(super) busiest: Vec<Busy>,
    pub(super) largest: Vec<Large>,
    pub(super) slow: Vec<Slow>,
}

/// A circle with its jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Busy {
    pub(super) circle: PublicKey,
    pub(super) jobs_per_second: f64,
}

/// A circle with the bytes of its store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Large {
    pub(super) circle: PublicKey,
    pub(super) bytes: u64,
}

/// A script with slow runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Slow {
    pub(super) circle: PublicKey,
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) script: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    pub(super) runs: u64,
    pub(super) longest_ms: u64,
}

impl Look {
    /// Asks the server at this address.
    pub(super) async fn take(url: &str) -> anyhow::Result<Self> {
        let (metrics, circles) = tokio::try_join!(ask(url, "/metrics"), ask(url, "/top"))?;
        Ok(Self {
            at: Instant::now(),
            unix_time: Timestamp::now().as_millisecond() as f64 / 1000.0,
            metrics: Exposition::read(&metrics),
            circles: circled_json::from_str(&circles).context("the server's answer")?,
        })
    }
}

async fn ask(url: &str, path: &str) -> anyhow::Result<String> {
    let request = Request::get(format!("{url}{path}")).body(Full::default())?;
    let answer = send(request, PATIENCE).await?;
    match answer.status {
        StatusCode::OK => Ok(answer.body),
        _ => bail!("{}", answer.message()),
    }
}
