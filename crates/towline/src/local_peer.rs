//! Whose program is at the other end of a connection within this machine: the port of a tunnel is
//! open to all who have an account here, and only to them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// Whether a connection from `peer` to `local` comes from a program of `user`, or from root, who can do
/// anything anyway. Where the kernel does not tell, nobody is kept out. May wait for the kernel.
pub(crate) fn is_of(user: u32, peer: SocketAddr, local: SocketAddr) -> bool {
    let (IpAddr::V4(peer_ip), IpAddr::V4(local_ip)) =
        (peer.ip().to_canonical(), local.ip().to_canonical())
    else {
        return false;
    };
    let peer = SocketAddrV4::new(peer_ip, peer.port());
    let local = SocketAddrV4::new(local_ip, local.port());
    let tables = TABLES.map(|path| fs::read_to_string(path).ok());
    if tables.iter().all(Option::is_none) {
        return true;
    }
    let owner = tables.iter().flatten().find_map(|table| owner(table, peer, local));
    owner.is_some_and(|owner| owner == user || owner == 0)
}

/// Who has the end at `own` of the connection to `other`. One that is closing has nobody: the kernel
/// shows it as root's.
fn owner(table: &str, own: SocketAddrV4, other: SocketAddrV4) -> Option<u32> {
    let ends = [own, other].map(|end| [text(end), mapped(end)]);
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().take(UID + 1).collect();
        let [_, own, other, state, .., uid] = fields[..] else { return None };
        let is_it = ends[0].iter().any(|end| end == own) && ends[1].iter().any(|end| end == other);
        (is_it && state == ESTABLISHED && fields.len() == UID + 1)
            .then(|| uid.parse().ok())
            .flatten()
    })
}

/// An address as the kernel writes it: the bytes as a number of this machine, in hexadecimal.
fn text(end: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", number(*end.ip()), end.port())
}

/// The same in the table of IPv6.
fn mapped(end: SocketAddrV4) -> String {
    let prefix = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    format!("{:016X}{prefix:08X}{:08X}:{:04X}", 0, number(*end.ip()), end.port())
}

fn number(ip: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(ip.octets())
}

const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
const ESTABLISHED: &str = "01";
/// Which field says whose it is.
const UID: usize = 7;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_of_who_has_its_other_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let local = listener.local_addr().unwrap();
        let user = rustix::process::getuid().as_raw();
        let mapped = SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), local.port());
        for address in [local, mapped] {
            let stream = TcpStream::connect(address).unwrap();
            let (_accepted, peer) = listener.accept().unwrap();
            assert!(is_of(user, peer, local), "{address}");
            if user != 0 {
                assert!(!is_of(user + 1, peer, local), "{address}");
            }
            let elsewhere = SocketAddr::new(peer.ip(), 1);
            assert!(!is_of(user, elsewhere, local), "no such connection");
            drop(stream);
            assert!(!is_of(user, peer, local), "whoever had it is gone");
        }
    }

    #[test]
    fn the_table_of_the_kernel_is_understood() {
        let own = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0xb587);
        let other = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0xb69d);
        let line = |uid: u32, state: &str| {
            let (own, other) = (text(own), text(other));
            format!("head\n 0: {own} {other} {state} 0:0 00:0 0  {uid}  0 20112073 1 0 100 0\n")
        };
        assert_eq!(owner(&line(1000, "01"), own, other), Some(1000));
        assert_eq!(owner(&line(0, "06"), own, other), None, "it is closing");
        assert_eq!(owner(&line(1000, "01"), other, own), None, "our own end");
        for table in ["", "head\n", "head\n0: 1 2\n", "head\n\u{fc} \n"] {
            assert_eq!(owner(table, own, other), None);
        }
    }
}
