//! `circled deploy`, as its user sees it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
    sync::mpsc,
    thread,
};

use serde_json::{Value, json};

use super::commands::{Ran, Shell};
use crate::harness::server::{PATIENCE, TestServer};

impl Shell {
    /// Writes files into a folder of scripts.
    fn write_all(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let file = self.folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }

    fn deploy(&self, more: &str) -> Ran {
        let line = format!("deploy mine URL --key owner.key {more}");
        self.run(line.trim_end(), &[])
    }

    fn scripts(&self) -> Vec<String> {
        let list = self.ok("script list URL --key owner.key --json", &[]);
        let script = |line: &str| circled_json::parse(line).unwrap();
        let told = |script: Value| {
            let call = script["call"].as_str().unwrap_or("auto");
            format!("{} {call}", script["name"].as_str().unwrap())
        };
        list.lines().map(script).map(told).collect()
    }
}

#[tokio::test]
async fn a_circle_gets_the_scripts_of_a_folder() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    shell.write_all(&[
        ("mine/main.rhai", "import \"lib/a\" as a;\na::f()\n"),
        ("mine/lib/a.rhai", "fn f() { 1 }\n"),
        ("mine/main_test.rhai", "fn test_x() {}"),
        (
            "mine/circle.toml",
            "[scripts]\nmain = { call = \"guest\" }\n[hooks]\nstripe = \"lib/a\"\n",
        ),
    ]);
    let first = "\
add     lib/a
    @@ -0,0 +1 @@
    +fn f() { 1 }
add     main  call: guest
    @@ -0,0 +1,2 @@
    +import \"lib/a\" as a;
    +a::f()
add     on_stripe
    @@ -0,0 +1 @@
    +fn f() { 1 }
";
    let dry = shell.deploy("--dry-run");
    assert_eq!((dry.code, dry.stdout.as_str()), (10, first), "{dry:?}");
    // Nobody is there to say yes.
    let asked = shell.deploy("");
    assert_eq!(
        (asked.code, asked.stderr.as_str()),
        (
            10,
            "3 scripts would change; with --yes, they are deployed\n"
        )
    );
    assert!(shell.scripts().is_empty());
    let done = shell.deploy("--yes");
    assert_eq!(
        (done.code, done.stdout),
        (0, format!("{first}deployed: 3 put, 0 deleted\n"))
    );
    assert_eq!(
        shell.scripts(),
        ["lib/a auto", "main guest", "on_stripe auto"]
    );
    for more in ["--dry-run", "--yes"] {
        let same = shell.deploy(more);
        assert_eq!(
            (same.code, same.stdout.as_str(), same.stderr.as_str()),
            (0, "", "the circle is as the folder says\n")
        );
    }
    // A change, a rule, and what the folder has no more.
    shell.write_all(&[
        ("mine/main.rhai", "import \"lib/a\" as a;\na::f() + 1"),
        (
            "mine/circle.toml",
            "[scripts]\n\"lib/a\".call = \"owner\"\n",
        ),
    ]);
    let second = "\
change  lib/a  call: auto -> owner
change  main  call: guest -> auto
    @@ -1,2 +1,2 @@
     import \"lib/a\" as a;
    -a::f()
    +a::f() + 1
    \\ No newline at end of file
";
    let kept = "keep    on_stripe  (the folder doesn't have it; --prune deletes it)\n";
    let done = shell.deploy("-y");
    assert_eq!(
        (done.code, done.stdout),
        (0, format!("{second}{kept}deployed: 2 put, 0 deleted\n"))
    );
    let same = shell.deploy("--dry-run");
    assert_eq!((same.code, same.stdout.as_str()), (0, kept));
    let pruned = shell.deploy("--yes --prune --json");
    let lines: Vec<Value> = pruned
        .stdout
        .lines()
        .map(|line| circled_json::parse(line).unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            json!({ "name": "on_stripe", "change": "delete", "diff": "@@ -1 +0,0 @@\n-fn f() { 1 }\n" }),
            json!({ "deployed": { "put": [], "deleted": ["on_stripe"] } }),
        ],
        "{pruned:?}"
    );
    assert_eq!(shell.scripts(), ["lib/a owner", "main auto"]);
    let called = shell.ok("call URL --key owner.key main", &[]);
    assert_eq!(called, "2");
}

