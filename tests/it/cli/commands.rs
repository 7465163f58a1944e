//! The commands that log in to a circle, as their user sees them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use circled_protocol::SecretKey;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{
    command::{circled_command, without_settings},
    server::{PATIENCE, TestServer, circle, key},
};

/// A user at a terminal, who has the owner's key and one of their own.
pub(super) struct Shell {
    pub(super) url: String,
    pub(super) folder: TempDir,
}

/// The result of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Shell {
    pub(super) fn new(server: &TestServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shell = Self {
            url: server.url(circle()),
            folder,
        };
        shell.write_key("owner.key", &key(1));
        shell.write_key("me.key", &key(2));
        shell
    }

    fn write_key(&self, name: &str, key: &SecretKey) {
        self.write(name, &key.to_hex());
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.folder.path().join(name), private).unwrap();
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Builds a command line in which `URL` stands for the circle. Words are separated by spaces, except for the `last`
    /// ones.
    pub(super) fn command(&self, line: &str, last: &[&str]) -> Command {
        let mut command = circled_command();
        command
            .args(line.split(' ').map(|word| match word {
                "URL" => &self.url,
                word => word,
            }))
            .args(last)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub(super) fn run(&self, line: &str, last: &[&str]) -> Ran {
        self.command(line, last).output().unwrap().into()
    }

    /// Returns the output of a command that must succeed.
    pub(super) fn ok(&self, line: &str, last: &[&str]) -> String {
        let ran = self.run(line, last);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.stdout.trim_end().to_owned()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[tokio::test]
async fn scripts_are_put_called_listed_and_deleted() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    assert_eq!(
        shell.run("script list URL --key me.key", &[]).stderr,
        "no scripts; `circled script put` puts one\n"
    );
    let source = "// no line end\n`hello ${ARGS.name}`";
    shell.write("greet.rhai", source);
    let version = shell.ok("script put URL --key owner.key greet greet.rhai", &[]);
    assert_eq!(version.len(), 64);
    let again = shell.run("script put URL --key owner.key greet greet.rhai", &[]);
    assert_eq!(
        (again.stdout.trim_end(), again.stderr.as_str()),
        (version.as_str(), "greet is at this version already\n")
    );
    shell.write("broken.rhai", "let x = ");
    let misnamed = shell.run("script put URL --key owner.key ../x broken.rhai", &[]);
    assert_eq!(misnamed.code, 2, "{misnamed:?}");
    assert!(
        misnamed.stderr.contains("a script's name has"),
        "{misnamed:?}"
    );
    let called = shell.ok(
        "call URL --key me.key greet --args",
        &[r#"{"name": "Ada"}"#],
    );
    assert_eq!(called, "hello Ada");
    let got = shell.run("script get URL --key owner.key greet", &[]);
    assert_eq!(got.stdout, source, "byte for byte");

    shell.write("greet.rhai", "throw \"no\"");
    shell.ok("script put URL --key owner.key greet greet.rhai", &[]);
    let failed = shell.run("call URL --key me.key greet", &[]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("no\n --> greet:1:1\n"), "{failed:?}");
    // Older versions are for callers who may manage, and may be abbreviated.
    let call = "call URL --args {\"name\":1} greet --version";
    let not_mine = shell.run(&format!("{call} {version} --key me.key"), &[]);
    assert_eq!(not_mine.code, 5, "{not_mine:?}");
    let old = shell.ok(&format!("{call} {} --key owner.key", &version[..10]), &[]);
    assert_eq!(old, "hello 1");
    let versions = shell.ok("script get URL --key owner.key greet --versions", &[]);
    assert!(
        versions.lines().count() == 2 && versions.lines().nth(1).unwrap().starts_with(&version)
    );
    let list = shell.ok("script list URL --key me.key --json", &[]);
    let list: Value = circled_json::parse(&list).unwrap();
    assert_eq!(
        (&list["name"], &list["put_by"]),
        (&"greet".into(), &circle().to_string().into())
    );

    shell.write("broken.rhai", "let a = 1;\nlet b = ;");
    let broken = shell.run("script put URL --key owner.key broken broken.rhai", &[]);
    assert_eq!(broken.code, 1);
    assert!(
        broken
            .stderr
            .contains(" --> broken.rhai:2:9\n  |\n2 | let b = ;\n  |         ^"),
        "{}",
        broken.stderr
    );
    let forbidden = shell.run("script put URL --key me.key greet greet.rhai", &[]);
    assert_eq!(forbidden.code, 5);
    assert!(
        forbidden.stderr.contains("needs the role owner"),
        "{forbidden:?}"
    );
    let missing = shell.run("call URL --key me.key nobody", &[]);
    assert_eq!(missing.code, 8);
    assert!(
        missing.stderr.contains("no script \"nobody\""),
        "{missing:?}"
    );

    assert_eq!(
        shell.ok("script delete URL --key owner.key greet", &[]),
        "deleted greet"
    );
    assert_eq!(
        shell.ok("script delete URL --key owner.key greet", &[]),
        "there was no script greet"
    );
}

#[tokio::test]
async fn jobs_are_submitted_shown_stopped_and_run_again() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    let job = shell.ok(
        "jobs submit URL --key me.key --idempotency-key k",
        &["40 + 2"],
    );
    let again = shell.run(
        "jobs submit URL --key me.key --idempotency-key k",
        &["40 + 2"],
    );
    assert_eq!(again.stdout.trim_end(), job);
    assert!(again.stderr.contains("earlier"), "{again:?}");
    let shown = loop {
        let shown = shell.ok("jobs show URL --key me.key", &[&job]);
        let shown: Value = circled_json::parse(&shown).unwrap();
        if shown["status"] == "finished" {
            break shown;
        }
    };
    assert_eq!(shown["value"], 42);

    let later = shell.ok(
        "jobs submit URL --key me.key --run-at 2027-11-01T00:00:00Z",
        &["1"],
    );
    let pending = shell.ok("jobs list URL --key me.key --status pending", &[]);
    assert!(
        pending.starts_with(&later) && pending.lines().count() == 1,
        "{pending}"
    );
    let others = shell.run(
        "jobs show URL --key me.key",
        &["019ab1c2-0000-7000-8000-000000000000"],
    );
    assert_eq!(others.code, 8, "{others:?}");
    let not_dead = shell.run("jobs retry URL --key me.key", &[&later]);
    assert_eq!(
        (not_dead.code, not_dead.stderr.as_str()),
        (
            1,
            "the job is neither dead nor cancelled: only such a job can be retried\n"
        )
    );
    assert_eq!(
        shell.ok("jobs stop URL --key me.key", &[&later]),
        "cancelled"
    );
    assert_eq!(
        shell.ok("jobs stop URL --key me.key", &[&later]),
        "the job was over already"
    );
    assert_eq!(
        shell.ok("jobs retry URL --key me.key", &[&later]),
        "it runs again"
    );
    let all = shell.ok("jobs list URL --key owner.key --json", &[]);
    assert_eq!(all.lines().count(), 2);

    let broken = shell.run("jobs submit URL --key me.key", &["1 +"]);
    assert_eq!(broken.code, 1);
    assert!(broken.stderr.contains("1 | 1 +\n"), "{broken:?}");
    let two_places = shell.run("jobs list URL --key me.key --url http://127.0.0.1:1", &[]);
    assert_eq!(two_places.code, 2, "{two_places:?}");
    let no_key = shell.run("jobs list URL", &[]);
    assert_eq!(no_key.code, 2, "{no_key:?}");
}

#[tokio::test]
async fn all_that_is_dead_runs_again_after_a_count() {
    let server = TestServer::builder()
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
        .start()
        .await;
    let shell = Shell::new(&server);
    let until_dead = |dead: usize| {
        let since = std::time::Instant::now();
        loop {
            let list = shell.ok("jobs list URL --key owner.key --status dead", &[]);
            if list.lines().count() == dead {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{list}");
        }
    };
    shell.write("a.rhai", "throw \"broken\"");
    let broken = shell.ok("script put URL --key owner.key a a.rhai", &[]);
    for _ in 0..3 {
        shell.ok("jobs submit URL --key me.key --name a", &[]);
    }
    let other = shell.ok("jobs submit URL --key me.key", &["throw 1"]);
    until_dead(4);
    let counted = shell.run("jobs retry URL --key owner.key --all-dead", &[]);
    assert_eq!(
        (counted.code, counted.stderr.as_str()),
        (1, "4 jobs are dead; with --yes, they run again\n")
    );
    let own = shell.run("jobs retry URL --key me.key --all-dead", &[]);
    assert_eq!(own.stderr, "4 jobs are dead; with --yes, they run again\n");
    let usage = shell.ok("usage URL --key owner.key", &[]);
    let lines: Vec<_> = usage.lines().collect();
    assert!(
        lines[0] == "keys    0" && lines[3] == "jobs    0 open, 0 ended, 4 dead",
        "{usage}"
    );
    assert!(
        lines[1].ends_with(" of 268435456 (0 %)") && lines[2].starts_with("events  "),
        "{usage}"
    );
    let usage = shell.ok("usage URL --key owner.key --json", &[]);
    let usage: Value = circled_json::parse(&usage).unwrap();
    assert_eq!(usage["jobs"]["dead"], 4);
    let listed = shell.ok(
        "jobs list URL --key owner.key --kind submitted --script a",
        &[],
    );
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let deliveries = shell.ok("jobs list URL --key owner.key --kind delivery", &[]);
    assert_eq!(deliveries, "");
    shell.write("a.rhai", "1");
    let mended = shell.ok("script put URL --key owner.key a a.rhai", &[]);
    assert_eq!(
        shell.ok(
            "jobs retry URL --key owner.key --all-dead --script a --yes",
            &[]
        ),
        "3 of 3 run again"
    );
    until_dead(1);
    // The operator can look, too; the result names the version that ran.
    let admin = format!("http://{}", server.admin_address().unwrap());
    let all = shell.ok(
        &format!(
            "jobs retry --all-dead --yes --json --circle {} --url {admin}",
            circle()
        ),
        &[],
    );
    assert_eq!(all, "{\"found\":1,\"retried\":1}");
    until_dead(1);
    let none = shell.ok(
        &format!("jobs retry --all-dead --yes --script b --url {admin}"),
        &[],
    );
    assert_eq!(none, "no dead jobs");
    let one = shell.ok(
        "jobs submit URL --key me.key --run-at 2027-11-01T00:00:00Z --name a",
        &[],
    );
    for (place, version) in [("URL --key owner.key", &broken), ("", &mended)] {
        shell.ok("jobs stop URL --key me.key", &[&one]);
        let place = if place.is_empty() {
            format!("--url {admin} --version {}", &version[..7])
        } else {
            format!("{place} --version {version}")
        };
        let said = shell.ok(&format!("jobs retry {place}"), &[&one]);
        assert_eq!(said, format!("it runs again, with version {version}"));
    }
    let listed = shell.ok(
        &format!("jobs list --status dead,pending --url {admin}"),
        &[],
    );
    let ids: Vec<_> = listed
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(ids, [&other, &one]);
    for line in listed.lines() {
        assert!(line.contains(&circle().to_string()), "{line}");
    }
}

#[tokio::test]
async fn a_server_may_be_dialled_by_another_name() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__PUBLIC_URL", "wss://circles.example.org")
        .start()
        .await;
    let shell = Shell::new(&server);
    let refused = shell.run("play URL --key me.key", &["1"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    let there = shell.ok(
        "play URL --key me.key --origin wss://circles.example.org",
        &["1"],
    );
    assert_eq!(there, "1");
    let events = shell.run(
        "events URL --key me.key --origin wss://circles.example.org",
        &[],
    );
    assert_eq!(events.code, 0, "{events:?}");
    let other = shell.run(
        "play URL --key me.key --origin wss://other.example.org",
        &["1"],
    );
    assert_eq!(other.code, 4, "{other:?}");
    let nonsense = shell.run("play URL --key me.key --origin nonsense", &["1"]);
    assert_eq!(nonsense.code, 2, "{nonsense:?}");
}

#[test]
fn keygen_shows_a_public_key_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| -> Ran {
        let mut command = circled_command();
        command
            .arg("keygen")
            .args(arguments)
            .current_dir(folder.path());
        command.output().unwrap().into()
    };
    let made = run(&["me.key"]);
    let before = std::fs::read(folder.path().join("me.key")).unwrap();
    let shown = run(&["--show", "me.key"]);
    assert_eq!(
        (shown.code, &shown.stdout, shown.stderr.as_str()),
        (0, &made.stdout, "")
    );
    assert_eq!(std::fs::read(folder.path().join("me.key")).unwrap(), before);
    assert_eq!(run(&["--show", "other.key"]).code, 1);
    assert!(!folder.path().join("other.key").exists());
}

#[tokio::test]
async fn members_come_and_go() {
    let server = TestServer::builder()
        .toml(format!(
            "[circles]\nopen = false\n[[circle]]\nkey = \"{}\"\nmembers = [\"{}\"]",
            circle(),
            key(9).public()
        ))
        .start()
        .await;
    let shell = Shell::new(&server);
    let me = key(2).public().to_string();
    let outside = shell.run("play URL --key me.key", &["1"]);
    assert_eq!(outside.code, 5);
    assert!(
        outside.stderr.contains("circled members add"),
        "{outside:?}"
    );
    let mine = shell.run("members add URL --key me.key", &[&me]);
    assert_eq!(mine.code, 5, "{mine:?}");
    assert_eq!(
        shell.ok("members add URL --key owner.key", &[&me]),
        format!("added {me}")
    );
    assert_eq!(
        shell.ok("members add URL --key owner.key", &[&me]),
        format!("{me} is a member already")
    );
    assert_eq!(shell.ok("play URL --key me.key", &["1"]), "1");
    let list = shell.ok("members list URL --key owner.key", &[]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(
        lines[0] == format!("{}  in the server's settings", key(9).public())
            && lines[1].starts_with(&format!("{me}  since 20")),
        "{list}"
    );
    let fixed = shell.run(
        "members remove URL --key owner.key",
        &[&key(9).public().to_string()],
    );
    assert!(
        fixed.code == 2 && fixed.stderr.contains("settings"),
        "{fixed:?}"
    );
    assert_eq!(
        shell.ok("members remove URL --key owner.key", &[&me]),
        format!("removed {me}")
    );
    assert_eq!(shell.run("play URL --key me.key", &["1"]).code, 5);
}

/// A running command and its output, line by line.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    /// Waits for a matching line.
    fn line(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("waited for {what}"));
            if is_so(&line) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(mut command: Command) -> Running {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    for output in [
        Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>,
        Box::new(child.stderr.take().unwrap()),
    ] {
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let _ = sender.send(line.unwrap());
            }
        });
    }
    Running { child, lines }
}

