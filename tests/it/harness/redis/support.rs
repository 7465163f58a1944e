//! Checks that these servers and this network do what tests of circled rely on.

use std::{io, path::Path, pin::pin, time::Duration};

use tokio::time::timeout;

use super::{
    Cluster, Proxy, RedisServer, Sentinels,
    resp::{Reply, ask},
};
use crate::harness::server::{eventually, within};

/// Long enough for any data to get through.
const A_MOMENT: Duration = Duration::from_millis(200);

fn text(text: &str) -> Reply {
    Reply::Text(text.into())
}

/// Waits for an item in a list, over a connection that has to last so long.
async fn wait_for_item(port: u16) -> io::Result<Reply> {
    within("an item, or the end", ask(port, &["BLPOP", "list", "0"])).await
}

/// Waits until a client waits for an item.
async fn waiting(server: &RedisServer) {
    eventually("a client that waits", async || {
        let clients = server.command(&["INFO", "clients"]).await;
        clients.contains("blocked_clients:1\r\n")
    })
    .await;
}

#[tokio::test]
async fn a_server_keeps_its_data_through_its_end() {
    let mut server = RedisServer::start_with(&["--appendfsync", "always"]).await;
    let url = server.url();
    assert_eq!(server.command(&["SET", "killed", "yes"]).await, "OK");
    server.kill();
    assert!(ask(server.port(), &["PING"]).await.is_err());
    server.restart().await;
    assert_eq!(server.command(&["SET", "stopped", "yes"]).await, "OK");
    server.shutdown().await;
    assert!(ask(server.port(), &["PING"]).await.is_err());
    server.restart().await;
    let kept = server
        .command(&["MGET", "killed", "stopped", "never"])
        .await;
    assert_eq!(kept, "yes\nyes\n");
    assert_eq!(server.url(), url);
}

#[tokio::test]
async fn a_server_without_a_file_forgets() {
    let mut server = RedisServer::start_with(&["--appendonly", "no"]).await;
    server.command(&["SET", "key", "value"]).await;
    server.restart().await;
    assert_eq!(server.command(&["GET", "key"]).await, "");
}

#[tokio::test]
async fn a_paused_server_answers_once_it_is_resumed() {
    let server = RedisServer::start().await;
    server.pause();
    let mut asking = pin!(ask(server.port(), &["PING"]));
    assert!(timeout(A_MOMENT, &mut asking).await.is_err());
    server.resume();
    assert_eq!(within("a pong", asking).await.unwrap(), text("PONG"));
}

#[tokio::test]
async fn nothing_is_left_of_a_server_even_a_paused_one() {
    let server = RedisServer::start().await;
    let port = server.port();
    let directory = server.command(&["CONFIG", "GET", "dir"]).await;
    let directory = Path::new(directory.strip_prefix("dir\n").unwrap());
    assert!(directory.join("redis.conf").exists());
    server.pause();
    drop(server);
    assert!(ask(port, &["PING"]).await.is_err());
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_cut_ends_connections_and_takes_new_ones() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(server.port()).await;
    assert_eq!(proxy.url(), format!("redis://127.0.0.1:{}", proxy.port()));
    let cut = async {
        waiting(&server).await;
        proxy.cut();
    };
    let (answer, ()) = tokio::join!(wait_for_item(proxy.port()), cut);
    assert!(answer.is_err(), "{answer:?}");
    let pong = within("a pong", ask(proxy.port(), &["PING"])).await;
    assert_eq!(pong.unwrap(), text("PONG"));
}

#[tokio::test]
async fn nothing_gets_through_a_stall_and_all_of_it_afterwards() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(server.port()).await;
    // To the client, over a connection from before.
    let mut answer = pin!(wait_for_item(proxy.port()));
    let stall = async {
        waiting(&server).await;
        proxy.stall();
        assert_eq!(server.command(&["RPUSH", "list", "item"]).await, "1");
    };
    tokio::select! {
        answer = &mut answer => panic!("too early: {answer:?}"),
        () = stall => {}
    }
    // To the server, over a new connection.
    let mut count = pin!(ask(proxy.port(), &["INCR", "n"]));
    let both = async { tokio::join!(&mut answer, &mut count) };
    assert!(timeout(A_MOMENT, both).await.is_err());
    assert_eq!(server.command(&["EXISTS", "list", "n"]).await, "0");
    proxy.flow();
    let item = Reply::List(vec![text("list"), text("item")]);
    assert_eq!(answer.await.unwrap(), item);
    assert_eq!(within("the count", count).await.unwrap(), text("1"));
}

