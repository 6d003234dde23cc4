//! Listening sockets with room for a crowd: thousands of clients may come in the same moment.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted; the kernel cuts it to what it allows (`net.core.somaxconn`). Whoever comes when it is
/// full tries again a second later.
const BACKLOG: u32 = 4_096;

/// Listens there.
///
/// # Errors
/// What the system says, for an address that is taken or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port whose last connections still linger is free, except where this would allow two listeners.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
