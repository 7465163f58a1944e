//! One session emits and very many receive: deliveries each second, and the latency of each after the commit.
//!
//! The client sees a commit by its first sign: the reply to the emitter or the first arrival at a subscriber, whichever
//! is sooner. Latencies count from there.

use std::time::{Duration, Instant};

use circled_protocol::SecretKey;
use serde_json::json;
use tokio::{sync::Mutex, time::timeout_at};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{
    Options, Subject,
    audience::{Arrival, Audience, PATIENCE},
    echo::Echo,
    measure,
    server::{Process, Server},
    session::{Session, Tally},
    table::Round,
};

/// The most events under way: emitted, and not yet at every subscriber.
const WINDOW: usize = 32;
/// The deliveries each second when latency is measured: far below the maximum.
const PACED: usize = 20_000;

/// The pace of emitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The fastest possible pace, with [`WINDOW`] under way.
    Full,
    /// [`PACED`] deliveries each second.
    Steady,
}

/// The messages that a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Events,
    /// The same, by a bare broadcast.
    Bare,
    /// The value of a watched script.
    Values,
}

/// A server with subscribers and an emitter.
pub(super) struct Fanout {
    server: Server,
    told: Told,
    emitter: Mutex<Emitter>,
    audience: Audience,
}

struct Emitter {
    session: Session,
    /// The number of events so far.
    emitted: usize,
}

impl Fanout {
    /// Starts the bare broadcasts and circled, each with so many subscribers.
    pub(super) async fn all(subscribers: usize) -> Vec<Self> {
        let circle = SecretKey::generate().expect("randomness");
        let servers = [
            Server::echo("broadcast", Echo::Broadcast),
            Server::echo("broadcast, batch", Echo::BroadcastTogether),
            Server::circled(&circle),
        ];
        let mut all = Vec::new();
        for server in servers {
            let told = if server.is_echo {
                Told::Bare
            } else {
                Told::Events
            };
            all.push(Self::new(server, told, &circle, subscribers).await);
        }
        all
    }

    /// Starts circled with so many sessions that watch the same.
    pub(super) async fn of_values(sessions: usize) -> Self {
        let circle = SecretKey::generate().expect("randomness");
        let server = Server::circled(&circle);
        Self::new(server, Told::Values, &circle, sessions).await
    }

    async fn new(server: Server, told: Told, circle: &SecretKey, subscribers: usize) -> Self {
        let guest = SecretKey::generate().expect("randomness");
        let mut sockets = Vec::new();
        for _ in 0..subscribers {
            let mut session = Session::open(&server.url).await;
            if !server.is_echo {
                session.login(&guest).await;
                match told {
                    Told::Values => {
                        let watch = json!({ "script": "store.get(\"news\")" });
                        session.call("watch", watch).await;
                    }
                    Told::Events | Told::Bare => {
                        session.call("subscribe", json!({ "topic": "news" })).await;
                    }
                }
            }
            sockets.push(session.into_stream());
        }
        let session = if server.is_echo {
            Session::open(&format!("{}emit", server.url)).await
        } else {
            let mut session = Session::open(&server.url).await;
            session.login(circle).await;
            session
        };
        Self {
            server,
            told,
            emitter: Mutex::new(Emitter {
                session,
                emitted: 0,
            }),
            audience: Audience::new(sockets),
        }
    }

    /// Emits for a while, and waits until everything has arrived.
    pub(super) async fn round(&self, options: &Options, pace: Pace) -> Round {
        let audience = &self.audience;
        let mut emitter = self.emitter.lock().await;
        let first = emitter.emitted;
        let (start, end) = measure::window(options);
        let emission = emitter.emit(self.told, pace, audience, end);
        let (mut signs, errors) = timeout_at((end + PATIENCE).into(), emission)
            .await
            .expect("every event to arrive");
        let mut arrivals = audience.take_arrivals();
        let expected = signs.len() * audience.count;
        let mut tally = Tally {
            answered: arrivals.len(),
            errors: errors + expected.abs_diff(arrivals.len()) + audience.gone(),
            ..Tally::default()
        };
        arrivals.sort_by_key(|arrival| arrival.at);
        for Arrival { event, at } in arrivals {
            let Some(sign) = event.checked_sub(first).and_then(|n| signs.get_mut(n)) else {
                tally.errors += 1;
                continue;
            };
            *sign = at.min(*sign);
            if (start..end).contains(&at) {
                tally.taken.push(at - *sign);
            }
        }
        Round::new(vec![tally], end - start)
    }
}

impl Emitter {
    /// Emits until the end, and waits until everything has arrived. Returns the time of each reply, and the number of
    /// errors.
    async fn emit(
        &mut self,
        told: Told,
        pace: Pace,
        audience: &Audience,
        end: Instant,
    ) -> (Vec<Instant>, usize) {
        let count = audience.count;
        let everywhere = || usize::try_from(audience.arrived()).expect("64 bits") / count;
        let every = Duration::from_secs_f64(count as f64 / PACED as f64);
        let mut due = Instant::now();
        let first = self.emitted;
        let (mut replied, mut errors) = (Vec::new(), 0);
        loop {
            let now = Instant::now();
            let goes_on = now < end;
            // Of values that come close together, only the last is told.
            let is_free = |emitted| told != Told::Values || everywhere() >= emitted;
            while goes_on
                && is_free(self.emitted)
                && match pace {
                    Pace::Full => self.emitted < everywhere() + WINDOW,
                    Pace::Steady => due <= now,
                }
            {
                due += every;
                self.session.feed(request(told, self.emitted)).await;
                self.emitted += 1;
            }
            self.session.flush().await;
            if !goes_on && replied.len() == self.emitted - first && everywhere() >= self.emitted {
                return (replied, errors);
            }
            tokio::select! {
                text = self.session.text() => {
                    replied.push(Instant::now());
                    let expected = match told {
                        Told::Bare => "\"method\":",
                        Told::Events | Told::Values => "\"result\":",
                    };
                    errors += usize::from(!text.contains(expected));
                }
                () = audience.progress() => {}
                () = tokio::time::sleep_until(due.into()), if pace == Pace::Steady && goes_on && is_free(self.emitted) => {}
                () = tokio::time::sleep_until(end.into()), if goes_on => {}
            }
        }
    }
}

/// Returns the request that emits the `n`th event: a play, or for bare servers the event itself, in as many bytes as
/// circled writes.
fn request(told: Told, n: usize) -> Utf8Bytes {
    const DATA: &str =
        r#"{"headline":"The river is back within its banks","section":"local","words":512}"#;

    let text = match told {
        Told::Bare => format!(
            r#"{{"jsonrpc":"2.0","method":"event","params":{{"subscription":"1","id":{n},"topic":"news","data":{DATA},"at":"2026-11-23T16:45:00.123456Z"}}}}"#
        ),
        Told::Events => format!(
            r#"{{"jsonrpc":"2.0","method":"play","params":{{"script":"emit(\"news\", ARGS)","args":{DATA}}},"id":{n}}}"#
        ),
        // Only another value is told.
        Told::Values => format!(
            r#"{{"jsonrpc":"2.0","method":"play","params":{{"script":"store.set(\"news\", ARGS)","args":[{n},{DATA}]}},"id":{n}}}"#
        ),
    };
    text.into()
}

impl Subject for Fanout {
    fn name(&self) -> &str {
        &self.server.name
    }

    fn process(&self) -> Option<Process> {
        self.server.process()
    }
}
