//! `run`: a program on the node's machine (PROTOCOL 7.1).

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

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// A program and its arguments, passed as they are.
    Argv(Vec<ByteString>),
    /// One line for the account's login shell with `-c`.
    Shell(ByteString),
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
    /// Offset up to which the client may send stdin at once.
    #[serde(with = "big")]
    pub stdin_to: u64,
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
