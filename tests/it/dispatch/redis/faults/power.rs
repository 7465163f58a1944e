//! Machines lose power, and masters that have told their replicas nothing: nothing is lost that was answered, as
//! `dispatch.redis.durability` says.

use super::faults;
use crate::harness::{
    counting::{Counting, named},
    load::Load,
    redis::{Fleet, Program, Proxy, RedisServer},
    server::{TestServer, eventually},
};

const OPTIONS: [&str; 4] = [
    "--appendfsync",
    "always",
    // Otherwise it waits five seconds for more replicas.
    "--repl-diskless-sync-delay",
    "0",
];

/// Callers, providers and submitters at work.
struct Work {
    load: Load,
    counting: Counting,
}

impl Work {
    async fn on(gateways: &[TestServer]) -> Self {
        Self {
            load: Load::of_all_kinds(gateways, 3),
            counting: Counting::on(gateways, 3).await,
        }
    }

    async fn progress(&self, more: usize) {
        self.load.progress(more).await;
        self.counting.progress(more).await;
    }

    /// Waits until some of what is under way is answered, or refused.
    async fn goes_on(&self) {
        let (done, refused) = (self.load.done(), self.load.refused());
        eventually("work to be answered or refused", async || {
            self.load.done()[0] > done[0] + 5 || self.load.refused() > refused + 1
        })
        .await;
    }

    async fn finish(self, server: &TestServer) {
        self.counting.finish().await;
        self.load.finish(server).await;
    }
}

/// Starts gateways through this network, and workers.
async fn servers(network: &Proxy, durability: &str) -> (Vec<TestServer>, Vec<TestServer>) {
    let fleet = Fleet::on(network.url())
        .with("DISPATCH__REDIS__DURABILITY", durability)
        // Callers of plays that are gone wait for so long.
        .with("DISPATCH__JOB_TIMEOUT", "2s");
    let gateways = [
        named(fleet.builder()).start().await,
        named(fleet.builder()).start().await,
    ];
    (gateways.into(), fleet.workers(2).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_kills_and_power_cuts() {
    let mut redis = RedisServer::start_program(Program::Valkey, &OPTIONS).await;
    let network = Proxy::to(redis.port()).await;
    let (gateways, _workers) = servers(&network, "synced").await;
    let work = Work::on(&gateways).await;
    for n in faults(5) {
        work.progress(5 + n % 7).await;
        if n % 2 == 0 {
            // From now on, it syncs nothing, and what comes after this is not on the disk.
            redis.command(&["CONFIG", "SET", "appendfsync", "no"]).await;
            let number = n.to_string();
            let last = ["SET", "last", &number];
            redis.command(&last).await;
            work.goes_on().await;
            redis.cut_power(&last);
        }
        redis.restart().await;
    }
    work.progress(5).await;
    work.finish(&gateways[0]).await;
}

/// A replica that is told by this network.
async fn replicate(replica: &RedisServer, network: &Proxy) {
    let port = network.port().to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port]).await;
    eventually("the replica to be up to date", async || {
        let replication = replica.command(&["INFO", "replication"]).await;
        replication.contains("master_link_status:up")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_masters_that_had_told_nothing() {
    let mut master = RedisServer::start_program(Program::Valkey, &OPTIONS).await;
    let mut replica = RedisServer::start_program(Program::Valkey, &OPTIONS).await;
    let mut replication = Proxy::to(master.port()).await;
    replicate(&replica, &replication).await;
    let network = Proxy::to(master.port()).await;
    let (gateways, _workers) = servers(&network, "replicated").await;
    let work = Work::on(&gateways).await;
    for n in faults(2) {
        work.progress(5 + n % 7).await;
        replication.stall();
        work.goes_on().await;
        master.kill();
        replica.command(&["REPLICAOF", "NO", "ONE"]).await;
        network.move_to(replica.port());
        network.cut();
        // The other one is the replica now.
        master.restart().await;
        std::mem::swap(&mut master, &mut replica);
        replication = Proxy::to(master.port()).await;
        replicate(&replica, &replication).await;
    }
    work.progress(5).await;
    work.finish(&gateways[0]).await;
}
