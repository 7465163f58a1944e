//! One WebSocket, from upgrade to close: one task, one `select!` loop, one writer.
//!
//! Decisions are made elsewhere: [`crate::rpc`] handles messages, `heartbeat` decides when to ping and when to give up,
//! `connection` when a client is too slow. This task carries inputs to them and their outputs to the socket. The
//! teardown follows the loop, whatever ends it. While a message waits for its turn, the same loop goes on, but handles
//! no other message.

mod budgets;
mod connection;
mod heartbeat;
mod meter;
mod registry;
mod settings;

use std::{
    borrow::Cow,
    future::{pending, ready},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Utf8Bytes, protocol::CloseFrame},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

pub use meter::{Meter, Metered};
pub use registry::{Full, Registry, SessionId, SessionPermit};
pub use settings::Settings;

use crate::{
    farewell,
    memory::MemoryBudget,
    metrics::{CloseLabels, metrics},
    rpc::{
        self, Context, DeviceEnd, Events, Gather, Handled, Id, InFlight, PendingCall, Reply,
        ReplyText, Subscriptions,
    },
};
use connection::{Connection, EventCapacity, Input, Reads};
use heartbeat::{Heartbeat, Tick};

/// The WebSocket of a session on a connection `S`.
pub type WebSocket<S> = WebSocketStream<Meter<S>>;

/// The time in which a client must read the last bytes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The interval at which a session without memory for events looks for it again.
const AGAIN: Duration = Duration::from_millis(100);

/// The reason why the server closes a session, with a code of RFC 6455, section 7.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The server stops.
    GoingAway,
    /// The server doesn't serve the circle any more.
    Unserved,
    /// Somebody in the circle may do less than before.
    RulesChanged,
    /// The device key of the session was removed, has changed, or has expired.
    Device(DeviceEnd),
    /// The login deadline has passed.
    LoginDeadline,
    /// A message was larger than the settings allow.
    TooBig,
    /// A message was larger than the settings allow before a login.
    TooBigYet,
    /// The client reads too slowly, or not at all.
    TooSlow,
    /// There is no memory for a message of the client.
    NoMemory,
    /// There are as many sessions as the settings allow.
    Full(Full),
    /// The client's frames break the WebSocket protocol.
    Protocol(u16),
}

impl Closing {
    /// Returns true if all calls were answered before.
    fn is_in_order(self) -> bool {
        matches!(
            self,
            Self::GoingAway | Self::Unserved | Self::RulesChanged | Self::Device(_)
        )
    }

    fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::GoingAway => (1001, "the server is stopping"),
            Self::Unserved => (1008, "this server does not serve the circle any more"),
            Self::RulesChanged => (1012, "the circle's rules have changed: connect again"),
            Self::Device(DeviceEnd::Removed) => (1008, "device key removed"),
            Self::Device(DeviceEnd::Expired) => (1008, "device key expired"),
            Self::Device(DeviceEnd::Changed) => (
                1012,
                "the scope of the device key has changed: connect again",
            ),
            Self::LoginDeadline => (1008, "no login within session.login_deadline"),
            Self::TooBig => (1009, "message larger than session.max_message"),
            Self::TooBigYet => (
                1009,
                "message larger than session.anonymous_message, before a login",
            ),
            Self::TooSlow => (1013, "reading too slowly"),
            Self::NoMemory => (1013, "no memory for a message, try again later"),
            Self::Full(full) => (1013, full.reason()),
            Self::Protocol(code) => (code, "protocol error"),
        };
        CloseFrame {
            code: code.into(),
            reason: reason.into(),
        }
    }
}

/// The reason why the loop ended.
enum End {
    /// The client closed the connection, or is gone.
    Left,
    /// The client sent no pong.
    Silent,
    /// The server closes the session.
    Closing(Closing),
}

/// Runs a session to its end, and releases `permit`. Once `ending` is cancelled, nothing new begins; when the calls
/// under way are answered, the session is closed. `stopping` has the same effect, because `ending` is its child; then
/// the reason is that the server stops.
///
/// Not an `async fn`: that would keep the arguments twice while the session lasts.
pub fn run<S: Metered + Send>(
    socket: S,
    mut context: Context,
    settings: Arc<Settings>,
    stopping: CancellationToken,
    ending: CancellationToken,
    permit: SessionPermit,
) -> impl Future<Output = ()> + Send {
    let mut connection = Connection::new(socket, &settings, permit.memory().clone());
    metrics().sessions_opened.increment();
    async move {
        let _permit = &permit;
        let (mut end, events) = converse(&mut connection, &mut context, &settings, &ending).await;
        if matches!(end, End::Closing(Closing::GoingAway)) && !stopping.is_cancelled() {
            end = End::Closing(match context.in_flight_requests.device_end() {
                Some(why) => Closing::Device(why),
                None if context.shared.access.serves(&context.circle) => Closing::RulesChanged,
                None => Closing::Unserved,
            });
        }
        // A read of the log goes on until it ends, whatever happens to the client.
        let look = async {
            if let Some(events) = events {
                events.finish().await;
            }
        };
        let stopping = &stopping;
        // In a box: without it, a session would keep room for this all along.
        let parting = Box::pin(async move {
            close(&mut connection, end, stopping).await;
            drop(connection);
        });
        tokio::join!(parting, look);
    }
}

