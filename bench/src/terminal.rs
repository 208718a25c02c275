//! A terminal made here with a program on it: what somebody at a keyboard has. Nothing is drawn, and
//! what comes is read at once.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tow_proto::message::Window;

/// The size of all terminals here.
pub(crate) const WINDOW: Window = Window { rows: 40, cols: 120, xpixel: 0, ypixel: 0 };

/// A program on a terminal of its own; it is killed when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    buffer: Vec<u8>,
}

impl Terminal {
    /// Starts `command` with a new terminal, which controls it.
    pub(crate) fn start(command: &Command) -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let Window { rows, cols, .. } = WINDOW;
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size)?;
        let child = on_terminal(command, &slave)?.spawn().context("setsid")?;
        Ok(Self { child, master: master.into(), buffer: vec![0; BUFFER_LEN] })
    }

    /// Types.
    pub(crate) fn keys(&mut self, keys: &[u8]) -> Result<()> {
        Ok(self.master.write_all(keys)?)
    }

    /// What has come, as soon as something has.
    pub(crate) fn read(&mut self) -> Result<&[u8]> {
        self.read_for(WAIT_MAX)?.context("nothing comes from a terminal")
    }

    /// Reads until `text` has come.
    pub(crate) fn wait_for(&mut self, text: &[u8]) -> Result<()> {
        let started = Instant::now();
        let mut seen = Vec::new();
        while started.elapsed() < WAIT_MAX {
            seen.extend_from_slice(self.read()?);
            if seen.windows(text.len()).any(|window| window == text) {
                return Ok(());
            }
            // The text may come in two parts.
            seen.drain(..seen.len().saturating_sub(text.len()));
        }
        bail!("no {:?} on a terminal, but {:?}", text.escape_ascii(), seen.escape_ascii())
    }

    /// Reads for `time`, and says how many bytes have come.
    pub(crate) fn flood(&mut self, time: Duration) -> Result<usize> {
        let (started, mut count) = (Instant::now(), 0);
        while let Some(left) = time.checked_sub(started.elapsed()) {
            count += self.read_for(left)?.map_or(0, <[u8]>::len);
        }
        Ok(count)
    }

    /// `None` where nothing has come in time.
    fn read_for(&mut self, time: Duration) -> Result<Option<&[u8]>> {
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec::try_from(time)?))? == 0 {
            return Ok(None);
        }
        // The end of a terminal is an error.
        let len = self.master.read(&mut self.buffer).context("the program on a terminal ended")?;
        Ok(Some(&self.buffer[..len]))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same command in a session of its own, which the terminal controls.
fn on_terminal(command: &Command, slave: &OwnedFd) -> Result<Command> {
    let mut wrapped = Command::new("setsid");
    wrapped.arg("--ctty").arg(command.get_program()).args(command.get_args());
    wrapped.env("TERM", "xterm-256color");
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    wrapped.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave.try_clone()?);
    Ok(wrapped)
}

const BUFFER_LEN: usize = 256 << 10;
const WAIT_MAX: Duration = Duration::from_secs(20);
