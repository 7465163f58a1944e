//! A namespace as archives have it.

use circled::{
    backup::{Failure, Part, PartsOut, pipe},
    config::Settings,
    dispatch::{Target, check_unserved, read_stopped, restore},
};

/// A namespace that is read and written as archives are.
pub(crate) struct Archived(Settings);

impl Archived {
    pub(crate) fn of(url: &str, namespace: &str, partitions: u16) -> Self {
        let redis = [
            ("REDIS__URL", url.to_owned()),
            ("REDIS__NAMESPACE", namespace.to_owned()),
            ("REDIS__PARTITIONS", partitions.to_string()),
            ("BACKEND", "redis".to_owned()),
            // Jobs that are over are there for long.
            ("DURABLE__KEEP_FOR", "364d".to_owned()),
            ("DURABLE__KEEP_DEAD_FOR", "364d".to_owned()),
        ];
        let named = redis.map(|(name, value)| (format!("CIRCLED_DISPATCH__{name}"), value));
        Self(Settings::load(None, named).unwrap().settings)
    }

    /// Begins to read all of it.
    pub(crate) async fn begin(&self) -> PartsOut {
        self.try_begin().await.unwrap()
    }

    async fn try_begin(&self) -> Result<PartsOut, Failure> {
        read_stopped(&self.0.dispatch, &self.0.store, None).await
    }

    /// Reads all of it.
    pub(crate) async fn read(&self) -> Result<Vec<Part>, Failure> {
        all(self.try_begin().await?).await
    }

    /// Writes all of it.
    pub(crate) async fn write(&self, parts: &[Part]) -> Result<(), Failure> {
        let (sender, out) = pipe();
        let send = async move {
            for part in parts.iter().chain([&Part::Done]) {
                // It may have failed before.
                let _ = sender.send(Ok(part.clone())).await;
            }
        };
        let (written, ()) = tokio::join!(
            restore(&self.0.dispatch, &self.0.store, out, Target::Empty),
            send
        );
        written
    }

    /// Writes these parts, and is killed then.
    pub(crate) async fn write_and_die(&self, parts: &[Part]) {
        let (sender, out) = pipe();
        let send = async {
            for part in parts {
                sender.send(Ok(part.clone())).await.unwrap();
            }
            // Once another one has room, at least these are being written.
            drop(sender.reserve_many(sender.max_capacity()).await.unwrap());
        };
        tokio::select! {
            written = restore(&self.0.dispatch, &self.0.store, out, Target::Empty) => panic!("{written:?}"),
            () = send => {}
        }
    }

    pub(crate) async fn check_unserved(&self) -> Result<(), Failure> {
        check_unserved(&self.0.dispatch, &self.0.store).await
    }
}

/// Returns all parts.
pub(crate) async fn all(mut out: PartsOut) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    loop {
        let part = out.recv().await.unwrap()?;
        if part == Part::Done {
            return Ok(parts);
        }
        parts.push(part);
    }
}

/// Returns the number of the last commit of each circle.
pub(crate) fn commits(parts: &[Part]) -> Vec<u64> {
    let head = |part: &Part| match part {
        Part::Circle(head) => Some(head.commits),
        Part::Records(_) | Part::End | Part::Done => None,
    };
    parts.iter().filter_map(head).collect()
}
