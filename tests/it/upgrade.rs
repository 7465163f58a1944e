//! Upgrades under load: from an earlier version to this one, and back. `make upgrade` builds the earlier version and runs
//! these tests.
//!
//! `CIRCLED_TEST_EARLIER` is the path of its binary.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::harness::{
    load::{self, Load},
    redis::{Fleet, RedisServer},
    server::{Builder, ENDLESS, TestServer},
    webhooks::{scripted, taking_stripes},
};

/// The work of each kind that is done between two steps.
const WORK: usize = 30;

/// Returns the binary of the earlier version, and nothing for this one.
fn versions() -> [Option<PathBuf>; 2] {
    let earlier = env::var_os("CIRCLED_TEST_EARLIER");
    let earlier = earlier.expect("CIRCLED_TEST_EARLIER: the path of an earlier version's binary");
    [Some(earlier.into()), None]
}

fn of(version: Option<&Path>, builder: Builder) -> Builder {
    match version {
        Some(binary) => builder.binary(binary),
        None => builder,
    }
}

/// Asks a server to end, and waits until it has.
async fn stop(mut server: TestServer) {
    server.sigterm();
    let status = server.wait().await;
    assert!(status.success(), "a server ended with {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier version: `make upgrade`"]
async fn nothing_is_lost_while_a_cluster_is_upgraded_and_goes_back() {
    let [earlier, this] = versions();
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let gateway = async |version| of(version, fleet.builder()).start().await;
    let worker = async |version| of(version, fleet.builder().worker()).start().await;
    let earlier = earlier.as_deref();
    let mut gateways = vec![gateway(earlier).await, gateway(earlier).await];
    let mut workers = vec![worker(earlier).await, worker(earlier).await];
    let load = Load::of_all_kinds(&gateways, 3);
    load.progress(WORK).await;
    // One at a time, as docs/OPERATIONS.md says: workers first. On the way back, they are the last.
    for (is_worker, version) in [
        (true, this.as_deref()),
        (false, this.as_deref()),
        (false, earlier),
        (true, earlier),
    ] {
        for _ in 0..2 {
            if is_worker {
                stop(workers.remove(0)).await;
                workers.push(worker(version).await);
            } else {
                let old = gateways.remove(0);
                load.move_to(&gateways);
                stop(old).await;
                gateways.push(gateway(version).await);
                load.move_to(&gateways);
            }
            load.progress(WORK).await;
        }
    }
    // This version knows what to look for.
    let this = gateway(this.as_deref()).await;
    load.finish(&this).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier version: `make upgrade`"]
async fn nothing_is_lost_while_one_server_is_upgraded_and_goes_back() {
    let [earlier, this] = versions();
    let (_scripts, settings) = scripted(load::DELIVERY);
    let folder = tempfile::tempdir().unwrap();
    let start = async |version| {
        let builder = taking_stripes()
            .toml(&settings)
            .data(folder.path())
            .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "20ms")
            .env("CIRCLED_DISPATCH__DURABLE__RETRY_AT_MOST", "20ms")
            .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1000000")
            .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS);
        of(version, builder).start().await
    };
    let mut server = start(earlier.as_deref()).await;
    let load = Load::of_all_kinds(std::slice::from_ref(&server), 3);
    // Once more at the end: this version knows what to look for.
    for version in [this.as_deref(), earlier.as_deref(), this.as_deref()] {
        load.progress(WORK).await;
        stop(server).await;
        server = start(version).await;
        load.move_to([&server]);
    }
    load.progress(WORK).await;
    load.finish(&server).await;
}
