//! The real binary on ports of its own, and clients for it. Nothing waits for longer than [`PATIENCE`].

mod http;
mod schema;
mod ws;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use circled_protocol::{PublicKey, SecretKey};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::TcpSocket,
    sync::watch,
    time::{interval, timeout},
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{backend, command::without_settings};

pub(crate) use http::{Response, UPGRADE, get, post, send, try_post};
pub(crate) use ws::{Answer, Received, Ws};

/// The time that anything may take that isn't expected to take long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Enough operations that only time ends a script.
pub(crate) const ENDLESS: &str = "1_000_000_000_000";

/// Waits for `future`; panics with `what` was waited for.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// Repeats a check until it is true.
pub(crate) async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let asking = async {
        let mut pause = interval(Duration::from_millis(10));
        while !ask().await {
            pause.tick().await;
        }
    };
    within(what, asking).await;
}

/// Returns a key that is the same every time.
pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_hex(&hex::encode([seed; 32])).unwrap()
}

/// The states of jobs that haven't ended.
pub(crate) const OPEN: &str = "pending,running,failed";

/// Returns a circle for tests; its owner has [`key`]`(1)`.
pub(crate) fn circle() -> PublicKey {
    key(1).public()
}

/// Returns a script that keeps its thread busy for so long, and then has this value. Needs [`ENDLESS`] operations.
pub(crate) fn busy(time: Duration, value: &str) -> String {
    format!(
        "let start = timestamp(); while start.elapsed < {:?} {{}} {value}",
        time.as_secs_f64()
    )
}

/// A running server. Killed when it is dropped.
pub(crate) struct TestServer {
    /// The address of the main listener.
    pub(crate) address: SocketAddr,
    /// `ws`, or `wss`.
    scheme: String,
    admin: Option<SocketAddr>,
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    _directory: TempDir,
}

/// The settings of a server that is to be started.
#[derive(Default)]
pub(crate) struct Builder {
    binary: Option<PathBuf>,
    worker: bool,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    toml: Option<String>,
    config: Option<PathBuf>,
    data: Option<PathBuf>,
    redis: Option<String>,
    open_files: Option<usize>,
    listens_as_set: bool,
}

impl Builder {
    /// Runs this binary, of another version.
    pub(crate) fn binary(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_owned());
        self
    }

    /// Makes it a worker.
    pub(crate) fn worker(mut self) -> Self {
        self.worker = true;
        self
    }

    /// Adds a flag to its command line: `--fail-fast`.
    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Sets a variable of the server's environment: `CIRCLED_SESSION__MAX_BATCH`.
    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets the text of the settings file.
    pub(crate) fn toml(mut self, text: impl Into<String>) -> Self {
        self.toml = Some(text.into());
        self
    }

    /// Uses a settings file that is in a folder with others.
    pub(crate) fn config(mut self, file: &Path) -> Self {
        self.config = Some(file.to_owned());
        self
    }

    /// Uses this data folder, which may outlive the server, or be another one's.
    pub(crate) fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// Passes its jobs through this Redis, whatever the backend of the test.
    pub(crate) fn redis(mut self, url: impl Into<String>) -> Self {
        self.redis = Some(url.into());
        self
    }

    /// Lets it listen only where its settings file says.
    pub(crate) fn listens_as_set(mut self) -> Self {
        self.listens_as_set = true;
        self
    }

    /// Limits its open files.
    pub(crate) fn open_files(mut self, most: usize) -> Self {
        self.open_files = Some(most);
        self
    }

    /// Starts the server and waits until it serves.
    pub(crate) async fn start(self) -> TestServer {
        let mut server = self.launch();
        if !server.serves().await {
            panic!("the server ended:\n{}", server.lines.borrow().join("\n"));
        }
        server
    }

    /// Starts a server that must give up by itself. Returns its exit status and its output.
    pub(crate) async fn give_up(self) -> (ExitStatus, String) {
        let mut server = self.launch();
        let said = server.whole_log().await;
        (server.wait().await, said)
    }

    /// Starts the server, which may give up by itself; [`TestServer::serves`] tells.
    pub(crate) fn launch(self) -> TestServer {
        let this = Path::new(env!("CARGO_BIN_EXE_circled"));
        let binary = self.binary.as_deref().unwrap_or(this);
        let mut command = match self.open_files {
            Some(most) => {
                let mut shell = without_settings(Command::new("sh"));
                shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]);
                shell.arg(binary);
                shell
            }
            None => without_settings(Command::new(binary)),
        };
        command.arg(if self.worker { "worker" } else { "serve" });
        command.args(self.flags);
        let directory = tempfile::tempdir().unwrap();
        if let Some(text) = self.toml {
            let file = directory.path().join("circled.toml");
            std::fs::write(&file, text).unwrap();
            command.arg("--config").arg(file);
        } else if let Some(file) = self.config {
            command.arg("--config").arg(file);
        }
        let data = self.data.unwrap_or_else(|| directory.path().join("data"));
        if let Some(redis) = self.redis.or_else(backend::redis) {
            command.envs(backend::through(&redis, &data));
        }
        if !self.listens_as_set {
            command.env("CIRCLED_SERVER__LISTEN", "127.0.0.1:0");
        }
        command
            .env("CIRCLED_SERVER__ADMIN_LISTEN", "127.0.0.1:0")
            .env("CIRCLED_SCRIPT__THREADS", "2")
            .env("CIRCLED_DISPATCH__EMBEDDED__DATA_DIR", data)
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = follow(BufReader::new(child.stderr.take().unwrap()));
        TestServer {
            address: SocketAddr::from(([0; 4], 0)),
            scheme: String::new(),
            admin: None,
            child,
            lines,
            _directory: directory,
        }
    }
}

