//! The server: its listeners, its routes, and the order of its shutdown.

mod accept;
mod admin;
mod archive;
mod backups;
mod circles;
#[cfg(feature = "console")]
mod console;
mod files;
mod handshake;
mod linger;
mod live;
mod response_deadline;
mod scrape;
mod set_up;
mod stream;
mod tls;
mod top;
mod upgrade;
mod websocket;
mod worker;

use std::{io, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use axum::{
    Router,
    routing::{any, get},
};
use jiff::Timestamp;
use socket2::SockRef;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub use crate::address::{AddressRange, InvalidRange};
pub use live::{Applied, Live};
pub use set_up::{SetUp, SetUpError, scripts};
pub use tls::Certificates;
pub use worker::Worker;

use self::{
    accept::{Acceptor, Ending},
    backups::Backups,
    files::OpenFiles,
    tls::Tls,
};
use crate::{
    auth::{Access, Origins, RecentKeys},
    circle::{self, Executor},
    config,
    dispatch::{self, Dispatcher, Role, Scripts, StartError},
    memory::MemoryBudget,
    rpc::{DeviceSessions, Quotas, Shared, Watches, prepare_counters},
    session::{self, Registry},
    shares::Bounds,
    turns::Turns,
    units::duration::whole_milliseconds,
    webhooks::{self, VerifyLayer},
};

/// A server that listens on its addresses but serves nobody yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    admin: Option<TcpListener>,
    state: Arc<State>,
    shutdown_grace: std::time::Duration,
    check_files: std::time::Duration,
    accept: Acceptor,
    accept_admin: Acceptor,
    backups: Backups,
}

/// The state that all requests share.
#[derive(Debug)]
struct State {
    shared: Arc<Shared>,
    origins: Origins,
    registry: Registry,
    session: Arc<session::Settings>,
    /// The tokens that end sessions and other connections.
    ending: Ending,
    /// The layer in front of every webhook.
    verify: VerifyLayer,
    /// The scripts that deliveries run.
    scripts: Scripts,
    /// True if it serves the web console.
    serves_console: bool,
    /// TLS of the listener for clients; `None` if that is plain.
    tls: Option<Tls>,
}

/// Connections that are permitted beside twice the number of sessions.
const SPARE_CONNECTIONS: usize = 1024;

/// True if this binary has the files of the web console.
const HAS_CONSOLE: bool = {
    #[cfg(feature = "console")]
    let has_files = !console::BUILT_IN.is_empty();
    #[cfg(not(feature = "console"))]
    let has_files = false;
    has_files
};

/// The time for telling the callers of cancelled calls.
const TELLING: std::time::Duration = std::time::Duration::from_secs(1);
/// The time in which cancelled runs must end, and pending writes reach the disk.
const LAST_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// The reason why a server could not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The server can't listen on the address.
    #[error(
        "{setting} = \"{address}\" cannot be listened on; change it in the settings file, or by {}",
        variable(setting)
    )]
    Bind {
        /// The setting with the address.
        setting: &'static str,
        /// The address.
        address: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The system permits too few open files.
    #[error(
        "the system permits {permitted} open files, and circled needs {least} at the least: raise the limit (`ulimit -n`, LimitNOFILE of systemd, --ulimit nofile of Docker)"
    )]
    Files {
        /// The number that is permitted.
        permitted: usize,
        /// The least number that circled needs.
        least: usize,
    },
    /// There is no data folder, no Redis, or no thread.
    #[error(transparent)]
    Dispatch(#[from] StartError),
    /// What the settings name can't be used.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
}