#[tokio::test]
async fn events_are_printed_and_followed_through_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::builder().data(data.path()).start().await;
    let address = server.address;
    let shell = Shell::new(&server);
    assert_eq!(shell.ok("events URL --key me.key", &[]), "");
    shell.ok(
        "play URL --key me.key",
        &["emit(\"chat.a\", 1); emit(\"other\", 2); emit(\"chat.b\", #{ x: 3 })"],
    );
    let all = shell.ok("events URL --key me.key", &[]);
    let words: Vec<&str> = all.split_whitespace().collect();
    assert_eq!((words[0], &words[2..4]), ("1", &["chat.a", "1"][..]));
    assert_eq!(all.lines().count(), 3, "{all}");
    let some = shell.ok("events URL --key me.key chat. --since 1 --json", &[]);
    let some: Value = circled_json::parse(&some).unwrap();
    assert_eq!((&some["id"], &some["data"]["x"]), (&3.into(), &3.into()));

    let following = start(shell.command("events URL --key me.key chat. --since 0 --follow", &[]));
    following.line("the last event", |line| line.contains("chat.b"));
    server.kill();
    following.line("the loss", |line| line.contains("trying again in"));
    let server = TestServer::builder()
        .data(data.path())
        .env("CIRCLED_SERVER__LISTEN", address)
        .start()
        .await;
    following.line("the connection", |line| line == "connected again");
    shell.ok("play URL --key me.key", &["emit(\"chat.c\", 4)"]);
    let next = following.line("the next event", |_| true);
    assert!(next.starts_with("4 ") && next.contains("chat.c"), "{next}");
    drop(server);
}

