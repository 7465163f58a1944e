//! The network between circled and Redis fails.

use std::time::Duration;

use tokio::time::sleep;

use super::faults;
use crate::harness::{
    load::Load,
    redis::{Fleet, Proxy, RedisServer},
    server::TestServer,
};

/// Gateways and workers, each kind with a network of its own.
struct Apart {
    _redis: RedisServer,
    /// The network of the gateways, and of the workers.
    networks: [Proxy; 2],
    gateways: Vec<TestServer>,
    _workers: Vec<TestServer>,
}

impl Apart {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let networks = [Proxy::to(redis.port()).await, Proxy::to(redis.port()).await];
        Self {
            gateways: Fleet::on(networks[0].url()).gateways(2).await,
            _workers: Fleet::on(networks[1].url()).workers(2).await,
            networks,
            _redis: redis,
        }
    }

    /// Returns the network of the gateways, of the workers, or both.
    fn network(&self, n: usize) -> impl Iterator<Item = &Proxy> {
        let both = self.networks.iter().enumerate();
        both.filter(move |(side, _)| n % 3 == 2 || n % 3 == *side)
            .map(|(_, network)| network)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_and_double_nothing() {
    let apart = Apart::start().await;
    let load = Load::on(&apart.gateways, 3);
    for n in faults(9) {
        load.progress(3 + n % 5).await;
        apart.network(n).for_each(Proxy::cut);
    }
    load.progress(5).await;
    load.finish(&apart.gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_stalls_loses_and_doubles_nothing() {
    let apart = Apart::start().await;
    let load = Load::on(&apart.gateways, 3);
    for n in faults(3) {
        load.progress(10).await;
        apart.network(n).for_each(Proxy::stall);
        // Longer than Redis may take to answer, and than a lease.
        sleep(Duration::from_millis(2500)).await;
        apart.network(n).for_each(Proxy::flow);
        load.progress(5).await;
    }
    load.finish(&apart.gateways[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_to_nothing_are_tried_again() {
    let apart = Apart::start().await;
    let load = Load::on(&apart.gateways, 2);
    for n in faults(3) {
        load.progress(5).await;
        apart.network(n).for_each(|network| {
            network.refuse();
            network.cut();
        });
        load.refusals(3).await;
        apart.network(n).for_each(Proxy::accept);
        load.progress(5).await;
    }
    load.finish(&apart.gateways[0]).await;
}
