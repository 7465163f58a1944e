//! The end of Redis where jobs come from: plays and deliveries go in, their outcomes come back by the inbox.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use dashmap::DashMap;
use fred::types::Value;
use futures_util::{
    future::{BoxFuture, FutureExt},
    stream::{FuturesUnordered, StreamExt},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    keys::Partition, link::Link, scripts::Lua, settings::RedisSettings, ticket::RedisTicket, wire,
};
use crate::{
    auth::PublicKey,
    dispatch::{
        Delivery, Job, JobId, JobRecord, NotAccepted, Outcome, Played, Progress, Receipt, Ticket,
        record, settings,
    },
    store::Unavailable,
};

/// Requests that go to Redis in one call at most.
const AT_ONCE: usize = 256;
/// Bytes of them, about.
const BYTES_AT_ONCE: usize = 1 << 20;
/// How far Redis's clock may have been put forward while a play is under way.
const CLOCK: Duration = Duration::from_secs(1);

/// Sends jobs, and waits for what comes of them.
pub(super) struct Gateway {
    pub(super) link: Link,
    /// Deliveries go over this one: where replicas are waited for, all that comes after it waits too.
    pub(super) keeping: Link,
    pub(super) settings: RedisSettings,
    durable: settings::Durable,
    /// One for each ticket and each webhook's request at most, so the limits of those bound it.
    requests: mpsc::UnboundedSender<Request>,
    pub(super) plays: DashMap<JobId, Sent>,
    pub(super) deliveries: DashMap<JobId, oneshot::Sender<Progress>>,
    /// Whether there are inboxes for outcomes to go to.
    pub(super) has_inboxes: AtomicBool,
    pub(super) halt: CancellationToken,
    pub(super) stop: CancellationToken,
}

/// A play that has been sent, or is about to be.
pub(super) struct Sent {
    /// Nobody, once whoever waited for it has left.
    waiter: Option<oneshot::Sender<Outcome>>,
    since: Instant,
    place: Place,
}

/// Where a play is, as far as its gateway has been told.
#[derive(Debug, Clone)]
enum Place {
    /// It hasn't been told yet.
    OnItsWay,
    /// In the stream, by its entry there.
    Stream(Value),
    /// In the queue, or handed out from there since.
    Queue,
}

enum Request {
    Play {
        circle: PublicKey,
        id: JobId,
        play: String,
    },
    Delivery {
        circle: PublicKey,
        new: Box<New>,
    },
    /// Nobody waits for it any more. It isn't sent, if it hasn't been.
    Leave {
        circle: PublicKey,
        id: JobId,
    },
    /// It is to be taken back from where it is.
    Cancel {
        circle: PublicKey,
        id: JobId,
        sent: Sent,
    },
}

/// What a request asks for that can't wait for others.
enum Now {
    /// A play was not sent at all.
    Forget(JobId),
    Cancel(PublicKey, JobId, Sent),
}

/// What is to be sent.
#[derive(Default)]
struct Gathered {
    plays: HashMap<PublicKey, Vec<(JobId, String)>>,
    deliveries: HashMap<PublicKey, Vec<New>>,
    /// For which something has come.
    new: HashSet<Flight>,
    under_way: HashSet<Flight>,
}

/// What goes in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flight {
    Plays(PublicKey),
    Deliveries(PublicKey),
}

impl Sent {
    fn tell(&mut self, outcome: Outcome) {
        if let Some(waiter) = self.waiter.take() {
            // Whoever waited may have left.
            let _ = waiter.send(outcome);
        }
    }
}

impl Gathered {
    fn add(&mut self, request: Request) -> Option<Now> {
        match request {
            Request::Play { circle, id, play } => {
                self.plays.entry(circle).or_default().push((id, play));
                self.new.insert(Flight::Plays(circle));
            }
            Request::Delivery { circle, new } => {
                self.deliveries.entry(circle).or_default().push(*new);
                self.new.insert(Flight::Deliveries(circle));
            }
            Request::Leave { circle, id } => {
                let plays = self.plays.get_mut(&circle)?;
                let position = plays.iter().position(|(play, _)| *play == id)?;
                plays.remove(position);
                return Some(Now::Forget(id));
            }
            Request::Cancel { circle, id, sent } => return Some(Now::Cancel(circle, id, sent)),
        }
        None
    }
}

