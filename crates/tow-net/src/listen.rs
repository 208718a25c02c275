//! Listening sockets: TCP on one or both families, Unix sockets with their file.
//!
//! Accepting only accepts: nothing is read from the peer here, so nobody can hold the loop up.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tow_proto::byte_string::escape;

use crate::address::{Address, ListenAddress};
use crate::stream::Stream;

/// Opens a listening socket that holds up to `backlog` connections nobody has accepted yet (the
/// kernel may allow fewer: `net.core.somaxconn`). Must be called within a tokio runtime.
///
/// A Unix socket's file is private to this user, replaces one whose listener has died, and is
/// removed again when the listener is dropped. Two processes that replace the same dead one at the
/// same moment are told apart by a lock of their own, not here.
///
/// # Errors
/// See [`ListenError`].
pub fn listen(address: &ListenAddress, backlog: u32) -> Result<Listener, ListenError> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    match address {
        ListenAddress::Tcp(socket_address) => {
            let (listener, local) = open_tcp(*socket_address, backlog)
                .map_err(|source| ListenError::new(address, source))?;
            Ok(Listener { socket: ListeningSocket::Tcp(listener), local: local.into() })
        }
        ListenAddress::Unix(path) => {
            let (listener, file) = open_unix(path, backlog)?;
            let socket = ListeningSocket::Unix { listener, _file: file };
            Ok(Listener { socket, local: Address::Unix(path.clone()) })
        }
    }
}

/// Opens a listening Unix socket as [`listen`] does, for another process that it is handed to. Its
/// file stays when the descriptor is closed; it does not block.
///
/// # Errors
/// See [`ListenError`].
pub fn listen_for_another(path: &Path, backlog: u32) -> Result<OwnedFd, ListenError> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let (socket, _) = bind_private(path)?;
    let address = || ListenAddress::Unix(path.to_owned());
    socket.listen(backlog).map_err(|source| ListenError::new(&address(), source))?;
    Ok(socket.into())
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket,
    local: Address,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: SocketFile },
}

/// A connection that came in.
#[derive(Debug)]
pub struct Accepted {
    /// The connected socket.
    pub stream: Stream,
    /// Who is at the other end.
    pub peer: Peer,
}

/// The other end of an accepted connection, as far as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Its address; an IPv4 peer of a dual-stack listener has its IPv4 address here.
    Tcp(SocketAddr),
    /// Its credentials when it connected.
    Unix {
        /// Effective user id.
        uid: u32,
        /// Process id, where the system tells it.
        pid: Option<i32>,
    },
}

impl Listener {
    /// The next connection. Those that went away before they were accepted are passed over.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// Descriptors or memory have run out for now: wait [`ACCEPT_PAUSE`] and call again.
    pub async fn accept(&self) -> io::Result<Accepted> {
        loop {
            match self.accept_one().await {
                Err(error) if is_about_one_peer(&error) => {}
                outcome => return outcome,
            }
        }
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn local_address(&self) -> &Address {
        &self.local
    }

    async fn accept_one(&self) -> io::Result<Accepted> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                Ok(Accepted { stream: stream.into(), peer: Peer::Tcp(address) })
            }
            ListeningSocket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let credentials = stream.peer_cred().map_err(|_| Errno::CONNABORTED)?;
                let peer = Peer::Unix { uid: credentials.uid(), pid: credentials.pid() };
                Ok(Accepted { stream: stream.into(), peer })
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { uid, pid: Some(pid) } => write!(f, "uid {uid}, pid {pid}"),
            Self::Unix { uid, pid: None } => write!(f, "uid {uid}"),
        }
    }
}

/// Why listening failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody listens there.
    #[error("{address} is in use")]
    AddressInUse {
        /// Where.
        address: ListenAddress,
    },
    /// The system does not let this user listen there.
    #[error("no permission to listen on {address}")]
    PermissionDenied {
        /// Where.
        address: ListenAddress,
    },
    /// The address belongs to no interface of this machine.
    #[error("this machine does not have the address {address}")]
    NotAvailable {
        /// Where.
        address: ListenAddress,
    },
    /// A Unix socket's path is longer than a socket address can hold.
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    /// The directory of a Unix socket is missing.
    #[error("{}: its directory does not exist", escape(.path.as_os_str().as_bytes()))]
    NoDirectory {
        /// The socket's path.
        path: PathBuf,
    },
    /// Something that is not a socket has that name; it is left alone.
    #[error("{}: exists, and is not a socket", escape(.path.as_os_str().as_bytes()))]
    NotASocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot listen on {address}")]
    Io {
        /// Where.
        address: ListenAddress,
        /// What the system said.
        source: io::Error,
    },
}

