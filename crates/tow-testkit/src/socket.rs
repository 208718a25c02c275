//! Connections from a source address of one's choice, and an address that takes none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

/// Connects to `to` from `source`; on Linux all of 127.0.0.0/8 is this machine.
///
/// # Errors
/// The operating system's.
pub fn connect_from(source: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddr::new(source, 0))?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// An address at which nobody listens, and nobody else will while this process runs: its port is
/// taken.
///
/// # Panics
/// No port is left.
pub fn closed() -> SocketAddr {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a descriptor is left");
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port is free");
    // Not one that listens, but it knows how to ask for an address.
    let socket = TcpListener::from(socket);
    let address = socket.local_addr().expect("what is bound has an address");
    std::mem::forget(socket);
    address
}
