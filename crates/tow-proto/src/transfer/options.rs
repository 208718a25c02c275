//! How a transfer is to be done: said in the request, so that both ends do the same.

use serde::{Deserialize, Serialize};

use crate::byte_string::ByteString;
use crate::json::big;

/// Options of a transfer. Each is left out of the JSON where it has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The content of the source becomes the content of the path: no name is appended to it.
    #[serde(skip_serializing_if = "is_default")]
    pub exact: bool,
    /// Contents are compared by hash, not by size and time.
    #[serde(skip_serializing_if = "is_default")]
    pub checksum: bool,
    /// What the source does not have is removed.
    #[serde(skip_serializing_if = "is_default")]
    pub delete: bool,
    /// Most entries that are removed.
    #[serde(with = "big::option", skip_serializing_if = "is_default")]
    pub max_delete: Option<u64>,
    /// A source that is empty may delete everything.
    #[serde(skip_serializing_if = "is_default")]
    pub delete_all: bool,
    /// Nothing is changed; only what would be is found out.
    #[serde(skip_serializing_if = "is_default")]
    pub dry_run: bool,
    /// Patterns as in a `.gitignore` file, relative to the top; what matches is neither sent nor
    /// removed.
    #[serde(skip_serializing_if = "is_default")]
    pub exclude: Vec<ByteString>,
    /// The `.gitignore` files of the trees are obeyed too.
    #[serde(skip_serializing_if = "is_default")]
    pub gitignore: bool,
    /// A directory, relative to the top, into which what is replaced or removed is moved.
    #[serde(skip_serializing_if = "is_default")]
    pub backup: Option<ByteString>,
    /// Owners, groups and special permission bits are kept, as far as the receiver may set them.
    #[serde(skip_serializing_if = "is_default")]
    pub archive: bool,
    /// Pipes, sockets and, where the receiver may make them, devices are sent too.
    #[serde(skip_serializing_if = "is_default")]
    pub special: bool,
    /// How safe what arrived is when it is said to be done.
    #[serde(skip_serializing_if = "is_default")]
    pub durable: Durable,
    /// Changed files are sent whole, without looking for what of them is there.
    #[serde(skip_serializing_if = "is_default")]
    pub whole: bool,
    /// Whether content is compressed on its way.
    #[serde(skip_serializing_if = "is_default")]
    pub compress: Compress,
    /// Most bytes that the sender gives to the link in a second.
    #[serde(with = "big::option", skip_serializing_if = "is_default")]
    pub bwlimit: Option<u64>,
}

/// When what arrived is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durable {
    /// When the kernel likes.
    None,
    /// Before it gets its name, many files at a time.
    #[default]
    Batch,
    /// Before it gets its name, each file by itself.
    File,
}

/// Whether content is compressed on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compress {
    /// Where the link is slower than compressing, and the content becomes smaller: measured while
    /// it runs.
    #[default]
    Auto,
    /// No.
    Never,
    /// Always, but for what does not become smaller.
    Always,
}

impl Options {
    /// Every one has its default: nothing is said of them.
    pub fn is_default(&self) -> bool {
        is_default(self)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
