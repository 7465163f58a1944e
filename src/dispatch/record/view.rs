//! The record of a durable job as others get it: callers, a commit, listeners to events.

use circled_protocol::{JobStatus, methods::Job};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{JobRecord, Status, json};
use crate::store::{self, NewEvent, SubmittedJob};

impl JobRecord {
    /// Its status.
    pub fn state(&self, running: bool) -> JobStatus {
        match self.status {
            Status::Pending if running => JobStatus::Running,
            Status::Pending if self.tries > 0 => JobStatus::Failed,
            Status::Pending => JobStatus::Pending,
            Status::Finished => JobStatus::Finished,
            Status::Cancelled => JobStatus::Cancelled,
            Status::Dead => JobStatus::Dead,
        }
    }

    /// Returns it as it is shown.
    pub fn view(self, running: bool) -> Job<Box<RawValue>> {
        Job {
            status: self.state(running).into(),
            job_id: self.id,
            circle: self.circle,
            caller: self.caller,
            device: self.device,
            name: self.name,
            version: self.version,
            event_id: self.event_id,
            event_type: self.event_type,
            submitted_at: self.received_at,
            run_at: self.run_at,
            due: self.due,
            ended_at: self.ended_at,
            tries: self.tries,
            crashes: self.crashes,
            output: self.output,
            value: self.value,
            error: self.error,
            logs: self.logs,
            input_bytes: None,
            input: None,
        }
    }

    /// Returns it as a commit takes it. `input`: its input, unless that stays as it is stored; `replaced`: the record that
    /// it had, if it runs again.
    pub(in crate::dispatch) fn submitted(
        &self,
        input: Option<&impl Serialize>,
        replaced: Option<store::Value>,
    ) -> SubmittedJob {
        SubmittedJob {
            id: self.id,
            submitter: self.submitter(),
            due: self.due,
            record: json(self),
            input: input.map(json),
            replaced,
        }
    }

    /// Returns the event of a job that has just been stored. A delivery has none: there are many, and most of them have
    /// run in the next moment.
    pub(in crate::dispatch) fn accepted_event(&self) -> Option<NewEvent> {
        self.provider().is_none().then(|| self.change_event())
    }

    /// Returns whether its event is published only if somebody listens: for a delivery that has ended well at its first
    /// run. There are many, and the log is for what nobody would find otherwise.
    pub(in crate::dispatch) fn is_routine(&self) -> bool {
        self.provider().is_some() && self.status == Status::Finished && self.tries == 1
    }

    /// Returns it without its results, which may be large.
    pub(crate) fn without_results(self) -> Self {
        Self {
            output: None,
            value: None,
            logs: Vec::new(),
            ..self
        }
    }

    /// Returns the event of a change: its submitter and the owner receive it; of a delivery's, the owner alone.
    pub(in crate::dispatch) fn change_event(&self) -> NewEvent {
        let bare = Self {
            output: None,
            value: None,
            error: self.error.clone(),
            caller: self.caller.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            event_id: self.event_id.clone(),
            event_type: self.event_type.clone(),
            series: None,
            unread: None,
            logs: Vec::new(),
            ..*self
        };
        let view = bare.view(false);
        NewEvent {
            topic: format!("job.{}", self.id).into(),
            data: json(&view),
            to: Some(self.submitter().unwrap_or(self.circle)),
        }
    }
}
