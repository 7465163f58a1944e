//! The connection of the prompt, which is opened again when it is needed and lost.

use std::{cell::RefCell, io, time::Duration};

use circled_client::{Client, Error, Options};
use tokio::{runtime::Runtime, signal::ctrl_c, time::timeout};

use crate::cli::with_login::{Login, LoginKey};

/// The time that a completion may take.
const COMPLETION_TIME: Duration = Duration::from_secs(1);
/// The most keys to choose from.
const MAX_KEYS: usize = 100;

pub(super) struct ReplConnection<'a> {
    login: &'a Login,
    key: &'a LoginKey,
    runtime: Runtime,
    client: RefCell<Option<Client>>,
}

/// The end of a call.
pub(super) enum Ended<T> {
    Answered(T),
    Failed(Error),
    Interrupted,
}

impl<'a> ReplConnection<'a> {
    /// Creates the connection, with a thread that answers the server's pings while nothing is typed.
    pub(super) fn new(login: &'a Login, key: &'a LoginKey) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        Ok(Self {
            login,
            key,
            runtime,
            client: RefCell::default(),
        })
    }

    /// Connects if necessary, and waits for the result or for Ctrl-C. Ctrl-C closes the connection, so the server stops
    /// the work.
    pub(super) fn ask<T>(&self, work: impl AsyncFnOnce(&Client) -> Result<T, Error>) -> Ended<T> {
        self.runtime.block_on(async {
            let asking = async {
                let client = self.client().await?;
                work(&client).await
            };
            tokio::select! {
                answer = asking => match answer {
                    Ok(answer) => Ended::Answered(answer),
                    Err(error) => Ended::Failed(error),
                },
                _ = ctrl_c() => {
                    self.leave().await;
                    Ended::Interrupted
                }
            }
        })
    }

    /// Returns keys of the store with this prefix; none if that takes long.
    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        let script = format!(
            "let keys = store.keys(ARGS); if keys.len() > {MAX_KEYS} {{ keys.truncate({MAX_KEYS}) }} keys"
        );
        let options = Options {
            args: prefix.into(),
            timeout_ms: u64::try_from(COMPLETION_TIME.as_millis()).ok(),
            ..Options::default()
        };
        let keys =
            self.within_completion_time(async |client| client.play_with(&script, &options).await);
        let keys = keys.map(|played| played.value);
        keys.as_ref()
            .and_then(|keys| keys.as_array())
            .into_iter()
            .flatten()
            .filter_map(|key| key.as_str().map(str::to_owned))
            .collect()
    }

    /// Returns named scripts of the circle with this prefix.
    pub(super) fn scripts(&self, prefix: &str) -> Vec<String> {
        let scripts = self.within_completion_time(async |client| client.list_scripts().await);
        scripts
            .into_iter()
            .flatten()
            .map(|script| script.name)
            .filter(|name| name.starts_with(prefix))
            .collect()
    }

    /// Closes the connection properly.
    pub(super) fn close(&self) {
        self.runtime.block_on(self.leave());
    }

    fn within_completion_time<T>(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Option<T> {
        let looking = async {
            let client = self.client().await?;
            work(&client).await
        };
        self.runtime
            .block_on(async { timeout(COMPLETION_TIME, looking).await })
            .ok()?
            .ok()
    }

    async fn client(&self) -> Result<Client, Error> {
        let client = self.client.borrow().clone();
        if let Some(client) = client.filter(|client| client.closed().is_none()) {
            return Ok(client);
        }
        let client = self.login.connect(self.key).await?;
        self.client.replace(Some(client.clone()));
        Ok(client)
    }

    async fn leave(&self) {
        let client = self.client.take();
        if let Some(client) = client {
            // A server that doesn't answer is left all the same.
            let _ = timeout(COMPLETION_TIME, client.close()).await;
        }
    }
}
