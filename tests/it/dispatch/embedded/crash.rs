//! The server is killed over and over while it works. Afterwards all acknowledged work is there, once.
//!
//! `CIRCLED_TEST_KILLS` sets the number of kills; `make soak` asks for many.

use std::path::Path;

use crate::harness::{
    counting::{Counting, named},
    load::{self, Load},
    server::{ENDLESS, TestServer},
    webhooks::{scripted, taking_stripes},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_doubled_through_kills() {
    let (_scripts, settings) = scripted(load::DELIVERY);
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(&settings, folder.path()).await;
    let load = Load::without_rest(&server);
    for n in 0..kills(30) {
        // At a different stage of the work each time, after some work was done.
        load.deliveries(1 + n % 7).await;
        server.kill();
        server = start(&settings, folder.path()).await;
        load.move_to([&server]);
    }
    load.finish_after_kills(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_ids_happen_once_through_kills() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        named(TestServer::builder().data(folder.path()))
            .start()
            .await
    };
    let mut servers = [start().await];
    let counting = Counting::on(&servers, 6).await;
    for n in 0..kills(5) {
        counting.progress(5 + n % 7).await;
        let [server] = servers;
        server.kill();
        servers = [start().await];
        counting.move_to(&servers);
    }
    counting.progress(5).await;
    counting.finish().await;
}

fn kills(few: usize) -> usize {
    std::env::var("CIRCLED_TEST_KILLS").map_or(few, |kills| kills.parse().unwrap())
}

async fn start(settings: &str, data: &Path) -> TestServer {
    taking_stripes()
        .toml(settings)
        .data(data)
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "20ms")
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AT_MOST", "20ms")
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1000000")
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await
}