impl Server {
    /// Listens on the addresses and starts the dispatcher.
    pub async fn bind(settings: &config::Settings, fail_fast: bool) -> Result<Self, ServeError> {
        prepare_counters();
        dispatch::log_runs_over(settings.log.slow);
        let files = OpenFiles::claim(settings.server.reserved_files)?;
        let max_unsent = settings.server.max_unsent;
        let listen = settings.server.listen.to_string();
        let listener = bind("server.listen", &listen, max_unsent.get()).await?;
        let admin = admin_listener(settings).await?;
        let local = listener
            .local_addr()
            .map_err(|source| bind_error("server.listen", &listen, source))?;
        let set_up = SetUp::of(settings)?;
        set_up.announce();
        let SetUp {
            providers,
            grants,
            certificates,
        } = set_up;
        let access = Arc::new(Access::new(&settings.circles, &settings.circle));
        let scripts = providers.scripts();
        let dispatcher = Dispatcher::start(
            &dispatch(settings, files),
            executor(settings, access.clone()),
            settings.store.clone(),
            scripts.clone(),
            Role::Gateway { fail_fast },
        )
        .await?;
        let shared = Arc::new(Shared {
            access,
            circles: RecentKeys::default(),
            callers: RecentKeys::default(),
            watches: Watches::new(
                dispatcher.clone(),
                settings.session.watch_limits(&settings.circles),
            ),
            device_sessions: DeviceSessions::new(dispatcher.clone()),
            dispatcher,
            nonce_ttl: settings.auth.nonce_ttl.get(),
            device_key_ttl: settings.auth.device_key_ttl.get(),
            grants: ArcSwap::from_pointee(grants),
            logins: Turns::new(settings.auth.places(), settings.auth.queue.get()),
            // Each session has at most one request that waits.
            long_requests: Turns::new(settings.session.long_places(), usize::MAX),
            log_reads: Turns::new(settings.session.log_reads.get(), usize::MAX),
            limits: settings.session.limits(),
            quotas: Quotas::new(&settings.limits, std::time::Instant::now()),
        });
        let memory = MemoryBudget::new("server.max_buffered", settings.server.max_buffered.get());
        let connections = connections(settings, files, admin.is_some());
        let tls = certificates
            .map(|certificates| Tls::new(&settings.server, certificates, settings.auth.places()));
        let serves_console = cfg!(feature = "console") && settings.server.console;
        let state = State {
            verify: VerifyLayer::new(&settings.webhooks, providers, shared.clone()),
            shared,
            origins: Origins::new(
                settings.server.public_url.clone(),
                local,
                tls.is_some(),
                settings.server.allowed_origins.clone(),
            ),
            registry: Registry::new(&settings.session, memory, connections),
            session: Arc::new(settings.session.clone()),
            ending: Ending::default(),
            scripts,
            serves_console,
            tls: tls.clone(),
        };
        let backups = Backups {
            dispatcher: state.shared.dispatcher.clone(),
            settings: settings.backup.clone(),
            min_free: settings.dispatch.embedded.min_free as u64,
            stopping: state.ending.stopping.clone(),
        };
        let accept_admin = admin_acceptor(settings, files);
        let accept = main_acceptor(settings, files, connections, tls, state.verify.clone());
        Ok(Self {
            listener,
            admin,
            state: Arc::new(state),
            shutdown_grace: settings.server.shutdown_grace,
            check_files: settings.server.tls.check_files.get(),
            accept,
            accept_admin,
            backups,
        })
    }

    /// Waits for an error after which the server can't go on.
    pub fn failed(&self) -> impl Future<Output = ServeError> + Send + use<> {
        let dispatcher = self.state.shared.dispatcher.clone();
        async move { dispatcher.failed().await.into() }
    }

    /// Returns the address that clients connect to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns true if clients connect through TLS.
    pub fn has_tls(&self) -> bool {
        self.state.tls.is_some()
    }

    /// Returns the address of the web console, for browsers; nothing if the settings turn it off, or if this binary was
    /// built without it.
    pub fn console_url(&self) -> Option<String> {
        let has_console = self.state.serves_console && HAS_CONSOLE;
        has_console.then(|| format!("{}/console/", self.state.origins.own_page()))
    }

    /// Returns the origin of the web console, if its pages may not connect: `server.allowed_origins` lists others.
    pub fn refused_console(&self) -> Option<String> {
        let page = self.state.origins.own_page();
        let is_refused = self.console_url().is_some() && !self.state.origins.admits(Some(&page));
        is_refused.then_some(page)
    }

    /// Returns true if the settings want the web console, and this binary was built without its files.
    pub fn lacks_console(&self) -> bool {
        self.state.serves_console && !HAS_CONSOLE
    }

    /// Returns the address of the admin listener.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// Returns the handle that changes settings while the server runs.
    pub fn live(&self) -> Live {
        Live::gateway(self.state.clone())
    }

