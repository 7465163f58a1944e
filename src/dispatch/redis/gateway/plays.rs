//! The plays of a gateway that are under way: where each of them is, and who waits for it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Gateway, NewPlay, Request, outcome_handle::RedisOutcomeHandle};
use crate::{
    circle::JobSpec,
    dispatch::{
        BackendHandle, Played, ReservedOutcome,
        job::AROUND_A_VALUE,
        redis::proto::{keys::Partition, scripts, values::millis, wire},
    },
    memory::MemoryBudget,
    script::{Outcome, RunError, Success},
    store::Unavailable,
};

/// The most that Redis' clock may have been put forward while a play is under way.
const CLOCK: Duration = Duration::from_secs(1);

/// Bytes that a play takes here while it waits, besides its text: with its handle, and the session's future.
const WAITING_PLAY: usize = 12 << 10;

/// A play that has been sent, or is about to be.
pub(super) struct SentPlay {
    /// The one who waits for it, until they leave.
    waiter: Option<oneshot::Sender<ReservedOutcome>>,
    /// The budget that its outcome counts in.
    memory: MemoryBudget,
    circle: PublicKey,
    since: Instant,
    location: PlayLocation,
    /// True if it was taken back while it was on its way: if there is no room for it, it doesn't wait.
    is_taken_back: bool,
}

/// The place where a play is, as far as its gateway knows.
#[derive(Debug, Clone)]
enum PlayLocation {
    /// The gateway: there was no room in Redis.
    Waiting,
    /// The gateway doesn't know yet.
    OnItsWay,
    /// The stream, by its entry there.
    Stream(Value),
    /// The queue, or handed out from there since.
    Queue,
}

impl SentPlay {
    fn reply(&mut self, outcome: impl Into<ReservedOutcome>) {
        if let Some(waiter) = self.waiter.take() {
            // Whoever waited may have left.
            let _ = waiter.send(outcome.into());
        }
    }
}

impl Gateway {
    /// Sends a play on its way.
    pub(in crate::dispatch::redis) fn play(
        self: &Arc<Self>,
        job: &JobSpec<'_>,
        session: Uuid,
        memory: &MemoryBudget,
    ) -> Played<BackendHandle> {
        if !self.is_ready() {
            return Played::Now(Err(RunError::Unavailable));
        }
        let play = wire::Play::new(job, self.redis.name());
        let Ok(text) = serde_json::to_string(&play) else {
            return Played::Now(Err(RunError::Unavailable));
        };
        let (sender, outcome) = oneshot::channel();
        let (circle, id, since) = (job.circle, job.id, Instant::now());
        let sent = SentPlay {
            waiter: Some(sender),
            memory: memory.clone(),
            circle,
            since,
            location: PlayLocation::OnItsWay,
            is_taken_back: false,
        };
        self.plays.insert(id, sent);
        // It is closed only once everybody has left.
        let play = NewPlay {
            id,
            session,
            caller: job.caller.clone().into_owned(),
            weight: text.len() + WAITING_PLAY,
            text: text.into(),
        };
        let _ = self.requests.send(Request::Play { circle, play });
        Played::Later(BackendHandle::Redis(RedisOutcomeHandle {
            outcome,
            deadline: since + job.timeout,
            timeout: job.timeout,
            circle,
            id,
            gateway: self.clone(),
            settled: false,
        }))
    }

