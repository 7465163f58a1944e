//! A record of everything asked for under load, and the check that all acknowledged work was done.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::HeaderMap;
use serde_json::Value;
use tokio::time::sleep;

use super::{
    Plan, rest_of_events,
    session::{ask, is_one_of},
};
use crate::harness::server::{OPEN, TestServer, post};

/// The time in which all pending work may end.
const REST: Duration = Duration::from_secs(30);

/// The requests and their acknowledgements. A name is in a circle, by number.
pub(crate) struct Book {
    pub(crate) plan: Plan,
    next: AtomicU64,
    stop: AtomicBool,
    /// The acknowledged deliveries.
    pub(crate) deliveries: Mutex<BTreeSet<(u8, String)>>,
    /// All plays, and whether each returned a value.
    pub(crate) plays: Mutex<BTreeMap<(u8, String), bool>>,
    /// The acknowledged jobs.
    pub(crate) jobs: Mutex<BTreeSet<(u8, String)>>,
    /// Jobs that may have been accepted.
    pub(crate) unsaid: Mutex<Vec<(u8, String)>>,
    /// The last event that a circle's subscriber has had.
    pub(crate) followed: Mutex<BTreeMap<u8, u64>>,
    /// The number of jobs that these events have told.
    told: Mutex<BTreeMap<u8, u64>>,
    /// Requests that failed, by kind and reason.
    failures: Mutex<BTreeMap<String, u64>>,
}

/// The faults in the meantime, as far as they affect the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    Kills,
    Failovers,
}

impl Book {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            deliveries: Mutex::default(),
            plays: Mutex::default(),
            jobs: Mutex::default(),
            unsaid: Mutex::default(),
            followed: Mutex::default(),
            told: Mutex::default(),
            failures: Mutex::default(),
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

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Returns the numbers of plays, deliveries and jobs that were acknowledged.
    pub(crate) fn done(&self) -> [usize; 3] {
        let plays = self.plays.lock().unwrap();
        let plays = plays.values().filter(|answered| **answered).count();
        let deliveries = self.deliveries.lock().unwrap().len();
        [plays, deliveries, self.jobs.lock().unwrap().len()]
    }

    /// Notes a failed request.
    pub(crate) fn note(&self, failure: impl Into<String>) {
        *self
            .failures
            .lock()
            .unwrap()
            .entry(failure.into())
            .or_default() += 1;
    }

    /// Notes a call that was refused, as the plan says it may be.
    pub(crate) fn refuse(&self, call: &str, error: &Value) {
        assert!(is_one_of(error, self.plan.refusals), "{call}: {error}");
        self.note(format!("{call} {}", error["code"]));
    }

    /// Notes a request without a reply, because its server is gone.
    pub(crate) fn lose(&self, request: &str) {
        assert!(!self.plan.sessions_last, "no reply to a {request}");
        self.note(format!("{request} without a reply"));
    }

    /// Returns the number of plays that were refused.
    pub(crate) fn refused(&self) -> u64 {
        let failures = self.failures.lock().unwrap();
        let of_plays = failures
            .iter()
            .filter(|(what, _)| what.starts_with("play -"));
        of_plays.map(|(_, count)| count).sum()
    }

    /// Notes the data of the next event of a circle's jobs, and checks that none is missing.
    pub(crate) fn follow(&self, of: u8, data: &Value) {
        let mut told = self.told.lock().unwrap();
        let told = told.entry(of).or_default();
        *told += 1;
        assert_eq!(
            data, *told,
            "the events of circle {of} have a gap, or one twice"
        );
    }

    /// Returns how many events of a circle's jobs were followed.
    pub(crate) fn seen(&self, of: u8) -> u64 {
        self.told.lock().unwrap().get(&of).copied().unwrap_or(0)
    }

    /// Waits until no job is pending, and retries those that were given up after three kills in a row: nobody can tell
    /// them from a job that kills.
    pub(crate) async fn settle(&self, server: &TestServer, after: After) {
        let since = Instant::now();
        loop {
            let dead = server.jobs("dead").await;
            for job in &dead {
                assert!(after == After::Kills && job["crashes"] == 3, "{job}");
                let path = format!("/jobs/{}/retry", job["job_id"].as_str().unwrap());
                let admin = server.admin_address().unwrap();
                post(admin, &path, &HeaderMap::new(), b"").await;
            }
            let pending = server.jobs(OPEN).await;
            if dead.is_empty() && pending.is_empty() {
                return;
            }
            assert!(since.elapsed() < REST, "still pending: {pending:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks that all acknowledged work was done, once.
    pub(crate) async fn check(&self, server: &TestServer, after: After) {
        for number in 0..self.plan.circles {
            self.check_circle(server, number, after).await;
        }
    }

    async fn check_circle(&self, server: &TestServer, number: u8, after: After) {
        let kept = self.kept(server, number, "delivery").await;
        assert_eq!(kept, of_circle(&self.deliveries, number), "deliveries");

        if self.plan.has_jobs {
            let mut kept = self.kept(server, number, "job").await;
            let count = kept.len() as u64;
            let sent = of_circle(&self.jobs, number);
            for (_, unsaid) in self.unsaid.lock().unwrap().iter() {
                kept.remove(unsaid);
            }
            assert_eq!(kept, sent, "jobs");
            rest_of_events(server, self, number, count).await;
        }

        // A play without a value has happened or not, but not twice.
        let kept = self.kept(server, number, "play").await;
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
    async fn kept(&self, server: &TestServer, number: u8, what: &str) -> BTreeSet<String> {
        let mut kept = BTreeSet::new();
        // A thousand at a time.
        for thousand in 0..=self.next.load(Ordering::Relaxed) / 1000 {
            let script = format!(
                "let all = []; for key in store.keys(\"{what}/{thousand:05}\") {{ all.push([key, store.get(key)]) }} all"
            );
            let all = ask(server, number, &script).await;
            for pair in all.as_array().unwrap() {
                let name = pair[0].as_str().unwrap().split_once('/').unwrap().1;
                assert_eq!(pair[1], 1, "not once: {what} {name}");
                kept.insert(name.to_owned());
            }
        }
        let total = match what {
            "play" => "plays",
            "job" => "jobs",
            _ => "deliveries",
        };
        let total = ask(server, number, &format!("store.get(\"{total}\", 0)")).await;
        assert_eq!(total, kept.len(), "{what}");
        kept
    }
}

/// Returns the names in a circle.
fn of_circle(names: &Mutex<BTreeSet<(u8, String)>>, number: u8) -> BTreeSet<String> {
    let names = names.lock().unwrap();
    let names = names.iter().filter(|(of, _)| *of == number);
    names.map(|(_, name)| name.clone()).collect()
}

impl fmt::Display for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [plays, deliveries, jobs] = self.done();
        write!(f, "{plays} plays, {deliveries} deliveries, {jobs} jobs")?;
        for (what, count) in self.failures.lock().unwrap().iter() {
            write!(f, "; {what}: {count}")?;
        }
        Ok(())
    }
}
