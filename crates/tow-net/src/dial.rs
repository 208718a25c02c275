//! Dialling: a name is looked up, its addresses are tried in turns, the first that answers wins.
//!
//! Happy Eyeballs after RFC 8305: families alternate, the next attempt starts 250 ms after the last
//! one or as soon as one fails, and the attempts that lost are cancelled.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tow_proto::byte_string::escape;

use crate::address::{Address, Host};
use crate::listen::{PathTooLong, check_path_len};
use crate::stream::Stream;

/// Connects to `address` within [`DIAL_TIMEOUT`].
///
/// # Errors
/// See [`DialError`]. Where several addresses were tried, the error of the one that came closest.
pub async fn dial(address: &Address) -> Result<Dialled, DialError> {
    let deadline = Instant::now() + DIAL_TIMEOUT;
    match address {
        Address::Unix(path) => dial_unix(path, deadline).await,
        Address::Tcp { host, port } => {
            let candidates = look_up(host, *port, deadline).await?;
            let (stream, winner) = race(candidates, deadline, TcpStream::connect).await?;
            Ok(Dialled { stream: stream.into(), address: winner.into() })
        }
    }
}

/// A connection that was made.
#[derive(Debug)]
pub struct Dialled {
    /// The connected socket.
    pub stream: Stream,
    /// The address that answered: a number, never a name.
    pub address: Address,
}

/// Why nothing was connected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// The resolver knows no address of that name, or cannot say now.
    #[error("{host}: no address is known for this name")]
    NameNotFound {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The machine is there, and nothing listens.
    #[error("{address} refused the connection")]
    Refused {
        /// What was tried.
        address: Address,
    },
    /// No answer in time.
    #[error("{address} did not answer")]
    TimedOut {
        /// What was tried.
        address: Address,
    },
    /// No way leads there.
    #[error("there is no route to {address}")]
    NoRoute {
        /// What was tried.
        address: Address,
    },
    /// A Unix socket's path is longer than a socket address can hold.
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    /// No such Unix socket.
    #[error("{}: no such socket", escape(.path.as_os_str().as_encoded_bytes()))]
    SocketMissing {
        /// Its path.
        path: PathBuf,
    },
    /// Not allowed: by a Unix socket's mode, or by this machine's own firewall.
    #[error("no permission to connect to {address}")]
    PermissionDenied {
        /// What was tried.
        address: Address,
    },
    /// Anything else.
    #[error("cannot connect to {address}")]
    Io {
        /// What was tried.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

impl DialError {
    /// Whether the same address may answer later without anybody changing anything here.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::PathTooLong(_) | Self::PermissionDenied { .. })
    }

    fn new(address: Address, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(Errno::CONNREFUSED) => Self::Refused { address },
            Some(Errno::TIMEDOUT) => Self::TimedOut { address },
            Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN) => {
                Self::NoRoute { address }
            }
            // What a machine without any IPv6 says to an IPv6 address.
            Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => Self::NoRoute { address },
            Some(Errno::ACCESS | Errno::PERM) => Self::PermissionDenied { address },
            _ => Self::Io { address, source },
        }
    }

    /// How much a failed attempt tells: a machine that answered no beats silence, and silence
    /// beats a family that this network does not have.
    fn rank(&self) -> u8 {
        match self {
            Self::Refused { .. } => 3,
            Self::TimedOut { .. } => 2,
            Self::NoRoute { .. } => 0,
            _ => 1,
        }
    }
}

async fn look_up(host: &Host, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, DialError> {
    let name = match host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
        Host::Name(name) => name,
    };
    let not_found = |source| DialError::NameNotFound { host: name.clone(), source };
    let found = match timeout_at(deadline, lookup_host((name.as_str(), port))).await {
        Ok(outcome) => interleave(outcome.map_err(not_found)?),
        Err(_) => {
            return Err(DialError::TimedOut { address: Address::Tcp { host: host.clone(), port } });
        }
    };
    if found.is_empty() {
        return Err(not_found(io::ErrorKind::NotFound.into()));
    }
    Ok(found)
}

/// The resolver's order (RFC 6724) with the two families taking turns (RFC 8305, section 4).
fn interleave(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut found = found.take(CANDIDATES_MAX).peekable();
    let Some(first) = found.peek().copied() else { return Vec::new() };
    let (one, other): (Vec<_>, Vec<_>) =
        found.partition(|address| address.is_ipv4() == first.is_ipv4());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut order: Vec<SocketAddr> = Vec::new();
    loop {
        let before = order.len();
        order.extend([one.next(), other.next()].into_iter().flatten());
        if order.len() == before {
            return order;
        }
    }
}

/// Tries `candidates`; the connections that lose are dropped with their attempts.
async fn race<T, C, F>(
    candidates: Vec<SocketAddr>,
    deadline: Instant,
    connect: C,
) -> Result<(T, SocketAddr), DialError>
where
    T: Send + 'static,
    C: Fn(SocketAddr) -> F,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let last = candidates.last().copied().expect("look_up gives at least one candidate");
    let mut waiting = candidates.into_iter().peekable();
    let mut attempts = JoinSet::new();
    let mut failure: Option<DialError> = None;
    let mut start_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(joined) = attempts.join_next() => match joined {
                Ok((Ok(stream), address)) => return Ok((stream, address)),
                Ok((Err(source), address)) => {
                    keep_better(&mut failure, DialError::new(address.into(), source));
                    start_at = Instant::now();
                }
                // Attempts are aborted only by dropping all of them.
                Err(_) => {}
            },
            () = sleep_until(deadline) => {
                keep_better(&mut failure, DialError::TimedOut { address: last.into() });
                break;
            }
            () = sleep_until(start_at), if waiting.peek().is_some() => {
                let address = waiting.next().expect("the branch is taken while one is waiting");
                let attempt = connect(address);
                attempts.spawn(async move { (attempt.await, address) });
                start_at = Instant::now() + ATTEMPT_DELAY;
            }
        }
        if attempts.is_empty() && waiting.peek().is_none() {
            break;
        }
    }
    Err(failure.unwrap_or(DialError::TimedOut { address: last.into() }))
}

fn keep_better(kept: &mut Option<DialError>, new: DialError) {
    if kept.as_ref().is_none_or(|kept| kept.rank() < new.rank()) {
        *kept = Some(new);
    }
}

async fn dial_unix(path: &Path, deadline: Instant) -> Result<Dialled, DialError> {
    check_path_len(path)?;
    let address = || Address::Unix(path.to_owned());
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(Dialled { stream: stream.into(), address: address() }),
            // Its backlog is full, which on Unix sockets nothing but asking again tells.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    return Err(DialError::TimedOut { address: address() });
                }
                sleep(UNIX_RETRY_DELAY).await;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DialError::SocketMissing { path: path.to_owned() });
            }
            Err(error) => return Err(DialError::new(address(), error)),
        }
    }
}

/// Time for all of dialling, the look-up included.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// From the start of one attempt to the start of the next (RFC 8305, section 8).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried at most; the deadline leaves no time for more than 40.
const CANDIDATES_MAX: usize = 32;

/// Between two attempts at a Unix socket whose backlog is full.
const UNIX_RETRY_DELAY: Duration = Duration::from_millis(20);

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
