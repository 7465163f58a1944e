//! Redis for the tests that need it: servers of the test's own, alone, as a cluster or with sentinels, and a network
//! that fails on command. All of it ends with the test.

mod archived;
pub(crate) mod backlog;
mod cluster;
pub(crate) mod fleet;
pub(crate) mod port;
mod proxy;
pub(crate) mod resp;
mod sentinel;
mod server;
mod support;

use std::time::Duration;

use tokio::time::{interval, timeout};

pub(crate) use archived::{Archived, all, commits};
pub(crate) use cluster::Cluster;
pub(crate) use fleet::{Fleet, circle};
pub(crate) use proxy::Proxy;
pub(crate) use sentinel::Sentinels;
pub(crate) use server::{Program, RedisServer};

/// The time in which servers agree among themselves: an election without a winner is held again.
const ELECTIONS: Duration = Duration::from_secs(30);

/// Repeats a check until it is true, for facts that servers have to agree on.
async fn agreed(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let asking = async {
        let mut pause = interval(Duration::from_millis(20));
        while !ask().await {
            pause.tick().await;
        }
    };
    timeout(ELECTIONS, asking)
        .await
        .unwrap_or_else(|_| panic!("waited {ELECTIONS:?} for {what}"));
}