/// Those of a circle that go in one call. Nothing, where there are none.
fn take_some<T>(
    all: &mut HashMap<PublicKey, Vec<T>>,
    circle: &PublicKey,
    size: impl Fn(&T) -> usize,
) -> Option<Vec<T>> {
    let mut waiting = all.remove(circle)?;
    let mut bytes = 0;
    let fits = waiting.iter().take_while(|one| {
        let fits = bytes < BYTES_AT_ONCE;
        bytes += size(one);
        fits
    });
    let rest = waiting.split_off(fits.take(AT_ONCE).count());
    if !rest.is_empty() {
        all.insert(*circle, rest);
    }
    (!waiting.is_empty()).then_some(waiting)
}

/// Somebody waits for the first run of a new delivery's job, for as long as this is there.
struct Waiting<'a> {
    all: &'a DashMap<JobId, oneshot::Sender<Progress>>,
    job: JobId,
}

impl<'a> Waiting<'a> {
    fn new(
        all: &'a DashMap<JobId, oneshot::Sender<Progress>>,
        sender: oneshot::Sender<Progress>,
    ) -> Self {
        let job = JobId::new();
        all.insert(job, sender);
        Self { all, job }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.remove(&self.job);
    }
}

/// A delivery that is to be kept.
struct New {
    id: JobId,
    identity: [u8; 32],
    record: String,
    event: String,
    /// Told the first job, if it has been here before.
    kept: oneshot::Sender<Kept>,
}

type Kept = Result<Option<JobId>, NotAccepted>;

impl Gateway {
    pub(super) fn start(
        link: Link,
        keeping: Link,
        settings: RedisSettings,
        durable: settings::Durable,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (requests, receiver) = mpsc::unbounded_channel();
        let gateway = Arc::new(Self {
            link,
            keeping,
            settings,
            durable,
            requests,
            plays: DashMap::new(),
            deliveries: DashMap::new(),
            has_inboxes: AtomicBool::new(false),
            halt: CancellationToken::new(),
            stop,
        });
        tasks.spawn(gateway.clone().send(receiver));
        gateway
    }

    pub(super) fn is_ready(&self) -> bool {
        self.link.is_up() && self.has_inboxes.load(Ordering::Relaxed)
    }

    /// Sends a play on its way.
    pub(super) fn play(self: &Arc<Self>, job: &Job<'_>) -> Played {
        if !self.is_ready() {
            return Played::Now(Outcome::Unavailable);
        }
        let play = wire::Play::new(job, self.link.name());
        let Ok(play) = serde_json::to_string(&play) else {
            return Played::Now(Outcome::Unavailable);
        };
        let (sender, outcome) = oneshot::channel();
        let (circle, id, since) = (job.circle, job.id, Instant::now());
        let sent = Sent {
            waiter: Some(sender),
            since,
            place: Place::OnItsWay,
        };
        self.plays.insert(id, sent);
        // It is closed only once everybody has left.
        let _ = self.requests.send(Request::Play { circle, id, play });
        Played::Later(Ticket::Redis(RedisTicket {
            outcome,
            deadline: since + job.timeout,
            timeout: job.timeout,
            circle,
            id,
            gateway: self.clone(),
            settled: false,
        }))
    }

    /// Keeps a delivery, and waits so long for its job's first run.
    pub(super) async fn accept(
        &self,
        delivery: Delivery,
        wait: Duration,
    ) -> Result<Receipt, NotAccepted> {
        if !self.is_ready() {
            return Err(NotAccepted::Unavailable);
        }
        let (sender, ended) = oneshot::channel();
        let waiting = Waiting::new(&self.deliveries, sender);
        let job = waiting.job;
        let kept = self.keep(job, delivery)?;
        // It ends early where it isn't kept.
        let ended = timeout(wait, ended).await.ok().and_then(Result::ok);
        if let Some(status) = ended
            && self.settings.min_replicas == 0
        {
            // Whatever has run, has been kept.
            return Ok(Receipt { job, status });
        }
        match kept.await.unwrap_or(Err(NotAccepted::Unavailable))? {
            None => Ok(Receipt {
                job,
                status: ended.unwrap_or(Progress::Accepted),
            }),
            Some(first) => Ok(Receipt {
                job: first,
                status: Progress::Duplicate,
            }),
        }
    }

