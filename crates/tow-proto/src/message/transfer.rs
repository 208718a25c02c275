//! `get` and `put`: files and trees (PROTOCOL 7.3). One exchange in both directions: the receiver
//! says what it has, the sender sends what is missing, the receiver says what became of it.

use serde::{Deserialize, Serialize};

use super::ls::{EntryKind, Mtime};
use crate::byte_string::ByteString;
use crate::content::Hash;
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

/// Both directions, after the reply. Paths are relative to the top of the transfer; the top itself
/// is the empty path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TransferEvent {
    /// Receiver: this is here already, whole or in part.
    Have(Have),
    /// Receiver: that was all I have. Sender may begin.
    HaveEnd,
    /// Sender: how much there is altogether, as far as is known.
    Plan {
        /// Regular files.
        #[serde(with = "big")]
        files: u64,
        /// Their bytes.
        #[serde(with = "big")]
        bytes: u64,
    },
    /// Sender: a directory. Its mode and time are set after what is in it.
    Dir {
        /// Where.
        path: ByteString,
        /// Permission bits.
        mode: u32,
        /// Modification time.
        mtime: Mtime,
    },
    /// Sender: a symbolic link.
    Link {
        /// Where.
        path: ByteString,
        /// Its content, opaque.
        target: ByteString,
        /// Modification time.
        mtime: Mtime,
    },
    /// Sender: a file. Data frames from offset `from` follow, then an `end` frame of stream 1 with
    /// length and hash of the whole file, or [`Self::Break`].
    File {
        /// Where.
        path: ByteString,
        /// Length in bytes when it was opened.
        #[serde(with = "big")]
        size: u64,
        /// Permission bits.
        mode: u32,
        /// Modification time.
        mtime: Mtime,
        /// Offset at which the data begin; what the receiver had before it is right.
        #[serde(with = "big")]
        from: u64,
    },
    /// Sender: a file that you have already, by size and time.
    Same {
        /// Where.
        path: ByteString,
        /// Length in bytes.
        #[serde(with = "big")]
        size: u64,
        /// Permission bits, which may have changed.
        mode: u32,
    },
    /// Sender: the file that was being sent ends here and is not to be used.
    Break,
    /// Either side: this one failed, the rest goes on.
    Failed(Failure),
    /// Sender: that was all.
    Finish,
    /// Receiver, last of all: everything that will be is in its place and safe.
    Stored(Summary),
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}

/// Something that the receiver has at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// Where.
    pub path: ByteString,
    /// How much of it.
    pub state: HaveState,
}

/// How much of a file is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaveState {
    /// A whole file under its final name.
    Whole {
        /// Length in bytes.
        #[serde(with = "big")]
        size: u64,
        /// Modification time.
        mtime: Mtime,
    },
    /// The start of one, in a partial file.
    Part {
        /// Length in bytes.
        #[serde(with = "big")]
        len: u64,
        /// The hash of its start up to the end of each piece of [`piece_len`] bytes; the last one
        /// is that of all of it. So each side reads it once, and what agrees up to a piece agrees
        /// in everything before.
        pieces: Vec<Hash>,
    },
}

/// Length in bytes of the pieces by which a partial file of `len` bytes is compared: at least
/// 4 MiB, and so that there are at most 1,024 of them.
pub fn piece_len(len: u64) -> u64 {
    len.div_ceil(1024).next_power_of_two().max(4 << 20)
}

/// One path that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where.
    pub path: ByteString,
    /// Why.
    pub why: Refusal,
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
