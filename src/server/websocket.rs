//! Upgrades an HTTP request to a WebSocket (RFC 6455, section 4.2).

use axum::{
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::task::TaskTracker;

use super::response_deadline::IsSession;
use crate::{
    memory::MemoryBudget,
    session::{Meter, WebSocket},
};

/// A request that asks for a WebSocket.
#[derive(Debug)]
pub(super) struct Upgrade {
    key: HeaderValue,
    on_upgrade: OnUpgrade,
    is_session: IsSession,
}

impl Upgrade {
    /// Returns the upgrade of a request whose head has been checked; `None` if its connection can't be upgraded.
    pub(super) fn of(parts: &mut Parts) -> Option<Self> {
        Some(Self {
            key: parts.headers.get(header::SEC_WEBSOCKET_KEY)?.clone(),
            on_upgrade: parts.extensions.remove::<OnUpgrade>()?,
            is_session: parts.extensions.remove::<IsSession>()?,
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
        serve: impl FnOnce(WebSocket) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (on_upgrade, is_session) = (self.on_upgrade, self.is_session);
        let sessions = tasks.clone();
        tasks.spawn(async move {
            // The client may be gone already.
            let Ok(upgraded) = on_upgrade.await else {
                return;
            };
            is_session.set();
            let stream = Meter::new(TokioIo::new(upgraded), memory, longest);
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config));
            // In a task of its own, which takes no room for what was needed before.
            sessions.spawn(serve(socket.await));
        });
        let accept = derive_accept_key(self.key.as_bytes());
        let headers = [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}
