//! The messages of a server to the service manager that has started it, as systemd does with `Type=notify`.

use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{self, SocketAddr},
};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::harness::{
    backend::on_both,
    redis::{Fleet, RedisServer},
    server::{TestServer, within},
};

/// The service manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    /// Listens at a path in a folder of its own.
    fn at_path() -> (Self, TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let name = path.to_str().unwrap().to_owned();
        (Self(socket), folder, name)
    }

    /// Listens at a name that is in no folder.
    fn at_name(name: &str) -> (Self, String) {
        let name = format!("circled-test-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = net::UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UnixDatagram::from_std(socket).unwrap();
        (Self(socket), format!("@{name}"))
    }

    /// Returns what it is told next.
    async fn told(&self) -> String {
        let mut message = [0; 256];
        let received = within("a message", self.0.recv(&mut message)).await;
        String::from_utf8(message[..received.unwrap()].to_vec()).unwrap()
    }
}

async fn it_is_told_when_a_server_serves_reads_its_settings_and_stops() {
    let (manager, _folder, path) = Manager::at_path();
    let builder = TestServer::builder().env("NOTIFY_SOCKET", path);
    let mut server = builder.start().await;
    assert_eq!(manager.told().await, "READY=1");
    for _ in 0..2 {
        server.signal(Signal::HUP);
        let reloading = manager.told().await;
        let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(since.unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(manager.told().await, "READY=1");
    }
    server.sigterm();
    assert_eq!(manager.told().await, "STOPPING=1");
    assert_eq!(server.wait().await.code(), Some(0));
}

#[tokio::test]
async fn it_is_told_of_a_worker_at_an_abstract_name() {
    let (manager, name) = Manager::at_name("worker");
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let builder = fleet.builder().worker().env("NOTIFY_SOCKET", name);
    let mut worker = builder.start().await;
    assert_eq!(manager.told().await, "READY=1");
    worker.sigterm();
    assert_eq!(manager.told().await, "STOPPING=1");
    assert_eq!(worker.wait().await.code(), Some(0));
}

#[tokio::test]
async fn it_is_told_that_a_server_is_alive_for_as_long_as_it_serves() {
    let (manager, _folder, path) = Manager::at_path();
    let builder = TestServer::builder().env("NOTIFY_SOCKET", path);
    let server = builder.env("WATCHDOG_USEC", 300_000).start().await;
    assert_eq!(manager.told().await, "READY=1");
    for _ in 0..4 {
        assert_eq!(manager.told().await, "WATCHDOG=1");
    }
    server.sigterm();
    while manager.told().await != "STOPPING=1" {}
}

#[tokio::test]
async fn a_service_manager_that_is_gone_keeps_no_server_from_serving() {
    let builder = TestServer::builder().env("NOTIFY_SOCKET", "/nowhere/notify");
    let server = builder.start().await;
    server.log_in(&crate::harness::server::key(1)).await;
}

on_both!(it_is_told_when_a_server_serves_reads_its_settings_and_stops);
