//! A master fails, and its replica takes over.

use super::faults;

use crate::{
    harness::{
        load::Load,
        redis::{Cluster, Fleet, Sentinels},
        server::{circle, key},
    },
    rpc::watches::{FOLLOWED, Followers, WRITES},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clusters_failover_loses_no_acknowledged_delivery() {
    let mut cluster = Cluster::start(3, 1).await;
    let fleet = Fleet::on(cluster.url())
        .with("DISPATCH__REDIS__PARTITIONS", 4)
        .with("DISPATCH__REDIS__MIN_REPLICAS", 1);
    let gateways = fleet.gateways(1).await;
    let _workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 8);
    for n in faults(1) {
        load.progress(20).await;
        let tag = format!("{{circled:{:02}}}", n % 4);
        let slot = cluster.slot_of(&tag).await;
        let master = cluster.master_of(slot).await;
        cluster.fail_master(master);
        cluster.master_of(slot).await;
        // It is a replica now: without it, no delivery would be acknowledged.
        cluster.nodes[master].restart().await;
        load.progress(20).await;
    }
    load.finish_after_failovers(&gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinels_failover_loses_no_acknowledged_delivery() {
    let mut redis = Sentinels::start().await;
    let fleet = Fleet::on(redis.url()).with("DISPATCH__REDIS__MIN_REPLICAS", 1);
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 3);
    for _ in faults(1) {
        load.progress(20).await;
        redis.kill_master().await;
        // The failed one is a replica now: without it, no delivery would be acknowledged.
        redis.replace_replica().await;
        load.progress(20).await;
    }
    load.finish_after_failovers(&gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_has_the_last_value_after_failovers() {
    let mut redis = Sentinels::start().await;
    let fleet = Fleet::on(redis.url());
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(1).await;
    let addresses: Vec<_> = gateways
        .iter()
        .map(|gateway| gateway.url(circle()))
        .collect();
    let followers = Followers::of(&addresses, &FOLLOWED);
    let mut writer = gateways[0].log_in(&key(2)).await;
    for _ in faults(1) {
        for _ in 0..50 {
            writer.play(WRITES).await.unwrap();
        }
        // What it hasn't told the replica yet is lost.
        redis.kill_master().await;
        redis.replace_replica().await;
        let mut landed = 0;
        while landed < 20 {
            landed += usize::from(writer.play(WRITES).await.is_ok());
        }
    }
    followers.agree_with(&mut writer, &FOLLOWED).await;
}
