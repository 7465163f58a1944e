//! SIGHUP: the settings are read again, and nothing ends that need not.

use std::{io::Write, path::PathBuf};

use circled_protocol::PublicKey;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        backend::on_both,
        command::circled_command,
        redis::RedisServer,
        server::{Builder, Received, TestServer, circle, eventually, key, within},
        webhooks::SECRET,
    },
    store::disk,
};

/// A settings file that can be rewritten.
struct File {
    path: PathBuf,
    _folder: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Self {
            path: folder.path().join("circled.toml"),
            _folder: folder,
        };
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).unwrap();
    }

    /// Replaces it by a pipe, which ends when somebody has written to it.
    fn has_no_end(&self) {
        std::fs::remove_file(&self.path).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &self.path, mode).unwrap();
    }

    fn server(&self) -> Builder {
        TestServer::builder().config(&self.path)
    }

    /// Rewrites the file, and has the server read it.
    async fn changes(&self, server: &mut TestServer, text: &str, changed: &str) -> Value {
        self.write(text);
        server.signal(Signal::HUP);
        server
            .logged("what has changed", |line| {
                line["message"] == "the settings were read again" && line["changed"] == changed
            })
            .await
    }
}

/// Returns the settings of a closed server with these circles and members.
fn closed(circles: &[(PublicKey, &str)]) -> String {
    let mut text = "[circles]\nopen = false\n".to_owned();
    for (circle, lines) in circles {
        text += &format!("[[circle]]\nkey = \"{circle}\"\n{lines}\n");
    }
    text
}

fn members(seeds: &[u8]) -> String {
    let keys: Vec<String> = seeds
        .iter()
        .map(|seed| format!("\"{}\"", key(*seed).public()))
        .collect();
    format!("members = [{}]", keys.join(", "))
}

async fn changeable_settings_change_and_others_are_named() {
    let one = closed(&[(circle(), &members(&[2]))]);
    let file = File::new(&one);
    let mut server = file.server().start().await;
    let mut session = server.log_in(&key(2)).await;
    session.play("40 + 2").await.unwrap();
    let other = key(5).public();
    let two = closed(&[(circle(), &members(&[2, 3])), (other, "")]);
    let text = format!(
        "{two}[log]\nlevel = \"debug\"\n[session]\nmax_batch = 3\n[store]\nmax_event = \"8KiB\"\n"
    );
    let line = file.changes(&mut server, &text, "log.level, circle").await;
    assert_eq!(line["sessions_ended"], 0, "{line}");
    let waiting = server
        .logged("what needs a restart", |line| {
            line["message"] == "settings that need a restart have changed"
        })
        .await;
    assert_eq!(waiting["settings"], "session.max_batch, store.max_event");
    let run = session.play("40 + 3").await.unwrap();
    server
        .logged("a line of the new level", |line| {
            line["level"] == "DEBUG" && line.to_string().contains(run["job_id"].as_str().unwrap())
        })
        .await;
    let mut third = server.log_in(&key(3)).await;
    assert_eq!(third.whoami().await["role"], "member");
    let mut owner = server.connect_to(other).await;
    owner.login(&key(5)).await;
    owner.play("1").await.unwrap();
    // And back again.
    file.changes(&mut server, &two, "log.level").await;
    server.sigterm();
    assert!(server.wait().await.success());
}

/// The file is a pipe: it is open once the server reads it, and so has begun.
#[tokio::test]
async fn sighup_does_not_end_a_server_that_is_starting() {
    for command in ["serve", "worker"] {
        let file = File::new("");
        file.has_no_end();
        let mut server = circled_command()
            .args([command, "--config"])
            .arg(&file.path)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let path = file.path.clone();
        let opened = move || std::fs::OpenOptions::new().write(true).open(path);
        let mut pipe = within("its reader", tokio::task::spawn_blocking(opened))
            .await
            .unwrap()
            .unwrap();
        let pid = rustix::process::Pid::from_child(&server);
        rustix::process::kill_process(pid, Signal::HUP).unwrap();
        pipe.write_all(b"no settings").unwrap();
        drop(pipe);
        let ended = tokio::task::spawn_blocking(move || server.wait());
        let status = within("its end", ended).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(1), "{command}: {status}");
    }
}

