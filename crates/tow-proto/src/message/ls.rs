//! `ls`: what is there (PROTOCOL 7.2).

use serde::{Deserialize, Serialize};

use crate::byte_string::ByteString;
use crate::json::big;

/// List a directory, or show one file. The reply is `{"ok":{}}`, then heads that each hold an array
/// of at most 1,000 [`Entry`], then an `end` frame of stream 1 with the number of entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ls {
    /// Relative paths start at the grant's start directory.
    pub path: ByteString,
    /// The directory itself, not what is in it.
    #[serde(default)]
    pub itself: bool,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A device, a socket or a pipe.
    Special,
}

/// Modification time: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mtime(pub i64, pub u32);

/// One directory entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name, without a path.
    pub name: ByteString,
    /// What it is.
    pub kind: EntryKind,
    /// Length in bytes.
    #[serde(with = "big")]
    pub size: u64,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ByteString>,
}
