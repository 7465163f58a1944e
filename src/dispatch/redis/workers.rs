//! Whether there are workers: without any, what a gateway hands over waits for nobody.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use fred::types::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::gateway::Gateway;
use crate::store::Unavailable;

/// How often it is said that there are none.
const REMIND: Duration = Duration::from_secs(60);

impl Gateway {
    /// How many were there at the last look, if there was one.
    pub(super) fn workers(&self) -> Option<usize> {
        *self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks in each lease how many workers show that they are there, and says so once in a while if there are none.
    pub(super) async fn count_workers(self: Arc<Self>) {
        let mut tick = interval(self.settings.lease);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut misses, mut said) = (0_u32, None::<Instant>);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.stop.cancelled() => return,
            }
            // Where Redis can't be asked, other things are said.
            let Ok(count) = self.workers_there().await else {
                continue;
            };
            *self.workers.lock().unwrap_or_else(PoisonError::into_inner) = Some(count);
            misses = if count == 0 { misses + 1 } else { 0 };
            // All may have been started at once, the gateway first.
            let is_due = said.is_none_or(|at| at.elapsed() >= REMIND);
            if misses > 1 && is_due {
                said = Some(Instant::now());
                tracing::warn!(
                    "no worker is there: plays time out, and jobs wait; start one with `circled worker`, or have this gateway run jobs (dispatch.redis.worker)"
                );
            }
            if count > 0 && said.take().is_some() {
                tracing::info!(workers = count, "workers are there again");
            }
        }
    }

    /// Counts those that show it, and forgets the others.
    async fn workers_there(&self) -> Result<usize, Unavailable> {
        // Workers take jobs of all partitions.
        let Some(partition) = self.link.keys().partitions().first() else {
            return Ok(0);
        };
        let set = Value::from(partition.workers());
        let names = self.link.send("SMEMBERS", partition, [set.clone()]).await?;
        let mut there = 0;
        for name in names.into_array() {
            let alive = partition.alive(&name.as_string().unwrap_or_default());
            let alive = self.link.send("EXISTS", partition, [alive.into()]).await?;
            if alive.as_i64() == Some(1) {
                there += 1;
            } else {
                self.link
                    .send("SREM", partition, [set.clone(), name])
                    .await?;
            }
        }
        Ok(there)
    }
}
