//! Calls that outlive their connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use circled_protocol::{
    JobId, Method, Origin, Scheme, code,
    methods::{Called, DeployScripts, Deployed, Played},
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{Change, Client, Error, Login, Options, Signer, dial::Dial};

/// The time in which a call without a time limit is asked again, from when its first reply was lost.
const DEADLINE: Duration = Duration::from_secs(60);
/// The close code for a message that is too large.
const TOO_LARGE: u16 = 1009;

/// Runs scripts across lost connections: each call has an id, and a call whose reply is lost is asked again with the same
/// id, so what it changes is changed once. It connects and logs in when that is needed, with waits from 250 ms to 30 s.
///
/// Calls run at the same time over one connection. A call that isn't answered is asked again if the connection was lost,
/// or the server can't reach its store or is stopping, until its `timeout_ms` is over, or for a minute if it has none. A
/// reply whose `replayed` is true is that of an earlier run. [`Error::Unanswered`] says that the call may have happened;
/// [`Error::has_run`] that it has, and its reply is kept no more.
///
/// To a server of an older version, which knows no ids, a call is sent once, without one.
///
/// ```no_run
/// # async fn example(key: circled_client::protocol::SecretKey) -> Result<(), circled_client::Error> {
/// use circled_client::{Caller, Options};
///
/// let caller = Caller::new("ws://127.0.0.1:8080/02...", key);
/// let paid = caller.call_script("pay", None, &Options::default()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Caller {
    link: Mutex<Link>,
    /// True if a reply has come since the last loss.
    answered: AtomicBool,
}

#[derive(Debug)]
struct Link {
    dial: Dial,
    client: Option<Client>,
    /// The time of the next attempt to connect.
    next: Option<Instant>,
}

impl Caller {
    /// Creates a caller in the circle at `address`, by a caller's key or a device's. It isn't connected yet.
    pub fn new(address: impl Into<String>, key: impl Into<Signer>) -> Self {
        let link = Link {
            dial: Dial::new(address.into(), key.into()),
            client: None,
            next: None,
        };
        Self {
            link: Mutex::new(link),
            answered: AtomicBool::new(false),
        }
    }

