//! Stores durable jobs in Redis before anybody is told so.

use std::{sync::Arc, time::Duration};

use circled_protocol::{JobId, PublicKey};
use dashmap::DashMap;
use fred::types::Value;
use tokio::{sync::oneshot, time::timeout};

use super::{Gateway, Request, barrier::Barrier, hook_script_cache::HookScript};
use crate::{
    dispatch::{
        NotAccepted, Progress, Receipt,
        redis::proto::{
            event_record,
            keys::Partition,
            script::{Key, List, MoreKeys},
            scripts::{Accept, NewJob, Submitter},
            values::millis,
        },
        room::Room,
        submission::JobRequest,
    },
    store::Unavailable,
};

/// Registers somebody who waits for the first run of a new job, for as long as this is there.
struct WaiterGuard<'a> {
    all: &'a DashMap<JobId, oneshot::Sender<Progress>>,
    job: JobId,
}

impl<'a> WaiterGuard<'a> {
    fn new(
        all: &'a DashMap<JobId, oneshot::Sender<Progress>>,
        job: JobId,
        sender: oneshot::Sender<Progress>,
    ) -> Self {
        all.insert(job, sender);
        Self { all, job }
    }
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.all.remove(&self.job);
    }
}

/// A job that is to be stored.
pub(in crate::dispatch::redis) struct StoreRequest {
    id: JobId,
    identity: Option<[u8; 32]>,
    record: String,
    input: String,
    /// The hook script, if it was chosen by one.
    hook_script: Option<Arc<HookScript>>,
    /// The submitter's part, if it is no delivery's.
    submitted: Option<Submitter>,
    reply: oneshot::Sender<Result<Stored, NotAccepted>>,
}

/// The result of storing a job, and the barrier to pass before anybody is told, if there is one.
type Stored = (StoreResult, Option<Arc<Barrier>>);

/// The result of storing a job.
pub(in crate::dispatch::redis) enum StoreResult {
    /// It is stored.
    Stored,
    /// It has been here before.
    Duplicate(JobId),
    /// It has been here before, and its job is dead.
    Dead(JobId),
    /// The hook script has changed since.
    Outdated,
}

impl StoreRequest {
    /// Returns about how many bytes it has.
    pub(in crate::dispatch::redis) fn size(&self) -> usize {
        self.record.len() + self.input.len()
    }
}

/// The result of accepting a job.
pub(in crate::dispatch::redis) enum Accepted {
    Stored(Receipt),
    /// It has been here before, and its job is dead: it may come again under that id.
    Dead(JobId),
    /// The hook script has changed since.
    Outdated,
}

impl Gateway {
    /// Stores a job, and waits so long for its first run. `hook_script`: the script that was chosen for it;
    /// `is_replacement`: true if it takes the place of a dead one.
    pub(in crate::dispatch::redis) async fn accept(
        &self,
        request: &JobRequest,
        hook_script: Option<Arc<HookScript>>,
        is_replacement: bool,
        wait: Duration,
    ) -> Result<Accepted, NotAccepted> {
        if !self.is_ready() {
            return Err(NotAccepted::Unavailable);
        }
        let (sender, ended) = oneshot::channel();
        let job = request.job.id;
        let _waiting = WaiterGuard::new(&self.deliveries, job, sender);
        let stored = self.request_store(request, hook_script)?;
        // It ends early where it isn't kept.
        let ended = timeout(wait, ended).await.ok().and_then(Result::ok);
        if let Some(status) = ended
            && self.settings.delivery_replicas() == 0
            && !is_replacement
        {
            // Whatever has run, has been kept, as safely as that is known; unless it was the one before that did.
            return Ok(Accepted::Stored(Receipt { job, status }));
        }
        let (stored, barrier) = stored.await.unwrap_or(Err(NotAccepted::Unavailable))?;
        if let Some(barrier) = barrier {
            let passed = barrier.pass().await;
            passed.map_err(|Unavailable| NotAccepted::Unavailable)?;
        }
        match stored {
            StoreResult::Stored => Ok(Accepted::Stored(Receipt {
                job,
                status: ended.unwrap_or(Progress::Accepted),
            })),
            StoreResult::Duplicate(first) => Ok(Accepted::Stored(Receipt {
                job: first,
                status: Progress::Duplicate,
            })),
            StoreResult::Dead(first) => Ok(Accepted::Dead(first)),
            StoreResult::Outdated => Ok(Accepted::Outdated),
        }
    }

    /// Requests that a job be stored.
    fn request_store(
        &self,
        request: &JobRequest,
        hook_script: Option<Arc<HookScript>>,
    ) -> Result<oneshot::Receiver<Result<Stored, NotAccepted>>, NotAccepted> {
        let job = &request.job;
        let json = |text: serde_json::Result<String>| text.map_err(|_| NotAccepted::Unavailable);
        let (reply, answer) = oneshot::channel();
        let room = Room::of(job, self.durable.backlog.get());
        let new = StoreRequest {
            id: job.id,
            identity: request.identity,
            record: json(serde_json::to_string(job))?,
            input: json(serde_json::to_string(&request.input))?,
            hook_script,
            submitted: job.accepted_event().map(|event| Submitter {
                caller: job.caller.clone(),
                is_guest: job.by_guest,
                room: room.of_all,
                room_of_caller: room.of_caller,
                room_of_guests: room.of_guests,
                due: match job.due {
                    Some(due) => Value::Integer(due.as_millisecond()),
                    None => "".into(),
                },
                event: event_record::encode(&event),
            }),
            reply,
        };
        // It is closed only once everybody has left.
        let _ = self.requests.send(Request::Store {
            circle: job.circle,
            new: Box::new(new),
        });
        Ok(answer)
    }

