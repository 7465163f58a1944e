//! The effect of a flooded circle on another one: the latency of its plays, beside that of a quiet server.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use circled_protocol::SecretKey;
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    Options, Subject, measure,
    server::{Process, Server},
    session::{Plan, Requests, Session},
    table::Round,
};

/// The most requests of a session under way: `session.max_in_flight`.
const MAX_IN_FLIGHT: usize = 64;
/// The time by which the flood outlasts the round.
const LONGER: Duration = Duration::from_millis(200);
/// A script that takes a few milliseconds, and a script thread.
const LONG: &str = "let n = 0; while n < 50_000 { n += 1 } n";
const WRITES: &str = r#"store.set("key", 42)"#;

/// The load in the other circle.
pub(super) struct Neighbour<'a> {
    name: &'static str,
    script: Option<&'a str>,
    server: &'a Server,
}

impl<'a> Neighbour<'a> {
    /// Returns the quiet neighbour and every kind of flood.
    pub(super) fn all(server: &'a Server, options: &'a Options) -> [Self; 4] {
        let kinds = [
            ("quiet", None),
            ("short plays", Some(options.script.as_str())),
            ("long plays", Some(LONG)),
            ("writing plays", Some(WRITES)),
        ];
        kinds.map(|(name, script)| Self {
            name,
            script,
            server,
        })
    }

    /// Measures plays of one circle, one at a time in each session, beside this load in the other.
    pub(super) async fn round(&self, circle: &SecretKey, script: &str, options: &Options) -> Round {
        let count = options.sessions;
        let sessions = logged_in(&self.server.beside(circle), circle, count).await;
        let flood = match self.script {
            Some(script) => Some(Flood::prepare(self.server, script.to_owned(), count).await),
            None => None,
        };
        let (start, end) = measure::window(options);
        let flood = flood.map(|flood| flood.begin(end + LONGER));
        let plan = Plan {
            in_flight: 1,
            start,
            end,
        };
        let requests = Requests::new(script, 1, "\"result\":");
        let mut tasks = JoinSet::new();
        for session in sessions {
            tasks.spawn(session.play(requests.clone(), plan));
        }
        let round = measure::round(tasks, start, end).await;
        if let Some(thread) = flood {
            let ended = tokio::task::spawn_blocking(|| thread.join()).await;
            ended.expect("a thread").expect("a flood");
        }
        round
    }
}

/// The most plays of another circle that its sessions may have under way, from a thread of its own.
struct Flood {
    until: oneshot::Sender<Instant>,
    thread: JoinHandle<()>,
}

impl Flood {
    /// Opens the sessions of the flood.
    async fn prepare(server: &Server, script: String, sessions: usize) -> Self {
        let circle = SecretKey::generate().expect("randomness");
        let url = server.beside(&circle);
        let (ready, is_ready) = oneshot::channel();
        let (until, end) = oneshot::channel();
        let work = async move {
            let sessions = logged_in(&url, &circle, sessions).await;
            ready.send(()).expect("someone who waits");
            let plan = Plan {
                in_flight: MAX_IN_FLIGHT,
                start: Instant::now(),
                end: end.await.expect("an end"),
            };
            let requests = Requests::new(&script, MAX_IN_FLIGHT, "");
            let mut tasks = JoinSet::new();
            for session in sessions {
                tasks.spawn(session.play(requests.clone(), plan));
            }
            tasks.join_all().await;
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        let thread = thread::spawn(move || runtime.block_on(work));
        is_ready.await.expect("sessions");
        Self { until, thread }
    }

    fn begin(self, end: Instant) -> JoinHandle<()> {
        self.until.send(end).expect("a flood");
        self.thread
    }
}

/// Opens sessions at a circle's address, of the owner and of others. Each has its own key, so that no limit of one
/// caller counts.
async fn logged_in(url: &str, circle: &SecretKey, count: usize) -> Vec<Session> {
    let mut sessions = Vec::new();
    for n in 0..count {
        let mut session = Session::open(url).await;
        let key = SecretKey::generate().expect("randomness");
        session.login(if n == 0 { circle } else { &key }).await;
        sessions.push(session);
    }
    sessions
}

impl Subject for Neighbour<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn process(&self) -> Option<Process> {
        self.server.process()
    }
}

/// Returns the scripts that the measured circle plays.
pub(super) fn scripts(options: &Options) -> [(&'static str, &str); 2] {
    [("plays", &options.script), ("writing plays", WRITES)]
}