#[tokio::test]
async fn values_are_printed_whenever_they_change_through_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::builder().data(data.path()).start().await;
    let address = server.address;
    let shell = Shell::new(&server);
    shell.write("n.rhai", "[ARGS, store.get(\"n\")]");
    shell.ok("script put URL --key owner.key n n.rhai", &[]);
    let watching = start(shell.command("watch URL --key me.key n --args 7", &[]));
    let set = |n: u8| {
        shell.ok(
            "play URL --key me.key",
            &[&format!("store.set(\"n\", {n})")],
        )
    };
    watching.line("the first value", |line| line == "[7,null]");
    set(1);
    watching.line("another value", |line| line == "[7,1]");
    server.kill();
    watching.line("the loss", |line| line.contains("trying again in"));
    let server = TestServer::builder()
        .data(data.path())
        .env("CIRCLED_SERVER__LISTEN", address)
        .start()
        .await;
    watching.line("the connection", |line| line == "connected again");
    set(2);
    let next = watching.line("the next value", |_| true);
    assert_eq!(next, "[7,2]", "what it was before isn't printed again");
    shell.write("n.rhai", "throw \"no\"");
    shell.ok("script put URL --key owner.key n n.rhai", &[]);
    watching.line("the failure", |line| line.contains("fails now"));
    let missing = shell.run("watch URL --key me.key missing", &[]);
    assert_eq!(missing.code, 8, "{missing:?}");
    let json = start(shell.command("watch URL --key me.key --json --script", &["1 + 1"]));
    json.line("a value", |line| line == "{\"value\":2}");
    drop(server);
}