/// Counts a session that has ended, by the code of the close frame, or a word where the server sends none.
fn count_close(code: impl Into<Cow<'static, str>>) {
    let labels = CloseLabels { code: code.into() };
    metrics().session_closes.get_or_create(&labels).increment();
}

/// Says goodbye to the client and closes the connection.
async fn close<S: Metered>(connection: &mut Connection<S>, end: End, stopping: &CancellationToken) {
    match end {
        End::Left => {
            count_close("left");
            tracing::info!("session ended: the client left");
            farewell::wait_for(connection.finish(), stopping).await;
        }
        End::Silent => {
            count_close("silent");
            tracing::info!("session ended: no answer to a ping");
        }
        End::Closing(closing) => {
            let frame = closing.frame();
            count_close(u16::from(frame.code).to_string());
            tracing::info!(
                code = u16::from(frame.code),
                reason = frame.reason.as_str(),
                "session closed"
            );
            if !closing.is_in_order() {
                connection.discard();
            }
            // A client that has stopped reading won't read this either, so the wait is short.
            if let Ok(true) = timeout(CLOSE_TIMEOUT, connection.close(frame)).await {
                farewell::wait_for(connection.finish(), stopping).await;
            }
        }
    }
}

/// Closes the session of a client for which there is no room, after the upgrade so that the client can read the reason.
pub async fn refuse<S: Metered>(
    socket: S,
    settings: Arc<Settings>,
    full: Full,
    stopping: CancellationToken,
) {
    // The client is sent nothing that would have to wait.
    let nothing = MemoryBudget::new("session.max_buffered", 0);
    let mut connection = Connection::new(socket, &settings, nothing);
    let frame = Closing::Full(full).frame();
    count_close(u16::from(frame.code).to_string());
    let close = async {
        if connection.close(frame).await {
            connection.finish().await;
        }
    };
    farewell::wait_for(close, &stopping).await;
}

/// A running session.
struct Session<'a, 'e, S> {
    connection: &'a mut Connection<S>,
    subscriptions: Subscriptions,
    in_flight_requests: InFlight,
    /// Few sessions have subscriptions, and the others should stay small.
    events: Option<Box<Events>>,
    in_flight: FuturesUnordered<PendingCall<Option<ReplyText>>>,
    heartbeat: Heartbeat,
    timer: Pin<&'a mut Sleep>,
    ending: Pin<&'a mut WaitForCancellationFuture<'e>>,
}

/// Returns the reason for the end, and the events that were being read.
async fn converse<S: Metered>(
    connection: &mut Connection<S>,
    context: &mut Context,
    settings: &Settings,
    ending: &CancellationToken,
) -> (End, Option<Box<Events>>) {
    let mut heartbeat = Heartbeat::new(settings, Instant::now());
    if context.shared.access.serves_anyone(&context.circle) {
        // Nobody has to log in.
        heartbeat.on_login();
    }
    if !context.shared.access.serves(&context.circle) {
        // The server began to stop while the session began.
        return (End::Closing(Closing::GoingAway), None);
    }
    let timer = pin!(sleep_until(heartbeat.next()));
    let ending = pin!(ending.cancelled());
    let mut session = Session {
        connection,
        subscriptions: context.subscriptions.clone(),
        in_flight_requests: context.in_flight_requests.clone(),
        events: None,
        in_flight: FuturesUnordered::new(),
        heartbeat,
        timer,
        ending,
    };
    loop {
        let text = match session.next(Reads::All).await {
            Ok(text) => text,
            Err(end) => return (end, session.events),
        };
        if text.len() > settings.anonymous_message.get() && context.phase.caller().is_none() {
            return (End::Closing(Closing::TooBigYet), session.events);
        }
        if session.connection.begins_turn() {
            context.begin_turn(session.connection.turn_began());
        }
        let reply = match rpc::on_text(context, &text) {
            Handled::Done(reply) => Ok(reply),
            Handled::InTurn(handling) => session.handle_in_turn(handling).await,
        };
        let sent = match reply {
            Ok(Reply::Now(reply)) => session.send(reply),
            Ok(Reply::Later(pending)) => {
                session.in_flight.push(pending);
                Ok(())
            }
            Err(end) => Err(end),
        };
        if let Err(end) = sent {
            return (end, session.events);
        }
        if context.phase.caller().is_some() {
            session.heartbeat.on_login();
            session.connection.on_login(settings);
        }
    }
}

