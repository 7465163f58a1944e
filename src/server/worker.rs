//! A server without clients, which takes jobs out of Redis.

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Live, ServeError,
    accept::{Acceptor, Ending},
    admin, admin_acceptor, admin_listener, end,
    files::OpenFiles,
};
use crate::{
    auth::Access,
    config,
    dispatch::{self, Dispatcher, Role},
    metrics::metrics,
    units::duration::whole_milliseconds,
};

/// A worker that has begun to take jobs.
#[derive(Debug)]
pub struct Worker {
    admin: Option<TcpListener>,
    accept: Acceptor,
    dispatcher: Dispatcher,
    access: Arc<Access>,
    live: Live,
    shutdown_grace: std::time::Duration,
}

impl Worker {
    /// Listens on the admin address and begins to take jobs.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn start(settings: &config::Settings, fail_fast: bool) -> Result<Self, ServeError> {
        // The time of the start is the first that it notes.
        metrics();
        dispatch::log_runs_over(settings.log.slow);
        let files = OpenFiles::claim(settings.server.reserved_files)?;
        let admin = admin_listener(settings).await?;
        let access = Arc::new(Access::new(&settings.circles, &settings.circle));
        let scripts = super::scripts(settings)?;
        let dispatcher = Dispatcher::start(
            &settings.dispatch,
            super::executor(settings, access.clone()),
            settings.store.clone(),
            scripts.clone(),
            Role::Worker { fail_fast },
        )
        .await?;
        Ok(Self {
            admin,
            accept: admin_acceptor(settings, files),
            dispatcher,
            live: Live::worker(access.clone(), scripts),
            access,
            shutdown_grace: settings.server.shutdown_grace,
        })
    }

    /// Returns the address of the admin listener.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// Waits for an error after which the worker can't go on.
    pub fn failed(&self) -> impl Future<Output = ServeError> + Send + use<> {
        let dispatcher = self.dispatcher.clone();
        async move { dispatcher.failed().await.into() }
    }

    /// Returns the handle that changes settings while the worker runs.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Works until `shutdown` is cancelled. Then it takes no more jobs, lets running ones finish within
    /// `server.shutdown_grace`, and gives the rest back.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            admin,
            accept,
            dispatcher,
            access,
            live: _,
            shutdown_grace,
        } = self;
        let (stopping, ending) = (CancellationToken::new(), Ending::default());
        if let Some(admin) = admin {
            let routes = admin::routes(admin::Admin {
                dispatcher: dispatcher.clone(),
                access,
                tasks: ending.tasks.clone(),
                largest: super::top::LargestFound::default(),
                stopping: stopping.clone(),
                gateway: None,
            });
            let forgetting = super::top::forget(stopping.clone());
            ending.tasks.spawn(forgetting);
            let accepting = accept.run(admin, routes, ending.clone());
            ending.tasks.spawn(accepting);
        }
        shutdown.cancelled().await;
        tracing::info!(grace_ms = whole_milliseconds(shutdown_grace), "stopping");
        stopping.cancel();
        dispatcher.stop_durable();
        let grace_ends = Instant::now() + shutdown_grace;
        end(&dispatcher, grace_ends).await;
        ending.end(grace_ends).await;
        tracing::info!("stopped");
    }
}
