//! A cluster of real servers, whose slots can be moved and whose masters can fail.

use std::{ops::Range, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    Program, RedisServer, agreed,
    resp::{Reply, ask},
};

const SLOTS: usize = 16_384;

const OPTIONS: &[&str] = &[
    "--cluster-enabled",
    "yes",
    // Otherwise each node has to learn its own address from the others.
    "--cluster-announce-ip",
    "127.0.0.1",
    // A master that is silent for so long has failed.
    "--cluster-node-timeout",
    "1000",
    // However old a replica's data is: the test decides who fails and when.
    "--cluster-replica-validity-factor",
    "0",
    // Otherwise it waits five seconds for more replicas.
    "--repl-diskless-sync-delay",
    "0",
    // A replica counts once its master has sent it something, which may be the first ping.
    "--repl-ping-replica-period",
    "1",
];

/// Servers that share the slots among them.
pub(crate) struct Cluster {
    /// The masters, in the order of their slots, then the first replica of each, then the second ...
    pub(crate) nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Starts a cluster with the slots spread evenly. Replacing a failed master needs three of them, because most must
    /// agree.
    pub(crate) async fn start(masters: usize, replicas_each: usize) -> Self {
        Self::start_program(Program::Installed, OPTIONS, masters, replicas_each).await
    }

    /// Starts a cluster whose nodes sync each write.
    pub(crate) async fn start_synced(masters: usize) -> Self {
        let options = [OPTIONS, &["--appendfsync", "always"]].concat();
        Self::start_program(Program::Valkey, &options, masters, 0).await
    }

    async fn start_program(
        program: Program,
        options: &[&str],
        masters: usize,
        replicas_each: usize,
    ) -> Self {
        let count = masters * (1 + replicas_each);
        let node = |_| RedisServer::start_node(program, options);
        let nodes = join_all((0..count).map(node)).await;
        let cluster = Self { nodes };
        cluster.hand_out_slots(masters).await;
        cluster.introduce().await;
        cluster.replicate(masters).await;
        agreed("the cluster to be whole", async || {
            cluster.is_whole(1 + replicas_each).await
        })
        .await;
        cluster
    }

    /// Returns the URL in fred's form.
    pub(crate) fn url(&self) -> String {
        let mut url = format!("redis-cluster://127.0.0.1:{}", self.nodes[0].port());
        for (n, node) in self.nodes[1..].iter().enumerate() {
            let separator = if n == 0 { '?' } else { '&' };
            url += &format!("{separator}node=127.0.0.1:{}", node.port());
        }
        url
    }

