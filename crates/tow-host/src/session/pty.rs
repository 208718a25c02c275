//! Terminals: a pair of ends, of which the program has the slave and we the master.
//!
//! When no process has the slave any more, Linux gives all that was written, and then an error, each
//! time; here that is an end as of a pipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Signal, kill_process_group};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    InputModes, OptionalActions, SpecialCodeIndex, Winsize, tcgetattr, tcgetpgrp, tcsetattr,
    tcsetwinsize,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tow_proto::message::Window;

use super::spawn::{signal_by_terminal, watch};

/// The master of a terminal. Reads and writes as the ends of tokio's pipes do.
pub(super) struct Pty {
    /// Watched for reading. It becomes writable each time the program has read something, which is
    /// worth nothing to know while all that was typed fits.
    master: AsyncFd<OwnedFd>,
    /// Watched for writing, once something did not fit.
    writable: OnceLock<AsyncFd<OwnedFd>>,
}

impl Pty {
    /// Of a non-blocking master; within a runtime.
    ///
    /// # Errors
    /// It can't be watched.
    pub(super) fn new(master: OwnedFd) -> io::Result<Self> {
        Ok(Self { master: watch(master, Interest::READABLE)?, writable: OnceLock::new() })
    }

    /// Returns when there may be something to read. Cancel-safe.
    pub(super) async fn readable(&self) {
        // It fails only when the runtime ends; any other error shows again when it is read.
        let _ = self.master.readable().await;
    }

    /// Returns when something may be written. Cancel-safe.
    pub(super) async fn writable(&self) {
        if let Some(writable) = self.writable.get() {
            let _ = writable.writable().await;
        }
    }

    /// Reads what is there, up to the length of `buffer`; 0 bytes when no process has the terminal
    /// any more and all was read.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing yet, or the kernel's.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = |fd: &OwnedFd| match rustix::io::read(fd, &mut *buffer) {
            Err(Errno::IO) => Ok(0),
            read => Ok(read?),
        };
        self.master.try_io(Interest::READABLE, |fd| read(fd))
    }

    /// Writes what the terminal takes now: its input queue is a few KiB long.
    ///
    /// # Errors
    /// `WouldBlock` when that is full, or the kernel's.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let write = |fd: &OwnedFd| Ok(rustix::io::write(fd, bytes)?);
        if let Some(writable) = self.writable.get() {
            return writable.try_io(Interest::WRITABLE, write);
        }
        let written = write(self.master.get_ref());
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let other = self.master.get_ref().try_clone()?;
            // Only the keeper writes, so there is none yet.
            let _ = self.writable.set(watch(other, Interest::WRITABLE)?);
        }
        written
    }

    /// Changes its size, and tells the foreground program if it is another than before. One that is
    /// unknown changes nothing.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn resize(&self, window: Window) -> io::Result<()> {
        if is_known(window) {
            tcsetwinsize(&self.master, winsize(window))?;
        }
        Ok(())
    }

    /// Sends a signal to the group in the foreground, if there is one.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn signal_foreground(&self, signal: Signal) -> io::Result<()> {
        match signal_by_terminal(self.as_fd(), signal) {
            // Not one of those that keys send, or a kernel that knows none.
            Err(Errno::INVAL | Errno::NOTTY) => {}
            done => return Ok(done?),
        }
        match tcgetpgrp(&self.master) {
            Ok(group) => match kill_process_group(group, signal) {
                Err(Errno::SRCH) => Ok(()),
                done => Ok(done?),
            },
            // Nobody is in the foreground.
            Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::IO) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What is to be written so that a program reads an end: control-D, unless it chose another.
    pub(super) fn end_of_file_char(&self) -> u8 {
        let chosen = tcgetattr(&self.master)
            .map(|termios| termios.special_codes[SpecialCodeIndex::VEOF])
            .unwrap_or(END_OF_FILE);
        if chosen == DISABLED { END_OF_FILE } else { chosen }
    }
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.get_ref().as_fd()
    }
}

/// A new terminal: its master, non-blocking, and its slave, both closed by an exec. Neither becomes
/// the terminal of this process.
///
/// # Errors
/// The kernel's; `AGAIN` where there are no more terminals.
pub(super) fn open(window: Window) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).map_err(|error| match error {
        Errno::NOSPC => Errno::AGAIN,
        other => other,
    })?;
    unlockpt(&master)?;
    // By its master, not by its name, which may mean another in a container.
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let mut termios = tcgetattr(&master)?;
    // Erasing a character erases all of its bytes.
    termios.input_modes |= InputModes::IUTF8;
    termios.special_codes[SpecialCodeIndex::VERASE] = DELETE;
    tcsetattr(&master, OptionalActions::Now, &termios)?;
    // Before there is a program: none ever sees another size first.
    tcsetwinsize(&master, winsize(if is_known(window) { window } else { USUAL }))?;
    let status = rustix::fs::fcntl_getfl(&master)?;
    rustix::fs::fcntl_setfl(&master, status | OFlags::NONBLOCK)?;
    Ok((master, slave))
}

/// Zero stands for what nobody knows.
fn is_known(window: Window) -> bool {
    window.rows > 0 && window.cols > 0
}

fn winsize(window: Window) -> Winsize {
    let Window { rows, cols, xpixel, ypixel } = window;
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: xpixel, ws_ypixel: ypixel }
}

/// The size of a terminal whose size is unknown.
const USUAL: Window = Window { rows: 24, cols: 80, xpixel: 0, ypixel: 0 };
/// Control-D.
const END_OF_FILE: u8 = 0x04;
/// What the key above Enter sends.
const DELETE: u8 = 0x7f;
/// No character (`_POSIX_VDISABLE`).
const DISABLED: u8 = 0;
