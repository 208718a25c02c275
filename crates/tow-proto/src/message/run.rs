//! `run`: a program on the node's machine (PROTOCOL 7.1), and what is said while somebody looks at
//! it, by `run` or by `attach`.

use serde::{Deserialize, Serialize};

use crate::byte_string::ByteString;
use crate::content::Hash;
use crate::json::big;

/// Start a program as a session and attach to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Chosen by the client, 1 to 64 characters: the same id again gives the same session.
    pub id: String,
    /// What to run.
    pub program: Program,
    /// Working directory; the grant's start directory where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<ByteString>,
    /// Variables to set, `[name, value]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(ByteString, ByteString)>,
    /// End it after so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How long it outlives its last viewer.
    #[serde(default)]
    pub lease: Lease,
    /// False connects stdin to nothing.
    #[serde(default = "yes")]
    pub stdin: bool,
    /// A terminal of this size instead of pipes; stderr is then part of stdout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Window>,
    /// The client's locale, such as `de_DE.UTF-8`: a hint.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub locale: String,
    /// False starts the program without looking at it: the channel is over with the reply.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub view: bool,
    /// Offset up to which the node may send stdout at once.
    #[serde(with = "big")]
    pub stdout_to: u64,
    /// Offset up to which the node may send stderr at once.
    #[serde(with = "big")]
    pub stderr_to: u64,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// The size of a terminal; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
    /// Width in pixels.
    #[serde(default)]
    pub xpixel: u16,
    /// Height in pixels.
    #[serde(default)]
    pub ypixel: u16,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// A program and its arguments, passed as they are.
    Argv(Vec<ByteString>),
    /// One line for the account's login shell with `-c`.
    Shell(ByteString),
    /// The account's login shell itself, as at a login.
    Login,
}

/// How long a session outlives its last viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lease {
    /// 30 seconds.
    #[default]
    Attached,
    /// For good.
    Detached,
    /// So many milliseconds.
    Ms(u64),
}

/// The session has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReply {
    /// The session's id.
    pub session: String,
    /// How far stdin has come.
    #[serde(flatten)]
    pub stdin: StdinState,
}

/// How far the stdin of one writer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StdinState {
    /// Offset of the first byte that the session does not have yet.
    #[serde(rename = "stdin_from", default, with = "big")]
    pub from: u64,
    /// Offset up to which the client may send at once.
    #[serde(rename = "stdin_to", default, with = "big")]
    pub to: u64,
    /// The distance that is kept: bytes before `to - window`, for any later `to` as well, have
    /// reached the program. 0 where there is no stdin to write to.
    #[serde(rename = "stdin_window", default, with = "big")]
    pub window: u64,
}

/// From the node, while the program runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunEvent {
    /// The program reads no more: stdin is of no use now.
    StdinClosed,
    /// The program's end; the last frame downward of the channel.
    Exit(Box<ExitRecord>),
    /// What a terminal shows, in place of the bytes before `at`. The drawing follows in data frames
    /// that are not part of stdout.
    Screen {
        /// Offset of stdout from which live bytes follow.
        #[serde(with = "big")]
        at: u64,
        /// Lines of the terminal.
        rows: u16,
        /// Columns of the terminal.
        cols: u16,
        /// Length of the drawing in bytes.
        #[serde(with = "big")]
        bytes: u64,
    },
    /// Bytes that are kept no more: the stream goes on at `to`.
    Gap {
        /// 1 or 2.
        stream: u8,
        /// Offset of the first byte that is missing.
        #[serde(with = "big")]
        from: u64,
        /// Offset of the first byte that comes.
        #[serde(with = "big")]
        to: u64,
    },
    /// All that there was has been sent: the last frame of a look at the log that does not follow.
    CaughtUp,
    /// The session's lease is this now.
    Lease {
        /// How long it outlives its last viewer.
        lease: Lease,
    },
    /// Who looks at the session now, with this viewer.
    Viewers {
        /// Those that may type.
        typing: u32,
        /// Those that only watch.
        watching: u32,
    },
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}

/// From the client, while the program runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Upward {
    /// Deliver a signal to the program's process group.
    Signal {
        /// `INT`, `TERM`, … without `SIG`.
        name: String,
    },
    /// Nobody reads this stream any more: the program's next write fails.
    Stop {
        /// 1 or 2.
        stream: u8,
    },
    /// The terminal that the program is seen on has this size now.
    Resize(Window),
    /// From now on the session outlives its last viewer so long.
    Lease {
        /// How long.
        lease: Lease,
    },
    /// This viewer does not come back: the lease need not wait for it.
    Leave,
    /// Send what the terminal shows.
    Refresh,
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// How.
    pub ended: Ended,
    /// Who ended it.
    pub by: EndedBy,
    /// Processes that still hold the output, when there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lingering: Vec<u32>,
    /// What stdout was.
    pub stdout: StreamTotal,
    /// What stderr was.
    pub stderr: StreamTotal,
}

/// An exit code, or a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// 0 to 255.
    Code(u8),
    /// By a signal.
    Signal {
        /// `KILL`, `SEGV`, … without `SIG`; `SIG` and the number where it has no name.
        name: String,
        /// Its number on that machine.
        number: u8,
        /// A core was dumped.
        core: bool,
    },
}

/// Who ended a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// It did itself, or somebody outside of towline.
    Itself,
    /// Its time limit.
    Timeout,
    /// Its lease: no viewer came back.
    Lease,
    /// A signal that its user asked for.
    User,
    /// The node stopped, or the key was removed.
    Node,
}

/// A stream from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamTotal {
    /// Length in bytes.
    #[serde(with = "big")]
    pub bytes: u64,
    /// Hash of all of it.
    pub blake3: Hash,
}