#[tokio::test]
async fn the_prompt_reads_runs_and_remembers() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    shell.ok("play URL --key me.key", &["store.set(\"user/ada\", 7)"]);
    shell.write("greet.rhai", "`hi ${ARGS}`");
    shell.ok("script put URL --key owner.key greeting greet.rhai", &[]);
    let mut prompt = Terminal::open(&shell, "repl URL --key me.key");
    prompt.shows("> ");
    prompt.answers("40 +\r", "input:1:5");
    prompt.answers("fn f(x) {\r x * 2 } f(21)\r", "\r\n42");
    prompt.types("store.get(\"us\t");
    prompt.shows("user/ada");
    prompt.answers("\")\r", "\r\n7");
    prompt.types(":call gr\t");
    prompt.shows(":call greeting");
    prompt.answers(" \"Bob\"\r", "hi Bob");
    prompt.answers("unfinished(\x03", "unfinished(");
    prompt.answers("loop {}\r", "operations");
    prompt.answers(" 1 + 1 // not remembered\r", "\r\n2");
    prompt.types("\x04");
    assert!(prompt.ends());
    let history = shell.folder.path().join("state/circled/history");
    let kept = std::fs::read_to_string(&history).unwrap();
    assert!(
        kept.contains("fn f(x) {") && !kept.contains("not remembered"),
        "{kept}"
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&history), mode(history.parent().unwrap())),
        (0o600, 0o700)
    );
}

