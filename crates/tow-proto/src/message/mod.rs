//! The JSON of heads, ends and credits (PROTOCOL 4). Wire types only: what `--json` prints has its
//! own types in `towline`.
//!
//! A link starts with [`Hello`] and [`Welcome`]; then channels follow each other, each a
//! [`Request`], a [`Reply`], events and data. Unknown fields are ignored everywhere.

mod admin;
mod edit;
mod hello;
mod ls;
mod read;
mod run;
mod session;
mod share;
mod stat;
mod transfer;
mod write;

use serde::{Deserialize, Serialize};

pub use admin::{
    AuditRequest, Invite, Invited, KeyInfo, KeyRm, KeyRmDone, Keys, LinkCounts, Status,
};
pub use edit::{Copy, CopyReply, Mkdir, MkdirReply, Move, MoveReply, Remove, RemoveReply, Set};
pub use hello::{Confirm, FirstHead, Hello, Join, JoinReply, Rights, Welcome};
pub use ls::{Entry, EntryKind, Ls, Mtime};
pub use read::{Read, ReadEvent};
pub use run::{
    Ended, EndedBy, ExitRecord, Lease, Program, Run, RunEvent, RunReply, StdinState, StreamTotal,
    Upward, Window,
};
pub use session::{Attach, Attached, Kill, Killed, SessionInfo, SessionList, SessionRm, View};
pub use share::{Share, ShareInfo, ShareReply, ShareRm, Shared, Shares, Token, TokenReply};
pub use stat::{Stat, StatReply};
pub use transfer::{Failure, Get, GetReply, Put, PutReply, Summary};
pub use write::{
    BadUploadId, Exists, Known, Stored, UPLOAD_ID_LEN_MAX, UploadId, UploadRm, UploadRmReply,
    UploadStat, Write, WriteEvent, WriteReply,
};

use crate::content::Hash;
use crate::json::big;
use crate::refusal::Refusal;

/// The one version of the protocol there is.
pub const VERSION: u32 = 1;

/// Number of stdin, upward.
pub const STDIN: u8 = 0;
/// Number of stdout, or of file content.
pub const STDOUT: u8 = 1;
/// Number of stderr.
pub const STDERR: u8 = 2;

/// What a channel asks for; its `verb` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Request {
    /// Run a program.
    Run(Box<Run>),
    /// Look at a session.
    Attach(Box<Attach>),
    /// Which sessions are there?
    Sessions,
    /// Send a signal to a session.
    Kill(Kill),
    /// Forget a session that has ended.
    SessionRm(SessionRm),
    /// List a directory or look at a file.
    Ls(Ls),
    /// What is known of one file?
    Stat(Stat),
    /// Send me the content of one file.
    Read(Read),
    /// Make a directory.
    Mkdir(Mkdir),
    /// Give something another name.
    Move(Move),
    /// Remove something.
    Remove(Remove),
    /// Take the content of one file.
    Write(Box<Write>),
    /// How much of an upload is there?
    UploadStat(UploadStat),
    /// Forget an upload.
    UploadRm(UploadRm),
    /// Make a second one of something.
    Copy(Copy),
    /// Change what is said of something.
    Set(Set),
    /// Send me a file or a tree.
    Get(Get),
    /// Take a file or a tree.
    Put(Put),
    /// Make a way in for a new device.
    Invite(Invite),
    /// Make an app password.
    Token(Token),
    /// Make a link that opens one directory or one session.
    Share(Share),
    /// Which links are there?
    Shares,
    /// End a link.
    ShareRm(ShareRm),
    /// Who may come in?
    Keys,
    /// Let a key come in no more.
    KeyRm(KeyRm),
    /// Who did what?
    Audit(AuditRequest),
    /// How is the node?
    Status,
    /// A verb of a later version.
    #[serde(other)]
    Unknown,
}

/// The answer to a request: what it asks for, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<T> {
    /// Done, or begun.
    Ok(T),
    /// Not done, and nothing was changed.
    Refused(Refusal),
}

impl<T> Reply<T> {
    /// As a `Result`.
    ///
    /// # Errors
    /// The refusal.
    pub fn into_result(self) -> Result<T, Refusal> {
        match self {
            Self::Ok(value) => Ok(value),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

impl<T> From<Result<T, Refusal>> for Reply<T> {
    fn from(result: Result<T, Refusal>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(refusal) => Self::Refused(refusal),
        }
    }
}

/// A stream is complete (frame kind `end`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// 0 stdin, 1 stdout or content, 2 stderr.
    pub stream: u8,
    /// Length of the whole stream in bytes, from its very start.
    #[serde(with = "big")]
    pub total: u64,
    /// Hash of the whole stream.
    pub blake3: Hash,
}

/// How far the sender may send (frame kind `credit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// 0 stdin, 1 stdout, 2 stderr.
    pub stream: u8,
    /// Absolute offset in bytes; never goes back.
    #[serde(with = "big")]
    pub to: u64,
}
