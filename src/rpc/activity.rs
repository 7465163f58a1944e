//! The view `activity`: what happens in a circle, each second.

use std::{sync::Arc, time::Duration};

use circled_protocol::{PublicKey, methods::Activity};
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    Admitted, Error, Shared,
    subscriptions::SessionWatch,
    watches::{Answer, Content, Ended, Watcher},
};
use crate::script::RunError;

/// The pause between two values.
const PACE: Duration = Duration::from_secs(1);

/// A watch of what happens in a circle.
pub(super) struct ActivityWatch {
    pub(super) circle: PublicKey,
    pub(super) admitted: Admitted,
    /// The number of the circle's last commit when it began.
    pub(super) at: u64,
    pub(super) watcher: SessionWatch,
}

impl ActivityWatch {
    /// Tells the counts since the beginning, each second, until it is over or its caller may no longer manage.
    pub(super) async fn run(mut self, shared: Arc<Shared>, over: CancellationToken) {
        let mut looking = shared.dispatcher.look(self.circle);
        let since = Timestamp::now();
        let mut has_begun = false;
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = pace.tick() => {}
                () = over.cancelled() => return,
            }
            match self.admitted.confirm(&shared, self.circle).await {
                Ok(()) => {}
                Err(Error::Forbidden { needs }) => return self.watcher.end(Ended::Needs(needs)),
                // It is told once it can be read again.
                Err(_) => continue,
            }
            let Ok(counts) = looking.counts().await else {
                continue;
            };
            let activity = Activity {
                since,
                at: Timestamp::now(),
                counts,
            };
            let Ok(value) = serde_json::value::to_raw_value(&activity) else {
                return self.watcher.end(Ended::Failed(RunError::Unavailable));
            };
            let answer = Answer::new(Content::Value(value), None);
            match std::mem::replace(&mut has_begun, true) {
                false => self.watcher.begin(&answer, false, self.at),
                true => self.watcher.tell(&answer, self.at),
            }
        }
    }
}