#[tokio::test]
async fn ctrl_c_at_the_prompt_stops_what_runs() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", 1_000_000_000_000_u64)
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "60s")
        .start()
        .await;
    let shell = Shell::new(&server);
    let mut prompt = Terminal::open(&shell, "repl URL --key me.key");
    prompt.shows("> ");
    prompt.types("loop {}\r");
    // While the editor has the terminal, Ctrl-C drops the input, which is empty.
    prompt.types("\x03");
    while !prompt.showed("cancelled", Duration::from_millis(200)) {
        prompt.types("\x03");
    }
    prompt.shows("> ");
    prompt.answers("6 * 7\r", "\r\n42");
    prompt.types(":quit\r");
    assert!(prompt.ends());
}

#[tokio::test]
async fn an_answer_that_cannot_be_written_fails() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    shell.write("one.rhai", "print(1); 1");
    shell.write("input", "1\n");
    shell.ok("script put URL --key owner.key one one.rhai", &[]);
    let job = shell.ok("jobs submit URL --key me.key 1", &[]);
    let admin = format!("http://{}", server.admin_address().unwrap());
    for line in [
        "play URL --key me.key 1",
        "play URL --key me.key 1 --json",
        "call URL --key me.key one",
        "script put URL --key owner.key two one.rhai",
        "script get URL --key owner.key one",
        "script list URL --key me.key",
        "script delete URL --key owner.key two",
        "jobs submit URL --key me.key 1",
        "jobs list URL --key me.key",
        "jobs list URL --key me.key --json",
        &format!("jobs show URL --key me.key {job}"),
        &format!("jobs stop URL --key me.key {job}"),
        "events URL --key me.key",
        &format!("members add URL --key owner.key {}", key(3).public()),
        "members list URL --key owner.key",
        "usage URL --key owner.key",
        "repl URL --key me.key",
        "keygen new.key",
        "config show",
        "config check",
        &format!("health {admin}"),
        "--help",
        "--version",
        "play --help",
    ] {
        shell.ok("play URL --key me.key", &["emit(\"a\", 1)"]);
        let mut command = shell.command(line, &[]);
        let full = std::fs::File::create("/dev/full").unwrap();
        let input = std::fs::File::open(shell.folder.path().join("input")).unwrap();
        let output = command.stdout(full).stdin(input).output().unwrap();
        let ran = Ran::from(output);
        assert!(
            ran.code == 9 && ran.stderr.contains("cannot be written"),
            "{line}: {ran:?}"
        );
    }
    assert!(shell.folder.path().join("new.key").exists());
    // Printed lines of a script are part of the result.
    let mut command = shell.command("call URL --key me.key one", &[]);
    let full = std::fs::File::create("/dev/full").unwrap();
    let ran = Ran::from(command.stderr(full).output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (9, "1\n"));
    // A remark isn't.
    let mut command = shell.command("deliveries list URL --key owner.key", &[]);
    let full = std::fs::File::create("/dev/full").unwrap();
    assert_eq!(Ran::from(command.stderr(full).output().unwrap()).code, 0);
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    for line in [
        "play URL --key me.key 1",
        "script list URL --key me.key",
        "config show",
        "keygen new.key",
        "--help",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = shell.command(line, &[]).stdout(writer).output().unwrap();
        let ran = Ran::from(output);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        assert!(!ran.stderr.contains("error"), "{line}: {ran:?}");
    }
}

