//! The server: listeners, routes, and the order of shutting down.

mod accept;
mod admin;
mod files;
mod handshake;
mod linger;
mod live;
mod patience;
mod settings;
mod upgrade;
mod websocket;
mod worker;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    routing::{any, get},
};
use socket2::SockRef;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub use crate::address::{AddressRange, InvalidRange};
pub use live::{Live, Taken};
pub use settings::Settings;
pub use worker::Worker;

use circled_protocol::InvalidOrigin;

use self::{
    accept::{Accept, Ending},
    files::OpenFiles,
};
use crate::{
    auth::{Access, InvalidPage, Origins},
    circle::{self, Executor},
    config,
    dispatch::{self, Dispatcher, Role, Scripts, StartError},
    memory::MemoryBudget,
    rpc::{Limits, Quotas, Shared},
    session::{self, Registry},
    shares::Bounds,
    turns::Turns,
    units::duration::milliseconds,
    webhooks::{self, Providers, SetUpError, VerifyLayer},
};

/// A server that holds its addresses but serves nobody yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    admin: Option<TcpListener>,
    state: Arc<State>,
    shutdown_grace: std::time::Duration,
    accept: Accept,
    accept_admin: Accept,
}

/// What every request shares.
#[derive(Debug)]
struct State {
    shared: Arc<Shared>,
    origins: Origins,
    registry: Registry,
    session: Arc<session::Settings>,
    /// How sessions and other connections end.
    ending: Ending,
    /// In front of every webhook.
    verify: VerifyLayer,
    /// What deliveries run.
    scripts: Scripts,
}

/// Connections there may be beside twice as many as sessions.
const SPARE_CONNECTIONS: usize = 1024;

