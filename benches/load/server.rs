//! The servers that are measured, each a process of its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use circled::auth::SecretKey;

/// A server, stopped when it is dropped if it was started here.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) is_echo: bool,
    process: Option<Child>,
}

impl Server {
    /// This program once more, as the bare echo.
    pub(super) fn echo() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new(program)
            .arg("--echo")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the echo");
        let address = line(&mut BufReader::new(
            process.stdout.take().expect("its output"),
        ));
        Self {
            name: "echo".to_owned(),
            url: format!("ws://{}/", address.trim()),
            is_echo: true,
            process: Some(process),
        }
    }

    /// circled as it is released, with a circle of this key.
    pub(super) fn circled(circle: &SecretKey) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_circled"))
            .arg("serve")
            .env("CIRCLED_SERVER__LISTEN", "127.0.0.1:0")
            .env("CIRCLED_SERVER__ADMIN_LISTEN", "")
            .env("CIRCLED_SESSION__MAX_SESSIONS_PER_ADDRESS", "100000")
            .env("CIRCLED_LOG__LEVEL", "error,circled::cli::serve=info")
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
            process: Some(process),
        }
    }

    /// A server that runs already.
    pub(super) fn peer(peer: &str) -> Self {
        let (name, url) = peer.split_once('=').expect("--peer NAME=URL");
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            is_echo: false,
            process: None,
        }
    }

    /// Its resident memory in bytes.
    pub(super) fn resident(&self) -> usize {
        let id = self.process.as_ref().expect("a process of our own").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("Linux");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("VmRSS");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<usize>()
            .expect("a number")
            * 1024
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