    /// Serves until `shutdown` is cancelled. Then it takes no more connections, lets calls finish within
    /// `server.shutdown_grace`, cancels the others, and closes every session.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            listener,
            admin,
            state,
            shutdown_grace,
            check_files,
            accept,
            accept_admin,
            backups,
        } = self;
        let admin_ending = Ending::default();
        if let Some(admin) = admin {
            let routes = admin::routes(admin::Admin {
                dispatcher: state.shared.dispatcher.clone(),
                access: state.shared.access.clone(),
                tasks: admin_ending.tasks.clone(),
                largest: top::LargestFound::default(),
                stopping: state.ending.stopping.clone(),
                gateway: Some(state.clone()),
            });
            let forgetting = top::forget(state.ending.stopping.clone());
            admin_ending.tasks.spawn(forgetting);
            let accepting = accept_admin.run(admin, routes, admin_ending.clone());
            admin_ending.tasks.spawn(accepting);
        }
        let ending = state.ending.clone();
        let accepting = accept.run(listener, routes(state.clone()), ending.clone());
        ending.tasks.spawn(accepting);

        let telling = log_refusals(state.clone());
        ending.tasks.spawn(telling);
        let warning = warn_of_ends(state.clone());
        ending.tasks.spawn(warning);
        let deleting = end_deleted(state.clone());
        ending.tasks.spawn(deleting);
        if let Some(tls) = state.tls.clone() {
            let renewing = tls::renew(tls, check_files, ending.stopping.clone());
            ending.tasks.spawn(renewing);
        }
        ending.tasks.spawn(backups.run());

        shutdown.cancelled().await;
        let (sessions, circles) = (state.registry.sessions(), state.registry.circles());
        let grace_ms = whole_milliseconds(shutdown_grace);
        tracing::info!(sessions, circles, grace_ms, "stopping");
        ending.stopping.cancel();
        let dispatcher = state.shared.dispatcher.clone();
        dispatcher.stop_durable();
        let grace_ends = Instant::now() + shutdown_grace;
        ending.tasks.close();
        if timeout_at(grace_ends, ending.tasks.wait()).await.is_err() {
            tracing::warn!(
                sessions = state.registry.sessions(),
                "server.shutdown_grace is over: cancelling what still runs"
            );
            ending.over.cancel();
            dispatcher.cancel_all();
            // Sessions are told; clients that don't read are left behind.
            let _ = timeout(TELLING, ending.tasks.wait()).await;
        }
        state.shared.watches.close().await;
        state.shared.device_sessions.close().await;
        end(&dispatcher, grace_ends).await;
        admin_ending.end(grace_ends).await;
        tracing::info!("stopped");
    }
}

impl Ending {
    /// Ends the connections of a listener: within the grace, or at once if that is over.
    async fn end(&self, grace_ends: Instant) {
        self.stopping.cancel();
        self.tasks.close();
        let patience = Instant::now() + TELLING;
        let _ = timeout_at(grace_ends.min(patience), self.tasks.wait()).await;
    }
}

/// Logs the number of refusals that weren't logged, in each second that has some.
async fn log_refusals(state: Arc<State>) {
    let mut pace = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = pace.tick() => state.verify.refusals().log_skipped(),
            () = state.ending.stopping.cancelled() => break,
        }
    }
    state.verify.refusals().log_skipped();
}

/// Ends the sessions of circles that an operator deletes, here or at another server.
async fn end_deleted(state: Arc<State>) {
    let deleting = state.shared.dispatcher.deleting();
    let mut seen = deleting.subscribe();
    loop {
        tokio::select! {
            circles = deleting.next(&mut seen) => {
                state.registry.end(|circle| circles.contains(circle));
            }
            () = state.ending.stopping.cancelled() => return,
        }
    }
}

/// Logs the grants and certificates that end soon, each day.
async fn warn_of_ends(state: Arc<State>) {
    /// The first warning is at the start.
    const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
    while timeout(DAY, state.ending.stopping.cancelled())
        .await
        .is_err()
    {
        state.shared.grants.load().warn(Timestamp::now());
        if let Some(tls) = &state.tls {
            tls.certificates().warn(Timestamp::now());
        }
    }
}

/// Returns the most connections, sessions included. A client with half of the connections can have all sessions.
fn connections(settings: &config::Settings, files: OpenFiles, has_admin: bool) -> usize {
    let sessions = settings.session.max_sessions.get();
    let wanted = sessions.saturating_mul(2).saturating_add(SPARE_CONNECTIONS);
    let admin = usize::from(has_admin) * admin_connections(settings, files);
    wanted.min(files.for_connections().saturating_sub(admin).max(1))
}

/// Builds the acceptor of the main listener, and logs its limits.
fn main_acceptor(
    settings: &config::Settings,
    files: OpenFiles,
    connections: usize,
    tls: Option<Tls>,
    webhooks: VerifyLayer,
) -> Acceptor {
    let server = &settings.server;
    let share = server.max_connections_per_address.get();
    tracing::info!(
        open_files = files.permitted,
        reserved_files = files.reserved,
        connections,
        per_address = share.min(connections.div_ceil(2)),
        "limits of connections; `ulimit -Hn` shows how many open files the system permits"
    );
    let bounds = Bounds {
        places: connections,
        share,
        shared_places: connections,
    };
    Acceptor::new(server, bounds, tls, Some(webhooks))
}

