//! Many sessions at once.

use circled_protocol::SecretKey;
use futures_util::{StreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::harness::server::{TestServer, Ws, key};

const SESSIONS: usize = 2_000;

/// Raises the limit of open files: every session is one, here as well as in the server.
pub(crate) fn raise_open_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, all).unwrap();
    assert!(most.is_none_or(|most| most > SESSIONS as u64 + 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_sessions_each_get_their_own_answer() {
    raise_open_files();
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_SESSIONS", SESSIONS)
        .env("CIRCLED_SESSION__MAX_SESSIONS_PER_ADDRESS", SESSIONS)
        .env("CIRCLED_SESSION__MAX_IN_FLIGHT", "1")
        .start()
        .await;
    let open = |n: usize| {
        let server = &server;
        async move {
            let me = SecretKey::generate().unwrap();
            let circle = key(u8::try_from(1 + n % 100).unwrap()).public();
            let mut session = server.connect_to(circle).await;
            session.login(&me).await;
            (n, me.public(), circle, session)
        }
    };
    let sessions: Vec<_> = stream::iter(0..SESSIONS)
        .map(open)
        .buffer_unordered(64)
        .collect()
        .await;
    let ready = server.admin("/readyz").await.json();
    assert_eq!(
        ready,
        json!({ "status": "ready", "sessions": SESSIONS, "circles": 100 })
    );

    let play = async |(n, me, circle, mut session): (usize, _, _, Ws)| {
        let params = json!({ "script": "[CALLER_ID, CONTEXT_ID, ARGS + 1]", "args": n });
        let run = session.call("play", params).await.unwrap();
        assert_eq!(run["value"], json!([me, circle, n + 1]));
        session.assert_silent().await;
        session
    };
    let sessions: Vec<_> = stream::iter(sessions)
        .map(play)
        .buffer_unordered(SESSIONS)
        .collect()
        .await;
    assert_eq!(sessions.len(), SESSIONS);
}