impl<S: Metered> Session<'_, '_, S> {
    /// Waits until a message that waits for its turn has been handled. Everything else goes on meanwhile, except that
    /// no other message is handled.
    async fn handle_in_turn(&mut self, handling: BoxFuture<'_, Reply>) -> Result<Reply, End> {
        let handled = tokio::select! {
            biased;
            reply = handling => Ok(reply),
            Err(end) = self.next(Reads::Ahead) => Err(end),
        };
        if self.connection.has_unhandled() {
            self.heartbeat.on_wait(Instant::now());
        }
        handled
    }

    /// Waits for the next message, and does everything else meanwhile: sends replies and events, pings, and watches for
    /// the session's end. With [`Reads::Ahead`], it returns no message. Dropping the future loses nothing.
    async fn next(&mut self, reads: Reads) -> Result<Utf8Bytes, End> {
        loop {
            let gather = self.gather();
            let Self {
                connection,
                in_flight_requests,
                events,
                in_flight,
                heartbeat,
                timer,
                ending,
                ..
            } = self;
            // A client that has read everything may ask for more at once, so the read of the log begins before that.
            if gather == Gather::Missed
                && let Some(events) = events
                && let Some(notices) = events.next(gather).now_or_never()
            {
                connection.send_events(notices);
                continue;
            }
            let reply = {
                // Pinned here, so that its room isn't copied for each message.
                let mut more = pin!(async {
                    match events {
                        Some(events) => events.next(gather).await,
                        None => pending().await,
                    }
                });
                tokio::select! {
                    biased;
                    input = connection.next(reads) => match input {
                        Input::Text(text) => return Ok(text),
                        Input::Binary => {
                            let error = rpc::Error::invalid_request("send text frames; a binary frame is never read");
                            Some(ReplyText {
                                text: rpc::failed(&error, &Id::NULL),
                                reservation: None,
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
                        Input::EventsWanted => None,
                        Input::Left => return Err(End::Left),
                        Input::Broken(closing) => return Err(End::Closing(closing)),
                    },
                    Some(reply) = in_flight.next(), if !in_flight.is_empty() => reply,
                    notices = more.as_mut() => {
                        connection.send_events(notices);
                        None
                    }
                    () = timer.as_mut() => {
                        let now = Instant::now();
                        if connection.has_unhandled() {
                            heartbeat.on_wait(now);
                        }
                        if reads == Reads::Ahead {
                            heartbeat.on_handling(now);
                        }
                        let tick = heartbeat.on_tick(now, connection.blocked_since());
                        timer.as_mut().reset(heartbeat.next());
                        match tick {
                            Tick::Nothing => {}
                            Tick::Ping => connection.ping(),
                            Tick::Silent => return Err(End::Silent),
                            Tick::Close(closing) => return Err(End::Closing(closing)),
                        }
                        None
                    }
                    () = ending.as_mut(), if !in_flight_requests.is_draining() => {
                        in_flight_requests.drain();
                        if in_flight_requests.device_end().is_some() {
                            timer.as_mut().reset(heartbeat.on_end(Instant::now()));
                        }
                        None
                    }
                    // Polled last: every message that has come in by now has been read and answered.
                    () = ready(()), if reads == Reads::All && in_flight_requests.is_draining() && in_flight.is_empty() => {
                        return Err(End::Closing(Closing::GoingAway));
                    }
                }
            };
            self.send(reply)?;
        }
    }

    /// Returns the kind of events that may be gathered now.
    fn gather(&mut self) -> Gather {
        if self.events.is_none() && self.subscriptions.any() {
            self.events = Some(Box::new(self.subscriptions.events()));
        }
        let Some(events) = &self.events else {
            return Gather::Nothing;
        };
        let is_behind = events.is_behind();
        match self.connection.event_capacity(is_behind) {
            EventCapacity::Free if is_behind => Gather::Missed,
            EventCapacity::Free => Gather::New,
            EventCapacity::AfterSending => Gather::Nothing,
            EventCapacity::Later => {
                let again = Instant::now() + AGAIN;
                self.timer.as_mut().reset(self.heartbeat.next().min(again));
                Gather::Nothing
            }
        }
    }

    fn send(&mut self, reply: Option<ReplyText>) -> Result<(), End> {
        match reply {
            Some(ReplyText { text, reservation }) => self
                .connection
                .send(text, reservation)
                .map_err(End::Closing),
            None => Ok(()),
        }
    }
}