async fn doubts_are_told_of_what_runs() {
    const DOUBT: &str = "session.pong_timeout = ";
    let file = File::new("");
    let mut server = file.server().start().await;
    // It needs a restart: nothing of it is in force.
    let text = "[session]\nping_interval = \"5s\"\n[log]\nlevel = \"debug\"\n";
    file.changes(&mut server, text, "log.level").await;
    server.sigterm();
    assert!(server.wait().await.success());
    let log = server.whole_log().await;
    assert!(!log.contains(DOUBT), "{log}");
    // A server started with it keeps it, whatever the file says.
    let mut server = file.server().start().await;
    file.changes(&mut server, "", "log.level").await;
    server.sigterm();
    assert!(server.wait().await.success());
    let log = server.whole_log().await;
    assert_eq!(log.matches(DOUBT).count(), 2, "{log}");
}

async fn sessions_end_where_somebody_may_do_less() {
    let other = key(5).public();
    let both = closed(&[(circle(), &members(&[2, 3])), (other, "")]);
    let file = File::new(&both);
    let mut server = file.server().start().await;
    let session = server.log_in(&key(2)).await;
    let mut elsewhere = server.connect_to(other).await;
    elsewhere.login(&key(5)).await;
    let fewer = closed(&[(circle(), &members(&[2])), (other, "")]);
    let line = file.changes(&mut server, &fewer, "circle").await;
    assert_eq!(line["sessions_ended"], 1, "{line}");
    assert_eq!(session.closed().await, 1012);
    let mut session = server.log_in(&key(3)).await;
    assert_eq!(session.play("1").await.unwrap_err()["code"], -32003);
    let mut session = server.log_in(&key(2)).await;
    session.play("1").await.unwrap();

    let gone = closed(&[(other, "play = \"anyone\"")]);
    file.changes(&mut server, &gone, "circle").await;
    assert_eq!(session.closed().await, 1008);
    let answer = server.upgrade(&format!("/{}", circle()), &[]).await;
    assert_eq!(answer.status, 404);
    elsewhere.play("1").await.unwrap();
    let mut anyone = server.connect_to(other).await;
    anyone.play("1").await.unwrap();
}

async fn live_queries_run_again_for_other_members() {
    let file = File::new(&closed(&[(circle(), &members(&[2]))]));
    let mut server = file.server().start().await;
    let mut session = server.log_in(&key(2)).await;
    let script = "[members.list().len(), members.has(ARGS)]";
    let watch = json!({ "script": script, "args": key(3).public() });
    let begun = session.call("watch", watch).await.unwrap();
    assert_eq!(begun["value"], json!([2, false]));
    let more = closed(&[(circle(), &members(&[2, 3]))]);
    let line = file.changes(&mut server, &more, "circle").await;
    assert_eq!(line["sessions_ended"], 0, "{line}");
    assert_eq!(session.value().await["value"], json!([3, true]));
}

async fn whoever_is_removed_is_told_no_value_of_it() {
    let file = File::new(&closed(&[(circle(), &members(&[2, 3]))]));
    let mut server = file.server().start().await;
    let mut session = server.log_in(&key(3)).await;
    let watch = json!({ "script": "members.list().len()" });
    assert_eq!(session.call("watch", watch).await.unwrap()["value"], 3);
    let fewer = closed(&[(circle(), &members(&[2]))]);
    file.changes(&mut server, &fewer, "circle").await;
    loop {
        match session.next().await {
            Received::Text(text) => assert!(!text.contains("\"value\":"), "{text}"),
            Received::Close(code, _) => break assert_eq!(code, 1012),
            Received::Gone => panic!("it is closed"),
        }
    }
    let mut session = server.log_in(&key(2)).await;
    let watch = json!({ "script": "members.list().len()" });
    assert_eq!(session.call("watch", watch).await.unwrap()["value"], 2);
}

