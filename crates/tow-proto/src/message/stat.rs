//! `stat`: what is known of one file (PROTOCOL 7.6).

use serde::{Deserialize, Serialize};

use super::ls::{EntryKind, Mtime};
use crate::byte_string::ByteString;
use crate::json::big;

/// What is there? The reply is a [`StatReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// Relative paths start at the grant's start directory.
    pub path: ByteString,
    /// What a symbolic link leads to, not the link. So it is too where the path ends in a slash.
    #[serde(default)]
    pub follow: bool,
}

/// What the file system says of it. `device`, `inode`, `size`, `mtime` and `ctime` together tell
/// whether it is the same, unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatReply {
    /// Its real path on that machine.
    pub path: ByteString,
    /// What it is.
    pub kind: EntryKind,
    /// Length in bytes.
    #[serde(with = "big")]
    pub size: u64,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// How many names it has.
    #[serde(with = "big")]
    pub links: u64,
    /// Number of the file system.
    #[serde(with = "big")]
    pub device: u64,
    /// Its number there.
    #[serde(with = "big")]
    pub inode: u64,
    /// When the content was changed.
    pub mtime: Mtime,
    /// When content, mode, owner or name was changed, by that machine's clock.
    pub ctime: Mtime,
    /// When it was read, as far as the file system keeps count.
    pub atime: Mtime,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ByteString>,
}
