//! The servers that are measured, each a process of its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    str::FromStr,
    time::Duration,
};

use circled::auth::SecretKey;
use clap::ValueEnum;

use crate::echo::Echo;

/// A server, stopped when it is dropped if it was started here.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) is_echo: bool,
    process: Option<Child>,
    id: Option<u32>,
    _data: Option<tempfile::TempDir>,
}

/// `NAME=VALUE`, as flags have it.
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
    /// This program once more, as the bare echo.
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
        }
    }

    /// circled as it is released, with a circle of this key.
    pub(super) fn circled(circle: &SecretKey) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut process = Command::new(env!("CARGO_BIN_EXE_circled"))
            .arg("serve")
            .env("CIRCLED_SERVER__LISTEN", "127.0.0.1:0")
            .env("CIRCLED_DISPATCH__EMBEDDED__DATA_DIR", data.path())
            .env("CIRCLED_SERVER__ADMIN_LISTEN", "")
            .env("CIRCLED_SESSION__MAX_SESSIONS_PER_ADDRESS", "100000")
            .env("CIRCLED_LOG__LEVEL", "error,circled::cli::serve=info")
            .env("STRIPE_WEBHOOK_SECRET", crate::webhook::SECRET)
            .env("CIRCLED_LOG__FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .expect("circled");
        let mut log = BufReader::new(process.stderr.take().expect("its log"));
        let address = loop {
            let line: serde_json::Value =
                serde_json::from_str(&line(&mut log)).expect("a log line of circled");
            if let Some(address) = line["url"]
                .as_str()
                .and_then(|url| url.strip_suffix("<circle_pk>"))
            {
                break address.to_owned();
            }
        };
        // Nothing more is expected; what comes all the same must not block the server.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::stderr()));
        Self {
            name: "circled".to_owned(),
            url: format!("{address}{}", circle.public()),
            is_echo: false,
            _data: Some(data),
            id: Some(process.id()),
            process: Some(process),
        }
    }

    /// Where Stripe's webhooks for the circle go.
    pub(super) fn webhooks_url(&self, circle: &SecretKey) -> String {
        let url = self.url.replacen("ws", "http", 1);
        let (server, _) = url.rsplit_once('/').expect("a path");
        format!("{server}/webhooks/stripe/{}", circle.public())
    }

    /// A server that runs already. Its memory can be looked at if its process is known.
    pub(super) fn peer(peer: &Named<String>, processes: &[Named<u32>]) -> Self {
        let process = processes.iter().find(|process| process.name == peer.name);
        Self {
            name: peer.name.clone(),
            url: peer.value.clone(),
            is_echo: false,
            id: process.map(|process| process.value),
            process: None,
            _data: None,
        }
    }

    /// How to look at what it costs.
    pub(super) fn process(&self) -> Option<Process> {
        self.id.map(Process)
    }

    /// Its resident memory in KiB, if its process is known.
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
    /// The processor time that it has taken so far, in steps of 10 ms.
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
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    line
}
