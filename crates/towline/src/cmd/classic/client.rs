//! The asking side: a connection with plain blocking reads and writes.

use std::io::{self, Read, Write};
use std::net::{self, Shutdown};
use std::os::unix;
use std::time::Duration;

use tokio::runtime;
use tow_net::dial::{DialError, dial};
use tow_net::{Address, Stream};

use super::sentence;
use crate::failure::{Class, Failure};

/// A connected socket. As with the standard library's, a reference reads and writes.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

/// Connects to a classic server. Must not be called within a tokio runtime.
pub(super) fn connect(address: &Address) -> Result<Connection, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let dialled = dial(address).await.map_err(|error| cannot_dial(&error))?;
        Connection::new(dialled.stream).map_err(Failure::other)
    });
    // A look-up that timed out still has its thread.
    runtime.shutdown_background();
    outcome
}

fn cannot_dial(error: &DialError) -> Failure {
    let failure = Failure::new(Class::Connect, sentence(error));
    match error {
        DialError::Refused { .. } | DialError::SocketMissing { .. } => {
            failure.hint("is a classic server listening there?")
        }
        _ => failure,
    }
}

impl Connection {
    /// Takes the socket out of the runtime, which it must be called within.
    pub(super) fn new(stream: Stream) -> io::Result<Self> {
        match stream {
            Stream::Tcp(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                Ok(Self::Tcp(stream))
            }
            Stream::Unix(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                Ok(Self::Unix(stream))
            }
        }
    }

    /// Reads fail with `WouldBlock` after so long without a byte.
    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    /// Writes fail with `WouldBlock` after so long without progress.
    pub(super) fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_write_timeout(Some(timeout)),
        }
    }

    /// Ends one direction or both; whoever reads or writes it at this moment is woken.
    pub(super) fn shut_down(&self, how: Shutdown) {
        // It fails only where the connection has gone anyway.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }
}

impl Read for &Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => (&*stream).read(buffer),
            Connection::Unix(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => (&*stream).write(bytes),
            Connection::Unix(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One read, again where a signal interrupted it.
pub(super) fn read_some(mut connection: &Connection, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match connection.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
