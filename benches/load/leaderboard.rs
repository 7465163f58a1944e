//! A leaderboard of very many players, which is read while scores are written.

use std::time::{Duration, Instant};

use circled_protocol::SecretKey;
use serde_json::json;
use tokio::time::sleep_until;

use crate::{
    Options, Subject, measure,
    server::{Process, Server},
    session::{Requests, Session},
    table::Round,
};

/// Scores go up to this, and are written with as many digits.
const SCORES: usize = 1_000_000;
/// Players that one play puts onto the board: two keys each.
const AT_ONCE: usize = 500;
/// Plays under way while the board is filled.
const FILLING: usize = 16;
/// Sessions that read, one call at a time each.
const READERS: usize = 4;
/// The most requests of a session under way: `session.max_in_flight`.
const MAX_IN_FLIGHT: usize = 64;
/// Scores written each second.
const WRITES: u32 = 1000;

/// The board: `s/<score>/<player>`, in order of the scores, and `p/<player>` with the score.
const SCRIPTS: [(&str, &str); 4] = [
    (
        "top",
        r#"store.keys(#{ prefix: "s/", limit: 10, reverse: true })"#,
    ),
    (
        "page",
        r#"store.keys(#{ prefix: "s/", after: `s/${ARGS}`, limit: 50, reverse: true })"#,
    ),
    (
        "neighbours",
        r#"
            let own = `s/${store.get(`p/${ARGS}`)}/${ARGS}`;
            #{
                above: store.keys(#{ prefix: "s/", after: own, limit: 5 }),
                below: store.keys(#{ prefix: "s/", after: own, limit: 5, reverse: true }),
            }
        "#,
    ),
    (
        "score",
        r#"
            let before = store.get(`p/${ARGS.player}`);
            store.delete(`s/${before}/${ARGS.player}`);
            store.set(`s/${ARGS.score}/${ARGS.player}`, true);
            store.set(`p/${ARGS.player}`, ARGS.score);
        "#,
    ),
];
const FILL: &str = r#"
    for player in ARGS {
        store.set(`s/${player[1]}/${player[0]}`, true);
        store.set(`p/${player[0]}`, player[1]);
    }
"#;

/// A board that is filled.
pub(super) struct Board {
    server: Server,
    owner: SecretKey,
    players: usize,
}

/// A way to read the board.
pub(super) struct Reads<'a> {
    board: &'a Board,
    name: &'static str,
}

impl Board {
    /// Fills the board of a new server with so many players.
    pub(super) async fn fill(players: usize) -> Self {
        let owner = SecretKey::generate().expect("randomness");
        let server = Server::counting_conflicts(&owner);
        let mut session = Session::open(&server.url).await;
        session.login(&owner).await;
        for (name, source) in SCRIPTS {
            let script = json!({ "name": name, "source": source });
            session.call("put_script", script).await;
        }
        let fill = |first: usize| {
            let players = first..players.min(first + AT_ONCE);
            let players: Vec<_> = players.map(|player| json!([player, score()])).collect();
            let params = json!({ "script": FILL, "args": players });
            let request =
                json!({ "jsonrpc": "2.0", "id": first, "method": "play", "params": params });
            request.to_string().into()
        };
        let mut under_way = 0;
        for first in (0..players).step_by(AT_ONCE) {
            session.feed(fill(first)).await;
            session.flush().await;
            under_way += 1;
            if under_way == FILLING {
                assert_result(&session.text().await);
                under_way -= 1;
            }
        }
        for _ in 0..under_way {
            assert_result(&session.text().await);
        }
        Self {
            server,
            owner,
            players,
        }
    }

    /// Returns each way to read it.
    pub(super) fn reads(&self) -> [Reads<'_>; 3] {
        ["top", "page", "neighbours"].map(|name| Reads { board: self, name })
    }

    /// Returns how often a run had to start over so far.
    pub(super) fn conflicts(&self) -> usize {
        self.server.conflicts()
    }

    /// Writes scores at a steady pace until the end, as far as the server keeps up. Returns how many.
    async fn write(&self, mut session: Session, end: Instant) -> usize {
        let players = self.players;
        let every = Duration::from_secs(1) / WRITES;
        let (mut due, mut sent, mut answered) = (Instant::now(), 0, 0);
        loop {
            let now = Instant::now();
            while due <= now && now < end && sent < answered + MAX_IN_FLIGHT {
                let (player, score) = (fastrand::usize(..players), score());
                let request = format!(
                    r#"{{"jsonrpc":"2.0","method":"call","params":{{"name":"score","args":{{"player":{player},"score":"{score}"}}}},"id":{sent}}}"#
                );
                session.feed(request.into()).await;
                sent += 1;
                due += every;
            }
            session.flush().await;
            if now >= end && answered == sent {
                return sent;
            }
            tokio::select! {
                reply = session.text() => {
                    assert_result(&reply);
                    answered += 1;
                }
                () = sleep_until(due.into()), if now < end && sent < answered + MAX_IN_FLIGHT => {}
            }
        }
    }
}

impl Reads<'_> {
    /// Reads the board for a while, beside scores that are written. Returns how many were, too.
    pub(super) async fn round(&self, options: &Options) -> (Round, usize) {
        let Self { board, name } = *self;
        let players = board.players;
        let requests = Requests::made(move |id| {
            let args = match name {
                "page" => format!(r#""{}""#, score()),
                "neighbours" => fastrand::usize(..players).to_string(),
                _ => "null".to_owned(),
            };
            format!(
                r#"{{"jsonrpc":"2.0","method":"call","params":{{"name":"{name}","args":{args}}},"id":{id}}}"#
            )
        });
        let mut session = Session::open(&board.server.url).await;
        session.login(&board.owner).await;
        let (_, end) = measure::window(options);
        let writing = board.write(session, end);
        let reads = measure::requests(&board.server, &board.owner, requests, options, READERS, 1);
        tokio::join!(reads, writing)
    }
}

impl Subject for Reads<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn process(&self) -> Option<Process> {
        self.board.server.process()
    }
}

/// Draws a score.
fn score() -> String {
    format!("{:06}", fastrand::usize(..SCORES))
}

fn assert_result(reply: &str) {
    assert!(reply.contains("\"result\":"), "{reply}");
}
