//! `GET /<circle_pk>`: turns a request into a session.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use circled_protocol::PublicKey;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tracing::Instrument;

use super::{
    handshake::{self, NotAHandshake},
    websocket::Upgrade,
};
use crate::{address::Client, memory::MemoryBudget, refusal::refuse, rpc::Context, session};

/// The bytes that are read from the socket at once. A session keeps a buffer of this size, whose free part is zeroed before
/// every read.
const READ_BUFFER: usize = 2 << 10;
/// The bytes of replies that are collected before they are written.
const WRITE_BUFFER: usize = 16 << 10;

/// The reason why a request doesn't become a session.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refused {
    NoSuchPath,
    NotAGet,
    NotAKey,
    UnknownCircle,
    BeingDeleted,
    ForeignPage,
    NotAnUpgrade,
    MalformedUpgrade,
}

impl Refused {
    /// Returns the response. A browser's WebSocket doesn't tell a page why it failed, so a page that may connect may read
    /// it (`page`: its `Origin`). Any other reads only that it may not: which circles are served is not for all pages.
    fn told_to(self, page: Result<Option<HeaderValue>, Self>) -> Response {
        let (refused, reader) = match page {
            Ok(page) => (self, page),
            Err(foreign) => (foreign, Some(HeaderValue::from_static("*"))),
        };
        let mut response = refused.into_response();
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        if let Some(reader) = reader {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, reader);
        }
        response
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::NoSuchPath => (
                StatusCode::NOT_FOUND,
                "not_found",
                "nothing is served here; sessions are at /<circle_pk>, webhooks at /webhooks/<provider>/<circle_pk>",
            ),
            Self::NotAGet => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "sessions begin with a GET (a WebSocket); webhooks are sent by POST to /webhooks/<provider>/<circle_pk>",
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
            Self::BeingDeleted => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "this circle is being deleted by the operator of the server: try again later",
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
            Self::MalformedUpgrade => (
                StatusCode::BAD_REQUEST,
                "invalid_handshake",
                "a WebSocket handshake needs exactly one Sec-WebSocket-Key: 16 bytes in base64 (RFC 6455, section 4.1)",
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
            Self::NoSuchPath
            | Self::NotAGet
            | Self::NotAKey
            | Self::UnknownCircle
            | Self::BeingDeleted
            | Self::ForeignPage
            | Self::MalformedUpgrade => response,
        }
    }
}

impl From<NotAHandshake> for Refused {
    fn from(why: NotAHandshake) -> Self {
        match why {
            NotAHandshake::NotAsked => Self::NotAnUpgrade,
            NotAHandshake::Malformed => Self::MalformedUpgrade,
        }
    }
}

pub(super) async fn not_found(
    State(state): State<Arc<super::State>>,
    headers: HeaderMap,
) -> Response {
    Refused::NoSuchPath.told_to(page_of(&state, &headers))
}

pub(super) async fn not_a_get(
    State(state): State<Arc<super::State>>,
    headers: HeaderMap,
) -> Response {
    Refused::NotAGet.told_to(page_of(&state, &headers))
}

pub(super) async fn upgrade(
    State(state): State<Arc<super::State>>,
    circle: Result<Path<String>, PathRejection>,
    Extension(Client(client)): Extension<Client>,
    request: Request,
) -> Response {
    let page = page_of(&state, request.headers());
    let begun = match &page {
        Ok(page) => begin(state, circle, client, page.as_ref(), request),
        Err(foreign) => Err(*foreign),
    };
    begun.unwrap_or_else(|refused| refused.told_to(page))
}

/// Returns the `Origin` of the web page that sends a request, if one does and it may connect.
fn page_of(state: &super::State, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refused> {
    // An Origin that isn't text, or not the only one, was not allowed.
    let mut pages = headers.get_all(header::ORIGIN).iter();
    let page = match (pages.next(), pages.next()) {
        (Some(page), None) => page,
        (Some(_), Some(_)) => return Err(Refused::ForeignPage),
        (None, _) => return Ok(None),
    };
    let is_admitted = state.origins.admits(page.to_str().ok().or(Some("")));
    match is_admitted {
        true => Ok(Some(page.clone())),
        false => Err(Refused::ForeignPage),
    }
}

/// Begins a session.
fn begin(
    state: Arc<super::State>,
    circle: Result<Path<String>, PathRejection>,
    client: IpAddr,
    page: Option<&HeaderValue>,
    request: Request,
) -> Result<Response, Refused> {
    let (mut parts, _) = request.into_parts();
    let Path(circle) = circle.map_err(|_| Refused::NotAKey)?;
    let circle: PublicKey = state
        .shared
        .circles
        .parse(&circle, str::parse)
        .map_err(|_| Refused::NotAKey)?;
    if !state.shared.access.serves(&circle) {
        return Err(Refused::UnknownCircle);
    }
    let page = page.and_then(|page| page.to_str().ok());
    let page = page.and_then(crate::auth::host_of_page);
    handshake::check(&parts.method, parts.version, &parts.headers)?;
    let upgrade = Upgrade::of(&mut parts).ok_or(Refused::NotAnUpgrade)?;
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    let origin = state.origins.own(host);
    let ending = state.ending.stopping.child_token();
    let admitted = state.registry.admit(circle, client, ending.clone());
    let max_message = Some(state.session.max_message.get());
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(max_message)
        .max_frame_size(max_message);
    // One that begins at the same time ends with the others, or is refused.
    if state.shared.dispatcher.deleting().contains(&circle) {
        return Err(Refused::BeingDeleted);
    }
    let tasks = state.ending.tasks.clone();
    let permit = match admitted {
        Ok(permit) => permit,
        Err(full) => {
            tracing::info!(%client, %circle, reason = full.reason(), "session refused");
            // Messages from this client aren't read.
            let nothing = MemoryBudget::new("session.max_buffered", 0);
            return Ok(upgrade.serve(config, nothing, 0, &tasks, move |socket| {
                let stopping = state.ending.stopping.clone();
                session::refuse(socket, state.session.clone(), full, stopping)
            }));
        }
    };
    let span =
        tracing::info_span!("session", id = %permit.id, %circle, caller = tracing::field::Empty);
    span.in_scope(|| tracing::info!(%client, "session opened"));
    let context = Context::new(circle, origin, page, permit.client(), state.shared.clone());
    let (memory, longest) = (
        permit.memory().clone(),
        state.session.anonymous_message.get(),
    );
    Ok(
        upgrade.serve(config, memory, longest, &tasks, move |socket| {
            let session = session::run(
                socket,
                context,
                state.session.clone(),
                state.ending.stopping.clone(),
                ending,
                permit,
            );
            session.instrument(span)
        }),
    )
}
