//! Durable jobs: runs that are kept until they have ended, even if nobody stays connected.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Method;
use crate::{DeviceKey, FailureKind, JobId, JobKind, JobStatus, Json, PublicKey, Word, code};

/// `submit_job`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitJob {
    /// The script, in Rhai; give this or `name`.
    #[serde(default)]
    pub script: Option<String>,
    /// The name of a script of the circle.
    #[serde(default)]
    pub name: Option<String>,
    /// The value that the script sees as ARGS.
    #[serde(default, deserialize_with = "circled_json::value")]
    pub args: Value,
    /// A key of the caller's choice. For `dispatch.durable.dedupe_for`, a second job of the caller with the same key runs
    /// nothing.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// The earliest time to run, as in RFC 3339; at most 366 days from now.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub run_at: Option<Timestamp>,
    /// The version of the named script, as in `call`.
    #[serde(default)]
    pub version: Option<String>,
}

impl SubmitJob {
    /// Creates a submission of a script, to run at once and without arguments.
    pub fn script(source: impl Into<String>) -> Self {
        Self {
            script: Some(source.into()),
            ..Self::default()
        }
    }

    /// Creates a submission of the circle's script of this name, to run at once and without arguments.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }
}

impl Method for SubmitJob {
    const NAME: &'static str = "submit_job";
    const SUMMARY: &'static str = "Submits a durable job: its script runs as the caller, now or later, even if the caller leaves. Returns once the job is kept. A script needs the rule `play`, a name the rule `call`.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_SUBMISSIONS;
    type Result = Submitted;
}

/// `get_job`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetJob {
    /// The job's id, as submit_job returned it.
    pub job_id: String,
    /// The milliseconds to wait for its end; at most `dispatch.job_timeout`.
    #[serde(default, deserialize_with = "circled_json::whole")]
    pub wait: Option<u64>,
    /// Tells what was submitted, too.
    #[serde(
        default,
        deserialize_with = "circled_json::or_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub input: bool,
}

impl Method for GetJob {
    const NAME: &'static str = "get_job";
    const SUMMARY: &'static str = "Returns a durable job of the caller, at once or when it has ended. The owner may ask for every job.";
    const READS: bool = true;
    const ERRORS: &'static [i32] = &[code::NOT_FOUND, code::CANCELLED];
    type Result = Job;
}

/// `list_jobs`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListJobs {
    /// Only jobs with this status.
    #[serde(default)]
    pub status: Option<JobStatus>,
    /// The most jobs to return: 1 to 500, default 50.
    #[serde(default, deserialize_with = "circled_json::whole")]
    pub limit: Option<usize>,
    /// The `cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Only jobs of this kind. Default: all but deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<JobKind>,
    /// Only jobs of the circle's script of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Method for ListJobs {
    const NAME: &'static str = "list_jobs";
    const SUMMARY: &'static str = "Lists the caller's durable jobs, the newest first. The owner gets all callers' jobs, or the circle's deliveries.";
    const READS: bool = true;
    type Result = Jobs;
}

/// `stop_job`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopJob {
    /// The job's id, as submit_job returned it.
    pub job_id: String,
}

impl Method for StopJob {
    const NAME: &'static str = "stop_job";
    const SUMMARY: &'static str = "Cancels a durable job of the caller that is not over. A run that is under way commits nothing.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = &[code::NOT_FOUND];
    type Result = Stopped;
}

/// `retry_job`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryJob {
    /// The job's id, as submit_job returned it.
    pub job_id: String,
    /// The version of its named script, as in `call`. Default: the newest.
    #[serde(default)]
    pub version: Option<String>,
}

impl Method for RetryJob {
    const NAME: &'static str = "retry_job";
    const SUMMARY: &'static str = "Runs a dead or cancelled job of the caller again, with its script as it is now. The job has `max_tries` tries again.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_SUBMISSIONS;
    type Result = Retried;
}

