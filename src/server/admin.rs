//! The admin listener: for whoever runs the server, not for its clients.

use std::sync::Arc;

use axum::{Json, Router, extract, http::StatusCode, routing::get};
use serde_json::{Value, json};

use super::State;

/// `/healthz`: the process answers. `/readyz`: it takes new sessions and jobs; 503 once it begins to stop,
/// and while its disk takes nothing.
pub(super) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(state)
}

async fn ready(extract::State(state): extract::State<Arc<State>>) -> (StatusCode, Json<Value>) {
    let (status, word) = if state.stopping.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if !state.shared.dispatcher.is_ready() {
        (StatusCode::SERVICE_UNAVAILABLE, "the store takes nothing")
    } else {
        (StatusCode::OK, "ready")
    };
    let (sessions, circles) = (state.registry.sessions(), state.registry.circles());
    (
        status,
        Json(json!({ "status": word, "sessions": sessions, "circles": circles })),
    )
}