impl TestServer {
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// Starts a server with the defaults, on free ports.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// Waits until it serves or works, or has ended.
    pub(crate) async fn serves(&mut self) -> bool {
        let serving = self
            .first("that it serves", |line| {
                line["message"] == "serving" || line["message"] == "working"
            })
            .await;
        let Some(serving) = serving else {
            return false;
        };
        // A worker has no such listener.
        if let Some(url) = serving["url"].as_str() {
            let (scheme, rest) = url.split_once("://").unwrap();
            scheme.clone_into(&mut self.scheme);
            self.address = rest.split('/').next().unwrap().parse().unwrap();
        }
        self.admin = serving["admin"].as_str().unwrap().parse().ok();
        true
    }

    /// Returns the URL of a circle.
    pub(crate) fn url(&self, circle: impl ToString) -> String {
        format!("{}://{}/{}", self.scheme, self.address, circle.to_string())
    }

    /// Opens a session in [`circle`].
    pub(crate) async fn connect(&self) -> Ws {
        self.connect_to(circle()).await
    }

    /// Opens a session.
    pub(crate) async fn connect_to(&self, circle: impl ToString) -> Ws {
        Ws::connect(self.address, &self.url(circle)).await
    }

    /// Opens a session whose client has small buffers, so that unread bytes pile up in the server.
    pub(crate) async fn connect_narrow(&self) -> Ws {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        let request = self.url(circle()).into_client_request().unwrap();
        Ws::over(stream, request).await
    }

    /// Opens a session in [`circle`], and logs in.
    pub(crate) async fn log_in(&self, key: &SecretKey) -> Ws {
        let mut session = self.connect().await;
        session.login(key).await;
        session
    }

    /// Sends a GET to the main listener.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        http::get(self.address, path, headers).await
    }

    /// Asks for an upgrade, and returns the response.
    pub(crate) async fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut all = http::UPGRADE.to_vec();
        all.extend(headers);
        http::get(self.address, path, &all).await
    }

    /// Sends a GET to the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Response {
        http::get(self.admin_address().expect("an admin listener"), path, &[]).await
    }

    /// Returns the jobs of all circles in these states (separated by commas), the oldest first.
    pub(crate) async fn jobs(&self, states: &str) -> Vec<Value> {
        let (mut jobs, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/jobs?status={states}&limit=1000{after}");
            let mut page = self.admin(&path).await.json();
            jobs.append(page["jobs"].as_array_mut().unwrap());
            let Some(cursor) = page["cursor"].as_str() else {
                return jobs;
            };
            after = format!("&after={cursor}");
        }
    }

    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    pub(crate) fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Pauses it until it is sent [`Signal::CONT`].
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        // Until then, some of its threads may run on.
        waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Ends the process at once, like a power cut.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Asks the server to stop and waits until it has begun to.
    pub(crate) async fn begin_to_stop(&self) {
        self.sigterm();
        eventually("/readyz to say that the server stops", async || {
            self.admin("/readyz").await.status == 503
        })
        .await;
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let mut status = None;
        eventually("the server to end", async || {
            status = child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Waits for the first matching line of the log.
    pub(crate) async fn logged(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.first(what, is_so).await.unwrap_or_else(|| {
            panic!(
                "the server ended without logging {what}:\n{}",
                self.lines.borrow().join("\n")
            )
        })
    }

    /// Waits for the first matching line of the log; `None` if the server ends without one.
    async fn first(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Option<Value> {
        let find = |lines: &Vec<String>| {
            let mut parsed = lines.iter().map(|line| parse(line));
            parsed.find(|line| is_so(line))
        };
        within(
            &format!("the server to log {what}"),
            self.lines.wait_for(|lines| find(lines).is_some()),
        )
        .await
        .ok()
        .and_then(|lines| find(&lines))
    }

    /// Counts the matching lines of the log so far.
    pub(crate) fn count_logged(&self, is_so: impl Fn(&Value) -> bool) -> usize {
        let lines = self.lines.borrow();
        lines.iter().filter(|line| is_so(&parse(line))).count()
    }

    /// Returns everything that was logged until the server ended.
    pub(crate) async fn whole_log(&mut self) -> String {
        let ended = self.lines.wait_for(|_| false);
        within("the log to end", ended)
            .await
            .expect_err("only its end ends this");
        self.lines.borrow().join("\n")
    }

    /// Returns the processor time of the process, from `/proc/<pid>/stat`.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // After the name, which may have any content, user time is the 12th field, the system's the 13th.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks = |field: &str| field.parse::<u64>().unwrap();
        let mut fields = fields.split(' ').skip(11).map(ticks);
        // A tick is 10 ms on all Linux systems.
        Duration::from_millis(10 * (fields.next().unwrap() + fields.next().unwrap()))
    }

    /// Resets `VmHWM`, the most memory that the process has had.
    pub(crate) fn forget_most_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// Returns the memory of the process in KiB, by its name in `/proc/<pid>/status`.
    pub(crate) fn memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects the lines; the channel closes when they end.
fn follow(mut output: impl BufRead + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    std::thread::spawn(move || {
        let mut line = Vec::new();
        while output
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            sender.send_modify(|lines| lines.push(text));
            line.clear();
        }
    });
    receiver
}

fn parse(line: &str) -> Value {
    circled_json::parse(line).unwrap_or_default()
}