/// How long those may take to be told whose calls were cancelled.
const TELLING: std::time::Duration = std::time::Duration::from_secs(1);
/// How long what was cancelled may take to end, and what waits for the disk to be written.
const LAST_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Why a server could not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address can't be listened on.
    #[error(
        "{setting} = \"{address}\" cannot be listened on; change it in the settings file, or by {}",
        variable(setting)
    )]
    Bind {
        /// The setting that names it.
        setting: &'static str,
        /// Which address.
        address: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The system permits too few open files.
    #[error(
        "the system permits {permitted} open files, and circled needs {least} at the least: raise the limit (`ulimit -n`, LimitNOFILE of systemd, --ulimit nofile of Docker)"
    )]
    Files {
        /// How many.
        permitted: usize,
        /// How many there must be.
        least: usize,
    },
    /// What clients dial makes no sense.
    #[error("server.public_url = \"{value}\" is no origin")]
    PublicUrl {
        /// What stands there.
        value: String,
        /// What would be one.
        source: InvalidOrigin,
    },
    /// A page that could never connect.
    #[error("server.allowed_origins: {0}")]
    Page(#[from] InvalidPage),
    /// No data folder, no Redis, or no threads.
    #[error(transparent)]
    Dispatch(#[from] StartError),
    /// A provider of webhooks that makes no sense.
    #[error(transparent)]
    Webhooks(#[from] SetUpError),
}

impl Server {
    /// Takes the addresses and starts the dispatcher.
    pub async fn bind(settings: &config::Settings, fail_fast: bool) -> Result<Self, ServeError> {
        let files = OpenFiles::claim(settings.server.reserved_files)?;
        let max_unsent = settings.server.max_unsent;
        let listen = settings.server.listen.to_string();
        let listener = bind("server.listen", &listen, max_unsent).await?;
        let admin = match settings.server.admin_listen.as_str() {
            "" => None,
            address => Some(bind("server.admin_listen", address, max_unsent).await?),
        };
        let local = listener
            .local_addr()
            .map_err(|source| bind_error("server.listen", &listen, source))?;
        let public = match settings.server.public_url.as_str() {
            "" => None,
            url => Some(url.parse().map_err(|source| ServeError::PublicUrl {
                value: url.to_owned(),
                source,
            })?),
        };
        let pages = settings.server.allowed_origins.iter();
        let allowed = pages
            .map(|page| page.parse())
            .collect::<Result<_, InvalidPage>>()?;
        let providers = providers(settings)?;
        providers.announce();
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
            dispatcher,
            nonce_ttl: settings.auth.nonce_ttl,
            logins: Turns::new(settings.auth.places(), settings.auth.queue),
            // Each session has one that waits at most.
            long_requests: Turns::new(settings.session.long_places(), usize::MAX),
            log_reads: Turns::new(settings.session.log_reads, usize::MAX),
            limits: Limits {
                max_batch: settings.session.max_batch,
                max_reply: settings.session.max_reply,
                max_in_flight: settings.session.max_in_flight,
                anonymous_in_flight: settings.session.anonymous_in_flight,
                max_subscriptions: settings.session.max_subscriptions,
            },
            quotas: Quotas::new(&settings.limits, std::time::Instant::now()),
        });
        let memory = MemoryBudget::new("server.max_buffered", settings.server.max_buffered);
        let connections = connections(settings, files, admin.is_some());
        let state = State {
            verify: VerifyLayer::new(&settings.webhooks, providers, shared.clone()),
            shared,
            origins: Origins::new(public, local, allowed),
            registry: Registry::new(&settings.session, memory, connections),
            session: Arc::new(settings.session.clone()),
            ending: Ending::default(),
            scripts,
        };
        let accept_admin = admin_accept(settings, files);
        let accept = people_accept(settings, files, connections, state.verify.clone());
        Ok(Self {
            listener,
            admin,
            state: Arc::new(state),
            shutdown_grace: settings.server.shutdown_grace,
            accept,
            accept_admin,
        })
    }

    /// Waits for a reason why the server can't go on, for as long as there is none.
    pub fn failed(&self) -> impl Future<Output = ServeError> + Send + use<> {
        let dispatcher = self.state.shared.dispatcher.clone();
        async move { dispatcher.failed().await.into() }
    }

    /// Where people connect.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where health is asked for.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// What can be set anew while the server runs.
    pub fn live(&self) -> Live {
        Live::gateway(self.state.clone())
    }

    /// Serves until `shutdown` is cancelled. Then: no new connections; what has been begun may finish
    /// within `server.shutdown_grace`; what hasn't is cancelled; every session is closed.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            listener,
            admin,
            state,
            shutdown_grace,
            accept,
            accept_admin,
        } = self;
        let admin_ending = Ending::default();
        if let Some(admin) = admin {
            let routes = admin::routes(admin::Admin {
                dispatcher: state.shared.dispatcher.clone(),
                stopping: state.ending.stopping.clone(),
                gateway: Some(state.clone()),
            });
            let accepting = accept_admin.run(admin, routes, admin_ending.clone());
            admin_ending.tasks.spawn(accepting);
        }
        let ending = state.ending.clone();
        let accepting = accept.run(listener, routes(state.clone()), ending.clone());
        ending.tasks.spawn(accepting);

        let telling = tell_of_refusals(state.clone());
        ending.tasks.spawn(telling);

        shutdown.cancelled().await;
        let (sessions, circles) = (state.registry.sessions(), state.registry.circles());
        let grace_ms = milliseconds(shutdown_grace);
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
            // Sessions are told, and whoever doesn't listen is left behind.
            let _ = timeout(TELLING, ending.tasks.wait()).await;
        }
        end(&dispatcher, grace_ends).await;
        admin_ending.end(grace_ends).await;
        tracing::info!("stopped");
    }
}

impl Ending {
    /// Ends those of a listener that is of no more use: within the grace, or at once where that is over.
    async fn end(&self, grace_ends: Instant) {
        self.stopping.cancel();
        self.tasks.close();
        let patience = Instant::now() + TELLING;
        let _ = timeout_at(grace_ends.min(patience), self.tasks.wait()).await;
    }
}

/// Logs how many refusals weren't logged, each second in which there were any.
async fn tell_of_refusals(state: Arc<State>) {
    let mut pace = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = pace.tick() => state.verify.refusals().tell_left_out(),
            () = state.ending.stopping.cancelled() => break,
        }
    }
    state.verify.refusals().tell_left_out();
}

/// Returns how many connections there may be, sessions included. Whoever has half of them can have all sessions.
fn connections(settings: &config::Settings, files: OpenFiles, has_admin: bool) -> usize {
    let sessions = settings.session.max_sessions;
    let wanted = sessions.saturating_mul(2).saturating_add(SPARE_CONNECTIONS);
    let admin = usize::from(has_admin) * admin_connections(settings, files);
    wanted.min(files.for_connections().saturating_sub(admin).max(1))
}