    /// Returns the slot of a key.
    pub(crate) async fn slot_of(&self, key: &str) -> u16 {
        let slot = self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).await;
        slot.parse().unwrap()
    }

    /// Kills a master, or another node. [`Cluster::master_of`] waits until a replica has taken over.
    pub(crate) fn fail_master(&mut self, index: usize) {
        self.nodes[index].kill();
    }

    /// Returns the master of a slot, once every node that answers agrees, the master included, and reports a healthy
    /// cluster.
    pub(crate) async fn master_of(&self, slot: u16) -> usize {
        let mut master = None;
        agreed(&format!("a master of slot {slot}"), async || {
            let views = join_all(self.nodes.iter().map(|node| view(node.port(), slot))).await;
            let mut opinions = views.iter().flatten();
            master = opinions.next().and_then(|&port| {
                let port = port?;
                self.nodes.iter().position(|node| node.port() == port)
            });
            let agree = views.iter().flatten().all(|&port| {
                port.is_some() && port == master.map(|master| self.nodes[master].port())
            });
            agree && master.is_some_and(|master| views[master].is_some())
        })
        .await;
        master.unwrap()
    }

    /// Moves a slot with its keys from one master to another while clients may be using it, like `redis-cli --cluster
    /// reshard`. Afterwards all nodes know.
    pub(crate) async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let number = slot.to_string();
        let set_slot = async |node: usize, state: &str, other: &str| {
            let command = ["CLUSTER", "SETSLOT", &number, state, other];
            self.nodes[node].command(&command).await;
        };
        let (from_id, to_id) = (self.id(from).await, self.id(to).await);
        set_slot(to, "IMPORTING", &from_id).await;
        set_slot(from, "MIGRATING", &to_id).await;
        self.move_keys(&number, from, to).await;
        // The new one first: otherwise each would send clients to the other.
        set_slot(to, "NODE", &to_id).await;
        set_slot(from, "NODE", &to_id).await;
        assert_eq!(self.master_of(slot).await, to);
    }

    async fn move_keys(&self, slot: &str, from: usize, to: usize) {
        let port = self.nodes[to].port().to_string();
        loop {
            let some = ["CLUSTER", "GETKEYSINSLOT", slot, "100"];
            let keys = self.nodes[from].ask(&some).await;
            if keys.items().is_empty() {
                return;
            }
            let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            let mut command: Vec<_> = migrate.map(str::as_bytes).to_vec();
            command.extend(keys.items().iter().map(Reply::bytes));
            self.nodes[from].command(&command).await;
        }
    }

    async fn id(&self, node: usize) -> String {
        self.nodes[node].command(&["CLUSTER", "MYID"]).await
    }

    async fn hand_out_slots(&self, masters: usize) {
        for (n, node) in self.nodes.iter().enumerate() {
            // Epochs differ from the start; otherwise the nodes would have to find out one by one that theirs are
            // equal.
            let epoch = (n + 1).to_string();
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            if n < masters {
                let mut command = vec!["CLUSTER".to_owned(), "ADDSLOTS".to_owned()];
                command.extend(share(n, masters).map(|slot| slot.to_string()));
                node.command(&command).await;
            }
        }
    }

    /// Introduces every node to every other.
    async fn introduce(&self) {
        for node in &self.nodes[1..] {
            let port = node.port().to_string();
            let command = ["CLUSTER", "MEET", "127.0.0.1", &port];
            self.nodes[0].command(&command).await;
        }
        agreed("the nodes to know each other", async || {
            let nodes = self.nodes.iter();
            let known = join_all(nodes.map(|node| node.command(&["CLUSTER", "NODES"]))).await;
            known.iter().all(|known| {
                let met = known.lines().filter(|line| !line.contains("handshake"));
                met.count() == self.nodes.len()
            })
        })
        .await;
    }

    async fn replicate(&self, masters: usize) {
        for replica in masters..self.nodes.len() {
            let master = self.id(replica % masters).await;
            let command = ["CLUSTER", "REPLICATE", &master];
            self.nodes[replica].command(&command).await;
        }
    }

    /// Returns true if all know that every slot has so many nodes, and those have its keys.
    async fn is_whole(&self, nodes_each: usize) -> bool {
        for node in &self.nodes {
            let ranges = node.ask(&["CLUSTER", "SLOTS"]).await;
            let each = |range: &Reply| range.items().len() == 2 + nodes_each;
            let replication = node.command(&["INFO", "replication"]).await;
            if !is_ok(&node.command(&["CLUSTER", "INFO"]).await)
                || !ranges.items().iter().all(each)
                || replication.contains("master_link_status:down")
            {
                return false;
            }
        }
        true
    }
}

/// Returns a master's part of the slots.
fn share(n: usize, masters: usize) -> Range<usize> {
    SLOTS * n / masters..SLOTS * (n + 1) / masters
}

fn is_ok(info: &str) -> bool {
    info.contains("cluster_state:ok")
}

/// Returns the port of a slot's master in the view of a node: `Some(None)` if the node reports a failed cluster, `None`
/// if it is down or paused.
async fn view(port: u16, slot: u16) -> Option<Option<u16>> {
    let command = async |command: &[&str]| {
        let asked = timeout(Duration::from_secs(1), ask(port, command)).await;
        asked.ok()?.ok()
    };
    let info = command(&["CLUSTER", "INFO"]).await?.to_string();
    let ranges = command(&["CLUSTER", "SLOTS"]).await?;
    let master = ranges.items().iter().find_map(|range| {
        let number = |reply: &Reply| reply.to_string().parse::<u16>().unwrap();
        // The first slot, the last one, the master as its address, its port ..., the replicas.
        let [first, last, master, ..] = range.items() else {
            panic!("no range of slots: {range:?}");
        };
        let within = (number(first)..=number(last)).contains(&slot);
        within.then(|| number(&master.items()[1]))
    });
    Some(master.filter(|_| is_ok(&info)))
}
