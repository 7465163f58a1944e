//! The servers that are measured, each a process of its own.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use circled_protocol::SecretKey;
use clap::ValueEnum;

use crate::echo::Echo;

/// The log levels: the server says its address, and else only what goes wrong.
const LEVEL: &str = "error,circled::cli::serve=info";

/// A server, stopped when it is dropped if it was started here.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) is_echo: bool,
    process: Option<Child>,
    id: Option<u32>,
    /// The processes behind it: workers, and last their Redis.
    others: Vec<Child>,
    conflicts: Arc<AtomicUsize>,
    _data: Option<tempfile::TempDir>,
}

/// circled on several processes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ThroughRedis {
    pub(super) persistence: Persistence,
    pub(super) workers: usize,
    pub(super) partitions: usize,
}

/// The syncing of Redis's log.
#[derive(Debug, Clone, Copy)]
pub(super) enum Persistence {
    Off,
    EverySecond,
    Always,
}

impl ThroughRedis {
    /// Returns the name in a table.
    fn name(self) -> String {
        let log = match self.persistence {
            Persistence::Off => "off",
            Persistence::EverySecond => "1 s",
            Persistence::Always => "always",
        };
        format!("{log}, {} w, {} p", self.workers, self.partitions)
    }
}

/// A flag's `NAME=VALUE`.
#[derive(Debug, Clone)]
pub(super) struct Named<T> {
    pub(super) name: String,
    pub(super) value: T,
}

impl<T: FromStr> FromStr for Named<T> {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("expected NAME=...")?;
        Ok(Self {
            name: name.to_owned(),
            value: value
                .parse()
                .map_err(|_| "no such value makes sense here")?,
        })
    }
}

impl Server {
    /// Starts this program once more, as the bare echo.
    pub(super) fn echo(name: &str, echo: Echo) -> Self {
        let program = std::env::current_exe().expect("this program");
        let echo = echo.to_possible_value().expect("a value");
        let mut process = Command::new(program)
            .args(["--echo", echo.get_name()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the echo");
        let address = line(&mut BufReader::new(
            process.stdout.take().expect("its output"),
        ));
        Self {
            name: name.to_owned(),
            url: format!("ws://{}/", address.trim()),
            is_echo: true,
            _data: None,
            id: Some(process.id()),
            process: Some(process),
            others: Vec::new(),
            conflicts: Arc::default(),
        }
    }

    /// Starts circled as released, with a circle of this key.
    pub(super) fn circled(circle: &SecretKey) -> Self {
        Self::serve(circle, "circled", Vec::new(), &[])
    }

    /// Starts circled, and counts the runs that conflict and start over.
    pub(super) fn counting_conflicts(circle: &SecretKey) -> Self {
        let level = format!("{LEVEL},circled::conflicts=debug");
        let settings = [
            ("CIRCLED_LOG__LEVEL", level),
            ("CIRCLED_STORE__QUOTA", "4GiB".to_owned()),
        ];
        Self::serve(circle, "circled", Vec::new(), &settings)
    }

    /// Starts a gateway, its workers and their Redis.
    pub(super) fn through_redis(circle: &SecretKey, setup: ThroughRedis) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a folder");
        let mut redis = Command::new("redis-server");
        redis
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(match setup.persistence {
                Persistence::Off => ["--appendonly", "no", "--appendfsync", "no"],
                Persistence::EverySecond => ["--appendonly", "yes", "--appendfsync", "everysec"],
                Persistence::Always => ["--appendonly", "yes", "--appendfsync", "always"],
            })
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null());
        let mut others = vec![
            redis
                .spawn()
                .expect("redis-server, which has to be installed"),
        ];
        let settings = [
            ("CIRCLED_DISPATCH__BACKEND", "redis".to_owned()),
            (
                "CIRCLED_DISPATCH__REDIS__URL",
                format!("redis://127.0.0.1:{port}"),
            ),
            (
                "CIRCLED_DISPATCH__REDIS__PARTITIONS",
                setup.partitions.to_string(),
            ),
        ];
        for _ in 0..setup.workers {
            let mut worker = circled("worker");
            worker.envs(settings.clone()).stderr(Stdio::null());
            others.insert(0, worker.spawn().expect("a worker"));
        }
        let mut server = Self::serve(circle, &setup.name(), others, &settings);
        server._data = Some(folder);
        server
    }

