//! Our ends of what a program reads and writes: pipes, or the master of its terminal.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::pipe::fcntl_setpipe_size;
use tokio::io::Interest;
use tokio::net::unix::pipe;

use super::pty::Pty;

/// Where an output of the program comes out.
pub(super) enum Source {
    /// The reading end of a pipe.
    Pipe(pipe::Receiver),
    /// The program's terminal.
    Terminal(Arc<Pty>),
}

/// Where the program's input goes in.
pub(super) enum Drain {
    /// The writing end of a pipe.
    Pipe(pipe::Sender),
    /// The program's terminal.
    Terminal(Arc<Pty>),
}

/// What became of waiting for a [`Drain`].
pub(super) enum Ready {
    /// It takes bytes.
    Writable,
    /// Nobody reads it any more.
    Broken,
}

impl Source {
    /// The reading end of a pipe; within a runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self::Pipe(pipe::Receiver::from_owned_fd(fd)?))
    }

    /// Returns when there is something to read, or nothing ever will be.
    pub(super) async fn readable(&self) {
        // An error shows again, and is handled, when it is read.
        match self {
            Self::Pipe(pipe) => drop(pipe.readable().await),
            Self::Terminal(pty) => pty.readable().await,
        }
    }

    /// Reads without waiting; 0 is the end.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.try_read(buffer),
            Self::Terminal(pty) => pty.try_read(buffer),
        }
    }

    /// How many bytes wait to be read.
    pub(super) fn unread(&self) -> u64 {
        match self {
            Self::Pipe(pipe) => rustix::io::ioctl_fionread(pipe),
            Self::Terminal(pty) => rustix::io::ioctl_fionread(pty.as_fd()),
        }
        .unwrap_or(0)
    }

    /// Gives a pipe more capacity: fewer changes between the program and us.
    pub(super) fn widen(&self, len: usize) {
        if let Self::Pipe(pipe) = self {
            // Refused where the user's limit is reached: the pipe stays as it is.
            let _ = fcntl_setpipe_size(pipe, len);
        }
    }
}

impl Drain {
    /// The writing end of a pipe; within a runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self::Pipe(pipe::Sender::from_owned_fd(fd)?))
    }

    /// Returns when bytes can be written.
    pub(super) async fn writable(&self) -> Ready {
        match self {
            Self::Pipe(pipe) => drop(pipe.writable().await),
            Self::Terminal(pty) => pty.writable().await,
        }
        Ready::Writable
    }

    /// Returns when nobody reads it any more.
    pub(super) async fn broken(&self) -> Ready {
        match self {
            Self::Pipe(pipe) => drop(pipe.ready(Interest::ERROR).await),
            // Its end shows where it is read.
            Self::Terminal(_) => std::future::pending().await,
        }
        Ready::Broken
    }

    /// Writes without waiting.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.try_write(bytes),
            Self::Terminal(pty) => pty.try_write(bytes),
        }
    }
}
