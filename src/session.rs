//! One WebSocket, from upgrade to close: one task, one `select!` loop, one writer.
//!
//! Decisions are made elsewhere ([`crate::rpc`] for what to answer, `heartbeat` for when to ping
//! and when to give up, `connection` for when a client is too slow); this task carries inputs to
//! them and what they say to the socket. Whatever ends the loop, the teardown stands after it.

mod budgets;
mod connection;
mod heartbeat;
mod meter;
mod registry;
mod settings;

use std::{
    future::{pending, ready},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::CloseFrame};
use tokio_util::sync::CancellationToken;

pub use meter::Meter;
pub use registry::{Full, Registry, SessionId, SessionPermit};
pub use settings::Settings;

use crate::{
    farewell,
    memory::MemoryBudget,
    rpc::{self, Context, Events, Handled, Id, May, Pending, Reply, Written},
};
use connection::{Connection, Input, MayTell};
use heartbeat::{Heartbeat, Tick};

/// What a session is held over.
pub type WebSocket = WebSocketStream<Meter<TokioIo<Upgraded>>>;

/// How long a client may take to take what is left for it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// When to look again whether there is room for events.
const AGAIN: Duration = Duration::from_millis(100);

/// Why the server closes a session, as RFC 6455, section 7.4, counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The server stops.
    GoingAway,
    /// This server doesn't serve the circle any more.
    Unserved,
    /// Somebody in the circle may do less than before.
    RulesChanged,
    /// Nobody logged in in time.
    LoginDeadline,
    /// A message was larger than the settings allow.
    TooBig,
    /// The same, from somebody who hasn't logged in.
    TooBigYet,
    /// The client reads too slowly, or not at all.
    TooSlow,
    /// There is no room for what the client sends.
    NoRoom,
    /// There are as many sessions as the settings allow.
    Full(Full),
    /// The client's frames break the WebSocket protocol.
    Protocol(u16),
}

impl Closing {
    /// Whether everything was answered before.
    fn is_in_order(self) -> bool {
        matches!(self, Self::GoingAway | Self::Unserved | Self::RulesChanged)
    }

    fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::GoingAway => (1001, "the server is stopping"),
            Self::Unserved => (1008, "this server does not serve the circle any more"),
            Self::RulesChanged => (1012, "the circle's rules have changed: connect again"),
            Self::LoginDeadline => (1008, "not logged in in time"),
            Self::TooBig => (1009, "message larger than session.max_message"),
            Self::TooBigYet => (
                1009,
                "message larger than session.anonymous_message, before a login",
            ),
            Self::TooSlow => (1013, "reading too slowly"),
            Self::NoRoom => (1013, "no room for a message, try again later"),
            Self::Full(full) => (1013, full.reason()),
            Self::Protocol(code) => (code, "protocol error"),
        };
        CloseFrame {
            code: code.into(),
            reason: reason.into(),
        }
    }
}

/// Why the loop ended.
enum End {
    /// The client closed, or is gone.
    Left,
    /// The client is gone without a word: no pong came.
    Silent,
    /// The server closes.
    Closing(Closing),
}

/// Runs a session to its end, and gives `permit` back. Once `ending` is cancelled, nothing new is begun; when the
/// calls that were under way have been answered, the session is closed. So it is once `stopping` is, whose child
/// `ending` is, and then because the server stops.
///
/// Not an `async fn`: its arguments would be kept twice for as long as the session lasts.
pub fn run(
    socket: WebSocket,
    mut context: Context,
    settings: Arc<Settings>,
    stopping: CancellationToken,
    ending: CancellationToken,
    permit: SessionPermit,
) -> impl Future<Output = ()> + Send {
    let mut connection = Connection::new(socket, &settings, permit.memory().clone());
    async move {
        let _permit = &permit;
        let mut end = converse(&mut connection, &mut context, &settings, &ending).await;
        if matches!(end, End::Closing(Closing::GoingAway)) && !stopping.is_cancelled() {
            end = End::Closing(if context.shared.access.serves(&context.circle) {
                Closing::RulesChanged
            } else {
                Closing::Unserved
            });
        }
        match end {
            End::Left => {
                tracing::info!("session ended: the client left");
                farewell::wait_for(connection.finish(), &stopping).await;
            }
            End::Silent => {
                tracing::info!("session ended: no answer to a ping");
            }
            End::Closing(closing) => {
                let frame = closing.frame();
                tracing::info!(
                    code = u16::from(frame.code),
                    reason = frame.reason.as_str(),
                    "session closed"
                );
                if !closing.is_in_order() {
                    connection.discard();
                }
                // A client that has stopped reading won't read this either; it is not waited for long.
                if let Ok(true) = timeout(CLOSE_TIMEOUT, connection.close(frame)).await {
                    farewell::wait_for(connection.finish(), &stopping).await;
                }
            }
        }
    }
}

