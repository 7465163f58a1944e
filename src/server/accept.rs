//! Accepts connections: `axum::serve` with bounds. The number of connections is limited, in all and for each address.
//! Each connection has deadlines for its request and its response. A closing one lingers until its client has read the
//! reason. With `server.tls`, a handshake comes first.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response},
    response::IntoResponse,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{
    handshake,
    linger::Lingering,
    response_deadline::ResponseDeadline,
    stream::Stream,
    tls::{NoHandshake, Tls},
    websocket::NextSession,
};
use crate::{
    address::{Network, TrustedProxies},
    config::server::Settings,
    log_limit::LogLimit,
    pace::Pace,
    shares::{Bounds, Full, ShareGuard, Shares},
    webhooks::{VerifyLayer, WebhookRefusal},
};

/// The most log lines of one kind in a second.
const LOG_LINES: u32 = 1;

/// The most characters of a path in the log.
const PATH: usize = 128;

/// The acceptor of a listener. A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Acceptor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: http1::Builder,
    response: Pace,
    places: Shares<Network>,
    proxies: TrustedProxies,
    refused: LogLimit,
    crowded: LogLimit,
    hostless: LogLimit,
    /// `None` if connections are plain.
    tls: Option<Tls>,
    /// The layer that counts refused webhooks; `None` on the admin listener.
    webhooks: Option<VerifyLayer>,
}

/// The tokens that end connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending {
    /// Cancelled when the listener stops: it takes no more connections and closes idle ones.
    pub(super) stopping: CancellationToken,
    /// Cancelled when connections that aren't sessions are cut off.
    pub(super) over: CancellationToken,
    /// The tasks that outlive their connection or request.
    pub(super) tasks: TaskTracker,
}

impl Acceptor {
    /// Creates an acceptor with so many connections. `webhooks` counts refused webhooks.
    pub(super) fn new(
        server: &Settings,
        connections: Bounds,
        tls: Option<Tls>,
        webhooks: Option<VerifyLayer>,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(server.handshake_timeout.get())
            .max_buf_size(16 << 10);
        Self(Arc::new(Inner {
            http,
            response: Pace {
                first: server.response_timeout.get(),
                rate: server.response_rate.get(),
            },
            places: Shares::new(connections),
            proxies: TrustedProxies::new(server.trusted_proxies.clone()),
            refused: LogLimit::new(LOG_LINES, Instant::now()),
            crowded: LogLimit::new(LOG_LINES, Instant::now()),
            hostless: LogLimit::new(LOG_LINES, Instant::now()),
            tls,
            webhooks,
        }))
    }

