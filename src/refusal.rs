//! The body of a refused HTTP request: `{"error": {"code", "message"}}`, for machines and for people.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

/// Builds the response.
pub(crate) fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let body = Json(json!({ "error": { "code": code, "message": message } }));
    (status, body).into_response()
}
