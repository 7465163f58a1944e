//! Connections to Redis.

mod blocking;
mod durability;
mod error_text;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use fred::{
    clients::{Client, WithOptions},
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface},
    types::{
        Builder, ClusterHash, CustomCommand, Value,
        config::{Config, Options, ReconnectPolicy},
    },
};
use jiff::Timestamp;
use tokio::{sync::Notify, task::AbortHandle, time::timeout};

use self::durability::{ConnectionCounter, Promise};
pub(crate) use self::{
    blocking::BlockingConnection, durability::ConnectionNumber, error_text::error_text,
};
use crate::{
    dispatch::redis::{
        proto::{
            keys::{GROUP, Keys, Partition, RESTORING},
            script::Script,
            values::number,
        },
        settings::{Durability, RedisSettings},
        url,
    },
    metrics::metrics,
    store::Unavailable,
};

/// Reasons that are logged why Redis can't be used, until it can.
const REASONS: usize = 8;
/// The pause between two checks that Redis is there.
const PULSE: Duration = Duration::from_millis(250);
/// The longest that a blocking command blocks.
pub(crate) const BLOCK: Duration = Duration::from_secs(1);
/// The pause between two log lines about commands that fail.
const QUIET: Duration = Duration::from_secs(5);
/// Checks between two comparisons of the clocks.
const CLOCKS: u32 = 20;
/// The longest that Redis may take to end a connection.
const CLOSING: Duration = Duration::from_secs(3);

/// The connection for all commands but blocking ones. A cheap handle.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Inner>);

struct Inner {
    client: WithOptions<Client>,
    /// The task that connects, and sends and receives then.
    routing: AbortHandle,
    connections: ConnectionCounter,
    promise: Promise,
    config: Config,
    keys: Arc<Keys>,
    timeout: Duration,
    name: String,
    up: Arc<AtomicBool>,
    ready: Arc<AtomicBool>,
    came_up: Notify,
    /// The last error of a connection, which says more than that there is none.
    last_error: Arc<Mutex<Option<Error>>>,
    /// The time when it last left a server that was a replica.
    leaving: Mutex<Option<Instant>>,
    /// The time until which no more is logged of commands that fail.
    quiet_until: Mutex<Option<Instant>>,
    /// Milliseconds that Redis's clock is ahead of this machine's.
    ahead: AtomicI64,
}

/// A disagreement with Redis, or with another server that uses the namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// Another number of partitions.
    #[error(
        "the namespace \"{namespace}\" in Redis has {found} partitions, and this server has {own}: set dispatch.redis.partitions = {found}, or take another dispatch.redis.namespace"
    )]
    Partitions {
        /// The namespace.
        namespace: String,
        /// The number that it has.
        found: String,
        /// The number that this server has.
        own: u16,
    },
    /// A restore that isn't finished.
    #[error(
        "a restore into the namespace \"{namespace}\" in Redis isn't finished: wait for it; if it was killed, run it again"
    )]
    Restoring {
        /// The namespace.
        namespace: String,
    },
    /// Redis can't keep what is acknowledged as safe as the settings say.
    #[error("dispatch.redis.durability = \"{durability}\" {why}. With \"memory\", it isn't needed")]
    Durability {
        /// The safety that is wanted.
        durability: Durability,
        /// The thing that is missing, and a way to mend it.
        why: &'static str,
    },
}

