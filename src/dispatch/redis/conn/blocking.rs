//! Connections for commands that block.

use std::time::Duration;

use fred::{
    clients::{Client, WithOptions},
    error::{Error, ErrorKind},
    interfaces::ClientLike,
    types::{CustomCommand, Value, config::Options},
};
use tokio::time::timeout;

use super::{
    BLOCK, Connection, client,
    durability::{ConnectionCounter, ConnectionNumber, until_synced},
    is_of_replica,
};
use crate::dispatch::redis::proto::{keys::Partition, values::millis};

/// A connection for one command that blocks at a time.
pub(crate) struct BlockingConnection {
    client: Client,
    /// The same, for commands that are asked now or never.
    asking: WithOptions<Client>,
    connections: ConnectionCounter,
    max_wait: Duration,
}

impl Connection {
    /// Opens a connection for commands that block.
    pub(crate) fn blocking(&self) -> Result<BlockingConnection, Error> {
        // Silence is what it is for, up to then.
        let client = client(&self.0.config, self.0.timeout + BLOCK, &self.0.name)?;
        let connections = ConnectionCounter::of(&client);
        client.connect();
        let options = Options {
            // What can't be asked now is not to be asked later, when nobody listens.
            max_attempts: Some(1),
            timeout: Some(BLOCK + self.0.timeout),
            fail_fast: true,
            ..Options::default()
        };
        Ok(BlockingConnection {
            asking: client.with_options(&options),
            client,
            connections,
            max_wait: self.0.timeout,
        })
    }
}

impl BlockingConnection {
    /// Sends a command that blocks for [`BLOCK`] at most.
    pub(crate) async fn send(
        &self,
        command: &'static str,
        partition: &Partition,
        args: Vec<Value>,
    ) -> Result<Value, Error> {
        let command = CustomCommand::new_static(command, partition.hash.clone(), true);
        let sent = self.asking.custom(command, args).await;
        self.leave(&sent).await;
        sent
    }

    /// Returns the number of the connection that there is now.
    pub(crate) fn number(&self) -> ConnectionNumber {
        self.connections.number()
    }

    /// Waits until Redis, and so many replicas, have synced all that this connection has seen since it had this number.
    /// `WAITAOF` waits for writes of its own connection alone, so there is one: it puts off when this key expires, which is
    /// possible though Redis is full.
    ///
    /// # Errors
    /// They haven't in time, or it is another connection by now; or there is no such key.
    pub(crate) async fn sync(
        &self,
        partition: &Partition,
        key: &str,
        keep_for: Duration,
        replicas: u32,
        since: ConnectionNumber,
    ) -> Result<(), Error> {
        let write = vec![key.into(), millis(keep_for)];
        let written = self.send("PEXPIRE", partition, write).await?;
        if written.as_i64() != Some(1) {
            return Err(Error::new(ErrorKind::NotFound, "the inbox is gone"));
        }
        until_synced(&self.asking, partition, replicas, self.max_wait).await?;
        match self.number() == since {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::IO, "the connection was lost")),
        }
    }

    /// Connects anew if whoever listens there doesn't speak any more, or isn't the master any more.
    async fn leave(&self, sent: &Result<Value, Error>) {
        let is_late = |error: &Error| *error.kind() == ErrorKind::Timeout;
        if is_of_replica(sent) || sent.as_ref().is_err_and(is_late) {
            let _ = timeout(self.max_wait, self.client.force_reconnection()).await;
        }
    }

    /// Closes the connection after a command that may block for so long: what that still takes, it must not take later.
    pub(crate) async fn close(&self, block: Duration) {
        let _ = timeout(block + self.max_wait, self.client.quit()).await;
    }
}
