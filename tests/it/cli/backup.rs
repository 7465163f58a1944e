//! `circled backup`, while a server serves, and when something goes wrong.

use std::{
    fs,
    os::unix::fs::chown,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::harness::{
    command::circled_command,
    server::{TestServer, Ws, eventually, key},
};

/// Returns `circled backup` for a data folder, and the admin listener of its server if it has one.
fn backup(data: &Path, server: Option<&TestServer>, arguments: &[&str]) -> Command {
    circled(data, server, &[&["backup"], arguments].concat())
}

/// Returns a command for a data folder.
fn circled(data: &Path, server: Option<&TestServer>, arguments: &[&str]) -> Command {
    let mut command = circled_command();
    command
        .args(arguments)
        .env("CIRCLED_DISPATCH__EMBEDDED__DATA_DIR", data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(admin) = server.and_then(TestServer::admin_address) {
        command.env("CIRCLED_SERVER__ADMIN_LISTEN", admin.to_string());
    }
    command
}

fn ok(mut command: Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{said}");
    String::from_utf8(stdout).unwrap()
}

/// Returns what a command says that must fail.
fn fails(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn number(session: &mut Ws, script: &str) -> u64 {
    let run = session.play(script).await.unwrap();
    run["value"].as_u64().unwrap()
}

/// Writes values that together take some MiB.
const FILL: &str = r#"
    let text = "";
    for n in 0..4000 { text += (n * n * 7919).to_string(); }
    for n in 0..40 { store.set("fill/" + ARGS + "/" + n, text); }
"#;

async fn fill(session: &mut Ws, times: u32) {
    for n in 0..times {
        let filled = json!({ "script": FILL, "args": n.to_string() });
        session.call("play", filled).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_backed_up_while_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("archive"));
    let server = TestServer::builder().data(&data).start().await;
    let mut session = server.log_in(&key(2)).await;
    fill(&mut session, 4).await;
    // Half of a commit is never in it.
    let write = "store.incr(\"one\", 1); store.incr(\"other\", 1)";
    let acknowledged = number(&mut session, write).await;
    let mut running = backup(&data, Some(&server), &["create", "--json", text(&file)])
        .spawn()
        .unwrap();
    let mut last = acknowledged;
    while running.try_wait().unwrap().is_none() {
        last = number(&mut session, write).await;
    }
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let made: Value = circled_json::parse(output.stdout).unwrap();
    assert_eq!(made["circles"], 1);
    assert_eq!(made["entries"], 4 * 40 + 2);
    let again = fails(backup(&data, Some(&server), &["create", text(&file)]));
    assert!(again.contains("it exists already"), "{again}");
    server.kill();

    let restored = folder.path().join("restored");
    ok(backup(&restored, None, &["restore", text(&file)]));
    let server = TestServer::builder().data(&restored).start().await;
    let mut session = server.log_in(&key(2)).await;
    let one = number(&mut session, "store.get(\"one\")").await;
    let other = number(&mut session, "store.get(\"other\")").await;
    assert_eq!(one, other);
    assert!(
        (acknowledged..=last).contains(&one),
        "{acknowledged} {one} {last}"
    );
    let events = session.play("store.keys(\"fill/\").len()").await.unwrap();
    assert_eq!(events["value"], 4 * 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_leaves_no_file_and_hinders_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("archive"));
    let server = TestServer::builder().data(&data).start().await;
    let mut session = server.log_in(&key(2)).await;
    fill(&mut session, 6).await;
    for _ in 0..5 {
        let mut running = backup(&data, Some(&server), &["create", text(&file)])
            .spawn()
            .unwrap();
        let partial = folder.path().join("archive.partial");
        eventually("it to be written", async || {
            let begun = fs::metadata(&partial).is_ok_and(|file| file.len() > 0);
            begun || running.try_wait().unwrap().is_some()
        })
        .await;
        running.kill().unwrap();
        running.wait().unwrap();
        let _ = fs::remove_file(&file);
    }
    // The server may not have noticed yet that nobody reads.
    eventually("another backup", async || {
        let made = backup(&data, Some(&server), &["create", text(&file)]).output();
        made.unwrap().status.success()
    })
    .await;
    assert_eq!(ok(backup(&data, None, &["verify", text(&file)])), "ok\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_is_whole_or_nothing_and_takes_an_empty_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let [data, restored, file] =
        ["data", "restored", "archive"].map(|name| folder.path().join(name));
    let server = TestServer::builder().data(&data).start().await;
    let mut session = server.log_in(&key(2)).await;
    fill(&mut session, 6).await;
    server.kill();
    ok(backup(&data, None, &["create", text(&file)]));

    let full = fails(backup(&data, None, &["restore", text(&file)]));
    assert!(
        full.contains("has data already") && full.contains(text(&data)),
        "{full}"
    );

    // A damaged file leaves nothing.
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = folder.path().join("damaged");
    fs::write(&damaged, &bytes).unwrap();
    let said = fails(backup(&restored, None, &["restore", text(&damaged)]));
    assert!(said.contains("it is damaged"), "{said}");
    fs::write(&damaged, &bytes[..middle]).unwrap();
    let said = fails(backup(&restored, None, &["verify", text(&damaged)]));
    assert!(said.contains("it ends too early"), "{said}");
    fs::write(&damaged, "something else, and long enough").unwrap();
    let said = fails(backup(&restored, None, &["info", text(&damaged)]));
    assert!(said.contains("it is no archive of circled"), "{said}");
    assert!(!restored.exists());

    // One that is killed counts as empty.
    for milliseconds in [5, 20, 40, 60] {
        let mut running = backup(&restored, None, &["restore", text(&file)])
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        running.kill().unwrap();
        running.wait().unwrap();
        if restored.join("format").exists() {
            // It was done by then.
            fs::remove_dir_all(&restored).unwrap();
        }
    }
    ok(backup(&restored, None, &["restore", text(&file)]));
    let server = TestServer::builder().data(&restored).start().await;
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(number(&mut session, "store.keys(\"\").len()").await, 6 * 40);
}

/// Stores a number in a circle whose key is that of a seed.
async fn store(server: &TestServer, seed: u8, value: u8) {
    let mut session = server.connect_to(key(seed).public()).await;
    session.login(&key(2)).await;
    let set = format!("store.set(\"n\", {value})");
    session.play(&set).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_circle_is_exported_and_put_beside_others() {
    let folder = tempfile::tempdir().unwrap();
    let [data, others, file, again] =
        ["data", "others", "circle", "again"].map(|name| folder.path().join(name));
    let (wanted, other) = (key(1).public().to_string(), key(9).public());
    let server = TestServer::builder().data(&data).start().await;
    store(&server, 9, 1).await;
    let mut session = server.log_in(&key(2)).await;
    fill(&mut session, 6).await;
    let made = ok(circled(
        &data,
        Some(&server),
        &["circle", "export", &wanted, text(&file)],
    ));
    assert!(
        made.contains(&wanted) && made.contains("circles   1"),
        "{made}"
    );
    let unknown = key(33).public().to_string();
    let said = fails(circled(
        &data,
        Some(&server),
        &["circle", "export", &unknown, text(&again)],
    ));
    assert!(
        said.contains("there is no circle") && !again.exists(),
        "{said}"
    );
    // One after another.
    for _ in 0..5 {
        let export = ["circle", "export", &wanted, text(&again)];
        ok(circled(&data, Some(&server), &export));
        fs::remove_file(&again).unwrap();
    }
    server.kill();

    let server = TestServer::builder().data(&others).start().await;
    store(&server, 9, 2).await;
    server.kill();
    let import = ["circle", "import", text(&file)];
    for milliseconds in [5, 20, 40, 60] {
        let mut running = circled(&others, None, &import).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        running.kill().unwrap();
        running.wait().unwrap();
        // It is there wholly, or not at all.
        let output = circled(&others, None, &["circle", "export", &wanted, text(&again)])
            .output()
            .unwrap();
        if output.status.success() {
            fs::remove_file(&again).unwrap();
            fs::remove_dir_all(&others).unwrap();
            let server = TestServer::builder().data(&others).start().await;
            store(&server, 9, 2).await;
            server.kill();
        }
    }
    ok(circled(&others, None, &import));
    let said = fails(circled(&others, None, &import));
    assert!(
        said.contains(&format!("has the circle {wanted} already")),
        "{said}"
    );
    ok(circled(
        &others,
        None,
        &["circle", "export", &wanted, text(&again)],
    ));
    let info = |file: &Path| ok(backup(&others, None, &["info", "--json", text(file)]));
    let [before, after] =
        [info(&file), info(&again)].map(|info| circled_json::parse(info).unwrap());
    assert_eq!(before["contents"], after["contents"]);

    let whole = folder.path().join("whole");
    ok(backup(&others, None, &["create", text(&whole)]));
    let said = fails(circled(&data, None, &["circle", "import", text(&whole)]));
    assert!(said.contains("is not of one circle"), "{said}");
    let server = TestServer::builder().data(&others).start().await;
    let mut session = server.connect_to(other).await;
    session.login(&key(2)).await;
    assert_eq!(number(&mut session, "store.get(\"n\")").await, 2);
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(number(&mut session, "store.keys(\"\").len()").await, 6 * 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_leaves_no_files_in_the_folder_of_another_user() {
    // Nobody else can give a folder away.
    if !geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("archive"));
    TestServer::builder().data(&data).start().await.kill();
    chown(&data, Some(12_345), None).unwrap();
    let create = ["create", text(&file)];
    let said = fails(backup(&data, None, &create));
    assert!(said.contains("belongs to another user"), "{said}");
    assert!(!file.exists());
    // A server is asked, and writes as the one who it is.
    let server = TestServer::builder().data(&data).start().await;
    ok(backup(&data, Some(&server), &create));
}