/// A path that does not fit into a socket address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {len} bytes are too long for a socket's path, at most {UNIX_PATH_LEN_MAX} fit", escape(.path.as_os_str().as_bytes()))]
pub struct PathTooLong {
    /// The path.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: usize,
}

impl ListenError {
    fn new(address: &ListenAddress, source: io::Error) -> Self {
        let address = address.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { address },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { address },
            io::ErrorKind::AddrNotAvailable => Self::NotAvailable { address },
            _ => Self::Io { address, source },
        }
    }
}

pub(crate) fn check_path_len(path: &Path) -> Result<(), PathTooLong> {
    match path.as_os_str().len() {
        0..=UNIX_PATH_LEN_MAX => Ok(()),
        len => Err(PathTooLong { path: path.to_owned(), len }),
    }
}

/// `[::]` takes IPv4 too, and is `0.0.0.0` on a machine without IPv6.
fn open_tcp(address: SocketAddr, backlog: i32) -> io::Result<(TcpListener, SocketAddr)> {
    let is_any_v6 = address.is_ipv6() && address.ip().is_unspecified();
    let socket = match bind_tcp(address, backlog) {
        Err(error) if is_any_v6 && is_lack_of_ipv6(&error) => {
            bind_tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), backlog)?
        }
        outcome => outcome?,
    };
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

fn bind_tcp(address: SocketAddr, backlog: i32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A server that restarts must not wait for its old connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn is_lack_of_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn open_unix(path: &Path, backlog: i32) -> Result<(UnixListener, SocketFile), ListenError> {
    let (socket, identity) = bind_private(path)?;
    let fail = |source| ListenError::new(&ListenAddress::Unix(path.to_owned()), source);
    let file = SocketFile::new(path, identity).map_err(fail)?;
    socket.listen(backlog).map_err(fail)?;
    let listener = UnixListener::from_std(socket.into()).map_err(fail)?;
    Ok((listener, file))
}

/// A socket at `path` that nobody listens on yet, in place of a dead one.
fn bind_private(path: &Path) -> Result<(Socket, Identity), ListenError> {
    check_path_len(path)?;
    let fail = |source| ListenError::new(&ListenAddress::Unix(path.to_owned()), source);
    let socket = match bind_unix(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_dead_socket(path)?;
            bind_unix(path).map_err(fail)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ListenError::NoDirectory { path: path.to_owned() });
        }
        outcome => outcome.map_err(fail)?,
    };
    // Nobody can connect before `listen`, so the wider mode that `bind` gave it never counts.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
    let identity = Identity::of(&fs::symlink_metadata(path).map_err(fail)?);
    Ok((socket, identity))
}

fn bind_unix(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// Removes a socket that nobody listens on any more, as kill -9 leaves it behind.
fn remove_dead_socket(path: &Path) -> Result<(), ListenError> {
    let address = || ListenAddress::Unix(path.to_owned());
    let fail = |source| ListenError::new(&address(), source);
    let metadata = fs::symlink_metadata(path).map_err(fail)?;
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.to_owned() });
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(fail)?;
    // A live listener whose backlog is full would make a blocking connect wait.
    probe.set_nonblocking(true).map_err(fail)?;
    let socket_address = SockAddr::unix(path).map_err(fail)?;
    match probe.connect(&socket_address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(fail(error)),
        _ => return Err(ListenError::AddressInUse { address: address() }),
    }
    let now = fs::symlink_metadata(path).map_err(fail)?;
    if Identity::of(&now) != Identity::of(&metadata) {
        return Err(ListenError::AddressInUse { address: address() });
    }
    fs::remove_file(path).map_err(fail)
}

/// The file of a listening Unix socket, removed with it unless another one has taken its name.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Inode numbers are reused at once; the time of the last change tells two files apart.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl SocketFile {
    fn new(path: &Path, identity: Identity) -> io::Result<Self> {
        // The working directory may be another one when the file is removed.
        Ok(Self { path: std::path::absolute(path)?, identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| Identity::of(&metadata) == self.identity);
        if is_ours {
            // Nothing depends on it: a socket that stays behind is replaced next time.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Errors of `accept` that belong to the connection, not to the listener (accept(2) on Linux).
fn is_about_one_peer(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTUNREACH
                | Errno::TIMEDOUT
        )
    )
}

/// How long to wait after [`Listener::accept`] failed.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted, where nobody says otherwise.
pub const DEFAULT_BACKLOG: u32 = 1024;

/// Longest path of a Unix socket in bytes: `sun_path` of unix(7) less its final NUL.
pub const UNIX_PATH_LEN_MAX: usize = 107;

#[cfg(test)]
#[path = "listen_tests.rs"]
pub(crate) mod tests;
