//! What the server answers. Fields that a later server adds are passed over.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Played;
use crate::auth::PublicKey;

/// What a script of the circle's came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Called {
    /// As for any other.
    #[serde(flatten)]
    pub played: Played,
    /// The version that ran.
    pub version: String,
}

/// A script of a circle's, at one of its versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// The script's name.
    pub name: String,
    /// SHA-256 of the source, in hex.
    pub version: String,
    /// In Rhai.
    pub source: String,
    /// When this version came.
    pub put_at: Timestamp,
    /// Who put it there.
    pub put_by: String,
    /// Those that are kept, the newest first.
    #[serde(default)]
    pub versions: Vec<ScriptVersion>,
}

/// A version of a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptVersion {
    /// SHA-256 of the source, in hex.
    pub version: String,
    /// When it came.
    pub put_at: Timestamp,
    /// Who put it there.
    pub put_by: String,
}

/// A script in a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptEntry {
    /// The script's name.
    pub name: String,
    /// The one that is current.
    #[serde(flatten)]
    pub current: ScriptVersion,
}

/// Who belongs to a circle, beside its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Those whom the owner has added.
    pub members: Vec<Member>,
    /// Those of the server's settings.
    pub fixed: Vec<PublicKey>,
}

/// Somebody whom the owner has added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Their key.
    pub pubkey: PublicKey,
    /// When.
    pub added_at: Timestamp,
}

/// What became of somebody's membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Whether they were a member.
    pub removed: bool,
    /// How many of their jobs were stopped, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<u64>,
    /// How many of them could not be stopped, where there are any; asking again is safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
}

/// A run that was handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Its name from now on.
    pub job_id: String,
    /// It is the one that was submitted earlier with this idempotency key.
    pub duplicate: bool,
}

/// A run that the server keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub job_id: String,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<PublicKey>,
    /// Whose it is: a public key, or `webhook:` and a provider.
    pub caller: String,
    /// Where it stands.
    pub status: JobStatus,
    /// The script, where it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The provider's name for the event, where a delivery has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// What kind of event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// When it came.
    pub submitted_at: Timestamp,
    /// Not before then, as its caller wanted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// When its next try is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Runs of the script that came to their end, well or not.
    pub tries: u32,
    /// Runs that ended with the server, since one that came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashes: Option<u32>,
    /// The script's value as Rhai prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The same as JSON.
    #[serde(
        default,
        deserialize_with = "circled_json::some_value",
        skip_serializing_if = "Option::is_none"
    )]
    pub value: Option<Value>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// What the last run printed, line by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
}

/// What became of asking for a job to run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Whether it was dead or stopped, and runs again.
    pub retried: bool,
    /// The version that it runs, where its script has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What went wrong with a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// `runtime`, `operations` and the like; nothing where the script wasn't to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// In words.
    pub message: String,
    /// Line in the script, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in the line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum JobStatus {
    /// It waits for its turn.
    Pending,
    /// It runs.
    Running,
    /// It ended well.
    Finished,
    /// Its last try failed; there will be another.
    Failed,
    /// It was stopped.
    Cancelled,
    /// It was given up.
    Dead,
    /// Something that a later server says.
    #[serde(other)]
    #[value(skip)]
    Other,
}

/// Some of the jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobPage {
    /// The newest first.
    pub jobs: Vec<Job>,
    /// Where the next share begins, if there is more.
    pub cursor: Option<String>,
}

/// What came by webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The job that it became.
    pub job_id: String,
    /// Who sent it.
    pub provider: String,
    /// The provider's name for it, if it has one.
    #[serde(default)]
    pub event_id: Option<String>,
    /// What kind of event.
    #[serde(default)]
    pub event_type: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
    /// Where its job stands.
    pub status: JobStatus,
    /// Runs of the script that came to their end, well or not.
    pub tries: u32,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// What the last run printed, line by line, where it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
    /// What the provider sent, where it was asked for.
    #[serde(
        default,
        deserialize_with = "circled_json::some_value",
        skip_serializing_if = "Option::is_none"
    )]
    pub payload: Option<Value>,
}

/// Some of the deliveries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryPage {
    /// The newest first.
    pub deliveries: Vec<Delivery>,
    /// Where the next share begins, if there is more.
    pub cursor: Option<String>,
}

impl JobStatus {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_later_server_adds_is_passed_over() {
        let job: Job = circled_json::from_value(json!({
            "job_id": "j", "caller": "webhook:stripe", "status": "resting", "submitted_at": "2026-11-25T10:00:00Z",
            "tries": 0, "due": null, "error": { "message": "no", "more": 1 }, "more": {},
        }))
        .unwrap();
        assert_eq!(job.status, JobStatus::Other);
        assert_eq!(job.error.unwrap().message, "no");
        let called: Called = circled_json::from_value(json!({
            "output": "1", "value": 1, "logs": [], "job_id": "j", "version": "ab", "more": 1,
        }))
        .unwrap();
        assert_eq!(
            (called.played.output.as_str(), called.version.as_str()),
            ("1", "ab")
        );
    }

    #[test]
    fn a_status_has_its_name_on_the_wire() {
        for status in <JobStatus as clap::ValueEnum>::value_variants() {
            assert_eq!(json!(status), status.name());
        }
    }
}
