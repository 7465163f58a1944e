//! Callers who count through lost connections, each call once, and afterwards the check of the count.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use circled_client::{Caller, Error, Options};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{interval, timeout},
};

use super::{
    redis::Proxy,
    server::{Builder, PATIENCE, TestServer, circle, key},
};

/// The origin of servers whose callers come through a network.
pub(crate) const ORIGIN: &str = "ws://circles.example";

/// Counts a call. Some are slow.
const COUNT: &str = r#"
    if ARGS % 4 == 1 {
        let start = timestamp();
        while start.elapsed < 0.03 {}
    }
    store.incr("n", 1)
"#;

/// Sets the name that a server goes by for these callers.
pub(crate) fn named(builder: Builder) -> Builder {
    builder.env("CIRCLED_SERVER__PUBLIC_URL", ORIGIN)
}

/// Creates a caller who dials a network.
pub(crate) fn caller(network: &Proxy) -> Caller {
    let address = format!("ws://127.0.0.1:{}/{}", network.port(), circle());
    Caller::new(address, key(3)).origin(ORIGIN.parse().unwrap())
}

/// Makes one call, whatever it takes. Returns the count, and whether it came from an earlier run.
pub(crate) async fn count(caller: &Caller, id: String, n: usize) -> (u64, bool) {
    let options = Options {
        args: json!(n),
        request_id: Some(id),
        ..Options::default()
    };
    loop {
        match caller.play(COUNT, &options).await {
            Ok(played) => return (played.value.as_u64().unwrap(), played.replayed),
            // It may have happened, or it hasn't, because there was too much under way.
            Err(Error::Unanswered { .. }) => {}
            Err(error) => assert!(error.may_pass(), "{error}"),
        }
    }
}

/// Checks that each call was counted once, and each reply is that of its own run.
pub(crate) async fn check(caller: &Caller, mut counts: Vec<u64>) {
    counts.sort_unstable();
    let calls = u64::try_from(counts.len()).unwrap();
    assert_eq!(counts, (1..=calls).collect::<Vec<_>>());
    let read = caller.play("store.get(\"n\")", &Options::default()).await;
    assert_eq!(read.unwrap().value, json!(calls));
}

/// Callers at work.
pub(crate) struct Counting {
    /// The network of each caller.
    networks: Vec<Arc<Proxy>>,
    progress: Arc<Progress>,
    tasks: JoinSet<Vec<u64>>,
}

#[derive(Default)]
struct Progress {
    done: AtomicUsize,
    replayed: AtomicUsize,
    ends: AtomicBool,
}

impl Counting {
    /// Starts so many callers, each at one of the servers.
    pub(crate) async fn on(servers: &[TestServer], callers: usize) -> Self {
        let progress = Arc::new(Progress::default());
        let (mut networks, mut tasks) = (Vec::new(), JoinSet::new());
        for number in 0..callers {
            let port = servers[number % servers.len()].address.port();
            let network = Arc::new(Proxy::to(port).await);
            tasks.spawn(work(network.clone(), number, progress.clone()));
            networks.push(network);
        }
        Self {
            networks,
            progress,
            tasks,
        }
    }

    /// Has new connections go to these servers.
    pub(crate) fn move_to(&self, servers: &[TestServer]) {
        for (number, network) in self.networks.iter().enumerate() {
            network.move_to(servers[number % servers.len()].address.port());
        }
    }

    /// Waits until so many more calls are answered.
    pub(crate) async fn progress(&self, more: usize) {
        let done = || self.progress.done.load(Ordering::Relaxed);
        let goal = done() + more;
        let waiting = async {
            let mut pause = interval(Duration::from_millis(5));
            while done() < goal {
                pause.tick().await;
            }
        };
        timeout(PATIENCE * 4, waiting)
            .await
            .unwrap_or_else(|_| panic!("{} of {goal} calls are answered", done()));
    }

    /// Ends once all calls are answered, and checks the count.
    pub(crate) async fn finish(self) {
        self.progress.ends.store(true, Ordering::Relaxed);
        let counts = timeout(PATIENCE * 8, self.tasks.join_all())
            .await
            .expect("all calls to be answered");
        check(&caller(&self.networks[0]), counts.concat()).await;
        let Progress { done, replayed, .. } = &*self.progress;
        eprintln!("{done:?} calls, {replayed:?} of them answered by an earlier run");
    }
}

/// Calls until the end. Returns the counts.
async fn work(network: Arc<Proxy>, number: usize, progress: Arc<Progress>) -> Vec<u64> {
    let caller = caller(&network);
    let mut counts = Vec::new();
    while !progress.ends.load(Ordering::Relaxed) {
        let n = counts.len();
        let (count, replayed) = count(&caller, format!("{number}.{n}"), n).await;
        counts.push(count);
        progress.done.fetch_add(1, Ordering::Relaxed);
        progress
            .replayed
            .fetch_add(usize::from(replayed), Ordering::Relaxed);
    }
    counts
}
