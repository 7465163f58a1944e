//! One Redis server of the test's own: on a free port of loopback, in a folder that is deleted with it.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

use super::{
    port::Port,
    resp::{Reply, ask, request},
};
use crate::harness::server::{eventually, within};

/// The settings of persistence. With them, acknowledged writes are lost with the process only if a sync took long just
/// then; with `appendfsync always`, never.
const DURABLE: &str = "save \"\"\nappendonly yes\nappendfsync everysec\n";

/// A program that serves as Redis does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The `redis-server` that is installed.
    Installed,
    /// The oldest that circled works with.
    Redis6,
    Valkey,
}

/// A `redis-server` process. Killed when it is dropped.
pub(crate) struct RedisServer {
    program: Program,
    child: Child,
    port: Port,
    options: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    /// Starts a server with an append-only file that is synced each second, and no snapshots.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with more options, or with others: `&["--appendonly", "no"]`.
    pub(crate) async fn start_with(options: &[&str]) -> Self {
        Self::start_program(Program::Installed, options).await
    }

    /// Starts a server of this program.
    pub(crate) async fn start_program(program: Program, options: &[&str]) -> Self {
        Self::start_on(program, Port::free(), DURABLE, options).await
    }

    /// Starts a cluster's node.
    pub(crate) async fn start_node(program: Program, options: &[&str]) -> Self {
        Self::start_on(program, Port::free_with_bus(), DURABLE, options).await
    }

    /// Starts a sentinel.
    pub(crate) async fn start_sentinel(settings: &str) -> Self {
        Self::start_on(Program::Installed, Port::free(), settings, &["--sentinel"]).await
    }

    async fn start_on(program: Program, port: Port, settings: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // It is a file, because sentinels write to their settings, and to those of the servers that they watch.
        let settings = format!("bind 127.0.0.1\nport {}\n{settings}", port.number());
        fs::write(directory.path().join("redis.conf"), settings).unwrap();
        let options: Vec<_> = options.iter().copied().map(str::to_owned).collect();
        let mut server = Self {
            program,
            child: spawn(program, &directory, &options),
            port,
            options,
            directory,
        };
        server.ready().await;
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// Ends the process at once. Its written data is kept, because the operating system continues.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the process as if its machine had lost power: of its append-only file, what was written after this command
    /// is gone, which is in it once.
    pub(crate) fn cut_power(&mut self, after: &[&str]) {
        self.kill();
        let folder = self.directory.path().join("appendonlydir");
        let files = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path());
        let is_written = |file: &PathBuf| file.to_string_lossy().ends_with(".incr.aof");
        let file = files.filter(is_written).max().unwrap();
        let command = request(after);
        let written = fs::read(&file).unwrap();
        let mut places = written.windows(command.len());
        let end = places.position(|place| place == command).unwrap() + command.len();
        let file = File::options().write(true).open(file).unwrap();
        file.set_len(end.try_into().unwrap()).unwrap();
    }

    /// Asks the process to end, and waits until it has.
    pub(crate) async fn shutdown(&mut self) {
        self.signal(Signal::TERM);
        let child = &mut self.child;
        eventually("redis-server to end", async || {
            child.try_wait().unwrap().is_some()
        })
        .await;
    }

    /// Starts a new process on the same port with the same folder. Kills the old one if it runs.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.program, &self.directory, &self.options);
        self.ready().await;
    }

    /// Pauses it: it accepts connections and sends nothing, as if its machine had stopped.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        let pid = Some(Pid::from_child(&self.child));
        waitpid(pid, WaitOptions::UNTRACED).unwrap();
    }

    /// Resumes it.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Returns the reply to a command, a list with an item a line. Panics if it is an error.
    pub(crate) async fn command(&self, command: &[impl AsRef<[u8]>]) -> String {
        self.ask(command).await.to_string()
    }

    /// Returns the bytes that it has sent until now.
    pub(crate) async fn sent(&self) -> u64 {
        let stats = self.command(&["INFO", "stats"]).await;
        let mut lines = stats.lines();
        let sent = lines.find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        sent.unwrap().trim().parse().unwrap()
    }

    /// Returns the raw reply to a command. Panics if it is an error.
    pub(crate) async fn ask(&self, command: &[impl AsRef<[u8]>]) -> Reply {
        let words: Vec<_> = command.iter().map(AsRef::as_ref).collect();
        let shown = || String::from_utf8_lossy(&words.join(&b' ')).into_owned();
        match within("Redis to answer", ask(self.port(), command)).await {
            Ok(Reply::Error(error)) => panic!("Redis says {error} to {}", shown()),
            Ok(reply) => reply,
            Err(error) => panic!("Redis doesn't answer {}: {error}", shown()),
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it serves; while it reads its files, it reports that it is loading.
    async fn ready(&mut self) {
        let (port, child) = (self.port.number(), &mut self.child);
        let log = self.directory.path().join("log");
        eventually("redis-server to serve", async || {
            if let Some(status) = child.try_wait().unwrap() {
                let said = fs::read_to_string(&log).unwrap_or_default();
                panic!("redis-server ended, {status}:\n{said}");
            }
            let pong = Reply::Text(b"PONG".to_vec());
            ask(port, &["PING"]).await.is_ok_and(|reply| reply == pong)
        })
        .await;
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn path(self) -> PathBuf {
        let got = |name| {
            let servers = concat!(env!("CARGO_MANIFEST_DIR"), "/target/redis-servers");
            PathBuf::from(servers).join(name)
        };
        match self {
            Self::Installed => "redis-server".into(),
            Self::Redis6 => got("redis-server-6.2"),
            Self::Valkey => got("valkey-server"),
        }
    }

    /// Returns the way to get it, besides `make test`.
    fn source(self) -> &'static str {
        match self {
            Self::Installed => {
                "apt-get install redis-server, dnf install redis, brew install redis"
            }
            Self::Redis6 | Self::Valkey => "run .ci/redis, which says what it needs",
        }
    }
}

fn spawn(program: Program, directory: &TempDir, options: &[String]) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.path().join("log"))
        .unwrap();
    Command::new(program.path())
        .arg("redis.conf")
        .args(options)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "this test needs {}, which can't be run: {error}. `make test` gets it where it may; otherwise: {}",
                program.path().display(),
                program.source()
            )
        })
}
