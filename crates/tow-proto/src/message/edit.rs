//! `mkdir`, `move`, `remove`, `copy` and `set`: what is done to what is there (PROTOCOL 7.6, 7.7).

use serde::{Deserialize, Serialize};

use super::ls::Mtime;
use super::transfer::Failure;
use crate::byte_string::ByteString;
use crate::json::big;

/// Make a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mkdir {
    /// Its last component is the name that it gets.
    pub path: ByteString,
    /// Make the directories above it too; one that is there already will do.
    #[serde(default)]
    pub parents: bool,
}

/// The directory is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MkdirReply {
    /// Its real path on that machine.
    pub path: ByteString,
    /// It was not there before.
    pub made: bool,
}

/// Give something another name, or another place on the same file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// What; a symbolic link is moved itself.
    pub from: ByteString,
    /// Its new path: never a directory to put it into.
    pub to: ByteString,
    /// What is there under that path may be lost.
    #[serde(default)]
    pub replace: bool,
}

/// It has moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveReply {
    /// Its real path on that machine now.
    pub path: ByteString,
}

/// Remove something; a symbolic link itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    /// What.
    pub path: ByteString,
    /// A directory too, with everything in it.
    #[serde(default)]
    pub recursive: bool,
    /// What is not there is as good as removed.
    #[serde(default)]
    pub force: bool,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveReply {
    /// Names that are gone.
    #[serde(with = "big")]
    pub removed: u64,
    /// Names in a directory that are still there, each for a reason of its own. The directories
    /// above them, which are not empty therefore, do not count.
    #[serde(with = "big")]
    pub failed: u64,
    /// The first of them, at most 100, by their paths below what was to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// Make a second file or tree of what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Of what; a symbolic link is copied itself.
    pub from: ByteString,
    /// The path that the second one gets: never a directory to put it into.
    pub to: ByteString,
    /// Files in the way are replaced, and a tree goes into the directory that is there.
    #[serde(default)]
    pub replace: bool,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyReply {
    /// Names that were copied, directories too.
    #[serde(with = "big")]
    pub copied: u64,
    /// Names that were not, each for a reason of its own; what is in a directory that was not
    /// copied does not count.
    #[serde(with = "big")]
    pub failed: u64,
    /// The first of them, at most 100, by their paths below what was to be copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// Change what is said of something; of a symbolic link, of the link. The reply is a
/// [`super::StatReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Of what.
    pub path: ByteString,
    /// Its permission bits from now on, at most 0o777; a symbolic link has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// When it was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Mtime>,
}
