//! What a caller says about a session that it looks at, and what it is told.

use std::time::{Duration, Instant};

use tow_proto::message::{ExitRecord, Lease, View, Window};

use super::AskError;

/// An id that nobody has had before, for a program to run or for a writer. `None` when the system
/// has no randomness.
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
    /// Bytes of stdout (1) or stderr (2), in order, each once. Say [`super::Remote::consumed`] when they
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
    /// The link was lost and is being made again by [`super::Remote::next`]; see [`super::Remote::outage`].
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
