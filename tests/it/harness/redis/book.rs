//! A record of everything asked for under load, and the check that all acknowledged work was done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::HeaderMap;
use serde_json::Value;
use tokio::time::sleep;

use super::session::ask;
use crate::harness::server::{OPEN, TestServer, post};

/// The time in which all pending work may end.
const REST: Duration = Duration::from_secs(30);

/// The requests and their acknowledgements.
pub(crate) struct Book {
    next: AtomicU64,
    pub(crate) stop: AtomicBool,
    pub(crate) circles: u8,
    /// True if gateways are left alone.
    pub(crate) sessions_last: bool,
    /// The acknowledged deliveries.
    pub(crate) deliveries: Mutex<BTreeSet<(u8, String)>>,
    /// All plays, and whether each returned a value.
    pub(crate) plays: Mutex<BTreeMap<(u8, String), bool>>,
    pub(crate) refused: AtomicU64,
}

/// The faults in the meantime, as far as they affect the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    Kills,
    Failovers,
}

impl Book {
    pub(crate) fn new(circles: u8, sessions_last: bool) -> Self {
        Self {
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            circles,
            sessions_last,
            deliveries: Mutex::default(),
            plays: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Returns a new name.
    pub(crate) fn name(&self) -> (u64, String) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number, format!("{number:08}"))
    }

    pub(crate) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Returns the numbers of plays and deliveries.
    pub(crate) fn done(&self) -> (usize, usize) {
        let plays = self.plays.lock().unwrap();
        let plays = plays.values().filter(|answered| **answered).count();
        (plays, self.deliveries.lock().unwrap().len())
    }

    /// Waits until no job is pending, and retries those that were given up after three kills in a row: nobody can tell
    /// them from a job that kills.
    pub(crate) async fn settle(&self, gateway: &TestServer, after: After) {
        let since = Instant::now();
        loop {
            let dead = jobs(gateway, "dead").await;
            for job in &dead {
                assert!(after == After::Kills && job["crashes"] == 3, "{job}");
                let path = format!("/jobs/{}/retry", job["job_id"].as_str().unwrap());
                let admin = gateway.admin_address().unwrap();
                post(admin, &path, &HeaderMap::new(), b"").await;
            }
            let pending = jobs(gateway, OPEN).await;
            if dead.is_empty() && pending.is_empty() {
                return;
            }
            assert!(since.elapsed() < REST, "still pending: {pending:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks that all acknowledged work was done, once.
    pub(crate) async fn check(&self, gateway: &TestServer, after: After) {
        for number in 0..self.circles {
            self.check_circle(gateway, number, after).await;
        }
    }

    async fn check_circle(&self, gateway: &TestServer, number: u8, after: After) {
        let kept = self.kept(gateway, number, "delivery").await;
        let deliveries = self.deliveries.lock().unwrap().clone();
        let deliveries = deliveries.into_iter().filter(|(of, _)| *of == number);
        // Each was sent until it was acknowledged.
        let sent: BTreeSet<_> = deliveries.map(|(_, name)| name).collect();
        let lost: Vec<_> = sent.difference(&kept).collect();
        assert!(lost.is_empty(), "lost deliveries: {lost:?}");
        assert_eq!(kept, sent);

        // A play without a value has happened or not, but not twice.
        let kept = self.kept(gateway, number, "play").await;
        let plays = self.plays.lock().unwrap().clone();
        for ((_, name), answered) in plays.iter().filter(|((of, _), _)| *of == number) {
            let may_be_lost = !answered || after == After::Failovers;
            assert!(may_be_lost || kept.contains(name), "a lost play: {name}");
        }
        for name in kept {
            assert!(plays.contains_key(&(number, name)));
        }
    }

    /// Returns the counted names, and checks that each was counted once.
    async fn kept(&self, gateway: &TestServer, number: u8, what: &str) -> BTreeSet<String> {
        let mut kept = BTreeSet::new();
        // A thousand at a time.
        for thousand in 0..=self.next.load(Ordering::Relaxed) / 1000 {
            let script = format!(
                "let all = []; for key in store.keys(\"{what}/{thousand:05}\") {{ all.push([key, store.get(key)]) }} all"
            );
            let all = ask(gateway, number, &script).await;
            for pair in all.as_array().unwrap() {
                let name = pair[0].as_str().unwrap().split_once('/').unwrap().1;
                assert_eq!(pair[1], 1, "not once: {what} {name}");
                kept.insert(name.to_owned());
            }
        }
        let total = if what == "play" {
            "plays"
        } else {
            "deliveries"
        };
        let total = ask(gateway, number, &format!("store.get(\"{total}\", 0)")).await;
        assert_eq!(total, kept.len(), "{what}");
        kept
    }
}

async fn jobs(gateway: &TestServer, status: &str) -> Vec<Value> {
    gateway.jobs(status).await
}
