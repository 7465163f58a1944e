//! The server is killed over and over while it works. Afterwards all acknowledged work is there, once.
//!
//! `CIRCLED_TEST_KILLS` sets the number of kills; `make soak` asks for many.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::watch, task::JoinSet, time::timeout};

use crate::harness::server::{OPEN, TestServer, Ws, circle, eventually, key, post};
use crate::webhooks::{Webhook, event, scripted, taking_stripes};

/// Counts each delivery under its own name, and all of them together; some fail the first time.
const COUNTING: &str = r#"
    // It fails until the number of plays is divisible by four: most fail at first, and few for long.
    let waits = EVENT.payload.data.object.stubborn && store.get("plays", 0) % 4 != 0;
    if waits && !store.has("again/" + EVENT.id) {
        throw "the first time is no good";
    }
    store.incr("deliveries", 1);
    store.incr("delivery/" + EVENT.id, 1);
"#;

/// The same for a play.
const PLAY: &str = r#"
    store.incr("plays", 1);
    store.incr("play/" + ARGS, 1);
"#;

/// The requests and their acknowledgements.
#[derive(Default)]
struct JobStore {
    next: AtomicU64,
    stop: AtomicBool,
    deliveries: Mutex<BTreeSet<String>>,
    plays: Mutex<BTreeMap<String, bool>>,
}

