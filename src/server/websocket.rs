//! Upgrades an HTTP request to a WebSocket (RFC 6455, section 4.2).

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Bytes,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::task::TaskTracker;

use super::linger::Lingering;
use crate::{
    memory::MemoryBudget,
    session::{Meter, WebSocket},
};

/// The session that a connection becomes when its response has been sent. Each request carries it. A cheap handle.
///
/// hyper's own upgrades would cost a task for each session, and a box that stays.
#[derive(Clone, Default)]
pub(super) struct NextSession(Arc<Mutex<Option<Start>>>);

/// Starts a session on a connection from which these bytes have been read already.
type Start = Box<dyn FnOnce(Lingering, Bytes) + Send>;

/// A request that asks for a WebSocket.
#[derive(Debug)]
pub(super) struct Upgrade {
    key: HeaderValue,
    session: NextSession,
}

impl NextSession {
    /// Starts the session if the connection becomes one.
    pub(super) fn start(&self, connection: impl FnOnce() -> (Lingering, Bytes)) {
        let start = self.lock().take();
        if let Some(start) = start {
            let (stream, begun) = connection();
            start(stream, begun);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Start>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for NextSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextSession").finish_non_exhaustive()
    }
}

impl Upgrade {
    /// Returns the upgrade of a request whose head has been checked; `None` if its connection can't be upgraded.
    pub(super) fn of(parts: &mut Parts) -> Option<Self> {
        parts.extensions.get::<OnUpgrade>()?;
        Some(Self {
            key: parts.headers.get(header::SEC_WEBSOCKET_KEY)?.clone(),
            session: parts.extensions.remove()?,
        })
    }

    /// Accepts the upgrade, and serves the WebSocket in a task of its own. Bytes of unfinished messages count in
    /// `memory`; messages may be `longest` bytes for now.
    pub(super) fn serve<F>(
        self,
        config: WebSocketConfig,
        memory: MemoryBudget,
        longest: usize,
        tasks: &TaskTracker,
        serve: impl FnOnce(WebSocket<Lingering>) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = tasks.clone();
        *self.session.lock() = Some(Box::new(move |stream, begun| {
            let stream = Meter::new(stream, memory, longest).continuing(&begun);
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config));
            // The future is ready at once.
            if let Some(socket) = socket.now_or_never() {
                // In a task of its own, which takes no room for what was needed before.
                tasks.spawn(serve(socket));
            }
        }));
        let accept = derive_accept_key(self.key.as_bytes());
        let headers = [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}