    /// Has a delivery be kept. It is answered the first job of one that has been here before.
    fn keep(&self, id: JobId, delivery: Delivery) -> Result<oneshot::Receiver<Kept>, NotAccepted> {
        let (circle, identity) = (delivery.circle, delivery.identity);
        let job = JobRecord::new(id, &delivery);
        let event = record::event(delivery);
        let json = |text: serde_json::Result<String>| text.map_err(|_| NotAccepted::Unavailable);
        let (kept, answer) = oneshot::channel();
        let new = New {
            id,
            identity,
            record: json(serde_json::to_string(&job))?,
            event: json(serde_json::to_string(&event))?,
            kept,
        };
        // It is closed only once everybody has left.
        let _ = self.requests.send(Request::Delivery {
            circle,
            new: Box::new(new),
        });
        Ok(answer)
    }

    /// Keeps deliveries of a circle.
    async fn keep_all(&self, circle: PublicKey, all: Vec<New>) {
        let partition = self.link.keys().of(&circle);
        let mut keys = vec![
            partition.jobs(),
            partition.lane(&circle),
            partition.backlog(&circle),
            partition.pending(),
            partition.index(),
        ];
        let mut args = vec![
            circle.to_string().into(),
            self.link.name().into(),
            millis(self.durable.dedupe_for),
            number(self.settings.per_circle),
            number(self.durable.backlog),
            Value::Integer(i64::from(self.settings.min_replicas)),
        ];
        let mut waiting = Vec::new();
        for new in all {
            keys.push(partition.seen(&circle, &new.identity));
            keys.push(partition.job(new.id));
            args.push(new.id.to_string().into());
            args.push(new.record.into());
            args.push(new.event.into());
            waiting.push((new.id, new.kept));
        }
        let answers = self.keeping.call(Lua::Accept, partition, keys, args).await;
        let mut answers = answers.map(Value::into_array);
        if answers.is_ok() && !self.is_replicated(partition).await {
            answers = Err(Unavailable);
        }
        for (n, (id, kept)) in waiting.into_iter().enumerate() {
            let answer = answers.as_ref().ok().and_then(|answers| answers.get(n));
            let result = match (answer.and_then(Value::as_i64), answer) {
                (Some(1), _) => Ok(None),
                (Some(0), _) => Err(NotAccepted::Backlog),
                (_, answer) => {
                    let first = answer.and_then(Value::as_string);
                    let first = first.and_then(|text| text.parse().ok());
                    first.map(Some).ok_or(NotAccepted::Unavailable)
                }
            };
            let is_new = matches!(result, Ok(None));
            // Whoever waited may have left.
            let _ = kept.send(result);
            if !is_new {
                // It has no run of its own that could be waited for.
                self.deliveries.remove(&id);
            }
        }
    }

    /// Whether as many replicas as it takes have what was written.
    async fn is_replicated(&self, partition: &Partition) -> bool {
        let wanted = i64::from(self.settings.min_replicas);
        if wanted == 0 {
            return true;
        }
        let args = [Value::Integer(wanted), millis(self.settings.timeout / 2)];
        let have = self.keeping.send("WAIT", partition, args).await;
        let enough = have.is_ok_and(|have| have.as_i64().unwrap_or(0) >= wanted);
        if !enough && self.keeping.may_complain() {
            tracing::warn!(
                "too few replicas have deliveries: they aren't acknowledged (dispatch.redis.min_replicas)"
            );
        }
        enough
    }

