//! A terminal with somebody at it: a pseudo-terminal on which a command runs as on one of its own, a
//! screen that shows what the command draws, and keys to type.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::wait::{INTERVAL, PATIENCE, until};

/// A command on a terminal of its own. It is killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.screen.screen().contents())
    }
}

impl Terminal {
    /// Starts `command` on a terminal of this size, which is its controlling terminal.
    ///
    /// # Panics
    /// There is none to be had, or the command can't be started.
    #[track_caller]
    pub(crate) fn start(command: &Command, rows: u16, cols: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("the machine has pseudo-terminals");
        unlockpt(&master).expect("a new terminal can be unlocked");
        let slave = ioctl_tiocgptpeer(&master, flags).expect("a new terminal can be opened");
        tcsetwinsize(&master, winsize(rows, cols)).expect("a terminal has a size");
        let child = on_terminal(command, &slave).spawn().expect("setsid can be started");
        let screen = vt100::Parser::new(length(rows), length(cols), 0);
        let shown = Arc::new(Mutex::new(Shown { screen, bytes: Vec::new() }));
        let mut reader = File::from(master.try_clone().expect("a descriptor is left"));
        thread::spawn({
            let shown = Arc::clone(&shown);
            move || {
                let mut buffer = vec![0; 64 << 10];
                // The end of a terminal is an error, which ends it as well.
                while let Ok(len @ 1..) = reader.read(&mut buffer) {
                    let mut shown = lock(&shown);
                    shown.screen.process(&buffer[..len]);
                    shown.bytes.extend_from_slice(&buffer[..len]);
                }
            }
        });
        Self { child, master: File::from(master), shown }
    }

    /// Types.
    ///
    /// # Panics
    /// The terminal has gone.
    #[track_caller]
    pub fn keys(&self, keys: impl AsRef<[u8]>) {
        (&self.master).write_all(keys.as_ref()).expect("the terminal takes keys");
    }

    /// Changes its size, which the command is told by a signal.
    ///
    /// # Panics
    /// The terminal has gone.
    #[track_caller]
    pub fn resize(&self, rows: u16, cols: u16) {
        lock(&self.shown).screen.set_size(length(rows), length(cols));
        tcsetwinsize(&self.master, winsize(rows, cols)).expect("a terminal has a size");
    }

    /// What it shows, without what is empty at the end.
    pub fn screen(&self) -> String {
        lock(&self.shown).screen.screen().contents().trim_end().to_owned()
    }

    /// A look at the screen itself.
    pub fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(lock(&self.shown).screen.screen())
    }

    /// Everything that was written to it.
    pub fn bytes(&self) -> Vec<u8> {
        lock(&self.shown).bytes.clone()
    }

    /// Waits until it shows `text`.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    /// Waits until what it shows is as wanted.
    ///
    /// # Panics
    /// It is not; with what it shows.
    #[track_caller]
    pub fn until(&self, what: &str, mut is_so: impl FnMut(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&self.screen()) {
            assert!(Instant::now() < deadline, "no {what:?} on the screen:\n{}", self.screen());
            thread::sleep(INTERVAL);
        }
    }

    /// True while lines are edited and keys are echoed here, as a shell leaves a terminal to a program.
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.master).map(|termios| termios.local_modes);
        modes.is_ok_and(|modes| {
            modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
        })
    }

    /// Process id of the command.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the command a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        // It may have ended already.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }

    /// Waits for the end of the command, and gives its exit code.
    ///
    /// # Panics
    /// It takes too long, or was ended by a signal.
    #[track_caller]
    pub fn ended(&mut self) -> i32 {
        let mut status = None;
        let shown = Arc::clone(&self.shown);
        until(&format!("the end of the command on\n{:?}", lock(&shown)), || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        let code = status.and_then(|status| status.code());
        code.unwrap_or_else(|| panic!("ended by a signal: {status:?}\n{}", self.screen()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same command in a session of its own, which this terminal controls.
fn on_terminal(command: &Command, slave: &OwnedFd) -> Command {
    let mut wrapped = Command::new("setsid");
    wrapped.arg("--ctty").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    let stdio = || Stdio::from(slave.try_clone().expect("a descriptor is left"));
    wrapped.stdin(stdio()).stdout(stdio()).stderr(stdio());
    wrapped
}

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

fn winsize(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

fn length(length: u16) -> NonZeroU16 {
    NonZeroU16::new(length).expect("a terminal that shows something")
}