/// Turns a client away at the door: the upgrade has happened, so that it can see why.
pub async fn refuse(
    socket: WebSocket,
    settings: Arc<Settings>,
    full: Full,
    stopping: CancellationToken,
) {
    // It is sent nothing that would have to wait.
    let nothing = MemoryBudget::new("session.max_buffered", 0);
    let mut connection = Connection::new(socket, &settings, nothing);
    let close = async {
        if connection.close(Closing::Full(full).frame()).await {
            connection.finish().await;
        }
    };
    farewell::wait_for(close, &stopping).await;
}

async fn converse(
    connection: &mut Connection<WebSocket>,
    context: &mut Context,
    settings: &Settings,
    ending: &CancellationToken,
) -> End {
    let mut events: Option<Box<Events>> = None;
    let mut in_flight: FuturesUnordered<Pending<Option<Written>>> = FuturesUnordered::new();
    let mut heartbeat = Heartbeat::new(settings, Instant::now());
    if context.shared.access.serves_anyone(&context.circle) {
        // Nobody has to log in.
        heartbeat.on_login();
    }
    let timer = sleep_until(heartbeat.next());
    if !context.shared.access.serves(&context.circle) {
        // It stopped to while the session began.
        return End::Closing(Closing::GoingAway);
    }
    let ending = ending.cancelled();
    tokio::pin!(timer, ending);

    loop {
        // Few sessions have any, and the others are to stay small.
        if events.is_none() && context.subscriptions.any() {
            events = Some(Box::new(context.events()));
        }
        let may = match &events {
            None => May::Nothing,
            Some(events) => {
                let is_behind = events.is_behind();
                match connection.may_tell(is_behind) {
                    MayTell::Now if is_behind => May::Read,
                    MayTell::Now => May::Land,
                    MayTell::OnceSent => May::Nothing,
                    MayTell::Later => {
                        let again = Instant::now() + AGAIN;
                        timer.as_mut().reset(heartbeat.next().min(again));
                        May::Nothing
                    }
                }
            }
        };
        let more = async {
            match &mut events {
                Some(events) => events.next(may).await,
                None => pending().await,
            }
        };
        let reply = tokio::select! {
            biased;
            input = connection.next() => match input {
                Input::Text(text) => {
                    if text.len() > settings.anonymous_message && context.phase.caller().is_none() {
                        return End::Closing(Closing::TooBigYet);
                    }
                    if connection.begins_turn() {
                        context.begin_turn();
                    }
                    let reply = match rpc::on_text(context, &text) {
                        Handled::Done(reply) => reply,
                        Handled::InTurn(handling) => {
                            let handled = in_turn(handling, &mut in_flight, connection).await;
                            heartbeat.on_wait(Instant::now());
                            match handled {
                                Ok(reply) => reply,
                                Err(closing) => return End::Closing(closing),
                            }
                        }
                    };
                    if context.phase.caller().is_some() {
                        heartbeat.on_login();
                        connection.on_login(settings);
                    }
                    match reply {
                        Reply::Now(reply) => reply,
                        Reply::Later(pending) => {
                            in_flight.push(pending);
                            None
                        }
                    }
                }
                Input::Binary => {
                    let error = rpc::Error::invalid_request("send text frames; a binary frame is never read");
                    Some(Written {
                        text: rpc::failed(&error, &Id::NULL),
                        room: None,
                    })
                }
                Input::Pong => {
                    heartbeat.on_pong();
                    None
                }
                Input::Blocked => {
                    timer.as_mut().reset(heartbeat.on_blocked(Instant::now()));
                    None
                }
                Input::Room => None,
                Input::Left => return End::Left,
                Input::Broken(closing) => return End::Closing(closing),
            },
            Some(reply) = in_flight.next(), if !in_flight.is_empty() => reply,
            told = more => {
                connection.tell(told);
                None
            }
            () = &mut timer => {
                let tick = heartbeat.on_tick(Instant::now(), connection.blocked_since());
                timer.as_mut().reset(heartbeat.next());
                match tick {
                    Tick::Nothing => {}
                    Tick::Ping => connection.ping(),
                    Tick::Silent => return End::Silent,
                    Tick::Close(closing) => return End::Closing(closing),
                }
                None
            }
            () = &mut ending, if !context.draining => {
                context.draining = true;
                None
            }
            // Polled last: whatever has come in by now has been read and answered.
            () = ready(()), if context.draining && in_flight.is_empty() => return End::Closing(Closing::GoingAway),
        };
        if let Some(Written { text, room }) = reply
            && let Err(closing) = connection.send(text, room)
        {
            return End::Closing(closing);
        }
    }
}

/// Waits until a message has been handled whose turn comes later. What else is done meanwhile is written, so that it gives
/// back what it held.
async fn in_turn(
    mut handling: BoxFuture<'_, Reply>,
    in_flight: &mut FuturesUnordered<Pending<Option<Written>>>,
    connection: &mut Connection<WebSocket>,
) -> Result<Reply, Closing> {
    loop {
        tokio::select! {
            biased;
            reply = &mut handling => return Ok(reply),
            Some(reply) = in_flight.next(), if !in_flight.is_empty() => {
                if let Some(Written { text, room }) = reply {
                    connection.send(text, room)?;
                }
            }
        }
    }
}
