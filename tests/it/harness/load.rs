//! Callers and providers at work while servers fail or are replaced, and afterwards the check of the results.

mod book;
pub(crate) mod session;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use self::{
    book::{After, Book},
    session::{Session, ask},
};
use super::{
    redis::circle,
    server::{PATIENCE, TestServer, eventually},
    webhooks::{Said, Webhook},
};

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

/// The same for a submitted job. It also emits the number of such jobs.
const JOB: &str = r#"
    emit("jobs", store.incr("jobs", 1));
    store.incr("job/" + ARGS.name, 1);
"#;

/// The pause between two requests of one client: the work under way at a fault counts, not its amount.
const PAUSE: Duration = Duration::from_millis(5);
/// The pause before a request that failed is sent again.
const LONGER: Duration = Duration::from_millis(20);

/// A play that is answered so has had no effect: something is gone.
const GONE: &[i64] = &[-32007, -32004];
/// The same, and it may have kept colliding with others, or there was too much under way.
const GONE_OR_BUSY: &[i64] = &[-32007, -32004, -32005, -32009];

/// The work that is asked for, and by whom.
#[derive(Debug, Clone, Copy)]
struct Plan {
    circles: u8,
    /// True if servers are left alone, and so every session stays.
    sessions_last: bool,
    /// The pause between two requests of one client.
    pause: Duration,
    /// The codes of errors that a call may get.
    refusals: &'static [i64],
    /// True if jobs are submitted, and their events followed.
    has_jobs: bool,
}

impl Plan {
    fn of(circles: u8) -> Self {
        Self {
            circles,
            sessions_last: true,
            pause: PAUSE,
            refusals: GONE,
            has_jobs: false,
        }
    }
}

/// Callers and providers of some circles.
pub(crate) struct Load {
    book: Arc<Book>,
    servers: watch::Sender<Vec<SocketAddr>>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts a load on servers that stay, like its sessions.
    pub(crate) fn on(servers: &[TestServer], circles: u8) -> Self {
        Self::start(servers, Plan::of(circles))
    }

    /// Starts a load on servers that come and go: [`Load::move_to`].
    pub(crate) fn on_mortal(servers: &[TestServer], circles: u8) -> Self {
        let plan = Plan {
            sessions_last: false,
            ..Plan::of(circles)
        };
        Self::start(servers, plan)
    }

    /// Starts a load without pauses on one circle of a server that comes and goes.
    pub(crate) fn without_rest(server: &TestServer) -> Self {
        let plan = Plan {
            sessions_last: false,
            pause: Duration::ZERO,
            refusals: GONE_OR_BUSY,
            ..Plan::of(1)
        };
        Self::start(std::slice::from_ref(server), plan)
    }

    /// Starts a load of all kinds on servers that come and go: plays, deliveries, jobs, and events that are followed.
    pub(crate) fn of_all_kinds(servers: &[TestServer], circles: u8) -> Self {
        let plan = Plan {
            sessions_last: false,
            refusals: GONE_OR_BUSY,
            has_jobs: true,
            ..Plan::of(circles)
        };
        Self::start(servers, plan)
    }

    fn start(servers: &[TestServer], plan: Plan) -> Self {
        let book = Arc::new(Book::new(plan));
        let (servers, addresses) = watch::channel(addresses(servers));
        let mut tasks = JoinSet::new();
        for number in 0..plan.circles.max(4) {
            tasks.spawn(play(book.clone(), number, addresses.clone()));
        }
        for number in 0..4 {
            tasks.spawn(deliver(book.clone(), number, addresses.clone()));
        }
        if plan.has_jobs {
            for number in 0..plan.circles {
                tasks.spawn(submit(book.clone(), number, addresses.clone()));
                tasks.spawn(follow(book.clone(), number, addresses.clone()));
            }
        }
        Self {
            book,
            servers,
            tasks,
        }
    }