    /// Sends plays of a circle: by caller, those of each in their order. Returns those for which there was no room.
    pub(super) async fn submit(&self, circle: PublicKey, mut plays: Vec<NewPlay>) -> Vec<NewPlay> {
        let partition = self.redis.keys().of(&circle);
        plays.sort_by(|one, other| one.caller.key().cmp(&other.caller.key()));
        let callers = plays.chunk_by(|one, other| one.caller.key() == other.caller.key());
        let callers = callers.map(|plays| scripts::PlaysOfCaller {
            caller: plays[0].caller.to_string(),
            num_plays: u32::try_from(plays.len()).unwrap_or(u32::MAX),
        });
        let submit = scripts::Submit {
            circle,
            most: self.settings.per_circle.get(),
            most_waiting: self.settings.queue.get(),
            callers: callers.collect(),
            new_plays: plays
                .iter()
                .map(|play| scripts::NewPlay {
                    play: play.text.clone(),
                })
                .collect(),
        };
        let answer = self.redis.call(partition, submit).await;
        match answer.map(Value::into_array) {
            Ok(answers) if answers.len() == plays.len() => {
                let mut refused = Vec::new();
                for (play, answer) in plays.into_iter().zip(answers) {
                    match answer.as_i64() {
                        Some(0) => refused.push(play),
                        Some(_) => self.set_location(circle, play.id, PlayLocation::Queue),
                        None => self.set_location(circle, play.id, PlayLocation::Stream(answer)),
                    }
                }
                refused
            }
            // They may have come through: then nobody wants them.
            Ok(_) | Err(Unavailable) => {
                for NewPlay { id, .. } in plays {
                    if let Some((_, mut sent)) = self.plays.remove(&id) {
                        sent.reply(RunError::Unavailable);
                        let _ = self.requests.send(Request::Cancel { circle, id, sent });
                    }
                }
                Vec::new()
            }
        }
    }

    /// Notes that a play waits here. Returns false if nobody waits for it any more, or it was taken back.
    pub(super) fn waits(&self, id: JobId) -> bool {
        let left = self.plays.remove_if_mut(&id, |_, sent| {
            sent.location = PlayLocation::Waiting;
            sent.waiter.is_none() || sent.is_taken_back
        });
        left.is_none() && self.is_waited_for(id)
    }

    /// Returns whether somebody waits for a play, which waits here.
    pub(super) fn is_waited_for(&self, id: JobId) -> bool {
        self.plays.contains_key(&id)
    }

    /// Notes that a play that waited here is sent. Returns false if nobody waits for it any more.
    pub(super) fn sends_again(&self, id: JobId) -> bool {
        let sent = self.plays.get_mut(&id);
        sent.map(|mut sent| sent.location = PlayLocation::OnItsWay)
            .is_some()
    }

    /// Notes where a play is, or cancels it there, if nobody waits for it any more.
    fn set_location(&self, circle: PublicKey, id: JobId, location: PlayLocation) {
        let Some(mut sent) = self.plays.get_mut(&id) else {
            return;
        };
        sent.location = location;
        if sent.waiter.is_none() {
            drop(sent);
            self.leave(circle, id);
        }
    }

    /// Gives up a play that nobody waits for any more.
    pub(super) fn leave(&self, circle: PublicKey, id: JobId) {
        let located = self.plays.remove_if_mut(&id, |_, sent| {
            sent.waiter = None;
            !matches!(sent.location, PlayLocation::OnItsWay)
        });
        let _ = self.requests.send(match located {
            // What waits here is dropped at its turn.
            Some((_, sent)) if matches!(sent.location, PlayLocation::Waiting) => return,
            Some((_, sent)) => Request::Cancel { circle, id, sent },
            // It is taken back once it is known where it is.
            None => Request::Leave { circle, id },
        });
    }

    /// Cancels a play that somebody waits for. Returns whether nothing of it is committed any more; if not, its outcome
    /// is on its way, or nobody has it and its channel is closed.
    pub(super) async fn take_back(
        &self,
        circle: PublicKey,
        id: JobId,
    ) -> Result<bool, Unavailable> {
        let waits = |_: &JobId, sent: &SentPlay| matches!(sent.location, PlayLocation::Waiting);
        if self.plays.remove_if(&id, waits).is_some() {
            return Ok(true);
        }
        let sent = self.plays.get_mut(&id).map(|mut sent| {
            sent.is_taken_back = true;
            SentPlay {
                waiter: None,
                memory: sent.memory.clone(),
                circle,
                since: sent.since,
                location: sent.location.clone(),
                is_taken_back: true,
            }
        });
        let Some(sent) = sent else {
            // It came just now.
            return Ok(false);
        };
        let since = self.redis.number();
        let is_cancelled = self.cancel(circle, id, &sent).await?;
        if is_cancelled {
            self.confirm(&self.redis, circle, since).await?;
        }
        Ok(is_cancelled)
    }