    fn serve(
        circle: &SecretKey,
        name: &str,
        others: Vec<Child>,
        settings: &[(&str, String)],
    ) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut process = circled("serve")
            .env("CIRCLED_DISPATCH__EMBEDDED__DATA_DIR", data.path())
            .envs(settings.iter().cloned())
            .stderr(Stdio::piped())
            .spawn()
            .expect("circled");
        let mut log = BufReader::new(process.stderr.take().expect("its log"));
        let address = loop {
            let line: serde_json::Value =
                circled_json::from_str(&line(&mut log)).expect("a log line of circled");
            if let Some(address) = line["url"]
                .as_str()
                .and_then(|url| url.strip_suffix("<circle_pk>"))
            {
                break address.to_owned();
            }
        };
        // Unexpected lines must not block the server.
        let conflicts = Arc::new(AtomicUsize::new(0));
        std::thread::spawn({
            let conflicts = conflicts.clone();
            move || {
                for line in log.lines().map_while(Result::ok) {
                    if line.contains("circled::conflicts") {
                        conflicts.fetch_add(1, Relaxed);
                    } else {
                        eprintln!("{line}");
                    }
                }
            }
        });
        Self {
            name: name.to_owned(),
            url: format!("{address}{}", circle.public()),
            is_echo: false,
            _data: Some(data),
            id: Some(process.id()),
            process: Some(process),
            others,
            conflicts,
        }
    }

    /// Returns the address of Stripe's webhooks for the circle.
    pub(super) fn webhooks_url(&self, circle: &SecretKey) -> String {
        let url = self.url.replacen("ws", "http", 1);
        let (server, _) = url.rsplit_once('/').expect("a path");
        format!("{server}/webhooks/stripe/{}", circle.public())
    }

    /// Returns the address of another circle at this server.
    pub(super) fn beside(&self, circle: &SecretKey) -> String {
        let (server, _) = self.url.rsplit_once('/').expect("a path");
        format!("{server}/{}", circle.public())
    }

    /// Uses a server that runs already. Its memory can be measured if its process is known.
    pub(super) fn peer(peer: &Named<String>, processes: &[Named<u32>]) -> Self {
        let process = processes.iter().find(|process| process.name == peer.name);
        Self {
            name: peer.name.clone(),
            url: peer.value.clone(),
            is_echo: false,
            id: process.map(|process| process.value),
            process: None,
            others: Vec::new(),
            conflicts: Arc::default(),
            _data: None,
        }
    }

    /// Returns true if it ran before.
    pub(super) fn is_peer(&self) -> bool {
        self.process.is_none()
    }

    /// Returns how many runs have conflicted so far, if it counts them.
    pub(super) fn conflicts(&self) -> usize {
        self.conflicts.load(Relaxed)
    }

    /// Returns the process, to measure its cost.
    pub(super) fn process(&self) -> Option<Process> {
        self.id.map(Process)
    }

    /// Returns the resident memory in KiB, if the process is known.
    pub(super) fn resident(&self) -> Option<f64> {
        let path = format!("/proc/{}/smaps_rollup", self.id?);
        let maps = std::fs::read_to_string(path).expect("Linux, and a process of ours");
        let rss = maps.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = rss.expect("Rss").trim().trim_end_matches(" kB").parse();
        Some(kib.expect("a number"))
    }
}

/// A process that is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process(u32);

impl Process {
    /// Returns the processor time that it has taken so far, in steps of 10 ms.
    pub(super) fn cpu(self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).expect("a process");
        // The name, in parentheses, may have spaces in it. The 14th and 15th fields are in ticks.
        let (_, fields) = stat.rsplit_once(')').expect("its fields");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks
            .map(|field| field.parse::<u64>().expect("a number"))
            .sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for mut process in self.process.take().into_iter().chain(self.others.drain(..)) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Returns the command of the released program, with few log lines.
fn circled(command: &str) -> Command {
    let mut circled = Command::new(env!("CARGO_BIN_EXE_circled"));
    circled
        .arg(command)
        .env("CIRCLED_SERVER__LISTEN", "127.0.0.1:0")
        .env("CIRCLED_SERVER__ADMIN_LISTEN", "")
        .env("CIRCLED_SESSION__MAX_SESSIONS_PER_ADDRESS", "100000")
        // The clients of a scenario share one key. The cost of a limit is measured, not its effect.
        .env("CIRCLED_LIMITS__CALLER_RATE", "10000000")
        .env("CIRCLED_LIMITS__CIRCLE_RATE", "10000000")
        .env("CIRCLED_LIMITS__CALLER_JOBS", "1000000")
        .env("CIRCLED_LIMITS__CIRCLE_JOBS", "1000000")
        .env("CIRCLED_LOG__LEVEL", LEVEL)
        .env("CIRCLED_LOG__FORMAT", "json")
        .env("STRIPE_WEBHOOK_SECRET", crate::webhook::SECRET);
    circled
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    line
}
