//! The right to be the only backup, or the only restore, of a namespace.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fred::types::{ClusterHash, Value};
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{RedisBackup, RedisBackupError};
use crate::dispatch::redis::proto::values::millis;

/// The time that it lasts if it isn't renewed. `lua/prelude.lua` has it, too.
pub(super) const LASTS: Duration = Duration::from_secs(60);
/// The pause between two renewals.
const RENEW: Duration = Duration::from_secs(10);

/// The right. It is renewed as long as this is there.
pub(super) struct Lease(Arc<Held>);

struct Held {
    backup: RedisBackup,
    key: String,
    token: String,
    is_lost: AtomicBool,
    ending: CancellationToken,
}

impl Lease {
    /// Takes the right that has this key. As long as it is there, these keys don't expire, either.
    pub(super) async fn take(
        backup: &RedisBackup,
        what: &'static str,
        key: String,
        kept: Vec<(ClusterHash, String)>,
    ) -> Result<Self, RedisBackupError> {
        let held = Held {
            backup: backup.clone(),
            key,
            token: Uuid::new_v4().to_string(),
            is_lost: AtomicBool::new(false),
            ending: CancellationToken::new(),
        };
        let args = [held.key.as_str(), &held.token, "NX", "PX"].map(Value::from);
        let args = args.into_iter().chain([millis(LASTS)]);
        if held.ask("SET", args).await?.is_null() {
            let seconds = LASTS.as_secs();
            return Err(RedisBackupError::Busy { what, seconds });
        }
        let lease = Self(Arc::new(held));
        TaskTracker::new().spawn(lease.0.clone().renew(kept));
        Ok(lease)
    }

    /// Checks that it is there still.
    pub(super) async fn check(&self) -> Result<(), RedisBackupError> {
        match self.0.is_there().await? && !self.0.is_lost.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(RedisBackupError::TooLate),
        }
    }

    /// Ends it.
    pub(super) async fn release(self) {
        self.0.ending.cancel();
        if self.check().await.is_ok() {
            let _ = self.0.ask("DEL", [self.0.key.as_str().into()]).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.ending.cancel();
    }
}

impl Held {
    async fn renew(self: Arc<Self>, kept: Vec<(ClusterHash, String)>) {
        loop {
            tokio::select! {
                () = sleep(RENEW) => {}
                () = self.ending.cancelled() => return,
            }
            match self.is_there().await {
                Ok(true) => {}
                Ok(false) => return self.is_lost.store(true, Ordering::Relaxed),
                Err(_) => continue,
            }
            let own = (self.backup.keys().agreement_hash(), self.key.clone());
            for (hash, key) in [own].into_iter().chain(kept.iter().cloned()) {
                let args = [key.into(), millis(LASTS)];
                // If it fails, the next step may find that it is too late.
                let _ = self.backup.ask_slot("PEXPIRE", hash, args).await;
            }
        }
    }

    async fn is_there(&self) -> Result<bool, RedisBackupError> {
        let found = self.ask("GET", [self.key.as_str().into()]).await?;
        Ok(found.as_string().as_deref() == Some(&*self.token))
    }

    async fn ask(
        &self,
        command: &'static str,
        args: impl IntoIterator<Item = Value>,
    ) -> Result<Value, RedisBackupError> {
        let hash = self.backup.keys().agreement_hash();
        self.backup.ask_slot(command, hash, args).await
    }
}