    /// Carries requests to Redis. Of each circle one call is under way at a time, and takes along all that has
    /// gathered meanwhile.
    async fn send(self: Arc<Self>, mut requests: mpsc::UnboundedReceiver<Request>) {
        let this = &*self;
        let mut batch = Vec::new();
        let mut gathered = Gathered::default();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Option<Flight>>> =
            FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(landed) = under_way.next(), if !under_way.is_empty() => {
                    if let Some(flight) = landed {
                        gathered.under_way.remove(&flight);
                        under_way.extend(this.fly(flight, &mut gathered));
                    }
                }
                _ = requests.recv_many(&mut batch, AT_ONCE) => {
                    for request in batch.drain(..) {
                        match gathered.add(request) {
                            None => {}
                            Some(Now::Forget(id)) => {
                                this.plays.remove(&id);
                            }
                            Some(Now::Cancel(circle, id, sent)) => {
                                let cancel = async move {
                                    // A worker that runs it finds out, at the latest when it commits.
                                    let _ = this.cancel(circle, id, sent.place, sent.since).await;
                                    None
                                };
                                under_way.push(cancel.boxed());
                            }
                        }
                    }
                    for flight in mem::take(&mut gathered.new) {
                        under_way.extend(this.fly(flight, &mut gathered));
                    }
                }
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// What has gathered for a flight goes, unless one like it is under way.
    fn fly<'a>(
        &'a self,
        flight: Flight,
        gathered: &mut Gathered,
    ) -> Option<BoxFuture<'a, Option<Flight>>> {
        if gathered.under_way.contains(&flight) {
            return None;
        }
        let sent = match flight {
            Flight::Plays(circle) => {
                let plays = take_some(&mut gathered.plays, &circle, |(_, play)| play.len())?;
                self.submit(circle, plays).boxed()
            }
            Flight::Deliveries(circle) => {
                let size = |new: &New| new.event.len();
                let deliveries = take_some(&mut gathered.deliveries, &circle, size)?;
                self.keep_all(circle, deliveries).boxed()
            }
        };
        gathered.under_way.insert(flight);
        Some(sent.map(move |()| Some(flight)).boxed())
    }

    async fn submit(&self, circle: PublicKey, plays: Vec<(JobId, String)>) {
        let partition = self.link.keys().of(&circle);
        let keys = partition.of_plays(&circle);
        let (ids, texts): (Vec<_>, Vec<_>) = plays.into_iter().unzip();
        let most = [
            number(self.settings.per_circle),
            number(self.settings.queue),
        ];
        let args = most.into_iter().chain(texts.into_iter().map(Value::from));
        let answer = self.link.call(Lua::Submit, partition, keys, args).await;
        match answer.map(Value::into_array) {
            Ok(answers) if answers.len() == ids.len() => {
                for (id, answer) in ids.into_iter().zip(answers) {
                    match answer.as_i64() {
                        Some(0) => self.tell(
                            id,
                            Outcome::QueueFull {
                                limit: "dispatch.redis.queue".into(),
                            },
                        ),
                        Some(_) => self.learn(circle, id, Place::Queue),
                        None => self.learn(circle, id, Place::Stream(answer)),
                    }
                }
            }
            // They may have come through: then nobody wants them.
            Ok(_) | Err(Unavailable) => {
                for id in ids {
                    if let Some((_, mut sent)) = self.plays.remove(&id) {
                        sent.tell(Outcome::Unavailable);
                        let _ = self.requests.send(Request::Cancel { circle, id, sent });
                    }
                }
            }
        }
    }

    /// Notes where a play is, or takes it back from there, if whoever waited for it has left meanwhile.
    fn learn(&self, circle: PublicKey, id: JobId, place: Place) {
        let Some(mut sent) = self.plays.get_mut(&id) else {
            return;
        };
        sent.place = place;
        if sent.waiter.is_none() {
            drop(sent);
            self.leave(circle, id);
        }
    }

    /// Nobody waits for a play any more.
    pub(super) fn leave(&self, circle: PublicKey, id: JobId) {
        let known = self.plays.remove_if_mut(&id, |_, sent| {
            sent.waiter = None;
            !matches!(sent.place, Place::OnItsWay)
        });
        let _ = self.requests.send(match known {
            Some((_, sent)) => Request::Cancel { circle, id, sent },
            // It is taken back once it is known where it is.
            None => Request::Leave { circle, id },
        });
    }

    /// Takes a play back that somebody waits for. Answers whether nothing of it lands any more; if not, its outcome
    /// is on its way.
    pub(super) async fn take_back(
        &self,
        circle: PublicKey,
        id: JobId,
    ) -> Result<bool, Unavailable> {
        let place = self.plays.get(&id).map(|sent| (sent.place.clone(), sent.since));
        match place {
            Some((place, since)) => self.cancel(circle, id, place, since).await,
            // It came just now.
            None => Ok(false),
        }
    }

    async fn cancel(
        &self,
        circle: PublicKey,
        id: JobId,
        place: Place,
        since: Instant,
    ) -> Result<bool, Unavailable> {
        let partition = self.link.keys().of(&circle);
        let keys = partition.of_plays(&circle);
        let (entry, age) = match place {
            Place::OnItsWay => ("".into(), millis(since.elapsed() + CLOCK)),
            Place::Stream(entry) => (entry, "".into()),
            Place::Queue => ("".into(), "".into()),
        };
        let args = [
            number(self.settings.per_circle),
            id.to_string().into(),
            entry,
            age,
        ];
        let answer = self.link.call(Lua::Cancel, partition, keys, args).await?;
        Ok(answer.as_i64() == Some(1))
    }

    /// Hands an outcome to whoever waits for it.
    pub(super) fn tell(&self, id: JobId, outcome: Outcome) {
        if let Some((_, mut sent)) = self.plays.remove(&id) {
            sent.tell(outcome);
        }
    }
}

pub(super) fn number(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn millis(duration: Duration) -> Value {
    Value::Integer(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