async fn a_call_under_way_is_answered_before_its_session_ends() {
    let file = File::new(&closed(&[(circle(), &members(&[2]))]));
    let mut server = file
        .server()
        .env(
            "CIRCLED_SCRIPT__MAX_OPERATIONS",
            crate::harness::server::ENDLESS,
        )
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let script = crate::harness::server::busy(std::time::Duration::from_millis(1500), "7");
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "play", "params": [script] });
    session.send_text(call.to_string()).await;
    // Requests are read in their order: once this one is answered, the play is under way.
    let next = json!({ "jsonrpc": "2.0", "id": 2, "method": "whoami" });
    session.send_text(next.to_string()).await;
    assert_eq!(session.json().await["id"], 2);
    let none = closed(&[(key(5).public(), "")]);
    file.changes(&mut server, &none, "circle").await;
    let answer = session.json().await;
    assert_eq!(answer["result"]["value"], 7, "{answer}");
    assert_eq!(session.closed().await, 1008);
}

async fn with_a_mistake_in_them_the_old_settings_stay() {
    let right = closed(&[(circle(), &members(&[2]))]);
    let file = File::new(&right);
    let mut server = file.server().start().await;
    let mut session = server.log_in(&key(2)).await;
    file.write("[circles]\nopen = false\n[log]\nlevel = \"inof\"\n[session]\nmax_bach = 1\n[webhooks.stripe]\nscript = \"none.rhai\"\n");
    server.signal(Signal::HUP);
    for key in ["log.level", "session.max_bach", "none.rhai"] {
        server
            .logged(key, |line| {
                line["message"] == "a setting is wrong"
                    && line["problem"].as_str().unwrap().contains(key)
            })
            .await;
    }
    server
        .logged("that nothing has changed", |line| {
            line.to_string().contains("the old ones stay in force")
        })
        .await;
    session.play("1").await.unwrap();
    std::fs::remove_file(&file.path).unwrap();
    server.signal(Signal::HUP);
    server
        .logged("that there is no file", |line| {
            line.to_string().contains("cannot be read")
        })
        .await;
    session.play("1").await.unwrap();
    file.changes(
        &mut server,
        &format!("{right}[log]\nlevel = \"debug\""),
        "log.level",
    )
    .await;
}

async fn an_open_server_is_judged_by_its_address() {
    let past = "[server]\nlisten = \"0.0.0.0:0\"\npublic_url = \"ws://localhost\"\n[script]\nmax_source = \"100B\"\n";
    let right = format!("{past}{}", closed(&[(circle(), &members(&[2]))]));
    let file = File::new(&right);
    let mut server = file.server().listens_as_set().start().await;
    // A restart could apply each of these; the running server can't.
    let open = "[server]\nlisten = \"127.0.0.1:0\"\n[circles]\nopen = true\n";
    let long = format!(
        "{}[webhooks.stripe]\nscript = \"long.rhai\"\n",
        right.replace("max_source = \"100B\"", "max_source = \"1KiB\"")
    );
    std::fs::write(file.path.with_file_name("long.rhai"), " ".repeat(500)).unwrap();
    for (text, key, waiting) in [
        (open, "circles.open", "server.listen"),
        (&long, "webhooks.stripe.script", "script.max_source"),
    ] {
        file.write(text);
        server.signal(Signal::HUP);
        server
            .logged(key, |line| {
                line["message"] == "a setting does not fit those that wait for a restart"
                    && line["problem"].as_str().unwrap().starts_with(key)
            })
            .await;
        server
            .logged("what a restart is needed for", |line| {
                let message = line["message"].as_str().unwrap_or_default();
                message.contains("without a restart")
                    && line["settings"].as_str().unwrap().contains(waiting)
            })
            .await;
        let answer = server.upgrade(&format!("/{}", key_of_nobody()), &[]).await;
        assert_eq!(answer.status, 404, "it is as closed as before");
    }
    // The settings that it can apply are applied.
    let two = format!("{past}{}", closed(&[(circle(), &members(&[2, 3]))]));
    file.changes(&mut server, &two, "circle").await;
}