/// How people's connections are taken, and services'. Says in the log how many there may be.
fn people_accept(
    settings: &config::Settings,
    files: OpenFiles,
    connections: usize,
    webhooks: VerifyLayer,
) -> Accept {
    let server = &settings.server;
    let share = server.max_connections_per_address;
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
        room: connections,
    };
    Accept::new(server, bounds, Some(webhooks))
}

/// How those of the admin listener are taken.
fn admin_accept(settings: &config::Settings, files: OpenFiles) -> Accept {
    let connections = admin_connections(settings, files);
    let bounds = Bounds {
        places: connections,
        share: connections,
        room: Bounds::ALL_FOR_ONE,
    };
    Accept::new(&settings.server, bounds, None)
}

/// How many of them there may be: whatever the settings say, people have most of the files.
fn admin_connections(settings: &config::Settings, files: OpenFiles) -> usize {
    let most = files.for_connections() / 4;
    settings.server.max_admin_connections.min(most)
}

/// The settings of the backend, which gets some of the files that are reserved.
fn dispatch(settings: &config::Settings, files: OpenFiles) -> dispatch::Settings {
    let mut dispatch = settings.dispatch.clone();
    dispatch.embedded.open_files = files.for_store();
    dispatch
}

/// Ends the backend. What still runs after the grace is cancelled; if that doesn't help, the process ends with 1.
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

/// What is served, and what every request goes through, outermost first.
fn routes(state: Arc<State>) -> Router {
    let webhooks = any(webhooks::deliver)
        .layer(state.verify.clone())
        .with_state(state.shared.clone());
    Router::new()
        .route("/webhooks/{provider}/{circle}", webhooks.clone())
        // Who has left out the circle is to be found in the log.
        .route("/webhooks/{provider}", webhooks)
        .route("/{circle}", get(upgrade::upgrade))
        .fallback(upgrade::not_found)
        .with_state(state)
        // A panic is a mistake of ours: it ends one request, not the server.
        .layer(CatchPanicLayer::new())
}

/// What runs jobs, within the limits of the settings.
pub(crate) fn executor(settings: &config::Settings, access: Arc<Access>) -> Executor {
    let circles = &settings.circles;
    let own = circle::Settings {
        max_members: circles.max_members,
        max_scripts: circles.max_scripts,
        script_versions: circles.script_versions,
    };
    Executor::new(settings.script.clone(), own, access)
}

/// The providers of webhooks, with their secrets looked up and their scripts compiled.
///
/// # Errors
/// See [`Providers::set_up`].
pub fn providers(settings: &config::Settings) -> Result<Providers, SetUpError> {
    let variable = |name: &str| std::env::var(name).ok();
    Providers::set_up(
        &settings.webhooks,
        &settings.circle,
        &settings.script,
        &settings.base,
        &variable,
    )
}

/// The scripts of the providers alone, compiled: all that a worker needs of them.
///
/// # Errors
/// See [`Providers::set_up_scripts`].
pub fn scripts(settings: &config::Settings) -> Result<Scripts, SetUpError> {
    Providers::set_up_scripts(&settings.webhooks, &settings.script, &settings.base)
}

/// Listens on an address. Of its connections, the system takes no more than `max_unsent` for a client before that has
/// read what is on its way: it would take megabytes, and a deadline for writing would never begin.
async fn bind(
    setting: &'static str,
    address: &str,
    max_unsent: usize,
) -> Result<TcpListener, ServeError> {
    let failed = |source| bind_error(setting, address, source);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    // Connections have what their listener has.
    SockRef::from(&listener)
        .set_tcp_notsent_lowat(u32::try_from(max_unsent).unwrap_or(u32::MAX))
        .map_err(failed)?;
    Ok(listener)
}

/// The variable of the environment that sets this.
fn variable(setting: &str) -> String {
    format!(
        "CIRCLED_{}",
        setting.replace('.', "__").to_ascii_uppercase()
    )
}

fn bind_error(setting: &'static str, address: &str, source: io::Error) -> ServeError {
    ServeError::Bind {
        setting,
        address: address.to_owned(),
        source,
    }
}
