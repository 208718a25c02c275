//! Signals of this process while it carries a session.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// To end, or to pass it on: the name without `SIG`, and the number.
    End(&'static str, u8),
    /// The local terminal has another size.
    Resized,
    /// This process was stopped and goes on.
    Continued,
}

/// All of them.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
    window: Signal,
    continued: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            window: signal(SignalKind::window_change())?,
            continued: signal(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    /// The next one. Of several of a kind that were not asked for yet, one is left.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::End("INT", 2),
            _ = self.terminate.recv() => Told::End("TERM", 15),
            _ = self.hangup.recv() => Told::End("HUP", HANGUP),
            _ = self.quit.recv() => Told::End("QUIT", 3),
            _ = self.window.recv() => Told::Resized,
            _ = self.continued.recv() => Told::Continued,
        }
    }
}

/// The number of the signal that a terminal goes with.
pub(super) const HANGUP: u8 = 1;
