//! The heads of a transfer after its reply (PROTOCOL 7.3).

use serde::{Deserialize, Serialize};

use super::blocks::{BLOCK_LEN_MAX, BLOCK_LEN_MIN};
use super::path::check_path;
use crate::byte_string::ByteString;
use crate::json::big;
use crate::message::{Failure, Summary};
use crate::refusal::Code;

/// Most paths of one `list` (PROTOCOL 7.3).
pub const LIST_MAX: usize = 1_000;

/// What either end says beside packs and content (PROTOCOL 7.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Receiver: these were all digests; the sender may begin.
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
    /// Sender: what is in these directories?
    List {
        /// At most [`LIST_MAX`].
        paths: Vec<ByteString>,
    },
    /// Sender: what are the hashes of the pieces of the partial file?
    Pieces {
        /// The file that it will be.
        path: ByteString,
    },
    /// Sender: what are the signatures of the blocks of the file that is there?
    Blocks {
        /// The file.
        path: ByteString,
        /// Length of a block in bytes.
        #[serde(with = "small")]
        len: u32,
        /// Seed of the 64-bit hash, chosen by the sender.
        #[serde(with = "big")]
        seed: u64,
    },
    /// Sender: the content that follows begins here.
    At {
        /// In the file, a multiple of the piece length.
        #[serde(with = "big")]
        offset: u64,
    },
    /// Sender: so many zero bytes of content.
    Hole {
        /// In bytes.
        #[serde(with = "big")]
        len: u64,
    },
    /// Sender: the file that was being sent ends here and is not to be used.
    Break,
    /// Either side: this one failed, the rest goes on.
    Failed(Failure),
    /// Sender: that was all.
    Finish,
    /// Receiver, last of all: everything that will be is in its place.
    Stored(Summary),
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}

/// What a sender asks; the receiver answers with packs (PROTOCOL 7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The listings of these directories.
    List(Vec<ByteString>),
    /// The hashes of the pieces of the partial file of this path.
    Pieces(ByteString),
    /// The signatures of the blocks of the file at a path.
    Blocks {
        /// The file.
        path: ByteString,
        /// Length of a block in bytes: a power of two.
        len: u32,
        /// Seed of the 64-bit hash.
        seed: u64,
    },
}

impl Event {
    /// The question that this is (PROTOCOL 7.3), not checked yet: see [`Question::check`].
    pub fn question(&self) -> Option<Question> {
        match self {
            Self::List { paths } => Some(Question::List(paths.clone())),
            Self::Pieces { path } => Some(Question::Pieces(path.clone())),
            Self::Blocks { path, len, seed } => {
                Some(Question::Blocks { path: path.clone(), len: *len, seed: *seed })
            }
            _ => None,
        }
    }
}

impl Question {
    /// Whether it keeps to the limits of PROTOCOL 7.3. Otherwise the transfer ends.
    ///
    /// # Errors
    /// What is wrong with a path, [`Code::TooLong`] for too many of them, [`Code::Malformed`] for a
    /// length of blocks that is none.
    pub fn check(&self) -> Result<(), Code> {
        match self {
            Self::List(paths) if paths.len() > LIST_MAX => Err(Code::TooLong),
            Self::List(paths) => paths.iter().try_for_each(|path| check_path(path.as_bytes())),
            Self::Pieces(path) => check_path(path.as_bytes()),
            Self::Blocks { path, len, .. } => {
                let is_len = len.is_power_of_two() && (BLOCK_LEN_MIN..=BLOCK_LEN_MAX).contains(len);
                if is_len { check_path(path.as_bytes()) } else { Err(Code::Malformed) }
            }
        }
    }
}

impl From<Question> for Event {
    fn from(question: Question) -> Self {
        match question {
            Question::List(paths) => Self::List { paths },
            Question::Pieces(path) => Self::Pieces { path },
            Question::Blocks { path, len, seed } => Self::Blocks { path, len, seed },
        }
    }
}

/// A length below 2^32, written and read as the larger ones are.
mod small {
    use serde::{Deserializer, Serializer, de};

    use crate::json::big;

    pub(super) fn serialize<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        big::serialize(&u64::from(*value), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        u32::try_from(big::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
