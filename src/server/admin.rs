//! The admin listener: for operators, not for clients.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use circled_protocol::{JobId, JobStatus, PublicKey, Vocabulary, methods::Job};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{archive, circles, scrape, top};
use crate::{
    auth::Access,
    backup::Failure,
    dispatch::{Cursor, Dispatcher, Listing, NotRetried},
    refusal::refuse,
    script::RunError,
    store::Unavailable,
};

/// The state of the admin listener.
pub(super) struct Admin {
    pub(super) dispatcher: Dispatcher,
    pub(super) access: Arc<Access>,
    pub(super) largest: top::LargestFound,
    /// Has what goes on if its request is given up.
    pub(super) tasks: TaskTracker,
    /// Cancelled when the server begins to stop.
    pub(super) stopping: CancellationToken,
    /// The parts that only a server has, not a worker.
    pub(super) gateway: Option<Arc<super::State>>,
}

/// Builds the routes. `/healthz`: 200, or 503 if the process can't go on and ends. `/readyz`: 200 while new sessions
/// and jobs are taken; 503 once the server stops, and while its store takes nothing. `/metrics`: for
/// Prometheus. `/jobs`: the durable jobs, for `circled jobs`. `/circles`: what circles take, and the end of one, for
/// `circled circle`. `/top`: the busiest and largest circles and slow scripts, for `circled top`. `/backup`: an archive, for
/// `circled backup`.
pub(super) fn routes(admin: Admin) -> Router {
    let circle = get(circles::show).delete(circles::delete);
    let for_commands = Router::new()
        .route("/top", get(top::show))
        .route("/circles", get(circles::list))
        .route("/circles/{circle}", circle)
        .route("/jobs", get(list))
        .route("/jobs/{id}", get(show))
        .route("/jobs/{id}/retry", post(retry))
        .route("/backup", post(archive::send))
        .route_layer(middleware::from_fn(refuse_pages));
    Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape::scrape))
        .merge(for_commands)
        .method_not_allowed_fallback(async || Refused::WrongMethod)
        .fallback(async || Refused::NoSuchPath)
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
        (StatusCode::SERVICE_UNAVAILABLE, "the store takes no writes")
    } else {
        (StatusCode::OK, "ready")
    };
    let mut answer = json!({ "status": word });
    if let Some(gateway) = &admin.gateway {
        answer["sessions"] = gateway.registry.sessions().into();
        answer["circles"] = gateway.registry.circles().into();
    }
    if let Some(workers) = admin.dispatcher.workers() {
        answer["workers"] = workers.there.into();
        if workers.differing > 0 {
            answer["workers_with_other_rules"] = workers.differing.into();
        }
    }
    (status, Json(answer))
}

/// The reason why a request is refused.
pub(super) enum Refused {
    NoSuchPath,
    WrongMethod,
    NotACircle,
    NoSuchJob,
    NotOver,
    /// The job's script doesn't exist, or doesn't compile.
    Script(String),
    Unreadable,
    Unavailable,
    Backup(Failure),
    Query(String),
}

