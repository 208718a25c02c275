//! Work that lives on the node's machine: list it, look at it again, end it (PROTOCOL 7.5).

use serde::{Deserialize, Serialize};

use super::run::{ExitRecord, Lease, Program, StdinState, Window};
use crate::json::big;

/// Look at a session that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Its id.
    pub session: String,
    /// What for.
    pub view: View,
    /// Who types, chosen by the client, 1 to 64 characters: stdin goes on where this writer's ended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub writer: String,
    /// The size of the terminal that it is seen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Offset of stdout to go on at. Without one, a terminal starts with its screen, and anything
    /// else at its start.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "big::option")]
    pub stdout_from: Option<u64>,
    /// Offset of stderr to go on at; its start where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "big::option")]
    pub stderr_from: Option<u64>,
    /// Bytes of each stream that may be sent from where it starts.
    #[serde(with = "big")]
    pub room: u64,
}

/// What a session is looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// To work with it: stdin, signals, the size. The newest such viewer sets the pace, and its
    /// terminal answers the program's questions.
    Type,
    /// To see what it does.
    Watch,
    /// To read what is kept of its output, up to now.
    Log,
    /// To read what is kept of its output, and what comes.
    Follow,
    /// To learn how it ends.
    Exit,
}

/// A look at the session has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Its id.
    pub session: String,
    /// It runs on a terminal.
    pub terminal: bool,
    /// Offset at which stdout starts here; of a terminal that starts with its screen, that is said
    /// with the screen.
    #[serde(with = "big")]
    pub stdout_from: u64,
    /// Offset at which stderr starts here.
    #[serde(with = "big")]
    pub stderr_from: u64,
    /// How far this writer's stdin has come.
    #[serde(flatten)]
    pub stdin: StdinState,
}

/// Which sessions are there?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// At most 100 of them, oldest first.
    pub sessions: Vec<SessionInfo>,
    /// Another such reply follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its id.
    pub id: String,
    /// The key that started it, as its fingerprint, or `uid:N` for a user of the machine.
    pub owner: String,
    /// What it runs.
    pub program: Program,
    /// It runs on a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// How long it outlives its last viewer.
    pub lease: Lease,
    /// Viewers that may type.
    #[serde(default)]
    pub typing: u32,
    /// Viewers that watch.
    #[serde(default)]
    pub watching: u32,
    /// Bytes of stdout so far.
    #[serde(with = "big")]
    pub stdout: u64,
    /// Bytes of stderr so far.
    #[serde(with = "big")]
    pub stderr: u64,
    /// How it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Box<ExitRecord>>,
    /// When it ended, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
}

/// Send a signal to every process of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// The session's id.
    pub session: String,
    /// `TERM`, `KILL`, … with or without `SIG`.
    pub signal: String,
}

/// The signal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// To so many processes.
    pub processes: u32,
}

/// Forget a session that has ended: its record and its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRm {
    /// Its id.
    pub session: String,
}
