//! Ports that stay a test's own.

use std::{io, net::Ipv4Addr};

use tokio::net::TcpSocket;

/// A cluster's nodes talk to each other so far above the port that clients use.
const BUS: u16 = 10_000;

/// A port on loopback. It is held from here on without being listened on, so that nobody else gets it, neither before
/// the server listens nor while that is down; the server does get it, as it binds with `SO_REUSEADDR`.
pub(super) struct Port {
    number: u16,
    held: Vec<TcpSocket>,
}

impl Port {
    pub(super) fn free() -> Self {
        let socket = hold(0).unwrap();
        Self {
            number: socket.local_addr().unwrap().port(),
            held: vec![socket],
        }
    }

    /// For a node of a cluster, whose bus has a port too.
    pub(super) fn free_with_bus() -> Self {
        // Few are taken. Those too high to have one are held until there is one, lest they come again.
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

    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

fn hold(number: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, number).into())?;
    // Only now: with it, binding succeeds for a port that another test holds.
    socket.set_reuseaddr(true)?;
    Ok(socket)
}
