//! The circles of a server, for operators: what they take, and their end.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use circled_protocol::{PublicKey, methods::CircleUsage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::admin::{Admin, Refused};
use crate::dispatch::Dispatcher;

/// The most circles in one response, and the default.
const MOST: usize = 100;
const USUAL: usize = 20;
/// The longest that calls of sessions are waited for whose circle is to be deleted.
const LAST_CALLS: Duration = Duration::from_secs(10);
/// The pause between two looks whether sessions are still there.
const SOON: Duration = Duration::from_millis(20);

/// A circle, and what it takes.
#[derive(Debug, Serialize)]
struct Usage {
    circle: PublicKey,
    #[serde(flatten)]
    usage: CircleUsage,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<usize>,
}

/// Lists the circles with the largest stores, the largest first. `more` says that there are others.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, Refused> {
    let Query(Wanted { limit }) = wanted?;
    let limit = limit.unwrap_or(USUAL).clamp(1, MOST);
    let largest = admin.dispatcher.largest_circles(limit).await?;
    let more = largest.are_more();
    let mut circles = Vec::new();
    for (circle, _) in largest.into_sorted() {
        circles.push(usage(&admin.dispatcher, circle).await?);
    }
    Ok(Json(json!({ "circles": circles, "more": more })))
}

/// Returns what one circle takes.
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    circle: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Refused> {
    let usage = usage(&admin.dispatcher, key(circle)?).await?;
    Ok(Json(json!(usage)))
}

/// Deletes all of a circle, also if whoever asks for it leaves.
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    circle: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Refused> {
    let circle = key(circle)?;
    let this = admin.clone();
    let delete = async move {
        tracing::warn!(%circle, "an operator deletes a circle");
        let sessions_ended = async {
            if let Some(gateway) = &this.gateway {
                let registry = &gateway.registry;
                let all_ended = async {
                    while registry.end(|other| *other == circle) > 0 {
                        sleep(SOON).await;
                    }
                };
                let _ = timeout(LAST_CALLS, all_ended).await;
            }
        };
        let deleted = this.dispatcher.delete_circle(circle, sessions_ended).await;
        match deleted {
            Ok(()) => tracing::warn!(%circle, "the circle is deleted"),
            Err(_) => tracing::error!(%circle, "failed to delete the circle; ask for it again"),
        }
        deleted
    };
    let deleted = admin.tasks.spawn(delete).await;
    deleted.map_err(|_| Refused::Unavailable)??;
    let is_listed = admin.access.lists(&circle);
    let is_served = admin.access.serves(&circle);
    Ok(Json(
        json!({ "circle": circle, "listed": is_listed, "served": is_served }),
    ))
}

async fn usage(dispatcher: &Dispatcher, circle: PublicKey) -> Result<Usage, Refused> {
    let usage = dispatcher.usage(circle, None).await?;
    Ok(Usage { circle, usage })
}

fn key(circle: Result<Path<String>, PathRejection>) -> Result<PublicKey, Refused> {
    let Path(circle) = circle.map_err(|_| Refused::NotACircle)?;
    circle.parse().map_err(|_| Refused::NotACircle)
}