/// The server's end doesn't wait for it, either.
async fn a_file_that_has_no_end_keeps_nothing_waiting() {
    let file = File::new(&closed(&[(circle(), "")]));
    let mut server = file.server().start().await;
    file.has_no_end();
    server.signal(Signal::HUP);
    let mut owner = server.log_in(&key(1)).await;
    assert_eq!(owner.play("1").await.unwrap()["value"], 1);
    server.sigterm();
    assert_eq!(server.wait().await.code(), Some(0));
}

/// A file that is written without end doesn't fill the memory of the server.
async fn a_file_that_goes_on_and_on_is_read_up_to_a_bound() {
    let file = File::new(&closed(&[(circle(), "")]));
    let mut server = file.server().start().await;
    let path = file.path.clone();
    file.has_no_end();
    server.signal(Signal::HUP);
    let endless = move || {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        // It ends once nobody reads any more.
        while pipe.write_all(&[b'#'; 1 << 16]).is_ok() {}
    };
    let written = tokio::task::spawn_blocking(endless);
    server
        .logged("that it is too large", |line| {
            let problem = line["problem"].as_str().unwrap_or_default();
            problem.ends_with("circled.toml cannot be read: it is larger than 16777216 bytes")
        })
        .await;
    within("its writer to be told", written).await.unwrap();
    let mut owner = server.log_in(&key(1)).await;
    assert_eq!(owner.play("1").await.unwrap()["value"], 1);
}

async fn a_signal_while_the_settings_are_read_is_told_and_not_lost() {
    let text = closed(&[(circle(), "")]);
    let file = File::new(&text);
    let mut server = file.server().start().await;
    file.has_no_end();
    server.signal(Signal::HUP);
    // The server has the file open once somebody can write to it.
    let path = file.path.clone();
    let open = move || std::fs::OpenOptions::new().write(true).open(path);
    let open = tokio::task::spawn_blocking(open);
    let mut end = within("the file to be read", open).await.unwrap().unwrap();
    server.signal(Signal::HUP);
    server
        .logged("that it is still read", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("the settings are still being read")
        })
        .await;
    std::fs::remove_file(&file.path).unwrap();
    file.write(&format!("{text}[log]\nlevel = \"debug\""));
    end.write_all(text.as_bytes()).unwrap();
    drop(end);
    for changed in ["", "log.level"] {
        server
            .logged("what has changed", |line| {
                line["message"] == "the settings were read again" && line["changed"] == changed
            })
            .await;
    }
}

fn key_of_nobody() -> PublicKey {
    key(9).public()
}

async fn a_secret_and_a_script_of_webhooks_are_read_again() {
    let file =
        File::new("[webhooks.stripe]\nsecrets = [\"file:secret\"]\nscript = \"stripe.rhai\"");
    let beside = |name: &str| file.path.with_file_name(name);
    std::fs::write(beside("secret"), "another secret\n").unwrap();
    std::fs::write(beside("stripe.rhai"), "emit(\"was\", 1)").unwrap();
    let mut server = file.server().start().await;
    assert_eq!(disk::deliver(&server, "evt_1").await.status, 401);
    // The settings are the same, but the content of their files isn't.
    std::fs::write(beside("secret"), SECRET).unwrap();
    std::fs::write(beside("stripe.rhai"), "emit(\"is\", 1)").unwrap();
    server.signal(Signal::HUP);
    server
        .logged("that both have changed", |line| {
            line["changed"] == "webhooks.stripe.secrets, webhooks.stripe.script"
        })
        .await;
    eventually("the delivery to be taken", async || {
        disk::deliver(&server, "evt_2").await.status == 200
    })
    .await;
    let mut session = server.log_in(&key(1)).await;
    session
        .call("subscribe", json!({ "since": 0 }))
        .await
        .unwrap();
    let event = session.json().await;
    assert_eq!(event["params"]["topic"], "is", "{event}");
    server.sigterm();
    assert!(server.wait().await.success());
}

