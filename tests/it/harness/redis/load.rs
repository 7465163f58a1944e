//! Callers and providers at work while something fails, and afterwards the check of the results.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    book::{After, Book},
    fleet::circle,
    session::{Session, ask, is_refusal},
    stripe::{Said, delivery, send},
};
use crate::harness::server::{PATIENCE, TestServer, eventually};

/// Counts each delivery under its own name, and all of them together. Some fail now and then, and some are slow.
pub(crate) const DELIVERY: &str = r#"
    let event = EVENT.payload.data.object;
    if event.stubborn && store.get("plays", 0) % 4 != 0 && !store.has("give in") {
        throw "not yet";
    }
    if event.slow {
        let start = timestamp();
        while start.elapsed < 0.03 {}
    }
    store.incr("deliveries", 1);
    store.incr("delivery/" + EVENT.id, 1);
"#;

/// The same for a play.
const PLAY: &str = r#"
    if ARGS.slow {
        let start = timestamp();
        while start.elapsed < 0.03 {}
    }
    store.incr("plays", 1);
    store.incr("play/" + ARGS.name, 1);
"#;

/// The pause between two requests of one client: the work under way at a fault counts, not its amount.
const PAUSE: Duration = Duration::from_millis(5);

/// Callers and providers of some circles.
pub(crate) struct Load {
    book: Arc<Book>,
    gateways: watch::Sender<Vec<SocketAddr>>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts a load on gateways that stay, like its sessions.
    pub(crate) fn on(gateways: &[TestServer], circles: u8) -> Self {
        Self::start(gateways, circles, true)
    }

    /// Starts a load on gateways that come and go: [`Load::move_to`].
    pub(crate) fn on_mortal(gateways: &[TestServer], circles: u8) -> Self {
        Self::start(gateways, circles, false)
    }

    fn start(gateways: &[TestServer], circles: u8, sessions_last: bool) -> Self {
        let book = Arc::new(Book::new(circles, sessions_last));
        let (gateways, addresses) = watch::channel(addresses(gateways));
        let mut tasks = JoinSet::new();
        for number in 0..circles.max(4) {
            tasks.spawn(play(book.clone(), number, addresses.clone()));
        }
        for number in 0..4 {
            tasks.spawn(deliver(book.clone(), number, addresses.clone()));
        }
        Self {
            book,
            gateways,
            tasks,
        }
    }

    pub(crate) fn move_to(&self, gateways: &[TestServer]) {
        self.gateways.send_replace(addresses(gateways));
    }

    /// Waits until so many more plays and deliveries have succeeded.
    pub(crate) async fn progress(&self, more: usize) {
        let before = self.book.done();
        eventually("plays and deliveries to get done", async || {
            let now = self.book.done();
            now.0 >= before.0 + more && now.1 >= before.1 + more
        })
        .await;
    }

    /// Waits until so many more plays have been refused.
    pub(crate) async fn refusals(&self, more: u64) {
        let before = self.refused();
        eventually("plays to be refused", async || {
            self.refused() >= before + more
        })
        .await;
    }

    /// Returns the number of refused plays.
    pub(crate) fn refused(&self) -> u64 {
        self.book.refused.load(Ordering::Relaxed)
    }

    /// Ends once everybody has a reply, without a check.
    pub(crate) async fn abandon(self) {
        self.stop().await;
    }

    /// Ends, waits until nothing is pending any more, and checks that all acknowledged work was done, once.
    pub(crate) async fn finish(self, gateway: &TestServer) {
        self.end(gateway, After::Nothing).await;
    }

    /// Does the same if jobs may have been given up because their workers were killed.
    pub(crate) async fn finish_after_kills(self, gateway: &TestServer) {
        self.end(gateway, After::Kills).await;
    }

    /// Does the same if a master may have failed before its replica had a play's effects. A play may be lost then, but
    /// no delivery.
    pub(crate) async fn finish_after_failovers(self, gateway: &TestServer) {
        self.end(gateway, After::Failovers).await;
    }

    async fn stop(self) -> Arc<Book> {
        self.book.stop.store(true, Ordering::Relaxed);
        timeout(PATIENCE * 2, self.tasks.join_all())
            .await
            .expect("everybody to be answered");
        self.book
    }

    async fn end(self, gateway: &TestServer, after: After) {
        let book = self.stop().await;
        for number in 0..book.circles {
            ask(gateway, number, "store.set(\"give in\", true)").await;
        }
        book.settle(gateway, after).await;
        book.check(gateway, after).await;
        let (plays, deliveries) = book.done();
        let refused = book.refused.load(Ordering::Relaxed);
        eprintln!("{deliveries} deliveries, {plays} plays, {refused} refused");
    }
}

fn addresses(gateways: &[TestServer]) -> Vec<SocketAddr> {
    gateways.iter().map(|gateway| gateway.address).collect()
}

/// A caller who plays, and comes back when the session ends.
async fn play(book: Arc<Book>, number: u8, gateways: watch::Receiver<Vec<SocketAddr>>) {
    let of = number % book.circles;
    while book.goes_on() {
        let address = pick(&gateways, number);
        let Some(mut session) = Session::open(address, circle(of)).await else {
            assert!(!book.sessions_last, "no session");
            sleep(PAUSE).await;
            continue;
        };
        while book.goes_on() {
            let (n, name) = book.name();
            book.plays.lock().unwrap().insert((of, name.clone()), false);
            let args = json!({ "name": name, "slow": n % 16 == 5 });
            match session.play(PLAY, args).await {
                Some(Ok(_)) => {
                    book.plays.lock().unwrap().insert((of, name), true);
                }
                Some(Err(error)) => {
                    assert!(is_refusal(&error), "{error}");
                    book.refused.fetch_add(1, Ordering::Relaxed);
                    sleep(PAUSE * 4).await;
                }
                None => {
                    assert!(!book.sessions_last, "the session ended");
                    break;
                }
            }
            sleep(PAUSE).await;
        }
    }
}

fn pick(gateways: &watch::Receiver<Vec<SocketAddr>>, number: u8) -> SocketAddr {
    let gateways = gateways.borrow();
    gateways[usize::from(number) % gateways.len()]
}

/// A provider that sends each delivery until it is acknowledged.
async fn deliver(book: Arc<Book>, number: u8, gateways: watch::Receiver<Vec<SocketAddr>>) {
    while book.goes_on() {
        let (n, name) = book.name();
        let of = u8::try_from(n % u64::from(book.circles)).unwrap();
        let body = delivery(&name, n % 10 == 7, n % 16 == 5);
        // Any gateway may answer, like behind a load balancer.
        for attempt in (0..=u8::MAX).cycle() {
            let address = pick(&gateways, number.wrapping_add(attempt));
            match send(address, of, &body).await {
                Some(Said::Kept) => {
                    book.deliveries.lock().unwrap().insert((of, name));
                    break;
                }
                Some(Said::ComeBack) => sleep(PAUSE * 4).await,
                None => {
                    assert!(!book.sessions_last, "no answer");
                    sleep(PAUSE).await;
                }
            }
        }
        sleep(PAUSE).await;
    }
}
