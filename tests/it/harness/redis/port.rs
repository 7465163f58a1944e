//! Ports that stay a test's own.

use std::{io, net::Ipv4Addr};

use tokio::net::TcpSocket;

/// The distance between a cluster node's port for clients and its port for other nodes.
const BUS: u16 = 10_000;

/// A port on loopback. It is held from here on without being listened on, so that nobody else gets it, neither before
/// the server listens nor while it is down. The server does get it, because it binds with `SO_REUSEADDR`.
pub(crate) struct Port {
    number: u16,
    held: Vec<TcpSocket>,
}

impl Port {
    pub(crate) fn free() -> Self {
        let socket = hold(0).unwrap();
        Self {
            number: socket.local_addr().unwrap().port(),
            held: vec![socket],
        }
    }

    /// Returns a port for a cluster's node, whose bus port is free, too.
    pub(crate) fn free_with_bus() -> Self {
        // Few are taken. Ports that are too high are held until there is a good one, so that they don't come again.
        let mut others = Vec::new();
        loop {
            let mut port = Self::free();
            let bus = port.number.checked_add(BUS).map(hold);
            if let Some(Ok(bus)) = bus {
                port.held.push(bus);
                return port;
            }
            others.push(port);
        }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

fn hold(number: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, number).into())?;
    // This comes last: with it, binding succeeds for a port that another test holds.
    socket.set_reuseaddr(true)?;
    Ok(socket)
}
