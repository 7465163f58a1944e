//! The usage of a circle: its keys, bytes, events and jobs.

use circled_protocol::{PublicKey, methods::CircleUsage};

use super::{
    Dispatcher, Viewer,
    jobs::{Jobs, JobsBackend, blocking},
};
use crate::store::Unavailable;

impl Dispatcher {
    /// Returns how much a circle has. For a caller with this key, if with any.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn usage(
        &self,
        circle: PublicKey,
        caller: Option<PublicKey>,
    ) -> Result<CircleUsage, Unavailable> {
        let mut usage = self.jobs().usage(circle, Viewer::Caller(caller)).await?;
        let log = self.log(circle, 0, 0).await?;
        if log.first > 0 {
            usage.events = log.last + 1 - log.first;
        }
        usage.last_event = log.last;
        Ok(usage)
    }
}

impl Jobs {
    /// Returns how much a circle has, but for its events.
    pub(super) async fn usage(
        self,
        circle: PublicKey,
        viewer: Viewer,
    ) -> Result<CircleUsage, Unavailable> {
        let accounts = viewer.accounts(circle);
        match self.backend {
            JobsBackend::Embedded(jobs) => {
                // Permits are few, and it may take long: who waits for that has none.
                let counting = jobs.counting(circle).await;
                let permit = self.job_reads.permit(accounts).await;
                blocking(move || {
                    let _permit = permit;
                    jobs.usage(circle, counting)
                })
                .await
            }
            JobsBackend::Redis(jobs) => {
                let _permit = self.job_reads.permit(accounts).await;
                jobs.confirmed(circle, jobs.usage(circle)).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;
    use futures_util::FutureExt;

    use super::{Jobs, JobsBackend, PublicKey, Viewer};
    use crate::{
        config,
        dispatch::{embedded::JobStore, job_reads::JobReads},
        store::{Disk, DiskSettings, Store},
        units::Size,
    };

    fn circle(n: u8) -> PublicKey {
        SecretKey::from_hex(&hex::encode([n; 32])).unwrap().public()
    }

    #[tokio::test]
    async fn whoever_waits_for_a_count_keeps_no_reader_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DiskSettings {
            data_dir: folder.path().to_owned(),
            min_free: 0,
            write_queue: Size::new(1 << 20).unwrap(),
            memtables: Size::new(16 << 20).unwrap(),
            cache: 1 << 20,
            open_files: 64,
            max_requests: 1 << 20,
        };
        let loaded = config::Settings::load(None, std::iter::empty()).unwrap();
        let limits = loaded.settings.store;
        let store = Store::start(Disk::open(&settings).unwrap(), &settings, limits).unwrap();
        let jobs = Jobs {
            backend: JobsBackend::Embedded(JobStore::stopped(store.clone())),
            job_reads: JobReads::new(1),
        };
        let viewer = Viewer::Caller(None);
        let counting = store.counting(circle(9)).await;
        let mut calls = [1, 2, 3].map(|n| Box::pin(jobs.clone().usage(circle(n), viewer)));
        for call in &mut calls {
            assert!(call.now_or_never().is_none());
        }
        let permit = jobs.job_reads.permit(viewer.accounts(circle(4)));
        assert!(permit.now_or_never().is_some());
        drop(counting);
        for call in calls {
            assert_eq!(call.await.unwrap().keys, 0);
        }
    }
}
