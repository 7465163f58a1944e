//! The circles that an operator deletes: all of a circle goes, and no server serves it meanwhile.

use std::{collections::BTreeSet, sync::Arc};

use circled_protocol::PublicKey;
use tokio::sync::watch;

use super::Dispatcher;
use crate::store::Unavailable;

/// The circles that are being deleted, as this server knows them. A cheap handle.
#[derive(Debug, Clone, Default)]
pub struct Deleting(Arc<watch::Sender<BTreeSet<PublicKey>>>);

impl Deleting {
    /// Returns whether a circle is being deleted: then it isn't served.
    pub fn contains(&self, circle: &PublicKey) -> bool {
        self.0.borrow().contains(circle)
    }

    /// Waits until sessions of these circles have to end. Returns them.
    pub async fn next(
        &self,
        seen: &mut watch::Receiver<BTreeSet<PublicKey>>,
    ) -> BTreeSet<PublicKey> {
        // This handle keeps the sender.
        let _ = seen.changed().await;
        seen.borrow_and_update().clone()
    }

    /// Begins to wait for them.
    pub fn subscribe(&self) -> watch::Receiver<BTreeSet<PublicKey>> {
        self.0.subscribe()
    }

    pub(super) fn add(&self, circle: PublicKey) {
        self.0.send_modify(|circles| {
            circles.insert(circle);
        });
    }

    pub(super) fn remove(&self, circle: &PublicKey) {
        self.0.send_modify(|circles| {
            circles.remove(circle);
        });
    }

    /// Notes all of them, and that others' sessions have to end, too, which may have begun meanwhile.
    pub(super) fn replace(&self, new: BTreeSet<PublicKey>) {
        self.0.send_if_modified(|circles| {
            let are_any = !new.is_empty() || !circles.is_empty();
            *circles = new;
            are_any
        });
    }
}

impl Dispatcher {
    /// Returns the circles that are being deleted.
    pub fn deleting(&self) -> &Deleting {
        match self {
            Self::Embedded(embedded) => embedded.deleting(),
            Self::Redis(redis) => redis.deleting(),
        }
    }

    /// Deletes all of a circle, and returns once that is as safe as any write. No server serves the circle meanwhile; it
    /// waits for `sessions_ended` before anything is deleted. If it fails or is cut off, the circle is there as before, or
    /// isn't served until it is deleted again.
    ///
    /// # Errors
    /// The store can't be reached.
    pub async fn delete_circle(
        &self,
        circle: PublicKey,
        sessions_ended: impl Future<Output = ()>,
    ) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.delete_circle(circle, sessions_ended).await,
            Self::Redis(redis) => redis.delete_circle(circle, sessions_ended).await,
        }
    }
}
