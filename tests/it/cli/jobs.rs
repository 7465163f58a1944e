//! `circled jobs` asks a gateway or a worker.

use circled_protocol::JobId;
use serde_json::Value;

use crate::harness::{
    command::circled_command,
    load::{delivery, session::ask},
    redis::{Fleet, RedisServer},
    server::{TestServer, eventually},
    webhooks::Said,
};

const SCRIPT: &str = r#"
    if !store.has("give in") { throw "not yet" }
    store.incr("runs", 1);
"#;

/// Returns the output of `circled jobs`.
fn jobs(server: &TestServer, arguments: &[&str]) -> String {
    let admin = format!("http://{}", server.admin_address().unwrap());
    let run = circled_command()
        .arg("jobs")
        .args(arguments)
        .args(["--url", &admin])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    String::from_utf8(run.stdout).unwrap()
}

#[tokio::test]
async fn a_dead_letter_can_be_looked_at_and_run_again_by_any_server() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::running(redis.url(), SCRIPT).with("DISPATCH__DURABLE__MAX_TRIES", 2);
    let (gateway, worker) = tokio::join!(fleet.gateway(), fleet.worker());
    let said = delivery(0, "evt_1").offer(gateway.address).await;
    assert_eq!(said, Some(Said::Kept));
    eventually("the job to be dead", async || {
        !jobs(&worker, &["list"]).is_empty()
    })
    .await;
    let line = jobs(&worker, &["list"]);
    assert_eq!(line, jobs(&gateway, &["list"]));
    assert!(
        line.contains("webhook:stripe") && line.contains("not yet"),
        "{line}"
    );
    let id = line.split(' ').next().unwrap();
    assert!(id.parse::<JobId>().is_ok());
    let shown: Value = circled_json::parse(jobs(&worker, &["show", id])).unwrap();
    assert_eq!(shown["tries"], 2);
    ask(&gateway, 0, r#"store.set("give in", true)"#).await;
    jobs(&worker, &["retry", id]);
    eventually("the job to be finished", async || {
        jobs(&worker, &["list", "--status", "finished"]).contains(id)
    })
    .await;
    assert_eq!(ask(&gateway, 0, r#"store.get("runs")"#).await, 1);
}