impl Connection {
    /// Begins to connect, and keeps on trying. `name` is what Redis calls the connection.
    pub(crate) fn start(
        settings: &RedisSettings,
        keys: Arc<Keys>,
        name: &str,
    ) -> Result<Self, Error> {
        let mut config =
            url::read(&settings.url).map_err(|why| Error::new(ErrorKind::Config, why))?;
        // That is about the first time alone, and would have it be the last one, too.
        config.fail_fast = false;
        let last_error = Arc::new(Mutex::new(None));
        let client = client(&config, settings.timeout.get(), name)?;
        let noted = last_error.clone();
        // Its task ends with the client.
        drop(client.on_error(move |(error, _)| {
            let mut last = noted.lock().unwrap_or_else(PoisonError::into_inner);
            // That it took too long, or was given up, says less than what was said before.
            let is_vague = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled);
            if !is_vague || last.is_none() {
                *last = Some(error);
            }
            async { Ok(()) }
        }));
        let connections = ConnectionCounter::of(&client);
        let routing = client.connect().abort_handle();
        let options = Options {
            // Whatever was sent may have been done: sending it again is for those to decide who know what it was.
            max_attempts: Some(1),
            timeout: Some(settings.timeout.get()),
            fail_fast: true,
            ..Options::default()
        };
        Ok(Self(Arc::new(Inner {
            client: client.with_options(&options),
            routing,
            connections,
            promise: Promise::of(settings),
            config,
            keys,
            timeout: settings.timeout.get(),
            name: name.to_owned(),
            up: Arc::default(),
            ready: Arc::default(),
            came_up: Notify::new(),
            last_error,
            leaving: Mutex::default(),
            quiet_until: Mutex::default(),
            ahead: AtomicI64::new(0),
        })))
    }

    /// Returns whether Redis answers, and all is prepared there.
    pub(crate) fn is_up(&self) -> bool {
        self.0.up.load(Ordering::Relaxed) && self.0.ready.load(Ordering::Relaxed)
    }

    /// Waits until it is up.
    pub(crate) async fn until_up(&self) {
        loop {
            let notified = self.0.came_up.notified();
            if self.is_up() {
                return;
            }
            notified.await;
        }
    }

    /// Returns the time on Redis' clock, in milliseconds.
    pub(crate) fn now(&self) -> i64 {
        Timestamp::now().as_millisecond() + self.0.ahead.load(Ordering::Relaxed)
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Returns the partitions that one command can read from: all of them, or on a cluster, each by itself.
    pub(crate) fn shared_reads(&self) -> Vec<Vec<usize>> {
        let all = 0..self.keys().partitions().len();
        if self.is_cluster() {
            all.map(|number| vec![number]).collect()
        } else {
            vec![all.collect()]
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.0.config.server.is_clustered()
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Calls a script in a partition.
    pub(crate) async fn call<S: Script>(
        &self,
        partition: &Partition,
        script: S,
    ) -> Result<Value, Unavailable> {
        let begun = Instant::now();
        let result = self.ask_script(partition, script).await;
        count(begun, &result);
        self.leave_replica(&result).await;
        result.map_err(|error| self.failed(S::source().name, &error))
    }

    /// Calls a script in a partition, and returns its error if it fails.
    pub(crate) async fn ask_script<S: Script>(
        &self,
        partition: &Partition,
        script: S,
    ) -> Result<Value, Error> {
        let source = S::source();
        let (keys, args) = script.write(partition);
        let mut all = Vec::with_capacity(2 + keys.len() + args.len());
        all.extend([source.hash.as_str().into(), number(keys.len())]);
        all.extend(keys.into_iter().map(Value::from));
        all.extend(args);
        let evalsha = CustomCommand::new_static("EVALSHA", partition.hash.clone(), false);
        let again = all.clone();
        match self.0.client.custom::<Value, Value>(evalsha, all).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                let mut all = again;
                all[0] = source.text.as_str().into();
                let eval = CustomCommand::new_static("EVAL", partition.hash.clone(), false);
                self.0.client.custom(eval, all).await
            }
            result => result,
        }
    }

    /// Sends a command to a partition.
    pub(crate) async fn send(
        &self,
        command: &'static str,
        partition: &Partition,
        args: impl IntoIterator<Item = Value>,
    ) -> Result<Value, Unavailable> {
        let args = args.into_iter().collect();
        let begun = Instant::now();
        let result = self.ask(command, partition.hash.clone(), args).await;
        count(begun, &result);
        self.leave_replica(&result).await;
        result.map_err(|error| self.failed(command, &error))
    }

    /// Connects anew if the server has become a replica: only a new connection finds the master.
    async fn leave_replica(&self, result: &Result<Value, Error>) {
        if is_of_replica(result)
            && self.0.leaving.try_lock().is_ok_and(|mut last| {
                let now = Instant::now();
                let may = last.is_none_or(|last| now.duration_since(last) > PULSE * 2);
                if may {
                    *last = Some(now);
                }
                may
            })
        {
            let _ = timeout(self.0.timeout, self.0.client.force_reconnection()).await;
        }
    }

    /// Sends a command to where this slot is, and returns its error if it fails.
    pub(crate) async fn ask(
        &self,
        command: &'static str,
        hash: ClusterHash,
        args: Vec<Value>,
    ) -> Result<Value, Error> {
        let command = CustomCommand::new_static(command, hash, false);
        self.0.client.custom(command, args).await
    }

    /// Handles an error that says more than that a command failed.
    fn notice(&self, error: &Error) {
        if error.details().starts_with("NOGROUP") {
            // Somebody has emptied Redis.
            self.0.ready.store(false, Ordering::Relaxed);
        }
    }

    /// Returns whether a failure may be logged: many fail for the same reason, so not all of them are.
    pub(crate) fn may_complain(&self) -> bool {
        let now = Instant::now();
        let mut quiet_until = self
            .0
            .quiet_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let may = quiet_until.is_none_or(|until| until <= now);
        if may {
            *quiet_until = Some(now + QUIET);
        }
        may
    }

    /// Handles a command that failed.
    pub(crate) fn failed(&self, what: &str, error: &Error) -> Unavailable {
        self.notice(error);
        // Where Redis is there, it should.
        if self.is_up() && self.may_complain() {
            tracing::warn!(what, error = error_text(error), "a Redis command failed");
        }
        Unavailable
    }

    /// Takes the last error of a connection.
    pub(crate) fn last_error(&self) -> Option<Error> {
        let last = self.0.last_error.lock();
        last.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Watches Redis for as long as it is polled: whether it takes writes, whether all is prepared there, and whether
    /// it can lose what it acknowledges.
    ///
    /// # Errors
    /// A server of another kind uses the namespace, or Redis can't do what the settings need.
    pub(crate) async fn watch(&self) -> Result<(), Disagreement> {
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failures = 0_u32;
        // Why it can't be used: each reason once, for the one that says most may come late.
        let mut logged: Vec<String> = Vec::new();
        let (mut was_ready, mut is_unfit) = (false, false);
        for beat in 0_u32.. {
            pulse.tick().await;
            let agreed = self.agree().await;
            self.0.up.store(agreed.is_ok(), Ordering::Relaxed);
            match agreed {
                // Somebody has emptied Redis.
                Ok(true) => self.0.ready.store(false, Ordering::Relaxed),
                Ok(false) => {}
                Err(error) => {
                    self.0.ready.store(false, Ordering::Relaxed);
                    failures = failures.saturating_add(1);
                    // The first one of a server that starts comes before it is connected.
                    if failures >= 2 && logged.len() < REASONS {
                        let error = self.last_error().or((failures == 2).then_some(error));
                        let error = error.map(|error| error_text(&error).to_owned());
                        if let Some(error) = error.filter(|error| !logged.contains(error)) {
                            tracing::warn!(
                                error,
                                "failed to use Redis; trying again until it works (dispatch.redis.url)"
                            );
                            logged.push(error);
                        }
                    }
                    continue;
                }
            }
            failures = 0;
            logged.clear();
            // That is over, and nothing to be told of what comes.
            self.last_error();
            if beat % CLOCKS == 0 && self.0.ready.load(Ordering::Relaxed) {
                let _ = self.compare_clocks().await;
            }
            if !self.0.ready.load(Ordering::Relaxed) {
                match self.prepare().await {
                    Ok(Err(unfit @ Disagreement::Durability { .. })) if was_ready => {
                        if !is_unfit {
                            tracing::error!("{unfit}; nothing is accepted until then");
                        }
                        is_unfit = true;
                        continue;
                    }
                    Ok(agreed) => agreed?,
                    Err(error) => {
                        tracing::debug!(error = error_text(&error), "failed to prepare Redis");
                        continue;
                    }
                }
                self.warn_of_losses().await;
                (was_ready, is_unfit) = (true, false);
                self.0.ready.store(true, Ordering::Relaxed);
                self.0.came_up.notify_waiters();
                tracing::info!(
                    "Redis is there; work is acknowledged {} (dispatch.redis.durability)",
                    self.0.promise
                );
            }
        }
        Ok(())
    }

    /// Writes what all servers must agree on, if nobody has. Returns whether nobody had. It is a write, and so fails
    /// where Redis takes none.
    async fn agree(&self) -> Result<bool, Error> {
        let keys = &self.0.keys;
        let partitions = Value::Integer(keys.partitions().len() as i64);
        let args = vec![keys.agreement().into(), "partitions".into(), partitions];
        let new = self.ask("HSETNX", keys.agreement_hash(), args).await;
        self.leave_replica(&new).await;
        Ok(new?.as_i64() == Some(1))
    }

    async fn compare_clocks(&self) -> Result<(), Error> {
        let hash = self.0.keys.agreement_hash();
        let time = self.ask("TIME", hash, Vec::new()).await?.into_array();
        let number = |n: usize| time.get(n).and_then(Value::as_i64).unwrap_or(0);
        let theirs = number(0) * 1000 + number(1) / 1000;
        let ahead = theirs - Timestamp::now().as_millisecond();
        self.0.ahead.store(ahead, Ordering::Relaxed);
        Ok(())
    }

    /// Agrees with the other servers, and creates every partition's stream.
    async fn prepare(&self) -> Result<Result<(), Disagreement>, Error> {
        self.compare_clocks().await?;
        self.agree().await?;
        let keys = &self.0.keys;
        let own = keys.partitions().len();
        let field = vec![keys.agreement().into(), "partitions".into()];
        let found = self.ask("HGET", keys.agreement_hash(), field).await?;
        let found = found.as_string().unwrap_or_default();
        if found == RESTORING {
            return Ok(Err(Disagreement::Restoring {
                namespace: keys.namespace().to_owned(),
            }));
        }
        if found != own.to_string() {
            return Ok(Err(Disagreement::Partitions {
                namespace: keys.namespace().to_owned(),
                found,
                own: u16::try_from(own).unwrap_or(u16::MAX),
            }));
        }
        for partition in keys.partitions() {
            let args = ["CREATE", &partition.jobs(), GROUP, "0", "MKSTREAM"].map(Value::from);
            match self
                .ask("XGROUP", partition.hash.clone(), args.into())
                .await
            {
                Err(error) if !error.details().starts_with("BUSYGROUP") => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        self.check_durability().await
    }

    /// Warns if Redis' settings let it lose what it acknowledges.
    async fn warn_of_losses(&self) {
        let mut settings = Vec::new();
        for name in ["appendonly", "maxmemory-policy", "maxmemory"] {
            let hash = self.0.keys.agreement_hash();
            let args = ["GET", name].map(Value::from).into();
            let Ok(answer) = self.ask("CONFIG", hash, args).await else {
                tracing::info!(
                    "Redis doesn't show its settings (CONFIG GET): check there that it can't lose acknowledged work"
                );
                return;
            };
            settings.push(
                answer
                    .into_array()
                    .get(1)
                    .and_then(Value::as_string)
                    .unwrap_or_default(),
            );
        }
        if settings[0] == "no" {
            tracing::warn!(
                "Redis has appendonly no: when it ends, acknowledged webhooks and everything in the stores are lost. Set appendonly yes"
            );
        }
        if settings[1] != "noeviction" && !settings[1].is_empty() && settings[2] != "0" {
            tracing::warn!(
                policy = settings[1],
                "Redis may evict keys when its memory is full, and with them acknowledged webhooks and stores. Set maxmemory-policy noeviction"
            );
        }
    }

    /// Opens a further connection for the same commands.
    pub(crate) fn separate(&self) -> Result<Self, Error> {
        let inner = &self.0;
        let client = client(&inner.config, inner.timeout, &inner.name)?;
        let connections = ConnectionCounter::of(&client);
        let routing = client.connect().abort_handle();
        Ok(Self(Arc::new(Inner {
            client: client.with_options(inner.client.options()),
            routing,
            connections,
            promise: inner.promise,
            config: inner.config.clone(),
            keys: inner.keys.clone(),
            timeout: inner.timeout,
            name: inner.name.clone(),
            up: inner.up.clone(),
            ready: inner.ready.clone(),
            came_up: Notify::new(),
            last_error: Arc::default(),
            leaving: Mutex::default(),
            quiet_until: Mutex::default(),
            ahead: AtomicI64::new(0),
        })))
    }

    /// Ends the connection, if there is one.
    pub(crate) async fn close(&self) {
        // With the options of all others, this command would fail: it isn't connected any more once it begins to end.
        let client: &Client = &self.0.client;
        if client.is_connected() {
            let _ = timeout(self.0.timeout.min(CLOSING), client.quit()).await;
        }
        self.0.routing.abort();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.routing.abort();
    }
}

fn client(config: &Config, max_wait: Duration, name: &str) -> Result<Client, Error> {
    let client = Builder::from_config(config.clone())
        .with_connection_config(|config| {
            config.connection_timeout = max_wait;
            config.internal_command_timeout = max_wait;
            config.max_command_attempts = 1;
            // Where slots are is learnt without them. While one moves, scripts couldn't run on either side anyway;
            // and with a single attempt left, a redirection to where it goes would end the connection for good.
            config.max_redirections = 0;
            // The password may be put right.
            config.reconnect_on_auth_error = true;
            config.tcp.nodelay = Some(true);
            config.unresponsive.max_timeout = Some(max_wait);
            config.unresponsive.interval = max_wait / 4;
        })
        .set_policy(reconnect_policy())
        .build()?;
    let (named, name) = (client.clone(), name.to_owned());
    // Its task ends with the client.
    drop(client.on_reconnect(move |server| {
        let (client, name) = (named.clone(), name.clone());
        async move {
            let options = Options {
                cluster_node: client.is_clustered().then_some(server),
                ..Options::default()
            };
            let setname = CustomCommand::new_static("CLIENT", None::<u16>, false);
            let args = ["SETNAME", &name].map(Value::from).to_vec();
            client
                .with_options(&options)
                .custom::<(), Value>(setname, args)
                .await
        }
    }));
    Ok(client)
}

/// Counts a command that was sent then.
fn count(begun: Instant, result: &Result<Value, Error>) {
    metrics().redis_commands.observe(begun.elapsed());
    if result.is_err() {
        metrics().redis_command_errors.increment();
    }
}

fn is_of_replica(result: &Result<Value, Error>) -> bool {
    let error = result.as_ref().err();
    error.is_some_and(|error| error.details().starts_with("READONLY"))
}

fn reconnect_policy() -> ReconnectPolicy {
    let mut policy = ReconnectPolicy::new_exponential(0, 50, 1000, 2);
    policy.set_jitter(50);
    policy
}
