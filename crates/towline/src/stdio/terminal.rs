//! A terminal that is read and written by the task that has use for it, without a thread in between:
//! two threads less to wake for each key. It is opened once more for that, because what it is open as
//! already is shared with the shell, which would not expect it to be non-blocking.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, open};
use rustix::termios::isatty;
use tokio::net::unix::pipe;

use super::{State, Written};

/// What is typed on a terminal.
pub(super) struct Keyboard(pipe::Receiver);

impl Keyboard {
    /// `None` where `input` is no terminal, or can't be opened again; within a runtime.
    pub(super) fn of(input: impl AsFd) -> Option<Self> {
        let input = open_again(input, OFlags::RDONLY)?;
        pipe::Receiver::from_owned_fd_unchecked(input).ok().map(Self)
    }

    /// What comes next, `None` at the end. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            self.0.readable().await.ok()?;
            let mut keys = vec![0; KEYS_LEN_MAX];
            match self.0.try_read(&mut keys) {
                Ok(0) => return None,
                Ok(len) => {
                    keys.truncate(len);
                    return Some(keys);
                }
                Err(error) if is_nothing(&error) => {}
                // As of a stdin that can't be read: nothing comes from there.
                Err(_) => return None,
            }
        }
    }
}

/// What is shown on a terminal. Takes without waiting, and writes at once what the terminal takes.
pub(super) struct Screen {
    stream: u8,
    output: OwnedFd,
    /// Watched only while the terminal takes nothing: it becomes writable each time that what was
    /// written has been read.
    blocked: Option<pipe::Sender>,
    writing: State,
    /// Bytes of `writing` that were written.
    done: usize,
    waiting: State,
    /// Bytes of the stream that were written, and that is not told yet.
    untold: u64,
    result: io::Result<()>,
    is_gone_told: bool,
}

impl Screen {
    /// `None` where `output` is no terminal, or can't be opened again; within a runtime.
    pub(super) fn of(stream: u8, output: impl AsFd) -> Option<Self> {
        Some(Self {
            stream,
            output: open_again(output, OFlags::WRONLY)?,
            blocked: None,
            writing: State::default(),
            done: 0,
            waiting: State::default(),
            untold: 0,
            result: Ok(()),
            is_gone_told: false,
        })
    }

    /// Takes bytes, which are `count` of the stream.
    pub(super) fn push(&mut self, bytes: Vec<u8>, count: u64) {
        self.waiting.add(bytes, count);
        self.write();
    }

    /// What was written. May be cancelled.
    pub(super) async fn next(&mut self) -> Written {
        loop {
            if self.untold > 0 {
                return Written::Bytes(self.stream, std::mem::take(&mut self.untold));
            }
            if self.result.is_err() && !std::mem::replace(&mut self.is_gone_told, true) {
                return Written::Gone(self.stream);
            }
            match &self.blocked {
                // It fails only with the runtime.
                Some(blocked) => drop(blocked.writable().await),
                None => pending().await,
            }
            self.write();
        }
    }

    /// Waits until everything was written.
    ///
    /// # Errors
    /// Something was not.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.blocked = None;
        let flags = fcntl_getfl(&self.output)?;
        fcntl_setfl(&self.output, flags - OFlags::NONBLOCK)?;
        self.write();
        self.result
    }

    /// Writes what the terminal takes.
    fn write(&mut self) {
        loop {
            if self.result.is_err() || self.done == self.writing.bytes.len() {
                self.untold += self.writing.count;
                self.done = 0;
                self.writing = std::mem::take(&mut self.waiting);
                if self.writing.is_idle() {
                    self.blocked = None;
                    return;
                }
                continue;
            }
            match self.write_once() {
                Ok(len) => self.done += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.result = Err(error),
            }
        }
    }

    fn write_once(&mut self) -> io::Result<usize> {
        let write = || -> io::Result<usize> {
            Ok(rustix::io::write(&self.output, &self.writing.bytes[self.done..])?)
        };
        let Some(blocked) = &self.blocked else {
            let written = write();
            if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                let watched = self.output.try_clone()?;
                self.blocked = Some(pipe::Sender::from_owned_fd_unchecked(watched)?);
            }
            return written;
        };
        blocked.try_io(write)
    }
}

/// The same terminal, open as something of our own.
fn open_again(terminal: impl AsFd, access: OFlags) -> Option<OwnedFd> {
    let terminal = terminal.as_fd();
    if !isatty(terminal) {
        return None;
    }
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", terminal.as_raw_fd());
    let (before, device) = (fstat(terminal).ok()?, |fd: &OwnedFd| Some(fstat(fd).ok()?.st_rdev));
    // The master of a terminal would become that of a new one.
    if before.st_rdev == rustix::fs::makedev(5, 2) {
        return None;
    }
    let again = open(path, flags, Mode::empty()).ok()?;
    (device(&again) == Some(before.st_rdev)).then_some(again)
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A terminal gives no more at once.
const KEYS_LEN_MAX: usize = 4096;