impl JobStore {
    fn name(&self) -> String {
        format!("{:08}", self.next.fetch_add(1, Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_doubled_through_kills() {
    let kills = std::env::var("CIRCLED_TEST_KILLS").map_or(30, |kills| kills.parse().unwrap());
    let (_scripts, settings) = scripted(COUNTING);
    let folder = tempfile::tempdir().unwrap();
    let start = || start(&settings, folder.path());
    let job_store = Arc::new(JobStore::default());
    let mut server = start().await;
    let (address, addresses) = watch::channel(server.address);
    let mut load = JoinSet::new();
    for _ in 0..4 {
        load.spawn(send_webhooks(job_store.clone(), addresses.clone()));
        load.spawn(play(job_store.clone(), addresses.clone()));
    }
    for n in 0..kills {
        // At a different stage of the work each time, after some work was done.
        let before = job_store.deliveries.lock().unwrap().len();
        eventually("work to be done", async || {
            job_store.deliveries.lock().unwrap().len() > before + n % 7
        })
        .await;
        server.kill();
        server = start().await;
        address.send(server.address).unwrap();
    }
    job_store.stop.store(true, Ordering::Relaxed);
    load.join_all().await;
    // Deliveries that fail the first time wait for a word.
    let mut session = server.log_in(&key(1)).await;
    eventually("all jobs to be over", async || {
        // A job that was hit three times in a row while it ran was given up, which is right: nobody can tell it from a
        // job that kills. With enough kills, that happens.
        for job in dead(&server).await {
            assert_eq!(job["crashes"], 3, "{job}");
            let path = format!("/jobs/{}/retry", job["job_id"].as_str().unwrap());
            let admin = server.admin_address().unwrap();
            post(admin, &path, &HeaderMap::new(), b"").await;
        }
        let pending = server.jobs(OPEN).await;
        for job in &pending {
            let script = format!(
                "store.set(\"again/{}\", true)",
                job["event_id"].as_str().unwrap()
            );
            session.play(&script).await.unwrap();
        }
        pending.is_empty() && dead(&server).await.is_empty()
    })
    .await;
    check(&job_store, &mut session).await;
}

async fn dead(server: &TestServer) -> Vec<Value> {
    server.jobs("dead").await
}

async fn check(job_store: &JobStore, session: &mut Ws) {
    let counts = async |session: &mut Ws, prefix: &str| -> BTreeMap<String, u64> {
        let script = format!(
            "let all = []; for key in store.keys(\"{prefix}/\") {{ all.push([key, store.get(key)]) }} all"
        );
        let all = session.play(&script).await.unwrap()["value"].take();
        let pair = |pair: &Value| {
            let name = pair[0].as_str().unwrap().split_once('/').unwrap().1;
            (name.to_owned(), pair[1].as_u64().unwrap())
        };
        all.as_array().unwrap().iter().map(pair).collect()
    };
    let total = async |session: &mut Ws, name: &str| {
        let script = format!("store.get(\"{name}\")");
        session.play(&script).await.unwrap()["value"]
            .as_u64()
            .unwrap()
    };
    // Every delivery was sent until it was acknowledged.
    let acknowledged = job_store.deliveries.lock().unwrap().clone();
    let kept = counts(session, "delivery").await;
    assert!(kept.values().all(|count| *count == 1), "doubled: {kept:?}");
    let kept: BTreeSet<String> = kept.into_keys().collect();
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(kept, acknowledged);
    assert_eq!(
        total(session, "deliveries").await,
        acknowledged.len() as u64
    );
    // A play without a reply has happened or not, but not twice.
    let plays = job_store.plays.lock().unwrap().clone();
    let kept = counts(session, "play").await;
    assert!(kept.values().all(|count| *count == 1), "doubled: {kept:?}");
    let lost: Vec<_> = plays
        .iter()
        .filter(|(name, replied)| **replied && !kept.contains_key(*name))
        .collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(kept.keys().all(|name| plays.contains_key(name)));
    assert_eq!(total(session, "plays").await, kept.len() as u64);
    eprintln!("{} deliveries, {} plays", acknowledged.len(), kept.len());
}

async fn start(settings: &str, data: &Path) -> TestServer {
    taking_stripes()
        .toml(settings)
        .data(data)
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "20ms")
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AT_MOST", "20ms")
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1000000")
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", "1000000000")
        .start()
        .await
}

/// Sends each delivery until it is acknowledged, like providers do.
async fn send_webhooks(job_store: Arc<JobStore>, addresses: watch::Receiver<std::net::SocketAddr>) {
    while !job_store.stop.load(Ordering::Relaxed) {
        let name = job_store.name();
        let stubborn = name.ends_with('7');
        let body =
            event(&name).replace("\"amount\"", &format!("\"stubborn\":{stubborn},\"amount\""));
        loop {
            // Signed anew each time.
            let webhook = Webhook::stripe(&body);
            let address = *addresses.borrow();
            if try_send(address, &webhook).await == Some(200) {
                job_store.deliveries.lock().unwrap().insert(name);
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Returns the status, if there was a response.
async fn try_send(address: std::net::SocketAddr, webhook: &Webhook) -> Option<u16> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let signature = webhook.headers["stripe-signature"].to_str().unwrap();
    let head = format!(
        "POST /webhooks/stripe/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nStripe-Signature: {signature}\r\nContent-Length: {}\r\n\r\n",
        circle(),
        webhook.body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(&webhook.body).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    };
    timeout(Duration::from_secs(10), exchange)
        .await
        .ok()
        .flatten()
}

async fn play(job_store: Arc<JobStore>, mut addresses: watch::Receiver<std::net::SocketAddr>) {
    while !job_store.stop.load(Ordering::Relaxed) {
        let address = *addresses.borrow_and_update();
        let url = format!("ws://{address}/{}", circle());
        let session = circled_client::Client::connect(&url).await;
        let Ok(client) = session else {
            tokio::task::yield_now().await;
            continue;
        };
        if client
            .authenticate(&key(3), circled_protocol::Scheme::Eip191)
            .await
            .is_err()
        {
            continue;
        }
        while !job_store.stop.load(Ordering::Relaxed) {
            let name = job_store.name();
            job_store.plays.lock().unwrap().insert(name.clone(), false);
            let options = circled_client::Options {
                args: json!(name),
                timeout_ms: None,
            };
            match client.play_with(PLAY, &options).await {
                Ok(_) => {
                    job_store.plays.lock().unwrap().insert(name, true);
                }
                Err(circled_client::Error::Rpc(error)) => {
                    // It keeps colliding, or too much is under way: nothing has happened.
                    assert!(
                        [-32009, -32005, -32007, -32004].contains(&error.code),
                        "{error:?}"
                    );
                }
                Err(_) => break,
            }
        }
    }
}
