//! `get` and `put`: files and trees (PROTOCOL 7.3). What follows the reply is in [`crate::transfer`].

use serde::{Deserialize, Serialize};

use super::ls::EntryKind;
use crate::byte_string::ByteString;
use crate::json::big;
use crate::refusal::Refusal;
use crate::transfer::Options;

/// Send me this file or tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// A symbolic link named here is followed; those within a tree are sent as links.
    pub path: ByteString,
    /// How it is to be done, at both ends.
    #[serde(default, skip_serializing_if = "Options::is_default")]
    pub options: Options,
}

/// What will be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetReply {
    /// [`EntryKind::File`] or [`EntryKind::Dir`].
    pub kind: EntryKind,
    /// The name it gets by default: the last component of the path that was asked for, or of the
    /// real path where that is no name (`.`, `..`).
    pub name: ByteString,
    /// The machine and the real path of the source: what partial files are tied to.
    pub source: ByteString,
}

/// Take this file or tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// Where to.
    pub path: ByteString,
    /// File or directory.
    pub kind: EntryKind,
    /// The source's own name, used where `path` is a directory.
    pub name: ByteString,
    /// The machine and the real path of the source: what partial files are tied to.
    pub source: ByteString,
    /// How it is to be done, at both ends.
    #[serde(default, skip_serializing_if = "Options::is_default")]
    pub options: Options,
}

/// Where it will land.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutReply {
    /// The path of the file or of the tree's top, as the node resolved it.
    pub path: ByteString,
}

/// One path that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where.
    pub path: ByteString,
    /// Why.
    pub why: Refusal,
    /// It came out wrong and is to be sent once more: it has not failed yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl Failure {
    /// What failed, for good.
    pub fn new(path: impl Into<ByteString>, why: impl Into<Refusal>) -> Self {
        Self { path: path.into(), why: why.into(), again: false }
    }
}

/// What became of a transfer, counted by the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Files that were written.
    #[serde(with = "big")]
    pub files: u64,
    /// Those of them that were made with blocks of the file that was there.
    #[serde(with = "big")]
    pub patched: u64,
    /// Files that were there already.
    #[serde(with = "big")]
    pub same: u64,
    /// Directories.
    #[serde(with = "big")]
    pub dirs: u64,
    /// Symbolic links.
    #[serde(with = "big")]
    pub links: u64,
    /// Further names of files.
    #[serde(with = "big")]
    pub hard_links: u64,
    /// Pipes, sockets and devices.
    #[serde(with = "big")]
    pub special: u64,
    /// What was removed, with all that was in it.
    #[serde(with = "big")]
    pub deleted: u64,
    /// Bytes of content that came over the link.
    #[serde(with = "big")]
    pub bytes: u64,
    /// Bytes of old and of partial files that were used again.
    #[serde(with = "big")]
    pub reused: u64,
    /// Paths that failed, on either side.
    #[serde(with = "big")]
    pub failed: u64,
}
