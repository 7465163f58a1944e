//! The figures that `circled top` shows besides `/metrics`: circles and scripts, which no metric names.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State};
use circled_protocol::PublicKey;
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::interval};
use tokio_util::sync::CancellationToken;

use super::admin::{Admin, Refused};
use crate::{
    dispatch::{Dispatcher, busiest_circles, forget_busiest, slow_scripts},
    store::Unavailable,
};

/// Circles and scripts in one response.
const MOST: usize = 50;
/// The largest circles are found again after so long; and after so many times as long as it takes to find them.
const SHOWN_FOR: Duration = Duration::from_secs(30);
const TIMES: u32 = 20;

/// The largest circles, as they were found last.
#[derive(Debug, Default)]
pub(super) struct LargestFound(Mutex<Option<Found>>);

#[derive(Debug)]
struct Found {
    circles: Vec<(PublicKey, u64)>,
    /// The time when they are found again.
    until: Instant,
}

impl LargestFound {
    async fn find(&self, dispatcher: &Dispatcher) -> Result<Vec<(PublicKey, u64)>, Unavailable> {
        let mut found = self.0.lock().await;
        let now = Instant::now();
        if let Some(found) = found.as_ref().filter(|found| now < found.until) {
            return Ok(found.circles.clone());
        }
        let circles = dispatcher.largest_circles(MOST).await?.into_sorted();
        let until = Instant::now() + SHOWN_FOR.max(now.elapsed() * TIMES);
        *found = Some(Found {
            circles: circles.clone(),
            until,
        });
        Ok(circles)
    }
}

/// Returns the busiest circles, with their jobs each second since the last look, the largest circles, with the bytes of their stores, and
/// the scripts with slow runs. The busiest ones and the scripts are those of this server alone.
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Result<Json<Value>, Refused> {
    let largest = admin.largest.find(&admin.dispatcher).await?;
    let largest = largest.into_iter();
    let largest = largest.map(|(circle, bytes)| json!({ "circle": circle, "bytes": bytes }));
    let busiest = busiest_circles(MOST).into_iter();
    let busiest =
        busiest.map(|(circle, rate)| json!({ "circle": circle, "jobs_per_second": rate }));
    let mut slow = slow_scripts();
    slow.truncate(MOST);
    Ok(Json(json!({
        "busiest": busiest.collect::<Vec<_>>(),
        "largest": largest.collect::<Vec<_>>(),
        "slow": slow,
    })))
}

/// Stops to count the busiest circles once nobody looks, until the server stops.
pub(super) async fn forget(stopping: CancellationToken) {
    let mut pace = interval(SHOWN_FOR);
    loop {
        tokio::select! {
            _ = pace.tick() => forget_busiest(),
            () = stopping.cancelled() => return,
        }
    }
}