    /// Sets the signature scheme of the logins.
    #[must_use]
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.link.get_mut().dial.login.scheme = scheme;
        self
    }

    /// Sets the origin in the login text, if the server is dialled by another name than its own.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.link.get_mut().dial.login.origin = Some(origin);
        self
    }

    /// Sets all that there is to say about the logins.
    #[must_use]
    pub fn login(mut self, login: Login) -> Self {
        self.link.get_mut().dial.login = login;
        self
    }

    /// Sets a function that is called when the connection is made or lost.
    #[must_use]
    pub fn on_change(mut self, tell: impl FnMut(Change<'_>) + Send + 'static) -> Self {
        self.link.get_mut().dial.on_change = Box::new(tell);
        self
    }

    /// Connects and logs in, at once or not at all. Without it, the first call does, and tries again.
    ///
    /// # Errors
    /// Those of [`Client::connect`] and [`Client::authenticate`].
    pub async fn connect(&self) -> Result<(), Error> {
        self.link.lock().await.open().await.map(drop)
    }

    /// Runs a script, once.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the script fails, [`Error::Unanswered`] if it isn't known whether it has run, and those of
    /// [`Caller::connect`].
    pub async fn play(&self, script: &str, options: &Options) -> Result<Played, Error> {
        self.ask(options, |options| options.play(script)).await
    }

    /// Runs a named script of the circle, once.
    ///
    /// # Errors
    /// The same, and [`Error::Rpc`] if there is no such script.
    pub async fn call_script(
        &self,
        name: &str,
        version: Option<&str>,
        options: &Options,
    ) -> Result<Called, Error> {
        self.ask(options, |options| options.call(name, version))
            .await
    }

    /// Puts and deletes several named scripts as one change, once.
    ///
    /// # Errors
    /// [`Error::Rpc`] if a script doesn't compile (`data.script` names it), or isn't as the deployment says that it was
    /// (then with the newest version in `data.version`); [`Error::Unanswered`] if it isn't known whether it is done; and
    /// those of [`Caller::connect`].
    pub async fn deploy_scripts(&self, deployment: &DeployScripts) -> Result<Deployed, Error> {
        let options = Options {
            request_id: deployment.request_id.clone(),
            ..Options::default()
        };
        self.ask(&options, |options| DeployScripts {
            request_id: options.request_id.clone(),
            ..deployment.clone()
        })
        .await
    }

    /// Closes the connection.
    pub async fn close(self) {
        if let Some(client) = self.link.into_inner().client {
            client.close().await;
        }
    }

    /// Sends a request until it is answered, or its time is over.
    async fn ask<M: Method>(
        &self,
        options: &Options,
        request: impl Fn(&Options) -> M,
    ) -> Result<M::Result, Error> {
        let begun = Instant::now();
        let limit = options.timeout_ms.map(Duration::from_millis);
        let mut until = limit.and_then(|limit| begun.checked_add(limit));
        let chosen = options.request_id.clone();
        let is_chosen = chosen.is_some();
        let id = chosen.unwrap_or_else(|| JobId::new().to_string());
        let mut options = Options {
            request_id: Some(id.clone()),
            ..options.clone()
        };
        let unanswered = |last| Error::Unanswered {
            request_id: id.clone(),
            last: Box::new(last),
        };
        // True once a request was sent that may have happened.
        let mut may_be_done = false;
        let mut last = None;
        loop {
            let deadline = until.unwrap_or(begun + DEADLINE);
            let client = match timeout_at(deadline, self.client()).await {
                Ok(Ok(client)) => client,
                Ok(Err(error)) if error.may_pass() => {
                    last = Some(error);
                    continue;
                }
                Ok(Err(error)) if may_be_done => return Err(unanswered(error)),
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let last = last.unwrap_or(Error::Silent {
                        method: M::NAME,
                        after: begun.elapsed(),
                    });
                    return Err(if may_be_done { unanswered(last) } else { last });
                }
            };
            let error = match client.request(&request(&options)).await {
                Ok(result) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(result);
                }
                Err(error) => error,
            };
            if !may_be_done {
                if !is_chosen && error.lacks_request_ids() {
                    options.request_id = None;
                    return client.request(&request(&options)).await;
                }
                if !leaves_open(&error) {
                    return Err(error);
                }
            } else if error.has_run() || is_of_run(&error) {
                return Err(error);
            } else if !error.may_pass() {
                return Err(unanswered(error));
            }
            may_be_done = true;
            let until = *until.get_or_insert_with(|| Instant::now() + DEADLINE);
            if options.timeout_ms.is_some() {
                let left = until.saturating_duration_since(Instant::now());
                options.timeout_ms = u64::try_from(left.as_millis().max(1)).ok();
            }
            let _ = timeout_at(until, self.leave(&client, &error)).await;
            last = Some(error);
        }
    }

    /// Returns the connection. If there is none, tries once to make one, after the wait that is due.
    async fn client(&self) -> Result<Client, Error> {
        let mut link = self.link.lock().await;
        match &link.client {
            Some(client) if client.closed().is_none() => return Ok(client.clone()),
            Some(_) | None => {}
        }
        if let Some(next) = link.next {
            sleep_until(next).await;
        }
        let opened = link.open().await;
        if let Err(error) = &opened {
            link.lose(error);
        }
        opened
    }

    /// Gives up a connection, unless that was done for another call: the next calls make a new one, after a wait.
    async fn leave(&self, client: &Client, why: &Error) {
        let mut link = self.link.lock().await;
        let current = link.client.as_ref();
        if current.is_none_or(|current| !Arc::ptr_eq(&current.0, &client.0)) {
            return;
        }
        if self.answered.swap(false, Ordering::Relaxed) {
            link.dial.succeeded();
        }
        link.client = None;
        link.lose(why);
    }
}

impl Link {
    /// Connects and logs in.
    async fn open(&mut self) -> Result<Client, Error> {
        let client = self.dial.connect().await?;
        self.dial.connected();
        self.next = None;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// Notes that there is no connection, and when to try again.
    fn lose(&mut self, why: &Error) {
        if why.may_pass() {
            self.next = Some(Instant::now() + self.dial.lost(why));
        }
    }
}

/// Returns whether a call with this error may have happened.
fn leaves_open(error: &Error) -> bool {
    if let Error::Closed(closed) = error {
        return closed.code != Some(TOO_LARGE);
    }
    let codes = [code::UNAVAILABLE, code::CANCELLED];
    matches!(error, Error::Rpc(error) if codes.contains(&error.code))
}

/// Returns whether a call with this error has run now, so it hadn't before.
fn is_of_run(error: &Error) -> bool {
    let codes = [
        code::EXECUTION_ERROR,
        code::NOT_FOUND,
        code::INVALID_PARAMS,
        code::CONFLICT,
    ];
    !error.has_run() && matches!(error, Error::Rpc(error) if codes.contains(&error.code))
}

#[cfg(test)]
mod tests {
    use circled_protocol::RpcError;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dropped_reply_is_that_of_a_run_before() {
        let refused = |reason: &str| {
            Error::Rpc(RpcError {
                code: code::INVALID_PARAMS,
                message: "Invalid Params".to_owned(),
                data: json!({ "reason": reason }),
            })
        };
        let dropped = refused("reply_dropped");
        assert!(dropped.has_run() && !is_of_run(&dropped) && !dropped.may_pass());
        let reused = refused("request_id_reused");
        assert!(!reused.has_run() && is_of_run(&reused));
    }
}
