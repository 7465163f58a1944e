//! `GET /<circle_pk>`: from a request to a session.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{
        ConnectInfo, Path, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use tracing::Instrument;

use crate::{auth::PublicKey, refusal::refuse, rpc::Context, session};

/// What is read from the socket at once. A session keeps a buffer of this size.
const READ_BUFFER: usize = 4 << 10;
/// Replies are gathered up to this size before they are written.
const WRITE_BUFFER: usize = 16 << 10;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Why a request doesn't become a session.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refused {
    NoSuchPath,
    NotAKey,
    UnknownCircle,
    ForeignPage,
    NotAnUpgrade,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::NoSuchPath => (
                StatusCode::NOT_FOUND,
                "not_found",
                "nothing is served here; sessions are at /<circle_pk>, webhooks at /webhooks/<provider>/<circle_pk>",
            ),
            Self::NotAKey => (
                StatusCode::NOT_FOUND,
                "invalid_circle",
                "the path is not a secp256k1 public key: 66 or 130 hex digits of a point on the curve",
            ),
            Self::UnknownCircle => (
                StatusCode::NOT_FOUND,
                "unknown_circle",
                "this server does not serve that circle",
            ),
            Self::ForeignPage => (
                StatusCode::FORBIDDEN,
                "origin_not_allowed",
                "pages of this Origin may not connect here; see server.allowed_origins",
            ),
            Self::NotAnUpgrade => (
                StatusCode::UPGRADE_REQUIRED,
                "upgrade_required",
                "connect with a WebSocket (RFC 6455, version 13)",
            ),
        };
        let response = refuse(status, code, message);
        match self {
            Self::NotAnUpgrade => {
                let headers = [
                    (header::UPGRADE, "websocket"),
                    (header::CONNECTION, "upgrade"),
                    (header::SEC_WEBSOCKET_VERSION, "13"),
                ];
                (headers, response).into_response()
            }
            Self::NoSuchPath | Self::NotAKey | Self::UnknownCircle | Self::ForeignPage => response,
        }
    }
}

pub(super) async fn not_found() -> Refused {
    Refused::NoSuchPath
}

pub(super) async fn upgrade(
    State(state): State<Arc<super::State>>,
    Path(circle): Path<String>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refused> {
    let circle: PublicKey = circle.parse().map_err(|_| Refused::NotAKey)?;
    if !state.shared.access.serves(&circle) {
        return Err(Refused::UnknownCircle);
    }
    // An Origin that is no text is not one that was allowed.
    let page = headers
        .get(header::ORIGIN)
        .map(|value| value.to_str().unwrap_or_default());
    if !state.origins.admits(page) {
        return Err(Refused::ForeignPage);
    }
    let upgrade = upgrade.map_err(|_| Refused::NotAnUpgrade)?;
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    let origin = state.origins.own(host);
    let client = client_address(peer.ip(), &headers, &state.trusted_proxies);
    let admitted = state.registry.admit(circle, client);
    let max_message = state.session.max_message;
    // axum gives an upgraded connection a task of its own, which the server is to wait for: from now
    // on for the token, then for the future.
    let token = state.tasks.token();
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(max_message)
        .max_frame_size(max_message);
    let permit = match admitted {
        Ok(permit) => permit,
        Err(full) => {
            tracing::info!(%client, %circle, reason = full.reason(), "session refused");
            return Ok(upgrade.on_upgrade(move |socket| {
                let _token = token;
                state
                    .tasks
                    .track_future(session::refuse(socket, state.session.clone(), full))
            }));
        }
    };
    let span = tracing::info_span!("session", id = %permit.id, %circle);
    span.in_scope(|| tracing::info!(%client, "session opened"));
    let context = Context::new(circle, origin, permit.id, state.shared.clone());
    Ok(upgrade.on_upgrade(move |socket| {
        let _token = token;
        let session = session::run(
            socket,
            context,
            state.session.clone(),
            state.stopping.clone(),
            permit,
        );
        state.tasks.track_future(session.instrument(span))
    }))
}

/// Who is at the other end: behind proxies that are trusted, whom the last of them has seen.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.contains(&address.to_canonical());
    let forwarded = headers
        .get_all(&X_FORWARDED_FOR)
        .iter()
        .rev()
        .filter_map(|value| value.to_str().ok());
    let hops = forwarded
        .flat_map(|value| value.rsplit(','))
        .map_while(|hop| hop.trim().parse::<IpAddr>().ok());
    let mut client = peer;
    for hop in hops {
        if !is_trusted(&client) {
            break;
        }
        client = hop;
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut headers = HeaderMap::new();
        headers.append(
            &X_FORWARDED_FOR,
            "198.51.100.9, 203.0.113.7".parse().unwrap(),
        );
        headers.append(&X_FORWARDED_FOR, "10.0.0.8".parse().unwrap());
        let trusted = [address("10.0.0.7"), address("10.0.0.8")];
        assert_eq!(
            client_address(address("10.0.0.7"), &headers, &trusted),
            address("203.0.113.7")
        );
        assert_eq!(
            client_address(address("10.0.0.7"), &headers, &[]),
            address("10.0.0.7")
        );
        assert_eq!(
            client_address(address("192.0.2.1"), &headers, &trusted),
            address("192.0.2.1")
        );
        assert_eq!(
            client_address(address("10.0.0.7"), &HeaderMap::new(), &trusted),
            address("10.0.0.7")
        );
    }
}
