//! Taking connections: `axum::serve` with bounds. A connection has a deadline for its request, there
//! are only so many, and a closing one lingers until its client has seen why.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{Settings, linger::Lingering};
use crate::session;

/// Connections that aren't sessions (yet), beside as many as there may be sessions.
const SPARE_CONNECTIONS: usize = 1024;

/// How connections are taken.
#[derive(Debug, Clone)]
pub(super) struct Accept {
    http: http1::Builder,
    connections: Arc<Semaphore>,
}

impl Accept {
    pub(super) fn new(server: &Settings, session: &session::Settings) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(server.handshake_timeout)
            .max_buf_size(16 << 10);
        let connections = session
            .max_sessions
            .saturating_add(SPARE_CONNECTIONS)
            .min(Semaphore::MAX_PERMITS);
        Self {
            http,
            connections: Arc::new(Semaphore::new(connections)),
        }
    }

    /// Takes connections until `stopping` is cancelled.
    pub(super) async fn run(
        self,
        listener: TcpListener,
        routes: Router,
        stopping: CancellationToken,
        tasks: TaskTracker,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopping.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.serve(stream, peer, routes.clone(), stopping.clone(), &tasks)
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Most likely too many open files, which passes when sessions end.
                    tracing::error!(%error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        routes: Router,
        stopping: CancellationToken,
        tasks: &TaskTracker,
    ) {
        // With more connections than that, the newest is the one to go.
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let routes = routes.clone();
            async move {
                Ok::<_, Infallible>(
                    routes
                        .oneshot(request)
                        .await
                        .unwrap_or_else(|never| match never {}),
                )
            }
        });
        let stream = Lingering::new(stream, permit, tasks.clone());
        let connection = self
            .http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tasks.spawn(async move {
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        });
    }
}

/// Some errors of `accept` are about the connection, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
