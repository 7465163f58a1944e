//! A PostgreSQL of its own, with its defaults: what is committed is synced.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::table::Round;

/// The folders where Debian has the programs of its versions.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The share of transactions whose latency is written down.
const SAMPLED: &str = "0.1";

/// A running PostgreSQL, stopped when it is dropped.
pub(super) struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    process: Child,
}

impl Postgres {
    /// Starts it and runs `sql`. Returns nothing where it isn't installed.
    pub(super) fn start(sql: &str) -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        if is_root() {
            // It refuses to run as root.
            run(Command::new("chown")
                .args(["-R", "postgres"])
                .arg(folder.path()));
        }
        let mut init = unprivileged(&programs.join("initdb"));
        run(init
            .args(["--auth=trust", "--username=bench", "--pgdata"])
            .arg(&data));
        let mut serve = unprivileged(&programs.join("postgres"));
        serve
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "logging_collector=off",
                "-D",
            ])
            .arg(&data)
            .arg("-k")
            .arg(folder.path());
        let process = quiet(&mut serve).spawn().expect("PostgreSQL");
        let postgres = Self {
            programs,
            folder,
            process,
        };
        postgres.wait_until_ready();
        let mut psql = postgres.client("psql");
        run(psql.args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command", sql]));
        Some(postgres)
    }

    /// Has so many connections run the transaction of `script`, one at a time each, for so many whole seconds.
    pub(super) fn transactions(&self, script: &str, connections: usize, seconds: u64) -> Round {
        let file = self.folder.path().join("script.sql");
        fs::write(&file, script).expect("a file");
        let log = self.folder.path().join("log");
        let output = self
            .client("pgbench")
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--log"])
            .arg(format!("--client={connections}"))
            .arg(format!("--time={seconds}"))
            .arg(format!("--sampling-rate={SAMPLED}"))
            .arg(format!("--log-prefix={}", log.display()))
            .arg("--file")
            .arg(&file)
            .output()
            .expect("pgbench");
        let text = String::from_utf8_lossy(&output.stdout);
        let per_second = figure(&text, "tps = ").filter(|_| output.status.success());
        let per_second = per_second.unwrap_or_else(|| {
            panic!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        let failed = figure(&text, "number of failed transactions: ").unwrap_or(0.0);
        Round::measured(per_second, self.take_latencies(), failed as usize)
    }

    /// Returns the latencies that pgbench has written down, and deletes its files.
    fn take_latencies(&self) -> Vec<Duration> {
        let mut taken = Vec::new();
        for file in fs::read_dir(self.folder.path()).expect("a folder") {
            let path = file.expect("a file").path();
            if !path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("log."))
            {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a log");
            let latency = |line: &str| line.split(' ').nth(2)?.parse().ok();
            taken.extend(text.lines().filter_map(latency).map(Duration::from_micros));
            fs::remove_file(path).expect("a file of our own");
        }
        taken
    }

    /// Returns the result of a query that has one value.
    pub(super) fn value(&self, sql: &str) -> String {
        let mut psql = self.client("psql");
        let output = psql.args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--command",
            sql,
        ]);
        let output = output.output().expect("psql");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .env("PGHOST", self.folder.path())
            .env("PGUSER", "bench")
            .env("PGDATABASE", "postgres");
        command
    }

    fn wait_until_ready(&self) {
        for _ in 0..200 {
            let mut ready = self.client("pg_isready");
            if quiet(&mut ready)
                .status()
                .is_ok_and(|status| status.success())
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL doesn't start");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = unprivileged(&self.programs.join("pg_ctl"));
        stop.args(["stop", "--mode=immediate", "--silent", "--pgdata"]);
        let _ = quiet(stop.arg(self.folder.path().join("data"))).status();
        let _ = self.process.wait();
    }
}

/// Returns the folder of the newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).ok()?.flatten();
    let programs = versions.map(|version| version.path().join("bin"));
    let whole = |folder: &PathBuf| {
        ["initdb", "pgbench", "postgres"]
            .iter()
            .all(|name| folder.join(name).exists())
    };
    programs.filter(whole).max()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the command of a program that root may not run.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// Runs a command that must succeed.
fn run(command: &mut Command) {
    let output = command.output().expect("a program that is installed");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {problem}");
}

/// Returns the number behind `label`.
fn figure(text: &str, label: &str) -> Option<f64> {
    let (_, rest) = text.split_once(label)?;
    rest.split_whitespace().next()?.parse().ok()
}
