//! The socket under a link: never waits but in [`Socket::ready`], and is woken for nothing that the
//! link has no use for.
//!
//! A Unix socket becomes writable each time its peer has read something. Whoever asks to be told
//! of both directions, as tokio's `UnixStream` does, is woken once more for every message. So a
//! Unix socket is watched for reading, and for writing only while something does not fit.

use std::future::pending;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustix::net::{SendFlags, Shutdown, send, shutdown, sockopt};
use tokio::io::{AsyncRead, Interest, ReadBuf, Ready};
use tokio::net::unix::pipe;
use tokio::net::{TcpStream, UnixStream};

/// A connected socket of a link.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(Unix),
}

/// A Unix socket. tokio's ends of pipes are descriptors that are watched for one direction, and
/// read and written by calls that suit sockets too.
pub(crate) struct Unix {
    reader: pipe::Receiver,
    /// While something waits to be written.
    writer: Option<pipe::Sender>,
}

impl Unix {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        let stream = OwnedFd::from(stream.into_std()?);
        Ok(Self { reader: pipe::Receiver::from_owned_fd_unchecked(stream)?, writer: None })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || Ok(send(&self.reader, bytes, SendFlags::NOSIGNAL)?);
        let Some(writer) = &self.writer else {
            let written = write();
            if is_blocked(&written) {
                let other = self.reader.as_fd().try_clone_to_owned()?;
                self.writer = Some(pipe::Sender::from_owned_fd_unchecked(other)?);
            }
            return written;
        };
        writer.try_io(write)
    }
}

impl Socket {
    /// Waits until it may be read, or written where [`Write::write`] has blocked; where neither is
    /// asked for, until it has failed.
    pub(crate) async fn ready(&self, reads: bool, writes: bool) -> io::Result<Ready> {
        let reading = if reads { Interest::READABLE } else { Interest::ERROR };
        match self {
            Self::Tcp(stream) => {
                let interest = match (reads, writes) {
                    (false, true) => Interest::WRITABLE,
                    (true, true) => reading | Interest::WRITABLE,
                    (_, false) => reading,
                };
                stream.ready(interest).await
            }
            Self::Unix(Unix { reader, writer }) => {
                let writable = async {
                    match writer {
                        Some(writer) if writes => writer.ready(Interest::WRITABLE).await,
                        _ => pending().await,
                    }
                };
                tokio::select! {
                    ready = reader.ready(reading) => ready,
                    ready = writable => ready,
                }
            }
        }
    }

    /// Reads without waiting. One that was read to its end is not tried once more before it is
    /// waited for.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        let mut context = Context::from_waker(Waker::noop());
        let read = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(&mut context, &mut buffer),
            Self::Unix(unix) => Pin::new(&mut unix.reader).poll_read(&mut context, &mut buffer),
        };
        match read {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// All that there was has been written.
    pub(crate) fn rest(&mut self) {
        if let Self::Unix(unix) = self {
            unix.writer = None;
        }
    }

    pub(crate) fn take_error(&self) -> io::Result<()> {
        Ok(sockopt::socket_error(self)??)
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        Ok(shutdown(self, Shutdown::Write)?)
    }
}

impl Write for Socket {
    /// Writes without waiting.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(unix) => unix.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            Self::Unix(unix) => {
                let first = slices.iter().find(|slice| !slice.is_empty());
                first.map_or(Ok(0), |first| unix.write(first))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(unix) => unix.reader.as_fd(),
        }
    }
}

fn is_blocked(written: &io::Result<usize>) -> bool {
    matches!(written, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