impl From<Unavailable> for Refused {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<QueryRejection> for Refused {
    fn from(error: QueryRejection) -> Self {
        let text = error.body_text();
        let known = text.strip_prefix("Failed to deserialize query string: ");
        Self::Query(format!("the query: {}", known.unwrap_or(&text)))
    }
}

impl From<NotRetried> for Refused {
    fn from(why: NotRetried) -> Self {
        match why {
            NotRetried::NotOver => Self::NotOver,
            NotRetried::Unreadable => Self::Unreadable,
            NotRetried::Unavailable | NotRetried::Script(RunError::Unavailable) => {
                Self::Unavailable
            }
            NotRetried::Script(why) => Self::Script(why.to_string()),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::NoSuchPath => refuse(
                StatusCode::NOT_FOUND,
                "not_found",
                "nothing is served here; there are /healthz, /readyz, /metrics, /jobs, /jobs/{id}, /circles, /circles/{circle}, /top and /backup",
            ),
            Self::WrongMethod => refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "send a GET; to retry a job, a POST to /jobs/{id}/retry; to make a backup, a POST to /backup; to delete a circle, a DELETE to /circles/{circle}",
            ),
            Self::NotACircle => refuse(
                StatusCode::NOT_FOUND,
                "invalid_circle",
                "that is not a circle's key: 66 or 130 hex digits of a point on the curve",
            ),
            Self::NoSuchJob => refuse(StatusCode::NOT_FOUND, "no_such_job", "there is no such job"),
            Self::NotOver => refuse(StatusCode::NOT_FOUND, "not_over", NotRetried::NOT_OVER),
            Self::Script(message) => refuse(StatusCode::CONFLICT, "no_script", &message),
            Self::Unreadable => refuse(StatusCode::CONFLICT, "unreadable", NotRetried::UNREADABLE),
            Self::Unavailable => refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the store can't be reached",
            ),
            Self::Backup(Failure::Busy(why)) => refuse(StatusCode::CONFLICT, "busy", &why),
            Self::Backup(why) => refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                &why.to_string(),
            ),
            Self::Query(message) => refuse(StatusCode::BAD_REQUEST, "invalid_query", &message),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Names of states, separated by commas.
    status: String,
    circle: Option<PublicKey>,
    script: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// The most jobs in one response, and the default.
const MOST: usize = 1000;
const USUAL: usize = 100;

impl Wanted {
    fn listing(self) -> Result<Listing, Refused> {
        let states = self.status.split(',').map(|name| {
            name.parse().map_err(|_| {
                let names: Vec<_> = JobStatus::ALL.iter().map(|state| state.name()).collect();
                Refused::Query(format!("`status` has names of {}", names.join(", ")))
            })
        });
        let after = self.after.map(|after| {
            let after = after.parse::<Cursor>();
            after.map_err(|error| Refused::Query(format!("`after` is {error}")))
        });
        Ok(Listing {
            states: states.collect::<Result<_, _>>()?,
            circle: self.circle,
            script: self.script,
            after: after.transpose()?,
            limit: self.limit.unwrap_or(USUAL).clamp(1, MOST),
        })
    }
}

/// Lists jobs, the oldest first. `cursor` is the `after` of the next page, or null after the last page. A page may have
/// fewer jobs than asked for, or none, and still not be the last.
async fn list(
    State(admin): State<Arc<Admin>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, Refused> {
    let Query(wanted) = wanted?;
    let (jobs, cursor) = admin.dispatcher.jobs().list(wanted.listing()?).await?;
    let jobs = jobs.into_iter();
    let jobs: Vec<Job<Box<RawValue>>> = jobs.map(|(job, running)| job.view(running)).collect();
    let cursor = cursor.map(|cursor| cursor.to_string());
    Ok(Json(json!({ "jobs": jobs, "cursor": cursor })))
}

fn job_id(id: Result<Path<String>, PathRejection>) -> Result<JobId, Refused> {
    let Path(id) = id.map_err(|_| Refused::NoSuchJob)?;
    id.parse().map_err(|_| Refused::NoSuchJob)
}

async fn show(
    State(admin): State<Arc<Admin>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Job<Box<RawValue>>>, Refused> {
    let id = job_id(id)?;
    let job = admin.dispatcher.jobs().find(id).await?;
    let (job, running) = job.ok_or(Refused::NoSuchJob)?;
    Ok(Json(job.view(running)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    version: Option<String>,
}

async fn retry(
    State(admin): State<Arc<Admin>>,
    id: Result<Path<String>, PathRejection>,
    version: Result<Query<Version>, QueryRejection>,
) -> Result<Json<Value>, Refused> {
    let Query(Version { version }) = version?;
    let id = job_id(id)?;
    let job = admin.dispatcher.jobs().find(id).await?;
    let (job, _) = job.ok_or(Refused::NoSuchJob)?;
    let retried = admin
        .dispatcher
        .retry(id, job.circle, None, version)
        .await?;
    tracing::info!(job = %id, "a dead or cancelled job runs again");
    let mut answer = json!({ "job_id": id });
    for (name, value) in [("name", retried.name), ("version", retried.version)] {
        if let Some(value) = value {
            answer[name] = value.into();
        }
    }
    Ok(Json(answer))
}

/// Refuses requests of web pages. A page of another site sends its `Origin`, or uses a name that was made to lead here
/// (DNS rebinding); operators use an address.
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
            "use the server's own address: web pages may not use this listener",
        );
    }
    next.run(request).await
}