#[tokio::test]
async fn a_folder_with_mistakes_changes_nothing() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    shell.write("kept.rhai", "1");
    shell.ok("script put URL --key owner.key kept kept.rhai", &[]);
    let folder = shell.folder.path().join("mine");
    let says = |files: &[(&str, &str)], key: &str, code: i32, told: &[&str]| {
        let _ = fs::remove_dir_all(&folder);
        shell.write_all(files);
        let ran = shell.run(&format!("deploy mine URL --yes --prune --key {key}"), &[]);
        assert_eq!(ran.code, code, "{ran:?}");
        for told in told {
            assert!(ran.stderr.contains(told), "{told}: {ran:?}");
        }
        assert_eq!(shell.scripts(), ["kept auto"]);
    };
    says(
        &[("mine/good.rhai", "1")],
        "me.key",
        5,
        &["needs the role owner"],
    );
    says(
        &[
            ("mine/a b.rhai", "1"),
            (
                "mine/circle.toml",
                "[schedules]\nx = 1\n[scripts]\nnone.call = \"owner\"",
            ),
        ],
        "owner.key",
        2,
        &[
            "mine/a b.rhai: its name can be no script's",
            "mine/circle.toml:1:2: the server has no schedules yet",
        ],
    );
    let good = ("mine/good.rhai", "1");
    let broken = [
        good,
        ("mine/x/y.rhai", "1;\nlet = 2"),
        ("mine/z.rhai", "nobody(1)"),
    ];
    let told = [
        " --> mine/x/y.rhai:2:",
        "2 | let = 2",
        "nobody",
        " --> mine/z.rhai:1:1",
    ];
    says(&broken, "owner.key", 1, &told);
    // It would be gone.
    let imports = [good, ("mine/z.rhai", "import \"kept\" as k; 1")];
    says(
        &imports,
        "owner.key",
        1,
        &["no script \"kept\"", " --> mine/z.rhai:1:8"],
    );
    let long = format!("\"{}\"", "x".repeat(300 << 10));
    says(
        &[good, ("mine/long.rhai", &long)],
        "owner.key",
        3,
        &["session.max_message"],
    );
    let gone = shell.run("deploy nowhere URL --key owner.key --dry-run", &[]);
    assert_eq!(gone.code, 2, "{gone:?}");
    // Without --prune, it stays, and may be imported.
    let _ = fs::remove_dir_all(&folder);
    shell.write_all(&imports);
    assert_eq!(shell.deploy("--yes").code, 0);
}

#[tokio::test]
async fn of_folders_that_are_deployed_at_once_one_is_there() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    let mut commands = Vec::new();
    for n in 0..4 {
        let folder = format!("f{n}");
        for name in ["a", "b", "c"] {
            shell.write_all(&[(&format!("{folder}/{name}.rhai"), &format!("{n}"))]);
        }
        let mut command = shell.command(&format!("deploy {folder} URL --key owner.key --yes"), &[]);
        commands.push(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
    }
    let mut done = 0;
    for command in commands {
        let ran = Ran::from(command.wait_with_output().unwrap());
        match ran.code {
            0 => done += 1,
            code => {
                assert_eq!(code, 7, "{ran:?}");
                assert!(
                    ran.stderr.contains("somebody has changed it meanwhile"),
                    "{ran:?}"
                );
            }
        }
    }
    assert!(done > 0);
    let value = |name| shell.ok(&format!("call URL --key owner.key {name}"), &[]);
    let values = ["a", "b", "c"].map(value);
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
}

#[tokio::test]
async fn a_folder_that_is_watched_is_deployed_again() {
    let server = TestServer::start().await;
    let shell = Shell::new(&server);
    shell.write_all(&[("mine/a.rhai", "1")]);
    let mut command = shell.command("deploy mine URL --key owner.key --watch", &[]);
    let mut watching = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    for stream in [
        Box::new(watching.stdout.take().unwrap()) as Box<dyn std::io::Read + Send>,
        Box::new(watching.stderr.take().unwrap()),
    ] {
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let _ = sender.send(line.unwrap());
            }
        });
    }
    let until = |told: &str| {
        while !lines.recv_timeout(PATIENCE).expect(told).contains(told) {}
    };
    until("deployed: 1 put");
    until("waiting for changes");
    shell.write_all(&[("mine/a.rhai", "let = ")]);
    until(" --> mine/a.rhai:1:");
    until("waiting for changes");
    shell.write_all(&[("mine/circle.toml", "[what]")]);
    until("circle.toml:1:2: there is no `what`");
    until("waiting for changes");
    shell.write_all(&[("mine/a.rhai", "22"), ("mine/circle.toml", "")]);
    until("deployed: 1 put");
    assert_eq!(shell.ok("call URL --key owner.key a", &[]), "22");
    watching.kill().unwrap();
    watching.wait().unwrap();
}
