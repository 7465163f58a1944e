//! Connects again whenever a connection is lost.

use std::{fmt, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{Client, Error, Login, Signer, backoff::Backoff};

/// The time after which a connection counts as stable: after its loss, the first waits are short again.
const STEADY: Duration = Duration::from_secs(30);

/// A change of the connection.
#[derive(Debug)]
pub enum Change<'a> {
    /// The connection exists, and what it is for.
    Connected,
    /// There is no connection.
    Lost {
        /// The error of the connection or of the attempt.
        why: &'a Error,
        /// The time until the next attempt.
        retry_in: Duration,
    },
}

/// The circle to connect to, and as whom.
pub(crate) struct Dial {
    pub(crate) address: String,
    signer: Signer,
    pub(crate) login: Login,
    pub(crate) on_change: Box<dyn FnMut(Change<'_>) + Send>,
    backoff: Backoff,
    /// The time since when there is a connection.
    since: Option<Instant>,
}

impl Dial {
    pub(crate) fn new(address: String, signer: Signer) -> Self {
        Self {
            address,
            signer,
            login: Login::default(),
            on_change: Box::new(|_| {}),
            backoff: Backoff::default(),
            since: None,
        }
    }

    /// Connects, and logs in.
    pub(crate) async fn connect(&mut self) -> Result<Client, Error> {
        let client = Client::connect(&self.address).await?;
        client.log_in(&self.signer, &self.login).await?;
        Ok(client)
    }

    /// Notes that the connection is what it is for.
    pub(crate) fn connected(&mut self) {
        self.since = Some(Instant::now());
        (self.on_change)(Change::Connected);
    }

    /// Notes that something has come: the next waits are short again.
    pub(crate) fn succeeded(&mut self) {
        self.backoff.reset();
    }

    /// Waits after the loss of a connection, or after an attempt that failed.
    pub(crate) async fn pause(&mut self, why: &Error) {
        sleep(self.lost(why)).await;
    }

    /// Notes the loss of a connection, or an attempt that failed. Returns the wait until the next attempt.
    pub(crate) fn lost(&mut self, why: &Error) -> Duration {
        let since = self.since.take();
        if since.is_some_and(|since| since.elapsed() >= STEADY) {
            self.backoff.reset();
        }
        // Without randomness, all waits have their shortest length.
        let random = getrandom::u32().unwrap_or_default();
        let wait = self.backoff.next(random);
        let retry_in = why.retry_after().map_or(wait, |least| wait.max(least));
        (self.on_change)(Change::Lost { why, retry_in });
        retry_in
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dial").field(&self.address).finish()
    }
}
