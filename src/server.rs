//! The server: listeners, routes, and the order of shutting down.

mod accept;
mod admin;
mod linger;
mod settings;
mod upgrade;
mod worker;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    routing::{any, get},
};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::catch_panic::CatchPanicLayer;

pub use settings::Settings;
pub use worker::Worker;

use crate::{
    auth::{Access, InvalidOrigin, Origin, Origins},
    circle::{self, Executor},
    config,
    dispatch::{Dispatcher, Role, StartError},
    rpc::{Limits, Quotas, Shared},
    session::{self, Registry},
    webhooks::{self, Providers, SetUpError, VerifyLayer},
};

/// A server that holds its addresses but serves nobody yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    admin: Option<TcpListener>,
    state: Arc<State>,
    shutdown_grace: std::time::Duration,
    accept: accept::Accept,
}

/// What every request shares.
#[derive(Debug)]
struct State {
    shared: Arc<Shared>,
    origins: Origins,
    registry: Registry,
    session: Arc<session::Settings>,
    trusted_proxies: Vec<std::net::IpAddr>,
    /// Cancelled when the server begins to stop.
    stopping: CancellationToken,
    /// In front of every webhook.
    verify: VerifyLayer,
    /// Every session's task, and whatever else outlives its request.
    tasks: TaskTracker,
}

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
    /// An origin among the settings makes no sense.
    #[error("{setting} = \"{value}\" is no origin")]
    Origin {
        /// The setting that has it.
        setting: &'static str,
        /// What stands there.
        value: String,
        /// What would be one.
        source: InvalidOrigin,
    },
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
        let listener = bind("server.listen", &settings.server.listen.to_string()).await?;
        let admin = match settings.server.admin_listen.as_str() {
            "" => None,
            address => Some(bind("server.admin_listen", address).await?),
        };
        let local = listener.local_addr().map_err(|source| {
            bind_error("server.listen", &settings.server.listen.to_string(), source)
        })?;
        let origin = |setting, value: &str| {
            value
                .parse::<Origin>()
                .map_err(|source| ServeError::Origin {
                    setting,
                    value: value.to_owned(),
                    source,
                })
        };
        let public = match settings.server.public_url.as_str() {
            "" => None,
            url => Some(origin("server.public_url", url)?),
        };
        let allowed = settings
            .server
            .allowed_origins
            .iter()
            .map(|page| origin("server.allowed_origins", page))
            .collect::<Result<_, _>>()?;
        let providers = providers(settings)?;
        providers.announce();
        let access = Arc::new(Access::new(&settings.circles, &settings.circle));
        let dispatcher = Dispatcher::start(
            &settings.dispatch,
            executor(settings, access.clone()),
            settings.store.clone(),
            providers.scripts(),
            Role::Gateway { fail_fast },
        )
        .await?;
        let tasks = TaskTracker::new();
        let shared = Arc::new(Shared {
            access,
            dispatcher,
            nonce_ttl: settings.auth.nonce_ttl,
            limits: Limits {
                max_batch: settings.session.max_batch,
                max_in_flight: settings.session.max_in_flight,
                max_subscriptions: settings.session.max_subscriptions,
            },
            quotas: Quotas::new(&settings.limits, std::time::Instant::now()),
        });
        let state = State {
            verify: VerifyLayer::new(&settings.webhooks, Arc::new(providers), shared.clone()),
            shared,
            origins: Origins::new(public, local, allowed),
            registry: Registry::new(&settings.session),
            session: Arc::new(settings.session.clone()),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            stopping: CancellationToken::new(),
            tasks,
        };
        let accept = accept::Accept::new(&settings.server, &settings.session);
        Ok(Self {
            listener,
            admin,
            state: Arc::new(state),
            shutdown_grace: settings.server.shutdown_grace,
            accept,
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

    /// Serves until `shutdown` is cancelled. Then: no new connections; what has been begun may finish
    /// within `server.shutdown_grace`; what hasn't is cancelled; every session is closed.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            listener,
            admin,
            state,
            shutdown_grace,
            accept,
        } = self;
        let admin_stop = CancellationToken::new();
        let admin_tasks = TaskTracker::new();
        if let Some(admin) = admin {
            admin_tasks.spawn(accept.clone().run(
                admin,
                admin::routes(admin::Admin {
                    dispatcher: state.shared.dispatcher.clone(),
                    stopping: state.stopping.clone(),
                    gateway: Some(state.clone()),
                }),
                admin_stop.clone(),
                admin_tasks.clone(),
            ));
        }
        let accepting = state.tasks.spawn(accept.run(
            listener,
            routes(state.clone()),
            state.stopping.clone(),
            state.tasks.clone(),
        ));

        shutdown.cancelled().await;
        let (sessions, circles) = (state.registry.sessions(), state.registry.circles());
        tracing::info!(sessions, circles, grace = ?shutdown_grace, "stopping");
        state.stopping.cancel();
        let dispatcher = state.shared.dispatcher.clone();
        dispatcher.stop_durable();
        let grace_ends = Instant::now() + shutdown_grace;
        let _ = accepting.await;
        state.tasks.close();
        if timeout_at(grace_ends, state.tasks.wait()).await.is_err() {
            tracing::warn!(
                sessions = state.registry.sessions(),
                "the grace is over: cancelling what still runs"
            );
            dispatcher.cancel_all();
            // Closing a session is bounded, and so is this.
            let _ = timeout(session::CLOSE_TIMEOUT * 2, state.tasks.wait()).await;
        }
        end(&dispatcher, grace_ends).await;
        admin_stop.cancel();
        admin_tasks.close();
        let _ = timeout(session::CLOSE_TIMEOUT, admin_tasks.wait()).await;
        tracing::info!("stopped");
    }
}

/// Ends the backend. What still runs after the grace is cancelled.
async fn end(dispatcher: &Dispatcher, grace_ends: Instant) {
    let ending = dispatcher.clone();
    let mut ended = tokio::task::spawn_blocking(move || ending.shutdown());
    if timeout_at(grace_ends, &mut ended).await.is_err() {
        dispatcher.cancel_all();
        let _ = ended.await;
    }
}

/// What is served, and what every request goes through, outermost first.
fn routes(state: Arc<State>) -> Router {
    let webhooks = any(webhooks::deliver)
        .layer(state.verify.clone())
        .with_state(state.shared.clone());
    Router::new()
        .route("/webhooks/{provider}/{circle}", webhooks)
        .route("/{circle}", get(upgrade::upgrade))
        .fallback(upgrade::not_found)
        .with_state(state)
        // A panic is a mistake of ours: it ends one request, not the server.
        .layer(CatchPanicLayer::new())
}

/// What runs jobs, within the limits of the settings.
fn executor(settings: &config::Settings, access: Arc<Access>) -> Executor {
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

async fn bind(setting: &'static str, address: &str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| bind_error(setting, address, source))
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
