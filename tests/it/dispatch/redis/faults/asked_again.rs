//! Calls with ids are asked again while gateways, workers and Redis are killed.

use futures_util::future::join_all;

use super::faults;
use crate::harness::{
    counting::{Counting, named},
    redis::{Fleet, RedisServer},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_ids_happen_once_whatever_is_killed() {
    // With a sync each second, it would answer before it has written while a sync is slow.
    let mut redis = RedisServer::start_with(&["--appendfsync", "always"]).await;
    let fleet = Fleet::on(redis.url());
    let gateway = async || named(fleet.builder()).start().await;
    let mut gateways = join_all([gateway(), gateway()]).await;
    let mut workers = fleet.workers(2).await;
    let counting = Counting::on(&gateways, 6).await;
    for n in faults(6) {
        counting.progress(5 + n % 7).await;
        match n % 3 {
            0 => {
                gateways.remove(0).kill();
                gateways.push(gateway().await);
                counting.move_to(&gateways);
            }
            1 => {
                workers.remove(0).kill();
                workers.push(fleet.worker().await);
            }
            _ => redis.restart().await,
        }
    }
    counting.progress(5).await;
    counting.finish().await;
}