/// `retry_dead`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryDead {
    /// The most that may be dead: with more, nothing happens. Without this and `cursor`, the call only counts.
    #[serde(
        default,
        deserialize_with = "circled_json::whole",
        skip_serializing_if = "Option::is_none"
    )]
    pub expect: Option<u64>,
    /// Only jobs of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<JobKind>,
    /// Only jobs of the circle's script of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The `cursor` of the call before: goes on with the jobs that were dead when that began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Method for RetryDead {
    const NAME: &'static str = "retry_dead";
    const SUMMARY: &'static str = "Counts the circle's dead jobs, deliveries too; or runs them again, each as `retry_job` does, if they are no more than were seen.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = &[code::TIMEOUT, code::CANCELLED, code::CONFLICT];
    type Result = RetriedDead;
}

/// A job that was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// The job's id; that of the first one if it is a duplicate.
    pub job_id: JobId,
    /// True if it was submitted before, with the same key.
    pub duplicate: bool,
}

/// A durable job, in the same form for its caller, the circle's owner and the operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Job")]
pub struct Job<V = Json> {
    /// The job's id.
    pub job_id: JobId,
    /// The circle that it runs in.
    pub circle: PublicKey,
    /// The caller: a public key, or `webhook:<provider>`.
    pub caller: String,
    /// The device key by which the caller has submitted it, or retried it, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceKey>,
    /// Its status.
    pub status: Word<JobStatus>,
    /// The script's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The script's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The event's id, if it is a delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The event's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The time of its submission or receipt.
    #[schemars(with = "String")]
    pub submitted_at: Timestamp,
    /// The requested time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub run_at: Option<Timestamp>,
    /// The earliest time of its next run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub due: Option<Timestamp>,
    /// The time of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// The number of the script's runs that ended, successful or not.
    pub tries: u32,
    /// The number of servers that died while they ran it, since its last run that ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub crashes: u32,
    /// The script's value as Rhai prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The script's value as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    pub value: Option<V>,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// The printed lines of the last run that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
    /// The bytes of what it runs on: `args` or the delivery, and the script. Only in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// What was submitted. Only of `get_job` that asks for it; missing for a delivery, and if it is kept no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<JobInput>")]
    pub input: Option<JobInput<V>>,
}

/// What a job was submitted with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobInput")]
pub struct JobInput<V = Json> {
    /// The script, if it was submitted as a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// The script's ARGS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    pub args: Option<V>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The error of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobError {
    /// The kind of failure; null if it was not the script's.
    pub kind: Option<Word<FailureKind>>,
    /// The message.
    pub message: String,
    /// Line in the script, from 1.
    pub line: Option<usize>,
    /// Column in the line, from 1.
    pub column: Option<usize>,
}

impl JobError {
    /// Creates an error that is not the script's fault, or that has no place in it.
    pub fn plain(message: impl Into<String>) -> Self {
        Self {
            kind: None,
            message: message.into(),
            line: None,
            column: None,
        }
    }
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Jobs")]
pub struct Jobs<V = Json> {
    /// The newest first.
    #[schemars(with = "Vec<Job>")]
    pub jobs: Vec<Job<V>>,
    /// Pass this to get the next page; null after the last one. A page of large jobs may be short, and so may one that
    /// has looked at very many other jobs.
    pub cursor: Option<JobId>,
}

/// The result of `stop_job`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stopped {
    /// False if it was already over.
    pub stopped: bool,
}

/// The result of `retry_job`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// False if it was neither dead nor cancelled.
    pub retried: bool,
    /// The version that it runs, if its script has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The result of `retry_dead`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetriedDead {
    /// The number of jobs that were dead when the call began. Not if it goes on from a cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<u64>,
    /// The number of those that run again.
    pub retried: u64,
    /// The number of those that stay dead, because their script doesn't compile or isn't there, or something that they need can't be read.
    pub failed: u64,
    /// The first reason for that, with the job's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Pass this to go on; null if all are done.
    pub cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::SecretKey;

    #[test]
    fn additions_of_a_later_server_are_ignored() {
        let circle = SecretKey::generate().unwrap().public();
        let job: Job = circled_json::from_value(json!({
            "job_id": JobId::new(), "circle": circle, "caller": "webhook:stripe", "status": "resting",
            "submitted_at": "2026-11-25T10:00:00Z", "tries": 0, "due": null,
            "error": { "kind": "mood", "message": "no", "more": 1 }, "more": {},
        }))
        .unwrap();
        assert_eq!(job.status.name(), "resting");
        let error = job.error.unwrap();
        assert_eq!(error.kind.unwrap().name(), "mood");
        assert_eq!(error.message, "no");
    }
}
