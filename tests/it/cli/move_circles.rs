//! `circled move` and `circled backup` with Redis, and what is left of those that are killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::harness::{
    command::circled_command,
    redis::RedisServer,
    server::{TestServer, Ws, key},
};

/// Settings files in a folder, and data folders beside them.
struct Places(tempfile::TempDir);

impl Places {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns a settings file with a data folder.
    fn folder(&self, name: &str) -> PathBuf {
        let data = self.path(name);
        self.settings(name, &format!("[dispatch.embedded]\ndata_dir = {data:?}\n"))
    }

    /// Returns a settings file with a namespace of Redis.
    fn namespace(&self, redis: &RedisServer, name: &str, partitions: u16) -> PathBuf {
        let url = redis.url();
        let settings = format!(
            "[dispatch]\nbackend = \"redis\"\n[dispatch.redis]\nurl = \"{url}\"\nnamespace = \"{name}\"\n\
             partitions = {partitions}\nlease = \"4s\"\n"
        );
        self.settings(name, &settings)
    }

    fn settings(&self, name: &str, settings: &str) -> PathBuf {
        let file = self.path(&format!("{name}.toml"));
        fs::write(&file, settings).unwrap();
        file
    }
}

fn circled(arguments: &[&str]) -> Command {
    let mut command = circled_command();
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn moving(from: &Path, to: &Path) -> Command {
    circled(&[
        "move",
        "--from",
        from.to_str().unwrap(),
        "--to",
        to.to_str().unwrap(),
    ])
}

fn ok(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns what a command says that must fail.
fn fails(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Writes values that together take some MiB.
const FILL: &str = r#"
    let text = "";
    for n in 0..4000 { text += (n * n * 7919).to_string(); }
    for n in 0..200 { store.set("fill/" + n, text); }
    store.push("done/", 1);
"#;

async fn fill(server: &TestServer) {
    let mut session = server.log_in(&key(2)).await;
    session.play(FILL).await.unwrap();
}

async fn count(session: &mut Ws) -> i64 {
    let run = session.play("store.count(\"fill/\")").await.unwrap();
    run["value"].as_i64().unwrap()
}

async fn kill_after(mut command: Command, milliseconds: u64) {
    let mut running = command.spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    running.kill().unwrap();
    running.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_whole_or_nothing_and_leaves_the_source() {
    let (places, redis) = (Places::new(), RedisServer::start().await);
    let (from, to) = (places.folder("data"), places.namespace(&redis, "town", 3));
    let none = fails(moving(&from, &to));
    assert!(none.contains("there is no data folder"), "{none}");
    let server = TestServer::builder()
        .data(&places.path("data"))
        .start()
        .await;
    fill(&server).await;
    let served = fails(moving(&from, &to));
    assert!(served.contains("nothing was moved"), "{served}");
    server.kill();

    let at_server = || TestServer::builder().config(&to);
    for milliseconds in [20, 60, 100, 150, 200] {
        kill_after(moving(&from, &to), milliseconds).await;
        let keys = redis.command(&["KEYS", "{town*"]).await;
        let agreed = redis
            .command(&["HGET", "{town}:agreement", "partitions"])
            .await;
        if agreed == "3" {
            // It was done by then.
            redis.command(&["FLUSHALL"]).await;
            continue;
        }
        if !agreed.is_empty() {
            let (status, said) = at_server().give_up().await;
            assert!(!status.success());
            assert!(said.contains("isn't finished"), "{said}");
        } else {
            assert!(!keys.contains("store"), "{keys}");
        }
        // A minute later.
        redis.command(&["DEL", "{town}:restore"]).await;
    }
    let moved = ok(moving(&from, &to));
    assert!(
        moved.starts_with("moved 1 circles: 202 entries, 0 events, 0 jobs, 0 marks"),
        "{moved}"
    );

    let full = fails(moving(&from, &to));
    assert!(full.contains("isn't empty"), "{full}");
    let server = at_server()
        .env("CIRCLED_DISPATCH__REDIS__WORKER", true)
        .start()
        .await;
    assert_eq!(count(&mut server.log_in(&key(2)).await).await, 200);
    let back = places.folder("back");
    let served = fails(moving(&to, &back));
    assert!(
        served.contains("servers use the namespace \"town\""),
        "{served}"
    );
    assert!(!places.path("back").exists());
    // The source is as it was.
    let server = TestServer::builder()
        .data(&places.path("data"))
        .start()
        .await;
    assert_eq!(count(&mut server.log_in(&key(2)).await).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_redis_that_is_killed_leaves_nothing_for_long() {
    let (places, redis) = (Places::new(), RedisServer::start().await);
    let settings = places.namespace(&redis, "town", 3);
    let server = TestServer::builder()
        .config(&settings)
        .env("CIRCLED_DISPATCH__REDIS__WORKER", true)
        .start()
        .await;
    fill(&server).await;
    let file = places.path("archive");
    let create = || {
        let settings = settings.to_str().unwrap();
        circled(&[
            "backup",
            "create",
            "--config",
            settings,
            file.to_str().unwrap(),
        ])
    };
    for milliseconds in [20, 50, 80, 120] {
        kill_after(create(), milliseconds).await;
        let left = redis.command(&["KEYS", "{town*backup*"]).await;
        for key in left.lines() {
            let time = redis.command(&["PTTL", key]).await;
            assert!(
                (0..=60_000).contains(&time.parse().unwrap()),
                "{key}: {time}"
            );
        }
        // A minute later.
        redis.command(&["DEL", "{town}:backup"]).await;
        let _ = fs::remove_file(&file);
    }
    ok(create());
    assert_eq!(redis.command(&["KEYS", "{town*backup*"]).await, "");
    let restored = places.namespace(&redis, "restored", 7);
    let arguments = ["backup", "restore", "--config", restored.to_str().unwrap()];
    ok(circled(
        &[&arguments[..], &[file.to_str().unwrap()]].concat(),
    ));
    let server = TestServer::builder()
        .config(&restored)
        .env("CIRCLED_DISPATCH__REDIS__WORKER", true)
        .start()
        .await;
    assert_eq!(count(&mut server.log_in(&key(2)).await).await, 200);
}
