//! Barriers: a gateway sends itself a message in its inbox, behind what it has just done or seen in Redis. All that comes
//! by the inbox is synced before it is handled, so once the message comes, what was before it is synced, too: whichever
//! server the inbox is read from, it has what was before.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use circled_protocol::{JobId, PublicKey};
use dashmap::DashMap;
use tokio::{sync::watch, time::timeout};

use super::Gateway;
use crate::{
    dispatch::redis::{
        conn::{Connection, ConnectionNumber},
        proto::scripts,
    },
    store::Unavailable,
};

/// The barriers that haven't come yet, by the names of their messages.
pub(super) type Barriers = Arc<DashMap<JobId, watch::Sender<bool>>>;

/// A message that is on its way. Several may wait for it.
pub(in crate::dispatch::redis) struct Barrier {
    pub(super) id: JobId,
    barriers: Barriers,
    has_come: watch::Receiver<bool>,
    max_wait: Duration,
}

impl Barrier {
    /// Waits until it has come. Then all that was before it is as safe as the settings say.
    pub(in crate::dispatch::redis) async fn pass(&self) -> Result<(), Unavailable> {
        let mut has_come = self.has_come.clone();
        let passed = timeout(self.max_wait, has_come.wait_for(|has_come| *has_come)).await;
        match passed {
            Ok(Ok(_)) => Ok(()),
            // It is late, or was given up.
            Ok(Err(_)) | Err(_) => Err(Unavailable),
        }
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        self.barriers.remove(&self.id);
    }
}

impl Gateway {
    /// Makes a barrier, whose message a script is to send. Nothing, if the settings ask for no sync.
    pub(super) fn new_barrier(&self) -> Result<Option<Barrier>, Unavailable> {
        if self.redis.synced_replicas().is_none() {
            return Ok(None);
        }
        if self.unsynced.load(Ordering::Relaxed) > 0 {
            return Err(Unavailable);
        }
        let id = JobId::new();
        let (sender, has_come) = watch::channel(false);
        self.barriers.insert(id, sender);
        Ok(Some(Barrier {
            id,
            barriers: self.barriers.clone(),
            has_come,
            // One sync may be under way, and the next one takes as long.
            max_wait: self.settings.timeout.get() * 2,
        }))
    }

    /// Waits until all is as safe as the settings say that was asked of a circle by this connection since it had this
    /// number.
    pub(in crate::dispatch::redis) async fn confirm(
        &self,
        redis: &Connection,
        circle: PublicKey,
        since: ConnectionNumber,
    ) -> Result<(), Unavailable> {
        let Some(barrier) = self.new_barrier()? else {
            return Ok(());
        };
        let message = scripts::Barrier {
            gateway: redis.name().to_owned(),
            circle,
            id: barrier.id,
            inbox_length: self.settings.inbox.get(),
            inbox_bytes: self.settings.inbox_bytes.get(),
        };
        redis.call(redis.keys().of(&circle), message).await?;
        match redis.number() == since {
            true => barrier.pass().await,
            // What was asked before may have gone to another server.
            false => Err(Unavailable),
        }
    }
}