    pub(super) async fn cancel(
        &self,
        circle: PublicKey,
        id: JobId,
        sent: &SentPlay,
    ) -> Result<bool, Unavailable> {
        let partition = self.redis.keys().of(&circle);
        let (entry, age) = match &sent.location {
            PlayLocation::Waiting | PlayLocation::OnItsWay => {
                ("".into(), millis(sent.since.elapsed() + CLOCK))
            }
            PlayLocation::Stream(entry) => (entry.clone(), "".into()),
            PlayLocation::Queue => ("".into(), "".into()),
        };
        let cancel = scripts::Cancel {
            circle,
            most: self.settings.per_circle.get(),
            most_waiting: self.settings.queue.get(),
            id,
            entry,
            age,
        };
        let answer = self.redis.call(partition, cancel).await?;
        Ok(answer.as_i64() == Some(1))
    }

    /// Sends an outcome to whoever waits for it.
    pub(super) fn refuse(&self, id: JobId, error: RunError) {
        if let Some((_, mut sent)) = self.plays.remove(&id) {
            sent.reply(error);
        }
    }

    /// Sends an outcome that a worker has written to whoever waits for it. If there is no room for it, they learn that
    /// nobody can tell: it may have been committed.
    pub(super) fn deliver_json(&self, id: JobId, json: &[u8]) {
        let Some((_, mut sent)) = self.plays.remove(&id) else {
            return;
        };
        if self.has_refused.load(Ordering::Relaxed) {
            let circle = sent.circle;
            let _ = self.requests.send(Request::Ended { circle });
        }
        let (at, json) = split_query(json);
        // It is about as long in the reply.
        let bytes = json.len().saturating_sub(AROUND_A_VALUE);
        let room = sent.memory.try_reserve_answer(bytes, AROUND_A_VALUE);
        sent.reply(match room {
            Ok(room) => ReservedOutcome {
                outcome: match circled_json::from_slice::<Outcome>(json) {
                    Ok(outcome) => outcome.map(|success| seen(success, at)),
                    Err(error) => {
                        tracing::error!(job = %id, %error, "failed to read an outcome");
                        Err(RunError::Unavailable)
                    }
                },
                reservation: Some(room),
            },
            Err(_) => RunError::Unavailable.into(),
        });
    }

    /// Gives up the plays of a partition whose inbox is lost: whoever waits for one that was sent by now is told that
    /// nobody knows its outcome.
    pub(super) fn lose(&self, partition: &Partition) {
        let ours = |sent: &SentPlay| std::ptr::eq(self.redis.keys().of(&sent.circle), partition);
        let is_there = |sent: &SentPlay| match sent.location {
            PlayLocation::Waiting | PlayLocation::OnItsWay => false,
            PlayLocation::Stream(_) | PlayLocation::Queue => true,
        };
        let is_lost = |sent: &SentPlay| ours(sent) && is_there(sent);
        let lost = self.plays.iter().filter(|sent| is_lost(sent));
        let lost: Vec<_> = lost.map(|sent| *sent.key()).collect();
        if !lost.is_empty() {
            tracing::warn!(
                plays = lost.len(),
                "results of plays are lost: nobody fetched them in time"
            );
        }
        for id in lost {
            if let Some((_, mut sent)) = self.plays.remove(&id) {
                let circle = sent.circle;
                sent.reply(RunError::Unavailable);
                let _ = self.requests.send(Request::Cancel { circle, id, sent });
            }
        }
    }
}

/// Splits the outcome of a query: it begins with the number of the last commit that it has seen.
fn split_query(outcome: &[u8]) -> (Option<u64>, &[u8]) {
    let digits = outcome.iter().take_while(|byte| byte.is_ascii_digit());
    let (number, json) = outcome.split_at(digits.count());
    let number = str::from_utf8(number).ok();
    (number.and_then(|number| number.parse().ok()), json)
}

/// Adds the last commit that a query has seen.
fn seen(mut success: Success, at: Option<u64>) -> Success {
    match (&mut success.queried, at) {
        (Some(queried), Some(at)) => queried.at = at,
        // Nobody knows what it has seen.
        (queried, None) => *queried = None,
        (None, Some(_)) => {}
    }
    success
}
