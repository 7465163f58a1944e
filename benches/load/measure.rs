//! One round of each scenario at one server.

use std::time::{Duration, Instant};

use circled_protocol::{Scheme, SecretKey, sign};
use tokio::{task::JoinSet, time::timeout_at};

use crate::{
    Options,
    server::Server,
    session::{Plan, Requests, Session, Tally},
    table::Round,
};

/// The time after which a round gives up: a reply that hasn't come by then never will.
const PATIENCE: Duration = Duration::from_secs(30);
/// The sessions that open before memory is measured, so that threads, tables and caches exist.
const FIRST_SESSIONS: usize = 100;

/// The connections of logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connections {
    New,
    Open,
}

/// Measures plays per second over sessions that are logged in, each with so many requests under way.
pub(super) async fn plays(
    server: &Server,
    key: &SecretKey,
    script: &str,
    options: &Options,
    count: usize,
    in_flight: usize,
) -> Round {
    let expected = if server.is_echo {
        "\"method\":"
    } else {
        "\"result\":"
    };
    let played = Requests::new(script, in_flight, expected);
    requests(server, key, played, options, count, in_flight).await
}

/// Measures requests per second over sessions that are logged in, each with so many under way.
pub(super) async fn requests(
    server: &Server,
    key: &SecretKey,
    requests: Requests,
    options: &Options,
    count: usize,
    in_flight: usize,
) -> Round {
    let mut sessions = Vec::new();
    for _ in 0..count {
        let mut session = Session::open(&server.url).await;
        if !server.is_echo {
            session.login(key).await;
        }
        sessions.push(session);
    }
    let (start, end) = window(options);
    let plan = Plan {
        in_flight,
        start,
        end,
    };
    let mut tasks = JoinSet::new();
    for session in sessions {
        tasks.spawn(session.play(requests.clone(), plan));
    }
    round(tasks, plan.start, plan.end).await
}

/// Measures logins per second: the text fetched, signed and verified. Each client has its own key.
pub(super) async fn logins(server: &Server, options: &Options, connections: Connections) -> Round {
    let (start, end) = window(options);
    let mut tasks = JoinSet::new();
    for _ in 0..options.sessions {
        let url = server.url.clone();
        let key = SecretKey::generate().expect("randomness");
        tasks.spawn(async move {
            let mut tally = Tally::default();
            let mut open = None;
            loop {
                let before = Instant::now();
                if before >= end {
                    return tally;
                }
                let mut session = match open.take() {
                    Some(session) => session,
                    None => Session::open(&url).await,
                };
                session.login(&key).await;
                tally.answered += 1;
                if before >= start {
                    tally.taken.push(before.elapsed());
                }
                match connections {
                    Connections::New => session.close().await,
                    Connections::Open => open = Some(session),
                }
            }
        });
    }
    round(tasks, start, end).await
}

/// Measures the growth of the server's memory, in KiB, for each idle session that is logged in; `None` if the server's
/// process isn't known.
pub(super) async fn idle(server: &Server, key: &SecretKey, sessions: usize) -> Option<f64> {
    let open = async |count: usize| {
        let mut sessions = Vec::new();
        for _ in 0..count {
            let mut session = Session::open(&server.url).await;
            session.login(key).await;
            sessions.push(session);
        }
        sessions
    };
    server.resident()?;
    let _first = open(FIRST_SESSIONS).await;
    let before = server.resident()?;
    let sessions = open(sessions).await;
    Some((server.resident()? - before) / sessions.len() as f64)
}

/// Measures the client's signature, which runs on the same machine as the server.
pub(super) fn signing() -> Duration {
    let key = SecretKey::generate().expect("randomness");
    let text = "x".repeat(300);
    let before = Instant::now();
    let signatures = 1000;
    for _ in 0..signatures {
        sign(Scheme::Eip191, &key, &text).expect("a signature");
    }
    before.elapsed() / signatures
}

/// Returns the start of a round, after a warm-up, and its end.
pub(super) fn window(options: &Options) -> (Instant, Instant) {
    let start = Instant::now() + Duration::from_secs_f64(options.seconds / 5.0);
    (start, start + Duration::from_secs_f64(options.seconds))
}

pub(super) async fn round(tasks: JoinSet<Tally>, start: Instant, end: Instant) -> Round {
    let tallies = timeout_at((end + PATIENCE).into(), tasks.join_all())
        .await
        .expect("every reply to come");
    Round::new(tallies, end - start)
}