#[tokio::test]
async fn an_error_in_json_has_a_code() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    let url = format!("ws://127.0.0.1:1/{}", circle());
    for (line, code, named) in [
        (&*format!("play {url} --key me.key --json 1"), 3, "refused"),
        (
            &*format!("jobs list {url} --key me.key --json"),
            3,
            "refused",
        ),
        (&*format!("events {url} --key me.key --json"), 3, "refused"),
        ("play URL --key no.key --json 1", 2, "no.key"),
        ("repl URL --key no.key --json", 2, "no.key"),
        ("play nowhere --key me.key --json 1", 2, "nowhere"),
    ] {
        let ran = shell.run(line, &[]);
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        let error = &circled_json::parse(&ran.stdout).unwrap()["error"];
        assert_eq!(error["code"], code, "{line}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(named), "{line}: {error}");
    }
    let refused = shell.run("play URL --key me.key --json", &["throw 1"]);
    let refused: Value = circled_json::parse(&refused.stdout).unwrap();
    assert_eq!(refused["error"]["code"], -32000, "the server's own");
}

/// Runs `circled repl` with standard input that isn't a terminal.
fn repl(shell: &Shell, flags: &[&str], input: &str) -> Ran {
    shell.write("input", input);
    let input = std::fs::File::open(shell.folder.path().join("input")).unwrap();
    let mut command = shell.command("repl URL --key me.key", flags);
    command.stdin(input).output().unwrap().into()
}

#[tokio::test]
async fn an_input_that_is_not_finished_is_told_and_not_run() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    let whole = repl(&shell, &[], "fn f() {\n  42\n}\nf()\n\n6 *\n7");
    assert_eq!((whole.code, whole.stdout.as_str()), (1, "7\n"), "{whole:?}");
    for unfinished in ["1 + 1\nfn f() {\n  store.set(\"a\", 1)", "2\nf(", "2\n`a\n"] {
        let ran = repl(&shell, &[], unfinished);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, "2\n"), "{ran:?}");
        assert!(ran.stderr.contains("was not run"), "{ran:?}");
        let ran = repl(&shell, &["--json"], unfinished);
        let last = ran.stdout.lines().last().unwrap();
        let error: Value = circled_json::parse(last).unwrap();
        assert_eq!((ran.code, &error["error"]["code"]), (2, &2.into()));
    }
}

