//! The admin listener: for whoever runs the server, not for its clients.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    dispatch::{Dispatcher, JobId, JobRecord, Status},
    refusal::refuse,
    store::Unavailable,
};

/// What is told of a server.
pub(super) struct Admin {
    pub(super) dispatcher: Dispatcher,
    /// Cancelled when the server begins to stop.
    pub(super) stopping: CancellationToken,
    /// What only a server has that people connect to.
    pub(super) gateway: Option<Arc<super::State>>,
}

/// `/healthz`: the process answers, and can go on; 503 where it can't, and ends. `/readyz`: it takes new sessions and jobs; 503 once it begins to stop,
/// and while its store takes nothing. `/jobs`: the durable jobs, for `circled jobs`.
pub(super) fn routes(admin: Admin) -> Router {
    let jobs = Router::new()
        .route("/jobs", get(list))
        .route("/jobs/{id}", get(show))
        .route("/jobs/{id}/retry", post(retry))
        .route_layer(middleware::from_fn(refuse_pages));
    Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .merge(jobs)
        .with_state(Arc::new(admin))
}

async fn healthy(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if admin.dispatcher.has_failed() {
        (StatusCode::SERVICE_UNAVAILABLE, "the store has failed\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, Json<Value>) {
    let (status, word) = if admin.stopping.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if !admin.dispatcher.is_ready() {
        (StatusCode::SERVICE_UNAVAILABLE, "the store takes nothing")
    } else {
        (StatusCode::OK, "ready")
    };
    let mut answer = json!({ "status": word });
    if let Some(gateway) = &admin.gateway {
        answer["sessions"] = gateway.registry.sessions().into();
        answer["circles"] = gateway.registry.circles().into();
    }
    (status, Json(answer))
}

/// Why something isn't told of a job.
enum Refused {
    NoSuchJob,
    NotDead,
    Unavailable,
    Query(String),
}

impl From<Unavailable> for Refused {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::NoSuchJob => refuse(StatusCode::NOT_FOUND, "no_such_job", "there is no such job"),
            Self::NotDead => refuse(
                StatusCode::NOT_FOUND,
                "not_dead",
                "there is no such job among the dead ones",
            ),
            Self::Unavailable => refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the store can't be reached",
            ),
            Self::Query(message) => refuse(StatusCode::BAD_REQUEST, "invalid_query", &message),
        }
    }
}

#[derive(Deserialize)]
struct Which {
    status: Status,
    #[serde(default = "hundred")]
    limit: usize,
}

/// Jobs that are told of in one answer.
const MOST: usize = 100_000;

fn hundred() -> usize {
    100
}

async fn list(
    State(admin): State<Arc<Admin>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Vec<JobRecord>>, Refused> {
    let Query(Which { status, limit }) =
        which.map_err(|error| Refused::Query(error.body_text()))?;
    let jobs = admin.dispatcher.jobs().list(status, limit.min(MOST)).await;
    Ok(Json(jobs?))
}

async fn show(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<JobRecord>, Refused> {
    let id: JobId = id.parse().map_err(|_| Refused::NoSuchJob)?;
    let job = admin.dispatcher.jobs().find(id).await?;
    job.map(Json).ok_or(Refused::NoSuchJob)
}

async fn retry(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refused> {
    let id: JobId = id.parse().map_err(|_| Refused::NoSuchJob)?;
    if admin.dispatcher.jobs().retry(id).await? {
        tracing::info!(job = %id, "a dead job runs again");
        Ok(Json(json!({ "job_id": id })))
    } else {
        Err(Refused::NotDead)
    }
}

/// Web pages have no business here. One from elsewhere says so by its `Origin`, or asks for a name that was
/// made to lead here (DNS rebinding); whoever runs the server dials an address.
async fn refuse_pages(headers: HeaderMap, request: Request, next: Next) -> Response {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host: Option<Uri> = host.and_then(|host| host.parse().ok());
    let is_address = host.as_ref().and_then(Uri::host).is_some_and(|host| {
        host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    });
    if headers.contains_key(header::ORIGIN) || !is_address {
        return refuse(
            StatusCode::FORBIDDEN,
            "not_for_pages",
            "ask by the server's address, and not from a web page",
        );
    }
    next.run(request).await
}
