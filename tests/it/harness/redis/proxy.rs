//! A network between a server and its clients, which fails on command.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// Forwards connections to a port of loopback. Its connections end when it is dropped.
pub(crate) struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    _accepting: JoinSet<()>,
}

/// The state of the network.
#[derive(Debug, Clone, Copy, Default)]
struct Network {
    /// The port of the server for new connections.
    port: u16,
    /// Connections end when this changes.
    cuts: u64,
    stalled: bool,
    replies_stalled: bool,
    refusing: bool,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        Self::cutting(port, usize::MAX).await
    }

    /// Forwards, and ends the first connection once so many bytes have gone through it, in both directions together.
    pub(crate) async fn cutting(port: u16, first: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let network = Network {
            port,
            ..Network::default()
        };
        let (network, current) = watch::channel(network);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, first, current));
        Self {
            port: own,
            network,
            _accepting: accepting,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Forwards new connections to another port.
    pub(crate) fn move_to(&self, port: u16) {
        self.network.send_modify(|network| network.port = port);
    }

    /// Ends every connection, with its data. New ones are accepted.
    pub(crate) fn cut(&self) {
        self.network.send_modify(|network| network.cuts += 1);
    }

    /// Stops all data in both directions, even the end of connections. Connections stay open, and new ones can be made.
    pub(crate) fn stall(&self) {
        self.network.send_modify(|network| network.stalled = true);
    }

    /// Stops what the server sends. What clients send still comes to it.
    pub(crate) fn stall_replies(&self) {
        self.network
            .send_modify(|network| network.replies_stalled = true);
    }

    /// Lets stalled data through, and everything after it.
    pub(crate) fn flow(&self) {
        self.network.send_modify(|network| {
            network.stalled = false;
            network.replies_stalled = false;
        });
    }

    /// Ends new connections at once. Existing ones stay.
    pub(crate) fn refuse(&self) {
        self.network.send_modify(|network| network.refusing = true);
    }

    /// Accepts new connections again.
    pub(crate) fn accept(&self) {
        self.network.send_modify(|network| network.refusing = false);
    }
}

async fn accept(listener: TcpListener, mut bytes: usize, network: watch::Receiver<Network>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        while connections.try_join_next().is_some() {}
        let Network {
            port,
            cuts,
            refusing,
            ..
        } = *network.borrow();
        if refusing {
            continue;
        }
        let mut current = network.clone();
        let left = Arc::new(AtomicUsize::new(bytes));
        bytes = usize::MAX;
        let passing = pass(client, port, left, network.clone());
        connections.spawn(async move {
            tokio::select! {
                // First, so that no byte moves after a cut.
                biased;
                _ = current.wait_for(|network| network.cuts != cuts) => {}
                _ = passing => {}
            }
        });
    }
}

/// Forwards until both sides are done, or one is gone, or no more bytes may pass.
async fn pass(
    client: TcpStream,
    port: u16,
    left: Arc<AtomicUsize>,
    network: watch::Receiver<Network>,
) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        carry(from_client, to_server, &left, network.clone(), |network| {
            network.stalled
        }),
        carry(from_server, to_client, &left, network, |network| {
            network.stalled || network.replies_stalled
        })
    )?;
    Ok(())
}

/// Carries bytes in one direction, and then their end.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    left: &AtomicUsize,
    mut network: watch::Receiver<Network>,
    is_stalled: impl Fn(&Network) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        let flows = network.wait_for(|network| !is_stalled(network)).await;
        flows.map_err(io::Error::other)?;
        if read == 0 {
            return to.shutdown().await;
        }
        let take = |left: usize| Some(left.saturating_sub(read));
        let passes = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let passes = passes.unwrap().min(read);
        to.write_all(&buffer[..passes]).await?;
        if passes < read {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
}
