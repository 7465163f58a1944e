//! Upgrades under load: from an earlier version to this one, and back. `make upgrade` builds the earlier version and runs
//! these tests.
//!
//! `CIRCLED_TEST_EARLIER` is the path of its binary.

use std::{
    env,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::harness::{
    calls::ok,
    load::{self, Load, delivery},
    redis::{Fleet, RedisServer, fleet::circle},
    server::{Builder, ENDLESS, TestServer, Ws, eventually, key},
    webhooks::{Said, scripted, taking_stripes},
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

/// Returns the numbers of dead jobs that the owner is told: in a list, and of all.
async fn dead(owner: &mut Ws) -> (usize, u64) {
    let params = json!({ "kind": "delivery", "status": "dead" });
    let list = ok(owner, "list_jobs", params).await;
    let usage = ok(owner, "usage", json!({})).await;
    let listed = list["jobs"].as_array().unwrap().len();
    (listed, usage["jobs"]["dead"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier version: `make upgrade`"]
async fn dead_jobs_are_found_whichever_version_has_run_them() {
    let [earlier, this] = versions();
    let (earlier, this) = (earlier.as_deref(), this.as_deref());
    let redis = RedisServer::start().await;
    let script = "if !store.has(\"mended\") { throw \"no\" } store.incr(\"runs\", 1)";
    let fleet = Fleet::running(redis.url(), script).with("DISPATCH__DURABLE__MAX_TRIES", 1);
    let gateway = async |version| of(version, fleet.builder()).start().await;
    let worker = async |version| of(version, fleet.builder().worker()).start().await;
    let deliver = async |server: &TestServer, names: std::ops::Range<u32>| {
        for name in names {
            let said = delivery(0, format!("evt_{name}"))
                .offer(server.address)
                .await;
            assert_eq!(said, Some(Said::Kept));
        }
        eventually("all to be over", async || {
            server.jobs("pending,running").await.is_empty()
        })
        .await;
    };
    let log_in = async |server: &TestServer| {
        let mut owner = server.connect_to(circle(0)).await;
        owner.login(&key(100)).await;
        owner
    };
    let (old_gateway, old_worker) = (gateway(earlier).await, worker(earlier).await);
    deliver(&old_gateway, 0..5).await;
    let new_gateway = gateway(this).await;
    let mut owner = log_in(&new_gateway).await;
    assert_eq!(dead(&mut owner).await, (5, 5));
    deliver(&new_gateway, 5..7).await;
    assert_eq!(dead(&mut owner).await, (7, 7));
    // Between two looks, one more is dead, and an earlier gateway has another one run again: they are as many as before.
    deliver(&old_gateway, 7..8).await;
    owner.play("store.set(\"mended\", true)").await.unwrap();
    stop(old_worker).await;
    let one = new_gateway.jobs("dead").await[0]["job_id"].clone();
    let mut old_owner = log_in(&old_gateway).await;
    ok(&mut old_owner, "retry_job", json!([one])).await;
    let _new_worker = worker(this).await;
    eventually("the other one to be in the lists", async || {
        dead(&mut owner).await == (7, 7)
    })
    .await;
    owner.play("store.delete(\"mended\")").await.unwrap();
    deliver(&old_gateway, 8..9).await;
    assert_eq!(dead(&mut owner).await, (8, 8));
    // An earlier gateway has one run again.
    owner.play("store.set(\"mended\", true)").await.unwrap();
    let one = new_gateway.jobs("dead").await[0]["job_id"].clone();
    ok(&mut old_owner, "retry_job", json!([one])).await;
    eventually("it to leave the lists", async || {
        dead(&mut owner).await == (7, 7)
    })
    .await;
    let done = ok(&mut owner, "retry_dead", json!({ "expect": 7 })).await;
    assert_eq!(done["retried"], 7, "{done}");
    eventually("all to have run", async || {
        owner.play("store.get(\"runs\")").await.unwrap()["value"] == 9
    })
    .await;
    assert_eq!(dead(&mut owner).await, (0, 0));
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