    /// Stores jobs of a circle.
    pub(in crate::dispatch::redis) async fn store_all(
        &self,
        circle: PublicKey,
        all: Vec<StoreRequest>,
    ) {
        let partition = self.redis.keys().of(&circle);
        let mut accept = Accept {
            job_keys: MoreKeys::default(),
            circle,
            gateway: self.redis.name().to_owned(),
            dedupe_for: self.durable.dedupe_for,
            most: self.settings.per_circle.get(),
            most_waiting: self.durable.backlog.get(),
            replicas: self.settings.delivery_replicas(),
            inbox_length: self.settings.inbox.get(),
            inbox_bytes: self.settings.inbox_bytes.get(),
            log_length: self.limits.event_log.get(),
            log_bytes: self.limits.event_log_bytes.get(),
            inbox: Key::NONE,
            barrier: String::new(),
            hook_scripts: List::new(),
            reads: List::new(),
            new_jobs: List::new(),
            submitters: List::new(),
        };
        let mut hook_scripts: Vec<Arc<HookScript>> = Vec::new();
        let mut waiting = Vec::new();
        for new in all {
            let chosen_by = new.hook_script.map_or(0, |one| {
                let known = hook_scripts
                    .iter()
                    .position(|other| Arc::ptr_eq(other, &one));
                let place = known.unwrap_or_else(|| {
                    one.write(&mut accept);
                    hook_scripts.push(one);
                    hook_scripts.len() - 1
                });
                u32::try_from(place + 1).unwrap_or(u32::MAX)
            });
            let seen = new
                .identity
                .map(|identity| partition.seen(&circle, &identity));
            accept.new_jobs.push(NewJob {
                id: new.id,
                record: new.record,
                input: new.input,
                job: accept.job_keys.add(partition.job(new.id)),
                seen: seen.map_or(Key::NONE, |seen| accept.job_keys.add(seen)),
                chosen_by,
                is_submitted: new.submitted.is_some(),
            });
            if let Some(submitter) = new.submitted {
                accept.submitters.push(submitter);
            }
            waiting.push((new.id, new.reply));
        }
        let barrier = self.new_barrier();
        if let Ok(Some(barrier)) = &barrier {
            accept.inbox = accept.job_keys.add(partition.inbox(self.redis.name()));
            accept.barrier = barrier.id.to_string();
        }
        let answers = match &barrier {
            Ok(_) => self.durable_connection.call(partition, accept).await,
            Err(Unavailable) => Err(Unavailable),
        };
        let barrier = barrier.ok().flatten().map(Arc::new);
        let mut answers = answers.map(Value::into_array);
        if answers.is_ok() && !self.is_replicated(partition).await {
            answers = Err(Unavailable);
        }
        for (n, (id, reply)) in waiting.into_iter().enumerate() {
            let answer = answers.as_ref().ok().and_then(|answers| answers.get(n));
            let result = match (answer.and_then(Value::as_i64), answer) {
                (Some(1), _) => Ok(StoreResult::Stored),
                (Some(0), _) => Err(NotAccepted::Backlog),
                (Some(-1), _) => Err(NotAccepted::CallerShare),
                (Some(-2), _) => Err(NotAccepted::GuestsShare),
                (Some(2), _) => Ok(StoreResult::Outdated),
                (_, answer) => {
                    let first = answer.and_then(Value::as_string).unwrap_or_default();
                    let stored = match first.strip_prefix("dead ") {
                        Some(first) => first.parse().map(StoreResult::Dead),
                        None => first.parse().map(StoreResult::Duplicate),
                    };
                    stored.map_err(|_| NotAccepted::Unavailable)
                }
            };
            let is_new = matches!(result, Ok(StoreResult::Stored));
            // Whoever waited may have left.
            let _ = reply.send(result.map(|stored| (stored, barrier.clone())));
            if !is_new {
                // It has no run of its own that could be waited for.
                self.deliveries.remove(&id);
            }
        }
    }

    /// Returns whether enough replicas have a delivery that was written.
    pub(in crate::dispatch::redis) async fn is_replicated(&self, partition: &Partition) -> bool {
        let wanted = i64::from(self.settings.delivery_replicas());
        if wanted == 0 {
            return true;
        }
        let args = [
            Value::Integer(wanted),
            millis(self.settings.timeout.get() / 2),
        ];
        let have = self.durable_connection.send("WAIT", partition, args).await;
        let enough = have.is_ok_and(|have| have.as_i64().unwrap_or(0) >= wanted);
        if !enough && self.durable_connection.may_complain() {
            tracing::warn!(
                "deliveries are not acknowledged: too few replicas have them (dispatch.redis.min_replicas)"
            );
        }
        enough
    }
}
