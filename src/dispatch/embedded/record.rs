//! What is kept of a durable job, and under which keys.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    auth::PublicKey,
    dispatch::{Delivery, JobId, Series},
    script::FailureKind,
    store::{Record, Table},
};

/// A durable job, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its name.
    pub id: JobId,
    /// Where it runs.
    #[serde(with = "crate::auth::trusted")]
    pub circle: PublicKey,
    /// Who runs it: `webhook:` and the provider.
    pub caller: String,
    /// The provider's name for the event, if it has one.
    pub event_id: Option<String>,
    /// What kind of event.
    pub event_type: Option<String>,
    /// The series that its delivery belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
    /// When it came.
    pub received_at: Timestamp,
    /// Where it stands.
    pub status: Status,
    /// Runs that ended with an error of the script.
    pub tries: u32,
    /// Runs that ended with the server, since one that came to its end.
    pub crashes: u32,
    /// Not before then will it run.
    pub due: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// What the script answered, as Rhai prints it.
    pub output: Option<String>,
    /// What went wrong last.
    pub error: Option<JobError>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits for its turn, or for its next try.
    Pending,
    /// It ended well.
    Finished,
    /// It was given up, and waits for somebody to look at it.
    Dead,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Finished => "finished",
            Self::Dead => "dead",
        })
    }
}

/// What went wrong with a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// Which sort of failure; nothing where the script wasn't to blame.
    pub kind: Option<FailureKind>,
    /// In words.
    pub message: String,
    /// Line in the script, from 1.
    pub line: Option<usize>,
    /// Column in the line, from 1.
    pub column: Option<usize>,
}

impl JobRecord {
    /// The job of a new delivery.
    pub(super) fn new(id: JobId, delivery: &Delivery) -> Self {
        Self {
            id,
            circle: delivery.circle,
            caller: format!("webhook:{}", delivery.provider),
            event_id: delivery.event_id.clone(),
            event_type: delivery.event_type.clone(),
            series: delivery.series.clone(),
            received_at: delivery.received_at,
            status: Status::Pending,
            tries: 0,
            crashes: 0,
            due: None,
            ended_at: None,
            output: None,
            error: None,
        }
    }

    /// The provider that sent it.
    pub(super) fn provider(&self) -> &str {
        self.caller.strip_prefix("webhook:").unwrap_or_default()
    }

    /// What keeps the job from having any effect, once it is kept under [`Table::Seen`].
    pub(super) fn superseded_by(&self) -> Option<&[u8; 32]> {
        let series = self.series.as_ref().filter(|series| !series.is_final)?;
        Some(&series.identity)
    }

    /// The record itself.
    pub(super) fn put(&self) -> Record {
        Record::put(Table::Jobs, self.id.as_bytes(), json(self))
    }
}

/// What a script sees as `EVENT`.
pub(super) fn event(delivery: Delivery) -> Value {
    let text = |text: Option<String>| text.map_or(Value::Null, Value::String);
    let members = [
        ("provider", Value::String(delivery.provider.to_string())),
        ("id", text(delivery.event_id)),
        ("type", text(delivery.event_type)),
        ("payload", delivery.payload),
        (
            "received_at",
            Value::String(delivery.received_at.to_string()),
        ),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// What a job is given, as it is kept.
pub(super) fn input(id: JobId, event: &Value) -> Record {
    Record::put(Table::Inputs, id.as_bytes(), json(event))
}

pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    serde_json::from_slice(bytes)
        .inspect_err(|error| tracing::error!(%error, "failed to read a job's record"))
        .ok()
}

pub(super) fn read_event(bytes: &[u8]) -> Option<Value> {
    read(bytes)
}

/// Marks a job as not over.
pub(super) fn open(id: JobId) -> Record {
    Record::put(Table::Open, id.as_bytes(), [])
}

/// Remembers a delivery until then.
pub(super) fn seen(identity: &[u8; 32], job: JobId, until: Timestamp) -> Record {
    let value = [job.as_bytes().as_slice(), &millis(until)].concat();
    Record::put(Table::Seen, identity, value)
}

/// The job of a delivery that is remembered still.
pub(super) fn seen_job(value: &[u8], now: Timestamp) -> Option<JobId> {
    let (job, until) = value.split_first_chunk()?;
    (until > millis(now).as_slice()).then(|| JobId::from_bytes(*job))
}

/// Forgets something at that time.
pub(super) fn expiry(table: Table, key: &[u8], at: Timestamp) -> Record {
    let key = [&millis(at), [table_code(table)].as_slice(), key].concat();
    Record::put(Table::Expiry, key, [])
}

/// What an entry of [`Table::Expiry`] is about, and when it is due.
pub(super) fn expired(key: &[u8]) -> Option<(Timestamp, Table, &[u8])> {
    let (at, rest) = key.split_first_chunk::<8>()?;
    let (&code, rest) = rest.split_first()?;
    let table = [Table::Jobs, Table::Seen]
        .into_iter()
        .find(|table| table_code(*table) == code)?;
    let at = Timestamp::from_millisecond(i64::from_be_bytes(*at)).ok()?;
    Some((at, table, rest))
}

/// Changing these changes the format on disk.
fn table_code(table: Table) -> u8 {
    match table {
        Table::Jobs => b'j',
        Table::Seen => b's',
        Table::Store | Table::Usage | Table::Inputs | Table::Open | Table::Dead | Table::Expiry => {
            b'-'
        }
    }
}

/// Later by `by`, or as late as can be told.
pub(super) fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn millis(at: Timestamp) -> [u8; 8] {
    // No time that is kept here is before 1970, so the order of the bytes is that of the times.
    at.as_millisecond().max(0).to_be_bytes()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