#[tokio::test]
async fn exit_and_help_are_words_at_the_prompt() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    for word in ["exit", "quit", ":exit", ":quit", "exit()", " exit "] {
        let ran = repl(&shell, &[], &format!("1\n{word}\n2\n"));
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "1\n"), "{word}");
    }
    let help = repl(&shell, &[], "help\n").stdout;
    assert!(help.contains(":scripts") && help == repl(&shell, &[], ":help\n").stdout);
    for (input, code) in [
        ("1\n", 0),
        ("throw 1\n2\n", 1),
        ("throw 1\n:quit\n", 1),
        (":call nothing\n", 1),
        (":call nothing x\n", 1),
        (":nothing\n", 1),
    ] {
        assert_eq!(repl(&shell, &[], input).code, code, "{input}");
    }
    let nothing = shell.run("call URL --key me.key nothing", &[]);
    assert_eq!(
        (nothing.code, nothing.stderr.as_str()),
        (
            8,
            "error: there is no script \"nothing\"\n  = help: `circled script list` shows all\n"
        )
    );
    let text = shell.run("call URL --key me.key nothing --args x", &[]);
    assert!(text.stderr.contains("write a text as '\"x\"'"), "{text:?}");
    // A script may have variables of these names.
    let ran = repl(&shell, &[], "let help = 3; help\n");
    assert_eq!(ran.stdout, "3\n", "{ran:?}");
    let mut prompt = Terminal::open(&shell, "repl URL --key me.key");
    prompt.shows("> ");
    prompt.types("[1,\r");
    prompt.shows("... it goes on");
    prompt.types("2,\r");
    prompt.shows("... it goes on");
    prompt.answers("3]\r", "[1, 2, 3]");
    prompt.types("unfinished(\r");
    prompt.shows("... it goes on");
    prompt.types("\x03");
    prompt.shows("\n\r> ");
    prompt.types("exit\r");
    assert!(prompt.ends());
}

/// A pseudo-terminal, by `script` of util-linux, with a command in it.
struct Terminal {
    child: Child,
    shown: mpsc::Receiver<u8>,
    /// The shown text that hasn't been checked yet.
    text: String,
}

impl Terminal {
    fn open(shell: &Shell, line: &str) -> Self {
        let line = line.replace("URL", &shell.url);
        let mut child = without_settings(Command::new("script"))
            .args([
                "-qefc",
                &format!("exec {} {line}", env!("CARGO_BIN_EXE_circled")),
                "/dev/null",
            ])
            .env("XDG_STATE_HOME", shell.folder.path().join("state"))
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .current_dir(shell.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, shown) = mpsc::channel();
        thread::spawn(move || {
            for byte in BufReader::new(output).bytes() {
                let _ = sender.send(byte.unwrap_or_default());
            }
        });
        Self {
            child,
            shown,
            text: String::new(),
        }
    }

    fn types(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Types, and waits for this text and for the next prompt.
    fn answers(&mut self, keys: &str, expected: &str) {
        self.types(keys);
        self.shows(expected);
        self.shows("\n\r> ");
    }

    /// Waits until it shows this text, without escape sequences.
    fn shows(&mut self, expected: &str) {
        assert!(
            self.showed(expected, PATIENCE),
            "waited for {expected:?} in {:?}",
            self.text
        );
    }

    /// Returns true if it shows this text before it has shown nothing for so long.
    fn showed(&mut self, expected: &str, patience: Duration) -> bool {
        loop {
            if let Some(at) = self.text.find(expected) {
                self.text.drain(..at + expected.len());
                return true;
            }
            let Ok(byte) = self.shown.recv_timeout(patience) else {
                return false;
            };
            self.text.push(char::from(byte));
            if let Some(start) = self.text.rfind('\x1b')
                && byte.is_ascii_alphabetic()
            {
                self.text.truncate(start);
            }
        }
    }

    /// Returns true if the command succeeds.
    fn ends(&mut self) -> bool {
        while self.shown.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap().success()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
