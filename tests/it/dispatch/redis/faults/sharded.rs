//! A cluster of three nodes and more.

use super::faults;

use crate::harness::{
    load::Load,
    redis::{Cluster, Fleet},
};

/// Enough circles for most partitions to have one.
const CIRCLES: u8 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_does_what_one_redis_does() {
    let cluster = Cluster::start(3, 0).await;
    let fleet = Fleet::on(cluster.url());
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(2).await;
    let load = Load::on(&gateways, CIRCLES);
    load.progress(80).await;
    assert_eq!(load.refused(), 0);
    load.finish(&gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_of_a_cluster_syncs_what_it_has() {
    let mut cluster = Cluster::start_synced(3).await;
    let fleet = Fleet::on(cluster.url())
        .with("DISPATCH__REDIS__PARTITIONS", 8)
        .with("DISPATCH__REDIS__DURABILITY", "synced");
    let gateways = fleet.gateways(2).await;
    let _workers = fleet.workers(1).await;
    let load = Load::on(&gateways, 8);
    load.progress(20).await;
    assert_eq!(load.refused(), 0);
    for n in faults(2) {
        load.progress(20).await;
        cluster.nodes[n % 3].restart().await;
    }
    load.progress(20).await;
    load.finish(&gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_while_circles_work_in_them() {
    let cluster = Cluster::start(3, 0).await;
    let fleet = Fleet::on(cluster.url()).with("DISPATCH__REDIS__PARTITIONS", 4);
    let gateways = fleet.gateways(1).await;
    let _workers = fleet.workers(2).await;
    let load = Load::on(&gateways, 8);
    for n in faults(2) {
        load.progress(20).await;
        let tag = format!("{{circled:{:02}}}", n % 4);
        let slot = cluster.slot_of(&tag).await;
        let from = cluster.master_of(slot).await;
        cluster.move_slot(slot, from, (from + 1) % 3).await;
    }
    load.progress(20).await;
    load.finish(&gateways[0]).await;
}
