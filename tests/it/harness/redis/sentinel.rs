//! A master and a replica with sentinels that watch over them.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::{RedisServer, agreed, resp::ask};

/// The master's name for the sentinels.
const NAME: &str = "circled";

/// Two servers, and three sentinels of which two must agree that a master is down.
pub(crate) struct Sentinels {
    /// The servers; the first is the master, until it fails.
    pub(crate) servers: [RedisServer; 2],
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts them, all known to each other, with the replica up to date.
    pub(crate) async fn start() -> Self {
        // Otherwise it waits five seconds for more replicas.
        let options = ["--repl-diskless-sync-delay", "0"];
        let (master, replica) = tokio::join!(
            RedisServer::start_with(&options),
            RedisServer::start_with(&options)
        );
        let port = master.port().to_string();
        replica.command(&["REPLICAOF", "127.0.0.1", &port]).await;
        agreed("the replica to be up to date", async || {
            let replication = replica.command(&["INFO", "replication"]).await;
            replication.contains("master_link_status:up")
        })
        .await;
        // A failed attempt is repeated after twice the failover's timeout. On a busy machine, a server may not answer
        // for a second or two, and the old master would then become a replica after ten seconds at the earliest.
        let settings = format!(
            "sentinel monitor {NAME} 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds {NAME} 3000\n\
             sentinel failover-timeout {NAME} 3000\n"
        );
        let sentinels = Self {
            servers: [master, replica],
            sentinels: join_all((0..3).map(|_| RedisServer::start_sentinel(&settings))).await,
        };
        agreed("the sentinels to know each other", async || {
            sentinels.know_each_other().await
        })
        .await;
        sentinels
    }

    /// Returns the URL in fred's form.
    pub(crate) fn url(&self) -> String {
        let mut url = format!(
            "redis-sentinel://127.0.0.1:{}?sentinelServiceName={NAME}",
            self.sentinels[0].port()
        );
        for sentinel in &self.sentinels[1..] {
            url += &format!("&node=127.0.0.1:{}", sentinel.port());
        }
        url
    }

    /// Kills the master. [`Sentinels::master`] waits until the replica has replaced it.
    pub(crate) async fn kill_master(&mut self) {
        let port = self.master_port().await;
        let mut servers = self.servers.iter_mut();
        let master = servers.find(|server| server.port() == port);
        master.unwrap().kill();
    }

    /// Brings the failed server back as a replica, once there is another master. The sentinels would do so after ten
    /// seconds.
    pub(crate) async fn replace_replica(&mut self) {
        let port = self.master_port().await;
        let mut servers = self.servers.iter_mut();
        let failed = servers.find(|server| server.port() != port).unwrap();
        failed.restart().await;
        let port = port.to_string();
        agreed("the failed one to be a replica", async || {
            // The sentinels may have changed that in the meantime.
            failed.command(&["REPLICAOF", "127.0.0.1", &port]).await;
            sleep(Duration::from_millis(200)).await;
            let replication = failed.command(&["INFO", "replication"]).await;
            replication.contains("master_link_status:up")
        })
        .await;
    }

    /// Returns the master that all sentinels agree on, once it agrees, too.
    pub(crate) async fn master(&self) -> &RedisServer {
        let port = self.master_port().await;
        let mut servers = self.servers.iter();
        servers.find(|server| server.port() == port).unwrap()
    }

    /// Returns its port.
    pub(crate) async fn master_port(&self) -> u16 {
        let mut port = 0;
        agreed("the sentinels to have a master", async || {
            let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
            let sentinels = self.sentinels.iter();
            let answers = join_all(sentinels.map(|sentinel| sentinel.ask(&command))).await;
            port = answers[0].items()[1].to_string().parse().unwrap();
            answers.iter().all(|answer| *answer == answers[0]) && is_master(port).await
        })
        .await;
        port
    }

    async fn know_each_other(&self) -> bool {
        let sentinels = self.sentinels.iter();
        let known = join_all(sentinels.map(|sentinel| sentinel.ask(&["SENTINEL", "MASTER", NAME])));
        known.await.iter().all(|known| {
            // A name, its value, the next name ...
            let has = |name: &str, value: &str| {
                let mut pairs = known.items().chunks(2);
                pairs.any(|pair| {
                    pair[0].bytes() == name.as_bytes() && pair[1].bytes() == value.as_bytes()
                })
            };
            has("flags", "master") && has("num-slaves", "1") && has("num-other-sentinels", "2")
        })
    }
}

/// Returns true if a server runs as a master.
async fn is_master(port: u16) -> bool {
    let role = timeout(Duration::from_secs(1), ask(port, &["ROLE"])).await;
    role.is_ok_and(|role| role.is_ok_and(|role| role.items()[0].bytes() == b"master"))
}