    /// Accepts connections until `ending` stops it.
    pub(super) async fn run(self, listener: TcpListener, routes: Router, ending: Ending) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ending.stopping.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.serve(stream, peer, routes.clone(), &ending),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // The likely cause is too many open files, which passes when sessions end.
                    tracing::error!(%error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, routes: Router, ending: &Ending) {
        let inner = &self.0;
        // Clients behind a proxy share its address, and are told apart by their requests.
        let is_proxy = inner.proxies.has(peer.ip());
        let network = (!is_proxy).then(|| Network::of(peer.ip()));
        // When there are too many connections, the newest one is closed.
        let place = match inner.places.take(network) {
            Ok(place) => place,
            Err(full) => return inner.tell(peer, full),
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let Some(tls) = inner.tls.clone() else {
            let serving = self.converse(Stream::Plain(stream), peer, place, routes, ending);
            ending.tasks.spawn(serving);
            return;
        };
        let Ok(begun) = tls.begin(network) else {
            return inner.tell_crowd(peer);
        };
        let (accept, ending) = (self.clone(), ending.clone());
        let tasks = ending.tasks.clone();
        tasks.spawn(async move {
            let shaken = tokio::select! {
                shaken = tls.accept(stream, peer, begun) => shaken,
                () = ending.stopping.cancelled() => return,
            };
            match shaken {
                Ok(stream) => {
                    let stream = Stream::Tls(Box::new(stream));
                    let serving = accept.converse(stream, peer, place, routes, &ending);
                    serving.await;
                }
                Err(NoHandshake::TimedOut) => {
                    tracing::debug!(%peer, "a TLS handshake took longer than server.handshake_timeout");
                }
                Err(NoHandshake::Failed(error, stream)) => {
                    tracing::debug!(%peer, %error, "a TLS handshake failed");
                    // It lingers until the client has read the alert.
                    drop(stream.map(|stream| Lingering::new(Stream::Plain(stream), place, &ending)));
                }
            }
        });
    }

    /// Serves the requests of a connection, and then the session that it has become.
    fn converse(
        &self,
        stream: Stream,
        peer: SocketAddr,
        place: ShareGuard<Network>,
        routes: Router,
        ending: &Ending,
    ) -> impl Future<Output = ()> + Send + use<> {
        let session = NextSession::default();
        let stream = Lingering::new(stream, place, ending);
        let stream = ResponseDeadline::new(stream, self.0.response);
        let accept = self.clone();
        let next = session.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (accept, routes) = (accept.clone(), routes.clone());
            let next = next.clone();
            async move {
                let response = accept.respond(request, peer, routes, next);
                Ok::<_, Infallible>(response.await)
            }
        });
        let mut connection = self.0.http.serve_connection(TokioIo::new(stream), service);
        let (stopping, over) = (ending.stopping.clone(), ending.over.clone());
        async move {
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = stopping.cancelled() => {
                    pin::Pin::new(&mut connection).graceful_shutdown();
                    tokio::select! {
                        ended = &mut connection => ended,
                        () = over.cancelled() => return,
                    }
                }
            };
            match ended {
                Ok(()) => session.start(|| {
                    let parts = connection.into_parts();
                    (parts.io.into_inner().into_session(), parts.read_buf)
                }),
                Err(error) => tracing::debug!(%peer, %error, "a connection ended early"),
            }
        }
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        routes: Router,
        session: NextSession,
    ) -> Response<Body> {
        if !handshake::names_one_host(request.version(), request.headers()) {
            return self.0.refuse_hostless(peer, request.uri().path());
        }
        let client = self.0.proxies.client(peer.ip(), request.headers());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(session);
        routes
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {})
    }
}

impl Inner {
    /// Refuses a request without one valid Host header. Of many, one is logged, with their number; webhooks count with
    /// other refused webhooks.
    fn refuse_hostless(&self, peer: SocketAddr, path: &str) -> Response<Body> {
        let refusal = WebhookRefusal::NoHost;
        if let Some(webhooks) = &self.webhooks
            && path.starts_with("/webhooks/")
        {
            return webhooks.refuse(path, refusal);
        }
        if self.hostless.admit(Instant::now()) {
            let others = self.hostless.take_skipped();
            let path: String = path.chars().take(PATH).collect();
            tracing::warn!(%peer, path, others, "request refused: its Host header is missing, repeated or invalid");
        }
        refusal.into_response()
    }

    /// Logs a connection that was closed before its handshake; of many, one with their number.
    fn tell_crowd(&self, peer: SocketAddr) {
        if self.crowded.admit(Instant::now()) {
            let others = self.crowded.take_skipped();
            tracing::warn!(
                %peer, others,
                "connection refused: there are as many TLS handshakes as there may be (server.tls.max_handshakes), or its address leaves too few to others"
            );
        }
    }

    /// Logs a refused connection; of many, one with their number.
    fn tell(&self, peer: SocketAddr, full: Full) {
        if !self.refused.admit(Instant::now()) {
            return;
        }
        let others = self.refused.take_skipped();
        match full {
            Full::All => tracing::warn!(
                %peer, others,
                "connection refused: the server has as many as it may (session.max_sessions, server.reserved_files)"
            ),
            Full::Share => tracing::warn!(
                %peer, others,
                "connection refused: its address has too many (server.max_connections_per_address), or leaves too few to others; if it is a proxy, list it in server.trusted_proxies"
            ),
        }
    }
}

/// Returns true if an error of `accept` concerns one connection, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
