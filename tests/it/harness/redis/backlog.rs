//! Redis's own view of jobs that are under way, where nothing else shows them. The names are those of
//! docs/OPERATIONS.md.

use super::{RedisServer, resp::Reply};
use crate::harness::server::eventually;

/// Puts all jobs in one stream.
pub(crate) const ONE_PARTITION: (&str, &str) = ("DISPATCH__REDIS__PARTITIONS", "1");

const JOBS: &str = "{circled:00}:jobs";

impl RedisServer {
    /// Waits until workers hold so many jobs, all together.
    pub(crate) async fn until_held(&self, count: usize) {
        eventually(&format!("workers to hold {count} jobs"), async || {
            self.held().await.len() == count
        })
        .await;
    }

    /// Waits until a job's run of this number has begun.
    pub(crate) async fn until_begun(&self, times: usize) {
        eventually(&format!("run {times} to begin"), async || {
            self.held().await.contains(&times)
        })
        .await;
    }

    /// Returns for each job that workers hold how often a run of it may have begun.
    pub(crate) async fn held(&self) -> Vec<usize> {
        let command = ["XPENDING", JOBS, "workers", "-", "+", "1000"];
        let held = self.ask(&command).await;
        // Its entry, its worker, since when, and this.
        let begun = |job: &Reply| job.items()[3].to_string().parse().unwrap();
        held.items().iter().map(begun).collect()
    }

    /// Waits until nothing is left of plays, and of a circle's other work.
    pub(crate) async fn until_no_plays(&self) {
        for kind in ["plays", "waiting_plays", "waiting_callers", "job_counts"] {
            self.until_keys(&format!("*:{kind}:*"), 0).await;
        }
    }

    /// Waits until so many keys match the pattern.
    pub(crate) async fn until_keys(&self, pattern: &str, count: usize) {
        eventually(&format!("{count} keys like {pattern}"), async || {
            self.ask(&["KEYS", pattern]).await.items().len() == count
        })
        .await;
    }
}