/// Builds the acceptor of the admin listener.
fn admin_acceptor(settings: &config::Settings, files: OpenFiles) -> Acceptor {
    let connections = admin_connections(settings, files);
    let bounds = Bounds {
        places: connections,
        share: connections,
        shared_places: Bounds::ALL_FOR_ONE,
    };
    Acceptor::new(&settings.server, bounds, None, None)
}

/// Returns the most admin connections. Clients keep most of the files, whatever the settings say.
fn admin_connections(settings: &config::Settings, files: OpenFiles) -> usize {
    let most = files.for_connections() / 4;
    settings.server.max_admin_connections.get().min(most)
}

/// Returns the settings of the backend, which gets some of the reserved files.
fn dispatch(settings: &config::Settings, files: OpenFiles) -> dispatch::Settings {
    let mut dispatch = settings.dispatch.clone();
    dispatch.embedded.open_files = files.for_store();
    dispatch.embedded.max_requests = dispatch.max_requests;
    dispatch
}

/// Ends the backend. Runs that go on after the grace are cancelled; if that fails, the process exits with 1.
async fn end(dispatcher: &Dispatcher, grace_ends: Instant) {
    let ending = dispatcher.clone();
    let mut ended = tokio::task::spawn_blocking(move || ending.shutdown());
    if timeout_at(grace_ends, &mut ended).await.is_ok() {
        return;
    }
    dispatcher.cancel_all();
    if timeout(LAST_WAIT, ended).await.is_err() {
        tracing::error!(
            "some runs or writes don't end: circled exits without them. Acknowledged data is safe"
        );
        std::process::exit(1);
    }
}

/// Builds the routes and the layers around them, outermost first.
fn routes(state: Arc<State>) -> Router {
    let webhooks = any(webhooks::deliver)
        .layer(state.verify.clone())
        .with_state(state.shared.clone());
    let serves_console = state.serves_console;
    let routes = Router::new()
        .route("/webhooks/{provider}/{circle}", webhooks.clone())
        // Easily written by mistake, and clear all the same.
        .route("/webhooks/{provider}/{circle}/", webhooks.clone())
        // A URL without a circle, or with more, gets a log line, too.
        .route("/webhooks/{provider}", webhooks.clone())
        .route("/webhooks/{provider}/", webhooks.clone())
        .route("/webhooks/{provider}/{circle}/{*more}", webhooks)
        .route("/{circle}", get(upgrade::upgrade))
        .method_not_allowed_fallback(upgrade::not_a_get)
        .fallback(upgrade::not_found)
        .with_state(state);
    let routes = match serves_console {
        true => with_console(routes),
        false => routes,
    };
    // A panic is a bug: it ends one request, not the server.
    routes.layer(CatchPanicLayer::new())
}

#[cfg(feature = "console")]
fn with_console(routes: Router) -> Router {
    routes.merge(console::routes(console::BUILT_IN))
}

#[cfg(not(feature = "console"))]
fn with_console(routes: Router) -> Router {
    routes
}

/// Builds the executor with the limits of the settings.
pub(crate) fn executor(settings: &config::Settings, access: Arc<Access>) -> Executor {
    let requests_for = settings.dispatch.requests_for.get();
    let own = circle::Settings::new(&settings.circles, &settings.auth, requests_for);
    Executor::new(settings.script.clone(), own, access)
}

/// Listens on an address. For each connection, the system buffers at most `max_unsent` bytes that the client hasn't
/// been sent. Without this limit it would buffer megabytes, and write deadlines would never begin.
async fn bind(
    setting: &'static str,
    address: &str,
    max_unsent: usize,
) -> Result<TcpListener, ServeError> {
    let failed = |source| bind_error(setting, address, source);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    // Connections inherit the options of their listener.
    SockRef::from(&listener)
        .set_tcp_notsent_lowat(u32::try_from(max_unsent).unwrap_or(u32::MAX))
        .map_err(failed)?;
    Ok(listener)
}

/// Returns the environment variable of a setting.
fn variable(setting: &str) -> String {
    format!(
        "CIRCLED_{}",
        setting.replace('.', "__").to_ascii_uppercase()
    )
}

/// Listens for health checks and operators, unless the settings turn that off.
async fn admin_listener(settings: &config::Settings) -> Result<Option<TcpListener>, ServeError> {
    let Some(address) = settings.server.admin_listen else {
        return Ok(None);
    };
    let max_unsent = settings.server.max_unsent.get();
    bind("server.admin_listen", &address.to_string(), max_unsent)
        .await
        .map(Some)
}

fn bind_error(setting: &'static str, address: &str, source: io::Error) -> ServeError {
    ServeError::Bind {
        setting,
        address: address.to_owned(),
        source,
    }
}
