//! Watches the workers. Without any, a gateway's jobs wait for nobody. And each server goes by its own settings, so
//! workers may permit other things than the gateway.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use fred::types::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Gateway;
use crate::{circle::Executor, store::Unavailable};

/// The pause between two log lines about something that is still wrong.
const REMIND: Duration = Duration::from_secs(60);

/// The workers that a gateway's jobs go to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Workers {
    /// The number of workers that are alive.
    pub there: usize,
    /// The number of them whose rules of who may do what differ from the gateway's.
    pub differing: usize,
}

/// Something that may be wrong for a moment. It is logged once it was so at two checks, and again once in a while.
#[derive(Default)]
struct Alarm {
    checks: u32,
    said: Option<Instant>,
}

/// A line to log.
#[derive(Debug, PartialEq, Eq)]
enum Say {
    Nothing,
    ItIsWrong,
    ItIsRightAgain,
}

impl Alarm {
    fn check(&mut self, is_wrong: bool, now: Instant) -> Say {
        if !is_wrong {
            self.checks = 0;
            return match self.said.take() {
                Some(_) => Say::ItIsRightAgain,
                None => Say::Nothing,
            };
        }
        self.checks += 1;
        let is_due = self.said.is_none_or(|at| now - at >= REMIND);
        if self.checks > 1 && is_due {
            self.said = Some(now);
            return Say::ItIsWrong;
        }
        Say::Nothing
    }
}

impl Gateway {
    /// Returns the workers at the last check, if there was one.
    pub(in crate::dispatch::redis) fn workers(&self) -> Option<Workers> {
        *self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks in each lease which workers are alive, and logs once in a while if there are none, or if their rules
    /// differ from those of this gateway's `executor`.
    pub(super) async fn watch_workers(self: Arc<Self>, executor: Executor) {
        let mut tick = interval(self.settings.lease.get());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // All may have been started, or told of new settings, at once.
        let (mut absent, mut differ) = (Alarm::default(), Alarm::default());
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.stop.cancelled() => return,
            }
            // Where Redis can't be asked, other things are said.
            let Ok(workers) = self.workers_there(&executor.rules()).await else {
                continue;
            };
            *self.workers.lock().unwrap_or_else(PoisonError::into_inner) = Some(workers);
            let now = Instant::now();
            match absent.check(workers.there == 0, now) {
                Say::ItIsWrong => tracing::warn!(
                    "there is no worker: plays time out, and durable jobs wait; start one with `circled worker`, or let this gateway run jobs (dispatch.redis.worker)"
                ),
                Say::ItIsRightAgain => {
                    tracing::info!(workers = workers.there, "workers are there again");
                }
                Say::Nothing => {}
            }
            match differ.check(workers.differing > 0, now) {
                Say::ItIsWrong => tracing::warn!(
                    workers = workers.differing,
                    "some workers have other rules than this gateway, and permit what it forbids, or the reverse: give all servers the same [circles] and [[circle]], and send SIGHUP"
                ),
                Say::ItIsRightAgain => {
                    tracing::info!("all workers have the rules of this gateway")
                }
                Say::Nothing => {}
            }
        }
    }

    /// Counts the workers that are alive, and forgets the others.
    async fn workers_there(&self, rules: &str) -> Result<Workers, Unavailable> {
        let mut workers = Workers::default();
        // Workers take jobs of all partitions.
        let Some(partition) = self.redis.keys().partitions().first() else {
            return Ok(workers);
        };
        let set = Value::from(partition.workers());
        let names = self
            .redis
            .send("SMEMBERS", partition, [set.clone()])
            .await?;
        for name in names.into_array() {
            let alive = partition.alive(&name.as_string().unwrap_or_default());
            let shown = self.redis.send("GET", partition, [alive.into()]).await?;
            let Some(shown) = shown.into_string() else {
                self.redis
                    .send("SREM", partition, [set.clone(), name])
                    .await?;
                continue;
            };
            workers.there += 1;
            if shown != rules && shown != BEFORE_RULES {
                workers.differing += 1;
            }
        }
        Ok(workers)
    }
}

/// The value of earlier versions, which say nothing of their rules.
const BEFORE_RULES: &str = "1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_for_long_is_said_once_in_a_while() {
        let mut alarm = Alarm::default();
        let start = Instant::now();
        for (seconds, is_wrong, expected) in [
            (0, true, Say::Nothing),
            (10, false, Say::Nothing),
            (20, true, Say::Nothing),
            (30, true, Say::ItIsWrong),
            (40, true, Say::Nothing),
            (90, true, Say::ItIsWrong),
            (100, false, Say::ItIsRightAgain),
            (110, false, Say::Nothing),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(alarm.check(is_wrong, now), expected, "{seconds} s");
        }
    }
}