#[tokio::test]
async fn a_refusal_ends_new_connections_alone() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(server.port()).await;
    let refuse = async {
        waiting(&server).await;
        proxy.refuse();
        assert!(ask(proxy.port(), &["PING"]).await.is_err());
        server.command(&["RPUSH", "list", "item"]).await;
    };
    let (answer, ()) = tokio::join!(wait_for_item(proxy.port()), refuse);
    assert_eq!(answer.unwrap().to_string(), "list\nitem");
    proxy.accept();
    let pong = within("a pong", ask(proxy.port(), &["PING"])).await;
    assert_eq!(pong.unwrap(), text("PONG"));
}

/// Returns more keys than are moved at once, in one slot.
fn keys() -> impl Iterator<Item = String> {
    (0..250).map(|n| format!("{{07}}:{n}"))
}

/// Returns the slot of [`keys`].
async fn slot(cluster: &Cluster) -> u16 {
    cluster.slot_of("{07}").await
}

#[tokio::test]
async fn a_cluster_moves_a_slot_with_its_keys() {
    let cluster = Cluster::start(3, 0).await;
    let slot = slot(&cluster).await;
    let from = cluster.master_of(slot).await;
    let to = (from + 1) % 3;
    for key in keys() {
        cluster.nodes[from].command(&["SET", &key, "here"]).await;
    }
    cluster.move_slot(slot, from, to).await;
    assert_eq!(cluster.master_of(slot).await, to);
    for key in keys() {
        let value = cluster.nodes[to].command(&["GET", &key]).await;
        assert_eq!(value, "here");
    }
    let moved = ask(cluster.nodes[from].port(), &["GET", "{07}:0"]).await;
    let there = format!("MOVED {slot} 127.0.0.1:{}", cluster.nodes[to].port());
    assert_eq!(moved.unwrap(), Reply::Error(there));
    // The neighbouring slots stay.
    assert_eq!(cluster.master_of(slot + 1).await, from);
}

#[tokio::test]
async fn a_clusters_replica_takes_over_from_a_master_that_fails() {
    let mut cluster = Cluster::start(3, 1).await;
    let nodes: Vec<_> = cluster.nodes.iter().map(RedisServer::url).collect();
    let named = cluster.url().replace("redis-cluster:", "redis:");
    let named = named
        .replace("?node=", ",redis://")
        .replace("&node=", ",redis://");
    assert_eq!(named, nodes.join(","));

    let slot = slot(&cluster).await;
    let master = cluster.master_of(slot).await;
    cluster.nodes[master]
        .command(&["SET", "{07}:0", "kept"])
        .await;
    let copied = cluster.nodes[master].command(&["WAIT", "1", "5000"]).await;
    assert_eq!(copied, "1");
    cluster.fail_master(master);
    let replica = cluster.master_of(slot).await;
    assert_eq!(replica, master + 3);
    let value = cluster.nodes[replica].command(&["GET", "{07}:0"]).await;
    assert_eq!(value, "kept");
}

#[tokio::test]
async fn sentinels_make_the_replica_the_master_when_that_fails() {
    let mut redis = Sentinels::start().await;
    let url = redis.url();
    assert!(url.starts_with("redis-sentinel://127.0.0.1:"), "{url}");
    let (_, parameters) = url.split_once("?sentinelServiceName=circled").unwrap();
    assert_eq!(parameters.matches("&node=127.0.0.1:").count(), 2);

    let port = redis.master_port().await;
    assert_eq!(port, redis.servers[0].port());
    let master = redis.master().await;
    master.command(&["SET", "key", "kept"]).await;
    assert_eq!(master.command(&["WAIT", "1", "5000"]).await, "1");
    redis.kill_master().await;
    let master = redis.master().await;
    assert_eq!(master.port(), redis.servers[1].port());
    assert_eq!(master.command(&["GET", "key"]).await, "kept");
}