on_both!(
    a_file_that_has_no_end_keeps_nothing_waiting,
    a_file_that_goes_on_and_on_is_read_up_to_a_bound,
    a_signal_while_the_settings_are_read_is_told_and_not_lost,
    changeable_settings_change_and_others_are_named,
    doubts_are_told_of_what_runs,
    sessions_end_where_somebody_may_do_less,
    live_queries_run_again_for_other_members,
    whoever_is_removed_is_told_no_value_of_it,
    a_call_under_way_is_answered_before_its_session_ends,
    with_a_mistake_in_them_the_old_settings_stay,
    an_open_server_is_judged_by_its_address,
    a_secret_and_a_script_of_webhooks_are_read_again,
);

#[tokio::test]
async fn a_worker_reads_its_settings_again() {
    let redis = RedisServer::start().await;
    let file = File::new("");
    let mut worker = file.server().worker().redis(redis.url()).start().await;
    let changed = file
        .changes(&mut worker, "[log]\nlevel = \"debug\"", "log.level")
        .await;
    assert_eq!(changed["sessions_ended"], 0);
    file.write("[log]\nlevel = \"loud\"");
    worker.signal(Signal::HUP);
    worker
        .logged("the mistake", |line| {
            line["message"] == "a setting is wrong"
        })
        .await;
    worker.sigterm();
    assert!(worker.wait().await.success());
}

#[tokio::test]
async fn workers_that_go_by_other_rules_are_told_of() {
    let redis = RedisServer::start().await;
    let start = async |builder: Builder| {
        let builder = builder.env("CIRCLED_DISPATCH__REDIS__NAMESPACE", "one");
        let builder = builder.env("CIRCLED_DISPATCH__REDIS__WORKER", "false");
        builder.redis(redis.url()).start().await
    };
    let one = closed(&[(circle(), &members(&[2]))]);
    let two = closed(&[(circle(), &members(&[2, 3]))]);
    let file = File::new(&two);
    let mut gateway = start(file.server()).await;
    let old = File::new(&one);
    let mut worker = start(old.server().worker()).await;
    let differing = async || {
        let ready = gateway.admin("/readyz").await.json();
        ready["workers_with_other_rules"].clone()
    };
    eventually("the worker to be seen", async || differing().await == 1).await;
    gateway
        .logged("that it differs", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            line["workers"] == 1 && message.contains("have other rules than this gateway")
        })
        .await;
    old.changes(&mut worker, &two, "circle").await;
    gateway
        .logged("that it doesn't any more", |line| {
            line["message"] == "all workers have the rules of this gateway"
        })
        .await;
    let ready = gateway.admin("/readyz").await.json();
    assert_eq!(ready["workers"], 1, "{ready}");
    assert!(ready.get("workers_with_other_rules").is_none(), "{ready}");
}

#[tokio::test]
async fn nothing_that_waits_is_ended_by_a_lost_terminal() {
    // Redis isn't there, and the server waits for it.
    let mut server = TestServer::builder()
        .redis("redis://127.0.0.1:1")
        .start()
        .await;
    for _ in 0..3 {
        server.signal(Signal::HUP);
    }
    server
        .logged("that it read the settings", |line| {
            line["message"] == "the settings were read again"
        })
        .await;
    server.sigterm();
    assert!(server.wait().await.success());
}