    /// Has it go on with these servers, which are one at least.
    pub(crate) fn move_to<'a>(&self, servers: impl IntoIterator<Item = &'a TestServer>) {
        self.servers.send_replace(addresses(servers));
    }

    /// Waits until so many more plays and deliveries, and jobs if there are any, have succeeded.
    pub(crate) async fn progress(&self, more: usize) {
        let before = self.book.done();
        let kinds = if self.book.plan.has_jobs { 3 } else { 2 };
        let done = async {
            let mut pause = interval(PAUSE * 2);
            let is_done = |now: [usize; 3]| (0..kinds).all(|kind| now[kind] >= before[kind] + more);
            while !is_done(self.book.done()) {
                pause.tick().await;
            }
        };
        timeout(PATIENCE * 2, done)
            .await
            .unwrap_or_else(|_| panic!("too little gets done since {before:?}: {}", self.book));
    }

    /// Waits until so many more deliveries have been accepted.
    pub(crate) async fn deliveries(&self, more: usize) {
        let before = self.book.done()[1];
        eventually("deliveries to be accepted", async || {
            self.book.done()[1] >= before + more
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

    /// Returns the numbers of plays, deliveries and jobs that were acknowledged.
    pub(crate) fn done(&self) -> [usize; 3] {
        self.book.done()
    }

    /// Returns the number of refused plays.
    pub(crate) fn refused(&self) -> u64 {
        self.book.refused()
    }

    /// Ends once everybody has a reply, without a check.
    pub(crate) async fn abandon(self) {
        self.stop().await;
    }

    /// Ends, waits until nothing is pending any more, and checks that all acknowledged work was done, once.
    pub(crate) async fn finish(self, server: &TestServer) {
        self.end(server, After::Nothing).await;
    }

    /// Does the same if jobs may have been given up because their workers were killed.
    pub(crate) async fn finish_after_kills(self, server: &TestServer) {
        self.end(server, After::Kills).await;
    }

    /// Does the same if a master may have failed before its replica had a play's effects. A play may be lost then, but
    /// no delivery.
    pub(crate) async fn finish_after_failovers(self, server: &TestServer) {
        self.end(server, After::Failovers).await;
    }

    async fn stop(self) -> Arc<Book> {
        self.book.stop();
        timeout(PATIENCE * 2, self.tasks.join_all())
            .await
            .expect("everybody to be answered");
        self.book
    }

    async fn end(self, server: &TestServer, after: After) {
        let book = self.stop().await;
        for number in 0..book.plan.circles {
            ask(server, number, "store.set(\"give in\", true)").await;
        }
        book.settle(server, after).await;
        book.check(server, after).await;
        eprintln!("{book}");
    }
}

fn addresses<'a>(servers: impl IntoIterator<Item = &'a TestServer>) -> Vec<SocketAddr> {
    servers.into_iter().map(|server| server.address).collect()
}

fn pick(servers: &watch::Receiver<Vec<SocketAddr>>, number: u8) -> SocketAddr {
    let servers = servers.borrow();
    servers[usize::from(number) % servers.len()]
}

/// A delivery to a circle, by number, that [`DELIVERY`] counts at once.
pub(crate) fn delivery(number: u8, id: impl AsRef<str>) -> Webhook {
    delivery_that_is(number, id.as_ref(), false, false)
}

fn delivery_that_is(number: u8, id: &str, stubborn: bool, slow: bool) -> Webhook {
    let object =
        json!({ "id": "pi_1", "object": "payment_intent", "stubborn": stubborn, "slow": slow });
    let event = json!({
        "id": id,
        "object": "event",
        "type": "payment_intent.succeeded",
        "data": { "object": object },
    });
    Webhook::stripe(event.to_string()).to(circle(number))
}

/// Opens sessions one after another, at another server each time, until there is one or the load ends.
async fn open(
    book: &Book,
    number: u8,
    servers: &watch::Receiver<Vec<SocketAddr>>,
) -> Option<Session> {
    for attempt in (0..=u8::MAX).cycle() {
        if !book.goes_on() {
            return None;
        }
        let address = pick(servers, number.wrapping_add(attempt));
        let session = Session::open(address, circle(number % book.plan.circles)).await;
        if session.is_some() {
            return session;
        }
        assert!(!book.plan.sessions_last, "no session");
        sleep(PAUSE).await;
    }
    None
}

/// A caller who plays, and comes back when the session ends.
async fn play(book: Arc<Book>, number: u8, servers: watch::Receiver<Vec<SocketAddr>>) {
    let of = number % book.plan.circles;
    while let Some(mut session) = open(&book, number, &servers).await {
        while book.goes_on() {
            let (n, name) = book.name();
            book.plays.lock().unwrap().insert((of, name.clone()), false);
            let args = json!({ "name": name, "slow": n % 16 == 5 });
            match session.play(PLAY, args).await {
                Some(Ok(_)) => {
                    book.plays.lock().unwrap().insert((of, name), true);
                }
                Some(Err(error)) => {
                    book.refuse("play", &error);
                    sleep(LONGER).await;
                }
                None => {
                    book.lose("play");
                    break;
                }
            }
            sleep(book.plan.pause).await;
        }
    }
}

/// A provider that sends each delivery until it is acknowledged.
async fn deliver(book: Arc<Book>, number: u8, servers: watch::Receiver<Vec<SocketAddr>>) {
    while book.goes_on() {
        let (n, name) = book.name();
        let of = u8::try_from(n % u64::from(book.plan.circles)).unwrap();
        // Any server may answer, like behind a load balancer.
        for attempt in (0..=u8::MAX).cycle() {
            let address = pick(&servers, number.wrapping_add(attempt));
            // Signed anew each time.
            let webhook = delivery_that_is(of, &name, n % 10 == 7, n % 16 == 5);
            match webhook.offer(address).await {
                Some(Said::Kept) => {
                    book.deliveries.lock().unwrap().insert((of, name));
                    break;
                }
                Some(Said::ComeBack) => {
                    book.note("delivery 503");
                    sleep(LONGER).await;
                }
                None => {
                    book.lose("delivery");
                    sleep(PAUSE).await;
                }
            }
        }
        sleep(book.plan.pause).await;
    }
}

/// A caller who submits each job until it is acknowledged.
async fn submit(book: Arc<Book>, of: u8, servers: watch::Receiver<Vec<SocketAddr>>) {
    let mut unsaid: Option<String> = None;
    while let Some(mut session) = open(&book, of, &servers).await {
        loop {
            if unsaid.is_none() && !book.goes_on() {
                return;
            }
            let name = unsaid.take().unwrap_or_else(|| book.name().1);
            let args = json!({ "name": name });
            let params = json!({ "script": JOB, "args": args, "idempotency_key": name });
            match session.call("submit_job", params).await {
                Some(Ok(_)) => {
                    book.jobs.lock().unwrap().insert((of, name));
                    // Plays, which need more of the workers, are to get their share.
                    sleep(LONGER).await;
                }
                Some(Err(error)) => {
                    book.refuse("submit_job", &error);
                    unsaid = Some(name);
                    sleep(LONGER).await;
                }
                None => {
                    book.lose("submit_job");
                    unsaid = Some(name);
                    break;
                }
            }
        }
    }
    // The load has ended before it was acknowledged.
    book.unsaid
        .lock()
        .unwrap()
        .extend(unsaid.map(|name| (of, name)));
}

/// A subscriber to the events of the circle's jobs, who comes back after the last one when the session ends.
async fn follow(book: Arc<Book>, of: u8, servers: watch::Receiver<Vec<SocketAddr>>) {
    let mut since = 0;
    while let Some(mut session) = open(&book, of, &servers).await {
        let params = json!({ "topic": "jobs", "since": since });
        match session.call("subscribe", params).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                book.refuse("subscribe", &error);
                sleep(LONGER).await;
                continue;
            }
            None => continue,
        }
        while book.goes_on() {
            match session.event(PAUSE * 20).await {
                Ok(Some(event)) => {
                    since = event["id"].as_u64().unwrap();
                    book.follow(of, &event["data"]);
                }
                Ok(None) => {}
                Err(_) => break,
            }
        }
    }
    book.followed.lock().unwrap().insert(of, since);
}

/// Reads the rest of the events from `since` on, of which there are `all` with those before.
async fn rest_of_events(server: &TestServer, book: &Book, of: u8, all: u64) {
    let since = book.followed.lock().unwrap()[&of];
    let mut session = Session::open(server.address, circle(of)).await.unwrap();
    let params = json!({ "topic": "jobs", "since": since });
    session.call("subscribe", params).await.unwrap().unwrap();
    while book.seen(of) < all {
        let event = session.event(PATIENCE).await.unwrap();
        book.follow(of, &event.expect("an event")["data"]);
    }
    let more: Option<Value> = session.event(LONGER).await.unwrap();
    assert_eq!(more, None, "more events than jobs");
}
